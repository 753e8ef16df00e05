"""The error bars of explanations: what the shaken runs of the same program give, beside what the plain run gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from reflrp.arrays import ZERO, Array, magnitude, to_host
from reflrp.arrays.convert import Converter
from reflrp.engine import Program, Values
from reflrp.engine.uncertainty import RUNS, bars, mean_square, shaken
from reflrp.errors import NonFiniteError, OtherWay
from reflrp.explanation import Explanation
from reflrp.ir import Node
from reflrp.ledger import Ledger

Begin = Callable[..., tuple[np.ndarray, list[Any], np.ndarray]]
"""(y, target, init, turned) -> y with the samples first, the goals, and the initial relevance."""

Parts = tuple[Array | None, ...]


@dataclass(frozen=True)
class Handed:
    """What each node gave to its inputs on one way back; of a later run, how far that lies from the first's."""

    first: Handed | None = None
    parts: dict[str, Parts] = field(default_factory=dict)
    apart: dict[str, float] = field(default_factory=dict)

    def __call__(self, node: Node, parts: Parts) -> None:
        """Note what a node gave."""
        if self.first is None:
            self.parts[node.name] = parts
        else:
            self.apart[node.name] = sum(map(_apart, parts, self.first.parts.get(node.name, parts)))


def _apart(one: Array | None, two: Array | None) -> float:
    """Return the sum of |one - two|; an input that gets nothing gets zeros."""
    kept = [x for x in (one, two) if x is not None and x is not ZERO]
    return float(magnitude(kept[0] - kept[1] if len(kept) == 2 else kept[0])) if kept else 0.0


@dataclass(frozen=True)
class Run:
    """What a shaken run gave: the relevance of values, and how far each node's gifts lie from the plain run's."""

    relevances: Mapping[str, np.ndarray]
    apart: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Again:
    """What a cut of a batch is run with again, and what the plain run began and went with."""

    program: Program
    inputs: Values
    values: Values
    convert: Converter
    masks: Mapping[str, Array]
    inits: Sequence[Any]
    turned: int
    begin: Begin

    def barred(self, found: Sequence[Explanation], handed: Sequence[Handed | None]) -> list[Explanation]:
        """Return the explanations of the plain run with error bars; exact ones have bars of zero."""
        if self.convert.exact:
            return [_with(e, lambda _, R: np.zeros(R.shape), lambda _: 0.0) for e in found]
        runs = []
        for run in range(RUNS):
            runs.append(self._run(found, handed, run))
            self.values.clear()  # only the first run asks for them
        return [_barred(e, of_one) for e, of_one in zip(found, zip(*runs, strict=True), strict=True)]

    def _run(self, found: Sequence[Explanation], handed: Sequence[Handed | None], run: int) -> list[Run | None]:
        """Return a shaken run for each explanation; None where it leads to an infinity, or another way through the graph."""
        again = shaken(self.program, run, self.values)
        try:
            values = again.forward(dict(self.inputs))
        except (NonFiniteError, OtherWay):
            return [None] * len(found)
        each = zip(found, handed, self.inits, strict=True)
        return [self._back(again, dict(values), e, Handed(first), init) for e, first, init in each]

    def _back(self, again: Program, values: Values, e: Explanation, seen: Handed, init: Any) -> Run | None:
        """Return one way back, from the target of the plain run."""
        output = again.graph.resolve(again.graph.outputs[0])
        y = to_host(values[output])
        seed = self.convert(self.begin(y, e.target or None, init, self.turned)[2].astype(y.dtype))
        names = {*e.relevances, *e.layers}
        try:
            found, _ = again.backward(values, {output: seed}, names.__contains__, None, self.masks, seen)
        except NonFiniteError:
            return None
        return Run({k: to_host(found[k]) for k in names if k in found}, seen.apart)


def _barred(e: Explanation, runs: Sequence[Run | None]) -> Explanation:
    whole = [run for run in runs if run is not None]
    if len(whole) < len(runs):
        return _with(e, lambda _, R: np.full(R.shape, np.inf, R.dtype), lambda _: np.inf)
    layout = e.layout or {}

    def bar(name: str, R: np.ndarray) -> np.ndarray:
        given = [run.relevances.get(name, np.zeros_like(R)) for run in whole]
        return bars(R, given, layout.get(name, {}).get("sample"))

    return _with(e, bar, lambda node: float(mean_square([run.apart.get(node, 0.0) for run in whole])))


def _with(e: Explanation, bar: Callable[[str, np.ndarray], np.ndarray], of: Callable[[str], float]) -> Explanation:
    """Return an explanation with the bars of its relevances, and of what each node gives to its inputs."""
    ledger = e.conservation
    rows = tuple(replace(row, uncertainty=of(row.node)) for row in ledger.rows)
    found = {k: bar(k, R) for k, R in {**e.relevances, **e.layers}.items()}
    return replace(e, conservation=Ledger(rows, ledger.seed, ledger.inputs), uncertainty=found)
