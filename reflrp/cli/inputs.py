"""What the command line reads: .npy and .npz arrays, and images, brought into the form that the model declares."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp import limits
from reflrp.errors import InputError
from reflrp.mapping.images import Pixels, batch, format_of
from reflrp.storage.archive import MAGIC, ZIP, Archive, Header, Unreadable, read_npy
from reflrp.storage.files import opened

if TYPE_CHECKING:
    from reflrp.importer.source import Port
    from reflrp.model import Model

LISTED = 20
"""How many arrays of a file a message names."""

Feeds = dict[str, np.ndarray]


def split_name(text: str) -> tuple[Path, str | None]:
    """Return the file and the array of `file.npz:array`; the array is None where no name follows."""
    path, colon, name = text.rpartition(":")
    if colon and not os.path.exists(text) and path.lower().endswith(".npz"):
        return Path(path), name
    return Path(text), None


def read(model: Model, texts: Sequence[str], pixels: Pixels) -> tuple[Feeds, list[str]]:
    """Return the model's inputs by name, and notes on what was done to make them fit.

    Several images are one batch. Raises InputError for a missing or foreign file, and where it is unclear which array
    is meant for which input.
    """
    paths = [split_name(t)[0] for t in texts]
    kinds = [_kind(path) for path in paths]
    with limits.budget():
        if all(kind == "image" for kind in kinds):
            name = _only(model, paths[0])
            found, notes = batch(model.source.inputs[name], paths, pixels)
            return {name: found}, list(map(str, notes))
        if pixels != Pixels():
            raise InputError("--mean, --std, --scale, --size and --channels are for images; scale arrays yourself")
        if len(texts) > 1:
            raise InputError("give one .npy or .npz file (an .npz can hold several inputs), or images only")
        return _with_batch(model, *_arrays(model, texts[0], kinds[0]))


def _kind(path: Path) -> str:
    """Return what a file is, by how it begins: image, npy or npz."""
    if not os.path.exists(path):  # whatever stands in the way of looking
        raise InputError(f"there is no file {path}")
    with opened(path) as file:
        start = file.read(16)
    if format_of(start):
        return "image"
    if not start.startswith((MAGIC, *ZIP)):
        raise InputError(f"{path} is no .npy, .npz or image file that can be read")
    return "npy" if start.startswith(MAGIC) else "npz"


def _arrays(model: Model, text: str, kind: str) -> tuple[Feeds, list[str]]:
    path, name = split_name(text)
    try:
        with opened(path) as file:
            if kind == "npy":
                return {_only(model, path): read_npy(file, str(path))}, []
            return _members(model, path, name, Archive(file, str(path)))
    except Unreadable as error:
        raise InputError(f"{path} is no .npy, .npz or image file that can be read: {error}") from error


def _members(model: Model, path: Path, name: str | None, found: Archive) -> tuple[Feeds, list[str]]:
    """Return the arrays of an .npz that are meant; no other is unpacked."""
    ports = model.source.inputs
    if name is not None:
        if name not in found.names:
            raise InputError(f"{path} holds no {name!r}, but {_listed(found.names)}")
        return {_only(model, path): found.read(name)}, []
    if set(ports) <= set(found.names):
        unused = [k for k in found.names if k not in ports]
        return {k: found.read(k) for k in ports}, [f"{path.name}: {_listed(unused)} not used"] if unused else []
    fitting = [k for k in found.names if len(ports) == 1 and _fits(found, k, ports)]
    if len(fitting) != 1:
        raise InputError(
            f"{path} holds {_listed(found.names)}, but the model expects {_expected(model)}{_hint(model, path)}"
        )
    note = f"{path.name}: {fitting[0]!r} is taken for the input"
    return {_only(model, path): found.read(fitting[0])}, [note]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (", ".join(names[:LISTED]) or "nothing") + more


def _hint(model: Model, path: Path) -> str:
    return f"; name the array: {path}:NAME" if len(model.source.inputs) == 1 else "; name the arrays like the inputs"


def _expected(model: Model) -> str:
    return "; ".join(f"{k}: {v}" for k, v in model.inputs.items())


def _only(model: Model, path: Path) -> str:
    names = list(model.source.inputs)
    if len(names) != 1:
        raise InputError(
            f"{path} holds one array, but the model expects {_expected(model)}; give an .npz with these names"
        )
    return names[0]


def _fits(found: Archive, name: str, ports: Mapping[str, Port]) -> bool:
    """Return whether a member could be the one input, by its header; what is no array of numbers could not."""
    (port,) = ports.values()
    try:
        header: Header = found.header(name)
    except Unreadable:
        return False
    if header.dtype.kind == "f" and port.dtype.kind != "f":
        return False
    if port.dims is None:
        return header.dtype.kind == port.dtype.kind
    shape = header.shape if len(header.shape) == len(port.dims) else (1, *header.shape)
    return _matches(shape, port.dims)


def _matches(shape: tuple[int, ...], dims: tuple[Any, ...]) -> bool:
    return len(shape) == len(dims) and all(not isinstance(d, int) or d == n for n, d in zip(shape, dims, strict=True))


def _with_batch(model: Model, feeds: Feeds, notes: list[str]) -> tuple[Feeds, list[str]]:
    """Put a batch axis before arrays that only lack it."""
    ports = model.source.inputs
    lacking = [
        k for k, a in feeds.items() if ports[k].dims is not None and _matches((1, *a.shape), ports[k].dims or ())
    ]
    if len(lacking) < len(feeds):
        return feeds, notes
    return {k: a[None] for k, a in feeds.items()}, [*notes, "the input has no batch axis and is taken as one sample"]
