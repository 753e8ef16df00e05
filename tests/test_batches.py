"""Cuts of a batch: where they are right they change nothing, and where they would be wrong they are not made."""

import numpy as np
import pytest
from models import draw, ints, model

import reflrp
from reflrp.explainer import explainer

X = draw(4, 4, seed=1)
RNN = model("y, h = RNN<hidden_size = 3>(x, w, r)", "float[T,N,4] x", w=(1, 3, 4), r=(1, 3, 3))
LAST = np.zeros((4, 1, 2, 3))
LAST[-1] = 1
STEPS = draw(4, 2, 4, seed=2)
MIXED = {
    "time first": (RNN, STEPS, LAST),
    "running sums": (model("y = CumSum(x, zero)", zero=np.int64(0)), X, np.ones((4, 4))),
    "less the batch's mean": (
        model("m = ReduceMean<axes = [0]>(x) y = Sub(x, m)", opset=13),
        X,
        np.ones((4, 4)),
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_samples_that_influence_one_another_are_not_cut(name, monkeypatch):
    """What does not fit is run at once all the same, and said; a size that is asked for is refused."""
    proto, x, init = MIXED[name]
    whole = reflrp.explain(proto, x, "epsilon", init=init)
    monkeypatch.setattr(explainer, "MEMORY", 64)
    e = reflrp.explain(proto, x, "epsilon", init=init)
    assert np.array_equal(e.relevance, whole.relevance)
    assert e.notes[-1].startswith("all 4 samples run at once, not 1 at a time: samples meet in node")
    with pytest.raises(reflrp.InputError, match="batch_size=2 would change the answer"):
        reflrp.Explainer(proto, "epsilon", batch_size=2)(x, init=init)


MANY = draw(6, 4, seed=5)
MANY[4:] *= 1000
SELDOM = {
    "above a bound": "m = ReduceMax<axes = [0]>(x) c = Sub(m, bound) r = Relu(c) y = Add(x, r)",
    "a switch": "m = ReduceMax(x) b = Greater(m, bound) s = Cast<to = 1>(b) y = Mul(x, s)",
    "a row of a table": "m = ReduceMax<keepdims = 0>(x) b = Greater(m, bound) i = Cast<to = 7>(b) e = Gather(table, i) "
    "y = Add(x, e)",
    "a branch": "m = ReduceMax<keepdims = 0>(x) b = Greater(m, bound) y = If (b) <"
    "then_branch = t () => (float[] p) { p = Add(x, x) }, else_branch = e () => (float[] q) { q = Neg(x) }>",
}


@pytest.mark.parametrize("name", SELDOM)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_samples_that_seldom_influence_one_another(name, size, monkeypatch):
    """Only the last samples change the others: no look at the first ones could tell."""
    body = SELDOM[name]
    proto = model(body, opset=13, bound=np.float32(100), **({"table": (2, 4)} if "table" in body else {}))
    whole = reflrp.explain(proto, MANY, "epsilon")
    with pytest.raises(reflrp.InputError, match=f"batch_size={size} would change the answer, or"):
        reflrp.Explainer(proto, "epsilon", batch_size=size)(MANY)
    monkeypatch.setattr(explainer, "MEMORY", 64)
    assert np.array_equal(reflrp.explain(proto, MANY, "epsilon").relevance, whole.relevance)


def test_samples_in_between_others():
    """Attention as torch writes it has the batch second: cut all the same, but inner values are not put together again."""
    proto = model(
        "t = Transpose<perm = [1, 0, 2]>(x) r = Reshape(t, rows) h = MatMul(r, w) a = Tanh(h) b = Reshape(a, back) "
        "y = Transpose<perm = [1, 0, 2]>(b)",
        "float[N,3,4] x", "float[] y", rows=ints(-1, 4), w=draw(4, 4, seed=2), back=ints(3, -1, 4),
    )  # fmt: skip
    x = draw(4, 3, 4, seed=3)
    whole, cut = (reflrp.Explainer(proto, "epsilon", batch_size=n) for n in (None, 2))
    kept = {"target": (0, 0), "layers": True}
    assert np.allclose(cut(x, target=(0, 0)).relevance, whole(x, target=(0, 0)).relevance, rtol=1e-12, atol=1e-15)
    assert whole(x, **kept).layers["r"].shape == (12, 4)
    with pytest.raises(reflrp.InputError, match="'r' has each sample's entries in several places"):
        cut(x, **kept)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_size_that_the_file_does_not_take_is_not_its_own(size):
    """Rows that nothing reads make batches of one and two impossible; that does not make three the file's batch."""
    proto = model("g = Gather<axis = 0>(x, rows) y = CumSum(x, zero)", rows=ints(2, 0), zero=np.int64(0))
    with pytest.raises(reflrp.InputError, match=f"batch_size={size} would change the answer"):
        reflrp.Explainer(proto, "epsilon", batch_size=size)(draw(6, 4), init=np.ones((6, 4)))


def test_whole_numbers_that_influence_the_other_samples():
    proto = model("m = ReduceMax(k) s = Cast<to = 1>(m) y = Mul(x, s)", "float[N,4] x, int64[N] k", opset=13)
    feeds = {"x": MANY, "k": np.array([1, 1, 1, 1, 7, 1])}
    with pytest.raises(reflrp.InputError, match="samples meet in node"):
        reflrp.Explainer(proto, "epsilon", batch_size=2)(feeds)


@pytest.mark.parametrize("x", [X, 0 * X, np.ones_like(X)])
def test_samples_that_do_not_are_cut(x, monkeypatch):
    proto = model("h = MatMul(x, w) y = Tanh(h)", w=draw(4, 3))
    whole = reflrp.explain(proto, x, "epsilon")
    monkeypatch.setattr(explainer, "MEMORY", 64)
    e = reflrp.explain(proto, x, "epsilon")
    assert not e.notes
    assert np.allclose(e.relevance, whole.relevance, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_inner_values_with_the_batch_on_another_axis(size):
    proto = model("t = Transpose(x) u = MatMul(w, t) v = Transpose(u) y = Relu(v)", w=draw(3, 4))
    whole, cut = (reflrp.Explainer(proto, "epsilon", batch_size=n)(X, layers=True) for n in (4, size))
    assert whole.layers["t"].shape == (4, 4)
    assert whole.layers["u"].shape == (3, 4)
    for name, R in whole.layers.items():
        assert np.allclose(cut.layers[name], R, rtol=1e-12, atol=1e-14), name


BAKED = "t = Transpose(r) u = MatMul(w, t) v = Transpose(u) y = Relu(v)"


@pytest.mark.parametrize("inputs", ["float[2,4] x", "float[N,4] x"])
def test_inner_values_of_a_batch_that_is_baked_in(inputs):
    body, given = ("r = Identity(x) ", {}) if "2" in inputs else ("r = Reshape(x, rows) ", {"rows": ints(2, 4)})
    proto = model(body + BAKED, inputs, w=draw(3, 4), **given)
    e = reflrp.explain(proto, X, "epsilon", layers=True)
    assert "the batch size 2 is baked into the file" in e.notes[-1]
    parts = [reflrp.explain(proto, X[i : i + 2], "epsilon", layers=True).layers["t"] for i in (0, 2)]
    assert np.array_equal(e.layers["t"], np.concatenate(parts, axis=1))


def test_inner_values_of_one_sample_at_a_time():
    """Where the one sample of a file lies in a value cannot be told, so nothing is put together by a guess."""
    proto = model("r = Reshape(x, rows) " + BAKED, w=draw(3, 4), rows=ints(1, 4))
    with pytest.raises(reflrp.InputError, match="which axis of 't'"):
        reflrp.explain(proto, X, "epsilon", layers=True)
    assert reflrp.explain(proto, X, "epsilon", layers="v").layers["v"].shape == (4, 3)


def test_an_input_without_axes():
    """It goes into every cut, and its relevance is the sum over them."""
    proto = model("a = MatMul(x, w) c = Add(a, z) y = Relu(c)", "float[N,4] x, float[] z", w=draw(4, 3))
    feeds = {"x": X, "z": np.float32(0.5)}
    whole, cut = (reflrp.Explainer(proto, "epsilon", batch_size=n)(feeds) for n in (None, 2))
    assert np.allclose(cut.relevances["z"], whole.relevances["z"], rtol=1e-12)
    assert np.allclose(cut.relevances["x"], whole.relevances["x"], rtol=1e-12)
    assert cut.inputs["z"] == 0.5


@pytest.mark.parametrize("count", [4, 8])
def test_a_size_below_the_file_s_own(count):
    proto = model("y = Gemm(x, w)", "float[4,4] x", w=draw(4, 3))
    x = draw(count, 4, seed=3)
    e = reflrp.Explainer(proto, "epsilon", batch_size=2)(x)
    assert e.relevance.shape == (count, 4)
    assert bool(e.notes) == (count == 8)


@pytest.mark.parametrize("size", [0, -1, 1.5, "2"])
def test_sizes_that_are_none(size):
    with pytest.raises(reflrp.InputError, match=f"batch_size={size!r} must be an int of at least 1"):
        reflrp.Explainer(RNN, "epsilon", batch_size=size)


@pytest.mark.parametrize("target", [(1.9,), (True,), ("1",)])
def test_targets_in_a_tuple_are_ints(target):
    with pytest.raises(reflrp.InputError, match="must hold ints"):
        reflrp.explain(model("y = Gemm(x, w)", w=draw(4, 3)), X, target=target)


@pytest.mark.parametrize("name", MIXED)
def test_a_first_axis_that_holds_no_samples_is_said(name):
    proto, x, init = MIXED[name]
    *_, note = reflrp.explain(proto, x, "epsilon", init=init).notes
    assert note.startswith("entries along the first axis of the inputs meet in node")


def test_samples_on_the_first_axis_are_not_spoken_of():
    w = draw(3, 4)
    assert not reflrp.explain(model("y = MatMul(x, w)", w=w.T), X, "epsilon").notes
