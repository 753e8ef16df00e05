"""Regions whose values leave those of a known function far from zero, near zero, or by a constant: what they become."""

import numpy as np
import pytest
from models import draw, ints, model
from onnx.reference import ReferenceEvaluator

import reflrp

ROW = np.array([[0.3, -1.2, 0.7, 2.0], [-0.4, 0.1, 0.9, -2.0]])
STD = "m = ReduceMean(x, a) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, a) s = Sqrt(v) t = Add(s, e) y = Div(d, t)"
RMS = "q = Mul(x, x) v = ReduceMean(q, a) s = Sqrt(v) t = Add(s, e) y = Div(x, t)"
LN = "m = ReduceMean(x, a) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, a) t = Add(v, e) s = Sqrt(t) n = Div(d, s)"
UNIT = "n = ReduceL2(x, a) t = Clip(n, e) y = Div(x, t)"
FLOOR = "q = Mul(x, x) v = ReduceMean(q, a) t = Clip(v, e) s = Sqrt(t) y = Div(x, s)"
ZERO_ROW = ROW * [[0], [1]]
CASES = {
    "epsilon outside the root": (STD, {"a": ints(-1), "e": 1e-6}, 1e-3 * ROW),
    "rms, epsilon outside the root": (RMS, {"a": ints(-1), "e": 1e-6}, 1e-3 * ROW),
    "F.normalize, a row of zeros": (UNIT, {"a": ints(-1), "e": 1e-12}, ZERO_ROW),
    "F.normalize, a small row": (UNIT, {"a": ints(-1), "e": 1e-2}, 1e-3 * ROW),
    "floor under the root": (FLOOR, {"a": ints(-1), "e": 1e-6}, 1e-4 * ROW),
    "layer, clipped": (LN + " y = Clip(n, lo, hi)", {"a": ints(-1), "e": 1e-5, "lo": -0.5, "hi": 0.5}, ROW),
    "layer of clipped values": (
        "c = Clip(x, lo, hi) " + LN.replace("(x,", "(c,") + " y = Identity(n)",
        {"a": ints(-1), "e": 1e-5, "lo": -1e4, "hi": 1e4},
        1e4 * ROW,
    ),
    "rms, its reciprocal clipped": (
        "q = Mul(x, x) v = ReduceMean(q, a) s = Sqrt(v) r = Reciprocal(s) c = Clip(r, , hi) y = Mul(x, c)",
        {"a": ints(-1), "hi": 1000.0},
        1e-4 * ROW,
    ),
    "an epsilon for each row": (LN + " y = Identity(n)", {"a": ints(-1), "e": np.array([[1e-6], [1e-3]])}, 1e-3 * ROW),
    "a negative epsilon": (LN + " y = Identity(n)", {"a": ints(-1), "e": -1e-7}, 1e-3 * ROW),
    "two epsilons": (
        LN.replace("s = Sqrt(t)", "u = Add(t, e) s = Sqrt(u)") + " y = Identity(n)",
        {"a": ints(-1), "e": 1e-6},
        1e-3 * ROW,
    ),
    "over the batch, weights woven in": (
        "q = Mul(x, x) v = ReduceMean(q, a) t = Add(v, e) s = Sqrt(t) r = Reciprocal(s) i = Mul(r, w) y = Mul(x, i)",
        {"a": ints(0), "e": 1e-5, "w": draw(4, seed=8).astype(float)},
        ROW,
    ),
    "silu and what begins far out": (
        "s = Sigmoid(x) m = Mul(x, s) t = ThresholdedRelu<alpha = 100.0>(x) y = Add(m, t)",
        {},
        200 * ROW,
    ),
    "silu and a little more": ("s = Sigmoid(x) m = Mul(x, s) k = Mul(x, e) y = Add(m, k)", {"e": 1e-6}, 30 * ROW),
    "silu and a small cube": (
        "s = Sigmoid(x) m = Mul(x, s) q = Mul(x, x) c = Mul(q, x) k = Mul(c, e) y = Add(m, k)",
        {"e": 1e-10},
        1e4 * ROW,
    ),
    "silu, clipped": ("s = Sigmoid(x) m = Mul(x, s) y = Clip(m, lo, hi)", {"lo": -20.0, "hi": 20.0}, 20 * ROW),
    "gelu, clipped": ("g = Gelu(x) y = Clip(g, lo, hi)", {"lo": -100.0, "hi": 100.0}, 100 * ROW),
    "log(softplus + epsilon)": ("s = Softplus(x) t = Add(s, e) y = Log(t)", {"e": 1e-5}, 15 * ROW),
    "log(sigmoid + epsilon)": ("s = Sigmoid(x) t = Add(s, e) y = Log(t)", {"e": 1e-6}, 15 * ROW),
    "1 / (softplus + epsilon)": ("s = Softplus(x) t = Add(s, e) y = Reciprocal(t)", {"e": 1e-5}, 15 * ROW),
}


def net(body, inputs="double[N,4] x", **weights):
    weights = {k: v if isinstance(v, np.ndarray) else np.float64(v) for k, v in weights.items()}
    return model(body, inputs, "double[] y", opset=20, **weights)


@pytest.mark.parametrize("name", CASES)
def test_values_stay(name):
    body, weights, x = CASES[name]
    proto = net(body, **weights)
    with np.errstate(all="ignore"):
        (wanted,) = ReferenceEvaluator(proto).run(None, {"x": x})
    found = reflrp.load(proto).run(x)["y"]
    assert np.abs(found - wanted).max() <= 1e-6 * np.abs(wanted).max()


def only(proto, *shape):
    (node,) = reflrp.load(proto).graph({"x": shape}).nodes
    return node


def test_a_floor_is_the_norms():
    """torch's F.normalize: x / max(|x|, e); and the same bound under the root."""
    node = only(net(UNIT, a=ints(-1), e=1e-12), 2, 4)
    assert (node.op_type, node.op.floor, node.op.epsilon) == ("L2Norm", 1e-12, 0)
    node = only(net(FLOOR, a=ints(-1), e=1e-6), 2, 4)
    assert (node.op_type, node.op.epsilon) == ("RMSNorm", 0)
    assert np.isclose(node.op.floor, 1e-3, rtol=1e-15)


def test_a_large_epsilon():
    body = "q = Mul(x, x) v = ReduceMean(q, a) t = Add(v, e) s = Sqrt(t) y = Div(x, s)"
    assert only(net(body, a=ints(-1), e=3.0), 2, 4).op.epsilon == 3


def test_what_a_constant_bounds_stays_beside_what_it_bounds():
    body, weights, _ = CASES["silu, clipped"]
    nodes = reflrp.load(net(body, **weights)).graph({"x": (2, 4)}).nodes
    assert [n.op_type for n in nodes] == ["Swish", "Clip"]


G, B = draw(4, seed=1).astype(float), draw(4, seed=2).astype(float)
KERAS = """m = ReduceMean(x, a) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, a) t = Add(v, e) s = Sqrt(t)
    r = Reciprocal(s) i = Mul(r, g) p = Mul(x, i) k = Mul(m, i) o = Sub(b, k) y = Add(p, o)"""


@pytest.mark.parametrize("bias", [B, 0 * B])
def test_weight_and_bias_woven_in(bias):
    """x inv + (b - m inv) with inv = g / sigma, as Keras writes it."""
    x = draw(2, 3, 4).astype(float)
    proto = net(KERAS, "double[N,3,4] x", a=ints(-1), e=1e-3, g=G, b=bias)
    node = only(proto, 2, 3, 4)
    assert (node.op_type, node.op.epsilon, node.op.axes) == ("LayerNorm", 1e-3, (2,))
    assert np.allclose(node.op.w, G, rtol=1e-13)
    assert np.allclose(node.op.b + 0 * B, bias, rtol=1e-12)
    assert np.allclose(reflrp.load(proto).run(x)["y"], ReferenceEvaluator(proto).run(None, {"x": x})[0], rtol=1e-12)


@pytest.mark.parametrize(("shape", "nodes"), [((4,), 1), ((3, 1), 2), ((3, 4), 2)])
def test_what_differs_from_place_to_place_is_no_bias(shape, nodes):
    """A positional embedding behind a normalisation keeps its own relevance."""
    proto = net(
        "n = LayerNormalization(x, g) y = Add(n, b)", "double[N,3,4] x", g=G, b=draw(*shape, seed=3).astype(float)
    )
    assert len(reflrp.load(proto).graph({"x": (2, 3, 4)}).nodes) == nodes


def test_weights_of_channels():
    """Instance normalisation taken apart: means over the places, one weight a channel."""
    body = """m = ReduceMean(x, a) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, a) t = Add(v, e) s = Sqrt(t)
        n = Div(d, s) k = Mul(n, g) y = Add(k, b)"""
    g, b = draw(3, 1, 1, seed=4).astype(float), draw(3, 1, 1, seed=5).astype(float)
    node = only(net(body, "double[N,3,4,5] x", a=ints(2, 3), e=1e-3, g=g, b=b), 2, 3, 4, 5)
    assert np.array_equal(node.op.w, g)
    assert np.array_equal(node.op.b, b)
