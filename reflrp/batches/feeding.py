"""What callers feed a model, checked against the ports of the file."""

from __future__ import annotations

from numbers import Rational
from typing import Any

import numpy as np

from reflrp.errors import InputError
from reflrp.ground import checks


def checked(name: str, x: Any, port: Any, active: bool, gaps: bool, exact: bool) -> np.ndarray:
    """Return one input as a host array whose numbers fit the port; what carries relevance is of a floating dtype.

    It is an array of our own: what a caller writes into theirs later changes no explanation. With `gaps`, a NaN is one that the
    model fills in; with `exact`, fractions are taken too.
    """
    array = checks.own(f"input {name!r}", x)
    if (
        exact
        and array.dtype.kind == "O"
        and port.dtype.kind == "f"
        and all(isinstance(v, Rational) for v in array.ravel())
    ):
        return array
    if "float" in array.dtype.name and array.dtype.kind != "f":  # bfloat16 and the 8-bit formats
        array = array.astype(np.float32)
    want_float = port.dtype.kind == "f" or "float" in port.dtype.name
    if array.dtype.name in ("int2", "int4", "uint2", "uint4"):
        array = array.astype(np.int8)
    if array.dtype.kind not in "fiub" or (not want_float and array.dtype.kind == "f"):
        raise InputError(f"input {name!r} has dtype {array.dtype}, but the model expects {port}")
    if array.dtype.kind == "f" and not np.isfinite(array).all() and not (gaps and not np.isinf(array).any()):
        bad = tuple(int(i) for i in np.argwhere(np.isinf(array) if gaps else ~np.isfinite(array))[0])
        raise InputError(f"input {name!r} holds a NaN or an infinity, first at index {bad}")
    if array.ndim and not array.shape[0]:
        raise InputError(f"input {name!r} has shape {array.shape}: there is no sample in it")
    if want_float:  # counted in whole numbers, they would overflow as such
        return array if array.dtype.kind == "f" else array.astype(np.float64)
    cast = array if array.dtype == port.dtype else array.astype(port.dtype)
    if cast is not array and (cast != array).any():
        raise InputError(f"input {name!r} holds numbers that {port.dtype} cannot, and the model expects {port}")
    return cast.astype(np.float64) if active else cast
