"""Saved explanations: they come back as they were, and a file is one or an InputError that says what is wrong."""

import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reflrp
from reflrp import Explanation, InputError, TooLarge, demo, limits
from reflrp.ledger import Ledger, Row
from reflrp.storage.saved import FORMAT

HUGE = 2**40


def explanation(relevances: Mapping[str, np.ndarray], **others: Any) -> Explanation:
    row = Row("n", "conv", "Epsilon", 1.0, 0.5, 0.25, flow=2.0)
    parts: dict[str, Any] = {
        "output": np.zeros((2, 3)), "target": ((1,), (2,)), "layers": {}, "conservation": Ledger((row,), 1.0), "rules": {},
    }  # fmt: skip
    return Explanation(relevances, **{**parts, **others})


def same(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    return list(a) == list(b) and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and np.array_equal(a[k], b[k]) for k in a
    )


NAMES = st.text(st.characters(), max_size=30) | st.sampled_from(
    [
        "x",
        "x.npy",
        "x.npy.npy",
        "",
        "0",
        "#0",
        "../x",
        "/a/b",
        "a\\b",
        "a\0b",
        "\udcff",
        "\u202e",
        "n" * 70_000,
        "meta",
        "out",
    ]
)
ARRAYS = st.builds(
    lambda shape, dtype, fortran: np.asarray(
        np.arange(np.prod(shape, dtype=int)).reshape(shape), dtype, order="F" if fortran else "C"
    ),
    st.lists(st.integers(0, 3), max_size=4).map(tuple), st.sampled_from([np.float32, np.float64, ">f8"]), st.booleans(),
)  # fmt: skip


@given(
    found=st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=4), layers=st.dictionaries(NAMES, ARRAYS, max_size=3),
    texts=st.lists(NAMES, max_size=3), given_target=st.booleans(),
)  # fmt: skip
@settings(max_examples=100)
def test_any_explanation_comes_back(
    tmp_path_factory: pytest.TempPathFactory, found: Any, layers: Any, texts: list[str], given_target: bool
) -> None:
    path = tmp_path_factory.mktemp("e") / "e.npz"
    ids = {k: np.asarray(a, [np.int64, np.float32, bool][i % 3]) for i, (k, a) in enumerate(found.items())}
    ledger = Ledger(tuple(Row(t, t, t, 0.1, 1 / 3) for t in texts), 1e-300, dict.fromkeys(found, 1.5))
    target = ((1,), (2,)) if given_target else ()
    e = explanation(
        found, layers=layers, inputs=ids, conservation=ledger, rules=dict.fromkeys(texts, "Flat"), notes=tuple(texts), target=target
    )  # fmt: skip
    again = Explanation.load(e.save(path))
    native = {k: a.astype(a.dtype.newbyteorder("=")) for k, a in found.items()}
    assert same(again.relevances, native)
    assert same(again.layers, {k: a.astype(a.dtype.newbyteorder("=")) for k, a in layers.items()})
    assert same(again.inputs, ids)
    assert np.array_equal(again.output, e.output)
    assert again.conservation == ledger
    assert (again.rules, again.notes, again.target) == (e.rules, e.notes, e.target)
    before = path.read_bytes()
    e.save(path)
    assert path.read_bytes() == before


def test_the_documented_keys_stay(tmp_path: Path) -> None:
    names = ["x", "größe", "/model/conv1/Conv_output_0", "0", "input ids"]
    e = explanation({k: np.ones(2) for k in names}, inputs={k: np.ones(2) for k in names}, layers={"a/b": np.ones(3)})
    with np.load(e.save(tmp_path / "e.npz")) as data:
        expected = {f"{s}/{k}" for s in ("relevance", "in") for k in names} | {"layer/a/b", "out", "meta"}
        assert set(data.files) == expected
        assert json.loads(str(data["meta"]))["conservation"] == e.conservation.as_dict()


def test_names_that_a_zip_cannot_hold_stand_in_the_meta(tmp_path: Path) -> None:
    x = {"x": np.zeros(2), "x.npy": np.ones(2)}
    with np.load(explanation(x, inputs=x).save(tmp_path / "e.npz")) as data:
        assert {"relevance/x", "relevance/#0", "in/x", "in/#0"} <= set(data.files)
        assert json.loads(str(data["meta"]))["names"] == ["x.npy"]


def old(path: Path, **changes: Any) -> Path:
    """A file of the first version, as `numpy.savez` wrote it."""
    meta = {
        "target": [[1], [2]], "notes": ["a note"], "rules": {"n": "Flat()"},
        "conservation": {"seed": 1.0, "inputs": {"#0": 1.0}, "rows": []},
    }  # fmt: skip
    arrays = {
        "relevance/#0": np.ones((2, 4)),
        "in/#0": np.ones((2, 4)),
        "out": np.ones((2, 3)),
        "layer/a/b": np.ones(2),
    }
    np.savez_compressed(path, **arrays, meta=np.asarray(json.dumps({**meta, **changes})))
    return path


def test_files_of_the_first_version_are_read(tmp_path: Path) -> None:
    e = Explanation.load(old(tmp_path / "e.npz"))
    assert e.relevance.shape == (2, 4)
    assert list(e.relevances) == list(e.inputs) == ["#0"]
    assert list(e.layers) == ["a/b"]
    assert e.target == ((1,), (2,))
    assert e.rules == {"n": "Flat()"}
    assert e.notes == ("a note",)


def test_what_cannot_be_read_again_is_not_written(tmp_path: Path) -> None:
    x = np.ones((2, 4))
    wrong = {
        "is int64, and should be float": explanation({"x": x.astype(int)}),
        "is object, and should be": explanation({"x": x}, inputs={"x": x.astype(object)}),
        "not shaped like the input": explanation({"x": x}, inputs={"x": x[0]}),
        "there is no relevance": explanation({}),
        "outside the output": explanation({"x": x}, target=((1,), (3,))),
        "targets": explanation({"x": x}, target=((1,),)),
        "no finite number": explanation({"x": x}, conservation=Ledger((), float("nan"))),
        "and no text": explanation({"x": x}, notes=(3,)),
    }
    for words, e in wrong.items():
        with pytest.raises(InputError, match=f"cannot be saved to .*e.npz: .*{words}"):
            e.save(tmp_path / "e.npz")
    for path in (3, None):
        with pytest.raises(InputError, match="give a text or a pathlib"):
            explanation({"x": x}).save(path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.fixture
def members(tmp_path: Path) -> dict[str, bytes]:
    """What a sound file holds."""
    model, images, _ = demo.load()
    e = reflrp.explain(model, images[:2], layers=["relu1"])
    with zipfile.ZipFile(e.save(tmp_path / "sound.npz")) as whole:
        return {k: whole.read(k) for k in whole.namelist()}


def zipped(path: Path, members: Mapping[str, bytes], **more: Any) -> Path:
    with zipfile.ZipFile(path, "w", **more) as whole:
        for k, v in members.items():
            whole.writestr(k, v)
    return path


def npy(array: Any, **more: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), **more)
    return file.getvalue()


def header(text: str, version: int = 1, data: bytes = b"") -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + data


SIZES = "'fortran_order': False, 'shape': (2, 10), }"
OUT = {
    "text": npy(np.full((2, 10), "a")),
    "dates": npy(np.zeros((2, 10), "M8[s]")),
    "records": npy(np.zeros((2, 10), "f8,i4")),
    "complex numbers": npy(np.zeros((2, 10), complex)),
    "half precision": npy(np.zeros((2, 10), np.float16)),
    "integers": npy(np.zeros((2, 10), int)),
    "objects": npy(np.full((2, 10), None), allow_pickle=True),
    "another batch": npy(np.zeros((3, 10))),
    "fewer classes": npy(np.zeros((2, 0))),
    "no axes": npy(np.float64(1)),
    "no array": b"hello",
    "nothing": b"",
    "a cut": npy(np.zeros((2, 10)))[:-1],
    "more": npy(np.zeros((2, 10))) + b"\0",
    "code": header("{'descr': __import__('os').system('touch ran'), " + SIZES),
    "a deep header": header("{'descr': " + "(" * 9000 + ", " + SIZES),
    "a long header": header(" " * 2**20, 2),
    "a header without end": b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
    "a version": header("{'descr': '<f8', " + SIZES, 9),
    "a negative size": header("{'descr': '<f8', 'fortran_order': False, 'shape': (-2, 10), }", data=b"\0" * 160),
    "a wide dtype": header("{'descr': '<f999999999', " + SIZES),
    "many axes": header("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1," * 1000 + "), }", data=b"\0" * 8),
    "one number as a shape": header("{'descr': '<f8', 'fortran_order': False, 'shape': (20), }", data=b"\0" * 160),
}


@pytest.mark.parametrize("case", OUT)
def test_arrays_that_are_none_or_others(tmp_path: Path, members: dict[str, bytes], case: str) -> None:
    path = zipped(tmp_path / "e.npz", {**members, "out.npy": OUT[case]})
    with pytest.raises(InputError, match=r"e.npz is no saved explanation: "):
        Explanation.load(path)
    assert not Path("ran").exists()


META: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a list": lambda m: [m],
    "no target": lambda m: {k: v for k, v in m.items() if k != "target"},
    "targets of others": lambda m: {**m, "target": [[1]]},
    "a target outside": lambda m: {**m, "target": [[1], [10]]},
    "a target below": lambda m: {**m, "target": [[1], [-1]]},
    "a target that is text": lambda m: {**m, "target": [["a"], [1]]},
    "a target that is true": lambda m: {**m, "target": [[True], [1]]},
    "a note that is none": lambda m: {**m, "notes": [{}]},
    "a rule that is none": lambda m: {**m, "rules": {"a": 1}},
    "no ledger": lambda m: {**m, "conservation": None},
    "a row that lacks": lambda m: {**m, "conservation": {**m["conservation"], "rows": [{"node": "a"}]}},
    "a row of text": lambda m: {
        **m, "conservation": {**m["conservation"], "rows": [{**m["conservation"]["rows"][0], "bias": "a"}]},
    },
    "a seed without end": lambda m: {**m, "conservation": {**m["conservation"], "seed": 10**400}},
    "a seed that is none": lambda m: {**m, "conservation": {**m["conservation"], "seed": float("inf")}},
    "inputs that are none": lambda m: {**m, "conservation": {**m["conservation"], "inputs": {"foo": 1.0}}},
    "a later format": lambda m: {**m, "format": FORMAT + 1},
    "an init that is none": lambda m: {**m, "init": ["one"]},
    "a digest that is none": lambda m: {**m, "init": "array", "init_sha256": "0" * 63 + "G"},
    "a digest that is no text": lambda m: {**m, "init": "array", "init_sha256": 3},
    "a digest of a word": lambda m: {**m, "init": "one", "init_sha256": "0" * 64},
    "no format": lambda m: {**m, "format": "x"},
}  # fmt: skip


@pytest.mark.parametrize("case", META)
def test_meta_that_is_none(tmp_path: Path, members: dict[str, bytes], case: str) -> None:
    meta = json.loads(str(np.load(io.BytesIO(members["meta.npy"]))))
    path = zipped(tmp_path / "e.npz", {**members, "meta.npy": npy(json.dumps(META[case](meta)))})
    with pytest.raises(InputError, match=r"e.npz is no saved explanation: "):
        Explanation.load(path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 10_000, '{"target": 1e}', "\0"])
def test_meta_that_is_no_json(tmp_path: Path, members: dict[str, bytes], text: str) -> None:
    with pytest.raises(InputError, match=r"e.npz is no saved explanation: .*meta"):
        Explanation.load(zipped(tmp_path / "e.npz", {**members, "meta.npy": npy(text)}))


def test_members_that_are_none(tmp_path: Path, members: dict[str, bytes]) -> None:
    for more in ("foo.npy", "foo/x.npy", "run.py", "relevance/", "relevance/#7.npy", "layer/#a.npy"):
        with pytest.raises(InputError, match="is no saved explanation: it"):
            Explanation.load(zipped(tmp_path / "e.npz", {**members, more: npy(np.ones(2))}))
    for less in ("out.npy", "meta.npy", "relevance/image.npy"):
        with pytest.raises(InputError, match="is no saved explanation: "):
            Explanation.load(zipped(tmp_path / "e.npz", {k: v for k, v in members.items() if k != less}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_are_there_twice(tmp_path: Path, members: dict[str, bytes]) -> None:
    path = zipped(tmp_path / "e.npz", members)
    with zipfile.ZipFile(path, "a") as whole:
        whole.writestr("out.npy", members["out.npy"])
    with pytest.raises(InputError, match="two of its members have the same name"):
        Explanation.load(path)


def test_members_that_are_packed_otherwise(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(InputError, match="packed in a way"):
        Explanation.load(zipped(tmp_path / "e.npz", members, compression=zipfile.ZIP_BZIP2))
    data = bytearray(zipped(tmp_path / "e.npz", members).read_bytes())
    for at in [m.start() for m in re.finditer(b"PK\x01\x02", data)]:
        data[at + 8] |= 1
    (tmp_path / "e.npz").write_bytes(data)
    with pytest.raises(InputError, match="encrypted"):
        Explanation.load(tmp_path / "e.npz")


def test_a_bomb_is_not_unpacked(tmp_path: Path, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two megabytes that are two gigabytes: refused for what they claim; claims that cannot be true are refused too."""
    monkeypatch.setattr(limits, "MEMORY", 128 * 2**20)
    bomb = header("{'descr': '<f8', 'fortran_order': False, 'shape': (33554432,), }", data=bytes(2**28))
    path = zipped(tmp_path / "e.npz", {**members, "layer/a.npy": bomb}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(TooLarge, match=r"e.npz: 'layer/a' needs an array of the shape \(33554432,\)"):
        Explanation.load(path)
    small = header("{'descr': '<f8', 'fortran_order': False, 'shape': (4194304,), }", data=bytes(2**25))
    path = zipped(tmp_path / "e.npz", {**members, **{f"layer/{i}.npy": small for i in range(5)}}, compression=8)
    with pytest.raises(TooLarge, match="together"):
        Explanation.load(path)
    data = bytearray(zipped(path, members).read_bytes())
    for at in [m.start() for m in re.finditer(b"PK\x01\x02", data)]:
        data[at + 24 : at + 28] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"claims 2,147,483,648 bytes, more than its [0-9,]+ packed ones can hold"):
        Explanation.load(path)


def test_a_directory_without_end(tmp_path: Path, members: dict[str, bytes]) -> None:
    data = bytearray(zipped(tmp_path / "e.npz", members).read_bytes())
    data[-10:-6] = struct.pack("<I", 2**31)
    (tmp_path / "e.npz").write_bytes(data)
    with pytest.raises(InputError, match="its directory has 2,147,483,648 bytes"):
        Explanation.load(tmp_path / "e.npz")


def test_files_that_are_no_regular_ones(tmp_path: Path) -> None:
    for path, kind in ((tmp_path, "a folder"), (Path("/dev/zero"), "a device")):
        with pytest.raises(InputError, match=f"is {kind} and no regular file"):
            Explanation.load(path)


def broken(data: bytes, chance: random.Random) -> bytes:
    """Some bytes overwritten, cut out, put in, or repeated."""
    found = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4])):
        place = chance.randrange(max(len(found), 1))
        found[place : place + chance.choice([0, 1, 1, 5, 50])] = chance.choice(
            [bytes([chance.randrange(256)]), b"", b"\xff" * 9, bytes(found[place : place + 8])]
        )
    return bytes(found)


@given(chance=st.randoms(use_true_random=False))
@settings(max_examples=700)
def test_broken_files_are_explanations_or_refused(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random
) -> None:
    """In the file's bytes, or within a member that is packed again, so that the sums of the zip are right."""
    folder = tmp_path_factory.getbasetemp()
    path = folder / "broken.npz"
    sound = sound_members()
    if chance.random() < 0.4:
        path.write_bytes(broken(zipped(path, sound).read_bytes(), chance))
    else:
        hit = chance.choice(list(sound))
        start = chance.choice([130, 130, len(sound[hit])])
        zipped(path, {**sound, hit: broken(sound[hit][:start], chance) + sound[hit][start:]})
    try:
        e = Explanation.load(path)
    except (InputError, TooLarge) as error:
        refusal = str(error)
        assert str(path) in refusal
    else:
        e.save(path)


@cache
def sound_members() -> dict[str, bytes]:
    x = {"x": np.ones((2, 4), np.float32), "ids.npy": np.ones((2, 3))}
    e = explanation(x, inputs=x, layers={"a": np.ones((2, 2))}, rules={"n": "Flat"}, notes=("note",))
    with TemporaryDirectory() as folder, zipfile.ZipFile(e.save(Path(folder) / "e.npz")) as whole:
        return {k: whole.read(k) for k in whole.namelist()}


def test_letters_that_unicode_has_not(tmp_path: Path, members: dict[str, bytes]) -> None:
    """Python makes a text of any numbers, and fails where such a letter is looked at."""
    data = bytearray(members["meta.npy"])
    data[-2:] = b"\xff\xff"
    with pytest.raises(InputError, match="'meta' holds what is no letter"):
        Explanation.load(zipped(tmp_path / "e.npz", {**members, "meta.npy": bytes(data)}))


def test_a_file_that_is_not_there_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Explanation.load(tmp_path / "nope.npz")
    assert (
        str(caught.value)
        == f"{tmp_path / 'nope.npz'} is no saved explanation: it cannot be read: No such file or directory"
    )
