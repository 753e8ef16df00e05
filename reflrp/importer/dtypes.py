"""The number types of ONNX as NumPy has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx


def is_float(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype is a floating one, bfloat16 and the 8-bit formats included."""
    return dtype.kind == "f" or "float" in dtype.name


def widened(array: np.ndarray) -> np.ndarray:
    """Return half-precision and 8-bit float arrays as float32, others unchanged."""
    return array.astype(np.float32) if is_float(array.dtype) and array.itemsize < 4 else array


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
