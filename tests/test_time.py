"""The limit on time: work is counted before it is done, so that a small file cannot ask for hours; no clock is read here."""

import re
from math import prod
from typing import Any

import numpy as np
import pytest
from models import cases, draw, ints, model, onnxruntime
from onnx import ModelProto

import reflrp
from reflrp import TooLarge, limits
from reflrp.arrays.kernels import Windows
from reflrp.importer.build import build
from reflrp.importer.windows.geometry import counts
from reflrp.passes.recognise import recognise

BYTES = np.ones((1, 1, 40, 40), np.uint8)
WEIGHTS: dict[str, Any] = {
    "m": np.eye(600, dtype=np.float32), "image": (1, 1, 60, 60), "pixels": BYTES, "kernel": (1, 1, 20, 20),
    "big": (1, 1, 80, 80), "grid": (1, 300, 300, 2), "square": (200, 200), "zeros": np.zeros((200, 200), np.int64),
    "pairs": np.zeros((50_000, 2), np.int64), "series": (400, 1, 8), "w": (1, 32, 8), "r": (1, 32, 8),
    "sizes": ints(1, 1, 900, 900), "nan": np.full((1, 1, 9, 9), np.nan, np.float32), "zero": np.float32(0),
    "one": ints(1), "huge": np.int64(2**62), "wide": (1, 1, 300, 300), "holes": np.full((200, 200), np.nan, np.float32),
}  # fmt: skip

FOLDED = {
    "MatMul": " ".join(f"m{i} = MatMul({f'm{i - 1}' if i else 'm'}, m)" for i in range(20)) + " c = Identity(m19)",
    "Gemm": "c = Gemm(m, m, m)",
    "Einsum": 'c = Einsum <equation = "ij,jk,kl->il">(square, square, square)',
    "Conv": "c = Conv(wide, kernel)",
    "AveragePool": "c = AveragePool <kernel_shape = [50, 50], pads = [25, 25, 25, 25]>(big)",
    "MaxPool": "c0 = MaxPool <kernel_shape = [30, 30]>(pixels) c = Cast <to = 1>(c0)",
    "ConvTranspose": "c = ConvTranspose(nan, kernel)",
    "GridSample": "c = GridSample(image, grid)",
    "Resize": 'c = Resize <mode = "cubic">(image, , , sizes)',
    "ScatterElements": "c = ScatterElements(square, zeros, square)",
    "GatherND": "c = GatherND(square, pairs)",
    "Erf": "c = Erf(holes)",
    "LSTM": "c, d = LSTM <hidden_size = 8>(series, w, r)",
    "Det": "c = Det(m)",
    "Cast": "t = Cast <to = 8>(square) c = Cast <to = 1>(square)",
}
"""Operators whose cost the standard's reference code does not bound by the size of the file, each as a constant."""


def refused(do: Any, *words: str) -> None:
    """Check that it is TooLarge because of time, that the message has these words, and how much was counted at most."""
    with pytest.raises(TooLarge, match=r"s on a nominal core; the limit is .* \(reflrp.limits.TIME\)") as caught:
        do()
    assert all(word in str(caught.value) for word in words), caught.value


def net(body: str, inputs: str = "float[N,4] x", **more: Any) -> ModelProto:
    weights = {k: v for k, v in (WEIGHTS | more).items() if f"({k}" in body or f", {k}" in body}
    return model(body, inputs, opset=20, **weights)


@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.parametrize("limit", [0.01, 24 * 3600])
def test_constants_that_a_file_computes(name: str, limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused under a small limit by the name of the node; done under the one that holds by default."""
    monkeypatch.setattr(limits, "TIME", limit)
    proto = net(f"{FOLDED[name]} s = ReduceMax <keepdims = 0>(c) y = Mul(x, s)")
    if limit < 1:
        refused(lambda: reflrp.load(proto), f"node '{name}_", f"({name})")
    else:
        assert reflrp.load(proto).outputs == ("y",)


OF_VALUES = {
    "Conv": ("y = Conv <pads = [10, 10, 10, 10]>(x, kernel)", (1, 1, 300, 300)),
    "AveragePool": ("y = AveragePool <kernel_shape = [60, 60]>(x)", (1, 1, 64, 64)),
    "MaxPool": ("y = MaxPool <kernel_shape = [60, 60]>(x)", (1, 1, 64, 64)),
    "LRN": ("y = LRN <size = 4001>(x)", (1, 1, 64, 64)),
    "MatMul": ("t = Transpose <perm = [0, 1, 3, 2]>(x) y = MatMul(x, t)", (1, 1, 400, 400)),
    "Einsum": ('y = Einsum <equation = "abij,abkj->abik">(x, x)', (1, 1, 400, 400)),
    "CumSum": ("y = CumSum(x, axis)", (1, 1, 40, 2000)),
}


@pytest.mark.parametrize(
    ("name", "of"),
    [(name, of) for name in OF_VALUES for of in ("values", "plumbing") if (name, of) != ("CumSum", "plumbing")],
)
def test_forward(name: str, of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the forward pass computes anything; and what it computes beside the graph."""
    body, shape = OF_VALUES[name]
    dims = ",".join(map(str, shape))
    if of == "plumbing":
        mask = re.sub(r"\bx\b", "f", re.sub(r"\by\b", "c", body))
        body = f"g = Greater(x, zero) f = Cast <to = 1>(g) {mask} s = ReduceMax <keepdims = 0>(c) y = Mul(x, s)"
    loaded = reflrp.load(net(body, f"float[{dims}] x", axis=np.int64(3)))
    monkeypatch.setattr(limits, "TIME", 0.02)
    refused(lambda: loaded.run(draw(*shape)), f"node '{name}_", name)


def test_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule runs a map several times, forth and back."""
    loaded = reflrp.load(net("h = MatMul(x, v) y = Relu(h)", v=(4, 500_000)))
    monkeypatch.setattr(limits, "TIME", 0.02)
    assert loaded.run(draw(3, 4))["y"].shape == (3, 500_000)
    refused(lambda: reflrp.explain(loaded, draw(3, 4)), "node 'MatMul_0' (onnx MatMul)")


LOOP = """t = ReduceMax <keepdims = 0>(x) g = Greater(t, zero) n0 = Cast <to = 7>(g) n = Add(n0, huge)
    k = Loop (n, , one) <body = a (int64 i, bool go, int64[1] h) => (bool on, int64[1] q) {
        on = CONDITION q = Mul(h, h) }>
    y = Gather <axis = 1>(x, k)"""


def test_loops_without_end() -> None:
    """A loop that nothing but its count ends is refused at once, at the limit that holds by default."""
    refused(lambda: reflrp.load(net(LOOP.replace("CONDITION", "Identity(go)"))).run(draw(2, 4)), "node 'Loop_4' (Loop)")


def test_loops_that_may_end(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = reflrp.load(net(LOOP.replace("CONDITION", "Equal(i, i)")))
    monkeypatch.setattr(limits, "TIME", 0.1)
    refused(lambda: loaded.run(draw(2, 4)), "node ")


def nested(depth: int) -> ModelProto:
    """Loops in loops: in each, the input is added to a state that begins as a constant."""
    body = f"r{depth} = Add(s{depth}, x) d{depth} = Identity(c{depth})"
    for k in reversed(range(depth)):
        ends = f"(int64 i{k + 1}, bool c{k + 1}, float[2,4] s{k + 1}) => (bool d{k + 1}, float[2,4] r{k + 1})"
        inner = f"<body = l {ends} {{ {body} }}>"
        body = f"r{k} = Loop (n, , z) {inner}" + (f" d{k} = Identity(c{k})" if k else "")
    return model(f"{body} y = Identity(r0)", "float[2,4] x", n=np.int64(1), z=np.zeros((2, 4), np.float32))


def test_loops_in_loops() -> None:
    """What carries relevance is worked out once for what comes in, not once for each turn of all loops around."""
    spent = {}
    for depth in (4, 8, 16, 30):
        with limits.budget() as counted:
            loaded = reflrp.load(nested(depth))
        spent[depth] = counted.spent
        assert reflrp.explain(loaded, draw(2, 4)).relevance.shape == (2, 4)
    assert spent[30] < 10 * spent[4]


def test_labels_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TIME", 1e-3)
    refused(lambda: reflrp.load(nested(20)), "node ")


TANHS = "<body = a (int64 i, bool c, float[N,4] h) => (bool d, float[N,4] g) {{ d = Identity(c) {} }}>".format(
    "t0 = Identity(h) " + " ".join(f"t{i + 1} = Tanh(t{i})" for i in range(50)) + " g = Tanh(t50)"
)


@pytest.mark.parametrize(
    ("body", "inputs", "shape"),
    [
        ("h, l = LSTM <hidden_size = 3>(x, w, r) y = Squeeze(h)", "float[T,1,4] x", (100_000, 1, 4)),
        ("h, l = GRU <hidden_size = 4>(x, w, r) y = Squeeze(h)", "float[T,1,4] x", (200_000, 1, 4)),
        (
            'h, l = RNN <hidden_size = 12, direction = "reverse">(x, w, u) y = Squeeze(h)',
            "float[T,1,4] x",
            (300_000, 1, 4),
        ),
        (f"y = Loop (n, , x) {TANHS}", "float[N,4] x", (2, 4)),
    ],
    ids=["LSTM", "GRU", "RNN", "Loop"],
)
def test_too_many_steps_are_refused_at_the_first(body: str, inputs: str, shape: Any, monkeypatch: Any) -> None:
    """They are not built until the limit is there; the nodes of the first steps tell."""
    loaded = reflrp.load(
        model(body, inputs, w=(1, 12, 4), r=(1, 12, 3 if "LSTM" in body else 4), u=(1, 12, 12), n=np.int64(1500))
    )
    monkeypatch.setattr(limits, "NODES", 50_000)
    with (
        limits.budget() as counted,
        pytest.raises(TooLarge, match=r"more than 50000 nodes .* for each of [0-9]+ steps"),
    ):
        loaded.graph({"x": shape})
    assert counted.spent < 1000 * 50 * limits.STEP


def test_patterns_are_looked_for_under_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each node that may end a pattern counts for the nodes before it that are read, whatever the size of the input."""
    body = " ".join(f"h{i + 1} = Mul(h{i}, h{i})" for i in range(50))
    loaded = reflrp.load(net(f"h0 = Identity(x) {body} y = Identity(h50)"))
    graph = build(loaded.source, {"x": (2, 4)})
    monkeypatch.setattr(limits, "TIME", 0.01)
    with limits.budget():
        refused(lambda: recognise(graph), "recognising what ends in node 'Mul_")


@pytest.mark.parametrize("between", [1, 5, 20])
def test_biases_are_looked_for_nearby(between: int) -> None:
    """A bias joins its linear map across a few reshapes; not across any number, for which each would be walked again."""
    steps = " ".join(f"h{i + 1} = Reshape(h{i}, s)" for i in range(between))
    proto = model(f"h0 = MatMul(x, w) {steps} y = Add(h{between}, b)", w=(4, 4), b=(4,), s=ints(-1, 4))
    x = draw(2, 4)
    graph = reflrp.load(proto).graph({"x": (2, 4)})
    assert ("diagonal" in {n.kind for n in graph.nodes}) == (between > 15)
    np.testing.assert_allclose(reflrp.load(proto).run(x)["y"], onnxruntime(proto, {"x": x})["y"], rtol=1e-5)


def test_long_networks_cost_in_proportion() -> None:
    """Chains, fans and ladders of four times the nodes count for about four times the work."""
    shapes = {
        "chain": lambda n: " ".join(f"h{i + 1} = Tanh(h{i})" for i in range(n)) + f" y = Identity(h{n})",
        "fan": lambda n: (
            " ".join(f"a{i} = Tanh(h0)" for i in range(n)) + f" y = Sum({','.join(f'a{i}' for i in range(n))})"
        ),
        "ladder": lambda n: " ".join(f"h{i + 1} = Add(h{i}, x)" for i in range(n)) + f" y = Identity(h{n})",
        "reshapes": lambda n: (
            " ".join(f"a{i} = Add(h{i}, b) h{i + 1} = Reshape(a{i}, s)" for i in range(n)) + f" y = Identity(h{n})"
        ),
    }
    for name, body in shapes.items():
        spent = []
        for n in (100, 400):
            proto = model(f"h0 = MatMul(x, w) {body(n)}", w=(4, 4), b=(4,), s=ints(-1, 4))
            with limits.budget() as counted:
                reflrp.explain(proto, draw(2, 4))
            spent.append(counted.spent)
        assert spent[1] < 5 * spent[0], name


def test_work_is_at_least_what_is_made() -> None:
    """Each op's estimate is finite, and no smaller than the numbers that it makes."""
    for name, proto in cases():
        loaded = reflrp.load(proto)
        try:
            graph = loaded.graph(loaded.example_shapes(2))
        except reflrp.ReflrpError:  # a case that needs other shapes than those it declares
            continue
        for node in graph.nodes:
            made = prod(graph.values[node.output].shape)
            assert made <= graph.work(node) < limits.TIME * limits.RATE / 1e6, f"{name}: {node.name}"


def test_everyday_networks_are_far_from_the_limit() -> None:
    """VGG-16 and BERT take some ten thousand million products a sample, and a recurrent step a few turns for each node."""
    products = {"VGG-16": 15.5e9, "BERT-base of 512 tokens": 50e9}
    assert all(5 * n < limits.TIME * limits.RATE / 100 for n in products.values())
    lstm = model(
        "h, l = LSTM <hidden_size = 30>(x, w, r) y = Squeeze(h)", "float[T,1,4] x", w=(1, 120, 4), r=(1, 120, 30)
    )
    with limits.budget() as counted:
        reflrp.explain(reflrp.load(lstm), draw(100, 1, 4), rules="epsilon")
    assert 20 * counted.spent < limits.TIME * limits.RATE / 100


@pytest.mark.parametrize("seed", range(20))
def test_counts_of_windows(seed: int) -> None:
    """How many entries each window holds, by a formula, is what counting gives."""
    chance = np.random.default_rng(seed)
    size, kernel, stride, dilation, begin = (int(n) for n in chance.integers([8, 1, 1, 1, 0], [20, 5, 4, 4, 4]))
    windows = Windows((size,), (kernel,), (stride,), (dilation,), (begin,), (dilation * kernel,))
    inside = np.zeros(windows.padded[0])
    inside[begin : begin + size] = 1
    want = [inside[tap].astype(int) for tap in windows.taps()]
    if np.sum(want, axis=0).all():
        np.testing.assert_array_equal(counts(windows, (0,), (size,)), np.sum(want, axis=0))


def test_a_window_over_a_long_series() -> None:
    """The entries of half a million windows of half a million are not laid out to be counted."""
    proto = model("y = AveragePool <kernel_shape = [500000], pads = [300000, 300000]>(x)", "float[1,1,1000000] x")
    with limits.budget() as counted:
        reflrp.load(proto).graph({"x": (1, 1, 1_000_000)})
    assert counted.spent < limits.RATE


def test_names_that_meet() -> None:
    """Names in the file may be those that we make for parts of an operator; each node keeps its own."""
    proto = model("a = LpPool <kernel_shape = [2]>(x) y = Relu(a)", "float[1,1,5] x")
    proto.graph.node[0].name, proto.graph.node[1].name = "p", "p:power"
    x = draw(1, 1, 5)
    np.testing.assert_allclose(reflrp.load(proto).run(x)["y"], onnxruntime(proto, {"x": x})["y"], rtol=1e-5)
    same = " ".join("r = Tanh(x)" for _ in range(3))
    branch = (
        f"<then_branch = a () => (float[N,4] r) {{ {same} }}, else_branch = b () => (float[N,4] q) {{ q = Relu(x) }}>"
    )
    graph = reflrp.load(model(f"y = If (c) {branch}", c=np.array(True))).graph({"x": (2, 4)})
    assert len({n.name for n in graph.nodes}) == len({n.output for n in graph.nodes}) == len(graph.nodes) == 3
