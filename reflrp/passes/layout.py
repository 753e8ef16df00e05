"""Which axis of each value holds the samples, and which of an input the channels: proven on the graph, or not said."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

from reflrp.ir import Graph, Layout, Node
from reflrp.ops.axismap import AxisMap
from reflrp.ops.conv import Conv, ConvTranspose, WindowMean
from reflrp.ops.linear import Diagonal
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import Multiply
from reflrp.ops.routing import Pad, Slice, Transpose
from reflrp.ops.selection import MaxPool
from reflrp.ops.sums import SumOf
from reflrp.passes.samples import trace

TRIES = 16
"""In how many ways the samples may lie in the inputs for all of them to be tried by the laws."""

KEEPING = (AxisMap, Diagonal, MaxPool, Multiply, Pad, Pointwise, Slice, SumOf, WindowMean)
"""Ops whose output has the axes of their inputs, in their order, where it has as many."""


def layouts(graph: Graph, turned: int = 0) -> dict[str, Layout]:
    """Return the layout of inputs and inner values, where it is proven.

    Samples are what the first axis of the output counts, or its axis `turned`. One sample alone shows nothing of where it lies.
    """
    found: dict[str, dict[str, int | None]] = {k: {"sample": axis} for k, axis in _samples(graph, turned).items()}
    for name, axis in _channels(graph).items():
        found.setdefault(name, {})["channel"] = axis
    return dict(found)


def _samples(graph: Graph, turned: int) -> dict[str, int | None]:
    """Return the samples' axis in each value: where they must be in the inputs to be on that axis of the output, unmixed."""
    output = graph.resolve(graph.outputs[0])
    count = (graph.values[output].shape or (0,))[turned]
    for axes in _ways(graph, count):
        seen = trace(graph, axes)
        if seen.axis(output) == turned:
            alone = {k: place for k, place in seen.places.items() if place is None or place.alone}
            return {k: None if place is None else place.axis for k, place in alone.items()}
    return {}


def _ways(graph: Graph, count: int) -> Iterator[dict[str, int]]:
    """Yield where so many samples could be in the inputs, by their shapes; first on the first axes of all of them."""
    options = [[*(a for a, n in enumerate(graph.values[i].shape) if n == count), None] for i in graph.inputs]
    if count < 2:
        return
    first, second = tuple(o[0] for o in options), tuple(o[-2] if len(o) > 1 else None for o in options)
    rest = sorted(product(*options), key=lambda way: way.count(None)) if prod(map(len, options)) <= TRIES else []
    for way in dict.fromkeys([first, second, *rest]):
        axes = {i: a for i, a in zip(graph.inputs, way, strict=True) if a is not None}
        if axes:
            yield axes


def _channels(graph: Graph) -> dict[str, int]:
    """Return the axis of each input that is on axis 1 of the convolutions it goes into.

    Before them may be elementwise work, pools and transposes. No axis is said where two convolutions differ.
    """
    orders = {i: (i, tuple(range(len(graph.values[i].shape)))) for i in graph.inputs}
    found: dict[str, set[int]] = {}
    for node in graph.nodes:
        tracked = next((orders[i] for i in node.inputs if i in orders and _fits(node, i, graph)), None)
        if tracked is None:
            continue
        source, order = tracked
        if isinstance(node.op, Conv | ConvTranspose):
            found.setdefault(source, set()).add(order[1])
        elif isinstance(node.op, Transpose):
            orders[node.output] = source, tuple(order[a] for a in node.op.axes)
        elif isinstance(node.op, KEEPING):
            orders[node.output] = source, order
    return {name: next(iter(axes)) for name, axes in found.items() if len(axes) == 1}


def _fits(node: Node, name: str, graph: Graph) -> bool:
    return len(graph.values[name].shape) == len(graph.values[node.output].shape)
