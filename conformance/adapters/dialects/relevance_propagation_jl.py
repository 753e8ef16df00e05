"""The adapter of the dialect relevance_propagation_jl."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from reflrp import rules as r
from reflrp.composites import Composite, name
from reflrp.conformance.adapters.dialects.base import Dialect, Params, Place, epsilon_of
from reflrp.conformance.adapters.reflrp import Loaded, literally
from reflrp.conformance.protocol import Arrays, RuleSpec, Unsupported
from reflrp.dialects import relevance_propagation_jl as jl
from reflrp.dialects.relevance_propagation_jl.composites import Primitive
from reflrp.rules.base import Rule

TITLE = "RelevancePropagation.jl"
UNSEEN = 1e-30
"""A stabiliser that changes no number but 0, where a case has none."""

ACTIVATIONS = frozenset({"Relu", "Tanh", "Sigmoid", "Elu", "LeakyRelu", "Softplus", "Gelu"})
WEIGHTED = frozenset({"Gemm", "MatMul", "Conv", "ConvTranspose"})


class Adapter(Dialect):
    """The rules of RelevancePropagation.jl on layers by name; ZeroRule on the rest."""

    library: ClassVar[str] = "relevance_propagation_jl"

    def explain(self, model: Loaded, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance of all values; bounds are arrays of the input's size, as the library asks for."""
        shapes = {x.shape for x in inputs.values()}
        return super().explain(model, inputs, seed, [_sized(spec, shapes) for spec in rules])

    def rule(self, place: Place, spec: RuleSpec) -> Rule | None:
        """Return the library's rule for a node."""
        biases = RULES[spec.rule][1]
        if spec.params.get("bias", biases) != biases or spec.params.get("inputs", "split") != "split":
            raise Unsupported(f"{TITLE}'s rule has no bias={spec.params.get('bias')!r}")
        self._fits(place, spec)
        if place.values > 1:
            return r.Norm(_epsilon(spec.params))
        return RULES[spec.rule][0](spec.params)

    @staticmethod
    def _fits(place: Place, spec: RuleSpec) -> None:
        """Raise Unsupported for layers that Flux does not have, or that have not such a rule."""
        weighted = place.op_type in WEIGHTED or (place.op_type in ("Add", "Mul") and bool(place.constants))
        if spec.rule in WITH_WEIGHTS and not weighted:
            raise Unsupported(f"LRPCompatibilityError: {place.op_type} has no weight and bias")
        if place.op_type in ("LayerNormalization", "Sub", "Div"):
            raise Unsupported(f"Flux has no layer for {place.op_type}")
        if spec.rule == "winner_takes_all" and place.op_type != "MaxPool":
            raise Unsupported(f"{TITLE} has max-pools only")
        if spec.rule == "ratio" and place.op_type not in ACTIVATIONS:
            raise Unsupported(f"{TITLE} has activations only")
        if place.values > 1 and (spec.rule not in ("norm", "epsilon") or place.op_type not in ("Add", "Sum")):
            raise Unsupported("sums share in proportion to the branches' outputs")

    def composed(self, model: Loaded, ruled: Mapping[str, Rule], rules: Sequence[RuleSpec]) -> Composite:
        """Return the composite, whose activations are their layers' own where relevance passes them."""
        pairs = tuple((name(literally(node)), rule) for node, rule in ruled.items())
        if len(model.model.inputs) != 1 or len(model.model.outputs) != 1:
            raise Unsupported("a chain has one input and one output")
        sums = tuple(pair for pair in pairs if isinstance(pair[1], r.Norm))
        found = jl.Composite(Primitive("case", pairs), skip_checks=True)
        object.__setattr__(found, "pairs", (*sums, *found.pairs))  # its own rule for sums has 1e-9
        return found


def _sized(spec: RuleSpec, shapes: set[tuple[int, ...]]) -> RuleSpec:
    """Return a rule whose bounds have the size of the one input."""
    bounds = {k: v for k, v in spec.params.items() if k in ("low", "high") and isinstance(v, list)}
    if not bounds or len(shapes) != 1:
        return spec
    (shape,) = shapes
    sized = {k: np.broadcast_to(np.asarray(v, np.float64), shape) for k, v in bounds.items()}
    return RuleSpec(spec.node, spec.rule, {**spec.params, **sized})


def _epsilon(params: Params) -> float:
    return epsilon_of(TITLE, params) if "stabilizer" in params else UNSEEN


def _zero(params: Params) -> Rule:
    return jl.EpsilonRule(_epsilon(params))


def _gamma(params: Params) -> Rule:
    made = jl.GeneralizedGammaRule if params["generalized"] else jl.GammaRule
    return _stabilized(made(params["gamma"]), params)


def _stabilized(rule: Rule, params: Params) -> Rule:
    """Overload `modify_denominator`, as the library has it."""
    object.__setattr__(rule, "stabilizer", _epsilon(params))
    return rule


RULES: Mapping[str, tuple[Callable[[Params], Rule], str]] = {
    "alpha_beta": (lambda p: _stabilized(jl.AlphaBetaRule(p["alpha"], p["beta"]), p), "split"),
    "epsilon": (_zero, "absorb"),
    "flat": (lambda p: _stabilized(jl.FlatRule(), p), ""),
    "gamma": (_gamma, "scale"),
    "norm": (_zero, "absorb"),
    "pass": (lambda p: jl.PassRule(), ""),
    "ratio": (_zero, ""),
    "w_square": (lambda p: _stabilized(jl.WSquareRule(), p), "ignore"),
    "winner_takes_all": (_zero, ""),
    "z_box": (lambda p: _stabilized(jl.ZBoxRule(p["low"], p["high"]), p), ""),
    "z_plus": (lambda p: _stabilized(jl.ZPlusRule(), p), "split"),
}
"""The rules, each with the way in which it treats biases, by the names that cases give them."""

WITH_WEIGHTS = frozenset({"alpha_beta", "flat", "gamma", "w_square", "z_box", "z_plus"})
"""Those that stand on layers with weight and bias only."""

Adapter.rules = frozenset(RULES)
