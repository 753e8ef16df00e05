"""A node for each reader of a value that several read: where a library hooks the value itself, rules can stand there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from reflrp.arrays import ZERO
from reflrp.ir import Graph, Node, Replaced, Value
from reflrp.ops.linear import Diagonal

READ = "Read"
"""The operator of these nodes, which no ONNX file has."""


def part_readers(graph: Graph) -> Graph:
    """Put a node between each value that carries relevance to several readers, and each of these readers.

    It gives the value on unchanged, so that relevance may differ from one reader to the next.
    """
    shared = {v for v, readers in graph.consumers().items() if len(readers) > 1 and graph.values[v].active}
    values, nodes, entries = dict(graph.values), list[Node](), dict[str, dict[str, str]]()
    for node in graph.nodes:
        if graph.values[node.output].active and shared.intersection(node.inputs):
            names = {v: _free(f"{v}:{node.name}", values) for v in dict.fromkeys(node.inputs) if v in shared}
            values.update({new: graph.values[v] for v, new in names.items()})
            nodes += [_read(graph, node, v, new) for v, new in names.items()]
            node = replace(node, inputs=tuple(names.get(v, v) for v in node.inputs))
            entries[node.name] = names
        nodes.append(node)
    replaced = {k: _renamed(r, entries.get(k, {})) for k, r in graph.replaced.items()}
    return replace(graph, nodes=tuple(nodes), values=values, replaced=replaced)


def _read(graph: Graph, reader: Node, value: str, output: str) -> Node:
    op = Diagonal(np.asarray(1.0), ZERO, graph.values[value].shape)
    return Node(output, op, (value,), output, READ, reader.onnx, reader.scope)


def _renamed(replaced: Replaced, names: Mapping[str, str]) -> Replaced:
    """Return what a recognised node stands for, with its entry under the new name."""
    nodes = tuple(replace(n, inputs=tuple(names.get(v, v) for v in n.inputs)) for n in replaced.nodes)
    return replace(replaced, nodes=nodes)


def _free(name: str, values: Mapping[str, Value]) -> str:
    while name in values:
        name += "'"
    return name
