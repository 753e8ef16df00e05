"""Windows of which ONNX's shape inference, or onnxruntime's MaxPool, has another idea than the standard's text."""

import models
import numpy as np
import onnx
import pytest
from compiled import check, run

import reflrp
from reflrp import rules
from reflrp.composites import Composite, kind
from reflrp.composites.composite import defaults

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


@pytest.mark.parametrize("opset", [17, 18, 22])
def test_memory_is_laid_out_by_the_windows_that_there_are(opset):
    """ONNX's inference counts a window behind the input, and onnxruntime gives what is as long in truth the same memory."""
    proto = models.model(
        "p = MaxPool <ceil_mode = 1, kernel_shape = [1, 2], strides = [2, 2]>(x) c = Clip(p, low) q = Pow(c, two) "
        "y = Conv <dilations = [1, 2]>(q, k, b)",
        "float[N,1,6,2] x", opset=opset, low=np.float32(-0.15), two=np.float32([2]), k=(2, 1, 2, 1), b=(2,),
    )  # fmt: skip
    said = onnx.helper.make_tensor_value_info("p", 1, ["N", 1, 4, 1])  # by an exporter
    for info in ([], [said]):
        proto.graph.value_info.extend(info)
        for rule in (rules.WSquare(stabilizer=0.01), rules.AlphaBeta()):
            composite = Composite(
                ((kind("conv"), rule), (kind("pointwise"), rules.BetaSmooth(2.0)), *defaults(0.25)), "one"
            )
            check(proto, {"x": models.draw(3, 1, 6, 2)}, composite, layers=True, init=models.draw(3, 2, 2, 1))


@pytest.mark.parametrize("kernel", [[2, 2], [3, 2], [2, 4]])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 1, 1]])
def test_ceil_mode_is_left_out_only_where_it_makes_no_window(kernel, pads):
    asked = f"ceil_mode = 1, kernel_shape = {kernel}, strides = [4, 3], pads = {pads}"
    proto = models.model(f"p = MaxPool <{asked}>(x) y = Flatten(p)", IMAGES)
    x = models.draw(2, 2, 6, 7)
    (node,) = [n for n in reflrp.compile(proto, "epsilon").graph.node if n.op_type == "MaxPool" and n.output[0] == "p"]
    alone = onnx.helper.make_model(
        onnx.helper.make_graph([node], "pool", proto.graph.input, [onnx.helper.make_empty_tensor_value_info("p")]),
        opset_imports=proto.opset_import, ir_version=8,
    )  # fmt: skip
    np.testing.assert_array_equal(
        models.onnxruntime(alone, {"x": x})["p"].reshape(2, -1), models.onnxruntime(proto, {"x": x})["y"]
    )


@pytest.mark.parametrize("counts", [0, 1])
@pytest.mark.parametrize("pool", ["AveragePool", "LpPool", "MaxPool"])
def test_ceil_mode_on_one_axis_alone(pool, counts):
    """One axis has a window more by it, the other would have one behind the input: padding stands for the first."""
    asked = "ceil_mode = 1, kernel_shape = [1, 3], strides = [2, 3]"
    asked += ", count_include_pad = 1" * (counts and pool == "AveragePool")
    proto = models.model(f"p = {pool} <{asked}>(x) y = Flatten(p)", "float[N,3,2,4] x", opset=18)
    x = models.draw(2, 3, 2, 4)
    graph = reflrp.compile(proto, "epsilon", layers=True)
    (node,) = [n for n in graph.graph.node if n.output[0] == "p"]
    stays = counts and pool == "AveragePool"
    assert ("ceil_mode" in [a.name for a in node.attribute]) == bool(stays)
    np.testing.assert_allclose(run(graph, {"x": x})["y"], models.onnxruntime(proto, {"x": x})["y"], rtol=1e-6)
    check(proto, {"x": x}, "epsilon", layers=True)
