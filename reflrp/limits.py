"""How much a model may ask for. What goes beyond is refused before it is allocated or begun; docs/security.md says more.

The limits are variables of this module: `reflrp.limits.MEMORY = 64 * 2**30` raises one for the whole process.

A file asks for memory and time in thousands of small ways, of which none is too large alone. So a `Budget` is opened where
work on a file begins (`with budget():`), and whoever makes something of it says so: `hold` for bytes that stay, `spend` for
numbers that are computed, `step` for turns of a loop. Work is counted and not clocked, so that a file is refused on every
machine or on none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import inf, prod

import numpy as np

from reflrp.errors import ModelError, ReflrpError, TooLarge

MEMORY = 16 * 2**30
"""Bytes that one array of a model may take, and that all values of one cut of the batch may take together."""

NODES = 1_000_000
"""Nodes that a graph may have once its functions, loops and recurrent layers are unrolled."""


def _weights() -> int:
    """Return 4 GiB, or a quarter of the machine's memory where that is less."""
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows
        return 4 * 2**30
    return min(4 * 2**30, max(physical, 0) // 4)


WEIGHTS = _weights()
"""Bytes of weights that an explainer keeps beside those of the model: converted to another dtype, or derived by rules. What is
beyond is made anew at each use. It bounds no model, and changes no answer."""

TIME = 24 * 3600.0
"""Seconds of work that loading a file, building its graph, or running one cut of a batch may ask for, on a nominal core that
computes RATE numbers a second."""

RATE = 1e9
"""Numbers that the nominal core computes in a second."""

STEP = 1e4
"""What one turn of a loop in Python counts for, in numbers computed."""

WIDEST = 8
"""Bytes of an entry, where its dtype is not known yet."""


def entries(shape: Iterable[int]) -> int:
    """Return how many entries an array has; an axis without entries counts as one, as its size is no safe bound."""
    return prod(n for n in shape if n > 0)


def size_of(shape: Iterable[int], itemsize: int = WIDEST) -> int:
    """Return the bytes that an array takes; an axis without entries counts as one."""
    return entries(shape) * itemsize


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
    """What has been asked for since it was opened: `held` bytes that stay, `spent` numbers computed.

    `owners` are the arrays among the held ones, by identity, and how often they are held: one that several things share
    counts once.
    """

    held: int = 0
    spent: float = 0.0
    owners: dict[int, tuple[np.ndarray, float]] = field(default_factory=dict)


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


@contextmanager
def holding(size: int = 0, known: Iterable[np.ndarray] = ()) -> Iterator[Budget]:
    """Open a sum of held bytes of its own, as one graph of several has it; the work goes on being counted together.

    Parameters
    ----------
    size : int
        Bytes that are held already.
    known : iterable of array
        Arrays that do not count: they lie in the file, or are part of `size`.

    """
    with budget() as found:
        before = found.held, found.owners
        found.held, found.owners = size, {}
        try:
            know(*known)
            yield found
        finally:
            found.held, found.owners = before


def know(*arrays: np.ndarray) -> None:
    """Make arrays and their views count no more: they lie in the file."""
    found = _OPEN.get()
    if found is not None:
        found.owners.update({id(whole): (whole, inf) for whole in map(owner, arrays)})


def hold_array(what: str, array: np.ndarray) -> None:
    """Count an array that stays, once, with all the memory that it keeps alive: a view keeps what it was cut from.

    Floating numbers count as wide as they are computed with. Raises TooLarge as `hold`.
    """
    found, whole = _OPEN.get(), owner(array)
    if found is not None:
        _, times = found.owners.get(id(whole), (whole, 0))
        if not times:
            hold(what, _width(whole))
        found.owners[id(whole)] = whole, times + 1


def release(array: np.ndarray) -> None:
    """Take back one `hold_array` of this array: it is let go."""
    found, whole = _OPEN.get(), owner(array)
    if found is None or id(whole) not in found.owners:
        return
    _, times = found.owners[id(whole)]
    found.owners[id(whole)] = whole, times - 1
    if times == 1:
        del found.owners[id(whole)]
        found.held -= _width(whole)


def _width(array: np.ndarray) -> int:
    return array.size * (max(WIDEST, array.itemsize) if array.dtype.kind == "f" else array.itemsize)


def owner(array: np.ndarray) -> np.ndarray:
    """Return the array whose memory this one is a view of, or the array itself."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def held() -> int:
    """Return how many bytes are held."""
    found = _OPEN.get()
    return found.held if found else 0


def room(what: str, size: int) -> None:
    """Raise TooLarge where bytes that are needed for a moment do not fit beside those that are held."""
    if size + held() > MEMORY:
        beside = f" beside {in_words(held())} that are held" if held() else ""
        raise TooLarge(f"{what} needs {in_words(size)}{beside}; {limit()}")


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Make a MemoryError a TooLarge, and a RecursionError a ModelError, that say where it was."""
    try:
        yield
    except MemoryError as error:
        raise exhausted(what, error) from error
    except RecursionError as error:
        raise ModelError(f"{what} is nested too deep for Python's stack") from error


@contextmanager
def blamed_on(name: str) -> Iterator[None]:
    """Make whatever a broken file lets protobuf, onnx or NumPy raise a ModelError that names the file."""
    try:
        with guarded(name):
            yield
    except ReflrpError:
        raise
    except Exception as error:
        raise ModelError(f"{name} is invalid: {error}") from error


def exhausted(what: str, error: MemoryError) -> TooLarge:
    """Return the error of a machine that has less memory than `MEMORY` allows."""
    why = f" ({error})" if str(error) else ""
    return TooLarge(
        f"{what} needs more memory than this machine has to give{why}; explain smaller inputs or fewer samples at once, or "
        "lower reflrp.limits.MEMORY, so that it is refused before it begins"
    )


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
