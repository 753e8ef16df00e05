"""The batch size as a symbol: a graph for one sample -> the same graph for N.

Where each value holds its samples is proven node by node (`passes/samples.py`), on the graph for two samples; that the graph
for one is the same one, `alike` shows, node by node too. So each length is a multiple of N, or has nothing to do with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from math import prod
from typing import Any

from reflrp.arrays import Array, namespace, scatter_add
from reflrp.arrays.tracing.dims import Dim, dim, total
from reflrp.errors import InputError, ReflrpError
from reflrp.ir import Graph, Node, Op, Shape, Value
from reflrp.ops.picking import Index, Pick, ScatterSum
from reflrp.ops.routing import Plumbing, Slice
from reflrp.passes.places import Place
from reflrp.passes.samples import Samples, alike, fewer, trace


def refuse(why: str, graph: Graph) -> InputError:
    """Return an error that says why the batch size must be fixed, and how."""
    name = next(iter(graph.inputs))
    shape = ", ".join(map(str, ("8", *graph.values[name].shape[1:])))
    return InputError(
        f"the graph cannot be compiled for any batch size: {why}; fix it, as by shapes={{{name!r}: ({shape})}}"
    )


def lifted(built: Callable[[int], Graph], inputs: Collection[str]) -> tuple[Graph, Callable[[str, Op], Op]]:
    """Return the graph for N samples, and what lifts an op of the graph for one.

    `built` makes the graph for a number of samples, which `inputs` have on their first axis.

    Raises InputError where samples meet, and where the graph is another for another number of samples.
    """
    one = built(1)
    try:
        two, three = built(2), built(3)
    except ReflrpError as error:
        raise refuse(f"for several samples it cannot be built: {error}", one) from error
    seen = trace(two, dict.fromkeys(inputs, 0))
    met = next(iter(seen.meetings.values()), None)
    if met is not None:
        raise refuse(f"samples meet in node {met}", one)
    more = trace(three, dict.fromkeys(inputs, 0))
    if not alike(two, one, seen, fewer(one, seen, 1)) or not alike(three, two, more, seen):
        raise refuse("for several samples it is another graph than for one", one)
    pairs = {m.name: (m, n.op) for m, n in zip(one.nodes, two.nodes, strict=True)}
    values = _values(one, two, seen)

    def lift(name: str, op: Op) -> Op:
        node, other = pairs[name]
        return _op(node, op, other, one, values, seen)

    nodes = tuple(replace(n, op=lift(n.name, n.op)) for n in one.nodes)
    return replace(one, nodes=nodes, values=values), lift


def _values(one: Graph, two: Graph, seen: Samples) -> dict[str, Value]:
    """Return what is known of the values, their shapes with N in place of one sample; of those that passes left behind too."""
    found = {}
    for name, value in one.values.items():
        shape, place = list(value.shape), seen.places.get(name)
        if place is not None:
            shape[place.axis] = dim(shape[place.axis])
        elif name not in seen.places and name in two.values:
            shape = list(_merged(value.shape, two.values[name].shape))
        found[name] = replace(value, shape=tuple(shape))
    return found


@dataclass(frozen=True, eq=False)
class EachIndex(Index):
    """An `Index` within each sample: `index` holds the numbers of a sample's own entries, which lie one after another."""

    target: Shape = field(kw_only=True)

    def forward(self, *xs: Array) -> Array:
        """Return the entries that the map names."""
        xp, n = namespace(xs[0]), self.source[0]
        rows = xp.take(xp.reshape(xs[0], (n, -1)), self.index.reshape(-1), axis=1)
        return xp.reshape(rows, self.target)

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return R added up at the entries it came from."""
        return (added(R, self.index, self.target, self.source),)


@dataclass(frozen=True, eq=False)
class EachPick(Pick):
    """A `Pick` within each sample: the numbers are those of a sample's own entries, which lie one after another.

    `rows` is how many samples there are; 1 where the numbers are among the entries of all.
    """

    rows: int = field(kw_only=True)

    def forward(self, *xs: Array) -> Array:
        """Return the entries that the numbers name."""
        xp, (x, index) = namespace(xs[0]), xs
        rows = [xp.reshape(a, (self.rows, -1)) for a in (x, index)]
        return xp.reshape(xp.take_along_axis(*rows, axis=1), index.shape)

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return R added up at the entries it came from, and nothing for the numbers."""
        xp = namespace(R)
        index, values = (xp.reshape(a, (self.rows, -1)) for a in (xs[1], R))
        size = total(self.source) if self.rows == 1 else prod(self.source[1:])
        return xp.reshape(xp.add_along_axis(size, index, values), self.source), None


def among_all(name: str, op: Op) -> Op:
    """Return a `Pick` as one that open lengths do not stop; any other op as it is."""
    return EachPick(op.source, rows=1) if isinstance(op, Pick) else op


@dataclass(frozen=True, eq=False)
class EachScatter(ScatterSum):
    """A `ScatterSum` within each sample."""

    def apply(self, x: Array, w: Array) -> Array:
        """Return the sums."""
        return added(x * w, self.index, self.source, self.target)

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return s at the place that each entry went to."""
        xp = namespace(s)
        rows = xp.take(xp.reshape(s, (self.target[0], -1)), self.index.reshape(-1), axis=1)
        return xp.reshape(rows, self.source) * w


def added(x: Array, index: Array, source: Shape, target: Shape) -> Array:
    """Return each sample's entries of x added up at their numbers among the sample's entries of the target."""
    xp, n = namespace(x), source[0]
    columns = xp.permute_dims(xp.reshape(x, (n, -1)), (1, 0))
    sums = scatter_add(prod(target[1:]), index.reshape(-1), columns)
    return xp.reshape(xp.permute_dims(sums, (1, 0)), target)


def _op(node: Node, op: Op, two: Op, graph: Graph, shapes: Mapping[str, Value], seen: Samples) -> Op:
    """Return the op of a node for N samples, from those for one and for two."""
    if isinstance(op, Plumbing):
        return op
    if not isinstance(op, Index | Pick | ScatterSum):
        found: Op = _merged(op, two)
        return _whole(found) if isinstance(found, Slice) else found
    source, target = shapes[node.inputs[0]].shape, shapes[node.output].shape
    leads = [seen.places[i] == Place(0) for i in (*node.inputs, node.output)]
    if (isinstance(op, Pick) and not op.each) or not all(leads):
        raise refuse(
            f"node {node.name!r} (onnx {node.op_type}) moves entries by their number among all samples'", graph
        )
    if isinstance(op, Pick):
        return EachPick(source, rows=source[0])
    if isinstance(op, ScatterSum):
        kept = {f.name: getattr(op, f.name) for f in fields(op) if f.init}
        return EachScatter(**{**kept, "source": source, "target": target})
    return EachIndex(source, op.index, target=target)


def _whole(op: Slice) -> Slice:
    """Return a slice that takes all samples (which is proven) with no number in it that says so."""
    pairs = zip(op.slices, op.source, strict=True)
    return replace(op, slices=tuple(slice(None) if isinstance(n, Dim) else s for s, n in pairs))


def _merged(one: Any, two: Any) -> Any:
    """Return a field of the op for N samples, from those for one and for two."""
    if type(one) is int and type(two) is int:
        return one if one == two else dim(one) if two == 2 * one else _unequal(one, two)
    if isinstance(one, slice):
        return one if _ends(one) == _ends(two) else slice(None)
    if isinstance(one, tuple) and isinstance(two, tuple) and len(one) == len(two):
        parts = [_merged(a, b) for a, b in zip(one, two, strict=True)]
        return type(one)(*parts) if hasattr(one, "_fields") else tuple(parts)
    if is_dataclass(one) and not isinstance(one, type) and type(one) is type(two) and not hasattr(one, "shares"):
        changed = {f.name: _merged(getattr(one, f.name), getattr(two, f.name)) for f in fields(one) if f.init}
        same = all(v is getattr(one, k) for k, v in changed.items())
        return one if same else replace(one, **changed)
    return one


def _ends(s: slice) -> tuple[Any, Any, Any]:
    return s.start, s.stop, s.step


def _unequal(one: int, two: int) -> int:
    raise InputError(f"a length is {one} for one sample and {two} for two, which is no multiple of the batch size")
