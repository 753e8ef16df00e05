"""What exporters make of a BatchNormalization: a scale and a shift a channel, as two to four nodes.

Keras and tf2onnx write an unfolded BatchNormalization as Mul and Add (scale = gamma / sigma, shift = beta - mean * scale),
or as Sub, Mul or Div, Mul, Add. Nothing in the file says that it was one, so this is the criterion:

1. right behind a layer, or a Concat of layers, and read by nobody else on the way: [a shift], one scale or more, a shift,
2. each with exactly one entry for each channel, on the channels' axis (a number, a map of positions is none),
3. the whole scale is positive, or the exporter's name of one of the nodes says batch normalization.

A single Mul, Div, Neg, Sub or Add is none: it lacks the other half. With a positive scale, the contributions that count as
positive are the same before and after; with a negative one they change places, so there the name must prove it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from reflrp.arrays import ZERO, Array
from reflrp.arrays.convert import wide
from reflrp.ir import Graph, Node
from reflrp.ops.linear import Diagonal, LeftDense
from reflrp.ops.routing import Concat
from reflrp.passes.bias import WITH_BIAS, closed, opened

NAMED = re.compile(r"batch_?norm", re.IGNORECASE)
"""How exporters call the nodes of a BatchNormalization."""


def batchnorms_joined(graph: Graph) -> Graph:
    """Return the graph with each such chain as one BatchNormalization node."""
    nodes, place, readers = opened(graph)
    makers, consumers = graph.producers(), graph.consumers()
    for i, first in enumerate(graph.nodes):
        channels = _channels(first, graph, makers, readers)
        chain = _chain(first, graph, consumers, readers, channels) if channels else []
        if nodes[i] is None or not chain:
            continue
        op = _composed([n.op for n in chain])  # type: ignore[misc]
        names = tuple(name for n in chain for name in n.onnx)
        if not bool(np.all(op.w > 0)) and not any(NAMED.search(name) for name in (*names, *(n.scope for n in chain))):
            continue
        for node in chain:
            nodes[place[node.output]] = None
        whole = replace(chain[-1], op=op, inputs=first.inputs, op_type="BatchNormalization", onnx=names)
        nodes[place[chain[-1].output]] = whole
    return closed(graph, nodes)


def batchnorms_named(graph: Graph) -> Graph:
    """Join scales and shifts in a row that the exporter's names say are one BatchNormalization, wherever it stands.

    Keras and tf2onnx call them `net/bn/batchnorm/mul_1`, `net/bn/batchnorm/add_1`. Nothing is folded into a neighbour.
    """
    nodes, place, readers = opened(graph)
    for i, node in enumerate(graph.nodes):
        module = _batchnorm_of(node)
        if not module:
            continue
        nodes[i] = replace(node, op_type="BatchNormalization")
        name = node.inputs[0]
        before = nodes[place[name]] if name in place else None
        if before is not None and readers[name] == 1 and _batchnorm_of(before) == module:
            op = _composed([before.op, node.op])  # type: ignore[list-item]
            nodes[i] = replace(nodes[i], op=op, inputs=before.inputs, onnx=(*before.onnx, *node.onnx))
            nodes[place[name]] = None
    return closed(graph, nodes)


def _batchnorm_of(node: Node) -> str:
    """Return the name of the BatchNormalization that a scale or a shift is a part of, or ""."""
    if not isinstance(node.op, Diagonal) or node.measured:
        return ""
    found = {match[1] if match else "" for match in (re.match(r"(.*/batchnorm)/[^/]*$", n) for n in node.onnx)}
    return found.pop() if len(found) == 1 else ""


def _channels(first: Node, graph: Graph, makers: Mapping[str, Node], readers: Counter[str]) -> tuple[int, int] | None:
    """Return the axis and number of channels of what a chain would begin behind: a layer, or a Concat of layers."""
    if not isinstance(first.op, Diagonal) or first.op_type == "BatchNormalization" or readers[first.inputs[0]] != 1:
        return None
    before = makers.get(first.inputs[0])
    parts = [makers.get(i) for i in before.inputs] if before and isinstance(before.op, Concat) else [before]
    if not all(p is not None and isinstance(p.op, WITH_BIAS) and not isinstance(p.op, LeftDense) for p in parts):
        return None
    shape = graph.values[first.inputs[0]].shape
    dense = {p.kind == "dense" for p in parts if p is not None}
    axis = len(shape) - 1 if dense == {True} else 1
    return (axis, shape[axis]) if len(dense) == 1 and axis < len(shape) else None


def _chain(
    first: Node, graph: Graph, consumers: Mapping[str, list[Node]], readers: Counter[str], channels: tuple[int, int]
) -> list[Node]:
    """Return the nodes of a BatchNormalization that begins here, or nothing."""
    chain: list[Node] = []
    kinds = ""
    node: Node | None = first
    while node is not None and not re.fullmatch("a?m+a", kinds):
        kinds += _part(node, graph, channels)
        if not re.fullmatch("a?m*a?", kinds):
            return []
        chain.append(node)
        after = consumers.get(node.output, [])
        node = after[0] if readers[node.output] == 1 and after else None
    return chain if re.fullmatch("a?m+a", kinds) else []


def _part(node: Node, graph: Graph, channels: tuple[int, int]) -> str:
    """Return "m" for a scale a channel, "a" for a shift a channel, "?" for anything else."""
    d, rank = node.op, len(graph.values[node.output].shape)
    if not isinstance(d, Diagonal) or node.op_type == "BatchNormalization" or node.measured:
        return "?"
    plain = d.w.ndim == 0 and bool(d.w == 1)
    if plain and d.b is not ZERO and _one_each(d.b, rank, channels):
        return "a"
    return "m" if d.b is ZERO and _one_each(d.w, rank, channels) else "?"


def _one_each(x: Array, rank: int, channels: tuple[int, int]) -> bool:
    """Return whether a constant has exactly one entry a channel, on the channels' axis."""
    axis, count = channels
    lead = rank - x.ndim
    return bool(x.ndim > 0 and x.size == count and lead <= axis and x.shape[axis - lead] == count)


def _composed(maps: list[Diagonal]) -> Diagonal:
    """Return one map for several, one after the other."""
    w, b = np.ones(()), np.zeros(())
    for d in maps:
        w, b = w * wide(d.w), b * d.w + (0 if d.b is ZERO else d.b)
    return Diagonal(w, b, maps[0].source)
