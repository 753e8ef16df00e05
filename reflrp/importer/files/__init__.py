"""Bytes: reading a model, and the tensors beside it."""
