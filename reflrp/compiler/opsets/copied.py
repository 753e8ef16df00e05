"""Resizes that onnxruntime does not make: where no length changes it copies, whatever the scales, and the standard does not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from onnx import NodeProto, numpy_helper

from reflrp.compiler.opsets.rewriting import Facts
from reflrp.compiler.source import Given, slim
from reflrp.errors import InputError
from reflrp.ir import Graph, Node

RESIZES = frozenset(["Resize", "Upsample"])


def check_copied(source: Given, graph: Graph) -> None:
    """Refuse a resize that moves entries and leaves all lengths as they were: the model's output would be that of a copy.

    The relevance would be that of the standard's formula, and so of another network. Raises InputError with the node.
    """
    if not any(node.op_type in RESIZES for node in source.proto.graph.node):
        return
    wrong = next(chain(_moving(graph), _constant(source)), None)
    if wrong is not None:
        raise InputError(
            f"node {wrong!r} (onnx Resize) cannot be compiled: its scales are not 1 and no length changes, so that onnxruntime "
            "copies its input, where the standard takes other entries; take the node out of the file if a copy is meant, else "
            "say by Gather or MatMul what it takes"
        )


def _moving(graph: Graph) -> Iterator[str]:
    """Yield the resizes whose nodes in a graph begin and end with the same shape: what copies has none there."""
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.op_type in RESIZES and node.inputs:
            found.setdefault(node.onnx[0], []).append(node)
    for name, steps in found.items():
        if graph.values[steps[0].inputs[0]].shape == graph.values[steps[-1].output].shape:
            yield name


def _constant(source: Given) -> Iterator[str]:
    """Yield the resizes of constants that leave all lengths as they were, by scales that are not all 1."""
    proto, known = source.proto, source.model.source.constants
    nodes = [n for n in proto.graph.node if n.op_type in RESIZES and n.output[0] in known]
    facts = Facts(proto, slim(proto), known) if nodes else None
    for node in nodes:
        if facts is not None and facts.lengths(node.input[0]) == known[node.output[0]].shape and _scaled(node, source):
            yield node.name or node.output[0]


def _scaled(node: NodeProto, source: Given) -> bool:
    """Return whether a resize says scales that are not all 1, or that no constant of the file holds."""
    name = [*node.input, "", ""][2 if node.op_type == "Resize" else 1]
    made = {n.output[0]: n.attribute[0].t for n in source.proto.graph.node if n.op_type == "Constant" and n.attribute}
    tensor = next((t for t in source.proto.graph.initializer if t.name == name), made.get(name))
    return bool(name) and (tensor is None or bool((numpy_helper.to_array(tensor) != 1).any()))
