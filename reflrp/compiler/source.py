"""The file to compile: the user's own proto, at an opset that our nodes can join, and the model that is imported of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from reflrp.compiler.opsets.ceiling import floored
from reflrp.compiler.opsets.rewriting import Facts
from reflrp.compiler.opsets.upgrade import upgrade
from reflrp.compiler.store import external
from reflrp.errors import InputError, ModelError
from reflrp.ground import checks
from reflrp.importer.files.defaults import completed
from reflrp.importer.files.external import Files
from reflrp.importer.files.read import inlined, without_external_attributes
from reflrp.importer.lengths.inferring import inferred
from reflrp.importer.nodes.affordable import affordable
from reflrp.model import Model, load

OLDEST = 17
"""The first opset that our nodes can be written in."""

NEWEST_IR = 10
"""The newest version of the file format that onnxruntime 1.19 reads."""

LARGE = 1024
"""Initializers of at most so many entries are kept while types are inferred: shapes may lie in them."""


@dataclass(frozen=True)
class Given:
    """What is compiled.

    Attributes
    ----------
    proto : ModelProto
        A copy of the user's model, to be extended.
    model : Model
        The model imported of it.
    digest : str
        The sha256 of the source: of the file as it lies there, or of the proto as it is serialised.
    types : dict
        The element type of each value of the graph, as far as it can be inferred.
    named : set of str
        The values that both the proto and the imported model have under these names.
    shapes : dict of tuple
        The shape of each value of the graph, as far as it can be inferred; None stands for a length that is open.
    outside : dict of array, optional
        Weights that are not in the proto, as whoever runs the graph has them; None where all are.

    """

    proto: ModelProto
    model: Model
    digest: str
    types: Mapping[str, int]
    named: frozenset[str]
    shapes: Mapping[str, tuple[int | None, ...]]
    outside: dict[str, np.ndarray] | None = None


def given(model: Any, opset: int | None) -> Given:
    """Return the source of a compilation. Raises InputError for what is no file, bytes or proto, and for an odd opset."""
    own, digest, loaded = _read(model)
    outside = None
    if loaded is None:
        loaded = load(own)
    elif external(own):
        outside = _outside(own, loaded, opset)
    return sourced(own, digest, loaded, opset, outside)


def sourced(
    own: ModelProto, digest: str, loaded: Model, opset: int | None, outside: dict[str, np.ndarray] | None = None
) -> Given:
    """Return the source of a proto and of the model that was loaded from it."""
    names = frozenset(i.name for i in own.graph.input) | {o for n in own.graph.node for o in n.output if o}
    proto = _at_opset(own, opset, loaded)
    proto.ir_version = min(max(proto.ir_version, 8), NEWEST_IR)
    floored(proto, _shapes)
    types, shapes = _inferred(proto)
    return Given(proto, loaded, digest, types, names, shapes, outside)


def _outside(proto: ModelProto, loaded: Model, opset: int | None) -> dict[str, np.ndarray] | None:
    """Return the weights that lie beside a file, as the loaded model has them: mapped, and not read again.

    None where they are put into the proto, as its opset is to be changed.
    """
    files = Files(Path(loaded.source.name))
    if max(opset_of(proto), OLDEST) != opset_of(proto) or opset not in (None, opset_of(proto)):
        for tensor in proto.graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL:
                files.put_in(tensor)
        return None
    names, found = external(proto), dict[str, np.ndarray]()
    for tensor in proto.graph.initializer:
        if tensor.name in names:
            own, dtype = loaded.source.constants.get(tensor.name), helper.tensor_dtype_to_np_dtype(tensor.data_type)
            same = own is not None and own.dtype == dtype
            found[tensor.name] = own if same else _put_in(tensor, files)  # type: ignore[assignment]
    return found


def _put_in(tensor: TensorProto, files: Files) -> np.ndarray:
    """Return the array of a tensor whose data lie in a file, in its own dtype."""
    whole = TensorProto()
    whole.CopyFrom(tensor)
    files.put_in(whole)
    return numpy_helper.to_array(whole)


def _read(model: Any) -> tuple[ModelProto, str, Model | None]:
    if isinstance(model, Model):
        path = Path(model.source.name)
        if not path.is_file():
            raise InputError(
                "compile needs the file that the model was loaded from: give its path, its bytes or the proto"
            )
        model = path
    if isinstance(model, str | Path):
        loaded = load(model)  # says in our words what is wrong with the file
        data = Path(model).read_bytes()
        proto = without_external_attributes(onnx.load_from_string(data), Files(Path(model)))
        return proto, hashlib.sha256(data).hexdigest(), loaded
    if isinstance(model, bytes | bytearray | memoryview):
        load(bytes(model))
        return onnx.load_from_string(bytes(model)), hashlib.sha256(bytes(model)).hexdigest(), None
    if not isinstance(model, ModelProto):
        raise InputError(f"cannot compile a {type(model).__name__}: give a path, bytes or an onnx.ModelProto")
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy, hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(), None


def _at_opset(proto: ModelProto, opset: int | None, loaded: Model) -> ModelProto:
    """Return the model at the opset that is asked for, its own where that is None and not too old."""
    own, newest = opset_of(proto), onnx.defs.onnx_opset_version()
    wanted = max(own, OLDEST) if opset is None else checks.whole("opset", opset, OLDEST)
    if wanted > newest:
        raise InputError(
            f"opset={wanted} is unknown to the installed onnx {onnx.__version__}, which knows up to {newest}"
        )
    if wanted < own:
        raise InputError(f"opset={wanted} is older than the model's own, {own}: give {own} or later, or leave it out")
    if wanted > own:
        proto = inlined(completed(proto, loaded.source.name), loaded.source.name)
        upgrade(proto, wanted, Facts(proto, slim(proto), loaded.source.constants))
    return proto


def opset_of(proto: ModelProto) -> int:
    """Return the opset of the standard operators."""
    return next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), OLDEST)


def same_since(op_type: str, one: int, two: int) -> bool:
    """Return whether a standard operator is the same in two opsets."""
    try:
        since = [onnx.defs.get_schema(op_type, version).since_version for version in (one, two)]
    except onnx.defs.SchemaError:
        return False
    return since[0] == since[1]


def slim(proto: ModelProto) -> ModelProto:
    """Return a copy in which large weights are inputs, so that it can be looked through quickly, and at any size."""
    found = ModelProto()
    found.ir_version, graph, old = max(proto.ir_version, 4), found.graph, proto.graph
    found.opset_import.extend(proto.opset_import)
    found.functions.extend(proto.functions)
    graph.name = old.name or "graph"
    graph.input.extend(old.input)
    graph.node.extend(old.node)
    graph.output.extend(old.output)
    graph.value_info.extend(old.value_info)
    graph.sparse_initializer.extend(old.sparse_initializer)
    known = {i.name for i in old.input}
    for tensor in old.initializer:
        if _entries(tensor) <= LARGE and tensor.data_location != TensorProto.EXTERNAL:
            graph.initializer.append(tensor)
        elif tensor.name not in known:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return found


def _inferred(proto: ModelProto) -> tuple[dict[str, int], dict[str, tuple[int | None, ...]]]:
    """Return the element types and the shapes of values that ONNX can infer."""
    found = {i.name: i.type.tensor_type.elem_type for i in proto.graph.input}
    found |= {t.name: t.data_type for t in proto.graph.initializer}
    told = inferred(slim(proto)).graph
    shapes = {}
    for info in (*told.value_info, *told.output):
        if info.type.tensor_type.elem_type:
            found[info.name] = info.type.tensor_type.elem_type
        if info.type.tensor_type.HasField("shape"):
            dims = info.type.tensor_type.shape.dim
            shapes[info.name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)
    return found, shapes


def _shapes(proto: ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Return the shapes of the values that ONNX can infer, and of the inputs."""
    ports = {i.name: i.type.tensor_type.shape.dim for i in proto.graph.input}
    own = {k: tuple(d.dim_value if d.HasField("dim_value") else None for d in dims) for k, dims in ports.items()}
    return {**own, **_inferred(proto)[1]}


def check(proto: ModelProto, nodes: int) -> None:
    """Check a graph as ONNX does, types and shapes of all nodes included; the model's own nodes are the first so many.

    Outputs of which the file does not say the shape are left out of the check, and all of a model whose own nodes fail it.
    Raises ModelError where ours are invalid: that would be an error of ours.
    """
    found = slim(proto)
    shaped = [o for o in found.graph.output if o.type.tensor_type.HasField("shape")]
    del found.graph.output[:]
    found.graph.output.extend(shaped)
    shapes = affordable(found.graph)
    try:
        onnx.checker.check_model(found, full_check=shapes)
        return
    except Exception as error:
        failure = error
    made = {o for n in found.graph.node[:nodes] for o in n.output} | {i.name for i in found.graph.input}
    del found.graph.node[nodes:]
    del found.graph.output[:]
    found.graph.output.extend(o for o in shaped if o.name in made)
    try:
        onnx.checker.check_model(found, full_check=shapes)
    except Exception:
        return
    raise ModelError(f"the compiled graph is invalid, which is an error of reflrp: {str(failure)[:600]}") from failure


def _entries(tensor: TensorProto) -> int:
    count = 1
    for n in tensor.dims:
        count *= n
    return count
