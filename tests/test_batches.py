"""Cuts of a batch: where they are right they change nothing, and where they would be wrong they are not made."""

import numpy as np
import pytest
from models import draw, model

import reflrp
from reflrp import explainer

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
    assert e.notes[-1] == "the samples influence one another: all 4 run at once"
    with pytest.raises(reflrp.InputError, match="batch_size=2 would change the answer"):
        reflrp.Explainer(proto, "epsilon", batch_size=2)(x, init=init)


def test_samples_that_may_not_be_disturbed():
    """Outside -1..1 this model computes nothing; it is tried on the samples as they are."""
    proto = model("a = Asin(x) y = CumSum(a, zero)", zero=np.int64(0))
    with pytest.raises(reflrp.InputError, match="batch_size=2 would change the answer"):
        reflrp.Explainer(proto, "epsilon", batch_size=2)(np.full((4, 4), 0.99))


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
