"""BatchNormalization folded by hand into the layer before it, or behind it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import NodeProto, helper

from differential.case import Case, names_read

BEFORE = frozenset(
    [
        "Add",
        "BatchNormalization",
        "Concat",
        "Conv",
        "ConvTranspose",
        "Div",
        "Dropout",
        "Einsum",
        "Gemm",
        "Identity",
        "MatMul",
        "Mul",
        "Sub",
    ]
)
"""Operators into which a BatchNormalization behind them may fold, or through which it may be seen by a layer."""


def by_hand(case: Case) -> Case | None:
    """Return the case with each normalised layer as one node; None where there is nothing, or more, to fold."""
    blocks, constants, folded = [], dict(case.constants), 0
    made = {o: n.op_type for b in case.blocks for n in b.nodes for o in n.output}
    read = [i for b in case.blocks for n in b.nodes for i in names_read(n)] + list(case.outputs)
    for block in case.blocks:
        if "BatchNormalization" not in [n.op_type for n in block.nodes]:
            blocks.append(block)
            continue
        if not block.maker.startswith("normalised") or read.count(block.nodes[0].output[0]) > 1:
            return None  # it may fold into what follows
        first, second = block.nodes
        if first.op_type == "BatchNormalization" and made.get(first.input[0]) in BEFORE:
            return None  # it folds into what stands before it, rather
        fold = _before if first.op_type == "BatchNormalization" else _folded
        blocks.append(replace(block, nodes=(fold(first, second, constants),)))
        folded += 1
    return replace(case, blocks=tuple(blocks), constants=constants) if folded else None


def _affine(norm: NodeProto, constants: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and shift of a BatchNormalization."""
    gamma, beta, mean, var = (constants[k].astype(np.float64) for k in norm.input[1:])
    scale = gamma / np.sqrt(var + next(a.f for a in norm.attribute if a.name == "epsilon"))
    return scale, beta - mean * scale


def _before(norm: NodeProto, layer: NodeProto, constants: dict[str, np.ndarray]) -> NodeProto:
    """Return a Gemm with the BatchNormalization before it taken in."""
    (scale, shift), w = _affine(norm, constants), constants[layer.input[1]].astype(np.float64)
    return _made(
        layer, norm.input[0], layer.output[0], scale[:, None] * w, constants[layer.input[2]] + shift @ w, constants
    )


def _folded(layer: NodeProto, norm: NodeProto, constants: dict[str, np.ndarray]) -> NodeProto:
    """Return a layer with the BatchNormalization behind it taken in."""
    (scale, shift), w = _affine(norm, constants), constants[layer.input[1]].astype(np.float64)
    b = constants[layer.input[2]].astype(np.float64) if len(layer.input) > 2 else np.zeros(len(scale))
    if layer.op_type == "Gemm":
        w = w * scale
    elif layer.op_type == "Conv":
        w = w * scale.reshape(-1, *(1,) * (w.ndim - 1))
    else:  # (inputs, outputs of a group, ...)
        group = next((a.i for a in layer.attribute if a.name == "group"), 1)
        rows = np.repeat(scale.reshape(group, -1), len(w) // group, axis=0)
        w = w * rows.reshape(*rows.shape, *(1,) * (w.ndim - 2))
    return _made(layer, layer.input[0], norm.output[0], w, b * scale + shift, constants)


def _made(
    layer: NodeProto, x: str, y: str, w: np.ndarray, b: np.ndarray, constants: dict[str, np.ndarray]
) -> NodeProto:
    names = [f"{layer.name}_{k}" for k in "wb"]
    constants |= {names[0]: w.astype(np.float32), names[1]: b.astype(np.float32)}
    made = helper.make_node(layer.op_type, [x, *names], [y], name=layer.name)
    made.attribute.extend(layer.attribute)
    return made
