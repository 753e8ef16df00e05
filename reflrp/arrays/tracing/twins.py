"""The twins of what the other files of `arrays/` compute by slices and loops, for symbolic arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.arrays.kernels import Windows
from reflrp.arrays.namespaces import Array
from reflrp.arrays.tracing import arithmetic, moves, reductions, windows
from reflrp.arrays.tracing.array import array, term_of, together, trace_of
from reflrp.arrays.tracing.terms import Divided, Shape


def erf(x: Array) -> Array:
    """Return the error function."""
    return array(arithmetic.unary("Erf", x.term))


def scatter_add(size: int, index: Array, values: Array) -> Array:
    """Return `out` of `size` rows with `out[index[i]] += values[i]`."""
    trace = trace_of(index, values)
    at = arithmetic.cast(term_of(index, trace), np.int64)
    return array(reductions.scatter_add(size, at, term_of(values, trace)))


def pad(x: Array, frame: Windows, value: float = 0) -> Array:
    """Return x padded on its window axes."""
    return array(windows.framed(x.term, frame, value))


def conv(x: Array, w: Array, frame: Windows, groups: int = 1) -> Array:
    """Return the convolution of x with w."""
    one, two = together(x, w)
    return array(windows.conv(one, two, frame, groups))


def conv_transpose(s: Array, w: Array, frame: Windows, groups: int = 1) -> Array:
    """Return the transpose of `conv`."""
    one, two = together(s, w)
    return array(windows.conv_transpose(one, two, frame, groups))


def channel_sum(x: Array) -> Array:
    """Return the sum over the channels: a Conv with ones, at which runtimes are several times faster than at ReduceSum."""
    ones = np.ones((1, x.shape[1], *(1 for _ in x.shape[2:])), x.dtype)
    return array(windows.conv(x.term, x.term.trace.constant(ones), Windows.each(tuple(x.shape[2:])), 1))


def placed(x: Array, key: Any, shape: Shape) -> Array:
    """Return zeros of a shape with x at a key of slices."""
    return array(moves.placed(x.term, key, tuple(shape)))


def window_sum(x: Array, frame: Windows) -> Array:
    """Return the sum over each window."""
    trace = trace_of(x)
    return array(windows.window_sum(term_of(x, trace, trace.real), frame))


def window_spread(s: Array, frame: Windows) -> Array:
    """Return s added onto every entry of its window."""
    trace = trace_of(s)
    return array(windows.window_spread(term_of(s, trace, trace.real), frame))


def pool(x: Array, frame: Windows) -> Array:
    """Return the maximum of each window."""
    return array(windows.max_pool(x.term, frame)[0])


def pool_winners(x: Array, z: Array, frame: Windows) -> Array:
    """Return the number of the first entry of each window that is its maximum."""
    return array(windows.max_pool(x.term, frame)[1])


def pool_picked(x: Array, winners: Array, frame: Windows) -> Array:
    """Return the entries of x at the winners."""
    trace = winners.term.trace
    return array(windows.picked(term_of(x, trace, trace.real), winners.term, frame))


def pool_unpicked(s: Array, winners: Array, frame: Windows) -> Array:
    """Return s at the winners."""
    shape = (*s.shape[: s.ndim - len(frame.size)], *frame.size)
    trace = winners.term.trace
    return array(windows.unpicked(term_of(s, trace, trace.real), winners.term, frame, shape))


def divided(share: Any, R: Any, denominator: Any) -> None:
    """Tell the trace that a share is R over a denominator: of both as they are divided, where simplifications left it at that."""
    trace, found = share.term.trace, share.term
    while found.op in ("Neg", "Mul", "Where"):
        found = found.inputs[2 if found.op == "Where" else 0]
    if found.op != "Div":
        trace.denominators.append(Divided(denominator.term, term_of(R, trace, trace.real)))
    elif found.inputs[1].value is None:
        trace.denominators.append(Divided(found.inputs[1], found.inputs[0]))
