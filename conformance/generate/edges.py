"""Level C1: what single layers do at the edges. Small dense layers whose sums are 0, empty, or of one sign."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from reflrp.conformance.generate.draft import NONE, SIGNED, TINY, Draft, how
from reflrp.conformance.generate.linear import AB, ZP
from reflrp.conformance.generate.net import Net

A = [[1.0, -1.0, 0.5, 0.0], [-0.5, 2.0, -0.0, 1.0]]
"""Inputs of both signs, with a 0 of each."""

W = [[1.0, 1.0, 0.5, -1.0], [1.0, -2.0, 0.25, 0.5], [0.0, 4.0, -0.5, 1.0], [2.0, -1.0, 3.0, 0.0]]
"""Of the first sample the sums are 0 (of 1 - 1), 5, 0 and -1; of the second 3.5, -5.5, 3.25, 1.5."""


def dense(
    slug: str,
    rule: str,
    params: dict[str, Any],
    a: Any,
    w: Any,
    b: Any,
    clauses: tuple[str, ...],
    comment: str,
    flags: tuple[str, ...] = (),
    exact: bool = True,
    R: Any = None,
) -> Draft:
    """Return the case of a dense layer with these numbers."""
    net = Net(f"edges/{slug}")
    x = net.input(np.array(a))
    weights = np.array(w)
    y = net.node("Gemm", [x, weights] + ([np.array(b)] if b is not None else []), (rule, params))
    net.output(y)
    seed = np.array(R) if R is not None else net.numbers.nonzero((len(a), weights.shape[1]))
    return Draft(
        f"{rule}/{slug}", "C1", clauses, net, comment, {y: seed}, flags, "dyadic" if exact else "measured", exact=exact
    )


def _stabilisers() -> Iterator[Draft]:
    stab = ("STAB-1", "STAB-2", "STAB-3")
    for form in ("signed", "plain", "clip", "nonzero"):
        for name, epsilon in (("large", 33 / 128), ("tiny", 2.0**-20))[: 2 if form == "signed" else 1]:
            p = {"bias": "absorb", "stabilizer": how(form, epsilon)}
            yield dense(
                f"zero_sums_{form}_{name}",
                "epsilon",
                p,
                A,
                W,
                None,
                stab,
                f"Sums that are exactly 0, under the form {form}.",
                ("ExactZero",),
            )
    zero = {"bias": "absorb", "stabilizer": NONE}
    yield dense(
        "zero_sums_epsilon_0",
        "epsilon",
        zero,
        A,
        W,
        None,
        ("STAB-2",),
        "Where z = 0 and epsilon = 0 nothing passes, though contributions are 1 and -1.",
        ("ExactZero",),
    )
    b = [0.0, 0.5, 0.0, 1.0]
    yield dense(
        "bias_makes_zero",
        "epsilon",
        {"bias": "absorb", "stabilizer": SIGNED},
        A,
        W,
        b,
        ("STAB-1", "EPS-2"),
        "The bias cancels the contributions: z = 0.",
        ("ExactZero",),
    )
    yield dense(
        "bias_makes_zero_epsilon_0",
        "epsilon",
        zero,
        A,
        W,
        b,
        ("STAB-2", "EPS-2"),
        "The bias cancels the contributions, and epsilon is 0.",
        ("ExactZero",),
    )
    yield dense(
        "all_inputs_zero",
        "epsilon",
        {"bias": "absorb", "stabilizer": SIGNED},
        [[0.0, -0.0], [1.0, 0.5]],
        [[1.0, 2.0], [3.0, -1.0]],
        [0.5, -1.0],
        ("EPS-1", "EPS-2"),
        "A sample of zeros gets no relevance; the bias keeps it.",
        ("ExactZero",),
    )
    negative = [[-1.0, -2.0, -0.5, -1.5]]
    for form in ("signed", "plain", "clip"):
        p = {"bias": "absorb", "stabilizer": how(form, 2.25)}
        yield dense(
            f"negative_sums_{form}",
            "epsilon",
            p,
            negative,
            np.abs(W),
            [-0.25, -0.5, -1.0, -2.0],
            stab,
            f"Sums below 0 under the form {form}.",
            ("NegativeZ", "NegativeBias"),
        )
    for slug, epsilon in (("unit", 1.0), ("third", 1 / 4), ("huge", 64.0)):
        p = {"bias": "absorb", "stabilizer": how(epsilon=epsilon)}
        yield dense(
            f"epsilon_{slug}",
            "epsilon",
            p,
            A,
            W,
            [0.5, -0.5, 1.0, 0.25],
            ("STAB-3", "EPS-1", "EPS-2"),
            f"Epsilon {epsilon}.",
            ("MacroEpsilon",),
        )
    scaled = {"bias": "absorb", "stabilizer": how(epsilon=0.5, norm_scale=True)}
    yield dense(
        "norm_scale_samples",
        "epsilon",
        scaled,
        [[1.0, 2.0], [16.0, 8.0]],
        [[1.0, -0.5], [0.5, 1.0]],
        [1.0, -1.0],
        ("STAB-3",),
        "The root mean square is each sample's own.",
        exact=False,
    )


def _empty() -> Iterator[Draft]:
    positive, weights = [[1.0, 0.5, 2.0]], [[1.0, 0.25], [2.0, 0.5], [0.5, 1.0]]
    for slug, stabilizer in (("", SIGNED), ("_epsilon_0", NONE), ("_tiny", TINY)):
        p = {**AB, "stabilizer": stabilizer}
        yield dense(
            f"only_positive{slug}",
            "alpha_beta",
            p,
            positive,
            weights,
            None,
            ("AB-3", "STAB-2"),
            "Without negative contributions the inputs get alpha R.",
            ("EmptyDenominator",),
        )
        yield dense(
            f"only_negative{slug}",
            "alpha_beta",
            p,
            positive,
            (-np.array(weights)).tolist(),
            None,
            ("AB-3", "STAB-2"),
            "Without positive contributions the inputs get -beta R.",
            ("EmptyDenominator",),
        )
    yield dense(
        "only_bias_negative",
        "alpha_beta",
        AB,
        positive,
        weights,
        [-1.0, -0.5],
        ("AB-2",),
        "The negative bias alone stands in the beta denominator.",
        ("NegativeBias", "EmptyDenominator"),
    )
    yield dense(
        "cancelling",
        "alpha_beta",
        AB,
        [[1.0, 1.0]],
        [[1.0, 2.0], [-1.0, -2.0]],
        [0.5, -0.5],
        ("AB-1", "AB-2"),
        "Contributions that cancel: z = 0, and both parts are not.",
        ("ExactZero",),
    )
    for rule, p in (("z_plus", ZP), ("z_plus", {**ZP, "stabilizer": NONE})):
        slug = "nothing_positive" + ("" if p is ZP else "_epsilon_0")
        yield dense(
            slug,
            rule,
            p,
            [[1.0, -1.0], [2.0, 0.5]],
            [[-1.0, 0.5], [1.0, 0.25]],
            [1.0, -1.0],
            ("ZP-1", "ZP-2"),
            "Outputs without a positive contribution pass nothing.",
            ("EmptyDenominator",),
        )
    for slug, stabilizer in (("", SIGNED), ("_epsilon_0", NONE)):
        p = {"bias": "ignore", "stabilizer": stabilizer}
        yield dense(
            f"zero_column{slug}",
            "w_square",
            p,
            A,
            [[0.0, 1.0], [0.0, -2.0], [0.0, 0.5], [0.0, 0.25]],
            [1.0, 1.0],
            ("WSQ-1", "WSQ-2"),
            "An output whose weights are all 0 passes nothing.",
            ("EmptyDenominator",),
        )


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _stabilisers()
    yield from _empty()
