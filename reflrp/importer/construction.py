"""The graph under construction, and how one node enters it: known now, plumbing, or what its builder emits."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.arrays import ZERO
from reflrp.errors import ModelError, ReflrpError
from reflrp.importer.estimate import check_outputs
from reflrp.importer.functions import function_of
from reflrp.importer.labels import BUILT, INERT_OUTPUTS, LOOKUPS, RANDOM, TABLES, is_inert
from reflrp.importer.node import Arrays, Body, OnnxNode, made_node
from reflrp.importer.read import is_float, widened
from reflrp.importer.site import BUILDERS, Arg, Items, Oversized, Ref, Site, Unbuildable, Work, sized
from reflrp.importer.tokens import shares
from reflrp.ir import Node, Op, Value
from reflrp.ops.linear import Diagonal
from reflrp.ops.picking import MovedIds, Share
from reflrp.ops.routing import Expand, Plumbing, Reshape, Where

FLAT = ("Softmax", "LogSoftmax", "Hardmax")
"""The operators that, before opset 13, take all axes from theirs on as one."""

ALWAYS = 1000
MISREAD: dict[str, int] = dict.fromkeys(FLAT, 13) | {"BatchNormalization": 14}
MISREAD |= dict.fromkeys(
    ("AveragePool", "ConvTranspose", "GlobalMaxPool", "GroupNormalization", "GRU", "LRN", "LSTM"), 1000
)
MISREAD |= dict.fromkeys(("LpNormalization", "LpPool", "MaxPool", "Mean", "Pad", "RNN"), ALWAYS)
"""Operators that ONNX's reference code gets wrong below an opset (or ALWAYS), and the importer's own builders right."""


@dataclass
class Construction:
    """The graph so far: what each name stands for (`known`), the nodes that were emitted, and what is known of values.

    It starts with the inputs and constants, and grows by one ONNX node after the other (`place`); `build` then freezes it
    into a Graph. A name is known as an array (a constant, or what follows from shapes), as a Ref, or as a sequence of
    these. `tokens` are the graph's inputs, whose integers may be ids that relevance leads back to; `samples` are arrays
    that show the shape and dtype of values without relevance; `derived` are values that the network works out itself.
    `taken` are the names of the nodes so far, `reserved` those of the file's nodes and of its values: names that are made up
    (`NODE:part`, `NODE/inner`) keep clear of both.

    Inside a loop, a branch or a function, `prefix` is put before the names of what is built, `origin` names the ONNX
    node that stands in the file, and `scope` is its module path.
    """

    tokens: frozenset[str] = frozenset()
    known: MutableMapping[str, Arg] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    samples: dict[str, np.ndarray] = field(default_factory=dict)
    makers: dict[str, Node] = field(default_factory=dict)
    derived: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=lambda: [0])
    taken: set[str] = field(default_factory=set)
    reserved: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    prefix: str = ""
    origin: tuple[str, ...] = ()
    scope: str = ""

    def inside(self, node: OnnxNode, label: str = "", prefix: str | None = None) -> Construction:
        """Return the same construction as seen inside a node: its own names, and those outside."""
        prefix = self.prefix + (f"{node.name}{label}/" if prefix is None else prefix)
        origin, scope = self.origin or (node.name,), self.scope or node.scope
        return replace(self, known=ChainMap({}, self.known), prefix=prefix, origin=origin, scope=scope)

    def run(self, body: Body, args: Mapping[str, Arg]) -> list[Arg]:
        """Build the nodes of a body for the given inputs, and return its outputs."""
        self.known.update(body.constants)
        self.known.update({k: _as_array(v) for k, v in args.items()})
        for node in body.nodes:
            try:
                place(node, self)
            except Unbuildable as error:
                raise type(error)(f"its node {node.name!r} ({node.op_type}): {error}") from error
        return [self.known.get(o) for o in body.outputs]  # a function leaves out what the node does not ask for

    def emit(self, node: OnnxNode, op: Op, inputs: tuple[Ref, ...], part: str) -> Ref:
        """Add a node and return its output; of what an operator is made of, parts that do nothing are left out."""
        if self.origin and _does_nothing(op, inputs):
            return inputs[0]
        made = bool(part or self.origin)
        name = self.free_name(self.prefix + (f"{node.name}:{part}" if part else node.name), made)
        output = self.free_value(self.prefix + (f"{node.outputs[0]}:{part}" if part else node.outputs[0]), made)
        shape = sized(tuple(int(n) for n in op.shape(*(i.shape for i in inputs))))
        active = any(i.value.active for i in inputs) or op.kind == "embedding"
        nonneg = op.nonneg(*(i.value.nonneg for i in inputs))
        return self._add(name, op, inputs, output, node, Value(shape, np.dtype(float), active, nonneg))

    def _add(self, name: str, op: Op, inputs: tuple[Ref, ...], output: str, node: OnnxNode, value: Value) -> Ref:
        origin, scope = self.origin or (node.name,), node.scope or self.scope
        made = Node(name, op, tuple(i.name for i in inputs), output, node.op_type, origin, scope)
        if len(self.nodes) >= limits.NODES:
            raise Oversized(f"the graph gets more than {limits.NODES} nodes (reflrp.limits.NODES)")
        self.nodes.append(made)
        self.taken.add(name)
        self.values[output], self.makers[output] = value, made
        if any(i.name in self.derived or (i.name in self.makers and i.value.active) for i in inputs):
            self.derived.add(output)
        return Ref(output, value)

    def plumb(self, node: OnnxNode, args: tuple[Arg, ...], only: tuple[int, ...] | None = None) -> tuple[Arg, ...]:
        """Add plumbing nodes: one for each output (or only for some) of an ONNX node that carries no relevance."""
        places = [i for i, a in enumerate(args) if isinstance(a, Ref)]
        inputs = tuple(a for a in args if isinstance(a, Ref))

        def run(*arrays: np.ndarray) -> tuple[np.ndarray | None, ...]:
            full: list[Any] = list(args)
            for i, array in zip(places, arrays, strict=True):
                full[i] = array
            return evaluated(node, *full)

        samples = run(*(self.sample(i) for i in inputs))
        made = [o is not None and (only is None or i in only) for i, o in enumerate(samples)]

        def function(i: int) -> Any:
            return self._moved_ids(node, args, places, run, i) or (lambda *xs: run(*xs)[i])

        return tuple(
            self.plumbing(node, i, inputs, function(i), np.asarray(sample)) if ok else None
            for i, (ok, sample) in enumerate(zip(made, samples, strict=True))
        )

    def _moved_ids(
        self, node: OnnxNode, args: tuple[Arg, ...], places: list[int], run: Callable[..., Any], i: int
    ) -> MovedIds | None:
        """Return the op that moves token ids, if that is what a node does with what comes from an input."""
        tokens = tuple(p for p in places if self._is_token(args[p]))
        share = shares(node, lambda *operands: evaluated(node, *operands), tokens, i) if tokens else None
        if share is None:
            return None

        def found(*arrays: np.ndarray) -> list[Share]:
            full: list[Any] = list(args)
            for p, array in zip(places, arrays, strict=True):
                full[p] = array
            return [s._replace(place=places.index(s.place)) for s in share(*full)]

        order = tuple(places.index(p) for p in tokens)
        return MovedIds(lambda *xs: run(*xs)[i], order, found)

    def _is_token(self, ref: Arg) -> bool:
        """Return whether a value is token ids: numbers of an input, or what such are moved to."""
        if not isinstance(ref, Ref) or ref.value.dtype.kind == "b":
            return False
        return ref.name in self.tokens or (ref.name in self.makers and isinstance(self.makers[ref.name].op, MovedIds))

    def plumbing(
        self,
        node: OnnxNode,
        i: int,
        inputs: tuple[Ref, ...],
        function: Callable[..., Any] | Op,
        sample: np.ndarray,
        part: str = "",
    ) -> Ref:
        """Add a plumbing node that computes output i of an ONNX node, or a part of what it needs.

        `sample` shows the shape and dtype.
        """
        label = f":{part}" if part else f":{i}" if i else ""
        output = self.prefix + (f"{node.outputs[i]}:{part}" if part else node.outputs[i])
        value, made = Value(sample.shape, sample.dtype, active=False), bool(label or self.origin)
        name, output = self.free_name(self.prefix + node.name + label, made), self.free_value(output, made)
        self.samples[output] = sample
        op = function if isinstance(function, Op) else Plumbing(function)
        return self._add(name, op, inputs, output, node, value)

    def free_name(self, name: str, made: bool) -> str:
        """Return a name that no node has; one that is made up also avoids the names of the file's nodes."""
        while name in self.taken or (made and name in self.reserved[0]):
            name += "'"
        return name

    def free_value(self, name: str, made: bool) -> str:
        """Return a name that no value has; one that is made up also avoids the names of the file's values."""
        while name in self.values or (made and name in self.reserved[1]):
            name += "'"
        return name

    def worked_out(self, ref: Ref) -> bool:
        """Return whether a value depends on what the network computes, and not on its inputs as they are given."""
        return ref.name in self.derived

    def sample(self, ref: Ref) -> np.ndarray:
        """Return some array of a value's shape and dtype."""
        if ref.name not in self.samples:
            self.samples[ref.name] = np.zeros(ref.value.shape, ref.value.dtype)
        return self.samples[ref.name]


def _does_nothing(op: Op, inputs: tuple[Ref, ...]) -> bool:
    """Return whether an op returns its one input as it is."""
    if isinstance(op, Reshape | Expand):
        return op.source == op.target
    if isinstance(op, Where) and isinstance(op.condition, np.ndarray) and len(inputs) == 1:
        chosen = op.condition if op.x is None else ~op.condition
        return bool(chosen.all()) and inputs[0].shape == op.target
    unit = isinstance(op, Diagonal) and op.b is ZERO and op.w.size == 1 and bool(op.w == 1)
    return unit and op.shape(inputs[0].shape) == inputs[0].shape


def _as_array(value: Any) -> Arg:
    """Return a NumPy scalar as an array, so that what is no array is no constant."""
    found: Arg = np.asarray(value) if isinstance(value, np.generic) else value
    return found


def place(node: OnnxNode, work: Work) -> None:
    """Build one node and enter its outputs among the known values."""
    args = tuple(work.known[i] if i else None for i in node.inputs)
    try:
        made = make(node, args, work)
    except (Unbuildable, ReflrpError):
        raise
    except Exception as error:
        shapes = [getattr(a, "shape", None) for a in args]
        raise ModelError(
            f"node {node.name!r} ({node.op_type}) does not fit its inputs of shapes {shapes}: {error}"
        ) from error
    for output, value in zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=False):
        if output and value is not None:
            work.known[output] = _as_array(value)
            name = work.prefix + output
            if isinstance(value, Ref) and value.name != name and not (work.prefix and name in work.reserved[1]):
                work.aliases[name] = value.name


def make(node: OnnxNode, args: tuple[Arg, ...], work: Work) -> Any:
    """Return the node's outputs: known now, plumbing, or what its builder emits."""
    if any(a is None for i, a in zip(node.inputs, args, strict=True) if i):
        raise Unbuildable("it reads an output that reflrp does not compute")
    if _random(node, args):
        raise Unbuildable(
            "its output is random, so that there is no one answer to explain; export the model for inference"
        )
    build_ = BUILDERS.get((node.domain, node.op_type))
    if node.op_type in BUILT or any(isinstance(a, Items) for a in args):
        if build_ is None:
            raise Unbuildable("no builder")
        return build_(Site(node, args, work))
    known = _known(node, args)
    if known is not None:
        return known
    if not _carries(node, args, work):
        return work.plumb(node, args)
    if build_ is None:
        return _expanded(node, args, work)
    made = build_(Site(node, args, work))
    inert = tuple(i for i in INERT_OUTPUTS.get(node.op_type, ()) if i < len(node.outputs) and node.outputs[i])
    return (made, *work.plumb(node, args, inert)[1:]) if inert and not isinstance(made, tuple) else made


def _random(node: OnnxNode, args: tuple[Arg, ...]) -> bool:
    """Return whether a node gives other numbers at each run: random operators, and Dropout while it trains."""
    if node.domain != "" or node.op_type not in RANDOM | {"Dropout"}:
        return False
    training = args[2] if len(args) > 2 else None
    return node.op_type in RANDOM or (isinstance(training, np.ndarray) and bool(training.any()))


def _known(node: OnnxNode, args: tuple[Arg, ...]) -> Any:
    """Return the outputs of a node that depends on constants and shapes only; None for any other."""
    if node.op_type in ("Shape", "Size") and isinstance(args[0], Ref):
        return node.evaluate(np.broadcast_to(np.float32(0), args[0].shape))
    if not any(isinstance(a, Ref | Items) for a in args):
        return evaluated(node, *(a if isinstance(a, np.ndarray) else None for a in args))
    if node.op_type == "CastLike" and isinstance(args[0], np.ndarray) and isinstance(args[1], Ref):
        return args[0].astype(args[1].value.dtype)
    return None


def _carries(node: OnnxNode, args: tuple[Arg, ...], work: Work) -> bool:
    """Return whether a node's outputs carry relevance: what `labelled` said by name, now for the values."""
    if is_inert(node) or node.op_type in LOOKUPS:
        return node.op_type in LOOKUPS
    if node.op_type in TABLES and isinstance(args[0], np.ndarray) and isinstance(args[1], Ref):
        return is_float(args[0].dtype) and not work.worked_out(args[1])
    reads = args[:1] if node.op_type == "CastLike" else args
    return any(isinstance(a, Ref) and a.value.active for a in reads)


def _expanded(node: OnnxNode, args: tuple[Arg, ...], work: Work) -> tuple[Arg, ...]:
    """Build what an operator is defined by: the body of its function."""
    body = function_of(node, args)
    if body is None:
        raise Unbuildable("no builder")
    return tuple(work.inside(node).run(body, dict(zip(body.inputs, args, strict=False))))


def evaluated(node: OnnxNode, *arrays: Any) -> tuple[Any, ...]:
    """Return a node's outputs for arrays in place of its inputs."""
    return evaluate(node, {k: a for k, a in zip(node.inputs, arrays, strict=True) if k and a is not None})


def evaluate(node: OnnxNode, feeds: Arrays) -> tuple[Any, ...]:
    """Return a node's outputs at the values it reads: by ONNX's reference code, or by our builder where that errs.

    Raises TooLarge, before it runs, where an output would be beyond the limit on memory.
    """
    if node.domain == "" and node.opset < MISREAD.get(node.op_type, 0):
        check_outputs(f"node {node.name!r} ({node.op_type})", node.proto, node.opset, feeds)
        made = (_flat(node, feeds),) if node.op_type in FLAT else _by_builder(node, feeds)
        if made is not None:
            return made
    return node.run(feeds)


def _flat(node: OnnxNode, feeds: Arrays) -> np.ndarray:
    """Return a Softmax (or kin) of an old opset: over all axes from its axis on."""
    data = feeds[node.inputs[0]]
    axis = node.attributes.get("axis", 1) % max(data.ndim, 1)
    flat = data.reshape(prod(data.shape[:axis]), prod(data.shape[axis:]))
    (found,) = made_node(node.op_type, ("x",), 13, axis=1).evaluate(flat)
    return np.asarray(found.reshape(data.shape))


def _by_builder(node: OnnxNode, feeds: Arrays) -> tuple[np.ndarray | None, ...] | None:
    """Return the outputs as the node's builder computes them, in float64; None for data that it does not take."""
    name = node.inputs[0]
    data = feeds[name]
    build = BUILDERS.get((node.domain, node.op_type))
    if build is None or data.dtype.kind != "f" or not data.size or not np.isfinite(data).all():
        return None
    work, x = Construction(), Ref(name, Value(data.shape, np.dtype(float)))
    work.values[name] = x.value
    args = tuple(x if i == name else feeds.get(i) for i in node.inputs)
    made = build(Site(node, args, work))
    found = made if isinstance(made, tuple) else (made,)
    wanted = list(zip(node.outputs, (*found, *(None for _ in node.outputs)), strict=False))
    if any(o and not isinstance(value, Ref) for o, value in wanted):
        return None  # it has an output that the builder leaves to the reference code
    values = {name: data.astype(np.float64)}
    for step in work.nodes:
        op = step.op.to(_widest)
        values[step.output] = op.forward(*(values[i] for i in step.inputs))
    return tuple(widened(values[v.name].astype(data.dtype)) if o and isinstance(v, Ref) else None for o, v in wanted)


def _widest(array: Any) -> Any:
    return array.astype(np.float64) if array.dtype.kind == "f" else array
