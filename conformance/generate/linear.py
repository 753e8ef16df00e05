"""Level C1: one linear layer, each rule with each of its choices, on layers of every geometry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from reflrp.conformance.generate.draft import NONE, SIGNED, TINY, Draft, how
from reflrp.conformance.generate.net import Net, Stream

Setting = tuple[str, str, dict[str, Any], tuple[str, ...]]
"""A slug, the rule, its parameters, and the clauses that it may test."""

GAMMA = {"gamma": 0.25, "generalized": False, "bias": "scale", "stabilizer": SIGNED}
AB = {"alpha": 2.0, "beta": 1.0, "bias": "split", "stabilizer": SIGNED}
ZP = {"bias": "split", "inputs": "split", "stabilizer": SIGNED}
ABX = {"alpha": [0.5, 0.25], "beta": [0.5, 0.75], "bias": "split", "second": "alpha", "stabilizer": SIGNED}
SIGN = {"mu": 0.0, "bias": "absorb", "stabilizer": SIGNED}
STDX = {"factor": 0.25, "over": "sample", "bias": "absorb"}

MAIN: tuple[Setting, ...] = (
    ("epsilon", "epsilon", {"bias": "absorb", "stabilizer": SIGNED}, ("EPS-1", "EPS-2", "STAB-1", "STAB-3")),
    ("gamma", "gamma", GAMMA, ("GAMMA-1", "GAMMA-2", "GAMMA-3", "STAB-3")),
    ("gamma_generalized", "gamma", {**GAMMA, "generalized": True}, ("GAMMA-3", "GAMMA-4", "GAMMA-2")),
    ("alpha2beta1", "alpha_beta", AB, ("AB-1", "AB-2", "AB-3", "STAB-3")),
    ("z_plus", "z_plus", ZP, ("ZP-1", "ZP-2", "ZP-3")),
    ("z_box", "z_box", {"low": -1.125, "high": 1.25, "stabilizer": SIGNED}, ("ZB-1", "ZB-2")),
    ("w_square", "w_square", {"bias": "ignore", "stabilizer": SIGNED}, ("WSQ-1", "WSQ-2")),
    ("flat", "flat", {"stabilizer": SIGNED}, ("FLAT-1", "FLAT-2")),
    ("sign", "sign", SIGN, ("SIGN-1", "SIGN-2")),
    ("alpha_beta_x", "alpha_beta_x", ABX, ("ABX-1", "ABX-2")),
)
"""On every geometry."""

CHOICES: tuple[Setting, ...] = (
    ("epsilon_ignore", "epsilon", {"bias": "ignore", "stabilizer": SIGNED}, ("EPS-2", "STAB-3")),
    ("epsilon_0", "epsilon", {"bias": "absorb", "stabilizer": NONE}, ("EPS-1", "EPS-3", "STAB-2")),
    ("epsilon_tiny", "epsilon", {"bias": "absorb", "stabilizer": TINY}, ("EPS-1", "EPS-2")),
    ("epsilon_plain", "epsilon", {"bias": "absorb", "stabilizer": how("plain")}, ("EPS-1", "STAB-3")),
    ("epsilon_clip", "epsilon", {"bias": "absorb", "stabilizer": how("clip", 3.0)}, ("EPS-1", "STAB-3")),
    ("epsilon_nonzero", "epsilon", {"bias": "absorb", "stabilizer": how("nonzero")}, ("EPS-1", "STAB-3")),
    ("gamma_keep", "gamma", {**GAMMA, "bias": "keep"}, ("GAMMA-1", "GAMMA-2")),
    ("gamma_ignore", "gamma", {**GAMMA, "bias": "ignore"}, ("GAMMA-1", "GAMMA-2")),
    ("gamma_large", "gamma", {**GAMMA, "gamma": 16.0}, ("GAMMA-1", "GAMMA-2")),
    ("gamma_0", "gamma", {**GAMMA, "gamma": 0.0}, ("GAMMA-2", "STAB-3")),
    ("gamma_epsilon_0", "gamma", {**GAMMA, "stabilizer": NONE}, ("GAMMA-1", "STAB-2")),
    ("gamma_generalized_keep", "gamma", {**GAMMA, "generalized": True, "bias": "keep"}, ("GAMMA-2", "GAMMA-3")),
    ("gamma_generalized_0", "gamma", {**GAMMA, "generalized": True, "gamma": 0.0}, ("GAMMA-4", "STAB-3", "GAMMA-2")),
    ("alpha2beta1_full", "alpha_beta", {**AB, "bias": "full"}, ("AB-1", "AB-2")),
    ("alpha2beta1_ignore", "alpha_beta", {**AB, "bias": "ignore"}, ("AB-1", "AB-2")),
    ("alpha1beta0", "alpha_beta", {**AB, "alpha": 1.0, "beta": 0.0}, ("AB-1", "AB-2")),
    ("alpha3beta2", "alpha_beta", {**AB, "alpha": 3.0, "beta": 2.0}, ("AB-1", "AB-3")),
    ("alpha1_5beta0_5", "alpha_beta", {**AB, "alpha": 1.5, "beta": 0.5, "stabilizer": TINY}, ("AB-1", "AB-2")),
    ("alpha2beta1_epsilon_0", "alpha_beta", {**AB, "stabilizer": NONE}, ("AB-1", "AB-3", "STAB-2")),
    ("z_plus_full", "z_plus", {**ZP, "bias": "full"}, ("ZP-2", "ZP-1")),
    ("z_plus_ignore", "z_plus", {**ZP, "bias": "ignore"}, ("ZP-2", "ZP-1")),
    ("z_plus_raw", "z_plus", {**ZP, "inputs": "raw"}, ("ZP-3",)),
    ("z_plus_raw_full", "z_plus", {**ZP, "inputs": "raw", "bias": "full"}, ("ZP-2", "ZP-3")),
    ("z_box_positive", "z_box", {"low": 0.0, "high": 1.25, "stabilizer": SIGNED}, ("ZB-1", "ZB-2")),
    ("z_box_point", "z_box", {"low": 0.0, "high": 0.0, "stabilizer": SIGNED}, ("ZB-2",)),
    ("w_square_bias", "w_square", {"bias": "square", "stabilizer": SIGNED}, ("WSQ-1", "WSQ-2")),
    ("w_square_epsilon_0", "w_square", {"bias": "ignore", "stabilizer": NONE}, ("WSQ-1",)),
    ("flat_epsilon_0", "flat", {"stabilizer": NONE}, ("FLAT-1",)),
    ("sign_mu", "sign", {**SIGN, "mu": 0.25}, ("SIGN-1", "SIGN-2")),
    ("sign_ignore", "sign", {**SIGN, "bias": "ignore"}, ("SIGN-1", "SIGN-2")),
    ("alpha_beta_x_beta", "alpha_beta_x", {**ABX, "second": "beta"}, ("ABX-2",)),
    ("alpha_beta_x_ignore", "alpha_beta_x", {**ABX, "bias": "ignore"}, ("ABX-1",)),
    ("alpha_beta_x_1000", "alpha_beta_x", {**ABX, "alpha": [1.0, 0.0], "beta": [0.0, 0.0]}, ("ABX-1",)),
    ("norm", "norm", {"stabilizer": SIGNED}, ("NORM-1", "STAB-3")),
)
"""On a dense layer and a convolution."""

ROOTS: tuple[Setting, ...] = (
    (
        "epsilon_norm",
        "epsilon",
        {"bias": "absorb", "stabilizer": how(epsilon=0.25, norm_scale=True)},
        ("STAB-3", "EPS-2"),
    ),
    ("alpha2beta1_norm", "alpha_beta", {**AB, "stabilizer": how(epsilon=0.25, norm_scale=True)}, ("STAB-3", "AB-2")),
    ("stdx", "stdx_epsilon", STDX, ("STDX-1", "STDX-2")),
    ("stdx_ignore", "stdx_epsilon", {**STDX, "bias": "ignore"}, ("STDX-1",)),
    ("stdx_batch", "stdx_epsilon", {**STDX, "over": "batch"}, ("STDX-1", "STDX-2")),
)
"""Those with a root in them, which no fraction is."""

Layer = Callable[[Net, Any], str]


def layer(op: str, inputs: tuple[int, ...], weights: tuple[int, ...], bias: int, **attributes: Any) -> Layer:
    """Return what enters a layer of a geometry, with signed inputs, zeros of both signs among them, and signed biases."""

    def enter(net: Net, rule: Any) -> str:
        s = net.numbers
        x = net.input(zeros_of_both_signs(s, s.dyadic(inputs)))
        w = s.dyadic(weights)
        given = [x, w] + ([s.nonzero((bias,), -8, 8, 4)] if bias else [])
        return str(net.node(op, given, rule, **attributes))

    return enter


def zeros_of_both_signs(s: Stream, x: np.ndarray) -> np.ndarray:
    """Return x with every other 0 as -0, and at least one of each."""
    flat = x.ravel().copy()
    flat[s.whole(0, flat.size - 1)] = 0.0
    places = np.flatnonzero(flat == 0)
    flat[places[::2]] = -0.0
    return flat.reshape(x.shape)


GEOMETRIES: dict[str, tuple[Layer, tuple[str, ...]]] = {
    "dense": (layer("Gemm", (2, 5), (4, 5), 4, transB=1), ()),
    "dense_nobias": (layer("Gemm", (2, 4), (4, 3), 0), ("NoBias",)),
    "dense_rows": (layer("MatMul", (2, 3, 4), (4, 3), 0), ("NoBias", "Sequence")),
    "conv1d": (layer("Conv", (2, 2, 7), (3, 2, 3), 3), ()),
    "conv2d_pad": (layer("Conv", (1, 2, 4, 4), (2, 2, 3, 3), 2, pads=[1, 1, 1, 1]), ("BorderPadding",)),
    "conv2d_stride": (layer("Conv", (1, 2, 5, 6), (3, 2, 2, 2), 3, strides=[2, 3]), ("UncoveredPixels", "Stride")),
    "conv2d_dilated": (layer("Conv", (1, 1, 6, 6), (2, 1, 2, 3), 2, dilations=[3, 2]), ("Dilation",)),
    "conv2d_groups": (layer("Conv", (1, 4, 3, 3), (4, 2, 2, 2), 4, group=2), ("Groups",)),
    "conv2d_depthwise": (layer("Conv", (2, 3, 3, 3), (3, 1, 2, 2), 3, group=3), ("Groups", "Depthwise")),
    "conv2d_uneven": (layer("Conv", (1, 2, 4, 3), (2, 2, 3, 2), 0, pads=[0, 1, 2, 0]), ("BorderPadding", "NoBias")),
    "conv2d_same": (
        layer("Conv", (1, 1, 5, 4), (2, 1, 3, 3), 2, auto_pad="SAME_UPPER", strides=[2, 2]),
        ("BorderPadding",),
    ),
    "conv3d": (layer("Conv", (1, 1, 3, 3, 3), (2, 1, 2, 2, 2), 2), ("ThreeAxes",)),
    "deconv": (
        layer("ConvTranspose", (1, 2, 3, 3), (2, 2, 2, 3), 2, strides=[2, 2], pads=[0, 1, 0, 1]),
        ("Transposed",),
    ),
    "deconv_groups": (
        layer("ConvTranspose", (1, 4, 2, 3), (4, 1, 2, 2), 2, group=2, output_padding=[0, 1], strides=[1, 2]),
        ("Transposed", "Groups"),
    ),
}
"""Layers by their slugs, with what makes them special."""


def drafts() -> Iterator[Draft]:
    """Yield every rule on every geometry, and every choice of a rule on a few."""
    for name, (enter, flags) in GEOMETRIES.items():
        for setting in MAIN:
            yield one(setting, name, enter, flags)
    for name in ("dense", "conv1d", "conv2d_pad"):
        for setting in CHOICES:
            yield one(setting, name, *GEOMETRIES[name])
    for name in ("dense", "conv1d"):
        for setting in ROOTS:
            yield one(setting, name, *GEOMETRIES[name], exact=False)


def one(setting: Setting, name: str, enter: Layer, flags: tuple[str, ...], exact: bool = True) -> Draft:
    """Return the case of a rule on a layer."""
    slug, rule, params, clauses = setting
    net = Net(f"linear/{name}/{slug}")
    y = enter(net, (rule, params))
    net.output(y)
    shape = _shape(net)
    more = ("LAYER-1",) if "conv" in name else ()
    return Draft(
        f"{rule}/{slug}_{name}",
        "C1",
        (*clauses, *more),
        net,
        f"{rule} with {', '.join(f'{k}={v}' for k, v in params.items() if k != 'stabilizer') or 'nothing to choose'} on {name}.",
        {y: net.numbers.nonzero(shape)},
        flags,
        "dyadic" if exact else "measured",
        exact=exact,
    )


def _shape(net: Net) -> tuple[int, ...]:
    from reflrp.conformance.literal import Oracle

    return tuple(Oracle()(net.model(), net.inputs, {}, []).values[net.outputs[0]].shape)
