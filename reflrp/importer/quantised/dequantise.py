"""A pass over products of integers: what scales them behind is taken into them, so that they are layers in real units.

A runtime's quantiser writes `scale * (integers @ integers)`, its scale being a product of a constant, of the weights, and
of a number, of the activations, that may be found in the run. The constant becomes part of the weights and the number part
of the activations, in whose units QuantizeLinear wrote them: s v (q - z) w = (s (q - z)) (v w). So the layer is the one
that was quantised, with its bias behind it, and rules see activations and weights in real units. All of it is algebra on
the graph; nothing is assumed of the values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reflrp.arrays import ZERO
from reflrp.ground.caches import Cache
from reflrp.ir import Graph, Node, Value
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
    work = _Folding(dict(graph.values), nodes, place, readers, graph.producers())
    for i, after in enumerate(graph.nodes):
        if any(work.takes_in(j, after, factor, number) for j, factor, number in work.products(after)):
            nodes[i] = None
    found = replace(closed(graph, nodes), values=work.values)
    return replace(found, notes=(*found.notes, *_left(found)))


@dataclass(frozen=True)
class _Folding:
    """What is known of values, the nodes while they are edited, and for each value its place, its readers and its maker."""

    values: dict[str, Value]
    nodes: list[Any]
    place: dict[str, int]
    readers: Mapping[str, int]
    makers: dict[str, Node]

    def products(self, after: Node) -> Iterator[tuple[int, Diagonal, str]]:
        """Yield the places of the products of integers that a node scales, with the constant and the number it scales by."""
        values, op = self.values, after.op
        if isinstance(op, Diagonal) and op.b is ZERO:
            found = [(after.inputs[0], op, "")]
        elif isinstance(op, Multiply):
            one, two = after.inputs
            scaled = [(x, _parted(s, self.makers)) for x, s in ((one, two), (two, one)) if not values[s].active]
            found = [(x, Diagonal(constant, ZERO, values[x].shape), number) for x, (number, constant) in scaled]
        else:
            return
        for name, factor, number in found:
            j = self.place.get(name, -1)
            node = self.nodes[j] if j >= 0 else None
            plain = node is not None and node.op_type in INTEGER and isinstance(node.op, Dense | Conv)
            if plain and self.readers[name] == 1 and values[name].shape == values[after.output].shape:
                yield j, factor, number

    def takes_in(self, j: int, after: Node, factor: Diagonal, number: str) -> bool:
        """Take a scale into the product at a place, and return whether that went."""
        layer = self.nodes[j]
        k = self.place.get(layer.inputs[0], -1)
        centre: Any = self.nodes[k] if k >= 0 and self.readers[layer.inputs[0]] == 1 else None
        centre = centre if _is_centre(centre) else None
        if number and (centre is None or self.place.get(number, k) >= k or self.values[number].shape):
            return False
        unit = _unit(centre.inputs[0], self.makers) if centre is not None and not number else None
        op = scaled_after(layer.op, factor if unit is None else replace(factor, w=factor.w / unit, derived=Cache()))
        if op is None:
            return False
        if number:
            inputs = (centre.inputs[0], number, *centre.inputs[1:])
            self.values[centre.output] = replace(self.values[centre.output], nonneg=False)  # the number may be negative
            self.nodes[k] = replace(centre, op=replace(centre.op, scale=None), inputs=inputs)
        elif unit is not None:
            self.nodes[k] = replace(centre, op=replace(centre.op, scale=unit))
        self.nodes[j] = replace(layer, op=op, output=after.output, onnx=(*layer.onnx, *after.onnx))
        self.place[after.output] = j
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
