"""Recurrent nets of an open number of steps, compiled: one file gives at each number what the engine gives, unrolled."""

from dataclasses import dataclass

import models
import numpy as np
import pytest
from compiled import run
from test_compiler_lengths import PRESETS, agrees, ids

import reflrp
from reflrp import rules
from reflrp.composites import Composite
from reflrp.composites.composite import defaults
from reflrp.composites.matchers import Matcher, depth, earliest, first, kind, name
from reflrp.dialects.innvestigate.base import Nth
from reflrp.dialects.relevance_propagation_jl.composites import Numbered
from reflrp.dialects.zennit.naming import Named

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
SIZES = ((1, 1), (1, 3), (2, 2), (3, 2), (4, 1), (17, 3))


def net(
    op,
    port="float[T,N,4] x",
    directions=1,
    tail="f = Squeeze(s, one) y = MatMul(f, v)",
    states="",
    attributes="",
    **more,
):
    body = f"s, h = {op} <hidden_size = 5{attributes}>(x, w, r, b, {states}) {tail}"
    rows = 5 * GATES[op]
    return models.model(
        body.replace(", )", ")"), port, w=(directions, rows, 4), r=(directions, rows, 5), b=(directions, 2 * rows), one=ids(1),
        zero=ids(0), v=(5, 3), both=(10, 3), flat=ids(0, 0, -1), **more,
    )  # fmt: skip


def drawn(t, n):
    return {"x": models.draw(t, n, 4, seed=t).astype(np.float32)}


TURNS = {
    "forward": {},
    "reverse": {"attributes": ', direction = "reverse"'},
    "tagger": {
        "directions": 2, "attributes": ', direction = "bidirectional"',
        "tail": "t = Transpose <perm = [0, 2, 1, 3]>(s) f = Reshape(t, flat) y = MatMul(f, both)",
    },
    "last": {"tail": "f = Squeeze(h, zero) y = MatMul(f, v)"},
    "both last": {
        "directions": 2, "attributes": ', direction = "bidirectional"',
        "tail": "t = Transpose <perm = [1, 0, 2]>(h) f = Flatten(t) y = MatMul(f, both)",
    },
}  # fmt: skip


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("op", GATES)
def test_one_file_for_any_number_of_steps(op, turn):
    proto = net(op, **TURNS[turn])
    for preset in PRESETS if turn == "tagger" else ("epsilon_plus_flat", "attnlrp"):
        g = reflrp.compile(proto, preset)
        for t, n in SIZES:
            agrees(run(g, drawn(t, n)), proto, drawn(t, n), preset)


def test_samples_that_come_first_only_behind():
    """The input has the time first, the output its samples, each of which has its own target in `explain`."""
    proto = net("RNN", tail="f = Squeeze(s, one) t = Transpose <perm = [1, 0, 2]>(f) y = MatMul(t, v)")
    with pytest.raises(reflrp.InputError, match="on another axis than the first"):
        reflrp.compile(proto, "epsilon")


def test_gates_of_all_kinds():
    lstm = models.model(
        """s, h, c = LSTM <hidden_size = 5, clip = 0.5, input_forget = 1>(x, w, r, b, , , , p) f = Squeeze(s, one)
        g = MatMul(f, v) k = Squeeze(c, zero) m = MatMul(k, v) y = Add(g, m)""",
        "float[T,N,4] x", w=(1, 20, 4), r=(1, 20, 5), b=(1, 40), p=(1, 15), one=ids(1), zero=ids(0), v=(5, 3),
    )  # fmt: skip
    for proto in (
        lstm,
        net("GRU", attributes=", linear_before_reset = 1"),
        net("RNN", attributes=', activations = ["Relu"]'),
    ):
        for rule in ("epsilon", "attnlrp"):
            g = reflrp.compile(proto, rule)
            for t, n in SIZES:
                agrees(run(g, drawn(t, n)), proto, drawn(t, n), rule)


def test_two_layers_with_the_batch_first():
    """As torch exports them: states are zeros of a shape that the file works out."""
    proto = models.model(
        """sh = Shape(x) n = Gather(sh, zero) d = Concat <axis = 0>(one, n, five) z = ConstantOfShape(d)
        t = Transpose <perm = [1, 0, 2]>(x) s, h = GRU <hidden_size = 5>(t, w, r, b, , z) f = Squeeze(s, one)
        s2, h2 = RNN <hidden_size = 5>(f, w2, r2) f2 = Squeeze(s2, one) u = Transpose <perm = [1, 0, 2]>(f2) y = MatMul(u, v)""",
        "float[N,T,4] x", w=(1, 15, 4), r=(1, 15, 5), b=(1, 30), w2=(1, 5, 5), r2=(1, 5, 5), zero=ids(0), one=ids(1),
        five=ids(5), v=(5, 3),
    )  # fmt: skip
    for preset in ("auto", "epsilon_alpha2_beta1"):
        g = reflrp.compile(proto, preset)
        for t, n in SIZES:
            agrees(run(g, drawn(n, t)), proto, drawn(n, t), preset)


def test_states_of_two_directions_side_by_side():
    """As Keras exports them."""
    tail = "t = Transpose <perm = [0, 2, 1, 3]>(s) f = Reshape(t, flat) y = MatMul(f, both)"
    proto = net(
        "GRU", directions=2, attributes=', direction = "bidirectional"', tail=tail, states=", i", bias=(1, 1, 1)
    )
    lines = models.model(
        """sh = Shape(x) n = Slice(sh, one, two) d = Concat <axis = 0>(one, n, five) z = ConstantOfShape(d) e = Expand(nought, d)
        i = Concat <axis = 0>(z, e) y = MatMul(x, v)""",
        "float[T,N,4] x", one=ids(1), two=ids(2), five=ids(5), nought=np.zeros((), np.float32), v=(4, 3),
    )  # fmt: skip
    proto.graph.initializer.extend(w for w in lines.graph.initializer if w.name in ("two", "five", "nought"))
    whole = [*list(lines.graph.node)[:-1], *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(whole)
    g = reflrp.compile(proto, "epsilon")
    for t, n in SIZES:
        agrees(run(g, drawn(t, n)), proto, drawn(t, n), "epsilon")


def test_states_to_start_from():
    inputs = "float[T,N,4] x, float[1,N,5] i"
    proto = net("GRU", inputs, states=", i")
    g = reflrp.compile(proto, "epsilon")
    for t, n in SIZES:
        feeds = {**drawn(t, n), "i": models.draw(1, n, 5, seed=9).astype(np.float32)}
        agrees(run(g, feeds), proto, feeds, "epsilon")
    proto = net("GRU", "float[T,N,4] x, float[1,M,5] i", states=", i")
    g = reflrp.compile(proto, "epsilon")
    assert {p.key: p.value for p in g.metadata_props}["reflrp.lengths"] == "M == N"
    agrees(run(g, feeds), proto, feeds, "epsilon")
    proto = net("RNN", "float[T,2,4] x", states=", i", i=(1, 2, 5))
    g = reflrp.compile(proto, "epsilon")
    for t in (3, 8):
        agrees(run(g, drawn(t, 2)), proto, drawn(t, 2), "epsilon")


def test_conditions_layers_and_fixed_targets():
    proto, feeds = net("LSTM"), drawn(6, 2)
    asked = {"conditions": {"f": [1, 3]}}
    agrees(run(reflrp.compile(proto, "epsilon", **asked), feeds), proto, feeds, "epsilon", **asked)
    asked = {"conditions": {"s:d0.t0.gates": [1, 3]}}
    agrees(run(reflrp.compile(proto, "epsilon", **asked), feeds), proto, feeds, "epsilon", **asked)
    for pattern in ("*.C", "*.gates", "s:d0.t1.C", "LSTM_0", "s:Y*"):
        with pytest.raises(reflrp.InputError, match="one step among an open number"):
            reflrp.compile(proto, "epsilon", conditions={pattern: [1]})
    agrees(run(reflrp.compile(proto, "epsilon", target=(1, 2)), feeds), proto, feeds, "epsilon", target=(1, 2))
    found = run(reflrp.compile(proto, "epsilon", layers=True), feeds)
    layers = reflrp.explain(proto, feeds, "epsilon", layers=True).layers
    kept = {k for k in layers if f"layer/{k}" in found}
    assert {"f", "s:Y", "s:d0.t0.gates"} <= kept
    assert {k.removeprefix("layer/") for k in found if k.startswith("layer/")} <= set(layers)
    for k in kept:
        np.testing.assert_allclose(found[f"layer/{k}"], layers[k], atol=1e-5)


def test_targets_and_relevance_as_inputs():
    proto, x = net("LSTM", **TURNS["last"]), drawn(6, 3)
    g = reflrp.compile(proto, "epsilon", target="input", derived="stored", opset=21)
    agrees(run(g, {**x, "target": np.array([2, 0, 1])}), proto, x, "epsilon", target=[2, 0, 1])
    R = models.draw(3, 3).astype(np.float32)
    agrees(run(reflrp.compile(proto, "epsilon", init="input"), {**x, "init": R}), proto, x, "epsilon", init=R)


def test_under_onnxruntime_the_steps_are_unrolled():
    """A ledger is kept of each, and inner values have the engine's names."""
    proto, x = net("GRU"), drawn(5, 2)
    ours, theirs = (
        reflrp.explain(proto, x, "epsilon", layers=True, dtype="float32", backend=b) for b in ("numpy", "onnxruntime")
    )
    assert set(ours.layers) == set(theirs.layers)
    np.testing.assert_allclose(theirs.relevance, ours.relevance, atol=1e-4)


def test_one_step_is_enough():
    """No length is ruled out; a length that another is less than by one must leave one."""
    g = reflrp.compile(net("LSTM"), "epsilon")
    assert "reflrp.lengths" not in {p.key for p in g.metadata_props}
    proto = models.model(
        "c = Slice(x, one, far) h, l = GRU <hidden_size = 5>(c, w, r) f = Squeeze(l, zero) y = MatMul(f, v)",
        "float[T,N,4] x", w=(1, 15, 4), r=(1, 15, 5), one=ids(1), far=ids(2**62), zero=ids(0), v=(5, 3),
    )  # fmt: skip
    g = reflrp.compile(proto, "epsilon")
    assert {p.key: p.value for p in g.metadata_props}["reflrp.lengths"].endswith("> 1")
    for t in (2, 3, 7):
        agrees(run(g, drawn(t, 2)), proto, drawn(t, 2), "epsilon")
    with pytest.raises(Exception, match="out of data bounds"):
        run(g, drawn(1, 1))


@dataclass(frozen=True)
class Deep(Matcher):
    """Someone's own matcher, which counts layers."""

    low: int

    def __call__(self, node, survey):
        return survey.depths[node.name] > self.low


def test_rules_for_all_steps_alike():
    proto = net("LSTM")
    for matcher in (name("*.gates"), name("*:d0.t*[0-9].gates"), first("dense"), Named(("LSTM_0",)) & kind("dense")):
        composite = Composite([(matcher, rules.Epsilon(0.5)), (kind("dense"), rules.Epsilon()), *defaults()])
        g = reflrp.compile(proto, composite)
        agrees(run(g, drawn(25, 1)), proto, drawn(25, 1), composite)
    for matcher in (
        depth(1, 50) & kind("dense"),
        name("*.t20.*"),
        name("*57*") & kind("dense"),
        name("*.t2*") & kind("dense"),
        name("*.t????.gates"),
        name("*.t[1-9][0-9][0-9][0-9]*.gates"),
        name("*1*2*3*4*gates"),
        Named(("LSTM_0:d0.t20.gates",)),
        lambda node, survey: ".t20." in node.name and node.kind == "dense",
        kind("dense") & ~Deep(9),
        earliest(lambda node, survey: ".t20." in node.name),
        kind("dense") & Nth(None, 30),
        kind("dense") & ~Numbered(range(20, 60)),
    ):
        composite = Composite([(matcher, rules.Epsilon(0.5)), (kind("dense"), rules.Epsilon()), *defaults()])
        with pytest.raises(
            reflrp.InputError, match=r"tells the steps|in other steps|not known to look at single nodes"
        ):
            reflrp.compile(proto, composite)


def padded(t, n):
    """Sequences of their own lengths, one of each sort first: the longest, none, and such that end on the way."""
    lengths = [t, 0, *np.random.default_rng([t, n]).integers(1, t + 1, size=n)]
    return {**drawn(t, n), "lens": np.array(lengths[:n], np.int32)}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("op", GATES)
def test_lengths_of_sequences(op, turn):
    """As inputs, for any number of steps: outputs are onnxruntime's, and relevance is that of each sequence without its padding."""
    proto, alone = net(op, "float[T,N,4] x, int32[M] lens", states="lens", **TURNS[turn]), net(op, **TURNS[turn])
    for preset in ("epsilon_plus_flat", "attnlrp"):
        g = reflrp.compile(proto, preset)
        for t, n in SIZES:
            agrees(run(g, padded(t, n)), proto, padded(t, n), preset)
    feeds = padded(6, 4)
    models.assert_same_as_onnxruntime(proto, feeds)
    for rule, tolerance in (
        ("gradient", 1e-9),
        ("epsilon", 1e-4),
    ):  # where a state is zero, epsilon stabilises one sum more
        found = reflrp.explain(proto, feeds, rule, target=1).relevance if "last" in turn else None
        for i, length in enumerate(feeds["lens"]) if found is not None else ():
            own = (
                reflrp.explain(alone, {"x": feeds["x"][:length, i : i + 1]}, rule, target=1).relevance if length else 0
            )
            assert not found[length:, i].any()
            np.testing.assert_allclose(found[:length, i : i + 1], own, rtol=tolerance, atol=1e-9)


def test_lengths_that_are_the_number_of_steps():
    """As converters write them for sequences without padding."""
    lines = (
        "sh = Shape(x) t = Slice(sh, zero, one) n = Slice(sh, one, two) all = Expand(t, n) lens = Cast <to = 6>(all)"
    )
    proto = net("LSTM", states="lens", two=ids(2))
    made = models.model(f"{lines} y = Identity(lens)", "float[T,N,4] x", "int32[N] y").graph.node
    nodes = [*list(made)[:-1], *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    g = reflrp.compile(proto, "epsilon")
    for t, n in SIZES:
        agrees(run(g, drawn(t, n)), proto, drawn(t, n), "epsilon")


def test_lengths_of_sequences_with_a_fixed_number_of_steps():
    proto = net("LSTM", "float[T,2,4] x", states="lens", lens=np.array([2, 5], np.int32))
    g = reflrp.compile(proto, "epsilon", shapes={"x": (5, 2, 4)})
    agrees(run(g, drawn(5, 2)), proto, drawn(5, 2), "epsilon")
    proto = net("LSTM", "float[5,N,4] x, int32[N] lens", states="lens", **TURNS["last"])
    g, feeds = reflrp.compile(proto, "epsilon"), padded(5, 3)
    agrees(run(g, feeds), proto, feeds, "epsilon")
