"""From terms to the nodes and constants of a file."""
