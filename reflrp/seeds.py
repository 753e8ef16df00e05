"""The initial relevance: an explicit array, shaped like the explained output."""

from __future__ import annotations

from numbers import Rational
from typing import Any

import numpy as np

from reflrp.arrays.levels import exactly
from reflrp.errors import InputError, NonFiniteError
from reflrp.ground import checks

Target = Any
"""None, an int, ints (one a sample), or an index tuple after the batch axis."""

Index = tuple[int, ...]


def targets(y: np.ndarray, target: Target) -> list[Index]:
    """Return each sample's target as an index after the batch axis.

    Parameters
    ----------
    y : array (N, *shape)
        The explained output.
    target : None, int, sequence of int, or tuple
        None: each sample's arg-max (the first, where several are equal). An int: that entry, for an output (N, K).
        Ints, one a sample. A tuple: an index after the batch axis, the same for each sample.

    Raises
    ------
    InputError
        Where the target is out of range or does not fit the output's shape.

    """
    if not y.ndim:
        raise InputError("the output is one number without a batch axis; give init=, the relevance to start from")
    shape = y.shape[1:]
    if target is None:
        flat = y.reshape(len(y), -1).argmax(axis=1) if y.size else np.zeros(0, int)
        return [tuple(int(i) for i in np.unravel_index(k, shape)) if shape else () for k in flat]
    if isinstance(target, tuple):
        return [_checked(target, shape)] * len(y)
    found = checks.array("target", target)
    if found.dtype.kind not in "iu":
        raise InputError(f"target={checks.shown(target)} must be None, an int, ints (one a sample), or an index tuple")
    if found.ndim == 0:
        return [_checked((int(found),), shape)] * len(y)
    if found.shape != (len(y),):
        shape_ = "" if found.ndim == 1 else f" of the shape {found.shape}"
        raise InputError(f"target holds {found.size} ints{shape_} for {len(y)} samples; give one a sample")
    return [_checked((int(i),), shape) for i in found]


def _checked(index: tuple[Any, ...], shape: tuple[int, ...]) -> Index:
    if not all(isinstance(i, int | np.integer) and not isinstance(i, bool) for i in index):
        raise InputError(f"target={checks.shown(index)} must hold ints")
    if len(index) != len(shape):
        raise InputError(
            f"target {index} does not fit the output's shape (batch, {', '.join(map(str, shape))}); "
            f"give a tuple of {len(shape)} indices"
        )
    if not all(-n <= i < n for i, n in zip(index, shape, strict=True)):
        raise InputError(f"target {index} is out of range for the output's shape (batch, {', '.join(map(str, shape))})")
    return tuple(int(i) % n for i, n in zip(index, shape, strict=True))


def seed(y: np.ndarray, where: list[Index], init: Any) -> np.ndarray:
    """Return the initial relevance: R = f(x) or 1 at the target and 0 elsewhere, or the given array.

    Raises InputError for an unknown init, or an array that is not shaped like the output.
    """
    if not isinstance(init, str):
        given = checks.array("init", init)
        if given.shape != y.shape:
            raise InputError(f"init has shape {given.shape}, but the explained output has {y.shape}")
        if y.dtype == object and all(isinstance(v, Rational | float | np.integer) for v in given.ravel()):
            return exactly(given)
        if given.dtype.kind not in "fiub":
            raise InputError(f"init must be an array of finite numbers, and not of {given.dtype}")
        with np.errstate(over="ignore"):
            cast = given.astype(y.dtype)
        if not np.isfinite(cast).all():
            raise InputError(f"init must be an array of finite numbers in {y.dtype}")
        return cast
    if init not in ("output", "one"):
        raise InputError(
            f"init={checks.shown(init)} is unknown; use 'output', 'one', or an array shaped like the output"
        )
    R = np.zeros_like(y)
    for n, index in enumerate(where):
        R[(n, *index)] = y[(n, *index)] if init == "output" else 1
    if R.dtype != object and not np.isfinite(R).all():
        raise NonFiniteError(
            "the output is infinite at the target, so that it is no relevance to start from; use init='one'"
        )
    return R
