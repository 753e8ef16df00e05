"""The adapter of what `reflrp.compile` makes: one ONNX graph with the relevance in it, run by onnxruntime in float32."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from reflrp.compiler import compile
from reflrp.conformance.adapters.reflrp import FOLD, RECURRENT, RULES, composite_of
from reflrp.conformance.protocol import Arrays, Info, RuleSpec, Unsupported
from reflrp.errors import InputError, ModelError
from reflrp.model import load
from reflrp.storage.files import opened


class Adapter:
    """Compiled graphs; what the compiler refuses by name is unsupported."""

    def describe(self) -> Info:
        """Return who is judged."""
        return Info("reflrp.compile", version("reflrp"), frozenset({*RULES, FOLD, RECURRENT}), None, ("float32",))

    def load(self, model: Path, dtype: str) -> bytes:
        """Return the file's bytes, once it is known to be a model."""
        load(model)
        with opened(model) as file:
            return file.read()

    def forward(self, model: bytes, inputs: Arrays) -> Arrays:
        """Return the outputs of the model as it is, by onnxruntime."""
        return _run(model, inputs)

    def explain(self, model: bytes, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance that compiled graphs compute, one graph an output, added up."""
        found: dict[str, np.ndarray] = {k: np.zeros(v.shape) for k, v in inputs.items()}
        for output, init in seed.items():
            shapes = {k: v.shape for k, v in inputs.items()}
            try:
                made = compile(
                    model,
                    composite_of(rules),
                    init="input",
                    output=output,
                    shapes=shapes,
                    preprocess="absorb",
                    strip=False,
                )
            except (InputError, ModelError) as error:
                raise Unsupported(str(error)) from error
            for k, v in _run(made.SerializeToString(), {**inputs, "init": init}).items():
                if k.startswith("relevance/"):
                    found[k.removeprefix("relevance/")] += v
        return found


def _run(model: bytes, inputs: Arrays) -> dict[str, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # a failure is an exception all the same
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    wanted = {i.name for i in session.get_inputs()}
    feeds = {k: np.asarray(v, np.float32) for k, v in inputs.items() if k in wanted}
    return dict(zip(names, session.run(names, feeds), strict=True))
