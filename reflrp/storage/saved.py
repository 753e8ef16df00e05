"""The file of a saved explanation: how it is laid out, and what must be true of it.

It is an .npz of the arrays `relevance/<input>`, `in/<input>`, `layer/<value>`, `uncertainty/<input or value>` and `out`, and of
`meta`, a JSON text. Not every name can be that of a zip's member: it may be longer, hold a zero byte, or end in `.npy`, which
NumPy takes off. Such a name stands in meta's list `names`, and its arrays are called by its place there: `relevance/#0`, `in/#0`.

A file is checked as a whole when it is read, and an explanation likewise when it is written: what has been written can be read.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from sys import maxunicode
from typing import Any, BinaryIO

import numpy as np

from reflrp import limits
from reflrp.errors import InputError, TooLarge
from reflrp.ledger import Ledger, Row
from reflrp.seeds import Contrast, Goal
from reflrp.storage.archive import Archive, Unreadable
from reflrp.storage.checked import Fields, Wrong, checked, must, short
from reflrp.storage.files import opened, why, write_beside

FORMAT = 5
"""The version of the layout; the first had no `names` and no `format`, the second no `layout`, `score` and contrasts, the third no
`uncertainty`, the fourth no `init_sha256`."""

PLAIN = 200
"""Characters up to which a name is part of a member's name."""

SECTIONS = ("relevance", "layer", "in", "uncertainty")


# Writing


def write(path: Path, found: Fields) -> Path:
    """Write an explanation and return the path. Raises InputError where it could not be read again, or not be written."""
    try:
        good = checked(found)
        names = _listed(good)
        meta = json.dumps(_meta(good, names), allow_nan=False)
    except (Wrong, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the explanation cannot be saved to {path}: {why(error)}") from error
    sections = zip(SECTIONS, (good.relevances, good.layers, good.inputs, good.uncertainty), strict=True)
    arrays = {_key(section, name, names): a for section, arrays in sections for name, a in arrays.items()}
    write_beside(path, lambda file: _pack(file, {**arrays, "out": good.output, "meta": np.asarray(meta)}))
    return path


def _pack(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as `numpy.savez_compressed` does, but without a date: the same explanation is the same file."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as whole:
        for key, array in arrays.items():
            info = zipfile.ZipInfo(f"{key}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED
            with whole.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _meta(found: Fields, names: Mapping[str, int]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "target": [_written(goal) for goal in found.target],
        "layout": found.layout,
        "score": found.score,
        "init": found.init,
        "init_sha256": found.init_sha256,
        "advice": found.advice,
        "notes": found.notes,
        "rules": found.rules,
        "conservation": found.conservation.as_dict(),
        "names": list(names),
    }


def _written(goal: Goal) -> Any:
    return {"target": goal.target, "against": goal.against} if isinstance(goal, Contrast) else goal


def _listed(found: Fields) -> dict[str, int]:
    """Return the names that cannot be part of a member's name, each with its place in the list."""
    every = dict.fromkeys([*found.relevances, *found.layers, *found.inputs])
    return {name: i for i, name in enumerate(name for name in every if not _plain(name))}


def _plain(name: str) -> bool:
    """Return whether a name can stand in a zip: it comes back as it is, and unpacking it leads nowhere else."""
    odd = "\\" in name or ".." in name.split("/") or name.endswith(".npy") or name.startswith("#")
    return 0 < len(name) <= PLAIN and name.isprintable() and not odd


def _key(section: str, name: str, names: Mapping[str, int]) -> str:
    return f"{section}/#{names[name]}" if name in names else f"{section}/{name}"


# Reading


def read(path: Path) -> Fields:
    """Return what `write` wrote. Raises InputError where a file is no saved explanation, TooLarge beyond the limit."""
    try:
        with opened(path) as file, limits.budget():
            return checked(_unpacked(Archive(file, str(path)), path))
    except (InputError, Unreadable, Wrong, OverflowError) as error:
        what = str(error)
        what = f"it {what.removeprefix(f'{path} ')}" if what.startswith(f"{path} ") else what
        raise InputError(f"{path} is no saved explanation: {what}") from error


def _unpacked(archive: Archive, path: Path) -> Fields:
    must("meta" in archive.names and "out" in archive.names, "it lacks 'out' or 'meta'")
    must(not archive.others, f"it holds {short(archive.others)}, which is no array")
    meta = _loaded(archive, path)
    names = meta.get("names", [])
    sections: dict[str, dict[str, np.ndarray]] = {section: {} for section in SECTIONS}
    for key in archive.names:
        if key not in ("meta", "out"):
            section, name = _meant(key, names if "format" in meta else None)
            must(name not in sections[section], f"it holds {section}/{short(name)} twice")
            sections[section][name] = archive.read(key)
    ledger = _ledger(_get(meta, "conservation", dict))
    return Fields(
        sections["relevance"], archive.read("out"), tuple(_get(meta, "target", list)), sections["layer"], ledger,
        _get(meta, "rules", dict), tuple(_get(meta, "notes", list)), sections["in"],
        meta.get("layout"), meta.get("score", "output"),
        tuple(_get({"advice": [], **meta}, "advice", list)), sections["uncertainty"], meta.get("init", ""),
        meta.get("init_sha256", ""),
    )  # fmt: skip


def _loaded(archive: Archive, path: Path) -> dict[str, Any]:
    """Return the JSON of `meta`, of a version that is known."""
    size = archive.header("meta", text=True).size
    if size > limits.MEMORY // 64:  # the objects that JSON becomes take up to 64 times the room of its letters
        raise TooLarge(f"{path}: 'meta' has {limits.in_words(size)} of text; {limits.limit()}")
    text = archive.read("meta", text=True)
    must(_is_text(text), "its 'meta' holds what is no letter")
    try:
        meta = json.loads(str(text))
    except (ValueError, RecursionError) as error:
        raise Wrong(f"its 'meta' is no JSON: {why(error)}") from error
    must(isinstance(meta, dict), "its 'meta' is no JSON object")
    version = meta.get("format", 1)
    must(type(version) is int and version >= 1, f"its 'format' is {short(version)}")
    must(version <= FORMAT, f"it has the format {version}, and this reflrp reads up to {FORMAT}: upgrade reflrp")
    return dict(meta)


def _is_text(found: np.ndarray) -> bool:
    """Return whether all letters of a NumPy text are letters of Unicode: Python itself does not ask."""
    numbers = np.frombuffer(found.tobytes(), found.dtype.byteorder.replace("|", "=") + "u4")
    return int(numbers.max(initial=0)) <= maxunicode


def _meant(key: str, names: Any) -> tuple[str, str]:
    """Return the section and the name that a key stands for; `names` is None in files of the first version."""
    section, slash, name = key.partition("/")
    must(section in SECTIONS and bool(slash), f"it holds {short(key)}, which is no part of one")
    if names is None or not name.startswith("#"):
        return section, name
    place = name[1:]
    must(place.isdecimal() and place.isascii() and len(place) < 10, f"it holds {short(key)}, which is no part of one")
    must(isinstance(names, list) and int(place) < len(names), f"its 'names' do not say what {short(key)} is")
    must(isinstance(names[int(place)], str), "its 'names' are no texts")
    return section, names[int(place)]


def _ledger(found: Mapping[str, Any]) -> Ledger:
    """Return a ledger from JSON; its values are checked with the rest."""
    keys = {f.name for f in fields(Row)}
    rows = _get(found, "rows", list)
    must(
        all(isinstance(row, dict) and {*row, "uncertainty"} == keys for row in rows),
        f"a row of its ledger lacks one of {sorted(keys)}",
    )
    return Ledger(tuple(Row(**row) for row in rows), _get(found, "seed", (int, float)), _get(found, "inputs", dict))


def _get(meta: Mapping[str, Any], key: str, kind: Any) -> Any:
    must(isinstance(meta.get(key), kind), f"its 'meta' has no {key!r}, or one of another kind")
    return meta[key]
