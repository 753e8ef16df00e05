"""What a library was found to do that no setting names: the verdicts try these too, and mutants and vectors do without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from reflrp.conformance.literal import rules as r
from reflrp.conformance.literal import rules_linear as rl
from reflrp.conformance.literal import rules_other as ro
from reflrp.conformance.literal.layers import LAYERS
from reflrp.conformance.literal.numbers import sqrt
from reflrp.conformance.literal.oracle import Done, Oracle, _Run
from reflrp.conformance.literal.rules import Node, Params, Relevance, neg, pos
from reflrp.conformance.literal.steps import Linear, Numbers, Site, Step, Term
from reflrp.conformance.literal.table import Rule
from reflrp.conformance.literal.tensors import TENSORS
from reflrp.conformance.protocol import RuleSpec
from reflrp.conformance.readings.base import Change, Reading, Specs, formula, seen
from reflrp.conformance.readings.layers import LAYERS as OF_LAYERS
from reflrp.conformance.readings.norms import apart_or, sample_deviation, stabiliser_lost, whole_jacobian

UNWEIGHTED = frozenset({"pool", "sum"})
"""Linear maps that have no weights of their own to split."""


@dataclass(frozen=True)
class Shifted(Linear):
    """A BatchNormalization that remembers which part of its bias is beta."""

    beta: tuple[Fraction, ...] = ()


def shifted(site: Site) -> Step:
    """Return a BatchNormalization with beta apart from the mean's share of the bias."""
    step = LAYERS[site.op](site)
    assert isinstance(step, Linear)
    still = {**site.constants, 3: site.constants[3] * 0}
    beta = LAYERS[site.op](replace(site, constants=still))
    assert isinstance(beta, Linear)
    return Shifted(step.kind, step.rows, step.bias, step.shape, tuple(beta.bias))


def mean_in_both(node: Node, R: Numbers, p: Params) -> Relevance:
    """Beta is split by its sign, but the mean's share stands whole in both denominators."""
    if not isinstance(node.step, Shifted) or p["bias"] != "split":
        return rl.alpha_beta(node, R, p)
    found = []
    for factor, part in ((r.fraction(p["alpha"]), pos), (-r.fraction(p["beta"]), neg)):
        bias = [b - beta + part(beta) for b, beta in zip(node.step.bias, node.step.beta, strict=True)]

        def u(a: Fraction, t: Term, part: Callable[[Fraction], Fraction] = part) -> Fraction:
            return part(a * t.w)

        found.append(r.shared(node, u, bias, r.times(factor, R), p["stabilizer"]))
    return r.added(*found)


def with_mean(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
    """Return the change of both: what a BatchNormalization is seen as, and the rule."""
    views = {**oracle.seen, "BatchNormalization": shifted}
    return replace(oracle, seen=views, rules={**oracle.rules, "alpha_beta": mean_in_both}), specs


def unsplit(node: Node, R: Numbers, p: Params) -> Relevance:
    """Where there are no weights nothing is split: (alpha - beta) times the epsilon rule."""
    if not isinstance(node.step, Linear) or node.step.kind not in UNWEIGHTED:
        return rl.alpha_beta(node, R, p)
    factor = r.fraction(p["alpha"]) - r.fraction(p["beta"])
    return rl.epsilon(node, r.times(factor, R), {**p, "bias": "absorb"})


def unsplit_plus(node: Node, R: Numbers, p: Params) -> Relevance:
    """Likewise z+ is the epsilon rule, which with factors of one sign is the reading inputs=raw."""
    if not isinstance(node.step, Linear) or node.step.kind not in UNWEIGHTED:
        return rl.z_plus(node, R, p)
    return rl.epsilon(node, R, {**p, "bias": "absorb"}) if _signs(node.step) > 1 else rl.z_plus(node, R, p)


def _signs(step: Linear) -> int:
    return len({t.w > 0 for row in step.rows for t in row})


def resized(site: Site) -> Step:
    """Return a Resize as a map without weights, which its factors are to libraries."""
    step = TENSORS[site.op](site)
    return replace(step, kind="pool") if isinstance(step, Linear) else step


def without_weights(**rules: Rule) -> Change:
    """Return the change of rules where there are no weights."""

    def change(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
        views = {**oracle.seen, "Resize": resized}
        return replace(oracle, seen=views, rules={**oracle.rules, **rules}), specs

    return change


class EpsilonKept(Oracle):
    """After a BatchNormalization was folded, what is left of it still divides values and relevance by sqrt(1 + epsilon)."""

    def _share(self, done: Done, run: _Run, R: Numbers, specs: Mapping[str, RuleSpec]) -> Relevance:
        left = run.maker[done.output]
        if left.name != done.name:
            root = root_left(left.site)
            R = [x / root for x in R]
            run.values[done.output] = r.times(root, run.values[done.output])  # what the layer before gave
            done = replace(done, step=multiplied(done.step, root))
        return super()._share(done, run, R, specs)


def root_left(site: Site) -> Fraction:
    """Return sqrt(1 + epsilon) of a BatchNormalization, what it divides by when its variance is 1."""
    return sqrt(1 + Fraction(site.get("epsilon", 1e-5)))


def multiplied(step: Step, factor: Fraction) -> Step:
    """Return a linear map times a factor."""
    assert isinstance(step, Linear)
    rows = [[t._replace(parameter=t.parameter * factor) for t in row] for row in step.rows]
    return replace(step, rows=rows, bias=r.times(factor, step.bias))


def epsilon_kept(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
    """Return the change of what folding leaves behind, on the way there and back."""
    folded = {s.node for s in specs if s.rule == "fold"}
    usual = oracle.layers["BatchNormalization"]

    def left(site: Site) -> Step:
        return multiplied(usual(site), 1 / root_left(site)) if site.name in folded else usual(site)

    fields = {f: getattr(oracle, f) for f in oracle.__dataclass_fields__}
    return EpsilonKept(**{**fields, "layers": {**oracle.layers, "BatchNormalization": left}}), specs


def nothing_raised(node: Node, R: Numbers, p: Params) -> Relevance:
    """Where there are no weights gamma raises nothing; an output of 0 gives nothing."""
    if not isinstance(node.step, Linear) or node.step.kind not in UNWEIGHTED or not p["generalized"]:
        return rl.gamma(node, R, p)
    on = [x if z != 0 else Fraction(0) for x, z in zip(R, node.z, strict=True)]
    return rl.epsilon(node, on, {**p, "bias": "absorb"})


class MultipliedAgain(Oracle):
    """What a plain function hands to a value that a module with a rule reads, too, is multiplied by the value once more."""

    def _share(self, done: Done, run: _Run, R: Numbers, specs: Mapping[str, RuleSpec]) -> Relevance:
        found = super()._share(done, run, R, specs)
        if has_rule(done, specs):
            return found
        read = {name for other in run.steps if has_rule(other, specs) for name in other.inputs}
        pairs = zip(done.inputs, found, strict=True)
        return [[x * y for x, y in zip(run.values[k], R, strict=True)] if k in read else R for k, R in pairs]


def has_rule(done: Done, specs: Mapping[str, RuleSpec]) -> bool:
    """Return whether a node is a module with a rule that multiplies by its inputs."""
    return done.name in specs and specs[done.name].rule not in ("gradient", "pass")


def multiplied_again(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
    """Return the change of the walk back."""
    return MultipliedAgain(**{f: getattr(oracle, f) for f in oracle.__dataclass_fields__}), specs


def slope_for_gate(node: Node, R: Numbers, p: Params) -> Relevance:
    """R+ times the function's slope, which for a ReLU is whether its input is positive."""
    return ro.gradient(node, [pos(x) for x in R], p)


LIBRARIES = (
    Reading(
        "AB-1",
        "no weights, no split",
        "deviation",
        "On pools, sums and Resize, which have no weights, alpha-beta is (alpha - beta) times the epsilon rule.",
        without_weights(alpha_beta=unsplit),
        ("zennit",),
    ),
    Reading(
        "ZP-1",
        "no weights, no split",
        "deviation",
        "On a Resize with factors of both signs, which are no weights, z+ is the epsilon rule.",
        without_weights(z_plus=unsplit_plus),
        ("zennit", "captum"),
    ),
    Reading(
        "AB-2",
        "mean in both",
        "deviation",
        "A BatchNormalization's beta is split by its sign, the mean's share stands whole in both denominators.",
        with_mean,
        ("zennit",),
    ),
    Reading(
        "NORM-2",
        "deviation differentiated",
        "deviation",
        "A norm's standard deviation is not held constant: its derivative counts too, of clipped inputs where a rule clips.",
        formula(
            epsilon=whole_jacobian,
            norm=whole_jacobian,
            z_plus=apart_or(rl.z_plus),
            alpha_beta=apart_or(rl.alpha_beta),
        ),
        ("zennit", "captum", "lxt"),
    ),
    Reading(
        "BN-2",
        "epsilon kept",
        "deviation",
        "What is left of a folded BatchNormalization still divides values and relevance by sqrt(1 + epsilon).",
        epsilon_kept,
        ("zennit",),
    ),
    Reading(
        "GAMMA-3",
        "no weights, none raised",
        "deviation",
        "On pools, sums and Resize, which have no weights, gamma is the epsilon rule.",
        without_weights(gamma=nothing_raised),
        ("zennit",),
    ),
    Reading(
        "GUIDED-1",
        "slope for gate",
        "deviation",
        "Positive relevance times the function's slope, whatever the sign of the input.",
        formula(guided_backprop=slope_for_gate),
        ("zennit",),
    ),
    Reading(
        "NORM-2",
        "n - 1",
        "deviation",
        "On the way back a LayerNorm's standard deviation divides by n - 1, and over several axes is that of the batch.",
        seen(LayerNormalization=sample_deviation),
        ("pnpxai",),
    ),
    Reading(
        "NORM-2",
        "epsilon 1e-6",
        "deviation",
        "On a LayerNorm epsilon is 1e-6, whatever is asked for.",
        formula(epsilon=stabiliser_lost, norm=stabiliser_lost),
        ("pnpxai",),
    ),
    Reading(
        "GRAPH-1",
        "multiplied again",
        "deviation",
        "What a plain function hands to a value that a module with a rule reads, too, is multiplied by the value once more.",
        multiplied_again,
        ("captum",),
    ),
    *OF_LAYERS,
)
"""In the order of the libraries."""
