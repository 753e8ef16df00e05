"""Quantised models: the values are those that onnxruntime computes, relevance goes through dequantised weights."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from coverage_tools import assert_closed, assert_explained, net
from models import draw, model, onnxruntime

import reflrp

warnings.simplefilter("ignore", DeprecationWarning)

NETS = {
    "dense": model(
        "a = Gemm <transB = 1>(x, w, b) r = Relu(a) c = Gemm <transB = 1>(r, v, d) s = Relu(c) y = Gemm(s, u)",
        "float[4,6] x",
        w=(8, 6),
        b=(8,),
        v=(5, 8),
        d=(5,),
        u=(5, 3),
    ),
    "convolutions": model(
        "a = Conv <pads = [1, 1, 1, 1]>(x, w, b) r = Relu(a) p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]>(r)"
        "c = Conv(p, v, d) s = Relu(c) g = GlobalAveragePool(s) f = Flatten(g) y = Gemm(f, u, e)",
        "float[2,3,8,8] x",
        w=(4, 3, 3, 3),
        b=(4,),
        v=(6, 4, 3, 3),
        d=(6,),
        u=(6, 3),
        e=(3,),
    ),
    "products": model(
        "a = MatMul(x, w) b = Add(a, c) r = Tanh(b) t = Transpose <perm = [0, 2, 1]>(r) p = MatMul(r, t)y = Softmax(p)",
        "float[2,5,6] x",
        w=(6, 4),
        c=(4,),
    ),
}


def shape_of(name: str) -> tuple[int, ...]:
    return tuple(d.dim_value for d in NETS[name].graph.input[0].type.tensor_type.shape.dim)


class Samples:
    """A few inputs to find the ranges with."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.rest = [{"x": draw(*shape, seed=i)} for i in range(4)]

    def get_next(self) -> Any:
        return self.rest.pop() if self.rest else None


def static(name: str, path: Path, **options: Any) -> onnx.ModelProto:
    quantization = pytest.importorskip("onnxruntime.quantization")
    onnx.save(NETS[name], path / "float.onnx")
    quantization.quantize_static(path / "float.onnx", path / "q.onnx", Samples(shape_of(name)), **options)
    return onnx.load(path / "q.onnx")


def dynamic(name: str, path: Path, **options: Any) -> onnx.ModelProto:
    quantization = pytest.importorskip("onnxruntime.quantization")
    onnx.save(NETS[name], path / "float.onnx")
    quantization.quantize_dynamic(
        path / "float.onnx", path / "q.onnx", op_types_to_quantize=["Conv", "Gemm", "MatMul"], **options
    )
    return onnx.load(path / "q.onnx")


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_static(name: str, per_channel: bool, tmp_path: Path) -> None:
    proto, x = static(name, tmp_path, per_channel=per_channel), draw(*shape_of(name), seed=7)
    assert "QuantizeLinear" in {n.op_type for n in proto.graph.node}
    e = assert_explained(proto, {"x": x})
    assert "relevance passes each change of units unchanged" in " ".join(e.notes)
    assert "relevance passes each change of units unchanged" in reflrp.load(proto).summary()
    if name != "products":  # where shares of sums near zero let a small change of values be a large one of relevance
        near(*(reflrp.explain(m, x, "epsilon_plus_flat", target=0) for m in (proto, NETS[name])))


def near(found: reflrp.Explanation, plain: reflrp.Explanation) -> None:
    """Check that quantising has changed relevance by as little as it changes values."""
    scale = np.abs(plain.relevance).max()
    assert np.abs(found.relevance - plain.relevance).max() < 0.35 * scale
    assert np.corrcoef(found.relevance.ravel(), plain.relevance.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("kind", ["QInt8", "QUInt8", "QInt16", "QUInt16"])
def test_integer_types(kind: str, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    options = {"activation_type": getattr(quantization.QuantType, kind)}
    assert_explained(static("dense", tmp_path, **options), {"x": draw(4, 6, seed=7)})


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_dynamic(name: str, per_channel: bool, tmp_path: Path) -> None:
    proto, x = dynamic(name, tmp_path, per_channel=per_channel), draw(*shape_of(name), seed=7)
    assert {"MatMulInteger", "ConvInteger"} & {n.op_type for n in proto.graph.node}
    e = assert_explained(proto, {"x": x})
    assert "relevance passes each change of units unchanged" in " ".join(e.notes)
    if name != "products":  # where shares of sums near zero let a small change of values be a large one of relevance
        near(*(reflrp.explain(m, x, "epsilon_plus_flat", target=0) for m in (proto, NETS[name])))


def test_integer_weights_take_in_their_scale_and_bias(tmp_path: Path) -> None:
    """What was one dense layer is one again, with float weights close to those before."""
    graph = reflrp.load(dynamic("dense", tmp_path)).graph({"x": (4, 6)})
    layers = [n for n in graph.nodes if n.kind == "dense"]
    assert len(layers) == 3
    assert not any(n.kind == "diagonal" for n in graph.nodes)
    want = onnx.numpy_helper.to_array(NETS["dense"].graph.initializer[0]).T
    assert np.abs(layers[0].op.w - want).max() < 0.02 * np.abs(want).max()


def test_a_relu_that_the_quantiser_took_away_still_cuts(tmp_path: Path) -> None:
    """Onnxruntime drops a Relu before a QuantizeLinear whose least number is 0: the rounding has to cut instead."""
    proto = static("dense", tmp_path)
    assert "Relu" not in {n.op_type for n in proto.graph.node}
    graph = reflrp.load(proto).graph({"x": (4, 6)})
    assert sum(v.nonneg for v in graph.values.values()) >= 2


def test_channels_with_a_scale_each() -> None:
    proto = net(
        "q = QuantizeLinear <axis = 1>(x, s, z) y = DequantizeLinear <axis = 1>(q, s, z)",
        "float[2,3,4] x",
        s=np.array([0.1, 0.02, 0.05], np.float32),
        z=np.array([0, 128, 255], np.uint8),
    )
    e = assert_explained(proto, {"x": draw(2, 3, 4)})
    assert (e.output[:, 0] >= 0).all()
    assert (e.output[:, 2] <= 0).all()


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_integer_operators(name: str, per_channel: bool, tmp_path: Path) -> None:
    """QLinearConv and kin."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    form = quantization.QuantFormat.QOperator
    proto, x = static(name, tmp_path, quant_format=form, per_channel=per_channel), draw(*shape_of(name), seed=7)
    assert {"QLinearConv", "QGemm", "QLinearMatMul"} & {n.op_type for n in proto.graph.node}
    assert_explained(proto, {"x": x})
    if name != "products":
        near(*(reflrp.explain(m, x, "epsilon_plus_flat", target=0) for m in (proto, NETS[name])))


def test_integer_product_with_a_fixed_scale() -> None:
    proto = net(
        "q = QuantizeLinear(x, s, z) i = MatMulInteger(q, w, z) f = Cast <to = 1>(i) y = Mul(f, t)",
        "float[2,3] x",
        s=np.float32(0.1),
        z=np.uint8(7),
        w=np.ones((3, 2), np.int8),
        t=np.float32(0.1),
    )
    assert_explained(proto, {"x": draw(2, 3)})


def test_ledger_of_a_preset(tmp_path: Path) -> None:
    for rules in ("epsilon_plus_flat", "epsilon_alpha2_beta1"):
        assert_closed(reflrp.explain(static("convolutions", tmp_path), draw(*shape_of("convolutions")), rules))


def test_ranges_are_those_of_the_reference(tmp_path: Path) -> None:
    """The quantised model differs from the float one, and ours is the quantised one."""
    proto, x = static("dense", tmp_path), draw(4, 6, seed=7)
    found, ours = onnxruntime(proto, {"x": x})["y"], reflrp.load(proto).run(x)["y"]
    plain = onnxruntime(NETS["dense"], {"x": x})["y"]
    assert np.abs(ours - found).max() < 1e-5
    assert np.abs(plain - found).max() > 1e-3
