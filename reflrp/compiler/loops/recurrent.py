"""Recurrence of an open number of steps, traced: the second step's nodes and rules are the body of a loop (Scan).

Forwards, the loop keeps the states after each step. On the way back, a loop from the last step to the second starts from these,
runs the step again and hands its relevance down by the same `Program.backward` as everywhere; what comes out at the states
goes to the step before. Both have one step more than there are, so that there is one at least: what it makes is left out, and
no relevance arrives at it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from reflrp.arrays import ZERO, Array, is_symbolic
from reflrp.arrays import symbolic as xp
from reflrp.arrays.tracing.array import array, term_of
from reflrp.arrays.tracing.moves import concat, expand, index, reshape
from reflrp.arrays.tracing.terms import Term, Trace
from reflrp.arrays.tracing.where import where
from reflrp.compiler.overflow.divisors import watch
from reflrp.errors import InputError
from reflrp.ir import Graph, Node, Shape
from reflrp.ops.recurrence import Steps


class Stepper(Protocol):
    """A program that can be traced (`compiler/tracing.Tracer`)."""

    @property
    def graph(self) -> Graph:
        """What is computed."""

    @property
    def real(self) -> Any:
        """The dtype of floating numbers."""

    def replayed(self, node: Node, values: dict[str, Any]) -> Any:
        """Return the value of a node, by its own op."""

    def backward(self, values: dict[str, Any], R: dict[str, Any], keep: Any) -> Any:
        """Return the relevance of the inputs, and the accounts."""


@dataclass(frozen=True, eq=False)
class ScanBody:
    """The body of a Scan: what it reads (states first), what it makes (states first), and from which end it runs.

    `added` is what it makes beside that, for what is found out when the loop is there already.
    """

    leaves: tuple[Term, ...]
    outputs: tuple[Term, ...]
    states: int
    backwards: bool
    added: list[Term] = field(default_factory=list)

    @property
    def made(self) -> tuple[Term, ...]:
        """All that it makes."""
        return (*self.outputs, *self.added)


def step_of(program: Any, op: Steps) -> Any:
    """Return the program of the second step alone: its inputs are its sources, the states that it starts from, and what is kept."""
    graph: Graph = program.graph
    sources, before, after, kept = (tuple(map(graph.resolve, n)) for n in _names(op))
    inputs = (*sources, *before, *kept)
    wanted, nodes = set(after), list[Node]()
    for node in reversed(graph.nodes):
        if node.output in wanted and node.output not in inputs:
            nodes.insert(0, node)
            wanted.update(node.inputs)
    made = {n.output for n in nodes}
    wrong = sorted({i for n in nodes for i in n.inputs if i not in made and i not in inputs})
    if wrong or len({*inputs}) < len(inputs):
        raise InputError(
            f"node {op.onnx!r} cannot be compiled for any number of steps: a step of it reads {wrong or inputs}"
        )
    return replace(program, graph=replace(graph, nodes=tuple(nodes), inputs=inputs, outputs=after))


def _names(op: Steps) -> tuple[tuple[str, ...], ...]:
    return op.sources, op.before[: op.states], op.after, op.kept


@dataclass(frozen=True)
class Given:
    """What a node of repeated steps reads: the entries of each source from the second on, what both steps end in, what is kept."""

    others: tuple[Term, ...]
    before: tuple[Term, ...]
    kept: tuple[Any, ...]

    @classmethod
    def of(cls, op: Steps, xs: list[Any], trace: Trace) -> Given:
        """Return it, in the order of the node's inputs."""
        n, m = len(op.sources), len(op.sources) + len(op.before)
        others, before = (tuple(term_of(x, trace) for x in part) for part in (xs[:n], xs[n:m]))
        return cls(others, before, tuple(xs[m + len(op.after) :]))


@dataclass(frozen=True)
class Second:
    """The second step, as the body of a loop reads it."""

    program: Any
    op: Steps
    trace: Trace
    given: Given

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of what it reads of its own."""
        found: tuple[str, ...] = self.program.graph.inputs[: len(self.op.sources)]
        return found

    @property
    def states(self) -> tuple[str, ...]:
        """The names of the states that it starts from."""
        n = len(self.op.sources)
        found: tuple[str, ...] = self.program.graph.inputs[n : n + self.op.states]
        return found

    @property
    def kept(self) -> tuple[str, ...]:
        """The names of the values from outside that all steps read."""
        found: tuple[str, ...] = self.program.graph.inputs[len(self.op.sources) + self.op.states :]
        return found

    def leaf(self, prefix: str, what: Any, like: Term, shape: Shape, nonneg: bool = False) -> Any:
        """Return what the body of a loop reads, as an array."""
        name = f"reflrp/{prefix}/{self.op.onnx}/{self.op.direction}/{what}"
        return xp.argument(self.trace, name, shape, like.dtype, nonneg=nonneg)

    def read(self, prefix: str) -> list[Any]:
        """Return the entries that a step reads."""
        values = self.program.graph.values
        pairs = enumerate(zip(self.sources, self.given.others, strict=True))
        return [self.leaf(prefix, f"x{i}", t, t.shape[1:], values[name].nonneg) for i, (name, t) in pairs]

    def run(self, sources: list[Any], states: list[Any]) -> dict[str, Any]:
        """Return all values of a step."""
        names = (*self.sources, *self.states, *self.kept)
        found = dict(zip(names, (*sources, *states, *self.given.kept), strict=True))
        for node in self.program.graph.nodes:
            found[node.output] = self.program.replayed(node, found)
        return found

    def packed(self, terms: list[Term]) -> Term:
        """Return what a step ends in side by side, (*lead, width)."""
        shapes = zip(terms, self.op.shapes, self.op.spans, strict=True)
        return concat([reshape(expand(t, s), (*self.op.lead, span.stop - span.start)) for t, s, span in shapes], -1)

    def parts(self, packed: Term) -> list[Any]:
        """Return what lies side by side, each value in its own shape."""
        lead = (slice(None),) * len(self.op.lead)
        found = (index(packed, (*lead, span)) for span in self.op.spans)
        return [array(reshape(t, s)) for t, s in zip(found, self.op.shapes, strict=True)]


def _second(program: Stepper, op: Steps, xs: list[Any]) -> Second:
    trace = next(x.term.trace for x in xs if is_symbolic(x))
    return Second(step_of(program, op), op, trace, Given.of(op, xs, trace))


def forward(program: Stepper, node: Node, xs: list[Any]) -> Array:
    """Return what each step ends in."""
    op = node.op
    assert isinstance(op, Steps)
    step = _second(program, op, xs)
    known, before, trace = program.graph.values, step.given.before, step.trace
    rows = step.read("step")
    pairs = enumerate(zip(step.states, before[: op.states], strict=True))
    states = [step.leaf("step", f"state{k}", t, t.shape, known[name].nonneg) for k, (name, t) in pairs]
    made = step.run(rows, states)
    new = [expand(term_of(made[name], trace), s) for name, s in zip(step.program.graph.outputs, op.shapes, strict=True)]
    leaves = (*(s.term for s in states), *(r.term for r in rows))
    body = ScanBody(leaves, (*new[: op.states], step.packed(new)), op.states, op.backwards)
    whole = op.shape()
    *_, packed = scan(
        body,
        (*before[: op.states], *step.given.others),
        [*(s.shape for s in before[: op.states]), (op.count, *whole[1:])],
    )
    first = reshape(step.packed(list(before)), (1, *whole[1:]))
    before_all = index(packed, slice(1, None) if op.backwards else slice(0, -1))
    return array(concat([before_all, first] if op.backwards else [first, before_all], 0))


def scan(body: ScanBody, inputs: tuple[Term, ...], shapes: list[tuple[int, ...]]) -> list[Term]:
    """Return the outputs of a loop over the first axis: the last states, and what each step makes."""
    trace = inputs[0].trace
    made = trace.make("Scan", inputs, shapes[0], body.outputs[0].dtype, body=body)
    rest = (trace.make("output", (made,), shape, body.outputs[i].dtype, i=i) for i, shape in enumerate(shapes[1:], 1))
    return [made, *rest]


def backward(program: Stepper, node: Node, xs: list[Any], y: Array, R: Array) -> tuple[Array | None, ...]:
    """Return the relevance of what the steps read, of what the first one ends in, and of what is kept."""
    op = node.op
    assert isinstance(op, Steps)
    step = _second(program, op, xs)
    trace, known = step.trace, program.graph.values
    after, whole = term_of(y, trace), expand(term_of(R, trace, trace.real), term_of(y, trace).shape)
    rest, first = (slice(0, -1), slice(-1, None)) if op.backwards else (slice(1, None), slice(0, 1))
    none = trace.make("Zeros", (), (1, *whole.shape[1:]), trace.real, True)
    seeds = concat([none, index(whole, rest)] if op.backwards else [index(whole, rest), none], 0)
    flag = _real(trace, whole.shape[0]) if op.turns and not _everywhere(step.program.graph) else None
    before = len(trace.denominators)
    body = _back_body(step, whole, after, flag)
    shared = [name for name in step.kept if known[name].active]
    carried = [*op.shapes[: op.states], *(known[name].shape for name in shared)]
    zeros = [trace.make("Zeros", (), s, trace.real, True) for s in carried]
    active = [i for i, name in enumerate(step.sources) if known[name].active]
    made = scan(
        body,
        (*zeros, *step.given.others, after, seeds, *(() if flag is None else (flag,))),
        [*carried, *(step.given.others[i].shape for i in active)],
    )
    trace.loops.append((made[0], trace.denominators[before:]))
    del trace.denominators[before:]
    own = step.parts(reshape(index(whole, first), whole.shape[1:]))
    last = [array(r) for r in made[: len(carried)]]
    given = [r + part for r, part in zip(last[: op.states], own, strict=False)] + own[op.states :]
    sources = dict(zip(active, made[len(carried) :], strict=True))
    read = (array(sources[i]) if i in sources else None for i in range(len(step.sources)))
    kept = dict(zip(shared, last[op.states :], strict=True))
    return (*read, *given, *(None for _ in op.after), *map(kept.get, step.kept))


TOTAL = frozenset([
    "abs", "atan", "ceil", "celu", "clip", "cos", "elu", "erf", "floor", "gelu", "gelu_tanh", "hard_sigmoid", "hard_swish",
    "leaky_relu", "log_sigmoid", "mish", "prelu", "relu", "round", "selu", "shrink", "sigmoid", "sign", "sin", "softplus",
    "softsign", "swish", "tanh", "tanhshrink", "thresholded_relu",
])  # fmt: skip
"""Functions that are defined everywhere, and so are their slopes."""

PLAIN = frozenset(["dense", "conv", "diagonal", "sum", "pool", "max", "product", "routing"])
"""Kinds of nodes that are, all of them."""


def _everywhere(graph: Graph) -> bool:
    """Return whether a step is defined at all that it may read: the one too many reads what no step does."""
    return all(n.kind in PLAIN or getattr(n.op, "name", "") in TOTAL for n in graph.nodes)


def _real(trace: Trace, steps: int) -> Term:
    """Return which of the turns from the second on are none too many, (steps, 1): all but the last."""
    there = trace.make("Expand", (trace.constant(np.ones((1, 1), bool)),), (steps - 1, 1))
    return concat([there, trace.constant(np.zeros((1, 1), bool))], 0)


def _back_body(step: Second, whole: Term, after: Term, flag: Term | None) -> ScanBody:
    op, trace, known = step.op, step.trace, step.program.graph.values
    rows = step.read("back")
    packed, seed = (step.leaf("back", what, whole, whole.shape[1:]) for what in ("states", "seed"))
    trace.shown |= {id(r.term): t for r, t in zip(rows, step.given.others, strict=True)} | {id(packed.term): after}
    shared = [name for name in step.kept if known[name].active]
    pairs = enumerate((*op.shapes[: op.states], *(known[name].shape for name in shared)))
    carried = [step.leaf("back", f"carry{k}", whole, shape) for k, shape in pairs]
    states = step.parts(packed.term)[: op.states]
    values, R = step.run(rows, states), dict[str, Any]()
    for k, (name, own) in enumerate(zip(step.program.graph.outputs, step.parts(seed.term), strict=True)):
        r = carried[k] + own if k < op.states else own
        R[name] = R[name] + r if name in R else r
    watch(step.program, values, trace)
    found, _ = step.program.backward(values, R, lambda name: False)
    kept = (found.get(name) for name in shared)
    summed = [c if r is None or r is ZERO else c + r for c, r in zip(carried[op.states :], kept, strict=True)]
    active = [name for name in step.sources if known[name].active]
    made = [
        *(_full(found.get(name), trace, known[name].shape) for name in step.states),
        *(expand(term_of(r, trace, trace.real), known[name].shape) for r, name in zip(summed, shared, strict=True)),
        *(_full(found.get(name), trace, known[name].shape) for name in active),
    ]
    leaves = [*(c.term for c in carried), *(r.term for r in rows), packed.term, seed.term]
    if flag is not None:
        real = step.leaf("back", "real", flag, (1,)).term
        before = [None] * op.states + [c.term for c in carried[op.states :]] + [None] * len(active)
        made = [
            where(real, t, trace.make("Zeros", (), t.shape, trace.real, True) if b is None else b)
            for b, t in zip(before, made, strict=True)
        ]
        leaves.append(real)
    return ScanBody(tuple(leaves), tuple(made), len(carried), not op.backwards)


def _full(R: Any, trace: Trace, shape: Shape) -> Term:
    if R is None or R is ZERO:
        return trace.make("Zeros", (), shape, trace.real, True)
    return expand(term_of(R, trace, trace.real), shape)
