"""Folders of images as an array of which nothing is decoded before it is read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp.errors import InputError
from reflrp.ground import checks
from reflrp.mapping.changes import Change
from reflrp.mapping.images import MODES, Pixels, batch, format_of
from reflrp.storage.files import opened, why

if TYPE_CHECKING:
    from reflrp.importer.source import Port


@dataclass(frozen=True)
class Images:
    """Images in files, for `Explainer.map`: decoded when their turn comes, and brought into the form that the model declares.

    A pixel p of 0..255 becomes (low + (high - low) * p / 255 - mean) / std, a channel by itself.

    Parameters
    ----------
    where : path, or sequence of paths
        A folder, all of whose files are images (those whose names begin with a dot aside), also in its folders, in the order
        of their names; or the files, in your order.
    scale : (low, high), default (0, 1)
        What black and white become.
    mean, std : float or sequence of float
        One number, or one a channel.
    size : (height, width), optional
        Where the model leaves it open. Images of another size are resized, bilinear.
    channels : int, optional
        1 or 3, where the model leaves it open.

    Attributes
    ----------
    paths : tuple of Path
        The files, in the order of the rows of the answer.

    Raises
    ------
    InputError
        For arguments that do not fit; for a folder without images, or with a file that is none.

    Examples
    --------
    >>> explainer.map(reflrp.Images("photos", mean=(0.485, 0.456, 0.406)), out="photos.zarr")  # doctest: +SKIP

    """

    where: Any
    scale: tuple[float, float] = (0.0, 1.0)
    mean: float | Sequence[float] = 0.0
    std: float | Sequence[float] = 1.0
    size: tuple[int, int] | None = None
    channels: int | None = None
    pixels: Pixels = field(init=False, repr=False)
    paths: tuple[Path, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the arguments, and look for the files."""
        low, high = _numbers("scale", self.scale, 2)
        std = _numbers("std", self.std)
        if 0 in std:
            raise checks.refuse("std", self.std, "numbers other than 0")
        if self.channels is not None and checks.whole("channels", self.channels, 1) not in MODES:
            raise checks.refuse("channels", self.channels, "1, 3 or 4")
        pixels = Pixels(low, high, _numbers("mean", self.mean), std, _size(self.size), self.channels)
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "paths", _paths(self.where))

    def array(self, port: Port) -> Decoded:
        """Return the images as an array in the form that an input of a model declares."""
        (first,) = batch(port, self.paths[:1], self.pixels)[0]
        return Decoded(self.paths, self.pixels, port, (len(self.paths), *first.shape), first.dtype)


@dataclass(frozen=True)
class Decoded:
    """The array (samples, ...) of images; `a[i:j]` reads and decodes those files."""

    paths: tuple[Path, ...]
    pixels: Pixels
    port: Port
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    last: list[tuple[slice, list[Change]]] = field(default_factory=list, repr=False)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return some of the images."""
        found, changes = batch(self.port, self.paths[rows], self.pixels)
        self.last[:] = [(rows, changes)]
        return found

    def changes(self, rows: slice) -> tuple[Change, ...]:
        """Return what was done to the images that were read last, if they are these."""
        return tuple(c for there, changes in self.last for c in changes if there == rows)


def _numbers(name: str, value: Any, count: int | None = None) -> tuple[float, ...]:
    listed = (value,) if checks.is_number(value) else value
    rows = (isinstance(listed, np.ndarray) and listed.ndim == 1) or isinstance(listed, Sequence)
    fits = rows and not isinstance(listed, str) and all(map(checks.is_number, listed))
    if not fits or len(listed) != (count or len(listed)) or not len(listed):
        raise checks.refuse(name, value, f"{count} numbers" if count else "a number, or one a channel")
    return tuple(map(float, listed))


def _size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    sides = tuple(checks.whole("size: a side", n, 1) for n in checks.shape("size", value))
    if len(sides) != 2:
        raise checks.refuse("size", value, "(height, width)")
    return sides[0], sides[1]


def _paths(where: Any) -> tuple[Path, ...]:
    if not isinstance(where, str | PathLike):
        listed = checks.listed_things("where", where, "a folder, or a list of files")
        paths = tuple(checks.path("where: a file", p) for p in listed)
    else:
        folder = checks.path("where", where)
        if not os.path.isdir(folder):
            raise InputError(f"{folder} is no folder")
        paths = tuple(sorted(_files(folder)))
    if not paths:
        raise InputError(f"there are no images in {checks.shown(where)}")
    for path in paths:
        _check_kind(path)
    return paths


def _files(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Yield what a folder and its folders hold beside folders; links are followed, and hidden names left out.

    Raises InputError for a folder that cannot be read, and for a link that leads round: no image is left out unseen.
    """
    try:
        state, names = folder.stat(), sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {why(error)}") from error
    here = state.st_dev, state.st_ino
    if here in above:
        raise InputError(f"{folder} is a link to a folder that it lies in; give the files")
    for path in (folder / name for name in names if not name.startswith(".")):
        if os.path.isdir(path):
            yield from _files(path, above | {here})
        else:
            yield path


def _check_kind(path: Path) -> None:
    with opened(path) as file:
        if format_of(file.read(16)) is None:
            raise InputError(f"{path} is no image file that can be read; give the files, or a folder of images alone")
