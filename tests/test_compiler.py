"""A compiled model is one ONNX file that gives what the engine gives: every kind of operator, preset and argument."""

import hashlib
from collections import Counter
from functools import cache
from pathlib import Path

import attention_net
import models
import nets
import numpy as np
import onnx
import pytest
from compiled import check, choices_in, run

import reflrp
from reflrp import demo, rules
from reflrp.arrays.tracing.dims import Unsettled, broadcast, dim
from reflrp.compiler.observe import confirmed
from reflrp.compiler.values import shared

CASES = dict(models.cases())
NORM = rules.Stabilizer(0.3, norm_scale=True)
PRESETS = ["epsilon_plus_flat", "epsilon_alpha2_beta1", "attnlrp"]

REFUSED = {
    "dense: gemm of two values": "samples meet",
    "routing: Squeeze all": "another graph",
    "routing: GatherElements, fewer": "samples meet",
}
"""Cases that cannot be compiled for any batch size, or at all, and what the refusal says."""


def single(x):
    return np.asarray(x, dtype=np.float32)


def feeds_of(name):
    """Inputs of a case, and the shapes by which lengths other than the batch size are fixed."""
    feeds = models.feeds_of(CASES[name])
    if name == "routing: Embedding":
        feeds = {"i": np.array([[0, 6, 3], [2, 2, 5]])}
    shapes = {}
    for port in (i for i in CASES[name].graph.input if i.name in feeds):
        dims = [d.dim_value or None for d in port.type.tensor_type.shape.dim]
        if None in dims[1:]:
            shapes[port.name] = feeds[port.name].shape
    return feeds, shapes or None


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", CASES)
def test_operators(name, preset):
    """With any batch size where that is possible, else with one; nothing is refused but what is on the list above."""
    (feeds, shapes), proto = feeds_of(name), CASES[name]
    output = proto.graph.output[0].name
    said = refusal(name)
    assert REFUSED.get(name, "") in said
    if not said:
        check(proto, feeds, preset, output, shapes=shapes)
    elif "fix it, as by shapes=" in said or "holds samples on another axis" in said:
        check(proto, feeds, preset, output, shapes={k: x.shape for k, x in feeds.items()})
    else:
        assert name in REFUSED


@cache
def refusal(name):
    """What the compiler says of a case for any batch size; "" where it takes it."""
    try:
        reflrp.compile(CASES[name], "epsilon", output=CASES[name].graph.output[0].name, shapes=feeds_of(name)[1])
    except reflrp.ReflrpError as error:
        return str(error)
    return ""


def test_few_cases_are_refused():
    """The list of those refused for any batch size is what it is: along the samples something is summed, joined or moved."""
    refused = [name for name in CASES if refusal(name)]
    assert len(refused) <= 24
    assert set(REFUSED) <= set(refused)


def preset(name, x):
    """A preset, its box being that of the input where it has one."""
    try:
        return reflrp.composites.preset(name, low=float(x.min()), high=float(x.max()))
    except reflrp.RuleError:
        return reflrp.composites.preset(name)


@pytest.mark.parametrize("rules_", sorted(reflrp.composites.presets()))
@pytest.mark.parametrize("name", nets.NETS)
def test_presets(name, rules_):
    proto, x = nets.net(name)
    check(proto, {"x": single(x)}, preset(rules_, x), layers=True)


DIALECTS = ["zennit.EpsilonPlusFlat", "zennit.EpsilonAlpha2Beta1", "zennit.EpsilonGammaBox", "zennit.GuidedBackprop",
    "zennit.ExcitationBackprop", "pnpxai.LRPEpsilonGammaBox", "pnpxai.LRPUniformEpsilon"]  # fmt: skip


def of_dialect(text):
    """A dialect's composite by its name, its box around all that is tried."""
    try:
        return reflrp.composites.resolve(text)
    except (reflrp.RuleError, TypeError):
        library, name = text.split(".")
        return getattr(getattr(reflrp.dialects, library), name)(low=-4.0, high=4.0)


@pytest.mark.parametrize("rules_", DIALECTS)
def test_dialects(rules_):
    proto, x = nets.net("resnet")
    check(proto, {"x": single(x)}, of_dialect(rules_))


@pytest.mark.parametrize("rules_", [*PRESETS, "epsilon", rules.Epsilon(0.25), *DIALECTS])
@pytest.mark.parametrize("name", nets.NETS)
def test_initial_relevance_that_is_known_beforehand(name, rules_):
    """A fixed target, one sample and init="one": relevance is a constant where it begins, and an array of NumPy's."""
    proto, x = nets.net(name)
    wanted = of_dialect(rules_) if rules_ in DIALECTS else rules_
    check(proto, {"x": single(x[:1])}, wanted, target=1, init="one", shapes={"x": x[:1].shape})


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("rules_", ["attnlrp", "cp_lrp", "gamma_attnlrp", "epsilon", "gradient"])
def test_a_transformer(rules_, masked):
    """Its values are float64; relevance is computed in float32."""
    proto = attention_net.model(attention_net.weights(masked=masked))
    x = np.random.default_rng(0).standard_normal((2, attention_net.T, attention_net.D))
    check(proto, {"x": x}, rules_, layers=True)


def test_the_demo_explains_the_targets_of_the_engine():
    path, images, _ = demo.load()
    for count in (1, 3, 10):
        check(path, {"image": images[:count]}, "epsilon_plus_flat")


# ---------------------------------------------------------------- arguments


def explained(**options):
    proto, x = nets.net("resnet")
    return proto, single(x), reflrp.Explainer(proto, "epsilon_plus")(single(x), progress=False, **options).relevance


@pytest.mark.parametrize("init", ["output", "one"])
@pytest.mark.parametrize("target", [None, 1, -1, (2,)])
def test_targets(target, init):
    proto, x = nets.net("resnet")
    check(proto, {"x": single(x)}, "epsilon_plus", target=target, init=init)


@pytest.mark.parametrize("init", ["output", "one"])
@pytest.mark.parametrize("target", [reflrp.Contrast(0, 2), reflrp.Contrast(-1, (1,))])
def test_one_entry_against_another(target, init):
    proto, x = nets.net("resnet")
    check(proto, {"x": single(x)}, "epsilon_plus", target=target, init=init)


@pytest.mark.parametrize("target", [[1], [1, 1, 1], ((1,),), True, reflrp.Contrast(None, 2), reflrp.Contrast([1], 2)])
def test_a_target_is_the_same_in_all_samples(target):
    with pytest.raises(reflrp.InputError, match="target"):
        reflrp.compile(nets.net("resnet")[0], "epsilon", target=target)


@pytest.mark.parametrize("shapes", [None, {"x": (3, 4)}])
@pytest.mark.parametrize("rule", [rules.StdxEpsilon(0.3), rules.Epsilon(stabilizer=NORM), rules.Norm(NORM)])
def test_statistics_are_of_each_sample(rule, shapes):
    """Of samples that differ by orders of magnitude, so that a statistic over all would show."""
    proto = models.model("a = MatMul(x, w) h = Relu(a) y = MatMul(h, v)", w=(4, 5), v=(5, 3))
    x = single(models.draw(3, 4) * np.array([[0.01], [1], [100]]))
    check(proto, {"x": x}, rule, layers=True, shapes=shapes)


def test_statistics_need_inputs_that_agree_on_the_samples():
    proto = models.model("a = Add(x, z) y = MatMul(a, w)", "float[N,4] x, float[M,4] z", w=(4, 5))
    with pytest.raises(reflrp.RuleError, match="do not agree on how many samples"):
        reflrp.compile(proto, rules.Norm(NORM), shapes={"z": (1, 4)})


@pytest.mark.parametrize("preprocess", [None, "pass", "absorb"])
def test_preprocessing(preprocess):
    proto = models.model("a = Sub(x, m) b = Div(a, s) h = MatMul(b, w) y = Relu(h)", w=(4, 3), m=(4,), s=(4,))
    x = models.draw(3, 4)
    R = reflrp.explain(proto, x, "epsilon", preprocess=preprocess).relevance
    found = run(reflrp.compile(proto, "epsilon", preprocess=preprocess), {"x": single(x)})["relevance/x"]
    np.testing.assert_allclose(found, R, atol=1e-5 * np.abs(R).max())


@pytest.mark.parametrize("shape", ["float[3,4] x", "float[N,4] x"])
@pytest.mark.parametrize("target", [None, 1, reflrp.Contrast(0, 4)])
def test_targets_of_an_output_that_has_the_samples_on_another_axis(shape, target):
    proto = models.model("h = MatMul(x, w) y = Transpose <perm = [1, 0]>(h)", shape, w=(4, 5))
    check(proto, {"x": models.draw(3, 4)}, "epsilon", target=target)
    check(proto, {"x": models.draw(3, 4)}, "epsilon", init=models.draw(5, 3))


def test_target_as_an_input():
    chosen = np.array([2, 0, -2])
    proto, x, R = explained(target=[2, 0, 1])
    g = reflrp.compile(proto, "epsilon_plus", target="input")
    assert [i.name for i in g.graph.input] == ["x", "target"]
    found = run(g, {"x": x, "target": chosen})["relevance/x"]
    np.testing.assert_allclose(found, R, atol=1e-5 * np.abs(R).max())


def test_init_as_an_input():
    given = np.random.default_rng(0).standard_normal((3, 3))
    proto, x, R = explained(init=given)
    g = reflrp.compile(proto, "epsilon_plus", init="input")
    found = run(g, {"x": x, "init": single(given)})["relevance/x"]
    np.testing.assert_allclose(found, R, atol=1e-5 * np.abs(R).max())


def test_layers_by_pattern():
    proto, x = nets.net("resnet")
    check(proto, {"x": single(x)}, "epsilon", layers="conv*")
    g = reflrp.compile(proto, "epsilon", layers="relu1")
    assert [o.name for o in g.graph.output] == ["y", "relevance/x", "layer/r1"]


def test_conditions():
    proto, x = nets.net("resnet")
    check(proto, {"x": single(x)}, "epsilon_plus", conditions={"relu2": [0, 3]})


def test_the_model_is_unchanged_and_first():
    proto, x = nets.net("inception")
    g = reflrp.compile(proto, "epsilon_plus_flat", opset=18)
    assert [o.name for o in g.graph.output][:1] == ["y"]
    again = reflrp.compile(proto, "epsilon_plus_flat")
    count = len(proto.graph.node)
    assert list(again.graph.node)[:count] == list(proto.graph.node)
    assert list(again.graph.initializer)[: len(proto.graph.initializer)] == list(proto.graph.initializer)
    np.testing.assert_allclose(
        run(g, {"x": single(x)})["y"], models.onnxruntime(proto, {"x": single(x)})["y"], atol=1e-5
    )


def unread(graph):
    """The nodes and constants of a graph that nothing in it reads, counted by hand: its bodies read, too."""
    bodies = [(n, a.g) for n in graph.node for a in n.attribute if a.HasField("g")]
    read = {o.name for o in graph.output} | {name for n in graph.node for name in n.input}
    read |= {name for _, body in bodies for n in body.node for name in n.input} | {
        o.name for _, b in bodies for o in b.output
    }
    left = [n.name for n in graph.node if not read & set(n.output)] + [
        t.name for t in graph.initializer if t.name not in read
    ]
    return left + [name for _, body in bodies for name in unread(body)]


NETWORKS = [demo.load()[0], *sorted((Path(__file__).parents[1] / "examples" / "networks").glob("*.onnx"))]


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_everything_in_a_graph_is_read(path):
    """Formulas for samples leave nodes behind, and sums that are fused constants; by several rules, and with stored weights."""
    assert not unread(onnx.load(path).graph)
    asked = [
        (r, {}) for r in ("epsilon_plus", "epsilon_plus_flat", "zennit.EpsilonAlpha2Beta1Flat", "attnlrp", "w_square")
    ]
    for rules_, more in [*asked, ("epsilon_plus_flat", {"derived": "stored", "init": "one", "target": 1})]:
        assert not unread(reflrp.compile(path, rules_, **more).graph), (rules_, more)


def test_what_bodies_read_is_read_and_what_the_model_left_unread_stays():
    branches = ("a", "Add"), ("b", "Sub")
    then, else_ = (f"g{o} () => (float[N,3] {o}) {{ {o} = {op}(h, k) }}" for o, op in branches)
    proto = models.model(
        "m = ReduceMean<axes = [1], keepdims = 1>(x) h = MatMul(x, w) "
        f"y = If(yes)<then_branch = {then}, else_branch = {else_}>",
        yes=np.array(True), w=(4, 3), k=(3,), never=(5, 5),
    )  # fmt: skip
    assert unread(proto.graph) == ["", "never"]
    g = reflrp.compile(proto, "epsilon")
    assert unread(g.graph) == ["", "never"]
    assert [t.name for t in g.graph.initializer][:4] == ["yes", "w", "k", "never"]
    x = single(models.draw(2, 4))
    np.testing.assert_allclose(
        run(g, {"x": x})["relevance/x"], reflrp.explain(proto, x, "epsilon").relevance, atol=1e-5
    )


def test_constants_of_loops_are_read():
    weights = {"w": (1, 20, 4), "r": (1, 20, 5), "b": (1, 40), "one": models.ints(1), "v": (5, 3)}
    proto = models.model(
        "s, h = LSTM<hidden_size = 5>(x, w, r, b) f = Squeeze(s, one) y = MatMul(f, v)", "float[T,N,4] x", **weights
    )
    g = reflrp.compile(proto, "epsilon")
    assert "Scan" in {n.op_type for n in g.graph.node}
    assert not [name for name in unread(g.graph) if name.startswith("reflrp/")]


@pytest.mark.parametrize("opset", [17, 18, 20, 21])
def test_opsets(opset):
    proto, x = nets.net("inception")
    g = reflrp.compile(proto, "epsilon_alpha2_beta1", opset=opset)
    assert [o.version for o in g.opset_import if o.domain == ""] == [opset]
    assert g.ir_version <= 10
    onnx.checker.check_model(g, full_check=True)
    R = reflrp.explain(proto, x, "epsilon_alpha2_beta1").relevance
    np.testing.assert_allclose(run(g, {"x": single(x)})["relevance/x"], R, atol=1e-5 * np.abs(R).max())


def test_metadata_says_what_was_compiled(tmp_path):
    proto, _ = nets.net("mlp")
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    found = {p.key: p.value for p in reflrp.compile(path, "epsilon_plus").metadata_props}
    assert found == {
        "reflrp.version": reflrp.__version__,
        "reflrp.rules": "epsilon_plus",
        "reflrp.source.sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert reflrp.compile(reflrp.load(path)).graph == reflrp.compile(path.read_bytes()).graph


def test_weights_are_stored_once():
    """What a rule derives from them is computed in the graph; or stored, where that is asked for."""
    path, images, _ = demo.load()
    sizes = {how: reflrp.compile(path, "epsilon_plus_flat", derived=how).ByteSize() for how in ("graph", "stored")}
    assert path.stat().st_size < sizes["graph"] < 1.35 * path.stat().st_size < sizes["stored"]
    one, two = (run(reflrp.compile(path, "auto", derived=how), {"image": images[:2]}) for how in sizes)
    np.testing.assert_allclose(one["relevance/image"], two["relevance/image"], rtol=1e-4, atol=1e-6)


def test_only_standard_operators():
    for name in nets.NETS:
        g = reflrp.compile(nets.net(name)[0], "epsilon_alpha2_beta1")
        assert {n.domain for n in g.graph.node} == {""}
        assert not Counter(n.op_type for n in g.graph.node).keys() & {"Loop", "Scan"}
        assert not choices_in(g.graph)


# ---------------------------------------------------------------- values of the file


SPLIT = models.model(
    "z = MatMul(x, w) r = Reshape(z, s) a = Add(r, b) h = Relu(a) f = Flatten(h) y = MatMul(f, v)",
    w=(4, 6), b=(1, 6), s=models.ints(0, 1, 6), v=(6, 3),
)  # fmt: skip
"""The import puts the bias before the Reshape, so that its `z` is not the file's."""


def test_a_name_alone_is_no_value():
    model = reflrp.load(SPLIT)
    graph = model.graph({"x": (2, 4)})
    assert {"z", "r", "a"} <= set(graph.values)
    assert shared(graph, model.source, {"x", "z", "r", "a", "h", "f", "y"}) == {"x", "a", "h", "f", "y"}
    check(SPLIT, {"x": models.draw(3, 4)}, "epsilon_alpha2_beta1", layers=True)


def test_values_are_compared_with_those_of_onnxruntime():
    """What is said to be the file's, and is not, is found out."""
    model = reflrp.load(SPLIT)
    x = models.draw(1, 4)
    program = reflrp.Explainer(model, "epsilon", dtype="float32").program(x)
    assert confirmed(SPLIT, program, {"x": x}, {"x", "z", "a", "h", "y"}) == {"x", "a", "h", "y"}


def test_the_first_axes_are_one_batch():
    proto = models.model("y = Add(x, z)", "float[N,4] x, float[M,4] z")
    check(proto, {"x": models.draw(3, 4), "z": models.draw(3, 4, seed=1)}, "epsilon")
    feeds = {"x": models.draw(3, 4), "z": models.draw(1, 4, seed=1)}
    check(proto, feeds, "epsilon", shapes={"x": (3, 4), "z": (1, 4)})
    check(proto, feeds, "epsilon", shapes={"z": (1, 4)})


TOP = models.model(
    "v, i = TopK <axis = 1>(x, k) h = Relu(v) y = MatMul(h, w)", "float[3,5] x", k=models.ints(3), w=(3, 2)
)


@pytest.mark.parametrize("preset_", ["epsilon", "epsilon_alpha2_beta1"])
def test_entries_that_are_moved_by_numbers_found_on_the_way(preset_):
    check(TOP, {"x": models.draw(3, 5)}, preset_)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target": "class"}, "target='class'"),
        ({"target": 7}, "out of range"),
        ({"init": "two"}, "init='two'"),
        ({"derived": "both"}, "derived"),
        ({"opset": 9}, "opset"),
        ({"opset": 1000}, "opset=1000 is unknown"),
        ({"shapes": {"z": (1, 4)}}, "no inputs"),
        ({"layers": "nothing"}, "match no value"),
        ({"conditions": {"h": [99]}}, "ints below"),
    ],
)
def test_arguments_are_checked(options, says):
    with pytest.raises(reflrp.ReflrpError, match=says):
        reflrp.compile(nets.net("mlp")[0], "epsilon", **options)


def test_what_depends_on_the_data_is_refused_by_name():
    proto = models.model("i = NonZero(x) t = Transpose(i) y = GatherND(x, t)", outputs="float[M] y")
    with pytest.raises(reflrp.ReflrpError, match=r"NonZero|GatherND"):
        reflrp.compile(proto, "epsilon")


def test_a_name_that_is_taken_is_refused():
    proto = models.model("t = Relu(target) y = MatMul(t, w)", "float[N,4] target", w=(4, 3))
    with pytest.raises(reflrp.InputError, match="'target' already"):
        reflrp.compile(proto, "epsilon", target="input")


def test_a_rule_with_numpy_inside_is_refused_by_name():
    class Odd(rules.Epsilon):
        def __call__(self, L, a, z, R):
            return np.sort(a) * R.sum()

    proto, _ = nets.net("mlp")
    with pytest.raises(reflrp.ReflrpError, match="rule Odd"):
        reflrp.compile(proto, Odd())


# ---------------------------------------------------------------- lengths


def test_lengths_are_formulas():
    n = dim(1)
    assert (2 * n + 3) - n == n + 3
    assert ((n * 6) // (n * 2), (4 * n + 1) % 2) == (3, 1)
    assert (4 * n) // 2 == 2 * n
    assert (n // 2 < n, n - n // 2 * 2 == n % 2, repr((n + 3) // 2)) == (True, True, "floor((N + 1)/2) + 1")
    assert all([n != 1, n != 5, n >= 1, n + 1 > 1, not n < 1])
    assert broadcast((1, 3), (n, 1)) == (n, 3)
    for unsettled in (lambda: n > 1, lambda: n // (n + 1), lambda: 5 - n, lambda: n <= 7):
        with pytest.raises(Unsettled):
            unsettled()
    with pytest.raises(reflrp.InputError):
        broadcast((n,), (3,))
