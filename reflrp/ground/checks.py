"""What callers give, checked where it enters: each check returns the value in its plain form, or says what was expected.

`error` is the class to raise: InputError for arguments of a call, RuleError for what rules and composites are made of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from os import PathLike
from pathlib import Path
from reprlib import Repr
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.arrays import to_host
from reflrp.errors import InputError, ReflrpError

MOST_AXES = 64
"""What has more axes, no array has (NumPy)."""

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80

Error = type[ReflrpError]


def shown(value: Any) -> str:
    """Return a short text of any value, for a message."""
    try:
        return " ".join(_SHORT.repr(value).split())
    except Exception:  # a value whose own text fails
        return f"<{type(value).__name__}>"


def refuse(name: str, value: Any, wanted: str, error: Error = InputError) -> ReflrpError:
    """Return the error that an argument is not what was wanted."""
    return error(f"{name}={shown(value)} must be {wanted}")


def flag(name: str, value: Any, error: Error = InputError) -> bool:
    """Return a truth value."""
    if not isinstance(value, bool | np.bool_):
        raise refuse(name, value, "True or False", error)
    return bool(value)


def optional_flag(name: str, value: Any) -> bool | None:
    """Return a truth value, or None."""
    if value is not None and not isinstance(value, bool | np.bool_):
        raise refuse(name, value, "True, False or None")
    return None if value is None else bool(value)


def whole(name: str, value: Any, least: int | None = None, error: Error = InputError) -> int:
    """Return an int, of at least `least`."""
    fits = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not fits or (least is not None and value < least):
        raise refuse(name, value, "an int" if least is None else f"an int of at least {least}", error)
    return int(value)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite real number, a fraction included."""
    try:
        return isinstance(value, Real | bool) and not isinstance(value, bool) and math.isfinite(float(value))
    except OverflowError:  # an int beyond what floats hold
        return False


def number(name: str, value: Any, error: Error = InputError) -> None:
    """Check that a value is a finite number."""
    if not is_number(value):
        raise refuse(name, value, "a finite number", error)


def text(name: str, value: Any, error: Error = InputError) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise refuse(name, value, "a text", error)
    return str(value)


def choice(name: str, value: Any, choices: Sequence[str], error: Error = InputError) -> str:
    """Return one of a few texts. What is no text is not compared: an array of any size may stand there."""
    if not isinstance(value, str) or value not in choices:
        raise error(f"{name}={shown(value)} is unknown; use {listed(choices)}")
    return str(value)


def listed(choices: Sequence[str]) -> str:
    """Return texts as a list in words: `'a', 'b' or 'c'`."""
    *first, last = map(repr, choices)
    return f"{', '.join(first)} or {last}" if first else last


def texts(name: str, value: Any, error: Error = InputError) -> tuple[str, ...]:
    """Return texts as a tuple; one text stands for itself alone."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Sequence | set | frozenset) or not all(isinstance(v, str) for v in value):
        raise refuse(name, value, "a text or a list of texts", error)
    return tuple(value)


def listed_things(name: str, value: Any, wanted: str, error: Error = InputError) -> tuple[Any, ...]:
    """Return a list, a tuple or an iterator of any things as a tuple; None is none of them.

    A text, a dict or an array is no list, though each can be iterated: an array of any size may stand there.
    """
    if value is None:
        return ()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable) or hasattr(value, "dtype"):
        raise refuse(name, value, wanted, error)
    return tuple(value)


def mapping(name: str, value: Any, wanted: str, error: Error = InputError) -> Mapping[str, Any]:
    """Return a dict whose keys are texts."""
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        raise refuse(name, value, wanted, error)
    return value


def shape(name: str, value: Any) -> tuple[int, ...]:
    """Return a shape as a tuple of ints."""
    rows = value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 and value.size <= MOST_AXES else value
    if isinstance(rows, str | bytes | Mapping) or not hasattr(rows, "__iter__") or hasattr(rows, "dtype"):
        raise refuse(name, value, "a shape: a tuple of ints")
    return tuple(whole(f"{name}: a size", n, 0) for n in rows)


def path(name: str, value: Any) -> Path:
    """Return a path."""
    found = value.__fspath__() if isinstance(value, PathLike) else value
    if not isinstance(found, str) or "\0" in found:
        raise refuse(name, value, "the path of a file")
    return Path(found)


def array(name: str, value: Any) -> np.ndarray:
    """Return an array on the host; lists of numbers become one. What it holds is for the caller to check.

    Raises InputError for what is no array, and where entries are masked: what lies under a mask would be taken for a number.
    """
    try:
        found, gaps = to_host(value), masked(value)
    except Exception as error:
        raise InputError(f"{name} is no array of numbers: {type(error).__name__}: {error}") from error
    if not isinstance(found, np.ndarray):
        raise InputError(f"{name} is no array of numbers, but a {type(found).__name__}")
    if gaps:
        raise InputError(
            f"{name} has masked entries ({gaps} of {found.size}), which have no value: give array.filled(value) with a value to "
            "stand there, as the network was trained with, or leave out their samples"
        )
    return found


def whole_array(name: str, value: Any) -> np.ndarray | None:
    """Return an array of ints; None for any other, as a list with a True among its ints, which NumPy would take for a 1."""
    found = array(name, value)
    return found if found.dtype.kind in "iu" and not _flags(value) else None


def _flags(value: Any) -> bool:
    """Return whether a list has truth values among its parts."""
    if isinstance(value, list | tuple):
        return any(map(_flags, value))
    return isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) == np.bool_


def own(name: str, value: Any) -> np.ndarray:
    """Return a copy of an array on the host, which nobody else writes into.

    It takes the room that a caller found for theirs once more. Only what is broadcast, or read in windows, has more entries than
    there are in memory: such a copy is held to the limit, and TooLarge raised beyond it.
    """
    found = array(name, value)
    start, end = np.lib.array_utils.byte_bounds(found)
    if found.nbytes > end - start:
        limits.check_array(name, found.shape, found.itemsize)
    return np.array(found)


def masked(value: Any) -> int:
    """Return how many entries are masked in an array of numpy.ma, or in a list with such among its parts."""
    if isinstance(value, list | tuple):
        return sum(masked(part) for part in value)
    return int(np.ma.getmaskarray(value).sum()) if isinstance(value, np.ma.MaskedArray) else 0


def number_name(dtype: Any) -> str:
    """Return the name of a float dtype, or "exact"."""
    return "exact" if isinstance(dtype, str) and dtype == "exact" else float_name(dtype)


def float_name(dtype: Any) -> str:
    """Return the name of a float dtype, given by name or as np.float32, np.dtype("float64") and the like.

    Raises InputError for any other.
    """
    name = dtype
    if isinstance(dtype, np.dtype) or (isinstance(dtype, type) and issubclass(dtype, float | np.generic)):
        name = np.dtype(dtype).name
    if not isinstance(name, str) or name not in ("float64", "float32"):
        raise InputError(f"dtype={shown(dtype)} is unknown; use 'float64' or 'float32'")
    return name
