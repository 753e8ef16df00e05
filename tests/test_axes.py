"""Which axis holds the samples, and which the channels: proven on the graph or told, and else said to be unknown."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import draw, model
from onnx import ModelProto
from typer.testing import CliRunner, Result

import reflrp
from reflrp import InputError
from reflrp.cli.main import app
from reflrp.show.axes import by_sample, channel_of, pixels

T, N, F = 5, 3, 4


def lstm(x: str = "float[T,N,4] x", text: str = "") -> ModelProto:
    body = f"h, l = LSTM <hidden_size = 3>(s, w, r) {text or 'y = Squeeze(l, zero)'}"
    body = body.replace("(s,", "(x,") if "N,T" not in x else f"s = Transpose <perm = [1, 0, 2]>(x) {body}"
    return model(body, x, outputs="float[N,3] y", w=(1, 12, 4), r=(1, 12, 3), zero=np.array([0]))


def cnn(last: bool = False, before: str = "z = Div(p, std)") -> ModelProto:
    turn = "p = Transpose <perm = [0, 3, 1, 2]>(x)" if last else "p = Identity(x)"
    ports = "float[N,6,7,3] x" if last else "float[N,3,6,7] x"
    body = (
        f"{turn} {before} c = Conv(z, w) r = Relu(c) f = ReduceMean <axes = [2, 3], keepdims = 0>(r) y = MatMul(f, v)"
    )
    return model(body, ports, w=(5, 3, 3, 3), v=(5, 2), std=np.array([0.5, 1, 2]).reshape(1, 3, 1, 1))


def command(path: Path, proto: ModelProto, x: np.ndarray, *options: str) -> Result:
    (path / "m.onnx").write_bytes(proto.SerializeToString())
    np.save(path / "x.npy", x)
    result = CliRunner().invoke(app, ["explain", str(path / "m.onnx"), str(path / "x.npy"), *options])
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return result


def rows(result: Result) -> dict[str, list[str]]:
    """The table by its first column: the samples."""
    lines = result.stdout.split("\n\n")[1].splitlines()[2:]
    return {line.split()[0]: line.split() for line in lines}


@pytest.mark.parametrize("steps", [T, N], ids=["as many steps as not samples", "as many steps as samples"])
@pytest.mark.parametrize("first", [True, False], ids=["time first", "batch first"])
def test_samples_are_where_they_are_proven_to_be(steps: int, first: bool) -> None:
    """Sample n's relevance is what it has alone, whichever axis it lies on."""
    x = draw(steps, N, F) if first else draw(N, steps, F)
    proto = lstm() if first else lstm("float[N,T,4] x")
    e = reflrp.explain(proto, x, "lstm")
    assert e.layout is not None
    assert e.layout["x"] == {"sample": int(first)}
    found = by_sample(e, "x", e.relevance)
    assert found is not None
    for n in range(N):
        alone = reflrp.explain(proto, x[:, [n]] if first else x[[n]], "lstm")
        np.testing.assert_allclose(found[n], alone.relevance.squeeze(int(first)), atol=1e-12)


def test_the_table_of_a_network_with_the_time_first(tmp_path: Path) -> None:
    """As many rows as samples, each with its own sum and its own strongest entries."""
    x = draw(T, N, F)
    e = reflrp.explain(lstm(), x, "lstm")
    result = command(tmp_path, lstm(), x, "--rules", "lstm")
    assert list(rows(result)) == ["0", "1", "2"]
    for n, row in rows(result).items():
        R = e.relevance[:, int(n)]
        assert float(row[3]) == pytest.approx(R.sum(), rel=1e-5)
        step, feature = np.unravel_index(np.abs(R).argmax(), R.shape)
        assert row[6].startswith(f"[{step},{feature}]=")
    assert "[step,feature]: an entry" in result.stdout
    assert rows(command(tmp_path, lstm(), x, "--rules", "lstm", "--time-first")) == rows(result)


def test_one_sample_is_the_whole_input(tmp_path: Path) -> None:
    x = draw(T, 1, F)
    e = reflrp.explain(lstm(), x, "lstm")
    found = rows(command(tmp_path, lstm(), x, "--rules", "lstm"))
    assert list(found) == ["0"]
    assert float(found["0"][3]) == pytest.approx(e.relevance.sum(), rel=1e-5)


MIXED = model("s = ReduceSum <keepdims = 1>(x, zero) y = Add(x, s)", "float[N,3] x", zero=np.array([0]))
"""Samples meet, so that no axis is proven to hold them."""


def test_where_it_is_unknown_it_is_said(tmp_path: Path) -> None:
    x = draw(4, 3)
    result = command(tmp_path, MIXED, x, "--rules", "epsilon")
    assert "at 4 places along its first axis" in result.stdout
    assert "which axis of 'x' (4, 3) holds the 4 samples is not proven" in result.stdout
    assert list(rows(result)) == ["all"]
    e = reflrp.explain(MIXED, x, "epsilon")
    assert float(rows(result)["all"][3]) == pytest.approx(e.relevance.sum(), rel=1e-5)
    for draw_ in (e.plot, e.tokens):
        with pytest.raises(
            InputError, match="is not proven, so it cannot be drawn sample by sample; say time_first=False"
        ):
            draw_()
    told = rows(command(tmp_path, MIXED, x, "--rules", "epsilon", "--batch-first"))
    assert [float(row[3]) for row in told.values()] == pytest.approx(list(e.relevance.sum(axis=1)), rel=1e-5)


def test_what_is_told_must_hold(tmp_path: Path) -> None:
    """It may not be against what is proven, nor against the shape."""
    for proto, x, option in ((lstm(), draw(N, N, F), "--batch-first"), (MIXED, draw(4, 3), "--time-first")):
        result = command(tmp_path, proto, x, "--rules", "epsilon", option)
        assert result.exit_code == 1, result.stdout
        assert f"({option}): axis {int(option == '--time-first')}" in result.stderr
    e = reflrp.explain(lstm(), draw(N, N, F), "lstm")
    with pytest.raises(
        InputError,
        match=r"time_first=False .--batch-first.: axis 0 does not hold the 3 samples .*proven to hold them on axis 1",
    ):
        e.plot(time_first=False)


def test_an_output_whose_first_axis_is_time(tmp_path: Path) -> None:
    """What stands on the output's first axis are steps, and these meet in the network: no table of samples."""
    proto = lstm(text="y = Identity(h)")
    result = command(tmp_path, proto, draw(T, 1, F), "--rules", "lstm")
    assert f"at {T} places along its first axis" in result.stdout
    assert list(rows(result)) == ["all"]


def test_inputs_that_all_samples_share() -> None:
    proto = model("y = MatMul(x, m)", "float[N,3] x, float[3,3] m")
    e = reflrp.explain(proto, {"x": draw(3, 3), "m": draw(3, 3)}, "epsilon")
    assert e.layout == {"x": {"sample": 0}, "m": {"sample": None}}
    assert by_sample(e, "m", e.relevances["m"]) is None
    with pytest.raises(InputError, match=r"'m' .3, 3. is the same for all 3 samples, so it cannot be drawn .* sample$"):
        e.tokens(name="m")
    pytest.importorskip("matplotlib")
    assert len(e.plot(sample=0).axes) == 1


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("count", [1, 2])
def test_one_pixel_is_one_row(last: bool, count: int, tmp_path: Path) -> None:
    x = draw(count, 6, 7, 3) if last else draw(count, 3, 6, 7)
    e = reflrp.explain(cnn(last), x, "epsilon")
    assert channel_of(e, "x") == (2 if last else 0)
    R, channels = pixels(e, "x", e.relevance[0])
    assert channels == 3
    np.testing.assert_array_equal(R, e.relevance[0].sum(axis=2 if last else 0))
    result = command(tmp_path, cnn(last), x, "--rules", "epsilon")
    for n, row in rows(result).items():
        R = e.relevance[int(n)].sum(axis=2 if last else 0)
        places = np.argsort(-np.abs(R), axis=None, kind="stable")[:3]
        wanted = [f"({p[0]},{p[1]})={R[p]:.3g}" for p in (np.unravel_index(k, R.shape) for k in places)]
        assert row[6:] == wanted
        positive = e.relevance[int(n)]
        assert float(row[4]) == pytest.approx(positive[positive > 0].sum(), rel=1e-5)
    assert "(row,column): a pixel, its 3 channels summed" in result.stdout


def test_channels_are_seen_behind_other_work() -> None:
    """By the convolution, and not by their count: seven of them, after padding, clipping and pooling."""
    body = "c0 = Clip(x, low, high) q = MaxPool <kernel_shape = [2, 2]>(c0) c = Conv(q, w) y = Flatten(c)"
    proto = model(body, "float[N,7,5,4] x", w=(2, 7, 4, 3), low=np.float32(-9), high=np.float32(9))
    e = reflrp.explain(proto, draw(2, 7, 5, 4), "epsilon")
    assert e.layout == {"x": {"sample": 0, "channel": 1}}
    apart = model("t = Transpose <perm = [0, 2, 1]>(x) a = Conv(x, w) b = Conv(t, w) y = Concat <axis = 1>(a, b)",
                  "float[N,4,4] x", w=(2, 4, 2))  # fmt: skip
    e = reflrp.explain(apart, draw(2, 4, 4), "epsilon")
    assert e.layout == {"x": {"sample": 0}}


@pytest.mark.parametrize("size", [1, 2])
def test_cuts_put_together_know_their_samples(size: int) -> None:
    proto = model("h = MatMul(x, w) y = Relu(h)", "float[N,4] x", w=(4, 3))
    e = reflrp.explain(proto, draw(5, 4), "epsilon", batch_size=size, layers=True)
    assert e.layout is not None
    assert e.layout["x"] == e.layout["h"] == {"sample": 0}


def test_explanations_are_put_together_where_their_samples_are() -> None:
    """With the time first on the second axis; where that is not known, not at all."""
    x = draw(T, 6, F)
    parts = [reflrp.explain(lstm(), x[:, a:b], "lstm", target=0) for a, b in ((0, 2), (2, 5), (5, 6))]
    whole = reflrp.Explanation.concatenate(parts)
    e = reflrp.explain(lstm(), x, "lstm", target=0)
    np.testing.assert_allclose(whole.relevance, e.relevance, atol=1e-12)
    np.testing.assert_array_equal(whole.inputs["x"], x)
    assert whole.layout == e.layout
    with pytest.raises(InputError, match=r"which axis of 'x', of shape .5, 1, 4., holds the samples is not known"):
        reflrp.Explanation.concatenate([reflrp.explain(lstm(), x[:, [n]], "lstm") for n in range(2)])


def test_what_all_samples_share_is_summed_where_parts_are_put_together() -> None:
    proto, m = model("y = MatMul(x, m)", "float[N,3] x, float[3,3] m"), draw(3, 3)
    x = draw(4, 3)
    parts = [reflrp.explain(proto, {"x": x[a:b], "m": m}, "epsilon", target=0) for a, b in ((0, 2), (2, 4))]
    whole, e = reflrp.Explanation.concatenate(parts), reflrp.explain(proto, {"x": x, "m": m}, "epsilon", target=0)
    for name in "xm":
        np.testing.assert_allclose(whole.relevances[name], e.relevances[name], atol=1e-12)
    other = reflrp.explain(proto, {"x": x[:2], "m": 2 * m}, "epsilon", target=0)
    with pytest.raises(InputError, match="'m' is the same for all samples of a part, and not the same in all parts"):
        reflrp.Explanation.concatenate([parts[0], other])


def test_many_inputs_with_as_many_samples_as_steps() -> None:
    """Five inputs (N, N) could lie in 243 ways; that all have the samples first is tried first."""
    ports = ", ".join(f"float[N,T] {k}" for k in "abcde")
    proto = model("y = Sum(a, b, c, d, e)", ports)
    e = reflrp.explain(proto, {k: draw(3, 3, seed=i) for i, k in enumerate("abcde")}, "epsilon")
    assert e.layout == {k: {"sample": 0} for k in "abcde"}


def test_the_layout_is_saved(tmp_path: Path) -> None:
    e = reflrp.explain(cnn(), draw(2, 3, 6, 7), "epsilon", layers=True)
    again = reflrp.Explanation.load(e.save(tmp_path / "e.npz"))
    assert again == e
    assert again.layout == e.layout
    assert again.layout["x"] == {"sample": 0, "channel": 1}


@pytest.mark.parametrize(
    "layout", [{"y": {}}, {"x": {"sample": 4}}, {"x": {"foo": 0}}, {"x": 1}, [], {"x": {"sample": "0"}}]
)
def test_a_layout_that_is_none_is_refused(layout: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    e = reflrp.explain(cnn(), draw(2, 3, 6, 7), "epsilon")
    with pytest.raises(InputError, match="layout"):
        replace(e, layout=layout).save(tmp_path / "e.npz")


def test_a_picture_of_a_sequence_with_the_time_first() -> None:
    """Steps run to the right, whatever there is more of; axes of no known meaning are called by number."""
    pytest.importorskip("matplotlib")
    for steps in (2, 9):
        e = reflrp.explain(lstm(), draw(steps, N, F), "lstm")
        figure = e.plot(sample=1)
        (image,) = figure.axes[0].images
        np.testing.assert_array_equal(image.get_array(), e.relevance[:, 1].T)
        assert figure.axes[0].get_xlabel() == "step"
    e = reflrp.explain(lstm("float[N,T,4] x"), draw(N, T, F), "lstm")
    assert e.plot(sample=0).axes[0].get_xlabel() in ("axis 1", "axis 2")


def test_tokens_take_the_samples_from_where_they_are_proven_to_be() -> None:
    """As many steps as samples: nothing is to be seen by the shape."""
    e = reflrp.explain(lstm(), draw(N, N, F), "lstm")
    picture = e.tokens()
    for n, sentence in enumerate(picture.sentences):
        np.testing.assert_allclose(sentence.relevance, e.relevance[:, n].sum(axis=1))
