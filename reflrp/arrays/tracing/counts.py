"""The twins of `arrays/counting.py`, for symbolic arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.arrays.namespaces import Array
from reflrp.arrays.tracing.arithmetic import cast
from reflrp.arrays.tracing.array import Numbers, array, term_of
from reflrp.arrays.tracing.dims import Dim
from reflrp.arrays.tracing.moves import expand
from reflrp.arrays.tracing.terms import CURRENT, Shape


def laid(x: Array, extent: Any) -> Array:
    """Return x with all entries of a shape: a constant has one for all along an axis of an open length."""
    trace = CURRENT.get() if isinstance(x, np.ndarray) else x.term.trace
    return array(expand(term_of(x, trace, trace.real if x.dtype.kind == "f" else None), extent.shape))


def numbers(x: Array, n: int) -> Array:
    """Return 0, 1 .. n-1 in the dtype of x."""
    counted = Numbers(n) if isinstance(n, Dim) else np.arange(n)
    return array(cast(term_of(counted, x.term.trace), x.dtype))


def ones_of(x: Array, shape: Shape) -> Array:
    """Return ones of a shape, in the dtype of x."""
    trace = x.term.trace
    found = trace.make("Expand", (trace.constant(np.ones((1,) * len(shape)), x.dtype),), shape, nonneg=True)
    found.finite = True
    return array(found)


def running(x: Array, axis: int, exclusive: bool, reverse: bool) -> Array:
    """Return the sums of the entries up to each one along an axis; in reverse, from each one on."""
    term = x.term
    along = term.trace.constant(np.asarray(axis % len(term.shape)), np.int64)
    return array(
        term.trace.make(
            "CumSum", (term, along), term.shape, term.dtype, term.nonneg, exclusive=int(exclusive), reverse=int(reverse)
        )
    )
