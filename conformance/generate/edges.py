"""Level C1: what single layers do at the edges. Small dense layers whose sums are 0, empty, or of one sign."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from reflrp.conformance.generate.draft import NONE, SIGNED, TINY, Draft, how
from reflrp.conformance.generate.linear import AB, ABX, GAMMA, SIGN, ZP
from reflrp.conformance.generate.net import Net

A = [[1.0, -1.0, 0.5, 0.0], [-0.5, 2.0, -0.0, 1.0]]
"""Inputs of both signs, with a 0 of each."""

W = [[1.0, 1.0, 0.5, -1.0], [1.0, -2.0, 0.25, 0.5], [0.0, 4.0, -0.5, 1.0], [2.0, -1.0, 3.0, 0.0]]
"""Of the first sample the sums are 0 (of 1 - 1), 5, 0 and -1; of the second 3.5, -5.5, 3.25, 1.5."""


def dense(slug: str, rule: str, params: dict[str, Any], a: Any, w: Any, b: Any, clauses: tuple[str, ...], comment: str, flags: tuple[str, ...] = (), exact: bool = True, R: Any = None) -> Draft:
    """Return the case of a dense layer with these numbers."""
    net = Net(f"edges/{slug}")
    x = net.input(np.array(a))
    weights = np.array(w)
    y = net.node("Gemm", [x, weights] + ([np.array(b)] if b is not None else []), (rule, params))
    net.output(y)
    seed = np.array(R) if R is not None else net.numbers.nonzero((len(a), weights.shape[1]))
    return Draft(f"{rule}/{slug}", "C1", clauses, net, comment, {y: seed}, flags, "dyadic" if exact else "measured", exact=exact)


def drafts() -> Iterator[Draft]:
    """Yield all edges."""
    yield from _stabilisers()
    yield from _empty()
    yield from _signs()
    yield from _bounds()
    yield from _flat()


def _stabilisers() -> Iterator[Draft]:
    stab = ("STAB-1", "STAB-2", "STAB-3")
    for form in ("signed", "plain", "clip", "nonzero"):
        for name, epsilon in (("large", 33 / 128), ("tiny", 2.0**-20)):
            p = {"bias": "absorb", "stabilizer": how(form, epsilon)}
            yield dense(f"zero_sums_{form}_{name}", "epsilon", p, A, W, None, stab, f"Sums that are exactly 0, under the form {form}.", ("ExactZero",))
    zero = {"bias": "absorb", "stabilizer": NONE}
    yield dense("zero_sums_epsilon_0", "epsilon", zero, A, W, None, ("STAB-2",), "Where z = 0 and epsilon = 0 nothing passes, though contributions are 1 and -1.", ("ExactZero",))
    b = [0.0, 0.5, 0.0, 1.0]
    yield dense("bias_makes_zero", "epsilon", {"bias": "absorb", "stabilizer": SIGNED}, A, W, b, ("STAB-1", "EPS-2"), "The bias cancels the contributions: z = 0.", ("ExactZero",))
    yield dense("bias_makes_zero_epsilon_0", "epsilon", zero, A, W, b, ("STAB-2", "EPS-2"), "The bias cancels the contributions, and epsilon is 0.", ("ExactZero",))
    yield dense("all_inputs_zero", "epsilon", {"bias": "absorb", "stabilizer": SIGNED}, [[0.0, -0.0], [1.0, 0.5]], [[1.0, 2.0], [3.0, -1.0]], [0.5, -1.0], ("EPS-1", "EPS-2"), "A sample of zeros gets no relevance; the bias keeps it.", ("ExactZero",))
    negative = [[-1.0, -2.0, -0.5, -1.5]]
    for form in ("signed", "plain", "clip"):
        p = {"bias": "absorb", "stabilizer": how(form, 2.25)}
        yield dense(f"negative_sums_{form}", "epsilon", p, negative, np.abs(W), [-0.25, -0.5, -1.0, -2.0], stab, f"Sums below 0 under the form {form}.", ("NegativeZ", "NegativeBias"))
    for slug, epsilon in (("unit", 1.0), ("third", 1 / 4), ("huge", 64.0)):
        p = {"bias": "absorb", "stabilizer": how(epsilon=epsilon)}
        yield dense(f"epsilon_{slug}", "epsilon", p, A, W, [0.5, -0.5, 1.0, 0.25], ("STAB-3", "EPS-1", "EPS-2"), f"Epsilon {epsilon}.", ("MacroEpsilon",))
    scaled = {"bias": "absorb", "stabilizer": how(epsilon=0.5, norm_scale=True)}
    yield dense("norm_scale_samples", "epsilon", scaled, [[1.0, 2.0], [16.0, 8.0]], [[1.0, -0.5], [0.5, 1.0]], [1.0, -1.0], ("STAB-3",), "The root mean square is each sample's own.", exact=False)


def _empty() -> Iterator[Draft]:
    positive, weights = [[1.0, 0.5, 2.0]], [[1.0, 0.25], [2.0, 0.5], [0.5, 1.0]]
    for slug, stabilizer in (("", SIGNED), ("_epsilon_0", NONE), ("_tiny", TINY)):
        p = {**AB, "stabilizer": stabilizer}
        yield dense(f"only_positive{slug}", "alpha_beta", p, positive, weights, None, ("AB-3", "STAB-2"), "Without negative contributions the inputs get alpha R.", ("EmptyDenominator",))
        yield dense(f"only_negative{slug}", "alpha_beta", p, positive, (-np.array(weights)).tolist(), None, ("AB-3", "STAB-2"), "Without positive contributions the inputs get -beta R.", ("EmptyDenominator",))
    yield dense("only_bias_negative", "alpha_beta", AB, positive, weights, [-1.0, -0.5], ("AB-2",), "The negative bias alone stands in the beta denominator.", ("NegativeBias", "EmptyDenominator"))
    yield dense("cancelling", "alpha_beta", AB, [[1.0, 1.0]], [[1.0, 2.0], [-1.0, -2.0]], [0.5, -0.5], ("AB-1", "AB-2"), "Contributions that cancel: z = 0, and both parts are not.", ("ExactZero",))
    for rule, p in (("z_plus", ZP), ("z_plus", {**ZP, "stabilizer": NONE})):
        slug = "nothing_positive" + ("" if p is ZP else "_epsilon_0")
        yield dense(slug, rule, p, [[1.0, -1.0], [2.0, 0.5]], [[-1.0, 0.5], [1.0, 0.25]], [1.0, -1.0], ("ZP-1", "ZP-2"), "Outputs without a positive contribution pass nothing.", ("EmptyDenominator",))
    for slug, stabilizer in (("", SIGNED), ("_epsilon_0", NONE)):
        p = {"bias": "ignore", "stabilizer": stabilizer}
        yield dense(f"zero_column{slug}", "w_square", p, A, [[0.0, 1.0], [0.0, -2.0], [0.0, 0.5], [0.0, 0.25]], [1.0, 1.0], ("WSQ-1", "WSQ-2"), "An output whose weights are all 0 passes nothing.", ("EmptyDenominator",))


def _signs() -> Iterator[Draft]:
    generalised = {**GAMMA, "generalized": True}
    yield dense("z_zero_standard", "gamma", GAMMA, A, W, None, ("GAMMA-1", "STAB-1"), "Where z = 0 the raised sum is not.", ("ExactZero",))
    yield dense("z_zero_generalized", "gamma", generalised, A, W, None, ("GAMMA-4", "GAMMA-3"), "Where z = 0 the generalised rule passes nothing.", ("ExactZero",))
    yield dense("z_negative_generalized", "gamma", generalised, [[-1.0, -2.0, -0.5, -1.5]], np.abs(W), [-0.25, 0.5, -1.0, 0.75], ("GAMMA-3", "GAMMA-2"), "Where z < 0 the negative contributions are raised.", ("NegativeZ",))
    yield dense("bias_decides_generalized", "gamma", generalised, [[1.0, 1.0]], [[1.0, -1.0], [0.5, -0.5]], [-4.0, 4.0], ("GAMMA-3", "GAMMA-2"), "The sign of z is that with the bias.", ("NegativeZ", "NegativeBias"))
    yield dense("negative_inputs", "gamma", GAMMA, [[-1.0, -2.0, 0.5, 0.25]], W, [1.0, -1.0, 0.5, -0.5], ("GAMMA-1", "GAMMA-2"), "Weights are raised by their own sign, whatever the input's.", ("NegativeInput", "NegativeBias"))
    for mu in (0.0, 0.5, -1.0):
        yield dense(f"at_threshold_{mu:g}".replace("-", "minus_").replace(".", "_"), "sign", {**SIGN, "mu": mu}, [[0.5, -1.0, 0.0], [-0.0, 2.0, 0.5]], [[1.0, 0.5], [0.5, -1.0], [-2.0, 1.5]], [0.25, -0.5], ("SIGN-1", "SIGN-2"), f"Inputs that equal mu = {mu} count as +1.", ("Threshold",))
    yield dense("mu_array", "sign", {**SIGN, "mu": [0.5, -1.0, 0.0]}, [[0.5, -1.0, 0.0], [0.25, 2.0, -0.5]], [[1.0, 0.5], [0.5, -1.0], [-2.0, 1.5]], [0.25, -0.5], ("SIGN-1", "SIGN-2"), "A threshold for each input.", ("Threshold",))
    for slug, alpha, beta in (("x1000", [1.0, 0.0], [0.0, 0.0]), ("x1010", [1.0, 0.0], [0.0, -1.0]), ("x1001", [1.0, 1.0], [0.0, 0.0]), ("x2m100", [2.0, 0.0], [1.0, 0.0])):
        yield dense(slug, "alpha_beta_x", {**ABX, "alpha": alpha, "beta": beta}, A, W, [1.0, -0.5, 0.25, -1.0], ("ABX-1", "ABX-2"), f"alpha {alpha}, beta {beta}.", ("NegativeBias",))
    std = {"factor": 0.5, "over": "sample", "bias": "absorb"}
    yield dense("own_deviation", "stdx_epsilon", std, [[1.0, 3.0, 1.0, 3.0], [8.0, 0.0, 8.0, 0.0]], W, [0.5, -0.5, 1.0, 0.25], ("STDX-1", "STDX-2"), "Deviations 1 and 4: each sample has its own epsilon.", exact=False)
    yield dense("one_deviation", "stdx_epsilon", {**std, "over": "batch"}, [[1.0, 3.0, 1.0, 3.0], [8.0, 0.0, 8.0, 0.0]], W, [0.5, -0.5, 1.0, 0.25], ("STDX-2",), "One deviation for both samples.", exact=False)
    yield dense("constant_input", "stdx_epsilon", {**std, "bias": "ignore"}, [[1.0, 1.0, 1.0, 1.0], [0.5, 1.5, 0.5, 1.5]], W, [0.5, -0.5, 1.0, 0.25], ("STDX-2", "STDX-1"), "A deviation of 0 leaves no epsilon.", exact=False)


def _bounds() -> Iterator[Draft]:
    p = {"low": -1.0, "high": 1.0, "stabilizer": SIGNED}
    for slug, low, high, comment in (
        ("channels", [[[-1.0]], [[-0.5]]], [[[1.0]], [[2.0]]], "Bounds that differ from channel to channel."),
        ("pixels", [[-1.0, -0.5, 0.0], [-2.0, -1.0, -1.5], [-1.0, -1.0, -0.25]], [[1.0, 0.5, 2.0], [2.0, 1.0, 1.5], [1.0, 1.0, 0.25]], "Bounds that differ from pixel to pixel."),
        ("padded", -1.0, 1.5, "Padding is 0 for input and both bounds."),
    ):
        net = Net(f"edges/z_box/{slug}")
        x = net.input(net.numbers.dyadic((2, 2, 3, 3)))
        y = net.node("Conv", [x, net.numbers.dyadic((3, 2, 2, 2)), net.numbers.dyadic((3,))], ("z_box", {**p, "low": low, "high": high}), pads=[1, 0, 0, 1])
        net.output(y)
        yield Draft(f"z_box/{slug}", "C1", ("ZB-1", "ZB-2"), net, comment, {y: net.numbers.nonzero((2, 3, 3, 3))}, ("BorderPadding",))
    yield dense("outside_the_box", "z_box", p, [[2.0, -3.0, 0.5, 0.0]], W, [1.0, 0.5, -1.0, 0.25], ("ZB-1", "ZB-2"), "Inputs beyond the bounds are taken as they are.")
    yield dense("corner", "z_box", p, [[-1.0, 1.0, -1.0, 1.0]], [[1.0, 0.5], [-1.0, -2.0], [2.0, 0.25], [-0.5, 1.0]], [1.0, 0.5], ("ZB-1", "ZB-2"), "An input in the corner contributes nothing where its weights point there.", ("EmptyDenominator",))
    yield dense("inputs_bounds", "z_box", {**p, "low": [-1.0, -2.0, 0.0, -0.5], "high": [1.0, 0.0, 0.5, 1.5]}, A, W, [1.0, 0.5, -1.0, 0.25], ("ZB-1", "ZB-2"), "Bounds for each input of a dense layer.")


def _flat() -> Iterator[Draft]:
    p = {"stabilizer": SIGNED}
    yield dense("stored_zeros", "flat", p, A, [[0.0, 1.0], [2.0, 0.0], [0.0, 0.0], [1.0, -1.0]], [0.5, 1.0], ("FLAT-1", "FLAT-2"), "Weights of 0 count as inputs.", ("StoredZero",))
    yield dense("all_zero", "flat", p, A, [[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [0.5, 1.0], ("FLAT-1", "FLAT-2"), "An output whose weights are all 0 still shares.", ("StoredZero",))
    for slug, w in (("zero_taps", [[[[0.0, 1.0], [2.0, 0.0]]]]), ("border", [[[[1.0, -1.0], [2.0, 0.5]]]])):
        net = Net(f"edges/flat/{slug}")
        x = net.input(net.numbers.dyadic((1, 1, 3, 3)))
        y = net.node("Conv", [x, np.array(w)], ("flat", p), pads=[1, 1, 1, 1])
        net.output(y)
        yield Draft(f"flat/{slug}", "C1", ("FLAT-1", "FLAT-2"), net, "Border outputs have fewer inputs, taps of 0 count.", {y: net.numbers.nonzero((1, 1, 4, 4))}, ("BorderPadding", "StoredZero"))
