"""The rules for maxima, functions, normalisers, and whole recurrent nodes."""

from __future__ import annotations

from fractions import Fraction

from reflrp.conformance.literal import numbers
from reflrp.conformance.literal.rules import Node, NotServed, Params, Relevance, fraction, pos, stabilised
from reflrp.conformance.literal.rules_linear import epsilon
from reflrp.conformance.literal.rules_product import half, pulled, signal_takes_all
from reflrp.conformance.literal.steps import Normaliser, Numbers, Pointwise, Product


def transposed(node: Node, R: Numbers, p: Params) -> Relevance:
    """POOL-1, POOL-2, and the chain rule on linear maps: sum_k w_jk R_k."""
    found = node.zeros()
    for row, r in zip(node.linear.rows, R, strict=True):
        for t in row:
            found[t.operand][t.j] += t.w * r
    return found


def _pointwise(node: Node) -> Pointwise:
    if not isinstance(node.step, Pointwise):
        raise NotServed("a rule for pointwise functions stands on another kind of node")
    return node.step


def pass_(node: Node, R: Numbers, p: Params) -> Relevance:
    """PASS-1."""
    return [list(R)]


def gradient(node: Node, R: Numbers, p: Params) -> Relevance:
    """GRAD-1."""
    if isinstance(node.step, Pointwise):
        return [[node.step.slope(x) * r for x, r in zip(node.a[0], R, strict=True)]]
    if isinstance(node.step, Product):
        return pulled(node, R, (True, True), contributions=False)
    if isinstance(node.step, Normaliser):
        return [_jacobian(node, R)]
    return transposed(node, R, p)


def _jacobian(node: Node, R: Numbers) -> Numbers:
    """Return the transposed Jacobian times R; an input of -infinity has no slope."""
    assert isinstance(node.step, Normaliser)
    found = [Fraction(0)] * len(R)
    for group in node.step.groups:
        J = node.step.jacobian([node.a[0][i] for i in group], group)
        for j, i in enumerate(group):
            found[i] = sum((J[k][j] * R[m] for k, m in enumerate(group)), Fraction(0))
    return found


def deconvnet(node: Node, R: Numbers, p: Params) -> Relevance:
    """DECONV-1."""
    return [[pos(r) for r in R]]


def guided_backprop(node: Node, R: Numbers, p: Params) -> Relevance:
    """GUIDED-1."""
    return [[pos(r) if x > 0 else Fraction(0) for x, r in zip(node.a[0], R, strict=True)]]


def beta_smooth(node: Node, R: Numbers, p: Params) -> Relevance:
    """BETA-1."""
    beta = fraction(p["beta"])
    return [[numbers.sigmoid(beta * x) * r for x, r in zip(node.a[0], R, strict=True)]]


def ratio(node: Node, R: Numbers, p: Params) -> Relevance:
    """RATIO-1."""
    d = stabilised(node.z, node.samples, p["stabilizer"])
    s = [r / k if k != 0 else Fraction(0) for r, k in zip(R, d, strict=True)]
    return [[x * g for x, g in zip(node.a[0], gradient(node, s, p)[0], strict=True)]]


def stop(node: Node, R: Numbers, p: Params) -> Relevance:
    """STOP-1."""
    return node.zeros()


def taylor(node: Node, R: Numbers, p: Params) -> Relevance:
    """SMAX-1, SMAX-2; an input of -infinity is None."""
    if not isinstance(node.step, Normaliser):
        raise NotServed("the Taylor rule is for softmax")
    last = node.step.shape[-1]
    rows = [list(range(i, i + last)) for i in range(0, len(R), last)]
    total = [Fraction(0)] * len(R)
    for group in node.step.groups if p["over"] == "own" else rows:
        for i in group:
            total[i] = sum((R[k] for k in group), Fraction(0))
    shares = zip(node.a[0], node.z, R, total, strict=True)
    return [[Fraction(0) if x is None else x * (r - y * t) for x, y, r, t in shares]]


def recurrent(node: Node, R: Numbers, p: Params) -> Relevance:
    """REC-1: each part of an LSTM, GRU or RNN by its kind."""
    if isinstance(node.step, Pointwise):
        return pass_(node, R, p)
    if not isinstance(node.step, Product):
        return epsilon(node, R, {"bias": "absorb", **p})
    if p["product"] == "half":
        return half(node, R, {"over": "active", **p})
    return signal_takes_all(node, R, {"signal": "auto", **p})
