"""A region of the graph, with one input and one output, and the normal form of what it computes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, fields
from math import prod
from typing import Any, NamedTuple

import numpy as np

from reflrp.arrays import ZERO, Array
from reflrp.arrays.measured import ENTRIES
from reflrp.arrays.tracing.dims import broadcast_shapes
from reflrp.ir import Lengths, Node, Op, Shape, Value, arrays_of
from reflrp.ops.linear import Diagonal
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import Multiply
from reflrp.ops.routing import Expand, Reshape
from reflrp.ops.selection import MaxAxes, MaxOf
from reflrp.ops.sums import SumAxes, SumOf
from reflrp.passes import functions
from reflrp.passes.algebra import Algebra, Sum, Unproven
from reflrp.passes.along import Count, along, reads
from reflrp.passes.rounded import EXACT, HALF, SINGLE, ideal, in_float32, single

Places = tuple[int | None, ...]
"""For each axis of a value the axis of the region's input that it is; None for one of length 1."""


@dataclass(frozen=True)
class Region:
    """Nodes in topological order with one input value and one output value; `values` and `formulas` are the graph's."""

    nodes: tuple[Node, ...]
    entry: str
    values: Mapping[str, Value]
    formulas: Mapping[str, int]

    @property
    def shape(self) -> Shape:
        """The shape of the input."""
        return self.values[self.entry].shape

    @property
    def exit(self) -> Node:
        """The node whose output is the region's."""
        return self.nodes[-1]

    def spelling(self) -> Hashable:
        """Return what the region's normal form follows from: its shapes, and how its ops hang together.

        Large constants stand there by their identity: the graph keeps them.
        """
        places = {self.entry: 0}
        places |= {node.output: i for i, node in enumerate(self.nodes, 1)}
        names: dict[int | str, int] = {}
        lengths = tuple(
            tuple((names.setdefault(n, len(names)),) if isinstance(n, str) else n for n in self.values[k].lengths)
            for k in places
        )
        read = {n.name: tuple(places[i] for i in reads(n, self.values)) for n in self.nodes}
        nodes = ((read[n.name], type(n.op), n.measured, self.counts(n), n) for n in self.nodes)
        return self.shape, lengths, *((*told, _fields(n.op)) for *told, n in nodes)

    def normal_form(self) -> tuple[Algebra, Sum]:
        """Return what the region computes. Raises Unproven where it has no normal form, or not the input's shape."""
        own = self.values[self.entry].lengths
        a = Algebra(self.shape, EXACT, {i: own.index(n) for i, n in enumerate(own) if isinstance(n, str)})
        forms = {self.entry: Form(a.x, tuple(range(len(self.shape))), self.shape, own)}
        reader = _Reader(a, own, any(isinstance(n.op, SumAxes) for n in self.nodes))
        for node in self.nodes:
            read = READERS.get(type(node.op))
            if read is None:
                raise Unproven(f"{node.op_type} has no normal form")
            reader.out, counts = self.values[node.output].lengths, self.counts(node)
            if counts is None:
                _check_measured(node)
            given = tuple(forms[i] for i in reads(node, self.values))
            if len(given) < len(node.inputs) and (counts is None or len(reader.out) != len(given[0].lengths)):
                raise Unproven("a number that is found in the run, or has more axes")
            form = read(reader, node.op, *given) if counts is None else _counted(reader, given[0], *counts)
            forms[node.output] = form._replace(lengths=reader.out)
        whole = forms[self.exit.output]
        if whole.shape != self.shape or any(p not in (i, None) for i, p in enumerate(whole.places)):
            raise Unproven("it moves entries")
        if any((n == 1) != (m == 1) for n, m in zip(own, whole.lengths, strict=True)):
            raise Unproven("it has the shape of its input for one length only")
        a.check(whole.sum)
        a.tolerance = self.tolerance()
        return a, whole.sum

    def counts(self, node: Node) -> tuple[Count, Count] | None:
        """Return what a node multiplies and divides by, where that is how many entries there are along axes of the input."""
        own = self.values[self.entry].lengths
        over, under = (along(n, own, self.formulas) for n in node.counts or (0, 0))
        return (over, under) if over and under else None

    def tolerance(self) -> float:
        """Return up to what two numbers are equal: to float32's rounding where it holds all of the region's numbers."""
        return SINGLE if all(map(in_float32, self.numbers())) else EXACT

    @property
    def rounding(self) -> float:
        """Up to what relative error the file's constants stand for the numbers that they are the rounding of."""
        halves = any(ideal(c) != c for c in self.numbers())
        return HALF if halves else self.tolerance()

    def numbers(self) -> Iterator[float]:
        """Yield the numbers that the file has in the region: factors, terms, bounds and exponents."""
        for node in self.nodes:
            found = (node.op.w, node.op.b) if isinstance(node.op, Diagonal) else getattr(node.op, "args", ())
            for value in found:
                c = single(value)
                if c is not None and np.isfinite(c):
                    yield c


SMALL = 1024
"""Up to how many bytes of a constant are compared, and not its identity."""

WORKED_OUT = frozenset(["absorbed", "derived", "gated", "positive"])
"""Fields of ops that do not say what they compute."""


def _fields(op: Op) -> tuple[Hashable, ...]:
    return tuple(_field(getattr(op, f.name)) for f in fields(op) if f.name not in WORKED_OUT)


def _field(value: Any) -> Hashable:
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str, value.tobytes()) if value.nbytes <= SMALL else id(value)
    return tuple(map(_field, value)) if isinstance(value, tuple) else value


class Form(NamedTuple):
    """A value inside a region: its normal form, the axes of the input that its axes are, its shape, and that for all inputs."""

    sum: Sum
    places: Places
    shape: Shape
    lengths: Lengths = ()


class _Reader:
    """Reads nodes: their operation on normal forms. `plain`: numbers are taken as they are, see `ideal`.

    `out` are the lengths of the output of the node that is read.
    """

    def __init__(self, algebra: Algebra, lengths: Lengths, plain: bool) -> None:
        self.a, self.shape, self.plain = algebra, algebra.shape, plain
        self.lengths = self.out = lengths

    def coefficient(self, x: Array, form: Form) -> Array:
        """Return a constant that broadcasts to a value as a coefficient: a number, or an array of the input's rank."""
        if x is not ZERO and not np.isfinite(x).all():
            raise Unproven("a constant that is no number")
        c = single(x)
        if c is not None:
            return c if self.plain else ideal(c)
        sizes = [1] * len(self.shape)
        for place, n in zip(reversed(form.places), reversed(np.shape(x)), strict=False):
            if n > 1 and place is None:
                raise Unproven("a constant that is larger than the value")
            if place is not None:
                sizes[place] = n
        rising = [p for p in form.places[len(form.places) - np.ndim(x) :] if p is not None]
        if rising != sorted(rising) or prod(sizes) != np.size(x):
            raise Unproven("a constant whose axes are in another order")
        return np.reshape(np.asarray(x, dtype=np.float64), sizes)

    def joined(self, forms: tuple[Form, ...]) -> tuple[Places, Shape]:
        """Return the places and the shape of values that are broadcast together."""
        shape = broadcast_shapes(*(f.shape for f in forms))
        places: list[int | None] = [None] * len(shape)
        for f in forms:
            for i, place in enumerate(f.places, start=len(shape) - len(f.places)):
                if place is not None and places[i] not in (None, place):
                    raise Unproven("different axes meet")
                places[i] = place if places[i] is None else places[i]
        if len({p for p in places if p is not None}) < sum(p is not None for p in places):
            raise Unproven("an axis meets another one")
        return tuple(places), shape

    def axes(self, form: Form, axes: tuple[int, ...]) -> frozenset[int]:
        """Return the axes of the region's input that some axes of a value are."""
        return frozenset(p for p in (form.places[i] for i in axes) if p is not None)


def _check_measured(node: Node) -> None:
    """Raise Unproven for constants that depend on open lengths, but one number repeated: that is one for all lengths.

    What is broadcast or reshaped is told the lengths of a shape, which are compared by their names.
    """
    if not node.measured or isinstance(node.op, Expand | Reshape):
        return
    if node.measured & ENTRIES or any(single(c) is None for c in arrays_of(node.op)):
        raise Unproven("a constant that depends on the batch size, or on another length that is left open")


def _counted(r: _Reader, x: Form, over: Count, under: Count) -> Form:
    """What is multiplied and divided by how many entries there are."""
    counts = (functions.count(r.a, frozenset(n.axes)) for n in (over, under))
    times, by = (r.a.add(r.a.scale(c, n.times), r.a.number(n.plus)) for c, n in zip(counts, (over, under), strict=True))
    return x._replace(sum=r.a.mul(r.a.mul(x.sum, times), r.a.power(by, -1.0)))


def _diagonal(r: _Reader, op: Diagonal, x: Form) -> Form:
    if op.shape(x.shape) != x.shape:
        raise Unproven("it is larger than its input")
    scaled = r.a.scale(x.sum, r.coefficient(op.w, x))
    return x._replace(sum=r.a.add(scaled, r.a.number(r.coefficient(op.b, x))))


def _sum(r: _Reader, op: SumOf, *xs: Form) -> Form:
    signs = np.ravel(op.w).tolist()
    return Form(r.a.add(*(r.a.scale(x.sum, c) for x, c in zip(xs, signs, strict=True))), *r.joined(xs))


def _product(r: _Reader, op: Multiply, *xs: Form) -> Form:
    return Form(r.a.mul(xs[0].sum, xs[1].sum), *r.joined(xs))


def _extreme(r: _Reader, op: MaxOf, *xs: Form) -> Form:
    if any(single(c) is None or np.ndim(c) > len(xs[0].shape) for c in op.constants):
        raise Unproven("a bound that differs from entry to entry")
    places, shape = r.joined(xs)
    forms = [x.sum for x in xs] + [r.a.number(single(c)) for c in op.constants]
    choose, found = (functions.smaller if op.least else functions.larger), forms[0]
    for form in forms[1:]:
        found = choose(r.a, found, form)
    return Form(found, places, shape)


def _reduced(r: _Reader, op: SumAxes | MaxAxes, x: Form, found: Sum) -> Form:
    kept = [None if i in op.axes else p for i, p in enumerate(x.places)]
    places = kept if op.keepdims else [p for i, p in enumerate(x.places) if i not in op.axes]
    return Form(found, tuple(places), op.shape(x.shape))


def _sum_over(r: _Reader, op: SumAxes, x: Form) -> Form:
    axes = r.axes(x, op.axes)
    found = functions.mean(r.a, x.sum, axes)
    if not op.mean:
        if any(x.places[i] is None and x.lengths[i] != 1 for i in op.axes):
            raise Unproven("it sums along an axis that its input lacks")
        found = r.a.mul(found, functions.count(r.a, axes))
    return _reduced(r, op, x, found)


def _maximum_over(r: _Reader, op: MaxAxes, x: Form) -> Form:
    return _reduced(r, op, x, functions.maximum(r.a, x.sum, r.axes(x, op.axes)))


def _expand(r: _Reader, op: Expand, x: Form) -> Form:
    """An axis of length 1 becomes the axis of the region's input that is at its place, for all lengths; the others stay."""
    lead, before = len(op.target) - len(x.shape), len(r.shape) - len(op.target)
    places: list[int | None] = [*(None for _ in range(lead)), *x.places]
    for i, n in enumerate(r.out):
        own = 1 if i < lead else x.lengths[i - lead]
        if n == own:
            continue
        if own != 1 or before + i < 0 or r.lengths[before + i] != n:
            raise Unproven("it is broadcast to another shape")
        places[i] = before + i
    return Form(x.sum, *r.joined((Form(x.sum, tuple(places), tuple(op.target)),)))


def _reshape(r: _Reader, op: Reshape, x: Form) -> Form:
    """Axes of length 1 come and go; an open one has not that length."""
    held = [p for p, n in zip(x.places, x.lengths, strict=True) if n != 1]
    if [n for n in x.lengths if n != 1] != [n for n in r.out if n != 1]:
        raise Unproven("it moves entries")
    rest = iter(held)
    return Form(x.sum, tuple(next(rest) if n != 1 else None for n in r.out), tuple(op.target))


def _pointwise(r: _Reader, op: Pointwise, x: Form) -> Form:
    spelled = functions.SPELLINGS.get(op.name)
    args = [single(a) for a in op.args]
    if spelled is None or None in args:
        raise Unproven(f"{op.name} has no normal form")
    return x._replace(sum=spelled(r.a, x.sum, *args))


READERS: dict[type[Op], Callable[..., Form]] = {
    Diagonal: _diagonal,
    SumOf: _sum,
    Multiply: _product,
    MaxOf: _extreme,
    SumAxes: _sum_over,
    MaxAxes: _maximum_over,
    Expand: _expand,
    Reshape: _reshape,
    Pointwise: _pointwise,
}
"""The kinds of node that a region may have."""
