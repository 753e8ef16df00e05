"""Entries that each row takes, or is given, by numbers of its own; and remainders."""

from __future__ import annotations

import numpy as np

from reflrp.arrays.namespaces import Array
from reflrp.arrays.tracing.arithmetic import cast
from reflrp.arrays.tracing.array import array, term_of, trace_of


def fmod(x: Array, y: float) -> Array:
    """Return the exact remainder of x by a number, with the sign of x."""
    by = x.term.trace.constant(np.asarray(y, dtype=x.dtype))
    return array(x.term.trace.make("Mod", (x.term, by), x.shape, x.dtype, x.term.nonneg, fmod=1))


def take_along_axis(x: Array, index: Array, *, axis: int) -> Array:
    """Return the entries of x at the places along an axis that the index numbers, for each entry of the index."""
    trace = trace_of(x, index)
    rows, at = term_of(x, trace), cast(term_of(index, trace), np.int64)
    found = trace.make("GatherElements", (rows, at), at.shape, rows.dtype, rows.nonneg, axis=axis)
    found.finite = rows.finite
    return array(found)


def add_along_axis(size: int, index: Array, values: Array) -> Array:
    """Return rows of `size` zeros with `out[i, index[i, j]] += values[i, j]`."""
    trace = trace_of(index, values)
    at, given = cast(term_of(index, trace), np.int64), term_of(values, trace)
    start = trace.make("Zeros", (), (given.shape[0], size), given.dtype, True)
    operands, shape = (start, at, given), start.shape
    return array(trace.make("ScatterElements", operands, shape, given.dtype, given.nonneg, axis=1, reduction="add"))
