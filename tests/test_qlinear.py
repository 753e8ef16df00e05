"""Operators that take and make integers, against onnxruntime: as integers, to the bit, on many random numbers."""

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from coverage_tools import assert_closed, net
from models import draw, onnxruntime

import reflrp

warnings.simplefilter("ignore", DeprecationWarning)

M = "com.microsoft."


def some(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(low, high, shape, dtype=dtype, endpoint=True)


A, AZ, B, BZ, Y, YZ = (
    np.float32(0.031),
    np.uint8(119),
    np.float32(0.047),
    np.uint8(131),
    np.float32(0.059),
    np.uint8(125),
)
K, KZ = np.float32(0.013), np.int8(0)
CHANNELS = np.array([0.011, 0.017, 0.007, 0.013], np.float32)

CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "QLinearConv": (
        "y = QLinearConv <pads = [1, 1, 1, 1], strides = [2, 1]>(x, a, az, w, k, kz, t, tz, bias)",
        "uint8[2,3,9,8]",
        {"w": some(4, 3, 3, 3, dtype="int8"), "bias": np.array([500, -900, 0, 1200], np.int32)},
    ),
    "QLinearConv in groups, a scale a channel": (
        "y = QLinearConv <group = 2, dilations = [1, 2]>(x, a, az, w, channels, zeros, t, tz)",
        "uint8[2,4,9,8]",
        {"w": some(4, 2, 3, 3, dtype="int8"), "channels": CHANNELS, "zeros": np.zeros(4, np.int8)},
    ),
    "QLinearMatMul": ("y = QLinearMatMul(x, a, az, w, k, kz, t10, tz)", "uint8[5,12]", {"w": some(12, 4, dtype="int8")}),
    "QLinearMatMul, a scale a column": (
        "y = QLinearMatMul(x, a, az, w, channels, zeros, t10, tz)",
        "uint8[2,5,12]",
        {"w": some(12, 4, dtype="int8"), "channels": CHANNELS, "zeros": np.zeros(4, np.int8)},
    ),
    "QLinearMatMul of two values": (
        "u = Transpose <perm = [0, 2, 1]>(x) y = QLinearMatMul(x, a, az, u, a, az, t10, tz)", "uint8[2,5,12]", {}
    ),
    "QGemm": (
        f"y = {M}QGemm <transB = 1>(x, a, az, w, channels, zeros, bias, t10, tz)",
        "uint8[5,12]",
        {"w": some(4, 12, dtype="int8"), "channels": CHANNELS, "zeros": np.zeros(4, np.int8),
         "bias": np.array([500, -900, 0, 1200], np.int32)},
    ),
    "QGemm to float": (
        f"y = {M}QGemm <alpha = 0.5>(x, a, az, w, k, kz, bias)",
        "uint8[5,12]",
        {"w": some(12, 4, dtype="int8"), "bias": np.array([500, -900, 0, 1200], np.int32)},
    ),
    "QLinearAdd": (f"y = {M}QLinearAdd(x, a, az, w, b, bz, t, tz)", "uint8[5,12]", {"w": some(12)}),
    "QLinearAdd of two values": (f"u = Identity(x) y = {M}QLinearAdd(x, a, az, u, b, bz, t, tz)", "int8[5,12]", {}),
    "QLinearMul": (f"y = {M}QLinearMul(x, a, az, w, b, bz, t, tz)", "uint8[5,12]", {"w": some(12)}),
    "QLinearMul of two values": (f"u = Identity(x) y = {M}QLinearMul(x, a, az, u, b, bz, t, tz)", "uint8[5,12]", {}),
    "QLinearSigmoid": (f"y = {M}QLinearSigmoid(x, a, az, part, tz0)", "uint8[5,12]", {}),
    "QLinearLeakyRelu": (f"y = {M}QLinearLeakyRelu <alpha = 0.3>(x, a, az, b, bz)", "uint8[5,12]", {}),
    "QLinearSoftmax": (f"y = {M}QLinearSoftmax <axis = -1, opset = 13>(x, a, az, part, tz0)", "uint8[5,12]", {}),
    "QLinearAveragePool": (
        f"y = {M}QLinearAveragePool <kernel_shape = [3, 2], strides = [2, 1], pads = [1, 0, 1, 1]>(x, a, az, b, bz)",
        "uint8[2,3,9,8]", {},
    ),
    "QLinearGlobalAveragePool": (f"y = {M}QLinearGlobalAveragePool(x, a, az, b, bz)", "uint8[2,3,9,8]", {}),
    "QLinearConcat": (f"u = Identity(x) y = {M}QLinearConcat <axis = 1>(t, tz, x, a, az, u, b, bz)", "uint8[5,12]", {}),
    "QLinearWhere": (
        f"u = Identity(x) y = {M}QLinearWhere(mask, x, a, az, u, b, bz, t, tz)", "uint8[5,12]", {"mask": draw(5, 12) > 0}),
    "MatMulIntegerToFloat": (
        f"y = {M}MatMulIntegerToFloat(x, w, a, channels, az, zeros, c)",
        "uint8[5,12]",
        {"w": some(12, 4, dtype="int8"), "channels": CHANNELS, "zeros": np.zeros(4, np.int8), "c": draw(4)},
    ),
    "DynamicQuantizeMatMul": (
        f"y = {M}DynamicQuantizeMatMul(x, w, channels, zeros, c)",
        "float[2,5,12]",
        {"w": some(12, 4, dtype="int8"), "channels": CHANNELS, "zeros": np.zeros(4, np.int8), "c": draw(4)},
    ),
    "QAttention": (
        f"y = {M}QAttention <num_heads = 2>(x, w, c, a, k, mask, az, kz)",
        "uint8[2,5,8]",
        {"w": some(8, 24, dtype="int8"), "c": draw(24), "mask": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32)},
    ),
    "com.microsoft's 16 bits": (
        f"q = {M}QuantizeLinear(x, a, az16) y = {M}DequantizeLinear(q, a, az16)", "float[5,12]", {"az16": np.uint16(31000)}
    ),
}  # fmt: skip
SHARED = {"a": A, "az": AZ, "b": B, "bz": BZ, "t": Y, "tz": YZ, "k": K, "kz": KZ, "part": np.float32(1 / 256),
          "tz0": np.uint8(0), "t10": np.float32(0.1)}  # fmt: skip

OFF_BY_ONE = {"QLinearAveragePool": 0.01}
"""Operators of which onnxruntime's float32 makes a half of what is none -> the share of entries that may be one step off."""


def case(name: str) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    body, kind, own = CASES[name]
    words = set("".join(c if c.isalnum() else " " for c in body).split())
    given = {k: v for k, v in (SHARED | own).items() if k in words}
    if kind.startswith("int8"):
        given = {k: np.int8(int(v) - 128) if isinstance(v, np.uint8) else v for k, v in given.items()}
    real = name in (
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "QAttention",
        "QGemm to float",
        "com.microsoft's 16 bits",
    )
    proto = net(body, f"{kind} x", ("float" if real else kind.partition("[")[0]) + "[] y", opset=13, **given)
    shape = tuple(int(n) for n in kind.partition("[")[2][:-1].split(","))
    x = draw(*shape, seed=3) if kind.startswith("float") else some(*shape, dtype=kind.partition("[")[0], seed=3)
    return proto, {"x": x}


@pytest.mark.parametrize("name", CASES)
def test_forward_and_ledger(name: str) -> None:
    proto, feeds = case(name)
    model = reflrp.load(proto)
    found, want = model.run(feeds)["y"], onnxruntime(proto, feeds)["y"]
    assert found.shape == want.shape
    if want.dtype.kind == "f":
        np.testing.assert_allclose(found, want, rtol=2e-6, atol=2e-6 * np.abs(want).max())
    else:
        off = np.abs(found - want.astype(float))
        assert off.max() <= (name in OFF_BY_ONE)
        assert (off > 0).mean() <= OFF_BY_ONE.get(name, 0), (off > 0).mean()
    e = reflrp.explain(model, feeds, "attnlrp", init=draw(*want.shape, seed=9).astype(float))
    assert_closed(e)
    assert e.relevance.shape == feeds["x"].shape
    assert e.relevance.any()


REAL = {
    "QLinearConv": "y = Conv <pads = [1, 1, 1, 1], strides = [2, 1]>(x, w, bias)",
    "QLinearMatMul": "y = MatMul(x, w)",
    "QGemm to float": "y = Gemm <alpha = 0.5>(x, w, bias)",
    "QLinearAdd": "y = Add(x, w)",
    "QLinearMul": "y = Mul(x, w)",
    "QLinearAveragePool": "y = AveragePool <kernel_shape = [3, 2], strides = [2, 1], pads = [1, 0, 1, 1]>(x)",
    "QLinearConcat": "y = Concat <axis = 1>(x, x)",
}
"""The float network that integers stand for: x, w and bias in real units."""


@pytest.mark.parametrize("rule", [reflrp.rules.Epsilon(0.1), reflrp.rules.ZPlus(), reflrp.rules.WSquare()])
@pytest.mark.parametrize("name", REAL)
def test_relevance_is_that_of_the_float_network(name: str, rule: Any) -> None:
    """A stabiliser of 0.1 shows that it is in real units, and not in those of the integers."""
    proto, feeds = case(name)
    own = CASES[name][2]
    scale, zero = (B, BZ) if name in ("QLinearAdd", "QLinearMul") else (K, KZ)
    given = {}
    if "w" in own:
        given["w"] = (own["w"].astype(float) - float(zero)) * float(scale)
    if "bias" in own:
        given["bias"] = own["bias"] * float(A) * float(K) * (0.5 if "Gemm" in name else 1.0)
    x = (feeds["x"].astype(float) - float(AZ)) * float(A)
    kind = CASES[name][1].replace("uint8", "double")
    twin = net(REAL[name], f"{kind} x", "double[] y", opset=13, **given)
    init = draw(*reflrp.load(proto).run(feeds)["y"].shape, seed=9).astype(float)
    e = reflrp.explain(proto, feeds, rule, init=init)
    want = reflrp.explain(twin, x, rule, init=init)
    if name == "QLinearConv":  # whose output is clipped, but clipped entries keep their relevance
        assert (reflrp.load(proto).run(feeds)["y"] == 0).any()
    np.testing.assert_allclose(e.relevance, want.relevance, rtol=1e-9, atol=1e-9 * np.abs(want.relevance).max())


def test_keys_of_the_past_are_refused() -> None:
    body = f"y, p = {M}QAttention <num_heads = 2>(x, w, c, a, k, , az, kz, past)"
    proto = net(
        body, "uint8[2,5,8] x, float[2,2,2,3,4] past", w=some(8, 24, dtype="int8"), c=draw(24), a=A, k=K, az=AZ, kz=KZ
    )
    with pytest.raises(reflrp.UnsupportedOperator, match="keys and values of earlier calls"):
        reflrp.load(proto).run({"x": some(2, 5, 8), "past": draw(2, 2, 2, 3, 4)})


def test_channels_last_are_refused() -> None:
    proto = net(f"y = {M}QLinearGlobalAveragePool <channels_last = 1>(x, a, az, b, bz)", "uint8[2,3,9,8] x", "uint8[] y",
                a=A, az=AZ, b=B, bz=BZ)  # fmt: skip
    with pytest.raises(reflrp.UnsupportedOperator, match="channels are last"):
        reflrp.load(proto).run(some(2, 3, 9, 8))
