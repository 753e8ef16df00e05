"""Other readings of the rules for maxima, functions, normalisers and products."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from reflrp.conformance.literal import numbers
from reflrp.conformance.literal import rules as r
from reflrp.conformance.literal import rules_linear as rl
from reflrp.conformance.literal import rules_other as ro
from reflrp.conformance.literal import rules_product as rp
from reflrp.conformance.literal.rules import Node, Params, Relevance
from reflrp.conformance.literal.steps import Linear, Normaliser, Numbers, Pointwise
from reflrp.conformance.readings.base import Reading, chosen, formula, instead
from reflrp.conformance.readings.linear import own_entry

ZERO = Fraction(0)


def lost_at_zero(node: Node, R: Numbers, p: Params) -> Relevance:
    """A winner of the value 0 passes nothing: R a / z."""
    return ro.transposed(node, [x if z != 0 else ZERO for x, z in zip(R, node.z, strict=True)], p)


def gradient_at_inputs(node: Node, R: Numbers, p: Params) -> Relevance:
    """Relevance only where the function's slope is not 0."""
    if not isinstance(node.step, Pointwise):
        return ro.pass_(node, R, p)
    return [[x if node.step.slope(a) != 0 else ZERO for a, x in zip(node.a[0], R, strict=True)]]


def slope_one_at_zero(node: Node, R: Numbers, p: Params) -> Relevance:
    """The slope at a kink is 1; of a maximum, relevance is passed as it is."""
    found = ro.gradient(node, R, p)
    if isinstance(node.step, Pointwise):
        return [[x if a == 0 else g for a, x, g in zip(node.a[0], R, found[0], strict=True)]]
    return found


def no_weights(node: Node, R: Numbers, p: Params) -> Relevance:
    """The gradient times the input."""
    return [
        [x * g for x, g in zip(a, found, strict=True)]
        for a, found in zip(node.a, ro.gradient(node, R, p), strict=False)
    ]


def guided_at_zero(node: Node, R: Numbers, p: Params) -> Relevance:
    """Also where the input is 0."""
    return [[r.pos(x) if a >= 0 else ZERO for a, x in zip(node.a[0], R, strict=True)]]


def with_offset(node: Node, R: Numbers, p: Params) -> Relevance:
    """All of the relevance, offset included: as if the function had none."""
    d = r.stabilised(node.z, node.samples, p["stabilizer"])
    return [[z * x / k if k != 0 else ZERO for z, x, k in zip(node.z, R, d, strict=True)]]


def masked_large(node: Node, R: Numbers, p: Params) -> Relevance:
    """A masked entry counts as -16."""
    a = [[Fraction(-16) if x is None else x for x in node.a[0]]]
    return ro.taylor(r.Node(node.step, a, node.shapes, node.z, node.active, node.gates), R, p)


def bare_jacobian(node: Node, R: Numbers, p: Params) -> Relevance:
    """The Jacobian without the input."""
    assert isinstance(node.step, Normaliser)
    plain = r.Node(
        node.step,
        [[x if x is not None else Fraction(-16) for x in node.a[0]]],
        node.shapes,
        node.z,
        node.active,
        node.gates,
    )
    found = [ZERO] * len(R)
    for group in node.step.groups:
        total = sum((R[i] * node.z[i] for i in group), ZERO)
        for i in group:
            found[i] = node.z[i] * (R[i] - total)
    return [[x * g for x, g in zip(plain.a[0], found, strict=True)]]


def unsummed(node: Node, R: Numbers, p: Params) -> Relevance:
    """x_i R_i (1 - p_i): the sum over the other entries is left out."""
    return [[ZERO if a is None else a * x * (1 - y) for a, x, y in zip(node.a[0], R, node.z, strict=True)]]


def to_first(node: Node, R: Numbers, p: Params) -> Relevance:
    """All to the first operand."""
    return rp.signal_takes_all(node, R, {"signal": 0, "stabilizer": p.get("stabilizer", NONE)})


def by_squares(node: Node, R: Numbers, p: Params) -> Relevance:
    """In proportion to the operands' sizes."""
    if not node.step.elementwise:  # type: ignore[union-attr]
        return rp.half(node, R, {"over": "active", "stabilizer": p.get("stabilizer", NONE)})
    found = node.zeros()
    for pairs, x in zip(node.step.pairs, R, strict=True):  # type: ignore[union-attr]
        (i, j), one, two = pairs[0], abs(node.a[0][pairs[0][0]]), abs(node.a[1][pairs[0][1]])
        found[0][i] += x * one / (one + two) if one + two else ZERO
        found[1][j] += x * two / (one + two) if one + two else ZERO
    return found


def doubled(node: Node, R: Numbers, p: Params) -> Relevance:
    """The full contributions' share to both, so that relevance doubles."""
    if node.step.elementwise:  # type: ignore[union-attr]
        return [[2 * x for x in part] for part in rp.half(node, R, p)]
    s = rp.divided(node, R, node.z, p["stabilizer"])
    return rp.pulled(node, s, node.active)


def on_z(node: Node, R: Numbers, p: Params) -> Relevance:
    """The stabiliser stands on z instead of 2 z."""
    if node.step.elementwise:  # type: ignore[union-attr]
        return rp.half(node, R, p)
    return rp.epsilon_uniform(node, R, p)


def on_two_z(node: Node, R: Numbers, p: Params) -> Relevance:
    """The stabiliser stands on 2 z instead of z."""
    s = rp.divided(node, R, r.times(sum(node.active), node.z), p["stabilizer"])
    return rp.pulled(node, s, node.active)


def to_gate(node: Node, R: Numbers, p: Params) -> Relevance:
    """All to the gate."""
    turned = r.Node(node.step, node.a, node.shapes, node.z, node.active, tuple(4 - g if g else 0 for g in node.gates))
    if isinstance(p["signal"], str):
        swapped = r.Node(node.step, node.a, node.shapes, node.z, node.active, (node.gates[1], node.gates[0]))
        return rp.signal_takes_all(swapped, R, p)
    return rp.signal_takes_all(turned, R, {**p, "signal": 1 - p["signal"]})


def not_halved(node: Node, R: Numbers, p: Params) -> Relevance:
    """Both operands get the whole."""
    return [[x * sum(node.active) for x in part] for part in rp.product_alpha_beta(node, R, p)]


def beta_wrong(node: Node, R: Numbers, p: Params) -> Relevance:
    """The negative part is added."""
    flipped = rp.product_alpha_beta(node, R, {**p, "alpha": ZERO, "beta": -r.fraction(p["beta"])})
    return r.added(rp.product_alpha_beta(node, R, {**p, "beta": ZERO}), flipped)


def sharper(node: Node, R: Numbers, p: Params) -> Relevance:
    """The slope of a softplus of beta 1."""
    return [[numbers.sigmoid(x) * y for x, y in zip(node.a[0], R, strict=True)]]


def mean_constant(node: Node, R: Numbers, p: Params) -> Relevance:
    """The mean is held constant too, so that an entry's relevance is its own (x_j - m) share."""
    if isinstance(node.step, Linear):
        return rl.norm(node, R, {**p, "bias": "absorb"})
    return own_entry(node, R, p)


def first_of_sum(node: Node, R: Numbers, p: Params) -> Relevance:
    """All to the first operand."""
    if not isinstance(node.step, Linear) or len(node.a) < 2:
        return rl.norm(node, R, p)
    return [list(R), *node.zeros()[1:]] if len(R) == len(node.a[0]) else rl.norm(node, R, p)


NONE: dict[str, Any] = {"form": "signed", "epsilon": 0}

OTHERS = (
    Reading(
        "NORM-2",
        "passed",
        "deviation",
        "Relevance goes through unchanged, mean and bias included.",
        formula(
            norm=mean_constant,
            epsilon=lambda n, R, p: mean_constant(n, R, p) if isinstance(n.step, Normaliser) else rl.epsilon(n, R, p),
        ),
    ),
    Reading(
        "POOL-1",
        "lost at 0",
        "deviation",
        "A winner of the value 0 passes nothing.",
        formula(winner_takes_all=lost_at_zero),
        ("captum",),
    ),
    Reading(
        "PASS-1", "gradient", "deviation", "Nothing passes where the slope is 0.", formula(pass_=gradient_at_inputs)
    ),
    Reading("GRAD-1", "slope 1 at 0", "deviation", "The slope at a kink is 1.", formula(gradient=slope_one_at_zero)),
    Reading(
        "GRAD-1", "times input", "deviation", "The gradient is multiplied with the input.", formula(gradient=no_weights)
    ),
    Reading(
        "DECONV-1", "guided", "deviation", "Only where the input is positive.", instead("deconvnet", "guided_backprop")
    ),
    Reading("DECONV-1", "passed", "deviation", "Negative relevance passes too.", instead("deconvnet", "pass")),
    Reading("GUIDED-1", "deconvnet", "deviation", "Whatever the input was.", instead("guided_backprop", "deconvnet")),
    Reading("GUIDED-1", "at 0", "deviation", "Also where the input is 0.", formula(guided_backprop=guided_at_zero)),
    Reading("BETA-1", "beta = 1", "deviation", "The sharpness is left out.", formula(beta_smooth=sharper)),
    Reading("BETA-1", "gradient", "deviation", "The ReLU's own slope.", instead("beta_smooth", "gradient")),
    Reading("RATIO-1", "passed", "deviation", "The offset's share goes to the input.", formula(ratio=with_offset)),
    Reading("STOP-1", "passed", "deviation", "Relevance goes through.", instead("stop", "pass")),
    Reading("SMAX-1", "gradient", "deviation", "The Jacobian at R, times the input.", formula(taylor=bare_jacobian)),
    Reading("SMAX-1", "no sum", "deviation", "The sum over the other entries is left out.", formula(taylor=unsummed)),
    Reading(
        "SMAX-2",
        "mask counts",
        "deviation",
        "A masked entry counts as a large negative number.",
        formula(taylor=masked_large),
    ),
    Reading("PROD-1", "to first", "deviation", "All to the first operand.", formula(half=to_first, uniform=to_first)),
    Reading(
        "PROD-1",
        "by size",
        "deviation",
        "In proportion to the operands' sizes.",
        formula(half=by_squares, uniform=by_squares),
    ),
    Reading(
        "PROD-1",
        "over=all",
        "variant",
        "Half to an operand that carries no relevance, too.",
        chosen("half uniform", over="all"),
    ),
    Reading(
        "PROD-1",
        "over=active",
        "variant",
        "All to the operand that carries relevance.",
        chosen("half uniform", over="active"),
    ),
    Reading("PROD-2", "doubled", "deviation", "Both operands get the whole.", formula(half=doubled)),
    Reading("PROD-2", "epsilon on z", "deviation", "The stabiliser stands on z.", formula(half=on_z)),
    Reading("PROD-3", "to gate", "deviation", "All to the gate.", formula(signal_takes_all=to_gate)),
    Reading("PROD-3", "half", "deviation", "Half to each.", instead("signal_takes_all", "half", over="active")),
    Reading("PROD-3", "signal=0", "variant", "The first operand is the signal.", chosen("signal_takes_all", signal=0)),
    Reading("PROD-3", "signal=1", "variant", "The second operand is the signal.", chosen("signal_takes_all", signal=1)),
    Reading(
        "PROD-3",
        "signal=activated",
        "variant",
        "Any activation's output is a gate.",
        chosen("signal_takes_all", signal="activated"),
    ),
    Reading(
        "PROD-3",
        "signal=auto",
        "variant",
        "Sigmoid, softmax and tanh make gates.",
        chosen("signal_takes_all", signal="auto"),
    ),
    Reading(
        "SMAX-1",
        "over=last",
        "deviation",
        "The sum is over the last axis.",
        chosen("taylor", over="last"),
        ("lxt", "lczerolens"),
    ),
    Reading("SMAX-1", "over=own", "deviation", "The sum is over the softmax's own axis.", chosen("taylor", over="own")),
    Reading(
        "PROD-4", "epsilon on 2 z", "deviation", "The stabiliser stands on 2 z.", formula(epsilon_uniform=on_two_z)
    ),
    Reading("PROD-5", "whole", "deviation", "Both operands get the whole.", formula(product_alpha_beta=not_halved)),
    Reading("ATT-1", "values only", "deviation", "The attention weights are held constant.", instead("taylor", "stop")),
    Reading(
        "ATT-1",
        "weights only",
        "deviation",
        "The products give all to their second operand.",
        instead("half", "signal_takes_all", signal=1),
    ),
    Reading("REC-1", "gates share", "deviation", "Gates get half.", instead("signal_takes_all", "half", over="active")),
    Reading(
        "REC-1",
        "state first",
        "deviation",
        "Of a sum of input and state the first gets all.",
        formula(norm=first_of_sum),
    ),
    Reading(
        "QUANT-1",
        "stopped",
        "deviation",
        "Rounding has the slope 0, and nothing passes.",
        formula(pass_=gradient_at_inputs),
    ),
    Reading("PROD-5", "beta added", "deviation", "The negative part is added.", formula(product_alpha_beta=beta_wrong)),
)
