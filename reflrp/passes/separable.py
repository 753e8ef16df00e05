"""A separable convolution as one layer: what Keras calls one, and exporters write as two convolutions."""

from __future__ import annotations

import re
from dataclasses import replace

from reflrp.arrays import ZERO
from reflrp.ir import Graph, Node
from reflrp.ops.chain import Chain
from reflrp.ops.conv import Conv
from reflrp.passes.bias import closed, opened

NAMED = re.compile(r"(.*)/separable_conv[^/]*/depthwise[^/]*")
"""How tf2onnx calls the first of both: `net/sep/separable_conv2d/depthwise`."""


def join_separable(graph: Graph) -> Graph:
    """Join a depthwise convolution and the pointwise one behind it that the exporter's names say are one separable layer."""
    nodes, place, readers = opened(graph)
    for i, after in enumerate(graph.nodes):
        name = after.inputs[0] if isinstance(after.op, Conv) else ""
        before = nodes[place[name]] if name in place and readers[name] == 1 else None
        if before is None or not _are_one(before, after):
            continue
        op = Chain.of(before.op, after.op)  # type: ignore[arg-type]
        nodes[i] = replace(after, op=op, inputs=before.inputs, onnx=(*before.onnx, *after.onnx), joined=())
        nodes[place[name]] = None
    return closed(graph, nodes)


def _are_one(before: Node, after: Node) -> bool:
    """Return whether two nodes are the factors of one layer."""
    first, second = before.op, after.op
    if not isinstance(first, Conv) or not isinstance(second, Conv) or first.b is not ZERO or second.groups != 1:
        return False
    layer = next((found[1] for name in before.onnx if (found := NAMED.fullmatch(name))), None)
    pointwise = max(second.windows.kernel) == 1
    return pointwise and layer is not None and any(name.startswith(f"{layer}/") for name in after.onnx)
