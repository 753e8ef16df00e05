"""How long the axes of a file's values are: of the inputs as it says, of others by ONNX's own inference.

What ONNX infers from the inputs' shapes alone, no claim of the file about inner values among it, is a number for all inputs, or the
name of a length that the file leaves open. Of what it does not infer, each axis may be open, and has a name of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import ModelProto, helper

from reflrp.importer.nodes.affordable import affordable
from reflrp.importer.nodes.node import Arrays, OnnxNode
from reflrp.ir import Lengths

Dims = tuple[int | str | None, ...] | None

LARGE = 64
"""Constants of more entries say no shape, and are told to the inference by their own shape alone."""


def lengths(
    nodes: Iterable[OnnxNode], constants: Arrays, inputs: Mapping[str, tuple[Dims, np.dtype]], opsets: Mapping[str, int]
) -> dict[str, Lengths]:
    """Return for each value whose rank is known how long its axes are."""
    called: dict[str, str] = {}
    ports = [_port(name, _short(named(name, dims), called), dtype) for name, (dims, dtype) in inputs.items()]
    arrays = {k: np.asarray(a) for k, a in constants.items() if np.asarray(a).dtype.kind in "fiub"}
    small = [onnx.numpy_helper.from_array(a, k) for k, a in arrays.items() if a.size <= LARGE]
    ports += [_port(k, a.shape, a.dtype) for k, a in arrays.items() if a.size > LARGE]
    protos = [node.proto for node in nodes]
    outputs = [onnx.ValueInfoProto(name=o) for proto in protos for o in proto.output if o]
    graph = helper.make_graph(protos, "lengths", ports, outputs, small)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid(k, v) for k, v in opsets.items()])
    shown = inferred(proto, data_prop=True)
    if shown is proto:
        return {}
    whole = {short: name for name, short in called.items()}
    found = shown.graph
    return {v.name: _read(v, whole) for v in (*found.input, *found.output) if v.type.tensor_type.HasField("shape")}


def named(name: str, dims: Dims) -> Lengths | None:
    """Return the lengths of a value, with a name of its own for each that has none; None where their number is left open."""
    return None if dims is None else tuple(f"{name}[{i}]" if n is None else n for i, n in enumerate(dims))


def inferred(proto: ModelProto, data_prop: bool = False) -> ModelProto:
    """Return a model with what ONNX infers of its values; the model itself where it infers nothing, or would write too much."""
    if not affordable(proto.graph):
        return proto
    try:
        return onnx.shape_inference.infer_shapes(proto, strict_mode=False, data_prop=data_prop)
    except Exception:  # it says nothing then, as of operators that it does not know
        return proto


def _short(dims: Dims, called: dict[str, str]) -> Dims:
    """Return dims with short names for lengths, the same for the same."""
    if dims is None:
        return None
    return tuple(called.setdefault(n, f"d{len(called)}") if isinstance(n, str) and n else n for n in dims)


def _port(name: str, dims: Dims, dtype: np.dtype) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), dims)


def _read(info: onnx.ValueInfoProto, whole: Mapping[str, str]) -> Lengths:
    dims = info.type.tensor_type.shape.dim
    said = (d.dim_value if d.HasField("dim_value") else whole.get(d.dim_param, d.dim_param) or None for d in dims)
    return named(info.name, tuple(said)) or ()
