"""Products of integers, and scales that are found in the run: what onnxruntime's dynamic quantiser writes, and by hand."""

import warnings

import numpy as np
import onnx
import pytest
from coverage_tools import assert_quantised as check
from coverage_tools import net
from models import draw, onnxruntime

import reflrp

warnings.simplefilter("ignore", DeprecationWarning)

S, Z = np.float32(0.04), np.uint8(120)
T, Y = np.float32(0.07), np.uint8(90)

DYNAMIC = "q, s, z = DynamicQuantizeLinear(x)"


@pytest.mark.parametrize("shift", [0, 3, -3])
@pytest.mark.parametrize(
    "body",
    [
        f"{DYNAMIC} y = DequantizeLinear(q, s, z)",
        f"{DYNAMIC} f = Cast <to = 1>(q) y = Mul(f, s)",
        f"{DYNAMIC} f = Cast <to = 1>(q) g = Cast <to = 1>(z) d = Sub(f, g) y = Mul(d, s)",
        f"{DYNAMIC} y = Mul(x, s)",
        f"{DYNAMIC} y = Identity(q)",
        f"{DYNAMIC} y = Identity(q) t = Identity(s) u = Identity(z)",
        f"{DYNAMIC} i = MatMulInteger(q, w, z) f = Cast <to = 1>(i) t = Mul(s, k) y = Mul(f, t)",
        f"{DYNAMIC} i = MatMulInteger(q, w, z, v) f = Cast <to = 1>(i) t = Mul(f, s) y = Mul(t, k)",
        f"{DYNAMIC} i = MatMulInteger(q, w) f = Cast <to = 1>(i) y = Mul(f, s)",
        f"{DYNAMIC} y = MatMulInteger(q, w, z)",
    ],
)
def test_dynamic_scales(body: str, shift: float) -> None:
    out = "float[] y" if "Mul(" in body or "Deq" in body else "int32[] y" if "Integer" in body else "uint8[] y"
    given = {"w": np.arange(20, dtype=np.int8).reshape(4, 5) - 9, "v": np.int8(2), "k": np.float32(0.3)}
    proto = net(body, "float[3,4] x", out, **{k: a for k, a in given.items() if k in body.replace("Mul", "")})
    if "u = " in body:
        proto.graph.output.extend(
            [onnx.helper.make_tensor_value_info("t", 1, []), onnx.helper.make_tensor_value_info("u", 2, [])]
        )
    check(proto, {"x": draw(3, 4) + np.float32(shift)})


def test_a_dynamic_scale_that_halves() -> None:
    """A symmetric range puts zero half way between two steps."""
    x = np.array([[-1, -0.5, 0.25, 1]], np.float32)
    check(net(f"{DYNAMIC} y = Identity(q)", "float[1,4] x", "uint8[] y"), {"x": x})


def test_a_dynamic_scale_is_that_of_the_whole_batch() -> None:
    """Samples meet in it, so that a batch is not cut, and no sample's answer is that which it has alone."""
    proto = net(f"{DYNAMIC} y = DequantizeLinear(q, s, z)", "float[N,4] x")
    x = draw(3, 4) * np.array([[1], [10], [100]], np.float32)
    model = reflrp.load(proto)
    e = reflrp.explain(model, x)
    with pytest.raises(reflrp.InputError, match="rounds all samples to one scale"):
        reflrp.Explainer(model, batch_size=1)(x)
    np.testing.assert_allclose(e.output, onnxruntime(proto, {"x": x})["y"], rtol=1e-6)
    assert np.abs(model.run(x[:1])["y"] - e.output[:1]).max() > 0.01


WEIGHTS = np.arange(20, dtype=np.int8).reshape(4, 5) - 9


@pytest.mark.parametrize("zeros", ["", ", z", ", z, v", ", , c"])
def test_matmul_integer(zeros: str) -> None:
    body = f"q = QuantizeLinear(x, s, z) y = MatMulInteger(q, w{zeros})"
    given = {"v": np.int8(2), "c": np.array([1, 2, 3, -4, 5], np.int8)}
    proto = net(
        body, "float[3,4] x", "int32[] y", s=S, z=Z, w=WEIGHTS, **{k: a for k, a in given.items() if k in zeros}
    )
    check(proto, {"x": draw(3, 4)})


def test_matmul_integer_with_a_zero_point_a_row_and_stacks() -> None:
    rows = np.array([[[1], [2], [3]], [[4], [5], [6]]], np.uint8)
    proto = net(
        "q = QuantizeLinear(x, s, z) y = MatMulInteger(q, w, r)",
        "float[2,3,4] x",
        "int32[] y",
        s=S,
        z=Z,
        w=WEIGHTS,
        r=rows,
    )
    e = check(proto, {"x": draw(2, 3, 4)}, reference=True)
    assert e.relevance.shape == (2, 3, 4)


def test_matmul_integer_with_a_vector() -> None:
    proto = net(
        "q = QuantizeLinear(x, s, z) y = MatMulInteger(q, w, z)", "float[3,4] x", "int32[] y", s=S, z=Z, w=WEIGHTS[:, 0]
    )
    check(proto, {"x": draw(3, 4)})


def test_matmul_integer_of_two_values() -> None:
    body = "q = QuantizeLinear(x, s, z) p = QuantizeLinear(x, t, u) r = Transpose <perm = [0, 2, 1]>(p)"
    body += "y = MatMulInteger(q, r, z, u)"
    check(net(body, "float[2,3,4] x", "int32[] y", s=S, z=Z, t=T, u=Y), {"x": draw(2, 3, 4)})


def test_matmul_integer_of_constant_rows() -> None:
    body = "q = QuantizeLinear(x, s, z) y = MatMulInteger(w, q, v, z)"
    proto = net(body, "float[4,3] x", "int32[] y", s=S, z=Z, w=WEIGHTS.T.astype(np.uint8), v=np.uint8(9))
    check(proto, {"x": draw(4, 3)})


@pytest.mark.parametrize("zeros", ["", ", z", ", z, v"])
def test_conv_integer(zeros: str) -> None:
    """Padding is by zeros of what the integers stand for: by the zero point."""
    w = (np.arange(36).reshape(2, 2, 3, 3) % 11).astype(np.uint8)
    body = (
        f"q = QuantizeLinear(x, s, z) y = ConvInteger <group = 1, pads = [1, 0, 1, 2], strides = [1, 2]>(q, w{zeros})"
    )
    given = {"v": np.uint8(5)} if "v" in zeros else {}
    proto = net(body, "float[2,2,5,6] x", "int32[] y", s=S, z=Z, w=w, **given)
    check(proto, {"x": draw(2, 2, 5, 6)}, reference=zeros == "")


def test_a_scale_that_a_file_works_out_by_hand() -> None:
    """It says in which units the number is written, and gets no relevance, as that of DynamicQuantizeLinear."""
    body = "a = Abs(x) m = ReduceMax <keepdims = 0>(a) s = Div(m, k) q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)"
    e = check(net(body, "float[3,4] x", k=np.float32(127), z=np.int8(0)), {"x": draw(3, 4)})
    assert e.relevance.tolist() == draw(3, 4, seed=9).tolist()


def test_a_convolution_of_dynamic_integers_is_the_layer_that_was_quantised() -> None:
    body = "q, s, z = DynamicQuantizeLinear(x) i = ConvInteger <pads = [1, 1, 1, 1]>(q, w, z, v) f = Cast <to = 1>(i)"
    body += "t = Mul(s, k) g = Mul(f, t) y = Add(g, b)"
    w = (np.arange(36).reshape(2, 2, 3, 3) % 11).astype(np.uint8)
    given = {"w": w, "v": np.uint8(5), "k": np.array([0.1, 0.2], np.float32).reshape(1, 2, 1, 1), "b": draw(1, 2, 1, 1)}
    proto = net(body, "float[2,2,5,5] x", **given)
    check(proto, {"x": draw(2, 2, 5, 5)})
    nodes = [n for n in reflrp.load(proto).graph({"x": (2, 2, 5, 5)}).nodes if n.kind != "plumbing"]
    assert [n.kind for n in nodes] == ["pointwise", "pointwise", "conv"]
    np.testing.assert_allclose(nodes[-1].op.w, (w - 5.0) * np.array([0.1, 0.2]).reshape(2, 1, 1, 1), rtol=1e-6)
    np.testing.assert_allclose(np.ravel(nodes[-1].op.b), np.ravel(given["b"]))


def test_a_negative_number_found_in_the_run_turns_the_sign_of_activations() -> None:
    """Integers less the least of them are >= 0, but not times a number that may be anything."""
    start = "u = Cast <to = 1>(k) t = Neg(u) q = QuantizeLinear(x, s, z)"
    given, inputs = {"s": S, "z": np.uint8(0)}, "float[3,4] x, int64[] k"
    folded = net(f"{start} i = MatMulInteger(q, w, z) f = Cast <to = 1>(i) y = Mul(f, t)", inputs, **given, w=WEIGHTS)
    plain = net(
        f"{start} d = DequantizeLinear(q, one, z) e = Mul(d, t) y = MatMul(e, w)", inputs, **given,
        w=WEIGHTS.astype(np.float32), one=np.float32(1),
    )  # fmt: skip
    feeds = {"x": np.abs(draw(3, 4)), "k": np.array(2)}
    init = draw(3, 5, seed=9).astype(float)
    one, two = (reflrp.explain(m, feeds, reflrp.rules.ZPlus(), init=init).relevances["x"] for m in (folded, plain))
    assert [n.kind for n in reflrp.load(folded).graph({"x": (3, 4), "k": ()}).nodes if n.kind == "product"] == []
    np.testing.assert_allclose(one, two, rtol=1e-9)
