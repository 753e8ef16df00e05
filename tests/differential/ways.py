"""Ways to compile a file: a composite, what relevance starts from, an opset; and the same asked of the engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from onnx import ModelProto

import reflrp
from differential import rules
from differential.trial import Trial
from reflrp.composites import preset

OPSETS = (None, None, 17, 18, 21, 22)

MORE = (
    *("epsilon_alpha2_beta1_flat", "deconvnet", "beta_smooth", "sequential_a", "sequential_b", "sequential_b_flat"),
    *(
        "zennit.EpsilonPlus",
        "zennit.EpsilonPlusFlat",
        "zennit.EpsilonAlpha2Beta1",
        "zennit.EpsilonGammaBox(low=-4.0, high=4.0)",
    ),
    *("innvestigate.LRPAlpha1Beta0", "innvestigate.LRPAlpha2Beta1IgnoreBias"),
)
"""Composites that no other check draws."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Size:
    """Inputs of some size; for each entry of the output a seed of relevance; a target for each sample, where they are asked for."""

    label: str
    feeds: Arrays
    init: np.ndarray
    target: Any


@dataclass(frozen=True)
class Way:
    """One way to compile a file. Values are named as the outputs of the compiled graph: `relevance/x`, `layer/h`.

    `init` and `target` are what `reflrp.compile` is given.
    """

    proto: ModelProto
    title: str
    composite: Any
    output: str
    strip: bool
    opset: int | None
    derived: Any
    init: str = "input"
    target: Any = None
    layers: bool = True

    @property
    def words(self) -> str:
        asked = "" if self.init == "input" else f", init={self.init!r}, target={self.target!s}"
        return f"{self.title}, opset {self.opset}, strip={self.strip}, derived={self.derived!r}{asked}"

    @cached_property
    def model(self) -> reflrp.Model:
        return reflrp.load(self.proto)

    def explainer(self, dtype: str = "float64") -> reflrp.Explainer:
        return reflrp.Explainer(self.model, self.composite, output=self.output, strip=self.strip, dtype=dtype)

    def explained(self, at: Size, dtype: str = "float64") -> reflrp.Explanation:
        """Return the engine's explanation."""
        if self.init == "input":
            return self.explainer(dtype)(at.feeds, init=at.init, layers=self.layers)
        target = at.target if self.target == "input" else self.target
        return self.explainer(dtype)(at.feeds, init=self.init, target=target, layers=self.layers)

    def size(self, label: str, feeds: Arrays, y: np.ndarray, rng: np.random.Generator) -> Size:
        """Return a size, with a seed and targets for outputs like y."""
        init = rng.normal(size=y.shape).astype(np.float32)
        target = rng.integers(-y.shape[1], y.shape[1], len(y)) if self.target == "input" else None
        return Size(label, feeds, init, target)

    @cached_property
    def compiled(self) -> ModelProto:
        return reflrp.compile(
            self.proto, self.composite, init=self.init, target=self.target, output=self.output, layers=self.layers,
            opset=self.opset, derived=self.derived, strip=self.strip,
        )  # fmt: skip

    @cached_property
    def session(self) -> Any:
        return optimised(self.compiled)

    @cached_property
    def itself(self) -> Any:
        return optimised(self.proto)

    @property
    def outputs(self) -> list[str]:
        return [o.name for o in self.proto.graph.output]

    @staticmethod
    def given(session: Any, feeds: Arrays) -> Arrays:
        """Return the inputs that a session takes."""
        return {i.name: feeds[i.name] for i in session.get_inputs()}

    def found(self, at: Size) -> Arrays:
        """Return what the compiled graph gives."""
        given = self.given(self.session, {**at.feeds, "init": at.init, "target": at.target})
        return dict(zip([o.name for o in self.session.get_outputs()], self.session.run(None, given), strict=True))

    def limits(self, feeds: Arrays) -> bool:
        """Return whether the lengths of inputs are among those that the compiled graph says it is for."""
        said = {p.key: p.value for p in self.compiled.metadata_props}.get("reflrp.lengths", "")
        ports = {i.name: i.type.tensor_type.shape.dim for i in self.proto.graph.input}
        known = {
            d.dim_param: n for k, a in feeds.items() for d, n in zip(ports[k], a.shape, strict=True) if d.dim_param
        }
        return all(eval(c, {"__builtins__": {}, "floor": math.floor}, known) for c in said.split(", ") if c)


def optimised(proto: ModelProto) -> Any:
    """Return a session as users have it, with all of onnxruntime's optimisations; on one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def way(t: Trial, salt: int, proto: ModelProto) -> Way:
    """Return one of the ways to compile a file."""
    rng = t.rng(salt)
    title = str(rng.choice(rules.PRESETS)) if rng.random() < 0.5 else "random"
    composite = rules.composite(rng, alone=True) if title == "random" else preset(title)
    opset = OPSETS[int(rng.integers(len(OPSETS)))]
    opset = None if (opset or 0) < t.case.opset else opset
    strip, derived = bool(rng.integers(2)), str(rng.choice(["graph", "stored"]))
    if rng.random() < 0.2:
        title = composite = str(rng.choice(MORE))
    init, target = start(rng, t.chain.values[t.output].shape)
    return Way(proto, title, composite, t.output, strip, opset, derived, init, target, bool(rng.random() < 0.85))


def start(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[str, Any]:
    """Return what relevance starts from, for an output of a shape: `init` and `target`."""
    if rng.random() < 0.5 or len(shape) < 2:
        return "input", None
    one, other = (tuple(int(rng.integers(-n, n)) for n in shape[1:]) for _ in range(2))
    several = any((a - b) % n for a, b, n in zip(one, other, shape[1:], strict=True))
    ways = (None, None, one, reflrp.Contrast(one, other) if several else one, "input" if len(shape) == 2 else None)
    return str(rng.choice(["one", "output"])), ways[int(rng.integers(len(ways)))]
