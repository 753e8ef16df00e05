"""Levels C2 to C4: what only a close look tells apart in graphs: products, constants, masks, folding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from reflrp.conformance.generate.attention import GRADIENT, HALF, TAYLOR, UNIFORM
from reflrp.conformance.generate.draft import SIGNED, TINY, Draft
from reflrp.conformance.generate.functions import SIGNAL
from reflrp.conformance.generate.graphs import EPSILON, NORM, PASS, case, gemm, image
from reflrp.conformance.generate.linear import AB, GAMMA, ZP
from reflrp.conformance.generate.net import Net


def _products() -> Iterator[Draft]:
    ab = ("product_alpha_beta", {"alpha": 2.0, "beta": 1.0, "stabilizer": SIGNED})
    prod = ("PROD-2", "PROD-4", "PROD-5", "STAB-3")

    def masked(op: str, rule: Any, shape: tuple[int, ...], other: tuple[int, ...], first: bool) -> Callable[[Net], Any]:
        def build(net: Net) -> Any:
            x, t = image(net, shape), net.input(net.numbers.dyadic(other), "t")
            mask = net.node("Cast", [net.node("Greater", [t, np.array(0.0)])], to=1)
            return [net.node(op, [mask, x] if first else [x, mask], rule), net.node("Identity", [t])]

        return build

    for name, rule in (("epsilon_uniform", UNIFORM), ("alpha2beta1", ab), ("half", HALF)):
        for op, shape, other in (("Mul", (2, 3), (2, 3)), ("MatMul", (2, 2, 3), (2, 3, 2))):
            if (name, op) != ("half", "Mul"):  # among the products
                yield case(
                    f"{op.lower()}/decision_{name}",
                    prod,
                    f"{op} by {name}: an operand that carries no relevance leaves all to the other.",
                    masked(op, rule, shape, other, first=False),
                    ("MultiInput", "Mask"),
                    exact=False,
                )
    yield case(
        "matmul/decision_first_epsilon_uniform",
        prod,
        "The same with the decision as the first operand.",
        masked("MatMul", UNIFORM, (2, 3, 2), (2, 2, 3), first=True),
        ("MultiInput", "Mask"),
        exact=False,
    )
    matrices: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
        "rows": ((1, 3, 2), (1, 2, 4)),
        "batches": ((2, 2, 2, 3), (2, 2, 3, 2)),
        "shared": ((2, 2, 3), (1, 3, 2)),
    }
    for slug, (left, right) in matrices.items():
        yield case(
            f"matmul/{slug}_epsilon_uniform",
            ("PROD-4", "STAB-3", "GRAPH-1"),
            "MatMul by epsilon in equal parts: other shapes, one matrix for all samples among them.",
            lambda net, s=left, o=right: net.node(
                "MatMul", [image(net, s), net.input(net.numbers.dyadic(o), "t")], UNIFORM
            ),
            ("MultiInput",),
        )

    def gated(one: Callable[[Net, str], str]) -> Callable[[Net], Any]:
        return lambda net: net.node(
            "Mul", [one(net, image(net, (2, 3))), net.input(net.numbers.dyadic((2, 3)), "t")], SIGNAL
        )

    scaled = [np.array([1.0, -0.5, 2.0]), np.array([0.5, 1.0, -1.0])]
    for slug, one_, comment in (
        ("softmax", lambda net, x: net.node("Softmax", [x], TAYLOR, axis=-1), "A softmax makes a gate."),
        (
            "layer_norm",
            lambda net, x: net.node("LayerNormalization", [x, *scaled], EPSILON, axis=-1, epsilon=0.0625),
            "A normalisation makes no gate: half to each.",
        ),
        (
            "dense_behind",
            lambda net, x: gemm(net, net.node("Sigmoid", [x], PASS), 3, 3),
            "What a dense layer makes of a gate is none: half to each.",
        ),
    ):
        yield case(
            f"gate/{slug}",
            ("PROD-3", "PROD-1"),
            comment,
            gated(one_),
            ("MultiInput", "Gate"),
            "C4",
            "measured",
            exact=False,
        )


def _constants() -> Iterator[Draft]:
    kept = ("LAYER-3", "NORM-1", "AB-2", "ZP-2", "STAB-3")
    c = np.array([1.0, -0.5, 0.25, 2.0])

    def behind(net: Net, op: str, rule: Any, given: Callable[[str], list[Any]]) -> Any:
        return net.node(op, given(gemm(net, image(net, (2, 3)), 3, 4)), rule)

    for slug, op, rule, given in (
        ("minuend", "Sub", NORM, lambda x: [c, x]),
        ("minuend_epsilon", "Sub", EPSILON, lambda x: [c, x]),
        ("first", "Add", NORM, lambda x: [c, x]),
        ("summed", "Sum", NORM, lambda x: [x, c, c * 0.5]),
        ("column", "Add", EPSILON, lambda x: [x, np.array([[0.5], [-1.25]])]),
        ("alpha_beta", "Add", ("alpha_beta", AB), lambda x: [x, c]),
        ("z_plus", "Sub", ("z_plus", ZP), lambda x: [x, c]),
    ):
        yield case(
            f"graph/constant_{slug}",
            kept,
            f"{op} of a value and a constant: {slug.replace('_', ' ')}.",
            lambda net, op=op, rule=rule, given=given: behind(net, op, rule, given),
            ("Constant",),
            basis="network",
        )
    yield case(
        "graph/constant_between",
        kept,
        "A constant that is added between two layers, and one that is taken away at the end.",
        lambda net: net.node(
            "Sub", [gemm(net, net.node("Add", [gemm(net, image(net, (2, 3)), 3, 4), c], NORM), 4, 4), c], NORM
        ),
        ("Constant",),
        basis="network",
    )
    turned = np.array([2, 1, 0])
    yield case(
        "routing/cast",
        ("ROUTE-1", "GRAPH-1", "SEED-1"),
        "Cast of a value that carries relevance, and its reversal.",
        lambda net: net.node(
            "Add", [image(net, (2, 3)), net.node("Gather", [net.node("Cast", ["x"], to=1), turned], axis=1)], NORM
        ),
    )  # fmt: skip


def _masks() -> Iterator[Draft]:
    """Relevance that comes to masked entries: through rules that do not look at the input, or with the seed."""
    own = ("SMAX-2", "SMAX-1")
    hidden = np.array([[0.0, 0.0, -np.inf], [0.0, -np.inf, -np.inf]])

    def masked(shape: tuple[int, ...], mask: Any, axis: int, behind: Any) -> Callable[[Net], Any]:
        def build(net: Net) -> Any:
            p = net.node("Softmax", [net.node("Add", [image(net, shape), mask], NORM)], TAYLOR, axis=axis)
            return net.node("MatMul", [p, net.numbers.nonzero((shape[-1], 2))], behind) if behind else p

        return build

    squares = ("w_square", {"bias": "ignore", "stabilizer": TINY})
    for slug, shape, mask, axis, behind in (
        ("seed", (2, 2, 3), hidden, -1, None),
        ("w_square", (1, 2, 3), hidden, -1, squares),
        ("gradient", (1, 2, 3), hidden, -1, GRADIENT),
        ("heads", (1, 2, 2, 3), hidden, -1, ("flat", {"stabilizer": SIGNED})),
        ("columns", (2, 3, 2), np.array([[0.0, 0.0], [-np.inf, 0.0], [0.0, -np.inf]]), 1, None),
        ("one_left", (1, 2, 3), np.array([[-np.inf, 0.0, -np.inf], [0.0, -np.inf, -np.inf]]), -1, None),
    ):
        yield case(
            f"softmax/masked_{slug}",
            own,
            "Relevance comes to entries that a mask of -infinity hides: they get nothing, and it counts in the sum.",
            masked(shape, mask, axis, behind),
            ("Measured", "Mask"),
            "C4",
            "measured",
            False,
        )


def _folds() -> Iterator[Draft]:
    fold: tuple[str, dict[str, Any]] = ("fold", {})

    def norm(net: Net, x: str, channels: int) -> str:
        s, var = net.numbers, np.array([3.75, 0.75, 8.75, 0.0][:channels])
        given = [x, s.nonzero((channels,)), s.nonzero((channels,)), s.nonzero((channels,)), var]
        return str(net.node("BatchNormalization", given, fold, epsilon=0.25))

    def conv(net: Net, x: str, shape: tuple[int, ...], rule: Any, bias: int = 0, op: str = "Conv", **more: Any) -> str:
        return str(
            net.node(
                op, [x, net.numbers.nonzero(shape)] + ([net.numbers.nonzero((bias,))] if bias else []), rule, **more
            )
        )

    border: dict[str, Any] = {"pads": [1, 0, 1, 1]}
    box = ("z_box", {"low": -1.0, "high": 1.0, "stabilizer": TINY})
    small, kernel = (1, 2, 3, 3), (3, 2, 2, 2)

    def behind(rule: Any, **more: Any) -> Callable[[Net], Any]:
        return lambda net: norm(net, conv(net, image(net, small), kernel, rule, 3, **more), 3)

    def grouped(net: Net) -> Any:
        return norm(net, conv(net, image(net, (2, 2, 3, 3)), (4, 1, 2, 2), EPSILON, 4, group=2, **border), 4)

    def transposed(net: Net) -> Any:
        shape = (2, 3, 2, 2)
        return norm(net, conv(net, image(net, small), shape, EPSILON, 3, op="ConvTranspose", strides=[2, 2]), 3)

    def padded(net: Net) -> Any:
        return conv(net, norm(net, image(net, small), 2), (3, 2, 3, 3), EPSILON, 3, pads=[1, 1, 1, 1])

    def raised(net: Net) -> Any:
        return conv(net, norm(net, image(net, small), 2), (2, 2, 2, 2), ("gamma", GAMMA), 2, **border)

    def twice(net: Net) -> Any:
        x = norm(net, conv(net, image(net, small), (2, 2, 2, 2), EPSILON, 2), 2)
        return norm(net, conv(net, net.node("Relu", [x], PASS), kernel, EPSILON), 3)

    builds: dict[str, tuple[Callable[[Net], Any], tuple[str, ...], str]] = {
        "alpha_beta": (behind(("alpha_beta", AB)), ("AB-1", "AB-2"), "Folded before contributions are split."),
        "z_plus": (behind(("z_plus", ZP)), ("ZP-1", "ZP-2"), "Folded before contributions are split."),
        "z_box": (behind(box, **border), ("ZB-1",), "Folded before bounds are counted."),
        "no_bias": (
            lambda net: norm(net, conv(net, image(net, small), kernel, EPSILON), 3),
            ("EPS-2",),
            "Behind a convolution without a bias: the shift becomes it.",
        ),
        "depthwise": (grouped, ("EPS-2",), "Behind a convolution of two groups."),
        "transposed": (transposed, ("EPS-2",), "Behind a transposed convolution."),
        "before_border": (
            padded,
            ("EPS-2",),
            "Before a convolution with padding all around: the shift counts inside alone.",
        ),
        "before_gamma": (raised, ("GAMMA-1", "GAMMA-2"), "Before a convolution, by gamma."),
        "before_dense": (
            lambda net: gemm(net, norm(net, image(net, (3, 4)), 4), 4, 3),
            ("EPS-2",),
            "Before a dense layer.",
        ),
        "twice": (twice, ("EPS-2",), "Behind each of two convolutions."),
    }
    for slug, (build, more, comment) in builds.items():
        yield case(f"batchnorm/folded_{slug}", ("BN-2", *more), comment, build, ("FoldAfter",), basis="network")


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _products()
    yield from _constants()
    yield from _masks()
    yield from _folds()
