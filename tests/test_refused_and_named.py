"""What cannot be explained is refused by name: random numbers, overflowing denominators; and accounts stay right."""

import numpy as np
import pytest
from models import draw, ints, model, onnxruntime

import reflrp
from reflrp import rules

RANDOM = {
    "Bernoulli": "m = Bernoulli(p) y = Mul(x, m)",
    "RandomUniformLike": "m = RandomUniformLike(x) y = Mul(x, m)",
    "RandomNormal": "m = RandomNormal <shape = [3]>() y = Add(x, m)",
    "RandomNormalLike": "m = RandomNormalLike(p) y = Add(x, m)",
    "Multinomial": "m = Multinomial <sample_size = 3>(q) f = Cast <to = 1>(m) y = Add(x, f)",
    "Dropout": "m = Dropout(p, ratio, yes) y = Mul(x, m)",
}


@pytest.mark.parametrize("op", RANDOM)
def test_random_numbers_are_refused(op):
    constants = {"p": np.float32([0.2, 0.5, 0.7]), "q": np.float32([[0.2, 0.8]]), "ratio": np.float32(0.5)}
    proto = model(RANDOM[op], "float[2,3] x", yes=np.array(True), **constants)
    with pytest.raises(reflrp.UnsupportedOperator, match=rf"{op}.*random"):
        reflrp.load(proto).run(draw(2, 3))


@pytest.mark.parametrize("rule", [rules.WSquare(), rules.Gamma(10.0)])
def test_a_denominator_that_overflows_is_named(rule):
    """In float32; relevance over an infinite denominator would be 0 without a word."""
    proto, x = model("[big] y = Gemm(x, w)", w=np.float32([[1e38], [-5e37], [0], [0]])), np.ones((1, 4), np.float32)
    with pytest.raises(reflrp.NonFiniteError, match=r"denominator of node 'big'.*float64"):
        reflrp.explain(proto, x, {"*": rule}, init="one", dtype="float32")
    assert np.isfinite(reflrp.explain(proto, x, {"*": rule}, init="one").relevance).all()


def test_sign_on_a_maximum_drops_what_it_loses():
    """Constants keep what they win; what Sign loses besides is no bias."""
    x, c = np.array([[2.0, -3.0, 1.0, -1.0]]), np.float32([1, 5, -2, -4])
    proto = model("[top] t = Relu(x) [max] y = Max(x, c, t)", c=c)
    e = reflrp.explain(proto, x, {"max": rules.Sign(stabilizer=0)}, init=np.array([[1.0, 2.0, 4.0, 8.0]]))
    # winners 2, 5 (constant), 1, 0; by Sign each gets R / z, and where z = 0 nothing
    row = e.conservation["max"]
    assert (row.passed_on, row.bias, row.dropped) == pytest.approx((1 / 2 + 4 / 1, 2 / 5, 7 - 4.9))
    assert row.stabilizer == pytest.approx(8)


CELLS = {
    "LSTM, both ways": ('h, a, c = LSTM <hidden_size = 2, direction = "bidirectional", clip = 0.25>(f, W, R, B)', 8, 2),
    "GRU, backwards": (
        'h, a = GRU <hidden_size = 2, direction = "reverse", linear_before_reset = 1>(f, W, R, B)',
        6,
        1,
    ),
    "RNN, both ways": ('h, a = RNN <hidden_size = 2, direction = "bidirectional">(f, W, R, B)', 2, 2),
}


@pytest.mark.parametrize("name", CELLS)
def test_recurrent_nodes_without_relevance(name):
    """On a mask: it carries no relevance, and all outputs are what onnxruntime gives."""
    body, gates, ways = CELLS[name]
    text = f"""g = Greater(x, zero) f = Cast <to = 1>(g) {body} r = ReduceSum<keepdims = 0>(h, axes)
        s = ReduceSum<keepdims = 0>(a, front) y = Mul(x, r) z = Add(s, one)"""
    weights = {"W": (ways, gates, 3), "R": (ways, gates, 2), "B": (ways, 2 * gates)}
    scalars = {"zero": np.float32(0), "one": np.float32(1), "axes": ints(0, 1, 2, 3), "front": ints(0, 1, 2)}
    proto = model(text, "float[4,2,3] x", "float[] y, float[] z", **weights, **scalars)
    x = draw(4, 2, 3)
    found, wanted = reflrp.load(proto).run(x), onnxruntime(proto, {"x": x})
    assert all(np.allclose(found[k], wanted[k], atol=1e-5) for k in wanted)
