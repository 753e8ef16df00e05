"""The number types of ONNX as NumPy has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx


def is_float(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype is a floating one, bfloat16 and the 8-bit formats included."""
    return dtype.kind == "f" or "float" in dtype.name


def is_integer(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype is one of integers, those of four bits included."""
    return integer_bits(dtype) > 0


def is_narrow(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype is one of integers of at most 16 bits: too few to count with, and what models quantise to."""
    return 0 < integer_bits(dtype) <= 16


def integer_bits(dtype: np.dtype[Any]) -> int:
    """Return how many bits an integer type has; 0 for any other type."""
    found = re.fullmatch(r"u?int(\d+)", dtype.name)
    return int(found[1]) if found else 0


def integer_bounds(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the least and the largest number of an integer type."""
    bits = integer_bits(dtype)
    if dtype.name.startswith("u"):
        return 0.0, 2.0**bits - 1
    return -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1


def widened(array: np.ndarray) -> np.ndarray:
    """Return half-precision arrays as float32, others unchanged: floats of 8 and 4 bits say what others are rounded to."""
    return array.astype(np.float32) if is_float(array.dtype) and array.itemsize == 2 else array


def in_one_dtype(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays with those of floats in the narrowest dtype among them: the file's, where some were observed."""
    floats = [a.dtype for a in arrays.values() if getattr(a, "dtype", np.dtype(int)).kind == "f"]
    least = min(floats, key=lambda d: d.itemsize, default=None)
    return {k: a.astype(least) if getattr(a, "dtype", None) in floats else a for k, a in arrays.items()}


def dtype_of(element_type: int) -> np.dtype[Any] | None:
    """Return the NumPy dtype of an ONNX element type, None for an unknown one."""
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element_type))
    except (KeyError, ValueError, TypeError):
        return None
