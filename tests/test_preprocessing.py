"""Preprocessing at the input: what counts as it, and that relevance passes it or is shared, as asked."""

import warnings

import numpy as np
import onnx
import pytest
from compiled import run
from models import draw, ints, model
from onnx import helper

import reflrp
from reflrp.composites import defaults, preprocessing
from reflrp.passes.preprocessing import preprocessing as found_in
from reflrp.rules import Epsilon, Flat, Norm, Pass, ZBox

X = draw(3, 4).astype(float) + 5
MEAN, SCALE = np.float32([4, 5, 6, 3]), np.float32([2, 0.5, 1, 3])
NET = "h = Gemm(s, W, B) r = Relu(h) y = Gemm(r, V, C)"
WEIGHTS = {"W": (4, 6), "B": (6,), "V": (6, 3), "C": (3,)}
SCALERS = {
    "subtracted and divided": ("c = Sub(x, mean) s = Div(c, scale)", (X - MEAN) / SCALE),
    "scaled and shifted": ("c = Mul(x, scale) s = Add(c, mean)", X * SCALE + MEAN),
    "subtracted from": ("c = Sub(mean, x) s = Mul(c, scale)", (MEAN - X) * SCALE),
    "moved on the way": (
        "u = Reshape(x, up) c = Sub(u, mean) d = Reshape(c, down) s = Div(d, scale)",
        (X - MEAN) / SCALE,
    ),
    "in parts": (
        "a, b = Split<axis = 1>(x, halves) a2 = Sub(a, two) s = Concat<axis = 1>(a2, b)",
        np.concatenate([X[:, :2] - MEAN[:2], X[:, 2:]], axis=1),
    ),
}
SHAPES = {"up": np.array([3, 1, 4]), "down": np.array([3, 4]), "halves": np.array([2, 2]), "two": MEAN[:2]}


def scaled(name):
    return model(f"{SCALERS[name][0]} {NET}", "float[3,4] x", mean=MEAN, scale=SCALE, **SHAPES, **WEIGHTS)


def behind():
    return model(NET, "float[3,4] s", **WEIGHTS)


@pytest.mark.parametrize("name", SCALERS)
@pytest.mark.parametrize(
    "rules", ["auto", "epsilon", "epsilon_plus_flat", Epsilon(0.1), {"h": Epsilon(), "y": Epsilon()}]
)
def test_pipeline_is_explained_as_what_follows_its_scaler(name, rules):
    e, wanted = reflrp.explain(scaled(name), X, rules), reflrp.explain(behind(), SCALERS[name][1], rules)
    assert np.allclose(e.output, wanted.output, rtol=1e-6)
    assert np.allclose(e.relevance, wanted.relevance, rtol=1e-5, atol=1e-6)
    absorbed = reflrp.explain(scaled(name), X, rules, preprocess="absorb")
    if rules != "epsilon_plus_flat":
        assert not np.allclose(absorbed.relevance, wanted.relevance, rtol=0.05)


def test_note_names_the_nodes():
    proto = scaled("subtracted and divided")
    (note,) = (n for n in reflrp.explain(proto, X).notes if n.startswith("preprocessing"))
    assert "passes 'Sub_0', 'Div_1' unchanged; preprocess='absorb'" in note
    for options in ({"preprocess": "absorb"}, {"rules": "gradient"}, {"rules": "zennit.EpsilonPlus"}):
        assert not any("preprocessing" in n for n in reflrp.explain(proto, X, **options).notes)


def test_absorb_shares_as_at_any_node():
    e = reflrp.explain(scaled("subtracted and divided"), X, "epsilon", preprocess="absorb", init="one")
    row = e.conservation["Sub_0"]
    wanted = reflrp.explain(behind(), (X - MEAN) / SCALE, "epsilon", init="one").relevance * X / (X - MEAN)
    assert np.allclose(e.relevance, wanted, rtol=1e-3)
    assert isinstance(e.rules["Sub_0"], Norm)
    assert row.bias == pytest.approx(row.received - row.passed_on)


DIALECTS = ["zennit.EpsilonPlusFlat", "lxt.AttnLRP", "pnpxai.LRPEpsilonPlus", "lczerolens.LRP", "lrp_for_lstm.LRP"]


@pytest.mark.parametrize("rules", DIALECTS)
def test_dialects_keep_their_own_way_unless_asked(rules):
    proto = scaled("subtracted and divided")
    own, absorbed = (reflrp.explain(proto, X, rules, preprocess=p) for p in (None, "absorb"))
    assert own == absorbed
    e = reflrp.explain(proto, X, rules, preprocess="pass")
    assert np.allclose(e.relevance, reflrp.explain(behind(), (X - MEAN) / SCALE, rules).relevance, rtol=1e-5, atol=1e-6)


def test_a_rule_of_your_own_on_the_scaler_holds():
    e = reflrp.explain(scaled("subtracted and divided"), X, {"Sub_0": Epsilon(), "[hy]": Epsilon()})
    assert isinstance(e.rules["Sub_0"], Epsilon)
    assert isinstance(reflrp.explain(scaled("subtracted and divided"), X, {"[hy]": Epsilon()}).rules["Sub_0"], Pass)


def test_wrong_choice_is_refused():
    for value in ("none", 3, np.ones(2)):
        with pytest.raises(reflrp.InputError, match="use 'pass' or 'absorb'"):
            reflrp.Explainer(behind(), preprocess=value)


SEQUENCE = {"T": draw(5, 4), "F": draw(4), "M": np.float32([1, 0, 1, 1]), "A": (4, 3), "O": draw(1, 1, 4)}
NOT = {
    "a scale of zero": ("a = Add(x, F) s = Mul(x, M) y = MatMul(s, A)", "float[3,5,4] x", []),
    "a table of positions": ("s = Add(x, T) y = MatMul(s, A)", "float[3,5,4] x", []),
    "a table of one position": ("s = Add(x, O) y = MatMul(s, A)", "float[3,1,4] x", []),
    "one number for each feature, written out": ("s = Add(x, O) y = MatMul(s, A)", "float[3,5,4] x", ["Add_0"]),
    "one number for each feature": ("s = Add(x, F) y = MatMul(s, A)", "float[3,5,4] x", ["Add_0"]),
    "behind a layer": ("h = MatMul(x, A) c = Sub(h, b) y = Relu(c)", "float[3,5,4] x", []),
    "behind a function": ("h = Relu(x) c = Sub(h, F) y = MatMul(c, A)", "float[3,5,4] x", []),
    "of one sample": ("s = Add(x, P) y = MatMul(s, A)", "float[5,4] x", []),
    "all there is": ("c = Sub(x, F) y = Mul(c, F)", "float[3,5,4] x", []),
    "beside itself": ("c = Sub(x, F) d = Add(c, x) y = MatMul(d, A)", "float[3,5,4] x", ["Sub_0"]),
}


@pytest.mark.parametrize("name", NOT)
def test_criterion(name):
    body, inputs, names = NOT[name]
    loaded = reflrp.load(model(body, inputs, b=draw(3), P=draw(5, 4), **SEQUENCE))
    graph = loaded.graph(loaded.example_shapes())
    assert [node.name for node in found_in(graph)] == names


IMAGE = "float[N,3,6,6] x"
COLOURS = {"mean": draw(3, 1, 1), "std": np.abs(draw(3, 1, 1, seed=1)) + 0.5, "w": (4, 3, 3, 3), "v": (64, 2)}
NORMALISED = "c = Sub(x, mean) s = Div(c, std) h = Conv(s, w) r = Relu(h) f = Flatten(r) y = MatMul(f, v)"
PLAIN = "h = Conv(s, w) r = Relu(h) f = Flatten(r) y = MatMul(f, v)"


@pytest.mark.parametrize("rules", ["auto", "epsilon_plus_flat", "epsilon_gamma_box"])
def test_first_layer_is_the_convolution_behind_the_normalisation(rules):
    """Its bounds are in its own units: those behind the normalisation."""
    x = draw(2, 3, 6, 6, seed=2).astype(float)
    e = reflrp.explain(model(NORMALISED, IMAGE, **COLOURS), x, rules)
    z = (x - COLOURS["mean"]) / COLOURS["std"]
    wanted = reflrp.explain(model(PLAIN, "float[N,3,6,6] s", w=COLOURS["w"], v=COLOURS["v"]), z, rules)
    assert type(e.rules["Conv_2"]) is (ZBox if "box" in rules else Flat)
    assert np.allclose(e.relevance, wanted.relevance, rtol=1e-5, atol=1e-6)


def test_batchnormalization_at_the_input_is_folded_as_before():
    stats = {"g": draw(3) + 2, "b": draw(3), "m": draw(3), "q": np.abs(draw(3, seed=3)) + 0.5}
    proto = model(f"s = BatchNormalization(x, g, b, m, q) {PLAIN}", IMAGE, **stats, w=COLOURS["w"], v=COLOURS["v"])
    x = draw(2, 3, 6, 6, seed=2).astype(float)
    e = reflrp.explain(proto, x, "epsilon")
    assert not any(n.startswith("preprocessing") for n in e.notes)
    assert any("fold_batchnorm: 1 nodes" in n for n in e.notes)
    assert e == reflrp.explain(proto, x, "epsilon", preprocess="absorb")
    unfolded = reflrp.Explainer(proto, "epsilon", canonize=())(x)
    assert isinstance(unfolded.rules["BatchNormalization_0"], Pass)


def imputing(gap):
    """An Imputer of ai.onnx.ml, a scaler, and a layer."""
    nodes = [
        helper.make_node("Imputer", ["x"], ["i"], "impute", domain="ai.onnx.ml", replaced_value_float=gap,
                         imputed_value_floats=MEAN.tolist()),
        helper.make_node("Scaler", ["i"], ["s"], "scale", domain="ai.onnx.ml", offset=MEAN.tolist(), scale=SCALE.tolist()),
        helper.make_node("Gemm", ["s", "W", "B"], ["y"], "fc"),
    ]  # fmt: skip
    ports = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [None, k]) for n, k in (("x", 4), ("y", 6))]
    weights = [onnx.numpy_helper.from_array(draw(*WEIGHTS[k]), k) for k in "WB"]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("gap", [float("nan"), -99.0])
def test_imputer_fills_in_and_passes(gap, tmp_path):
    proto, x = imputing(gap), X.copy()
    x[0, 1] = x[2, 3] = gap
    filled = np.where(np.isnan(x) | (x == -99), MEAN, x)
    import onnxruntime as ort

    (wanted,) = ort.InferenceSession(proto.SerializeToString()).run(None, {"x": x.astype(np.float32)})
    assert np.allclose(reflrp.load(proto).run(x)["y"], wanted, rtol=1e-5, atol=1e-5)
    e = reflrp.explain(proto, x, "epsilon")
    layer = model("y = Gemm(s, W, B)", "float[N,4] s", W=WEIGHTS["W"], B=WEIGHTS["B"])
    assert np.allclose(e.relevance, reflrp.explain(layer, (filled - MEAN) * SCALE, "epsilon").relevance)
    assert any("'impute', 'scale'" in n for n in e.notes)
    assert reflrp.Explanation.load(e.save(tmp_path / "e")) == e


def test_nan_is_refused_where_nothing_fills_it_in():
    x = X.copy()
    x[1, 2] = np.nan
    for proto in (imputing(-99.0), behind(), scaled("subtracted and divided")):
        with pytest.raises(reflrp.InputError, match=r"holds a NaN or an infinity, first at index \(1, 2\)"):
            reflrp.explain(proto, x)
    x[1, 2] = np.inf
    with pytest.raises(reflrp.InputError, match=r"first at index \(1, 2\)"):
        reflrp.explain(imputing(float("nan")), x)


def test_defaults_begin_with_it():
    assert defaults()[0] == (preprocessing(), Pass())
    assert repr(preprocessing()) == "preprocessing()"


def test_command_line(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from reflrp.cli.main import app

    monkeypatch.chdir(tmp_path)
    proto = scaled("subtracted and divided")
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    np.save("x.npy", X)
    for choice in (None, "pass", "absorb"):
        options = ["--preprocess", choice] if choice else []
        done = CliRunner().invoke(app, ["explain", "net.onnx", "x.npy", "-o", "e.npz", *options])
        assert done.exit_code == 0, done.output
        assert ("preprocessing: relevance passes 'Sub_0', 'Div_1'" in " ".join(done.output.split())) is (
            choice != "absorb"
        )
        assert reflrp.Explanation.load("e.npz") == quietly(proto, preprocess=choice)


def quietly(proto, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", reflrp.AdviceWarning)
        return reflrp.explain(proto, X, **options)


TABLE = {
    "behind an axis of one entry": "u = Unsqueeze(x, one) a = Add(u, p) z = MatMul(a, w) "
    "y = ReduceMean<axes = [1, 2], keepdims = 0>(z)",
    "flattened": "u = Flatten(x) a = Add(u, flat) b = Reshape(a, back) z = MatMul(b, w) "
    "y = ReduceMean<axes = [1], keepdims = 0>(z)",
}  # fmt: skip


@pytest.mark.parametrize("spelling", TABLE)
def test_a_table_of_positions_is_one_in_any_spelling(spelling):
    """A number for each place and each feature is a part of the network, also where a reshape hides the two axes."""
    p = draw(1, 5, 4, seed=1)
    given = {"p": p, "flat": p.reshape(20), "back": ints(-1, 5, 4), "one": ints(1), "w": draw(4, 3)}
    named = {k: v for k, v in given.items() if f" {k})" in TABLE[spelling] or f" {k}," in TABLE[spelling]}
    x = draw(2, 5, 4, seed=2)
    plain = model(
        "a = Add(x, p) z = MatMul(a, w) y = ReduceMean<axes = [1], keepdims = 0>(z)",
        "float[N,5,4] x",
        p=p,
        w=given["w"],
    )
    e = reflrp.explain(model(TABLE[spelling], "float[N,5,4] x", **named), x, "epsilon", target=0)
    assert np.allclose(e.relevance, reflrp.explain(plain, x, "epsilon", target=0).relevance, rtol=1e-5, atol=1e-6)
    assert not any("preprocessing" in note for note in e.notes)


@pytest.mark.parametrize("rules", ["epsilon", "epsilon_plus_flat"])
def test_a_shift_that_the_file_repeats_for_each_sample(rules):
    """By Expand to the shape of the input: a sample is explained as it is in a batch, and the compiled graph does the same."""
    proto = model(f"d = Shape(x) k = Expand(mean, d) s = Sub(x, k) {NET}", mean=MEAN, **WEIGHTS)
    whole = reflrp.explain(proto, X, rules, target=0).relevance
    alone = np.concatenate([reflrp.explain(proto, x[None], rules, target=0).relevance for x in X])
    np.testing.assert_allclose(alone, whole, rtol=1e-12)
    compiled = reflrp.compile(proto, rules, target=0)
    for size in (1, 2, 3):
        found = run(compiled, {"x": X[:size].astype(np.float32)})["relevance/x"]
        np.testing.assert_allclose(found, whole[:size], atol=1e-5 * np.abs(whole).max())


REPEATED = {
    "once": ("s = Sub(x, c)", lambda row: row),
    "at each place": ("s = Sub(x, c)", lambda row: np.tile(row, (3, 1))),
    "at each place of a sample": ("s = Sub(x, c)", lambda row: np.tile(row, (1, 3, 1))),
    "by Expand to a constant shape": ("e = Expand(c, shape) s = Sub(x, e)", lambda row: row),
    "by Expand to the input's shape": ("d = Shape(x) e = Expand(c, d) s = Sub(x, e)", lambda row: row),
    "behind an axis of one entry": (
        "u = Unsqueeze(x, one) t = Sub(u, c) s = Squeeze(t, one)",
        lambda row: np.tile(row, (1, 3, 1)),
    ),
}


@pytest.mark.parametrize("row", [draw(4), np.full(4, 0.7, np.float32)])
@pytest.mark.parametrize("spelling", REPEATED)
def test_a_row_that_is_written_for_each_place_is_that_row(spelling, row):
    """Whoever folds the constants of a file writes it out; relevance is that of the layer behind, by hand."""
    body, written = REPEATED[spelling]
    w, x = draw(4, 3), draw(2, 3, 4, seed=3)
    given = {"c": written(row), "shape": ints(3, 4), "one": ints(1), "w": w}
    named = {k: v for k, v in given.items() if k in "cw" or f" {k})" in body}
    proto = model(
        f"{body} z = MatMul(s, w) y = ReduceSum <keepdims = 0>(z, places)", "float[N,3,4] x", places=ints(1), **named
    )
    e = reflrp.explain(proto, x, reflrp.rules.Epsilon(epsilon=0), target=1)
    np.testing.assert_allclose(e.relevance, (x - row) * w[:, 1], atol=1e-3)  # the sum has an epsilon of its own
    assert any("preprocessing: relevance passes" in note for note in e.notes)


def test_a_shift_of_its_own_for_each_sample_is_no_preprocessing():
    proto = model(f"s = Sub(x, mean) {NET}", "float[2,4] x", mean=np.stack([MEAN, MEAN + 1]), **WEIGHTS)
    loaded = reflrp.load(proto)
    assert found_in(loaded.graph(loaded.example_shapes())) == ()
