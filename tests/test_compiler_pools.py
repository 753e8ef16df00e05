"""Windows of which ONNX's shape inference, or onnxruntime's MaxPool, has another idea than the standard's text."""

import models
import numpy as np
import pytest
from compiled import check

IMAGES = "float[N,2,6,7] x"
WINDOWS = {
    "a last window behind the input": "{pool} <kernel_shape = [2, 2], strides = [4, 3], pads = [0, 0, 1, 1], ceil_mode = 1>(x)",
    "the same without padding": "{pool} <kernel_shape = [1, 1], strides = [4, 5], ceil_mode = 1>(x)",
    "padding as wide as the kernel": "{pool} <kernel_shape = [2, 2], strides = [1, 2], pads = [1, 1, 1, 1], ceil_mode = 1>(x)",
}


@pytest.mark.parametrize("rules", ["epsilon", "gradient"])
@pytest.mark.parametrize("pool", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize("windows", WINDOWS)
def test_pools(windows, pool, rules):
    proto = models.model(f"p = {WINDOWS[windows].format(pool=pool)} y = Flatten(p)", IMAGES)
    check(proto, {"x": models.draw(3, 2, 6, 7).astype(np.float32)}, rules, layers=True)


def test_a_dilated_maximum_with_padding_as_wide_as_its_kernel():
    asked = "kernel_shape = [2, 2], dilations = [2, 2], strides = [2, 2], pads = [1, 1, 1, 1], ceil_mode = 1"
    proto = models.model(f"p = MaxPool <{asked}>(x) y = Flatten(p)", IMAGES)
    check(proto, {"x": models.draw(3, 2, 6, 7).astype(np.float32)}, "epsilon", layers=True)


def test_output_padding_beside_automatic_padding():
    asked = 'strides = [2, 3], dilations = [2, 3], output_padding = [1, 2], auto_pad = "SAME_UPPER"'
    proto = models.model(f"p = ConvTranspose <{asked}>(x, w) r = Relu(p) y = Flatten(r)", IMAGES, w=(2, 3, 3, 2))
    check(proto, {"x": models.draw(3, 2, 6, 7).astype(np.float32)}, "epsilon_alpha2_beta1", layers=True)
