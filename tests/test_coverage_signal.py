"""Fourier transforms and sums of windows, held against onnxruntime, NumPy's transform and a literal sum."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from coverage_tools import assert_explained, net
from models import draw, ints

import reflrp

TRANSFORMS: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "real": ("y = DFT(x, , a)", "float[2,5,1] x", 20, {"a": np.int64(1)}),
    "real, one side": ("y = DFT <onesided = 1>(x, , a)", "float[2,5,1] x", 20, {"a": np.int64(1)}),
    "one side of an even length": ("y = DFT <onesided = 1>(x, , a)", "float[2,6,1] x", 20, {"a": np.int64(-2)}),
    "complex": ("y = DFT(x, , a)", "float[2,5,2] x", 20, {"a": np.int64(1)}),
    "inverse": ("y = DFT <inverse = 1>(x, , a)", "float[2,5,2] x", 20, {"a": np.int64(1)}),
    "the first of two": ("y = DFT(x, , a)", "float[2,5,3,2] x", 20, {"a": np.int64(1)}),
    "cut": ("y = DFT(x, n, a)", "float[2,5,2] x", 20, {"n": np.int64(3), "a": np.int64(1)}),
    "filled up": ("y = DFT(x, n, a)", "float[2,5,1] x", 20, {"n": np.int64(8), "a": np.int64(1)}),
    "of old": ("y = DFT <axis = 2>(x)", "float[2,3,5,1] x", 17, {}),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_fourier(name):
    body, inputs, opset, weights = TRANSFORMS[name]
    proto = net(body, inputs, opset=opset, **weights)
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    x = draw(*shape, seed=4)
    e = assert_explained(proto, {"x": x}, rtol=1e-4)
    axis = 2 if opset == 17 else int(weights["a"]) % x.ndim
    z = x[..., 0].astype(complex) + (1j * x[..., 1] if shape[-1] == 2 else 0)
    length = int(weights.get("n", shape[axis]))
    want = np.fft.ifft(z, length, axis) if "inverse" in body else np.fft.fft(z, length, axis)
    want = want.take(range(length // 2 + 1), axis=axis) if "onesided" in body else want
    assert np.allclose(e.output, np.stack([want.real, want.imag], -1), atol=1e-6)


@pytest.mark.parametrize(("entries", "length"), [(4, None), (4, 6), (4, 7), (5, 4), (3, 9)])
def test_back_from_one_side(entries, length):
    weights = {} if length is None else {"n": np.int64(length)}
    proto = net(
        f"y = DFT <inverse = 1, onesided = 1>(x, {'n' if weights else ''}, a)",
        f"float[2,{entries},2] x",
        a=np.int64(1),
        **weights,
    )
    x = draw(2, entries, 2, seed=6)
    want = np.fft.irfft(x[..., 0] + 1j * x[..., 1], length, axis=1)
    e = reflrp.explain(proto, x, "epsilon", init=np.ones((*want.shape, 1)))
    assert np.allclose(e.output[..., 0], want, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "inputs", "why"),
    [
        ("y = DFT <onesided = 1>(x, , a)", "float[2,5,2] x", "one side of it is defined for a real input"),
        ("y = DFT(x, , a)", "float[2,5,3] x", "does not end in real and imaginary parts"),
    ],
)
def test_fourier_refused(body, inputs, why):
    with pytest.raises(reflrp.UnsupportedOperator, match=why):
        reflrp.explain(net(body, inputs, a=np.int64(1)), draw(2, 5, int(inputs[10])))


WINDOWS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "apart": ((4, 6), (2, 3), {"strides": (2, 3)}),
    "over one another": ((4, 5), (2, 3), {}),
    "padded": ((4, 5), (2, 3), {"pads": (1, 0, 0, 2)}),
    "wide": ((5, 6), (2, 2), {"dilations": (2, 3)}),
    "all at once": ((5, 6), (2, 2), {"dilations": (2, 1), "strides": (1, 2), "pads": (0, 1, 1, 1)}),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_summed(name):
    image, block, how = WINDOWS[name]
    strides, steps, pads = how.get("strides", (1, 1)), how.get("dilations", (1, 1)), how.get("pads", (0,) * 4)
    places = [(image[i] + pads[i] + pads[i + 2] - steps[i] * (block[i] - 1) - 1) // strides[i] + 1 for i in (0, 1)]
    columns, count = 2 * block[0] * block[1], places[0] * places[1]
    words = ", ".join(f"{k} = [{', '.join(map(str, v))}]" for k, v in how.items())
    proto = net(
        f"y = Col2Im {f'<{words}>' if words else ''}(x, i, b)",
        f"float[2,{columns},{count}] x",
        i=ints(*image),
        b=ints(*block),
    )
    x = draw(2, columns, count, seed=2)
    e = assert_explained(proto, {"x": x})
    want = np.zeros((2, 2, *image))
    rows = x.reshape(2, 2, *block, *places).astype(float)
    for k0, k1, p0, p1 in product(*map(range, (*block, *places))):
        i, j = k0 * steps[0] + p0 * strides[0] - pads[0], k1 * steps[1] + p1 * strides[1] - pads[1]
        if 0 <= i < image[0] and 0 <= j < image[1]:
            want[:, :, i, j] += rows[:, :, k0, k1, p0, p1]
    assert np.allclose(e.output, want)


@pytest.mark.parametrize("how", ["strides = [0, 1]", "pads = [0, 0, 0, 9]", "dilations = [9, 1]", "strides = [1]"])
def test_windows_that_do_not_fit(how):
    proto = net(f"y = Col2Im <{how}>(x, i, b)", "float[1,4,9] x", i=ints(4, 4), b=ints(2, 2))
    with pytest.raises(reflrp.UnsupportedOperator):
        reflrp.load(proto).graph({"x": (1, 4, 9)})


FILTERS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {
    "plain": ("y = Conv(x, k)", (2, 3, 5, 6), (4, 3, 3, 2)),
    "with all": (
        "y = Conv<group = 2, pads = [1, 0, 0, 2], strides = [2, 1], dilations = [1, 2]>(x, k, b)", (2, 4, 5, 6), (6, 2, 3, 2),
    ),
    "of a series": ("y = Conv<pads = [1, 1]>(x, k)", (2, 3, 5), (4, 3, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", FILTERS)
def test_filters_that_the_network_works_out(name):
    """A dynamic convolution: both operands get their half, and an epsilon-free product keeps the output."""
    body, image, kernel = FILTERS[name]
    shapes = [", ".join(map(str, s)) for s in (image, kernel)]
    proto = net(
        f"k = Mul(w, two) {body}", f"float[{shapes[0]}] x, float[{shapes[1]}] w", two=np.float32(2), b=(kernel[0],)
    )
    feeds = {"x": draw(*image), "w": draw(*kernel, seed=1)}
    e = assert_explained(proto, feeds)
    bias = e.conservation.totals["bias"]
    for R in e.relevances.values():
        assert np.isclose(R.sum(), (e.conservation.totals["seed"] - bias) / 2, rtol=1e-4)


def test_filters_that_do_not_fit():
    proto = net("k = Mul(w, two) y = Conv<group = 2>(x, k)", "float[2,3,5,6] x, float[4,3,3,2] w", two=np.float32(2))
    with pytest.raises(reflrp.UnsupportedOperator, match="in 2 groups do not fit"):
        reflrp.explain(proto, {"x": draw(2, 3, 5, 6), "w": draw(4, 3, 3, 2)})
