"""Whether an open graph is the one that `explain` runs: node by node at its example, and formula by formula at another.

What follows from lengths alone is a constant there, and here a value that the file computes in the run: such parts are found
in the run, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np

from reflrp.arrays import ZERO, Array, is_symbolic
from reflrp.arrays.products import matmul
from reflrp.arrays.tracing.array import array, term_of
from reflrp.arrays.tracing.dims import example
from reflrp.arrays.tracing.terms import CURRENT
from reflrp.compiler.lengths.moving import as_fixed, moves_alike
from reflrp.compiler.lengths.opening import Marks, Opened, refused
from reflrp.compiler.loops.unrolled import first_two, glue
from reflrp.errors import InputError
from reflrp.ground.caches import Cache
from reflrp.ir import Graph, Node, Op, Shape
from reflrp.ops.linear import Dense, Diagonal, LeftDense
from reflrp.ops.product import MatrixProduct, Multiply, Product
from reflrp.ops.routing import Plumbing, Slice
from reflrp.ops.shifted import SHIFTED
from reflrp.ops.sums import SumOf


class Late(np.ndarray):
    """A constant of the example that says the shape that the value in its place has."""

    own: Shape

    def __array_finalize__(self, origin: Any) -> None:
        """Forget the shape: it is that of the whole."""
        self.own = np.asarray(self).shape

    @property  # type: ignore[misc]
    def shape(self) -> Shape:
        """The shape, with open lengths."""
        return self.own


def shown_as(constant: Array, shape: Shape) -> Array:
    """Return a constant of the example under the shape of the value that stands in its place."""
    if constant is ZERO:
        return constant
    found = np.array(constant).view(Late)
    found.own = shape
    return found


@dataclass(frozen=True, eq=False)
class LateDiagonal(Diagonal):
    """w * a + b, where one of w and b is found in the run: one of two inputs, which follows from open lengths alone.

    The fields `w` and `b` are those of the example, and only say what kind of map it is. `first` says whether `a` is the first
    input, `adds` whether b is found, `signs` with which signs both are added.
    """

    first: bool = field(default=True, kw_only=True)
    adds: bool = field(default=True, kw_only=True)
    signs: tuple[float, float] = field(default=(1.0, 1.0), kw_only=True)

    def parted(self, xs: tuple[Array, ...]) -> tuple[Array, Diagonal]:
        """Return the input that carries relevance, and the map with what is found in its place."""
        a, late = xs if self.first else xs[::-1]
        kept = {f.name: getattr(self, f.name) for f in fields(Diagonal) if f.init and f.name not in ("w", "b")}
        if self.adds:
            sign, other = self.signs
            return a, Diagonal(np.asarray(sign, np.float32), late if other == 1 else other * late, **kept)
        return a, Diagonal(late, ZERO, **kept)

    def forward(self, *xs: Array) -> Array:
        """Return w * a + b."""
        a, op = self.parted(xs)
        return op.forward(a)


@dataclass(frozen=True, eq=False)
class LateDense(Dense):
    """z = a w, where w is found in the run: the second input, which follows from open lengths alone and is shaped `late`."""

    late: Shape = field(default=(), kw_only=True)

    def parted(self, xs: tuple[Array, ...]) -> tuple[Array, Dense]:
        """Return the input that carries relevance, and the map with what is found in its place."""
        return xs[0], replace(self, w=xs[1], derived=Cache())

    def forward(self, *xs: Array) -> Array:
        """Return a w."""
        return matmul(*xs)

    def apply(self, x: Array, w: Array) -> Array:
        """Return x w."""
        return super().apply(along(x, -1, self.late[-2]), along(w, -2, self.late[-2]))

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return s w^T."""
        whole = along(along(w, -1, self.late[-1]), -2, self.late[-2])
        return super().adjoint(along(s, -1, self.late[-1]), whole)


@dataclass(frozen=True, eq=False)
class LateLeftDense(LeftDense):
    """z = w a, where w is found in the run: the first input, as queries that are learned, once for each of N samples."""

    late: Shape = field(default=(), kw_only=True)

    def parted(self, xs: tuple[Array, ...]) -> tuple[Array, LeftDense]:
        """Return the input that carries relevance, and the map with what is found in its place."""
        return xs[1], replace(self, w=xs[0], derived=Cache())

    def forward(self, *xs: Array) -> Array:
        """Return w a."""
        return matmul(*xs)

    def apply(self, x: Array, w: Array) -> Array:
        """Return w x."""
        return super().apply(along(x, -2, self.late[-1]), along(w, -1, self.late[-1]))

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return w^T s."""
        whole = along(along(w, -1, self.late[-1]), -2, self.late[-2])
        return super().adjoint(along(s, -2, self.late[-2]), whole)


def along(x: Array, axis: int, n: int) -> Array:
    """Return an array with n entries along an axis, where a constant has one for all: what is summed must be there."""
    if x.shape[axis] == n:
        return x
    shape, trace = list(x.shape), x.term.trace if is_symbolic(x) else CURRENT.get()
    shape[axis] = n
    term = term_of(x, trace, trace.real)
    found = trace.make("Expand", (term,), tuple(shape), nonneg=term.nonneg)
    found.finite = term.finite
    return array(found)


LATE = LateDiagonal, LateDense, LateLeftDense, *SHIFTED
"""Maps of which a part is found in the run; their own weights are an example's, and say nothing of other lengths."""


def stands_for(op: Op, plain: Op, first: bool) -> bool:
    """Return whether an op of two values is what a map of its first, or of its second, is where the other was a constant."""
    if type(plain) is Diagonal:
        return isinstance(op, SumOf | Multiply)
    return type(plain) is (Dense if first else LeftDense) and isinstance(op, MatrixProduct) and plain.b is ZERO


def matched(found: Opened, plain: Graph, again: Graph) -> Graph:
    """Return the open graph with each node as the plain one has it, checked to be the same.

    What the plain graph has as a constant is a late value of the open one. `again` is the open graph for another example.
    """
    graph = found.graph
    plain, _ = first_two(plain, graph)
    known = {n.name: n for n in plain.nodes}
    loose = {n.name for n in graph.nodes if glue(n, graph)}
    extra = {n.output for n in graph.nodes if n.name not in known and n.name not in loose}
    nodes = []
    for node in graph.nodes:
        if node.name in loose:
            nodes.append(node)
            continue
        twin = known.pop(node.name, None)
        nodes.append(node if twin is None else _matched(node, twin, extra, graph, plain, found.marks))
        if twin is None and graph.values[node.output].active:
            raise _differs(node, found.marks)
    if known or graph.outputs != plain.outputs or len(graph.nodes) != len(again.nodes):
        raise _differs(next(iter(known.values()), graph.nodes[-1]), found.marks)
    for node, other in zip(graph.nodes, again.nodes, strict=True):
        shapes = graph.values[node.output].shape, again.values[other.output].shape
        if (
            (node.name, node.inputs) != (other.name, other.inputs)
            or shapes[0] != shapes[1]
            or not _alike(node.op, other.op, _itself)
        ):
            raise _differs(node, found.marks)
    return replace(graph, nodes=tuple(nodes))


def as_plain(graph: Graph, plain: Graph) -> Graph:
    """Return a matched graph as composites shall see it: with the nodes of the plain one, and what these read."""
    known = {n.name: n for n in plain.nodes}
    kept = (n for n in graph.nodes if n.name in known or glue(n, graph))
    nodes = tuple(replace(n, inputs=known[n.name].inputs) if n.name in known else n for n in kept)
    return replace(graph, nodes=nodes)


def _matched(node: Node, twin: Node, extra: set[str], graph: Graph, plain: Graph, marks: Marks) -> Node:
    op, late = node.op, [i in extra for i in node.inputs]
    if tuple(i for i, is_late in zip(node.inputs, late, strict=True) if not is_late) != twin.inputs:
        raise _differs(node, marks)
    if sorted(late) == [False, True] and stands_for(op, twin.op, not late[0]):
        return replace(node, op=_late(op, twin, not late[0], graph, node), measured=twin.measured)
    if isinstance(op, Product) and isinstance(twin.op, Product):
        op = replace(op, gates=twin.op.gates)  # told by the twins' ops alone, for which those here stand at all lengths
        node = replace(node, op=op)
    same = moves_alike(op, twin.op) or (type(as_fixed(op, twin.op)) is type(twin.op) and any(late))
    if not same and not alike(as_fixed(op, twin.op), twin.op):
        raise _differs(node, marks)
    shape = graph.values[node.output].shape
    if tuple(map(example, shape)) != plain.values[twin.output].shape:
        raise _differs(node, marks)
    if any(late) and node.kind != "routing" and graph.values[node.output].active:
        raise _differs(node, marks)
    return node


def _late(op: Op, twin: Node, first: bool, graph: Graph, node: Node) -> Op:
    """Return the map that a twin is, with the value in place of its constant; `first` says which input `a` is."""
    plain: Any = twin.op
    w, b, shape = plain.w, plain.b, graph.values[twin.inputs[0]].shape
    own = graph.values[node.inputs[int(first)]].shape
    if isinstance(op, MatrixProduct):
        kind = LateDense if first else LateLeftDense
        return kind(shown_as(w, own), ZERO, shape, has_bias=plain.has_bias, late=own)
    if isinstance(op, Multiply):
        return LateDiagonal(shown_as(w, own), b, shape, first=first, adds=False)
    signs = [float(w) for w in np.ravel(op.w)]  # type: ignore[attr-defined]
    mine, other = signs if first else signs[::-1]
    return LateDiagonal(w, shown_as(b, own), shape, first=first, signs=(mine, other))


def _differs(node: Node, marks: Marks) -> InputError:
    return refused(f"node {node.name!r} (onnx {node.op_type}) is another one for other lengths", marks)


def _itself(n: int) -> int:
    return n


SKIPPED = frozenset(["derived", "absorbed", "function", "shares"])
"""Fields of ops that are worked out on the way, or that plumbing runs."""


def alike(one: Any, two: Any) -> bool:
    """Return whether two ops are the same."""
    return type(one) is type(two) and _alike(one, two, example)


def _alike(one: Any, two: Any, at: Callable[[int], int]) -> bool:
    """Return whether two parts of ops are the same, where lengths are taken `at` something."""
    if isinstance(one, np.ndarray) or isinstance(two, np.ndarray):
        equal_nan = np.asarray(one).dtype.kind == "f"
        shapes = np.shape(one), np.shape(two)
        if (
            at is example
            and len(shapes[0]) == len(shapes[1])
            and all(n in (1, m) for n, m in zip(*shapes, strict=True))
        ):
            one = np.broadcast_to(one, np.shape(two))  # of an axis of an open length, one entry for all
        return np.shape(one) == np.shape(two) and bool(np.array_equal(one, two, equal_nan=equal_nan))
    if isinstance(one, int) and isinstance(two, int):
        return bool(at(one) == at(two))
    if type(one) is not type(two):
        return False
    parts = _parts(one, at), _parts(two, at)
    if parts[0] is None or parts[1] is None:
        return one is two or bool(one == two)
    return len(parts[0]) == len(parts[1]) and all(_alike(a, b, at) for a, b in zip(parts[0], parts[1], strict=True))


def _parts(x: Any, at: Callable[[int], int]) -> tuple[Any, ...] | None:
    """Return what something is made of; None for what has no parts."""
    if isinstance(x, Plumbing):
        return ()
    if isinstance(x, slice):
        return x.start, x.stop, x.step
    if isinstance(x, tuple):
        return x
    skipped = SKIPPED | ({"slices"} if at is example and isinstance(x, Slice) else set())
    return tuple(getattr(x, f.name) for f in fields(x) if f.name not in skipped) if is_dataclass(x) else None
