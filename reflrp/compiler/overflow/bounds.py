"""How large values may become: proven from weights, and from a few values that the run looks at.

Each value is at most the sum of gain * A over a few terms that the run looks at, and of `rest`, A being the largest magnitude in
the term. A layer multiplies what it reads by the largest sum of its weights' magnitudes; a rectifier, a pool, a move does nothing.
What is not known is looked at itself, and so is what many layers in a row might have made larger than FAR times what was looked
at before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from math import isfinite, prod
from operator import or_
from typing import Any

import numpy as np

from reflrp.arrays import ZERO, is_symbolic
from reflrp.arrays.tracing.affine import Affine
from reflrp.arrays.tracing.arithmetic import cast
from reflrp.arrays.tracing.dims import Dim, example
from reflrp.arrays.tracing.terms import Term, Trace
from reflrp.compiler.lengths.matching import LATE
from reflrp.engine import Program, Values
from reflrp.ir import Node
from reflrp.ops.conv import WindowMean
from reflrp.ops.linear import Diagonal
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.routing import Embedding, Reshape, Slice, Transpose
from reflrp.ops.selection import Selection
from reflrp.ops.sums import SumOf

FAR = {"joined": 1e10, "pointwise": 1e18, "": 1e22}
"""By how much layers in a row may multiply what was looked at: up to a rectifier behind a sum, which all that follows hangs on,
up to another rectifier, and up to a layer or a sum: runtimes make these in one with the rectifier behind, if nobody looks."""

MANY = 8
"""What hangs on more terms that are looked at is looked at itself."""

NEARER = frozenset(
    ["abs", "atan", "cos", "erf", "gelu", "hard_sigmoid", "relu", "sigmoid", "sin", "softplus", "softsign", "tanh"]
)
"""Functions with |f(x)| <= |x| + 1, whatever their parameters."""

SAME = frozenset(
    [
        "Abs",
        "Cast",
        "DepthToSpace",
        "Expand",
        "Gather",
        "Identity",
        "MaxPool",
        "Neg",
        "ReduceMax",
    ]
    + ["ReduceMin", "Relu", "Reshape", "Slice", "SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze"]
)
"""Operators whose entries are at most those of their first operand."""

MOST = {"Erf": 1.0, "Sigmoid": 1.0, "Sign": 1.0, "Softmax": 1.0, "Tanh": 1.0, "Zeros": 0.0}
"""How large the entries of some operators are at most."""

BLOCK = 2**22
"""So many weights are summed at a time."""


class Unseen(Exception):
    """A term that only the body of a loop has would have to be looked at."""


@dataclass(frozen=True)
class Bound:
    """|x| <= sum of gains[t] * A_t + rest, A_t being the largest magnitude in a term that is looked at, by its id.

    `even` are the terms, one of which may be as large as the dtype holds, if all others and `rest` are less than what rounding
    makes of it: x is made of them entry by entry, by factors of at most 1, sums and choices. So is what a mask is added to.
    """

    gains: Mapping[int, float] = field(default_factory=dict)
    rest: float = 0.0
    even: frozenset[int] = frozenset()

    @property
    def gain(self) -> float:
        """The gain if all are equally large."""
        return sum(self.gains.values())

    def __add__(self, other: Bound) -> Bound:
        """Return the bound of a sum."""
        gains = {k: self.gains.get(k, 0.0) + other.gains.get(k, 0.0) for k in {**self.gains, **other.gains}}
        even = (self.even - other.gains.keys()) | (other.even - self.gains.keys())
        return Bound(gains, self.rest + other.rest, even)

    def __or__(self, other: Bound) -> Bound:
        """Return the bound of what may be either."""
        gains = {k: max(self.gains.get(k, 0.0), other.gains.get(k, 0.0)) for k in {**self.gains, **other.gains}}
        uneven = (self.gains.keys() - self.even) | (other.gains.keys() - other.even)
        return Bound(gains, max(self.rest, other.rest), (self.even | other.even) - uneven)

    def times(self, factor: float, plus: float = 0.0) -> Bound:
        """Return the bound of what multiplies each entry, and adds a number."""
        even = self.even if factor <= 1 else frozenset[int]()
        return Bound({k: g * factor for k, g in self.gains.items()}, self.rest * factor + plus, even)

    def summed(self, factor: float, plus: float = 0.0) -> Bound:
        """Return the bound of what adds up multiples of many entries, which may round up."""
        found = self.times(factor, plus)
        return Bound(found.gains, found.rest)


@dataclass(eq=False)
class Bounds:
    """The bounds of the terms of a trace; `program` and `values` say how the values came about that the file computes."""

    program: Program
    values: Values
    trace: Trace
    found: dict[int, Bound] = field(default_factory=dict)
    looked: dict[int, Term] = field(default_factory=dict)
    sums: dict[tuple[int, int], float] = field(default_factory=dict)
    bodies: dict[int, bool] = field(default_factory=dict)
    makers: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Go through the values in their order, so that no term is far from one that is known."""
        for node in self.program.graph.nodes:
            value: Any = self.values.get(node.output)
            if is_symbolic(value) and value.term.is_float:
                if value.term.get("name") == node.output:
                    self.makers[node.output] = node
                self._tried(value.term)

    def _tried(self, term: Term) -> None:
        try:
            self.of(term)
        except Unseen:
            return

    def of(self, term: Term) -> Bound:
        """Return the bound of a term. Raises Unseen for what only the body of a loop has, and for which nothing is known."""
        if id(term) not in self.found:
            made = self._made(term)
            if made is None or (term.op == "value" and not self._near(made, term)):
                made = self._looked(term)
            self.found[id(term)] = made
        return self.found[id(term)]

    def _near(self, bound: Bound, term: Term) -> bool:
        """Return whether a bound says enough of a value that the run might look at."""
        node = self.makers.get(term.get("name"))
        kind = node.kind if node is not None else ""
        before = self.makers.get(node.inputs[0]) if node is not None and kind == "pointwise" else None
        far = FAR["joined" if before is not None and before.kind == "sum" else kind if kind in FAR else ""]
        return bound.gain <= far and bound.rest <= far and len(bound.gains) <= MANY

    def _looked(self, term: Term) -> Bound:
        if self.inside(term):
            raise Unseen
        whole = cast(term, self.trace.real)
        self.looked[id(whole)] = whole
        return Bound({id(whole): 1.0}, 0.0, frozenset([id(whole)]))

    def inside(self, term: Term) -> bool:
        """Return whether a term hangs on what the body of a loop reads."""
        return self._some(term, self.bodies, lambda t: id(t) in self.trace.shown or _within(t))

    @staticmethod
    def _some(term: Term, known: dict[int, bool], holds: Callable[[Term], bool]) -> bool:
        """Return whether something holds of a term, or of one that it is made of."""
        waiting = [term]
        while waiting:
            now = waiting[-1]
            parts = [*now.inputs, *now.get("branches", ())]
            rest = [t for t in parts if id(t) not in known]
            waiting.extend(rest)
            if not rest:
                known[id(waiting.pop())] = holds(now) or any(known[id(t)] for t in parts)
        return known[id(term)]

    def _made(self, term: Term) -> Bound | None:
        """Return what follows from how a term is made; None where nothing does."""
        if term.value is not None:
            return Bound(rest=_largest(term.value))
        if term.op == "value":
            return self._named(term)
        if term.op in SAME:
            return None if _turns(term.inputs[0]) else self.of(term.inputs[0])
        if term.op in MOST or term.dtype.kind == "b":
            return Bound(rest=MOST.get(term.op, 1.0))
        if term.op in ("Concat", "If", "Max", "Min", "Pad", "Where"):
            return self._either(term)
        return self._worked_out(term)

    def _either(self, term: Term) -> Bound:
        if term.op == "Pad":  # an infinite frame is that of maxima, none of which is one of its entries
            value = abs(float(term.get("value")))
            return self.of(term.inputs[0]) | Bound(rest=value if isfinite(value) else 0.0)
        parts = {"Where": term.inputs[1:], "If": term.get("branches")}.get(term.op, term.inputs)
        return reduce(or_, map(self.of, parts))

    def _worked_out(self, term: Term) -> Bound | None:
        """Return the bound of what is added up or multiplied."""
        if term.op in ("Add", "Sub"):
            return self.of(term.inputs[0]) + self.of(term.inputs[1])
        if term.op in ("Conv", "MatMul") and term.inputs[1].value is not None:
            plus = _largest(term.inputs[2].value) if len(term.inputs) > 2 and term.inputs[2].value is not None else 0.0
            known = len(term.inputs) < 3 or term.inputs[2].value is not None
            return self.of(term.inputs[0]).summed(self._sum(term.op, term.inputs[1].value), plus) if known else None
        if term.op in ("AveragePool", "ReduceMean"):
            return self._mean(term)
        if term.op == "Div" and term.inputs[1].value is not None and term.inputs[1].value.size:
            least = float(np.abs(term.inputs[1].value).min())
            return self.of(term.inputs[0]).times(1 / least) if least else None
        if term.op != "Mul":
            return None
        one, two = (self.of(t) for t in term.inputs)
        one, two = (one, two) if not one.gains else (two, one)
        return two.times(one.rest) if not one.gains and isfinite(one.rest) else None

    def _mean(self, term: Term) -> Bound | None:
        """Return the bound of means, which are sums on the way; None for those of an open number."""
        if term.op == "AveragePool":
            return self.of(term.inputs[0]).summed(prod(term.get("kernel_shape")))
        before, after = term.inputs[0].shape, term.shape
        if _open(before) != _open(after):
            return None
        count = prod(map(example, before)) / max(prod(map(example, after)), 1)
        return self.of(term.inputs[0]).summed(count)

    def _sum(self, op: str, w: np.ndarray) -> float:
        """Return the largest sum of magnitudes of the weights that make one entry."""
        if (id(w), w.ndim) not in self.sums:
            rows = w.reshape(len(w), -1) if op == "Conv" else np.moveaxis(w, -2, -1).reshape(-1, w.shape[-2])
            step = max(1, BLOCK // max(rows.shape[1], 1))
            parts = (np.abs(rows[i : i + step]).sum(axis=1, dtype=float) for i in range(0, len(rows), step))
            self.sums[id(w), w.ndim] = max((float(p.max()) for p in parts), default=0.0)
        return self.sums[id(w), w.ndim]

    def _named(self, term: Term) -> Bound | None:
        """Return the bound of a value that the file computes, or that the body of a loop reads."""
        if id(term) in self.trace.shown:
            return self.of(self.trace.shown[id(term)])
        known, node = self.trace.known.get(id(term)), self.makers.get(term.get("name"))
        if isinstance(known, Affine):
            layer = known.layer
            return self.of(layer.inputs[0]).summed(self._sum(layer.op, known.w), _largest(known.b))
        return None if node is None else self._by_op(node)

    def _by_op(self, node: Node) -> Bound | None:
        """Return the bound of what an op makes; None where it is not among those that are known here."""
        op = self.program.ops[node.name]
        if isinstance(op, Embedding):
            return Bound(rest=_largest(op.table))
        if isinstance(op, SumOf):  # a mean is a sum on the way
            gains = (max(1.0, _largest(w)) for w in op.w)
            return sum((self._read(i).times(g) for i, g in zip(node.inputs, gains, strict=True)), Bound())
        if isinstance(op, Selection):
            return reduce(or_, map(self._read, node.inputs))
        if isinstance(op, Diagonal | Pointwise | WindowMean) and not isinstance(op, LATE):
            return self._each(op, self._read(node.inputs[0]))
        return self._read(node.inputs[0]) if isinstance(op, Reshape | Slice | Transpose) else None

    @staticmethod
    def _each(op: Diagonal | Pointwise | WindowMean, x: Bound) -> Bound | None:
        """Return the bound of what is made of each entry, or each window of them."""
        if isinstance(op, Diagonal):
            return x.times(_largest(op.w), 0.0 if op.b is ZERO else _largest(op.b))
        if isinstance(op, Pointwise):
            return x.times(1.0, 1.0) if op.name in NEARER else None
        most = 1.0 if op.share is None or is_symbolic(op.share) else max(1.0, _largest(op.share))
        return None if _open(op.windows.kernel) else x.summed(most * prod(op.windows.kernel))

    def _read(self, name: str) -> Bound:
        value: Any = self.values[name]
        return self.of(value.term) if is_symbolic(value) else Bound(rest=_largest(np.asarray(value)))


def _within(term: Term) -> bool:
    """Return whether a term is what the body of a loop reads."""
    return term.op == "value" and str(term.get("name")).startswith("reflrp/")


def _open(shape: Any) -> list[Any]:
    """Return the lengths of a shape that are left open."""
    return [n for n in shape if isinstance(n, Dim)]


def _turns(term: Term) -> bool:
    """Return whether a term is what the turns of a loop make, of which the last may be one too many, and anything."""
    return (term.inputs[0] if term.op == "output" else term).op == "Scan"


def _largest(array: Any) -> float:
    """Return the largest magnitude in an array."""
    found = np.asarray(array)
    return max(abs(float(found.max())), abs(float(found.min()))) if found.size else 0.0
