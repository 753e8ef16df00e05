"""What nothing reads: nodes that the writing left behind, and constants, are taken out of a graph."""

from __future__ import annotations

from onnx import GraphProto

from reflrp.compiler.sessions.parting import reads


def drop_unread(graph: GraphProto, nodes: int = 0, constants: int = 0) -> list[str]:
    """Take out what nothing reads of the nodes and constants behind the first so many, which are the model's own; in bodies too.

    A body reads what stands around it. What is an input or an output of the graph stays. Returns the names of constants that went.
    """
    wanted = {port.name for port in (*graph.input, *graph.output)}
    for i in reversed(range(len(graph.node))):
        node = graph.node[i]
        if i >= nodes and wanted.isdisjoint(node.output):
            del graph.node[i]
            continue
        if i >= nodes:
            for attribute in node.attribute:
                for body in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                    drop_unread(body)
        wanted.update(reads(node))
    unread = [i for i in range(constants, len(graph.initializer)) if graph.initializer[i].name not in wanted]
    names = [graph.initializer[i].name for i in unread]
    for i in reversed(unread):
        del graph.initializer[i]
    return names
