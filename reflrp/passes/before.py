"""A BatchNormalization right before a linear node that alone reads it: it goes into the weights and the bias of that.

Clauses: BN-2.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from reflrp.arrays import ZERO, Array
from reflrp.arrays.convert import wide
from reflrp.arrays.tracing.dims import is_open
from reflrp.ground.caches import Cache
from reflrp.ir import Graph, Node
from reflrp.ops.conv import Conv, ConvTranspose
from reflrp.ops.linear import Dense, Diagonal, LinearMap
from reflrp.ops.shifted import Shifted, ShiftedConv, ShiftedConvTranspose, added_by
from reflrp.passes.bias import closed, opened


def fold_before(graph: Graph) -> Graph:
    """Return the graph with each such BatchNormalization folded: w' = w * scale, b' = b + L(shift)."""
    nodes, place, readers = opened(graph)
    for i, node in enumerate(graph.nodes):
        name = node.inputs[0] if isinstance(node.op, Dense | Conv | ConvTranspose) else ""
        before = nodes[place[name]] if name in place and readers[name] == 1 else None
        if before is None or not is_batchnorm(before):
            continue
        op = _scaled_before(node.op, before.op)  # type: ignore[arg-type]
        if op is not None:
            nodes[i] = replace(node, op=op, inputs=before.inputs, onnx=(*before.onnx, *node.onnx))
            nodes[place.pop(name)] = None
    return closed(graph, nodes)


def _scaled_before(op: LinearMap, d: LinearMap) -> LinearMap | None:
    rank = 1 if isinstance(op, Dense) else len(op.source) - 1
    scale = channel_scale(d.w, rank)
    if scale is None:
        return None
    w = wide(op.w)
    found = replace(op, w=w * _along_inputs(scale, op), derived=Cache())
    if d.b is ZERO:
        return found
    each = channel_scale(d.b, rank)
    if isinstance(op, Conv | ConvTranspose) and each is not None:
        return _shifted(op, found, _by_tap(op, w, each))  # type: ignore[arg-type]
    if isinstance(op, Dense) and each is not None and each.ndim and w.ndim == 2:
        return replace(found, b=each @ w + op.b)
    if is_open(op.source[1:]):
        return None
    return replace(found, b=op(np.broadcast_to(d.b, (1, *op.source[1:])), w) + op.b)


def _by_tap(op: Conv | ConvTranspose, w: Array, each: Array) -> Array:
    """Return what a shift of the inputs adds by each tap of the windows, summed over the inputs of a group."""
    shares = w * _along_inputs(each, op)
    if isinstance(op, Conv):
        return shares.sum(axis=1, keepdims=True)
    grouped = shares.reshape(op.groups, -1, *w.shape[1:]).sum(axis=1)
    return grouped.reshape(1, -1, *w.shape[2:])


def _shifted(op: Conv | ConvTranspose, found: Conv | ConvTranspose, shifts: Array) -> LinearMap:
    """Return the map with what a shift of its inputs adds: one number a channel, one a place, or what open lengths say."""
    if isinstance(op, Conv) and not isinstance(op, Shifted) and {*op.windows.begin, *op.windows.end} <= {0}:
        every = shifts.sum(axis=tuple(range(1, shifts.ndim)))
        return replace(found, b=every.reshape(-1, *(1,) * (shifts.ndim - 2)) + op.b)
    if isinstance(found, Shifted):
        return found.adding(found.shifts + shifts)
    if not is_open(op.source[1:]):
        return replace(found, b=added_by(op, shifts, shifts) + op.b)
    kept = {f.name: getattr(found, f.name) for f in fields(found) if f.init and f.name != "b"}
    b = np.zeros((1,) * (shifts.ndim - 1), shifts.dtype) + op.b
    kind = ShiftedConv if isinstance(op, Conv) else ShiftedConvTranspose
    return kind(**kept, b=b, shifts=shifts)


def is_batchnorm(node: Node) -> bool:
    """Return whether a node is a BatchNormalization with known statistics."""
    return node.op_type == "BatchNormalization" and isinstance(node.op, Diagonal)


def channel_scale(w: Array, rank: int) -> Array | None:
    """Return w as a scalar or a vector over channels; None where it varies otherwise."""
    if w.size == 1:
        return w.reshape(())
    shape = (1,) * (rank - w.ndim) + w.shape
    shape = shape[-rank:] if all(n == 1 for n in shape[: len(shape) - rank]) else shape
    return w.reshape(-1) if len(shape) == rank and w.size == shape[0] else None


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
