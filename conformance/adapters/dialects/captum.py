"""The adapter of the dialect captum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from reflrp.composites import Composite, name
from reflrp.conformance.adapters.dialects.base import Dialect, Params, Place, epsilon_of, only, places_of
from reflrp.conformance.adapters.reflrp import Loaded, literally
from reflrp.conformance.protocol import Arrays, RuleSpec, Unsupported
from reflrp.dialects import captum
from reflrp.rules.base import Rule

UNSEEN = 1e-30
"""A stabiliser that changes no number but 0, as the library's adapter gives to max-pools."""

PASSING = ("Relu", "Tanh", "Dropout")
"""What captum lets relevance through, whatever rule it is given."""


class Adapter(Dialect):
    """captum's rules in `module.rule`. What has the rule `gradient`, or none, is a function to captum."""

    library: ClassVar[str] = "captum"

    def explain(self, model: Loaded, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance of the inputs."""
        if any(np.asarray(x).dtype.kind != "f" for x in inputs.values()):
            raise Unsupported("captum explains float inputs only")
        return super().explain(model, inputs, seed, rules)

    def rule(self, place: Place, spec: RuleSpec) -> Rule | None:
        """Return captum's rule for a node; None for a function, and for what passes in any case."""
        if spec.rule == "gradient" or (spec.rule == "pass" and place.op_type in PASSING):
            return None
        if spec.rule == "pass":
            return captum.IdentityRule()
        if place.op_type in PASSING:
            raise Unsupported(f"captum passes relevance through {place.op_type}, whatever rule it is given")
        if spec.rule == "winner_takes_all":
            if place.op_type != "MaxPool":
                raise Unsupported("captum has no rule for a maximum that is no MaxPool")
            return captum.EpsilonRule(UNSEEN)
        return RULES[spec.rule](spec.params)

    def composed(self, model: Loaded, ruled: Mapping[str, Rule], rules: Sequence[RuleSpec]) -> Composite:
        """Return the composite: what is no module with a rule, and lets nothing through, is a function."""
        modules = {*ruled, *(spec.node for spec in rules if spec.rule == "pass")}
        functions = [name(literally(node)) for node in places_of(model) if node not in modules]
        pairs: list[Any] = [(name(literally(node)), rule) for node, rule in ruled.items()]
        return captum.LRP(pairs, functions)


def _epsilon_rule(params: Params) -> Rule:
    if params.get("bias", "absorb") != "absorb":
        raise Unsupported("captum's EpsilonRule takes the bias as it is")
    return captum.EpsilonRule(epsilon_of("captum", params))


def _gamma(params: Params) -> Rule:
    only("captum", params, generalized=False)
    return _stabilized(captum.GammaRule(params["gamma"], params["bias"] == "ignore"), params)


def _z_plus(params: Params) -> Rule:
    return _stabilized(captum.Alpha1_Beta0_Rule(params["bias"] == "ignore"), params)


def _alpha_beta(params: Params) -> Rule:
    only("captum", params, alpha=1, beta=0)
    return _z_plus(params)


def _stabilized(rule: Rule, params: Params) -> Rule:
    """Set the constant of a rule that has no argument for it, as the library's adapter sets STABILITY_FACTOR."""
    object.__setattr__(rule, "epsilon", epsilon_of("captum", params))
    return rule


RULES: Mapping[str, Callable[[Params], Rule]] = {
    "alpha_beta": _alpha_beta,
    "epsilon": _epsilon_rule,
    "gamma": _gamma,
    "norm": _epsilon_rule,
    "z_plus": _z_plus,
}
"""The rules that captum has, by the names that cases give them."""

Adapter.rules = frozenset({*RULES, "gradient", "pass", "winner_takes_all"})
