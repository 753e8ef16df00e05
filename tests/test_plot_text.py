"""Pictures of sequences: who is red, who is blue, what the tokens are, and that no text gets out of its place."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
from models import draw, ints, model
from PIL import Image

import reflrp
from reflrp import Explanation, InputError
from reflrp.ledger import Ledger
from reflrp.show.tokens import by_token, read_labels

WORDS = ["not", "a", "good", "film", ",", "at", "all"]
HOSTILE = ["<script>alert(1)</script>", '"><img src=x>', "&amp;", "$x_1^2$", "a\nb", "\\frac", "é映画", "", "x" * 300]
LSTM = Path(__file__).parents[2] / "shared" / "data" / "lstm_sst" / "bilstm.onnx"


def explanation(R: np.ndarray, x: np.ndarray | None = None, **layers: np.ndarray) -> Explanation:
    """Return an explanation with this relevance, for an output of two classes."""
    output, ledger = np.array([[0.25, 2], [3, -1]]), Ledger((), 0.0, {})
    return Explanation({"x": R}, output, ((1,), (0,)), layers, ledger, {}, inputs={"x": R if x is None else x})


class Spans(HTMLParser):
    """Collects the tags, and the tokens with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.tokens: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str | None] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "span":
            self.inside = dict(attrs)
            self.tokens.append(("", self.inside))

    def handle_endtag(self, tag: str) -> None:
        self.inside = None if tag == "span" else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside is not None:
            self.tokens[-1] = (self.tokens[-1][0] + data, self.inside)


def test_colours_say_the_sign() -> None:
    R = np.array([[2.0, -2, 0, 1, -1, 0.5, 0], [1.0, 0, 0, 0, 0, 0, 0]])
    picture = explanation(R).tokens(WORDS)
    found = Spans(picture.html()).tokens[:7]
    assert [t for t, _ in found] == WORDS
    assert [float(a["title"] or "") for _, a in found] == R[0].tolist()
    grounds = [str(a["style"]).split(";")[0] for _, a in found]
    assert grounds[:3] == ["background:#67001f", "background:#053061", "background:#ffffff"]
    assert "target 1, output 2; relevance, sum 0.5" in picture.html()
    assert "sample 1: target 0, output 3; relevance, sum 1" in picture.html()


def test_nothing_but_our_own_tags() -> None:
    R = np.ones((2, len(HOSTILE)))
    page = explanation(R).tokens(HOSTILE).html()
    spans = Spans(page)
    assert [t for t, _ in spans.tokens[: len(HOSTILE)]] == HOSTILE
    assert " ".join(sorted(set(spans.tags))) == "body div h4 head html i meta p section span style title"
    assert "http" not in page
    assert "body {" not in explanation(R).tokens(HOSTILE)._repr_html_()


def test_written_as_pages_and_pictures(tmp_path: Path) -> None:
    R = np.linspace(-1, 1, 2 * len(HOSTILE)).reshape(2, -1)
    for name in ("a.html", "a.HTM", "a.png", "a.svg", "a.pdf"):
        explanation(R).tokens(HOSTILE, tmp_path / name)
    assert (tmp_path / "a.html").read_text("utf-8") == explanation(R).tokens(HOSTILE).html()
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    assert (abs(pixels - (0x67, 0x00, 0x1F)).sum(axis=1) < 9).any()
    assert (abs(pixels - (0x05, 0x30, 0x61)).sum(axis=1) < 9).any()
    with pytest.raises(InputError, match="cannot be written as a picture"):
        explanation(R).tokens(HOSTILE, tmp_path / "a.txt")
    explanation(R).tokens(["\udc80"] + [""] * 8, tmp_path / "a.html")


def test_long_texts_wrap() -> None:
    figure = explanation(np.ones((2, 300))).tokens([f"word{i}" for i in range(300)], sample=0).figure()
    (axes,) = figure.axes
    places = [t.get_position() for t in axes.texts if t.get_text().startswith("word")]
    assert len(places) == 300
    assert max(x for x, _ in places) < 84
    assert len({y for _, y in places}) > 20
    assert figure.get_size_inches()[1] > 5


@pytest.mark.parametrize(
    ("shape", "first", "wanted"),
    [((2, 5), None, (2, 5)), ((2, 5, 3), None, (2, 5)), ((5, 2, 3), None, (2, 5)), ((5, 2), None, (2, 5)),
     ((2, 2, 3), None, (2, 2)), ((2, 2, 3), True, (2, 2)), ((2, 5, 3, 4), None, (2, 5))],
)  # fmt: skip
def test_where_time_is(shape: tuple[int, ...], first: bool | None, wanted: tuple[int, int]) -> None:
    R = draw(*shape)
    found = by_token(R, 2, first)
    assert found.shape == wanted
    turned = np.moveaxis(R, 1, 0) if first or shape[0] == 5 else R
    np.testing.assert_allclose(found, turned.reshape(*turned.shape[:2], -1).sum(axis=2), rtol=1e-6)


@pytest.mark.parametrize(("shape", "first"), [((2,), None), ((3, 4), None), ((2, 5), True), ((5, 2), False)])
def test_what_is_no_sequence(shape: tuple[int, ...], first: bool | None) -> None:
    with pytest.raises(InputError, match="'x' has the shape"):
        explanation(draw(*shape)).tokens(time_first=first)


def test_labels() -> None:
    R, ids = np.ones((2, 3)), np.array([[0, 2, 1], [1, 1, 9]])
    e = explanation(R, ids)

    def texts(labels: Any) -> list[tuple[str, ...]]:
        return [s.tokens for s in e.tokens(labels).sentences]

    assert texts(None) == [("0", "2", "1"), ("1", "1", "9")]
    assert texts({0: "a", 1: "b", 2: "c"}) == [("a", "c", "b"), ("b", "b", "[9]")]
    assert texts([["a", "b", "c"], ["d"]]) == [("a", "b", "c"), ("d", "·", "·")]
    assert texts(("a", "b", "c")) == [("a", "b", "c")] * 2
    for wrong, words in [
        ("abc", "one text"),
        ([["a"]], "1 samples, but there are 2"),
        (["a"] * 4, "4 tokens for sample 0"),
    ]:
        with pytest.raises(InputError, match=words):
            e.tokens(wrong)
    with pytest.raises(InputError, match="vocabulary is for token ids"):
        explanation(R).tokens({0: "a"})
    assert [s.tokens for s in explanation(R).tokens().sentences] == [("0", "1", "2")] * 2
    with pytest.raises(InputError, match="not among the 2 samples"):
        e.tokens(sample=2)
    assert len(e.tokens(sample=[1]).sentences) == 1


def test_label_files(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"

    def found(text: str, shape: tuple[int, int], ids: np.ndarray | None = None) -> Any:
        path.write_text(text, "utf-8")
        return read_labels(path, shape, ids)

    assert found("a b\nc\n", (2, 2)) == [["a", "b"], ["c"]]
    assert found("a b\nc\n", (1, 2)) == ["a b", "c"]
    assert found("a\nb\nc\nd\n", (2, 3), np.array([[0, 3, 1]] * 2)) == {0: "a", 1: "b", 2: "c", 3: "d"}
    with pytest.raises(InputError, match="has 3 lines; give one of 2"):
        found("a\nb\nc", (2, 4))
    with pytest.raises(InputError, match="of more than 9, a vocabulary"):
        found("a\nb\nc", (2, 4), np.array([[9]]))
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_labels(path, (1, 1), None)


def test_inner_values() -> None:
    R = np.arange(2 * 3 * 4, dtype=float).reshape(2, 3, 4)
    e = explanation(np.ones((2, 3)), None, hidden=R, weights=draw(2, 2, 3, 3))
    assert np.array_equal(e.tokens(name="hid*").sentences[1].relevance, R[1].sum(axis=1))
    assert "hid" in e.tokens(name="hidden").html()
    assert np.array_equal(e.summed("hidden"), R.sum(axis=(1, 2)))
    assert np.array_equal(e.summed("hidden", (0, 2)), R.sum(axis=1))
    assert np.array_equal(e.summed("hidden", (0, -1)), R.sum(axis=1))
    assert e.summed("weights", (0, 1)).shape == (2, 2)
    heads = e.per_head("hidden", 2)
    assert np.array_equal(heads, np.stack([R[..., :2].sum(axis=(1, 2)), R[..., 2:].sum(axis=(1, 2))], axis=1))
    assert e.per_head("hidden", 3, axis=1).shape == (2, 3)
    for wrong, words in [
        (lambda: e.layer("no"), "is not in `layers`"), (lambda: e.layer("*"), "matches"), (lambda: e.summed("hidden", 3), "range"),
        (lambda: e.per_head("hidden", 3), "3 heads"), (lambda: e.per_head("hidden", 0), "0 heads"),
        (lambda: e.per_head("hidden", 2, 5), "axis 5"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=words):
            wrong()


ATTENTION = model(
    """e = Gather(table, ids) q = MatMul(e, wq) r = Reshape(q, split) h = Transpose <perm = [0, 2, 1, 3]>(r)
    t = Transpose <perm = [0, 1, 3, 2]>(h) s = MatMul(h, t) m = Softmax(s) v = MatMul(m, h)
    b = Transpose <perm = [0, 2, 1, 3]>(v) mixed = Reshape(b, back) c = ReduceMean <axes = [1], keepdims = 0>(mixed)
    y = MatMul(c, head)""",
    "int64[N,3] ids", table=(9, 4), wq=(4, 4), split=ints(0, 0, 2, 2), back=ints(0, 0, 4), head=(4, 2),
)  # fmt: skip


def test_of_a_network() -> None:
    e = reflrp.explain(ATTENTION, np.array([[1, 2, 3], [4, 5, 6]]), "attnlrp", layers=["m", "mixed"])
    assert [s.tokens for s in e.tokens().sentences] == [("1", "2", "3"), ("4", "5", "6")]
    assert np.allclose(e.per_head("mixed", 2).sum(axis=1), e.layer("mixed").sum(axis=(1, 2)))
    assert e.summed("m", (0, 1)).shape == (2, 2)


@pytest.mark.skipif(not LSTM.exists(), reason="the trained LSTM is not here")
def test_of_a_trained_lstm_with_the_time_first(tmp_path: Path) -> None:
    x = draw(7, 2, 60)
    e = reflrp.explain(LSTM, x, "lstm")
    picture = e.tokens(WORDS, tmp_path / "e.png")
    with Image.open(tmp_path / "e.png") as image:
        assert image.size[0] > 500
    for n in range(2):
        assert np.allclose(picture.sentences[n].relevance, e.relevance[:, n].sum(axis=1))


def command(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reflrp", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(ATTENTION.SerializeToString())
    np.save(tmp_path / "ids.npy", np.array([[1, 2, 3], [4, 5, 6]]))
    (tmp_path / "words.txt").write_text("a b c\nd e <f>\n", "utf-8")
    call = ("explain", tmp_path / "net.onnx", tmp_path / "ids.npy")
    for name in ("e.html", "e.png"):
        done = command(*call, "--tokens", tmp_path / "words.txt", "--plot", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert name in done.stdout
    page = Spans((tmp_path / "e.html").read_text("utf-8"))
    assert [t for t, _ in page.tokens] == ["a", "b", "c", "d", "e", "<f>"]
    assert command(*call, "--plot", tmp_path / "ids.html").returncode == 0
    assert [t for t, _ in Spans((tmp_path / "ids.html").read_text("utf-8")).tokens] == list("123456")
    alone = command(*call, "--tokens", tmp_path / "words.txt")
    assert alone.returncode == 2
    assert "--plot" in alone.stderr
    (tmp_path / "words.txt").write_text("a\n", "utf-8")
    short = command(*call, "--tokens", tmp_path / "words.txt", "--plot", tmp_path / "e.html")
    assert short.returncode == 1
    assert "1 lines" in short.stderr


def test_the_reference_model_is_right() -> None:
    models.assert_same_as_onnxruntime(ATTENTION, {"ids": np.array([[1, 2, 3]])})


def test_tokens_that_utf_8_has_not(tmp_path: Path) -> None:
    picture = explanation(draw(2, 2)).tokens([["\ud800", "a"], ["b", "\udfff"]])
    assert picture.save(tmp_path / "a.png").exists()
