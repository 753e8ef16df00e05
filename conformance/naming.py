"""Names for answers that no single vector knows: published readings are tried on a case, one, two and three at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from reflrp.conformance.cases import Case
from reflrp.conformance.literal import Oracle
from reflrp.conformance.literal.numbers import nearest
from reflrp.conformance.literal.rules import NotServed
from reflrp.conformance.protocol import Adapter, Arrays, Info, RuleSpec
from reflrp.conformance.readings import PUBLISHED, READINGS, Reading
from reflrp.conformance.verdicts import Verdict, distance

MOST = 3
"""How many readings may come together."""

NEARER = 10
"""How many times nearer than the expected answer a reading's must be, so that noise gets no name."""


class Kept:
    """An adapter that remembers its library's last answer."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.answer: Any = {}

    def describe(self) -> Info:
        """Return who is judged."""
        return self.adapter.describe()

    def load(self, model: Path, dtype: str) -> Any:
        """Return the library's model."""
        return self.adapter.load(model, dtype)

    def forward(self, model: Any, inputs: Arrays) -> Arrays:
        """Return the outputs."""
        return self.adapter.forward(model, inputs)

    def explain(self, model: Any, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance, and keep it."""
        found = self.adapter.explain(model, inputs, seed, rules)
        self.answer = found
        return found


class Asked:
    """A case with the answers of readings to it, each worked out once."""

    def __init__(self, case: Case) -> None:
        self.case = case

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The parsed file."""
        return onnx.load(self.case.model)

    def answer(self, readings: Sequence[Reading], wanted: Arrays) -> dict[str, np.ndarray] | None:
        """Return the relevance of these values under the readings together; None where they cannot be held together.

        Any other error is a slip of a reading or of the oracle, and is raised: as None it would hide what the reading explains.
        """
        oracle, specs = Oracle(), self.case.rules
        try:
            for reading in readings:
                oracle, specs = reading.change(oracle, specs)
            found = oracle(self.model, self.case.part("in"), self.case.part("seed"), specs).relevance
        except (NotServed, ArithmeticError):
            return None  # a reading that says nothing of this node, or divides by 0
        return {k: nearest(found[k]) if k in found else np.zeros(v.shape) for k, v in wanted.items()}


def compared(case: Case, answer: Mapping[str, Any], tolerance: float) -> dict[str, np.ndarray]:
    """Return what readings must give: the inputs' relevance, or with it that of all values on offer where the inputs' agrees."""
    expected = case.part("expected")
    if distance({k: np.asarray(answer[k]) for k in expected}, expected) > tolerance:
        return expected
    inner = {k: v for k, v in case.part("relevance").items() if k in answer and np.shape(answer[k]) == v.shape}
    return {**inner, **expected}


FORKS = {"signxai": "innvestigate"}
"""Libraries that share the readings of the one that they come from."""


def explained(case: Case, answer: Mapping[str, Any], tolerance: float, library: str = "") -> tuple[Reading, ...]:
    """Return the fewest published readings that together give this answer, the library's own before others; none where none do."""
    expected, asked = compared(case, answer, tolerance), Asked(case)
    found = {k: np.asarray(answer[k]) for k in expected}
    limit = min(tolerance, distance(found, expected) / NEARER)
    useful: list[Reading] = []
    for several in _sets(useful, {library, FORKS.get(library, library)}):
        other = asked.answer(several, expected)
        if other is None:
            continue
        if len(several) == 1 and distance(other, expected) > 0:
            useful.append(several[0])
        if distance(found, other) * _unit(other) <= limit * max(_unit(expected), _unit(other)):
            return several  # what is far larger than expected is rounded as far
    return ()


def of_tag(tag: str) -> Iterator[tuple[Reading, ...]]:
    """Yield the readings that a verdict's variant may name: "bias=full + inputs=raw"; several clauses have a reading of a name."""
    known = dict.fromkeys((*READINGS, *PUBLISHED))
    return product(*([r for r in known if r.tag == part] for part in tag.split(" + ")))


def named_as(case: Case, answer: Any, verdict: Verdict, tag: str) -> Verdict:
    """Return a FAIL as the readings of a tag, if these give the answer; any other verdict as it is."""
    if verdict.verdict != "FAIL" or case.expect != "match":
        return verdict
    expected, asked = compared(case, answer, verdict.tolerance), Asked(case)
    found = {k: np.asarray(answer[k]) for k in expected}
    for readings in of_tag(tag):
        other = asked.answer(readings, expected)
        # where a denominator nearly cancels, answers are large, and rounding is
        size = max(_unit(expected), _unit(other or {}))
        if other is not None and distance(found, other) * _unit(other) <= verdict.tolerance * size:
            return replace(verdict, verdict=_word(readings), variant=tag, message=" ".join(r.text for r in readings))
    return verdict


def _word(readings: Sequence[Reading]) -> str:
    return "VARIANT" if all(reading.status == "variant" for reading in readings) else "DEVIATES"


def _sets(useful: list[Reading], libraries: set[str]) -> Iterator[tuple[Reading, ...]]:
    """Yield each reading, the libraries' own first, then pairs and triples of those that turned out to change something."""
    yield from ((r,) for r in sorted(PUBLISHED, key=lambda r: libraries.isdisjoint(r.seen_in)))
    for count in range(2, MOST + 1):
        yield from combinations(useful, count)


def _unit(arrays: Arrays) -> float:
    return max((float(np.abs(v).max(initial=0.0)) for v in arrays.values()), default=0.0) or 1.0


def named(case: Case, answer: Any, verdict: Verdict, library: str = "") -> Verdict:
    """Return a FAIL with the readings that explain it in place of the nearest one; other verdicts as they are."""
    if verdict.verdict != "FAIL" or case.expect != "match":
        return verdict
    readings = explained(case, answer, verdict.tolerance, library)
    if not readings:
        return verdict
    tag, text = " + ".join(reading.tag for reading in readings), " ".join(reading.text for reading in readings)
    return replace(verdict, verdict=_word(readings), variant=tag, message=text)
