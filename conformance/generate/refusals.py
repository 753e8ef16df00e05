"""Level C0: the forward pass. And what must be refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from reflrp.conformance.generate.draft import SIGNED, Draft
from reflrp.conformance.generate.graphs import EPSILON, NORM, PASS, case, gemm, image
from reflrp.conformance.generate.linear import AB, GAMMA, ZP
from reflrp.conformance.generate.net import Net
from reflrp.conformance.generate.networks import BOX, EPS, FLAT, PLUS, conv_layer


def _forward() -> Iterator[Draft]:
    def of(slug: str, comment: str, build: Callable[[Net], Any], exact: bool = True) -> Draft:
        made = case(
            f"forward/{slug}", ("FWD-1",), comment, build, ("Forward",), "C0", "network" if exact else "measured", exact
        )
        return replace(made, expect="property", property="forward")

    s = {"kernel_shape": [2, 2], "strides": [2, 2]}
    yield of(
        "conv",
        "A convolution is a correlation: the kernel is not mirrored.",
        lambda net: conv_layer(net, image(net), 2, 2, EPS, pads=[1, 0, 0, 1]),
    )
    yield of(
        "conv_transpose",
        "A transposed convolution.",
        lambda net: net.node(
            "ConvTranspose", [image(net, (1, 2, 3, 3)), net.numbers.dyadic((2, 1, 3, 2))], EPSILON, strides=[2, 1]
        ),
    )
    yield of(
        "average_excluded",
        "Padding does not count.",
        lambda net: net.node("AveragePool", [image(net)], NORM, **s, pads=[1, 1, 1, 1], count_include_pad=0),
    )
    yield of(
        "average_included",
        "Padding counts.",
        lambda net: net.node("AveragePool", [image(net)], NORM, **s, pads=[1, 1, 1, 1], count_include_pad=1),
    )
    yield of(
        "batchnorm",
        "Epsilon stands under the root.",
        lambda net: net.node(
            "BatchNormalization",
            [
                image(net, (2, 2, 3)),
                np.array([1.0, -0.5]),
                np.array([0.5, 1.0]),
                np.array([0.25, -1.0]),
                np.array([3.75, 0.75]),
            ],
            NORM,
            epsilon=0.25,
        ),
    )
    yield of(
        "added",
        "A constant that is added.",
        lambda net: net.node("Add", [image(net, (2, 3)), np.array([1.0, -0.5, 2.0])], NORM),
    )


def _rejects() -> Iterator[Draft]:
    def of(slug: str, clauses: tuple[str, ...], comment: str, build: Callable[[Net], Any], seed: Any = None) -> Draft:
        net = Net(f"reject/{slug}")
        net.output(build(net))
        shape = seed if seed is not None else (1, 2)
        return Draft(
            f"reject/{slug}",
            "C3",
            clauses,
            net,
            comment,
            {net.outputs[0]: net.numbers.nonzero(shape)},
            ("Reject",),
            "dyadic",
            "reject",
        )

    def dense(rule: str, **params: Any) -> Callable[[Net], Any]:
        base = {
            "alpha_beta": AB,
            "gamma": GAMMA,
            "z_plus": ZP,
            "z_box": BOX[1],
            "epsilon": EPS[1],
            "flat": FLAT[1],
        }.get(rule, {})
        return lambda net: gemm(net, image(net, (1, 3)), 3, 2, (rule, {**base, **params}))

    negative = {"form": "signed", "epsilon": -0.25, "norm_scale": False}
    yield of("alpha_minus_beta_2", ("AB-1",), "alpha - beta is 2.", dense("alpha_beta", alpha=3.0, beta=1.0))
    yield of("alpha_minus_beta_0", ("AB-1",), "alpha - beta is 0.", dense("alpha_beta", alpha=1.0, beta=1.0))
    yield of("alpha_nearly", ("AB-1",), "alpha - beta is 1 only nearly.", dense("alpha_beta", alpha=2.0, beta=0.9999))
    yield of("beta_negative", ("AB-1",), "beta is below 0.", dense("alpha_beta", alpha=0.5, beta=-0.5))
    yield of("low_above_high", ("ZB-1",), "low is above high.", dense("z_box", low=1.0, high=-1.0))
    yield of(
        "low_above_high_somewhere",
        ("ZB-1",),
        "low is above high for one input.",
        dense("z_box", low=[-1.0, 0.5, -1.0], high=[1.0, 0.25, 1.0]),
    )
    for rule in ("epsilon", "alpha_beta", "z_plus", "z_box", "flat"):
        yield of(
            f"epsilon_negative_{rule}", ("ARG-1",), f"A negative epsilon of {rule}.", dense(rule, stabilizer=negative)
        )
    yield of("gamma_negative", ("ARG-1",), "A negative gamma.", dense("gamma", gamma=-0.5))
    yield of(
        "form_unknown",
        ("ARG-1",),
        "A form of the stabiliser that there is not.",
        dense("epsilon", stabilizer={**SIGNED, "form": "sideways"}),
    )
    yield of("bias_unknown", ("ARG-1",), "A place of the bias that there is not.", dense("epsilon", bias="sideways"))
    yield of("seed_of_another_shape", ("ARG-1",), "A seed with an entry too many.", dense("epsilon"), (1, 3))
    yield of("taylor_on_dense", ("COMP-2",), "The softmax's rule on a dense layer.", dense("taylor", over="own"))
    yield of("winner_on_dense", ("COMP-2",), "The maximum's rule on a dense layer.", dense("winner_takes_all"))
    yield of(
        "half_on_dense",
        ("COMP-2",),
        "The products' rule on a dense layer.",
        dense("half", over="active", stabilizer=SIGNED),
    )
    yield of(
        "epsilon_on_relu",
        ("COMP-2",),
        "A rule for linear maps on a ReLU.",
        lambda net: net.node("Relu", [image(net, (1, 2))], EPS),
    )
    yield of(
        "z_plus_on_product",
        ("COMP-2",),
        "A rule for linear maps on a product of two inputs.",
        lambda net: net.node("Mul", [image(net, (1, 2)), net.input(net.numbers.dyadic((1, 2)), "t")], PLUS),
    )
    yield of(
        "node_without_rule",
        ("COMP-2",),
        "Of two layers one has no rule: there is no default.",
        lambda net: gemm(net, gemm(net, image(net, (1, 3)), 3, 3, None), 3, 2, EPS),
    )
    yield of(
        "relu_without_rule",
        ("COMP-2",),
        "A ReLU without a rule.",
        lambda net: gemm(net, net.node("Relu", [gemm(net, image(net, (1, 3)), 3, 3, EPS)]), 3, 2, EPS),
    )
    yield of(
        "unknown_operator",
        ("COMP-2",),
        "An operator that ONNX has not.",
        lambda net: gemm(net, net.node("Sideways", [image(net, (1, 3))], PASS), 3, 2, EPS),
    )
    yield of(
        "random_operator",
        ("COMP-2",),
        "Noise has no one answer.",
        lambda net: gemm(
            net,
            net.node("Add", [image(net, (1, 3)), net.node("RandomNormalLike", [net.node("Identity", ["x"])])], NORM),
            3,
            2,
            EPS,
        ),
    )
    yield of("circle", ("COMP-2",), "A graph that runs in a circle.", _circle)


def _circle(net: Net) -> Any:
    image(net, (1, 2))
    net.node("Add", ["x", "relu0_y"], NORM)
    return net.node("Relu", ["add0_y"], PASS)


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _forward()
    yield from _rejects()
