"""External data: the bytes of tensors that lie in files beside the model, each read once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from onnx import TensorProto, numpy_helper

from reflrp import limits
from reflrp.errors import ModelError
from reflrp.importer.dtypes import dtype_of, widened

PLAIN = frozenset("fiub")
"""The kinds of numbers that lie in a file as NumPy has them in memory; others are unpacked."""


MAPPED = 2**30
"""Bytes of a file from which on it is mapped into memory and not read: the system reads what is looked at, and may let go of it
again. A smaller one may be written anew while the model is in use, as by another export; under a mapping that would show, and is
refused (`Mapped.check`)."""

SMALL = 2**20
"""Bytes of a part below which it is read even so."""

ALIGNED = 8
"""Parts that begin at no multiple of this are read, as their numbers could not be used where they lie."""


class Part(NamedTuple):
    """A part of a file: which file it is (device and number, so that two names of one are one), from where, how long."""

    file: tuple[int, int]
    offset: int
    length: int


@dataclass
class Mapped:
    """The files that are mapped into memory, each with what tells that it was written to: device, number, size and time.

    A copy, as in another process, has numbers of its own, and depends on no file.
    """

    files: dict[Path, tuple[int, ...]] = field(default_factory=dict)

    def add(self, path: Path, state: os.stat_result) -> None:
        """Note a file as it was before it was mapped."""
        self.files.setdefault(path, _as_it_is(state))

    def check(self) -> None:
        """Raise ModelError, which names the file, where one was written to: what is mapped may be other numbers now.

        One that was removed, or replaced by another file, is still what is mapped.
        """
        for path, before in self.files.items():
            try:
                now = _as_it_is(path.stat())
            except OSError:
                continue
            if now[:2] == before[:2] and now != before:
                raise ModelError(
                    f"{path}, in which weights of the model lie, was changed since the model was loaded, which maps it into "
                    "memory; load the model again"
                )

    def __reduce__(self) -> tuple[type[Mapped], tuple[()]]:
        """Return what a copy is made of."""
        return Mapped, ()


def _as_it_is(state: os.stat_result) -> tuple[int, ...]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


@dataclass
class Files:
    """The files beside a model (None: it is in memory), and what has been read of them.

    They are in its folder. Where the model's path is a link, they may be links, too, into the folder that it leads to: so a Hugging
    Face cache has them, `snapshots/<revision>/model.onnx` and `model.onnx_data` being links to two files in `blobs`. Whoever gives
    that path means that folder; to any other a file, which is not trusted, cannot lead.

    Weights that lie in files do not count against `reflrp.limits.MEMORY`, since whoever made them has paid for each byte.
    So a byte counts that is read a second time, and one that takes no room on the disk (a hole in a sparse file); and
    tensors that name the same part of a file share one array.
    """

    model: Path | None
    read: dict[tuple[int, int], int] = field(default_factory=dict)
    arrays: dict[tuple[Part, int, int], np.ndarray] = field(default_factory=dict)
    mapped: Mapped = field(default_factory=Mapped)

    def array(self, tensor: TensorProto) -> np.ndarray:
        """Return the array of a tensor whose data lie in a file.

        Raises ModelError where they do not, or do not fit its dims, and TooLarge.
        """
        path, part = self._find(tensor)
        count = prod(tensor.dims)
        key = (part, tensor.data_type, count)
        if key not in self.arrays:
            self.arrays[key] = unpacked(tensor, count, self._bytes(tensor, path, part))
        return self.arrays[key].reshape(tuple(tensor.dims))

    def put_in(self, tensor: TensorProto) -> None:
        """Put the data that a tensor keeps in a file into the tensor itself."""
        tensor.raw_data = bytes(self._bytes(tensor, *self._find(tensor)))
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]

    def _find(self, tensor: TensorProto) -> tuple[Path, Part]:
        info = {entry.key: entry.value for entry in tensor.external_data}
        location, where = info.get("location", ""), _where(tensor)
        if self.model is None:
            raise ModelError(f"{where}, which a model in memory cannot reach; load the model by its path")
        try:
            path = (self.model.parent / location).resolve()
            if not self._allowed(location, path):
                raise ModelError(_outside(where, location, path))
            if not path.is_file():
                raise ModelError(f"{where}, but {path} does not exist")
            state = path.stat()
            offset = int(info.get("offset", 0))
            length = int(info.get("length", state.st_size - offset))
        except (OSError, ValueError) as error:
            raise ModelError(f"{where}, which cannot be read: {error}") from error
        if offset < 0 or length < 0 or offset + length > state.st_size:
            raise ModelError(f"{where}, which is truncated: bytes {offset}..{offset + length} are not all there")
        return path, Part((state.st_dev, state.st_ino), offset, length)

    def _allowed(self, location: str, path: Path) -> bool:
        """Return whether what a location leads to may be read: it lies in the model's folder, or where its link leads to."""
        assert self.model is not None
        if Path(location).is_absolute():
            return False
        behind = ".." not in Path(location).parts and self.model.resolve().parent in path.parents
        return self.model.parent.resolve() in path.parents or behind

    def _bytes(self, tensor: TensorProto, path: Path, part: Part) -> bytes | np.ndarray:
        """Return a part of a file, a large one mapped; what is read beyond the bytes that it has on the disk counts."""
        state = path.stat()
        there = min(state.st_size, 512 * getattr(state, "st_blocks", state.st_size))
        before = self.read.get(part.file, 0)
        self.read[part.file] = after = before + part.length
        limits.hold(f"tensor {tensor.name!r}", max(0, after - there) - max(0, before - there))
        try:
            with path.open("rb") as file:
                if state.st_size >= MAPPED and part.length >= SMALL and part.offset % ALIGNED == 0:
                    self.mapped.add(path, os.fstat(file.fileno()))
                    return np.memmap(file, np.uint8, "r", part.offset, (part.length,))
                file.seek(part.offset)
                return file.read(part.length)
        except OSError as error:
            raise ModelError(f"{_where(tensor)}, which cannot be read: {error}") from error


def _where(tensor: TensorProto) -> str:
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    return f"tensor {tensor.name!r} keeps its data in {location!r}"


def _outside(where: str, location: str, path: Path) -> str:
    """Return in words why a file is not read, and what to do."""
    if Path(location).is_absolute() or ".." in Path(location).parts:
        return (
            f"{where}, outside the model's folder; reflrp refuses to read it: move it beside the model, and save the model "
            "with its bare name as location"
        )
    return (
        f"{where}, a link that leads out of the model's folder, to {path}; reflrp refuses to read it: put the file itself there "
        "(cp -L), or give the path of a model that is a link to the same folder, as in a Hugging Face cache"
    )


def unpacked(tensor: TensorProto, count: int, data: bytes | np.ndarray) -> np.ndarray:
    """Return so many numbers in a row; half-precision formats become float32."""
    dtype = dtype_of(tensor.data_type)
    try:
        if dtype is not None and dtype.kind in PLAIN and dtype.isbuiltin and dtype.itemsize * count == len(data):
            return widened(np.frombuffer(data, dtype))
        flat = TensorProto(data_type=tensor.data_type, dims=[count], raw_data=bytes(data))
        return widened(numpy_helper.to_array(flat))
    except MemoryError:
        raise
    except Exception as error:
        raise ModelError(
            f"tensor {tensor.name!r} cannot be read ({error}); the file is truncated or invalid"
        ) from error
