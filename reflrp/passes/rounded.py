"""The numbers of a file as the rounding of those that they stand for: up to what two are equal, and which one is meant."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from struct import pack, unpack
from typing import Any

import numpy as np

from reflrp.arrays import ZERO

EXACT, SINGLE, HALF = 16 * 2.0**-52, 4 * 2.0**-23, 2.0**-7
"""Up to what numbers of float64 and of float32 are equal, relative to each: what a few roundings leave. HALF is the
rounding of bfloat16, the coarsest format of constants."""

HALVES: tuple[float, ...] = (sqrt(2), sqrt(1 / 2), sqrt(2 / np.pi), 0.044715, 1 / 6)
"""Constants that exporters round to float16 or bfloat16: such a rounding is taken for the number itself."""


def single(x: Any) -> float | None:
    """Return the number that all entries are; 0 for ZERO, None where they differ."""
    if x is ZERO:
        return 0.0
    if isinstance(x, float):
        return x
    flat = np.reshape(np.asarray(x), -1)
    return float(flat[0]) if flat.size == 1 or (flat.size and np.all(flat == flat[0])) else None


def in_float32(c: float) -> bool:
    """Return whether float32 holds a number, or the one whose inverse it is."""
    if not 2.0**-100 < abs(c) < 2.0**100:
        return True
    held: tuple[float, float] = unpack("ff", pack("ff", c, 1 / c))
    return held[0] == c or 1 / held[1] == c


def ideal(c: float) -> float:
    """Return the constant of `HALVES` whose rounding to float16 or bfloat16 c is, or 1 / c; else c itself."""
    return IDEAL.get(c, c)


def _rounded(c: float) -> Iterator[float]:
    """Yield c, rounded to float16 and to bfloat16."""
    yield float(np.float16(c))
    bits = int(np.float32(c).view(np.uint32))
    yield float(np.uint32((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32))


IDEAL = {sign * r**e: sign * c**e for sign in (1, -1) for e in (1, -1) for c in HALVES for r in _rounded(c)}
"""What such roundings, and their inverses, stand for."""
