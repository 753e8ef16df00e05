"""Constants that an import computes from lengths which the file leaves open, as the batch size: how far they depend on these.

Such a constant is known when a graph is built, as a parameter of the file is; but it is one of this batch size only, and so is
its shape. A state of zeros for each of N samples has the shape (N, k), which for one sample is that of a bias of k features.
What is decided by the shape or the numbers of a constant is to come out alike for all lengths, so it is decided by `how`, too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any

import numpy as np

SHAPE, ENTRIES = 1, 2
"""What of a constant may be another for other lengths: its shape, its entries."""


Formulas = np.ndarray | Callable[[], np.ndarray | None] | None


class Measured(np.ndarray):
    """A constant that was computed from open lengths.

    `entries` says which entries may be others for other lengths, and `axes` which axes may be longer or shorter; along
    these, the entries that stay are all the same. None stands for all of them: so it is in parts and results of such an array.
    `formulas` are its whole numbers as formulas of the lengths (`arrays/tracing/dims.py`), where these are known, or how to find
    them once more is known of the lengths.
    """

    entries: np.ndarray | None
    axes: frozenset[int] | None
    formulas: Formulas

    def __array_finalize__(self, origin: Any) -> None:
        """Take nothing for granted: what was said of the whole."""
        self.entries = self.axes = self.formulas = None


Marks = tuple[np.ndarray, frozenset[int]]
"""Which entries of a constant, and which axes, depend on open lengths."""


def marks(x: np.ndarray) -> Marks:
    """Return which entries and axes of a constant depend on open lengths."""
    if not isinstance(x, Measured):
        return np.broadcast_to(False, x.shape), frozenset()
    entries = np.broadcast_to(True, x.shape) if x.entries is None else x.entries
    return entries, frozenset(range(x.ndim)) if x.axes is None else x.axes


def measured(x: Any, found: Marks | None, formulas: Formulas = None) -> np.ndarray:
    """Return a constant with its marks, where it has any, and its formulas; None for all marks that there can be."""
    whole = np.asarray(x)
    if found is not None and not found[0].any() and not found[1]:
        return whole
    made = whole.view(Measured)
    if found is not None:
        made.entries, made.axes = found
    made.formulas = formulas
    return made


def plain(x: Any) -> Any:
    """Return a constant without marks; anything else as it is."""
    return np.asarray(x) if isinstance(x, Measured) else x


def formulas(x: np.ndarray) -> np.ndarray | None:
    """Return the whole numbers of a constant, those that depend on open lengths as formulas; None where these are not known."""
    if not isinstance(x, Measured):
        return x
    found = x.formulas() if callable(x.formulas) else x.formulas
    x.formulas = x.formulas if found is None else found
    return found


def how(x: Any) -> int:
    """Return what of a constant depends on open lengths, as SHAPE and ENTRIES say it; of a sequence, of all in it."""
    if isinstance(x, tuple):
        return reduce(or_, map(how, x), 0)
    if not isinstance(x, Measured):
        return 0
    entries, axes = marks(x)
    return (SHAPE if axes else 0) | (ENTRIES if entries.any() or x.entries is None else 0)
