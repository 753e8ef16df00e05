"""Parsing: a model -> a checked `Source` with constants folded and nodes in order."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from reflrp import limits
from reflrp.errors import ModelError, UnsupportedOperator
from reflrp.importer.alone import evaluate
from reflrp.importer.construction import Construction
from reflrp.importer.dtypes import dtype_of, is_float
from reflrp.importer.files.defaults import completed
from reflrp.importer.files.external import Files
from reflrp.importer.files.read import (
    FREE,
    NODE,
    ModelLike,
    array_of,
    dense,
    inlined,
    opsets_of,
    read,
    tensors,
    without_external_attributes,
)
from reflrp.importer.labels import Labels, numbers
from reflrp.importer.nodes.allowed import BUILT
from reflrp.importer.nodes.node import OnnxNode, check_nodes, nodes_of
from reflrp.importer.source import Port, Source


@limits.budget()
def parse(model: ModelLike) -> Source:
    """Read, check and fold a model.

    Raises ModelError for a missing, foreign, truncated or invalid file, and for an opset before 7.
    """
    with limits.holding() as outer:
        with limits.guarded("the model"):
            proto, inside, path, name = read(model)
        with limits.blamed_on(name):
            files = Files(path)
            proto = without_external_attributes(proto, files)
            constants = tensors(proto, files, name, inside)  # out of the proto, which is serialised to be inlined
            proto = inlined(completed(_light(proto), name), name)
            with limits.holding(outer.held, constants.values()) as made:
                source = _parsed(proto, constants, files, name)
                return replace(source, made=made.held, mapped=files.mapped)


def _light(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model that was emptied: a node keeps its model in memory, and that one all that was ever in it."""
    found = onnx.ModelProto()
    found.CopyFrom(proto)
    return found


def _parsed(proto: onnx.ModelProto, constants: dict[str, np.ndarray], files: Files, name: str) -> Source:
    inputs = _ports(proto, constants, name)
    opsets = opsets_of(proto, name)
    limits.hold(f"{name}, of {len(proto.graph.node)} nodes,", max(0, len(proto.graph.node) - FREE) * NODE)
    nodes = nodes_of(proto.graph, opsets)
    check_nodes(nodes, proto, name)
    nodes = _sorted(nodes, {*constants, *inputs}, name)
    outputs = tuple(o.name for o in proto.graph.output)
    nodes = _fold(nodes, constants, outputs, files)
    made = {o for n in nodes for o in n.outputs}.union(constants, inputs)
    missing = [o for o in outputs if o not in made]
    if missing:
        raise ModelError(f"{name} is invalid: nothing produces its outputs {missing}")
    floats = {k for k, port in inputs.items() if is_float(port.dtype)}
    quantised = numbers(nodes, {k: port.dtype for k, port in inputs.items()})
    active = Labels({*quantised}).of(nodes, constants, floats | quantised)
    return Source(name, tuple(nodes), constants, inputs, outputs, active, opsets)


def _ports(proto: onnx.ModelProto, constants: Mapping[str, np.ndarray], name: str) -> dict[str, Port]:
    """Return the inputs that are not initializers as well (old files list those among the inputs)."""
    found: dict[str, Port] = {}
    for info in proto.graph.input:
        if info.name in found:
            raise ModelError(f"{name} is invalid: input {info.name!r} is there twice")
        if info.name not in constants:
            found[info.name] = _port(info)
    return found


def _port(info: onnx.ValueInfoProto) -> Port:
    tensor = info.type.tensor_type
    dtype = dtype_of(tensor.elem_type) if info.type.HasField("tensor_type") else None
    if dtype is None or dtype.kind in "OSU":
        raise ModelError(f"input {info.name!r} is no tensor of numbers; reflrp explains tensors of numbers only")
    if not tensor.HasField("shape"):
        return Port(None, dtype)
    return Port(tuple(_dim(d) for d in tensor.shape.dim), dtype)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value >= 0 else None
    return dim.dim_param or None


def _sorted(nodes: list[OnnxNode], known: set[str], name: str) -> list[OnnxNode]:
    """Return the nodes in topological order (exporters do not all keep it)."""
    made: dict[str, int] = {}
    for i, node in enumerate(nodes):
        for output in filter(None, node.outputs):
            if output in made or output in known:
                raise ModelError(f"{name} is invalid: value {output!r} is assigned twice, last by node {node.name!r}")
            made[output] = i
    missing = sorted({i for node in nodes for i in node.reads if i not in made and i not in known})
    if missing:
        raise ModelError(f"{name} is invalid: nothing produces the values {missing[:8]}")
    sources = [{made[i] for i in node.reads if i in made} for node in nodes]
    order = _order(sources)
    if len(order) < len(nodes):
        stuck = sorted(set(range(len(nodes))) - set(order))
        raise ModelError(
            f"{name} is invalid: the graph has a cycle through the nodes {[nodes[i].name for i in stuck[:8]]}"
        )
    return [nodes[i] for i in order]


def _order(sources: list[set[int]]) -> list[int]:
    """Return numbers so that each comes after its sources, otherwise in the file's order; a cycle's are left out."""
    waits, readers = [len(s) for s in sources], [[] for _ in sources]  # type: tuple[list[int], list[list[int]]]
    for i, found in enumerate(sources):
        for source in found:
            readers[source].append(i)
    heap, order = [i for i, n in enumerate(waits) if n == 0], []
    while heap:
        i = heapq.heappop(heap)
        order.append(i)
        for reader in readers[i]:
            waits[reader] -= 1
            if waits[reader] == 0:
                heapq.heappush(heap, reader)
    return order


def _fold(
    nodes: list[OnnxNode], constants: dict[str, np.ndarray], outputs: Iterable[str], files: Files
) -> list[OnnxNode]:
    """Evaluate what depends on constants only, by ONNX's reference code; return the other nodes.

    What is not on the list of operators that are run stays; `check_supported` finds it there.
    What is made counts (`reflrp.limits`) until the last node that reads it has been folded.
    """
    rest, waiting = [], Counter([*(i for n in nodes for i in {*n.reads}), *outputs])
    for node in nodes:
        trained = node.op_type == "Dropout" and len(node.inputs) > 2
        kept = trained or node.op_type in BUILT or not node.standard or not node.evaluable
        if kept or any(i not in constants for i in node.reads):
            rest.append(node)
            continue
        made = {o: v for o, v in zip(node.outputs, _folded(node, constants, files), strict=False) if o}
        for name, value in made.items():
            constants[name] = value
            if isinstance(value, np.ndarray):
                limits.hold_array(f"node {node.name!r} ({node.op_type})", value)
        waiting.subtract({*node.reads})
        for name in {*node.reads, *made}:
            if not waiting[name]:
                limits.release(constants.pop(name))
    return rest


def _folded(node: OnnxNode, constants: Mapping[str, np.ndarray], files: Files) -> tuple[Any, ...]:
    if node.domain == "" and node.op_type == "Constant":
        constant = _constant(node, files)
        limits.know(constant)
        return (constant,)
    if node.domain == "" and node.op_type == "Identity":
        return (constants[node.inputs[0]],)
    return evaluate(node, {i: constants[i] for i in node.reads}, Construction)


def _constant(node: OnnxNode, files: Files) -> np.ndarray:
    for key, value in node.attributes.items():
        if key == "value":
            return array_of(value, files)
        if key == "sparse_value":
            return dense(value, files)
        if key in ("value_float", "value_floats"):
            return np.asarray(value, dtype=np.float32)
        if key in ("value_int", "value_ints"):
            return np.asarray(value, dtype=np.int64)
    raise UnsupportedOperator([node.offender(f"a constant of {[*node.attributes] or 'nothing'}")])
