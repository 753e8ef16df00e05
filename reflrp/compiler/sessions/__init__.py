"""Graphs that run here, beside the loaded model, whose weights they share."""
