"""The matrix products of convolutions: on NumPy into memory that is there already, and the way round that is faster.

Fresh memory costs more than what is written into it, and OpenBLAS is slow where a transposed matrix of weights meets few
columns in float64; the transposed product takes two thirds of the time there.
"""

from __future__ import annotations

from math import prod

import numpy as np

from reflrp.arrays.namespaces import Array, namespace

FEW = 256
"""Fewer columns than this are few beside transposed weights."""

LEAST = 64
"""Fewer columns than this are few beside weights as they lie."""


def matmul(x: Array, y: Array) -> Array:
    """Return the matrix product x @ y; on symbolic arrays one plain MatMul node."""
    return namespace(x, y).matmul(x, y)


def room_for(x: Array, size: int) -> np.ndarray | None:
    """Return memory for so many numbers as x holds, to write columns into one after another; None but on NumPy."""
    return np.empty(size, dtype=x.dtype) if isinstance(x, np.ndarray) else None


def product_with(w: Array, columns: Array) -> Array:
    """Return w @ columns. Shapes: w (G, o, k), columns (..., G, k, n), result (..., G, o, n)."""
    return _turned(w, columns) if _is_slow(w, columns) else matmul(w, columns)


def multiply_into(block: Array, w: Array, columns: Array) -> None:
    """Write w @ columns into a block, whose trailing axes lie side by side; on NumPy without an array between."""
    if not isinstance(block, np.ndarray):
        block[...] = namespace(block).reshape(matmul(w, columns), block.shape)
        return
    out = np.reshape(block, (*columns.shape[:-2], w.shape[-2], -1), copy=False)
    if _is_slow(w, columns):
        out[...] = _turned(w, columns)
    else:
        np.matmul(w, columns, out=out)


def product_in(room: np.ndarray | None, w: Array, columns: Array) -> Array:
    """Return w @ columns; in `room`, where there is one. Shapes: w (G, o, k), columns (G, k, n), result (G, o, n)."""
    if room is None:
        return matmul(w, columns)
    shape = (*w.shape[:-1], columns.shape[-1])
    return np.matmul(w, columns, out=np.reshape(room[: prod(shape)], shape))


def transposed_product(w: Array, columns: Array) -> Array:
    """Return the product of w, its last two axes swapped, with columns. Shapes: w (..., o, c), columns (..., o, n)."""
    turned = namespace(w, columns).matrix_transpose(w)
    if _is_double(columns) and is_narrow(w.shape[-1], columns.shape[-1], columns):
        return np.ascontiguousarray(_turned(turned, columns))
    return matmul(turned, columns)


def is_narrow(rows: int, count: int, x: Array) -> bool:
    """Return whether so many columns are so few beside the rows of the result that it is made faster transposed."""
    return count < FEW and 8 * count <= rows and isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _is_slow(w: Array, columns: Array) -> bool:
    """Return whether columns are so few that in float64 even a matrix as it lies is multiplied faster from the other side."""
    return columns.shape[-1] < LEAST and 8 * columns.shape[-1] <= w.shape[-2] and _is_double(columns)


def _is_double(x: Array) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.float64


def _turned(w: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return w @ columns, made transposed."""
    return np.matrix_transpose(np.matrix_transpose(columns) @ np.matrix_transpose(w))
