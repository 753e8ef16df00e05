"""The command `reflrp compile`."""

import numpy as np
import onnx
import pytest
from compiled import run
from models import draw, model
from typer.testing import CliRunner

import reflrp
from reflrp import demo
from reflrp.cli.main import app


def call(*words):
    return CliRunner().invoke(app, ["compile", *map(str, words)])


def test_it_writes_a_model_that_explains(tmp_path):
    path, images, _ = demo.load()
    done = call(path, "--rules", "epsilon_plus", "--layers", "*conv*", "-o", tmp_path / "lrp.onnx")
    assert done.exit_code == 0, done.output
    assert "relevance/image" in done.output
    found = run(onnx.load(tmp_path / "lrp.onnx"), {"image": images[:2]})
    R = reflrp.explain(path, images[:2], "epsilon_plus").relevance
    np.testing.assert_allclose(found["relevance/image"], R, atol=1e-5 * np.abs(R).max())


def test_lengths_that_the_file_leaves_open(tmp_path):
    onnx.save(model("y = MatMul(x, w)", "float[N,T,4] x", w=(4, 3)), tmp_path / "m.onnx")
    done = call(tmp_path / "m.onnx", "-o", tmp_path / "lrp.onnx")
    assert done.exit_code == 0, done.output
    for t in (1, 6):
        assert run(onnx.load(tmp_path / "lrp.onnx"), {"x": draw(3, t, 4)})["relevance/x"].shape == (3, t, 4)
    done = call(tmp_path / "m.onnx", "-o", tmp_path / "lrp.onnx", "--shape", "N,5,4", "--target", "(1,2)")
    assert done.exit_code == 0, done.output
    assert run(onnx.load(tmp_path / "lrp.onnx"), {"x": draw(3, 5, 4)})["relevance/x"].shape == (3, 5, 4)


def test_the_relevance_of_a_scaler(tmp_path):
    onnx.save(model("s = Mul(x, k) y = MatMul(s, w)", k=(4,), w=(4, 3)), tmp_path / "m.onnx")
    for how in ("pass", "absorb"):
        done = call(tmp_path / "m.onnx", "-o", tmp_path / "lrp.onnx", "--rules", "epsilon", "--preprocess", how)
        assert done.exit_code == 0, done.output
        found = run(onnx.load(tmp_path / "lrp.onnx"), {"x": draw(2, 4)})["relevance/x"]
        R = reflrp.explain(tmp_path / "m.onnx", draw(2, 4), "epsilon", preprocess=how).relevance
        np.testing.assert_allclose(found, R, atol=1e-5 * np.abs(R).max())


@pytest.mark.parametrize(
    "words",
    [("--preprocess", "both"), ("--shape", "x,4"), ("--shape", "z=1,4"), ("--target", "many"), ("--opset", "3")],
)
def test_wrong_words(tmp_path, words):
    onnx.save(model("y = MatMul(x, w)", w=(4, 3)), tmp_path / "m.onnx")
    done = call(tmp_path / "m.onnx", "-o", tmp_path / "lrp.onnx", *words)
    assert done.exit_code in (1, 2)
    assert not (tmp_path / "lrp.onnx").exists()


def test_the_model_itself_is_not_overwritten(tmp_path):
    onnx.save(model("y = MatMul(x, w)", w=(4, 3)), tmp_path / "m.onnx")
    assert call(tmp_path / "m.onnx", "-o", tmp_path / "m.onnx").exit_code == 2


def with_data(folder, size=64):
    """A model whose weights lie in a file beside it."""
    proto = model("h = MatMul(x, w) r = Relu(h) y = MatMul(r, v)", "float[N,T,64] x", w=(64, size), v=(size, 3))
    onnx.save(
        proto,
        folder / "m.onnx",
        save_as_external_data=True,
        location="m.data",
        size_threshold=0,
        convert_attribute=False,
    )


@pytest.mark.parametrize("derived", ["graph", "stored"])
def test_weights_in_a_file_beside(tmp_path, derived):
    with_data(tmp_path)
    done = call(
        tmp_path / "m.onnx", "--rules", "epsilon_alpha2_beta1", "-o", tmp_path / "lrp.onnx", "--derived", derived
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "lrp.onnx").stat().st_size < 12_000
    sizes = {"graph": 1, "stored": 2}
    own = (tmp_path / "m.data").stat().st_size
    assert own <= (tmp_path / "lrp.onnx.data").stat().st_size < (2 * sizes[derived]) * own + 6 * 4096
    x = draw(2, 3, 64).astype(np.float32)
    R = reflrp.explain(tmp_path / "m.onnx", x, "epsilon_alpha2_beta1").relevance
    for g in (onnx.load(tmp_path / "lrp.onnx"), reflrp.compile(tmp_path / "m.onnx", "epsilon_alpha2_beta1")):
        np.testing.assert_allclose(run(g, {"x": x})["relevance/x"], R, atol=1e-5 * np.abs(R).max())


def test_a_model_of_more_than_a_file_holds_needs_a_place(tmp_path, monkeypatch):
    with_data(tmp_path)
    monkeypatch.setattr("reflrp.compiler.store.LARGEST", 15_000)
    with pytest.raises(reflrp.InputError, match=r"out='model_lrp\.onnx'"):
        reflrp.compile(tmp_path / "m.onnx", "epsilon")
    g = reflrp.compile(tmp_path / "m.onnx", "epsilon", out=tmp_path / "lrp.onnx")
    assert g.ByteSize() < 15_000
    x = draw(2, 3, 64).astype(np.float32)
    R = reflrp.explain(tmp_path / "m.onnx", x, "epsilon").relevance
    np.testing.assert_allclose(
        run(onnx.load(tmp_path / "lrp.onnx"), {"x": x})["relevance/x"], R, atol=1e-5 * np.abs(R).max()
    )


def test_all_that_explain_takes(tmp_path):
    onnx.save(model("z = MatMul(x, w) y = Softmax(z)", "float[N,T,4] x", w=(4, 3)), tmp_path / "m.onnx")
    x = draw(3, 5, 4)
    for words, asked in (
        (("--no-strip", "--canonize", "none"), {"strip": False, "canonize": ()}),
        (("--through", "z=0,2"), {"conditions": {"z": [0, 2]}}),
    ):
        done = call(tmp_path / "m.onnx", "-o", tmp_path / "lrp.onnx", "--rules", "epsilon", "--shape", "N,5,4", *words)
        assert done.exit_code == 0, done.output
        R = reflrp.explain(tmp_path / "m.onnx", x, "epsilon", **asked).relevance
        found = run(onnx.load(tmp_path / "lrp.onnx"), {"x": x.astype(np.float32)})["relevance/x"]
        np.testing.assert_allclose(found, R, atol=1e-5 * np.abs(R).max())
