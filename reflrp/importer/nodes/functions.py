"""Operators that the ONNX standard defines by a function: the body of that function, for one node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import FunctionProto, TypeProto, helper, inliner

from reflrp.importer.dtypes import is_float
from reflrp.importer.nodes.node import Body, OnnxNode, body_of

OWN = "reflrp.function"
"""The domain of a function while it is inlined, so that it does not stand for itself."""


def defined_by_function(node: OnnxNode) -> bool:
    """Return whether the standard defines a node's operator by a function."""
    if not node.standard:
        return False
    schema = _schema(node)
    return bool(schema.has_function or schema.has_context_dependent_function)


def _schema(node: OnnxNode) -> Any:
    return onnx.defs.get_schema(node.op_type, node.opset, node.domain)


def function_of(node: OnnxNode, args: Sequence[Any]) -> Body | None:
    """Return the body of the function that defines a node's operator, for these inputs; None where there is none."""
    function = _function(node, args) if defined_by_function(node) else None
    if function is None:
        return None
    function.domain = OWN
    schema = _schema(node)
    given = {a.name: a for a in node.proto.attribute}
    defaults = [a.default_value for k, a in schema.attributes.items() if k not in given and a.default_value.name]
    inputs = [i if a is not None else "" for i, a in zip(function.input, args, strict=False)]
    call = helper.make_node(function.name, inputs, list(function.output), domain=OWN)
    call.attribute.extend([*given.values(), *defaults])
    anything = TypeProto()
    graph = helper.make_graph(
        [call],
        "call",
        [onnx.ValueInfoProto(name=i, type=anything) for i in inputs if i],
        [onnx.ValueInfoProto(name=o, type=anything) for o in function.output[: len(node.outputs)]],
    )
    opsets = [*function.opset_import, helper.make_opsetid(OWN, 1)]
    model = inliner.inline_local_functions(helper.make_model(graph, functions=[function], opset_imports=opsets))
    newest = {"": onnx.defs.onnx_opset_version()}  # a preview operator's function does not say its opset
    body = body_of(model.graph, newest | {o.domain: o.version for o in function.opset_import})
    named = tuple(replace(n, name=n.outputs[0].rpartition("__")[0] or n.outputs[0]) for n in body.nodes)
    return replace(body, inputs=tuple(inputs), nodes=named)


def _function(node: OnnxNode, args: Sequence[Any]) -> FunctionProto | None:
    """Return the newest definition that is not newer than the node's opset."""
    schema = _schema(node)
    function = FunctionProto()
    fitting = [v for v in schema.context_dependent_function_opset_versions if v <= node.opset]
    if fitting:
        types = [_type(a) for a in args]
        data = schema.get_context_dependent_function_with_opset_version(
            max(fitting), node.proto.SerializeToString(), types
        )
        function.ParseFromString(data)
        return function if function.output else None  # empty where the types do not fit
    fitting = [v for v in schema.function_opset_versions if v <= node.opset]
    if not fitting:
        return None
    found = schema.get_function_with_opset_version(max(fitting))
    function.ParseFromString(found if isinstance(found, bytes) else found.SerializeToString())
    return function


def _type(arg: Any) -> bytes:
    """Return the type of an input; all floats are float32 here, since the engine has one dtype."""
    if arg is None:
        return bytes(TypeProto().SerializeToString())
    dtype = np.dtype(arg.dtype if isinstance(arg, np.ndarray) else arg.value.dtype)
    element = onnx.TensorProto.FLOAT if is_float(dtype) else helper.np_dtype_to_tensor_dtype(dtype)
    return bytes(helper.make_tensor_type_proto(element, arg.shape).SerializeToString())
