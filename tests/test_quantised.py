"""Quantised values: the integers that runtimes compute, operator by operator and between QuantizeLinear and DequantizeLinear.

Forward against onnxruntime, or ONNX's reference code where onnxruntime has no kernel; relevance is closed in the ledger.
"""

import warnings

import numpy as np
import pytest
from coverage_tools import assert_quantised as check
from coverage_tools import net
from models import draw

import reflrp

warnings.simplefilter("ignore", DeprecationWarning)

S, Z = np.float32(0.04), np.uint8(120)
T, Y = np.float32(0.07), np.uint8(90)
SIGNED = np.int8(-3)


BETWEEN = {
    "other scales": "y = DequantizeLinear(q, t, u)",
    "clip": "l = Cast <to = 2>(lo) h = Cast <to = 2>(hi) c = Clip(q, l, h) y = DequantizeLinear(c, s, z)",
    "pad": "c = Pad(q, pads) y = DequantizeLinear(c, s, z)",
    "pad with the zero point": "c = Pad(q, pads, z) y = DequantizeLinear(c, s, z)",
    "pad with an edge": 'c = Pad <mode = "edge">(q, pads) y = DequantizeLinear(c, s, z)',
    "where": "c = Where(mask, q, z) y = DequantizeLinear(c, s, z)",
    "max pool": "c = MaxPool <kernel_shape = [2, 2]>(q) y = DequantizeLinear(c, s, z)",
    "concat": "c = Concat <axis = 1>(q, q) y = DequantizeLinear(c, s, z)",
    "reshape": "c = Flatten(q) d = Unsqueeze(c, one) y = DequantizeLinear(d, s, z)",
    "transpose": "c = Transpose(q) y = DequantizeLinear(c, s, z)",
    "slice": "c = Slice(q, one, two, one) y = DequantizeLinear(c, s, z)",
    "gather": "c = Gather <axis = 1>(q, index) y = DequantizeLinear(c, s, z)",
    "max": "c = Max(q, other) y = DequantizeLinear(c, s, z)",
    "top": "c, i = TopK <axis = 1>(q, one) y = DequantizeLinear(c, s, z)",
    "cast to float": "f = Cast <to = 1>(q) y = Mul(f, s)",
    "by hand": "f = Cast <to = 1>(q) g = Cast <to = 1>(z) d = Sub(f, g) y = Mul(d, s)",
    "by hand in int32": "f = Cast <to = 6>(q) g = Cast <to = 6>(z) d = Sub(f, g) r = Cast <to = 1>(d) y = Mul(r, s)",
    "relu in int32": "f = Cast <to = 6>(q) g = Cast <to = 6>(z) d = Sub(f, g) m = Relu(d) r = Cast <to = 1>(m) y = Mul(r, s)",
    "division in int32": "f = Cast <to = 6>(q) d = Sub(f, i90) e = Div(d, i7) r = Cast <to = 1>(e) y = Mul(r, s)",
    "a requantisation": "d = DequantizeLinear(q, s, z) p = QuantizeLinear(d, t, u) y = DequantizeLinear(p, t, u)",
    "twice the scale": "d = DequantizeLinear(q, s, z) p = QuantizeLinear(d, s2, u) y = DequantizeLinear(p, s2, u)",
    "integers as output": "y = Identity(q)",
    "a mean of the real": "d = DequantizeLinear(q, s, z) y = ReduceMean <axes = [1], keepdims = 0>(d)",
}


@pytest.mark.parametrize("name", BETWEEN)
def test_between_the_integers(name: str) -> None:
    out = "uint8[] y" if name == "integers as output" else "float[] y"
    used = {
        "s": S, "z": Z, "t": T, "u": Y, "s2": 2 * S, "lo": np.float32(100), "hi": np.float32(180), "one": np.array([1]),
        "pads": np.array([0, 0, 1, 2, 0, 0, 0, 1]), "mask": draw(2, 3, 4, 4, seed=3) > 0, "two": np.array([3]),
        "index": np.array([[2, 0]]), "other": np.full((4,), 130, np.uint8), "i90": np.int32(90), "i7": np.int32(7),
    }  # fmt: skip
    body = f"q = QuantizeLinear(x, s, z) {BETWEEN[name]}"
    proto = net(body, "float[2,3,4,4] x", out, opset=13, **{k: v for k, v in used.items() if f"{k}" in body})
    # Relu of int32 and maxima of integers have no kernel in every onnxruntime, and its Where none of eight bits
    check(proto, {"x": draw(2, 3, 4, 4)}, reference=name in ("relu in int32",))


WIDE = {
    "Add": "c = Add(a, k)", "Sub": "c = Sub(k, a)", "Mul": "c = Mul(a, k)", "Neg": "c = Neg(a)", "Abs": "c = Abs(a)",
    "Div": "c = Div(a, k)", "ReduceSum": "c = ReduceSum(a, axes)", "CumSum": "c = CumSum(a, axis)",
    "MatMul": "c = MatMul(a, m)", "Gemm": "c = Gemm <alpha = 2.0>(a, m, k)",
}  # fmt: skip


@pytest.mark.parametrize("op", WIDE)
def test_arithmetic_of_32_bits(op: str) -> None:
    given = {"k": np.array([3, -5, 7, 11], np.int32), "m": np.arange(16, dtype=np.int32).reshape(4, 4) - 7}
    given |= {"axes": np.array([1]), "axis": np.array(1)}
    body = f"q = QuantizeLinear(x, s, z) a = Cast <to = 6>(q) {WIDE[op]} y = Cast <to = 1>(c)"
    proto = net(
        body,
        "float[2,4] x",
        opset=13,
        s=S,
        z=SIGNED,
        **{k: v for k, v in given.items() if f"{k})" in body or f"{k}," in body},
    )
    check(proto, {"x": draw(2, 4)}, reference=op in ("Gemm", "Abs", "Neg", "MatMul"))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_what_leaves_the_range_wraps_around(op: str) -> None:
    """Eight bits, as ONNX's reference code (NumPy) has them; onnxruntime has no kernel for them."""
    proto = net(
        f"q = QuantizeLinear(x, s, z) y = {op}(q, k)",
        "float[2,3] x",
        "int8[] y",
        s=S,
        z=SIGNED,
        k=np.array([100, -90, 3], np.int8),
    )
    x = 3 * draw(2, 3)
    with np.errstate(over="ignore"):
        e = check(proto, {"x": x}, reference=True)
    free = np.clip(np.round(x / S) - 3, -128, 127) + np.array([100.0, -90.0, 3.0])
    assert op != "Add" or (e.output != free).any(), "nothing left the range"


def test_sums_beyond_what_float32_holds_are_refused_in_it() -> None:
    proto = net("q = QuantizeLinear(x, s, z) a = Cast <to = 6>(q) b = Mul(a, a) c = Mul(b, b) y = Cast <to = 1>(c)",
                "float[2,3] x", opset=13, s=S, z=np.uint8(0))  # fmt: skip
    x = np.full((2, 3), 9, np.float32)
    assert reflrp.load(proto).run(x)["y"].max() == (225**4 + 2**31) % 2**32 - 2**31
    with pytest.raises(reflrp.InputError, match=r"integers beyond 16777216 are not exact in float32"):
        reflrp.load(proto).run(x, dtype="float32")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int4", "uint4"])
def test_types(dtype: str) -> None:
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, dtype) if dtype.endswith("t4") else dtype)
    zero = np.array(3).astype(kind)
    proto = net(
        "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)", "float[3,5] x", opset=21, s=np.float32(0.3), z=zero
    )
    check(proto, {"x": 40 * draw(3, 5)}, reference=True)


def test_a_zero_point_for_each_channel() -> None:
    scales, zeros = np.array([0.1, 0.02, 0.05], np.float32), np.array([0, 128, 255], np.uint8)
    body = "q = QuantizeLinear <axis = -3>(x, s, z) y = DequantizeLinear <axis = 1>(q, s, z)"
    check(net(body, "float[2,3,4,4] x", s=scales, z=zeros), {"x": draw(2, 3, 4, 4)})


def test_blocks() -> None:
    scales, zeros = np.abs(draw(2, 3, 4)) + 0.01, (10 * np.abs(draw(2, 3, 4, seed=2))).astype(np.uint8)
    body = "q = QuantizeLinear <axis = 1, block_size = 2>(x, s, z) y = DequantizeLinear <axis = 1, block_size = 2>(q, s, z)"
    proto = net(body, "float[2,5,4] x", opset=21, s=scales, z=zeros)
    x = draw(2, 5, 4)
    e = check(net(body, "float[2,6,4] x", opset=21, s=scales, z=zeros), {"x": draw(2, 6, 4)}, reference=True)
    assert e.relevance.shape == (2, 6, 4)
    s, z = (np.repeat(a, 2, axis=1)[:, :5].astype(float) for a in (scales, zeros))
    want = (np.clip(np.round(x / s) + z, 0, 255) - z) * s  # the last block is cut short
    np.testing.assert_allclose(reflrp.load(proto).run(x)["y"], want, atol=1e-6)


def test_halves_are_rounded_to_even_in_float32() -> None:
    """0.35 / 0.1 is 3.5 in float32, and below it in float64: runtimes make 4 of it."""
    proto = net("y = QuantizeLinear(x, s, z)", "float[1,6] x", "uint8[] y", s=np.float32(0.1), z=np.uint8(100))
    x = np.array([[0.25, 0.35, -0.25, 0.15, 0.45, -0.35]], np.float32)
    assert check(proto, {"x": x}).output.tolist() == [[102, 104, 98, 102, 104, 96]]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
def test_integer_inputs(dtype: str) -> None:
    """Pixels: they carry relevance, in the input's shape."""
    proto = net(
        "f = Cast <to = 1>(x) g = Div(f, k) y = MatMul(g, w)", f"{dtype}[2,4] x", k=np.float32(255), w=draw(4, 3)
    )
    x = (100 * draw(2, 4)).astype(dtype)
    e = check(proto, {"x": x})
    twin = net("g = Div(x, k) y = MatMul(g, w)", "float[2,4] x", k=np.float32(255), w=draw(4, 3))
    plain = reflrp.explain(twin, x.astype(np.float32), "epsilon", init=draw(2, 3, seed=9).astype(float))
    np.testing.assert_allclose(e.relevance, plain.relevance, rtol=1e-12)


def test_an_integer_input_without_a_quantiser() -> None:
    proto = net("d = DequantizeLinear(x, s, z) y = MatMul(d, w)", "uint8[2,4] x", s=S, z=Z, w=draw(4, 3))
    check(proto, {"x": np.arange(8, dtype=np.uint8).reshape(2, 4) * 30})


def test_ids_of_eight_bits_are_no_numbers() -> None:
    proto = net("i = Cast <to = 7>(x) e = Gather(table, i) y = ReduceSum <keepdims = 0>(e, axes)", "uint8[2,4] x",
                table=draw(9, 3), axes=np.array([1]))  # fmt: skip
    x = np.arange(8, dtype=np.uint8).reshape(2, 4)
    e = check(proto, {"x": x})
    np.testing.assert_allclose(e.relevances["x"].sum(axis=1), draw(2, 3, seed=9).sum(axis=1), rtol=1e-4)


def test_numbers_that_do_not_fit_an_integer_input() -> None:
    proto = net("d = DequantizeLinear(x, s, z) y = MatMul(d, w)", "uint8[2,4] x", s=S, z=Z, w=draw(4, 3))
    with pytest.raises(reflrp.InputError, match="holds numbers that uint8 cannot"):
        reflrp.load(proto).run(np.full((2, 4), 300))


REFUSED = {
    "a cast to floats of eight bits": ("y = Cast <to = 17>(x)", "rounds to float8"),
    "floats of eight bits": ("y = QuantizeLinear <output_dtype = 17>(x, s)", "quantises to float8_e4m3fn"),
    "bits": ("q = QuantizeLinear(x, s, z) y = BitwiseAnd(q, z)", "takes the bits of numbers"),
    "a quotient of integers": ("q = QuantizeLinear(x, s, z) y = Div(q, q)", "divides integers by integers"),
    "an interpolation": (
        "q = QuantizeLinear(x, s, z) p = Resize <mode = \"linear\">(q, , scales) y = DequantizeLinear(p, s, z)",
        "interpolates uint8 numbers",
    ),
    "a power": ("q = QuantizeLinear(x, s, z) y = Pow(q, k)", "computes with uint8 numbers"),
    "no scale": ("y = QuantizeLinear(x, nought, z)", "its scale is no positive number"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    body, why = REFUSED[name]
    given = {"s": S, "z": Z, "k": np.float32(2), "nought": np.float32(0), "scales": np.array([1, 2], np.float32)}
    proto = net(
        body, "float[2,3] x", opset=21, **{k: a for k, a in given.items() if f" {k}" in body or f", {k}" in body}
    )
    with pytest.raises(reflrp.UnsupportedOperator, match=why):
        reflrp.load(proto).run(draw(2, 3))
