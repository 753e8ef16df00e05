"""The rules for linear maps."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from reflrp.conformance.literal import numbers
from reflrp.conformance.literal.rules import (
    Node,
    Params,
    Relevance,
    added,
    biases,
    fraction,
    neg,
    pos,
    shared,
    square,
    stabilised,
    times,
)
from reflrp.conformance.literal.steps import Numbers, Term


def epsilon(node: Node, R: Numbers, p: Params) -> Relevance:
    """EPS-1, EPS-2."""
    return shared(node, lambda a, t: a * t.w, biases(node, p["bias"], "absorb"), R, p["stabilizer"])


def norm(node: Node, R: Numbers, p: Params) -> Relevance:
    """NORM-1."""
    return shared(node, lambda a, t: a * t.w, node.linear.bias, R, p["stabilizer"])


def gamma(node: Node, R: Numbers, p: Params) -> Relevance:
    """GAMMA-1 to GAMMA-4."""
    g = fraction(p["gamma"])

    def up(x: Fraction) -> Fraction:
        return x + g * pos(x)

    def down(x: Fraction) -> Fraction:
        return x + g * neg(x)

    if not p["generalized"]:
        return shared(
            node, lambda a, t: a * t.share * up(t.parameter), biases(node, p["bias"], "keep", up), R, p["stabilizer"]
        )
    found = []
    for one, other, sign in ((up, down, 1), (down, up, -1)):

        def u(a: Fraction, t: Term, one: Any = one, other: Any = other) -> Fraction:
            result: Fraction = a * t.share * (one if a >= 0 else other)(t.parameter)
            return result

        on = [r if sign * z > 0 else Fraction(0) for r, z in zip(R, node.z, strict=True)]
        found.append(shared(node, u, biases(node, p["bias"], "keep", one), on, p["stabilizer"]))
    return added(*found)


def alpha_beta(node: Node, R: Numbers, p: Params) -> Relevance:
    """AB-1 to AB-3."""
    alpha, beta, how = fraction(p["alpha"]), fraction(p["beta"]), p["stabilizer"]
    excited = shared(node, lambda a, t: pos(a * t.w), biases(node, p["bias"], "full", pos), times(alpha, R), how)
    inhibited = shared(node, lambda a, t: neg(a * t.w), biases(node, p["bias"], "full", neg), times(-beta, R), how)
    return added(excited, inhibited)


def z_plus(node: Node, R: Numbers, p: Params) -> Relevance:
    """ZP-1 to ZP-3."""

    def u(a: Fraction, t: Term) -> Fraction:
        return pos(a * t.w) if p["inputs"] == "split" else a * t.share * pos(t.parameter)

    return shared(node, u, biases(node, p["bias"], "full", pos), R, p["stabilizer"])


def each_entry(node: Node, value: Any) -> Numbers:
    """Return a bound for each entry of the input: a number, or nested lists that broadcast against it."""
    whole = np.broadcast_to(numbers.fractions(np.asarray(value, dtype=object)), node.shapes[0])
    return list(whole.ravel())


def z_box(node: Node, R: Numbers, p: Params) -> Relevance:
    """ZB-1, ZB-2."""
    low, high = each_entry(node, p["low"]), each_entry(node, p["high"])

    def u(a: Fraction, t: Term) -> Fraction:
        return a * t.w - t.share * (low[t.j] * pos(t.parameter) + high[t.j] * neg(t.parameter))

    return shared(node, u, [Fraction(0)] * len(R), R, p["stabilizer"])


def w_square(node: Node, R: Numbers, p: Params) -> Relevance:
    """WSQ-1, WSQ-2."""
    return shared(node, lambda a, t: t.share * t.parameter**2, biases(node, p["bias"], "", square), R, p["stabilizer"])


def flat(node: Node, R: Numbers, p: Params) -> Relevance:
    """FLAT-1, FLAT-2."""
    return shared(node, lambda a, t: t.share, [Fraction(0)] * len(R), R, p["stabilizer"])


def sign(node: Node, R: Numbers, p: Params) -> Relevance:
    """SIGN-1, SIGN-2."""
    mu = each_entry(node, p["mu"])
    bias = biases(node, p["bias"], "absorb")
    z = [sum((node.a[t.operand][t.j] * t.w for t in row), b) for row, b in zip(node.linear.rows, bias, strict=True)]
    found = node.zeros()
    for row, d, r in zip(node.linear.rows, stabilised(z, node.samples, p["stabilizer"]), R, strict=True):
        for t in row:
            if d != 0:
                found[0][t.j] += (1 if node.a[0][t.j] >= mu[t.j] else -1) * t.w * r / d
    return found


def stdx_epsilon(node: Node, R: Numbers, p: Params) -> Relevance:
    """STDX-1, STDX-2."""
    count = node.shapes[0][0]
    per = len(node.a[0]) // count
    groups = [node.a[0]] * count if p["over"] == "batch" else [node.a[0][n * per : (n + 1) * per] for n in range(count)]
    found = []
    for n, x in enumerate(groups):
        mean = sum(x) / Fraction(len(x))
        deviation = numbers.sqrt(sum((v - mean) ** 2 for v in x) / Fraction(len(x)))
        how = {"form": "signed", "epsilon": fraction(p["factor"]) * deviation}
        mine = [r if s == n else Fraction(0) for r, s in zip(R, node.samples, strict=True)]
        found.append(shared(node, lambda a, t: a * t.w, biases(node, p["bias"], "absorb"), mine, how))
    return added(*found)


def alpha_beta_x(node: Node, R: Numbers, p: Params) -> Relevance:
    """ABX-1, ABX-2."""
    alpha, beta = p["alpha"], p["beta"]
    second = alpha[1] if p["second"] == "alpha" else beta[1]
    parts = ((alpha[0], pos, pos), (second, neg, neg), (-fraction(beta[0]), pos, neg), (-fraction(beta[1]), neg, pos))
    found = []
    for factor, of_a, of_w in parts:

        def u(a: Fraction, t: Term, of_a: Any = of_a, of_w: Any = of_w) -> Fraction:
            result: Fraction = of_a(a) * t.share * of_w(t.parameter)
            return result

        found.append(shared(node, u, biases(node, p["bias"], "", of_w), times(factor, R), p["stabilizer"]))
    return added(*found)
