"""What the cases of graphs have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reflrp.conformance.generate.draft import SIGNED, Draft
from reflrp.conformance.generate.net import Net
from reflrp.conformance.literal import Oracle

NORM = ("norm", {"stabilizer": SIGNED})
EPSILON = ("epsilon", {"bias": "absorb", "stabilizer": SIGNED})
PASS: tuple[str, dict[str, Any]] = ("pass", {})
WINNER: tuple[str, dict[str, Any]] = ("winner_takes_all", {})


def seeds(net: Net) -> dict[str, np.ndarray]:
    """Return a seed of the outputs' shapes without zeros."""
    values = Oracle()(net.model(), net.inputs, {}, []).values
    return {k: net.numbers.nonzero(values[k].shape) for k in net.outputs}


def case(
    id_: str,
    clauses: tuple[str, ...],
    comment: str,
    build: Any,
    flags: tuple[str, ...] = (),
    level: str = "C2",
    basis: str = "dyadic",
    exact: bool = True,
    seed: Callable[[Net], dict[str, np.ndarray]] = seeds,
    salt: str = "",
) -> Draft:
    """Return the case of what `build` enters into a net; it returns the output, or several.

    `salt` draws other numbers, where these make a network that is 0 all over.
    """
    net = Net(f"graphs/{id_}{salt}")
    made = build(net)
    for name in [made] if isinstance(made, str) else made:
        net.output(name)
    return Draft(id_, level, clauses, net, comment, seed(net), flags, basis, exact=exact)


def image(net: Net, shape: tuple[int, ...] = (1, 2, 4, 5)) -> str:
    """Enter an image of both signs."""
    return net.input(net.numbers.dyadic(shape))


def gemm(net: Net, x: str, inputs: int, outputs: int, rule: Any = EPSILON, bias: bool = True) -> str:
    """Enter a dense layer."""
    w = net.numbers.dyadic((inputs, outputs))
    return str(net.node("Gemm", [x, w] + ([net.numbers.nonzero((outputs,))] if bias else []), rule))
