"""The namespace of symbolic arrays: each operation on one writes a node of an ONNX graph.

`arrays.namespace` gives this module for the arrays of ndonnx, an array-API library over spox. What is not defined
here is ndonnx's own function. Defined here are the twins of what ndonnx lacks (windows, convolutions, scatter-add) and
of what it writes clumsily: its `@` comes with guards of Size, Equal and If, its `zeros_like` with an Expand, its `std`
with arithmetic on shapes.

Constants, that is weights, biases and all that is derived from them, stay NumPy arrays while a formula is traced. So
they are computed once, and enter the graph as a Constant only where they meet a symbolic array.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import ndonnx
import numpy as np
from spox import Var
from spox.opset.ai.onnx import v21

from reflrp.arrays.kernels import Ints, Windows
from reflrp.arrays.namespaces import Array, enter_symbolic, is_symbolic

op: Any = v21
"""The operators; untyped, since most come from older opsets by imports that type checkers do not follow."""


def __getattr__(name: str) -> Any:
    """Return ndonnx's function of that name, which then takes NumPy arrays too; of those alone, NumPy's answer."""
    if name.startswith("__"):
        raise AttributeError(name)
    found = getattr(ndonnx, name)
    return _mixed(found) if callable(found) else found


def _mixed(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        arrays = [x for arg in args for x in (arg if isinstance(arg, list) else [arg])]
        if any(map(_constant, arrays)) and not any(map(is_symbolic, arrays)):
            return getattr(np, function.__name__)(*args, **options)
        return function(*map(_lifted, args), **options)

    return call


def _constant(x: Any) -> bool:
    return isinstance(x, np.ndarray | np.generic)


def _lifted(x: Any) -> Any:
    """Return a NumPy array, or each one in a list of arrays, as a symbolic constant."""
    if isinstance(x, list):
        return [_lifted(item) for item in x]
    return ndonnx.asarray(np.asarray(x)) if _constant(x) else x


def _var(x: Array) -> Var:
    found: Var = ndonnx.asarray(x).unwrap_spox()
    return found


def _array(var: Var) -> Array:
    return ndonnx.asarray(var)


def _ints(values: Any) -> Var:
    found: Var = op.const(np.asarray(values, dtype=np.int64))
    return found


def asarray(x: Any, *, dtype: Any = None) -> Array:
    """Return a symbolic array as it is, and anything else as a NumPy constant."""
    if isinstance(x, ndonnx.Array):
        return x if dtype is None else x.astype(dtype)
    return np.asarray(x, dtype=None if dtype is None else dtype.unwrap_numpy())


def full_like(x: Array, value: Any) -> np.ndarray:
    """Return a NumPy constant that broadcasts to the shape of `x`: an axis of unknown length gets length 1."""
    shape = tuple(1 if n is None else n for n in x.shape)
    return np.full(shape, value, dtype=x.dtype.unwrap_numpy())


def ones_like(x: Array) -> np.ndarray:
    """Return ones as a NumPy constant."""
    return full_like(x, 1)


def zeros_like(x: Array) -> np.ndarray:
    """Return zeros as a NumPy constant."""
    return full_like(x, 0)


def matmul(x: Array, y: Array) -> Array:
    """Return x @ y: one MatMul node."""
    return _array(op.matmul(_var(x), _var(y)))


def mean(x: Array, *, axis: int | Ints | None = None, keepdims: bool = False) -> Array:
    """Return the mean over the axes: one ReduceMean node."""
    axes = None if axis is None else _ints(np.atleast_1d(np.asarray(axis, dtype=np.int64)))
    found = op.reduce_mean(_var(x), axes, keepdims=int(keepdims), noop_with_empty_axes=int(axis is not None))
    return _array(found)


def std(x: Array, *, axis: int | Ints | None = None, keepdims: bool = False) -> Array:
    """Return the population standard deviation over the axes."""
    deviation = x - mean(x, axis=axis, keepdims=True)
    return ndonnx.sqrt(mean(deviation * deviation, axis=axis, keepdims=keepdims))


def erf(x: Array) -> Array:
    """Return the error function: one Erf node."""
    return _array(op.erf(_var(x)))


def scatter_add(size: int, index: Array, values: Array) -> Array:
    """Return `out` of `size` rows with `out[index[i]] += values[i]`: one ScatterND node."""
    start = np.zeros((size, *values.shape[1:]), dtype=values.dtype.unwrap_numpy())
    places = np.asarray(index, dtype=np.int64)[:, None]
    return _array(op.scatter_nd(_var(start), _ints(places), _var(values), reduction="add"))


def pad(x: Array, windows: Windows, value: float = 0) -> Array:
    """Return `x` padded with `value` on its window axes: one Pad node."""
    if windows.padded == windows.size:
        return x
    lead = (0,) * (x.ndim - len(windows.size))
    filler = op.const(np.asarray(value, dtype=x.dtype.unwrap_numpy()))
    return _array(op.pad(_var(x), _ints((*lead, *windows.begin, *lead, *windows.end)), filler))


def window_sum(x: Array, windows: Windows) -> Array:
    """Return the sum over each window: one Conv node with ones. Shapes: x (N, C, *size), result (N, C, *out)."""
    return conv(x, _one_each(x, windows), windows, x.shape[1])


def window_spread(s: Array, windows: Windows) -> Array:
    """Return s added onto every entry of its window: one ConvTranspose node. Shapes: s (N, C, *out)."""
    return conv_transpose(s, _one_each(s, windows), windows, s.shape[1])


def _one_each(x: Array, windows: Windows) -> np.ndarray:
    return np.ones((x.shape[1], 1, *windows.kernel), dtype=x.dtype.unwrap_numpy())


def conv(x: Array, w: Array, windows: Windows, groups: int = 1) -> Array:
    """Return the convolution of x with w: one Conv node."""
    found = op.conv(
        _var(x),
        _var(w),
        dilations=windows.dilations,
        group=groups,
        kernel_shape=windows.kernel,
        pads=(*windows.begin, *windows.end),
        strides=windows.strides,
    )
    return _array(found)


def conv_transpose(s: Array, w: Array, windows: Windows, groups: int = 1) -> Array:
    """Return the transpose of `conv`: one ConvTranspose node.

    Entries behind the last window, where the strides do not divide, come out of `output_padding`.
    """
    spans = zip(windows.padded, windows.out, windows.strides, windows.dilations, windows.kernel, strict=True)
    behind = tuple(n - (m - 1) * s - d * (k - 1) - 1 for n, m, s, d, k in spans)
    found = op.conv_transpose(
        _var(s),
        _var(w),
        dilations=windows.dilations,
        group=groups,
        kernel_shape=windows.kernel,
        output_padding=behind,
        pads=(*windows.begin, *windows.end),
        strides=windows.strides,
    )
    return _array(found)


enter_symbolic(sys.modules[__name__])
