"""Levels C1 to C4: what only a close look tells apart, layer by layer. Some wrong formula passes all other cases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from reflrp.conformance.generate.attention import HALF, UNIFORM
from reflrp.conformance.generate.draft import NONE, SIGNED, Draft, how
from reflrp.conformance.generate.edges import dense
from reflrp.conformance.generate.graphs import NORM, WINNER, case, gemm, image
from reflrp.conformance.generate.linear import AB, ABX, GAMMA, MAIN, SIGN, STDX, ZP, layer, one

EDGES = (("", SIGNED, ("STAB-1",)), ("_epsilon_0", NONE, ("STAB-2",)))
"""What is done at a denominator of 0, with epsilon and without."""


def _denominators() -> Iterator[Draft]:
    """Denominators that are 0 though contributions are not, rule by rule."""
    pairs = [[1.0, 2.0], [2.0, 0.5]]
    rules: dict[str, tuple[str, dict[str, Any], Any, Any, Any, str]] = {
        "raised_cancels": ("gamma", GAMMA, [[1.0, 1.0], [0.5, 2.0]], [[1.0, 2.0], [-1.25, 0.5]], None, "The raised sum is 0."),
        "bias_cancels": (
            "z_plus", {**ZP, "bias": "full"}, pairs, [[1.0, 0.5], [0.5, 1.0]], [-2.0, 0.25], "The bias cancels the positive sum.",
        ),
        "bias_cancels_either": (
            "alpha_beta", {**AB, "bias": "full"}, pairs, [[1.0, -0.5, 1.0], [0.5, -1.0, -0.5]], [-2.0, 2.5, 0.5],
            "The bias cancels the positive sum of one output, the negative sum of another.",
        ),
        "beyond_cancels": (
            "z_box", {"low": -1.0, "high": 1.0}, [[-2.0, 0.0], [0.5, 0.25]], [[1.0, 0.5], [1.0, -1.0]], [0.5, 0.25],
            "Of inputs beyond the box one cancels the other.",
        ),
        "cancels": ("sign", SIGN, [[1.0, -1.0], [0.5, 2.0]], [[1.0, 0.5], [1.0, -1.0]], None, "The sum is 0, the weights' is not."),
        "negative_bias_cancels": (
            "alpha_beta_x", ABX, [[-1.0, -0.5], [1.0, 0.5]], [[-1.0, -0.5], [-2.0, 1.0]], [-2.0, 0.5],
            "A negative bias cancels the part of negative inputs and weights.",
        ),
    }  # fmt: skip
    for slug, (rule, params, a, w, b, comment) in rules.items():
        for more, stabilizer, clauses in EDGES:
            yield dense(
                f"{slug}{more}", rule, {**params, "stabilizer": stabilizer}, a, w, b, clauses, comment, ("ExactZero",)
            )
    yield dense(
        "cancels", "stdx_epsilon", STDX, [[1.0, -1.0, 0.5], [2.0, 0.5, 1.0]], [[1.0, 0.5], [1.0, 1.0], [0.0, -2.0]], None,
        ("STDX-1", "STDX-2"), "A sum of 0, which counts as positive.", ("ExactZero",), exact=False,
    )  # fmt: skip
    x, t = np.array([[[1.0, -1.0], [0.5, 2.0]]]), np.array([[[2.0, 1.0], [2.0, -0.5]]])
    signal = ("signal_takes_all", {"signal": 1, "stabilizer": SIGNED})
    products: dict[str, tuple[str, dict[str, Any]]] = {"half": HALF, "epsilon_uniform": UNIFORM, "signal": signal}
    for name, (product, choices) in products.items():
        for more, stabilizer, clauses in EDGES:
            if more and name != "signal":
                continue  # these are among the products
            yield case(
                f"matmul/{name}_cancels{more}",
                clauses,
                "A product of two matrices that is 0, its terms are not.",
                lambda net, r=(product, {**choices, "stabilizer": stabilizer}): net.node(
                    "MatMul", [net.input(x), net.input(t, "t")], r
                ),
                ("MultiInput", "ExactZero"),
            )
    for more, stabilizer, clauses in EDGES:
        yield case(
            f"layer_norm/ratio_zero{more}",
            (*clauses, "RATIO-1"),
            "LayerNormalization by ratio where an output is 0 and the input is not.",
            lambda net, st=stabilizer: net.node(
                "LayerNormalization",
                [net.input(np.array([[1.0, 2.0, 3.0], [2.0, -1.0, 0.5]])), np.array([1.0, -0.5, 2.0])],
                ("ratio", {"stabilizer": st}),
                axis=-1,
                epsilon=0.0625,
            ),
            ("Measured", "ExactZero"),
            "C4",
            "measured",
            False,
        )


def _linear() -> Iterator[Draft]:
    for slug, generalized in (("", False), ("_generalized", True)):
        yield case(
            f"average_pool/gamma{slug}",
            ("GAMMA-1", "GAMMA-3", "STAB-3"),
            "Gamma raises the parameter of an average, which is 1; its share stays 1/n.",
            lambda net, g=generalized: net.node(
                "AveragePool", [image(net)], ("gamma", {**GAMMA, "generalized": g}), kernel_shape=[2, 2], strides=[2, 1]
            ),
        )
    yield dense(
        "bias_decides_ignored", "gamma", {**GAMMA, "generalized": True, "bias": "ignore"},
        [[1.0, 1.0], [-0.5, 2.0]], [[1.0, -1.0], [0.5, -0.75]], [-4.0, 4.0], ("GAMMA-3", "GAMMA-2"),
        "The sign of z is that with the bias, also where the bias has no share.", ("NegativeZ", "NegativeBias"),
    )  # fmt: skip
    a, w = [[1.0, -1.0, 0.5], [2.0, 0.5, -1.0]], [[1.0, 2.0], [0.5, 1.0], [1.0, -4.0]]
    for slug, more in (("", {}), ("_epsilon_0", {"stabilizer": NONE}), ("_gamma_0", {"gamma": 0.0})):
        yield dense(
            f"bias_makes_zero_generalized{slug}", "gamma", {**GAMMA, "generalized": True, **more}, a, w, [-1.0, 1.0],
            ("GAMMA-4", "GAMMA-3"), "Where the bias makes z = 0 the generalised rule passes nothing.", ("ExactZero",),
        )  # fmt: skip
    yield case(
        "average_pool/norm_dilated",
        ("NORM-1", "STAB-3"),
        "Dilated windows.",
        lambda net: net.node("AveragePool", [image(net)], NORM, kernel_shape=[2, 2], dilations=[2, 3]),
        ("Dilation",),
    )
    rows = layer("MatMul", (2, 3, 4), (4, 3), 0)
    for over in ("sample", "batch"):
        setting = (f"stdx_{over}", "stdx_epsilon", {**STDX, "over": over}, ("STDX-1", "STDX-2"))
        yield one(setting, "dense_rows", rows, ("NoBias", "Sequence"), exact=False)
    scaled = {"bias": "absorb", "stabilizer": how(epsilon=0.25, norm_scale=True)}
    yield one(("epsilon_norm", "epsilon", scaled, ("STAB-3",)), "dense_rows", rows, ("NoBias", "Sequence"), exact=False)
    geometries = {
        "conv2d_all": layer(
            "Conv", (2, 4, 4, 5), (4, 2, 2, 3), 4, group=2, strides=[2, 1], dilations=[1, 2], pads=[0, 1, 1, 2]
        ),
        "deconv_extra": layer(
            "ConvTranspose", (1, 2, 3, 2), (2, 2, 3, 2), 2, strides=[2, 3], pads=[1, 0, 1, 1], output_padding=[1, 1]
        ),
        "deconv_dilated": layer("ConvTranspose", (2, 2, 3), (2, 1, 3), 1, dilations=[2], pads=[1, 0]),
    }
    for name, enter in geometries.items():
        for each in MAIN:
            yield one(each, name, enter, ("BorderPadding", "Dilation", "Stride"))


def _pointwise() -> Iterator[Draft]:
    x, seed = np.array([[-1.0, -2.0, 0.0, 0.5, 2.0, 1.0]]), np.array([[-1.0, 2.0, 0.5, -0.25, 1.5, 3.0]])
    for op, more in (("Relu", {}), ("LeakyRelu", {"alpha": 0.25}), ("Sigmoid", {}), ("Tanh", {})):
        for rule, clauses in (("guided_backprop", ("GUIDED-1",)), ("deconvnet", ("DECONV-1",))):
            yield case(
                f"{op.lower().replace('leakyrelu', 'leaky_relu')}/{rule}_signs",
                clauses,
                f"{op} by {rule}: relevance and inputs of all four pairs of signs.",
                lambda net, op=op, r=rule, more=more: net.node(op, [net.input(x)], (r, {}), **more),
                ("Kink",) if "Relu" in op else ("Measured",),
                basis="dyadic" if "Relu" in op else "measured",
                exact="Relu" in op,
                seed=lambda net: {net.outputs[0]: seed},
            )
    for op, more in (("LeakyRelu", {"alpha": 0.25}), ("Gelu", {})):
        yield case(
            f"{op.lower().replace('leakyrelu', 'leaky_relu')}/guided_backprop_inner",
            ("GUIDED-1", "EPS-1"),
            f"{op} by guided_backprop between two dense layers.",
            lambda net, op=op, more=more: gemm(
                net, net.node(op, [gemm(net, image(net, (2, 3)), 3, 4)], ("guided_backprop", {}), **more), 4, 2
            ),
            basis="network" if op == "LeakyRelu" else "measured",
            exact=op == "LeakyRelu",
        )
    for beta in (1.0, 0.5, 16.0):
        yield case(
            f"relu/beta_{beta:g}".replace(".", "_"),
            ("BETA-1",),
            f"A ReLU by the softplus' slope, beta {beta:g}, inputs up to 4.",
            lambda net, b=beta: net.node(
                "Relu", [net.input(np.array([[-4.0, -0.25, 0.0, 0.125, 1.3125, 4.0]]))], ("beta_smooth", {"beta": b})
            ),
            ("Kink",),
            basis="measured",
            exact=False,
        )


def _maxima() -> Iterator[Draft]:
    x, c = np.array([[1.0, 2.0, 0.0, -1.0], [0.5, -1.0, 3.0, 2.0]]), np.array([1.0, 3.0, -1.0, 0.0])
    for slug, order in (("last", (0, 1, 2)), ("first", (2, 0, 1))):
        yield case(
            f"max/constant_{slug}",
            ("POOL-2", "POOL-1"),
            "Max of two inputs and a constant, which keeps what no value attains.",
            lambda net, order=order: net.node(
                "Max", [[net.input(x), net.input(x[::-1] - 0.5, "t"), c][i] for i in order], WINNER
            ),
            ("Tie", "MultiInput", "Constant"),
        )


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _denominators()
    yield from _linear()
    yield from _pointwise()
    yield from _maxima()
