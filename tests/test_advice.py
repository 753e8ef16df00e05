"""Advice: what an explanation shows of itself is said once, with what to do, and never where nothing is wrong."""

import pickle
import warnings

import numpy as np
import pytest
from models import draw, model

import reflrp
from reflrp import AdviceWarning, demo
from reflrp.composites import preset
from reflrp.rules import Epsilon, ZBox

X = np.abs(draw(4, 3)).astype(float)
W = np.abs(draw(3, 2)) + 0.1
LAYER = model("y = Gemm(x, W, b)", "float[N,3] x", W=W, b=np.float32([0.01, 0.02]))
SEED = X @ W + [0.01, 0.02]


def with_bias(bias):
    return model("y = Gemm(x, W, b)", "float[N,3] x", W=W, b=np.full(2, bias, np.float32))


def told(words):
    return pytest.warns(AdviceWarning, match=words)


@pytest.fixture
def digits():
    path, images, _ = demo.load()
    return path, images[:4]


# The share that arrives


@pytest.mark.parametrize(("bias", "share"), [(10.0, "< half"), (-0.4, "> twice")])
def test_share_far_from_the_seed(bias, share):
    x = np.full((4, 3), 0.3)
    with told("of the seed reaches the input") as caught:
        e = reflrp.explain(with_bias(bias), x, target=0)
    found = e.relevance.sum() / e.output[:, 0].sum()
    assert found < 0.5 if share == "< half" else found > 2 or found < 0
    (text,) = e.advice
    assert f"{100 * found:.3g} % of the seed" in text
    assert "'Gemm_0'" in text
    assert f"{e.conservation['Gemm_0'].bias:.3g}: biases" in text
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert f"advice: {100 * found:.3g} %" in repr(e)


def test_good_runs_give_none(digits):
    path, images = digits
    for rules in ("auto", "epsilon_plus", "epsilon_gamma_box", "epsilon_alpha2_beta1", "attnlrp", "gradient"):
        assert reflrp.explain(path, images, rules).advice == ()
    assert reflrp.explain(LAYER, X).advice == ()
    assert reflrp.explain(LAYER, X, init="one").advice == ()
    assert reflrp.explain(LAYER, X, init=SEED).advice == ()


def test_each_sample_counts_and_not_their_sum():
    """Seeds of both signs that cancel, and one sample of many that is odd, are no reason."""
    proto = model("y = MatMul(x, W)", "float[N,3] x", W=W[:, :1])
    x = np.concatenate([X, -X])
    assert abs(reflrp.explain(proto, x).conservation.seed) < 1e-9
    assert reflrp.explain(proto, x).advice == ()
    far = np.concatenate([X + 30, X[:1] / 1e3])
    assert reflrp.explain(with_bias(5.0), far, target=0).advice == ()


def test_seeds_near_zero_have_no_share():
    proto = model("y = Gemm(x, W, b)", "float[N,3] x", W=W * [1, 0], b=np.float32([0, 0.01]))
    assert reflrp.explain(proto, X, target=1).advice == ()
    contrast = np.stack([np.ones(4), -np.ones(4)], axis=1)
    assert reflrp.explain(with_bias(10.0), X, init=contrast).advice == ()


def test_what_is_asked_for_is_no_reason():
    assert reflrp.explain(with_bias(10.0), X, "gradient").advice == ()
    h = model("h = MatMul(x, W) r = Relu(h) y = MatMul(r, V)", "float[N,3] x", W=W, V=np.ones((2, 1), np.float32))
    e = reflrp.explain(h, X, conditions={"x": [0]})
    assert e.relevance.sum() < 0.5 * e.conservation.seed
    assert e.advice == ()


@pytest.mark.parametrize(
    ("rule", "words"), [(Epsilon(1e3), "try a smaller epsilon"), (Epsilon(bias="absorb"), "bias='ignore' of Epsilon")]
)
def test_it_says_what_to_do(rule, words):
    with told(words):
        reflrp.explain(with_bias(10.0 if rule.epsilon < 1 else 0.0), X, rule)
    assert reflrp.explain(with_bias(10.0), X, Epsilon(bias="ignore")).advice == ()


# Boxes


def test_box():
    proto = model("c = Sub(x, mean) y = MatMul(c, W)", "float[N,3] x", mean=np.float32(2), W=W)
    x = np.linspace(0, 4, 12).reshape(4, 3)
    with told("beyond the box") as caught:
        e = reflrp.explain(proto, x, ZBox(0, 4))
    assert len(caught) == 1
    text = next(a for a in e.advice if "box" in a)
    assert "input of 'MatMul_1' is in -2..2, beyond the box 0..4" in text
    for low, high in ((-2, 2), (np.full((3,), -1.99), 1.99), (-9, 9)):
        assert not any("box" in a for a in reflrp.explain(proto, x, ZBox(low, high)).advice)
    with told("beyond the box"):
        reflrp.explain(proto, x, ZBox(-2, np.float64([0.9, 2, 2])))


def test_box_of_a_dialect(digits):
    path, images = digits
    with told("beyond the box -1..0.5"):
        reflrp.explain(path, images, preset("zennit.EpsilonGammaBox", low=-1.0, high=0.5))
    assert reflrp.explain(path, images, preset("zennit.EpsilonGammaBox", low=0.0, high=1.0)).advice == ()


# Pixels

PIXELS = np.random.default_rng(0).integers(0, 256, size=(2, 3, 6, 6))
PIXELS[:, 0, 0, :2] = 0, 255
CONV = "h = Conv({x}, K) {after} f = Flatten(g) y = MatMul(f, M)"
COLOUR = {"K": (4, 3, 3, 3), "M": (64, 2)}


def net(before="", x="x", after="g = Relu(h)", **weights):
    body = f"{before} {CONV.format(x=x, after=after)}"
    return model(body, "float[N,3,6,6] x", **COLOUR, **{k: np.float32(v) for k, v in weights.items()})


UNSCALED = {
    "as they are": net(),
    "normalised as if they were 0..1": net("c = Sub(x, m) s = Div(c, d)", "s", m=0.45, d=0.22),
    "behind statistics that they do not fit": net(
        after="n = BatchNormalization(h, o, z, z, v) g = Relu(n)", o=np.ones(4), z=np.zeros(4), v=np.full(4, 2.0)
    ),
}
AT_HOME = {
    "divided": net("s = Div(x, d)", "s", d=255),
    "centred": net("s = Sub(x, m)", "s", m=np.full((3, 1, 1), 120)),
    "normalised": net(
        "s = BatchNormalization(x, o, z, m, v)", "s", o=np.ones(3), z=np.zeros(3), m=[120] * 3, v=[5e3] * 3
    ),
    "behind statistics that they fit": net(
        after="n = BatchNormalization(h, o, z, z, v) g = Relu(n)", o=np.ones(4), z=np.zeros(4), v=np.full(4, 5e5)
    ),
}


def about_pixels(e):
    return [text for text in e.advice if "0..255" in text]


def quietly(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdviceWarning)
        return reflrp.explain(*args, **options)


@pytest.mark.parametrize("name", UNSCALED)
@pytest.mark.parametrize("x", [PIXELS.astype(np.uint8), PIXELS / 1.0, np.minimum(PIXELS + 0.5, 255)])
def test_pixels(name, x):
    (text,) = about_pixels(quietly(UNSCALED[name], x))
    assert "input 'x' goes up to 255" in text
    assert "divided by 255" in text
    assert about_pixels(quietly(UNSCALED[name], x / 255)) == []
    assert about_pixels(reflrp.Explainer(UNSCALED[name], canonize=())(x)) == [text]


@pytest.mark.parametrize("name", AT_HOME)
def test_networks_that_take_pixels(name):
    for canonize in (None, ()):
        e = reflrp.Explainer(AT_HOME[name], "epsilon", canonize=canonize)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AdviceWarning)
            assert about_pixels(e(PIXELS.astype(np.uint8))) == []


def test_other_numbers_are_no_pixels():
    for x in (PIXELS % 17, PIXELS - 128, PIXELS * 3, PIXELS / 2.01):
        assert about_pixels(quietly(UNSCALED["as they are"], x.astype(float))) == []
    assert about_pixels(quietly(LAYER, X * 0 + 255)) == []


# How it is given


def test_cuts_change_nothing(tmp_path):
    x = np.concatenate([PIXELS, PIXELS // 4, PIXELS * 0 + 1]).astype(float)
    rules = preset("epsilon_gamma_box", low=0.0, high=200.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdviceWarning)
        whole, cut = (reflrp.Explainer(UNSCALED["as they are"], rules, batch_size=n)(x) for n in (None, 1))
    assert len(whole.advice) >= 2
    assert cut.advice == whole.advice
    assert reflrp.Explanation.load(whole.save(tmp_path / "e")) == whole
    assert reflrp.Explanation.load(whole.save(tmp_path / "e")).advice == whole.advice
    assert pickle.loads(pickle.dumps(whole)).advice == whole.advice
    assert reflrp.Explanation.concatenate([whole, cut]).advice == whole.advice


def test_dark_samples_change_nothing():
    """Whether a network normalises pixels is told by the brightest, in whichever cut they are."""
    dark = np.zeros((1, 3, 6, 6))
    for net_ in (UNSCALED["behind statistics that they do not fit"], AT_HOME["behind statistics that they fit"]):
        x = np.concatenate([dark, PIXELS[:1] // 5, PIXELS[:1], dark]).astype(float)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AdviceWarning)
            whole, cut = (about_pixels(reflrp.Explainer(net_, batch_size=n)(x)) for n in (None, 1))
        assert whole == cut
        assert bool(whole) is (net_ is UNSCALED["behind statistics that they do not fit"])


def test_files_of_before_have_none(tmp_path):
    import json
    import zipfile

    e = reflrp.explain(LAYER, X)
    path = e.save(tmp_path / "e.npz")
    arrays = dict(np.load(path))
    meta = json.loads(str(arrays["meta"]))
    del meta["advice"]
    np.savez(path, **{**arrays, "meta": np.asarray(json.dumps(meta))})
    assert zipfile.is_zipfile(path)
    assert reflrp.Explanation.load(path) == e


def test_warnings_as_errors_stop_nobody_who_did_not_ask():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(reflrp.explain(with_bias(10.0), X, target=0).advice) == 1
        warnings.filterwarnings("error", category=AdviceWarning)
        with pytest.raises(AdviceWarning, match="of the seed reaches the input"):
            reflrp.explain(with_bias(10.0), X, target=0)


def test_html_and_command_line(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from reflrp.cli.main import app

    e = quietly(with_bias(10.0), X, target=0)
    assert "advice: " in e._repr_html_()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.onnx").write_bytes(with_bias(10.0).SerializeToString())
    np.save("x.npy", X)
    done = CliRunner().invoke(app, ["explain", "net.onnx", "x.npy", "--target", "0"])
    assert "advice: " in done.output
    assert "AdviceWarning" not in done.output


def test_the_share_of_each_sample_is_counted_where_its_relevance_is() -> None:
    """With the time first and as many steps as samples, the first axis holds no sample."""
    from reflrp.explainer.programs import _by_sample

    proto = model("h, l = LSTM <hidden_size = 3>(x, w, r) y = Squeeze(l, zero)", "float[T,N,4] x", outputs="float[N,3] y",
                  w=(1, 12, 4), r=(1, 12, 3), zero=np.array([0]))  # fmt: skip
    e = reflrp.explain(proto, draw(3, 3, 4), "lstm")
    np.testing.assert_array_equal(_by_sample(e)["x"], np.moveaxis(e.relevance, 1, 0))


def test_a_contrast_has_a_share_of_its_difference() -> None:
    """All of f_0 - f_2 arrives, so that nothing is to be advised; of 1 and -1 there is no share."""
    proto = model("y = MatMul(x, w)", w=(4, 3))
    for init in ("output", "one"):
        with warnings.catch_warnings():
            warnings.simplefilter("error", reflrp.AdviceWarning)
            e = reflrp.explain(proto, draw(5, 4), "epsilon", target=reflrp.Contrast(0, 2), init=init)
        assert e.advice == ()
