"""`Explainer.map`: chunk after chunk explained, given or stored."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reflrp.errors import InputError
from reflrp.explanation import Explanation
from reflrp.ground import checks
from reflrp.ground.progress import bar
from reflrp.limits import guarded
from reflrp.mapping import lazy
from reflrp.mapping.changes import Changes, summed
from reflrp.mapping.identity import Identity, identity_of
from reflrp.mapping.places import library, source_of
from reflrp.mapping.results import arrays_of
from reflrp.mapping.sources import Rows
from reflrp.mapping.store import Store, opened, said
from reflrp.mapping.work import Asked, Chunk, Explains, Work
from reflrp.seeds import Target


class Maps:
    """What can be called with more data than memory holds."""

    @guarded("the explanation")
    def map(
        self: Explains,
        data: Any,
        out: str | Path | None = None,
        *,
        target: Target = None,
        init: Any = "output",
        layers: bool | str | Sequence[str] | None = False,
        conditions: Mapping[str, Sequence[int]] | None = None,
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> Any:
        """Explain more data than memory holds: read chunk by chunk, explained, and written to a zarr store or given one by one.

        Parameters
        ----------
        data : array, dict of arrays, iterable of batches, reflrp.Images, path, or dask array
            The samples: an array, a NumPy memory map, a zarr array or an h5py dataset, or a dict of such by input name; an
            iterable of batches of any lengths; the path of an .npy, a zarr, an HDF5 file (`file.h5:name`) or a folder of images.
        out : path, optional
            Where the zarr group is, or is to be. What is there of this model, these rules, targets and data is gone on with.
        target, init, layers, conditions
            As in a call; a target for each sample, and an init, in the order of all samples.
        batch_size : int, optional
            Samples a chunk, which are read, explained and written at once. None: the explainer's, else as many as keep their
            values within 512 MiB; of dask arrays, their own chunks.
        progress : bool, optional
            Whether to show a bar. None: on a terminal, when the work takes more than a second.

        Returns
        -------
        generator of Explanation, zarr.Group, or Lazy
            Without `out` an explanation a chunk. With `out` the group, opened for reading: `relevance/<input>`, `output`,
            `target`, `layer/<value>`, each with the samples first, and metadata. Of dask arrays, without `out`, dask arrays.

        Raises
        ------
        InputError
            For data that do not fit, samples that cannot be shown not to influence one another, and a store of something else.

        See docs/big_data.md.

        Examples
        --------
        >>> explainer.map("x.npy", out="relevance.zarr")["relevance/image"][:3]  # doctest: +SKIP

        """
        return mapped(self, data, out, Asked(target, init, layers, conditions, batch_size, progress))


def mapped(explainer: Explains, data: Any, out: Any, asked: Asked) -> Any:
    """Explain a data set: return a generator of explanations or, with `out`, the zarr group that they were written to."""
    place = None if out is None else checks.path("out", out)
    if place is not None and explainer.dtype == "exact":
        raise InputError("fractions are not stored: their digits have no bound; explain without out=")
    if place is not None:
        library("zarr")
    source = source_of(data, explainer.model)
    size = None if asked.batch_size or place is None else _size_at(place)
    if isinstance(source, Rows) and any(map(lazy.is_lazy, source.arrays.values())):
        return _by_dask(explainer, asked, source, place, size)
    work = Work.of(explainer, asked, source, size)
    return _explanations(work) if place is None else stored(work, place)


def _by_dask(explainer: Explains, asked: Asked, source: Rows, place: Path | None, size: int | None) -> Any:
    if asked.progress:
        raise InputError("dask shows its own progress: its dashboard, or dask.diagnostics; leave progress out")
    if place is None:
        return lazy.lazy(explainer, asked, source)
    lazy.stored(explainer, asked, source, place, size)
    return library("zarr").open_group(place, mode="r")


def _explanations(work: Work) -> Iterator[Explanation]:
    with bar(work.asked.progress, work.source.count) as step:
        for chunk in work.chunks():
            e = work.explained(chunk)
            e = replace(e, notes=(*e.notes, *summed(chunk.changes)))
            for _ in range(chunk.start, chunk.stop):
                step()
            yield e


def stored(work: Work, path: Path) -> Any:
    """Explain what a store lacks, and return the store, opened for reading."""
    identity, stop, changes = identity_of(work), 0, Changes()
    with opened(path, identity, work.size) as store, bar(work.asked.progress, work.source.count) as step:
        for chunk in work.chunks():
            if not store.done(chunk):
                write(store, work, chunk, identity)
            stop = chunk.stop
            changes.add(chunk.changes)
            for _ in range(chunk.start, stop):
                step()
        store.finish(stop, changes.notes())
    return library("zarr").open_group(path, mode="r")


def write(store: Store, work: Work, chunk: Chunk, identity: Identity) -> None:
    """Explain a chunk and write it."""
    e = work.explained(chunk)
    arrays = arrays_of(e, work.contrasts)
    if chunk.start == 0:
        store.create(identity, said(e), arrays, work.source.count)
    store.write(chunk, arrays)


def _size_at(path: Path) -> int | None:
    """Return how many samples a chunk of the store at a path has; None where there is no store."""
    if not os.path.isfile(path / "zarr.json"):
        return None
    try:
        size = library("zarr").open_group(path, mode="r").attrs["reflrp"]["chunk"]
    except Exception:  # no group, or none of reflrp's: who opens it says so
        return None
    return size if type(size) is int and size > 0 else None
