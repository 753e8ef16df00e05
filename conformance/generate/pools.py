"""Level C2: averages, sums over axes, maxima."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from reflrp.conformance.generate.draft import NONE, SIGNED, Draft
from reflrp.conformance.generate.graphs import EPSILON, NORM, PASS, WINNER, case, image
from reflrp.conformance.generate.linear import AB, ZP
from reflrp.conformance.generate.net import Net


def _pools() -> Iterator[Draft]:
    rules = {
        "norm": NORM,
        "norm_epsilon_0": ("norm", {"stabilizer": NONE}),
        "epsilon": EPSILON,
        "w_square": ("w_square", {"bias": "ignore", "stabilizer": SIGNED}),
        "flat": ("flat", {"stabilizer": SIGNED}),
        "z_plus": ("z_plus", ZP),
        "alpha2beta1": ("alpha_beta", AB),
    }
    clauses = {
        "norm": ("NORM-1", "LAYER-2", "STAB-3"),
        "norm_epsilon_0": ("NORM-1", "LAYER-2"),
        "epsilon": ("EPS-1", "LAYER-2", "STAB-3"),
        "w_square": ("WSQ-1", "LAYER-2"),
        "flat": ("FLAT-1", "FLAT-2", "LAYER-2"),
        "z_plus": ("ZP-1", "ZP-3", "LAYER-2"),
        "alpha2beta1": ("AB-1", "LAYER-2"),
    }
    geometries: dict[str, dict[str, Any]] = {
        "plain": {"kernel_shape": [2, 2], "strides": [2, 2]},
        "pads_excluded": {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0], "count_include_pad": 0},
        "pads_included": {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0], "count_include_pad": 1},
    }
    for place, attributes in geometries.items():
        for name, rule in rules.items():
            yield case(
                f"average_pool/{name}_{place}",
                clauses[name],
                f"AveragePool, {place.replace('_', ' ')}, by {name}.",
                lambda net, r=rule, at=attributes: net.node(
                    "AveragePool",
                    [
                        image(net),
                    ],
                    r,
                    **at,
                ),
                ("BorderPadding",) if "pads" in place else (),
            )
    yield case(
        "average_pool/ceil_mode",
        ("NORM-1", "STAB-3"),
        "Windows that reach beyond the border.",
        lambda net: net.node("AveragePool", [image(net)], NORM, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        ("CeilMode",),
    )
    yield case(
        "average_pool/overlap",
        ("NORM-1", "STAB-3"),
        "Windows that overlap.",
        lambda net: net.node("AveragePool", [image(net)], NORM, kernel_shape=[3, 3], strides=[1, 2]),
        ("Overlap",),
    )
    for op in ("GlobalAveragePool", "ReduceMean", "ReduceSum"):
        for name in ("norm", "epsilon", "flat"):
            more: dict[str, Any] = {} if op.startswith("Global") else {"keepdims": 0}

            def build(net: Net, op: str = op, name: str = name, more: Any = more) -> Any:
                inputs = [image(net)] + ([np.array([2, 3])] if op == "ReduceSum" else [])
                extra = {**more, "axes": [2, 3]} if op == "ReduceMean" else more
                return net.node(op, inputs, rules[name], **extra)

            yield case(
                f"reduction/{op.lower()}_{name}",
                ("NORM-1", "EPS-1", "STAB-3", "FLAT-1", "FLAT-2", "STAB-1", "LAYER-1")
                if name != "flat"
                else ("ROUTE-1", "WSQ-1", "FLAT-1", "FLAT-2", "SEED-1"),
                f"{op} by {name}.",
                build,
            )


def _maxima() -> Iterator[Draft]:
    both = ("POOL-1", "POOL-2")

    def pool(values: Any, **attributes: Any) -> Callable[[Net], Any]:
        return lambda net: net.node("MaxPool", [net.input(np.array(values, np.float64))], WINNER, **attributes)

    ties = [[[[1.0, 1.0, 0.0, 2.0], [1.0, 0.5, 2.0, 2.0], [-1.0, -1.0, 0.0, 0.0], [-1.0, -2.0, 0.0, -0.0]]]]
    yield case(
        "max_pool/ties",
        both,
        "Equal maxima: the first in row-major order wins.",
        pool(ties, kernel_shape=[2, 2], strides=[2, 2]),
        ("Tie", "ZeroWinner"),
    )
    yield case(
        "max_pool/ties_overlap",
        both,
        "Equal maxima in windows that overlap.",
        pool(ties, kernel_shape=[3, 3]),
        ("Tie", "Overlap"),
    )
    yield case(
        "max_pool/zero_of_both_signs",
        both,
        "0 and -0 are equal: the first wins.",
        pool([[[[-0.0, 0.0], [0.0, -0.0]]]], kernel_shape=[2, 2]),
        ("Tie", "ZeroWinner"),
    )
    yield case(
        "max_pool/negative_padded",
        ("POOL-2", "POOL-1", "SEED-1"),
        "Padding never wins, though all entries are negative.",
        pool(-np.abs(np.array(ties)) - 0.5, kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1]),
        ("BorderPadding", "Tie"),
    )
    yield case(
        "max_pool/relu_zeros",
        both,
        "Behind a ReLU whole windows are 0.",
        lambda net: net.node(
            "MaxPool",
            [net.node("Relu", [net.input(np.array(ties) - 1.0)], PASS)],
            WINNER,
            kernel_shape=[2, 2],
            strides=[2, 2],
        ),
        ("Tie", "ZeroWinner"),
    )
    yield case(
        "max_pool/dilated",
        both,
        "Dilated windows.",
        pool(
            [[[[1.0, 2.0, 1.0, 2.0, 0.0], [0.0] * 5, [1.0, 2.0, 1.0, 2.0, 0.0]]]], kernel_shape=[2, 2], dilations=[2, 2]
        ),
        ("Tie", "Dilation"),
    )
    yield case(
        "max_pool/one_axis",
        both,
        "One axis, channels apart.",
        pool([[[0.0, 0.0, 1.0, 1.0, 0.5, 1.0], [-1.0, -1.0, 0.0, 0.0, 0.0, -2.0]]], kernel_shape=[3], strides=[1]),
        ("Tie", "ZeroWinner"),
    )
    yield case(
        "max_pool/ceil_mode",
        both,
        "Windows that reach beyond the border.",
        pool(
            [[[[1.0, 1.0, 3.0], [1.0, 0.0, 3.0], [0.0, 0.0, -1.0]]]], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1
        ),
        ("Tie", "CeilMode", "ZeroWinner"),
    )
    yield case(
        "max_pool/batch",
        (*both, "BATCH-1"),
        "Two samples with their ties.",
        pool([[[[1.0, 1.0], [0.0, 1.0]]], [[[0.0, 0.0], [0.0, -1.0]]]], kernel_shape=[2, 2]),
        ("Tie", "ZeroWinner"),
    )
    yield case(
        "max_pool/epsilon_rule",
        ("EPS-1", "STAB-3", "POOL-2"),
        "A maximum under LRP-epsilon: a R / st(z) to the winner.",
        lambda net: net.node("MaxPool", [net.input(np.array(ties))], EPSILON, kernel_shape=[2, 2], strides=[2, 2]),
        ("Tie",),
    )
    three = [[[1.0, 0.0], [2.0, 2.0]], [[1.0, 2.0], [2.0, 0.0]]]
    yield case(
        "max/global",
        both,
        "GlobalMaxPool.",
        lambda net: net.node("GlobalMaxPool", [net.input(np.array([three]) - 1.0)], WINNER),
        ("Tie",),
    )
    yield case(
        "max/reduce",
        both,
        "ReduceMax over two axes.",
        lambda net: net.node("ReduceMax", [net.input(np.array([three]) - 2.0)], WINNER, axes=[1, 3], keepdims=0),
        ("Tie", "ZeroWinner"),
    )
    yield case(
        "max/of_values",
        both,
        "Max of two inputs: the first operand wins a tie.",
        lambda net: net.node(
            "Max",
            [net.input(np.array([[1.0, 2.0, 0.0, -1.0]])), net.input(np.array([[1.0, 3.0, 0.0, -2.0]]), "t")],
            WINNER,
        ),
        ("Tie", "MultiInput", "ZeroWinner"),
    )
    yield case(
        "max/of_three",
        both,
        "Max of three values.",
        lambda net: net.node(
            "Max",
            [
                net.input(np.array([[1.0, 2.0, 0.0, -1.0]])),
                net.input(np.array([[1.0, 3.0, -1.0, -1.0]]), "t"),
                net.input(np.array([[0.0, 3.0, 0.0, -1.0]]), "u"),
            ],
            WINNER,
        ),
        ("Tie", "MultiInput"),
    )


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _pools()
    yield from _maxima()
