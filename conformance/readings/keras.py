"""What iNNvestigate and SignXAI2 were found to do that no setting names: the verdicts try these too, as those of `libraries`."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from reflrp.conformance.literal import rules as r
from reflrp.conformance.literal import rules_linear as rl
from reflrp.conformance.literal.layers import LAYERS
from reflrp.conformance.literal.oracle import Oracle
from reflrp.conformance.literal.rules import Node, Params, Relevance, pos
from reflrp.conformance.literal.steps import Linear, Numbers, Site, Step
from reflrp.conformance.literal.table import Rule
from reflrp.conformance.readings.base import Reading, Specs, formula, seen
from reflrp.conformance.readings.libraries import UNWEIGHTED

KERAS_EPSILON = {"form": "nonzero", "epsilon": 1e-7, "norm_scale": False}
"""What both libraries put where a denominator is 0, unless Keras's epsilon is set."""


def zero_is_tiny(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
    """Return the change of the stabilisers without epsilon: 1e-7 stands where a denominator is 0."""
    return oracle, tuple(
        replace(s, params={**s.params, "stabilizer": KERAS_EPSILON}) if _unstabilised(s.params) else s for s in specs
    )


def _unstabilised(params: Params) -> bool:
    given = params.get("stabilizer")
    return given is not None and given["epsilon"] == 0


def only_at_zero(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
    """Return the change of all stabilisers but the epsilon rule's on layers with weights: epsilon stands only where z = 0."""

    def nonzero(params: Params) -> Params:
        return {**params, "stabilizer": {**params["stabilizer"], "form": "nonzero"}}

    def unweighted(rule: str) -> Rule:
        usual = oracle.rules[rule]

        def changed(node: Node, R: Numbers, p: Params) -> Relevance:
            own = isinstance(node.step, Linear) and node.step.kind in UNWEIGHTED
            return usual(node, R, nonzero(p) if own else p)

        return changed

    two = ("epsilon", "norm")
    found = tuple(
        replace(s, params=nonzero(s.params)) if "stabilizer" in s.params and s.rule not in two else s for s in specs
    )
    return replace(oracle, rules={**oracle.rules, **{k: unweighted(k) for k in two}}), found


def twice(node: Node, R: Numbers, p: Params) -> Relevance:
    """Where a value is added to itself, each of its places gets what all of them should share."""
    found = rl.norm(node, R, p)
    count = [sum(one is other for other in node.a) for one in node.a]
    return [r.times(n, part) for n, part in zip(count, found, strict=True)]


def variance_squared(site: Site) -> Step:
    """Return a BatchNormalization with the factor scale / sqrt(var^2 + e) and the bias B - mean / sqrt(var^2 + e)."""
    scale, mean, var = (np.asarray(site.constants[i], np.float64) for i in (1, 3, 4))
    changed = {**site.constants, 3: mean / scale, 4: var**2}
    return LAYERS[site.op](replace(site, constants=changed))


def nothing(node: Node, R: Numbers, p: Params) -> Relevance:
    """No input gets anything."""
    return node.zeros()


def gamma_minus_one(node: Node, R: Numbers, p: Params) -> Relevance:
    """Gamma A - B; A and B share R by a+ w+ + a w and by a+ w + a w+, each with the biases b and b+ in its denominator.

    Of inputs that are not negative A and B are one: (gamma - 1) times the gamma rule with gamma = 1.
    """
    if p["generalized"]:
        return rl.gamma(node, R, p)
    bias = [Fraction(0) if p["bias"] == "ignore" else b + pos(b) for b in node.linear.bias]
    how = KERAS_EPSILON if _unstabilised(p) else p["stabilizer"]
    one = r.shared(node, lambda a, t: t.share * (pos(a) * pos(t.parameter) + a * t.parameter), bias, R, how)
    other = r.shared(node, lambda a, t: t.share * (pos(a) * t.parameter + a * pos(t.parameter)), bias, R, how)
    g = r.fraction(p["gamma"])
    return [[g * x - y for x, y in zip(*parts, strict=True)] for parts in zip(one, other, strict=True)]


KERAS = (
    Reading(
        "STAB-2",
        "0 counts as 1e-7",
        "deviation",
        "A denominator of 0 is replaced by 1e-7.",
        zero_is_tiny,
        ("innvestigate", "signxai"),
    ),
    Reading(
        "GRAPH-1",
        "added to itself, doubled",
        "deviation",
        "Where a value is added to itself, each of its places gets all that they should share.",
        formula(norm=twice),
        ("innvestigate", "signxai"),
    ),
    Reading(
        "BN-1",
        "variance squared",
        "deviation",
        "A BatchNormalization is seen as x scale / s + B - mean / s with s = sqrt(var^2 + epsilon).",
        seen(BatchNormalization=variance_squared),
        ("innvestigate",),
    ),
    Reading("ZB-1", "nothing", "deviation", "The inputs get nothing.", formula(z_box=nothing), ("signxai",)),
    Reading(
        "GAMMA-1",
        "gamma A - B",
        "deviation",
        "gamma A - B, where A and B are the gamma rule with gamma = 1, negative inputs left out of one factor each.",
        formula(gamma=gamma_minus_one),
        ("signxai",),
    ),
    Reading(
        "STAB-3",
        "form=nonzero but EpsilonRule",
        "variant",
        "Epsilon stands only where z = 0, but in the epsilon rule of layers with weights.",
        only_at_zero,
        ("innvestigate", "signxai"),
    ),
)
"""The last one wraps what the others change."""
