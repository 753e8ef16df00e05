"""Sizes that the file leaves open: one Explainer serves them all. Sizes that it fixes: the batch is cut, and a note says so."""

from typing import Any

import models
import numpy as np
import pytest
from models import draw, ints, model
from onnx import ModelProto

import reflrp
from reflrp import Explainer, InputError

ATTENTION = model(
    """s = Shape(x) b = Gather(s, zero) t = Gather(s, one) bu = Unsqueeze(b, first) tu = Unsqueeze(t, first)
    p = Range(zero, t, one) e = Gather(places, p) h = Add(x, e)
    q = MatMul(h, wq) k = MatMul(h, wk) split = Concat <axis = 0>(bu, tu, heads, minus)
    qs = Reshape(q, split) qh = Transpose <perm = [0, 2, 1, 3]>(qs)
    ks = Reshape(k, split) kh = Transpose <perm = [0, 2, 3, 1]>(ks)
    scores = MatMul(qh, kh) square = Concat <axis = 0>(tu, tu) full = ConstantOfShape <value = float[1] {-30.0}>(square)
    mask = Trilu(full, one) masked = Add(scores, mask) weights = Softmax(masked)
    vs = Reshape(h, split) vh = Transpose <perm = [0, 2, 1, 3]>(vs) mixed = MatMul(weights, vh)
    back = Transpose <perm = [0, 2, 1, 3]>(mixed) flat = Concat <axis = 0>(bu, tu, minus) r = Reshape(back, flat)
    m = ReduceMean <axes = [1], keepdims = 0>(r) y = MatMul(m, head)""",
    "float[N,T,4] x", zero=np.int64(0), one=np.int64(1), first=ints(0), heads=ints(2), minus=ints(-1),
    places=(9, 4), wq=(4, 4), wk=(4, 4), head=(4, 3),
)  # fmt: skip

OPEN = {
    "attention": (ATTENTION, [(2, 5, 4), (1, 3, 4), (4, 1, 4), (2, 9, 4)]),
    "words": (
        model("e = Gather(w, i) m = ReduceMean <axes = [1], keepdims = 0>(e) y = MatMul(m, h)", "int64[N,T] i", w=(7, 4), h=(4, 2)),
        [(2, 3), (1, 8), (5, 1)],
    ),
    "a recurrent layer": (
        model("h, l = LSTM <hidden_size = 3>(x, w, r) y = Squeeze(l, a)", "float[T,N,4] x", w=(1, 12, 4), r=(1, 12, 3), a=ints(0)),
        [(3, 2, 4), (6, 1, 4), (1, 4, 4)],
    ),
    "images of any size": (
        model("c = Conv <pads = [1, 1, 1, 1]>(x, w) r = Relu(c) g = GlobalAveragePool(r) f = Flatten(g) y = MatMul(f, h)",
              "float[N,2,H,W] x", w=(3, 2, 3, 3), h=(3, 2)),
        [(2, 2, 5, 5), (1, 2, 8, 3), (3, 2, 4, 9)],
    ),
    "upsampled to another's size": (
        model("""p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]>(x) s = Shape(x)
              r = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(p, , , s) a = Add(r, x)
              g = GlobalAveragePool(a) y = Flatten(g)""", "float[N,2,H,W] x"),
        [(2, 2, 4, 6), (1, 2, 8, 2)],
    ),
    "a branch by the size": (
        model("""s = Shape(x) t = Gather(s, one) long = Greater(t, four) y = If (long) <
              then_branch = a () => (float[N,T] p) { p = Tanh(x) }, else_branch = b () => (float[N,T] q) { q = Relu(x) }>""",
              "float[N,T] x", one=np.int64(1), four=np.int64(4)),
        [(2, 6), (2, 3), (3, 5)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPEN)
def test_one_explainer_serves_all_sizes(name: str) -> None:
    proto, shapes = OPEN[name]
    explainer = Explainer(proto, "epsilon")
    (port,) = explainer.model.source.inputs.items()
    for shape in [*shapes, *shapes[:1]]:
        x = draw(*shape) if port[1].dtype.kind == "f" else np.arange(np.prod(shape)).reshape(shape) % 7
        x = x.astype(port[1].dtype)
        e = explainer(x)
        want = models.onnxruntime(proto, {port[0]: x})["y"]
        np.testing.assert_allclose(e.output, want, rtol=1e-4, atol=1e-5)
        assert e.relevance.shape == x.shape
        assert np.array_equal(e.relevance, Explainer(proto, "epsilon")(x).relevance)
        assert bool(e.notes) == (
            name == "a recurrent layer" and len(x) > 1
        )  # its first axis is the time, which is said


def test_relevance_does_not_depend_on_how_much_is_run_at_once() -> None:
    x = draw(5, 6, 4)
    whole = Explainer(ATTENTION, "epsilon")(x)
    for size in (1, 2, 5):
        e = Explainer(ATTENTION, "epsilon", batch_size=size)(x)
        np.testing.assert_allclose(e.relevance, whole.relevance, rtol=1e-9, atol=1e-12)
        assert not e.notes


# A batch size in the file

WIDE = {"w": (12, 3), "shape": ints(1, 12)}
BAKED: dict[str, tuple[int, ModelProto]] = {
    "declared, 1": (1, model("f = Flatten(x) y = MatMul(f, w)", "float[1,3,4] x", w=(12, 3))),
    "declared, 2": (2, model("f = Flatten(x) y = MatMul(f, w)", "float[2,3,4] x", w=(12, 3))),
    "declared and reshaped": (1, model("f = Reshape(x, shape) y = MatMul(f, w)", "float[1,3,4] x", **WIDE)),
    "reshaped, 1": (1, model("f = Reshape(x, shape) y = MatMul(f, w)", "float[N,3,4] x", **WIDE)),
    "reshaped, 2": (2, model("f = Reshape(x, shape) y = MatMul(f, w)", "float[N,3,4] x", w=(12, 3), shape=ints(2, -1))),
    "reshaped, 3": (3, model("f = Reshape(x, shape) y = MatMul(f, w)", "float[N,3,4] x", w=(12, 3), shape=ints(3, 12))),
    "expanded": (2, model(
        "c = Expand(token, shape) t = Concat <axis = 1>(c, x) f = Flatten(t) y = MatMul(f, w)", "float[N,3,4] x",
        token=(1, 1, 4), shape=ints(2, 1, 4), w=(16, 3),
    )),
    "a constant of the batch": (2, model("t = Concat <axis = 1>(c, x) f = Flatten(t) y = MatMul(f, w)", "float[N,3,4] x",
                                         c=(2, 1, 4), w=(16, 3))),
}  # fmt: skip


@pytest.mark.parametrize("name", BAKED)
def test_larger_batches_are_cut(name: str) -> None:
    size, proto = BAKED[name]
    x, explainer = draw(6, 3, 4), Explainer(proto, "epsilon")
    parts = [explainer(x[i : i + size]) for i in range(0, 6, size)]
    assert all(p.notes == () for p in parts)
    e = explainer(x, target=[0, 1, 2, 0, 1, 2])
    parts = [explainer(x[i : i + size], target=([0, 1, 2] * 2)[i : i + size]) for i in range(0, 6, size)]
    assert np.array_equal(e.relevance, np.concatenate([p.relevance for p in parts]))
    how = "sample by sample" if size == 1 else f"{size} samples at a time"
    assert e.notes == (f"the batch size {size} is baked into the file: the 6 samples are explained {how}",)
    found = reflrp.load(proto).run(x)["y"]
    want = np.concatenate([models.onnxruntime(proto, {"x": x[i : i + size]})["y"] for i in range(0, 6, size)])
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "count", "words"),
    [("declared, 2", 3, "give a multiple"), ("declared, 2", 1, "give a multiple"), ("reshaped, 3", 4, "is baked into the file"),
     ("reshaped, 2", 3, "do not fit each other")],
)  # fmt: skip
def test_batches_that_are_no_multiple(name: str, count: int, words: str) -> None:
    loaded = reflrp.load(BAKED[name][1])
    for do in (loaded.run, Explainer(loaded)):
        with pytest.raises(reflrp.ReflrpError, match=words):
            do(draw(count, 3, 4))


def test_a_file_that_takes_any_number_but_one() -> None:
    """Where an inner constant has the batch, 1 broadcasts; what the file makes of that is what it computes."""
    proto = model("y = Add(x, c)", "float[N,3] x", c=(2, 3))
    assert reflrp.load(proto).run(draw(4, 3))["y"].shape == (4, 3)


@pytest.mark.parametrize("kept", [0, 1])
def test_outputs_without_a_batch(kept: int) -> None:
    """What has no axis for the batch cannot be put together."""
    proto = model(f"y = ReduceSum <keepdims = {kept}>(x, a)", "float[1,3,4] x", a=ints(0))
    assert Explainer(proto)(draw(1, 3, 4), init=np.ones((1, 3, 4)[1 - kept :])).relevance.shape == (1, 3, 4)
    if kept:
        assert Explainer(proto)(draw(2, 3, 4)).output.shape == (2, 3, 4)
        return
    for do in (Explainer(proto), reflrp.load(proto).run):
        with pytest.raises(InputError, match="no axis for the batch: give 1 at a time"):
            do(draw(2, 3, 4))


def test_initial_relevance_is_cut_too() -> None:
    size, proto = BAKED["declared, 2"]
    x, init = draw(4, 3, 4), draw(4, 3, seed=1)
    e = Explainer(proto)(x, init=init)
    assert np.array_equal(e.relevance[size:], Explainer(proto)(x[size:], init=init[size:]).relevance)


def test_memory_and_the_file_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch size in the file wins over the one that memory allows, and over one asked for."""
    from reflrp.explainer import explainer as module

    monkeypatch.setattr(module, "MEMORY", 1)
    proto = BAKED["declared, 2"][1]
    for options in ({}, {"batch_size": 1}, {"batch_size": 4}):
        assert Explainer(proto, **options)(draw(4, 3, 4)).relevance.shape == (4, 3, 4)


def test_several_inputs_with_one_batch() -> None:
    proto = model("t = Add(x, z) y = MatMul(t, w)", "float[1,4] x, float[1,4] z", w=(4, 2))
    x: dict[str, Any] = {"x": draw(3, 4), "z": draw(3, 4, seed=1)}
    e = Explainer(proto)(x)
    assert e.relevances["x"].shape == e.relevances["z"].shape == (3, 4)
    assert "sample by sample" in e.notes[0]


def test_a_large_batch_is_cut_without_its_whole_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit on memory is one on what runs at once, not on the data set."""
    from reflrp.explainer import explainer as module

    monkeypatch.setattr(module, "MEMORY", 4000)
    monkeypatch.setattr(reflrp.limits, "MEMORY", 8000)
    x = draw(200, 3, 4)
    e = Explainer(model("f = Flatten(x) y = MatMul(f, w)", "float[N,3,4] x", w=(12, 3)))(x)
    assert e.relevance.shape == x.shape


def test_a_broadcast_input_is_held_to_the_limit() -> None:
    """A copy of it has entries that are nowhere yet."""
    x = np.broadcast_to(np.float32(1), (2**50, 3, 4))
    with pytest.raises(reflrp.errors.TooLarge, match="input 'x'"):
        Explainer(model("f = Flatten(x) y = MatMul(f, w)", "float[N,3,4] x", w=(12, 3)))(x)
