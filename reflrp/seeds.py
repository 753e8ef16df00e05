"""The initial relevance: an explicit array, shaped like the explained output.

Clauses: SEED-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from numbers import Rational
from typing import Any

import numpy as np

from reflrp.arrays.levels import exactly
from reflrp.errors import InputError, NonFiniteError
from reflrp.ground import checks

Target = Any
"""None, an int, an index tuple after the batch axis, a Contrast; or a list of such, one a sample."""

Index = tuple[int, ...]


@dataclass(frozen=True)
class Contrast:
    """One entry of the output against another: what speaks for `target` rather than for `against`.

    The initial relevance is R_target = f_target(x) and R_against = -f_against(x), with init="one" 1 and -1; all other
    entries have none. So relevance sums to f_target(x) - f_against(x), but for what biases and rules keep.

    Parameters
    ----------
    target, against : None, int, sequence of int, or tuple
        As `target=` of `reflrp.explain`, for all samples or one a sample; None is each sample's arg-max. Two different
        entries in each sample.

    Examples
    --------
    >>> reflrp.explain("model.onnx", x, target=reflrp.Contrast(3, 5))  # doctest: +SKIP

    """

    target: Any
    against: Any

    def __str__(self) -> str:
        """Return both entries in a few words."""
        return f"{label(self.target)} against {label(self.against)}"


Goal = Index | Contrast
"""What is explained of one sample: an entry of its output, or a Contrast of two."""


def targets(y: np.ndarray, target: Target) -> list[Goal]:
    """Return each sample's target as an index after the batch axis, or as a Contrast of two.

    Parameters
    ----------
    y : array (N, *shape)
        The explained output.
    target : None, int, tuple, Contrast, or sequence
        None: each sample's arg-max (the first, where several are equal). An int: that entry, for an output (N, K). A tuple
        of ints: an index after the batch axis, the same for each sample. A sequence of N of these: one a sample, as
        `Explanation.target` holds them.

    Raises
    ------
    InputError
        Where the target is out of range or does not fit the output's shape.

    """
    if not y.ndim:
        raise InputError("the output is one number without a batch axis; give init=, the relevance to start from")
    chosen = one_each(target, len(y))
    return [_goal(y[n], target if chosen is None else chosen[n], n) for n in range(len(y))]


def one_each(target: Target, count: int) -> list[Target] | None:
    """Return the targets of so many samples, where one is given for each; None where one is given for all."""
    if isinstance(target, Contrast):
        both = one_each(target.target, count), one_each(target.against, count)
        if both == (None, None):
            return None
        sides = zip(both, (target.target, target.against), strict=True)
        return list(map(Contrast, *([given] * count if each is None else each for each, given in sides)))
    if target is None or (isinstance(target, tuple) and not any(map(_compound, target))):
        return None
    if isinstance(target, tuple | list) and any(map(_compound, target)):
        found: Any = target
    else:
        array = checks.whole_array("target", target)
        if array is None or array.ndim > 2:
            raise _no_target(target)
        if not array.ndim:
            return None
        found = array if len(array) != count else [tuple(i) if array.ndim == 2 else i for i in array.tolist()]
    if len(found) != count:
        size = getattr(found, "size", len(found))
        shape = f" of the shape {np.shape(found)}" if getattr(found, "ndim", 1) > 1 else ""
        what = "ints" if hasattr(found, "ndim") else "targets"
        raise InputError(f"target holds {size} {what}{shape} for {count} samples; give one a sample")
    return list(found)


def _compound(target: Any) -> bool:
    """Return whether a target in a sequence is more than a number."""
    return target is None or isinstance(target, tuple | Contrast)


def _goal(y: np.ndarray, target: Target, n: int) -> Goal:
    """Return what is explained of sample n, whose output is y."""
    if isinstance(target, Contrast):
        goal = Contrast(_goal(y, target.target, n), _goal(y, target.against, n))
        if goal.target == goal.against or any(isinstance(side, Contrast) for side in (goal.target, goal.against)):
            raise InputError(f"target={goal} of sample {n} sets no entry against another: give two different ones")
        return goal
    if target is None:
        return tuple(int(i) for i in np.unravel_index(int(y.argmax()), y.shape)) if y.ndim and y.size else ()
    if isinstance(target, tuple):
        return _checked(target, y.shape)
    array = checks.whole_array("target", target)
    if array is None or array.ndim:
        raise _no_target(target)
    return _checked((int(array),), y.shape)


def _no_target(target: Any) -> InputError:
    return InputError(
        f"target={checks.shown(target)} must be None, an int, ints (one a sample), an index tuple, or a Contrast of two"
    )


def label(goal: Any) -> str:
    """Return a goal in a few letters: 3, (1, 4), or 3 against 5."""
    if isinstance(goal, tuple) and len(goal) == 1:
        return str(goal[0])
    return str(goal)


def value(y: np.ndarray, n: int, goal: Goal) -> float:
    """Return what the output says of sample n's goal; of a Contrast, the difference."""
    if isinstance(goal, Contrast):
        return value(y, n, goal.target) - value(y, n, goal.against)
    return float(y[(n, *goal)])


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


def seed(y: np.ndarray, where: list[Goal], init: Any) -> np.ndarray:
    """Return the initial relevance: R = f(x) or 1 at the target and 0 elsewhere, or the given array.

    Of a Contrast the second entry has -f(x) or -1.

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
    for n, goal in enumerate(where):
        plus, minus = (goal.target, goal.against) if isinstance(goal, Contrast) else (goal, None)
        R[(n, *plus)] = y[(n, *plus)] if init == "output" else 1
        if minus is not None:
            R[(n, *minus)] = -y[(n, *minus)] if init == "output" else -1
    if R.dtype != object and not np.isfinite(R).all():
        raise NonFiniteError(
            "the output is infinite at the target, so that it is no relevance to start from; use init='one'"
        )
    return R


def digest(init: Any, output: np.ndarray, turned: int = 0) -> str:
    """Return the SHA-256 of an array `init` for an output (N, ...), so that two runs are known to start from the same.

    It is of the text "float64 (N, ...)" and the numbers in row-major order, as little-endian float64, with the samples first and
    without the sign of zeros. `turned` is the axis of samples in an init that is shaped as the file has its output. "" for a word.
    """
    if isinstance(init, str):
        return ""
    R = checks.array("init", init).astype("<f8") + 0.0
    if turned and R.shape == np.moveaxis(output, 0, turned).shape:
        R = np.moveaxis(R, turned, 0)
    return sha256(f"float64 {R.shape}".encode() + R.tobytes()).hexdigest()
