"""Which operand of a product is the gate: a pass that follows each operand back to the function it comes out of.

Clauses: REC-1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from reflrp.arrays import ZERO
from reflrp.ir import Graph, Node
from reflrp.ops.linear import Diagonal
from reflrp.ops.normaliser import Softmax
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import Multiply, Product
from reflrp.ops.quantised import Units
from reflrp.ops.routing import Routing
from reflrp.ops.sums import SumAxes


def mark_gates(graph: Graph) -> Graph:
    """Return the graph with `Product.gates` filled in."""
    degrees: dict[str, int] = {}
    for node in graph.nodes:
        degrees[node.output] = _degree(node, graph, degrees)
    nodes = tuple(_marked(node, degrees) if isinstance(node.op, Product) else node for node in graph.nodes)
    return replace(graph, nodes=nodes)


def _marked(node: Node, degrees: Mapping[str, int]) -> Node:
    one, two = (degrees.get(name, 0) for name in node.inputs)
    return replace(node, op=replace(node.op, gates=(one, two)))  # type: ignore[call-arg]


def _degree(node: Node, graph: Graph, degrees: Mapping[str, int]) -> int:
    """Return how much of a gate a node's output is, given that of the values before it.

    Routing of one value that carries relevance, its rounding to integers, masks and scales (a factor of constants, or of
    values without relevance, as a head mask between softmax and values), and a scalar shift as in 1 - z are looked through.
    """
    source, op = _looked_through(node, graph), node.op
    if source is not None:
        return degrees.get(source, 0)
    if _stays_a_weight(node) and all(degrees.get(name, 0) == 3 for name in node.inputs):
        return 3
    if isinstance(op, Softmax) or (isinstance(op, Pointwise) and op.name in ("sigmoid", "hard_sigmoid")):
        return 3
    if isinstance(op, Pointwise) and op.name == "tanh":
        return 2
    return 1 if isinstance(op, Pointwise) and op.name != "reciprocal" else 0


def _stays_a_weight(node: Node) -> bool:
    """Return whether a node makes weights of nothing but weights: they are divided by their sum behind a mask."""
    return isinstance(node.op, Multiply | SumAxes) or (isinstance(node.op, Pointwise) and node.op.name == "reciprocal")


def _looked_through(node: Node, graph: Graph) -> str | None:
    """Return the value that a node hands on as it is, up to its place, a mask, a scale and a shift."""
    if isinstance(node.op, Diagonal):
        return node.inputs[0] if np.size(node.op.w) == 1 or node.op.b is ZERO else None
    sources = [name for name in node.inputs if graph.values[name].active]
    return sources[0] if isinstance(node.op, Routing | Multiply | Units) and len(sources) == 1 else None
