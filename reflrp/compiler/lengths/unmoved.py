"""Resizes that leave all lengths as they are, at some of the lengths that are left open: `explain` has no node there.

So there the relevance goes through, and no rule has a word in it. Which of both it is the run finds by the lengths.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from reflrp.arrays import ZERO, Array
from reflrp.arrays.tracing.arithmetic import binary
from reflrp.arrays.tracing.array import array, term_of
from reflrp.arrays.tracing.choices import choice
from reflrp.arrays.tracing.dims import Dim, bounds
from reflrp.arrays.tracing.terms import CURRENT, Term, Trace
from reflrp.ir import Op
from reflrp.ops.openmaps import OpenAxisMap, Stretch


def copies(op: Op) -> bool:
    """Return whether an op may be a resize that leaves all lengths as they are."""
    if not isinstance(op, OpenAxisMap):
        return False
    return all(isinstance(how, Stretch) and how.scale is None and _meet(how) for _, how in op.maps)


def _meet(how: Stretch) -> bool:
    low, high = bounds(how.out, how.size)
    return low <= 0 <= high


def passed(op: OpenAxisMap, x: Array, r: Array, part: Array) -> Array:
    """Return what a rule gives to a resize's input, or the relevance r of its output itself where no length changes."""
    if part is ZERO:
        return part
    trace = CURRENT.get()
    whole, given = (_laid(a, shape, trace) for a, shape in ((r, op.shape(x.shape)), (part, x.shape)))
    kept = (_equal(how.size, how.out, trace) for _, how in op.maps if isinstance(how, Stretch))
    same = reduce(lambda one, two: binary("And", one, two), kept)
    through = trace.make("Reshape", (whole,), given.shape, given.dtype, whole.nonneg)
    return array(choice(same, through, given, whole))


def _laid(a: Array, shape: tuple[int, ...], trace: Trace) -> Term:
    term = term_of(a, trace, trace.real)
    return term if term.shape == shape else trace.make("Expand", (term,), shape)


def _equal(one: int, two: int, trace: Trace) -> Term:
    terms = (trace.length(n) if isinstance(n, Dim) else trace.constant(np.asarray(n, np.int64)) for n in (one, two))
    return binary("Equal", *terms)
