"""`rules="auto"`, the default: what it finds in a graph, what it chooses there, and what it says."""

import inspect

import attention_net
import numpy as np
import pytest
from models import draw, model

import reflrp
from reflrp import rules as r
from reflrp.cli import main as command

LSTM = {"W": (1, 12, 4), "R": (1, 12, 3), "V": (3, 2)}
RNN_BODY = "h, last = LSTM<hidden_size = 3>({x}, W, R) q = Squeeze(last, axis)"
CONVS = {"K": (3, 2, 3, 3), "L": (3, 3, 3, 3), "b": (3,)}
IMAGE = "float[N,2,6,6] x"
TRUNK = "c1 = Conv(x, K, b) r1 = Relu(c1) c2 = Conv(r1, L) r2 = Relu(c2)"
ATTEND = (
    "q = MatMul({t}, Q) k = MatMul({t}, P) kt = Transpose<perm = [0, 2, 1]>(k) s = MatMul(q, kt) p = Softmax<axis = -1>(s) "
    "v = MatMul({t}, U) o = MatMul(p, v)"
)
HEADS = {"Q": (4, 5), "P": (4, 5), "U": (4, 3)}
NETS = {
    "table": (
        model("h = Gemm(x, A, a) g = Relu(h) y = Gemm(g, B)", A=(4, 5), a=(5,), B=(5, 2)),
        "dense layers, epsilon on 2 nodes",
        {"h": "Epsilon", "y": "Epsilon"},
    ),
    "image": (
        model(f"{TRUNK} f = Flatten(r2) y = MatMul(f, M)", IMAGE, M=(12, 2), **CONVS),
        "convolutions on images found, epsilon_plus_flat on 2 nodes; dense layers, epsilon on 1 node",
        {"c1": "Flat", "c2": "ZPlus", "y": "Epsilon"},
    ),
    "series": (
        model("c = Conv(x, K) f = Flatten(c) y = MatMul(f, M)", "float[N,2,6] x", K=(3, 2, 3), M=(12, 2)),
        "convolutions over time found, epsilon_plus on 1 node; dense layers, epsilon on 1 node",
        {"c": "ZPlus", "y": "Epsilon"},
    ),
    "series, written with two axes": (
        model("c = Conv(x, K) f = Flatten(c) y = MatMul(f, M)", "float[N,2,1,6] x", K=(3, 2, 1, 3), M=(12, 2)),
        "convolutions over time found, epsilon_plus on 1 node; dense layers, epsilon on 1 node",
        {"c": "ZPlus", "y": "Epsilon"},
    ),
    "table, written as an image of one pixel": (
        model("c = Conv(x, K) f = Flatten(c) y = MatMul(f, M)", "float[N,2,1,1] x", K=(3, 2, 1, 1), M=(3, 2)),
        "dense layers, epsilon on 2 nodes",
        {"c": "Epsilon", "y": "Epsilon"},
    ),
    "attention": (
        model(f"{ATTEND.format(t='x')} y = ReduceMean<axes = [1], keepdims = 0>(o)", "float[N,5,4] x", **HEADS),
        "attention found, attnlrp on 3 nodes; dense layers, epsilon on 3 nodes",
        {"q": "Epsilon", "s": "Half", "p": "Taylor", "o": "Half"},
    ),
    "recurrent": (
        model(f"{RNN_BODY.format(x='x')} y = MatMul(q, V)", "float[5,N,4] x", axis=np.array([0]), **LSTM),
        "recurrence found (LSTM), lstm on 47 nodes; dense layers, epsilon on 1 node",
        {"y": "Epsilon"},
    ),
    "recurrent, spelled out": (
        model(
            "a, b = Split<axis = 1>(x, halves) u = MatMul(a, A) t = Tanh(u) v = MatMul(t, R) c = MatMul(b, A) w = Add(v, c) "
            "s = Tanh(w) z = MatMul(s, R) y = MatMul(z, V)", A=(2, 3), R=(3, 3), V=(3, 2), halves=np.array([2, 2]),
        ),
        "recurrence found (weights that act again), lstm on 2 nodes; dense layers, epsilon on 3 nodes",
        {"v": "Epsilon", "z": "Epsilon", "u": "Epsilon"},
    ),
    "twins": (
        model("u = MatMul(x, A) v = MatMul(z, A) y = Sub(u, v)", "float[N,4] x, float[N,4] z", A=(4, 2)),
        "dense layers, epsilon on 2 nodes",
        {"u": "Epsilon", "v": "Epsilon"},
    ),
    "convolutions, then attention": (
        model(
            f"{TRUNK} f = Reshape(r2, shape) t = Transpose<perm = [0, 2, 1]>(f) {ATTEND.format(t='t')} "
            "y = ReduceMean<axes = [1], keepdims = 0>(o)",
            IMAGE, shape=np.array([0, 3, 4]), Q=(3, 5), P=(3, 5), U=(3, 3), **CONVS,
        ),
        "convolutions on images found, epsilon_plus_flat on 2 nodes; attention found, attnlrp on 3 nodes; "
        "dense layers, epsilon on 3 nodes",
        {"c1": "Flat", "c2": "ZPlus", "o": "Half", "p": "Taylor", "q": "Epsilon"},
    ),
    "patches, then attention": (
        model(
            f"c = Conv<strides = [2, 2]>(x, K) f = Reshape(c, shape) t = Transpose<perm = [0, 2, 1]>(f) {ATTEND.format(t='t')} "
            "y = ReduceMean<axes = [1], keepdims = 0>(o)",
            IMAGE, shape=np.array([0, 3, 9]), K=(3, 2, 2, 2), Q=(3, 5), P=(3, 5), U=(3, 3),
        ),
        "patches of images found, flat on 1 node; attention found, attnlrp on 3 nodes; dense layers, epsilon on 3 nodes",
        {"c": "Flat", "s": "Half", "v": "Epsilon"},
    ),
    "convolutions, then recurrent": (
        model(
            f"{TRUNK} f = Reshape(r2, shape) t = Transpose<perm = [1, 0, 2]>(f) {RNN_BODY.format(x='t')} y = MatMul(q, V)",
            IMAGE, shape=np.array([0, 3, 4]), axis=np.array([0]), **CONVS, **LSTM,
        ),
        "recurrence found (LSTM), lstm on 27 nodes; convolutions on images found, epsilon_plus_flat on 2 nodes; "
        "dense layers, epsilon on 1 node",
        {"c1": "Flat", "c2": "ZPlus", "y": "Epsilon"},
    ),
    "image beside a table": (
        model(
            f"{TRUNK} f = Flatten(r2) d = MatMul(z, A) e = Relu(d) j = Concat<axis = 1>(f, e) y = MatMul(j, M)",
            f"{IMAGE}, float[N,4] z", A=(4, 5), M=(17, 2), **CONVS,
        ),
        "convolutions on images found, epsilon_plus_flat on 2 nodes; dense layers, epsilon on 2 nodes",
        {"c1": "Flat", "c2": "ZPlus", "d": "Epsilon", "y": "Epsilon"},
    ),
    "gates of channels beside attention": (
        model(
            f"{TRUNK} m = ReduceMean<axes = [2, 3]>(r2) w = Conv(m, E) g = Sigmoid(w) h = Mul(r2, g) f = Reshape(h, shape) "
            f"t = Transpose<perm = [0, 2, 1]>(f) {ATTEND.format(t='t')} y = ReduceMean<axes = [1], keepdims = 0>(o)",
            IMAGE, shape=np.array([0, 3, 4]), E=(3, 3, 1, 1), Q=(3, 5), P=(3, 5), U=(3, 3), **CONVS,
        ),
        "convolutions on images found, epsilon_plus_flat on 2 nodes; attention found, attnlrp on 3 nodes; "
        "dense layers, epsilon on 4 nodes",
        {"c1": "Flat", "h": "SignalTakesAll", "o": "Half"},
    ),
}  # fmt: skip


def explained(name, rules="auto"):
    proto = NETS[name][0]
    shapes = reflrp.load(proto).example_shapes(2)
    feeds = {k: draw(*shape) for k, shape in shapes.items()}
    feeds = {"x": draw(5, 2, 4)} if name == "recurrent" else feeds
    return reflrp.explain(proto, feeds, rules, target=0)


@pytest.mark.parametrize("name", NETS)
def test_what_is_found_and_chosen(name):
    proto, words, chosen = NETS[name]
    e = explained(name)
    assert [n for n in e.notes if n.startswith("auto: ")] == [f"auto: {words}"]
    loaded = reflrp.load(proto)
    names = {n.output: n.name for n in loaded.graph({k: v.shape for k, v in e.inputs.items()}).nodes}
    assert {value: type(e.rules[names[value]]).__name__ for value in chosen} == chosen


@pytest.mark.parametrize(
    ("name", "preset"),
    [("table", "epsilon"), ("image", "epsilon_plus_flat"), ("series", "epsilon_plus"), ("attention", "attnlrp")],
)
def test_pure_networks_get_what_the_preset_gives(name, preset):
    one, two = explained(name), explained(name, preset)
    assert np.allclose(one.relevance, two.relevance, rtol=1e-12, atol=0)


def test_spelled_out_recurrence_has_the_larger_epsilon():
    e = explained("recurrent, spelled out")
    assert sorted(rule.epsilon for rule in e.rules.values() if isinstance(rule, r.Epsilon)) == [1e-6] * 3 + [1e-3] * 2


def test_recurrent_nodes_get_what_lstm_gives():
    e, wanted = explained("recurrent"), explained("recurrent", "lstm")
    names = [n for n in e.rules if n.startswith("LSTM")]
    assert len(names) > 40
    assert {n: e.rules[n] for n in names} == {n: wanted.rules[n] for n in names}


def test_gated_block_gets_what_attnlrp_gives():
    proto = attention_net.model(attention_net.weights())
    x = draw(2, 4, 3).astype(float)
    one, two = (reflrp.explain(proto, x, rules, target=1) for rules in ("auto", "attnlrp"))
    assert np.allclose(one.relevance, two.relevance, rtol=1e-12, atol=0)


def test_features_of_a_table_are_told_apart():
    """The old default shares equally among the features of a first dense layer."""
    now, before = explained("table").relevance, explained("table", "epsilon_plus_flat").relevance
    assert np.ptp(before, axis=1).max() < 1e-9 < np.ptp(now, axis=1).min()


def test_it_is_the_default_everywhere():
    assert reflrp.Explainer(NETS["table"][0]).composite == reflrp.composites.preset("auto")
    assert explained("image") == reflrp.explain(NETS["image"][0], draw(2, 2, 6, 6), target=0)
    for function in (reflrp.explain, reflrp.Explainer, command.explain, command.inspect):
        assert inspect.signature(function).parameters["rules"].default == "auto"


def test_the_layer_table_says_it_too():
    assert "auto: dense layers, epsilon on 2 nodes" in reflrp.load(NETS["table"][0]).summary("auto")


def test_nothing_to_choose():
    assert "auto: no layers found" in reflrp.explain(model("y = Relu(x)"), np.ones((1, 4))).notes


def test_its_numbers():
    chosen = reflrp.composites.preset("auto", epsilon=0.1, recurrent_epsilon=0.5)
    e = reflrp.explain(NETS["table"][0], draw(2, 4), chosen)
    assert set(map(repr, (e.rules[k] for k in e.rules if "Gemm" in k))) == {repr(r.Epsilon(0.1))}
