"""What stands at the end of a network and is not explained: a final Softmax, LogSoftmax or Sigmoid."""

from __future__ import annotations

from dataclasses import replace

from reflrp.ir import Graph, Node
from reflrp.ops.normaliser import LogSoftmax, Softmax
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.quantised import Units
from reflrp.ops.routing import Reshape, Transpose


def strip_output(graph: Graph) -> Graph:
    """Let the output end before its final Softmax, LogSoftmax or Sigmoid, rounded or not, and say so in `notes`.

    What only moves its entries behind it (Reshape, Squeeze, Transpose ...) moves those of its input then.
    """
    (output,) = graph.outputs
    makers, readers = graph.producers(), graph.consumers()
    node, behind = makers.get(graph.resolve(output)), list[Node]()
    while node is not None and isinstance(node.op, Units | Reshape | Transpose):
        behind.append(node)
        node = makers.get(node.inputs[0])
    moving = [n for n in reversed(behind) if not isinstance(n.op, Units)]
    if node is None or not _is_final(node) or (moving and any(len(readers[n.inputs[0]]) > 1 for n in behind)):
        return graph
    note = f"the final {node.op_type} {node.name!r} is stripped: its input {node.inputs[0]!r} is explained"
    gone = {n.name for n in (node, *behind)}
    kept = replace(graph, nodes=tuple(n for n in graph.nodes if n.name not in gone), notes=(*graph.notes, note))
    return _moved(replace(kept, outputs=node.inputs[:1]), moving)


def _is_final(node: Node) -> bool:
    return isinstance(node.op, Softmax | LogSoftmax) or (isinstance(node.op, Pointwise) and node.op.name == "sigmoid")


def _moved(graph: Graph, moving: list[Node]) -> Graph:
    """Return the graph with nodes that move entries behind its output, which make values of new names."""
    nodes, values, (output,) = list(graph.nodes), dict(graph.values), graph.outputs
    for node in moving:
        name = f"{node.output}:logit"
        while name in values:
            name += "'"
        values[name] = replace(values[node.output], nonneg=values[output].nonneg)
        nodes.append(replace(node, inputs=(output,), output=name))
        output = name
    return replace(graph, nodes=tuple(nodes), values=values, outputs=(output,))
