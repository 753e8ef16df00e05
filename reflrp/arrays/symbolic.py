"""The namespace of symbolic arrays: each operation on one writes a term of a graph (`arrays/tracing`).

`arrays.namespace` gives this module for symbolic arrays. It has the functions of the array API that formulas use, and the
twins of what the other files of `arrays/` compute by slices and loops. Every function takes NumPy
arrays as constants: what depends on constants alone is computed at once, and enters the graph only where it meets a
symbolic array.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import numpy as np

from reflrp.arrays.namespaces import Array, Symbolic, enter_symbolic
from reflrp.arrays.tracing import arithmetic, moves, reductions
from reflrp.arrays.tracing.array import Numbers, SymbolicArray, array, combined, term_of, together, trace_of
from reflrp.arrays.tracing.counts import laid, numbers, ones_of, running  # noqa: F401 (twins)
from reflrp.arrays.tracing.dims import Dim, Unsettled
from reflrp.arrays.tracing.reductions import Axes
from reflrp.arrays.tracing.rows import add_along_axis, fmod, take_along_axis  # noqa: F401 (twins)
from reflrp.arrays.tracing.tallies import inner, magnitude, total  # noqa: F401 (twins)
from reflrp.arrays.tracing.terms import Shape, Term, Trace, still
from reflrp.arrays.tracing.twins import (
    channel_sum,
    conv,
    conv_transpose,
    divided,
    erf,
    pad,
    placed,
    pool,
    pool_picked,
    pool_unpicked,
    pool_winners,
    scatter_add,
    window_spread,
    window_sum,
)
from reflrp.arrays.tracing.where import where as where_term

float32, float64, int32, int64, bool_ = np.float32, np.float64, np.int32, np.int64, np.bool_

__all__ = [
    "SymbolicArray", "channel_sum", "conv", "conv_transpose", "divided", "erf", "pad", "placed", "pool", "pool_picked",
    "pool_unpicked", "pool_winners", "scatter_add", "window_spread", "window_sum",
]  # the twins, beside what is defined here  # fmt: skip

UNARY = {
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "tanh": "Tanh", "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Asin",
    "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh",
    "floor": "Floor", "ceil": "Ceil", "round": "Round", "sign": "Sign", "erf": "Erf", "isnan": "IsNaN", "isinf": "IsInf",
    "abs": "Abs", "logical_not": "Not",
}  # fmt: skip
BINARY = {"maximum": "Max", "minimum": "Min", "pow": "Pow", "add": "Add", "multiply": "Mul", "logical_and": "And"}


def _unary(op: str, x: Array) -> Array:
    return array(arithmetic.unary(op, x.term))


def _mixed(function: Callable[..., Array]) -> Callable[..., Array]:
    """Decorate a function of one array that is NumPy's own where the array is a constant."""

    @wraps(function)
    def either(x: Array, *args: Any, **options: Any) -> Array:
        if isinstance(x, Symbolic):
            return function(x, *args, **options)
        return getattr(np, function.__name__)(x, *args, **options)

    return either


def _mixed_named(name: str) -> Callable[..., Array]:
    def function(x: Array) -> Array:
        return _unary(UNARY[name], x) if isinstance(x, Symbolic) else getattr(np, name)(x)

    return function


def __getattr__(name: str) -> Any:
    """Return the elementwise function of that name."""
    if name in UNARY:
        return _mixed_named(name)
    if name in BINARY:
        return partial(combined, BINARY[name])
    raise AttributeError(f"symbolic arrays have no {name!r}")


def argument(trace: Trace, name: str, shape: Shape, dtype: Any = np.float32, **known: bool) -> Array:
    """Return the array of a value of the graph, of which `nonneg` and `finite` may be known."""
    return SymbolicArray(trace.named(name, shape, np.dtype(dtype), **known))


def _moved(function: Callable[..., Term], x: Array, *args: Any) -> Array:
    return array(function(x.term, *args))


def asarray(x: Any, *, dtype: Any = None) -> Array:
    """Return a symbolic array as it is, and anything else as a NumPy constant."""
    if isinstance(x, Symbolic):
        return x if dtype is None else astype(x, dtype)
    return np.asarray(x, dtype=dtype)


def astype(x: Array, dtype: Any, copy: bool = True) -> Array:
    """Return x in a dtype."""
    return x.astype(dtype) if isinstance(x, np.ndarray) else array(arithmetic.cast(x.term, dtype))


@_mixed
def trunc(x: Array) -> Array:
    """Return x, rounded towards zero."""
    if not isinstance(x, Symbolic):
        return np.trunc(x)
    return _unary("Sign", x) * _unary("Floor", _unary("Abs", x))


def log1p(x: Array) -> Array:
    """Return log(1 + x)."""
    return _unary("Log", 1 + x)


@_mixed
def expm1(x: Array) -> Array:
    """Return exp(x) - 1."""
    return _unary("Exp", x) - 1


@_mixed
def isfinite(x: Array) -> Array:
    """Return where x is no NaN and no infinity."""
    return abs(x) < np.inf


def where(condition: Array, x: Array, y: Array) -> Array:
    """Return x where the condition holds, else y."""
    trace = trace_of(condition, x, y)
    if any(isinstance(v, Symbolic) for v in (x, y)):
        one, two = together(x, y)
    else:
        dtype = np.result_type(x, y)
        dtype = trace.real if dtype == np.float64 and np.ndim(x) == np.ndim(y) == 0 else dtype
        one, two = term_of(x, trace, dtype), term_of(y, trace, dtype)
    return array(where_term(term_of(condition, trace), one, two))


def full(shape: Shape, value: Any, *, dtype: Any) -> np.ndarray:
    """Return a NumPy constant; an axis whose length depends on the batch size gets length 1."""
    return np.full(still(tuple(shape)), value, dtype=dtype)


def full_like(x: Array, value: Any) -> np.ndarray:
    """Return a NumPy constant that broadcasts to the shape of x."""
    return full(x.shape, value, dtype=x.dtype)


def ones_like(x: Array) -> np.ndarray:
    """Return ones as a NumPy constant."""
    return full_like(x, 1)


def zeros_like(x: Array) -> np.ndarray:
    """Return zeros as a NumPy constant."""
    return full_like(x, 0)


def arange(n: int) -> Any:
    """Return 0, 1 .. n-1 as a NumPy constant; of an open length, as what becomes a term where it meets one."""
    return Numbers(n) if isinstance(n, Dim) else np.arange(n)


@_mixed
def reshape(x: Array, shape: Any) -> Array:
    """Return x in another shape."""
    return _moved(moves.reshape, x, tuple(shape) if isinstance(shape, tuple | list) else (shape,))


@_mixed
def permute_dims(x: Array, axes: Any) -> Array:
    """Return x with its axes permuted."""
    return _moved(moves.permute, x, tuple(axes))


@_mixed
def matrix_transpose(x: Array) -> Array:
    """Return x with its last two axes exchanged."""
    return array(reductions.transposed(x.term))


@_mixed
def moveaxis(x: Array, source: int, destination: int) -> Array:
    """Return x with one axis moved to another place."""
    order = [i for i in range(x.ndim) if i != source % x.ndim]
    order.insert(destination % x.ndim, source % x.ndim)
    return permute_dims(x, order)


def broadcast_to(x: Array, shape: Shape) -> Array:
    """Return x broadcast to a shape; a constant keeps one entry for all along an axis of an open length."""
    if isinstance(x, Symbolic):
        return _moved(moves.expand, x, tuple(shape))
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, still(tuple(shape))))


@_mixed
def flip(x: Array, *, axis: int) -> Array:
    """Return x with an axis reversed."""
    return _moved(moves.flip, x, axis)


def concat(arrays: Any, *, axis: int = 0) -> Array:
    """Return arrays side by side."""
    return array(moves.concat(together(*arrays), axis))


def stack(arrays: Any, *, axis: int = 0) -> Array:
    """Return arrays on a new first axis."""
    if axis:
        raise Unsettled("symbolic arrays are stacked on a first axis only")
    return array(moves.stack(together(*arrays)))


def take(x: Array, index: Array, *, axis: int) -> Array:
    """Return the rows that the index names."""
    trace = trace_of(x, index)
    dtype = trace.real if x.dtype.kind == "f" else None
    return array(reductions.take(term_of(x, trace, dtype), arithmetic.cast(term_of(index, trace), np.int64), axis))


def _reduced(op: str, x: Array, axis: Axes = None, keepdims: bool = False) -> Array:
    return array(reductions.reduced(op, x.term, axis, keepdims))


@_mixed
def sum(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """Return the sum over the axes."""
    return _reduced("ReduceSum", x, axis, keepdims)


@_mixed
def mean(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """Return the mean over the axes."""
    return _reduced("ReduceMean", x, axis, keepdims)


@_mixed
def max(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """Return the maximum over the axes."""
    return _reduced("ReduceMax", x, axis, keepdims)


@_mixed
def min(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """Return the minimum over the axes."""
    return _reduced("ReduceMin", x, axis, keepdims)


@_mixed
def std(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """Return the population standard deviation over the axes."""
    deviation = x - mean(x, axis=axis, keepdims=True)
    return _unary("Sqrt", mean(deviation * deviation, axis=axis, keepdims=keepdims))


@_mixed
def argmax(x: Array, *, axis: int, keepdims: bool = False) -> Array:
    """Return the place of the first maximum along an axis."""
    return array(reductions.best("ArgMax", x.term, axis, keepdims))


@_mixed
def argmin(x: Array, *, axis: int, keepdims: bool = False) -> Array:
    """Return the place of the first minimum along an axis."""
    return array(reductions.best("ArgMin", x.term, axis, keepdims))


def matmul(x: Array, y: Array) -> Array:
    """Return the matrix product."""
    one, two = together(x, y)
    return array(reductions.matmul(one, two))


def einsum(equation: str, x: Array, y: Array, optimize: bool = True) -> Array:
    """Return the sum over all letters that the result lacks."""
    one, two = together(x, y)
    return array(reductions.einsum(equation, one, two))


enter_symbolic(sys.modules[__name__])
