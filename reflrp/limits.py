"""How much a model may ask for. What goes beyond is refused before it is allocated; docs/memory.md says more.

The limits are variables of this module: `reflrp.limits.MEMORY = 64 * 2**30` raises one for the whole process.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from reflrp.errors import TooLarge

MEMORY = 16 * 2**30
"""Bytes that one array of a model may take, and that all values of one cut of the batch may take together."""

NODES = 1_000_000
"""Nodes that a graph may have once its functions, loops and recurrent layers are unrolled."""

WIDEST = 8
"""Bytes of an entry, where its dtype is not known yet."""


def size_of(shape: Iterable[int], itemsize: int = WIDEST) -> int:
    """Return the bytes that an array takes; an axis without entries counts as one, as its size is no safe bound."""
    return prod(n for n in shape if n > 0) * itemsize


def check_array(what: str, shape: Iterable[int], itemsize: int = WIDEST) -> None:
    """Raise TooLarge for an array beyond the limit."""
    shape = tuple(shape)
    size = size_of(shape, itemsize)
    if size > MEMORY:
        raise TooLarge(f"{what} needs an array of the shape {shape}, {in_words(size)}; {limit()}")


def limit() -> str:
    """Return the limit on memory in words."""
    return f"the limit is {in_words(MEMORY)} (reflrp.limits.MEMORY)"


def in_words(size: int) -> str:
    """Return bytes as text, as `3.5 GiB`."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}" if size < 2**60 else "more than 1 EiB"
    return f"{size} bytes"
