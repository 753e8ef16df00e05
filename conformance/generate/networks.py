"""Level C3: composites on small networks, node by node, and properties of answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from reflrp.conformance.generate.draft import NONE, SIGNED, TINY, Draft
from reflrp.conformance.generate.graphs import NORM, PASS, WINNER, case, gemm, image
from reflrp.conformance.generate.linear import AB, GAMMA, ZP
from reflrp.conformance.generate.net import Net

Rule = tuple[str, dict[str, Any]]
BOX: Rule = ("z_box", {"low": -1.0, "high": 1.0, "stabilizer": TINY})
FLAT: Rule = ("flat", {"stabilizer": TINY})
WSQ: Rule = ("w_square", {"bias": "ignore", "stabilizer": TINY})
EPS: Rule = ("epsilon", {"bias": "absorb", "stabilizer": SIGNED})
EPS0: Rule = ("epsilon", {"bias": "absorb", "stabilizer": NONE})
PLUS: Rule = ("z_plus", {**ZP, "stabilizer": TINY})
RAISED: Rule = ("gamma", {**GAMMA, "stabilizer": SIGNED})
SIGNS: Rule = ("alpha_beta", {**AB, "stabilizer": TINY})

COMPOSITES: dict[str, tuple[Rule, Rule, Rule]] = {
    "epsilon": (EPS, EPS, EPS),
    "epsilon_0": (EPS0, EPS0, EPS0),
    "epsilon_plus": (PLUS, PLUS, EPS),
    "epsilon_plus_flat": (FLAT, PLUS, EPS),
    "epsilon_alpha2_beta1": (SIGNS, SIGNS, EPS),
    "epsilon_alpha2_beta1_flat": (FLAT, SIGNS, EPS),
    "epsilon_gamma_box": (BOX, RAISED, EPS),
    "z_plus_box": (BOX, PLUS, PLUS),
    "w_square_plus": (WSQ, PLUS, PLUS),
    "gamma": (RAISED, RAISED, RAISED),
}
"""Composites by the names that libraries give them: the rule of the first layer, of other convolutions, of dense layers."""

CLAUSES = (
    "COMP-1",
    "EPS-1",
    "EPS-2",
    "GAMMA-1",
    "GAMMA-2",
    "AB-1",
    "AB-2",
    "ZP-1",
    "ZP-2",
    "ZB-1",
    "WSQ-1",
    "FLAT-1",
    "FLAT-2",
    "POOL-1",
    "PASS-1",
    "LAYER-1",
)


def conv_layer(net: Net, x: str, inputs: int, outputs: int, rule: Rule, **more: Any) -> str:
    """Enter a convolution with a kernel of 2 x 2."""
    s = net.numbers
    return str(net.node("Conv", [x, s.dyadic((outputs, inputs, 2, 2)), s.nonzero((outputs,), -4, 4)], rule, **more))


def cnn(rules: tuple[Rule, Rule, Rule]) -> Callable[[Net], Any]:
    """Return two convolutions, a maximum, two dense layers."""

    def build(net: Net) -> Any:
        x = net.node("Relu", [conv_layer(net, image(net, (1, 1, 5, 5)), 1, 2, rules[0])], PASS)
        x = net.node("Relu", [conv_layer(net, x, 2, 2, rules[1], pads=[1, 0, 0, 1])], PASS)
        x = net.node("Flatten", [net.node("MaxPool", [x], WINNER, kernel_shape=[2, 2], strides=[2, 2])])
        x = net.node("Relu", [gemm(net, x, 8, 4, rules[2])], PASS)
        return gemm(net, x, 4, 3, rules[2])

    return build


def residual(rules: tuple[Rule, Rule, Rule]) -> Callable[[Net], Any]:
    """Return a residual block with an average behind it."""

    def build(net: Net) -> Any:
        x = net.node("Relu", [conv_layer(net, image(net, (1, 1, 4, 4)), 1, 2, rules[0])], PASS)
        y = net.node("Relu", [conv_layer(net, x, 2, 2, rules[1], pads=[1, 1, 0, 0])], PASS)
        x = net.node("Flatten", [net.node("GlobalAveragePool", [net.node("Add", [x, y], NORM)], NORM)])
        return gemm(net, x, 2, 3, rules[2])

    return build


def branches(rules: tuple[Rule, Rule, Rule]) -> Callable[[Net], Any]:
    """Return two branches, both of whose first layers have the first layer's rule."""

    def build(net: Net) -> Any:
        x = image(net, (1, 1, 4, 4))
        one = net.node("Relu", [conv_layer(net, x, 1, 2, rules[0])], PASS)
        two = net.node("Relu", [conv_layer(net, x, 1, 1, rules[0])], PASS)
        y = conv_layer(net, net.node("Concat", [one, two], axis=1), 3, 2, rules[1])
        return gemm(net, net.node("Flatten", [net.node("Relu", [y], PASS)]), 8, 2, rules[2])

    return build


def mlp(rules: tuple[Rule, Rule, Rule]) -> Callable[[Net], Any]:
    """Return three dense layers."""

    def build(net: Net) -> Any:
        x = net.node("Relu", [gemm(net, image(net, (2, 5)), 5, 4, rules[0])], PASS)
        x = net.node("Relu", [gemm(net, x, 4, 4, rules[1])], PASS)
        return gemm(net, x, 4, 3, rules[2])

    return build


DEAD = ("z_plus_box_mlp",)
"""Networks whose first numbers leave no neuron active."""

NETS = {"cnn": cnn, "residual": residual, "branches": branches, "mlp": mlp}


def _composites() -> Iterator[Draft]:
    for name, rules in COMPOSITES.items():
        for slug, net in NETS.items():
            flags = ("FirstLayer",) if rules[0] != rules[1] else ()
            yield case(
                f"composite/{name}_{slug}",
                CLAUSES,
                f"{name} on the network {slug}.",
                net(rules),
                flags,
                "C3",
                "network",
                salt="+" if f"{name}_{slug}" in DEAD else "",
            )
    odd = (SIGNS, EPS, RAISED)
    yield case(
        "composite/overridden_cnn",
        CLAUSES,
        "A rule of its own on each layer.",
        cnn(odd),
        ("NodeOverride",),
        "C3",
        "network",
    )
    yield case(
        "composite/input_gradient_mlp",
        ("EPS-3", "STAB-2"),
        "LRP-0 without biases is input times gradient.",
        _unbiased,
        ("Property",),
        "C3",
        "network",
    )


def _unbiased(net: Net) -> Any:
    x = net.node("Relu", [gemm(net, image(net, (2, 4)), 4, 4, EPS0, bias=False)], PASS)
    return gemm(net, x, 4, 2, EPS0, bias=False)


def _positive(net: Net) -> Any:
    s = net.numbers
    x = net.input(s.dyadic((2, 1, 3, 3), 1, 8))
    x = net.node("Conv", [x, s.dyadic((2, 1, 2, 2), 1, 8)], ("z_plus", {**ZP, "stabilizer": NONE}))
    return gemm(
        net, net.node("Flatten", [net.node("MaxPool", [x], WINNER, kernel_shape=[2, 2])]), 2, 2, EPS0, bias=False
    )


def _properties() -> Iterator[Draft]:
    def of(
        id_: str,
        which: str,
        clauses: tuple[str, ...],
        comment: str,
        build: Callable[[Net], Any],
        basis: str = "network",
        exact: bool = True,
    ) -> Draft:
        made = case(id_, clauses, comment, build, ("Property",), "C3", basis, exact)
        other = {k: v[::-1] * 0.5 + 1.0 for k, v in made.seed.items()} if which == "linear" else {}
        return replace(made, expect="property", property=which, other=other)

    def batched(rules: tuple[Rule, Rule, Rule]) -> Callable[[Net], Any]:
        def build(net: Net) -> Any:
            x = net.node("Relu", [conv_layer(net, net.input(net.numbers.dyadic((3, 1, 4, 4))), 1, 2, rules[0])], PASS)
            x = net.node("Flatten", [net.node("AveragePool", [x], NORM, kernel_shape=[2, 2])])
            return gemm(net, x, 8, 3, rules[2])

        return build

    for name in ("epsilon", "epsilon_plus_flat", "epsilon_gamma_box", "epsilon_alpha2_beta1"):
        yield of(
            f"property/batch_{name}",
            "batch",
            ("BATCH-1",),
            f"Samples do not change one another, by {name}.",
            batched(COMPOSITES[name]),
        )
        yield of(
            f"property/linear_{name}",
            "linear",
            ("SEED-1",),
            f"Relevance is linear in the seed, by {name}.",
            batched(COMPOSITES[name]),
        )
        yield of(
            f"property/nothing_{name}", "nothing", ("SEED-1",), f"A seed of zeros, by {name}.", mlp(COMPOSITES[name])
        )
        yield of(
            f"property/again_{name}",
            "again",
            ("SEED-1",),
            f"Asked twice, and nothing overwritten, by {name}.",
            cnn(COMPOSITES[name]),
        )
    yield of(
        "property/conserves_epsilon_0",
        "conserves",
        ("EPS-1", "STAB-3", "EPS-3"),
        "Without biases and epsilon the sums are equal.",
        _unbiased,
    )
    yield of("property/conserves_z_plus", "conserves", ("EPS-1", "EPS-3"), "The same with z+ and a maximum.", _positive)


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _composites()
    yield from _properties()
