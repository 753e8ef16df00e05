"""Reading: path, bytes or ModelProto -> a checked `Source` with constants folded and nodes in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from reflrp.errors import ModelError, Offender, UnsupportedOperator

OLDEST_OPSET = 7

INERT = frozenset(
    """Shape Size ArgMax ArgMin Equal Greater GreaterOrEqual Less LessOrEqual And Or Xor Not IsNaN IsInf NonZero
    BitShift BitwiseAnd BitwiseOr BitwiseNot BitwiseXor EyeLike ConstantOfShape Range RandomNormal RandomUniform
    RandomNormalLike RandomUniformLike Bernoulli Multinomial StringNormalizer TfIdfVectorizer""".split()
)
"""Operators whose output carries no relevance, whatever comes in."""

_UNFOLDED = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"})


@dataclass(frozen=True)
class OnnxNode:
    """One node of the file, with its attributes as Python values and the opset version of its domain."""

    name: str
    op_type: str
    domain: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    proto: NodeProto = field(repr=False)
    scope: str = ""

    @cached_property
    def evaluator(self) -> Any:
        """ONNX's reference code for this one node."""
        return evaluator([self], self.outputs)

    def evaluate(self, *arrays: np.ndarray | None) -> list[np.ndarray]:
        """Return the node's outputs at constant inputs, computed by ONNX's reference code."""
        feeds = {name: a for name, a in zip(self.inputs, arrays, strict=True) if name and a is not None}
        try:
            with np.errstate(all="ignore"):
                return [np.asarray(v) for v in self.evaluator.run(None, feeds)]
        except Exception as error:
            raise ModelError(f"node {self.name!r} ({self.op_type}) cannot be evaluated: {error}") from error

    def offender(self, why: str = "no builder") -> Offender:
        """Return this node as an entry of an UnsupportedOperator."""
        return Offender(self.name, self.op_type, self.domain, self.opset, why)


@dataclass(frozen=True)
class Port:
    """What the file says of an input: its dimensions (a number, a name, or None) and its dtype."""

    dims: tuple[int | str | None, ...] | None
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        """Return `float32 (N, 1, 8, 8)`."""
        dims = "?" if self.dims is None else ", ".join("?" if d is None else str(d) for d in self.dims)
        return f"{self.dtype} ({dims})"


@dataclass(frozen=True)
class Source:
    """A parsed model: nodes in topological order, constants as arrays, the ports, and which values are active."""

    name: str
    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, np.ndarray]
    inputs: Mapping[str, Port]
    outputs: tuple[str, ...]
    active: frozenset[str]


def parse(model: str | Path | bytes | ModelProto) -> Source:
    """Read, check and fold a model.

    Raises ModelError for a missing, foreign, truncated or invalid file, UnsupportedOperator for an opset before 7.
    """
    proto, folder, name = _read(model)
    _check_opsets(proto, name)
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    constants = {t.name: _tensor(t, folder) for t in proto.graph.initializer}
    opsets = {_domain(o.domain): o.version for o in proto.opset_import}
    nodes = _sorted(_nodes(proto, opsets), {*constants, *(i.name for i in proto.graph.input)}, name)
    nodes = _fold(nodes, constants, folder)
    inputs = {i.name: _port(i) for i in proto.graph.input if i.name not in constants}
    outputs = tuple(o.name for o in proto.graph.output)
    _check_outputs(outputs, nodes, constants, inputs, name)
    active = _active(nodes, constants, inputs)
    return Source(name, tuple(nodes), constants, inputs, outputs, active)


def _read(model: str | Path | bytes | ModelProto) -> tuple[ModelProto, Path | None, str]:
    if isinstance(model, ModelProto):
        copy = ModelProto()
        copy.CopyFrom(model)
        return copy, None, "the model"
    if isinstance(model, bytes):
        return _decode(model, "the model"), None, "the model"
    path = Path(model)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(f"{path} {what}; give the path of an .onnx file")
    return _decode(path.read_bytes(), str(path)), path.parent, str(path)


def _decode(data: bytes, name: str) -> ModelProto:
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(f"{name} is no ONNX model, or is truncated ({len(data)} bytes do not parse)") from error
    if not proto.HasField("graph") or not proto.opset_import or not proto.graph.output:
        raise ModelError(f"{name} is no ONNX model, or is truncated: it has no graph with outputs and an opset")
    return proto


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _check_opsets(proto: ModelProto, name: str) -> None:
    for entry in proto.opset_import:
        if _domain(entry.domain) == "" and entry.version < OLDEST_OPSET:
            raise ModelError(
                f"{name} has opset {entry.version}; reflrp reads {OLDEST_OPSET} and later: "
                "convert it with onnx.version_converter, or export it again"
            )
        if _domain(entry.domain) == "" and entry.version > onnx.defs.onnx_opset_version():
            raise ModelError(
                f"{name} has opset {entry.version}, but the installed onnx {onnx.__version__} knows only up to "
                f"{onnx.defs.onnx_opset_version()}: upgrade onnx"
            )


def _tensor(tensor: TensorProto, folder: Path | None) -> np.ndarray:
    """Return a tensor's array; half-precision formats become float32, which holds each of their values."""
    if uses_external_data(tensor):
        _load_external(tensor, folder)
    try:
        array = numpy_helper.to_array(tensor)
    except Exception as error:
        raise ModelError(f"tensor {tensor.name!r} cannot be read ({error}); the file is truncated or invalid") from error
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    return widened(array)


def widened(array: np.ndarray) -> np.ndarray:
    """Return half-precision and 8-bit float arrays as float32, others unchanged."""
    narrow = array.dtype == np.float16 or (array.dtype.kind == "V" or "float" in array.dtype.name) and array.itemsize < 4
    return array.astype(np.float32) if narrow else array


def _load_external(tensor: TensorProto, folder: Path | None) -> None:
    info = ExternalDataInfo(tensor)
    where = f"tensor {tensor.name!r} keeps its data in {info.location!r}"
    if folder is None:
        raise ModelError(f"{where}, which a model in memory cannot reach; load the model by its path")
    path = (folder / info.location).resolve()
    if Path(info.location).is_absolute() or folder.resolve() not in path.parents:
        raise ModelError(f"{where}, outside the model's folder; reflrp refuses to read it")
    if not path.is_file():
        raise ModelError(f"{where}, but {path} does not exist")
    offset = info.offset or 0
    length = path.stat().st_size - offset if info.length is None else info.length
    if offset < 0 or length < 0 or offset + length > path.stat().st_size:
        raise ModelError(f"{where}, which is truncated: bytes {offset}..{offset + length} are not all there")
    with path.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _nodes(proto: ModelProto, opsets: Mapping[str, int]) -> list[OnnxNode]:
    found, names = [], set()
    for i, node in enumerate(proto.graph.node):
        domain = _domain(node.domain)
        name = node.name or f"{node.op_type}_{i}"
        while name in names:
            name += "_"
        names.add(name)
        attributes = {a.name: _attribute(a) for a in node.attribute}
        scope = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "")
        inputs = tuple(node.input)
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        found.append(
            OnnxNode(name, node.op_type, domain, opsets.get(domain, 1), inputs, tuple(node.output), attributes, node, scope)
        )
    return found


def _attribute(attribute: AttributeProto) -> Any:
    if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS, AttributeProto.TENSOR):
        return onnx.helper.get_attribute_value(attribute)
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _sorted(nodes: list[OnnxNode], known: set[str], name: str) -> list[OnnxNode]:
    """Return the nodes in topological order (exporters do not all keep it)."""
    made: dict[str, OnnxNode] = {}
    for node in nodes:
        for output in filter(None, node.outputs):
            if output in made or output in known:
                raise ModelError(f"{name} is invalid: value {output!r} is assigned twice, last by node {node.name!r}")
            made[output] = node
    missing = sorted({i for node in nodes for i in node.inputs if i and i not in made and i not in known})
    if missing:
        raise ModelError(f"{name} is invalid: nothing produces the values {missing}")
    return _order(nodes, made, name)


def _order(nodes: list[OnnxNode], made: Mapping[str, OnnxNode], name: str) -> list[OnnxNode]:
    waits = {n.name: len({made[i].name for i in _reads(n) if i in made}) for n in nodes}
    readers: dict[str, list[OnnxNode]] = {}
    for node in nodes:
        for source in {made[i].name for i in _reads(node) if i in made}:
            readers.setdefault(source, []).append(node)
    ready, ordered = [n for n in nodes if waits[n.name] == 0], []
    position = {n.name: i for i, n in enumerate(nodes)}
    import heapq  # noqa: PLC0415

    heap = [position[n.name] for n in ready]
    heapq.heapify(heap)
    while heap:
        node = nodes[heapq.heappop(heap)]
        ordered.append(node)
        for reader in readers.get(node.name, ()):
            waits[reader.name] -= 1
            if waits[reader.name] == 0:
                heapq.heappush(heap, position[reader.name])
    if len(ordered) < len(nodes):
        stuck = [n.name for n in nodes if waits[n.name] > 0]
        raise ModelError(f"{name} is invalid: the graph has a cycle through the nodes {stuck[:8]}")
    return ordered


def _reads(node: OnnxNode) -> Iterable[str]:
    """Return the names a node reads, those of its subgraphs included."""
    yield from filter(None, node.inputs)
    for value in node.attributes.values():
        if isinstance(value, GraphProto):
            yield from _captured(value)


def _captured(graph: GraphProto) -> set[str]:
    inner = {i.name for i in graph.input} | {t.name for t in graph.initializer}
    inner |= {o for n in graph.node for o in n.output}
    read = {i for n in graph.node for i in n.input if i}
    for node in graph.node:
        for a in node.attribute:
            if a.type == AttributeProto.GRAPH:
                read |= _captured(a.g)
    return read - inner


def _fold(nodes: list[OnnxNode], constants: dict[str, np.ndarray], folder: Path | None) -> list[OnnxNode]:
    """Evaluate what depends on constants only, all at once; return the other nodes."""
    known, folded, rest = set(constants), [], []
    for node in nodes:
        if node.op_type == "Constant" and node.domain == "":
            constants[node.outputs[0]] = _constant(node, folder)
            known.add(node.outputs[0])
        elif all(i in known for i in _reads(node)) and node.op_type not in _UNFOLDED:
            folded.append(node)
            known.update(filter(None, node.outputs))
        else:
            rest.append(node)
    constants.update(_run_folded(folded, constants))
    return rest


def _constant(node: OnnxNode, folder: Path | None) -> np.ndarray:
    ((key, value),) = node.attributes.items()
    if key == "value":
        return _tensor(value, folder)
    if key in ("value_float", "value_floats"):
        return np.asarray(value, dtype=np.float32)
    if key in ("value_int", "value_ints"):
        return np.asarray(value, dtype=np.int64)
    raise UnsupportedOperator([node.offender(f"constant with {key}")])


def _run_folded(nodes: list[OnnxNode], constants: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run the constant nodes one by one, each by ONNX's reference code."""
    found: dict[str, np.ndarray] = {}
    for node in nodes:
        arrays = [found.get(i, constants.get(i)) if i else None for i in node.inputs]
        if node.op_type == "Identity":
            values = [arrays[0]]
        else:
            values = node.evaluate(*arrays)
        found.update((o, widened(v)) for o, v in zip(node.outputs, values, strict=False) if o)
    return found


def evaluator(nodes: Iterable[OnnxNode], outputs: Iterable[str]) -> Any:
    """Return ONNX's reference evaluator for some nodes as a model of their own."""
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415

    nodes = list(nodes)
    made = {o for n in nodes for o in n.outputs}
    reads = dict.fromkeys(i for n in nodes for i in _reads(n) if i not in made)
    any_type = onnx.TypeProto()
    graph = onnx.helper.make_graph(
        [n.proto for n in nodes],
        "part",
        [onnx.ValueInfoProto(name=i, type=any_type) for i in reads],
        [onnx.ValueInfoProto(name=o, type=any_type) for o in outputs if o],
    )
    opsets = [onnx.helper.make_opsetid(d, v) for d, v in {n.domain: n.opset for n in nodes}.items()]
    return ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=opsets))


def _port(info: onnx.ValueInfoProto) -> Port:
    tensor = info.type.tensor_type
    if not info.type.HasField("tensor_type") or not tensor.elem_type:
        raise ModelError(f"input {info.name!r} is no tensor; reflrp explains tensors only")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    if not tensor.HasField("shape"):
        return Port(None, dtype)
    dims = tuple(
        d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim
    )
    return Port(dims, dtype)


def _check_outputs(outputs: Iterable[str], nodes: list[OnnxNode], *known: Any) -> None:
    *maps, name = known
    made = {o for n in nodes for o in n.outputs}.union(*maps)
    missing = [o for o in outputs if o not in made]
    if missing:
        raise ModelError(f"{name} is invalid: nothing produces its outputs {missing}")


def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or "float" in dtype.name


def _active(nodes: Iterable[OnnxNode], constants: Mapping[str, np.ndarray], inputs: Mapping[str, Port]) -> frozenset[str]:
    """Return the values that carry relevance: they depend on a float input, or are rows looked up by an input."""
    active = {name for name, port in inputs.items() if _is_float(port.dtype)}
    for node in nodes:
        if node.op_type in INERT or _casts_away(node):
            continue
        table = constants.get(node.inputs[0]) if node.op_type == "Gather" else None
        looked_up = table is not None and _is_float(table.dtype) and node.inputs[1] not in constants
        if looked_up or any(i in active for i in node.inputs):
            active.update(node.outputs)
    return frozenset(active)


def _casts_away(node: OnnxNode) -> bool:
    if node.op_type != "Cast":
        return False
    return not _is_float(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node.attributes["to"])))
