"""One node at a time: by onnxruntime in float32, and by ONNX's reference code in float64."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from differential.case import IR_VERSIONS, names_read

Arrays = Mapping[str, np.ndarray]


class Failed(Exception):
    """A node that a runtime does not compute."""


def single(node: NodeProto, values: Arrays, opset: int, fixed: frozenset[str] = frozenset()) -> ModelProto:
    """Return a model of one node; inputs in `fixed` are initializers."""
    names = names_read(node)
    ports = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(values[k].dtype), values[k].shape)
        for k in names
        if k not in fixed
    ]
    weights = [numpy_helper.from_array(values[k], k) for k in names if k in fixed]
    outputs = [helper.make_empty_tensor_value_info(o) for o in node.output if o]
    graph = helper.make_graph([node], "node", ports, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSIONS[opset])


def session(proto: ModelProto) -> Any:
    """Return an onnxruntime session without optimisations, on one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def by_runtime(node: NodeProto, values: Arrays, opset: int, fixed: frozenset[str] = frozenset()) -> list[np.ndarray]:
    """Return a node's outputs by onnxruntime. Raises Failed where it has no kernel, or refuses the inputs."""
    try:
        return run(single(node, values, opset, fixed), {k: values[k] for k in names_read(node) if k not in fixed})
    except Exception as error:
        raise Failed(f"{node.op_type}: {error}") from error


def run(proto: ModelProto, feeds: Arrays) -> list[np.ndarray]:
    """Return a model's outputs by onnxruntime, in the order of the file."""
    made = session(proto)
    names = {i.name for i in made.get_inputs()}
    return made.run(None, {k: a for k, a in feeds.items() if k in names})


def by_reference(node: NodeProto, values: Arrays, opset: int) -> list[np.ndarray]:
    """Return a node's outputs by ONNX's reference code, in the inputs' own precision. Raises Failed where it has none."""
    from onnx.reference import ReferenceEvaluator

    feeds = {k: values[k] for k in names_read(node)}
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = ReferenceEvaluator(single(widened(node), values, opset)).run(None, feeds)
    except Exception as error:
        raise Failed(f"{node.op_type}: {error}") from error
    return [np.asarray(a) for a in found]


def widened(node: NodeProto) -> NodeProto:
    """Return a node with float64 where it names float32 or holds it."""
    copy = NodeProto()
    copy.CopyFrom(node)
    for attribute in copy.attribute:
        if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.DOUBLE
        if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(numpy_helper.from_array(wide(numpy_helper.to_array(attribute.t)), attribute.t.name))
        if attribute.type == onnx.AttributeProto.GRAPH:
            nodes = [widened(n) for n in attribute.g.node]
            tensors = [numpy_helper.from_array(wide(numpy_helper.to_array(t)), t.name) for t in attribute.g.initializer]
            del attribute.g.node[:], attribute.g.initializer[:]
            attribute.g.node.extend(nodes)
            attribute.g.initializer.extend(tensors)
            for port in (*attribute.g.input, *attribute.g.output):
                if port.type.tensor_type.elem_type == TensorProto.FLOAT:
                    port.type.tensor_type.elem_type = TensorProto.DOUBLE
    return copy


def wide(a: np.ndarray) -> np.ndarray:
    """Return float32 as float64, other arrays as they are."""
    return a.astype(np.float64) if a.dtype == np.float32 else a


def narrow(a: np.ndarray) -> np.ndarray:
    """Return float64 as float32, other arrays as they are."""
    return a.astype(np.float32) if a.dtype == np.float64 else a


def close(found: np.ndarray, want: np.ndarray, rtol: float, slack: float = 0.0) -> bool:
    """Return whether two arrays are the same up to `rtol` of the largest finite entry, and `slack`; infinities stay in place."""
    if found.shape != want.shape:
        return False
    found, want = np.asarray(found, np.float64), np.asarray(want, np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(finite, np.isfinite(found)):
        return False
    if not np.array_equal(found[~finite], want[~finite], equal_nan=True):
        return False
    scale = np.abs(want[finite]).max(initial=0)
    return bool((np.abs(found - want)[finite] <= rtol * scale + slack).all())
