"""Canonizing passes: pure Graph -> Graph, each with a postcondition (the outputs stay the same).

`fuse_affine` is part of the import. The others change relevance, so a composite names them (`Composite.canonize`),
and the engine checks at the first input that the outputs did not change (`ForwardChanged`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from reflrp.arrays import ZERO, Array
from reflrp.errors import RuleError
from reflrp.ir import Graph, Node
from reflrp.linear import Conv, ConvTranspose, Dense, Diagonal, LeftDense, LinearMap
from reflrp.normaliser import LogSoftmax, Softmax
from reflrp.pointwise import Pointwise
from reflrp.routing import Concat

WITH_BIAS = (Dense, LeftDense, Conv, ConvTranspose)


def fuse_affine(graph: Graph) -> Graph:
    """Make a linear node and the constant added right after it one node with that bias.

    Rewrites `Add(MatMul(x, w), b)` (either operand order, any rank) and the same after a convolution.
    """
    for node, after in list(_followed(graph, WITH_BIAS)):
        d = after.op
        same_shape = graph.values[node.output].shape == graph.values[after.output].shape
        if same_shape and d.w.ndim == 0 and d.w == 1 and d.b is not ZERO:
            graph = _merged(graph, node, after, replace(node.op, b=node.op.b + d.b, derived={}))
    return graph


def fold_batchnorm(graph: Graph) -> Graph:
    """Fold each per-channel scale and shift into its linear neighbour.

    1. After a linear node that nobody else reads: w' = w * scale, b' = b * scale + shift.
    2. After a Concat of such nodes: into each of them.
    3. A BatchNormalization before a linear node that alone reads it: w' = w * scale, b' = b + L(shift).
    """
    graph = _over_concat(graph)
    for node, after in list(_followed(graph, WITH_BIAS)):
        node = next(n for n in graph.nodes if n.name == node.name)
        folded = _scaled_after(node.op, after.op)
        if folded is not None:
            graph = _merged(graph, node, after, folded)
    return _fold_before(graph)


def _followed(graph: Graph, kinds: tuple[type, ...]) -> Iterator[tuple[Node, Node]]:
    """Yield each linear node whose only reader is a diagonal map, with that map; each linear node once."""
    consumers, outputs = graph.consumers(), {graph.resolve(o) for o in graph.outputs}
    for node in graph.nodes:
        if not isinstance(node.op, kinds) or node.output in outputs:
            continue
        readers = consumers.get(node.output, [])
        if len(readers) == 1 and isinstance(readers[0].op, Diagonal) and len(readers[0].inputs) == 1:
            yield node, readers[0]


def _merged(graph: Graph, node: Node, after: Node, op: LinearMap) -> Graph:
    """Return the graph with `op` in place of both nodes."""
    merged = replace(node, op=op, output=after.output, onnx=(*node.onnx, *after.onnx))
    nodes = tuple(merged if n.name == node.name else n for n in graph.nodes if n.name != after.name)
    return replace(graph, nodes=nodes)


def _scaled_after(op: LinearMap, d: LinearMap) -> LinearMap | None:
    """Return the linear map with the scale and shift of d taken in, or None where they are not per channel."""
    scale = _channel_scale(d.w, 1 if isinstance(op, Dense) else len(op.source) - 1)
    if scale is None or isinstance(op, LeftDense):
        return None
    w = op.w * _along_outputs(scale, op)
    return replace(op, w=w, b=(op.b * d.w if op.b is not ZERO else ZERO) + d.b, derived={})


def _channel_scale(w: Array, rank: int) -> Array | None:
    """Return w as a scalar or a vector over channels; None where it varies otherwise."""
    if w.size == 1:
        return w.reshape(())
    shape = (1,) * (rank - w.ndim) + w.shape
    shape = shape[-rank:] if all(n == 1 for n in shape[: len(shape) - rank]) else shape
    return w.reshape(-1) if len(shape) == rank and w.size == shape[0] else None


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


def _along_inputs(scale: Array, op: LinearMap) -> Array:
    """Return the scale shaped to multiply the weights of `op` along their input channels."""
    if scale.ndim == 0:
        return scale
    if isinstance(op, Dense):
        return scale[:, None]
    if isinstance(op, ConvTranspose):
        return scale.reshape(-1, *(1,) * (op.w.ndim - 1))
    assert isinstance(op, Conv)
    rows = np.repeat(scale.reshape(op.groups, -1), op.w.shape[0] // op.groups, axis=0)
    return rows.reshape(op.w.shape[0], -1, *(1,) * (op.w.ndim - 2))


def _fold_before(graph: Graph) -> Graph:
    producers, consumers = graph.producers(), graph.consumers()
    outputs = {graph.resolve(o) for o in graph.outputs}
    for node in graph.nodes:
        before = producers.get(node.inputs[0]) if isinstance(node.op, Dense | Conv | ConvTranspose) else None
        if before is None or before.op_type != "BatchNormalization" or not isinstance(before.op, Diagonal):
            continue
        if len(consumers[before.output]) > 1 or before.output in outputs:
            continue
        folded = _scaled_before(node.op, before.op)
        if folded is not None:
            merged = replace(node, op=folded, inputs=before.inputs, onnx=(*before.onnx, *node.onnx))
            nodes = tuple(merged if n.name == node.name else n for n in graph.nodes if n.name != before.name)
            graph = replace(graph, nodes=nodes)
    return graph


def _scaled_before(op: LinearMap, d: LinearMap) -> LinearMap | None:
    scale = _channel_scale(d.w, 1 if isinstance(op, Dense) else len(op.source) - 1)
    if scale is None:
        return None
    shift = np.broadcast_to(d.b, (1, *op.source[1:])) if d.b is not ZERO else ZERO
    w = op.w * _along_inputs(scale, op)
    return replace(op, w=w, b=op(shift, np.asarray(op.w, dtype=np.float64)) + op.b, derived={})


def _over_concat(graph: Graph) -> Graph:
    """Move a per-channel map from behind a Concat of linear nodes to behind each of them."""
    producers, consumers = graph.producers(), graph.consumers()
    for after in graph.nodes:
        concat = producers.get(after.inputs[0]) if isinstance(after.op, Diagonal) and after.inputs else None
        if concat is None or not _can_split(graph, concat, after, producers, consumers):
            continue
        graph = _split_over(graph, concat, after)
    return graph


def _can_split(graph: Graph, concat: Node, after: Node, producers: dict[str, Node], consumers: dict[str, list[Node]]) -> bool:
    if not isinstance(concat.op, Concat) or concat.op.axis != 1 or any(p is not None for p in concat.op.parts):
        return False
    rank = len(graph.values[concat.output].shape)
    scale = _channel_scale(after.op.w, rank - 1)  # type: ignore[attr-defined]
    if scale is None or len(consumers[concat.output]) > 1 or len(set(concat.inputs)) < len(concat.inputs):
        return False
    made = [producers.get(i) for i in concat.inputs]
    return all(m is not None and isinstance(m.op, WITH_BIAS) and len(consumers[m.output]) == 1 for m in made)


def _split_over(graph: Graph, concat: Node, after: Node) -> Graph:
    d, sizes = after.op, concat.op.sizes  # type: ignore[attr-defined]
    ends = np.cumsum(sizes).tolist()
    shape = (sum(sizes), *(1,) * (len(graph.values[concat.output].shape) - 2))
    values, extra, inputs = dict(graph.values), [], []
    for name, size, end in zip(concat.inputs, sizes, ends, strict=True):
        w, b = (_section(x, shape, end - size, end) for x in (d.w, d.b))  # type: ignore[attr-defined]
        output = f"{name}:scaled"
        values[output] = values[name]
        op = Diagonal(w, b, values[name].shape)
        extra.append(replace(after, name=f"{after.name}:{name}", op=op, inputs=(name,), output=output))
        inputs.append(output)
    joined = replace(concat, inputs=tuple(inputs), output=after.output, onnx=(*concat.onnx, *after.onnx))
    nodes = [m for n in graph.nodes if n.name != after.name for m in ([*extra, joined] if n is concat else [n])]
    return replace(graph, nodes=tuple(nodes), values=values)


def _section(x: Array, shape: tuple[int, ...], start: int, end: int) -> Array:
    return ZERO if x is ZERO else np.broadcast_to(x.reshape(-1, *shape[1:]) if x.size > 1 else x, shape)[start:end]


def strip_output(graph: Graph) -> Graph:
    """Let the output end before its final Softmax, LogSoftmax or Sigmoid, and say so in `notes`."""
    (output,) = graph.outputs
    node = graph.producers().get(graph.resolve(output))
    final = node is not None and (
        isinstance(node.op, Softmax | LogSoftmax) or (isinstance(node.op, Pointwise) and node.op.name == "sigmoid")
    )
    if not final or node is None:
        return graph
    note = f"the final {node.op_type} {node.name!r} is stripped: its input {node.inputs[0]!r} is explained"
    kept = tuple(n for n in graph.nodes if n is not node)
    return replace(graph, nodes=kept, outputs=node.inputs[:1], notes=(*graph.notes, note))


PASSES: dict[str, Callable[[Graph], Graph]] = {"fold_batchnorm": fold_batchnorm}
"""The passes that a composite may name."""


def canonize(graph: Graph, names: tuple[str, ...]) -> Graph:
    """Return the graph after the named passes, in order; what they did stands in `notes`."""
    for name in names:
        if name not in PASSES:
            raise RuleError(f"canonizing pass {name!r} is unknown; there is {', '.join(PASSES)}")
        before = len(graph.nodes)
        graph = PASSES[name](graph)
        if len(graph.nodes) < before:
            note = f"{name}: {before - len(graph.nodes)} nodes are folded into their neighbours"
            graph = replace(graph, notes=(*graph.notes, note))
    return graph


__all__ = ["PASSES", "canonize", "fold_batchnorm", "fuse_affine", "strip_output"]
