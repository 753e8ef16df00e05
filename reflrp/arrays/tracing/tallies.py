"""Tallies: sums over all entries of traced arrays, as the ledger asks for them.

What stands in a ledger are sums of such sums, with factors. The graph works out the sums alone; what is added up and taken
away of them is kept beside it as a `Tally`, and worked out in float64 when the graph has run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reflrp.arrays.namespaces import finite, unbroadcast
from reflrp.arrays.namespaces import inner as known_inner
from reflrp.arrays.tracing.array import SymbolicArray
from reflrp.arrays.tracing.moves import reshape
from reflrp.arrays.tracing.reductions import reduced
from reflrp.arrays.tracing.terms import Term
from reflrp.arrays.zero import ZERO


class Tally:
    """A number plus sums that a graph works out, each times a factor."""

    __slots__ = ("factors", "number")

    def __init__(self, factors: Mapping[Term, float], number: float = 0.0) -> None:
        self.factors, self.number = dict(factors), number

    def __repr__(self) -> str:
        """Return how many sums it has."""
        return f"Tally({self.number:g} and {len(self.factors)} sums)"

    def __add__(self, other: Any) -> Tally:
        """Return the sum."""
        if not isinstance(other, Tally):
            return Tally(self.factors, self.number + other)
        found = dict(self.factors)
        for term, factor in other.factors.items():
            found[term] = found.get(term, 0) + factor
        return Tally({t: f for t, f in found.items() if f}, self.number + other.number)

    __radd__ = __add__

    def __mul__(self, factor: float) -> Tally:
        """Return the tally times a number."""
        return Tally({t: factor * f for t, f in self.factors.items() if factor}, factor * self.number)

    __rmul__ = __mul__

    def __neg__(self) -> Tally:
        """Return the negative."""
        return self * -1

    def __sub__(self, other: Any) -> Tally:
        """Return the difference."""
        found: Tally = self + -1 * other
        return found

    def __rsub__(self, other: Any) -> Tally:
        """Return the difference."""
        found: Tally = self * -1 + other
        return found


def total(x: Any) -> Tally:
    """Return the sum of all entries."""
    return _summed("ReduceSum", x.term)


def magnitude(x: Any) -> Tally:
    """Return the sum of all entries' absolute values."""
    return _summed("ReduceSum" if x.term.nonneg else "ReduceL1", x.term)


def inner(x: Any, y: Any) -> Any:
    """Return sum(x * y), with broadcasting. An infinite x (a mask) counts as 0."""
    if x is ZERO or y is ZERO:
        return 0
    x = x if isinstance(x, SymbolicArray) and x.term.finite else finite(x)
    y = unbroadcast(y, x.shape) if len(x.shape) <= len(y.shape) else y
    product = x * y
    return total(product) if isinstance(product, SymbolicArray) else known_inner(product, 1 + 0 * product)


def _summed(op: str, term: Term) -> Tally:
    """Return a sum of all entries as (1, 1), first over the axes from the third on: so it runs on many threads, and rounds less."""
    term = reshape(term, (1, 1)) if not term.shape else term
    rank = len(term.shape)
    if rank > 1:
        axes, keepdims = (tuple(range(2, rank)), False) if rank > 2 else ((1,), True)
        term, op = _reduction(op, term, axes, keepdims), "ReduceSum"
    return Tally({reshape(_reduction(op, term, tuple(range(len(term.shape))), True), (1, 1)): 1.0})


def _reduction(op: str, term: Term, axes: tuple[int, ...], keepdims: bool) -> Term:
    if op == "ReduceSum":
        return reduced(op, term, axes, keepdims)
    shape = tuple(1 if i in axes else n for i, n in enumerate(term.shape) if keepdims or i not in axes)
    return term.trace.make(op, (term,), shape, nonneg=True, axes=axes, keepdims=int(keepdims))
