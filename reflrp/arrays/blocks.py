"""Chains of elementwise steps on large NumPy arrays, block by block: what one step writes is in the cache for the next."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

import numpy as np

CHUNK = 1 << 14
"""How many entries a block has: three of them in float64 fit into a processor's cache of half a MiB."""

DOT = 1 << 13
"""How many entries one dot product has: so few are multiplied by the thread that asks, which waits for none of BLAS's others."""


def blocks(size: int) -> Iterator[slice]:
    """Yield the blocks of so many entries."""
    return (slice(i, i + CHUNK) for i in range(0, size, CHUNK))


def flat(*arrays: Any) -> list[np.ndarray] | None:
    """Return arrays as rows of entries, without a copy; None unless all are NumPy's, of one shape, all float64 or all float32."""
    one = arrays[0]
    for x in arrays:
        if not isinstance(x, np.ndarray) or (x.shape, x.dtype) != (one.shape, one.dtype) or not x.flags.c_contiguous:
            return None
    return [x.reshape(-1) for x in arrays] if one.dtype in (np.float64, np.float32) else None


def signed_shares(R: Any, z: Any, epsilon: Any) -> tuple[np.ndarray, float] | None:
    """Return s = R / (z + epsilon sgn z), with sgn 0 = +1, and the sum of z s.

    `epsilon` is within 0 .. 1, so that it makes no infinity of a finite z. None unless `flat` serves, and that sum is finite:
    then no denominator was infinite, whose z s is inf * 0.
    """
    rows = flat(R, z)
    if rows is None:
        return None
    s, kept = np.empty(R.shape, R.dtype), 0.0
    out = s.reshape(-1)
    bits = out.view(f"u{s.itemsize}")
    sign, step = bits.dtype.type(1 << (8 * s.itemsize - 1)), R.dtype.type(epsilon).view(bits.dtype)
    for i in blocks(R.size):
        r, y, d, b = rows[0][i], rows[1][i], out[i], bits[i]
        np.add(y, 0, out=d)  # +0 of -0
        b &= sign  # by bits: np.copysign takes one number at a time
        b |= step
        d += y
        np.divide(r, d, out=d)
        kept += dot(y, d)
    return (s, kept) if isfinite(kept) else None


def dot(x: np.ndarray, y: np.ndarray) -> float:
    """Return the sum of x y of two rows, which need not be finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return sum(float(np.dot(x[i : i + DOT], y[i : i + DOT])) for i in range(0, x.size, DOT))


def sum_of_magnitudes(x: np.ndarray) -> float:
    """Return the sum of the absolute values of a contiguous array of floats; infinite where it is too large for its dtype."""
    row, room, found = x.reshape(-1), np.empty(min(x.size, CHUNK), x.dtype), 0.0
    with np.errstate(all="ignore"):
        for i in blocks(x.size):
            part = row[i]
            found += float(np.add.reduce(np.abs(part, out=room[: part.size])))
    return found
