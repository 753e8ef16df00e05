"""Writing open lengths: formulas -> nodes on integers, with checks that a length is as it may be."""

from __future__ import annotations

from typing import Any

from reflrp.arrays.tracing.dims import Dim
from reflrp.arrays.tracing.polynomials import Floor, Monomial
from reflrp.arrays.tracing.terms import Shape, Term, Trace


class Lengths:
    """The part of a writer that writes lengths. A length that may not be is an index that is out of range, in the run."""

    trace: Trace
    names: dict[int, tuple[str, ...]]
    lengths_made: dict[tuple[str, ...], str]

    def node(self, op: str, operands: list[str], attributes: dict[str, Any], outputs: int = 1) -> tuple[str, ...]:
        """Write one node, and return the names of its outputs."""
        raise NotImplementedError

    def ints(self, values: Any) -> str:
        """Return the name of a constant of integers."""
        raise NotImplementedError

    def lengths(self, shape: Shape) -> str:
        """Return the name of a shape as a value of integers, worked out in the run where it depends on symbols."""
        if not any(isinstance(n, Dim) for n in shape):
            return self.ints(shape)
        parts = [self.length(n) if isinstance(n, Dim) else self.ints([n]) for n in shape]
        return self.node("Concat", parts, {"axis": 0})[0] if len(parts) > 1 else parts[0]

    def length(self, n: Dim) -> str:
        """Return the name of a length: the sum of its products of symbols."""
        return self._sum(n.terms)

    def _sum(self, terms: tuple[tuple[Monomial, int], ...]) -> str:
        parts = [self._multiple(monomial, times) for monomial, times in terms if monomial]
        plus = dict(terms).get((), 0)
        return self._joined("Add", [*parts, *([self.ints([plus])] if plus else [])])

    def _multiple(self, monomial: tuple[str, ...], times: int) -> str:
        parts = [self._symbol(symbol) for symbol in monomial]
        return self._joined("Mul", [*parts, *([self.ints([times])] if times != 1 else [])])

    def _joined(self, op: str, parts: list[str]) -> str:
        found = parts[0]
        for part in parts[1:]:
            key = (op, found, part)
            if key not in self.lengths_made:
                self.lengths_made[key] = self.node(op, [found, part], {})[0]
            found = self.lengths_made[key]
        return found

    def _none_above(self, name: str, most: int) -> str:
        """Return 0 for a length that is small enough; of a larger one the runtime says that it is out of range."""
        return self._none_beyond(self.node("Sub", [name, self.ints([most])], {})[0])

    def _none_below(self, name: str, least: int) -> str:
        """Return 0 for a length that is large enough; of a smaller one the runtime says that it is out of range."""
        return self._none_beyond(self.node("Sub", [self.ints([least]), name], {})[0])

    def _none_beyond(self, name: str) -> str:
        """Return 0 for what is not above 0; of what is the runtime says that it is out of range."""
        beyond = self.node("Max", [name, self.ints([0])], {})[0]
        return self.node("Gather", [self.ints([0]), beyond], {"axis": 0})[0]

    def _none_apart(self, name: str, other: str) -> str:
        """Return 0 for a length that is another's, too; of a different one the runtime says that it is out of range."""
        apart = self.node("Abs", [self.node("Sub", [other, name], {})[0]], {})[0]
        return self.node("Gather", [self.ints([0]), apart], {"axis": 0})[0]

    def _extent(self, term: Term, axis: int) -> str:
        return self.node("Shape", [self.names[id(term)][0]], {"start": axis, "end": axis + 1})[0]

    def _symbol(self, symbol: str) -> str:
        """Return the name of a symbol's length, which one axis of an input shows, or which is worked out of others."""
        if isinstance(symbol, Floor):
            return self._joined("Div", [self._sum(symbol.terms), self.ints([symbol.by])])
        if symbol not in self.trace.lengths:
            raise NotImplementedError(f"no value shows the length {symbol}")
        if ("Shape", symbol) not in self.lengths_made:
            self.lengths_made["Shape", symbol] = self._shown(symbol)
        return self.lengths_made["Shape", symbol]

    def _shown(self, symbol: str) -> str:
        """Return the name of a symbol's length, of an axis that is times * symbol + plus long, if it can be."""
        term, axis, plus, times = self.trace.lengths[symbol]
        name = self._extent(term, axis)
        for other, own in self.trace.alike.get(symbol, ()):
            name = self.node("Add", [name, self._none_apart(name, self._extent(other, own))], {})[0]
        if plus:
            name = self.node("Add", [name, self._none_below(name, plus + times)], {})[0]
        if symbol in self.trace.most:
            name = self.node("Add", [name, self._none_above(name, self.trace.most[symbol] * times + plus)], {})[0]
        name = self.node("Add", [name, self.ints([-plus])], {})[0] if plus else name
        return self._divided(name, times) if times > 1 else name

    def _divided(self, name: str, by: int) -> str:
        """Return a quotient without a rest; where there is one the runtime says that it is out of range."""
        rest = self.node("Mod", [name, self.ints([by])], {})[0]
        none = self.node("Gather", [self.ints([0]), rest], {"axis": 0})[0]
        return self.node("Add", [self.node("Div", [name, self.ints([by])], {})[0], none], {})[0]
