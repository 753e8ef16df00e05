"""The adapter of the dialect signxai: iNNvestigate's rules as SignXAI2 has them, and its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from reflrp.conformance.adapters.dialects import innvestigate
from reflrp.conformance.adapters.dialects.base import Params
from reflrp.conformance.adapters.dialects.innvestigate import KERNEL, bias, safe
from reflrp.conformance.adapters.reflrp import Loaded
from reflrp.conformance.protocol import Arrays, RuleSpec, Unsupported
from reflrp.dialects.innvestigate.layers import BatchNormalizationReverseLayer
from reflrp.dialects.signxai import rules
from reflrp.rules.base import Rule


class Adapter(innvestigate.Adapter):
    """SignXAI2's rules on layers with a kernel; what keeps its shape passes."""

    library: ClassVar[str] = "signxai"
    functions: ClassVar[frozenset[str]] = frozenset({"pass"})

    def explain(self, model: Loaded, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance of the input."""
        if len(inputs) > 1:
            raise Unsupported("SignXAI enters a network at its first layer alone")
        return super().explain(model, inputs, seed, rules)

    def norm(self, spec: RuleSpec) -> Rule:
        """Return the one rule of BatchNormalization."""
        if spec.rule not in ("norm", "epsilon") or spec.params.get("bias", "absorb") != "absorb":
            raise Unsupported(f"there is no rule {spec.rule!r} for a BatchNormalization, which has its own")
        return BatchNormalizationReverseLayer()


def _gamma(params: Params) -> Rule:
    if params["generalized"]:
        raise Unsupported("SignXAI has no generalised gamma rule")
    return rules.GammaRule(params["gamma"], params["bias"] != "ignore", as_released=True, stabilizer=safe(params))


def _sign(params: Params) -> Rule:
    mu = np.asarray(params["mu"], np.float64) if isinstance(params["mu"], list) else params["mu"]
    return rules.SIGNmuRule(bias=bias(params), stabilizer=safe(params), mu=mu)


def _stdx(params: Params) -> Rule:
    return rules.StdxEpsilonRule(params["factor"], bias(params))


def _box(params: Params) -> Rule:
    return innvestigate.box(params, partial(rules.BoundedRule, as_released=True))


RULES: dict[str, Callable[[Params], Rule]] = {
    **KERNEL,
    "alpha_beta_x": partial(innvestigate.alpha_beta_x, made=rules.AlphaBetaXRule),
    "gamma": _gamma,
    "sign": _sign,
    "stdx_epsilon": _stdx,
    "z_box": _box,
}
"""The rules for layers with a kernel, by the names that cases give them."""

Adapter.kernels = RULES
Adapter.rules = frozenset({*RULES, "gradient", "pass", "winner_takes_all"})
