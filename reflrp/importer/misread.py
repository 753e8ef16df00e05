"""Which operators ONNX's reference code gets wrong, and from which opset on it is right."""

from __future__ import annotations

from math import prod

import numpy as np

from reflrp.importer.node import Arrays, OnnxNode, made_node

FLAT = ("Softmax", "LogSoftmax", "Hardmax")
"""The operators that, before opset 13, take all axes from theirs on as one."""

ALWAYS = 1000
MISREAD: dict[str, int] = {
    **dict.fromkeys(FLAT, 13),
    "BatchNormalization": 14,
    **dict.fromkeys(("AveragePool", "Conv", "ConvTranspose", "Erf", "GlobalMaxPool", "GroupNormalization"), ALWAYS),
    **dict.fromkeys(("GRU", "LRN", "LSTM", "LpNormalization", "LpPool", "MaxPool", "Mean", "Pad", "RNN"), ALWAYS),
    **dict.fromkeys(("Resize", "Upsample"), ALWAYS),
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
