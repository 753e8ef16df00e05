"""`Explainer.map` reads what it was given, and nothing else: buffers filled anew, names in files, links, rules that look alike."""

import functools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from models import draw, model
from PIL import Image

import reflrp
from reflrp.composites import REGISTRY, resolve
from reflrp.mapping import digests
from reflrp.mapping.digests import Unrecognisable

NET = model("h = MatMul(x, w) r = Relu(h) y = MatMul(r, v)", w=(4, 6), v=(6, 3))
IMAGES = model("f = Flatten(x) y = MatMul(f, w)", "float[N,1,8,8] x", w=(64, 3))
X = draw(10, 4)


@pytest.fixture
def explainer() -> reflrp.Explainer:
    return reflrp.Explainer(NET, "epsilon_plus")


# ---------------------------------------------------------------- buffers


def refilled(length: int, named: bool) -> Iterator[Any]:
    """The samples in one array, which is filled anew for each batch."""
    buffer = np.empty((length, 4), X.dtype)
    for i in range(0, len(X), length):
        buffer[:] = X[i : i + length]
        yield {"x": buffer} if named else buffer


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(("length", "size"), [(1, 1), (2, 2), (5, 5), (2, 4), (5, 2), (1, 3), (10, 10)])
def test_a_buffer_that_is_filled_anew(
    tmp_path: Path, explainer: reflrp.Explainer, length: int, size: int, named: bool
) -> None:
    whole = explainer(X)
    parts = list(explainer.map(refilled(length, named), batch_size=size))
    assert np.allclose(np.concatenate([e.relevance for e in parts]), whole.relevance, rtol=0, atol=1e-12)
    assert np.array_equal(np.concatenate([e.inputs["x"] for e in parts]), X)
    store = explainer.map(refilled(length, named), tmp_path / "r.zarr", batch_size=size)
    assert np.allclose(store["relevance/x"][:], whole.relevance, rtol=0, atol=1e-12)


def test_a_file_that_is_written_to_while_it_is_read(tmp_path: Path, explainer: reflrp.Explainer) -> None:
    """What is explained is what the record says was read: whoever goes on with other data is told."""
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", "r+")
    call, changed = explainer.__class__.__call__, False

    class Meddling(reflrp.Explainer):
        def __call__(self, *args: Any, **more: Any) -> Any:
            nonlocal changed
            if not changed:
                changed, mapped[:4] = True, 7
            return call(self, *args, **more)

    store = Meddling(NET, "epsilon_plus").map(mapped, tmp_path / "r.zarr", batch_size=4)
    assert changed
    assert np.allclose(store["relevance/x"][:4], explainer(X[:4]).relevance, rtol=0, atol=1e-12)
    with pytest.raises(reflrp.InputError, match="other data: samples 0 to 3"):
        explainer.map(mapped, tmp_path / "r.zarr")


@pytest.mark.parametrize("settings", [{}, {"dtype": "float32"}, {"dtype": "float32", "backend": "onnxruntime"}])
def test_an_explanation_keeps_its_inputs(settings: dict[str, Any]) -> None:
    x = X.astype(settings.get("dtype", "float64"))
    for net in (NET, model("y = Identity(x)"), model("y = Reshape(x, s)", s=np.array([-1, 2, 2]))):
        explainer = reflrp.Explainer(net, "epsilon", **settings)
        given = x.copy()
        e, (one,) = explainer(given), explainer.each(given, [None])
        before = e.output.copy()
        given[:] = 777
        assert np.array_equal(e.inputs["x"], x)
        assert np.array_equal(one.inputs["x"], x)
        assert np.array_equal(e.output, before)


def test_the_forward_pass_gives_arrays_of_its_own() -> None:
    given = X.astype(np.float64)
    y = reflrp.load(model("y = Identity(x)")).run(given)["y"]
    y[:] = 777
    assert np.array_equal(given, X)


# ---------------------------------------------------------------- names in files


def test_names_in_hdf5_files_are_exact(tmp_path: Path, explainer: reflrp.Explainer) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["other"], file["train/images"], file["train/empty"] = X[::-1], X, h5py.Empty("f")
        file["gone"] = h5py.SoftLink("/nothing")
    found = explainer.map(f"{tmp_path / 'x.h5'}:train/images", tmp_path / "r.zarr")
    assert np.allclose(found["relevance/x"][:], explainer(X).relevance, rtol=0, atol=1e-12)
    for name in ("others", "train", "images", "train/empty", "gone", ""):
        with pytest.raises(reflrp.InputError, match=rf"x.h5 holds no array '{name}', but \['gone', 'other', 'train'\]"):
            explainer.map(f"{tmp_path / 'x.h5'}:{name}", tmp_path / f"s{name.replace('/', '_')}.zarr")


@pytest.mark.parametrize("kind", ["empty", "link"])
def test_hdf5_files_without_an_array(tmp_path: Path, explainer: reflrp.Explainer, kind: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = h5py.Empty("f") if kind == "empty" else h5py.ExternalLink("nothing.h5", "/x")
    with pytest.raises(reflrp.InputError, match=r"x.h5 holds the arrays \[\], and the model has the inputs"):
        explainer.map(tmp_path / "x.h5", tmp_path / "r.zarr")
    if kind == "empty":
        with h5py.File(tmp_path / "x.h5") as file, pytest.raises(reflrp.InputError, match=r"data=.* must be"):
            explainer.map(file["images"])


class Foreign:
    """An array of another library: its dtype is no NumPy's."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, "foreign.float32"

    def __getitem__(self, rows: slice) -> Any:
        return Foreign(self.array[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array, dtype=dtype)


def test_arrays_of_other_libraries(explainer: reflrp.Explainer) -> None:
    for data in (Foreign(X), {"x": Foreign(X)}):
        found = np.concatenate([e.relevance for e in explainer.map(data, batch_size=4)])
        assert np.allclose(found, explainer(X).relevance, rtol=0, atol=1e-12)


# ---------------------------------------------------------------- folders of images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, and a third in a folder elsewhere that a link leads to."""
    for place in ("images/a.png", "images/c.png", "real/0.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), 40, np.uint8)).save(tmp_path / place)
    (tmp_path / "images" / "b").symlink_to(tmp_path / "real")
    return tmp_path


def test_links_to_folders_are_followed(folder: Path) -> None:
    paths = reflrp.Images(folder / "images").paths
    assert [p.relative_to(folder / "images").as_posix() for p in paths] == ["a.png", "b/0.png", "c.png"]
    found = reflrp.Explainer(IMAGES, "epsilon").map(folder / "images", folder / "r.zarr")
    assert found["output"].shape == (3, 3)


HARM: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a link to nothing": (lambda images: (images / "d.png").symlink_to(images / "nothing.png"), "d.png cannot be read"),
    "a link that leads round": (
        lambda images: (images / "d").symlink_to(images),
        "d is a link to a folder that it lies",
    ),
    "a link to itself": (lambda images: (images / "d").symlink_to(images / "d"), "d cannot be read"),
    "a pipe": (lambda images: os.mkfifo(images / "d.png"), "d.png is a pipe"),
}


@pytest.mark.parametrize("harm", HARM)
def test_no_image_is_left_out_unseen(folder: Path, harm: str) -> None:
    do, message = HARM[harm]
    do(folder / "images")
    with pytest.raises(reflrp.InputError, match=message):
        reflrp.Images(folder / "images")


def test_a_folder_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.listdir

    def refused(path: Any) -> list[str]:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "listdir", refused)
    with pytest.raises(reflrp.InputError, match="b cannot be read: Permission denied"):
        reflrp.Images(folder / "images")


# ---------------------------------------------------------------- rules that are the same, and that look it


def without_arguments() -> list[str]:
    """The names of presets and of the dialects' composites, but for those that need arguments."""
    dialects = {library: make().COMPOSITES for library, make in REGISTRY.dialects.items()}
    names = [*REGISTRY.presets, *(f"{library}.{name}" for library, made in dialects.items() for name in made)]
    found = []
    for name in names:
        with suppress(reflrp.ReflrpError):
            resolve(name)
            found.append(name)
    return found


def test_most_names_take_no_arguments() -> None:
    assert len(without_arguments()) > 70


@pytest.mark.parametrize("name", without_arguments())
def test_rules_are_the_same_after_they_were_used(name: str) -> None:
    explainer = reflrp.Explainer(NET, resolve(name))
    before = digests.of_thing(explainer.composite)
    with suppress(reflrp.ReflrpError):  # rules for other networks
        explainer(X)
    assert digests.of_thing(explainer.composite) == before == digests.of_thing(reflrp.Explainer(NET, name).composite)


def test_a_store_is_gone_on_with_by_an_explainer_that_was_used(tmp_path: Path) -> None:
    used = reflrp.Explainer(NET, "innvestigate.LRPEpsilon")
    used(X)
    used.map(X, tmp_path / "r.zarr", batch_size=4)
    reflrp.Explainer(NET, "innvestigate.LRPEpsilon").map(X, tmp_path / "r.zarr")


def shifted(z: Any, by: float) -> Any:
    return z + by


@pytest.mark.parametrize("make", [lambda by: functools.partial(shifted, by=by), lambda by: Shift(by).of])
def test_functions_with_arguments_are_not_taken_for_one_another(tmp_path: Path, make: Callable[[float], Any]) -> None:
    def explained(by: float) -> Any:
        rule = reflrp.rules.Epsilon(epsilon=0, stabilizer=make(by))
        return reflrp.Explainer(NET, rule).map(X, tmp_path / "r.zarr")

    explained(1.0)
    with pytest.raises(reflrp.InputError, match="its rules hold a function"):
        explained(2.0)


class Shift:
    """A stabiliser that is a method."""

    def __init__(self, by: float) -> None:
        self.by = by

    def of(self, z: Any) -> Any:
        return z + self.by


def test_what_is_made_of_the_same_has_the_same_digest() -> None:
    things = [
        range(3),
        range(4),
        Fraction(1, 2),
        Fraction(1, 3),
        functools.partial(int, base=2),
        functools.partial(int),
    ]
    known = [digests.of_thing(thing) for thing in things]
    again = [range(3), range(4), Fraction(1, 2), Fraction(1, 3), functools.partial(int, base=2), functools.partial(int)]
    assert len(set(known)) == len(things)
    assert known == [digests.of_thing(thing) for thing in again]
    for thing in (functools.partial(shifted, by=1), Shift(1).of, abs, "a".upper, lambda z: z):
        with pytest.raises(Unrecognisable):
            digests.of_thing(thing)


# ---------------------------------------------------------------- records and locks


def test_records_that_are_none(tmp_path: Path, explainer: reflrp.Explainer) -> None:
    explainer.map(X, tmp_path / "r.zarr", batch_size=4)
    (tmp_path / "r.zarr" / "sha256" / "zarr.json").write_bytes(
        (tmp_path / "r.zarr" / "output" / "zarr.json").read_bytes()
    )
    with pytest.raises(reflrp.InputError, match=r"r.zarr is broken: sha256 holds \(3,\) for a chunk"):
        explainer.map(X, tmp_path / "r.zarr")


def test_a_process_that_was_forked_meanwhile_holds_no_lock(tmp_path: Path, explainer: reflrp.Explainer) -> None:
    asleep = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True)

    def batches() -> Iterator[np.ndarray]:
        yield X[:4]
        asleep.start()
        yield X[4:]

    explainer.map(batches(), tmp_path / "r.zarr", batch_size=4)
    assert asleep.is_alive()
    explainer.map(iter([X]), tmp_path / "r.zarr")
    assert asleep.is_alive()
    asleep.kill()
    asleep.join()
    assert zarr.open_group(tmp_path / "r.zarr", mode="r").attrs["complete"] is True
