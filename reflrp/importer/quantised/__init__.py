"""Models of integers: their operators, and the real layers that they stand for."""
