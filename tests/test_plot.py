"""The pictures: which axes there are, and what is in them. Pixels are not compared."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reflrp
from reflrp import demo
from reflrp.explanation import Explanation
from reflrp.ledger import Ledger
from reflrp.show import drawable, figures
from reflrp.show import images as plot

pytest.importorskip("matplotlib")

RNG = np.random.default_rng(0)


def explanation(inputs: dict[str, np.ndarray], target: bool = True) -> Explanation:
    """An explanation of inputs with some relevance, as if a model had answered."""
    n = len(next(iter(inputs.values())))
    R = {name: RNG.normal(size=x.shape) for name, x in inputs.items()}
    where = tuple((i % 3,) for i in range(n)) if target else ()
    return Explanation(R, RNG.normal(size=(n, 3)), where, {}, Ledger((), 0.0), {}, (), inputs)


def maps(figure: Any) -> list[Any]:
    """The images that are drawn in colours of relevance."""
    return [i for axes in figure.axes for i in axes.images if i.cmap.name == "relevance"]


def titles(figure: Any) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


@pytest.mark.parametrize("shape", [(2, 1, 6, 5), (2, 3, 6, 5), (2, 6, 5, 3), (2, 6, 5, 1), (2, 7, 6, 5)])
def test_images_have_input_and_relevance_beside_it(shape: tuple[int, ...]) -> None:
    e = explanation({"x": RNG.random(shape)})
    figure = e.plot()
    assert len(figure.axes) == 4
    last = shape[3] in (1, 3)
    for n, drawn in enumerate(maps(figure)):
        expected = e.relevance[n].sum(axis=2 if last else 0)
        np.testing.assert_array_equal(drawn.get_array(), expected)
        limit = np.abs(expected).max()
        assert drawn.get_clim() == (-limit, limit)
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == ((6, 5, 3) if 3 in shape else (6, 5))
    assert shown.min() == 0
    assert shown.max() == 1


def test_zero_is_white_and_signs_are_red_and_blue() -> None:
    colour = maps(explanation({"x": RNG.random((1, 1, 4, 4))}).plot())[0].cmap
    assert colour(0.5)[:3] == (1, 1, 1)
    assert colour(0.9)[0] > colour(0.9)[2]
    assert colour(0.1)[2] > colour(0.1)[0]


def test_each_sample_has_its_own_limit_on_its_colour_bar() -> None:
    e = explanation({"x": RNG.random((2, 1, 4, 4))})
    for drawn, R in zip(maps(e.plot()), e.relevance, strict=True):
        labels = [t.get_text() for t in drawn.colorbar.ax.get_yticklabels()]
        assert labels == [f"{-np.abs(R).max():.2g}", "0", f"{np.abs(R).max():.2g}"]


def test_relevance_of_zero_everywhere_is_drawn() -> None:
    e = explanation({"x": np.zeros((1, 1, 4, 4))})
    e.relevances["x"][:] = 0  # type: ignore[index]
    assert maps(e.plot())[0].get_clim() == (-1, 1)


def test_titles_say_target_output_and_sum() -> None:
    e = explanation({"x": RNG.random((2, 1, 4, 4))})
    first, second, *_ = titles(e.plot())
    assert first == f"sample 0: target 0\noutput {e.output[0, 0]:.4g}"
    assert second == f"relevance\nsum {e.relevance[0].sum():.4g}"


def test_given_initial_relevance_is_said() -> None:
    assert "initial relevance as given" in titles(explanation({"x": RNG.random((1, 5))}, target=False).plot())[0]


def test_samples_are_chosen() -> None:
    e = explanation({"x": RNG.random((5, 1, 4, 4))})
    assert len(maps(e.plot())) == 5
    (drawn,) = maps(e.plot(sample=3))
    np.testing.assert_array_equal(drawn.get_array(), e.relevance[3, 0])
    assert len(maps(e.plot(sample=[0, -1]))) == 2
    assert len(maps(explanation({"x": RNG.random((30, 1, 4, 4))}).plot())) == drawable.SAMPLES
    for wrong in (5, -6, []):
        with pytest.raises(reflrp.InputError, match="5 samples"):
            e.plot(sample=wrong)


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    """Whatever the shapes and numbers: a picture or an InputError."""
    one = np.ones((1, 3))
    odd = [(np.ones(()), one), (np.ones(()), np.ones(())), (np.zeros((0, 3)), np.zeros((0, 3))), (np.ones((2, 3)), one)]
    for R, output in odd:
        e = Explanation({"x": R}, output, (), {}, Ledger((), 0.0), {}, (), {})
        with pytest.raises(reflrp.InputError):
            e.plot(tmp_path / "a.png")
        with pytest.raises(reflrp.InputError):
            e.tokens(path=tmp_path / "a.png")
    with pytest.raises(reflrp.InputError, match="not proven"):  # a file may say so of too short an axis
        Explanation({"x": one}, np.ones((2, 3)), (), {}, Ledger((), 0.0), {}, (), {}, {"x": {"sample": 0}}).plot()
    for shape in ((1, 0), (1, 0, 3), (1, 3, 0), (1, 0, 4, 4), (1, 3, 0, 4), (1, 0, 0)):
        with pytest.raises(reflrp.InputError, match="nothing to draw"):
            explanation({"x": np.zeros(shape)}).plot()
    with pytest.raises(reflrp.InputError, match="0 tokens to draw"):
        explanation({"x": np.zeros((1, 0))}).tokens()
    for factor in (1e-320, 1e300, np.inf):
        e = explanation({"x": np.ones((1, 3))})
        e.relevances["x"][:] = factor
        for draw in (e.plot, e.tokens):
            with pytest.raises(reflrp.InputError, match="cannot be drawn"):
                draw()
    for sample in ("a", [[0]], 0.5, [[0], [0, 1]]):
        with pytest.raises(reflrp.InputError, match="sample="):
            explanation({"x": one}).plot(sample=sample)  # type: ignore[arg-type]
    with pytest.raises(reflrp.InputError, match="16,777,216"):
        explanation({"x": np.ones((1, 2**24 + 1), np.float32)}).plot()
    with pytest.raises(reflrp.InputError, match=r"write \.html instead"):
        explanation({"x": np.ones((1, 20_000))}).tokens(path=tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "shape", [(1,), (1, 1), (1, 1, 1, 1), (1, 2, 3, 4, 5), (1, 30_000), (1, 2, 30_000), (1, 1, 1, 5000)]
)
@pytest.mark.parametrize("kind", [float, int])
def test_odd_shapes_numbers_and_names_are_drawn(tmp_path: Path, shape: tuple[int, ...], kind: type) -> None:
    name = "a$\\frac{\n\x1b\udcff"
    for factor in (0, 1, 1e-200, 1e200):
        e = explanation({name: np.ones(shape, kind), "b": np.ones((1, 2))})
        e.relevances[name][...] *= factor
        e.plot(tmp_path / "a.png")
    if len(shape) > 1:
        e.tokens(name=name, path=tmp_path / "a.html")


@pytest.mark.parametrize(("shape", "steps"), [((1, 2, 30), 30), ((1, 30, 2), 30), ((1, 1, 9), 9)])
def test_series_have_a_course_a_channel_over_relevance(shape: tuple[int, ...], steps: int) -> None:
    e = explanation({"x": RNG.random(shape)})
    (axes,) = e.plot().axes
    channels = e.relevance[0].size // steps
    assert axes.images[0].get_array().shape == (channels, steps)
    assert sum(len(line.get_xdata()) == steps for line in axes.lines) == channels


def test_series_of_many_channels_are_two_maps() -> None:
    e = explanation({"x": RNG.random((1, 40, 16))})
    left, right = e.plot().axes
    np.testing.assert_array_equal(left.images[0].get_array(), e.inputs["x"][0].T)
    np.testing.assert_array_equal(right.images[0].get_array(), e.relevance[0].T)


def test_features_are_signed_bars() -> None:
    e = explanation({"x": RNG.random((1, 6))})
    (axes,) = e.plot().axes
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], e.relevance[0])
    low, high = axes.get_xlim()
    assert low == -high


def test_of_many_features_the_largest_are_drawn() -> None:
    e = explanation({"x": RNG.random((1, 100))})
    (axes,) = e.plot().axes
    order = np.argsort(-np.abs(e.relevance[0]))[: plot.BARS]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], e.relevance[0][order])
    assert "of 100" in axes.get_xlabel()
    assert axes.get_yticklabels()[0].get_text().startswith(f"x[{order[0]}] = ")


def test_tokens_have_a_bar_each_with_their_id() -> None:
    e = explanation({"ids": np.array([[7, 3, 7, 0]])})
    (axes,) = e.plot().axes
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], e.relevance[0])
    assert [t.get_text() for t in axes.get_xticklabels()] == ["7", "3", "7", "0"]


def test_each_input_has_a_panel() -> None:
    figure = explanation({"image": RNG.random((1, 1, 4, 4)), "meta": RNG.random((1, 3))}).plot()
    assert len(figure.axes) == 3
    assert any("image" in t for t in titles(figure))
    assert any("meta" in t for t in titles(figure))


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_written_picture_is_whole(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    explanation({"x": RNG.random((1, 1, 4, 4))}).plot(path)
    assert path.stat().st_size > 1000
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_unknown_ending_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(reflrp.InputError, match=r"end the name with one of .*png"):
        explanation({"x": RNG.random((1, 3))}).plot(tmp_path / "a.foo")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    with pytest.raises(reflrp.ReflrpError, match=r"reflrp\[plot\]"):
        explanation({"x": RNG.random((1, 3))}).plot()


def test_pyplot_is_not_touched(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from reflrp import demo
print(demo.run(Path({str(tmp_path)!r})))
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_file()


def test_demo_relevance_sits_on_the_strokes() -> None:
    """Of the positive relevance, nearly all lies on pixels that are not black."""
    path, images, labels = demo.load()
    e = reflrp.explain(path, images, rules=demo.RULES)
    assert [t[0] for t in e.target] == labels.tolist()
    positive = np.maximum(e.relevance, 0)
    assert positive[images > 0].sum() > 0.99 * positive.sum()
