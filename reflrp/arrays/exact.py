"""Exact numbers: fractions that share a denominator, so that long sums of them are sums of whole numbers.

`fractions.Fraction` reduces each result by a greatest common divisor. The relevance of a small image network has denominators of
a hundred thousand bits, and one such divisor takes longer than a thousand additions. So numbers here keep their denominator as an
object that many of them share: those that share it add by their numerators alone, and nothing is reduced before it is looked at.
`levels.divided` is where denominators come from; it brings a whole array to one.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import inf, isinf, isnan, prod
from numbers import Rational
from typing import Any

import numpy as np

from reflrp.arrays.denominators import ONE, Denominator, denominator, factors_of, whole


class Exact(Fraction):
    """A fraction that is reduced only when its numerator, its denominator or its hash is asked for.

    It is equal to the `Fraction` of the same value, and takes part in arithmetic with fractions and whole numbers; a float
    among the operands but 0.0 is a TypeError, as the result would be exact in nothing but its name.
    """

    __slots__ = ("_lowest", "over", "top")
    over: Denominator
    top: Any

    def __new__(cls, top: Any = 0, over: Denominator = ONE) -> Exact:
        """Return top / over."""
        self = object.__new__(cls)
        self.top, self.over = top, over
        return self

    @property
    def _reduced(self) -> tuple[int, int]:
        if not hasattr(self, "_lowest"):
            found = Fraction(int(self.top), int(self.over.value))
            self._lowest = found.numerator, found.denominator
        return self._lowest

    @property
    def _numerator(self) -> int:
        return self._reduced[0]

    @property
    def _denominator(self) -> int:
        return self._reduced[1]

    @property
    def numerator(self) -> int:
        """The numerator in lowest terms."""
        return self._reduced[0]

    @property
    def denominator(self) -> int:
        """The denominator in lowest terms."""
        return self._reduced[1]

    def __add__(self, other: Any) -> Any:
        """Return the sum."""
        b = _operand(other)
        if b is None:
            return NotImplemented
        if self.over is b.over:
            return Exact(self.top + b.top, self.over)
        if not self.top or not b.top:
            return b if not self.top else self
        over, mine, its = self.over.joined(b.over)
        return Exact(self.top * mine + b.top * its, over)

    def __neg__(self) -> Exact:
        """Return the negative."""
        return Exact(-self.top, self.over)

    def __pos__(self) -> Exact:
        """Return the number."""
        return self

    def __sub__(self, other: Any) -> Any:
        """Return the difference."""
        b = _operand(other)
        return NotImplemented if b is None else self + -b

    def __rsub__(self, other: Any) -> Any:
        """Return the difference, this being subtracted."""
        b = _operand(other)
        return NotImplemented if b is None else b + -self

    def __mul__(self, other: Any) -> Any:
        """Return the product."""
        b = _operand(other)
        if b is None:
            return NotImplemented
        if not self.top or not b.top:
            return b if self.top else self
        return Exact(self.top * b.top, self.over.times(b.over))

    def __truediv__(self, other: Any) -> Any:
        """Return the quotient. Raises ZeroDivisionError for a zero."""
        b = _operand(other)
        return NotImplemented if b is None else self * b.inverse()

    def __rtruediv__(self, other: Any) -> Any:
        """Return the quotient, this being the divisor."""
        b = _operand(other)
        return NotImplemented if b is None else b * self.inverse()

    def __pow__(self, exponent: Any) -> Any:
        """Return a power by a whole number."""
        if not isinstance(exponent, int | np.integer):
            return NotImplemented
        base = self if exponent >= 0 else self.inverse()
        return prod([base] * abs(int(exponent)), start=Exact(whole(1)))

    def __abs__(self) -> Exact:
        """Return the absolute value."""
        return self if self.top >= 0 else -self

    def inverse(self) -> Exact:
        """Return 1 / self."""
        if not self.top:
            raise ZeroDivisionError("1 / 0, in exact numbers")
        odd, twos, sign = split(self.top)
        return Exact(sign * self.over.value, denominator(twos, factors_of(odd)))

    __radd__, __rmul__ = __add__, __mul__

    def _against(self, other: Any) -> Any:
        """Return a number of the sign of self - other; None where that is no number."""
        if isinstance(other, float) and isinf(other):
            return -other
        b = other if isinstance(other, float) and isnan(other) else _operand(other, floats=True)
        if not isinstance(b, Exact):
            return b
        return self.top - b.top if self.over is b.over else (self - b).top

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same number."""
        found = self._against(other)
        return NotImplemented if found is None else bool(found == 0)

    def __lt__(self, other: Any) -> bool:
        """Return whether this is less."""
        found = self._against(other)
        return NotImplemented if found is None else bool(found < 0)

    def __le__(self, other: Any) -> bool:
        """Return whether this is not greater."""
        found = self._against(other)
        return NotImplemented if found is None else bool(found <= 0)

    def __gt__(self, other: Any) -> bool:
        """Return whether this is greater."""
        found = self._against(other)
        return NotImplemented if found is None else bool(found > 0)

    def __ge__(self, other: Any) -> bool:
        """Return whether this is not less."""
        found = self._against(other)
        return NotImplemented if found is None else bool(found >= 0)

    def __bool__(self) -> bool:
        """Return whether this is not zero."""
        return bool(self.top)

    def __float__(self) -> float:
        """Return the nearest float; an infinity beyond the largest."""
        try:
            return int(self.top) / int(self.over.value)
        except OverflowError:
            return inf if self.top > 0 else -inf

    def __hash__(self) -> int:  # type: ignore[override]
        """Return the hash of the equal fraction."""
        return hash(Fraction(*self._reduced))

    def __repr__(self) -> str:
        """Return the fraction, or of a long one the nearest float and how long it is."""
        if max(int(self.top).bit_length(), int(self.over.value).bit_length()) <= 256:
            return repr(Fraction(*self._reduced))
        return f"<fraction near {float(self)!r}, {int(self.over.value).bit_length():,} bits below>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        """Return the nearest float in a format, or without one the text."""
        return format(float(self), spec) if spec else str(self)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[int, int]]:
        """Return what makes it again in another process."""
        return unreduced, (int(self.top), int(self.over.value))

    def __copy__(self) -> Exact:
        """Return the number."""
        return self

    def __deepcopy__(self, memo: Any) -> Exact:
        """Return the number."""
        return self


def unreduced(top: int, below: int) -> Exact:
    """Return top / below as it stands."""
    odd, twos, _ = split(whole(below))
    return Exact(whole(top), denominator(twos, factors_of(odd)))


def split(n: Any) -> tuple[Any, int, int]:
    """Return the odd part of |n|, how many twos it has beside, and its sign."""
    size = abs(n)
    twos = int(size & -size).bit_length() - 1
    return size >> twos, twos, 1 if n > 0 else -1


def _operand(value: Any, floats: bool = False) -> Exact | None:
    """Return an exact number of the same value; None for what is none."""
    if type(value) is Exact:
        return value
    if type(value) is int or isinstance(value, np.integer | np.bool_ | bool):
        return Exact(whole(int(value)))
    if isinstance(value, float) and value == 0:  # which is exact, and what an account begins with
        return Exact(whole(0))
    if isinstance(value, Rational):
        return unreduced(int(value.numerator), int(value.denominator))
    return number(value) if floats and isinstance(value, float) else None


def number(value: Any) -> Exact:
    """Return the exact value of a float, a whole number or a fraction: of a float, the dyadic number that it is."""
    if isinstance(value, Exact):
        return value
    found = Fraction(value)
    return unreduced(int(found.numerator), int(found.denominator))
