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
from reflrp.errors import InputError, RuleError
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
    strip: bool = True

    def ruled(self, title: str, composite: Composite, passes: Sequence[str] | None = None) -> Ruled:
        """Return a side that is given by rules; `passes` in place of the composite's own canonizing."""
        chosen = tuple(composite.canonize if passes is None else passes)
        programs = Programs(self.model, composite, self.output, self.strip, chosen, converter("numpy", self.dtype))
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
    of: Explanation | None = None

    def check_output(self, y: np.ndarray) -> None:
        """Raise InputError unless the explanation, where it is one, is of an output y (N, ...), as far as its dtype can say."""
        mine = None if self.of is None else self.of.output
        if mine is None:
            return
        limit = SAME_OUTPUT[min(mine.dtype.itemsize, y.dtype.itemsize)]
        if mine.shape != y.shape or not _near(mine, y, limit):
            raise InputError(
                f"{self.title} is of another network, or of another of its outputs: its e.output is not what this one computes "
                "for these inputs"
            )

    def check_init(self, init: Any, R: Array, sha256: str) -> None:
        """Raise InputError unless the explanation, where it is one that says so, began with this initial relevance.

        Of an array, files of old formats and explanations that were put together by hand say the sum alone.
        """
        theirs, known = ("", "") if self.of is None else (self.of.init, self.of.init_sha256)
        mine = init if isinstance(init, str) else "array"
        seed = float(self.of.conservation.seed) if self.of else 0.0
        summed = abs(float(np.sum(R)) - seed) > 1e-3 * max(float(np.abs(R).sum()), 1e-30)
        other = mine == "array" and (known != sha256 if known else summed)
        if theirs and (mine != theirs or other):
            what = f"an array{f' (SHA-256 {known[:12]}...)' if known else ''}" if theirs == "array" else repr(theirs)
            hint = "give the same" if theirs == "array" else "leave init= out"
            raise InputError(f"{self.title} began with init={what}, and init= means another; {hint}")


SAME_OUTPUT = {8: 1e-6, 4: 1e-2}
"""Up to what difference, relative to the largest entry, two outputs are of one network, by the bytes of a number."""


def _near(one: np.ndarray, two: np.ndarray, limit: float) -> bool:
    known = np.isfinite(one)
    same = np.array_equal(known, np.isfinite(two)) and np.array_equal(one[~known], two[~known], equal_nan=True)
    return same and difference(one[known], two[known]) <= limit


Side = Ruled | Given


def given(name: str, value: Any, feeds: Mapping[str, np.ndarray]) -> Given | None:
    """Return what stands in `a=` or `b=` as given relevance; None where it is to be rules.

    Raises InputError for an explanation of other inputs, a file that is none, and a dict that is neither relevance nor rules.
    """
    if isinstance(value, str | Path) and str(value).endswith(".npz"):
        return _explained(str(value), Explanation.load(value), feeds)
    if isinstance(value, Explanation):
        return _explained("an explanation", value.rounded(), feeds)
    if not isinstance(value, Mapping):
        return None
    found = checks.mapping(name, value, "relevance by the name of a value, or rules by the name of a node")
    arrays = [k for k, v in found.items() if hasattr(v, "shape") or isinstance(v, list | tuple)]
    others = [k for k in found if k not in arrays]
    if not found or (arrays and others):
        what = f"holds an array at {arrays[0]!r} and none at {others[0]!r}" if found else "is empty"
        raise InputError(f"{name}= {what}; give {{value name: relevance}}, or {{node name: rule}}")
    return Given("given relevance", {k: checks.array(f"{name}[{k!r}]", found[k]) for k in arrays}) if arrays else None


def ruled(name: str, value: Any, setting: Setting) -> Ruled:
    """Return a side that is given by rules. Raises RuleError for what is none."""
    try:
        composite = resolve(value)
    except RuleError as error:
        if not isinstance(value, Mapping):
            raise
        raise RuleError(f"{name}= is neither {{value name: relevance}} nor {{node name: rule}}: {error}") from error
    return setting.ruled(value if isinstance(value, str) else composite.title, composite)


def _explained(title: str, e: Explanation, feeds: Mapping[str, np.ndarray]) -> Given:
    """Return the relevance of an explanation. Raises InputError for one of other inputs, and for a part of one."""
    parts = [n for n in e.conservation if n.endswith(":condition") and n not in e.rules]
    if parts:
        raise InputError(
            f"{title} has conditions ({', '.join(map(repr, parts[:3]))}), which keep relevance from nodes that no rule is to blame "
            "for; give one without conditions="
        )
    for name, x in e.inputs.items():
        mine = feeds.get(name)
        if (
            mine is None
            or mine.shape != x.shape
            or not np.array_equal(np.asarray(mine, dtype=float), np.asarray(x, dtype=float))
        ):
            raise InputError(
                f"{title} is not of these inputs: {name!r} is another array; give the x that was explained"
            )
    return Given(title, {**e.relevances, **e.layers}, e.target, e.uncertainty, e)


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
