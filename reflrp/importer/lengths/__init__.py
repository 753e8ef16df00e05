"""Lengths that a file leaves open, and what depends on them."""
