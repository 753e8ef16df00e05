"""Level C4: recurrence, and rounding to integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from reflrp.conformance.generate.attention import HALF
from reflrp.conformance.generate.draft import Draft
from reflrp.conformance.generate.functions import SIGNAL
from reflrp.conformance.generate.graphs import EPSILON, NORM, PASS, case, gemm, image
from reflrp.conformance.generate.net import Net


def _recurrence() -> Iterator[Draft]:
    own = ("REC-1", "PROD-3", "GRAPH-1", "NORM-1")

    def steps(net: Net, count: int) -> list[str]:
        x = image(net, (2, count, 2))
        return [net.node("Gather", [x, np.array(t)], axis=1) for t in range(count)]

    def rnn(product: Any) -> Callable[[Net], Any]:
        def build(net: Net) -> Any:
            w, u = (net.constant(net.numbers.dyadic(s), "w") for s in ((2, 3), (3, 3)))
            b = net.constant(net.numbers.nonzero((3,)), "b")
            h = ""
            for x in steps(net, 3):
                z = net.node("Gemm", [x, w, b], EPSILON)
                z = net.node("Add", [z, net.node("Gemm", [h, u], EPSILON)], NORM) if h else z
                h = net.node(product, [z], PASS)
            return h

        return build

    def lstm(product: Any) -> Callable[[Net], Any]:
        def build(net: Net) -> Any:
            gates = {g: [net.constant(net.numbers.dyadic(s), "w") for s in ((2, 2), (2, 2), (2,))] for g in "ifgo"}
            h = c = ""
            for x in steps(net, 2):
                z = {g: _gate(net, x, h, *parts) for g, parts in gates.items()}
                i, f, o = (net.node("Sigmoid", [z[g]], PASS) for g in "ifo")
                new = net.node("Mul", [i, net.node("Tanh", [z["g"]], PASS)], product)
                c = net.node("Add", [net.node("Mul", [f, c], product), new], NORM) if c else new
                h = net.node("Mul", [o, net.node("Tanh", [c], PASS)], product)
            return h

        return build

    yield case(
        "recurrence/relu",
        own,
        "Three steps with shared weights: each is a layer of its own.",
        rnn("Relu"),
        ("SharedWeights", "Sequence"),
        "C4",
        "network",
    )
    yield case(
        "recurrence/tanh",
        own,
        "The same with tanh.",
        rnn("Tanh"),
        ("SharedWeights", "Sequence", "Measured"),
        "C4",
        "measured",
        False,
    )
    yield case(
        "recurrence/lstm",
        own,
        "Two steps of an LSTM: gates get nothing.",
        lstm(SIGNAL),
        ("SharedWeights", "Sequence", "Gate", "Measured"),
        "C4",
        "measured",
        False,
    )
    yield case(
        "recurrence/lstm_half",
        ("PROD-1", "REC-1", "GRAPH-1", "NORM-1"),
        "The same with products in halves.",
        lstm(HALF),
        ("SharedWeights", "Sequence", "Measured"),
        "C4",
        "measured",
        False,
    )

    def pooled(net: Net) -> Any:
        h = [net.node("Relu", [gemm(net, x, 2, 2)], PASS) for x in steps(net, 3)]
        return net.node("Sum", h, NORM)

    yield case("recurrence/summed", own, "Steps that are summed.", pooled, ("Sequence",), "C4", "network")


def _gate(net: Net, x: str, h: str, w: str, u: str, b: str) -> str:
    z = net.node("Gemm", [x, w, b], EPSILON)
    return str(net.node("Add", [z, net.node("Gemm", [h, u], EPSILON)], NORM) if h else z)


def _integers() -> Iterator[Draft]:
    own = ("QUANT-1", "PASS-1", "EPS-1")

    def rounded(net: Net, x: str, zero: Any) -> str:
        scale = np.array(0.25)
        q = net.node("QuantizeLinear", [x, scale, zero], PASS)
        return str(net.node("DequantizeLinear", [q, scale, zero], PASS))

    for slug, zero in (("int8", np.int8(0)), ("uint8", np.uint8(128)), ("saturates", np.uint8(250))):
        yield case(
            f"quantised/{slug}",
            own,
            f"Rounding to {zero.dtype} passes relevance, zero point {int(zero)}.",
            lambda net, z=zero: rounded(net, net.input(net.numbers.dyadic((2, 4), -40, 40, 16)), np.array(z)),
            ("Integers",),
            "C4",
            "dyadic",
            False,
        )
        yield case(
            f"quantised/{slug}_dense",
            own,
            "Between two layers.",
            lambda net, z=zero: gemm(net, rounded(net, gemm(net, image(net, (2, 3)), 3, 4), np.array(z)), 4, 2),
            ("Integers",),
            "C4",
            "network",
            False,
        )


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _recurrence()
    yield from _integers()
