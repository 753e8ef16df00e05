"""The rules for products of two values."""

from __future__ import annotations

from fractions import Fraction

from reflrp.conformance.literal.rules import Node, NotServed, Params, Relevance, fraction, neg, pos, stabilised, times
from reflrp.conformance.literal.steps import Numbers, Product


def product_of(node: Node) -> Product:
    """Return the node's step as a product."""
    if not isinstance(node.step, Product):
        raise NotServed("a rule for products stands on another kind of node")
    return node.step


def pulled(node: Node, s: Numbers, to: tuple[bool, ...], contributions: bool = True) -> Relevance:
    """Return x_i sum_k s_k y_j and likewise for y; the bare gradients without `contributions`."""
    found, (x, y) = node.zeros(), node.a
    for pairs, r in zip(product_of(node).pairs, s, strict=True):
        for i, j in pairs:
            if to[0]:
                found[0][i] += (x[i] if contributions else 1) * y[j] * r
            if to[1]:
                found[1][j] += (y[j] if contributions else 1) * x[i] * r
    return found


def divided(node: Node, R: Numbers, z: Numbers, how: Params) -> Numbers:
    """Return R / st(z), and 0 where st(z) = 0."""
    d = stabilised(z, node.samples, how)
    return [r / k if k != 0 else Fraction(0) for r, k in zip(R, d, strict=True)]


def uniform(node: Node, R: Numbers, p: Params) -> Relevance:
    """PROD-1: each operand gets R / n, summed over its copies."""
    to = node.active if p["over"] == "active" else (True, True)
    found = node.zeros()
    for pairs, r in zip(product_of(node).pairs, R, strict=True):
        for operand, place in enumerate(pairs[0]):
            if to[operand]:
                found[operand][place] += r / sum(to)
    return found


def half(node: Node, R: Numbers, p: Params) -> Relevance:
    """PROD-1, PROD-2."""
    if product_of(node).elementwise:
        return uniform(node, R, p)
    to = node.active if p["over"] == "active" else (True, True)
    return pulled(node, divided(node, R, times(sum(to), node.z), p["stabilizer"]), to)


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
    if product_of(node).elementwise:
        found = node.zeros()
        for pairs, r in zip(product_of(node).pairs, R, strict=True):
            found[signal][pairs[0][signal]] += r
        return found
    return pulled(node, divided(node, R, node.z, p["stabilizer"]), to)


def epsilon_uniform(node: Node, R: Numbers, p: Params) -> Relevance:
    """PROD-4."""
    s = times(Fraction(1, sum(node.active)), divided(node, R, node.z, p["stabilizer"]))
    return pulled(node, s, node.active)


def product_alpha_beta(node: Node, R: Numbers, p: Params) -> Relevance:
    """PROD-5."""
    found, (x, y), n = node.zeros(), node.a, sum(node.active)
    for factor, part in ((fraction(p["alpha"]), pos), (-fraction(p["beta"]), neg)):
        rows = [[(i, j, part(x[i] * y[j])) for i, j in pairs] for pairs in product_of(node).pairs]
        s = divided(node, times(factor, R), [sum((u for *_, u in row), Fraction(0)) for row in rows], p["stabilizer"])
        for row, share in zip(rows, s, strict=True):
            for i, j, u in row:
                found[0][i] += u * share / n if node.active[0] else 0
                found[1][j] += u * share / n if node.active[1] else 0
    return found
