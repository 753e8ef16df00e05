"""Which operators ONNX's reference code gets wrong, and from which opset on it is right."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx

from reflrp.importer.nodes.node import Arrays, OnnxNode, made_node, node_of

FLAT = ("Softmax", "LogSoftmax", "Hardmax")
"""The operators that, before opset 13, take all axes from theirs on as one."""

ALWAYS = 1000
MISREAD: dict[str, int] = {
    **dict.fromkeys(FLAT, 13),
    "BatchNormalization": 14,
    **dict.fromkeys(("AveragePool", "Conv", "ConvTranspose", "Erf", "GlobalMaxPool", "GridSample"), ALWAYS),
    **dict.fromkeys(
        ("GRU", "GroupNormalization", "LRN", "LSTM", "LpNormalization", "LpPool", "MaxPool", "Mean"), ALWAYS
    ),
    **dict.fromkeys(("Pad", "RNN", "Resize", "Upsample"), ALWAYS),
}
"""Operators that ONNX's reference code gets wrong below an opset (or ALWAYS), and the importer's own builders right.

A convolution is among them, since the reference code lays out all of its windows at once, and Erf, of which it makes objects."""


def flat(node: OnnxNode, feeds: Arrays) -> np.ndarray:
    """Return a Softmax (or kin) of an old opset: over all axes from its axis on."""
    data = feeds[node.inputs[0]]
    axis = node.attributes.get("axis", 1) % max(data.ndim, 1)
    flat = data.reshape(prod(data.shape[:axis]), prod(data.shape[axis:]))
    (found,) = made_node(node.op_type, ("x",), 13, axis=1).evaluate(flat)
    return np.asarray(found.reshape(data.shape))


def _squeezed(node: OnnxNode, feeds: Arrays) -> tuple[OnnxNode, Arrays]:
    """Axes in any order, of one and the same array: the reference code takes them one after the other."""
    axes = node.attributes.get("axes")
    if not axes:
        return node, feeds
    data = feeds[node.inputs[0]]
    rank = data.ndim + (len(axes) if node.op_type == "Unsqueeze" else 0)
    places = np.sort([a + rank if a < 0 else a for a in axes])
    return newer(node, node.op_type, 13, ("data", "axes")), {"data": data, "axes": places}


def _one_hot(node: OnnxNode, feeds: Arrays) -> tuple[OnnxNode, Arrays]:
    """The depth as a scalar, which may be a row of one; before opset 11 negative indices are off, and not from the end."""
    index, depth, values = (feeds[i] for i in node.inputs)
    depth = depth.reshape(()) if depth.shape == (1,) else depth
    whole = index.astype(np.int64)
    whole = np.where(whole < 0, depth.astype(np.int64), whole) if node.opset < 11 else whole
    axis = node.attributes.get("axis", -1)
    return newer(node, "OneHot", 11, ("i", "d", "v"), axis=axis), {"i": whole, "d": depth, "v": values}


def _without_mask(node: OnnxNode, feeds: Arrays) -> tuple[OnnxNode, Arrays]:
    """Before opset 12 the standard does not say what the mask is where nothing is dropped."""
    kept = onnx.helper.make_node("Dropout", node.inputs, node.outputs[:1])
    return node_of(kept, node.name, {"": 12}), feeds


def _scattered(node: OnnxNode, feeds: Arrays) -> tuple[OnnxNode, Arrays]:
    return newer(node, "ScatterElements", 13, node.inputs, axis=node.attributes.get("axis", 0)), feeds


def backwards(start: int, size: int, step: int) -> int:
    """Return where a slice begins: backwards, one that begins before the first entry takes that, where Python takes none."""
    return max(start, -size) if step < 0 else start


def _sliced(node: OnnxNode, feeds: Arrays) -> tuple[OnnxNode, Arrays]:
    data, starts, _, axes, steps = (feeds.get(i) if i else None for i in (*node.inputs, *[""] * 4)[:5])
    if steps is None or data is None or starts is None or not (steps < 0).any():
        return node, feeds
    along = range(len(starts)) if axes is None else np.ravel(axes).tolist()
    triples = zip(np.ravel(starts).tolist(), (data.shape[a] for a in along), np.ravel(steps).tolist(), strict=True)
    begun = np.asarray([backwards(*each) for each in triples], dtype=starts.dtype)
    return node, {**feeds, node.inputs[1]: begun}


RESAID = {
    "Dropout": (12, _without_mask),
    "OneHot": (ALWAYS, _one_hot),
    "Scatter": (11, _scattered),
    "Slice": (ALWAYS, _sliced),
    "Squeeze": (13, _squeezed),
    "Unsqueeze": (13, _squeezed),
}
"""Operators that the reference code gets wrong below an opset, or lacks, and how a newer one says the same."""


def reread(node: OnnxNode, feeds: Arrays) -> tuple[Any, ...]:
    """Return what the reference code makes of a node, said in the words of a newer opset where it needs these."""
    below, say = RESAID.get(node.op_type, (0, None))
    if say is not None and node.domain == "" and node.opset < below:
        node, feeds = say(node, feeds)
    return node.run(feeds)


def newer(node: OnnxNode, op_type: str, opset: int, inputs: tuple[str, ...], **attributes: Any) -> OnnxNode:
    """Return a node of another opset with the name and the outputs of this one."""
    return node_of(onnx.helper.make_node(op_type, inputs, node.outputs, **attributes), node.name, {"": opset})
