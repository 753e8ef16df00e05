"""Images as arrays. Only formats on a list are decoded, and none whose size has not been checked first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp import limits
from reflrp.errors import InputError, ReflrpError, TooLarge
from reflrp.ground.quiet import quiet
from reflrp.mapping.changes import Change
from reflrp.storage.files import opened, why

if TYPE_CHECKING:
    from PIL.Image import Image

    from reflrp.importer.source import Port

FORMATS = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "BMP": (b"BM",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "WEBP": (b"RIFF",),
}
"""The formats that are read -> how their files begin. Others would start programs, as EPS does Ghostscript."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Channel count -> Pillow's mode."""

DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of grey images with 16 bits."""

SEVERAL = "holds several images, and the first is taken"

LARGEST = 2**26
"""How many pixels an image may have, and may be resized to."""

LONGEST = 2**16
"""How long a side of an image may be."""


@dataclass(frozen=True)
class Pixels:
    """How images become numbers: (low + (high - low) * pixel / 255 - mean) / std, per channel; size as (H, W)."""

    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    size: tuple[int, int] | None = None
    channels: int | None = None


@dataclass(frozen=True)
class Frame:
    """The images that a model takes: channels, height and width (None: any), and whether channels come last."""

    channels: int
    height: int | None
    width: int | None
    last: bool


def format_of(start: bytes) -> str | None:
    """Return the format of a file that begins so; None where it is no image that is read."""
    return next((k for k, starts in FORMATS.items() if start.startswith(starts)), None)


def batch(port: Port, paths: Sequence[Path], pixels: Pixels) -> tuple[np.ndarray, list[Change]]:
    """Return images as one batch in the form that the port declares, and what was done to make them fit."""
    frame = frame_of(port, pixels)
    _check_numbers(frame.channels, pixels)
    size = pixels.size or ((frame.height, frame.width) if frame.height and frame.width else None)
    if size is not None and (size[0] * size[1] > LARGEST or max(size) > LONGEST):
        raise InputError(
            f"an image of {size[0]}x{size[1]} is beyond the limit of {LARGEST:,} pixels, {LONGEST:,} on a side; "
            "give a smaller --size"
        )
    found: list[np.ndarray] = []
    notes: list[Change] = []
    for path in paths:
        one, said = picture(path, frame.channels)
        notes += said
        if size is not None and one.shape[:2] != size:
            notes.append(_resized(path, one, size))
            one = _resize(one, size)
        if found and one.shape != found[0].shape:
            raise InputError("the images differ in size, and the model leaves its size open; give --size HEIGHTxWIDTH")
        limits.hold(str(path), 3 * one.nbytes)  # itself, its place in the batch, and the batch scaled
        found.append(one)
    whole = _scaled(np.stack(found), pixels)
    return whole if frame.last else np.moveaxis(whole, 3, 1), notes


def frame_of(port: Port, pixels: Pixels) -> Frame:
    """Return which images a model takes, by its declared shape; channels come first unless the shape says otherwise."""
    dims = port.dims or (None, None, None, None)
    if len(dims) != 4 or port.dtype.kind != "f":
        raise InputError(f"the model expects {port}, which is no image (N, C, H, W) or (N, H, W, C); give an .npy file")
    last = dims[1] not in MODES and dims[3] in MODES
    channels, height, width = (dims[3], dims[1], dims[2]) if last else dims[1:]
    if not isinstance(channels, int):
        if pixels.channels is None:
            raise InputError(f"the model expects {port} and leaves its channels open; give --channels 1 or 3")
        channels = pixels.channels
    if channels not in MODES or pixels.channels not in (None, channels):
        raise InputError(f"the model expects {port}: images have 1, 3 or 4 channels; give an .npy file")
    height, width = (n if isinstance(n, int) else None for n in (height, width))
    return Frame(channels, height, width, last)


def picture(path: Path, channels: int) -> tuple[np.ndarray, list[Change]]:
    """Return an image as (H, W, C) floats in 0..255, and what was left out. Raises InputError or TooLarge, which name the file."""
    from PIL import ImageOps

    with _named(path), opened(path) as file:
        start = file.read(16)
        file.seek(0)
        with _image(file, format_of(start)) as image:
            _check_size(path, image, channels)
            several = bool(getattr(image, "is_animated", False)) and image.format != "MPO"
            notes = [Change(path.name, SEVERAL, SEVERAL.replace("holds", "hold"))] * several
            return _pixels(ImageOps.exif_transpose(image), channels), notes


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file in whatever goes wrong in it."""
    from PIL.Image import DecompressionBombError, DecompressionBombWarning

    try:
        with quiet():
            yield
    except ReflrpError:
        raise
    except (MemoryError, DecompressionBombError, DecompressionBombWarning) as error:
        raise TooLarge(f"{path} is too large for an image: {why(error)}") from error
    except Exception as error:  # Pillow's decoders raise whatever a broken file makes them stumble over
        raise InputError(f"{path} cannot be read as an image: {why(error)}") from error


def _image(file: Any, form: str | None) -> Image:
    """Open an image in one of the formats that are read; only its header is looked at."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(file, formats=(form,) if form else ())
    except UnidentifiedImageError as error:
        raise ValueError(f"it is broken, or none of {', '.join(FORMATS)}") from error


def _check_size(path: Path, image: Image, channels: int) -> None:
    width, height = image.size
    if width * height > LARGEST or max(width, height) > LONGEST:
        raise TooLarge(f"{path} has {width}x{height} pixels; the limit is {LARGEST:,} pixels, {LONGEST:,} on a side")
    limits.check_array(str(path), (height, width, channels + 2))  # and Pillow's own, of up to 4 bytes and twice


def _pixels(image: Image, channels: int) -> np.ndarray:
    if image.mode in DEEP:
        return _deep(image, channels)
    if image.mode == "F":
        raise ValueError("it holds floating point numbers of no known range; save them as .npy")
    pixels = np.asarray(image.convert(MODES[channels]), dtype=np.float64)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _deep(image: Image, channels: int) -> np.ndarray:
    """Return a grey image of 16 bits; it covers what is behind it."""
    grey = np.asarray(image, dtype=np.float64)[:, :, None]
    if grey.min(initial=0) < 0 or grey.max(initial=0) > 65535:
        raise ValueError("its numbers are not within 16 bits; save them as .npy")
    found = np.repeat(grey / 257, channels, axis=2)
    if channels == 4:
        found[:, :, 3] = 255
    return found


def _resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the image at (H, W), bilinear, with the mean over what a pixel covers where it shrinks."""
    from PIL import Image

    limits.check_array("an image at that --size", (*size, 2 * picture.shape[2]))
    height, width = size
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in np.moveaxis(picture, 2, 0)]
    done = [np.asarray(p.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float64) for p in planes]
    return np.stack(done, axis=2)


def _resized(path: Path, picture: np.ndarray, size: tuple[int, int]) -> Change:
    height, width = picture.shape[:2]
    skewed = "" if height * size[1] == width * size[0] else "; {} proportions change"
    to = f"to {size[0]}x{size[1]}"
    return Change(
        path.name,
        f"is resized from {height}x{width} {to}{skewed.format('its')}",
        f"are resized {to}{skewed.format('their')}",
    )


def _check_numbers(channels: int, pixels: Pixels) -> None:
    for option, given in (("--mean", pixels.mean), ("--std", pixels.std)):
        if len(given) not in (1, channels):
            raise InputError(f"{option} holds {len(given)} numbers; give one, or one for each of {channels} channels")


def _scaled(picture: np.ndarray, pixels: Pixels) -> np.ndarray:
    x = pixels.low + (pixels.high - pixels.low) * picture / 255
    shifted: np.ndarray = (x - np.asarray(pixels.mean)) / np.asarray(pixels.std)
    return shifted
