"""BatchNormalization folded by hand into the convolution before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import NodeProto, helper

from differential.case import Case, names_read


def by_hand(case: Case) -> Case | None:
    """Return the case with each `normalised_layer` as one convolution; None where there is nothing, or more, to fold."""
    blocks, constants, folded = [], dict(case.constants), 0
    read = [i for b in case.blocks for n in b.nodes for i in names_read(n)] + list(case.outputs)
    for block in case.blocks:
        if "BatchNormalization" not in [n.op_type for n in block.nodes]:
            blocks.append(block)
            continue
        if block.maker != "normalised_layer" or read.count(block.nodes[0].output[0]) > 1:
            return None  # it may fold into what follows
        blocks.append(replace(block, nodes=(_folded(*block.nodes, constants),)))
        folded += 1
    return replace(case, blocks=tuple(blocks), constants=constants) if folded else None


def _folded(layer: NodeProto, norm: NodeProto, constants: dict[str, np.ndarray]) -> NodeProto:
    gamma, beta, mean, var = (constants[k].astype(np.float64) for k in norm.input[1:])
    epsilon = next(a.f for a in norm.attribute if a.name == "epsilon")
    w, scale = constants[layer.input[1]].astype(np.float64), gamma / np.sqrt(var + epsilon)
    b = constants[layer.input[2]].astype(np.float64) if len(layer.input) > 2 else np.zeros(len(scale))
    if layer.op_type == "Conv":
        w = w * scale.reshape(-1, *(1,) * (w.ndim - 1))
    else:  # (inputs, outputs of a group, ...)
        group = next((a.i for a in layer.attribute if a.name == "group"), 1)
        rows = np.repeat(scale.reshape(group, -1), len(w) // group, axis=0)
        w = w * rows.reshape(*rows.shape, *(1,) * (w.ndim - 2))
    names = [f"{layer.name}_{k}" for k in "wb"]
    constants |= {names[0]: w.astype(np.float32), names[1]: ((b - mean) * scale + beta).astype(np.float32)}
    made = helper.make_node(layer.op_type, [layer.input[0], *names], list(norm.output), name=layer.name)
    made.attribute.extend(layer.attribute)
    return made
