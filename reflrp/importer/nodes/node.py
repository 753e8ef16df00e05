"""One node of the file: its attributes as Python values, and ONNX's own reference code to run it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from reflrp import limits
from reflrp.arrays.looks import Brief
from reflrp.errors import ModelError, Offender, ReflrpError, UnsupportedOperator
from reflrp.ground.caches import Kept
from reflrp.importer.dtypes import is_float, widened
from reflrp.importer.files.read import array_in, domain_of
from reflrp.importer.nodes.allowed import evaluable, why_not
from reflrp.importer.nodes.cost import cost_of, cost_of_making
from reflrp.importer.nodes.estimate import check_outputs
from reflrp.importer.nodes.unfit import misfit

Arrays = Mapping[str, np.ndarray]

STANDARDISED = {"QuantizeLinear": 21, "DequantizeLinear": 21}
"""Operators of com.microsoft that are the standard's, of this opset: with 16 and 4 bits, where the file's opset has none."""

READ = 10
"""What reading one node counts for, in turns of a loop."""


@dataclass(frozen=True, eq=False)
class Body(Brief):
    """A part that a node runs inside: a branch, a loop's body, or the function that defines an operator.

    Its nodes are in topological order, and may read values from outside.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Arrays
    nodes: tuple[OnnxNode, ...]


@dataclass(frozen=True, eq=False)
class OnnxNode(Brief):
    """One node of the file, with its attributes as Python values and the opset version of its domain.

    `reads` are the values it depends on: its inputs, and what its subgraphs take from outside.
    """

    name: str
    op_type: str
    domain: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    proto: NodeProto = field(repr=False)
    reads: tuple[str, ...] = field(repr=False)
    scope: str = ""
    opsets: Mapping[str, int] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields, for pickling: what is worked out from them (`evaluator`, `bodies`) is made anew."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def standard(self) -> bool:
        """Whether the ONNX standard has the operator."""
        return bool(onnx.defs.has(self.op_type, self.opset, self.domain))

    @Kept
    def evaluator(self) -> Any:
        """ONNX's reference code for this one node."""
        from onnx.reference import ReferenceEvaluator

        any_type = onnx.TypeProto()
        graph = onnx.helper.make_graph(
            [self.proto],
            "node",
            [onnx.ValueInfoProto(name=i, type=any_type) for i in self.reads],
            [onnx.ValueInfoProto(name=o, type=any_type) for o in self.outputs if o],
        )
        # the reference code lacks the first DequantizeLinear, which is the same on what it takes
        since = max(self.opset, 19) if self.op_type == "DequantizeLinear" else self.opset
        opset = onnx.helper.make_opsetid(self.domain, since)
        return ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=[opset]))

    @Kept
    def bodies(self) -> dict[str, Body]:
        """The subgraphs that are attributes of the node."""
        return {a.name: body_of(a.g, self.opsets) for a in self.proto.attribute if a.type == AttributeProto.GRAPH}

    def run(self, feeds: Arrays) -> tuple[Any, ...]:
        """Return the node's outputs at the values it reads, computed by ONNX's reference code.

        Raises UnsupportedOperator where the operator is not on the list of `allowed`; TooLarge, before it runs, where an
        output would be beyond the limit on memory, or the work beyond that on time.
        """
        if not self.evaluable:
            raise UnsupportedOperator([self.offender(why_not(self.op_type))])
        self._count(feeds)
        try:
            with np.errstate(all="ignore"):
                if self.op_type == "GatherElements" and self.domain == "":
                    data, index = (feeds[i] for i in self.inputs)
                    return (_gathered(data, index, self.attributes.get("axis", 0)),)
                with limits.holding(limits.held()):
                    values = iter(self.evaluator.run(None, _aligned(feeds)))
        except ReflrpError:
            raise
        except MemoryError as error:
            raise limits.exhausted(f"node {self.name!r} ({self.op_type})", error) from error
        except Exception as error:
            raise ModelError(misfit(f"node {self.name!r} ({self.op_type})", feeds, error)) from error
        made = tuple(self._array(next(values)) if output else None for output in self.outputs)
        limits.spend(f"node {self.name!r} ({self.op_type})", sum(a.size for a in made if a is not None))
        return made

    @property
    def evaluable(self) -> bool:
        """Whether ONNX's reference code may run the node: it does arithmetic, and holds no subgraph."""
        return evaluable(self.domain, self.op_type) and not any(_graphs(self.proto))

    def _count(self, feeds: Arrays) -> None:
        """Count the node's work before it is done."""
        what = f"node {self.name!r} ({self.op_type})"
        entries = check_outputs(what, self.proto, self.opset, feeds)
        try:
            cost = cost_of(self.op_type, self.attributes, [feeds.get(i) for i in self.inputs])
        except Exception as error:
            raise ModelError(misfit(what, feeds, error)) from error
        limits.spend(what, cost + cost_of_making(self.op_type, entries))

    @Kept
    def apart(self) -> OnnxNode:
        """The node with a name of its own for each operand, so that arrays are bound by their places: it may read a value twice."""
        names = [f"{name}:{i}" if name and name in self.inputs[:i] else name for i, name in enumerate(self.inputs)]
        if tuple(names) == self.inputs:
            return self
        proto = NodeProto()
        proto.CopyFrom(self.proto)
        proto.input[:] = names
        return replace(self, inputs=tuple(names), proto=proto, reads=tuple(dict.fromkeys([*self.reads, *names])))

    def bound(self, arrays: Iterable[Any]) -> dict[str, Any]:
        """Return arrays in place of the inputs of a node whose operands are `apart`, by name."""
        return {name: a for name, a in zip(self.inputs, arrays, strict=True) if name and a is not None}

    def evaluate(self, *arrays: np.ndarray | None) -> tuple[Any, ...]:
        """Return the node's outputs for arrays in place of its inputs."""
        return self.apart.run(self.apart.bound(arrays))

    def _array(self, value: Any) -> np.ndarray:
        if not isinstance(value, np.ndarray | np.generic):
            raise ModelError(f"node {self.name!r} ({self.op_type}) makes no tensor; reflrp explains tensors only")
        return widened(np.asarray(value))

    def offender(self, why: str = "no builder") -> Offender:
        """Return this node as an entry of an UnsupportedOperator."""
        return Offender(self.name, self.op_type, self.domain, self.opset, why)


def _gathered(data: np.ndarray, index: np.ndarray, axis: int) -> np.ndarray:
    """Return GatherElements, which ONNX's reference code gets wrong where the index is smaller than the data."""
    places: list[Any] = list(np.indices(index.shape, sparse=True))
    places[axis] = index
    found: np.ndarray = data[tuple(places)]
    return found


def _aligned(feeds: Arrays) -> Arrays:
    """Return the arrays with one floating dtype: where the engine computes in float64, the file's float32 joins it."""
    kinds = {a.dtype for a in feeds.values() if is_float(a.dtype)}
    if len(kinds) < 2:
        return feeds
    return {name: a.astype(np.float64) if is_float(a.dtype) else a for name, a in feeds.items()}


def body_of(graph: GraphProto, opsets: Mapping[str, int]) -> Body:
    """Return a subgraph as a body."""
    constants = {t.name: array_in(t) for t in graph.initializer}
    return Body(
        tuple(i.name for i in graph.input),
        tuple(o.name for o in graph.output),
        constants,
        tuple(nodes_of(graph, opsets)),
    )


def nodes_of(graph: GraphProto, opsets: Mapping[str, int]) -> list[OnnxNode]:
    """Return the nodes of a graph; each has a name, and none twice."""
    found: list[OnnxNode] = []
    names: set[str] = set()
    for i, node in enumerate(graph.node):
        name = node.name or f"{node.op_type}_{i}"
        name = name if name not in names else f"{name}_{i}"
        while name in names:
            name += "_"
        names.add(name)
        limits.step(f"node {name!r} ({node.op_type})", READ)
        found.append(node_of(node, name, opsets))
    return found


def node_of(node: NodeProto, name: str, opsets: Mapping[str, int]) -> OnnxNode:
    """Return a node with its attributes as Python values."""
    texts = (name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute))
    if any(isinstance(text, bytes) for text in texts):
        raise ModelError(f"the names of node {name!r} are no valid UTF-8: {[t for t in texts if isinstance(t, bytes)]}")
    node, opsets = _as_standard(node, opsets)
    domain = domain_of(node.domain)
    inputs = tuple(node.input)
    while inputs and not inputs[-1]:
        inputs = inputs[:-1]
    scope = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "")
    attributes = {a.name: attribute_of(a) for a in node.attribute}
    captured = sorted({c for graph in _graphs(node) for c in _captured(graph)})
    reads = tuple(dict.fromkeys([*filter(None, inputs), *captured]))
    opset = opsets.get(domain, 1)
    return OnnxNode(
        name, node.op_type, domain, opset, inputs, tuple(node.output), attributes, node, reads, scope, opsets
    )


def _as_standard(node: NodeProto, opsets: Mapping[str, int]) -> tuple[NodeProto, Mapping[str, int]]:
    """Return a node of com.microsoft that is the standard's of a later opset as that, and with which opsets."""
    if node.domain != "com.microsoft" or node.op_type not in STANDARDISED:
        return node, opsets
    same = NodeProto()
    same.CopyFrom(node)
    same.domain = ""
    return same, {**opsets, "": STANDARDISED[node.op_type]}


def made_node(op_type: str, inputs: tuple[str, ...], opset: int, **attributes: Any) -> OnnxNode:
    """Return a node of our own with the output `y`, to be evaluated."""
    return node_of(onnx.helper.make_node(op_type, inputs, ["y"], **attributes), op_type, {"": opset})


def attribute_of(attribute: AttributeProto) -> Any:
    """Return an attribute as a Python value."""
    try:
        value = onnx.helper.get_attribute_value(attribute)
    except Exception as error:
        raise ModelError(f"attribute {attribute.name!r} cannot be read: {error}") from error
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _graphs(node: NodeProto) -> Iterable[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _captured(graph: GraphProto) -> set[str]:
    """Return what a subgraph takes from outside."""
    made = {i.name for i in graph.input} | {t.name for t in graph.initializer}
    made |= {o for n in graph.node for o in n.output}
    read = {i for n in graph.node for i in n.input if i} | {o.name for o in graph.output}
    return read.union(*(_captured(g) for n in graph.node for g in _graphs(n))) - made


WITHDRAWN = frozenset(["GroupNormalization"])
"""Operators whose first version the standard has withdrawn: they are checked by the schema of their next, which is alike."""


def check_nodes(nodes: Iterable[OnnxNode], proto: ModelProto, name: str) -> None:
    """Raise ModelError with each node of the standard that breaks its operator's schema."""
    context = onnx.checker.C.CheckerContext()
    context.ir_version = max(3, proto.ir_version)
    context.opset_imports = {domain_of(o.domain): o.version for o in proto.opset_import}
    later = onnx.checker.C.CheckerContext()
    later.ir_version, later.opset_imports = context.ir_version, {"": 21}
    wrong = []
    for node in nodes:
        own = node.opset == context.opset_imports.get("", node.opset)
        if node.domain != "" or not own or not node.standard or node.op_type == "Constant" or any(_graphs(node.proto)):
            continue
        try:
            onnx.checker.check_node(node.proto, later if node.op_type in WITHDRAWN else context)
        except onnx.checker.ValidationError as error:
            wrong.append(f"{node.name!r} ({node.op_type}): " + str(error).split("\n")[0])
    if wrong:
        raise ModelError(f"{name} is invalid:\n  " + "\n  ".join(wrong[:8]))
