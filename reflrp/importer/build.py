"""Building: a `Source` at fixed input shapes -> a `Graph`. The table of builders, and what they build with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from reflrp.errors import InputError, ModelError, ReflrpError, UnsupportedOperator
from reflrp.importer.node import OnnxNode
from reflrp.importer.parse import INERT_OUTPUTS, TABLES, Port, Source
from reflrp.ir import Graph, Node, Op, Shape, Value
from reflrp.routing import Plumbing


@dataclass(frozen=True)
class Ref:
    """A value of the graph under construction."""

    name: str
    value: Value

    @property
    def shape(self) -> Shape:
        """The value's shape."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """How many axes the value has."""
        return len(self.value.shape)


Arg = np.ndarray | Ref | None
Made = Ref | np.ndarray | tuple[Ref | np.ndarray | None, ...]
Build = Callable[["Site"], Made]

BUILDERS: dict[tuple[str, str], Build] = {}
"""(domain, op type) -> builder: the one registry of operators."""


def builds(*op_types: str, domain: str = "") -> Callable[[Build], Build]:
    """Enter a builder in the table, for one or more operators."""

    def enter(build: Build) -> Build:
        for op_type in op_types:
            BUILDERS[domain, op_type] = build
        return build

    return enter


class Unbuildable(Exception):
    """A builder's word that it cannot serve this node, and why."""


LARGEST = 1 << 36
"""How many entries a value may have; a shape beyond that comes from a broken file."""


@dataclass
class Site:
    """One ONNX node under construction: what a builder sees, and what it builds with."""

    node: OnnxNode
    args: tuple[Arg, ...]
    work: Construction
    emitted: int = 0

    @property
    def opset(self) -> int:
        """The opset version of the node's domain."""
        return self.node.opset

    @property
    def op_type(self) -> str:
        """The node's operator."""
        return self.node.op_type

    def attr(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.node.attributes.get(name, default)

    def has(self, i: int) -> bool:
        """Return whether input i is there."""
        return i < len(self.args) and self.args[i] is not None

    def arg(self, i: int) -> np.ndarray | Ref:
        """Return input i, a constant array or a value."""
        found = self.args[i] if i < len(self.args) else None
        if found is None:
            raise Unbuildable(f"its input {i} is missing")
        return found

    def ref(self, i: int = 0) -> Ref:
        """Return input i, which must be a value."""
        found = self.arg(i)
        if not isinstance(found, Ref):
            raise Unbuildable(f"its input {i} is a constant")
        return found

    def const(self, i: int, default: Any = None) -> Any:
        """Return input i, which must be constant (at these input shapes), or the default."""
        if not self.has(i):
            return default
        found = self.args[i]
        if isinstance(found, Ref):
            raise Unbuildable(f"its input {i} ({found.name!r}) depends on the data")
        return found

    def ints(self, name: str, i: int | None = None) -> tuple[int, ...] | None:
        """Return integers that are an attribute in old opsets and input i in new ones."""
        value = self.const(i) if i is not None and self.has(i) else self.attr(name)
        return None if value is None else tuple(int(v) for v in np.ravel(value))

    def axis(self, axis: int, rank: int) -> int:
        """Return an axis counted from the front."""
        if not -rank <= axis < rank:
            raise Unbuildable(f"axis {axis} is out of range for rank {rank}")
        return axis % rank

    def emit(self, op: Op, *inputs: Ref, part: str = "") -> Ref:
        """Add a node to the graph and return its output.

        The last node that a builder emits should carry no `part`: it gets the ONNX node's name.
        """
        return self.work.emit(self.node, op, inputs, part)


@dataclass
class Construction:
    """The graph so far."""

    source: Source
    known: dict[str, Arg] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    samples: dict[str, np.ndarray] = field(default_factory=dict)
    makers: dict[str, Node] = field(default_factory=dict)

    def emit(self, node: OnnxNode, op: Op, inputs: tuple[Ref, ...], part: str) -> Ref:
        """Add a node and return its output."""
        name = f"{node.name}:{part}" if part else node.name
        output = f"{node.outputs[0]}:{part}" if part else node.outputs[0]
        while output in self.values:
            output += "'"
        shape = tuple(int(n) for n in op.shape(*(i.shape for i in inputs)))
        if min(shape, default=1) < 0 or prod(shape) > LARGEST:
            raise Unbuildable(f"its output would have the shape {shape}")
        active = any(i.value.active for i in inputs) or op.kind == "embedding"
        nonneg = op.nonneg(*(i.value.nonneg for i in inputs))
        return self._add(name, op, inputs, output, node, Value(shape, np.dtype(float), active, nonneg))

    def _add(self, name: str, op: Op, inputs: tuple[Ref, ...], output: str, node: OnnxNode, value: Value) -> Ref:
        made = Node(name, op, tuple(i.name for i in inputs), output, node.op_type, (node.name,), node.scope)
        self.nodes.append(made)
        self.values[output], self.makers[output] = value, made
        return Ref(output, value)

    def plumb(self, node: OnnxNode, args: tuple[Arg, ...], only: tuple[int, ...] | None = None) -> tuple[Arg, ...]:
        """Add plumbing nodes: one for each output (or only for some) of an ONNX node that carries no relevance."""
        places = [i for i, a in enumerate(args) if isinstance(a, Ref)]
        inputs = tuple(a for a in args if isinstance(a, Ref))

        def run(*arrays: np.ndarray) -> tuple[np.ndarray | None, ...]:
            full: list[Any] = list(args)
            for i, array in zip(places, arrays, strict=True):
                full[i] = array
            return node.evaluate(*full)

        samples = run(*(self.sample(i) for i in inputs))
        made = [o is not None and (only is None or i in only) for i, o in enumerate(samples)]
        return tuple(
            self.plumbing(node, i, inputs, lambda *xs, i=i: run(*xs)[i], sample) if ok else None
            for i, (ok, sample) in enumerate(zip(made, samples, strict=True))
        )

    def plumbing(
        self, node: OnnxNode, i: int, inputs: tuple[Ref, ...], function: Callable[..., Any], sample: np.ndarray
    ) -> Ref:
        """Add a plumbing node that computes output i of an ONNX node; `sample` shows its shape and dtype."""
        output, value = node.outputs[i], Value(sample.shape, sample.dtype, active=False)
        self.samples[output] = sample
        return self._add(f"{node.name}:{i}" if i else node.name, Plumbing(function), inputs, output, node, value)

    def sample(self, ref: Ref) -> np.ndarray:
        """Return some array of a value's shape and dtype."""
        if ref.name not in self.samples:
            self.samples[ref.name] = np.zeros(ref.value.shape, ref.value.dtype)
        return self.samples[ref.name]


CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")

UNLIKE_LRP = {
    **dict.fromkeys(
        ["TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"],
        "trees decide by thresholds, so relevance has no linear part to follow; use a method for trees, as TreeSHAP",
    ),
    **dict.fromkeys(
        ["SVMClassifier", "SVMRegressor"],
        "a kernel machine is no layered network; a linear one can be exported as LinearClassifier",
    ),
}
"""Operators that are no layers, and why."""


def check_supported(source: Source) -> None:
    """Raise UnsupportedOperator with every node that is unknown, or on a relevance path without a builder."""
    missing = [
        node.offender(_why(node))
        for node in source.nodes
        if (node.domain, node.op_type) not in BUILDERS
        and (any(o in source.active for o in node.outputs) or not node.standard or node.op_type in CONTROL_FLOW)
    ]
    if missing:
        raise UnsupportedOperator(missing)


def _why(node: OnnxNode) -> str:
    if not node.standard:
        return "not an operator of the ONNX standard"
    if node.op_type in UNLIKE_LRP:
        return UNLIKE_LRP[node.op_type]
    if node.op_type in CONTROL_FLOW:
        return "control flow that depends on the input; export the model with it unrolled"
    if "Integer" in node.op_type or node.op_type.startswith("QLinear"):
        return "integer arithmetic; export with QuantizeLinear and DequantizeLinear around float operators, or in float"
    if "Sequence" in node.op_type or "Optional" in node.op_type:
        return "sequences are no tensors; export the model without them"
    return "no builder"


def build(source: Source, shapes: Mapping[str, Shape]) -> Graph:
    """Return the graph of a model at the given input shapes.

    Raises UnsupportedOperator with every node that cannot be built.
    """
    work = Construction(source, dict(source.constants))
    for name, port in source.inputs.items():
        value = Value(tuple(shapes[name]), port.dtype, active=name in source.active)
        work.values[name], work.known[name] = value, Ref(name, value)
    failed = []
    for node in source.nodes:
        if any(i and i not in work.known for i in node.inputs):
            continue
        try:
            _place(node, work)
        except Unbuildable as error:
            failed.append(node.offender(str(error)))
    if failed:
        raise UnsupportedOperator(failed)
    return _finish(source, work)


def _place(node: OnnxNode, work: Construction) -> None:
    """Build one node and enter its outputs among the known values."""
    args = tuple(work.known[i] if i else None for i in node.inputs)
    try:
        made = _make(node, args, work)
    except (Unbuildable, ReflrpError):
        raise
    except Exception as error:
        shapes = [None if a is None else a.shape for a in args]
        raise ModelError(
            f"node {node.name!r} ({node.op_type}) does not fit its inputs of shapes {shapes}: {error}"
        ) from error
    for output, value in zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=False):
        if output and value is not None:
            work.known[output] = value
            if isinstance(value, Ref) and value.name != output:
                work.aliases[output] = value.name


def _make(node: OnnxNode, args: tuple[Arg, ...], work: Construction) -> Any:
    """Return the node's outputs: known now, plumbing, or what its builder emits."""
    if any(a is None for i, a in zip(node.inputs, args, strict=True) if i):
        raise Unbuildable("it reads an output that reflrp does not compute")
    if node.op_type in ("Shape", "Size") and isinstance(args[0], Ref):
        return node.evaluate(np.broadcast_to(np.float32(0), args[0].shape))
    if not any(isinstance(a, Ref) for a in args):
        return node.evaluate(*args)
    if node.op_type == "CastLike" and isinstance(args[0], np.ndarray):
        return args[0].astype(args[1].value.dtype)
    active = node.op_type in TABLES or any(isinstance(a, Ref) and a.value.active for a in args)
    if not active or not any(o in work.source.active for o in node.outputs):
        return work.plumb(node, args)
    build_ = BUILDERS.get((node.domain, node.op_type))
    if build_ is None:
        raise Unbuildable("no builder")
    made = build_(Site(node, args, work))
    inert = tuple(i for i in INERT_OUTPUTS.get(node.op_type, ()) if i < len(node.outputs) and node.outputs[i])
    return (made, *work.plumb(node, args, inert)[1:]) if inert and not isinstance(made, tuple) else made


def _finish(source: Source, work: Construction) -> Graph:
    outputs, constants = [], {}
    for name in source.outputs:
        found = work.known.get(name)
        if isinstance(found, Ref):
            outputs.append(name)
        elif found is not None:
            constants[name] = found
        else:
            raise ModelError(f"output {name!r} belongs to an output of its operator that reflrp does not compute")
    return Graph(tuple(work.nodes), tuple(source.inputs), tuple(outputs), work.values, work.aliases, constants)


def check_shapes(source: Source, shapes: Mapping[str, Shape], *, free_batch: bool = False) -> None:
    """Raise InputError where a shape does not fit what the file declares; with free_batch, the first axis may differ."""
    sizes: dict[str, int] = {}
    for name, port in source.inputs.items():
        given = tuple(shapes[name])
        wrong = port.dims is not None and len(given) != len(port.dims)
        for i, (want, got) in enumerate(zip(port.dims or (), given, strict=False)):
            want = sizes.setdefault(want, got) if isinstance(want, str) and i else want
            wrong = wrong or (isinstance(want, int) and want != got and not (free_batch and i == 0))
        if wrong:
            raise InputError(f"input {name!r} has shape {given}, but the model expects {port}{_hint(port, given)}")


def _hint(port: Port, given: Shape) -> str:
    baked = port.dims and len(port.dims) == len(given) and isinstance(port.dims[0], int) and port.dims[0] != given[0]
    return "; the batch size is baked into the file: export it with a dynamic batch" if baked else ""
