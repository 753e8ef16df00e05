"""How much a model may ask for. What goes beyond is refused before it is allocated or begun; docs/security.md says more.

The limits are variables of this module: `reflrp.limits.MEMORY = 64 * 2**30` raises one for the whole process.

A file asks for memory and time in thousands of small ways, of which none is too large alone. So a `Budget` is opened where
work on a file begins (`with budget():`), and whoever makes something of it says so: `hold` for bytes that stay, `spend` for
numbers that are computed, `step` for turns of a loop. Work is counted and not clocked, so that a file is refused on every
machine or on none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import prod

from reflrp.errors import TooLarge

MEMORY = 16 * 2**30
"""Bytes that one array of a model may take, and that all values of one cut of the batch may take together."""

NODES = 1_000_000
"""Nodes that a graph may have once its functions, loops and recurrent layers are unrolled."""

TIME = 24 * 3600.0
"""Seconds of work that loading a file, building its graph, or running one cut of a batch may ask for, on a nominal core that
computes RATE numbers a second."""

RATE = 1e9
"""Numbers that the nominal core computes in a second."""

STEP = 1e4
"""What one turn of a loop in Python counts for, in numbers computed."""

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


@dataclass
class Budget:
    """What has been asked for since it was opened: `held` bytes that stay, `spent` numbers computed."""

    held: int = 0
    spent: float = 0.0


_OPEN: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def budget() -> Iterator[Budget]:
    """Open a budget; inside another one it is that one, so that what a file does in pieces is counted together."""
    found = _OPEN.get()
    if found is not None:
        yield found
        return
    token = _OPEN.set(Budget())
    try:
        yield _OPEN.get() or Budget()
    finally:
        _OPEN.reset(token)


def hold(what: str, size: int) -> None:
    """Count bytes that stay. Raises TooLarge, which names `what`, where all of them are more than MEMORY together."""
    found = _OPEN.get()
    if found is None:
        return
    found.held += size
    if found.held > MEMORY:
        raise TooLarge(f"{what} needs {in_words(size)}, which makes {in_words(found.held)} together; {limit()}")


def spend(what: str, numbers: float) -> None:
    """Count numbers that are about to be computed. Raises TooLarge, which names `what`, beyond TIME."""
    found = _OPEN.get()
    if found is None:
        return
    found.spent += numbers
    if found.spent > TIME * RATE:
        raise TooLarge(
            f"{what} takes the work to {found.spent / RATE:.3g} s on a nominal core; the limit is {TIME:.3g} s "
            "(reflrp.limits.TIME)"
        )


def step(what: str, count: float = 1) -> None:
    """Count turns of a loop. Raises TooLarge, which names `what`, beyond TIME."""
    spend(what, count * STEP)
