"""`Explainer.map`: more data than memory, from any source, into a store that is gone on with, or refused."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
import zarr
from models import draw, ints, model
from PIL import Image
from typer.testing import CliRunner

import reflrp
from reflrp.cli.main import app
from reflrp.mapping.store import Store

NET = model("h = MatMul(x, w) r = Relu(h) y = MatMul(r, v)", w=(4, 6), v=(6, 3))
TWO = model("s = MatMul(a, w) t = MatMul(b, v) y = Add(s, t)", "float[N,4] a, float[N,2] b", w=(4, 3), v=(2, 3))
MEETING = model("m = ReduceMean <axes = [0], keepdims = 1>(x) d = Sub(x, m) y = MatMul(d, w)", w=(4, 3))
X = draw(10, 4)


@pytest.fixture
def explainer() -> reflrp.Explainer:
    return reflrp.Explainer(NET, "epsilon_plus")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "r.zarr"


def saved(folder: Path, kind: str) -> Any:
    """X, in one of the forms that data may have."""
    if kind == "npy":
        np.save(folder / "x.npy", X)
        return folder / "x.npy"
    if kind == "Fortran, big-endian":
        np.save(folder / "x.npy", np.asfortranarray(X.astype(">f4")))
        return str(folder / "x.npy")
    if kind == "h5":
        with h5py.File(folder / "x.h5", "w") as file:
            file["images"] = X
        return folder / "x.h5"
    if kind == "h5:name":
        with h5py.File(folder / "x.h5", "w") as file:
            file["images"], file["labels"] = X, np.arange(10)
        return f"{folder / 'x.h5'}:images"
    if kind == "zarr":
        return zarr.create_array(folder / "x.zarr", data=X, chunks=(3, 4)).store.root
    return (
        zarr.open_array(saved(folder, "zarr"), mode="r") if kind == "zarr array" else np.load(saved(folder, "npy"), "r")
    )


PLACES = ["npy", "Fortran, big-endian", "h5", "h5:name", "zarr", "zarr array", "memory map"]


@pytest.mark.parametrize("kind", PLACES)
def test_each_source_gives_what_a_call_gives(tmp_path: Path, out: Path, explainer: reflrp.Explainer, kind: str) -> None:
    whole = explainer(X)
    found = explainer.map(saved(tmp_path, kind), out, batch_size=4)
    assert np.allclose(found["relevance/x"][:], whole.relevance, rtol=0, atol=1e-12)
    assert np.allclose(found["output"][:], whole.output, rtol=0, atol=1e-12)
    assert [tuple(t) for t in found["target"][:].tolist()] == list(whole.target)
    assert found.attrs["complete"] is True
    assert found.attrs["assigned"] == {k: repr(rule) for k, rule in whole.rules.items()}


@pytest.mark.parametrize("lengths", [(10,), (3, 3, 4), (1, 9), (4, 4, 2), (7, 1, 1, 1)])
def test_batches_of_any_lengths_make_the_same_store(
    out: Path, explainer: reflrp.Explainer, lengths: tuple[int, ...]
) -> None:
    parts = np.split(X, np.cumsum(lengths)[:-1])
    found = explainer.map(iter(parts), out, batch_size=4)
    again = explainer.map(X, out.with_name("s.zarr"), batch_size=4)
    for name in ("relevance/x", "output", "target", "sha256"):
        assert np.array_equal(found[name][:], again[name][:])


def test_without_out_chunk_after_chunk(explainer: reflrp.Explainer) -> None:
    """Nothing is read beyond the chunk that comes next."""
    read = []

    def batches() -> Iterator[np.ndarray]:
        for i in range(0, 10, 2):
            read.append(i)
            yield X[i : i + 2]

    found = explainer.map(batches(), batch_size=2)
    assert next(found).relevance.shape == (2, 4)
    assert len(read) == 2
    assert sum(len(e.output) for e in found) == 8


def test_memory_is_bounded(tmp_path: Path, out: Path) -> None:
    """A file of 128 MiB, of which chunks of 1 MiB are looked at; its values and its relevance are twice as wide."""
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (32768, 1024))
    x[::1000] = 1
    x.flush()
    explainer = reflrp.Explainer(model("y = MatMul(x, w)", "float[N,1024] x", w=(1024, 2)), "epsilon")
    explainer(x[:256])
    tracemalloc.start()
    explainer.map(tmp_path / "x.npy", out, batch_size=256)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * 2**20


def test_several_inputs_and_names_that_no_file_can_have(out: Path) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(TWO)
    for value in (*proto.graph.input, *(n for n in proto.graph.node)):
        if getattr(value, "name", "") == "a":
            value.name = "in/a:0"
        if isinstance(value, onnx.NodeProto):
            value.input[:] = ["in/a:0" if name == "a" else name for name in value.input]
    explainer, x = reflrp.Explainer(proto, "epsilon"), {"in/a:0": X, "b": draw(10, 2)}
    found = explainer.map(x, out, batch_size=3)
    assert sorted(found["relevance"].array_keys()) == ["b", "in%2Fa:0"]
    assert np.allclose(found["relevance/in%2Fa:0"][:], explainer(x).relevances["in/a:0"], rtol=0, atol=1e-12)
    stream = explainer.map(({k: a[i : i + 3] for k, a in x.items()} for i in range(0, 10, 3)), batch_size=5)
    assert [len(e.output) for e in stream] == [5, 5]


ASKED: dict[str, dict[str, Any]] = {
    "a target for all": {"target": 1},
    "a target for each": {"target": np.arange(10) % 3},
    "contrasts": {"target": reflrp.Contrast(np.arange(10) % 3, [(i + 1) % 3 for i in range(10)])},
    "an init": {"init": draw(10, 3)},
    "one": {"init": "one"},
    "layers": {"layers": "r"},
    "conditions": {"conditions": {"r": np.array([0, 2])}},
}


@pytest.mark.parametrize("asked", ASKED)
def test_what_a_call_takes(out: Path, explainer: reflrp.Explainer, asked: str) -> None:
    whole, found = explainer(X, **ASKED[asked]), explainer.map(X, out, batch_size=4, **ASKED[asked])
    assert np.allclose(found["relevance/x"][:], whole.relevance, rtol=0, atol=1e-12)
    assert ("target" in found) == ("init" not in ASKED[asked] or asked == "one")
    if asked == "contrasts":
        pairs = zip(found["target"][:].tolist(), found["against"][:].tolist(), strict=True)
        assert [reflrp.Contrast(tuple(t), tuple(a)) for t, a in pairs] == list(whole.target)
    if asked == "layers":
        assert np.allclose(found["layer/r"][:], whole.layer("r"), rtol=0, atol=1e-12)


# ---------------------------------------------------------------- going on with a store


def explained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples each call of an explainer has, from now on."""
    calls: list[int] = []
    explain = reflrp.Explainer.__call__

    def counted(self: reflrp.Explainer, x: Any, **more: Any) -> reflrp.Explanation:
        calls.append(len(x["x"]))
        return explain(self, x, **more)

    monkeypatch.setattr(reflrp.Explainer, "__call__", counted)
    return calls


def test_what_is_there_is_not_explained_again(
    out: Path, explainer: reflrp.Explainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield X[:8]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explainer.map(broken(), out, batch_size=2)
    before = {p: p.read_bytes() for p in out.rglob("c/**/*") if p.is_file()}
    assert len(before) >= 9
    calls = explained(monkeypatch)
    explainer.map((X[i : i + 1] for i in range(10)), out)
    assert calls == [2, 2]
    assert before == {p: p.read_bytes() for p in before}
    explainer.map((X[i : i + 5] for i in (0, 5)), out)
    assert calls == [2, 2]


@pytest.mark.parametrize("harm", ["cut", "other bytes", "gone"])
def test_a_chunk_that_is_not_as_it_was_written_is_made_anew(
    out: Path, explainer: reflrp.Explainer, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    whole = explainer.map(X, out, batch_size=4)["relevance/x"][:]
    place = out / "relevance" / "x" / "c" / "1" / "0"
    data = place.read_bytes()
    if harm == "gone":
        place.unlink()
    elif harm == "cut":
        place.write_bytes(data[:-5])
    else:
        other = reflrp.Explainer(NET, reflrp.rules.Gamma(gamma=0.5)).map(X, out.with_name("other.zarr"), batch_size=4)
        place.write_bytes((Path(other.store.root) / "relevance" / "x" / "c" / "1" / "0").read_bytes())
    calls = explained(monkeypatch)
    assert np.array_equal(explainer.map(X, out)["relevance/x"][:], whole)
    assert calls == [4]


def changed(x: np.ndarray, sample: int) -> np.ndarray:
    y = x.copy()
    y[sample, 0] = np.nextafter(y[sample, 0], np.float32(9))
    return y


OTHER: dict[str, tuple[Callable[..., Any], str]] = {
    "model": (
        lambda out: reflrp.Explainer(model("y = MatMul(x, w)", w=(4, 3)), "epsilon_plus").map(X, out),
        "another model",
    ),
    "weights": (
        lambda out: reflrp.Explainer(
            model("h = MatMul(x, w) r = Relu(h) y = MatMul(r, v)", w=(4, 6), v=draw(6, 3) * 2), "epsilon_plus"
        ).map(X, out),
        "another model",
    ),
    "rules": (lambda out: reflrp.Explainer(NET, "epsilon").map(X, out), "other rules .*epsilon"),
    "a rule's number": (
        lambda out: reflrp.Explainer(NET, "epsilon_plus(epsilon=1e-3)").map(X, out),
        "other rules",
    ),
    "dtype": (lambda out: reflrp.Explainer(NET, "epsilon_plus", dtype="float32").map(X, out), "another dtype"),
    "target": (lambda out: reflrp.Explainer(NET, "epsilon_plus").map(X, out, target=2), "other targets .*None.*2"),
    "conditions": (
        lambda out: reflrp.Explainer(NET, "epsilon_plus").map(X, out, conditions={"r": [1]}),
        "other conditions",
    ),
    "layers": (lambda out: reflrp.Explainer(NET, "epsilon_plus").map(X, out, layers=["r"]), "other layers"),
    "init": (lambda out: reflrp.Explainer(NET, "epsilon_plus").map(X, out, init="one"), "another init"),
    "chunks": (lambda out: reflrp.Explainer(NET, "epsilon_plus").map(X, out, batch_size=5), "chunks of another size"),
    "fewer": (
        lambda out: reflrp.Explainer(NET, "epsilon_plus").map(X[:9], out),
        "another number of samples .10, and not 9",
    ),
    "canonize": (lambda out: reflrp.Explainer(NET, "epsilon_plus", canonize=()).map(X, out), "another canonize"),
    "strip": (lambda out: reflrp.Explainer(NET, "epsilon_plus", strip=False).map(X, out), "another strip"),
    "a bit": (lambda out: reflrp.Explainer(NET, "epsilon_plus").map(changed(X, 5), out), "other data: samples 4 to 7"),
    "another dtype of data": (
        lambda out: reflrp.Explainer(NET, "epsilon_plus").map(X.astype(np.float64), out),
        "other inputs",
    ),
}


@pytest.mark.parametrize("what", OTHER)
def test_a_store_of_something_else_is_refused(out: Path, explainer: reflrp.Explainer, what: str) -> None:
    explainer.map(X, out, batch_size=4)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    call, message = OTHER[what]
    with pytest.raises(reflrp.InputError, match=message):
        call(out)
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_what_dead_workers_left_half_written_is_gone_when_all_is_done(out: Path, explainer: reflrp.Explainer) -> None:
    explainer.map(X, out, batch_size=4)
    left, other = out / f"c0.{'0' * 32}.partial", out / "mine.partial"
    left.touch()
    other.touch()
    Store(out, 4).finish(len(X))
    assert (left.exists(), other.exists()) == (False, True)


def test_a_stream_that_ends_early_or_late(out: Path, explainer: reflrp.Explainer) -> None:
    explainer.map(iter([X]), out, batch_size=4)
    with pytest.raises(reflrp.InputError, match="10 samples, and data has 8"):
        explainer.map(iter([X[:8]]), out)
    with pytest.raises(reflrp.InputError, match="other data: samples 8 to 11"):
        explainer.map(iter([X, X]), out)


def test_another_init_is_other_data(out: Path, explainer: reflrp.Explainer) -> None:
    init = draw(10, 3)
    explainer.map(X, out, init=init, batch_size=4)
    with pytest.raises(reflrp.InputError, match="other data: samples 0 to 3"):
        explainer.map(X, out, init=init * 2)


def test_rules_that_hold_a_function_are_not_gone_on_with(out: Path) -> None:
    explainer = reflrp.Explainer(NET, reflrp.rules.Epsilon(stabilizer=lambda z: z + 1e-3))
    explainer.map(X, out)
    with pytest.raises(reflrp.InputError, match="hold a function"):
        explainer.map(X, out)


def test_places_of_something_else_are_refused(tmp_path: Path, explainer: reflrp.Explainer) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(reflrp.InputError, match=r"no store of reflrp's"):
        explainer.map(X, tmp_path)
    group = zarr.create_group(tmp_path / "g.zarr")
    group.create_array("mine", data=X)
    with pytest.raises(reflrp.InputError, match=r"none of reflrp's"):
        explainer.map(X, tmp_path / "g.zarr")
    with pytest.raises(reflrp.InputError, match="cannot be written"):
        explainer.map(X, tmp_path / "no" / "such")
    assert np.array_equal(group["mine"][:], X)


def test_a_broken_store(out: Path, explainer: reflrp.Explainer) -> None:
    explainer.map(X, out, batch_size=4)
    for place in (out / "zarr.json", out / "relevance" / "x" / "zarr.json"):
        whole = place.read_bytes()
        for broken in (b"{", b"{}"):
            place.write_bytes(broken)
            with pytest.raises(reflrp.InputError, match=r"r.zarr is"):
                explainer.map(X, out)
        place.write_bytes(whole)


def edited(store: Path, place: str, **fields: Any) -> None:
    file = store / place / "zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


@pytest.mark.parametrize(
    ("place", "fields", "said"),
    [
        ("relevance/x", {"shape": [14, 4]}, r"a store of 14 samples, and data has 10 \(relevance/x\)"),
        ("relevance/x", {"shape": [10, 5]}, r"relevance/x holds float64 \(5,\) for a sample"),
        ("relevance/x", {"data_type": "float32"}, r"relevance/x holds float32 \(4,\) for a sample"),
        ("output", {"shape": [14, 3]}, r"a store of 14 samples, and data has 10 \(output\)"),
        ("target", {"data_type": "int32"}, r"target holds int32 \(1,\) for a sample"),
    ],
)
def test_arrays_of_another_shape_or_dtype(
    out: Path, explainer: reflrp.Explainer, place: str, fields: dict[str, Any], said: str
) -> None:
    explainer.map(X, out, batch_size=4)
    edited(out, place, **fields)
    with pytest.raises(reflrp.InputError, match=said):
        explainer.map(X, out)


def test_arrays_that_are_too_short_are_made_anew(out: Path, explainer: reflrp.Explainer) -> None:
    whole = explainer.map(X, out, batch_size=4)["relevance/x"][:]
    for place in ("relevance/x", "output"):
        edited(out, place, shape=[5, *explainer.map(X, out)[place].shape[1:]])
        assert np.array_equal(explainer.map(X, out)["relevance/x"][:], whole)


def test_batches_without_samples(out: Path, explainer: reflrp.Explainer) -> None:
    assert [len(e.output) for e in explainer.map([X[:0], X[:3], X[:0], X[3:]], batch_size=4)] == [4, 4, 2]
    for again in range(2):
        with pytest.raises(reflrp.InputError, match="data holds no sample"):
            explainer.map([X[:0], X[:0]], out)
        assert not (out / "zarr.json").exists(), again


def test_two_writers(out: Path, explainer: reflrp.Explainer) -> None:
    def batches() -> Iterator[np.ndarray]:
        yield X[:8]
        with pytest.raises(reflrp.InputError, match="another process writes"):
            explainer.map(X, out)
        yield X[8:]

    assert explainer.map(batches(), out, batch_size=4)["output"].shape == (10, 3)


# ---------------------------------------------------------------- what is refused


def test_samples_that_meet(out: Path) -> None:
    explainer = reflrp.Explainer(MEETING, "epsilon")
    for data in (X, iter([X])):
        with pytest.raises(reflrp.InputError, match="samples meet in node"):
            explainer.map(data, out, batch_size=4)
    assert not any(out.rglob("c/*"))
    assert np.allclose(explainer.map(X, out, batch_size=10)["relevance/x"][:], explainer(X).relevance)
    looking = reflrp.Explainer(NET, reflrp.rules.StdxEpsilon(over="batch"))
    with pytest.raises(reflrp.InputError, match="looks at all samples"):
        next(looking.map(X, batch_size=4))


@pytest.mark.parametrize("size", [None, 1, 2, 3])
def test_a_batch_size_in_the_file(size: int | None) -> None:
    inside = model("r = Reshape(x, s) y = MatMul(r, w)", "float[N,2,2] x", s=ints(1, 4), w=(4, 3))
    declared = model("y = MatMul(x, w)", "float[2,4] x", w=(4, 3))
    explainer, x = reflrp.Explainer(inside, "epsilon"), X.reshape(10, 2, 2)
    found = np.concatenate([e.relevance for e in explainer.map(x, batch_size=size)])
    assert np.allclose(found, explainer(x).relevance, rtol=0, atol=1e-12)
    two = reflrp.Explainer(declared, "epsilon")
    if size in (1, 3):
        with pytest.raises(reflrp.InputError, match="multiple of it"):
            next(two.map(X, batch_size=size))
    else:
        found = np.concatenate([e.relevance for e in two.map(X, batch_size=size)])
        assert np.allclose(found, two(X).relevance, rtol=0, atol=1e-12)


REFUSED: dict[str, tuple[Callable[[reflrp.Explainer], Any], str]] = {
    "a number": (lambda ex: ex.map(3), "data=3 must be"),
    "no sample": (lambda ex: ex.map(X[:0]), "no sample"),
    "no batch": (lambda ex: ex.map(iter([])), "no batch"),
    "pairs": (lambda ex: ex.map([(X, 3)]), "a batch of data is a list"),
    "another shape": (lambda ex: ex.map(draw(10, 5)), "x"),
    "no file": (lambda ex: ex.map("nothing.npy"), "nothing.npy"),
    "other names": (lambda ex: ex.map({"z": X}), "the model the inputs"),
    "a NaN": (lambda ex: list(ex.map(np.where(X[9, 1] == X, np.nan, X), batch_size=4)), "NaN"),
    "targets of a stream": (lambda ex: ex.map(iter([X]), target=[1] * 10), "one target for all"),
    "too few targets": (lambda ex: ex.map(X, target=[1, 2]), "2 ints for 10"),
    "too few inits": (lambda ex: ex.map(X, init=draw(9, 3)), "one a sample"),
    "batch_size": (lambda ex: ex.map(X, batch_size=0), "batch_size"),
    "conditions": (lambda ex: ex.map(X, conditions=3), "conditions=3"),
    "progress": (lambda ex: ex.map(X, progress="yes"), "progress"),
    "exact": (lambda ex: reflrp.Explainer(NET, "epsilon", dtype="exact").map(X, "r.zarr"), "fractions are not stored"),
    "batches that differ": (lambda ex: list(ex.map([X, X.astype(np.float64)], batch_size=20)), "differ"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_by_name(explainer: reflrp.Explainer, what: str) -> None:
    call, message = REFUSED[what]
    with pytest.raises(reflrp.InputError, match=message):
        call(explainer)


def test_errors_say_which_samples(explainer: reflrp.Explainer) -> None:
    with pytest.raises(reflrp.InputError, match="samples 4 to 7: target"):
        list(explainer.map(X, target=[0] * 5 + [7] + [0] * 4, batch_size=4))


# ---------------------------------------------------------------- images and the command line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network of grey images 8x8 and five images in two folders."""
    net = model("c = Conv(image, w) f = Flatten(c) y = MatMul(f, v)", "float[N,1,8,8] image", w=(2, 1, 3, 3), v=(72, 3))
    onnx.save(net, tmp_path / "model.onnx")
    for i, place in enumerate(["b/1.png", "a/0.png", "c.png", "a/2.jpg", "a/.hidden.png"]):
        path = tmp_path / "images" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 40 * i, np.uint8)).save(path)
    return tmp_path


def pixels(folder: Path) -> np.ndarray:
    """The images in the order of their names."""
    paths = (folder / "images" / name for name in ("a/0.png", "a/2.jpg", "b/1.png", "c.png"))
    return np.stack([np.asarray(Image.open(p), np.float64)[None] for p in paths])


def test_folders_of_images(folder: Path) -> None:
    images = reflrp.Images(folder / "images", mean=0.5, std=(2,))
    assert [p.relative_to(folder / "images").as_posix() for p in images.paths] == [
        "a/0.png",
        "a/2.jpg",
        "b/1.png",
        "c.png",
    ]
    explainer = reflrp.Explainer(folder / "model.onnx", "epsilon")
    found = explainer.map(images, folder / "r.zarr", batch_size=3)
    x = (pixels(folder) / 255 - 0.5) / 2
    assert np.allclose(found["relevance/image"][:], explainer(x).relevance, rtol=0, atol=1e-12)
    (folder / "images" / "notes.txt").write_text("no image")
    with pytest.raises(reflrp.InputError, match=r"notes.txt is no image"):
        explainer.map(folder / "images", folder / "s.zarr")


def test_what_was_done_to_images_is_told(folder: Path) -> None:
    """Each by itself where they are few, and in one note where they are many; in a store, of all of its chunks."""
    there = folder / "sizes"
    there.mkdir()
    for i in range(7):
        shape = (8, 8) if i == 2 else (16, 16) if i == 5 else (9 + i, 20)
        Image.fromarray(np.full(shape, 30 * i, np.uint8)).save(there / f"{i}.png")
    grey = [Image.fromarray(np.full((8, 8), v, np.uint8)) for v in (10, 90)]
    grey[0].save(there / "8.gif", save_all=True, append_images=grey[1:])
    explainer = reflrp.Explainer(folder / "model.onnx", "epsilon")
    each = [[n for n in e.notes if "png" in n or "gif" in n] for e in explainer.map(reflrp.Images(there), batch_size=3)]
    assert each == [
        [
            "0.png is resized from 9x20 to 8x8; its proportions change",
            "1.png is resized from 10x20 to 8x8; its proportions change",
        ],
        [
            "3.png is resized from 12x20 to 8x8; its proportions change",
            "4.png is resized from 13x20 to 8x8; its proportions change",
            "5.png is resized from 16x16 to 8x8",
        ],
        [
            "6.png is resized from 15x20 to 8x8; its proportions change",
            "8.gif holds several images, and the first is taken",
        ],
    ]
    (whole,) = explainer.map(reflrp.Images(there), batch_size=8)
    many = "5 images are resized to 8x8; their proportions change: 0.png, 1.png, 3.png, ..."
    alone = ["5.png is resized from 16x16 to 8x8", "8.gif holds several images, and the first is taken"]
    assert list(whole.notes)[-3:] == [many, *alone]
    stored = explainer.map(reflrp.Images(there), folder / "s.zarr", batch_size=3)
    assert stored.attrs["notes"][-3:] == [many, *alone]
    again = explainer.map(reflrp.Images(there), folder / "s.zarr", batch_size=3)
    assert again.attrs["notes"] == stored.attrs["notes"]
    (only,) = explainer.map(reflrp.Images([there / "2.png"]))
    assert not [n for n in only.notes if "png" in n]


def test_the_command(folder: Path) -> None:
    run = partial(CliRunner().invoke, app)
    command = [
        "map",
        str(folder / "model.onnx"),
        str(folder / "images"),
        "-o",
        str(folder / "r.zarr"),
        "--rules",
        "epsilon",
    ]
    done = run([*command, "--batch-size", "3", "--scale", "0..255", "--layers", "c"])
    assert done.exit_code == 0
    assert "4 samples; relevance/image" in done.output
    there = zarr.open_group(folder / "r.zarr", mode="r")
    e = reflrp.explain(folder / "model.onnx", pixels(folder), "epsilon", layers="c")
    assert np.allclose(there["relevance/image"][:], e.relevance)
    assert np.allclose(there["layer/c"][:], e.layer("c"))
    for more in (["--target", "1"], ["--rules", "gamma"], ["--dtype", "float32"]):
        assert run([*command, *more]).exit_code == 1
    assert run([*command, "--dtype", "exact"]).exit_code == 2
