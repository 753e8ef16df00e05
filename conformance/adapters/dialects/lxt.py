"""The adapter of the dialect lxt, in the form that LXT calls explicit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from reflrp.conformance.adapters.dialects.base import Dialect, Params, Place, epsilon_of, only
from reflrp.conformance.protocol import RuleSpec, Unsupported
from reflrp.dialects import lxt
from reflrp.rules.base import Rule

FORMS = ("plain", "signed")
"""LXT adds epsilon whatever the sign; where a case asks for the signed form, that is what is judged."""


class Adapter(Dialect):
    """LXT's rules in place of modules and functions; what has none is a plain gradient."""

    library: ClassVar[str] = "lxt"

    def rule(self, place: Place, spec: RuleSpec) -> Rule | None:
        """Return LXT's rule for a node; None where it has none and none is needed."""
        if spec.rule == "winner_takes_all" and place.op_type != "MaxPool":
            raise Unsupported("LXT has no rule for a maximum that is no MaxPool")
        return None if spec.rule in LEFT else RULES[spec.rule](place, spec.params)


def _epsilon(place: Place, params: Params) -> Rule:
    if params.get("bias", "absorb") != "absorb":
        raise Unsupported("LXT's epsilon rule takes the bias as it is")
    if place.op_type == "LayerNormalization":
        raise Unsupported("the epsilon of LXT's layer_norm cannot be chosen")
    if place.op_type == "RMSNormalization":
        raise Unsupported("LXT's rule for an RMSNorm is the identity")
    if place.values > 2:
        raise Unsupported("LXT has no rule for more than two values")
    epsilon = epsilon_of("LXT", params, FORMS)
    return lxt.add2(epsilon) if place.op_type in ("Add", "Sum") and place.values == 2 else lxt.EpsilonRule(epsilon)


def _ratio(place: Place, params: Params) -> Rule:
    return lxt.EpsilonRule(epsilon_of("LXT", params, FORMS))


def _pass(place: Place, params: Params) -> Rule:
    if place.values != 1:
        raise Unsupported("LXT's IdentityRule takes one value")
    return lxt.IdentityRule()


def _stop(place: Place, params: Params) -> Rule:
    if place.values != 1:
        raise Unsupported("LXT's StopRelevanceRule takes one value")
    return lxt.StopRelevanceRule()


def _half(place: Place, params: Params) -> Rule:
    only("LXT", params, over="active")
    if place.op_type == "MatMul" and place.values == 2:
        return lxt.matmul(epsilon_of("LXT", params, FORMS))
    return _uniform(place, params)


def _uniform(place: Place, params: Params) -> Rule:
    only("LXT", params, over="active")
    if place.op_type != "Mul":
        raise Unsupported(
            "LXT's uniform rule is for a product entry by entry, its half of epsilon for a matmul of two values"
        )
    return lxt.mul2() if place.values == 2 else lxt.UniformRule()


def _taylor(place: Place, params: Params) -> Rule:
    if place.op_type != "Softmax":
        raise Unsupported("LXT's rule is for a softmax")
    return lxt.softmax()


RULES: Mapping[str, Callable[[Place, Params], Rule]] = {
    "epsilon": _epsilon,
    "epsilon_uniform": lambda place, params: lxt.UniformEpsilonRule(epsilon_of("LXT", params, FORMS)),
    "half": _half,
    "norm": _epsilon,
    "pass": _pass,
    "ratio": _ratio,
    "stop": _stop,
    "taylor": _taylor,
    "uniform": _uniform,
}
"""The rules that LXT has, by the names that cases give them."""

LEFT = frozenset({"gradient", "winner_takes_all"})
"""What is torch's own gradient."""

Adapter.rules = frozenset({*RULES, *LEFT})
