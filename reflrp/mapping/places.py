"""Data that lie in files: .npy, zarr, HDF5 and folders of images, opened and not read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from reflrp.errors import InputError
from reflrp.ground import checks
from reflrp.mapping.pictures import Images
from reflrp.mapping.sources import WANTED, Rows, Source, Stream
from reflrp.model import Model
from reflrp.storage.archive import MAGIC, Unreadable, read_header
from reflrp.storage.files import opened, why

HDF5 = b"\x89HDF\r\n\x1a\n"


def source_of(data: Any, model: Model) -> Source:
    """Return where the samples come from. Raises InputError for what holds none."""
    ports = model.source.inputs
    only = next(iter(ports)) if len(ports) == 1 else None
    found = data
    if isinstance(found, str | PathLike):
        found = _opened(checks.path("data", found), list(ports))
    if isinstance(found, Images):
        if only is None:
            raise InputError(f"the model has the inputs {list(ports)}; images are one")
        found = found.array(ports[only])
    if _is_array(found):
        if only is None:
            raise InputError(f"the model has the inputs {list(ports)}; give a dict of arrays by name")
        return Rows.of({only: found})
    if isinstance(found, Mapping):
        return Rows.of(_by_name(found, list(ports)))
    if isinstance(found, bytes | set | frozenset) or hasattr(found, "shape"):  # a sparse matrix has no rows to slice
        raise checks.refuse("data", data, WANTED)
    return Stream.of(only, found)


def _is_array(found: Any) -> bool:
    parts = ("shape", "dtype", "__getitem__")
    there = not isinstance(found, type) and all(hasattr(found, part) for part in parts)
    return there and isinstance(found.shape, tuple) and len(found.shape) > 0


def _by_name(found: Mapping[Any, Any], names: list[str]) -> dict[str, Any]:
    """Return the arrays of a dict, each with a shape and a dtype. Raises InputError where they are not the model's inputs."""
    if set(found) != set(names):
        raise InputError(f"data has the arrays {sorted(map(str, found))[:8]}, and the model the inputs {names}")
    return {k: found[k] if _is_array(found[k]) else checks.array(f"input {k!r}", found[k]) for k in names}


def _opened(path: Path, names: list[str]) -> Any:
    """Return what lies at a path: an array, a dict of arrays by name, or images; of an HDF5 file `file.h5:name` is one array."""
    where, colon, name = str(path).rpartition(":")
    if colon and not os.path.exists(path) and os.path.isfile(where):
        return _named(Path(where), name)
    if os.path.isdir(path):
        zarr_there = any(os.path.isfile(path / f) for f in ("zarr.json", ".zarray", ".zgroup"))
        return _zarr(path, names) if zarr_there else Images(path)
    with opened(path) as file:
        start = file.read(8)
    if start == HDF5:
        return _hdf5(path, names)
    if start.startswith(MAGIC):
        return _mapped(path)
    raise InputError(f"{path} is no .npy or HDF5 file; give {WANTED}")


def _mapped(path: Path) -> np.ndarray:
    """Return an .npy file as an array of which the system reads what is looked at."""
    try:
        with opened(path) as file:
            header = read_header(file)
            order: Any = "F" if header.fortran else "C"
            there = path.stat().st_size - header.length
            if there != header.size:
                raise Unreadable(f"its array {header.shape} takes {header.size:,} bytes and {there:,} are there")
            if not header.size:
                raise Unreadable("there is no sample in it")
            return np.memmap(file, header.dtype, "r", header.length, header.shape, order)
    except (Unreadable, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {why(error)}") from error


def _zarr(path: Path, names: list[str]) -> Any:
    zarr = library("zarr")
    try:
        found = zarr.open(path, mode="r")
        return found if isinstance(found, zarr.Array) else _members(path, found, names)
    except InputError:
        raise
    except Exception as error:  # whatever zarr raises for a broken store
        raise InputError(f"{path} cannot be read: {why(error)}") from error


def _hdf5(path: Path, names: list[str]) -> Any:
    return _members(path, _hdf5_file(path), names)


def _hdf5_file(path: Path) -> Any:
    h5py = library("h5py")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {why(error)}") from error


def _named(path: Path, name: str) -> Any:
    """Return the array of that very name in an HDF5 file, as `images` or `train/images`."""
    file = _hdf5_file(path)
    found = _member(file, name)
    if found is None:
        raise InputError(f"{path} holds no array {name!r}, but {sorted(file)[:8]}")
    return found


def _member(group: Any, name: str) -> Any:
    """Return an array of a group; None for what is none: a group, an array without a shape, a link to nothing."""
    try:
        found = group[name]
    except (KeyError, OSError, ValueError):
        return None
    return found if hasattr(found, "dtype") and getattr(found, "shape", None) is not None else None


def _members(path: Path, group: Any, names: list[str]) -> dict[str, Any]:
    """Return the arrays of a group that are called like the inputs; of one input alone, the only array there."""
    arrays = {k: a for k in group if (a := _member(group, k)) is not None}
    if set(names) <= set(arrays):
        return {k: arrays[k] for k in names}
    if len(names) == 1 and len(arrays) == 1:
        return {names[0]: next(iter(arrays.values()))}
    raise InputError(f"{path} holds the arrays {sorted(arrays)[:8]}, and the model has the inputs {names}")


def library(name: str) -> Any:
    """Import one of the libraries for large data. Raises InputError where it is not installed."""
    try:
        if name == "zarr":
            import zarr

            return zarr
        if name == "h5py":
            import h5py

            return h5py
        import dask.array
    except ImportError as error:
        raise InputError(f"this needs {name} ({error}); pip install 'reflrp[data]'") from error
    return dask.array
