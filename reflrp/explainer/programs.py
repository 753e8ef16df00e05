"""Programs: the graph of an input made ready, with its rules; kept by input shape for whoever asks again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.arrays import to_host, total
from reflrp.arrays.convert import Converter, shared
from reflrp.batches import Batch, Feeds, choices, samples_in
from reflrp.composites import Composite
from reflrp.composites.advice import Watch, on_share, seeds_of, shares
from reflrp.engine import Program, Values, prepare
from reflrp.engine.exactness import exact_graph, exact_input, exact_rules
from reflrp.engine.rounding import rounded
from reflrp.engine.uncertainty import copies
from reflrp.engine.weights import passing
from reflrp.errors import ForwardChanged, InputError, ModelError, OtherWay, UnsupportedOperator
from reflrp.explainer.bars import Again, Handed
from reflrp.explainer.cuts import Cut
from reflrp.explanation import Explanation
from reflrp.ground.advising import advise
from reflrp.ground.caches import Allowance, Cache, Kept
from reflrp.ground.progress import Step, bar
from reflrp.ir import Graph, Shape
from reflrp.ledger import Ledger, Row
from reflrp.model import Model
from reflrp.neurons import in_branches, keeper, masks_of
from reflrp.passes.apart import told
from reflrp.passes.canonize import canonize, expected
from reflrp.passes.layout import layouts
from reflrp.passes.sizes import check_size
from reflrp.passes.stripping import strip_output
from reflrp.seeds import Goal, Target, digest, seed, targets

Shapes = tuple[tuple[str, Shape], ...]

Started = tuple[np.ndarray, list[Goal], np.ndarray]
"""What is explained, its goals, and the initial relevance."""


@dataclass(frozen=True, eq=False)
class Programs:
    """What an `Explainer` runs: one program for each of the last two input shapes.

    A graph whose sizes, branches or counts depend on the data is that of one input, and is made anew for each.
    """

    model: Model
    composite: Composite
    output: str
    strip: bool
    passes: tuple[str, ...]
    convert: Converter
    ledger: bool = True
    kept: Cache[Shapes, Program] = field(default_factory=lambda: Cache(2), repr=False)

    def allowed(self, most: int) -> int:
        """Return how many bytes the values of a cut may take, so that all that it takes stays near `most`."""
        return most

    def of(self, feeds: Feeds) -> Program:
        """Return the program for these inputs."""
        key = tuple((k, a.shape) for k, a in feeds.items())
        with limits.blamed_on(self.model.source.name):
            try:
                return self.kept.made(key, lambda: self._set_up(feeds))
            except (ModelError, UnsupportedOperator) as error:
                if getattr(error, "final", False):
                    raise
                return self._set_up(feeds, observed=True)  # what fails for a sample of zeros may be right here

    def run(self, feeds: Feeds, step: Step | None = None) -> tuple[Program, Values]:
        """Return the program for these inputs, and all values of its forward pass."""
        inputs, program = self._inputs(feeds), self.of(feeds)
        try:
            return program, program.forward(inputs, step)
        except OtherWay:
            with limits.blamed_on(self.model.source.name):
                program = self._set_up(feeds, observed=True)
            return program, program.forward(inputs)

    def of_batch(
        self,
        batch: Batch,
        size: int,
        goals: Sequence[Target],
        init: Any,
        layers: Any,
        conditions: Mapping[str, Sequence[int]],
        progress: bool | None,
        watch: Watch,
        turned: int,
        uncertainty: bool = False,
    ) -> list[Explanation]:
        """Explain a batch, so many samples at once, for each of the goals: each cut runs forward once, seen by `watch`."""
        cuts = batch.cut(size)
        chosen = list(zip(*(choices(goal, init, cuts) for goal in goals), strict=True))
        axes = batch.axes(size) if len(cuts) > 1 or conditions else {}
        parts = []
        with bar(progress, (1 + len(goals)) * len(self.model.source.nodes) * len(cuts)) as step:
            for (feeds, where), choice in zip(batch.named_cuts(size), chosen, strict=True):
                with where:
                    cut = Cut(feeds, choice, layers, conditions, axes, turned, watch, uncertainty, step)
                    parts.append(self.explained(cut))
        begun = init if isinstance(init, str) else "array"
        whole = [Explanation.concatenate(of_one, axes) for of_one in zip(*parts, strict=True)]
        return [replace(e, init=begun, init_sha256=digest(init, e.output, turned)) for e in whole]

    @limits.budget()
    def explained(self, cut: Cut) -> list[Explanation]:
        """Explain one cut of a batch: forward once, and for each target and init the seed and the way back."""
        program, values = self.run(cut.feeds, cut.step)
        graph, exact = program.graph, self.convert.exact
        if cut.uncertainty and not exact:
            with limits.blamed_on(self.model.source.name):
                check_size(graph, self.convert.itemsize, times=copies(len(cut.choices)))
        if cut.watch is not None and not exact:
            with np.errstate(all="ignore"):  # a sum of squares may overflow, and is then no reason
                cut.watch.see(graph, program.rules, values)
        y = to_host(values[graph.resolve(graph.outputs[0])])
        begun = [started(y, target, init, cut.turned) for target, init in cut.choices]
        keep = keeper(cut.layers, graph, self._branches)
        masks = {k: self.convert(v) for k, v in masks_of(cut.conditions, graph, cut.axes, self._branches).items()}
        found, notes = [], [Handed() if cut.uncertainty else None for _ in begun]
        for i, start in enumerate(begun):
            # what goes back gives memory back
            own = values if i == len(begun) - 1 and not cut.uncertainty else dict(values)
            found.append(self._back(program, cut, own, start, keep, masks, notes[i]))
        if cut.uncertainty:
            inits = [init for _, init in cut.choices]
            again = Again(program, self._inputs(cut.feeds), values, self.convert, masks, inits, cut.turned, started)
            return again.barred(found, notes)
        return found

    def _back(
        self,
        program: Program,
        cut: Cut,
        values: Values,
        start: Started,
        keep: Callable[[str], bool],
        masks: Mapping[str, Any],
        seen: Handed | None = None,
    ) -> Explanation:
        y, _, R = start
        graph = program.graph
        output = graph.resolve(graph.outputs[0])
        found, rows = program.backward(values, {output: self.convert(R.astype(y.dtype))}, keep, cut.step, masks, seen)
        relevances = {
            k: to_host(found[k]) if k in found else np.zeros(a.shape, dtype=y.dtype)
            for k, a in cut.feeds.items()
            if k in found or k in program.carriers
        }
        reached = {k: to_host(v) for k, v in found.items() if keep(k)}
        unreached = {k: np.zeros(v.shape, y.dtype) for k, v in graph.values.items() if v.active and keep(k)}
        inner = {k: v for k, v in {**unreached, **reached}.items() if k not in relevances}
        return self.answer(program, cut, start, relevances, inner, rows)

    def answer(
        self,
        program: Program,
        cut: Cut,
        start: Started,
        relevances: dict[str, np.ndarray],
        inner: dict[str, np.ndarray],
        rows: Sequence[Row],
    ) -> Explanation:
        """Return what was found as an explanation."""
        (y, goals, R), graph = start, program.graph
        found = {k: total(v) for k, v in relevances.items()}
        ledger = Ledger(tuple(rows) if self.ledger else (), total(R), found)
        known = layouts(graph, cut.turned) if cut.turned else program.layout
        layout = {k: known.get(k, {}) for k in (*relevances, *inner)}
        score = "output" if graph.outputs == (self.output,) else "logit"
        rules = dict(program.rules)
        return Explanation(
            relevances, y, tuple(goals), inner, ledger, rules, graph.notes, dict(cut.feeds), layout, score
        )  # fmt: skip

    @Kept
    def _allowance(self) -> Allowance:
        """The weights that all programs together keep."""
        return Allowance(limits.WEIGHTS)

    @Kept
    def _branches(self) -> frozenset[str]:
        """The names in all branches and loops of the file, which one input may not take."""
        return frozenset(in_branches(self.model.source.nodes))

    @limits.budget()
    def _set_up(self, feeds: Feeds, observed: bool = False) -> Program:
        whole = self.model.graph({k: a.shape for k, a in feeds.items()}, feeds if observed else None)
        if self.output not in whole.outputs:
            raise InputError(f"output {self.output!r} is a constant at these inputs; there is nothing to explain")
        if not whole.values[whole.resolve(self.output)].active:
            raise InputError(
                f"output {self.output!r} carries no relevance at these inputs; there is nothing to explain"
            )
        whole = whole.restricted_to(self.output)
        stripped = strip_output(whole) if self.strip else whole
        check_size(stripped, self.convert.itemsize)
        if self.convert.exact:
            stripped = exact_graph(stripped, shared(self.convert))
        graph = canonize(stripped, self.passes)
        rules = told(graph, self.composite.assign(graph), samples_in(feeds))
        graph = replace(graph, notes=(*graph.notes, *self.composite.remarks(graph, rules)))
        exact = self.convert.exact
        program = prepare(graph, exact_rules(rules) if exact else rules, self.convert, self._allowance)
        if not program.carriers:
            raise InputError(
                f"the relevance of output {self.output!r} leads to no input: it ends at rows of a table that are looked up by "
                "numbers which the network works out; give the model these numbers as its input"
            )
        if graph.nodes != stripped.nodes:
            self._check_unchanged(expected(stripped, self.passes), program, feeds)
        return program

    def _inputs(self, feeds: Feeds) -> Values:
        if self.convert.exact:
            return {k: exact_input(a) for k, a in feeds.items()}
        return {k: self.convert(a) for k, a in feeds.items()}

    def _check_unchanged(self, before: Graph, program: Program, feeds: Feeds) -> None:
        """Check the passes' postcondition: the same output, before and after, on the first input."""
        inputs = self._inputs(feeds)
        plain = Program(before, passing(before, self.convert), {})
        (name,) = before.outputs
        old = to_host(plain.forward(inputs, keep=False)[before.resolve(name)])
        new = to_host(program.forward(inputs, keep=False)[program.graph.resolve(name)])
        if self.convert.exact and bool((old == new).all()):
            return
        scale, limit = (
            np.abs(old).max(initial=0),
            0 if self.convert.exact else 1e-9 if self.convert.dtype == "float64" else 1e-3,
        )
        if np.abs(old - new).max(initial=0) > limit * max(scale, 1e-30):
            raise ForwardChanged(
                f"canonizing by {self.passes} changed the output {name!r} by {np.abs(old - new).max():.3g} "
                f"(largest entry {scale:.3g}); pass canonize=()"
            )


def started(y: np.ndarray, target: Target, init: Any, turned: int) -> Started:
    """Return y with its samples, which are on axis `turned`, first; their goals; and the initial relevance, shaped like y.

    An array `init` is shaped like y; where its shape tells that it has the samples first, as the first of these, it may.
    """
    if not turned:
        goals = targets(y, target) if isinstance(init, str) else []
        return y, goals, seed(y, goals, init)
    first = np.moveaxis(y, turned, 0)
    if isinstance(init, str):
        goals = targets(first, target)
        return first, goals, np.moveaxis(seed(first, goals, init), 0, turned)
    if np.shape(init) == first.shape != y.shape:
        return first, [], np.moveaxis(seed(first, [], init), 0, turned)
    return first, [], seed(y, [], init)


def advised(e: Explanation, watch: Watch, init: Any, conditions: Mapping[str, Sequence[int]]) -> Explanation:
    """Return an explanation of all cuts with its advice, and warn of it. Under conditions a share is what was asked for."""
    if not e.output.size or init is None:
        return e
    with np.errstate(all="ignore"):
        near = replace(e, **rounded(e)) if e.output.dtype == object else e
        found = shares(_by_sample(near), *seeds_of(near.output, e.target, init))
    share = () if conditions else on_share(found, near.conservation, e.rules)
    advice = tuple(dict.fromkeys([*share, *watch.advice()]))
    if not advice:
        return e
    advise("\n".join(advice))
    return replace(e, advice=advice)


def _by_sample(e: Explanation) -> dict[str, np.ndarray]:
    """Return the relevance of the inputs with the samples first, where that is proven; else as one number."""
    axes = {k: (e.layout or {}).get(k, {}).get("sample") for k in e.relevances}
    if e.output.ndim and len(e.output) == 1:
        return {k: R.reshape(1, -1) for k, R in e.relevances.items()}
    found = {k: (R, axes[k]) for k, R in e.relevances.items()}
    return {k: np.asarray(R.sum()) if axis is None else np.moveaxis(R, axis, 0) for k, (R, axis) in found.items()}
