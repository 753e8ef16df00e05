"""A graph forwards and backwards: steps in the file's order, rules in the reverse, relevance summed over readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from reflrp.conformance.literal.functions import FUNCTIONS, SIGMOID_GATE
from reflrp.conformance.literal.layers import LAYERS
from reflrp.conformance.literal.numbers import fractions
from reflrp.conformance.literal.pools import POOLS
from reflrp.conformance.literal.recurrent import CELLS, unrolled
from reflrp.conformance.literal.routing import ROUTING
from reflrp.conformance.literal.rules import Node, NotServed, Params, Relevance
from reflrp.conformance.literal.steps import Linear, Normaliser, Numbers, Pointwise, Product, Routing, Site, Step
from reflrp.conformance.literal.table import RULES, Rule
from reflrp.conformance.literal.tensors import TENSORS
from reflrp.conformance.protocol import RuleSpec

FOLD = "fold"

DECISIONS = ("Greater", "Less")
"""Operators whose output carries no relevance."""


@dataclass
class Done:
    """A node that has run: its step, and the names of what goes in and out."""

    name: str
    step: Step
    inputs: tuple[str, ...]
    output: str
    site: Site


@dataclass(frozen=True)
class Answer:
    """What a graph gives: every value, and the relevance of every value that gets some, in fractions."""

    values: dict[str, np.ndarray]
    relevance: dict[str, np.ndarray]


@dataclass(frozen=True)
class Oracle:
    """The rules and operators as tables, of which a copy with another entry is another reading of the rules.

    `seen` has operators that are taken for something else on the way back only: their forward pass is right.
    """

    rules: Mapping[str, Rule] = field(default_factory=lambda: RULES)
    layers: Mapping[str, Callable[[Site], Step]] = field(default_factory=lambda: {**LAYERS, **POOLS, **TENSORS})
    functions: Mapping[str, Callable[[Site], Step]] = field(default_factory=lambda: FUNCTIONS)
    routing: Mapping[str, Callable[[Site], list[Routing]]] = field(default_factory=lambda: ROUTING)
    seen: Mapping[str, Callable[[Site], Step]] = field(default_factory=dict)
    routed: Callable[[Routing, Numbers, list[Numbers]], Relevance] = field(default_factory=lambda: give_back)
    joined: Callable[[Numbers, Numbers], Numbers] = field(default_factory=lambda: plus)

    def __call__(
        self,
        model: onnx.ModelProto,
        inputs: Mapping[str, np.ndarray],
        seed: Mapping[str, np.ndarray],
        rules: Sequence[RuleSpec],
    ) -> Answer:
        """Return all values, and their relevance from the seed on."""
        specs = {spec.node: spec for spec in rules}
        run = _Run(self, model, inputs)
        folded = {name for name, spec in specs.items() if spec.rule == FOLD}
        steps = fold(run.steps, folded) if folded else run.steps
        relevance = self._back(steps, run, seed, specs)
        return Answer(
            {k: run.shaped(k, v) for k, v in run.values.items() if k},
            {k: run.shaped(k, v) for k, v in relevance.items()},
        )

    def _back(
        self, steps: list[Done], run: _Run, seed: Mapping[str, np.ndarray], specs: Mapping[str, RuleSpec]
    ) -> dict[str, Numbers]:
        R = {k: list(fractions(v).ravel()) for k, v in seed.items()}
        for done in reversed(steps):
            if done.output not in R:
                continue
            parts = self._share(done, run, R[done.output], specs)
            for name, part in zip(done.inputs, parts, strict=True):
                if name in run.active:
                    R[name] = self.joined(R[name], part) if name in R else part
        return R

    def _share(self, done: Done, run: _Run, R: Numbers, specs: Mapping[str, RuleSpec]) -> Relevance:
        a = [run.values[i] for i in done.inputs]
        if isinstance(done.step, Routing):
            return self.routed(done.step, R, a)
        if done.name not in specs:
            raise NotServed(f"node {done.name!r} has no rule")
        spec = specs[done.name]
        node = Node(
            self.seen[done.site.op](done.site) if done.site.op in self.seen else done.step,
            a,
            [run.shapes[i] for i in done.inputs],
            run.values[done.output],
            tuple(i in run.active for i in done.inputs),
            tuple(gate(i, run) for i in done.inputs),
        )
        found = self.rules[spec.rule](node, R, spec.params)
        return [*found, *node.zeros()[len(found) :]]  # rules for functions say nothing of a node's constants


def give_back(step: Routing, R: Numbers, a: list[Numbers]) -> Relevance:
    """Return each entry's relevance to where it came from, summed over its copies."""
    found = [[Fraction(0)] * len(x) for x in a]
    for place, r in zip(step.source, R, strict=True):
        if place is not None:
            found[place[0]][place[1]] += r
    return found


def plus(one: Numbers, other: Numbers) -> Numbers:
    """Return the sum: what several readers of a value give it."""
    return [x + y for x, y in zip(one, other, strict=True)]


class _Run:
    """The forward pass: values by name, and the steps."""

    def __init__(self, oracle: Oracle, model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> None:
        self.oracle = oracle
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.values = {"": [], **{k: list(fractions(v).ravel()) for k, v in inputs.items()}}  # "": an operand left out
        self.shapes: dict[str, tuple[int, ...]] = {"": (0,), **{k: v.shape for k, v in inputs.items()}}
        self.active = set(inputs)
        self.steps: list[Done] = []
        self.maker: dict[str, Done] = {}
        for node in model.graph.node:
            self._place(node)

    def shaped(self, name: str, entries: Numbers) -> np.ndarray:
        """Return a value's entries as an array of its shape."""
        found = np.empty(len(entries), dtype=object)
        found[:] = entries
        return found.reshape(self.shapes[name])

    def _place(self, node: onnx.NodeProto) -> None:
        given = tuple(node.input)
        while given and not given[-1]:
            given = given[:-1]
        known = {i: self.constants[name] for i, name in enumerate(given) if name in self.constants}
        if node.op_type == "Constant":
            self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            return
        if node.op_type in CELLS:
            attributes = {a.name: _attribute(a) for a in node.attribute}
            parts, constants = unrolled(node, attributes, self.constants, self.shapes)
            self.constants.update(constants)
            for part in parts:
                self._place(part)
            return
        site = Site(
            node.name,
            node.op_type,
            {a.name: _attribute(a) for a in node.attribute},
            given,
            tuple(node.output),
            tuple(self.constants[n].shape if n in self.constants else self.shapes[n] for n in given),
            known,
            {
                i: self.shaped(n, self.values[n]) if n in self.values else fractions(known[i])
                for i, n in enumerate(given)
                if n
            },
        )
        for step, output in zip(self._steps(site), node.output, strict=False):
            self._run(site, step, output)

    def _steps(self, site: Site) -> Sequence[Step]:
        if site.op in self.oracle.routing:
            return self.oracle.routing[site.op](site)
        table = self.oracle.layers if site.op in self.oracle.layers else self.oracle.functions
        if site.op not in table:
            raise NotServed(f"the literal oracle has no operator {site.op}")
        return [table[site.op](site)]

    def _run(self, site: Site, step: Step, output: str) -> None:
        for i, name in enumerate(site.inputs):
            if i in site.constants and name not in self.values:
                self.values[name] = list(site.values[i].ravel())
                self.shapes[name] = site.shapes[i]
        a = [self.values[name] for name in site.inputs]
        self.values[output] = computed(step, a)
        self.shapes[output] = step.shape
        if site.op in DECISIONS or not any(name in self.active for name in site.inputs):
            return  # a decision carries no relevance, nor does what is made of such alone
        self.active.add(output)
        done = Done(site.name, step, site.inputs, output, site)
        self.steps.append(done)
        self.maker[output] = done


def computed(step: Step, a: list[Numbers]) -> Numbers:
    """Return a step's output; None is -infinity, which only a mask adds and a softmax takes."""
    if isinstance(step, Linear):
        return step.forward(a)
    if isinstance(step, Routing):
        return [f if p is None else a[p[0]][p[1]] for p, f in zip(step.source, step.fixed, strict=True)]
    if isinstance(step, Pointwise):
        return [step.f(x) for x in a[0]]
    if isinstance(step, Product):
        return [sum((a[0][i] * a[1][j] for i, j in pairs), Fraction(0)) for pairs in step.pairs]
    found = [Fraction(0)] * len(a[0])
    for group in step.groups:
        for i, y in zip(group, step.forward([a[0][i] for i in group], group), strict=True):
            found[i] = y
    return found


def gate(name: str, run: _Run) -> int:
    """Return how much of a gate a value is: by the activation that it comes from, through routing, scale and shift."""
    while name in run.maker:
        step = run.maker[name].step
        if isinstance(step, Pointwise):
            return step.gate
        if isinstance(step, Normaliser):
            return 0 if step.held else SIGMOID_GATE
        scalar = isinstance(step, Linear) and step.kind == "diagonal"
        if not (isinstance(step, Routing) or scalar):
            return 0
        name = next(i for i in run.maker[name].inputs if i in run.active)
    return 0


# ---------------------------------------------------------------- folding a BatchNormalization


def fold(steps: list[Done], names: set[str]) -> list[Done]:
    """Return the steps with these diagonal maps joined with the linear one before, or else the one behind."""
    found = list(steps)
    for done in steps:
        if done.name in names:
            readers = [s for s in found if done.output in s.inputs]
            before = next((s for s in found if s.output == done.inputs[0]), None)
            alone = sum(done.inputs[0] in s.inputs for s in found) == 1
            if before and alone and isinstance(before.step, Linear) and before.step.kind in ("dense", "conv"):
                found[found.index(before)] = replace(before, step=_after(before.step, done.step), output=done.output)
            elif len(readers) == 1 and isinstance(readers[0].step, Linear):
                at = found.index(readers[0])
                found[at] = replace(
                    readers[0],
                    step=_before(readers[0].step, done.step),
                    inputs=(done.inputs[0], *readers[0].inputs[1:]),
                )
            else:
                raise NotServed(f"{done.name!r} has no linear neighbour to be folded into")
            found.remove(done)
    return found


def _after(one: Linear, scale: Step) -> Linear:
    assert isinstance(scale, Linear)
    factor = [row[0].parameter for row in scale.rows]
    rows = [[t._replace(parameter=t.parameter * f) for t in row] for row, f in zip(one.rows, factor, strict=True)]
    bias = [b * f + c for b, f, c in zip(one.bias, factor, scale.bias, strict=True)]
    return replace(one, rows=rows, bias=bias)


def _before(one: Linear, scale: Step) -> Linear:
    assert isinstance(scale, Linear)
    factor, shift = [row[0].parameter for row in scale.rows], scale.bias
    rows = [[t._replace(parameter=t.parameter * factor[t.j]) for t in row] for row in one.rows]
    bias = [b + sum((t.w * shift[t.j] for t in row), Fraction(0)) for row, b in zip(one.rows, one.bias, strict=True)]
    return replace(one, rows=rows, bias=bias)


def _attribute(a: Any) -> Any:
    value = onnx.helper.get_attribute_value(a)
    return value.decode() if isinstance(value, bytes) else list(value) if a.ints or a.floats else value


__all__ = ["Answer", "Oracle", "Params", "give_back", "plus"]
