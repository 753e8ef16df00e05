"""Level C2: operators that move entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from reflrp.conformance.generate.draft import Draft
from reflrp.conformance.generate.graphs import case, image
from reflrp.conformance.generate.net import Net


def _routing() -> Iterator[Draft]:
    simple: dict[str, tuple[Callable[[Net], Any], str]] = {
        "flatten": (lambda net: net.node("Flatten", [image(net, (2, 2, 3))], axis=1), ""),
        "transpose": (lambda net: net.node("Transpose", [image(net, (1, 2, 3, 4))], perm=[0, 3, 1, 2]), ""),
        "transpose_square": (lambda net: net.node("Transpose", [image(net, (2, 3, 3))], perm=[0, 2, 1]), ""),
        "reshape": (
            lambda net: net.node(
                "Reshape", [net.node("Transpose", [image(net, (2, 2, 6))], perm=[0, 2, 1]), np.array([0, 3, 4])]
            ),
            "",
        ),
        "slice": (
            lambda net: net.node(
                "Slice", [image(net, (1, 2, 5)), np.array([1]), np.array([4]), np.array([2]), np.array([2])]
            ),
            "Dropped",
        ),
        "slice_backwards": (
            lambda net: net.node(
                "Slice", [image(net, (1, 2, 5)), np.array([4]), np.array([-7]), np.array([2]), np.array([-1])]
            ),
            "",
        ),
        "pad_constant": (
            lambda net: net.node(
                "Pad", [image(net, (1, 2, 3)), np.array([0, 0, 1, 0, 1, 2]), np.array(0.5)], mode="constant"
            ),
            "ConstantPad",
        ),
        "pad_reflect": (
            lambda net: net.node("Pad", [image(net, (1, 2, 4)), np.array([0, 0, 2, 0, 0, 1])], mode="reflect"),
            "RepeatedIndex",
        ),
        "pad_edge": (
            lambda net: net.node("Pad", [image(net, (1, 2, 4)), np.array([0, 0, 2, 0, 0, 1])], mode="edge"),
            "RepeatedIndex",
        ),
        "gather_repeated": (
            lambda net: net.node("Gather", [image(net, (2, 4)), np.array([3, 0, 3, 1, 3])], axis=1),
            "RepeatedIndex",
        ),
        "gather_negative": (
            lambda net: net.node("Gather", [image(net, (2, 4)), np.array([-1, 0, -1])], axis=1),
            "RepeatedIndex",
        ),
        "gather_table": (
            lambda net: net.node("Gather", [image(net, (2, 3, 2)), np.array([[0, 2], [2, 2]])], axis=1),
            "RepeatedIndex",
        ),
        "expand": (lambda net: net.node("Expand", [image(net, (2, 1, 3)), np.array([2, 4, 3])]), "RepeatedIndex"),
        "squeeze": (
            lambda net: net.node(
                "Squeeze", [net.node("Transpose", [image(net, (2, 1, 3, 2))], perm=[0, 1, 3, 2]), np.array([1])]
            ),
            "",
        ),
        "unsqueeze": (
            lambda net: net.node(
                "Unsqueeze", [net.node("Gather", [image(net, (2, 3)), np.array([2, 2, 0])], axis=1), np.array([1])]
            ),
            "RepeatedIndex",
        ),
        "concat": (
            lambda net: net.node(
                "Concat", [image(net, (1, 2, 2)), net.input(net.numbers.dyadic((1, 2, 3)), "t")], axis=2
            ),
            "MultiInput",
        ),
        "concat_constant": (
            lambda net: net.node(
                "Concat",
                [image(net, (1, 2)), net.numbers.dyadic((1, 3)), net.input(net.numbers.dyadic((1, 1)), "t")],
                axis=1,
            ),
            "MultiInput",
        ),
        "concat_twice": (_twice, "RepeatedIndex"),
        "identity": (lambda net: net.node("Identity", [image(net, (2, 3))]), ""),
        "dropout": (lambda net: net.node("Dropout", [image(net, (2, 3))]), ""),
    }
    for slug, (build, flag) in simple.items():
        yield case(
            f"routing/{slug}",
            ("ROUTE-1", "GRAPH-1", "SEED-1"),
            f"{slug.replace('_', ' ').capitalize()}: relevance goes back to where entries came from.",
            build,
            (flag,) if flag else (),
        )
    yield case(
        "routing/split",
        ("ROUTE-1", "GRAPH-1", "SEED-1"),
        "Split into two outputs.",
        lambda net: net.node("Split", [image(net, (1, 5)), np.array([2, 3])], outputs=2, axis=1),
        ("MultiOutput",),
    )
    yield case(
        "routing/split_one_used",
        ("ROUTE-1", "GRAPH-1", "SEED-1"),
        "Of two parts one is read: the other's entries get nothing.",
        lambda net: net.node(
            "Gather",
            [net.node("Split", [image(net, (1, 5)), np.array([2, 3])], outputs=2, axis=1)[1], np.array([0, 2, 2])],
            axis=1,
        ),
        ("Dropped",),
    )


def _twice(net: Net) -> Any:
    x = image(net, (1, 3))
    return net.node("Concat", [x, net.node("Gather", [x, np.array([2, 1, 0])], axis=1), x], axis=1)


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _routing()
