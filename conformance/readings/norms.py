"""What libraries were found to do to normalisations over the input's own axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from reflrp.conformance.literal import rules as r
from reflrp.conformance.literal import rules_linear as rl
from reflrp.conformance.literal.functions import FUNCTIONS, ZERO
from reflrp.conformance.literal.numbers import sqrt
from reflrp.conformance.literal.rules import Node, Params, Relevance, neg, pos
from reflrp.conformance.literal.steps import Normaliser, Numbers, Site, Step
from reflrp.conformance.literal.table import Rule


def whole_jacobian(node: Node, R: Numbers, p: Params) -> Relevance:
    """A norm's deviation is differentiated too: x_j sum_k (d y_k / d x_j) R_k / st(y_k)."""
    if not isinstance(node.step, Normaliser) or not node.step.held:
        return rl.epsilon(node, R, {"bias": "absorb", **p})
    parts = [_differentiated(node.step, node.a[0], group, whole, whole) for group in node.step.groups]
    return [_carried(parts, node.z, R, node, p)]


Side = Callable[[Fraction], Fraction]
Part = tuple[list[int], Numbers, Numbers, list[Numbers]]
"""A group of entries that are normalised together: which, the inputs, the results and their derivatives."""


def whole(x: Fraction) -> Fraction:
    """Return a number as it is."""
    return x


def _differentiated(step: Normaliser, x: Numbers, group: list[int], inputs: Side, scale: Side) -> Part:
    """Return a group's part with its inputs, and its scale, clipped before the norm is computed and differentiated."""
    assert step.held is not None
    a = [inputs(x[i]) for i in group]
    rows, bias = step.held(a, group)
    kept = [scale is whole or scale(rows[k][k]) != 0 for k in range(len(group))]
    results = [
        b + sum(w * v for w, v in zip(row, a, strict=True)) if keep else ZERO
        for row, b, keep in zip(rows, bias, kept, strict=True)
    ]
    slopes = [row if keep else [ZERO] * len(a) for row, keep in zip(step.jacobian(a, group), kept, strict=True)]
    return group, a, results, slopes


def _carried(parts: list[Part], z: Numbers, R: Numbers, node: Node, p: Params) -> Numbers:
    """Return x_j sum_k (d y_k / d x_j) R_k / st(z_k), summed over the parts."""
    under, found = r.stabilised(z, node.samples, p["stabilizer"]), [ZERO] * len(R)
    for group, a, _, slopes in parts:
        for k, row in zip(group, slopes, strict=True):
            s = R[k] / under[k] if under[k] != 0 else ZERO
            for j, x, slope in zip(group, a, row, strict=True):
                found[j] += x * slope * s
    return found


def apart(node: Node, R: Numbers, p: Params) -> Relevance:
    """A norm of inputs and scale that are clipped before: each pair of signs is normalised, and differentiated, for itself."""
    alpha, beta = (r.fraction(p.get(k, default)) for k, default in (("alpha", 1), ("beta", 0)))
    raw = p.get("inputs") == "raw"
    found: Relevance = [[ZERO] * len(R)]
    for factor, first, second in ((alpha, pos, neg), (-beta, neg, pos)):
        sides = ((whole, pos),) if raw else ((pos, first), (neg, second))
        assert isinstance(node.step, Normaliser)
        parts = [_differentiated(node.step, node.a[0], g, *side) for side in sides for g in node.step.groups]
        z = [ZERO] * len(R)
        for group, _, results, _ in parts:
            for k, y in zip(group, results, strict=True):
                z[k] += y
        found = r.added(found, [_carried(parts, z, r.times(factor, R), node, p)])
    return found


def apart_or(usual: Rule) -> Rule:
    """Return a rule that is `apart` on norms, of which those that such a rule is asked of have no bias, and as usual elsewhere."""

    def rule(node: Node, R: Numbers, p: Params) -> Relevance:
        return apart(node, R, p) if isinstance(node.step, Normaliser) and node.step.held else usual(node, R, p)

    return rule


def sample_deviation(site: Site) -> Step:
    """Return a LayerNorm whose deviation divides by n - 1 on the way back; over several axes it is that of the whole batch."""
    step, epsilon = FUNCTIONS[site.op](site), Fraction(float(np.float32(site.get("epsilon", 1e-5))))
    assert isinstance(step, Normaliser)
    usual, rank = step.held, len(step.shape)
    assert usual is not None

    def held(x: Numbers, group: list[int]) -> tuple[list[Numbers], Numbers]:
        rows, bias = usual(x, group)
        n, mean = len(x), sum(x) / Fraction(len(x))
        squares = sum((v - mean) ** 2 for v in x)
        factor = sqrt((squares / n + epsilon) / (squares / (n - 1) + epsilon))
        return [[factor * w for w in row] for row in rows], bias

    several = site.get("axis", -1) % rank < rank - 1
    groups = [[i for group in step.groups for i in group]] if several else step.groups
    return replace(step, held=held, groups=groups)


def stabiliser_lost(node: Node, R: Numbers, p: Params) -> Relevance:
    """A LayerNorm's denominators have pnpxai's own epsilon: copies of its rule, which composites make, forget the one given."""
    own = {"form": "signed", "epsilon": 1e-6} if isinstance(node.step, Normaliser) else p["stabilizer"]
    return rl.epsilon(node, R, {"bias": "absorb", **p, "stabilizer": own})
