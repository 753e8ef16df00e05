"""The limit on memory: said before anything is allocated, and with the node that asks for it."""

import tracemalloc
from typing import Any

import fuzz
import numpy as np
import pytest
from models import draw, ints, model
from onnx import ModelProto

import reflrp
from reflrp import TooLarge, limits

HUGE = 2**40
CONSTANTS: dict[str, Any] = {
    "n": ints(HUGE), "two": ints(HUGE, 4), "zero": np.int64(0), "one": np.int64(1), "size": np.int64(HUGE), "ids": ints(0, 1),
    "values": np.array([0, 1], np.float32), "k": ints(4), "row": (1, 4), "factors": np.array([2.0**38, 1], np.float32),
    "column": (40_000, 1), "wide": (1, 60_000),
}  # fmt: skip

FOLDED = {
    "ConstantOfShape": "c = ConstantOfShape(n)",
    "Expand": "c = Expand(row, two)",
    "Tile": "c = Tile(row, two)",
    "Range": "c = Range(zero, size, one)",
    "Pad": "c = Pad(values, two)",
    "Resize": "c = Resize(row, , , two)",
    "OneHot": "c = OneHot(ids, size, values)",
    "HannWindow": "c = HannWindow(size)",
    "MatMul": "c = MatMul(column, wide)",
    "Mul": "c = Mul(column, wide)",
    "Einsum": 'c = Einsum <equation = "ij,kl->ijkl">(column, wide)',
}
OF_VALUES = {
    "Expand": "c = Expand(x, two)",
    "Tile": "c = Tile(x, two)",
    "Pad": "p = Concat <axis = 0>(two, two) c = Pad(x, two2)",
    "Resize": "c = Resize(x, , , two)",
    "Resize by factors": "c = Resize(x, , factors)",
    "MatMul": "u = Reshape(x, up) v = Reshape(x, down) t = Tile(u, many) s = Tile(v, manyt) c = MatMul(t, s)",
}


def bomb(body: str) -> ModelProto:
    extra = {
        "two2": ints(0, HUGE, 0, 0),
        "up": ints(-1, 1),
        "down": ints(1, -1),
        "many": ints(60_000, 1),
        "manyt": ints(1, 60_000),
    }
    return model(f"{body} s1 = ReduceMax <keepdims = 0>(c) f = Cast <to = 1>(s1) y = Mul(x, f)", **CONSTANTS, **extra)


def refused(do: Any, *words: str) -> None:
    """Check that it is TooLarge, that the message has these words, and that nothing large was allocated."""
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge) as caught:
            do()
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()
    for word in ("reflrp.limits.MEMORY", "16 GiB", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", FOLDED)
def test_constants_that_a_file_computes(name: str) -> None:
    refused(lambda: reflrp.load(bomb(FOLDED[name])), f"node '{name}_0' ({name})")


@pytest.mark.parametrize("name", OF_VALUES)
def test_values(name: str) -> None:
    loaded, op = reflrp.load(bomb(OF_VALUES[name])), name.split(maxsplit=1)[0]
    refused(lambda: loaded.run(draw(2, 4)), f"node '{op}_", f"({op})", "needs an array of the shape")
    refused(lambda: reflrp.explain(loaded, draw(2, 4)), f"({op})")
    refused(loaded.summary, f"({op})")


def test_doubled_again_and_again() -> None:
    steps = " ".join(f"x{i + 1} = Concat <axis = 1>(x{i}, x{i})" for i in range(40))
    proto = model(f"x0 = Relu(x) {steps} y = Relu(x40)")
    refused(lambda: reflrp.load(proto).run(draw(2, 4)), "node 'Concat_2", "(Concat)")
    folded = model(f"x0 = Identity(c) {steps} m = ReduceMax <keepdims = 0>(x40) y = Mul(x, m)", c=(2, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "MEMORY", 2**24)
        with pytest.raises(TooLarge, match=r"node 'Concat_1[0-9]' .* the limit is 16 MiB"):
            reflrp.load(folded)


def test_all_values_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sample's values beyond the limit are refused; a batch is cut before that."""
    proto = model(
        "h = MatMul(x, w) a = Relu(h) c = Relu(a) d = Relu(c) b = MatMul(d, v) y = Relu(b)", w=(4, 500), v=(500, 3)
    )
    loaded = reflrp.load(proto)
    monkeypatch.setattr(limits, "MEMORY", 8 * 3020)
    monkeypatch.setattr("reflrp.explainer.explainer.MEMORY", 8 * 3020)
    assert reflrp.explain(loaded, draw(30, 4)).relevance.shape == (30, 4)
    monkeypatch.setattr(limits, "MEMORY", 8 * 3000)
    with pytest.raises(TooLarge) as caught:
        reflrp.explain(loaded, draw(1, 4))
    for word in ("15.67 KiB at once", "3.906 KiB of the shape (1, 500)", "node 'MatMul_0' (onnx MatMul)", "23.44 KiB"):
        assert word in str(caught.value)
    assert reflrp.explain(loaded, draw(1, 4), dtype="float32").relevance.shape == (1, 4)


def test_nodes_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unrolled loops, recurrent layers and functions count."""
    monkeypatch.setattr(limits, "NODES", 300)
    lstm = model("h, l = LSTM <hidden_size = 3>(x, w, r) y = Squeeze(h)", "float[T,1,4] x", w=(1, 12, 4), r=(1, 12, 3))
    assert reflrp.load(lstm).run(draw(3, 1, 4))["y"].shape == (3, 3)
    with pytest.raises(TooLarge, match=r"node 'LSTM_0' \(LSTM\): the graph gets more than 300 nodes"):
        reflrp.load(lstm).run(draw(100, 1, 4))
    body = "<body = a (int64 i, bool c, float[N,4] h) => (bool d, float[N,4] g) { d = Identity(c) g = Tanh(h) }>"
    with pytest.raises(TooLarge, match="more than 300 nodes"):
        reflrp.load(model(f"y = Loop (n, , x) {body}", n=np.int64(500))).run(draw(2, 4))


@pytest.mark.parametrize("shape", [(HUGE,), (2**20, 2**21), (0, 2**62), (3, 4)])
def test_sizes(shape: tuple[int, ...]) -> None:
    """An axis without entries does not hide another without end: NumPy makes strides of it."""
    if shape == (3, 4):
        limits.check_array("it", shape)
    else:
        with pytest.raises(TooLarge):
            limits.check_array("it", shape)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (12, "12 bytes"),
        (2048, "2 KiB"),
        (3 * 2**19, "1.5 MiB"),
        (2**34, "16 GiB"),
        (2**43, "8 TiB"),
        (2**70, "more than 1 EiB"),
    ],
)
def test_sizes_in_words(size: int, text: str) -> None:
    assert limits.in_words(size) == text


def test_every_operator_that_grows_is_watched() -> None:
    """Of the operators that the fuzzer's bombs are made of, each says its size beforehand, or cannot be large."""
    from reflrp.importer.nodes.estimate import FRAMED, SIZED

    used = {node.op_type for text in fuzz.BOMBS for node in model(text.replace("b = ", "y = ")).graph.node}
    bounded = {"Squeeze", "Cast", "Concat", "Unsqueeze", "Mul", "Shape", "Add", "ReduceMax", "EyeLike", "CumSum"}
    assert used - bounded <= SIZED | FRAMED
