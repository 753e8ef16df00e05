"""Weights that a session need not have: those that are only ever factors of matrix products, and large."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, helper

MATRIX = 2**24
"""Bytes of a matrix from which on it is fed."""

PRODUCTS = frozenset(["Gemm", "MatMul"])


def feed(proto: ModelProto, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Make the largest matrices inputs of a graph, take them out of its weights and return them.

    A session copies all weights that it is given. What its optimiser changes, as the kernels of convolutions, it must have; but a
    factor of nothing but matrix products is read where it lies, and fed with each run it stays the caller's own array.
    """
    taken = {k: a for k, a in weights.items() if a.nbytes >= MATRIX and a.ndim == 2}
    for node in proto.graph.node:
        inner = any(a.HasField("g") or a.graphs for a in node.attribute)
        kept = () if node.op_type in PRODUCTS and not node.domain else node.input
        for name in (*kept, *(list(taken) if inner else ())):
            taken.pop(name, None)
    for port in (*proto.graph.input, *proto.graph.output):
        taken.pop(port.name, None)
    others = [t for t in proto.graph.initializer if t.name not in taken]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(others)
    for name in taken:
        own = weights.pop(name)
        kind = helper.np_dtype_to_tensor_dtype(own.dtype)
        proto.graph.input.append(helper.make_tensor_value_info(name, kind, own.shape))
    return taken
