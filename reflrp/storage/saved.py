"""The file of a saved explanation: how it is laid out, and what must be true of it.

It is an .npz of the arrays `relevance/<input>`, `in/<input>`, `layer/<value>` and `out`, and of `meta`, a JSON text. Not every
name can be that of a zip's member: it may be longer, hold a zero byte, or end in `.npy`, which NumPy takes off. Such a name
stands in meta's list `names`, and its arrays are called by its place there: `relevance/#0`, `in/#0`.

A file is checked as a whole when it is read, and an explanation likewise when it is written: what has been written can be read.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from math import inf
from numbers import Integral
from pathlib import Path
from sys import maxunicode
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from reflrp import limits
from reflrp.errors import InputError, TooLarge, shortened
from reflrp.ledger import NUMBERS, Ledger, Row
from reflrp.storage.archive import Archive, Unreadable
from reflrp.storage.files import opened, why, write_beside

FORMAT = 2
"""The version of the layout; the first had no `names` and no `format`."""

PLAIN = 200
"""Characters up to which a name is part of a member's name."""

SECTIONS = ("relevance", "layer", "in")


class Fields(NamedTuple):
    """What is kept of an explanation, in the order of its fields."""

    relevances: Mapping[str, np.ndarray]
    output: np.ndarray
    target: tuple[tuple[int, ...], ...]
    layers: Mapping[str, np.ndarray]
    conservation: Ledger
    rules: Mapping[str, str]
    notes: tuple[str, ...]
    inputs: Mapping[str, np.ndarray]
    advice: tuple[str, ...] = ()


class _Wrong(ValueError):
    """What is not true of an explanation that should be."""


# Writing


def write(path: Path, found: Fields) -> Path:
    """Write an explanation and return the path. Raises InputError where it could not be read again, or not be written."""
    try:
        checked = _checked(found)
        names = _listed(checked)
        meta = json.dumps(_meta(checked, names), allow_nan=False)
    except (_Wrong, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the explanation cannot be saved to {path}: {why(error)}") from error
    sections = zip(SECTIONS, (checked.relevances, checked.layers, checked.inputs), strict=True)
    arrays = {_key(section, name, names): a for section, arrays in sections for name, a in arrays.items()}
    write_beside(path, lambda file: _pack(file, {**arrays, "out": checked.output, "meta": np.asarray(meta)}))
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
        "target": found.target,
        "notes": found.notes,
        "advice": found.advice,
        "rules": found.rules,
        "conservation": found.conservation.as_dict(),
        "names": list(names),
    }


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
            return _checked(_unpacked(Archive(file, str(path)), path))
    except (InputError, Unreadable, _Wrong, OverflowError) as error:
        raise InputError(f"{path} is no saved explanation: {error}") from error


def _unpacked(archive: Archive, path: Path) -> Fields:
    _must("meta" in archive.names and "out" in archive.names, "it lacks 'out' or 'meta'")
    _must(not archive.others, f"it holds {_short(archive.others)}, which is no array")
    meta = _loaded(archive, path)
    names = meta.get("names", [])
    sections: dict[str, dict[str, np.ndarray]] = {section: {} for section in SECTIONS}
    for key in archive.names:
        if key not in ("meta", "out"):
            section, name = _meant(key, names if "format" in meta else None)
            _must(name not in sections[section], f"it holds {section}/{_short(name)} twice")
            sections[section][name] = archive.read(key)
    ledger = _ledger(_get(meta, "conservation", dict))
    return Fields(
        sections["relevance"], archive.read("out"), tuple(_get(meta, "target", list)), sections["layer"], ledger,
        _get(meta, "rules", dict), tuple(_get(meta, "notes", list)), sections["in"],
        tuple(_get({"advice": [], **meta}, "advice", list)),
    )  # fmt: skip


def _loaded(archive: Archive, path: Path) -> dict[str, Any]:
    """Return the JSON of `meta`, of a version that is known."""
    size = archive.header("meta", text=True).size
    if size > limits.MEMORY // 64:  # the objects that JSON becomes take up to 64 times the room of its letters
        raise TooLarge(f"{path}: 'meta' has {limits.in_words(size)} of text; {limits.limit()}")
    text = archive.read("meta", text=True)
    _must(_is_text(text), "its 'meta' holds what is no letter")
    try:
        meta = json.loads(str(text))
    except (ValueError, RecursionError) as error:
        raise _Wrong(f"its 'meta' is no JSON: {why(error)}") from error
    _must(isinstance(meta, dict), "its 'meta' is no JSON object")
    version = meta.get("format", 1)
    _must(type(version) is int and version >= 1, f"its 'format' is {_short(version)}")
    _must(version <= FORMAT, f"it has the format {version}, and this reflrp reads up to {FORMAT}: upgrade reflrp")
    return dict(meta)


def _is_text(found: np.ndarray) -> bool:
    """Return whether all letters of a NumPy text are letters of Unicode: Python itself does not ask."""
    numbers = np.frombuffer(found.tobytes(), found.dtype.byteorder.replace("|", "=") + "u4")
    return int(numbers.max(initial=0)) <= maxunicode


def _meant(key: str, names: Any) -> tuple[str, str]:
    """Return the section and the name that a key stands for; `names` is None in files of the first version."""
    section, slash, name = key.partition("/")
    _must(section in SECTIONS and bool(slash), f"it holds {_short(key)}, which is no part of one")
    if names is None or not name.startswith("#"):
        return section, name
    place = name[1:]
    _must(place.isdecimal() and place.isascii() and len(place) < 10, f"it holds {_short(key)}, which is no part of one")
    _must(isinstance(names, list) and int(place) < len(names), f"its 'names' do not say what {_short(key)} is")
    _must(isinstance(names[int(place)], str), "its 'names' are no texts")
    return section, names[int(place)]


def _ledger(found: Mapping[str, Any]) -> Ledger:
    """Return a ledger from JSON; its values are checked with the rest."""
    keys = {f.name for f in fields(Row)}
    rows = _get(found, "rows", list)
    _must(
        all(isinstance(row, dict) and set(row) == keys for row in rows),
        f"a row of its ledger lacks one of {sorted(keys)}",
    )
    return Ledger(tuple(Row(**row) for row in rows), _get(found, "seed", (int, float)), _get(found, "inputs", dict))


def _get(meta: Mapping[str, Any], key: str, kind: Any) -> Any:
    _must(isinstance(meta.get(key), kind), f"its 'meta' has no {key!r}, or one of another kind")
    return meta[key]


# What must be true


def _checked(found: Fields) -> Fields:
    """Return the fields in the types that they have in an explanation; raise _Wrong where they are no explanation."""
    relevances, layers = (_arrays(f"{what} of", part, "f") for what, part in _parts(found))
    inputs = _arrays("input", found.inputs, "fiub")
    _must(bool(relevances), "there is no relevance")
    for name, R in relevances.items():
        fits = name not in inputs or inputs[name].shape == R.shape
        _must(fits, f"the relevance of {_short(name)} is not shaped like the input")
    output = _array("the output", found.output, "f")
    ledger = _checked_ledger(found.conservation, relevances)
    notes = tuple(_text("a note", note) for note in found.notes)
    advice = tuple(_text("an advice", text) for text in found.advice)
    rules = {_text("a node", k): _text("a rule", v) for k, v in found.rules.items()}
    return Fields(relevances, output, _targets(found.target, output), layers, ledger, rules, notes, inputs, advice)


def _parts(found: Fields) -> tuple[tuple[str, Mapping[str, np.ndarray]], ...]:
    return ("the relevance", found.relevances), ("the relevance of the layer", found.layers)


def _arrays(what: str, found: Mapping[str, np.ndarray], kinds: str) -> dict[str, np.ndarray]:
    return {_text("a name", k): _array(f"{what} {_short(k)}", v, kinds) for k, v in found.items()}


def _array(what: str, found: Any, kinds: str) -> np.ndarray:
    array = np.asarray(found)
    fits = array.dtype.kind in kinds and (kinds != "f" or array.itemsize in (4, 8))
    expected = "float32 or float64" if kinds == "f" else "numbers"
    _must(fits, f"{what} is {array.dtype}, and should be {expected}")
    return array


def _targets(found: Sequence[Any], output: np.ndarray) -> tuple[tuple[int, ...], ...]:
    shape = output.shape[1:]
    _must(
        not found or len(found) == (len(output) if output.ndim else 0),
        f"it has {len(found)} targets for {output.shape}",
    )
    _must(all(isinstance(t, list | tuple) and len(t) == len(shape) for t in found), "a target does not fit the output")
    for target in found:
        for i, n in zip(target, shape, strict=True):
            whole = isinstance(i, Integral) and not isinstance(i, bool)
            _must(whole and 0 <= i < n, f"the target {_short(target)} is outside the output")
    return tuple(tuple(int(i) for i in target) for target in found)


def _checked_ledger(found: Ledger, relevances: Mapping[str, np.ndarray]) -> Ledger:
    inputs = {_text("an input", k): _number(v) for k, v in found.inputs.items()}
    _must(set(inputs) <= set(relevances), "the ledger has inputs that there is no relevance of")
    return Ledger(tuple(_row(row) for row in found.rows), _number(found.seed), inputs)


def _row(row: Row) -> Row:
    node, kind, rule = (_text(f"the ledger's {k}", getattr(row, k)) for k in ("node", "kind", "rule"))
    return Row(node, kind, rule, *(_number(getattr(row, k)) for k in NUMBERS))


def _number(value: Any) -> float:
    fits = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    _must(fits and abs(value) < inf, f"the ledger holds {_short(value)}, which is no finite number")
    return float(value)


def _text(what: str, value: Any) -> str:
    _must(isinstance(value, str), f"{what} is {_short(value)} and no text")
    return str(value)


def _short(value: Any) -> str:
    return shortened(repr(value), 200)


def _must(true: bool, else_: str) -> None:
    if not true:
        raise _Wrong(else_)
