"""Level C2: BatchNormalization, by itself and folded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from reflrp.conformance.generate.draft import TINY, Draft
from reflrp.conformance.generate.graphs import EPSILON, NORM, PASS, case, gemm, image
from reflrp.conformance.generate.linear import AB, GAMMA
from reflrp.conformance.generate.net import Net


def _batchnorm() -> Iterator[Draft]:
    def norm(net: Net, x: str, channels: int, rule: Any) -> str:
        s = net.numbers
        var = np.array([3.75, 0.75, 8.75, 0.0][:channels])  # with the epsilon of 1/4 squares of 2, 1, 3, 1/2
        return str(
            net.node(
                "BatchNormalization",
                [x, s.nonzero((channels,)), s.nonzero((channels,)), s.dyadic((channels,)), var],
                rule,
                epsilon=0.25,
            )
        )

    def conv(net: Net, x: str, inputs: int, outputs: int, **more: Any) -> str:
        return str(
            net.node(
                "Conv",
                [x, net.numbers.dyadic((outputs, inputs, 2, 2)), net.numbers.nonzero((outputs,))],
                EPSILON,
                **more,
            )
        )

    fold: tuple[str, dict[str, Any]] = ("fold", {})
    shape = (2, 2, 3, 3)
    own = ("BN-1", "NORM-1", "EPS-1", "STAB-3")
    yield case(
        "batchnorm/alone_norm",
        own,
        "A diagonal map with scale and shift.",
        lambda net: norm(net, image(net, shape), 2, NORM),
        basis="network",
    )
    yield case(
        "batchnorm/alone_epsilon",
        own,
        "The same under LRP-epsilon.",
        lambda net: norm(net, image(net, shape), 2, EPSILON),
        basis="network",
    )
    yield case(
        "batchnorm/alone_alpha_beta",
        ("AB-1", "AB-2", "BN-1"),
        "The same under alpha-beta: the shift is its bias.",
        lambda net: norm(net, image(net, shape), 2, ("alpha_beta", AB)),
        basis="network",
    )
    yield case(
        "batchnorm/alone_pass",
        ("PASS-1", "BN-1", "BN-2", "SEED-1"),
        "The same, passed.",
        lambda net: norm(net, image(net, shape), 2, PASS),
    )
    for slug, rule in (("fold", fold), ("norm", NORM), ("pass", PASS)):
        yield case(
            f"batchnorm/after_conv_{slug}",
            ("BN-2", "BN-1", "EPS-1", "EPS-2"),
            f"Behind a convolution, by {slug}.",
            lambda net, r=rule: norm(net, conv(net, image(net, shape), 2, 3), 3, r),
            ("FoldAfter",),
            basis="network",
        )
        yield case(
            f"batchnorm/before_conv_{slug}",
            ("BN-2", "BN-1", "EPS-1", "EPS-2"),
            f"Before a convolution with padding, by {slug}.",
            lambda net, r=rule: conv(net, norm(net, image(net, shape), 2, r), 2, 3, pads=[1, 0, 1, 0]),
            ("FoldBefore", "BorderPadding"),
            basis="network",
        )
        yield case(
            f"batchnorm/after_dense_{slug}",
            ("BN-2", "BN-1", "EPS-1", "EPS-2"),
            f"Behind a dense layer and before a ReLU, by {slug}.",
            lambda net, r=rule: net.node("Relu", [norm(net, gemm(net, image(net, (3, 3)), 3, 4), 4, r)], PASS),
            ("FoldAfter",),
            basis="network",
        )
    yield case(
        "batchnorm/fold_gamma",
        ("BN-2", "GAMMA-1"),
        "Folded before the weights are raised.",
        lambda net: norm(
            net,
            net.node(
                "Conv",
                [image(net, shape), net.numbers.dyadic((3, 2, 2, 2)), net.numbers.nonzero((3,))],
                ("gamma", GAMMA),
            ),
            3,
            fold,
        ),
        ("FoldAfter",),
        basis="network",
    )
    yield case(
        "batchnorm/fold_w_square",
        ("BN-2", "WSQ-1"),
        "Folded before the weights are squared.",
        lambda net: norm(
            net,
            net.node(
                "Conv",
                [image(net, shape), net.numbers.dyadic((3, 2, 2, 2)), net.numbers.nonzero((3,))],
                ("w_square", {"bias": "ignore", "stabilizer": TINY}),
            ),
            3,
            fold,
        ),
        ("FoldAfter",),
        basis="network",
    )


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _batchnorm()
