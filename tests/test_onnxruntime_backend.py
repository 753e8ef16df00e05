"""`backend="onnxruntime"` explains as NumPy does: relevance, ledger, targets, layers, conditions, cuts, errors."""

import copy
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attention_net
import compiled
import models
import nets
import numpy as np
import onnx
import pytest
from compiled import part
from models import draw, model
from test_recognise import GELU, GELU_TANH, SILU, net
from typer.testing import CliRunner

import reflrp
from reflrp import demo, rules
from reflrp.cli.main import app
from reflrp.compiler.sessions.kernels import lacking
from reflrp.compiler.signs import EXPLAINED
from reflrp.ledger import NUMBERS
from reflrp.runtime.measuring import LEAST, MOST, factor, measured
from reflrp.runtime.running import _finite
from reflrp.runtime.sessions import session
from reflrp.runtime.watched import Looked

TIMES, FLOOR = 3, 1e-5
"""An answer may be off by so many times what NumPy's float32 is, or by this part of the largest relevance."""

DATA = Path(__file__).parents[2] / "shared" / "data"


def by_three(proto, rules_, feeds, output=None, settings=None, **asked):
    """The explanation of the backend, NumPy's in float64, and NumPy's in float32."""
    ways = ({"backend": "onnxruntime", "dtype": "float32"}, {}, {"dtype": "float32"})
    return [
        reflrp.Explainer(proto, rules_, output=output, **(settings or {}), **way)(feeds, progress=False, **asked)
        for way in ways
    ]


def check(proto, rules_, feeds, output=None, settings=None, **asked):
    """Assert that everything in the explanation is what NumPy finds, but for rounding."""
    ours, exact, single = by_three(proto, rules_, feeds, output, settings, **asked)
    assert (ours.target, ours.notes, ours.score, ours.layout) == (exact.target, exact.notes, exact.score, exact.layout)
    assert str(ours.rules) == str(exact.rules)
    for kind in ("relevances", "layers"):
        found, wanted, rough = (getattr(e, kind) for e in (ours, exact, single))
        assert found.keys() == wanted.keys()
        for name, R in wanted.items():
            assert found[name].dtype == np.float32
            assert part(found[name], R) <= max(TIMES * part(rough[name], R), FLOOR), name
    assert part(ours.output, exact.output) <= max(TIMES * part(single.output, exact.output), FLOOR)
    alike(ours.conservation, exact.conservation, single.conservation)
    return ours


def alike(ours, exact, single):
    """Assert that the accounts are the same, in parts of what flows through a node."""
    assert [(r.node, r.kind, r.rule) for r in ours.rows] == [(r.node, r.kind, r.rule) for r in exact.rows]
    for row, wanted, rough in zip(ours.rows, exact.rows, single.rows, strict=True):
        flow = max(wanted.flow, abs(wanted.passed_on), abs(wanted.dropped))
        for k in NUMBERS:
            slack = max(TIMES * abs(getattr(rough, k) - getattr(wanted, k)), FLOOR * flow, 1e-12)
            assert abs(getattr(row, k) - getattr(wanted, k)) <= slack, (row.node, k)


def preset(name, x):
    """A preset, its box being that of the input where it has one."""
    try:
        return reflrp.composites.preset(name, low=float(x.min()), high=float(x.max()))
    except reflrp.RuleError:
        return reflrp.composites.preset(name)


def fast(proto=None, rules_="epsilon_plus", **options):
    """An explainer of the backend; of the small residual network, if no other is given."""
    proto = nets.net("resnet")[0] if proto is None else proto
    return reflrp.Explainer(proto, rules_, backend="onnxruntime", dtype="float32", **options)


def images():
    """Three images for the small residual network."""
    return nets.net("resnet")[1].astype(np.float32)


# ---------------------------------------------------------------- the same as NumPy

CASES = dict(models.cases())
EVERY = 4
"""Of the operators' cases each fourth is tried here; the compiler has its own test of all."""


@pytest.mark.parametrize("name", [*CASES][::EVERY])
def test_operators(name):
    proto = CASES[name]
    feeds = models.feeds_of(proto)
    if name == "routing: Embedding":
        feeds = {"i": np.array([[0, 6, 3], [2, 2, 5]])}
    check(proto, "attnlrp", feeds, proto.graph.output[0].name, layers=True)


@pytest.mark.parametrize("rules_", sorted(reflrp.composites.presets()))
@pytest.mark.parametrize("name", nets.NETS)
def test_presets(name, rules_):
    proto, x = nets.net(name)
    check(proto, preset(rules_, x), {"x": x.astype(np.float32)}, layers=True)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("rules_", ["attnlrp", "cp_lrp"])
def test_a_transformer(rules_, masked):
    proto = attention_net.model(attention_net.weights(masked=masked))
    x = np.random.default_rng(0).standard_normal((2, attention_net.T, attention_net.D))
    check(proto, rules_, {"x": x}, layers=True)


@pytest.mark.parametrize("rule", ["gradient", "guided_backprop", "epsilon", "attnlrp"])
def test_what_the_runtime_fuses_of_the_file_is_nothing_that_the_graph_reads(rule: str) -> None:
    """onnxruntime makes FastGelu of GELU by tanh, and takes its 0.5 x away, whoever else reads a node that is equal."""
    for body in [*GELU.values(), *GELU_TANH.values(), *SILU.values()]:
        for spelled in (body, body.replace("Mul(x, half)", "Mul(half, x)")):
            body = f"x = MatMul(u, w) {spelled} z = MatMul(y, v)"
            proto = net(body, "float[N,4] u", "float[] z", w=draw(4, 4), v=draw(4, 3))
            x = draw(3, 4, seed=1).astype(np.float32)
            found = compiled.run(reflrp.compile(proto, rule), {"u": x})["relevance/u"]
            assert part(found, reflrp.explain(proto, x, rule).relevance) < FLOOR


@pytest.mark.parametrize("changed", [False, True])
def test_files_of_old_opsets(monkeypatch, changed):
    """What no newer opset says is computed by our own operators, without the file's nodes."""
    if changed:
        monkeypatch.setattr("reflrp.compiler.opsets.upgrade.STEPS", {})
    proto = CASES["routing: Resize 10, linear"]
    check(proto, "epsilon", models.feeds_of(proto), proto.graph.output[0].name)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "double"])
def test_files_of_other_floats(kind):
    """What a file would compute in half precision is computed in float32."""
    proto = model("y = MatMul(x, w)", f"{kind}[N,4] x", f"{kind}[] y")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(proto.graph.input[0].type.tensor_type.elem_type)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(draw(4, 3).astype(dtype), "w"))
    check(proto, "epsilon", {"x": draw(2, 4)})


def test_an_output_of_one_number():
    proto = model("h = MatMul(x, w) y = ReduceSum <keepdims = 0>(h)", w=(4, 3))
    check(proto, "epsilon", {"x": draw(2, 4)}, init=np.array(2.0))
    with pytest.raises(reflrp.InputError, match="one number without a batch axis"):
        fast(proto, "epsilon")(draw(2, 4))


def test_several_inputs():
    proto = model("a = Add(x, z) h = Relu(a) y = MatMul(h, w)", "float[N,4] x, float[N,4] z", w=(4, 3))
    check(proto, "epsilon", {"x": draw(3, 4), "z": draw(3, 4, seed=1)})


def test_token_ids():
    proto = model(
        "e = Gather(t, ids) c = ReduceMean <axes = [1]>(e) y = MatMul(c, w)", "int64[N,5] ids", t=(9, 4), w=(4, 3)
    )
    check(proto, "epsilon", {"ids": np.arange(10).reshape(2, 5) % 9}, layers=True)


@pytest.mark.parametrize("network", ["lenet5_mnist/lenet5.onnx", "lstm_sst/bilstm.onnx"])
def test_real_networks(network):
    path = DATA / network
    if not path.is_file():
        pytest.skip(f"{network} is not beside this checkout")
    shapes, rng = reflrp.load(path).example_shapes(2), np.random.default_rng(0)
    ports = reflrp.load(path).source.inputs
    feeds = {
        k: rng.standard_normal((*s[:1], *(n if n > 1 else 7 for n in s[1:])) if len(s) < 4 else s).astype(np.float32)
        if ports[k].dtype.kind == "f"
        else rng.integers(1, 9, (*s[:1], *(n if n > 1 else 7 for n in s[1:])))
        for k, s in shapes.items()
    }
    check(path, "auto", feeds)


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize("init", ["output", "one"])
@pytest.mark.parametrize("target", [None, 1, [2, 0, 1], (2,), np.array([0, 1, 1]), reflrp.Contrast(0, 2)])
def test_targets(target, init):
    check(nets.net("resnet")[0], "epsilon_plus", images(), target=target, init=init)


@pytest.mark.parametrize("init", ["output", "one"])
def test_targets_that_are_set_against_the_arg_max(init):
    """In the graph, beside entries that are given."""
    worst = reflrp.load(nets.net("resnet")[0]).run(images())["y"].argmin(axis=1).tolist()
    for target in (reflrp.Contrast(None, worst), [None, (1,), reflrp.Contrast(worst[2], None)]):
        check(nets.net("resnet")[0], "epsilon_plus", images(), target=target, init=init)


def test_a_contrast_of_an_entry_with_itself_is_refused():
    best = int(fast()(images()[:1]).target[0][0])
    with pytest.raises(reflrp.InputError, match="against another"):
        fast()(images()[:1], target=reflrp.Contrast(None, best))


def test_a_given_init():
    check(nets.net("resnet")[0], "epsilon_plus", images(), init=draw(3, 3))


def test_conditions_are_inputs_of_one_graph():
    explain = fast()
    for channels in ([0], [1, 3], [2]):
        check(nets.net("resnet")[0], "epsilon_plus", images(), conditions={"relu2": channels}, layers="conv*")
        explain(images(), conditions={"relu2": channels})
    assert len(explain._programs.sessions) == 1


@pytest.mark.parametrize("settings", [{"strip": False}, {"canonize": ()}, {"preprocess": "absorb"}, {"batch_size": 1}])
def test_settings(settings):
    proto = model(
        "a = Sub(x, m) b = Div(a, s) h = MatMul(b, w) r = Relu(h) z = MatMul(r, v) y = Softmax <axis = 1>(z)",
        w=(4, 6), m=(4,), s=(4,), v=(6, 3),
    )  # fmt: skip
    check(proto, "epsilon", {"x": draw(3, 4)}, settings=settings)


def test_each_target_and_what_is_saved(tmp_path):
    found = fast().each(images(), [0, None])
    assert found[0] == fast()(images(), target=0)
    found[1].save(tmp_path / "e.npz")
    assert reflrp.Explanation.load(tmp_path / "e.npz") == found[1]


def test_outputs_that_have_the_samples_on_another_axis():
    proto = model("h = MatMul(x, w) y = Transpose <perm = [1, 0]>(h)", "float[N,4] x", w=(4, 5))
    for asked in ({"target": 1}, {"target": [0, 4, 2]}, {"init": draw(5, 3)}, {}):
        check(proto, "epsilon", {"x": draw(3, 4)}, **asked)


def test_without_the_ledger():
    e, full = fast(ledger=False)(images()), fast()(images())
    assert e.conservation.rows == ()
    np.testing.assert_array_equal(e.relevance, full.relevance)
    assert e.conservation.seed == full.conservation.seed
    assert reflrp.Explainer(nets.net("resnet")[0], "epsilon", ledger=False)(images()).conservation.rows == ()


def test_advice_is_the_same():
    """It looks at inner values, which the compiled graph does not give."""
    proto = model(
        "h = Conv(x, w) r = Relu(h) f = Flatten(r) y = MatMul(f, v)", "float[N,1,6,6] x", w=(2, 1, 3, 3), v=(32, 3)
    )
    x = np.random.default_rng(0).uniform(0, 250, (2, 1, 6, 6)).astype(np.float32)
    for rules_ in ("epsilon_plus", reflrp.composites.preset("epsilon_gamma_box", low=0.0, high=1.0)):
        with pytest.warns(reflrp.AdviceWarning, match="255"):
            ours = fast(proto, rules_)(x)
        with pytest.warns(reflrp.AdviceWarning):
            wanted = reflrp.explain(proto, x, rules_, dtype="float32")
        assert ours.advice == wanted.advice


@pytest.mark.parametrize("backend", ["numpy", "onnxruntime", "auto"])
def test_a_batch_without_samples_is_refused_alike(backend):
    explain = reflrp.Explainer(nets.net("resnet")[0], "epsilon", backend=backend, dtype="float32")
    with pytest.raises(reflrp.InputError, match="there is no sample in it"):
        explain(images()[:0])


@pytest.mark.parametrize("asked", [{}, {"target": 1}, {"target": "input"}, {"init": "one"}, {"init": "input"}])
def test_a_graph_answers_no_sample_with_no_relevance(asked):
    """As the model itself does, whose outputs it has to leave as they are."""
    graph = reflrp.compile(nets.net("resnet")[0], "epsilon", **asked)
    live = session(graph.SerializeToString(), {}, None, 1)
    kinds = {"tensor(int64)": np.int64, "tensor(float)": np.float32}
    feeds = {i.name: np.zeros((0, *i.shape[1:]), kinds[i.type]) for i in live.get_inputs()}
    found = dict(zip([o.name for o in live.get_outputs()], live.run(None, feeds), strict=True))
    assert found["relevance/x"].shape == images()[:0].shape
    assert found["y"].shape == (0, 3)


@pytest.mark.parametrize("rules_", ["epsilon_plus", reflrp.composites.preset("epsilon_gamma_box", low=-9.0, high=9.0)])
def test_advice_asks_for_no_value_that_it_does_not_look_at(monkeypatch, rules_):
    """What it asks for, NumPy works out beside the graph: by and by the whole forward pass."""
    asked, look = set(), Looked.__getitem__
    monkeypatch.setattr(Looked, "__getitem__", lambda self, name: asked.add(name) or look(self, name))
    fast(rules_=rules_)(images())
    assert asked == set(reflrp.load(nets.net("resnet")[0]).inputs)


# ---------------------------------------------------------------- sessions


def test_one_session_serves_all_batch_sizes_and_targets():
    explain = fast()
    for count in (1, 2, 3):
        for target in (0, None):
            explain(images()[:count], target=target)
    assert len(explain._programs.sessions) == 1


def test_cuts_change_nothing():
    one, whole = fast(batch_size=1)(images(), layers=True), fast()(images(), layers=True)
    for name, R in whole.layers.items():
        np.testing.assert_allclose(one.layers[name], R, rtol=0, atol=1e-5 * max(np.abs(R).max(), 1e-30))


def test_a_run_is_measured_and_cuts_follow():
    """A session that grew the process by many times its values makes the cuts smaller."""
    explain = fast()
    explain(images())
    before = explain._programs.allowed(2**20)
    for ready in explain._programs.sessions.values():
        ready.grown[:] = [8.0]
    assert explain._programs.allowed(2**20) == 2**17 < before * 8
    assert (factor([]), factor([[0.0]]), factor([[1e9]]), factor([[3.0], [0.5]])) == (2.0, LEAST, MOST, 4.0)


def test_growth_is_entered_once_and_only_where_the_system_tells_it(monkeypatch):
    told = iter([2**20, 9 * 2**20])
    monkeypatch.setattr("reflrp.runtime.measuring.resident", lambda: next(told))
    found: list[float] = []
    for _ in range(2):
        with measured(found, 2**20):
            pass
    assert found == [8.0]
    unknown: list[float] = []
    monkeypatch.setattr("reflrp.runtime.measuring.resident", lambda: None)
    with measured(unknown, 2**20):
        pass
    assert unknown == []


def test_minus_infinity_may_be_explained_and_nothing_else():
    """A mask makes outputs of minus infinity; whatever else is not finite, NumPy is asked about."""
    for value, name, fine in [(-np.inf, EXPLAINED, True), (np.inf, EXPLAINED, False), (np.nan, EXPLAINED, False)]:
        assert _finite({name: np.array([1.0, value])}) == fine
    assert not _finite({EXPLAINED: np.ones(2), "relevance/x": np.array([-np.inf])})


def test_pickles_and_copies():
    explain = fast(threads=1, providers=["CPUExecutionProvider"])
    wanted = explain(images())
    for again in (pickle.loads(pickle.dumps(explain)), copy.deepcopy(explain)):
        assert again(images()) == wanted


def test_threads_share_one_session():
    explain = fast(threads=1)
    wanted = [explain(images()[i : i + 1]) for i in range(3)]
    explain = fast(threads=1)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: explain(images()[i % 3 : i % 3 + 1]), range(24)))
    assert all(e == wanted[i % 3] for i, e in enumerate(found))
    assert len(explain._programs.sessions) == 1


def test_the_file_may_not_change_meanwhile(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(model("y = MatMul(x, w)", w=(40, 30), inputs="float[N,40] x"), path)
    explain = fast(path, "epsilon")
    onnx.save(model("y = MatMul(x, w)", w=(40, 30), inputs="float[N,40] x", seed=1), path)
    with pytest.raises(reflrp.InputError, match="changed since it was loaded"):
        explain(draw(2, 40))


def test_a_loaded_model_has_its_file(tmp_path):
    path, images_, _ = demo.load()
    e = fast(reflrp.load(path))(images_[:2])
    assert e == fast(path)(images_[:2])
    with pytest.raises(reflrp.InputError, match="needs the file"):
        fast(reflrp.load(path.read_bytes()))(images_[:2])
    assert fast(path.read_bytes())(images_[:2]).conservation.rows == e.conservation.rows


# ---------------------------------------------------------------- float64, auto


def test_float64_where_there_are_kernels():
    proto, x = nets.net("mlp")
    e = reflrp.Explainer(proto, "epsilon", backend="onnxruntime")(x, layers=True)
    wanted = reflrp.explain(proto, x, "epsilon", layers=True)
    for name, R in {**wanted.relevances, **wanted.layers}.items():
        found = {**e.relevances, **e.layers}[name]
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, R, rtol=0, atol=1e-12 * np.abs(R).max())
    alike(e.conservation, wanted.conservation, wanted.conservation)


def test_float64_is_refused_where_there_are_none():
    with pytest.raises(reflrp.InputError, match=r"no kernel for Conv \(\d+ nodes\)"):
        reflrp.Explainer(nets.net("resnet")[0], "epsilon", backend="onnxruntime")(images())


def test_all_operators_without_a_kernel_are_named():
    """Not only the one that the runtime meets first: of Conv in float64 and of Softsign there is none, of Add there is."""
    proto = model("h = Conv(x, w) y = Add(h, h)", "double[N,1,5,5] x", "double[N,2,3,3] y", w=(2, 1, 3, 3))
    w = onnx.numpy_helper.to_array(proto.graph.initializer[0]).astype(np.float64)
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(w, "w"))
    providers = ["CPUExecutionProvider"]
    assert lacking(proto.SerializeToString(), providers) == {"Conv": 1}
    proto.graph.node.extend(
        [onnx.helper.make_node("Softsign", ["y"], ["s"]), onnx.helper.make_node("Celu", ["s"], ["u"])]
    )
    found = lacking(proto.SerializeToString(), providers)
    assert (found["Conv"], found["Softsign"]) == (1, 1)
    assert "Add" not in found


def test_auto_says_what_it_chose():
    proto = nets.net("resnet")[0]
    auto = reflrp.Explainer(proto, "epsilon", backend="auto", dtype="float32")
    assert auto(images()).notes[-1] == "backend 'auto': onnxruntime"
    e = reflrp.explain(proto, images(), "epsilon", backend="auto")
    assert "NumPy, as dtype is 'float64'" in e.notes[-1]
    np.testing.assert_array_equal(e.relevance, reflrp.explain(proto, images(), "epsilon").relevance)
    loose = reflrp.load(proto)
    e = reflrp.Explainer(loose, "epsilon", backend="auto", dtype="float32")(images())
    assert "NumPy, as backend='onnxruntime' needs the file" in e.notes[-1]


def test_what_depends_on_the_data_is_for_numpy():
    proto = model(
        "i = NonZero(x) n = Shape(i) k = Gather(n, one) f = Cast <to = 1>(k) h = Mul(x, f) y = MatMul(h, w)",
        "float[2,4] x", one=models.ints(1), w=(4, 3),
    )  # fmt: skip
    x = draw(2, 4)
    wanted = reflrp.explain(proto, x, "epsilon", dtype="float32")
    e = reflrp.explain(proto, x, "epsilon", backend="auto", dtype="float32")
    np.testing.assert_allclose(e.relevance, wanted.relevance, rtol=1e-5)


HIDE = """
import sys
sys.modules["onnxruntime"] = None
import numpy as np
import reflrp
from reflrp import demo
path, images, _ = demo.load()
reflrp.explain(path, images[:1])
e = reflrp.explain(path, images[:1], backend="auto", dtype="float32")
assert "NumPy, as compiled graphs need onnxruntime" in e.notes[-1], e.notes
for call in (lambda: reflrp.explain(path, images[:1], backend="onnxruntime", dtype="float32"), lambda: reflrp.compile(path)):
    try:
        call()
    except reflrp.InputError as error:
        assert "pip install 'reflrp[onnxruntime]'" in str(error), error
    else:
        raise SystemExit("no error")
"""


def test_where_onnxruntime_is_missing():
    subprocess.run([sys.executable, "-c", HIDE], check=True)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("scale", [1e30, 1e38])
def test_infinities_are_named_as_numpy_names_them(scale):
    proto = model("h = MatMul(x, w) r = Relu(h) z = Mul(r, r) y = MatMul(z, v)", w=(4, 6), v=(6, 3))
    x = np.full((2, 4), scale, dtype=np.float32)
    with pytest.raises(reflrp.NonFiniteError) as wanted:
        reflrp.explain(proto, x, "epsilon", dtype="float32")
    with pytest.raises(reflrp.NonFiniteError) as found:
        fast(proto, "epsilon")(x)
    assert str(found.value) == str(wanted.value)


@pytest.mark.parametrize("rule", [rules.ZPlus(), rules.AlphaBeta(), rules.AlphaBeta(3, 2, bias="ignore")])
@pytest.mark.parametrize("layer", ["Conv", "ConvTranspose <strides = [2]>"])
def test_a_denominator_that_overflows_is_named_though_every_value_is_finite(rule, layer):
    """R / inf is 0, and no sum of the relevance tells: the ledger does."""
    signs = np.tile(np.float32([1, -1]), (4, 16))[..., None]
    proto = model(
        f"c = {layer}(x, w) q = Relu(c) d = Mul(q, s) y = ReduceMean <axes = [2], keepdims = 0>(d)", "float[N,32,4] x",
        w=signs if layer == "Conv" else signs.transpose(1, 0, 2), s=np.float32(1e-20),
    )  # fmt: skip
    x = np.full((2, 32, 4), 3e37, dtype=np.float32)
    x[:, 0] *= 2
    assert np.isfinite(reflrp.explain(proto, x, rule).relevance).all()
    with pytest.raises(reflrp.NonFiniteError, match="in a denominator of node 'Conv") as wanted:
        reflrp.explain(proto, x, rule, dtype="float32")
    with pytest.raises(reflrp.NonFiniteError) as found:
        fast(proto, rule)(x)
    assert str(found.value) == str(wanted.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"providers": ["TPU"]}, "not in the installed onnxruntime"),
        ({"providers": "CPUExecutionProvider"}, "providers="),
        ({"providers": []}, "providers="),
        ({"providers": [3]}, "providers="),
        ({"threads": 0}, "threads=0"),
        ({"ledger": "no"}, "ledger="),
        ({"dtype": "exact"}, "fractions"),
        ({"backend": "numpy", "threads": 2}, "threads= is for"),
        ({"backend": "cuda"}, "'cuda' is unknown"),
    ],
)
def test_arguments_are_checked(options, says):
    with pytest.raises(reflrp.InputError, match=says):
        reflrp.Explainer(
            nets.net("resnet")[0], rules.Epsilon(), **{"backend": "onnxruntime", "dtype": "float32", **options}
        )(images())


def test_the_command_line(tmp_path):
    path, images_, _ = demo.load()
    np.save(tmp_path / "x.npy", images_[:1])
    words = ["explain", path, tmp_path / "x.npy", "--rules", "epsilon_plus", "-o", tmp_path / "e.npz"]
    done = CliRunner().invoke(app, [*map(str, words), "--backend", "auto", "--dtype", "float32", "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert "backend 'auto': onnxruntime" in done.output
    found = reflrp.Explanation.load(tmp_path / "e.npz").relevance
    np.testing.assert_allclose(found, fast(path)(images_[:1]).relevance, rtol=1e-6, atol=1e-6)
    assert CliRunner().invoke(app, [*map(str, words), "--threads", "1"]).exit_code == 2


WIDE = {
    "a factor next to a product": ("y = MatMul(x, w)", "float[N,4] x", "Flat"),
    "whole numbers": (
        "i = Cast<to = 7>(x) k = Cast<to = 1>(i) s = Mul(x, k) y = MatMul(s, w)",
        "float[N,4] x",
        "epsilon",
    ),
    "tokens": (
        "e = Gather(t, ids) s = ReduceMean<axes = [1], keepdims = 0>(e) y = MatMul(s, w)",
        "int64[N,4] ids",
        "epsilon",
    ),
    "no relevance": ("h = MatMul(x, w) y = Floor(h)", "float[N,4] x", "gradient"),
}


@pytest.mark.parametrize("name", WIDE)
def test_float64_is_float64_all_the_way(name):
    """Neither a constant nor a fusion of the runtime's has the digits of float32 alone."""
    body, given, rule = WIDE[name]
    proto = model(body, given, w=(4, 3), t=(7, 4))
    x = np.random.default_rng(0).integers(0, 7, (5, 4)) if "ids" in given else draw(5, 4)
    ours, exact = (reflrp.Explainer(proto, rule, **way)(x, progress=False) for way in ({"backend": "onnxruntime"}, {}))
    assert part(ours.relevance, exact.relevance) < 1e-14
    for node, row in exact.conservation.items():
        assert all(abs(getattr(ours.conservation[node], k) - getattr(row, k)) <= 1e-12 * row.flow for k in NUMBERS)


@pytest.mark.parametrize("counts", [(3, 1), (1, 3), (3, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_input_that_all_samples_share_gets_what_all_of_them_give(counts, dtype):
    """Two inputs of a batch size that the file calls by one name; a single sample of one goes with all of the other."""
    proto = model("s = Mul(a, b) r = Relu(s) y = MatMul(r, w)", "float[N,4] a, float[N,4] b", w=(4, 3))
    rng = np.random.default_rng(0)
    feeds = {k: rng.standard_normal((n, 4)).astype(np.float32) for k, n in zip("ab", counts, strict=True)}
    ours, exact = (
        reflrp.Explainer(proto, "epsilon", **way)(feeds, progress=False)
        for way in ({"backend": "onnxruntime", "dtype": dtype}, {})
    )
    for name, R in exact.relevances.items():
        assert R.shape == feeds[name].shape
        assert part(ours.relevances[name], R) < 1e-5


@pytest.mark.parametrize("rule", ["epsilon", "AlphaBeta"])
def test_numbers_between_integers_are_rounded_where_the_file_says(rule):
    """The runtime puts integers in place of a layer between Dequantize and Quantize, and ends a step away here and there."""
    body = (
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) h = Gemm(d, w, b) r = Relu(h) "
        "p = QuantizeLinear(r, s, z) e = DequantizeLinear(p, s, z) y = MatMul(e, v)"
    )
    proto = model(
        body, "float[N,4] x", w=(4, 5), b=(5,), v=(5, 3), s=np.array(0.05, np.float32), z=np.array(128, np.uint8)
    )
    check(proto, rule, np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32), layers=True)
