"""Whether the samples of a batch are independent, and where each value holds them: proven on the graph, never tried.

A sample is one slice of an input. `trace` follows the slices through the graph by the laws of `passes/laws.py`. A batch may
be cut where its samples never meet on the way to the output, and where the graph for fewer samples is the same graph
(`alike`): then each sample's part of every value is the same, whatever it is computed beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from reflrp.ir import Graph, Node, Shape
from reflrp.ops.picking import Index, ScatterSum
from reflrp.ops.routing import Plumbing
from reflrp.passes.laws import law
from reflrp.passes.places import Meeting, Place, Sight, local, reshaped
from reflrp.passes.plumbing_laws import FLAT, recipe


@dataclass(frozen=True)
class Samples:
    """Where each value of a graph holds its samples, and in which nodes they meet.

    Attributes
    ----------
    count : int
        How many samples there are; two at least, but in what `fewer` makes.
    places : dict
        For each value where the samples are not mixed, their place in it; None where it is the same for all samples.
    meetings : dict
        For each value where they are, the node in which they met, and why.

    """

    count: int
    places: Mapping[str, Place | None]
    meetings: Mapping[str, str]

    def axis(self, value: str) -> int | None:
        """Return the axis that the samples have for themselves in a value; None where there is none."""
        place = self.places.get(value)
        return place.axis if place is not None and place.alone else None


def trace(graph: Graph, axes: Mapping[str, int]) -> Samples:
    """Return where the samples are in all values of a graph, given the axis that they have in its inputs.

    Inputs that are not among the axes are the same for all samples. The graph must be built for two samples or more.
    """
    (count,) = {graph.values[name].shape[axis] for name, axis in axes.items()}
    places: dict[str, Place | None] = {i: Place(axes[i]) if i in axes else None for i in graph.inputs}
    meetings: dict[str, str] = {}
    for node in graph.nodes:
        met = next((meetings[i] for i in node.inputs if i in meetings), None)
        if met is None:
            try:
                places[node.output] = _through(node, graph, places, count)
                continue
            except Meeting as meeting:
                met = f"{node.name!r} (onnx {node.op_type}): {meeting}"
        meetings[node.output] = met
    return Samples(count, places, meetings)


def _through(node: Node, graph: Graph, places: Mapping[str, Place | None], count: int) -> Place | None:
    given = tuple(places[i] for i in node.inputs)
    if all(place is None for place in given):
        return None
    shapes = tuple(graph.values[i].shape for i in node.inputs)
    return law(node.op, Sight(given, shapes, graph.values[node.output].shape, count))


def fewer(graph: Graph, seen: Samples, count: int) -> Samples:
    """Return where the samples are in a graph for `count` of them, if they are where they were `seen` in another graph.

    One sample alone shows nothing of where it lies; whether it is so is what `alike` finds by the shapes.
    """
    return Samples(count, {k: p for k, p in seen.places.items() if k in graph.values}, seen.meetings)


PLAIN = (bool, int, float, str, bytes, np.generic, type(None))
"""What `==` decides; anything else that is not the same object counts as different."""

SHAPES = ("source", "sources", "target", "derived", "absorbed")
"""Fields of ops that hold the shapes of inputs or output, which are compared as such, and what is worked out on the way."""


def alike(one: Graph, two: Graph, in_one: Samples, in_two: Samples) -> bool:
    """Return whether two graphs do the same to each sample, one of them being for more samples than the other."""
    if one.inputs != two.inputs or one.outputs != two.outputs or len(one.nodes) != len(two.nodes):
        return False
    if in_one.places != in_two.places or in_one.meetings.keys() != in_two.meetings.keys():
        return False
    if any(_of_one(one, in_one, name) != _of_one(two, in_two, name) for name in in_one.places):
        return False
    if not (_holds(one, in_one) and _holds(two, in_two)):
        return False
    return all(_same_node(m, n, one, two, in_one, in_two) for m, n in zip(one.nodes, two.nodes, strict=True))


def _of_one(graph: Graph, samples: Samples, name: str) -> Shape:
    """Return the shape of a value, with one sample in place of all."""
    return _without(graph.values[name].shape, samples.places[name])


def _holds(graph: Graph, samples: Samples) -> bool:
    """Return whether every value has all samples, and nothing more, in the place where they are."""
    held = ((graph.values[k].shape, p) for k, p in samples.places.items() if p is not None)
    return all(shape[p.axis] == p.before * samples.count * p.after for shape, p in held)


def _without(shape: Shape, place: Place | None) -> Shape:
    return shape if place is None else (*shape[: place.axis], place.before * place.after, *shape[place.axis + 1 :])


def _same_node(m: Node, n: Node, one: Graph, two: Graph, in_one: Samples, in_two: Samples) -> bool:
    if (m.name, m.inputs, m.output, type(m.op)) != (n.name, n.inputs, n.output, type(n.op)):
        return False
    names = [f.name for f in fields(m.op) if f.name not in SHAPES]
    found = (
        {k: _of_a_sample(k, x, graph, see) for k in names} for x, graph, see in ((m, one, in_one), (n, two, in_two))
    )
    a, b = found
    return all(_same(a[k], b[k], in_one.count, in_two.count) for k in names)


def _of_a_sample(name: str, node: Node, graph: Graph, samples: Samples) -> Any:
    """Return a field of an op; of what has all samples' part in it, that of the first."""
    op: Any = node.op
    value = getattr(op, name)
    place = samples.places.get(node.inputs[0])
    if name in ("function", "shares") and isinstance(op, Plumbing):
        return _of_plumbing(op)
    if name == "index" and isinstance(op, Index | ScatterSum):
        return _moves(node, samples)
    if place is None or value is None:
        return value
    if name == "slices":
        return tuple(s for axis, s in enumerate(value) if axis != place.axis)
    if name == "grouped":
        source = graph.values[node.inputs[0]].shape
        return _without(value, reshaped(place, source, value, samples.count))
    return value


def _of_plumbing(op: Plumbing) -> Any:
    """Return what a plumbing node runs; the shape that it brings something to is compared as the shape of its output."""
    known = recipe(op)
    if known is None:
        return op.function
    operands = known.operands[:1] if known.op_type in (*FLAT, "Expand") else known.operands
    return known.op_type, known.attributes, operands


def _moves(node: Node, samples: Samples) -> np.ndarray:
    """Return how an op that moves entries by their numbers moves those of the first sample."""
    op: Any = node.op
    scatters = isinstance(op, ScatterSum)
    place = samples.places.get(node.output if scatters else node.inputs[0])
    index = np.asarray(op.index)
    if place is None:
        return index
    sample, rest = local(index, place, op.target if scatters else op.source, samples.count)
    found: np.ndarray = rest[sample == 0]
    return found


def _same(a: Any, b: Any, m: int, n: int) -> bool:
    """Return whether two fields are the same; of constants with a row for each of m or n samples, the first rows."""
    if a is b or type(a) is not type(b):
        return a is b
    if isinstance(a, np.ndarray):
        return _same_array(a, b, m, n)
    if isinstance(a, PLAIN):
        return bool(a == b)
    return _same_parts(_parts(a), _parts(b), m, n)


def _same_parts(a: tuple[Any, ...] | None, b: tuple[Any, ...] | None, m: int, n: int) -> bool:
    if a is None or b is None or len(a) != len(b):
        return False
    return all(_same(x, y, m, n) for x, y in zip(a, b, strict=True))


def _parts(x: Any) -> tuple[Any, ...] | None:
    """Return what something is made of; None for what cannot be looked into."""
    if isinstance(x, tuple | list):
        return tuple(x)
    if isinstance(x, slice):
        return x.start, x.stop, x.step
    if isinstance(x, Mapping):
        return tuple(sorted(x.items()))
    return tuple(getattr(x, f.name) for f in fields(x)) if is_dataclass(x) else None


def _same_array(a: np.ndarray, b: np.ndarray, m: int, n: int) -> bool:
    if a.shape == b.shape:
        places = [(x.ctypes.data, x.strides, x.dtype) for x in (a, b)]  # weights are most often views of one array
        return places[0] == places[1] or bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    if a.ndim != b.ndim or a.dtype != b.dtype:
        return False
    differing = [i for i, (p, q) in enumerate(zip(a.shape, b.shape, strict=True)) if p != q]
    if len(differing) != 1 or (a.shape[differing[0]], b.shape[differing[0]]) != (m, n):
        return False
    return bool(np.array_equal(a.take(0, axis=differing[0]), b.take(0, axis=differing[0])))
