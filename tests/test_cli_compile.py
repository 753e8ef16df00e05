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
