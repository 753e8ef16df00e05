"""Other readings of denominators and of the rules for linear maps."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from reflrp.conformance.literal import rules as r
from reflrp.conformance.literal import rules_linear as rl
from reflrp.conformance.literal import rules_other as ro
from reflrp.conformance.literal.numbers import sqrt
from reflrp.conformance.literal.rules import Node, Params, Relevance, fraction, neg, pos
from reflrp.conformance.literal.steps import Numbers, Term


def zero_is_negative(z: Fraction, e: Fraction) -> Fraction:
    """Z + e sgn z with sgn 0 = -1."""
    return z + e if z > 0 else z - e


def away(z: Fraction, e: Fraction) -> Fraction:
    """Z - e sgn z: towards 0."""
    return z - e if z >= 0 else z + e


def zero_counts_one(z: Fraction, e: Fraction) -> Fraction:
    """Z + e sgn z, and 1 where that is 0."""
    found = z + e if z >= 0 else z - e
    return found if found != 0 else Fraction(1)


def _terms(node: Node, R: Numbers, p: Params, u: Any, bias: Numbers | None = None) -> Relevance:
    whole = r.biases(node, p.get("bias", "absorb"), "absorb") if bias is None else bias
    return r.shared(node, u, whole, R, p["stabilizer"])


def absolute(node: Node, R: Numbers, p: Params) -> Relevance:
    """Contributions by their size."""
    return _terms(node, R, p, lambda a, t: abs(a * t.w))


def inputless(node: Node, R: Numbers, p: Params) -> Relevance:
    """R_j = sum_k w_jk R_k / st(z_k), without a_j."""
    bias = r.biases(node, p["bias"], "absorb")
    z = [sum((node.a[t.operand][t.j] * t.w for t in row), b) for row, b in zip(node.linear.rows, bias, strict=True)]
    d = r.stabilised(z, node.samples, p["stabilizer"])
    return ro.transposed(node, [x / k if k != 0 else Fraction(0) for x, k in zip(R, d, strict=True)], p)


def spread(node: Node, R: Numbers, p: Params) -> Relevance:
    """The bias and the stabiliser in equal parts to the inputs."""
    found = node.zeros()
    st = r.stabilised(node.z, node.samples, p["stabilizer"])
    for row, b, z, d, relevance in zip(node.linear.rows, node.linear.bias, node.z, st, R, strict=True):
        for t in row:
            extra = (b + d - z) / len(row)
            found[t.operand][t.j] += (node.a[t.operand][t.j] * t.w + extra) * relevance / d if d != 0 else 0
    return found


def gamma_of_products(node: Node, R: Numbers, p: Params) -> Relevance:
    """Positive contributions, not positive weights, count 1 + gamma times."""
    if p["generalized"]:
        return rl.gamma(node, R, p)
    return _raised(node, R, p)


def _raised(node: Node, R: Numbers, p: Params) -> Relevance:
    g = fraction(p["gamma"])
    bias = r.biases(node, p["bias"], "keep", lambda b: b + g * pos(b))
    return r.shared(node, lambda a, t: a * t.w + g * pos(a * t.w), bias, R, p["stabilizer"])


def gamma_negative(node: Node, R: Numbers, p: Params) -> Relevance:
    """Negative weights count 1 + gamma times."""
    if p["generalized"]:
        return rl.gamma(node, R, p)
    g = fraction(p["gamma"])
    bias = r.biases(node, p["bias"], "keep", lambda b: b + g * pos(b))
    return r.shared(node, lambda a, t: a * (t.w + g * neg(t.w)), bias, R, p["stabilizer"])


def generalized_always_up(node: Node, R: Numbers, p: Params) -> Relevance:
    """The positive contributions are raised whatever the sign of z."""
    return _raised(node, R, p) if p["generalized"] else rl.gamma(node, R, p)


def generalized_at_zero(node: Node, R: Numbers, p: Params) -> Relevance:
    """Where z = 0 the positive contributions are raised."""
    usual = rl.gamma(node, R, p)
    if not p["generalized"]:
        return usual
    at_zero = [x if z == 0 else Fraction(0) for x, z in zip(R, node.z, strict=True)]
    return r.added(usual, _raised(node, at_zero, p))


def by_weight(node: Node, R: Numbers, p: Params) -> Relevance:
    """Alpha for positive weights, beta for negative ones, whatever the input's sign."""
    found = []
    for factor, part in ((fraction(p["alpha"]), pos), (-fraction(p["beta"]), neg)):

        def u(a: Fraction, t: Term, part: Any = part) -> Fraction:
            result: Fraction = a * t.share * part(t.parameter)
            return result

        found.append(r.shared(node, u, r.biases(node, p["bias"], "full", part), r.times(factor, R), p["stabilizer"]))
    return r.added(*found)


def renormalised(node: Node, R: Numbers, p: Params) -> Relevance:
    """Where all contributions have one sign, they share R instead of alpha R or -beta R."""
    rows = [[node.a[t.operand][t.j] * t.w for t in row] for row in node.linear.rows]
    alone = [
        (all(c >= 0 for c in row) and b >= 0) or (all(c <= 0 for c in row) and b <= 0)
        for row, b in zip(rows, node.linear.bias, strict=True)
    ]
    mixed = [Fraction(0) if one else x for x, one in zip(R, alone, strict=True)]
    rest = [x if one else Fraction(0) for x, one in zip(R, alone, strict=True)]
    return r.added(rl.alpha_beta(node, mixed, p), rl.epsilon(node, rest, {**p, "bias": "absorb"}))


def beta_added(node: Node, R: Numbers, p: Params) -> Relevance:
    """The negative part is added."""
    flipped = rl.alpha_beta(node, R, {**p, "alpha": Fraction(0), "beta": -fraction(p["beta"])})
    return r.added(rl.alpha_beta(node, R, {**p, "beta": Fraction(0)}), flipped)


def positive_only(node: Node, R: Numbers, p: Params) -> Relevance:
    """Only positive inputs with positive weights; negative inputs get nothing."""
    bias = r.biases(node, p["bias"], "full", pos)
    return r.shared(node, lambda a, t: pos(a) * t.share * pos(t.parameter), bias, R, p["stabilizer"])


def corners_swapped(node: Node, R: Numbers, p: Params) -> Relevance:
    """Low goes with negative weights, high with positive ones."""
    return rl.z_box(node, R, {**p, "low": p["high"], "high": p["low"]})


def box_with_bias(node: Node, R: Numbers, p: Params) -> Relevance:
    """The bias stands in the denominator."""
    low, high = rl.each_entry(node, p["low"]), rl.each_entry(node, p["high"])

    def u(a: Fraction, t: Term) -> Fraction:
        found: Fraction = a * t.w - t.share * (low[t.j] * pos(t.parameter) + high[t.j] * neg(t.parameter))
        return found

    return r.shared(node, u, node.linear.bias, R, p["stabilizer"])


def by_size(node: Node, R: Numbers, p: Params) -> Relevance:
    """By the size of the weights, not their squares."""
    return r.shared(
        node, lambda a, t: t.share * abs(t.parameter), r.biases(node, p["bias"], "", r.square), R, p["stabilizer"]
    )


def times_input(node: Node, R: Numbers, p: Params) -> Relevance:
    """The squared weights are multiplied with the input."""
    return r.shared(node, lambda a, t: a * t.share * t.parameter**2, [Fraction(0)] * len(R), R, p["stabilizer"])


def share_squared(node: Node, R: Numbers, p: Params) -> Relevance:
    """A pool's share 1/n is squared too."""
    return r.shared(node, lambda a, t: t.w**2, r.biases(node, p["bias"], "", r.square), R, p["stabilizer"])


def flat_by_size(node: Node, R: Numbers, p: Params) -> Relevance:
    """By the size of the weights."""
    return r.shared(node, lambda a, t: t.share * abs(t.parameter), [Fraction(0)] * len(R), R, p["stabilizer"])


def flat_with_bias(node: Node, R: Numbers, p: Params) -> Relevance:
    """The bias counts as one more input."""
    return r.shared(node, lambda a, t: t.share, [Fraction(1)] * len(R), R, p["stabilizer"])


def flat_by_weights(node: Node, R: Numbers, p: Params) -> Relevance:
    """Only inputs with a weight other than 0 count."""
    return r.shared(node, lambda a, t: t.share * (t.parameter != 0), [Fraction(0)] * len(R), R, p["stabilizer"])


def flat_with_padding(node: Node, R: Numbers, p: Params) -> Relevance:
    """Padding counts as inputs: each output is shared in as many parts as the largest window has."""
    most = max(sum((t.share for t in row), Fraction(0)) for row in node.linear.rows)
    bias = [most - sum((t.share for t in row), Fraction(0)) for row in node.linear.rows]
    return r.shared(node, lambda a, t: t.share, bias, R, p["stabilizer"])


def halved(node: Node, R: Numbers, p: Params) -> Relevance:
    """In equal parts, whatever the contributions."""
    found = node.zeros()
    for row, x in zip(node.linear.rows, R, strict=True):
        for t in row:
            found[t.operand][t.j] += x / len(row)
    return found


def epsilon_of_sums(node: Node, R: Numbers, p: Params) -> Relevance:
    """An average's epsilon in units of the sum: a sum of n entries plus epsilon."""
    found = node.zeros()
    for row, b, x in zip(node.linear.rows, node.linear.bias, R, strict=True):
        n = 1 / row[0].share
        total = n * (sum((node.a[t.operand][t.j] * t.w for t in row), b))
        d = r.stabilised([total], [0], {**p["stabilizer"], "norm_scale": False})[0]
        for t in row:
            found[t.operand][t.j] += node.a[t.operand][t.j] * t.w * n * x / d if d != 0 else 0
    return found


def own_entry(node: Node, R: Numbers, p: Params) -> Relevance:
    """Mean and deviation are both held constant, so that each entry keeps its own relevance."""
    return [list(R)]


def below_or_equal(node: Node, R: Numbers, p: Params) -> Relevance:
    """An input equal to mu counts as -1."""
    tiny = Fraction(1, 1 << 200)
    mu = [m + tiny for m in rl.each_entry(node, p["mu"])]
    shifted = replace_numbers(node, mu)
    return rl.sign(node, R, {**p, "mu": shifted})


def replace_numbers(node: Node, values: Numbers) -> Any:
    """Return a list of numbers as nested lists in the shape of the input."""
    import numpy as np

    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found.reshape(node.shapes[0])


def sample_deviation(node: Node, R: Numbers, p: Params) -> Relevance:
    """The deviation divides by n - 1."""
    n = len(node.a[0]) // (node.shapes[0][0] if p["over"] == "sample" else 1)
    return rl.stdx_epsilon(node, R, {**p, "factor": fraction(p["factor"]) * sqrt(Fraction(n, n - 1))})


def turned_biases(node: Node, R: Numbers, p: Params) -> Relevance:
    """b- goes with w+, b+ with w-."""
    turned = replace(node.linear, bias=[-b for b in node.linear.bias])
    return rl.alpha_beta_x(replace(node, step=turned), R, p)
