"""Canonizing passes: pure Graph -> Graph, each with a postcondition (the outputs stay the same, or what `CHANGING` says).

They change relevance, so a composite names them (`Composite.canonize`), and `Programs` checks at the first input that the
outputs did not change (`ForwardChanged`).

Clauses: BN-2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.arrays import ZERO, Array
from reflrp.arrays.convert import wide
from reflrp.errors import RuleError
from reflrp.ground.caches import Cache
from reflrp.ground.checks import shown, texts
from reflrp.ir import Graph, Node, Value
from reflrp.ops.conv import Conv, ConvTranspose
from reflrp.ops.linear import BatchNorm, Dense, Diagonal, LeftDense, LinearMap
from reflrp.ops.routing import Concat
from reflrp.ops.shifted import Shifted
from reflrp.passes.batchnorm import batchnorms_joined, batchnorms_named
from reflrp.passes.before import channel_scale, fold_before, is_batchnorm
from reflrp.passes.bias import WITH_BIAS, closed, opened, part_bias
from reflrp.passes.readers import part_readers
from reflrp.passes.separable import join_separable


def fold_batchnorm(graph: Graph) -> Graph:
    """Fold each BatchNormalization into its linear neighbour, and nothing else.

    1. After a linear node that nobody else reads: w' = w * scale, b' = b * scale + shift.
    2. After a Concat of such nodes: into each of them.
    3. Before a linear node that alone reads it: w' = w * scale, b' = b + L(shift).

    What exporters make of a BatchNormalization counts as one (`reflrp.passes.batchnorm`); any other scale or shift stays
    a node, because folding it would share relevance by contributions to a value that the layer does not have.
    """
    return fold_before(merge_batchnorm(_over_concat(batchnorms_joined(graph))))


def merge_batchnorm(graph: Graph) -> Graph:
    """Fold each BatchNormalization node into the linear node right before it, and nothing else (as zennit merges them)."""
    nodes, place, readers = opened(graph)
    for i, after in enumerate(graph.nodes):
        node = _with_batchnorm(after, nodes, place, readers)
        if node is not None:
            nodes[place[node.output]] = replace(node, output=after.output)
            nodes[i], place[after.output] = None, place.pop(node.output)
    return closed(graph, nodes)


def _with_batchnorm(after: Node, nodes: list[Any], place: dict[str, int], readers: Mapping[str, int]) -> Node | None:
    """Return the linear node before a BatchNormalization with that in its weights; None where it does not merge."""
    name = after.inputs[0] if is_batchnorm(after) else ""
    node = nodes[place[name]] if name in place and readers[name] == 1 else None
    if node is None or not isinstance(node.op, WITH_BIAS):
        return None
    limits.spend(f"node {after.name!r} (onnx {after.op_type})", np.size(node.op.w))
    op = scaled_after(node.op, after.op)  # type: ignore[arg-type]
    return None if op is None else replace(node, op=op, onnx=(*node.onnx, *after.onnx), joined=())


def merge_batchnorm_0_5_1(graph: Graph) -> Graph:
    """Merge as zennit 0.5.1 does, which leaves the emptied BatchNormalization its eps: y = (W' x + b') / sqrt(1 + eps).

    W' x + b' is what the layer and its BatchNormalization compute, so that the output is no more the network's own: each of
    them on the way changes it by about eps / 2. `divided` is what it is held against.
    """
    nodes, place, readers = opened(graph)
    count = 0
    for i, after in enumerate(graph.nodes):
        node = _with_batchnorm(after, nodes, place, readers) if isinstance(after.op, BatchNorm) else None
        if node is not None:
            nodes[place[node.output]], nodes[i], count = node, _emptied(after), count + 1
    note = (
        f"{count} BatchNormalizations are merged as by zennit 0.5.1, where each goes on dividing by sqrt(1 + eps): the output is "
        "not the network's own"
        if count
        else "no BatchNormalization follows its layer; one that the exporter merged goes on dividing in zennit 0.5.1, and not here"
    )
    return replace(closed(graph, nodes), notes=(*graph.notes, f"merge_batchnorm_0_5_1: {note}"))


def _emptied(node: Node) -> Node:
    """Return what is left of a BatchNormalization of mean 0, variance 1, weight 1, bias 0. The file has no such node."""
    op: Any = node.op
    scale = 1 / np.sqrt(1 + op.eps)
    w = np.full(np.shape(op.w), Fraction(float(scale)) if op.w.dtype == object else scale)
    left = f"{node.name}: what its merge leaves"
    return replace(node, op=replace(op, w=w, b=ZERO, derived=Cache()), onnx=(left,))


def divided(graph: Graph) -> Graph:
    """Return the graph that computes what it computes after `merge_batchnorm_0_5_1`, with nothing merged."""
    after = {node.name: node.op for node in merge_batchnorm_0_5_1(graph).nodes}
    nodes = []
    for node in graph.nodes:
        op, left = node.op, after[node.name]
        if isinstance(op, BatchNorm) and isinstance(left, BatchNorm) and left is not op:
            op = replace(op, w=op.w * left.w, b=ZERO if op.b is ZERO else op.b * left.w, derived=Cache())
        nodes.append(replace(node, op=op))
    return replace(graph, nodes=tuple(nodes))


def scaled_after(op: LinearMap, d: LinearMap) -> LinearMap | None:
    """Return the linear map with the scale and shift of d taken in, or None where they are not per channel."""
    rank = 1 if isinstance(op, Dense) else len(op.source) - 1
    scale = channel_scale(d.w, rank)
    if scale is None or isinstance(op, LeftDense) or not _shifts_channels(d, rank):
        return None
    w = wide(op.w) * _along_outputs(scale, op)
    b = wide(op.b) * d.w if op.b is not ZERO else ZERO
    found = replace(op, w=w, b=b + d.b, derived=Cache())
    return found.scaled(scale) if isinstance(found, Shifted) else found


def _shifts_channels(d: LinearMap, rank: int) -> bool:
    """Return whether what d adds varies along the channels only."""
    return d.b is ZERO or channel_scale(d.b, rank) is not None


def _along_outputs(scale: Array, op: LinearMap) -> Array:
    """Return the scale shaped to multiply the weights of `op` along their output channels."""
    if scale.ndim == 0 or isinstance(op, Dense):
        return scale
    if isinstance(op, Conv):
        return scale.reshape(-1, *(1,) * (op.w.ndim - 1))
    assert isinstance(op, ConvTranspose)
    per_group = scale.reshape(op.groups, 1, -1)
    rows = np.repeat(per_group, op.w.shape[0] // op.groups, axis=1)
    return rows.reshape(op.w.shape[0], -1, *(1,) * (op.w.ndim - 2))


def _over_concat(graph: Graph) -> Graph:
    """Move a BatchNormalization from behind a Concat of linear nodes to behind each of them."""
    producers, consumers, values = graph.producers(), graph.consumers(), dict(graph.values)
    instead: dict[str, list[Node]] = {}
    for after in graph.nodes:
        concat = producers.get(after.inputs[0]) if is_batchnorm(after) else None
        if concat is not None and _can_split(graph, concat, after, producers, consumers):
            instead[after.name] = []
            instead[concat.name] = _split_over(values, concat, after)
    nodes = tuple(m for n in graph.nodes for m in instead.get(n.name, [n]))
    return replace(graph, nodes=nodes, values=values)


def _can_split(
    graph: Graph, concat: Node, after: Node, producers: dict[str, Node], consumers: dict[str, list[Node]]
) -> bool:
    if not isinstance(concat.op, Concat) or concat.op.axis != 1 or any(p is not None for p in concat.op.parts):
        return False
    rank = len(graph.values[concat.output].shape)
    scale = channel_scale(after.op.w, rank - 1)  # type: ignore[attr-defined]
    if scale is None or not _shifts_channels(after.op, rank - 1):  # type: ignore[arg-type]
        return False
    if len(consumers[concat.output]) > 1 or len(set(concat.inputs)) < len(concat.inputs):
        return False
    made = [producers.get(i) for i in concat.inputs]
    return all(m is not None and isinstance(m.op, WITH_BIAS) and len(consumers[m.output]) == 1 for m in made)


def _split_over(values: dict[str, Value], concat: Node, after: Node) -> list[Node]:
    """Return the maps of the Concat's parts, then the Concat of them; enter their values."""
    d, sizes = after.op, concat.op.sizes  # type: ignore[attr-defined]
    ends = np.cumsum(sizes).tolist()
    shape = (sum(sizes), *(1,) * (len(values[concat.output].shape) - 2))
    extra, inputs = [], []
    for name, size, end in zip(concat.inputs, sizes, ends, strict=True):
        w, b = (_section(x, shape, end - size, end) for x in (d.w, d.b))  # type: ignore[attr-defined]
        output = f"{name}:scaled"
        while output in values:
            output += "'"
        values[output] = values[name]
        op = Diagonal(w, b, values[name].shape)
        extra.append(replace(after, name=f"{after.name}:{name}", op=op, inputs=(name,), output=output))
        inputs.append(output)
    joined = replace(concat, inputs=tuple(inputs), output=after.output, onnx=(*concat.onnx, *after.onnx))
    return [*extra, joined]


def _section(x: Array, shape: tuple[int, ...], start: int, end: int) -> Array:
    return ZERO if x is ZERO else np.broadcast_to(x.reshape(-1, *shape[1:]) if x.size > 1 else x, shape)[start:end]


PASSES: dict[str, Callable[[Graph], Graph]] = {
    "fold_batchnorm": fold_batchnorm,
    "join_batchnorm": batchnorms_named,
    "merge_batchnorm": merge_batchnorm,
    "merge_batchnorm_0_5_1": merge_batchnorm_0_5_1,
    "join_separable": join_separable,
    "part_bias": part_bias,
    "part_readers": part_readers,
}
"""The passes that a composite may name."""

CHANGING: dict[str, Callable[[Graph], Graph]] = {"merge_batchnorm_0_5_1": divided}
"""Passes that are to change the output, each with another way to the same output."""


def check_passes(names: Any) -> tuple[str, ...]:
    """Return the names of passes as a tuple. Raises RuleError for one that is none."""
    given = texts("canonize", names, RuleError)
    for name in given:
        if name not in PASSES:
            raise RuleError(f"canonizing pass {shown(name)} is unknown; there is {', '.join(PASSES)}")
    return given


def expected(graph: Graph, names: tuple[str, ...]) -> Graph:
    """Return a graph that computes what `canonize` is to leave: the graph itself, but for passes that change the output."""
    for name in names:
        graph = CHANGING[name](graph) if name in CHANGING else graph
    return graph


def canonize(graph: Graph, names: tuple[str, ...]) -> Graph:
    """Return the graph after the named passes, in order; what they did stands in `notes`."""
    for name in check_passes(names):
        before = len(graph.nodes)
        graph = PASSES[name](graph)
        if len(graph.nodes) < before:
            note = f"{name}: {before - len(graph.nodes)} nodes are folded into their neighbours"
            graph = replace(graph, notes=(*graph.notes, note))
    return graph
