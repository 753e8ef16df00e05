"""How formulas of lengths grow: with one symbol, which must be so large; and beyond what is worked with."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from reflrp.arrays.tracing.polynomials import Terms, bases, depth, smallest, value

TERMS, DEGREE, DEPTH = 64, 8, 4
"""How many products a formula may add up, of how many factors, and how many floors may stand inside one another."""


def unwieldy(terms: Terms) -> bool:
    """Return whether a sum is beyond what is worked with: its bounds take time that grows with the power of its size."""
    return len(terms) > TERMS or any(len(m) > DEGREE or any(depth(s) > DEPTH for s in m) for m in terms)


def growing(terms: Terms) -> str:
    """Return the one symbol that a sum grows with; "" where there is none."""
    found = {base for m in terms for s in m for base in bases(s)}
    return found.pop() if len(found) == 1 and all(k > 0 for m, k in terms.items() if m) else ""


def lacking(terms: Terms, symbol: str, needed: int) -> int:
    """Return by how much its symbol must be larger than it is at least, for a growing sum to be as large as needed."""
    return first(lambda by: value(terms, {symbol: smallest(symbol) + by}) >= needed)


def first(holds: Callable[[int], bool]) -> int:
    """Return the least whole number from 0 on for which something holds, that holds for all larger ones."""
    high = 1
    while not holds(high):
        high *= 2
    return bisect_left(range(high), True, key=holds)
