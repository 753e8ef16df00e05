"""Functions of fractions, right to 2^-200 of the result's size or better: enough to be rounded once to a double."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import inf, isqrt
from typing import Any

import numpy as np

BITS = 256
"""How fine results are: multiples of 2^-BITS."""


def coarse(x: Fraction) -> Fraction:
    """Return the nearest multiple of 2^-BITS, so that fractions do not grow without end."""
    return Fraction(round(x * (1 << BITS)), 1 << BITS)


def exp(x: Fraction) -> Fraction:
    """Return e^x by its series at x / 2^n, squared n times."""
    halvings = max(0, int(abs(x)).bit_length() + 8)
    small = x / (1 << halvings)
    total, term, n = Fraction(0), Fraction(1), 0
    limit = Fraction(1, 1 << (BITS + 2 * halvings + 64))
    while abs(term) > limit:
        total += term
        n += 1
        term = _fine(term * small / n, halvings)
    for _ in range(halvings):
        total = _fine(total * total, halvings)
    return coarse(total)


def _fine(x: Fraction, halvings: int) -> Fraction:
    bits = BITS + 3 * halvings + 128
    return Fraction(round(x * (1 << bits)), 1 << bits)


def sqrt(x: Fraction) -> Fraction:
    """Return the root: exactly where it is rational, else to 2^-BITS."""
    n, d = isqrt(x.numerator), isqrt(x.denominator)
    if n * n == x.numerator and d * d == x.denominator:
        return Fraction(n, d)
    return Fraction(isqrt((x.numerator << (2 * BITS)) // x.denominator), 1 << BITS)


def sigmoid(x: Fraction) -> Fraction:
    """Return 1 / (1 + e^-x)."""
    return coarse(1 / (1 + exp(-x)))


def tanh(x: Fraction) -> Fraction:
    """Return 2 sigmoid(2 x) - 1."""
    return 2 * sigmoid(2 * x) - 1


@cache
def pi() -> Fraction:
    """Return pi by Machin's formula."""
    return 4 * (4 * _arctan(5) - _arctan(239))


def _arctan(inverse: int) -> Fraction:
    total, n, power = Fraction(0), 0, Fraction(1, inverse)
    while power > Fraction(1, 1 << (BITS + 32)):
        total += (-1) ** n * power / (2 * n + 1)
        n, power = n + 1, power / inverse**2
    return coarse(total)


def erf(x: Fraction) -> Fraction:
    """Return 2 / sqrt(pi) sum (-1)^n x^(2n+1) / (n! (2n+1))."""
    total, term, n = Fraction(0), x, 0
    while abs(term) > Fraction(1, 1 << (BITS + 64)):
        total += term / (2 * n + 1)
        n += 1
        term = _fine(-term * x * x / n, 64)
    return coarse(2 * total / sqrt(pi()))


def fractions(values: Any) -> np.ndarray:
    """Return an array's numbers as fractions, in an array of objects; -infinity, a mask, is None."""
    found = np.empty(np.shape(values), dtype=object)
    for i, x in np.ndenumerate(np.asarray(values)):
        plain = x.item() if isinstance(x, np.generic) else x
        found[i] = None if plain is None or plain == -inf else Fraction(plain)
    return found


def nearest(values: np.ndarray) -> np.ndarray:
    """Return fractions as the nearest doubles."""
    found = np.empty(values.shape, dtype=np.float64)
    for i, x in np.ndenumerate(values):
        found[i] = -inf if x is None else float(x)
    return found
