"""Rules with a statistic of each sample: where the samples are is proven, whatever axis they are on, or one runs at a time."""

from typing import Any

import numpy as np
import pytest
from models import draw, ints, model
from onnx import numpy_helper

import reflrp
from reflrp import rules
from reflrp.composites import presets, resolve
from reflrp.composites.composite import uniform
from reflrp.dialects import zennit
from reflrp.explainer import explainer

TIME_FIRST = model(
    "t = Transpose<perm = [1, 0, 2]>(x) h = MatMul(t, w) r = Relu(h) g = MatMul(r, v) b = Transpose<perm = [1, 0, 2]>(g) "
    "y = Flatten(b)",
    "float[N,3,4] x",
    w=(4, 5),
    v=(5, 2),
)
FOLDED = model(
    "f = Reshape(x, rows) h = MatMul(f, w) r = Relu(h) g = MatMul(r, v) b = Reshape(g, back) y = Flatten(b)",
    "float[N,3,4] x",
    rows=ints(-1, 4),
    back=ints(-1, 3, 2),
    w=(4, 5),
    v=(5, 2),
)
STACKED = model(  # three experts, each with weights of its own
    "t = Transpose<perm = [1, 0, 2]>(x) h = MatMul(t, w) r = Relu(h) g = MatMul(r, v) b = Transpose<perm = [1, 0, 2]>(g) "
    "y = Flatten(b)",
    "float[N,3,4] x",
    w=(3, 4, 5),
    v=(3, 5, 2),
)
SUMMED = model(
    "t = Transpose<perm = [1, 0, 2]>(x) h = MatMul(t, w) g = MatMul(t, v) s = Add(g, h) "
    "b = Transpose<perm = [1, 0, 2]>(s) y = Flatten(b)",
    "float[N,3,4] x",
    w=(4, 5),
    v=(4, 5),
)
NETS = {"time first": TIME_FIRST, "folded": FOLDED, "stacked": STACKED, "summed": SUMMED}
NORM = rules.Stabilizer(0.25, norm_scale=True)
OWN = {
    "stdx": uniform(rules.StdxEpsilon(0.25)),
    "norm scale": reflrp.Composite(
        ((lambda n, s: n.kind in ("dense", "sum"), rules.Norm(NORM)), *uniform(rules.Epsilon()).pairs)
    ),
    "zennit's": resolve(zennit.Norm(zennit.Stabilizer(0.25, norm_scale=True))),
}
X = draw(4, 3, 4, seed=7) * np.array([1, 3, 10, 0.1], np.float32).reshape(4, 1, 1)


def literal(x: np.ndarray, net: str) -> np.ndarray:
    """Epsilon with 0.25 std of each layer's input, for one sample, in loops over nothing but layers."""
    w, v = weights(NETS[net])
    h = x @ w
    r = np.maximum(h, 0)
    z = r @ v
    one = np.where(z == z.max(), z, 0)

    def back(a: np.ndarray, m: np.ndarray, z: np.ndarray, R: np.ndarray) -> np.ndarray:
        s = R / (z + 0.25 * a.std() * np.where(z >= 0, 1, -1))
        return a * (s[..., None, :] @ np.swapaxes(m, -1, -2))[..., 0, :]

    return back(x, w, h, back(r, v, z, one))


def weights(net: Any) -> tuple[np.ndarray, np.ndarray]:
    found = {i.name: numpy_helper.to_array(i).astype(np.float64) for i in net.graph.initializer}
    return found["w"], found["v"]


@pytest.mark.parametrize("net", ["time first", "folded", "stacked"])
def test_each_sample_has_its_own_deviation_wherever_it_lies(net):
    found = reflrp.explain(NETS[net], X, OWN["stdx"]).relevance
    for x, R in zip(X.astype(np.float64), found, strict=True):
        if net == "stacked":
            w, v = weights(STACKED)
            h = np.einsum("ti,tio->to", x, w)
            r = np.maximum(h, 0)
            z = np.einsum("ti,tio->to", r, v)
            q = np.where(z == z.max(), z, 0) / (z + 0.25 * r.std() * np.where(z >= 0, 1, -1))
            q = r * np.einsum("to,tio->ti", q, v) / (h + 0.25 * x.std() * np.where(h >= 0, 1, -1))
            assert np.allclose(R, x * np.einsum("to,tio->ti", q, w), rtol=1e-9)
        else:
            assert np.allclose(R, literal(x, net), rtol=1e-9)


@pytest.mark.parametrize("composite", OWN)
@pytest.mark.parametrize("net", NETS)
def test_a_batch_gives_what_its_samples_give(net, composite, monkeypatch):
    whole = reflrp.explain(NETS[net], X, OWN[composite])
    for i in range(4):
        alone = reflrp.explain(NETS[net], X[i : i + 1], OWN[composite]).relevance
        assert np.allclose(whole.relevance[i : i + 1], alone, rtol=1e-10, atol=1e-14)
    assert any("one by one" in n for n in whole.notes) == (net == "folded")
    monkeypatch.setattr(explainer, "MEMORY", 64)
    assert np.allclose(reflrp.explain(NETS[net], X, OWN[composite]).relevance, whole.relevance, rtol=1e-12)


TOGETHER = {
    "stdx": rules.StdxEpsilon(0.25, over="batch"),
    "a function": rules.Norm(lambda z: z + 0.25 * z.std()),
    "axes": rules.Norm(rules.Stabilizer(0.25, norm_scale=True, dim=(0, 1))),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_what_looks_at_the_batch_is_not_cut(name, monkeypatch):
    net = model("y = MatMul(x, w)", w=(4, 3))
    x = draw(4, 4, seed=1)
    whole = reflrp.explain(net, x, TOGETHER[name])
    monkeypatch.setattr(explainer, "MEMORY", 64)
    e = reflrp.explain(net, x, TOGETHER[name])
    assert np.array_equal(e.relevance, whole.relevance)
    assert "looks at all samples of a batch" in e.notes[-1]
    with pytest.raises(reflrp.InputError, match="looks at all samples of a batch"):
        reflrp.Explainer(net, TOGETHER[name], batch_size=2)(x)


def test_a_baked_batch_says_whose_statistic_it_is():
    net = model("y = MatMul(x, w)", "float[2,4] x", w=(4, 3))
    e = reflrp.explain(net, draw(4, 4), rules.StdxEpsilon(over="batch"))
    assert "looks at all samples of a batch, and here at those of each part only" in e.notes[-1]


def test_samples_that_meet_have_no_statistic_of_their_own():
    net = model("m = ReduceMean<axes = [0]>(x) d = Sub(x, m) y = MatMul(d, w)", w=(4, 3))
    with pytest.raises(
        reflrp.RuleError, match=r"node 'MatMul_2': StdxEpsilon takes a statistic of each sample.*samples meet in node"
    ):
        reflrp.explain(net, draw(4, 4), rules.StdxEpsilon())
    assert reflrp.explain(net, draw(1, 4), rules.StdxEpsilon()).relevance.shape == (1, 4)


@pytest.mark.parametrize("name", [*presets(), "zennit.EpsilonPlusFlat", "lxt.AttnLRP", "pnpxai.LRPEpsilonPlus"])
def test_presets_look_at_each_entry_alone(name):
    assert resolve(name).looks == ""


def test_conditions_are_on_neurons_and_never_on_samples():
    """A value (N,), and one that has the samples on axis 1; before, a condition picked samples."""
    net = model("h = MatMul(x, w) s = ReduceMax<axes = [1], keepdims = 0>(h) u = Unsqueeze(s, last) y = MatMul(u, v)", opset=13,
                w=(4, 3), v=(1, 2), last=ints(1))  # fmt: skip
    for n in (1, 3):
        with pytest.raises(reflrp.InputError, match=r"'s' of shape \(\d,\) has its samples, and no neurons, on axis 0"):
            reflrp.explain(net, draw(n, 4), "epsilon", conditions={"s": [0]})
    turned = model("h = MatMul(x, w) t = Transpose<perm = [1, 0]>(h) b = Transpose<perm = [1, 0]>(t) y = MatMul(b, v)",
                   w=(4, 3), v=(3, 2))  # fmt: skip
    for n in (1, 3):
        with pytest.raises(
            reflrp.InputError, match=r"'t' of shape \(3, \d\) has its samples, and no neurons, on axis 1"
        ):
            reflrp.explain(turned, draw(n, 4), "epsilon", conditions={"t": [0]})
    assert reflrp.explain(turned, draw(3, 4), "epsilon", conditions={"b": [0]}).relevance.shape == (3, 4)


def test_conditions_on_features_of_a_time_first_layer():
    x = draw(2, 3, 4, seed=3)
    e = reflrp.explain(TIME_FIRST, x, "epsilon", conditions={"h": [0, 2]}, layers=["h"])
    assert e.layers["h"].shape == (3, 2, 5)
    assert np.any(e.layers["h"][:, :, [0, 2]])
    assert not np.any(np.delete(e.layers["h"], [0, 2], axis=2))
    parts = [reflrp.explain(TIME_FIRST, x[i : i + 1], "epsilon", conditions={"h": [0, 2]}).relevance for i in (0, 1)]
    assert np.allclose(np.concatenate(parts), e.relevance, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 2])
def test_targets_are_counted_on_samples_only(n):
    """The output of a time-first LSTM (time, samples, features), of samples that come first: targets have the samples first."""
    net = model(
        "t = Transpose<perm = [1, 0, 2]>(x) h = LSTM<hidden_size = 2>(t, w, r) y = Squeeze(h, one)",
        "float[N,3,4] x",
        w=(1, 8, 4),
        r=(1, 8, 2),
        one=ints(1),
    )
    x = draw(n, 3, 4, seed=1)
    y = reflrp.load(net).run(x)["y"]
    for target in (None, (0, 1), [(2, 1)] * n, [(0, 1), (1, 0), (2, 1)][:n]):
        e = reflrp.explain(net, x, "epsilon", target=target)
        assert "holds the samples on axis 1" in e.notes[0]
        assert np.array_equal(e.output, np.moveaxis(y, 1, 0))
        init = np.zeros_like(y)
        for i, (step, k) in enumerate(e.target):
            one = reflrp.explain(net, x[i : i + 1], "epsilon", target=e.target[i] if target else None)
            assert one.target == (e.target[i],)
            assert np.allclose(one.relevance[0], e.relevance[i], rtol=1e-9, atol=1e-13)
            init[step, i, k] = y[step, i, k]
        assert np.allclose(reflrp.explain(net, x, "epsilon", init=init).relevance, e.relevance, rtol=1e-12)
        if n != 3:  # where its shape tells, init= may have the samples first, as e.output has
            first = np.moveaxis(init, 1, 0)
            assert np.allclose(reflrp.explain(net, x, "epsilon", init=first).relevance, e.relevance, rtol=1e-12)
        assert n == 1 or e.layout["x"] == {"sample": 0}
        assert reflrp.compare(net, x, a="epsilon", b=e).first is None
        assert np.array_equal(
            reflrp.compare(net, x, a="epsilon", b="zplus", target=target).relevances["a"]["x"], e.relevance
        )
    if n > 1:
        with pytest.raises(reflrp.InputError, match="out of range"):
            reflrp.explain(net, x, "epsilon", target=(3, 0))
