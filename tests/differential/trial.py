"""A case, and what several checks need of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

import reflrp
from differential import forward
from differential.case import Case
from differential.evaluate import close, run
from differential.forward import Chain
from reflrp.arrays.convert import converter
from reflrp.composites import Composite
from reflrp.engine import Program, prepare
from reflrp.errors import OtherWay


@dataclass(frozen=True)
class Trial:
    """A case, and what several checks need of it."""

    case: Case
    marks: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def model(self) -> reflrp.Model:
        return reflrp.load(self.case.model())

    @cached_property
    def chain(self) -> Chain:
        return forward.chain(self.case)

    @property
    def output(self) -> str:
        return self.case.outputs[0]

    def rng(self, salt: int) -> np.random.Generator:
        return np.random.default_rng([salt, *map(int, self.case.title.split(":"))])

    @cached_property
    def init(self) -> np.ndarray:
        """A seed of relevance for each entry of the output."""
        return self.rng(1).normal(size=self.chain.values[self.output].shape)

    def explainer(self, composite: Any, **given: Any) -> reflrp.Explainer:
        return reflrp.Explainer(self.model, composite, output=self.output, **given)


def recognised(t: Trial, explainer: reflrp.Explainer) -> bool:
    """Return whether a node stands for more, or other, nodes than one block spells out."""
    spelled = [{n.name for n in b.nodes} for b in t.case.blocks if b.maker.startswith("spelled")]
    graph = explainer.program(t.case.feeds).graph
    return any(set(n.onnx) not in spelled for n in graph.nodes if n.name in graph.replaced)


def blamed(t: Trial) -> str:
    return "+".join(dict.fromkeys(b.maker for b in t.case.blocks))


def prepared(t: Trial, composite: Composite) -> tuple[Program, dict[str, np.ndarray]]:
    """Return the program, and all values; where the graph depends on the data, that of these inputs."""
    feeds = {k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in t.case.feeds.items()}
    shapes = {k: a.shape for k, a in feeds.items()}
    try:
        program = t.explainer(composite, strip=bool(t.rng(4).integers(2))).program(t.case.feeds)
        return program, program.forward(feeds)
    except (OtherWay, reflrp.UnsupportedOperator):
        graph = t.model.graph(shapes, feeds).restricted_to(t.output)
        program = prepare(graph, composite.assign(graph), converter("numpy", "float64"))
        return program, program.forward(feeds)


def apart(t: Trial) -> bool:
    """Return whether onnxruntime computes each sample alone as it does among the others, equal samples or not."""
    case, rng = t.case, t.rng(11)
    others = {
        k: rng.normal(size=a.shape).astype(a.dtype) if a.dtype.kind == "f" else rng.permutation(a)
        for k, a in case.feeds.items()
    }
    return all(_apart(replace(case, feeds=feeds)) for feeds in (case.feeds, others))


def _apart(case: Case) -> bool:
    try:
        together = run(case.model(), case.feeds)
        for i in range(case.count):
            for a, b in zip(together, run(case.model(), case.sample(i)), strict=True):
                if b.shape[:1] != (1,) or len(a) != case.count or not close(a[i : i + 1], b, 1e-4, 1e-5):
                    return False
    except Exception:
        return False
    return True


def hangs(explainer: reflrp.Explainer, t: Trial) -> bool:
    """Return whether a value, 0 but for rounding, may have any sign in float32."""
    program = explainer.program(t.case.feeds)
    feeds = {k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in t.case.feeds.items()}
    values = [a for k, a in program.forward(feeds).items() if program.graph.values[k].active]
    return any(((np.abs(a) < 1e-5) & (a != 0)).any() for a in values)
