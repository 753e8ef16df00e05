"""Level C2: pointwise functions and products of values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from reflrp.conformance.generate.attention import GRADIENT, HALF, STOP, UNIFORM
from reflrp.conformance.generate.draft import NONE, SIGNED, Draft
from reflrp.conformance.generate.graphs import EPSILON, PASS, case, gemm, image
from reflrp.conformance.generate.net import Net

SIGNAL = ("signal_takes_all", {"signal": "auto", "stabilizer": SIGNED})


KINKED = [[-1.0, 0.0, -0.0, 0.5, 2.0, -0.25]]


def _functions() -> Iterator[Draft]:
    rules: dict[str, tuple[Any, tuple[str, ...]]] = {
        "pass": (PASS, ("PASS-1", "SEED-1")),
        "gradient": (GRADIENT, ("GRAD-1",)),
        "deconvnet": (("deconvnet", {}), ("DECONV-1",)),
        "guided_backprop": (("guided_backprop", {}), ("GUIDED-1",)),
        "beta_smooth": (("beta_smooth", {"beta": 4.0}), ("BETA-1",)),
        "ratio": (("ratio", {"stabilizer": SIGNED}), ("RATIO-1", "STAB-3")),
        "stop": (STOP, ("STOP-1",)),
    }
    x = np.array(KINKED)
    for name, (rule, clauses) in rules.items():
        exact = name != "beta_smooth"
        basis = "dyadic" if exact else "measured"
        yield case(
            f"relu/{name}",
            clauses,
            f"A ReLU by {name}, inputs of 0 among them.",
            lambda net, r=rule: net.node("Relu", [net.input(x)], r),
            ("Kink",),
            basis=basis,
            exact=exact,
        )
        yield case(
            f"relu/{name}_inner",
            (*clauses, "EPS-1"),
            f"A ReLU by {name} behind and before dense layers.",
            lambda net, r=rule: gemm(net, net.node("Relu", [gemm(net, image(net, (2, 3)), 3, 4)], r), 4, 2),
            basis="network" if exact else "measured",
            exact=exact,
        )
    leaky = {"pass": PASS, "gradient": GRADIENT, "ratio": ("ratio", {"stabilizer": SIGNED})}
    for name, rule in leaky.items():
        clauses = ("PASS-1", "SEED-1") if name == "pass" else rules[name][1]
        yield case(
            f"leaky_relu/{name}",
            clauses,
            f"A LeakyRelu by {name}.",
            lambda net, r=rule: net.node("LeakyRelu", [net.input(x)], r, alpha=0.25),
            ("Kink",),
            basis="network",
        )
    for op in ("Sigmoid", "Tanh", "Gelu", "Exp"):
        for name, rule in leaky.items():
            clauses = ("PASS-1", "SEED-1") if name == "pass" else rules[name][1]
            yield case(
                f"{op.lower()}/{name}",
                clauses,
                f"{op} by {name}.",
                lambda net, r=rule, op=op: net.node(op, [net.input(net.numbers.dyadic((2, 4), -16, 16))], r),
                ("Measured",),
                basis="measured",
                exact=False,
            )


def _two(net: Net, shape: tuple[int, ...] = (2, 3), other: tuple[int, ...] | None = None) -> list[str]:
    return [net.input(net.numbers.dyadic(shape)), net.input(net.numbers.dyadic(other or shape), "t")]


def _products() -> Iterator[Draft]:
    prod = ("PROD-1", "PROD-2", "PROD-3", "PROD-4", "PROD-5")
    ab = ("product_alpha_beta", {"alpha": 2.0, "beta": 1.0, "stabilizer": SIGNED})
    rules = {
        "half": HALF,
        "uniform": ("uniform", {"over": "active"}),
        "epsilon_uniform": UNIFORM,
        "signal_0": ("signal_takes_all", {"signal": 0, "stabilizer": SIGNED}),
        "signal_1": ("signal_takes_all", {"signal": 1, "stabilizer": SIGNED}),
        "alpha2beta1": ab,
        "z_plus": ("product_alpha_beta", {"alpha": 1.0, "beta": 0.0, "stabilizer": SIGNED}),
        "gradient": GRADIENT,
    }
    more = (*prod, "STAB-2", "STAB-3", "GRAD-1")
    for name, rule in rules.items():
        yield case(
            f"mul/{name}",
            more,
            f"Mul of two inputs by {name}.",
            lambda net, r=rule: net.node("Mul", _two(net), r),
            ("MultiInput",),
        )
        yield case(
            f"mul/{name}_broadcast",
            more,
            f"Mul by {name}, one operand broadcast.",
            lambda net, r=rule: net.node("Mul", _two(net, (2, 2, 3), (2, 1, 3)), r),
            ("MultiInput", "Broadcast"),
        )
        if name != "uniform":
            yield case(
                f"matmul/{name}",
                more,
                f"MatMul of two inputs by {name}.",
                lambda net, r=rule: net.node("MatMul", _two(net, (2, 2, 3), (2, 3, 2)), r),
                ("MultiInput",),
            )
    for name, rule in (("half", HALF), ("epsilon_uniform", UNIFORM)):
        r0 = (rule[0], {**rule[1], "stabilizer": NONE})
        yield case(
            f"matmul/{name}_zero",
            more,
            f"MatMul by {name} without epsilon, a product of 0 among them.",
            lambda net, r=r0: net.node(
                "MatMul",
                [
                    net.input(np.array([[[1.0, -1.0], [0.5, 2.0]]])),
                    net.input(np.array([[[2.0, 1.0], [2.0, -0.5]]]), "t"),
                ],
                r,
            ),
            ("MultiInput", "ExactZero"),
        )

    def masked(rule: Any) -> Callable[[Net], Any]:
        def build(net: Net) -> Any:
            x, t = _two(net)
            mask = net.node("Cast", [net.node("Greater", [t, np.array(0.0)])], to=1)
            return [net.node("Mul", [x, mask], rule), net.node("Identity", [t])]

        return build

    for over in ("active", "all"):
        yield case(
            f"mul/mask_half_{over}",
            prod,
            f"An operand that carries no relevance, over={over}.",
            masked(("half", {"over": over, "stabilizer": SIGNED})),
            ("MultiInput", "Mask"),
            exact=False,
        )
        yield case(
            f"mul/mask_uniform_{over}",
            prod,
            f"The same by uniform, over={over}.",
            masked(("uniform", {"over": over})),
            ("MultiInput", "Mask"),
            exact=False,
        )
    yield case(
        "mul/mask_signal",
        ("PROD-3", "PROD-1", "SEED-1"),
        "A mask leaves all to the signal.",
        masked(SIGNAL),
        ("MultiInput", "Mask"),
        exact=False,
    )

    def gated(gate: str, other: str, rule: Any) -> Callable[[Net], Any]:
        def build(net: Net) -> Any:
            x, t = _two(net)
            one = net.node(gate, [x], PASS)
            two = net.node(other, [t], PASS) if other else t
            return net.node("Mul", [one, two], rule)

        return build

    for slug, gate, other in (
        ("sigmoid", "Sigmoid", ""),
        ("sigmoid_tanh", "Sigmoid", "Tanh"),
        ("tanh_sigmoid", "Tanh", "Sigmoid"),
        ("tanh", "Tanh", ""),
        ("both", "Sigmoid", "Sigmoid"),
        ("relu", "Relu", ""),
    ):
        rational = slug == "relu"
        yield case(
            f"gate/{slug}",
            ("PROD-3", "PROD-1"),
            f"The gate is found: {gate} times {other or 'a plain value'}.",
            gated(gate, other, SIGNAL),
            ("MultiInput", "Gate"),
            "C2",
            "dyadic" if rational else "measured",
            rational,
        )
    yield case(
        "gate/activated",
        ("PROD-3", "PROD-1"),
        "With signal=activated a ReLU is a gate, too.",
        gated("Relu", "", ("signal_takes_all", {"signal": "activated", "stabilizer": SIGNED})),
        ("MultiInput", "Gate"),
    )
    yield case(
        "gate/scaled",
        ("PROD-3", "PROD-1"),
        "A gate behind a scale and a transpose.",
        lambda net: net.node(
            "Mul",
            [
                net.node(
                    "Transpose",
                    [
                        net.node(
                            "Mul",
                            [net.node("Sigmoid", [net.input(net.numbers.dyadic((2, 3, 2)))], PASS), np.array(2.0)],
                            EPSILON,
                        )
                    ],
                    perm=[0, 2, 1],
                ),
                net.input(net.numbers.dyadic((2, 2, 3)), "t"),
            ],
            SIGNAL,
        ),
        ("MultiInput", "Gate"),
        "C2",
        "measured",
        False,
    )


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _functions()
    yield from _products()
