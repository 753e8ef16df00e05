"""Relevance of quantised models: one network in every spelling, against the literal oracle and against its float twin."""

import warnings
from typing import Any

import numpy as np
import onnx
import oracle
import pytest
from coverage_tools import assert_closed, net
from models import draw, model, onnxruntime

import reflrp
from reflrp import rules as r

warnings.simplefilter("ignore", DeprecationWarning)

X, N = (3, 6), 8
S, Z = np.float32(0.031), np.uint8(117)  # of the input
H, G = np.float32(0.043), np.uint8(0)  # of what is hidden, behind a Relu that is left to the rounding
W, V = (np.round(draw(*shape, seed=i) * 40).astype(np.int8) for i, shape in enumerate(((6, N), (N, 4)), 11))
SW, SV = (
    np.float32(0.011),
    np.abs(draw(4, seed=5)) * np.float32(0.01) + np.float32(0.004),
)  # the second has one a column
B = np.round(draw(N, seed=6) * 900).astype(np.int32)
BIAS = (B * (S.astype(float) * SW)).astype(np.float32)

Q1, Q2 = "q = QuantizeLinear(x, s, z)", "p = QuantizeLinear(a, h, g)"
SPELLINGS = {
    "QDQ": f"{Q1} d = DequantizeLinear(q, s, z) w = DequantizeLinear(W, sw) b = DequantizeLinear(B, sb) a = Gemm(d, w, b)"
    f"{Q2} e = DequantizeLinear(p, h, g) v = DequantizeLinear <axis = 1>(V, sv) y = MatMul(e, v)",
    "QDQ with its Relu": f"{Q1} d = DequantizeLinear(q, s, z) w = DequantizeLinear(W, sw) b = DequantizeLinear(B, sb)"
    f"c = Gemm(d, w, b) a = Relu(c) {Q2} e = DequantizeLinear(p, h, g) v = DequantizeLinear <axis = 1>(V, sv) y = MatMul(e, v)",
    "QGemm": f"{Q1} p = com.microsoft.QGemm(q, s, z, W, sw, zw, B, h, g)"
    "y = com.microsoft.QGemm(p, h, g, V, sv, zv)",
    "products of integers": f"{Q1} i = MatMulInteger(q, W, z) f = Cast <to = 1>(i) c = Mul(f, ssw) a = Add(c, bias)"
    f"{Q2} j = MatMulInteger(p, V, g) k = Cast <to = 1>(j) l = Mul(k, h) y = Mul(l, sv)",
    "to float": f"{Q1} a = com.microsoft.MatMulIntegerToFloat(q, W, s, sw, z, zw, bias) {Q2}"
    "y = com.microsoft.MatMulIntegerToFloat(p, V, h, sv, g, zv)",
    "by hand": "t = Div(x, s) u = Round(t) n = Add(u, zf) m = Clip(n, nought, most) q = Cast <to = 2>(m) o = Cast <to = 6>(q)"
    f"oo = Sub(o, zi) f = Cast <to = 1>(oo) d = Mul(f, s) w = DequantizeLinear(W, sw) a = Gemm(d, w, bias) {Q2}"
    "k = Cast <to = 1>(p) e = Mul(k, h) v = DequantizeLinear <axis = 1>(V, sv) y = MatMul(e, v)",
}  # fmt: skip
GIVEN = {
    "s": S, "z": Z, "h": H, "g": G, "W": W, "V": V, "sw": SW, "sv": SV, "B": B, "sb": S * SW, "bias": BIAS,
    "zw": np.int8(0), "zv": np.zeros(4, np.int8), "ssw": S * SW, "zf": np.float32(Z), "zi": np.int32(Z),
    "nought": np.float32(0), "most": np.float32(255),
}  # fmt: skip


def spelled(name: str, **other: Any) -> onnx.ModelProto:
    body = SPELLINGS[name]
    words = set("".join(c if c.isalnum() else " " for c in body).split())
    return net(body, "float[3,6] x", opset=13, **{k: v for k, v in (GIVEN | other).items() if k in words})


def literal() -> tuple[Any, Any, Any, Any]:
    """Return the network's real activations, and its weights and bias, with loops over numbers and nothing of reflrp."""
    x = draw(*X, seed=3)
    a = [[_rounded(float(v), S, int(Z)) for v in row] for row in x]
    w, v = W * float(SW), V * SV.astype(float)
    z = [[sum(row[j] * w[j, k] for j in range(6)) + float(BIAS[k]) for k in range(N)] for row in a]
    return a, [[_rounded(u, H, int(G)) for u in row] for row in z], w, v


def _rounded(x: float, scale: np.float32, zero: int) -> float:
    q = int(np.rint(np.float32(x) / scale)) + zero  # in float32, half to even
    return (min(max(q, 0), 255) - zero) * float(scale)


LAYERS: dict[str, Any] = {
    "epsilon": (r.Epsilon(1e-6), lambda M, a, R: oracle.epsilon(M, a, R, oracle.signed(1e-6))),
    "epsilon that is large": (r.Epsilon(0.25), lambda M, a, R: oracle.epsilon(M, a, R, oracle.signed(0.25))),
    "gamma": (r.Gamma(0.3, stabilizer=1e-9), lambda M, a, R: oracle.gamma(M, a, R, oracle.signed(1e-9), 0.3)),
    "z+": (r.ZPlus(stabilizer=1e-9), lambda M, a, R: oracle.z_plus(M, a, R, oracle.signed(1e-9))),
    "w squared": (r.WSquare(stabilizer=1e-9), lambda M, a, R: oracle.w_square(M, a, R, oracle.signed(1e-9))),
    "box": (
        r.ZBox(-4.0, 4.0, stabilizer=1e-9),
        lambda M, a, R: oracle.z_box(M, a, R, oracle.signed(1e-9), [-4.0] * len(a), [4.0] * len(a)),
    ),
}


@pytest.mark.parametrize("rule", LAYERS)
@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_is_the_literal_sum(name: str, rule: str) -> None:
    """Rules see real units, however the file writes them, so that a stabiliser or a box means the same."""
    chosen, literally = LAYERS[rule]
    x, init = draw(*X, seed=3), draw(3, 4, seed=9).astype(float)
    proto = spelled(name)
    found = reflrp.load(proto).run(x)["y"]
    np.testing.assert_allclose(found, onnxruntime(proto, {"x": x})["y"], rtol=1e-5, atol=1e-6)
    e = reflrp.explain(proto, x, chosen, init=init)
    assert_closed(e)
    a, hidden, w, v = literal()
    first, second = oracle.dense((), w, BIAS.astype(float)), oracle.dense((), v)
    for i in range(3):
        R = literally(second, hidden[i], init[i].tolist())
        want = literally(first, a[i], R)
        np.testing.assert_allclose(e.relevance[i], want, rtol=1e-4 if name == "by hand" else 2e-5, atol=1e-6)


@pytest.mark.parametrize(
    "preset", ["epsilon_plus_flat", "attnlrp", "gradient", "guided_backprop", "deconvnet", "beta_smooth", "lstm"]
)
@pytest.mark.parametrize("name", [n for n in SPELLINGS if n not in ("QDQ with its Relu", "by hand")])
def test_every_spelling_in_every_preset(name: str, preset: str) -> None:
    """A Relu that was left to the rounding is one; a preset of gradients sees steps as the line through them."""
    x, init = draw(*X, seed=3), draw(3, 4, seed=9).astype(float)
    want = reflrp.explain(spelled("QDQ with its Relu"), x, preset, init=init)
    e = reflrp.explain(spelled(name), x, preset, init=init)
    scale = np.abs(want.relevance).max()
    np.testing.assert_allclose(e.relevance, want.relevance, rtol=1e-5, atol=1e-6 * scale)


def test_finer_steps_come_closer_to_the_float_network() -> None:
    """The relevance of the quantised model goes to that of its float twin as its steps go to zero."""
    x, init = draw(*X, seed=3), draw(3, 4, seed=9).astype(float)
    body = "a = Gemm(x, w, bias) p = Relu(a) y = MatMul(p, v)"
    weights = {"w": (W * SW).astype(np.float32), "v": (V * SV).astype(np.float32), "bias": BIAS}
    twin = reflrp.explain(net(body, "float[3,6] x", **weights), x, "epsilon_plus_flat", init=init)
    errors = []
    for bits in (6, 8, 12, 16):
        step = np.float32(8 / 2**bits)
        fine = {"s": step, "h": step, "z": np.int16(0), "g": np.int16(0)}
        proto = net(
            "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) a = Gemm(d, w, bias) c = Relu(a)"
            "p = QuantizeLinear(c, h, g) e = DequantizeLinear(p, h, g) y = MatMul(e, v)",
            "float[3,6] x", opset=21, **weights, **fine,
        )  # fmt: skip
        e = reflrp.explain(proto, x, "epsilon_plus_flat", init=init)
        errors.append(np.abs(e.relevance - twin.relevance).max() / np.abs(twin.relevance).max())
    assert errors[-1] < 1e-3
    assert errors[0] > errors[1] > errors[2] > errors[3], errors


def test_clipped_entries_keep_their_relevance() -> None:
    proto = net("q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)", "float[1,4] x", s=S, z=Z)
    x = np.array([[-100, -1, 1, 100]], np.float32)
    init = np.array([[1.0, 2, 3, 4]])
    assert reflrp.explain(proto, x, "epsilon", init=init).relevance.tolist() == init.tolist()
    found = reflrp.explain(proto, x, "gradient", init=init).relevance
    np.testing.assert_allclose(found, [[0, 2, 3, 0]], rtol=1e-6)


def test_a_change_of_units_takes_no_rule_but_the_chain_rule() -> None:
    """Ratio would give q / (q - z) times the relevance, and a sum's rule would leave a share in the zero point."""
    proto = net("q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)", "float[1,4] x", s=S, z=Z)
    x, init = draw(1, 4), draw(1, 4, seed=9).astype(float)
    rules = reflrp.composites.Composite(((reflrp.composites.matchers.anything(), r.Ratio()),))
    assert reflrp.explain(proto, x, rules, init=init).relevance.tolist() == init.tolist()


def test_a_gate_is_seen_through_its_rounding() -> None:
    """sigmoid(a) * b, both rounded: the signal takes all."""
    parts = "g = Sigmoid(x) q = QuantizeLinear(g, s, z) d = DequantizeLinear(q, s, z)"
    parts += "p = QuantizeLinear(u, s, z) e = DequantizeLinear(p, s, z) y = Mul(d, e)"
    proto = net(parts, "float[1,4] x, float[1,4] u", s=np.float32(1 / 64), z=Z)
    e = reflrp.explain(proto, {"x": draw(1, 4), "u": draw(1, 4, seed=2)}, "lstm", init=np.ones((1, 4)))
    assert not e.relevances["x"].any()
    assert e.relevances["u"].tolist() == [[1, 1, 1, 1]]


def test_a_rounded_softmax_at_the_end_is_stripped() -> None:
    tail = "q = QuantizeLinear(p, s, z) y = DequantizeLinear(q, s, z)"
    proto = net(
        f"a = MatMul(x, w) p = Softmax(a) {tail}", "float[2,4] x", w=draw(4, 3), s=np.float32(1 / 255), z=np.uint8(0)
    )
    want = reflrp.explain(
        net("a = MatMul(x, w) y = Softmax(a)", "float[2,4] x", w=draw(4, 3)), draw(2, 4), "epsilon", target=1
    )
    e = reflrp.explain(proto, draw(2, 4), "epsilon", target=1)
    np.testing.assert_allclose(e.relevance, want.relevance, rtol=1e-12)
    assert "the final Softmax" in " ".join(e.notes)


def test_a_zero_point_that_is_taken_off_by_hand_keeps_nothing() -> None:
    """Add z and Sub z around the rounding are a change of units; an Add that nobody takes off is the file's own."""
    hand = "t = Div(x, s) u = Round(t) n = Add(u, z) m = Clip(n, lo, hi)"
    given = {"s": S, "z": np.float32(100), "lo": np.float32(0), "hi": np.float32(255)}
    x, init = draw(2, 4), np.ones((2, 4))
    whole = net(f"{hand} d = Sub(m, z) y = Mul(d, s)", "float[2,4] x", **given)
    e = reflrp.explain(whole, x, "epsilon", init=init)
    where = e.output != 0
    np.testing.assert_allclose(e.relevance[where], 1, rtol=1e-4)
    half = reflrp.explain(net(f"{hand} y = Mul(m, s)", "float[2,4] x", **given), x, "epsilon", init=init)
    assert half.conservation.totals["bias"] > 4


@pytest.mark.parametrize(
    "body",
    [
        "r = Round(x) y = ReduceMin<axes = [1], keepdims = 1>(r)",  # which is -max(-r)
        "r = Round(x) n = Neg(r) p = Relu(n) y = Neg(p)",
        "r = Round(x) h = Mul(r, half) p = Relu(h) y = Mul(p, two)",
        "p = Relu(x) n = Neg(p) r = Round(n) y = Neg(r)",
    ],
)
def test_factors_behind_a_rounding_are_no_scales(body):
    """A scale is positive, and is taken out before numbers are rounded."""
    net = model(body, half=np.float32(0.5), two=np.float32(2))
    e = reflrp.explain(net, np.float32([[-2.4, 0.3, 1.1, -3.2]]), reflrp.rules.Epsilon())
    assert sum(isinstance(rule, reflrp.rules.Norm) for rule in e.rules.values()) == 2


def test_a_shift_that_others_read_is_a_number_of_the_file():
    """A zero point that is taken off again on one way is a real constant on the other."""
    body = "r = Round(x) p = Add(r, three) a = MatMul(p, v)"
    given = {"three": np.float32(3), "v": draw(4, 3)}
    alone = model(f"{body} y = Identity(a)", **given)
    twice = model(f"{body} q = Sub(p, three) u = MatMul(q, k) y = Add(a, u)", k=np.zeros((4, 3), np.float32), **given)
    x = 2 * draw(1, 4)
    found = [reflrp.explain(m, x, "epsilon", target=0, preprocess="absorb").relevance for m in (alone, twice)]
    assert np.allclose(*found, rtol=1e-5, atol=1e-5)
