"""Sums of products of symbols with whole coefficients: what the length of an axis is (`dims.py`).

A symbol is a whole number of at least 1, and of at most what `at_most` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain, combinations
from math import inf, prod

Monomial = tuple[str, ...]
"""The symbols of a product, sorted; () is the number 1."""

Terms = Mapping[Monomial, int]
"""The coefficient of each product."""

_MOST: ContextVar[Mapping[str, int]] = ContextVar("most")


@contextmanager
def at_most(most: Mapping[str, int]) -> Iterator[None]:
    """Let symbols be no larger than some numbers, inside the block."""
    token = _MOST.set(most)
    try:
        yield
    finally:
        _MOST.reset(token)


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


def least(terms: Terms) -> float:
    """Return the least value for symbols >= 1, and as large as they may be; -inf where that is not found."""
    beyond: dict[Monomial, int] = {}  # in u = symbol - 1 >= 0
    for monomial, times in terms.items():
        for part in chain.from_iterable(combinations(monomial, n) for n in range(len(monomial) + 1)):
            beyond[part] = beyond.get(part, 0) + times
    most = _MOST.get({})
    below = (k * prod(most.get(s, inf) - 1 for s in m) for m, k in beyond.items() if m and k < 0)
    return beyond.get((), 0) + sum(below)
