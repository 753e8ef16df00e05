"""Open lengths: one graph for any batch size, and for any size that the file leaves open."""
