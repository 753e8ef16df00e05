"""Sums of products of symbols with whole coefficients: what the length of an axis is (`dims.py`).

A symbol is a whole number of at least 1, and of at most what `at_most` says; or it is a `Floor`, the whole part of such a sum
over a number, as strides make them. Two floors that are alike for all lengths by these laws are one symbol:
floor((d m + r) / d) = m + floor(r / d), floor((g a + c) / (g d)) = floor((a + floor(c / g)) / d), and
floor((floor(a / m) + c) / n) = floor((a + c m) / (m n)).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from itertools import chain, combinations
from math import gcd, inf, prod

Monomial = tuple[str, ...]
"""The symbols of a product, sorted; () is the number 1."""

Terms = Mapping[Monomial, int]
"""The coefficient of each product."""


class Floor(str):
    """A symbol that stands for floor(terms / by). Its text tells it from all others; none of its coefficients is negative."""

    terms: tuple[tuple[Monomial, int], ...]
    by: int

    def __new__(cls, terms: tuple[tuple[Monomial, int], ...], by: int) -> Floor:
        """Make the symbol of terms, in order, over a number."""
        made = super().__new__(cls, f"\0floor({terms!r}/{by})")
        made.terms, made.by = terms, by
        return made

    def __getnewargs__(self) -> tuple[tuple[tuple[Monomial, int], ...], int]:  # type: ignore[override]
        """Return what it is made of, for copies."""
        return self.terms, self.by


_MOST: ContextVar[Mapping[str, int]] = ContextVar("most")
_BEYOND: ContextVar[Mapping[str, int]] = ContextVar("beyond")


@contextmanager
def at_most(most: Mapping[str, int]) -> Iterator[None]:
    """Let symbols be no larger than some numbers, inside the block."""
    token = _MOST.set(most)
    try:
        yield
    finally:
        _MOST.reset(token)


@contextmanager
def larger_by(beyond: Mapping[str, int]) -> Iterator[None]:
    """Let symbols be at least so much larger than 1, inside the block."""
    token = _BEYOND.set(beyond)
    try:
        yield
    finally:
        _BEYOND.reset(token)


def added(one: Terms, two: Terms) -> dict[Monomial, int]:
    """Return the sum."""
    return {m: one.get(m, 0) + two.get(m, 0) for m in {**one, **two}}


def scaled(terms: Terms, factor: int) -> dict[Monomial, int]:
    """Return a multiple."""
    return {m: factor * k for m, k in terms.items()}


def product(one: Terms, two: Terms) -> dict[Monomial, int]:
    """Return the product."""
    found: dict[Monomial, int] = {}
    for m, j in one.items():
        for n, k in two.items():
            both = tuple(sorted((*m, *n)))
            found[both] = found.get(both, 0) + j * k
    return found


def quotient(one: Terms, two: Terms) -> dict[Monomial, int] | None:
    """Return one // two; None where it is no formula. By a number, what is no multiple must be a number, too."""
    if set(two) == {()}:
        by = two[()]
        fits = by > 0 and all(k % by == 0 for m, k in one.items() if m)
        return {m: k // by for m, k in one.items()} if fits else None
    found: dict[Monomial, int] = {}
    top = max(two, key=_order)
    while one := {m: k for m, k in one.items() if k}:
        lead = max(one, key=_order)
        rest = _without(lead, top)
        if rest is None or one[lead] % two[top]:
            return None
        found[rest] = one[lead] // two[top]
        one = added(one, scaled(product({rest: found[rest]}, two), -1))
    return found


def _order(monomial: Monomial) -> tuple[int, Monomial]:
    return len(monomial), monomial


def _without(monomial: Monomial, other: Monomial) -> Monomial | None:
    left = list(monomial)
    for symbol in other:
        if symbol not in left:
            return None
        left.remove(symbol)
    return tuple(left)


def floored(terms: Terms, by: int) -> dict[Monomial, int]:
    """Return floor(terms / by), by > 0."""
    whole, rest = {m: k // by for m, k in terms.items()}, {m: k % by for m, k in terms.items() if k % by}
    common = gcd(by, *(k for m, k in rest.items() if m))
    if common > 1:
        return added(whole, floored({m: k // common for m, k in rest.items()}, by // common))
    varying = [m for m in rest if m]
    if not varying:
        return whole
    inner = varying[0][0] if len(varying) == 1 and rest[varying[0]] == len(varying[0]) == 1 else ""
    if isinstance(inner, Floor):
        under = added(dict(inner.terms), {(): rest.get((), 0) * inner.by})
        return added(whole, floored(under, by * inner.by))
    return added(whole, {(Floor(tuple(sorted(rest.items())), by),): 1})


def bases(symbol: str) -> Iterator[str]:
    """Yield the symbols that a symbol is worked out from: itself, where it is no floor."""
    if isinstance(symbol, Floor):
        for monomial, _ in symbol.terms:
            for part in monomial:
                yield from bases(part)
    else:
        yield symbol


def value(terms: Terms, at: Mapping[str, int]) -> int:
    """Return what a sum is where symbols have these values."""
    return sum(k * prod(_value(s, at) for s in m) for m, k in terms.items())


def _value(symbol: str, at: Mapping[str, int]) -> int:
    return value(dict(symbol.terms), at) // symbol.by if isinstance(symbol, Floor) else at[symbol]


def lengthened(terms: Terms, symbol: str, by: int) -> dict[Monomial, int]:
    """Return a sum with a symbol that is larger by a number."""
    found: dict[Monomial, int] = {}
    for monomial, times in terms.items():
        whole: dict[Monomial, int] = {(): times}
        for part in monomial:
            whole = product(whole, _lengthened(part, symbol, by))
        found = added(found, whole)
    return found


def _lengthened(part: str, symbol: str, by: int) -> dict[Monomial, int]:
    if isinstance(part, Floor):
        return floored(lengthened(dict(part.terms), symbol, by), part.by)
    return {(part,): 1, (): by if part == symbol else 0}


def least(terms: Terms) -> float:
    """Return a lower bound of the value for symbols >= 1, and as large as they may be; -inf where none is found.

    It is reached where no coefficient is negative, and by most sums of one floor and what it is the floor of.
    """
    found = _least(terms, FLOORS)
    return -inf if found == -inf else float(-(-found // 1))


FLOORS = 4
"""How many floors are taken out of a sum for a better bound."""


def _least(terms: Mapping[Monomial, Fraction | int], floors: int) -> Fraction | float:
    beyond: dict[Monomial, Fraction | int] = {}  # in u = symbol - its least >= 0
    for monomial, times in terms.items():
        for part, rest in _split(monomial):
            beyond[part] = beyond.get(part, 0) + times * prod(int(_bounds(s)[0]) for s in rest)
    reach = ((k, prod(high - low for low, high in map(_bounds, m))) for m, k in beyond.items() if m and k < 0)
    plain = beyond.get((), 0) + sum((k * n if n else 0) for k, n in reach)
    if all(k >= 0 for k in terms.values()):
        return plain
    deepest = max((s for m in terms for s in m if isinstance(s, Floor)), key=depth, default=None)
    if deepest is None or not floors:
        return plain
    return max(plain, _least(_without_floor(terms, deepest), floors - 1))


def _split(monomial: Monomial) -> Iterator[tuple[Monomial, Monomial]]:
    """Yield each choice of the factors of a product, and the rest."""
    places = range(len(monomial))
    for chosen in chain.from_iterable(combinations(places, n) for n in range(len(monomial) + 1)):
        yield tuple(monomial[i] for i in chosen), tuple(s for i, s in enumerate(monomial) if i not in chosen)


def _bounds(symbol: str) -> tuple[float, float]:
    """Return the least and the largest value of a symbol."""
    if not isinstance(symbol, Floor):
        return smallest(symbol), _MOST.get({}).get(symbol, inf)
    terms = dict(symbol.terms)
    most = -least(scaled(terms, -1))
    return least(terms) // symbol.by, most if most == inf else most // symbol.by


def smallest(symbol: str) -> int:
    """Return the least value of a symbol that is no floor."""
    return 1 + _BEYOND.get({}).get(symbol, 0)


def depth(symbol: str) -> int:
    """Return how many floors stand inside one another in a symbol."""
    parts = (s for m, _ in symbol.terms for s in m) if isinstance(symbol, Floor) else ()
    return 1 + max(map(depth, parts), default=0)


def _without_floor(terms: Mapping[Monomial, Fraction | int], floor: Floor) -> dict[Monomial, Fraction | int]:
    """Return a sum that is nowhere larger, for by * floor lies in terms - by + 1 .. terms."""
    found: dict[Monomial, Fraction | int] = {}
    for monomial, times in terms.items():
        if floor not in monomial:
            found[monomial] = found.get(monomial, 0) + times
            continue
        rest = list(monomial)
        rest.remove(floor)
        inside = added(dict(floor.terms), {(): 1 - floor.by if times > 0 else 0})
        for m, k in inside.items():
            both = tuple(sorted((*rest, *m)))
            found[both] = found.get(both, 0) + Fraction(times * k, floor.by)
    return found


def written(terms: tuple[tuple[Monomial, int], ...]) -> str:
    """Return a sum as a text."""
    texts = [_text(tuple(map(_name, monomial)), times) for monomial, times in terms if monomial]
    found, plus = " + ".join(texts).replace("+ -", "- "), dict(terms).get((), 0)
    return f"{found} {'+' if plus > 0 else '-'} {abs(plus)}" if plus else found


def _name(symbol: str) -> str:
    return f"floor(({written(symbol.terms)})/{symbol.by})" if isinstance(symbol, Floor) else symbol


def _text(monomial: Monomial, times: int) -> str:
    factor = "" if times == 1 else "-" if times == -1 else str(times)
    return (
        factor
        + ("" if all(len(s) == 1 for s in monomial) else " " if factor else "")
        + " ".join(monomial).replace(" ", "" if all(len(s) == 1 for s in monomial) else " ")
    )
