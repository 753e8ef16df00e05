"""Windows and grids: where each lies, and what it takes of its input."""
