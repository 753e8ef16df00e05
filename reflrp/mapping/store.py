"""The store: a zarr group to which chunks are added, each as a whole or not at all.

A chunk's arrays are written first, and its record last: the sha256 of what was read and of what was written. zarr writes each
file under another name and renames it, so a record is there or it is not, and with it all that it speaks of. Whoever goes on
with a store reads the data of each recorded chunk again and compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reflrp.errors import InputError
from reflrp.explanation import Explanation
from reflrp.mapping import digests
from reflrp.mapping.identity import Identity, check_same
from reflrp.mapping.places import library
from reflrp.mapping.results import Arrays
from reflrp.mapping.work import Chunk
from reflrp.storage.files import held, why

RECORD = "sha256"
PARTIAL = re.compile(r".*\.[0-9a-f]{32}\.partial")
"""What zarr calls a file while it writes it."""


@dataclass
class Store:
    """A zarr group on the disk, of so many samples a chunk.

    Attributes
    ----------
    path : Path
    size : int
        Samples a chunk.
    arrays : dict
        The arrays by place, opened for writing; none where there is no group yet.
    records : array (chunks, 2, 32)
        The record when the store was opened.

    """

    path: Path
    size: int
    arrays: dict[str, Any] = field(default_factory=dict)
    records: np.ndarray = field(default_factory=lambda: np.zeros((0, 2, 32), np.uint8))

    def load(self) -> None:
        """Open the arrays that are there."""
        if not (self.path / "zarr.json").is_file():
            return
        zarr = library("zarr")
        try:
            group = zarr.open_group(self.path, mode="r+")
            self.arrays = {place: group[place] for place in places(group)}
            self.records = self.arrays[RECORD][:] if RECORD in self.arrays else self.records
            if self.records.shape[1:] != (2, 32):
                raise ValueError(f"{RECORD} holds {self.records.shape[1:]} for a chunk, and not two digests")
        except Exception as error:  # whatever zarr and its codecs raise for broken metadata
            raise InputError(f"{self.path} is broken: {error}; remove it, or give another place") from error

    def create(self, identity: Identity, said: Mapping[str, Any], arrays: Arrays, count: int | None) -> None:
        """Make what is not there yet of the group and its arrays, which hold what `arrays` hold for each sample."""
        rows, records = count or 0, -(-(count or 0) // self.size)
        with _writing(self.path):
            if not (self.path / "zarr.json").is_file():
                library("zarr").create_group(self.path, attributes={"reflrp": identity, **said})
            group = library("zarr").open_group(self.path, mode="r+")
            for section in sorted({place.rpartition("/")[0] for place in arrays} - {""}):
                group.require_group(section)
            for place, a in sorted(arrays.items()):
                self._array(group, place, (rows, *a.shape[1:]), a.dtype, (self.size, *a.shape[1:]))
            self._array(group, RECORD, (records, 2, 32), np.dtype(np.uint8), (1, 2, 32))
        self.load()

    def _array(self, group: Any, place: str, shape: tuple[int, ...], dtype: Any, chunks: tuple[int, ...]) -> None:
        if not (self.path / place / "zarr.json").is_file():
            fill = np.nan if dtype.kind == "f" else 0 if dtype.kind == "u" else -1
            whole = tuple(max(1, n) for n in chunks)
            group.create_array(place, shape=shape, dtype=dtype, chunks=whole, fill_value=fill)

    def done(self, chunk: Chunk) -> bool:
        """Return whether a chunk is there: recorded, and what was written is there as it was.

        Raises InputError where the chunk's data are not those that were read when it was written.
        """
        i = chunk.start // self.size
        if i >= len(self.records) or not self.records[i].any():
            return False
        seen, made = self.records[i]
        if seen.tobytes() != digests.of_arrays(chunk.read):
            also = "" if isinstance(chunk.init, str) else ", or their init,"
            raise InputError(
                f"{self.path} is a store of other data: {chunk}{also} are not what was read when it was written; give another place"
            )
        return bool(made.tobytes() == self._digest(chunk))

    def _digest(self, chunk: Chunk) -> bytes:
        """Return the sha256 of what the store holds of a chunk."""
        try:
            there = {k: a[chunk.start : chunk.stop] for k, a in self.arrays.items() if k != RECORD}
        except Exception:  # whatever zarr and its codecs raise for a broken file
            return b""
        return digests.of_arrays(there)

    def write(self, chunk: Chunk, arrays: Arrays) -> None:
        """Write a chunk, and then its record."""
        known = self.arrays.keys() - {RECORD}
        if arrays.keys() != known:
            raise InputError(
                f"{chunk} have the arrays {sorted(arrays)}, and the first ones {sorted(known)}: the samples take different ways "
                "through the model; leave layers= out"
            )
        self._check_like(arrays)
        record = np.frombuffer(digests.of_arrays(chunk.read) + digests.of_arrays(arrays), np.uint8)
        i = chunk.start // self.size
        with _writing(self.path):
            for place, a in sorted(arrays.items()):
                _grown(self.arrays[place], chunk.stop)[chunk.start : chunk.stop] = a
            _grown(self.arrays[RECORD], i + 1)[i] = record.reshape(2, 32)

    def _check_like(self, arrays: Arrays) -> None:
        """Raise InputError where what is there holds something else for a sample than what is to be written."""
        for place, a in arrays.items():
            there = self.arrays[place]
            if (there.dtype, there.shape[1:]) != (a.dtype, a.shape[1:]):
                raise InputError(
                    f"{self.path} is broken: {place} holds {there.dtype} {there.shape[1:]} for a sample, and not {a.dtype} "
                    f"{a.shape[1:]}; remove it, or give another place"
                )

    def finish(self, count: int, notes: Sequence[str] = ()) -> None:
        """Say that all samples are there, with notes on them, and remove what workers that died meanwhile left half-written."""
        for place, a in self.arrays.items():
            there = a.shape[0]
            if place != RECORD and there != count:
                raise InputError(
                    f"{self.path} is a store of {there} samples, and data has {count} ({place}); give another place"
                )
        with _writing(self.path):
            _swept(self.path)
            group = library("zarr").open_group(self.path, mode="r+")
            if group.attrs.get("complete") is not True:
                told = [*group.attrs.get("notes", []), *notes]
                group.update_attributes({"complete": True, "notes": told})


def said(e: Explanation) -> dict[str, Any]:
    """Return what a store says of its first explanation: the rule of each node, and the notes."""
    return {"assigned": {k: repr(rule) for k, rule in e.rules.items()}, "notes": list(e.notes)}


def places(group: Any) -> list[str]:
    """Return the places of all arrays of a store."""
    sections = [k for k in ("relevance", "layer") if k in group]
    return sorted(
        [*group.array_keys(), *(f"{section}/{k}" for section in sections for k in group[section].array_keys())]
    )


def _grown(array: Any, rows: int) -> Any:
    """Return an array with at least so many rows."""
    if array.shape[0] < rows:
        array.resize((rows, *array.shape[1:]))
    return array


@contextmanager
def opened(path: Path, identity: Identity, size: int) -> Iterator[Store]:
    """Give the store at a path, which nobody else writes to meanwhile; what was left half-written is gone.

    Raises InputError for a place where something else is, for a store of something else, and for one that is being written to.
    """
    with _writing(path):
        path.mkdir(exist_ok=True)
    with held(path):
        with _writing(path):
            _check(path, identity)
        store = Store(path, size)
        store.load()
        yield store


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name the place in what the system says of it, as a full disk."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path} cannot be written: {why(error)}") from error


def _check(path: Path, identity: Identity) -> None:
    """Check that a folder is empty or a store of this, and remove what a killed process left half-written."""
    if (path / "zarr.json").is_file():
        check_same(path, _identity_at(path), identity)
    elif any(not PARTIAL.fullmatch(p.name) for p in path.iterdir()):
        raise InputError(f"{path} is there and is no store of reflrp's; give another place")
    _swept(path)


def _swept(path: Path) -> None:
    """Remove what processes that were killed left half-written; nobody may be writing."""
    for part in path.rglob("*.partial"):
        if PARTIAL.fullmatch(part.name):
            part.unlink(missing_ok=True)


def _identity_at(path: Path) -> Mapping[str, Any]:
    try:
        found = library("zarr").open_group(path, mode="r").attrs.get("reflrp")
    except Exception as error:
        raise InputError(f"{path} is no zarr group that can be read: {error}") from error
    if not isinstance(found, Mapping):
        raise InputError(f"{path} is a zarr group, and none of reflrp's; give another place")
    return found
