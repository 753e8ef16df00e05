"""`backend="cupy"` as a whole on a stand-in for CuPy: no NumPy array gets between its arrays, and none is made of them silently.

There was no GPU to run CuPy itself on; where there is one, the tests of each rule run on it (`xp` in conftest.py).
"""

import sys
from typing import Any

import numpy as np
import pytest
from cupy_standin import MODULES, DeviceArray
from models import draw, ints, model

import reflrp

IMAGE = "float[N,3,8,8] x"
SEQUENCE = "float[N,5,4] x"
NETWORKS: dict[str, tuple[Any, np.ndarray, tuple[str, ...]]] = {
    "dense": (
        model("h = Gemm(x, w, b) r = Relu(h) y = MatMul(r, v)", w=(4, 6), b=(6,), v=(6, 3)),
        draw(3, 4),
        ("epsilon", "alphabeta", "gamma", "wsquare", "flat"),
    ),
    "convolutions": (
        model(
            "c = Conv <pads = [1,1,1,1], strides = [2,2]>(x, w, b) r = Relu(c) "
            "p = MaxPool <kernel_shape = [2,2], strides = [2,2]>(r) "
            "d = Conv(p, u) a = GlobalAveragePool(d) f = Flatten(a) y = MatMul(f, v)",
            IMAGE,
            w=(4, 3, 3, 3),
            b=(4,),
            u=(5, 4, 2, 2),
            v=(5, 3),
        ),
        draw(2, 3, 8, 8),
        ("epsilon_plus_flat", "epsilon_gamma_box(low=-3, high=3)", "alphabeta", "zennit.EpsilonAlpha2Beta1"),
    ),
    "a transposed convolution and a residual": (
        model(
            "c = ConvTranspose <strides = [2,2]>(x, w) s = Slice(c, b, e, a) t = Sigmoid(s) m = Mul(t, x) z = Add(m, x) "
            "f = Flatten(z) y = MatMul(f, v)",
            IMAGE,
            w=(3, 3, 2, 2),
            b=ints(0, 0),
            e=ints(8, 8),
            a=ints(2, 3),
            v=(192, 3),
        ),
        draw(2, 3, 8, 8),
        ("epsilon", "auto"),
    ),
    "attention": (
        model(
            "n = LayerNormalization(x, one, zero) q = MatMul(n, wq) k = MatMul(n, wk) v = MatMul(n, wv) "
            "t = Transpose <perm = [0,2,1]>(k) s = MatMul(q, t) p = Softmax(s) "
            "o = MatMul(p, v) g = Gelu(o) "
            "z = Add(g, x) m = ReduceMean <keepdims = 0>(z, axis) y = MatMul(m, w)",
            SEQUENCE,
            opset=20,
            ir=9,
            one=np.ones(4, np.float32),
            zero=np.zeros(4, np.float32),
            axis=ints(1),
            wq=(4, 4),
            wk=(4, 4),
            wv=(4, 4),
            w=(4, 3),
        ),
        draw(2, 5, 4),
        ("attnlrp", "cp_lrp", "auto"),
    ),
    "token ids": (
        model(
            "e = Gather(t, ids) c = ReduceMean <axes = [1], keepdims = 0>(e) y = MatMul(c, w)",
            "int64[N,5] ids",
            t=(9, 4),
            w=(4, 3),
        ),
        np.arange(10).reshape(2, 5) % 9,
        ("epsilon",),
    ),
    "an LSTM": (
        model(
            "t = Transpose <perm = [1,0,2]>(x) h, last, cell = LSTM <hidden_size = 3>(t, w, r, b) "
            "s = Squeeze(last, axis) y = MatMul(s, v)",
            SEQUENCE,
            w=(1, 12, 4),
            r=(1, 12, 3),
            b=(1, 24),
            axis=ints(0),
            v=(3, 2),
        ),
        draw(2, 5, 4),
        ("auto", "epsilon"),
    ),
}


@pytest.fixture(autouse=True)
def standin(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in MODULES.items():
        monkeypatch.setitem(sys.modules, name, module)


def test_inputs_and_weights_are_on_the_device() -> None:
    net, x, _ = NETWORKS["dense"]
    explainer = reflrp.Explainer(net, "alphabeta", backend="cupy")
    explainer(x)
    maps = [op for op in explainer.program(x).ops.values() if hasattr(op, "derived")]
    assert [type(a) for op in maps for a in (op.w, *op.derived.values())] == [DeviceArray] * 6


def test_the_stand_in_is_as_strict_as_cupy() -> None:
    x = MODULES["cupy"].asarray(draw(2, 3))
    for wrong in (
        lambda: np.asarray(x),
        lambda: x + draw(2, 3),
        lambda: draw(2, 3) * x,
        lambda: MODULES["cupy"].maximum(x, draw(3)),
    ):
        with pytest.raises(TypeError):
            wrong()
    assert isinstance(x.sum(), DeviceArray)
    assert np.array_equal((2 * x).get(), 2 * draw(2, 3))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_answer_is_that_of_numpy(name: str, dtype: str) -> None:
    net, x, presets = NETWORKS[name]
    for rules in presets:
        there = reflrp.explain(net, x, rules, backend="cupy", dtype=dtype, layers=True)
        here = reflrp.explain(net, x, rules, dtype=dtype, layers=True)
        scale = abs(here.relevance).max()
        assert scale > 0
        assert there.relevance.dtype == dtype
        assert abs(there.relevance - here.relevance).max() <= (1e-12 if dtype == "float64" else 1e-5) * scale, rules
        assert all(isinstance(R, np.ndarray) for R in there.layers.values())
        assert np.allclose(there.conservation.totals["inputs"], here.conservation.totals["inputs"], rtol=1e-5)
