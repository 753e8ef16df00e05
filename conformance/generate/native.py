"""Level C4: operators that exporters write whole: other normalisations, Einsum, Resize, LSTM, GRU and RNN."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from reflrp.conformance.generate.attention import GRADIENT, HALF, STOP, UNIFORM
from reflrp.conformance.generate.draft import SIGNED, Draft
from reflrp.conformance.generate.graphs import EPSILON, NORM, PASS, case, gemm, image
from reflrp.conformance.generate.linear import AB, ZP
from reflrp.conformance.generate.net import Net

RATIO = ("ratio", {"stabilizer": SIGNED})
BY_SIGNALS: tuple[str, dict[str, Any]] = ("recurrent", {"product": "signal", "stabilizer": SIGNED})
IN_HALVES: tuple[str, dict[str, Any]] = ("recurrent", {"product": "half", "stabilizer": SIGNED})

NORMS: dict[str, tuple[str, tuple[int, ...], int, dict[str, Any]]] = {
    "rms": ("RMSNormalization", (2, 2, 4), 4, {"axis": -1}),
    "group": ("GroupNormalization", (2, 4, 3), 4, {"num_groups": 2}),
    "instance": ("InstanceNormalization", (2, 3, 2, 2), 3, {}),
    "layer": ("LayerNormalization", (2, 3, 2), 3, {"axis": 1}),
}
"""Slug -> operator, input, channels, attributes. `layer` normalises over two axes."""


def normalised(net: Net, kind: str, rule: Any) -> str:
    """Enter a normalisation with scale and, but for RMSNormalization, a bias."""
    op, shape, channels, attributes = NORMS[kind]
    s, size = net.numbers, (3, 2) if kind == "layer" else (channels,)
    given = [image(net, shape), s.nonzero(size)] + ([] if kind == "rms" else [s.nonzero(size)])
    return str(net.node(op, given, rule, epsilon=0.0625, **attributes))


def _norms() -> Iterator[Draft]:
    own = ("NORM-2", "PASS-1", "GRAD-1", "RATIO-1", "STOP-1", "SEED-1", "ZP-1", "AB-1")
    rules: dict[str, Any] = {
        "pass": PASS,
        "epsilon": EPSILON,
        "norm": NORM,
        "gradient": GRADIENT,
        "ratio": RATIO,
        "stop": STOP,
    }
    for kind, (op, *_) in NORMS.items():
        more = {"z_plus": ("z_plus", ZP), "alpha2beta1": ("alpha_beta", AB)} if kind == "rms" else {}
        for name, rule in {**rules, **more}.items():
            yield _measured(f"norm/{kind}_{name}", own, f"{op} by {name}.", partial(normalised, kind=kind, rule=rule))
    linear: dict[str, Any] = {"epsilon": EPSILON, "norm": NORM}
    for name, rule in linear.items():
        yield _measured(
            f"norm/layer_between_{name}",
            ("NORM-2", "EPS-1"),
            f"LayerNormalization by {name} between two dense layers.",
            partial(_between, rule=rule),
        )


def _between(net: Net, rule: Any) -> str:
    x, s = gemm(net, image(net, (2, 3)), 3, 4), net.numbers
    return gemm(net, net.node("LayerNormalization", [x, s.nonzero((4,)), s.nonzero((4,))], rule, epsilon=0.0625), 4, 2)


def _measured(
    id_: str, clauses: tuple[str, ...], comment: str, build: Callable[[Net], Any], flags: tuple[str, ...] = ()
) -> Draft:
    return case(id_, clauses, comment, build, ("Measured", *flags), "C4", "measured", exact=False)


def _einsums() -> Iterator[Draft]:
    dense = ("EPS-1", "EPS-2", "AB-1", "ZP-1", "ZP-3", "STAB-3")
    for slug, equation, shape, w in (
        ("rows", "bij,jk->bik", (1, 3, 4), (4, 2)),
        ("heads", "bij,jhd->bhid", (1, 2, 3), (3, 2, 2)),
        ("summed", "bij,ji->b", (2, 2, 3), (3, 2)),
    ):
        for name, rule in (("epsilon", EPSILON), ("alpha2beta1", ("alpha_beta", AB)), ("z_plus", ("z_plus", ZP))):
            yield case(
                f"einsum/{slug}_{name}",
                dense,
                f"Einsum {equation} with a constant by {name}.",
                lambda net, e=equation, s=shape, w=w, r=rule: net.node(
                    "Einsum", [image(net, s), net.numbers.dyadic(w)], r, equation=e
                ),
                exact=False,
            )
    prod = ("PROD-2", "PROD-3", "PROD-4", "PROD-5", "STAB-3", "GRAD-1")
    products: dict[str, Any] = {
        "half": HALF,
        "epsilon_uniform": UNIFORM,
        "signal_1": ("signal_takes_all", {"signal": 1, "stabilizer": SIGNED}),
        "alpha2beta1": ("product_alpha_beta", {"alpha": 2.0, "beta": 1.0, "stabilizer": SIGNED}),
        "gradient": GRADIENT,
    }
    for slug, equation, shape, other in (
        ("scores", "bid,bjd->bij", (1, 2, 3), (1, 3, 3)),
        ("dots", "bij,bij->bi", (2, 2, 3), (2, 2, 3)),
    ):
        for name, rule in products.items():
            yield case(
                f"einsum/{slug}_{name}",
                prod,
                f"Einsum {equation} of two values by {name}.",
                lambda net, e=equation, s=shape, o=other, r=rule: net.node(
                    "Einsum", [image(net, s), net.input(net.numbers.dyadic(o), "t")], r, equation=e
                ),
                ("MultiInput",),
            )


def _resizes() -> Iterator[Draft]:
    own = ("NORM-1", "EPS-1", "AB-1", "ZP-1", "ROUTE-1", "LAYER-2", "STAB-3", "FWD-1")

    def resized(rule: Any, scales: list[float], **attributes: Any) -> Callable[[Net], Any]:
        return lambda net: net.node("Resize", [image(net, (1, 2, 2, 3)), "", np.array(scales)], rule, **attributes)

    yield case(
        "resize/nearest", own, "Nearest neighbours are copies: ROUTE-1.", resized(None, [1.0, 1.0, 2.0, 2.0], mode="nearest"),
        ("RepeatedIndex",),
    )  # fmt: skip
    yield case(
        "resize/nearest_floor",
        own,
        "Nearest neighbours, counted from the corner and rounded down, one axis times 3.",
        resized(
            None,
            [1.0, 1.0, 3.0, 2.0],
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        ),
        ("RepeatedIndex",),
    )
    rules = {"norm": NORM, "epsilon": EPSILON, "alpha2beta1": ("alpha_beta", AB), "z_plus": ("z_plus", ZP)}
    for slug, mode, how in (
        ("linear", "linear", "half_pixel"),
        ("linear_asymmetric", "linear", "asymmetric"),
        ("cubic", "cubic", "half_pixel"),
    ):
        for name, rule in rules.items():
            yield case(
                f"resize/{slug}_{name}",
                own,
                f"Resize, {mode}, {how}, by {name}: a linear map with fixed weights.",
                resized(rule, [1.0, 1.0, 2.0, 2.0], mode=mode, coordinate_transformation_mode=how),
                ("Resample",),
                exact=False,
            )


def recurrent(
    op: str,
    rule: Any,
    outputs: Callable[[Net, list[str]], Any],
    time: int = 3,
    initial: bool = False,
    **attributes: Any,
) -> Callable[[Net], Any]:
    """Return what enters a recurrent node over x (sample, time, 2) with a state of 2; `outputs` picks of Y, Y_h and Y_c."""
    gates, states = {"LSTM": (4, 2), "GRU": (3, 1), "RNN": (1, 1)}[op]
    directions = 2 if attributes.get("direction") == "bidirectional" else 1

    def build(net: Net) -> Any:
        s = net.numbers
        x = net.node("Transpose", [image(net, (2, time, 2))], perm=[1, 0, 2])
        w, r, b = (s.dyadic((directions, *shape)) for shape in ((gates * 2, 2), (gates * 2, 2), (gates * 4,)))
        given: list[Any] = [x, w, r, b]
        if initial:
            h = net.node("Transpose", [net.input(s.dyadic((2, directions, 2)), "h")], perm=[1, 0, 2])
            given += ["", h, *([net.node("Identity", [h])] if states == 2 else [])]
        made = net.node(op, given, rule, outputs=1 + states, hidden_size=2, **attributes)
        return outputs(net, made)

    return build


def last_state(net: Net, made: list[str]) -> Any:
    """Return Y_h as (sample, directions * 2)."""
    return net.node("Flatten", [net.node("Transpose", [made[1]], perm=[1, 0, 2])])


def sequence(net: Net, made: list[str]) -> Any:
    """Return Y as (sample, time, directions * 2), with a dense layer behind it."""
    y = net.node("Reshape", [net.node("Transpose", [made[0]], perm=[2, 0, 1, 3]), np.array([0, 0, -1])])
    return net.node("MatMul", [y, net.numbers.dyadic((2, 2))], EPSILON)


def cell_state(net: Net, made: list[str]) -> Any:
    """Return Y_c as (sample, 2)."""
    return net.node("Flatten", [net.node("Transpose", [made[2]], perm=[1, 0, 2])])


def _recurrent() -> Iterator[Draft]:
    own = ("REC-1", "GRAPH-1", "SEED-1", "BATCH-1")
    for slug, comment, build in (
        ("lstm", "The last state of an LSTM: gates get nothing.", recurrent("LSTM", BY_SIGNALS, last_state)),
        ("lstm_half", "The same with products in halves.", recurrent("LSTM", IN_HALVES, last_state, 2)),
        ("lstm_sequence", "All states of an LSTM.", recurrent("LSTM", BY_SIGNALS, sequence)),
        ("lstm_cell", "The last cell of an LSTM.", recurrent("LSTM", BY_SIGNALS, cell_state)),
        ("lstm_initial", "An LSTM with a state to start from.", recurrent("LSTM", BY_SIGNALS, last_state, 2, initial=True)),
        ("lstm_reverse", "An LSTM that runs backwards.", recurrent("LSTM", BY_SIGNALS, last_state, direction="reverse")),
        ("lstm_both", "An LSTM in both directions.", recurrent("LSTM", BY_SIGNALS, last_state, 2, direction="bidirectional")),
        ("gru", "The last state of a GRU, the reset before the matrix.", recurrent("GRU", BY_SIGNALS, last_state)),
        ("gru_half", "The same with products in halves.", recurrent("GRU", IN_HALVES, last_state, 2)),
        ("gru_late", "A GRU that resets late.", recurrent("GRU", BY_SIGNALS, last_state, linear_before_reset=1)),
        ("gru_initial", "A GRU with a state to start from.", recurrent("GRU", BY_SIGNALS, last_state, 2, initial=True)),
        ("rnn", "The last state of an RNN.", recurrent("RNN", BY_SIGNALS, last_state)),
        ("rnn_sequence", "All states of an RNN.", recurrent("RNN", BY_SIGNALS, sequence)),
        ("rnn_initial", "An RNN with a state to start from.", recurrent("RNN", BY_SIGNALS, last_state, 2, initial=True)),
    ):  # fmt: skip
        yield _measured(f"recurrence/native_{slug}", own, comment, build, ("SharedWeights", "Sequence"))


def _refused() -> Iterator[Draft]:
    for slug, kind, rule in (
        ("z_plus_on_layer_norm", "layer", ("z_plus", ZP)),
        ("alpha_beta_on_group_norm", "group", ("alpha_beta", AB)),
    ):
        net = Net(f"reject/{slug}")
        y = normalised(net, kind, rule)
        net.output(y)
        yield Draft(
            f"reject/{slug}",
            "C4",
            ("NORM-2", "COMP-2"),
            net,
            "A rule that takes weights apart by sign, where the mean is subtracted.",
            {y: net.numbers.nonzero(NORMS[kind][1])},
            ("Reject",),
            "measured",
            "reject",
            exact=False,
        )


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _norms()
    yield from _refused()
    yield from _einsums()
    yield from _resizes()
    yield from _recurrent()
