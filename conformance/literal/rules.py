"""The rules as loops over terms: (step, operands' entries, R of the outputs, parameters) -> R of each operand's entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from reflrp.conformance.literal import numbers
from reflrp.conformance.literal.steps import Linear, Normaliser, Numbers, Pointwise, Product, Step, Term

Params = Mapping[str, Any]
Relevance = list[Numbers]
"""The relevance of each operand's entries."""


class NotServed(Exception):
    """A rule on a node that it says nothing of."""


@dataclass(frozen=True)
class Node:
    """What a rule may look at: the step, its operands' entries and shapes, its output, and which operands carry relevance."""

    step: Step
    a: list[Numbers]
    shapes: list[tuple[int, ...]]
    z: Numbers
    active: tuple[bool, ...]
    gates: tuple[int, ...]

    def zeros(self) -> Relevance:
        """Return no relevance for any entry."""
        return [[Fraction(0)] * len(x) for x in self.a]

    @property
    def linear(self) -> Linear:
        """The step as terms; a normaliser with its statistic held constant."""
        if isinstance(self.step, Linear):
            return self.step
        if isinstance(self.step, Normaliser) and self.step.held:
            return _held(self.step, self.a[0])
        raise NotServed("a rule for linear maps stands on another kind of node")

    @property
    def samples(self) -> list[int]:
        """The number of each output's sample: samples are on the first axis."""
        per = max(prod(self.step.shape[1:]), 1)
        return [k // per for k in range(len(self.z))]


def _held(step: Normaliser, x: Numbers) -> Linear:
    rows: list[list[Term]] = [[] for _ in x]
    bias = [Fraction(0)] * len(x)
    for group in step.groups:
        assert step.held is not None
        matrix, shift = step.held([x[i] for i in group], group)
        for k, i in enumerate(group):
            rows[i] = [Term(0, j, Fraction(1), w) for j, w in zip(group, matrix[k], strict=True)]
            bias[i] = shift[k]
    return Linear("normaliser", rows, bias, step.shape)


def fraction(x: Any) -> Fraction:
    """Return a parameter as the number that it is."""
    return x if isinstance(x, Fraction) else Fraction(x)


def pos(x: Fraction) -> Fraction:
    """Return x+."""
    return max(x, Fraction(0))


def neg(x: Fraction) -> Fraction:
    """Return x-."""
    return min(x, Fraction(0))


def square(x: Fraction) -> Fraction:
    """Return x^2."""
    return x * x


# ---------------------------------------------------------------- denominators


def stabilised(z: Numbers, samples: list[int], how: Params) -> Numbers:
    """Return st(z) of each output. STAB-1, STAB-3."""
    epsilon, form = fraction(how["epsilon"]), how["form"] if callable(how["form"]) else FORMS[how["form"]]
    found = []
    scale = _norms(z, samples) if how.get("norm_scale") else {}
    for x, n in zip(z, samples, strict=True):
        found.append(form(x, epsilon * scale.get(n, Fraction(1))))
    return found


FORMS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "signed": lambda x, e: x + e if x >= 0 else x - e,
    "plain": lambda x, e: x + e,
    "clip": lambda x, e: max(x, e) if x >= 0 else min(x, -e),
    "nonzero": lambda x, e: e if x == 0 else x,
}


def _norms(z: Numbers, samples: list[int]) -> dict[int, Fraction]:
    of: dict[int, Numbers] = {}
    for x, n in zip(z, samples, strict=True):
        of.setdefault(n, []).append(x)
    return {n: numbers.sqrt(sum(x * x for x in xs) / Fraction(len(xs))) for n, xs in of.items()}


Contribution = Callable[[Fraction, Term], Fraction]
"""What a term contributes: u(a_j, term)."""


def shared(node: Node, u: Contribution, bias: Numbers, R: Numbers, how: Params) -> Relevance:
    """Return sum_k u_jk R_k / st(sum_j u_jk + bias_k), where a denominator 0 passes nothing (STAB-2)."""
    found = node.zeros()
    terms = [[(t, u(node.a[t.operand][t.j], t)) for t in row] for row in node.linear.rows]
    z = [sum((c for _, c in row), b or Fraction(0)) for row, b in zip(terms, bias, strict=True)]
    for row, d, r in zip(terms, stabilised(z, node.samples, how), R, strict=True):
        if d != 0 and r != 0:  # no relevance comes to what a mask hides
            for t, c in row:
                found[t.operand][t.j] += c * r / d
    return found


def added(*parts: Relevance) -> Relevance:
    """Return the sum of relevances."""
    return [[sum(x, Fraction(0)) for x in zip(*operand, strict=True)] for operand in zip(*parts, strict=True)]


def times(factor: Any, R: Numbers) -> Numbers:
    """Return factor R."""
    return [fraction(factor) * r for r in R]


def biases(node: Node, choice: str, whole: str, part: Callable[[Fraction], Fraction] = lambda b: b) -> Numbers:
    """Return the bias in a denominator: 0 for "ignore", b for the choice `whole`, else its part."""
    return [Fraction(0) if choice == "ignore" else b if choice == whole else part(b) for b in node.linear.bias]


# ---------------------------------------------------------------- linear rules


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
        return shared(node, lambda a, t: a * t.share * up(t.parameter), biases(node, p["bias"], "keep", up), R, p["stabilizer"])
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


def _each(node: Node, value: Any) -> Numbers:
    """Return a bound for each entry of the input: a number, or nested lists that broadcast against it."""
    whole = np.broadcast_to(numbers.fractions(np.asarray(value, dtype=object)), node.shapes[0])
    return list(whole.ravel())


def z_box(node: Node, R: Numbers, p: Params) -> Relevance:
    """ZB-1, ZB-2."""
    low, high = _each(node, p["low"]), _each(node, p["high"])

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
    mu = _each(node, p["mu"])
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


def transposed(node: Node, R: Numbers, p: Params) -> Relevance:
    """POOL-1, POOL-2, and the chain rule on linear maps: sum_k w_jk R_k."""
    found = node.zeros()
    for row, r in zip(node.linear.rows, R, strict=True):
        for t in row:
            found[t.operand][t.j] += t.w * r
    return found


# ---------------------------------------------------------------- pointwise functions and normalisers


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
        return _pulled(node, R, (True, True), contributions=False)
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


# ---------------------------------------------------------------- products


def _product(node: Node) -> Product:
    if not isinstance(node.step, Product):
        raise NotServed("a rule for products stands on another kind of node")
    return node.step


def _pulled(node: Node, s: Numbers, to: tuple[bool, ...], contributions: bool = True) -> Relevance:
    """Return x_i sum_k s_k y_j and likewise for y; the bare gradients without `contributions`."""
    found, (x, y) = node.zeros(), node.a
    for pairs, r in zip(_product(node).pairs, s, strict=True):
        for i, j in pairs:
            if to[0]:
                found[0][i] += (x[i] if contributions else 1) * y[j] * r
            if to[1]:
                found[1][j] += (y[j] if contributions else 1) * x[i] * r
    return found


def _divided(node: Node, R: Numbers, z: Numbers, how: Params) -> Numbers:
    d = stabilised(z, node.samples, how)
    return [r / k if k != 0 else Fraction(0) for r, k in zip(R, d, strict=True)]


def uniform(node: Node, R: Numbers, p: Params) -> Relevance:
    """PROD-1: each operand gets R / n, summed over its copies."""
    to = node.active if p["over"] == "active" else (True, True)
    found = node.zeros()
    for pairs, r in zip(_product(node).pairs, R, strict=True):
        for operand, place in enumerate(pairs[0]):
            if to[operand]:
                found[operand][place] += r / sum(to)
    return found


def half(node: Node, R: Numbers, p: Params) -> Relevance:
    """PROD-1, PROD-2."""
    if _product(node).elementwise:
        return uniform(node, R, p)
    to = node.active if p["over"] == "active" else (True, True)
    return _pulled(node, _divided(node, R, times(sum(to), node.z), p["stabilizer"]), to)


def signal_takes_all(node: Node, R: Numbers, p: Params) -> Relevance:
    """PROD-3."""
    signal = p["signal"]
    if isinstance(signal, str):
        floor = 2 if signal == "auto" else 1
        gates = [g if g >= floor else 0 for g in node.gates]
        if gates[0] == gates[1] or not all(node.active):
            return half(node, R, {"over": "active", "stabilizer": p["stabilizer"]})
        signal = 0 if gates[0] < gates[1] else 1
    to = (signal == 0, signal == 1)
    if _product(node).elementwise:
        found = node.zeros()
        for pairs, r in zip(_product(node).pairs, R, strict=True):
            found[signal][pairs[0][signal]] += r
        return found
    return _pulled(node, _divided(node, R, node.z, p["stabilizer"]), to)


def epsilon_uniform(node: Node, R: Numbers, p: Params) -> Relevance:
    """PROD-4."""
    s = times(Fraction(1, sum(node.active)), _divided(node, R, node.z, p["stabilizer"]))
    return _pulled(node, s, node.active)


def product_alpha_beta(node: Node, R: Numbers, p: Params) -> Relevance:
    """PROD-5."""
    found, (x, y), n = node.zeros(), node.a, sum(node.active)
    for factor, part in ((fraction(p["alpha"]), pos), (-fraction(p["beta"]), neg)):
        rows = [[(i, j, part(x[i] * y[j])) for i, j in pairs] for pairs in _product(node).pairs]
        s = _divided(node, times(factor, R), [sum((u for *_, u in row), Fraction(0)) for row in rows], p["stabilizer"])
        for row, share in zip(rows, s, strict=True):
            for i, j, u in row:
                found[0][i] += u * share / n if node.active[0] else 0
                found[1][j] += u * share / n if node.active[1] else 0
    return found


Rule = Callable[[Node, Numbers, Params], Relevance]

RULES: dict[str, Rule] = {
    "alpha_beta": alpha_beta,
    "alpha_beta_x": alpha_beta_x,
    "beta_smooth": beta_smooth,
    "deconvnet": deconvnet,
    "epsilon": epsilon,
    "epsilon_uniform": epsilon_uniform,
    "flat": flat,
    "gamma": gamma,
    "gradient": gradient,
    "guided_backprop": guided_backprop,
    "half": half,
    "norm": norm,
    "pass": pass_,
    "product_alpha_beta": product_alpha_beta,
    "ratio": ratio,
    "sign": sign,
    "signal_takes_all": signal_takes_all,
    "stdx_epsilon": stdx_epsilon,
    "stop": stop,
    "taylor": taylor,
    "uniform": uniform,
    "w_square": w_square,
    "winner_takes_all": transposed,
    "z_box": z_box,
    "z_plus": z_plus,
}
"""The rules by the names that cases give them."""
