"""What a run takes of memory, measured: the process's resident memory before and after the first run of a session.

onnxruntime keeps the memory of a run for the next one, so that the process grows by what the run took at its peak.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil, log2

UNKNOWN, LEAST, MOST = 2.0, 0.25, 16.0
"""How many times the values of a network a run is taken to need before one was measured, and what is believed of measures: other
threads have memory too."""

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""What mallopt(3) calls the size from which on a block is mapped by itself, and how much may lie free at the heap's end."""

BLOCK, MOST_MAPPED = 2**20, 2**25
"""Bytes: the first of these limits while a session is made, and the most to which glibc raises it by itself."""


@contextmanager
def measured(found: list[float], values: int) -> Iterator[None]:
    """Enter how many times `values` bytes the process grows by in a run, where nothing is entered yet."""
    before = None if found else resident()
    yield
    after = None if before is None else resident()
    if before is not None and after is not None and values:
        found[:] = [(after - before) / values]


def factor(found: Sequence[Sequence[float]]) -> float:
    """Return how many times its values a run takes, by the largest of several measures: a power of two, so that it is steady."""
    known = max((one[0] for one in found if one), default=UNKNOWN)
    return float(2.0 ** ceil(log2(min(max(known, LEAST), MOST))))


@contextmanager
def passing() -> Iterator[None]:
    """Have what is freed in here go back to the system at once, in blocks from `BLOCK` on, where the allocator is glibc's.

    It keeps them for later else, scattered among what stays: making a session grew a process by twice what the session has.
    Afterwards its limits are those to which its own rule brings them once a large block was freed.
    """
    try:
        say = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another system's library
        yield
        return
    say(MMAP_THRESHOLD, BLOCK)
    try:
        yield
    finally:
        say(MMAP_THRESHOLD, MOST_MAPPED)
        say(TRIM_THRESHOLD, 2 * MOST_MAPPED)


def give_back() -> None:
    """Give the system back what nobody holds any more: of a compilation glibc's allocator keeps some hundred MiB for later.

    What was traced refers to itself, so that it is collected first.
    """
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another system's library
        return
    trim(ctypes.c_size_t(0))


def resident() -> int | None:
    """Return the resident memory of this process in bytes, where the system tells it (Linux)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
