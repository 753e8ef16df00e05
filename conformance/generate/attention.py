"""Level C4: normalisation, softmax, attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from reflrp.conformance.generate.draft import SIGNED, TINY, Draft
from reflrp.conformance.generate.graphs import EPSILON, NORM, PASS, case, gemm, image
from reflrp.conformance.generate.net import Net

HALF = ("half", {"over": "active", "stabilizer": SIGNED})


UNIFORM = ("epsilon_uniform", {"stabilizer": SIGNED})


TAYLOR = ("taylor", {"over": "own"})


STOP: tuple[str, dict[str, Any]] = ("stop", {})


GRADIENT: tuple[str, dict[str, Any]] = ("gradient", {})


def _layernorm(net: Net, x: str, size: int, rule: Any, bias: bool = True) -> str:
    s = net.numbers
    given = [x, s.nonzero((size,))] + ([s.nonzero((size,))] if bias else [])
    return str(net.node("LayerNormalization", given, rule, axis=-1, epsilon=0.0625))


def _norms() -> Iterator[Draft]:
    own = ("NORM-2", "PASS-1", "GRAD-1", "RATIO-1", "STOP-1", "SEED-1")
    for name, rule in (
        ("pass", PASS),
        ("epsilon", EPSILON),
        ("gradient", GRADIENT),
        ("ratio", ("ratio", {"stabilizer": SIGNED})),
        ("stop", STOP),
    ):
        yield case(
            f"layer_norm/{name}",
            own,
            f"LayerNormalization by {name}.",
            lambda net, r=rule: _layernorm(net, image(net, (2, 4)), 4, r),
            ("Measured",),
            "C4",
            "measured",
            False,
        )
        yield case(
            f"layer_norm/{name}_rows",
            own,
            f"LayerNormalization of rows by {name}, without a bias.",
            lambda net, r=rule: _layernorm(net, image(net, (1, 2, 3)), 3, r, bias=False),
            ("Measured", "NoBias"),
            "C4",
            "measured",
            False,
        )


def _softmax() -> Iterator[Draft]:
    both = ("SMAX-1", "SMAX-2", "GRAD-1", "STOP-1", "RATIO-1")

    def plain(rule: Any, axis: int) -> Callable[[Net], Any]:
        return lambda net: gemm(net, net.node("Softmax", [image(net, (2, 4))], rule, axis=axis), 4, 2)

    for name, rule in (
        ("taylor", TAYLOR),
        ("gradient", GRADIENT),
        ("stop", STOP),
        ("ratio", ("ratio", {"stabilizer": TINY})),
    ):
        yield case(
            f"softmax/{name}", both, f"Softmax by {name}.", plain(rule, -1), ("Measured",), "C4", "measured", False
        )
    yield case(
        "softmax/axis_1",
        both,
        "Softmax over an axis that is not the last, its sum over that axis.",
        lambda net: net.node(
            "MatMul",
            [net.node("Softmax", [image(net, (1, 3, 2))], TAYLOR, axis=1), net.numbers.dyadic((2, 2))],
            EPSILON,
        ),
        ("Measured",),
        "C4",
        "measured",
        False,
    )
    yield case(
        "softmax/axis_1_over_last",
        both,
        "The same with over=last: the sum is over the last axis all the same.",
        lambda net: net.node(
            "MatMul",
            [
                net.node("Softmax", [image(net, (1, 3, 2))], ("taylor", {"over": "last"}), axis=1),
                net.numbers.dyadic((2, 2)),
            ],
            EPSILON,
        ),
        ("Measured",),
        "C4",
        "measured",
        False,
    )

    def masked(rule: Any) -> Callable[[Net], Any]:
        def build(net: Net) -> Any:
            x = net.node("Add", [image(net, (1, 2, 3)), np.array([[0.0, 0.0, -np.inf], [0.0, -np.inf, -np.inf]])], NORM)
            p = net.node("Softmax", [x], TAYLOR, axis=-1)
            return net.node("MatMul", [p, net.numbers.dyadic((3, 2))], rule)

        return build

    yield case(
        "softmax/mask",
        both,
        "Entries that a mask of -infinity hides get nothing.",
        masked(EPSILON),
        ("Measured", "Mask"),
        "C4",
        "measured",
        False,
    )
    yield case(
        "softmax/mask_flat",
        both,
        "The same where relevance comes to what is hidden.",
        masked(("flat", {"stabilizer": SIGNED})),
        ("Measured", "Mask"),
        "C4",
        "measured",
        False,
    )


def _attention() -> Iterator[Draft]:
    own = ("ATT-1", "SMAX-1", "PROD-2", "PROD-4", "GRAPH-1", "NORM-2")

    def block(product: Any, softmax: Any, mask: bool, norm: Any = None, heads: int = 1) -> Callable[[Net], Any]:
        def build(net: Net) -> Any:
            x = image(net, (1, 3, 4))
            a = _layernorm(net, x, 4, norm) if norm else x
            q, k, v = (net.node("MatMul", [a, net.numbers.dyadic((4, 4))], EPSILON) for _ in "qkv")
            if heads > 1:
                q, k, v = (
                    net.node("Transpose", [net.node("Reshape", [y, np.array([0, 3, 2, 2])])], perm=[0, 2, 1, 3])
                    for y in (q, k, v)
                )
            turned = net.node("Transpose", [k], perm=[0, 2, 1] if heads == 1 else [0, 1, 3, 2])
            scores = net.node("Mul", [net.node("MatMul", [q, turned], product), np.array(0.5)], EPSILON)
            if mask:
                scores = net.node("Add", [scores, np.triu(np.full((3, 3), -np.inf), 1)], NORM)
            y = net.node("MatMul", [net.node("Softmax", [scores], softmax, axis=-1), v], product)
            if heads > 1:
                y = net.node("Reshape", [net.node("Transpose", [y], perm=[0, 2, 1, 3]), np.array([0, 3, 4])])
            y = net.node("MatMul", [y, net.numbers.dyadic((4, 4))], EPSILON)
            return net.node("Add", [x, y], NORM)

        return build

    for slug, build, comment in (
        ("halves", block(HALF, TAYLOR, mask=False), "One head: products in halves, softmax by its expansion."),
        ("epsilon_uniform", block(UNIFORM, TAYLOR, mask=False), "One head: products by epsilon in equal parts."),
        (
            "values_only",
            block(("signal_takes_all", {"signal": 1, "stabilizer": SIGNED}), STOP, mask=False),
            "One head: the attention weights held constant.",
        ),
        ("masked", block(HALF, TAYLOR, mask=True), "A causal mask."),
        ("heads", block(HALF, TAYLOR, mask=True, heads=2), "Two heads, and a causal mask."),
        ("layer_norm", block(HALF, TAYLOR, mask=False, norm=PASS), "Behind a LayerNormalization that is passed."),
        (
            "layer_norm_epsilon",
            block(HALF, TAYLOR, mask=False, norm=EPSILON),
            "Behind a LayerNormalization by LRP-epsilon.",
        ),
    ):
        yield case(
            f"attention/{slug}",
            own,
            comment,
            build,
            ("Measured", *(("Mask",) if "mask" in slug or slug == "heads" else ())),
            "C4",
            "measured",
            False,
        )


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _norms()
    yield from _softmax()
    yield from _attention()
