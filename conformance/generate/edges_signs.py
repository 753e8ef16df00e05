"""Level C1: what decides by signs, bounds and counts at the edges."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reflrp.conformance.generate.draft import SIGNED, Draft
from reflrp.conformance.generate.edges import A, W, dense
from reflrp.conformance.generate.linear import ABX, GAMMA, SIGN
from reflrp.conformance.generate.net import Net


def _signs() -> Iterator[Draft]:
    generalised = {**GAMMA, "generalized": True}
    yield dense(
        "z_zero_standard",
        "gamma",
        GAMMA,
        A,
        W,
        None,
        ("GAMMA-1", "STAB-1"),
        "Where z = 0 the raised sum is not.",
        ("ExactZero",),
    )
    yield dense(
        "z_zero_generalized",
        "gamma",
        generalised,
        A,
        W,
        None,
        ("GAMMA-4", "GAMMA-3"),
        "Where z = 0 the generalised rule passes nothing.",
        ("ExactZero",),
    )
    yield dense(
        "z_negative_generalized",
        "gamma",
        generalised,
        [[-1.0, -2.0, -0.5, -1.5]],
        np.abs(W),
        [-0.25, 0.5, -1.0, 0.75],
        ("GAMMA-3", "GAMMA-2"),
        "Where z < 0 the negative contributions are raised.",
        ("NegativeZ",),
    )
    yield dense(
        "bias_decides_generalized",
        "gamma",
        generalised,
        [[1.0, 1.0]],
        [[1.0, -1.0], [0.5, -0.5]],
        [-4.0, 4.0],
        ("GAMMA-3", "GAMMA-2"),
        "The sign of z is that with the bias.",
        ("NegativeZ", "NegativeBias"),
    )
    yield dense(
        "negative_inputs",
        "gamma",
        GAMMA,
        [[-1.0, -2.0, 0.5, 0.25]],
        W,
        [1.0, -1.0, 0.5, -0.5],
        ("GAMMA-1", "GAMMA-2"),
        "Weights are raised by their own sign, whatever the input's.",
        ("NegativeInput", "NegativeBias"),
    )
    for mu in (0.0, 0.5, -1.0):
        yield dense(
            f"at_threshold_{mu:g}".replace("-", "minus_").replace(".", "_"),
            "sign",
            {**SIGN, "mu": mu},
            [[0.5, -1.0, 0.0], [-0.0, 2.0, 0.5]],
            [[1.0, 0.5], [0.5, -1.0], [-2.0, 1.5]],
            [0.25, -0.5],
            ("SIGN-1", "SIGN-2"),
            f"Inputs that equal mu = {mu} count as +1.",
            ("Threshold",),
        )
    yield dense(
        "mu_array",
        "sign",
        {**SIGN, "mu": [0.5, -1.0, 0.0]},
        [[0.5, -1.0, 0.0], [0.25, 2.0, -0.5]],
        [[1.0, 0.5], [0.5, -1.0], [-2.0, 1.5]],
        [0.25, -0.5],
        ("SIGN-1", "SIGN-2"),
        "A threshold for each input.",
        ("Threshold",),
    )
    for slug, alpha, beta in (
        ("x1000", [1.0, 0.0], [0.0, 0.0]),
        ("x1010", [1.0, 0.0], [0.0, -1.0]),
        ("x1001", [1.0, 1.0], [0.0, 0.0]),
        ("x2m100", [2.0, 0.0], [1.0, 0.0]),
    ):
        yield dense(
            slug,
            "alpha_beta_x",
            {**ABX, "alpha": alpha, "beta": beta},
            A,
            W,
            [1.0, -0.5, 0.25, -1.0],
            ("ABX-1", "ABX-2"),
            f"alpha {alpha}, beta {beta}.",
            ("NegativeBias",),
        )
    std = {"factor": 0.5, "over": "sample", "bias": "absorb"}
    yield dense(
        "own_deviation",
        "stdx_epsilon",
        std,
        [[1.0, 3.0, 1.0, 3.0], [8.0, 0.0, 8.0, 0.0]],
        W,
        [0.5, -0.5, 1.0, 0.25],
        ("STDX-1", "STDX-2"),
        "Deviations 1 and 4: each sample has its own epsilon.",
        exact=False,
    )
    yield dense(
        "one_deviation",
        "stdx_epsilon",
        {**std, "over": "batch"},
        [[1.0, 3.0, 1.0, 3.0], [8.0, 0.0, 8.0, 0.0]],
        W,
        [0.5, -0.5, 1.0, 0.25],
        ("STDX-2",),
        "One deviation for both samples.",
        exact=False,
    )
    yield dense(
        "constant_input",
        "stdx_epsilon",
        {**std, "bias": "ignore"},
        [[1.0, 1.0, 1.0, 1.0], [0.5, 1.5, 0.5, 1.5]],
        W,
        [0.5, -0.5, 1.0, 0.25],
        ("STDX-2", "STDX-1"),
        "A deviation of 0 leaves no epsilon.",
        exact=False,
    )


def _bounds() -> Iterator[Draft]:
    p = {"low": -1.0, "high": 1.0, "stabilizer": SIGNED}
    for slug, low, high, comment in (
        ("channels", [[[-1.0]], [[-0.5]]], [[[1.0]], [[2.0]]], "Bounds that differ from channel to channel."),
        (
            "pixels",
            [[-1.0, -0.5, 0.0], [-2.0, -1.0, -1.5], [-1.0, -1.0, -0.25]],
            [[1.0, 0.5, 2.0], [2.0, 1.0, 1.5], [1.0, 1.0, 0.25]],
            "Bounds that differ from pixel to pixel.",
        ),
        ("padded", -1.0, 1.5, "Padding is 0 for input and both bounds."),
    ):
        net = Net(f"edges/z_box/{slug}")
        x = net.input(net.numbers.dyadic((2, 2, 3, 3)))
        y = net.node(
            "Conv",
            [x, net.numbers.dyadic((3, 2, 2, 2)), net.numbers.dyadic((3,))],
            ("z_box", {**p, "low": low, "high": high}),
            pads=[1, 0, 0, 1],
        )
        net.output(y)
        yield Draft(
            f"z_box/{slug}",
            "C1",
            ("ZB-1", "ZB-2"),
            net,
            comment,
            {y: net.numbers.nonzero((2, 3, 3, 3))},
            ("BorderPadding",),
        )
    yield dense(
        "outside_the_box",
        "z_box",
        p,
        [[2.0, -3.0, 0.5, 0.0]],
        W,
        [1.0, 0.5, -1.0, 0.25],
        ("ZB-1", "ZB-2"),
        "Inputs beyond the bounds are taken as they are.",
    )
    yield dense(
        "corner",
        "z_box",
        p,
        [[-1.0, 1.0, -1.0, 1.0]],
        [[1.0, 0.5], [-1.0, -2.0], [2.0, 0.25], [-0.5, 1.0]],
        [1.0, 0.5],
        ("ZB-1", "ZB-2"),
        "An input in the corner contributes nothing where its weights point there.",
        ("EmptyDenominator",),
    )
    yield dense(
        "inputs_bounds",
        "z_box",
        {**p, "low": [-1.0, -2.0, 0.0, -0.5], "high": [1.0, 0.0, 0.5, 1.5]},
        A,
        W,
        [1.0, 0.5, -1.0, 0.25],
        ("ZB-1", "ZB-2"),
        "Bounds for each input of a dense layer.",
    )


def _flat() -> Iterator[Draft]:
    p = {"stabilizer": SIGNED}
    yield dense(
        "stored_zeros",
        "flat",
        p,
        A,
        [[0.0, 1.0], [2.0, 0.0], [0.0, 0.0], [1.0, -1.0]],
        [0.5, 1.0],
        ("FLAT-1", "FLAT-2"),
        "Weights of 0 count as inputs.",
        ("StoredZero",),
    )
    yield dense(
        "all_zero",
        "flat",
        p,
        A,
        [[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]],
        [0.5, 1.0],
        ("FLAT-1", "FLAT-2"),
        "An output whose weights are all 0 still shares.",
        ("StoredZero",),
    )
    for slug, w in (("zero_taps", [[[[0.0, 1.0], [2.0, 0.0]]]]), ("border", [[[[1.0, -1.0], [2.0, 0.5]]]])):
        net = Net(f"edges/flat/{slug}")
        x = net.input(net.numbers.dyadic((1, 1, 3, 3)))
        y = net.node("Conv", [x, np.array(w)], ("flat", p), pads=[1, 1, 1, 1])
        net.output(y)
        yield Draft(
            f"flat/{slug}",
            "C1",
            ("FLAT-1", "FLAT-2"),
            net,
            "Border outputs have fewer inputs, taps of 0 count.",
            {y: net.numbers.nonzero((1, 1, 4, 4))},
            ("BorderPadding", "StoredZero"),
        )


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _signs()
    yield from _bounds()
    yield from _flat()
