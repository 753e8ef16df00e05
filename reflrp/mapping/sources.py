"""What data may be: arrays of which rows are read as they are needed, or an iterable that gives batch after batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from math import isnan
from typing import Any, Protocol, runtime_checkable

import numpy as np

from reflrp.batches import Feeds
from reflrp.errors import InputError, ReflrpError
from reflrp.ground import checks
from reflrp.mapping.changes import Change

WANTED = (
    "an array, a dict of arrays by input name, an iterable of batches, reflrp.Images, or the path of an .npy file, a zarr "
    "array or group, an HDF5 file or a folder of images"
)


@runtime_checkable
class Fitted(Protocol):
    """An array that is made to fit a model as it is read."""

    def changes(self, rows: slice) -> tuple[Change, ...]:
        """Return what was done to the rows that were read last, if they are these."""


@dataclass(frozen=True)
class Rows:
    """Arrays with the samples first, of any library that reads rows by `a[i:j]`.

    Attributes
    ----------
    arrays : dict
        By input name, those that have axes.
    shared : dict of array
        Inputs without axes, the same for all samples.
    count : int
        How many samples there are.

    """

    arrays: Mapping[str, Any]
    shared: Feeds
    count: int

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> Rows:
        """Return the rows of arrays by input name. Raises InputError where they do not have as many each."""
        rows = {name: a for name, a in arrays.items() if a.shape}
        for name, a in rows.items():
            if any(map(isnan, a.shape)):  # as dask says where it does not know
                what = "how many samples" if isnan(a.shape[0]) else "which shape"
                raise InputError(f"{what} {name!r} has is not known; call its compute_chunk_sizes() first")
        counts = {name: int(a.shape[0]) for name, a in rows.items()}
        if not rows:
            raise InputError("data has no axis for the samples; give arrays (samples, ...)")
        if len(set(counts.values())) > 1:
            raise InputError(f"data has not as many samples for each input: {counts}")
        count = next(iter(counts.values()))
        if not count:
            raise InputError("data holds no sample")
        return cls(rows, {name: checks.array(name, a) for name, a in arrays.items() if name not in rows}, count)

    @property
    def first(self) -> Feeds:
        """A stand-in for the first sample, of its shapes and dtypes."""
        return self.shared | {name: np.zeros((1, *a.shape[1:]), _dtype(name, a)) for name, a in self.arrays.items()}

    def chunks(self, size: int) -> Iterator[Feeds]:
        """Yield the samples in order, so many at a time; the last are as many as are left."""
        for start in range(0, self.count, size):
            yield self.shared | self.between(start, min(start + size, self.count))

    def changes(self, start: int, stop: int) -> tuple[Change, ...]:
        """Return what was done to the samples that were read last, from `start` to before `stop`, so that they fit the model."""
        rows = slice(start, stop)
        return tuple(c for a in self.arrays.values() if isinstance(a, Fitted) for c in a.changes(rows))

    def between(self, start: int, stop: int) -> Feeds:
        """Return the samples from `start` to before `stop` of what has axes."""
        return {name: read(name, a, start, stop) for name, a in self.arrays.items()}


def _dtype(name: str, array: Any) -> np.dtype[Any]:
    """Return the dtype that the rows of an array have once they are read; other libraries have words of their own for it."""
    try:
        found: np.dtype[Any] = np.dtype(array.dtype)
    except TypeError:
        return read(name, array, 0, 1).dtype
    return found


def read(name: str, array: Any, start: int, stop: int) -> np.ndarray:
    """Return some rows of an array. Raises InputError, which names them, where they cannot be read."""
    try:
        found = checks.array(name, array[start:stop])
    except ReflrpError:
        raise
    except Exception as error:  # whatever a library raises for a broken file
        raise InputError(f"the samples {start} to {stop - 1} of {name!r} cannot be read: {error}") from error
    if found.shape != (stop - start, *array.shape[1:]):
        raise InputError(
            f"the samples {start} to {stop - 1} of {name!r} have the shape {found.shape}, and not {array.shape[1:]} each"
        )
    if not found.dtype.isnative:
        return found.astype(found.dtype.newbyteorder("="))
    # what is explained, and what is recorded, are the same numbers
    return found if found.flags.owndata else checks.own(name, found)


@dataclass(frozen=True)
class Stream:
    """Batch after batch, of any lengths; it can be gone through once, and nobody knows how many there are."""

    name: str | None
    batches: Iterator[Any]
    first: Feeds
    count: None = None

    @classmethod
    def of(cls, name: str | None, data: Iterable[Any]) -> Stream:
        """Return the stream of an iterable, whose first batch is taken; `name` is the one input's, None where there are more."""
        try:
            batches = iter(data)
        except TypeError as error:
            raise checks.refuse("data", data, WANTED) from error
        for batch in batches:
            first = _feeds(name, batch)
            one = {
                k: (a[:1] if len(a) else np.zeros((1, *a.shape[1:]), a.dtype)) if a.ndim else a
                for k, a in first.items()
            }
            return cls(name, chain([first], batches), one)
        raise InputError("data holds no batch")

    def changes(self, start: int, stop: int) -> tuple[Change, ...]:
        """Return nothing: batches are taken as they come."""
        return ()

    def chunks(self, size: int) -> Iterator[Feeds]:
        """Yield the samples in order, so many at a time, however they came."""
        held: list[Feeds] = []
        there = 0
        for batch in self.batches:
            held.append(_feeds(self.name, batch))
            there += _length(held[-1])
            while there >= size:
                whole = _joined(held)
                yield {k: a[:size] if a.ndim else a for k, a in whole.items()}
                held, there = [{k: a[size:] if a.ndim else a for k, a in whole.items()}], there - size
        if there:
            yield _joined(held)


def _feeds(name: str | None, batch: Any) -> Feeds:
    """Return one batch by input name, in arrays of its own: whoever made it may fill the same ones with the next."""
    if isinstance(batch, list | tuple):
        raise InputError(
            "a batch of data is a list; give an array each, or a dict of arrays by input name: (x for x, label in data)"
        )
    if isinstance(batch, Mapping):
        parts = checks.mapping("a batch", batch, "a dict of arrays")
        return {k: checks.own(f"input {k!r}", a) for k, a in parts.items()}
    if name is None:
        raise InputError("the model has several inputs; give batches that are dicts of arrays by input name")
    return {name: checks.own("a batch of data", batch)}


def _length(feeds: Feeds) -> int:
    counts = {k: len(a) for k, a in feeds.items() if a.ndim}
    if len(set(counts.values())) != 1:
        raise InputError(f"a batch of data has not one number of samples for all inputs: {counts}")
    return next(iter(counts.values()))


def _joined(held: list[Feeds]) -> Feeds:
    """Return several parts as one. Raises InputError where they do not fit together."""
    if len(held) == 1:
        return held[0]
    if any(part.keys() != held[0].keys() for part in held):
        raise InputError("the batches of data are not of the same inputs")
    return {k: _one(k, [part[k] for part in held]) for k in held[0]}


def _one(name: str, parts: list[np.ndarray]) -> np.ndarray:
    first = parts[0]
    if any((p.shape[1:], p.dtype) != (first.shape[1:], first.dtype) for p in parts):
        found = ", ".join(dict.fromkeys(f"{p.dtype} {p.shape[1:]}" for p in parts))
        raise InputError(f"the batches of {name!r} differ: {found} for a sample")
    if first.ndim:
        return np.concatenate(parts)
    if any(not np.array_equal(first, p) for p in parts):
        raise InputError(f"{name!r} has no axes, and is not the same in all batches")
    return first


Source = Rows | Stream
