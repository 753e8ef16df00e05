"""Level C2: pointwise functions and products of values. Level C4: normalisation, softmax, attention, recurrence, integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from reflrp.conformance.generate.draft import NONE, SIGNED, TINY, Draft
from reflrp.conformance.generate.graphs import EPSILON, NORM, PASS, case, gemm, image
from reflrp.conformance.generate.net import Net

HALF = ("half", {"over": "active", "stabilizer": SIGNED})
SIGNAL = ("signal_takes_all", {"signal": "auto", "stabilizer": SIGNED})
UNIFORM = ("epsilon_uniform", {"stabilizer": SIGNED})
TAYLOR = ("taylor", {"over": "own"})
STOP: tuple[str, dict[str, Any]] = ("stop", {})
GRADIENT: tuple[str, dict[str, Any]] = ("gradient", {})


def drafts() -> Iterator[Draft]:
    """Yield all of them."""
    yield from _functions()
    yield from _products()
    yield from _norms()
    yield from _softmax()
    yield from _attention()
    yield from _recurrence()
    yield from _integers()


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
        yield case(f"relu/{name}", clauses, f"A ReLU by {name}, inputs of 0 among them.", lambda net, r=rule: net.node("Relu", [net.input(x)], r), ("Kink",), basis=basis, exact=exact)
        yield case(f"relu/{name}_inner", (*clauses, "EPS-1"), f"A ReLU by {name} behind and before dense layers.", lambda net, r=rule: gemm(net, net.node("Relu", [gemm(net, image(net, (2, 3)), 3, 4)], r), 4, 2), basis="network" if exact else "measured", exact=exact)
    leaky = {"pass": PASS, "gradient": GRADIENT, "ratio": ("ratio", {"stabilizer": SIGNED})}
    for name, rule in leaky.items():
        clauses = ("PASS-1", "SEED-1") if name == "pass" else rules[name][1]
        yield case(f"leaky_relu/{name}", clauses, f"A LeakyRelu by {name}.", lambda net, r=rule: net.node("LeakyRelu", [net.input(x)], r, alpha=0.25), ("Kink",), basis="network")
    for op in ("Sigmoid", "Tanh", "Gelu", "Exp"):
        for name, rule in leaky.items():
            clauses = ("PASS-1", "SEED-1") if name == "pass" else rules[name][1]
            yield case(f"{op.lower()}/{name}", clauses, f"{op} by {name}.", lambda net, r=rule, op=op: net.node(op, [net.input(net.numbers.dyadic((2, 4), -16, 16))], r), ("Measured",), basis="measured", exact=False)


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
        yield case(f"mul/{name}", more, f"Mul of two inputs by {name}.", lambda net, r=rule: net.node("Mul", _two(net), r), ("MultiInput",))
        yield case(f"mul/{name}_broadcast", more, f"Mul by {name}, one operand broadcast.", lambda net, r=rule: net.node("Mul", _two(net, (2, 2, 3), (2, 1, 3)), r), ("MultiInput", "Broadcast"))
        if name != "uniform":
            yield case(f"matmul/{name}", more, f"MatMul of two inputs by {name}.", lambda net, r=rule: net.node("MatMul", _two(net, (2, 2, 3), (2, 3, 2)), r), ("MultiInput",))
    for name, rule in (("half", HALF), ("epsilon_uniform", UNIFORM)):
        r0 = (rule[0], {**rule[1], "stabilizer": NONE})
        yield case(f"matmul/{name}_zero", more, f"MatMul by {name} without epsilon, a product of 0 among them.", lambda net, r=r0: net.node("MatMul", [net.input(np.array([[[1.0, -1.0], [0.5, 2.0]]])), net.input(np.array([[[2.0, 1.0], [2.0, -0.5]]]), "t")], r), ("MultiInput", "ExactZero"))

    def masked(rule: Any) -> Callable[[Net], Any]:
        def build(net: Net) -> Any:
            x, t = _two(net)
            mask = net.node("Cast", [net.node("Greater", [t, np.array(0.0)])], to=1)
            return [net.node("Mul", [x, mask], rule), net.node("Identity", [t])]

        return build

    for over in ("active", "all"):
        yield case(f"mul/mask_half_{over}", prod, f"An operand that carries no relevance, over={over}.", masked(("half", {"over": over, "stabilizer": SIGNED})), ("MultiInput", "Mask"), exact=False)
        yield case(f"mul/mask_uniform_{over}", prod, f"The same by uniform, over={over}.", masked(("uniform", {"over": over})), ("MultiInput", "Mask"), exact=False)
    yield case("mul/mask_signal", ("PROD-3", "PROD-1", "SEED-1"), "A mask leaves all to the signal.", masked(SIGNAL), ("MultiInput", "Mask"), exact=False)

    def gated(gate: str, other: str, rule: Any) -> Callable[[Net], Any]:
        def build(net: Net) -> Any:
            x, t = _two(net)
            one = net.node(gate, [x], PASS)
            two = net.node(other, [t], PASS) if other else t
            return net.node("Mul", [one, two], rule)

        return build

    for slug, gate, other in (("sigmoid", "Sigmoid", ""), ("sigmoid_tanh", "Sigmoid", "Tanh"), ("tanh_sigmoid", "Tanh", "Sigmoid"), ("tanh", "Tanh", ""), ("both", "Sigmoid", "Sigmoid"), ("relu", "Relu", "")):
        rational = slug == "relu"
        yield case(f"gate/{slug}", ("PROD-3", "PROD-1"), f"The gate is found: {gate} times {other or 'a plain value'}.", gated(gate, other, SIGNAL), ("MultiInput", "Gate"), "C2", "dyadic" if rational else "measured", rational)
    yield case("gate/activated", ("PROD-3", "PROD-1"), "With signal=activated a ReLU is a gate, too.", gated("Relu", "", ("signal_takes_all", {"signal": "activated", "stabilizer": SIGNED})), ("MultiInput", "Gate"))
    yield case("gate/scaled", ("PROD-3", "PROD-1"), "A gate behind a scale and a transpose.", lambda net: net.node("Mul", [net.node("Transpose", [net.node("Mul", [net.node("Sigmoid", [net.input(net.numbers.dyadic((2, 3, 2)))], PASS), np.array(2.0)], EPSILON)], perm=[0, 2, 1]), net.input(net.numbers.dyadic((2, 2, 3)), "t")], SIGNAL), ("MultiInput", "Gate"), "C2", "measured", False)


def _layernorm(net: Net, x: str, size: int, rule: Any, bias: bool = True) -> str:
    s = net.numbers
    given = [x, s.nonzero((size,))] + ([s.nonzero((size,))] if bias else [])
    return str(net.node("LayerNormalization", given, rule, axis=-1, epsilon=0.0625))


def _norms() -> Iterator[Draft]:
    own = ("NORM-2", "PASS-1", "GRAD-1", "RATIO-1", "STOP-1", "SEED-1")
    for name, rule in (("pass", PASS), ("epsilon", EPSILON), ("gradient", GRADIENT), ("ratio", ("ratio", {"stabilizer": SIGNED})), ("stop", STOP)):
        yield case(f"layer_norm/{name}", own, f"LayerNormalization by {name}.", lambda net, r=rule: _layernorm(net, image(net, (2, 4)), 4, r), ("Measured",), "C4", "measured", False)
        yield case(f"layer_norm/{name}_rows", own, f"LayerNormalization of rows by {name}, without a bias.", lambda net, r=rule: _layernorm(net, image(net, (1, 2, 3)), 3, r, bias=False), ("Measured", "NoBias"), "C4", "measured", False)


def _softmax() -> Iterator[Draft]:
    both = ("SMAX-1", "SMAX-2", "GRAD-1", "STOP-1", "RATIO-1")

    def plain(rule: Any, axis: int) -> Callable[[Net], Any]:
        return lambda net: gemm(net, net.node("Softmax", [image(net, (2, 4))], rule, axis=axis), 4, 2)

    for name, rule in (("taylor", TAYLOR), ("gradient", GRADIENT), ("stop", STOP), ("ratio", ("ratio", {"stabilizer": TINY}))):
        yield case(f"softmax/{name}", both, f"Softmax by {name}.", plain(rule, -1), ("Measured",), "C4", "measured", False)
    yield case("softmax/axis_1", both, "Softmax over an axis that is not the last, its sum over that axis.", lambda net: net.node("MatMul", [net.node("Softmax", [image(net, (1, 3, 2))], TAYLOR, axis=1), net.numbers.dyadic((2, 2))], EPSILON), ("Measured",), "C4", "measured", False)
    yield case("softmax/axis_1_over_last", both, "The same with over=last: the sum is over the last axis all the same.", lambda net: net.node("MatMul", [net.node("Softmax", [image(net, (1, 3, 2))], ("taylor", {"over": "last"}), axis=1), net.numbers.dyadic((2, 2))], EPSILON), ("Measured",), "C4", "measured", False)

    def masked(rule: Any) -> Callable[[Net], Any]:
        def build(net: Net) -> Any:
            x = net.node("Add", [image(net, (1, 2, 3)), np.array([[0.0, 0.0, -np.inf], [0.0, -np.inf, -np.inf]])], NORM)
            p = net.node("Softmax", [x], TAYLOR, axis=-1)
            return net.node("MatMul", [p, net.numbers.dyadic((3, 2))], rule)

        return build

    yield case("softmax/mask", both, "Entries that a mask of -infinity hides get nothing.", masked(EPSILON), ("Measured", "Mask"), "C4", "measured", False)
    yield case("softmax/mask_flat", both, "The same where relevance comes to what is hidden.", masked(("flat", {"stabilizer": SIGNED})), ("Measured", "Mask"), "C4", "measured", False)


def _attention() -> Iterator[Draft]:
    own = ("ATT-1", "SMAX-1", "PROD-2", "PROD-4", "GRAPH-1", "NORM-2")

    def block(product: Any, softmax: Any, mask: bool, norm: Any = None, heads: int = 1) -> Callable[[Net], Any]:
        def build(net: Net) -> Any:
            x = image(net, (1, 3, 4))
            a = _layernorm(net, x, 4, norm) if norm else x
            q, k, v = (net.node("MatMul", [a, net.numbers.dyadic((4, 4))], EPSILON) for _ in "qkv")
            if heads > 1:
                q, k, v = (net.node("Transpose", [net.node("Reshape", [y, np.array([0, 3, 2, 2])])], perm=[0, 2, 1, 3]) for y in (q, k, v))
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
        ("values_only", block(("signal_takes_all", {"signal": 1, "stabilizer": SIGNED}), STOP, mask=False), "One head: the attention weights held constant."),
        ("masked", block(HALF, TAYLOR, mask=True), "A causal mask."),
        ("heads", block(HALF, TAYLOR, mask=True, heads=2), "Two heads, and a causal mask."),
        ("layer_norm", block(HALF, TAYLOR, mask=False, norm=PASS), "Behind a LayerNormalization that is passed."),
        ("layer_norm_epsilon", block(HALF, TAYLOR, mask=False, norm=EPSILON), "Behind a LayerNormalization by LRP-epsilon."),
    ):
        yield case(f"attention/{slug}", own, comment, build, ("Measured", *(("Mask",) if "mask" in slug or slug == "heads" else ())), "C4", "measured", False)


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

    yield case("recurrence/relu", own, "Three steps with shared weights: each is a layer of its own.", rnn("Relu"), ("SharedWeights", "Sequence"), "C4", "network")
    yield case("recurrence/tanh", own, "The same with tanh.", rnn("Tanh"), ("SharedWeights", "Sequence", "Measured"), "C4", "measured", False)
    yield case("recurrence/lstm", own, "Two steps of an LSTM: gates get nothing.", lstm(SIGNAL), ("SharedWeights", "Sequence", "Gate", "Measured"), "C4", "measured", False)
    yield case("recurrence/lstm_half", ("PROD-1", "REC-1", "GRAPH-1", "NORM-1"), "The same with products in halves.", lstm(HALF), ("SharedWeights", "Sequence", "Measured"), "C4", "measured", False)

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
        yield case(f"quantised/{slug}", own, f"Rounding to {zero.dtype} passes relevance, zero point {int(zero)}.", lambda net, z=zero: rounded(net, net.input(net.numbers.dyadic((2, 4), -40, 40, 16)), np.array(z)), ("Integers",), "C4", "dyadic", False)
        yield case(f"quantised/{slug}_dense", own, "Between two layers.", lambda net, z=zero: gemm(net, rounded(net, gemm(net, image(net, (2, 3)), 3, 4), np.array(z)), 4, 2), ("Integers",), "C4", "network", False)
