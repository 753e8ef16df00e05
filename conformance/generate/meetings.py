"""Level C2: values that meet, constants among them; where relevance starts; BatchNormalization."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from reflrp.conformance.generate.draft import Draft
from reflrp.conformance.generate.graphs import EPSILON, NORM, PASS, case, gemm, image
from reflrp.conformance.generate.linear import AB, GAMMA, ZP
from reflrp.conformance.generate.net import Net
from reflrp.conformance.literal import Oracle


def _meetings() -> Iterator[Draft]:
    met = ("GRAPH-1", "NORM-1", "EPS-1")

    def residual(net: Net) -> Any:
        x = image(net, (2, 3))
        return net.node("Add", [x, gemm(net, x, 3, 3)], NORM)

    def cancels(net: Net) -> Any:
        x = net.input(np.array([[1.0, -2.0, 0.5]]))
        return net.node("Sub", [x, net.node("Mul", [x, np.array([1.0, 1.0, 2.0])], EPSILON)], NORM)

    def shared(net: Net) -> Any:
        x, w = image(net, (2, 3)), net.constant(net.numbers.dyadic((3, 3)), "w")
        return net.node("Gemm", [net.node("Gemm", [x, w], EPSILON), w], EPSILON)

    def siamese(net: Net) -> Any:
        w = net.constant(net.numbers.dyadic((3, 2)), "w")
        one, other = (net.node("Gemm", [net.input(net.numbers.dyadic((1, 3)), k), w], EPSILON) for k in ("x", "t"))
        return net.node("Sub", [one, other], NORM)

    def thrice(net: Net) -> Any:
        x = gemm(net, image(net, (2, 3)), 3, 3)
        return net.node("Sum", [gemm(net, x, 3, 2), gemm(net, x, 3, 2), gemm(net, x, 3, 2)], NORM)

    def two_outputs(net: Net) -> Any:
        h = net.node("Relu", [gemm(net, image(net, (2, 3)), 3, 4)], PASS)
        return [gemm(net, h, 4, 2), gemm(net, h, 4, 1)]

    def constant(rule: Any, op: str, c: Any) -> Callable[[Net], Any]:
        return lambda net: net.node(op, [gemm(net, image(net, (2, 3)), 3, 4), np.array(c)], rule)

    def branches(net: Net) -> Any:
        x = image(net, (1, 2, 3, 3))
        one = net.node("Conv", [x, net.numbers.dyadic((2, 2, 1, 1))], EPSILON)
        two = net.node(
            "Conv", [x, net.numbers.dyadic((1, 2, 3, 3)), net.numbers.dyadic((1,))], ("gamma", GAMMA), pads=[1, 1, 1, 1]
        )
        return net.node("Concat", [one, two], axis=1)

    def dead(net: Net) -> Any:
        x, t = image(net, (1, 3)), net.input(net.numbers.dyadic((1, 3)), "t")
        gemm(net, t, 3, 2)
        return gemm(net, net.node("Add", [x, net.node("Mul", [t, np.zeros(3)], EPSILON)], NORM), 3, 2)

    def itself(net: Net) -> Any:
        x = image(net, (1, 3))
        return net.node("Add", [x, x], NORM)

    def broadcast(net: Net) -> Any:
        x, t = image(net, (1, 2, 3)), net.input(net.numbers.dyadic((1, 1, 3)), "t")
        return net.node("Add", [x, t], NORM)

    def deep(net: Net) -> Any:
        x = gemm(net, image(net, (1, 3)), 3, 3)
        for _ in range(3):
            x = net.node("Add", [x, net.node("Relu", [gemm(net, x, 3, 3)], PASS)], NORM)
        return x

    builds: dict[str, tuple[Callable[[Net], Any], str, tuple[str, ...], str]] = {
        "residual": (residual, "A residual sum: both branches by their contributions.", ("Residual",), "dyadic"),
        "residual_cancels": (
            cancels,
            "A residual sum that is 0, and one that changes its sign.",
            ("Residual", "Cancel", "ExactZero"),
            "dyadic",
        ),
        "residual_deep": (deep, "Three residual blocks.", ("Residual",), "network"),
        "shared_weights": (shared, "One matrix in two layers, one behind the other.", ("SharedWeights",), "network"),
        "siamese": (siamese, "One matrix on two inputs.", ("SharedWeights", "MultiInput"), "dyadic"),
        "read_thrice": (thrice, "A value that three layers read.", ("Shared",), "network"),
        "two_outputs": (two_outputs, "Relevance starts at two outputs.", ("MultiOutput",), "network"),
        "branches": (branches, "Two convolutions side by side, with rules of their own.", ("Shared",), "dyadic"),
        "dead_branch": (
            dead,
            "An input whose contributions are all 0, and a layer that nobody reads.",
            ("MultiInput",),
            "dyadic",
        ),
        "added_to_itself": (itself, "A value that is both operands of a sum.", ("Shared",), "dyadic"),
        "broadcast_sum": (
            broadcast,
            "An operand that is broadcast gets the sum over its copies.",
            ("MultiInput", "Broadcast"),
            "dyadic",
        ),
    }
    for slug, (build, comment, flags, basis) in builds.items():
        yield case(f"graph/{slug}", met, comment, build, flags, basis=basis)
    kept = ("LAYER-3", "NORM-1", "EPS-1", "STAB-3")
    yield case(
        "graph/constant_added",
        kept,
        "A constant that is added keeps its share.",
        constant(NORM, "Add", [1.0, -0.5, 0.25, 2.0]),
        ("Constant",),
        basis="network",
    )
    yield case(
        "graph/constant_subtracted",
        kept,
        "A constant that is subtracted.",
        constant(EPSILON, "Sub", [1.0, -0.5, 0.25, 2.0]),
        ("Constant",),
        basis="network",
    )
    yield case(
        "graph/constant_scalar",
        kept,
        "One number added to all.",
        constant(NORM, "Add", 0.75),
        ("Constant",),
        basis="network",
    )
    yield case(
        "graph/constant_factor",
        ("EPS-1", "STAB-3"),
        "A factor, one of them 0.",
        constant(EPSILON, "Mul", [2.0, 0.0, -0.5, 1.0]),
        ("Constant", "ExactZero"),
        basis="network",
    )
    yield case(
        "graph/constant_divisor",
        ("EPS-1", "STAB-3"),
        "A divisor.",
        constant(EPSILON, "Div", [2.0, -4.0, 0.5, 1.0]),
        ("Constant",),
        basis="network",
    )
    yield case(
        "graph/sum_alpha_beta",
        ("AB-1", "GRAPH-1", "AB-3"),
        "A residual sum by alpha-beta: operands of both signs.",
        lambda net: net.node(
            "Add", [image(net, (2, 4)), net.input(net.numbers.dyadic((2, 4)), "t")], ("alpha_beta", AB)
        ),
        ("MultiInput",),
    )
    yield case(
        "graph/sum_z_plus",
        ("ZP-1", "ZP-3"),
        "A sum by z+: positive operands share.",
        lambda net: net.node("Add", [image(net, (2, 4)), net.input(net.numbers.dyadic((2, 4)), "t")], ("z_plus", ZP)),
        ("MultiInput",),
    )


def _started() -> Iterator[Draft]:
    """Seeds: 1, the value, one a sample, a contrast, zeros among them."""

    def net_of(net: Net) -> Any:
        return gemm(net, net.node("Relu", [gemm(net, image(net, (3, 4)), 4, 4)], PASS), 4, 3)

    def start(how: str) -> Callable[[Net], dict[str, np.ndarray]]:
        def made(net: Net) -> dict[str, np.ndarray]:
            (name,) = net.outputs
            y = np.vectorize(float)(Oracle()(net.model(), net.inputs, {}, []).values[name])
            best = np.eye(3)[y.argmax(axis=1)]
            seeds_ = {
                "one": best,
                "value": best * y,
                "each": np.eye(3)[[2, 0, 1]] * y,
                "contrast": y * np.array([1.0, 0.0, -1.0]),
                "all": y,
                "some_zero": np.array([[0.0, 0.0, 0.0], [1.0, -0.0, 0.5], [0.0, 0.0, -2.0]]),
            }
            return {name: seeds_[how]}

        return made

    for how in ("one", "value", "each", "contrast", "all", "some_zero"):
        yield case(
            f"seed/{how}",
            ("SEED-1", "BATCH-1", "EPS-1"),
            f"Relevance starts with {how.replace('_', ' ')}.",
            net_of,
            ("ZeroSeed",) if how == "some_zero" else (),
            basis="network",
            seed=start(how),
        )


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _meetings()
    yield from _started()
