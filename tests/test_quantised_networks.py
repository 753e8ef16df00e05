"""Whole quantised networks: a trained one in every format of onnxruntime's quantiser, and random chains of integers."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from coverage_tools import assert_closed, net
from models import draw, onnxruntime
from onnx.reference import ReferenceEvaluator

import reflrp
from reflrp import demo

warnings.simplefilter("ignore", DeprecationWarning)
logging.getLogger().setLevel(logging.ERROR)


def quantised(kind: str, path: Path, per_channel: bool, **options: Any) -> tuple[onnx.ModelProto, np.ndarray]:
    """Return the demo's network, trained on digits, after one of onnxruntime's quantisers; and digits."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    source, images, _ = demo.load()
    x = images.astype(np.float32)
    options["per_channel"] = per_channel
    if kind == "dynamic":
        quantization.quantize_dynamic(
            source, path / "q.onnx", op_types_to_quantize=["Conv", "Gemm", "MatMul"], **options
        )
    else:
        name = onnx.load(source).graph.input[0].name
        samples = iter([{name: x}])

        class Samples(quantization.CalibrationDataReader):
            def get_next(self) -> Any:
                return next(samples, None)

        options["quant_format"] = getattr(quantization.QuantFormat, kind)
        quantization.quantize_static(source, path / "q.onnx", Samples(), **options)
    return onnx.load(path / "q.onnx"), x[:8]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("kind", ["QDQ", "QOperator", "dynamic"])
def test_a_trained_network(kind: str, per_channel: bool, tmp_path: Path) -> None:
    """The logits are onnxruntime's, and the relevance is that of the float network but for the error of quantising."""
    proto, x = quantised(kind, tmp_path, per_channel)
    want = next(iter(onnxruntime(proto, {proto.graph.input[0].name: x}).values()))
    model, plain = reflrp.load(proto), demo.load()[0]
    found = next(iter(model.run(x).values()))
    off = np.abs(found - want) > 1e-5 * np.abs(want).max()
    assert off.mean() < 0.02, "but for a half that float32 makes more or less of"
    assert np.abs(found - want).max() < 1.01 / 255, "one step of the probabilities"
    for rules in ("epsilon", "epsilon_plus_flat"):
        e, twin = (reflrp.explain(m, x, rules, target=3) for m in (model, plain))
        assert_closed(e)
        assert np.corrcoef(e.relevance.ravel(), twin.relevance.ravel())[0, 1] > 0.97, rules


def test_only_halves_of_a_pool_differ() -> None:
    """Where onnxruntime has another integer, the real number is a half exactly: float32 makes a little more or less of it."""
    scale, zero = np.float32(0.0371), np.uint8(13)
    body = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)"
    body += "a = AveragePool <kernel_shape = [2, 2], strides = [2, 2]>(d) y = QuantizeLinear(a, s, z)"
    proto = net(body, "float[4,3,32,32] x", "uint8[] y", s=scale, z=zero)
    x = 2 * np.abs(draw(4, 3, 32, 32))
    found, want = reflrp.load(proto).run(x)["y"], onnxruntime(proto, {"x": x})["y"]
    q = np.clip(np.rint(x / scale) + 13, 0, 255)
    quarters = q.reshape(4, 3, 16, 2, 16, 2).sum(axis=(3, 5))
    halves = quarters % 4 == 2
    even = np.rint(quarters / 4 - 13) + 13
    assert halves.mean() > 0.2
    assert (found == want)[~halves].all()
    assert (found == even)[~halves].all()
    assert np.abs(found - want).max() == 1, "onnxruntime rounds these alike now; say so in docs/quantised.md"


STEPS: dict[str, str] = {
    "clip": "{o} = Clip({i}, low, high)",
    "relu": "{o} = Relu({i})",
    "shift": "{o} = Add({i}, k)",
    "scale": "{o} = Mul({i}, k)",
    "less": "{o} = Sub(k, {i})",
    "part": "{o} = Div({i}, d)",
    "pad": "{o} = Pad({i}, pads, k)",
    "crop": "{o} = Slice({i}, both, fours)",
    "turn": "{o} = Transpose <perm = [1, 0]>({i})",
    "most": "{o} = Max({i}, k)",
    "twice": "{o} = Add({i}, {i})",
    "square": "{o} = Mul({i}, {i})",
    "sum": "{o} = CumSum({i}, axis)",
    "product": "{o} = MatMul({i}, {i}T)",
    "neg": "{o} = Neg({i})",
}
"""What may be done with int32 numbers of the shape (4, 4)."""


@pytest.mark.parametrize("seed", range(60))
def test_random_chains_of_integers(seed: int) -> None:
    """Any operators on int8 and int32 numbers, against ONNX's reference code: the same integers, wrapped around alike."""
    rng = np.random.default_rng(seed)
    narrow = bool(seed % 2)
    body, name = (
        "n0 = QuantizeLinear(x, s, z)" + ("" if narrow else " m0 = Cast <to = 6>(n0)"),
        "n0" if narrow else "m0",
    )
    for step in range(int(rng.integers(2, 7))):
        op = str(rng.choice(list(STEPS)))
        if narrow and op in (
            "part",
            "product",
            "sum",
            "less",
        ):  # of eight bits, NumPy and ONNX divide and sum in other types
            continue
        made = f"v{step}"
        if op == "product":
            body += f" {name}T = Transpose({name})"
        body += " " + STEPS[op].format(i=name, o=made)
        if op == "pad":
            body += f" {made}c = Slice({made}, both, fours)"
            made += "c"
        name = made
    body += f" y = Identity({name})"
    kind = np.int8 if narrow else np.int32
    words = set("".join(c if c.isalnum() else " " for c in body).split())
    given = {
        "s": np.float32(0.03), "z": np.int8(rng.integers(-20, 20)), "low": kind(-70), "high": kind(90), "d": kind(-7),
        "k": kind(rng.integers(-9, 9)), "pads": np.array([1, 1, 0, 0]), "axis": np.array(0), "both": np.array([0, 0]),
        "fours": np.array([4, 4]),
    }  # fmt: skip
    proto = net(
        body, "float[4,4] x", f"{np.dtype(kind).name}[] y", opset=14, **{k: v for k, v in given.items() if k in words}
    )
    x = draw(4, 4, seed=seed)
    with np.errstate(over="ignore"):
        (want,) = ReferenceEvaluator(proto).run(None, {"x": x})
    found = reflrp.load(proto).run(x)["y"]
    np.testing.assert_array_equal(found, want.astype(float))
    assert_closed(reflrp.explain(proto, x, "epsilon", init=draw(*want.shape, seed=9).astype(float)))
