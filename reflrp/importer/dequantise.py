"""A pass over products of integers: what scales them behind is taken into them, so that they are layers in real units.

A runtime's quantiser writes `scale * (integers @ integers)`, its scale being a product of a constant, of the weights, and
of a number, of the activations, that may be found in the run. The constant becomes part of the weights and the number part
of the activations, in whose units QuantizeLinear wrote them: s v (q - z) w = (s (q - z)) (v w). So the layer is the one that was quantised, with its bias behind it,
and rules see activations and weights in real units. Both is algebra on the graph; nothing is assumed of the values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from reflrp.arrays import ZERO
from reflrp.ir import Graph, Node
from reflrp.ops.conv import Conv
from reflrp.ops.linear import Dense, Diagonal
from reflrp.ops.product import Multiply
from reflrp.ops.quantised import EXACT, Dequantise, Quantise
from reflrp.ops.routing import Plumbing, Routing
from reflrp.passes.bias import closed, opened
from reflrp.passes.canonize import scaled_after
from reflrp.passes.plumbing_laws import recipe

INTEGER = ("MatMulInteger", "ConvInteger")
SAME = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")
"""Plumbing that leaves one number what it is."""


def dequantised(graph: Graph) -> Graph:
    """Return the graph with the scale behind each product of integers taken into its weights and its activations."""
    if not any(node.op_type in INTEGER for node in graph.nodes):
        return graph
    nodes, place, readers = opened(graph)
    makers = graph.producers()
    for i, after in enumerate(graph.nodes):
        for j, scale in _products(after, graph, nodes, place):
            if readers[nodes[j].output] == 1 and _taken_in(nodes, j, after, scale, makers, place, readers, graph):
                nodes[i], place[after.output] = None, j
                break
    found = closed(graph, nodes)
    return replace(found, notes=(*found.notes, *_left(found)))


def _products(after: Node, graph: Graph, nodes: list[Any], place: dict[str, int]) -> Iterator[tuple[int, str]]:
    """Yield the places of the products of integers that a node scales, with the name of the scale, if it is a value."""
    pairs = []
    if isinstance(after.op, Diagonal) and after.op.b is ZERO:
        pairs = [(after.inputs[0], "")]
    elif isinstance(after.op, Multiply):
        pairs = [p for p in (after.inputs, after.inputs[::-1]) if not graph.values[p[1]].active]
    for name, scale in pairs:
        j = place.get(name, -1)
        if j >= 0 and nodes[j] is not None and nodes[j].op_type in INTEGER and isinstance(nodes[j].op, Dense | Conv):
            yield j, scale


def _taken_in(
    nodes: list[Any],
    j: int,
    after: Node,
    scale: str,
    makers: dict[str, Node],
    place: dict[str, int],
    readers: Any,
    graph: Graph,
) -> bool:
    """Take a scale into the product at a place, and return whether that went."""
    layer, number, factor = nodes[j], "", after.op
    if scale:
        number, constant = _parted(scale, makers)
        factor = Diagonal(constant, ZERO, graph.values[layer.output].shape)
    if graph.values[after.output].shape != graph.values[layer.output].shape:
        return False
    k = place.get(layer.inputs[0], -1)
    centre = nodes[k] if k >= 0 and _is_centre(nodes[k]) and readers[layer.inputs[0]] == 1 else None
    unit = _unit(centre.inputs[0], makers) if centre is not None and not number else None
    op = scaled_after(layer.op, factor if unit is None else replace(factor, w=factor.w / unit))  # type: ignore[arg-type]
    if op is None:
        return False
    if number:
        if centre is None or place.get(number, len(nodes)) > k or graph.values[number].shape:
            return False
        inputs = (centre.inputs[0], number, *centre.inputs[1:])
        nodes[k] = replace(centre, op=replace(centre.op, scale=None), inputs=inputs)
    elif unit is not None and centre is not None:
        nodes[k] = replace(centre, op=replace(centre.op, scale=unit))
    nodes[j] = replace(layer, op=op, output=after.output, onnx=(*layer.onnx, *after.onnx))
    return True


def _unit(name: str, makers: dict[str, Node]) -> np.ndarray | None:
    """Return the one scale that integers were made with, however they were moved since; None where it is not known."""
    while name in makers and isinstance(makers[name].op, Routing) and len(makers[name].inputs) == 1:
        name = makers[name].inputs[0]
    op = makers[name].op if name in makers else None
    return op.scale if isinstance(op, Quantise) and op.scale is not None and op.scale.ndim == 0 else None


def _is_centre(node: Node | None) -> bool:
    """Return whether a node takes the zero point off integers, and does no more."""
    op = node.op if node is not None else None
    return isinstance(op, Dequantise) and op.scale is not None and bool(np.all(op.scale == 1))


def _parted(name: str, makers: dict[str, Node]) -> tuple[str, np.ndarray]:
    """Return a scale as a product of a number that is found in the run, by its name, and a constant."""
    constant = np.ones(())
    while name in makers and isinstance(makers[name].op, Plumbing):
        node = makers[name]
        known = recipe(node.op)  # type: ignore[arg-type]
        if known is None or len(node.inputs) != 1:
            break
        if known.op_type == "Mul":
            constant = constant * next(np.asarray(a, dtype=np.float64) for a in known.operands if a is not None)
        elif known.op_type not in SAME:
            break
        name = node.inputs[0]
    return name, constant


def same_number(name: str, makers: dict[str, Node]) -> str:
    """Return the first name of a number that casts and reshapes hand on."""
    while name in makers and isinstance(makers[name].op, Plumbing):
        known = recipe(makers[name].op)  # type: ignore[arg-type]
        if known is None or known.op_type not in SAME or len(makers[name].inputs) != 1:
            break
        name = makers[name].inputs[0]
    return name


def _left(graph: Graph) -> Iterator[str]:
    """Yield a note where sums of integers stay, and float32 may be too short for them."""
    names = [n.name for n in graph.nodes if n.op_type in INTEGER and isinstance(n.op, Dense | Conv) and _counts(n.op.w)]
    if names:
        yield (
            f"sums of integers may pass {EXACT['float32']:.0f} in {', '.join(map(repr, names))}: exact in float64, but not in "
            "float32"
        )


def _counts(w: np.ndarray) -> bool:
    """Return whether weights are integers, and so many that sums with eight bits pass what float32 holds."""
    whole = bool((w == np.round(w)).all())
    return whole and 255 * float(np.abs(w).max(initial=0)) * (w.size / max(w.shape[0], 1)) > EXACT["float32"]
