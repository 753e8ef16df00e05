"""The source of a graph that runs here: its weights are those of the loaded model, and stand beside it, not in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from reflrp.compiler.source import NEWEST_IR, OLDEST, Given, given, opset_of, sourced
from reflrp.compiler.store import external
from reflrp.compiler.writing.constants import LARGE, kept_outside
from reflrp.errors import InputError
from reflrp.explainer.backends import stamp_of
from reflrp.importer.files.read import external_attributes
from reflrp.importer.files.skeleton import skeleton
from reflrp.model import Model

HALVES = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
"""Types that hold less than the numbers that are asked for: what the file computes in them is computed by our own operators."""


def held(origin: Any, model: Model, stamp: tuple[int, int] | None) -> Given:
    """Return the source of a model that was loaded from `origin`; its weights are the model's own arrays.

    `stamp` is that of the file when it was loaded, where that is known; else the file is imported once more, and compared.

    Raises InputError where the file is another than the one that was loaded.
    """
    if stamp is not None and stamp == stamp_of(origin) and (proto := _read(Path(origin), model)) is not None:
        source = sourced(proto, "", model, None)
    else:
        source = given(_again(origin, model), None)
        if not _alike(source.model, model):
            raise InputError(f"{model.source.name} has changed since it was loaded: load it again")
    if HALVES & set(source.types.values()):
        return bare(model, "float32")
    return _stripped(replace(source, model=model), model)


def _read(path: Path, model: Model) -> ModelProto | None:
    """Return the proto of a file that holds all of its weights, and is of no old opset; None for any other.

    Weights that the loaded model has are not read again.
    """
    found = skeleton(path)
    if found is None:
        return None
    data, inside = found
    proto = onnx.load_from_string(data)
    if opset_of(proto) < OLDEST or external(proto) or any(external_attributes(proto)):
        return None
    for i in inside.pieces:
        tensor = proto.graph.initializer[i]
        if not _is_own(tensor, model):
            tensor.raw_data = inside.read(i)
    return proto


def _is_own(tensor: TensorProto, model: Model) -> bool:
    """Return whether an initializer is large, and the model has it as it stands in the file."""
    own = model.source.constants.get(tensor.name)
    if own is None or own.size <= LARGE or own.dtype != _dtype(tensor) or not own.dtype.isbuiltin:
        return False
    return own.shape == tuple(tensor.dims)


def _stripped(source: Given, model: Model) -> Given:
    """Return the source without its large weights, which are taken from the model.

    Small ones stand in it, those too that lie in a file beside: the graph is run from memory, where no file is beside it.
    """
    weights: dict[str, np.ndarray] = {}
    for tensor in source.proto.graph.initializer:
        if _is_own(tensor, model):
            weights[tensor.name] = own = np.ascontiguousarray(model.source.constants[tensor.name])
            tensor.CopyFrom(kept_outside(tensor.name, own))
        elif source.outside and tensor.name in source.outside:
            array = np.ascontiguousarray(source.outside[tensor.name])
            tensor.CopyFrom(numpy_helper.from_array(array.reshape(tuple(tensor.dims)), tensor.name))
    slim = ModelProto()  # the first one holds the memory of all that was ever in it
    slim.CopyFrom(source.proto)
    return replace(source, proto=slim, outside=weights)


def bare(model: Model, dtype: str) -> Given:
    """Return the source of a graph that computes everything itself in a dtype: of the model it has the inputs alone."""
    source = model.source
    proto = ModelProto(ir_version=NEWEST_IR)
    proto.graph.name = "graph"
    opset = max(source.opsets.get("", OLDEST), OLDEST)
    proto.opset_import.append(helper.make_opsetid("", opset))
    types = {k: _type(port.dtype, dtype) for k, port in source.inputs.items()}
    for name, port in source.inputs.items():
        proto.graph.input.append(helper.make_tensor_value_info(name, types[name], port.dims))
    return Given(proto, model, "", types, frozenset(source.inputs), {}, {})


def _type(own: np.dtype[Any], real: str) -> int:
    floats = own.kind == "f" or "float" in own.name
    return helper.np_dtype_to_tensor_dtype(np.dtype(real) if floats else own)


def _again(origin: Any, model: Model) -> Any:
    """Return what to read the file from once more."""
    if not isinstance(origin, Model):
        return origin
    path = Path(model.source.name)
    if not path.is_file():
        raise InputError(
            "backend='onnxruntime' needs the file that the model was loaded from: give the Explainer its path, its bytes or the "
            "proto, and not the Model"
        )
    return path


def _dtype(tensor: TensorProto) -> np.dtype[Any]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))


def _alike(one: Model, two: Model) -> bool:
    """Return whether two imports are of the same file: its nodes, its inputs and outputs, and all numbers."""
    a, b = one.source, two.source
    if (a.inputs, a.outputs, a.opsets, a.constants.keys()) != (b.inputs, b.outputs, b.opsets, b.constants.keys()):
        return False
    nodes = len(a.nodes) == len(b.nodes) and all(m.proto == n.proto for m, n in zip(a.nodes, b.nodes, strict=True))
    return nodes and all(_same(v, b.constants[k]) for k, v in a.constants.items())


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
