"""Array namespaces, and the few helpers that formulas use. The only file that names CuPy.

A formula is written with `+ - * / **`, `L(...)`, `L.T(...)` and the helpers below. It sees no namespace, no
dtype and no device, so it runs on NumPy, CuPy, any array-API library, on object arrays of
`fractions.Fraction`, and on symbolic arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from math import isfinite
from numbers import Number, Rational
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import numpy as np

from reflrp.arrays.blocks import sum_of_magnitudes
from reflrp.arrays.tracing.dims import is_open
from reflrp.arrays.zero import ZERO
from reflrp.errors import InputError

Array = Any
"""An array of any array-API library (numpy.ndarray, cupy.ndarray, ...)."""


P = ParamSpec("P")
T = TypeVar("T")


def namespace(*arrays: Array) -> ModuleType:
    """Return the array namespace: numpy for NumPy arrays (object arrays too), else the arrays' own.

    NumPy arrays among symbolic ones are constants of the graph.
    """
    for x in arrays:
        if isinstance(x, np.ndarray | np.generic | Number):
            continue
        if is_symbolic(x):
            return _symbolic()
        import array_api_compat

        found: ModuleType = array_api_compat.array_namespace(x)
        return found
    return np


class Symbolic:
    """What all symbolic arrays are: an operation on one writes a part of a graph."""

    __slots__ = ()


SYMBOLIC: list[ModuleType] = []
"""The namespace of symbolic arrays, once it is imported; only who makes such arrays imports it."""


def enter_symbolic(module: ModuleType) -> None:
    """Make a module the namespace of symbolic arrays: `reflrp.arrays.symbolic` enters itself."""
    SYMBOLIC[:] = [module]


def _symbolic() -> ModuleType:
    if not SYMBOLIC:
        raise InputError("symbolic arrays need their namespace: import reflrp.arrays.symbolic first")
    return SYMBOLIC[0]


def is_symbolic(x: Array) -> bool:
    """Return whether an operation on `x` writes a part of a graph."""
    return isinstance(x, Symbolic)


def is_exact(x: Array) -> bool:
    """Return whether `x` holds fractions; NumPy hands those without axes around bare."""
    return isinstance(x, Rational) or (isinstance(x, np.ndarray) and x.dtype.kind == "O")


def twinned(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that has a twin of the same name in `reflrp.arrays.symbolic`, which serves symbolic arrays."""

    @wraps(function)
    def either(*args: P.args, **kwargs: P.kwargs) -> T:
        for a in args:
            if not isinstance(a, np.ndarray) and (is_symbolic(a) or getattr(a, "is_open", False)):
                found: T = getattr(_symbolic(), function.__name__)(*args, **kwargs)
                return found
        return function(*args, **kwargs)

    return either


def add(*terms: Array) -> Array:
    """Return the sum of the terms, but for those that are ZERO (which not every library takes on the right of `+`)."""
    kept = [x for x in terms if x is not ZERO]
    return sum(kept[1:], kept[0]) if kept else ZERO


def pos(x: Array) -> Array:
    """Return x+ = max(x, 0), elementwise."""
    return ZERO if x is ZERO else namespace(x).maximum(x, 0)


def neg(x: Array) -> Array:
    """Return x- = min(x, 0), elementwise (so x = x+ + x-)."""
    return ZERO if x is ZERO else namespace(x).minimum(x, 0)


def square(x: Array) -> Array:
    """Return x**2, elementwise."""
    return x**2


def ones_like(x: Array) -> Array:
    """Return an array of ones with the shape and dtype of `x`; among fractions, fractions (1 / 3 would be a float)."""
    return 0 * x + 1 if is_exact(x) else namespace(x).ones_like(x)


def where(condition: Array, x: Array, y: Array) -> Array:
    """Return `x` where the condition holds, else `y`."""
    return namespace(condition, x, y).where(condition, x, y)


def only(x: Array, condition: Array) -> Array:
    """Return `x` where the condition holds, else 0 * x.

    On NumPy it is a product: a choice between two arrays costs ten times that where the condition is hard to foresee.
    """
    if isinstance(x, np.ndarray) and isinstance(condition, np.ndarray) and x.dtype.kind == "f":
        return x * condition
    return where(condition, x, 0 * x)


def sign(x: Array, threshold: Array = 0) -> Array:
    """Return +1 where x >= threshold and -1 elsewhere, so sgn 0 = +1."""
    return 2 * namespace(x).astype(x >= threshold, x.dtype) - 1


def away_from_zero(x: Array, epsilon: Any) -> Array:
    """Return x + epsilon sgn x, with sgn 0 = +1 (x + 0 makes +0 of -0)."""
    xp = namespace(x)
    if x.dtype == object or is_symbolic(x) or np.ndim(epsilon):
        return where(x >= 0, x + epsilon, x - epsilon)
    if isinstance(x, np.ndarray):
        out = np.asarray(x + 0)
        np.copysign(x.dtype.type(epsilon), out, out=out)
    else:
        out = xp.copysign(xp.asarray(epsilon, dtype=x.dtype), x + 0)
    out += x
    return out


def fits(shape: tuple[int, ...], into: tuple[int, ...]) -> bool:
    """Return whether an array of a shape can be broadcast into another shape."""
    pairs = zip(reversed(shape), reversed(into), strict=False)
    return len(shape) <= len(into) and all(m in (1, n) for m, n in pairs)


def full_like(x: Array, value: Any) -> Array:
    """Return `value` (a scalar or an array) broadcast against `x`, in the namespace and dtype of `x`.

    Raises InputError for an array that does not fit.
    """
    xp = namespace(x)
    if isinstance(value, np.ndarray | np.generic):
        if not fits(value.shape, x.shape):
            raise InputError(f"an array of shape {value.shape} does not fit values of shape {tuple(x.shape)}")
        value = xp.asarray(value, dtype=x.dtype) if value.ndim else value.item()
    return value + xp.zeros_like(x)


def unbroadcast(x: Array, shape: tuple[int, ...]) -> Array:
    """Sum `x` over the axes along which `shape` was broadcast: the transpose of broadcasting."""
    if isinstance(x, np.ndarray) and is_open(shape) and not x.any():
        return _symbolic().full(shape, 0, dtype=x.dtype)  # with one entry for all of an open length
    xp = namespace(x)
    lead = x.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1 and x.shape[lead + i] != 1)
    total = xp.sum(x, axis=axes, keepdims=True) if axes else x
    return total if total.shape == tuple(shape) else xp.reshape(total, tuple(shape))


@twinned
def scatter_add(size: int, index: Array, values: Array) -> Array:
    """Return an array `out` of `size` rows with `out[index[i]] += values[i]`: the transpose of `take`."""
    xp = namespace(values)
    if xp is np:
        out = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
        np.add.at(out, index, values)
        return out
    if "cupy" in xp.__name__:
        return _cupy_scatter_add(xp, size, index, values)
    return xp.asarray(scatter_add(size, np.asarray(index), np.asarray(values)))


def _cupy_scatter_add(xp: ModuleType, size: int, index: Array, values: Array) -> Array:
    import cupyx

    out = xp.zeros((size, *values.shape[1:]), dtype=values.dtype)
    cupyx.scatter_add(out, index, values)
    return out


@twinned
def total(x: Array) -> Any:
    """Return the sum of all entries as a Python number (a float, or a Fraction on exact arrays)."""
    if x is ZERO:
        return 0
    xp = namespace(x)
    if is_exact(x):
        return xp.sum(x)
    with np.errstate(over="ignore", invalid="ignore"):
        value = xp.sum(x)
    if not isfinite(value) and x.dtype != xp.float64:  # all may be finite, and only their sum too large for the dtype
        value = xp.sum(x, dtype=xp.float64)
    return float(value)


@twinned
def magnitude(x: Array) -> Any:
    """Return the sum of all entries' absolute values as a Python number."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "f" and isfinite(value := sum_of_magnitudes(x)):
        return value
    return total(abs(x))


def finite(x: Array) -> Array:
    """Return x with 0 in place of infinities: what a mask of -inf contributes."""
    if not is_symbolic(x) and isfinite(total(x)):
        return x
    return where(abs(x) < np.inf, x, namespace(x).zeros_like(x))


@twinned
def inner(x: Array, y: Array) -> Any:
    """Return sum(x * y), with broadcasting, as a Python number. An infinite x (a mask) counts as 0."""
    if x is ZERO or y is ZERO:
        return 0
    if is_exact(x):
        return total(x * y)
    if isinstance(x, np.ndarray) and x.shape == y.shape:
        with np.errstate(over="ignore", invalid="ignore"):
            value = _inner(x, y)
        return value if isfinite(value) else _inner(finite(x), y)
    x = finite(x)
    return total(x * unbroadcast(y, x.shape) if x.ndim <= y.ndim else x * y)


def _inner(x: np.ndarray, y: np.ndarray) -> float:  # by vdot, BLAS would wait for its threads on a busy machine
    return float(np.einsum("i,i->", x.reshape(-1), y.reshape(-1)))


def special(x: Array) -> ModuleType:
    """Return the module with erf and kin that goes with the array: scipy.special or cupyx.scipy.special."""
    if "cupy" in type(x).__module__:
        import cupyx.scipy.special as module
    else:
        import scipy.special as module
    found: ModuleType = module
    return found


@twinned
def erf(x: Array) -> Array:
    """Return the error function of `x`, elementwise."""
    xp = namespace(x)
    if xp is np or "cupy" in xp.__name__:
        return special(x).erf(x)
    return xp.asarray(special(np.asarray(x)).erf(np.asarray(x)), dtype=x.dtype)


def to_host(x: Array) -> np.ndarray:
    """Return `x` as a NumPy array on the host."""
    return x.get() if "cupy" in type(x).__module__ else np.asarray(x)


def backend_namespace(backend: str) -> ModuleType:
    """Return the namespace of a backend's name.

    Raises
    ------
    InputError
        For an unknown backend, and for "cupy" where CuPy or a GPU is missing.

    """
    if backend == "numpy":
        return np
    if backend == "cupy":
        try:
            import cupy

            cupy.cuda.runtime.getDeviceCount()
        except Exception as error:
            raise InputError(
                f"backend='cupy' needs CuPy and a CUDA device ({error}); pip install 'reflrp[cuda12]'"
            ) from error
        found: ModuleType = cupy
        return found
    raise InputError(f"backend={backend!r} is unknown; use 'numpy', 'cupy', 'onnxruntime' or 'auto'")
