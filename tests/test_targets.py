"""Targets: what an explanation says is taken again, contrasts, and several with one forward pass."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import draw, model
from typer.testing import CliRunner, Result

import reflrp
from reflrp import Contrast, InputError, engine
from reflrp.cli.main import app

NET = model("h = MatMul(x, w) r = Relu(h) l = MatMul(r, v) y = Softmax(l)", w=(4, 6), v=(6, 3))
MANY = model("h = MatMul(x, w) y = Reshape(h, s)", w=(4, 6), s=np.array([-1, 2, 3]))
X = draw(3, 4)
ONE = model("y = ReduceSum <keepdims = 0>(x, axis)", axis=np.array([1]))
"""A network whose output (N,) has nothing but the batch: its index is ()."""


@pytest.mark.parametrize("size", [None, 1, 2])
@pytest.mark.parametrize(
    ("proto", "target"),
    [
        (NET, None), (NET, 1), (NET, [0, 2, 1]), (NET, (2,)), (MANY, None), (MANY, (1, -1)), (ONE, None),
        (NET, Contrast(0, 2)), (NET, Contrast([0, 1, 2], [1, 2, 0])), (MANY, Contrast((0, 1), (1, 1))),
        (NET, Contrast(None, [1, 1, 2])),
    ],
)  # fmt: skip
def test_the_target_of_an_explanation_explains_the_same(proto: Any, target: Any, size: int | None) -> None:
    """As it is, as JSON gives it back, and cut into parts."""
    if target == Contrast(None, [1, 1, 2]):
        best = reflrp.explain(NET, X).output.argmax(axis=1)
        target = Contrast(None, [int(k + 1) % 3 for k in best])
    e = reflrp.explain(proto, X, "epsilon", target=target)
    found = reflrp.explain(proto, X, "epsilon", target=e.target, batch_size=size)
    assert found.target == e.target
    np.testing.assert_allclose(found.relevance, e.relevance, atol=1e-14)
    assert reflrp.explain(proto, X, "epsilon", target=list(e.target), batch_size=size).target == e.target
    if not isinstance(target, Contrast) and e.target[0]:
        again = json.loads(json.dumps(e.target))
        assert reflrp.explain(proto, X, "epsilon", target=again, batch_size=size).target == e.target


def test_ints_one_a_sample_and_an_index_tuple_stay_what_they_are() -> None:
    """Three ints for three samples, and a tuple of ints is an index, also where there are as many samples."""
    assert reflrp.explain(NET, X, target=[0, 2, 1]).target == ((0,), (2,), (1,))
    assert reflrp.explain(MANY, X[:2], target=(1, 2)).target == ((1, 2), (1, 2))
    assert reflrp.explain(MANY, X[:2], target=((1, 2), (0, 1))).target == ((1, 2), (0, 1))
    assert reflrp.explain(NET, X, target=np.array([[0], [2], [1]])).target == ((0,), (2,), (1,))
    assert reflrp.explain(NET, X, target=[None, 1, (2,)]).target[1:] == ((1,), (2,))


@pytest.mark.parametrize("init", ["output", "one"])
def test_a_contrast_starts_with_one_entry_against_the_other(init: str) -> None:
    """R = f at the first and -f at the second, or 1 and -1; relevance is the difference of the two alone."""
    both = reflrp.explain(NET, X, "epsilon", target=Contrast(0, [1, 2, 2]), init=init, layers="l")
    y, wanted = both.output, np.zeros((3, 3))
    for n, k in enumerate([1, 2, 2]):
        wanted[n, 0] = y[n, 0] if init == "output" else 1
        wanted[n, k] = -y[n, k] if init == "output" else -1
    np.testing.assert_array_equal(both.layers["l"], wanted)
    assert both.target == (Contrast((0,), (1,)), Contrast((0,), (2,)), Contrast((0,), (2,)))
    plus = reflrp.explain(NET, X, "epsilon", target=0, init=init).relevance
    minus = reflrp.explain(NET, X, "epsilon", target=[1, 2, 2], init=init).relevance
    np.testing.assert_allclose(both.relevance, plus - minus, atol=1e-12)
    assert both.conservation.seed == pytest.approx(wanted.sum())


def test_a_contrast_is_saved(tmp_path: Path) -> None:
    e = reflrp.explain(NET, X, target=Contrast(0, 1))
    again = reflrp.Explanation.load(e.save(tmp_path / "e.npz"))
    assert again == e
    assert again.target == (Contrast((0,), (1,)),) * 3
    assert reflrp.explain(NET, X, target=again.target) == e


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Contrast(1, 1), "target=1 against 1 of sample 0 sets no entry against another"),
        (Contrast(1, -2), "of sample 0 sets no entry against another"),
        (Contrast(Contrast(0, 1), 2), "sets no entry against another"),
        (Contrast(0, 3), "target (3,) is out of range"),
        (Contrast([0, 1], 2), "target holds 2 ints for 3 samples"),
        (Contrast("a", 2), "target='a' must be None, an int"),
        ([(0,), (1,)], "target holds 2 targets for 3 samples"),
        ([(0,), (1,), (2, 2)], "target (2, 2) does not fit"),
        ([(0,), (1,), "2"], "'2'"),
        ((), "target () does not fit"),
    ],
)
@pytest.mark.parametrize("size", [None, 2])
def test_targets_that_do_not_fit(target: Any, text: str, size: int | None) -> None:
    with pytest.raises(InputError) as caught:
        reflrp.explain(NET, X, target=target, batch_size=size)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        [True, 1, 2],
        [0, True, 2],
        [np.True_, 1, 0],
        [0, np.array(True), 1],
        Contrast([True, 1, 2], 0),
        [[0], [True], [2]],
        True,
    ],
)
def test_a_truth_value_is_no_entry(target: Any) -> None:
    """NumPy makes a 1 of a True among ints."""
    for ask in (
        lambda: reflrp.explain(NET, X, target=target),
        lambda: list(reflrp.Explainer(NET).map(X, target=target)),
    ):
        with pytest.raises(InputError, match=r"must be None, an int|must hold ints"):
            ask()


@pytest.mark.parametrize("neurons", [[True, 1], [0, np.True_], True])
def test_a_truth_value_is_no_neuron(neurons: Any) -> None:
    explainer = reflrp.Explainer(NET)
    (output,) = explainer.program(X).graph.outputs
    with pytest.raises(InputError, match="must be ints below"):
        explainer(X, conditions={output: neurons})


TARGETS = [None, 2, [0, 1, 2], (1,), Contrast(0, 2)]


@pytest.mark.parametrize("size", [None, 1, 2])
def test_each_target_has_the_answer_of_its_own_call(size: int | None) -> None:
    explainer = reflrp.Explainer(NET, "epsilon_plus", batch_size=size)
    options: dict[str, Any] = {"layers": True, "conditions": {"r": [0, 1, 2]}, "init": "one"}
    found = explainer.each(X, TARGETS, **options)
    assert found == [explainer(X, target=target, **options) for target in TARGETS]
    assert explainer.each(X, np.arange(3)) == explainer.each(X, range(3)) == explainer.each(X, [0, 1, 2])
    assert len({e.relevance.tobytes() for e in found}) > 2


def test_several_targets_run_forward_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    forward = engine.Program.forward
    monkeypatch.setattr(engine.Program, "forward", lambda *a, **k: runs.append(1) or forward(*a, **k))
    explainer = reflrp.Explainer(NET)
    explainer.each(X, TARGETS)
    assert len(runs) == 1
    for target in TARGETS:
        explainer(X, target=target)
    assert len(runs) == 1 + len(TARGETS)


@pytest.mark.parametrize("targets", [[], None, 3, "3", {"a": 1}])
def test_targets_that_are_no_list(targets: Any) -> None:
    with pytest.raises(InputError, match=r"targets=.* must be a list of targets"):
        reflrp.Explainer(NET).each(X, targets)


def test_a_given_initial_relevance_has_no_targets() -> None:
    with pytest.raises(InputError, match="init is an array, so that targets say nothing"):
        reflrp.Explainer(NET).each(X, [0, 1], init=np.ones((3, 3)))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "m.onnx").write_bytes(NET.SerializeToString())
    np.save(tmp_path / "x.npy", X)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*options: str) -> Result:
    result = CliRunner().invoke(app, ["explain", "m.onnx", "x.npy", "--rules", "epsilon", *options])
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return result


def test_the_command_line_explains_several_targets(work: Path) -> None:
    pytest.importorskip("matplotlib")
    result = command("--target", "0", "--target", "(2,)", "-o", "e.npz", "--plot", "p.png")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("explained 'y' of 3 samples") == 2
    for name, target in (("target0", 0), ("target2", 2)):
        assert reflrp.Explanation.load(f"e-{name}.npz") == reflrp.explain(NET, X, "epsilon", target=target)
        assert (work / f"p-{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"wrote {work / f'e-{name}.npz'}" in result.stdout


def test_several_targets_into_a_folder_are_refused(work: Path) -> None:
    result = command("--target", "0", "--target", "1", "-o", ".")
    assert result.exit_code == 1
    assert "is no regular file but a folder" in result.stderr


def test_the_command_line_contrasts(work: Path) -> None:
    result = command("--target", "0", "--against", "2", "-o", "e.npz")
    assert result.exit_code == 0, result.stderr
    e = reflrp.explain(NET, X, "epsilon", target=Contrast(0, 2))
    assert reflrp.Explanation.load("e.npz") == e
    row = next(line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["1"])
    assert row[1:4] == ["0", "against", "2"]
    assert float(row[4]) == pytest.approx(e.output[1, 0] - e.output[1, 2], rel=1e-5)


def test_the_command_line_takes_what_python_takes(work: Path) -> None:
    result = command("--no-strip", "--canonize", "none", "--batch-size", "2", "-o", "e.npz")
    assert result.exit_code == 0, result.stderr
    e = reflrp.explain(NET, X, "epsilon", strip=False, canonize=(), batch_size=2)
    assert reflrp.Explanation.load("e.npz") == e
    assert e.score == "output"
    assert "logit" not in result.stdout


def test_what_goes_into_a_stripped_softmax_is_called_a_logit(work: Path) -> None:
    pytest.importorskip("matplotlib")
    e = reflrp.explain(NET, X, "epsilon")
    assert e.score == "logit"
    assert reflrp.explain(MANY, X, "epsilon").score == "output"
    result = command("-o", "e.npz")
    assert "(the logits before it)" in result.stdout
    assert "logit" in next(line for line in result.stdout.splitlines() if "target" in line).split()
    assert reflrp.Explanation.load("e.npz").score == "logit"
    titles = [axes.get_title(loc="left") for axes in e.plot(sample=0).axes]
    assert f"logit {e.output[0].max():.4g}" in titles[0]
