"""The adapter of reflrp itself."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reflrp import rules as r
from reflrp.composites import Composite, Matcher, anything, kind, name
from reflrp.conformance.protocol import Arrays, Info, RuleSpec, Unsupported
from reflrp.errors import AdviceWarning
from reflrp.explainer import Explainer
from reflrp.model import Model, load
from reflrp.rules.base import Rule

RULES: Mapping[str, type[Rule]] = {
    "alpha_beta": r.AlphaBeta,
    "alpha_beta_x": r.AlphaBetaX,
    "beta_smooth": r.BetaSmooth,
    "deconvnet": r.DeconvNet,
    "epsilon": r.Epsilon,
    "epsilon_uniform": r.EpsilonUniform,
    "flat": r.Flat,
    "gamma": r.Gamma,
    "gradient": r.Gradient,
    "guided_backprop": r.GuidedBackprop,
    "half": r.Half,
    "norm": r.Norm,
    "pass": r.Pass,
    "product_alpha_beta": r.ProductAlphaBeta,
    "ratio": r.Ratio,
    "sign": r.Sign,
    "signal_takes_all": r.SignalTakesAll,
    "stdx_epsilon": r.StdxEpsilon,
    "stop": r.Stop,
    "taylor": r.Taylor,
    "uniform": r.Uniform,
    "w_square": r.WSquare,
    "winner_takes_all": r.WinnerTakesAll,
    "z_box": r.ZBox,
    "z_plus": r.ZPlus,
}
"""The rules by the names that cases give them."""

FOLD = "fold"
"""What a case says of a BatchNormalization that is to be folded into its linear neighbour."""

RECURRENT = "recurrent"
"""What a case says of a whole LSTM, GRU or RNN: each of its parts by its kind."""


class Loaded(NamedTuple):
    """A model, and what it is computed in."""

    model: Model
    dtype: str


class Adapter:
    """reflrp on NumPy, in float64, float32 or fractions (dtype="exact")."""

    def describe(self) -> Info:
        """Return who is judged."""
        rules = frozenset({*RULES, FOLD, RECURRENT})
        return Info("reflrp", version("reflrp"), rules, None, ("float64", "float32", "exact"), intermediates=True)

    def load(self, model: Path, dtype: str) -> Loaded:
        """Return the imported model."""
        return Loaded(load(model), dtype)

    def composite(self, model: Loaded, rules: Sequence[RuleSpec]) -> Composite:
        """Return what a case's rules mean; dialects mean something else."""
        return composite_of(rules)

    def forward(self, model: Loaded, inputs: Arrays) -> Arrays:
        """Return the outputs."""
        if model.dtype == "exact":
            return {k: self._forward_exact(model, inputs, k) for k in model.model.outputs}
        return model.model.run(dict(inputs), dtype=model.dtype)

    def _forward_exact(self, model: Loaded, inputs: Arrays, output: str) -> np.ndarray:
        """Return an output in fractions, rounded once; the rules say nothing of it."""
        anyhow = Composite(((anything(), r.Gradient()),), "forward")
        like = model.model.run(dict(inputs))[output]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AdviceWarning)
            return _explainer(model, anyhow, output)(dict(inputs), init=np.ones_like(like)).rounded().output

    def explain(self, model: Loaded, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance of inputs and inner values; that of several outputs is the sum."""
        composite = self.composite(model, rules)
        found: dict[str, Any] = {}
        for output, init in seed.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AdviceWarning)  # cases are odd on purpose
                e = _explainer(model, composite, output)(dict(inputs), init=init, layers=True)
            for k, v in {**e.layers, **e.relevances}.items():
                found[k] = found[k] + v if k in found else v
        zeros = {k: np.zeros(v.shape) for k, v in inputs.items()}  # of inputs that no output depends on
        return {**zeros, **{k: rounded(v) for k, v in found.items()}}


def rounded(values: np.ndarray) -> np.ndarray:
    """Return fractions as the nearest float64; other numbers as they are."""
    return np.vectorize(float, otypes=[np.float64])(values) if values.dtype == object else values


def _explainer(model: Loaded, composite: Composite, output: str) -> Explainer:
    return Explainer(
        model.model, composite, output=output, dtype=model.dtype, strip=False, preprocess="absorb", batch_size=None
    )


def composite_of(rules: Sequence[RuleSpec]) -> Composite:
    """Return the composite with one pair for each node that a case names; a node that it leaves out has no rule."""
    pairs = tuple(pair for spec in rules if spec.rule != FOLD for pair in _pairs(spec))
    folds = ("fold_batchnorm",) if any(spec.rule == FOLD for spec in rules) else ()
    return Composite(pairs, "case", folds)


def _pairs(spec: RuleSpec) -> tuple[tuple[Matcher, Rule], ...]:
    """Return what stands on a node; of a recurrent one, on its parts."""
    node = name(literally(spec.node))
    if spec.rule != RECURRENT:
        return ((node, rule_of(spec)),)
    how = r.Stabilizer(**spec.params["stabilizer"])
    product = r.Half(how) if spec.params["product"] == "half" else r.SignalTakesAll("auto", how)
    return (node & kind("product"), product), (node & kind("pointwise"), r.Pass()), (node, r.Epsilon(stabilizer=how))


def literally(text: str) -> str:
    """Return the glob of one name."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def rule_of(spec: RuleSpec) -> Rule:
    """Return the rule that a case asks for. Raises Unsupported for a name that is none of ours."""
    if spec.rule not in RULES:
        raise Unsupported(f"reflrp has no rule {spec.rule!r}")
    return RULES[spec.rule](**{k: _value(k, v) for k, v in spec.params.items()})


def _value(field: str, value: Any) -> Any:
    """Return a parameter as the rules take it: stabilisers as such, pairs of factors as tuples, bounds as arrays."""
    if isinstance(value, Mapping):
        return r.Stabilizer(**value)
    if isinstance(value, list):
        return tuple(value) if field in ("alpha", "beta") else np.asarray(value, np.float64)
    return value
