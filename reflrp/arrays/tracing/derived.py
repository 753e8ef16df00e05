"""Kernels that are functions of others: written once, and known by what they were made of."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from reflrp.arrays import kernels
from reflrp.arrays.namespaces import namespace
from reflrp.arrays.tracing.array import array, term_of
from reflrp.arrays.tracing.terms import Shape, Term

Windows = Any


def derived(w: Term, function: partial[Any]) -> Term:
    """Return a kernel that is a function of another, and remember of what it was made."""
    trace, value = w.trace, w.value
    if value is None:
        return term_of(function(array(w)), trace)
    key = ("derived", id(value), function.func, tuple(function.keywords.items()))
    if key not in trace.terms:
        turned = trace.derive(np.ascontiguousarray(function(value)), function, value)
        trace.terms[key] = trace.constant(turned)
    return trace.terms[key]


def scaled(w: Any, factor: float) -> Any:
    """Return a kernel times a number."""
    return w * factor


def unscaled(s: Term, w: Term) -> tuple[Term, Term]:
    """Return -s or 2 s as s, with the sign or the factor in the kernel, where it costs nothing."""
    if w.value is None:
        return s, w
    if s.op == "Neg":
        return s.inputs[0], derived(w, partial(scaled, factor=-1.0))
    if s.op == "Mul" and s.inputs[1].doubling:
        return s.inputs[0], derived(w, partial(scaled, factor=s.inputs[1].uniform))
    return s, w


@cache
def ones_of(channels: int, kernel: Shape, dtype: np.dtype[Any]) -> np.ndarray:
    """Return a kernel of ones, each channel a group: the same array each time, which is one constant of a graph."""
    return np.ones((channels, 1, *kernel), dtype)


def phased(w: Any, windows: Windows, taps: Shape) -> Any:
    """Return the kernel of all phases of a strided transpose, (stride^2 C, O, *taps), of an array."""
    (stride,), xp, (o, c) = set(windows.strides), namespace(w), w.shape[:2]
    before = tuple(-b % stride for b in windows.begin)
    after = tuple(m * stride - k - f for m, k, f in zip(taps, windows.kernel, before, strict=True))
    none = (1,) * len(taps)
    padded = kernels.pad(w, type(windows)(windows.kernel, none, none, none, before, after))
    apart = xp.reshape(padded, (o, c, taps[0], stride, taps[1], stride))
    turned = xp.flip(xp.flip(apart, axis=2), axis=4)
    return xp.reshape(xp.permute_dims(turned, (3, 5, 1, 0, 2, 4)), (stride**2 * c, o, *taps))
