"""`Explainer.each` under backend="onnxruntime": what targets have in common is run once, and each is what a call alone gives."""

import attention_net
import models
import nets
import numpy as np
import onnxruntime
import pytest
from compiled import part

import reflrp
from reflrp import rules
from reflrp.composites import Composite
from reflrp.composites.composite import defaults
from reflrp.composites.matchers import kind
from reflrp.runtime import running
from reflrp.runtime.halves import Halves

TARGETS = [1, None, reflrp.Contrast(0, 2), [2, 0, 1]]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Networks of tests are smaller than those for which it pays."""
    monkeypatch.setattr(running, "HALVED", 0)


def resnet():
    proto, x = nets.net("resnet")
    return proto, {"x": x.astype(np.float32)}


def transformer():
    proto = attention_net.model(attention_net.weights(masked=False))
    x = np.random.default_rng(0).standard_normal((3, attention_net.T, attention_net.D)).astype(np.float32)
    return proto, {proto.graph.input[0].name: x}


def recurrent():
    proto = models.model(
        "t = Transpose <perm = [1, 0, 2]>(x) s, h = LSTM <hidden_size = 5>(t, w, r, b) f = Squeeze(h, zero) y = MatMul(f, v)",
        "float[N,4,4] x", w=(1, 20, 4), r=(1, 20, 5), b=(1, 40), zero=models.ints(0), v=(5, 3),
    )  # fmt: skip
    return proto, {"x": models.draw(3, 4, 4)}


def guarded():
    """By alpha-beta with a choice, whose bodies read values from around them."""
    proto = models.model(
        """r = Relu(x) c = Conv <pads = [1, 1, 1, 1]>(r, k, b) q = Relu(c) m = ReduceMean <axes = [2, 3], keepdims = 0>(q)
        y = MatMul(m, w)""",
        "float[N,16,6,6] x", k=(4, 16, 3, 3), b=np.tile([0.1, -0.1], 2).astype(np.float32), w=(4, 3),
    )  # fmt: skip
    return proto, {"x": abs(models.draw(3, 16, 6, 6))}


def words():
    proto = models.model(
        "e = Gather(table, ids) h = MatMul(e, w) r = Relu(h) m = ReduceMean <axes = [1], keepdims = 0>(r) y = MatMul(m, v)",
        "int64[N,5] ids", table=(9, 4), w=(4, 6), v=(6, 3),
    )  # fmt: skip
    return proto, {"ids": np.random.default_rng(0).integers(0, 9, (3, 5))}


MADE = {f.__name__: f for f in (resnet, transformer, recurrent, guarded, words)}


def explainer(proto, rules_, **settings):
    return reflrp.Explainer(proto, rules_, backend="onnxruntime", dtype="float32", **settings)


def halves(found):
    (ready,) = found._programs.sessions.values()
    return ready.session


@pytest.mark.parametrize("preset", ["epsilon_plus_flat", "epsilon_alpha2_beta1", "attnlrp"])
@pytest.mark.parametrize("net", MADE)
def test_each_target_is_what_a_call_gives(net, preset):
    proto, feeds = MADE[net]()
    fast = explainer(proto, preset)
    found = fast.each(feeds, TARGETS, layers=True)
    assert isinstance(halves(fast), Halves)
    for target, e in zip(TARGETS, found, strict=True):
        exact = reflrp.explain(proto, feeds, preset, target=target, layers=True)
        single = reflrp.explain(proto, feeds, preset, target=target, layers=True, dtype="float32")
        assert (e.target, e.notes, e.score) == (exact.target, exact.notes, exact.score)
        for k, R in {**exact.relevances, **exact.layers}.items():
            rough = {**single.relevances, **single.layers}[k]
            assert part({**e.relevances, **e.layers}[k], R) <= max(20 * part(rough, R), 1e-5), (target, k)
        for ours, theirs in zip(e.conservation.rows, exact.conservation.rows, strict=True):
            assert ours.node == theirs.node
            assert abs(ours.flow - theirs.flow) <= 1e-3 * max(row.flow for row in exact.conservation.rows)


def test_no_convolution_is_in_both(monkeypatch):
    """Of epsilon-plus those forward and for z+ are in the first session, and in the second those that go back."""
    proto, feeds = resnet()
    counts = []
    live = running.Graphs._live

    def counted(self, graph, weights):
        counts.append(sum(n.op_type in ("Conv", "ConvTranspose") for n in graph.graph.node))
        return live(self, graph, weights)

    monkeypatch.setattr(running.Graphs, "_live", counted)
    fast = explainer(proto, "epsilon_plus")
    fast(feeds)
    fast.each(feeds, [0, 1])
    whole, first, second = counts
    assert whole == first + second
    assert first > second >= 3


def test_what_all_targets_have_in_common_is_run_once():
    proto, feeds = resnet()
    fast = explainer(proto, "epsilon_plus")
    runs = []

    class Counted:
        def __init__(self, session):
            self.session = session

        def __getattr__(self, name):
            runs.extend([self.session] * (name == "run_with_ort_values"))
            return getattr(self.session, name)

    fast.each(feeds, [0, 1])
    both = halves(fast)
    first, second = both.first, both.second
    object.__setattr__(both, "first", Counted(first))
    object.__setattr__(both, "second", Counted(second))
    fast.each(feeds, [0, 1, 2])
    assert runs == [first, second, second, second]
    assert not {i.name for i in first.get_inputs()} & {"reflrp/signs", "reflrp/best", "reflrp/times"}


def test_conditions_and_inits():
    proto, feeds = resnet()
    fast = explainer(proto, "epsilon")
    for asked in ({"init": "one"}, {"conditions": {"r1": [0, 1]}}):
        for target, e in zip(TARGETS, fast.each(feeds, TARGETS, **asked), strict=True):
            wanted = reflrp.explain(proto, feeds, "epsilon", target=target, **asked)
            assert part(e.relevance, wanted.relevance) < 1e-5


def test_a_relevance_that_no_target_changes():
    """Without an output of its own the second session would have nothing to compute."""
    proto = models.model("z = Mul(x, zero) y = MatMul(z, w)", w=(4, 3), zero=np.float32(0))
    composite = Composite(((kind("dense"), rules.Epsilon()), *defaults()))
    for e in explainer(proto, composite).each({"x": models.draw(2, 4)}, [0, 1]):
        assert not e.relevance.any()


def test_what_is_no_number_is_told_of_each_target():
    proto = models.model("a = MatMul(x, w) b = Exp(a) y = MatMul(b, v)", w=1000 * np.ones((4, 4), np.float32), v=(4, 3))
    with pytest.raises(reflrp.NonFiniteError, match="Exp_1"):
        explainer(proto, "epsilon").each({"x": np.ones((2, 4), np.float32)}, [0, 1])


def test_one_target_has_one_session():
    proto, feeds = resnet()
    fast = explainer(proto, "epsilon")
    fast.each(feeds, [1])
    assert isinstance(halves(fast), onnxruntime.InferenceSession)
