"""A denominator that overflows is heard: its relevance would be 0, as x / inf is, and every number that comes out finite."""

import models
import numpy as np
import pytest
from compiled import run

import reflrp
from reflrp import rules

SIGNS = np.tile(np.float32([1, -1]), (4, 16))[..., None]
RULES = [rules.ZPlus(), rules.AlphaBeta(), rules.Gamma(0.25, generalized=True), "epsilon_plus"]


def apart(layer="Conv", inputs="float[N,32,4] x"):
    """A layer whose parts of either sign are large, and whose output is not."""
    w = {"Conv": SIGNS, "MatMul": SIGNS[..., 0].T}.get(layer.split()[0], SIGNS.transpose(1, 0, 2))
    over = "" if layer == "MatMul" else "m = ReduceMean <axes = [2], keepdims = 0>(q)"
    text = f"c = {layer}(x, w) q = Relu(c) {over} y = MatMul({'m' if over else 'q'}, v)"
    return models.model(text, inputs, w=w, v=np.float32(1e-20) * models.draw(4, 3))


def rows(scale, *shape):
    """Inputs whose parts cancel but for one."""
    x = np.full(shape, scale, dtype=np.float32)
    x[:, 0] *= 2
    return x


def heard(proto, rule, x):
    """Whether a compiled graph says NaN for all entries; else what it says is what `explain` says."""
    found = run(reflrp.compile(proto, rule, init="one"), {"x": x})["relevance/x"]
    if np.isnan(found).all():
        return True
    wanted = reflrp.explain(proto, x, rule, init="one").relevance
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    return False


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("layer", ["Conv", "ConvTranspose <strides = [2]>", "MatMul"])
def test_an_overflow_is_heard(layer, rule):
    shape = (2, 32) if layer == "MatMul" else (2, 32, 4)
    proto = apart(layer, "float[N,32] x" if layer == "MatMul" else "float[N,32,4] x")
    parted = layer != "MatMul" or rule != "epsilon_plus"  # whose dense layers divide by the output, which is small
    assert heard(proto, rule, rows(8e37, *shape)) == parted
    for scale in (1.0, 1e12):
        assert not heard(proto, rule, rows(scale, *shape))
    graph = reflrp.compile(proto, rule)
    assert run(graph, {"x": rows(1, *shape)[:0]})["relevance/x"].shape == (0, *shape[1:])


@pytest.mark.parametrize("rule", RULES[:2])
def test_without_a_ledger_it_is_named(rule):
    explainer = reflrp.Explainer(apart(), rule, backend="onnxruntime", dtype="float32", ledger=False)
    with pytest.raises(reflrp.NonFiniteError, match="in a denominator of node 'Conv"):
        explainer(rows(3e37, 2, 32, 4), init="one")
    assert np.isfinite(explainer(rows(1, 2, 32, 4), init="one").relevance).all()


def test_weights_that_are_large_themselves():
    """Nothing follows from the bounds; the denominators are looked at."""
    w, v = SIGNS[:1, :4, 0].T * np.float32(1e30), np.full((1, 3), 1e-20, np.float32)
    proto = models.model("c = MatMul(x, w) q = Relu(c) y = MatMul(q, v)", "float[N,4] x", w=w, v=v)
    assert not heard(proto, rules.ZPlus(), rows(1e-3, 1, 4))
    assert not heard(proto, rules.ZPlus(), rows(1e3, 1, 4))
    assert heard(proto, rules.ZPlus(), rows(1.2e8, 1, 4))


@pytest.mark.parametrize("value", [-np.inf, -1e30])
def test_a_mask_is_no_overflow(value):
    """Behind a mask of -inf there is no relevance, however infinite the denominator."""
    proto = models.model(
        "s = MatMul(x, w) z = Add(s, m) a = Softmax(z) y = MatMul(a, v)", w=(4, 5), v=(5, 3),
        m=np.float32([0, value, 0, 0, value]),
    )  # fmt: skip
    for rule in ("attnlrp", "epsilon"):
        x = models.draw(2, 4)
        found = run(reflrp.compile(proto, rule), {"x": x})["relevance/x"]
        wanted = reflrp.explain(proto, x, rule).relevance
        np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("depth", [3, 30])
def test_many_layers(depth):
    """Bounds of many layers in a row say nothing; a few values on the way are looked at, and no false word is said."""
    body = "".join(f"c{i} = MatMul({f'h{i - 1}' if i else 'x'}, w) h{i} = Relu(c{i}) " for i in range(depth))
    proto = models.model(f"{body} y = MatMul(h{depth - 1}, v)", "float[N,32] x", w=(32, 32), v=(32, 3))
    graph = reflrp.compile(proto, "epsilon_plus")
    looks = sum(node.op_type == "ReduceMax" for node in graph.graph.node)
    assert 1 <= looks <= 1 + depth // 6
    x = models.draw(3, 32)
    wanted = reflrp.explain(proto, x, "epsilon_plus").relevance
    np.testing.assert_allclose(run(graph, {"x": x})["relevance/x"], wanted, atol=1e-3 * np.abs(wanted).max())
    assert np.isnan(run(graph, {"x": x * np.float32(1e38)})["relevance/x"]).all()


def test_within_a_loop():
    """States that grow step by step, from small inputs to a small output: what each step divides by is looked at, too."""
    grow = np.tile(np.float32([1024, -1023.75]), (1, 16, 8))
    proto = models.model(
        'a, h = RNN <hidden_size = 16, activations = ["Relu"]>(x, w, r) q = Squeeze(h, zero) y = MatMul(q, v)', "float[T,N,1] x",
        w=np.ones((1, 16, 1), np.float32), r=grow, v=np.float32(1e-20) * models.draw(16, 2), zero=models.ints(0),
    )  # fmt: skip
    graph = reflrp.compile(proto, rules.ZPlus())
    x = np.zeros((84, 1, 1), np.float32)
    x[0] = 1e10
    short, long_ = (run(graph, {"x": x[:t]}) for t in (6, 84))
    assert np.isfinite(short["relevance/x"]).all()
    assert np.isfinite(long_["y"]).all()
    assert np.isnan(long_["relevance/x"]).all()


def test_a_gradient_divides_by_nothing():
    graph = reflrp.compile(apart(), "gradient").graph
    assert not [node for node in graph.node if node.op_type in ("ReduceL1", "LessOrEqual")]
