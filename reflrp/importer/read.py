"""Reading: path, bytes or ModelProto -> a ModelProto, and its tensors as arrays, external data included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, inliner, numpy_helper
from onnx.external_data_helper import uses_external_data

from reflrp import limits
from reflrp.errors import ModelError, TooLarge

ModelLike = str | Path | bytes | ModelProto
"""What can be imported: a path, the bytes of a file, or a parsed proto."""

OLDEST_OPSET = 7

DEEPEST = 100
"""How deep functions may call one another."""


def read(model: ModelLike) -> tuple[ModelProto, Path | None, str]:
    """Return the model, the folder it lies in (None for one in memory), and what to call it in messages."""
    if isinstance(model, ModelProto):
        return _complete(_copied(model), "the model"), None, "the model"
    if isinstance(model, bytes | bytearray | memoryview):
        return _decode(bytes(model), "the model"), None, "the model"
    if not isinstance(model, str | Path):
        raise ModelError(f"cannot import a {type(model).__name__}: give a path, bytes or an onnx.ModelProto")
    path = Path(model)
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise ModelError(f"{path} {what}; give the path of an .onnx file")
        return _decode(path.read_bytes(), str(path)), path.parent, str(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}") from error


def _copied(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    try:
        copy.CopyFrom(model)
    except Exception as error:  # protobuf's EncodeError: it copies what it can serialise
        raise TooLarge(
            f"the model cannot be copied ({error}); one of more than 2 GB is loaded by its path, its weights in files beside"
        ) from error
    return copy


def _decode(data: bytes, name: str) -> ModelProto:
    if not data:
        raise ModelError(f"{name} is empty")
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError
        raise ModelError(f"{name} is no ONNX model, or is truncated ({len(data)} bytes do not parse)") from error
    return _complete(proto, name)


def _complete(proto: ModelProto, name: str) -> ModelProto:
    if not proto.HasField("graph") or not proto.opset_import or not proto.graph.output:
        raise ModelError(f"{name} is no ONNX model, or is truncated: it has no graph with outputs and an opset")
    return proto


def domain_of(domain: str) -> str:
    """Return the domain's name; the standard one has two."""
    return "" if domain == "ai.onnx" else domain


def opsets_of(proto: ModelProto, name: str) -> dict[str, int]:
    """Return the opset version of each domain, the standard one's checked."""
    opsets = {domain_of(o.domain): o.version for o in proto.opset_import}
    newest = onnx.defs.onnx_opset_version()
    if "" not in opsets and any(domain_of(n.domain) == "" for n in proto.graph.node):
        raise ModelError(f"{name} is invalid: it does not say which opset its operators are of")
    if opsets.get("", newest) < OLDEST_OPSET:
        raise ModelError(
            f"{name} has opset {opsets['']}; reflrp reads {OLDEST_OPSET} and later: "
            "convert it with onnx.version_converter, or export it again"
        )
    if opsets.get("", newest) > newest:
        raise ModelError(
            f"{name} has opset {opsets['']}, but the installed onnx {onnx.__version__} knows only up to "
            f"{newest}: upgrade onnx"
        )
    return opsets


def inlined(proto: ModelProto, name: str) -> ModelProto:
    """Return the model with its functions inlined."""
    if not proto.functions:
        return proto
    _check_functions(proto, name)
    try:
        found = inliner.inline_local_functions(proto)
    except Exception as error:
        raise ModelError(f"{name} is invalid: its functions cannot be inlined: {error}") from error
    if len(found.graph.output) != len(
        proto.graph.output
    ):  # what it answers where the result is beyond protobuf's limit
        raise TooLarge(f"{name} takes more than 2 GB with its functions inlined; export it without functions")
    return found


def _check_functions(proto: ModelProto, name: str) -> None:
    """Raise ModelError where functions call themselves, TooLarge where inlining gives more nodes than a graph may have."""
    calls: dict[tuple[str, str, str], list[NodeProto]] = {
        (f.domain, f.name, f.overload): [*f.node] for f in proto.functions
    }
    sizes: dict[tuple[str, str, str], int] = {}

    def size(nodes: Iterable[NodeProto], open_: tuple[Any, ...]) -> int:
        return sum(1 + size_of_call(node, open_) for node in nodes_within(nodes))

    def size_of_call(node: NodeProto, open_: tuple[Any, ...]) -> int:
        key = (node.domain, node.op_type, node.overload)
        if key in open_ or len(open_) > DEEPEST:
            raise ModelError(f"{name} is invalid: its function {node.op_type!r} calls itself, or calls too deep")
        if key in calls and key not in sizes:
            sizes[key] = size(calls[key], (*open_, key))
        return sizes.get(key, 0)

    if size(proto.graph.node, ()) > limits.NODES:
        raise TooLarge(f"{name} has more than {limits.NODES} nodes with its functions inlined (reflrp.limits.NODES)")


def nodes_within(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Yield nodes and those in their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from nodes_within(graph.node)


def without_external_attributes(proto: ModelProto, folder: Path | None) -> ModelProto:
    """Return the model with all external data, but that of its initializers, put into the tensors themselves.

    So no code of ONNX's finds a tensor there whose file it would open, wherever that lies.
    """
    for nodes in (proto.graph.node, *(f.node for f in proto.functions)):
        for node in nodes_within(nodes):
            for tensor in _tensors_of(node):
                if uses_external_data(tensor):
                    _load_external(tensor, folder)
    return proto


def _tensors_of(node: NodeProto) -> Iterator[TensorProto]:
    for a in node.attribute:
        yield from (a.t, *a.tensors)
        yield from (t for s in (a.sparse_tensor, *a.sparse_tensors) for t in (s.values, s.indices))
        for graph in (a.g, *a.graphs):
            yield from graph.initializer
            yield from (t for s in graph.sparse_initializer for t in (s.values, s.indices))


def tensors(proto: ModelProto, folder: Path | None, name: str) -> dict[str, np.ndarray]:
    """Return the initializers."""
    found: dict[str, np.ndarray] = {}
    for key, array in _initializers(proto, folder):
        if key in found:
            raise ModelError(f"{name} is invalid: initializer {key!r} is there twice")
        found[key] = array
    return found


def _initializers(proto: ModelProto, folder: Path | None) -> Iterator[tuple[str, np.ndarray]]:
    for tensor in proto.graph.initializer:
        yield tensor.name, array_of(tensor, folder)
    for sparse in proto.graph.sparse_initializer:
        yield sparse.values.name, dense(sparse, folder)


def array_of(tensor: TensorProto, folder: Path | None) -> np.ndarray:
    """Return a tensor's array, and take the data out of the tensor, so that it is there once."""
    if uses_external_data(tensor):
        _load_external(tensor, folder)
    array = array_in(tensor)
    for data in ("raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data"):
        tensor.ClearField(data)
    return array


def array_in(tensor: TensorProto) -> np.ndarray:
    """Return a tensor's array; half-precision formats become float32, which holds each of their values."""
    try:
        return widened(numpy_helper.to_array(tensor))
    except Exception as error:
        raise ModelError(
            f"tensor {tensor.name!r} cannot be read ({error}); the file is truncated or invalid"
        ) from error


def dense(sparse: SparseTensorProto, folder: Path | None) -> np.ndarray:
    """Return a sparse tensor as an ordinary array."""
    values, index = array_of(sparse.values, folder), array_of(sparse.indices, folder)
    found = np.zeros(tuple(sparse.dims), values.dtype)
    try:
        if index.ndim == 1:
            found.reshape(-1)[index] = values
        else:
            found[tuple(index.T)] = values
    except (IndexError, ValueError) as error:
        raise ModelError(f"sparse tensor {sparse.values.name!r} is invalid: {error}") from error
    return found


def is_float(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype is a floating one, bfloat16 and the 8-bit formats included."""
    return dtype.kind == "f" or "float" in dtype.name


def widened(array: np.ndarray) -> np.ndarray:
    """Return half-precision and 8-bit float arrays as float32, others unchanged."""
    return array.astype(np.float32) if is_float(array.dtype) and array.itemsize < 4 else array


def _load_external(tensor: TensorProto, folder: Path | None) -> None:
    """Put the data that a tensor keeps in another file into the tensor itself."""
    info = {entry.key: entry.value for entry in tensor.external_data}
    location = info.get("location", "")
    where = f"tensor {tensor.name!r} keeps its data in {location!r}"
    if folder is None:
        raise ModelError(f"{where}, which a model in memory cannot reach; load the model by its path")
    try:
        path = (folder / location).resolve()
        if Path(location).is_absolute() or folder.resolve() not in path.parents:
            raise ModelError(f"{where}, outside the model's folder; reflrp refuses to read it")
        if not path.is_file():
            raise ModelError(f"{where}, but {path} does not exist")
        tensor.raw_data = _bytes(path, info, where)
    except (OSError, ValueError) as error:
        raise ModelError(f"{where}, which cannot be read: {error}") from error
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _bytes(path: Path, info: dict[str, str], where: str) -> bytes:
    size, offset = path.stat().st_size, int(info.get("offset", 0))
    length = int(info.get("length", size - offset))
    if offset < 0 or length < 0 or offset + length > size:
        raise ModelError(f"{where}, which is truncated: bytes {offset}..{offset + length} are not all there")
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def dtype_of(element_type: int) -> np.dtype[Any] | None:
    """Return the NumPy dtype of an ONNX element type, None for an unknown one."""
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element_type))
    except (KeyError, ValueError, TypeError):
        return None
