"""Saved explanations, broken: the bytes of the .npz, its members, the headers of its arrays, its JSON; and bombs in it.

Each is read by `Explanation.load` or refused; what is read is used as a user would: shown, summed, listed, saved again.
"""

from __future__ import annotations

import io
import json
import random
import tempfile
import zipfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from models import draw, model

import reflrp
from fuzz.archives import MEMBERWISE, Members, npy, zipped
from fuzz.bytes import mutated_bytes
from fuzz.values import FLOATS, SIZES, TEXTS

PLACES, SIZES_OF_BOMBS = ("out", "relevance/x", "in/x"), (2**24, 2**27)


@cache
def sound() -> tuple[bytes, ...]:
    """Return saved explanations: of features, of an image with layers, of tokens, of two inputs."""
    image = model(
        "z = Conv(x, w) r = Relu(z) g = GlobalAveragePool(r) y = Flatten(g)", "float[N,1,6,6] x", w=(3, 1, 3, 3)
    )
    words = model(
        "e = Gather(t, ids) c = ReduceMean <axes = [1]>(e) y = MatMul(c, w)", "int64[N,5] ids", t=(9, 4), w=(4, 3)
    )
    two = model("z = Mul(a, b) y = MatMul(z, w)", "float[N,4] a, float[N,4] b", w=(4, 3))
    made = [
        reflrp.explain(model("y = MatMul(x, w)", w=(4, 3)), draw(2, 4)),
        reflrp.explain(image, draw(2, 1, 6, 6), layers=True),
        reflrp.explain(words, np.arange(10).reshape(2, 5) % 9, layers=True),
        reflrp.explain(two, {"a": draw(2, 4), "b": draw(2, 4)}, target=1),
        reflrp.explain(two, {"a": draw(2, 4), "b": draw(2, 4)}, init=draw(2, 3)),
    ]
    return tuple(_saved(e) for e in made)


def _saved(e: reflrp.Explanation) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return e.save(Path(folder, "e.npz")).read_bytes()


def warm() -> None:
    """Draw a picture once, and make the bombs."""
    sound()
    reflrp.explain(model("y = MatMul(x, w)", w=(4, 3)), draw(2, 4)).plot()
    for name in PLACES:
        for size in SIZES_OF_BOMBS:
            bombed(name, size)


def make(chance: random.Random) -> bytes:
    """Return a broken saved explanation."""
    if chance.random() < 0.02:
        return bombed(chance.choice(PLACES), chance.choice(SIZES_OF_BOMBS))
    data = chance.choice(sound())
    if chance.random() < 0.25:
        return mutated_bytes(data, chance)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        with suppress(ValueError, KeyError, IndexError):
            chance.choice(MUTATIONS)(members, chance)
    packed = zipped(members, chance)
    return mutated_bytes(packed, chance) if chance.random() < 0.05 else packed


@cache
def bombed(name: str, size: int) -> bytes:
    """Return an explanation with so many zeros in an array's place: packed it is small."""
    with zipfile.ZipFile(io.BytesIO(sound()[0])) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    members[f"{name}.npy"] = npy(np.zeros(size // 8))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return file.getvalue()


# What is done to the JSON


def meta(members: Members, chance: random.Random) -> None:
    """Change the JSON text: a value somewhere in it, or all of it."""
    if members["meta.npy"] not in metas():
        return  # it is broken already
    found = json.loads(str(np.load(io.BytesIO(members["meta.npy"]))))
    if chance.random() < 0.85:
        for _ in range(chance.choice([1, 1, 2])):
            _change(found, chance)
        text = json.dumps(found)
    else:
        text = chance.choice(
            [
                "",
                "{",
                "null",
                "[]",
                "{}",
                "1",
                '"x"',
                "[" * 100_000,
                '{"a":' * 5000,
                "NaN",
                "9" * 6000,
                "[" * 900 + "]" * 900,
                "{}" + " " * 10**6,
            ]
        )
    members["meta.npy"] = npy(np.asarray(text))


@cache
def metas() -> tuple[bytes, ...]:
    """Return the JSON members of the sound files."""
    return tuple(zipfile.ZipFile(io.BytesIO(data)).read("meta.npy") for data in sound())


def _change(found: Any, chance: random.Random) -> None:
    """Change a value somewhere: to one of another type, a deep or a long one; or drop it, or add a key."""
    places = list(_places(found))
    holder, key = chance.choice(places)
    how = chance.random()
    if how < 0.15:
        del holder[key]
    elif how < 0.25 and isinstance(holder, dict):
        holder[chance.choice(["x", "", "node", "__class__", "a" * 9000])] = _odd(chance)
    elif how < 0.3 and isinstance(holder, list):
        holder.extend([holder[key]] * chance.choice([1, 3000]))
    else:
        holder[key] = _odd(chance)


def _odd(chance: random.Random) -> Any:
    deep: Any = 1
    for _ in range(chance.choice([3, 300])):
        deep = [deep]
    return chance.choice(
        [
            None,
            True,
            False,
            "",
            "x",
            [],
            {},
            [1],
            [[1]],
            {"x": 1},
            [None],
            ["x"],
            deep,
            10**400,
            *FLOATS,
            *SIZES,
            *TEXTS[:-1],
            "\x1b[2J\n",
            "\ud800",
        ]
    )


def _places(found: Any) -> Any:
    stack = [found]
    while stack:
        holder = stack.pop()
        for key in holder if isinstance(holder, dict) else range(len(holder)):
            yield holder, key
            if isinstance(holder[key], dict | list):
                stack.append(holder[key])


MUTATIONS = (*MEMBERWISE, meta, meta, meta, meta, meta, meta)


# What a user does


def tried(data: bytes, folder: Path) -> str:
    """Load the file, and use what is in it."""
    path = folder / "scratch" / "e.npz"
    path.write_bytes(data)
    used(reflrp.Explanation.load(path), path, len(data) % 40 == 0)
    return "done"


def used(e: reflrp.Explanation, path: Path, draws: bool) -> None:
    """Use an explanation: each thing as often as its errors allow."""
    uses = [
        lambda: e.relevance,
        lambda: [e.summed(k) for k in e.layers],
        lambda: e.tokens().html(),
        lambda: str(e.conservation) + repr(e)[:100],
        lambda: e.conservation.totals,
        lambda: e.conservation.worst,
        lambda: reflrp.Explanation.concatenate([e, e]),
        lambda: _same(e, path),
        *([e.plot] if draws else []),
    ]
    for use in uses:
        with suppress(reflrp.ReflrpError):
            use()


def _same(e: reflrp.Explanation, path: Path) -> None:
    again = reflrp.Explanation.load(e.save(path))
    assert list(again.relevances) == list(e.relevances), "what is saved again has other inputs"
    for k, R in e.relevances.items():
        assert again.relevances[k].shape == R.shape, "what is saved again has another shape"
