"""Recurrence of an open number of steps, traced: the second step's nodes and rules are the body of a loop (Scan).

Forwards, the loop keeps the states after each step. On the way back, a loop from the last step to the second starts from these,
runs the step again and hands its relevance down by the same `Program.backward` as everywhere; what comes out at the states
goes to the step before. Both have one step more than there are, so that there is one at least: what it makes is left out, and
no relevance arrives at it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from reflrp.arrays import ZERO, Array
from reflrp.arrays import symbolic as xp
from reflrp.arrays.tracing.array import array, term_of
from reflrp.arrays.tracing.moves import concat, expand, index, reshape
from reflrp.arrays.tracing.terms import Term, Trace
from reflrp.errors import InputError
from reflrp.ir import Graph, Node
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
    """The body of a Scan: what it reads (states first), what it makes (states first), and from which end it runs."""

    leaves: tuple[Term, ...]
    outputs: tuple[Term, ...]
    states: int
    backwards: bool


def step_of(program: Any, op: Steps) -> Any:
    """Return the program of the second step alone."""
    graph: Graph = program.graph
    outputs, inputs = tuple(map(graph.resolve, op.after)), {graph.resolve(n) for n in (op.source, *op.before)}
    wanted, nodes = set(outputs), list[Node]()
    for node in reversed(graph.nodes):
        if node.output in wanted and node.output not in inputs:
            nodes.insert(0, node)
            wanted.update(node.inputs)
    made = {n.output for n in nodes}
    outside = sorted(i for n in nodes for i in n.inputs if i not in made | inputs)
    if outside or not wanted >= inputs:
        raise InputError(
            f"node {op.onnx!r} cannot be compiled for any number of steps: a step of it reads {outside or 'no state'}"
        )
    ordered = tuple(graph.resolve(n) for n in (op.source, *op.before))
    return replace(program, graph=replace(graph, nodes=tuple(nodes), inputs=ordered, outputs=outputs))


def _leaves(program: Stepper, step: Stepper, op: Steps, trace: Trace) -> dict[str, Any]:
    """Return what a step reads, as values of the loop's body."""
    found = {}
    for i, name in enumerate(step.graph.inputs):
        value = program.graph.values[name]
        found[name] = xp.argument(
            trace, f"reflrp/step/{op.onnx}/{op.direction}/{i}", value.shape, program.real, nonneg=value.nonneg
        )
    return found


def forward(program: Stepper, node: Node, xs: list[Any]) -> Array:
    """Return the states after each step."""
    op, trace = node.op, xs[0].term.trace
    assert isinstance(op, Steps)
    step = step_of(program, op)
    leaves = _leaves(program, step, op, trace)
    values = run(step, leaves)
    new = [term_of(values[name], trace) for name in step.graph.outputs]
    source, *before = (leaves[name].term for name in step.graph.inputs)
    body = ScanBody((*before, source), (*new, concat(new, 1)), len(new), op.backwards)
    others, *states = (term_of(x, trace) for x in xs[: 1 + len(new)])
    width = len(new) * op.hidden
    packed = scan(body, (*states, others), [*(s.shape for s in states), (others.shape[0], states[0].shape[0], width)])[
        -1
    ]
    first = reshape(concat(states, 1), (1, states[0].shape[0], width))
    known = index(packed, slice(1, None) if op.backwards else slice(0, -1))
    return array(concat([known, first] if op.backwards else [first, known], 0))


def run(step: Stepper, values: dict[str, Any]) -> dict[str, Any]:
    """Return all values of a step."""
    found = dict(values)
    for node in step.graph.nodes:
        found[node.output] = step.replayed(node, found)
    return found


def scan(body: ScanBody, inputs: tuple[Term, ...], shapes: list[tuple[int, ...]]) -> list[Term]:
    """Return the outputs of a loop over the first axis: the last states, and what each step makes."""
    trace = inputs[0].trace
    made = trace.make("Scan", inputs, shapes[0], trace.real, body=body)
    rest = (trace.make("output", (made,), shape, trace.real, i=i) for i, shape in enumerate(shapes[1:], 1))
    return [made, *rest]


def backward(program: Stepper, node: Node, xs: list[Any], y: Array, R: Array) -> tuple[Array | None, ...]:
    """Return the relevance of what the steps read, and of the states that they start from."""
    op, trace = node.op, xs[0].term.trace
    assert isinstance(op, Steps)
    step = step_of(program, op)
    others, *states = (term_of(x, trace) for x in xs[: 1 + len(op.before)])
    after, whole = term_of(y, trace), expand(term_of(R, trace, trace.real), term_of(y, trace).shape)
    rest, first = (slice(0, -1), slice(-1, None)) if op.backwards else (slice(1, None), slice(0, 1))
    none = trace.make("Zeros", (), (1, *whole.shape[1:]), trace.real, True)
    seeds = concat([none, index(whole, rest)] if op.backwards else [index(whole, rest), none], 0)
    body = _back_body(program, step, op, trace, states, whole)
    zeros = [trace.make("Zeros", (), s.shape, trace.real, True) for s in states]
    shapes = [*(s.shape for s in states), others.shape]
    *last, source = scan(body, (*zeros, others, after, seeds), shapes)
    own = reshape(index(whole, first), (states[0].shape[0], whole.shape[2]))
    given = [array(r) + array(part) for r, part in zip(last, parts(own, op), strict=True)]
    return (array(source), *given, *(None for _ in op.after))


def parts(packed: Term, op: Steps) -> list[Term]:
    """Return states that lie side by side."""
    spans = (slice(k * op.hidden, (k + 1) * op.hidden) for k in range(len(op.after)))
    return [index(packed, (slice(None), span)) for span in spans]


def _back_body(program: Stepper, step: Stepper, op: Steps, trace: Trace, states: list[Term], whole: Term) -> ScanBody:
    source, *before = step.graph.inputs
    names = f"reflrp/back/{op.onnx}/{op.direction}/"
    value, shape = program.graph.values[source], (states[0].shape[0], whole.shape[2])
    x = xp.argument(trace, f"{names}x", value.shape, program.real, nonneg=value.nonneg)
    packed, seed = (xp.argument(trace, names + what, shape, program.real) for what in ("states", "seed"))
    carried = [xp.argument(trace, f"{names}carry{k}", s.shape, program.real) for k, s in enumerate(states)]
    values = run(step, {source: x, **dict(zip(before, map(array, parts(packed.term, op)), strict=True))})
    given = zip(step.graph.outputs, carried, map(array, parts(seed.term, op)), strict=True)
    R = {name: carry + own for name, carry, own in given}
    found, _ = step.backward(values, R, lambda name: False)
    made = [_full(found.get(name), trace, program.graph.values[name].shape) for name in (*before, source)]
    leaves = (*(c.term for c in carried), x.term, packed.term, seed.term)
    return ScanBody(leaves, tuple(made), len(states), not op.backwards)


def _full(R: Any, trace: Trace, shape: tuple[int, ...]) -> Term:
    if R is None or R is ZERO:
        return trace.make("Zeros", (), shape, trace.real, True)
    return expand(term_of(R, trace, trace.real), shape)
