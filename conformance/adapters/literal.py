"""The adapter of the literal oracle, and of its mutants: the same with one clause read otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from reflrp.conformance.literal import Oracle
from reflrp.conformance.literal.numbers import nearest
from reflrp.conformance.protocol import Arrays, Info, RuleSpec
from reflrp.conformance.readings import Reading


class Adapter:
    """The literal oracle in fractions, rounded once; with a reading, that reading's answers."""

    def __init__(self, reading: Reading | None = None) -> None:
        self.reading = reading

    def describe(self) -> Info:
        """Return who is judged."""
        name = "literal oracle" if self.reading is None else f"mutant: {self.reading.clause}, {self.reading.tag}"
        return Info(name, "1", None, None, ("float64", "float32", "exact"), intermediates=True)

    def load(self, model: Path, dtype: str) -> onnx.ModelProto:
        """Return the parsed file."""
        return onnx.load(model)

    def _changed(self, rules: Sequence[RuleSpec]) -> tuple[Oracle, Sequence[RuleSpec]]:
        return self.reading.change(Oracle(), tuple(rules)) if self.reading else (Oracle(), rules)

    def forward(self, model: onnx.ModelProto, inputs: Arrays) -> Arrays:
        """Return the outputs."""
        oracle, _ = self._changed(())
        values = oracle(model, inputs, {}, ()).values
        return {o.name: nearest(values[o.name]) for o in model.graph.output}

    def explain(self, model: onnx.ModelProto, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance of all values."""
        oracle, specs = self._changed(rules)
        found = oracle(model, inputs, seed, specs).relevance
        zeros = {k: np.zeros(v.shape) for k, v in inputs.items()}
        return {**zeros, **{k: nearest(v) for k, v in found.items()}}


class Permissive(Adapter):
    """A library that refuses nothing: where it fails it answers with zeros."""

    def describe(self) -> Info:
        """Return who is judged."""
        return Info("mutant: refuses nothing", "1")

    def explain(self, model: onnx.ModelProto, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the oracle's answer, or zeros."""
        try:
            return super().explain(model, inputs, seed, rules)
        except Exception:
            return {k: np.zeros(v.shape) for k, v in inputs.items()}
