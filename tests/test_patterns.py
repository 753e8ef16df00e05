"""Conditions and kept layers by patterns: relevance through chosen neurons only, and what the ledger says of the rest."""

import re

import numpy as np
import pytest
from coverage_tools import assert_closed
from maps import dyadic
from nets import MLP, NETS, RESNET, build
from nets import net as drawn

import reflrp
from reflrp.errors import InputError
from reflrp.rules import AlphaBeta, Epsilon, Gamma

SEED = dyadic(np.random.default_rng(8), (3, 3))
X = dyadic(np.random.default_rng(9), (3, 4))
E = 0.1
"""Large, so that a stabiliser in the wrong place shows."""
ALIVE = {"mlp": 12, "resnet": 9, "inception": 26}
"""Seeds whose networks have relevance in nearly all channels."""


def net(name):
    return drawn(name, ALIVE[name])


def mlp():
    return build(MLP, seed=126)


def explain(model, x, conditions=None, rules="epsilon_plus_flat", **choice):
    return reflrp.Explainer(model, rules)(x, conditions=conditions, layers=True, **choice)


def same(one, two):
    return np.abs(one - two).max() <= 1e-12 * np.abs(two).max()


def constant(model, name):
    return np.asarray(reflrp.load(model).source.constants[name], dtype=float)


# ---------------------------------------------------------------- the parts add up to the whole


@pytest.mark.parametrize("rules", ["epsilon_plus_flat", "epsilon_alpha2_beta1", Gamma(generalized=True), Epsilon(E)])
@pytest.mark.parametrize(("name", "value"), [("mlp", "h"), ("resnet", "p1"), ("resnet", "g"), ("inception", "e")])
def test_the_channels_add_up(name, value, rules):
    """Wherever all relevance passes: one channel at a time gives the whole again."""
    model, x = net(name)
    whole = explain(model, x, rules=rules)
    channels = range(whole.layers[value].shape[1])
    parts = [explain(model, x, {value: [k]}, rules).relevance for k in channels]
    assert same(sum(parts), whole.relevance)
    assert sum(part.any() for part in parts) >= len(channels) - 2
    assert same(explain(model, x, {value: channels}, rules).relevance, whole.relevance)


def test_the_outputs_add_up():
    model, x = net("resnet")
    whole, parts = explain(model, x), [explain(model, x, {"y": [k]}) for k in range(3)]
    assert same(sum(p.relevance for p in parts), whole.relevance)
    for k, part in enumerate(parts):
        chosen = np.asarray([t == (k,) for t in whole.target])
        assert np.array_equal(part.relevance[chosen], whole.relevance[chosen])
        assert not part.relevance[~chosen].any()


# ---------------------------------------------------------------- by hand


def st(z):
    return np.where(z >= 0, z + E, z - E)


def by_hand(x, mask, masks_y=1.0):
    """LRP-epsilon through two dense layers and a rectifier, some of the hidden relevance left out."""
    model = mlp()
    w1, b1, w2, b2 = (constant(model, k) for k in ("w1", "b1", "w2", "b2"))
    h = x @ w1 + b1
    r = np.maximum(h, 0)
    of_r = r * ((SEED * masks_y / st(r @ w2 + b2)) @ w2.T) * mask
    return of_r, x * ((of_r / st(h)) @ w1.T)


@pytest.mark.parametrize("value", ["h", "r", "Gemm_0", "Relu_1"])
@pytest.mark.parametrize("neurons", [[0], [3], [1, 2, 4], (0, 4), np.asarray([2]), 3, range(1, 4), [2, 2]])
def test_two_dense_layers_by_hand(value, neurons):
    """A rectifier passes all: it is the same on either side of it."""
    mask = np.isin(np.arange(5), neurons)
    e = explain(mlp(), X, {value: neurons}, Epsilon(E), init=SEED)
    of_r, of_x = by_hand(X, mask)
    assert same(e.relevance, of_x)
    assert same(e.layers["h"], of_r)


def test_on_an_input():
    """The chosen entries keep their relevance, and the ledger says what the others had."""
    whole, e = explain(mlp(), X), explain(mlp(), X, {"x": [0, 2]})
    assert np.array_equal(e.relevance, whole.relevance * [1, 0, 1, 0])
    assert same(e.conservation["x:condition"].dropped, whole.relevance[:, [1, 3]].sum())
    assert_closed(e)


def test_on_the_input_of_a_convolution():
    """Its channels are on axis 1, in one dimension too."""
    model, x, init = build(LINE, seed=2), np.ones((1, 2, 6)), np.ones((1, 2, 4))
    whole, e = (explain(model, x, c, Epsilon(E), init=init).relevance for c in ({}, {"x": [1]}))
    assert np.array_equal(e, whole * [[[0], [1]]])


def test_on_what_carries_no_relevance():
    model = build("net (float[2, 3] x, bool[2, 3] m) => (float[2, 3] y) { c = Cast <to = 1> (m) y = Mul(x, c) }")
    feeds = {"x": np.ones((2, 3)), "m": np.ones((2, 3), bool)}
    with pytest.raises(InputError, match="conditions: what matches 'c' carries no relevance"):
        reflrp.explain(model, feeds, init=np.ones((2, 3)), conditions={"c": [0]})


@pytest.mark.parametrize(("one", "other"), [([-1], [4]), ([-5, 1], [0, 1]), (-2, 3)])
def test_negative_neurons_count_from_the_end(one, other):
    pair = [explain(mlp(), X, {"h": k}).relevance for k in (one, other)]
    assert np.array_equal(*pair)
    assert not np.array_equal(pair[0], explain(mlp(), X).relevance)


def test_conditions_on_a_path_are_both_met():
    """What came through neuron 1 of the output and 0, 3 or 4 of the hidden layer."""
    e = explain(mlp(), X, {"y": [1], "h": [0, 3, 4]}, Epsilon(E), init=SEED)
    assert same(e.relevance, by_hand(X, np.isin(np.arange(5), [0, 3, 4]), np.asarray([0, 1, 0]))[1])


@pytest.mark.parametrize("names", [("h", "Gemm_0"), ("h", "[gh]"), ("?emm_0", "h*")])
def test_patterns_that_share_a_value_choose_either(names):
    model = mlp()
    both = explain(model, X, {names[0]: [0], names[1]: [3]})
    assert np.array_equal(both.relevance, explain(model, X, {"h": [0, 3]}).relevance)
    assert [row.node for row in both.conservation.rows if row.kind == "condition"] == ["h:condition"]


@pytest.mark.parametrize("value", ["n1", "r1", "p1", "s"])
@pytest.mark.parametrize("rule", [Epsilon(E), AlphaBeta(), Gamma()])
def test_the_front_of_the_network_alone(value, rule):
    """What is chosen of a value's relevance, started with where the network is cut off there."""
    model, x = net("resnet")
    shape = explain(model, x, rules=rule).layers[value].shape
    front = build(
        re.sub(r"float\[N, 3\] y", f"float[N, {', '.join(map(str, shape[1:]))}] {value}", RESNET), ALIVE["resnet"]
    )
    init = explain(model, x, rules=rule).layers[value] * np.isin(np.arange(4), [1, 2]).reshape(4, 1, 1)
    found = explain(model, x, {value: [1, 2]}, rule)
    assert same(found.layers[value], init)
    assert same(found.relevance, explain(front, x, rules=rule, init=init).relevance)


def test_a_value_with_two_readers():
    """The condition is on the sum of what the readers give, not on one branch."""
    model, x = net("resnet")
    whole, part = explain(model, x), explain(model, x, {"p1": [2]})
    assert np.array_equal(part.layers["p1"][:, 2], whole.layers["p1"][:, 2])
    assert not part.layers["p1"][:, [0, 1, 3]].any()
    assert np.array_equal(part.layers["c2"], whole.layers["c2"])  # above it nothing changes


# ---------------------------------------------------------------- axes

SEQUENCE = """net (float[N, 5, 4] x) => (float[N, 5, 2] y) <float[4, 3] w, float[3] b, float[3, 2] v>
{ m = MatMul(x, w) h = Add(m, b) r = Relu(h) y = MatMul(r, v) }"""
LINE = """net (float[N, 2, 6] x) => (float[N, 2, 4] y) <float[3, 2, 2] w, float[3] b, float[2, 3, 2] v>
{ h = Conv(x, w, b) r = Relu(h) y = Conv(r, v) }"""
IMAGES = "net (float[N, 2, 4, 4] x) => (float[N, 3, 4, 4] y) <float[3, 2, 1, 1] w> { h = Conv(x, w) y = Relu(h) }"


@pytest.mark.parametrize(
    ("text", "shape", "value", "axis", "count"),
    [
        (MLP, (3, 4), "h", 1, 5),
        (SEQUENCE, (3, 5, 4), "h", 2, 3),
        (SEQUENCE, (3, 5, 4), "r", 2, 3),
        (SEQUENCE, (3, 5, 4), "y", 2, 2),
        (LINE, (3, 2, 6), "h", 1, 3),
        (LINE, (3, 2, 6), "r", 1, 3),
        (LINE, (3, 2, 6), "y", 1, 2),
        (IMAGES, (3, 2, 4, 4), "h", 1, 3),
        (IMAGES, (3, 2, 4, 4), "y", 1, 3),
    ],
)
def test_which_axis_is_counted(text, shape, value, axis, count):
    model, x = build(text, seed=2), dyadic(np.random.default_rng(3), shape)
    init = dyadic(np.random.default_rng(4), reflrp.load(model).run(x)["y"].shape)
    whole = explain(model, x, rules=Epsilon(E), init=init).layers[value]
    assert whole.shape[axis] == count
    for k in range(count):
        part = explain(model, x, {value: [k]}, Epsilon(E), init=init).layers[value]
        kept = np.moveaxis(part, axis, 0)
        assert np.array_equal(kept[k], np.moveaxis(whole, axis, 0)[k])
        assert not np.delete(kept, k, axis=0).any()
    with pytest.raises(InputError, match=f"must be ints below {count}"):
        explain(model, x, {value: [count]}, Epsilon(E), init=init)


def test_a_sequence_by_hand():
    model, x = build(SEQUENCE, seed=5), dyadic(np.random.default_rng(3), (3, 5, 4))
    w, b, v = (constant(model, k) for k in "wbv")
    init = dyadic(np.random.default_rng(4), (3, 5, 2))
    h = x @ w + b
    r = np.maximum(h, 0)
    of_h = r * ((init / st(r @ v)) @ v.T) * np.asarray([0, 1, 0])
    e = explain(model, x, {"h": [1]}, Epsilon(E), init=init)
    assert same(e.relevance, x * ((of_h / st(h)) @ w.T))


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("pattern", "values"),
    [
        ("n1", {"n1"}),  # the value
        ("conv1", {"n1"}),  # the node that makes it
        ("bn1", {"n1"}),  # what was folded into it
        ("conv?", {"n1", "c2", "c3"}),
        ("[cp]onv[23]", {"c2", "c3"}),
        ("r[12]", {"r1", "r2"}),
        ("*1", {"n1", "r1", "p1"}),
        ("relu[!3]", {"r1", "r2"}),
    ],
)
def test_patterns_of_names(pattern, values):
    """One pattern, or each of its values by name; `layers` matches alike."""
    model, x = net("resnet")
    explainer = reflrp.Explainer(model)
    kept = explainer(x, layers=pattern)
    assert set(kept.layers) == values
    found, wanted = (explainer(x, conditions=c) for c in ({pattern: [1, 3]}, {v: [1, 3] for v in values}))
    assert np.array_equal(found.relevance, wanted.relevance)
    rows = {row.node for row in found.conservation.rows if row.kind == "condition"}
    assert rows == {f"{v}:condition" for v in values}


def test_names_that_identities_leave():
    """Identity and Dropout are not in the graph; their names stand for the value before them."""
    text = MLP.replace("y = Gemm(r", "s = Identity(r) t = Dropout(s) y = Gemm(t")
    wanted = explain(mlp(), X, {"r": [1, 2]})
    for name in ("s", "t"):
        assert np.array_equal(explain(build(text, seed=126), X, {name: [1, 2]}).relevance, wanted.relevance)
        assert set(reflrp.explain(build(text, seed=126), X, layers=name).layers) == {"r"}


# ---------------------------------------------------------------- the ledger


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("rules", ["epsilon_plus_flat", "epsilon_alpha2_beta1", "lrp_0"])
def test_the_ledger_says_what_was_left_out(name, rules):
    model, x = net(name)
    value = {"mlp": "r", "resnet": "p1", "inception": "i"}[name]
    whole, part = explain(model, x, rules=rules), explain(model, x, {value: [0, 2]}, rules)
    row = part.conservation[f"{value}:condition"]
    assert (row.kind, row.rule) == ("condition", "restrict")
    R = whole.layers[value]
    assert np.allclose([row.received, row.passed_on], [R.sum(), R[:, [0, 2]].sum()], rtol=1e-12, atol=1e-14)
    assert np.isclose(row.dropped, R.sum() - R[:, [0, 2]].sum(), rtol=1e-12, atol=1e-14)
    assert np.isclose(row.flow, np.abs(R).sum(), rtol=1e-12, atol=1e-14)
    assert (row.bias, row.stabilizer, row.error) == (0, 0, 0)
    assert_closed(part)
    order = list(part.conservation)
    maker = next(n.name for n in reflrp.Explainer(model, rules).program(x).graph.nodes if n.output == value)
    assert order.index(f"{value}:condition") == order.index(maker) - 1
    assert len(order) == len(whole.conservation) + 1


def test_parts_of_a_batch():
    """Cut to pieces, the accounts add up to those of the whole batch."""
    model, x = net("inception")
    one, cut = (reflrp.Explainer(model, batch_size=n)(x, conditions={"e": [1, 5]}) for n in (None, 1))
    assert np.array_equal(one.relevance, cut.relevance)
    assert np.isclose(
        one.conservation["e:condition"].dropped, cut.conservation["e:condition"].dropped, rtol=1e-12, atol=1e-14
    )
    assert_closed(cut)


def test_in_single_precision():
    one, two = (
        reflrp.Explainer(mlp(), "epsilon_plus_flat", dtype=d)(X, conditions={"h": [1]}) for d in ("float64", "float32")
    )
    assert two.relevance.dtype == np.float32
    assert np.abs(one.relevance - two.relevance).max() < 1e-5 * np.abs(one.relevance).max()


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("conditions", "text"),
    [
        ({"nothing": [0]}, "conditions=['nothing'] match no value or node; Model.summary() lists their names"),
        ({"h": [0], "conv*": [0]}, "conditions=['conv*'] match no value or node"),
        ({"h": [5]}, "conditions: neurons [5] of 'h' must be ints below 5"),
        ({"h": [-6]}, "conditions: neurons [-6] of 'h' must be ints below 5"),
        ({"h": [0, 7]}, "conditions: neurons [0, 7] of 'h'"),
        ({"h": [1.0]}, "conditions: neurons [1.0] of 'h' must be ints"),
        (
            {"h": [True, False, True, False, True]},
            "conditions: neurons [True, False, True, False, True] of 'h' must be",
        ),
        ({"h": []}, "conditions: neurons [] of 'h' must be ints"),
        ({"h": np.zeros(0, int)}, "conditions: neurons array([], dtype=int64) of 'h' must be ints"),
        ({"h": [[0], [1, 2]]}, "conditions: neurons [[0], [1, 2]] of 'h' must be ints"),
        ({"x": [4]}, "conditions: neurons [4] of 'x' must be ints below 4"),
        ({"h": "0"}, "conditions: neurons '0' of 'h' must be ints"),
        ({"Gemm_*": [4]}, "conditions: neurons [4] of 'y' must be ints below 3"),
    ],
)
def test_conditions_that_do_not_fit(conditions, text):
    with pytest.raises(InputError, match=re.escape(text)):
        explain(mlp(), X, conditions)
