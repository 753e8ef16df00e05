"""What is computed outside the path of relevance, from constants and masks, is right: onnxruntime says the same.

Most of it runs on ONNX's reference code, which gets these operators wrong (or not at all) for some opset or attribute.
"""

import numpy as np
import pytest
from models import draw, ints, model, onnxruntime

import reflrp

X = draw(2, 3, 4, seed=1)
IMAGE = draw(2, 3, 5, 4, seed=2)
CHANNELS = {"s": draw(3, seed=3), "b": draw(3, seed=4), "m": draw(3, seed=5), "v": np.abs(draw(3, seed=6)) + 0.5}
CELL = {"W": (1, 8, 4), "R": (1, 8, 2), "B": (1, 16), "P": (1, 6), "shape": ints(2, 3, 2), "V": (2, 4)}
CASES = {
    "softmax of all axes from 1 on": ("m = Softmax(f)", 11, X, {}),
    "log softmax": ("m = LogSoftmax(f)", 12, X, {}),
    "log softmax from axis 2 on": ("m = LogSoftmax<axis = -1>(f)", 11, X, {}),
    "hardmax": ("m = Hardmax(f)", 12, X, {}),
    "batch normalisation": ("m = BatchNormalization(f, s, b, m0, v)", 13, X, CHANNELS),
    "grouped transposed convolution": (
        "m = ConvTranspose<group = 3, pads = [1, 1]>(f, w, b)",
        17,
        X,
        {"w": (3, 1, 3), "b": (3,)},
    ),
    "lrn": ("m = LRN<size = 3, alpha = 0.5>(f)", 17, IMAGE, {}),
    "global maximum": ("m = GlobalMaxPool(f)", 17, X, {}),
    "maxima, padded": ("m = MaxPool<kernel_shape = [3], pads = [1, 1]>(f)", 17, X, {}),
    "averages, ceiled": (
        "c = AveragePool<kernel_shape = [2, 3], strides = [2, 2], ceil_mode = 1>(f) m = ReduceMax(c)",
        17,
        IMAGE,
        {},
    ),
    "negative pads": ("m = Pad(f, p)", 17, X, {"p": ints(0, 0, -1, 0, 0, 1)}),
    "mean of two": ("m = Mean(one, f)", 17, X, {"one": np.ones(1, np.float32)}),
    "axes in any order": ("u = Unsqueeze<axes = [2, 0]>(f) m = ReduceMax<axes = [0, 2]>(u)", 12, X, {}),
    "axes in any order, counted from the end": (
        "u = Unsqueeze<axes = [-3, -4]>(f) m = Squeeze<axes = [2, -4]>(u)",
        11,
        X,
        {},
    ),
    "scatter": ("m = Scatter<axis = 1>(f, i, u)", 10, X[0], {"i": ints(2, 0, 1).reshape(3, 1), "u": draw(3, 1)}),
    "cubic samples of a border": (
        'm = GridSample<mode = "bicubic", padding_mode = "border">(f, grid)',
        16,
        IMAGE,
        {"grid": 2 * draw(2, 5, 4, 2)},
    ),
    "cubic samples of a border, since opset 20": (
        'm = GridSample<mode = "cubic", padding_mode = "border">(f, grid)',
        20,
        IMAGE,
        {"grid": 2 * draw(2, 5, 4, 2)},
    ),
    "lstm with peepholes, clipped": (
        "h = LSTM<hidden_size = 2, clip = 0.3>(f, W, R, B, , , , P) "
        "t = Transpose<perm = [0, 2, 1, 3]>(h) r = Reshape(t, shape) m = MatMul(r, V)",
        17,
        X,
        CELL,
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("source", ["mask", "constant"])
def test_as_onnxruntime(name, source):
    body, opset, x, weights = CASES[name]
    weights = {"m0" if k == "m" else k: v for k, v in weights.items()}
    if source == "constant":
        before, given = "", {"f": np.round(3 * draw(*x.shape, seed=7))}
    else:
        before, given = "g = Greater(x, zero) f = Cast<to = 1>(g)", {"zero": np.float32(0)}
    shape = ",".join(map(str, x.shape))
    proto = model(f"{before} {body} y = Mul(x, m)", f"float[{shape}] x", opset=opset, **weights, **given)
    found = reflrp.load(proto).run({"x": x})["y"]
    wanted = onnxruntime(proto, {"x": x})["y"]
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 2e-6 * max(1, np.abs(wanted).max())
