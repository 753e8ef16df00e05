"""The matrix products of convolutions: on NumPy into memory that is there already, and the way round that is faster.

Fresh memory costs more than what is written into it, and OpenBLAS is slow where a transposed matrix of weights meets few
columns in float64; the transposed product takes two thirds of the time there.
"""

from __future__ import annotations

from math import prod

import numpy as np

from reflrp.arrays.namespaces import Array, namespace

FEW = 256
"""Fewer columns than this are few beside the weights that they are multiplied with."""


def matmul(x: Array, y: Array) -> Array:
    """Return the matrix product x @ y; on symbolic arrays one plain MatMul node."""
    return namespace(x, y).matmul(x, y)


def room_for(x: Array, size: int) -> np.ndarray | None:
    """Return memory for so many numbers as x holds, to write columns into one after another; None but on NumPy."""
    return np.empty(size, dtype=x.dtype) if isinstance(x, np.ndarray) else None


def multiply_into(block: Array, w: Array, columns: Array) -> None:
    """Write w @ columns into a block, whose trailing axes lie side by side; on NumPy without an array between."""
    if isinstance(block, np.ndarray):
        np.matmul(w, columns, out=np.reshape(block, (*columns.shape[:-2], w.shape[-2], -1), copy=False))
    else:
        block[...] = namespace(block).reshape(matmul(w, columns), block.shape)


def product_in(room: np.ndarray | None, w: Array, columns: Array) -> Array:
    """Return w @ columns; in `room`, where there is one. Shapes: w (G, o, k), columns (G, k, n), result (G, o, n)."""
    if room is None:
        return matmul(w, columns)
    shape = (*w.shape[:-1], columns.shape[-1])
    return np.matmul(w, columns, out=np.reshape(room[: prod(shape)], shape))


def transposed_product(w: Array, columns: Array) -> Array:
    """Return the product of w, its last two axes swapped, with columns. Shapes: w (..., o, c), columns (..., o, n)."""
    xp = namespace(w, columns)
    if is_narrow(w.shape[-1], columns):
        return np.ascontiguousarray(xp.matrix_transpose(xp.matmul(xp.matrix_transpose(columns), w)))
    return matmul(xp.matrix_transpose(w), columns)


def is_narrow(rows: int, columns: Array) -> bool:
    """Return whether a product of so many rows with these columns is faster transposed."""
    few = columns.shape[-1] < FEW and 8 * columns.shape[-1] <= rows
    return few and isinstance(columns, np.ndarray) and columns.dtype == np.float64
