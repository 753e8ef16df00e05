"""The graph under construction: what is known of each name, the nodes so far, and the values that are observed."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.arrays.measured import plain
from reflrp.arrays.tracing.dims import is_open, whole
from reflrp.errors import ModelError
from reflrp.importer.alone import evaluate, shape_alone
from reflrp.importer.dtypes import is_integer
from reflrp.importer.files.read import FREE, NODE
from reflrp.importer.lengths import axes
from reflrp.importer.lengths.forming import counts_of
from reflrp.importer.lengths.formulas import Shown, concerns, shown
from reflrp.importer.lengths.naming import Names
from reflrp.importer.lengths.sizes import sized_by_data
from reflrp.importer.nodes.computing import computed
from reflrp.importer.nodes.node import Body, OnnxNode
from reflrp.importer.placing import PLACED, as_array, does_nothing, free, place
from reflrp.importer.plumbing import Filled
from reflrp.importer.selecting import selection
from reflrp.importer.site import Arg, NeedsData, Oversized, Ref, Unbuildable, sized
from reflrp.importer.source import Source
from reflrp.importer.tokens import Sharing, sharing
from reflrp.ir import Node, Op, Shape, Value, arrays_of
from reflrp.ops.picking import MovedIds
from reflrp.ops.routing import Plumbing

OBSERVED = "sizes, branches or counts depend on the data: the graph is that of this input"


@dataclass
class Construction:
    """The graph so far: what each name stands for (`known`), the nodes that were emitted, and what is known of values.

    It starts with the inputs and constants, and grows by one ONNX node after the other (`placing.place`); `build` then
    freezes it into a Graph. A name is known as an array (a constant, or what follows from shapes), as a Ref, or as a
    sequence of these; `written` is the node that made it here, in this scope. `feeds` are the inputs and what was observed
    of other values, None where only the inputs' shapes are given; `order` says which value came when.
    `tokens` are the graph's inputs, whose integers may be ids that relevance leads back to; `samples` are arrays that show
    the shape and dtype of values without relevance; `derived` are those that the network works out itself,
    `sized_by_data` those whose shape depends on the data; `bounds` says how small and large quantised integers can be.
    `taken` are the names of the nodes so far, `reserved` those of the file's nodes and of its values: names that are made up
    (`NODE:part`, `NODE/inner`) keep clear of both.

    Inside a loop, a branch or a function, `prefix` is put before the names of what is built; `origin` names the ONNX node that
    stands in the file, `scope` its module path. `late` values follow from open lengths alone; `source` is the file that is built;
    `same` says of lengths that ONNX's inference names which known ones they are, `names` what the names stand for; `belied` that in
    this input one name of the file stands for two lengths, so that the inference is not to be trusted.
    """

    tokens: frozenset[str] = frozenset()
    feeds: dict[str, np.ndarray] | None = None
    order: dict[str, int] = field(default_factory=dict)
    known: MutableMapping[str, Arg] = field(default_factory=dict)
    written: dict[str, OnnxNode] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    samples: dict[str, np.ndarray] = field(default_factory=dict)
    makers: dict[str, Node] = field(default_factory=dict)
    derived: set[str] = field(default_factory=set)
    sized_by_data: set[str] = field(default_factory=set)
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=lambda: [0])
    taken: set[str] = field(default_factory=set)
    reserved: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    prefix: str = ""
    origin: tuple[str, ...] = ()
    scope: str = ""
    late: set[str] = field(default_factory=set)
    same: dict[int | str, int | str] = field(default_factory=dict)
    belied: bool = False
    names: Names = field(default_factory=Names)
    source: Source | None = None

    def inside(self, node: OnnxNode, label: str = "", prefix: str | None = None) -> Construction:
        """Return the same construction as seen inside a node: its own names, and those outside."""
        prefix = self.prefix + (f"{node.name}{label}/" if prefix is None else prefix)
        origin, scope = self.origin or (node.name,), self.scope or node.scope
        return replace(self, known=ChainMap({}, self.known), written={}, prefix=prefix, origin=origin, scope=scope)

    def run(self, body: Body, args: Mapping[str, Arg]) -> list[Arg]:
        """Build the nodes of a body for the given inputs, and return its outputs."""
        limits.know(*body.constants.values())
        self.known.update(body.constants)
        self.known.update({k: as_array(v) for k, v in args.items()})
        for node in body.nodes:
            try:
                place(node, self)
            except Unbuildable as error:
                raise type(error)(f"its node {node.name!r} ({node.op_type}): {error}") from error
        return [self.known.get(o) for o in body.outputs]  # a function leaves out what the node does not ask for

    def emit(self, node: OnnxNode, op: Op, inputs: tuple[Ref, ...], part: str, measured: int = 0) -> Ref:
        """Add a node and return its output; of what an operator is made of, parts that do nothing are left out."""
        if self.origin and does_nothing(op, inputs, measured):
            return inputs[0]
        made = bool(part or self.origin)
        name = self.free_name(self.prefix + (f"{node.name}:{part}" if part else node.name), made)
        output = self.free_value(self.prefix + (f"{node.outputs[0]}:{part}" if part else node.outputs[0]), made)
        shape = sized(tuple(whole(n) for n in op.shape(*(i.shape for i in inputs))))
        active = any(i.value.active for i in inputs) or op.kind == "embedding"
        nonneg = op.nonneg(*(i.value.nonneg for i in inputs))
        open_as = axes.lengths(self, node, op, inputs, shape, output, part)
        value = Value(shape, np.dtype(float), active, nonneg, open_as)
        counts = None if part else counts_of(node, op, self)
        return self._add(name, op, inputs, output, node, value, measured, counts)

    def _add(
        self,
        name: str,
        op: Op,
        inputs: tuple[Ref, ...],
        output: str,
        node: OnnxNode,
        value: Value,
        measured: int = 0,
        counts: tuple[int, int] | None = None,
    ) -> Ref:
        origin, scope = self.origin or (node.name,), node.scope or self.scope
        limits.step(f"node {name!r} ({node.op_type})", PLACED)
        made = Node(name, op, tuple(i.name for i in inputs), output, node.op_type, origin, scope, (), measured, counts)
        if len(self.nodes) >= limits.NODES:
            raise Oversized(f"the graph gets more than {limits.NODES} nodes (reflrp.limits.NODES)")
        limits.hold(f"node {name!r}", (NODE if len(self.nodes) > FREE else 0) + max(0, 4 * len(name) - NODE))
        for array in arrays_of(op):
            limits.hold_array(f"node {name!r}", array)
        self.nodes.append(made)
        self.taken.add(name)
        self.values[output], self.makers[output] = value, made
        self.order[output] = len(self.order)
        if any(i.name in self.derived or (i.name in self.makers and i.value.active) for i in inputs):
            self.derived.add(output)
        if value.shape and any(i.name in self.sized_by_data for i in inputs):
            self.sized_by_data.add(output)
        return Ref(output, value)

    @staticmethod
    def evaluated(node: OnnxNode, *arrays: Any) -> tuple[Any, ...]:
        """Return a node's outputs for arrays in place of its inputs."""
        return evaluate(node.apart, node.apart.bound(arrays), Construction)

    def plumb(self, node: OnnxNode, args: tuple[Arg, ...], only: tuple[int, ...] | None = None) -> tuple[Arg, ...]:
        """Add plumbing nodes: one for each output (or only for some) of an ONNX node that carries no relevance."""
        node, args = selection(node, args, self) if any(map(self._is_token, args)) else (node, args)
        inputs = tuple(a for a in args if isinstance(a, Ref))
        places = tuple(i for i, a in enumerate(args) if isinstance(a, Ref))
        given = tuple(None if isinstance(a, Ref) else plain(a) for a in args)
        is_late = concerns(args) or (bool(inputs) and all(i.name in self.late for i in inputs))
        samples = shown(node, args, self) if is_late else self._sampled(node, args)
        made = [o is not None and (only is None or i in only) for i, o in enumerate(samples)]

        ids = tuple(p for p in places if self._is_token(args[p]))
        types = tuple(a.value.dtype if a.value.active and is_integer(a.value.dtype) else None for a in inputs)

        def function(i: int) -> Any:
            run = Filled(self.evaluated, (node, *given), tuple(1 + p for p in places), i, given=types)
            tokens = sharing(node, ids, i)
            share = Sharing(self.evaluated, node, given, places, tokens, i)
            return MovedIds(run, tuple(map(places.index, tokens)), share) if tokens else run

        pairs = enumerate(zip(made, samples, strict=True))
        found = tuple(self.plumbing(node, i, inputs, function(i), sample) if ok else None for i, (ok, sample) in pairs)
        late = all(i.name in self.late for i in inputs)
        if late or sized_by_data(node, places):
            (self.late if late else self.sized_by_data).update(ref.name for ref in found if ref)
        return found

    def _sampled(self, node: OnnxNode, args: tuple[Arg, ...]) -> tuple[Any, ...]:
        """Return a node's outputs at what is observed, or at a sample of zeros, where that an error says nothing."""
        try:
            return self.evaluated(node, *(self.sample(a) if isinstance(a, Ref) else plain(a) for a in args))
        except ModelError as error:
            if self.feeds is not None:
                raise
            raise NeedsData(f"it cannot be tried on zeros ({error})") from error

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
        sample: np.ndarray | Shown,
        part: str = "",
    ) -> Ref:
        """Add a plumbing node that computes output i of an ONNX node, or a part of what it needs.

        `sample` shows the shape and dtype.
        """
        sample = sample if isinstance(sample, Shown) else np.asarray(sample)
        label, output = f":{part}" if part else f":{i}" if i else "", self.prefix + node.outputs[i]
        output += f":{part}" if part else ""
        open_as = axes.plumbed(self, node, i, inputs, sample.shape, part)
        value, inner = Value(sample.shape, sample.dtype, active=False, open_as=open_as), bool(self.origin)
        name = self.free_name(self.prefix + node.name + label, bool(label) or inner)
        output = self.free_value(output, bool(part) or inner)
        if isinstance(sample, np.ndarray):
            self.samples[output] = sample
            limits.hold_array(f"node {self.prefix + node.name!r}", sample)
        op = function if isinstance(function, Op) else Plumbing(function)
        return self._add(name, op, inputs, output, node, value)

    def free_name(self, name: str, made: bool) -> str:
        """Return a name that no node has; one that is made up also avoids the names of the file's nodes."""
        return free(name, self.taken, self.reserved[0] if made else frozenset())

    def free_value(self, name: str, made: bool) -> str:
        """Return a name that no value has; one that is made up also avoids the names of the file's values."""
        return free(name, self.values, self.reserved[1] if made else frozenset())

    def shape_of(self, node: OnnxNode, args: tuple[Arg, ...]) -> Shape | None:
        """Return the shape of a node's first output at arguments of open lengths, as formulas; None where it has none.

        The node is built by itself, as for a graph with open lengths. Raises TooShort where they must be longer than 1.
        """
        names = {a.name for a in args if isinstance(a, Ref)}
        bounds = {k: self.bounds[k] for k in names if k in self.bounds}
        with self.names.alone():
            return shape_alone(node, args, Construction(late=names & self.late, bounds=bounds))

    def hold(self, node: OnnxNode, arrays: Any) -> None:
        """Count the arrays among what a node makes: constants stay as long as the construction does."""
        for array in arrays if isinstance(arrays, tuple) else (arrays,):
            if isinstance(array, np.ndarray):
                limits.hold_array(f"node {self.prefix}{node.name!r} ({node.op_type})", array)

    def worked_out(self, ref: Ref) -> bool:
        """Return whether a value depends on what the network computes, and not on its inputs as they are given."""
        return ref.name in self.derived

    def observe(self, ref: Ref) -> np.ndarray:
        """Return a value at the observed input, in float64: what leads to it is run. Raises NeedsData without an input."""
        if self.feeds is None:
            raise NeedsData(f"what it does depends on the data, by {ref.name!r}")
        if OBSERVED not in self.notes:
            self.notes.append(OBSERVED)
        if ref.name not in self.feeds:
            for node in self._before(ref.name):
                self.feeds[node.output] = found = computed(
                    node, [self.feeds[i] for i in node.inputs], self.values[node.output].shape
                )
                limits.hold_array(f"the observed output of node {node.name!r}", found)
        return self.feeds[ref.name]

    def _before(self, name: str) -> list[Node]:
        """Return the nodes that lead to a value and have not been observed, in order."""
        needed, waiting = dict[str, Node](), [name]
        while waiting:
            if (value := waiting.pop()) not in needed and value not in (self.feeds or ()):
                needed[value] = node = self.makers[value]
                waiting.extend(node.inputs)
        return sorted(needed.values(), key=lambda node: self.order[node.output])

    def sample(self, ref: Ref) -> np.ndarray:
        """Return an array of a value's shape and dtype: the value itself where the input is known."""
        if self.feeds is not None:
            return self.observe(ref)
        if is_open(ref.value.shape) or ref.name in self.late:
            raise Unbuildable(f"it is tried on {ref.name!r}, and lengths of that are left open")
        if ref.name not in self.samples:
            self.samples[ref.name] = sample = np.zeros(ref.value.shape, ref.value.dtype)
            limits.hold_array(f"a sample of {ref.name!r}", sample)
        return self.samples[ref.name]
