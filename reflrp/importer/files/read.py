"""Reading: path, bytes or ModelProto -> a ModelProto, and its tensors as arrays, external data included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, inliner, numpy_helper
from onnx.external_data_helper import uses_external_data

from reflrp import limits
from reflrp.errors import ModelError, TooLarge
from reflrp.ground.checks import shown
from reflrp.importer.dtypes import widened
from reflrp.importer.files.external import Files, unpacked
from reflrp.importer.files.foreign import advice
from reflrp.importer.files.skeleton import Inside, skeleton

ModelLike = str | Path | bytes | ModelProto
"""What can be imported: a path, the bytes of a file, or a parsed proto."""

OLDEST_OPSET = 7

LARGEST_PROTO = 2**31
"""Bytes that no message of protobuf can have."""

NODE = 2048
"""Bytes that are reckoned for a node while it is read and built, beside what it holds ..."""

FREE = 1000
"""... from so many nodes on."""

DEEPEST = 100
"""How deep functions may call one another."""


def read(model: ModelLike) -> tuple[ModelProto, Inside, Path | None, str]:
    """Return the model, the large weights left in its file, its path (None in memory), and its name in messages."""
    if isinstance(model, ModelProto):
        return _complete(_copied(model), "the model"), Inside(), None, "the model"
    if isinstance(model, bytes | bytearray | memoryview):
        return _decode(bytes(model), "the model"), Inside(), None, "the model"
    if not isinstance(model, str | Path):
        what = advice(model) or f"a model from {shown(model)}: give a path, bytes or an onnx.ModelProto"
        raise ModelError(f"cannot import {what}")
    path = Path(model)
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is no regular file" if path.exists() else "does not exist"
            raise ModelError(f"{path} {what}; give the path of an .onnx file")
        _check_size(path)
        data, inside = skeleton(path) or (path.read_bytes(), Inside())
        return _decode(data, str(path)), inside, path, str(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}") from error


def _check_size(path: Path) -> None:
    """Raise an error for a file that protobuf cannot read, or that is beyond the limit, before it is read."""
    size = path.stat().st_size
    if size >= LARGEST_PROTO:
        raise ModelError(
            f"{path} has {limits.in_words(size)}; a model of more than 2 GiB keeps its weights in files beside"
        )
    limits.check_array(f"the file {path}", (size,), 1)


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
            f"{name} has opset {opsets['']}; reflrp reads {OLDEST_OPSET} and later: export it again with a newer opset"
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
    """Raise ModelError where functions call themselves, TooLarge where inlining gives more than a model may have.

    Each call puts in the nodes of its function, with the constants that they hold.
    """
    calls: dict[tuple[str, str, str], list[NodeProto]] = {
        (f.domain, f.name, f.overload): [*f.node] for f in proto.functions
    }
    sizes: dict[tuple[str, str, str], tuple[int, int]] = {}

    def size(nodes: Iterable[NodeProto], open_: tuple[Any, ...]) -> tuple[int, int]:
        count, held = 0, 0
        for top in nodes:
            held += top.ByteSize()
            for node in nodes_within([top]):
                more, bytes_ = size_of_call(node, open_)
                count, held = count + 1 + more, held + bytes_
        return count, held

    def size_of_call(node: NodeProto, open_: tuple[Any, ...]) -> tuple[int, int]:
        key = (node.domain, node.op_type, node.overload)
        if key in open_ or len(open_) > DEEPEST:
            raise ModelError(f"{name} is invalid: its function {node.op_type!r} calls itself, or calls too deep")
        if key in calls and key not in sizes:
            sizes[key] = size(calls[key], (*open_, key))
        return sizes.get(key, (0, 0))

    count, held = size(proto.graph.node, ())
    if count > limits.NODES:
        raise TooLarge(f"{name} has more than {limits.NODES} nodes with its functions inlined (reflrp.limits.NODES)")
    if held >= LARGEST_PROTO:
        raise TooLarge(
            f"{name} takes {limits.in_words(held)} with its functions inlined; protobuf holds less than 2 GiB"
        )
    limits.hold(f"{name}, with its functions inlined,", held + max(0, count - FREE) * NODE)


def nodes_within(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Yield nodes and those in their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from nodes_within(graph.node)


def without_external_attributes(proto: ModelProto, files: Files) -> ModelProto:
    """Return the model with external data of attributes in the tensors themselves: no code of ONNX's opens their files."""
    for tensor in external_attributes(proto):
        files.put_in(tensor)
    return proto


def external_attributes(proto: ModelProto) -> Iterator[TensorProto]:
    """Yield the tensors among the attributes of nodes, and in their graphs, whose data lie in files."""
    for nodes in (proto.graph.node, *(f.node for f in proto.functions)):
        for node in nodes_within(nodes):
            yield from filter(uses_external_data, _tensors_of(node))


def _tensors_of(node: NodeProto) -> Iterator[TensorProto]:
    for a in node.attribute:
        yield from (a.t, *a.tensors)
        yield from (t for s in (a.sparse_tensor, *a.sparse_tensors) for t in (s.values, s.indices))
        for graph in (a.g, *a.graphs):
            yield from graph.initializer
            yield from (t for s in graph.sparse_initializer for t in (s.values, s.indices))


def tensors(proto: ModelProto, files: Files, name: str, inside: Inside) -> dict[str, np.ndarray]:
    """Return the initializers."""
    found: dict[str, np.ndarray] = {}
    for key, array in _initializers(proto, files, inside):
        if key in found:
            raise ModelError(f"{name} is invalid: initializer {key!r} is there twice")
        found[key] = array
    return found


def _initializers(proto: ModelProto, files: Files, inside: Inside) -> Iterator[tuple[str, np.ndarray]]:
    for i, tensor in enumerate(proto.graph.initializer):
        if i in inside.pieces and not uses_external_data(tensor):
            _check_dims(tensor)
            yield tensor.name, unpacked(tensor, prod(tensor.dims), inside.read(i)).reshape(tuple(tensor.dims))
        else:
            yield tensor.name, array_of(tensor, files)
    for sparse in proto.graph.sparse_initializer:
        yield sparse.values.name, dense(sparse, files)


def array_of(tensor: TensorProto, files: Files) -> np.ndarray:
    """Return a tensor's array, and take the data out of the tensor, so that it is there once."""
    _check_dims(tensor)
    array = files.array(tensor) if uses_external_data(tensor) else array_in(tensor)
    for data in ("raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data", "string_data"):
        tensor.ClearField(data)
    return array


def array_in(tensor: TensorProto) -> np.ndarray:
    """Return a tensor's array; half-precision formats become float32, which holds each of their values."""
    _check_dims(tensor)
    try:
        if tensor.data_type == TensorProto.STRING:
            return _texts(tensor).reshape(tuple(tensor.dims))
        return widened(numpy_helper.to_array(tensor))
    except MemoryError:
        raise
    except Exception as error:
        raise ModelError(
            f"tensor {tensor.name!r} cannot be read ({error}); the file is truncated or invalid"
        ) from error


def _check_dims(tensor: TensorProto | SparseTensorProto) -> None:
    if min(tensor.dims, default=0) < 0:
        name = tensor.name if isinstance(tensor, TensorProto) else tensor.values.name
        raise ModelError(f"tensor {name!r} is invalid: its dims {[*tensor.dims]} are not all at least 0")


def _texts(tensor: TensorProto) -> np.ndarray:
    """Return strings as objects: as NumPy's own strings each would take as much as the longest."""
    found = np.empty(len(tensor.string_data), dtype=object)
    found[:] = [text.decode("utf-8") for text in tensor.string_data]
    return found


def dense(sparse: SparseTensorProto, files: Files) -> np.ndarray:
    """Return a sparse tensor as an ordinary array.

    Raises ModelError for indices that are no places in it, or name one twice; TooLarge, before it is made, beyond the limit.
    """
    _check_dims(sparse)
    values, index = array_of(sparse.values, files), array_of(sparse.indices, files)
    name, dims = sparse.values.name, tuple(sparse.dims)
    flat = _places(f"sparse tensor {name!r}", values, index, dims)
    limits.check_array(f"sparse tensor {name!r}", dims, values.itemsize)
    limits.hold(f"sparse tensor {name!r}", limits.size_of(dims))
    found = np.zeros(dims, values.dtype)
    found.reshape(-1)[flat] = values
    return found


def _places(what: str, values: np.ndarray, index: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """Return the number of the entry that each value of a sparse tensor stands at."""
    if (
        values.ndim != 1
        or index.dtype.kind not in "iu"
        or index.shape not in (values.shape, (*values.shape, len(dims)))
    ):
        raise ModelError(f"{what} is invalid: {values.shape} values at indices of shape {index.shape}, {index.dtype}")
    size = np.asarray(dims if index.ndim == 2 else (prod(dims),), dtype=object)
    rows = index.reshape(len(values), -1)
    if rows.size and (rows.min() < 0 or (rows.max(axis=0) >= size).any()):
        raise ModelError(f"{what} is invalid: not all of its indices are places in the dims {dims}")
    steps = [prod(dims[i + 1 :]) for i in range(len(dims))] if index.ndim == 2 else [1]
    if prod(dims) >= 2**63:
        limits.check_array(what, dims, values.itemsize)
    flat = rows.astype(np.int64) @ np.asarray(steps, dtype=np.int64)
    if np.unique(flat).size < flat.size:
        raise ModelError(f"{what} is invalid: some of its indices are there twice")
    return flat
