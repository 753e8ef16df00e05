"""Which operators of a graph a runtime has no kernel for: each is tried alone, in the types that it has in the graph."""

from __future__ import annotations

from collections import Counter
from typing import Any

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from reflrp.compiler.observe import library
from reflrp.importer.lengths.inferring import inferred

Kind = tuple[str, str, tuple[int, ...]]
"""An operator's domain and name, and the types of its inputs."""


def lacking(graph: bytes, providers: list[Any]) -> dict[str, int]:
    """Return the operators of a graph that onnxruntime has no kernel for, with how many nodes each has."""
    proto = onnx.load_from_string(graph)
    types = _types(proto)
    kinds = Counter(_kind(node, types) for node in proto.graph.node)
    nodes = {_kind(node, types): node for node in proto.graph.node}
    found: Counter[str] = Counter()
    for kind, node in nodes.items():
        if not _has_kernel(_alone(node, types, proto), providers):
            found[f"{kind[0]}::{kind[1]}" if kind[0] else kind[1]] += kinds[kind]
    return dict(found)


def _kind(node: NodeProto, types: dict[str, int]) -> Kind:
    return node.domain, node.op_type, tuple(types.get(name, 0) for name in node.input)


def _types(proto: ModelProto) -> dict[str, int]:
    """Return the element types of the values, as far as they can be inferred."""
    found = {t.name: t.data_type for t in proto.graph.initializer}
    shown = inferred(proto).graph
    for port in (*shown.input, *shown.output, *shown.value_info):
        found[port.name] = port.type.tensor_type.elem_type
    return found


def _alone(node: NodeProto, types: dict[str, int], proto: ModelProto) -> bytes:
    """Return a model of one node, its inputs of any shape."""

    def port(name: str) -> Any:
        return helper.make_tensor_value_info(name, types.get(name) or TensorProto.DOUBLE, None)

    inputs = [port(name) for name in dict.fromkeys(filter(None, node.input))]
    outputs = [port(name) for name in filter(None, node.output)]
    small = helper.make_graph([node], "node", inputs, outputs)
    made = helper.make_model(small, opset_imports=proto.opset_import, ir_version=proto.ir_version)
    data: bytes = made.SerializeToString()
    return data


def _has_kernel(model: bytes, providers: list[Any]) -> bool:
    """Return whether a session can be made of a node, or fails of something else than a kernel."""
    runtime = library()
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        runtime.InferenceSession(model, options, providers=providers)
    except Exception as error:
        return "NOT_IMPLEMENTED" not in str(error)
    return True
