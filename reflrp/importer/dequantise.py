"""A pass over dynamically quantised models: integer weights and the scale behind them become float weights."""

from __future__ import annotations

from dataclasses import replace

from reflrp.ir import Graph, Node
from reflrp.ops.linear import Diagonal
from reflrp.passes.canonize import scaled_after

INTEGER = ("MatMulInteger", "ConvInteger")


def dequantised(graph: Graph) -> Graph:
    """Return the graph with the scale behind each integer product taken into its weights."""
    if not any(node.op_type in INTEGER for node in graph.nodes):
        return graph
    readers, nodes, place = graph.consumers(), list[Node | None](graph.nodes), dict[str, int]()
    outputs = {graph.resolve(o) for o in graph.outputs}
    for i, after in enumerate(graph.nodes):
        place[after.output] = i
        j = place.get(after.inputs[0], -1) if isinstance(after.op, Diagonal) else -1
        node = nodes[j] if j >= 0 else None
        if node is None or node.op_type not in INTEGER or len(readers[node.output]) > 1 or node.output in outputs:
            continue
        op = scaled_after(node.op, after.op)  # type: ignore[arg-type]
        if op is not None:
            nodes[j] = replace(node, op=op, output=after.output, onnx=(*node.onnx, *after.onnx))
            nodes[i], place[after.output] = None, j
    return replace(graph, nodes=tuple(n for n in nodes if n is not None))
