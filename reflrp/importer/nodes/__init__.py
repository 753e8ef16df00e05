"""One node of a file: what may be run of it, and at what cost."""
