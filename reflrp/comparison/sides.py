"""The two sides of a comparison: rules on a graph, or relevance by name, as any program may have given it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from reflrp.arrays import Array, to_host
from reflrp.arrays.convert import converter
from reflrp.composites import Composite, resolve
from reflrp.engine import Program, Values
from reflrp.errors import InputError
from reflrp.explainer.programs import Programs
from reflrp.explanation import Explanation
from reflrp.ground import checks
from reflrp.ir import Graph, Node
from reflrp.model import Model
from reflrp.rules.base import Rule
from reflrp.seeds import Goal

Relevances = dict[str, Array]
"""Relevance by the name of a value."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What both sides share: the model, its inputs, the output, and the dtype."""

    model: Model
    feeds: Mapping[str, np.ndarray]
    output: str
    dtype: str

    def ruled(self, title: str, composite: Composite, passes: Sequence[str] | None = None) -> Ruled:
        """Return a side that is given by rules; `passes` in place of the composite's own canonizing."""
        chosen = tuple(composite.canonize if passes is None else passes)
        programs = Programs(self.model, composite, self.output, True, chosen, converter("numpy", self.dtype))
        program, values = programs.run(dict(self.feeds))
        return Ruled(title, composite, chosen, program.ungated(), values)


@dataclass(frozen=True, eq=False)
class Ruled:
    """A side that is given by rules: the graph with them, and the values of its forward pass."""

    title: str
    composite: Composite
    passes: tuple[str, ...]
    program: Program
    values: Values

    @property
    def graph(self) -> Graph:
        """The canonized graph."""
        return self.program.graph

    @property
    def output(self) -> str:
        """The value that is explained."""
        return self.graph.resolve(self.graph.outputs[0])

    def rule(self, node: Node) -> Rule | None:
        """Return a node's rule."""
        return self.program.rules.get(node.name)

    def with_rules(self, rules: Mapping[str, Rule]) -> Ruled:
        """Return the same side with other rules on some nodes."""
        return replace(self, program=replace(self.program, rules={**self.program.rules, **rules}))

    def spread(self, seed: Array) -> Relevances:
        """Return the relevance of every value."""
        R = {self.output: seed}
        for node in reversed(self.graph.nodes):
            if node.output in R:
                _add(R, self.program.handed_down(node, self.values, R[node.output]))
        return R

    def inputs(self, R: Relevances) -> Array:
        """Return the inputs' relevance as one vector."""
        sizes = {k: self.graph.values[k].shape for k in self.graph.inputs if k in self.program.carriers}
        return np.concatenate([np.ravel(to_host(R[k])) if k in R else np.zeros(np.prod(s)) for k, s in sizes.items()])

    def segment(self, start: str, r: Array, ends: frozenset[str]) -> Relevances:
        """Return what relevance r of the value `start` becomes at the next values that are among the ends."""
        R, place = {start: r}, self._places[start]
        for node in reversed(self.graph.nodes[: place + 1]):
            if node.output in R and (node.output == start or node.output not in ends):
                _add(R, self.program.handed_down(node, self.values, R.pop(node.output)))
            if all(k in ends or k in self.graph.inputs for k in R):
                break
        return R

    @property
    def _places(self) -> dict[str, int]:
        return {node.output: i for i, node in enumerate(self.graph.nodes)}


def _add(R: Relevances, parts: Relevances) -> None:
    for name, part in parts.items():
        R[name] = R[name] + part if name in R else part


@dataclass(frozen=True, eq=False)
class Given:
    """A side that is given by its relevance: that of inputs and inner values by name."""

    title: str
    relevances: Mapping[str, np.ndarray]
    target: tuple[Goal, ...] = ()
    bars: Mapping[str, np.ndarray] = field(default_factory=dict)


Side = Ruled | Given


def side(name: str, value: Any, setting: Setting) -> Side:
    """Return a side from what stands in `a=` or `b=`.

    Raises InputError for what is neither rules, an explanation, the path of a saved one, nor relevance by name.
    """
    if isinstance(value, str | Path) and str(value).endswith(".npz"):
        return _explained(str(value), Explanation.load(value), setting)
    if isinstance(value, Explanation):
        return _explained("an explanation", value.rounded(), setting)
    if isinstance(value, Mapping) and value and all(hasattr(v, "shape") for v in value.values()):
        found = checks.mapping(name, value, "relevance by the name of a value")
        return Given("given relevance", {k: checks.array(f"{name}[{k!r}]", v) for k, v in found.items()})
    composite = resolve(value)
    return setting.ruled(value if isinstance(value, str) else composite.title, composite)


def _explained(title: str, e: Explanation, setting: Setting) -> Given:
    """Return the relevance of an explanation. Raises InputError for one of other inputs."""
    for name, x in e.inputs.items():
        mine = setting.feeds.get(name)
        if (
            mine is None
            or mine.shape != x.shape
            or not np.array_equal(np.asarray(mine, dtype=float), np.asarray(x, dtype=float))
        ):
            raise InputError(
                f"{title} is not of these inputs: {name!r} is another array; give the x that was explained"
            )
    return Given(title, {**e.relevances, **e.layers}, e.target, e.uncertainty)


def nearest(given: Given, graph: Graph, own: Relevances) -> Relevances:
    """Return given relevance by the names of values; where it lies within its error bar of the other side's `own`, that.

    What rounding may have done is no disagreement. Raises InputError as `by_value`.
    """
    found, bars = by_value(given, graph), by_value(replace(given, relevances=given.bars), graph, endless=True)
    near = {k: np.abs(found[k] - own[k]) <= bar for k, bar in bars.items() if k in own}
    return {k: np.where(near[k], own[k], R) if k in near else R for k, R in found.items()}


def by_value(given: Given, graph: Graph, endless: bool = False) -> Relevances:
    """Return given relevance by the names of the graph's values: a node's name means its output, an alias what it stands for.

    Raises InputError for a name that the graph does not have, and for a shape that is not the value's.
    """
    named = {n.name: n.output for n in graph.nodes} | {k: n.output for n in graph.nodes for k in n.onnx[-1:]}
    found: Relevances = {}
    for name, R in given.relevances.items():
        value = graph.resolve(name)
        value = value if value in graph.values else named.get(name, value)
        if value not in graph.values:
            raise InputError(f"{given.title}: {name!r} is no value or node of the graph; Model.summary() lists them")
        if R.shape != graph.values[value].shape:
            raise InputError(
                f"{given.title}: {name!r} has the shape {R.shape}, and the value {graph.values[value].shape}"
            )
        found[value] = np.asarray(R, dtype=np.float64)
        if not endless and not np.isfinite(found[value]).all():
            raise InputError(f"{given.title}: the relevance of {name!r} holds a NaN or an infinity")
    return found


def difference(one: Array, two: Array) -> float:
    """Return max|one - two|, relative to the largest entry of both."""
    scale = max(float(np.abs(one).max(initial=0)), float(np.abs(two).max(initial=0)))
    return float(np.abs(np.asarray(one) - np.asarray(two)).max(initial=0)) / scale if scale else 0.0
