"""Other readings that only a close look tells from the right one: slips that a first set of vectors let pass."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from reflrp.conformance.literal import rules as r
from reflrp.conformance.literal import rules_linear as rl
from reflrp.conformance.literal import rules_other as ro
from reflrp.conformance.literal import rules_product as rp
from reflrp.conformance.literal.layers import LAYERS
from reflrp.conformance.literal.numbers import sqrt
from reflrp.conformance.literal.oracle import Done, Oracle, _Run
from reflrp.conformance.literal.pools import POOLS
from reflrp.conformance.literal.rules import Node, Params, Relevance, pos
from reflrp.conformance.literal.steps import Linear, Normaliser, Numbers, Pointwise, Site, Step, Term
from reflrp.conformance.protocol import RuleSpec
from reflrp.conformance.readings.base import Change, Reading, Specs, chosen, formula, seen, signed

ZERO = Fraction(0)


def zero_is_nothing(z: Fraction, e: Fraction) -> Fraction:
    """Z + e sgn z with sgn 0 = 0."""
    return z + e if z > 0 else z - e if z < 0 else ZERO


def sign_without_bias(node: Node, R: Numbers, p: Params) -> Relevance:
    """The sign of z that decides is that without the bias."""
    if not p["generalized"]:
        return rl.gamma(node, R, p)
    z = [sum((node.a[t.operand][t.j] * t.w for t in row), ZERO) for row in node.linear.rows]
    return rl.gamma(replace(node, z=z), R, p)


def each_row(node: Node, R: Numbers, p: Params) -> Relevance:
    """The deviation is that of each row of the last axis."""
    width, found = node.shapes[0][-1], node.zeros()
    bias = r.biases(node, p["bias"], "absorb")
    for row, b, x in zip(node.linear.rows, bias, R, strict=True):
        start = row[0].j // width * width
        entries = node.a[0][start : start + width]
        mean = sum(entries) / Fraction(width)
        epsilon = r.fraction(p["factor"]) * sqrt(sum((v - mean) ** 2 for v in entries) / Fraction(width))
        z = sum((node.a[0][t.j] * t.w for t in row), b)
        d = z + epsilon if z >= 0 else z - epsilon
        for t in row:
            found[0][t.j] += node.a[0][t.j] * t.w * x / d if d != 0 else ZERO
    return found


def constant_gives(site: Site) -> Step:
    """What a constant wins goes to the first operand that is none."""
    step = POOLS["Max"](site)
    whole = LAYERS["Sum"](replace(site, op="Sum"))
    assert isinstance(step, Linear)
    assert isinstance(whole, Linear)
    return replace(step, rows=[row or terms[:1] for row, terms in zip(step.rows, whole.rows, strict=True)])


def same_signs(node: Node, R: Numbers, p: Params) -> Relevance:
    """Where input and relevance have one sign, negative ones too."""
    return [[x if x * a > 0 else ZERO for a, x in zip(node.a[0], R, strict=True)]]


def with_slope(node: Node, R: Numbers, p: Params) -> Relevance:
    """The positive part is multiplied with the function's slope."""
    return [[pos(g) if a > 0 else ZERO for a, g in zip(node.a[0], ro.gradient(node, R, p)[0], strict=True)]]


def always_two(rule: str) -> Change:
    """Return the change of n, the number of operands that carry relevance, to 2."""
    usual = {"epsilon_uniform": rp.epsilon_uniform, "product_alpha_beta": rp.product_alpha_beta}[rule]

    def halved(node: Node, R: Numbers, p: Params) -> Relevance:
        return [[x * sum(node.active) / 2 for x in part] for part in usual(node, R, p)]

    return formula(**{rule: halved})


def mean_in_bias(node: Node, R: Numbers, p: Params) -> Relevance:
    """The mean's share of an entry stays in the bias: a_j w / sigma is the only contribution."""
    if not isinstance(node.step, Normaliser) or not node.step.held:
        return rl.epsilon(node, R, {"bias": "absorb", **p})
    found, st = node.zeros(), r.stabilised(node.z, node.samples, p["stabilizer"])
    for group in node.step.groups:
        rows, _ = node.step.held([node.a[0][i] for i in group], group)
        centred = sum(rows[0]) == 0 and len(group) > 1
        for k, i in enumerate(group):
            w = rows[k][k] * Fraction(len(group), len(group) - 1) if centred else rows[k][k]
            found[0][i] += node.a[0][i] * w * R[i] / st[i] if st[i] != 0 else ZERO
    return found


class Shifted(Oracle):
    """A BatchNormalization folded into the layer behind it counts its shift on the padding, too."""

    def _share(self, done: Done, run: _Run, R: Numbers, specs: dict[str, RuleSpec]) -> Relevance:  # type: ignore[override]
        before = [s for s in run.steps if s.site.op == "BatchNormalization" and s.output not in done.inputs]
        own = next((s for s in run.steps if s.name == done.name), done)
        folded = next((s for s in before if s.output in own.inputs), None)
        if folded is None or not isinstance(done.step, Linear) or not isinstance(own.step, Linear):
            return super()._share(done, run, R, specs)
        return super()._share(replace(done, step=_everywhere(done.step, own.step)), run, R, specs)


def _everywhere(joined: Linear, alone: Linear) -> Linear:
    """Return the joined map with the shift that a window inside the border has."""
    per = len(joined.rows) // (joined.shape[0] * joined.shape[1])
    most = max(map(len, joined.rows))
    full: dict[int, Fraction] = {}
    for k, row in enumerate(joined.rows):
        if len(row) == most:
            full.setdefault(k // per % joined.shape[1], joined.bias[k] - alone.bias[k])
    shift = [full.get(k // per % joined.shape[1], ZERO) for k in range(len(joined.rows))]
    return replace(joined, bias=[b + s for b, s in zip(alone.bias, shift, strict=True)])


def shifted(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
    """Return the change of what folding counts at the border."""
    if not any(s.rule == "fold" for s in specs):
        return oracle, specs
    return Shifted(**{f: getattr(oracle, f) for f in oracle.__dataclass_fields__}), specs


def bias_lost(node: Node, R: Numbers, p: Params) -> Relevance:
    """The biases of a recurrent layer have no part in its sums."""
    if isinstance(node.step, Linear) and node.step.kind == "dense":
        return rl.epsilon(node, R, {**p, "bias": "ignore"})
    return ro.recurrent(node, R, p)


def slopes(node: Node, R: Numbers, p: Params) -> Relevance:
    """The activations of a recurrent layer multiply with their slope."""
    return ro.gradient(node, R, p) if isinstance(node.step, Pointwise) else ro.recurrent(node, R, p)


def masked_kept(node: Node, R: Numbers, p: Params) -> Relevance:
    """A masked entry keeps what comes to it."""
    return [[x if a is None else y for a, x, y in zip(node.a[0], R, ro.taylor(node, R, p)[0], strict=True)]]


def unmasked_sum(node: Node, R: Numbers, p: Params) -> Relevance:
    """What comes to masked entries is left out of the sum."""
    return ro.taylor(node, [ZERO if a is None else x for a, x in zip(node.a[0], R, strict=True)], p)


def shared_raised(node: Node, R: Numbers, p: Params) -> Relevance:
    """On an average gamma raises 1 and not 1/n."""
    g = r.fraction(p["gamma"])
    if p["generalized"]:
        return rl.gamma(node, R, p)

    def u(a: Fraction, t: Term) -> Fraction:
        found: Fraction = a * (t.w + g * pos(t.parameter))
        return found

    return r.shared(node, u, r.biases(node, p["bias"], "keep", lambda b: b + g * pos(b)), R, p["stabilizer"])


CLOSE = (
    Reading("STAB-1", "sgn 0 = 0", "deviation", "A denominator of 0 stays 0.", signed(zero_is_nothing)),
    Reading(
        "GAMMA-1", "share unscaled", "deviation", "On an average gamma raises 1, not 1/n.", formula(gamma=shared_raised)
    ),
    Reading(
        "GAMMA-3",
        "sign without bias",
        "deviation",
        "The sign that decides is that of the sum without the bias.",
        formula(gamma=sign_without_bias),
    ),
    Reading(
        "STDX-2",
        "over rows",
        "deviation",
        "One deviation for each row of the last axis.",
        formula(stdx_epsilon=each_row),
    ),
    Reading(
        "POOL-2", "constant gives", "deviation", "What a constant wins goes to an operand.", seen(Max=constant_gives)
    ),
    Reading(
        "GUIDED-1",
        "same signs",
        "deviation",
        "Where input and relevance have one sign, negative ones too.",
        formula(guided_backprop=same_signs),
    ),
    Reading(
        "GUIDED-1", "times slope", "deviation", "The function's slope is a factor.", formula(guided_backprop=with_slope)
    ),
    Reading(
        "PROD-4",
        "halves",
        "deviation",
        "Half to an operand though the other carries no relevance.",
        always_two("epsilon_uniform"),
    ),
    Reading(
        "PROD-5",
        "halves",
        "deviation",
        "Half to an operand though the other carries no relevance.",
        always_two("product_alpha_beta"),
    ),
    Reading(
        "NORM-2",
        "mean in the bias",
        "deviation",
        "The mean's share stays in the bias: only the entry itself contributes.",
        formula(epsilon=mean_in_bias, norm=mean_in_bias),
    ),
    Reading("SMAX-2", "mask keeps", "deviation", "A masked entry keeps what comes to it.", formula(taylor=masked_kept)),
    Reading(
        "SMAX-2",
        "mask not summed",
        "deviation",
        "What comes to masked entries is left out of the sum.",
        formula(taylor=unmasked_sum),
    ),
    Reading("BN-2", "shift on padding", "deviation", "The shift counts on the padding, too.", shifted),
    Reading(
        "REC-1",
        "native gates share",
        "deviation",
        "Gates of a recurrent layer get half.",
        chosen("recurrent", product="half"),
    ),
    Reading(
        "REC-1",
        "native gates get nothing",
        "deviation",
        "Gates of a recurrent layer get nothing.",
        chosen("recurrent", product="signal"),
    ),
    Reading(
        "REC-1", "bias lost", "deviation", "A recurrent layer's biases have no share.", formula(recurrent=bias_lost)
    ),
    Reading("REC-1", "slopes", "deviation", "Its activations multiply with their slope.", formula(recurrent=slopes)),
)
"""In the order of the clauses."""
