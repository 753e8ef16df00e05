"""Loops and recurrent nodes: unrolled, or an open number of turns."""
