"""Loops of an open number of turns: what is proven of them, and how their way back is traced."""
