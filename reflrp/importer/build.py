"""Building: a `Source` at fixed input shapes -> a `Graph`. The table of builders, and what they build with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reflrp.errors import InputError, ModelError, ReflrpError, UnsupportedOperator
from reflrp.importer.parse import OnnxNode, Source, widened
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

    def emit(self, node: OnnxNode, op: Op, inputs: tuple[Ref, ...], part: str) -> Ref:
        """Add a node and return its output."""
        name = f"{node.name}:{part}" if part else node.name
        output = f"{node.outputs[0]}:{part}" if part else node.outputs[0]
        while output in self.values:
            output += "'"
        shape = tuple(int(n) for n in op.shape(*(i.shape for i in inputs)))
        active = any(i.value.active for i in inputs) or op.kind == "embedding"
        nonneg = op.nonneg(*(i.value.nonneg for i in inputs))
        return self._add(name, op, inputs, output, node, Value(shape, np.dtype(float), active, nonneg))

    def _add(self, name: str, op: Op, inputs: tuple[Ref, ...], output: str, node: OnnxNode, value: Value) -> Ref:
        self.values[output] = value
        refs = tuple(i.name for i in inputs)
        self.nodes.append(Node(name, op, refs, output, node.op_type, (node.name,), node.scope))
        return Ref(output, value)

    def plumb(self, node: OnnxNode, args: tuple[Arg, ...]) -> tuple[Ref, ...]:
        """Add plumbing nodes: one for each output of an ONNX node that carries no relevance."""
        places = [i for i, a in enumerate(args) if isinstance(a, Ref)]
        inputs = tuple(a for a in args if isinstance(a, Ref))

        def run(*arrays: np.ndarray) -> list[np.ndarray]:
            full: list[Any] = list(args)
            for i, array in zip(places, arrays, strict=True):
                full[i] = array
            return [widened(v) for v in node.evaluate(*full)]

        samples = run(*(self.sample(i) for i in inputs))
        found = []
        for i, (output, sample) in enumerate(zip(node.outputs, samples, strict=False)):
            op = Plumbing(lambda *xs, i=i: run(*xs)[i])
            value = Value(sample.shape, sample.dtype, active=False)
            self.samples[output] = sample
            found.append(self._add(f"{node.name}:{i}" if i else node.name, op, inputs, output, node, value))
        return tuple(found)

    def sample(self, ref: Ref) -> np.ndarray:
        """Return some array of a value's shape and dtype."""
        if ref.name not in self.samples:
            self.samples[ref.name] = np.zeros(ref.value.shape, ref.value.dtype)
        return self.samples[ref.name]


def check_supported(source: Source) -> None:
    """Raise UnsupportedOperator with every node on a relevance path that has no builder."""
    missing = [
        node.offender()
        for node in source.nodes
        if any(o in source.active for o in node.outputs) and (node.domain, node.op_type) not in BUILDERS
    ]
    if missing:
        raise UnsupportedOperator(missing)


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
    if node.op_type in ("Shape", "Size") and isinstance(args[0], Ref):
        return tuple(node.evaluate(np.broadcast_to(np.float32(0), args[0].shape)))
    if not any(isinstance(a, Ref) for a in args):
        return tuple(widened(v) for v in node.evaluate(*args))
    active = any(isinstance(a, Ref) and a.value.active for a in args)
    if not any(o in work.source.active for o in node.outputs) or not (active or node.op_type == "Gather"):
        return work.plumb(node, args)
    build_ = BUILDERS.get((node.domain, node.op_type))
    if build_ is None:
        raise Unbuildable("no builder")
    return build_(Site(node, args, work))


def _finish(source: Source, work: Construction) -> Graph:
    outputs, constants = [], {}
    for name in source.outputs:
        found = work.known.get(name)
        if isinstance(found, Ref):
            outputs.append(name)
        elif found is not None:
            constants[name] = found
    return Graph(tuple(work.nodes), tuple(source.inputs), tuple(outputs), work.values, work.aliases, constants)




def check_shapes(source: Source, shapes: Mapping[str, Shape]) -> None:
    """Raise InputError where a shape does not fit what the file declares."""
    for name, port in source.inputs.items():
        given = tuple(shapes[name])
        if port.dims is None:
            continue
        fits = len(given) == len(port.dims)
        for want, got in zip(port.dims, given, strict=False):
            fits = fits and (not isinstance(want, int) or want == got)
        if not fits:
            raise InputError(f"input {name!r} has shape {given}, but the model expects {port}")
