"""What a recognised node takes in keeps float64's precision, and the nodes that it stands for do not cry wolf on many samples.

The oracle is the network's own formula in NumPy's float64.
"""

import numpy as np
import pytest
from models import draw, ints, model

import reflrp

K = 16
SCALE, BIAS, GAIN = np.abs(draw(K, seed=1)) + np.float32(0.5), draw(K, seed=2), draw(K, seed=3)
NUMBER = np.float32(0.7)
BEHIND = {
    "a scale": ("f = Mul(n, g)", lambda n: n * GAIN),
    "a number": ("f = Mul(n, c)", lambda n: n * np.float64(NUMBER)),
    "a quotient": ("f = Div(n, c)", lambda n: n / np.float64(NUMBER)),
    "a shift": ("f = Add(n, g)", lambda n: n + GAIN),
    "what takes the bias away": ("f = Sub(n, b)", lambda n: n - BIAS),
    "a scale and a shift": ("m = Mul(n, g) f = Add(m, g)", lambda n: n * GAIN + GAIN),
    "a BatchNormalization": (
        "f = BatchNormalization(n, g, b, b, s)", lambda n: (n - BIAS) / np.sqrt(np.float64(SCALE) + 1e-5) * GAIN + BIAS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("behind", BEHIND)
def test_an_affine_layer_behind_a_normalisation(behind, dtype):
    """Of 32000 values some are sums that cancel: they are off by the rounding of the terms."""
    text, function = BEHIND[behind]
    weights = {k: v for k, v in {"g": GAIN, "c": NUMBER}.items() if f"{k})" in text or f" {k}," in text}
    proto = model(
        f"n = LayerNormalization <axis = -1>(x, s, b) {text} y = Identity(f)",
        f"float[N,{K}] x",
        s=SCALE,
        b=BIAS,
        **weights,
    )
    x = draw(2000, K, seed=9).astype(np.float64)
    unit = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    wanted = function(unit * np.float64(SCALE) + BIAS)
    e = reflrp.explain(proto, x, "epsilon", target=1, dtype=dtype, progress=False)
    assert len(e.rules) == 1  # all of it is one node
    np.testing.assert_allclose(
        e.output, wanted, rtol=0, atol=(1e-13 if dtype == "float64" else 1e-5) * np.abs(wanted).max()
    )


def test_numbers_at_the_lower_end_of_float32():
    """Below the smallest normal number all are equally far apart, and a quotient is off by as much."""
    proto = model(
        "z = MatMul(x, w) e = Exp(z) s = ReduceSum(e, last) y = Div(e, s)",
        "float[N,4] x",
        w=draw(4, 4) * np.float32(20),
        last=ints(-1),
    )
    x = draw(4000, 4, seed=3)
    x *= np.float32(4) / np.abs(x).max()
    x *= np.float32(80) / np.abs(x @ (draw(4, 4) * np.float32(20))).max()
    loaded = reflrp.load(proto)
    assert any(n.op_type == "Softmax" for n in loaded.graph({"x": (1, 4)}).nodes)
    found = reflrp.explain(loaded, x, "attnlrp", dtype="float32", strip=False, progress=False).output
    z = x.astype(np.float64) @ (draw(4, 4) * np.float32(20))
    wanted = np.exp(z - z.max(1, keepdims=True))
    wanted /= wanted.sum(1, keepdims=True)
    assert 0 < wanted.min() < np.finfo(np.float32).smallest_normal
    np.testing.assert_allclose(found, wanted, atol=1e-4)
