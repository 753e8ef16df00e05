"""Denominators of exact numbers: whole numbers known by their factors, which many numbers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any
from weakref import WeakValueDictionary

try:
    import gmpy2
except ImportError:
    gmpy2 = None

whole: Callable[[int], Any] = gmpy2.mpz if gmpy2 else int
"""The whole numbers: gmpy2's where it is installed, which are several times faster where they are long."""

Factors = Mapping["Factor", int]


class Factor:
    """A whole number that divides a denominator: told from others by identity, as comparing would cost more than it saves."""

    __slots__ = ("__weakref__", "value")

    def __init__(self, value: Any) -> None:
        self.value = value


_SMALL: WeakValueDictionary[int, Factor] = WeakValueDictionary()


def factors_of(odd: Any) -> Factors:
    """Return an odd number as factors; a small one is always the same factor, as the 5**6 of an epsilon of 1/10**6."""
    if odd == 1:
        return {}
    return {(_SMALL.setdefault(int(odd), Factor(odd)) if odd < 1 << 64 else Factor(odd)): 1}


class Denominator:
    """A positive whole number: a power of two times factors. `value` is multiplied out when it is asked for."""

    __slots__ = ("__weakref__", "_joins", "_products", "_value", "factors", "power")

    def __init__(self, power: int, factors: Factors) -> None:
        self.power, self.factors = power, factors
        self._value: Any = None
        self._products: dict[int, tuple[Denominator, Denominator]] = {}
        self._joins: dict[int, tuple[Denominator, tuple[Denominator, Any, Any]]] = {}

    @property
    def value(self) -> Any:
        """The number itself."""
        if self._value is None:
            self._value = _multiplied(self.factors) << self.power
        return self._value

    def times(self, other: Denominator) -> Denominator:
        """Return the product; the same two give the same object."""
        if not other.power and not other.factors:
            return self
        found = self._products.get(id(other))
        if found is None or found[0] is not other:
            factors = {f: self.factors.get(f, 0) + other.factors.get(f, 0) for f in {**self.factors, **other.factors}}
            found = self._products[id(other)] = other, denominator(self.power + other.power, factors)
        return found[1]

    def joined(self, other: Denominator) -> tuple[Denominator, Any, Any]:
        """Return a common multiple, and what each of the two is to be multiplied with to be it."""
        found = self._joins.get(id(other))
        if found is None or found[0] is not other:
            factors = {
                f: max(self.factors.get(f, 0), other.factors.get(f, 0)) for f in {**self.factors, **other.factors}
            }
            common = denominator(max(self.power, other.power), factors)
            found = self._joins[id(other)] = other, (common, self._missing(common), other._missing(common))
        return found[1]

    def _missing(self, common: Denominator) -> Any:
        rest = {f: k - self.factors.get(f, 0) for f, k in common.factors.items()}
        return _multiplied(rest) << (common.power - self.power)


def _multiplied(factors: Factors) -> Any:
    return prod((f.value**k for f, k in factors.items() if k), start=whole(1))


_KNOWN: WeakValueDictionary[tuple[int, frozenset[tuple[Factor, int]]], Denominator] = WeakValueDictionary()


def denominator(power: int, factors: Factors) -> Denominator:
    """Return the denominator of these factors; while one of them lives, it is that one."""
    return _KNOWN.setdefault((power, frozenset(factors.items())), Denominator(power, factors))


ONE = denominator(0, {})
