"""Lengths that are alike for some residues only: H and 2 floor(H/2) are one where H is even.

Whether two sums are alike where a symbol is by * symbol + rest is worked out on their formulas; no length is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import product as pairs
from math import lcm

from reflrp.arrays.tracing.polynomials import Floor, Monomial, Terms, added, bases, floored, product, quotient, scaled

LARGEST = 1024
"""Of what number a length may have to be a multiple; for larger ones it must be fixed."""

Residue = tuple[int, int]
"""(by, rest): a symbol is by * symbol + rest."""

_FILED: ContextVar[Mapping[str, Residue]] = ContextVar("filed")


@contextmanager
def filed_as(lengths: Mapping[str, Residue]) -> Iterator[None]:
    """Let the file's own length be by * symbol + rest for some symbols, inside the block."""
    token = _FILED.set(lengths)
    try:
        yield
    finally:
        _FILED.reset(token)


def residue(one: Terms, two: Terms) -> tuple[str, int, int] | None:
    """Return a symbol, a number and a rest: that symbol's part in what makes two different sums alike; None where nothing does.

    Where several rests do, it is that for which the file's own length is a multiple.
    """
    difference = {m: k for m, k in added(one, scaled(two, -1)).items() if k}
    steps = _steps(difference)
    known = [s for s, by in steps.items() if 1 < by <= LARGEST]
    if not known or len(known) < len(steps):
        return None
    multiples = tuple(_multiple(s, steps[s]) for s in known)
    for rests in (multiples, *pairs(*(range(steps[s]) if len(known) == 1 else (0,) for s in known))):
        found = {s: (steps[s], rest) for s, rest in zip(known, rests, strict=True)}
        if not any(substituted(difference, found).values()):
            return _coarsest(difference, found, known[0])
    return None


def _multiple(symbol: str, by: int) -> int:
    """Return the rest of a symbol by a number for which the file's own length is the best multiple of it; 0 where none is."""
    times, plus = _FILED.get({}).get(symbol, (1, 0))
    return next((rest for rest in range(by) if (times * rest + plus) % (times * by) == 0), 0)


def _coarsest(difference: Terms, found: dict[str, Residue], symbol: str) -> tuple[str, int, int] | None:
    """Return the least number that does for one symbol, where the others are what was found."""
    whole, rest = found[symbol]
    for by in (d for d in range(1, whole + 1) if whole % d == 0):
        if not any(substituted(difference, {**found, symbol: (by, rest % by)}).values()):
            return (symbol, by, rest % by) if by > 1 else _next(difference, found, symbol)
    return None


def _next(difference: Terms, found: dict[str, Residue], symbol: str) -> tuple[str, int, int] | None:
    others = {s: r for s, r in found.items() if s != symbol}
    return _coarsest(difference, others, next(iter(others))) if others else None


def _steps(terms: Terms) -> dict[str, int]:
    """Return for each symbol that stands under a whole part of a quotient what the divisors have as a common multiple."""
    found: dict[str, int] = {}
    for floor in _floors(terms):
        for symbol in bases(floor):
            found[symbol] = lcm(found.get(symbol, 1), floor.by)
    return found


def multiple(one: Terms, two: Terms) -> tuple[str, int] | None:
    """Return a symbol and a number: one is a multiple of two where the symbol is one of the number; None where none is found."""
    steps = {s: (by, 0) for s, by in _steps({**one, **two}).items()}
    if steps:
        return next(((s, by) for s, (by, _) in steps.items()), None) if _fits(one, two, steps) else None
    symbols = sorted({s for m in one for s in m})
    return next(((s, by) for by in range(2, LARGEST + 1) for s in symbols if _fits(one, two, {s: (by, 0)})), None)


def _fits(one: Terms, two: Terms, found: Mapping[str, Residue]) -> bool:
    over, under = substituted(one, found), substituted(two, found)
    parts = quotient(over, under) if any(under.values()) else None
    return parts is not None and not any(added(over, scaled(product(parts, under), -1)).values())


def _floors(terms: Terms) -> Iterator[Floor]:
    for monomial in terms:
        for symbol in monomial:
            if isinstance(symbol, Floor):
                yield symbol
                yield from _floors(dict(symbol.terms))


def substituted(terms: Terms, found: Mapping[str, Residue]) -> dict[Monomial, int]:
    """Return a sum where symbols are multiples of themselves, and a rest."""
    made: dict[Monomial, int] = {}
    for monomial, times in terms.items():
        whole: dict[Monomial, int] = {(): times}
        for part in monomial:
            whole = product(whole, _substituted(part, found))
        made = added(made, whole)
    return made


def _substituted(part: str, found: Mapping[str, Residue]) -> dict[Monomial, int]:
    if isinstance(part, Floor):
        return floored(substituted(dict(part.terms), found), part.by)
    by, rest = found.get(part, (1, 0))
    return {(part,): by, (): rest}
