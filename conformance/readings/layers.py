"""What libraries of single layers, in NumPy and Julia, were found to do that no setting names."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from reflrp.conformance.literal import rules as r
from reflrp.conformance.literal import rules_linear as rl
from reflrp.conformance.literal.oracle import Done, Oracle, _Run
from reflrp.conformance.literal.rules import Node, Params, Relevance
from reflrp.conformance.literal.steps import Linear, Numbers
from reflrp.conformance.protocol import RuleSpec
from reflrp.conformance.readings.base import Reading, Specs, formula

ZERO = Fraction(0)


def scaled(p: Params, factor: Fraction) -> Params:
    """Return parameters with another multiple of epsilon."""
    how = p["stabilizer"]
    return {**p, "stabilizer": {**how, "epsilon": r.fraction(how["epsilon"]) * factor}}


def share_of(node: Node) -> Fraction:
    """Return what an average multiplies its sum with; 1 of any other node."""
    pooled = isinstance(node.step, Linear) and node.step.kind == "pool" and node.step.rows and node.step.rows[0]
    return node.step.rows[0][0].share if pooled else Fraction(1)  # type: ignore[union-attr]


def epsilon_on_the_sum(node: Node, R: Numbers, p: Params) -> Relevance:
    """The stabiliser of an average stands beside the sum, so that it is epsilon over the count beside the mean."""
    return rl.epsilon(node, R, scaled({"bias": "absorb", **p}, share_of(node)))


def parts_of_toolbox(node: Node, R: Numbers, p: Params) -> Relevance:
    """Where alpha and beta both count, the negative part has 2 epsilon; of a pool, the square of R in it, too."""
    how = scaled(p, share_of(node))
    alpha, beta = r.fraction(p.get("alpha", 1)), r.fraction(p.get("beta", 0))
    positive = rl.alpha_beta(node, R, {**how, "alpha": alpha, "beta": ZERO})
    if alpha * beta == 0:
        return r.added(positive, rl.alpha_beta(node, R, {**how, "alpha": ZERO, "beta": beta}))
    pooled = isinstance(node.step, Linear) and node.step.kind == "pool"
    squared = [x * x for x in R] if pooled else R
    negative = rl.alpha_beta(node, squared, {**scaled(how, Fraction(2)), "alpha": ZERO, "beta": beta})
    return r.added(positive, negative)


def without(node: Node, R: Numbers, p: Params) -> Relevance:
    """Nothing is added to the count, or to the sum of squares."""
    return rl.flat(node, R, scaled(p, ZERO))


def squares_without(node: Node, R: Numbers, p: Params) -> Relevance:
    """Nothing is added to the sum of squares."""
    return rl.w_square(node, R, scaled(p, ZERO))


class ActivationCounted(Oracle):
    """A BatchNormalization whose ReLU, which relevance passes, counts as its own: where it is off, nothing passes."""

    def _share(self, done: Done, run: _Run, R: Numbers, specs: Mapping[str, RuleSpec]) -> Relevance:
        own = [d for d in run.steps if done.output in d.inputs]
        passes = len(own) == 1 and own[0].site.op == "Relu" and specs[own[0].name].rule == "pass"
        if done.site.op == "BatchNormalization" and passes and specs[done.name].rule in ("norm", "epsilon"):
            R = [x if z > 0 else ZERO for x, z in zip(R, run.values[done.output], strict=True)]
        return super()._share(done, run, R, specs)


def activation_counted(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
    """Return the change of what belongs to a BatchNormalization."""
    return ActivationCounted(**{f: getattr(oracle, f) for f in oracle.__dataclass_fields__}), specs


LAYERS = (
    Reading(
        "AB-1",
        "2 epsilon",
        "deviation",
        "Where alpha and beta both count, the negative part's denominator has 2 epsilon; in an average R is squared there, too.",
        formula(alpha_beta=parts_of_toolbox),
        ("lrp_toolbox",),
    ),
    Reading(
        "NORM-1",
        "epsilon of sums",
        "deviation",
        "An average's epsilon is in units of the sum.",
        formula(epsilon=epsilon_on_the_sum, norm=epsilon_on_the_sum, z_plus=parts_of_toolbox),
        ("lrp_toolbox",),
    ),
    Reading(
        "FLAT-1",
        "no stabiliser",
        "variant",
        "Nothing is added to the count, as in the papers.",
        formula(flat=without),
        ("lrp_toolbox", "relevance_propagation_jl"),
    ),
    Reading(
        "WSQ-1",
        "no stabiliser",
        "variant",
        "Nothing is added to the sum of squares, as in the papers.",
        formula(w_square=squares_without),
        ("lrp_toolbox",),
    ),
    Reading(
        "BN-1",
        "activation counted",
        "deviation",
        "A ReLU behind a BatchNormalization is part of it: where it is off, nothing passes.",
        activation_counted,
        ("relevance_propagation_jl",),
    ),
)
"""In the order of the libraries."""
