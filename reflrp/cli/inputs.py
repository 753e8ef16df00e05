"""What the command line reads: .npy and .npz arrays, and images, brought into the form that the model declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reflrp.errors import InputError

if TYPE_CHECKING:
    from reflrp.importer.source import Port
    from reflrp.model import Model

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Channel count -> Pillow's mode."""

DEEP = ("I", "I;16", "I;16B", "I;16L")
"""Pillow's modes of 16-bit grey images."""

LARGEST = 2**26
"""How many pixels an image may be resized to."""

Feeds = dict[str, np.ndarray]


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


def split_name(text: str) -> tuple[Path, str | None]:
    """Return the file and the array of `file.npz:array`; the array is None where no name follows."""
    path, colon, name = text.rpartition(":")
    if colon and not Path(text).exists() and path.lower().endswith(".npz"):
        return Path(path), name
    return Path(text), None


def read(model: Model, texts: Sequence[str], pixels: Pixels) -> tuple[Feeds, list[str]]:
    """Return the model's inputs by name, and notes on what was done to make them fit.

    Several images are one batch. Raises InputError for a missing or foreign file, and where it is unclear which array
    is meant for which input.
    """
    paths = [split_name(t)[0] for t in texts]
    missing = [str(p) for p in paths if not p.is_file()]
    if missing:
        raise InputError(f"there is no file {', '.join(missing)}")
    if all(p.suffix.lower() in PICTURES for p in paths):
        return _images(model, paths, pixels)
    if pixels != Pixels():
        raise InputError("--mean, --std, --scale, --size and --channels are for images; scale arrays yourself")
    if len(texts) > 1:
        raise InputError("give one .npy or .npz file (an .npz can hold several inputs), or images only")
    feeds, notes = _arrays(model, texts[0])
    return _with_batch(model, feeds, notes)


def _arrays(model: Model, text: str) -> tuple[Feeds, list[str]]:
    path, name = split_name(text)
    ports = model.source.inputs
    found = _opened(path)
    if isinstance(found, np.ndarray):
        return {_only(model, path): found}, []
    if name is not None:
        if name not in found:
            raise InputError(f"{path} holds no {name!r}, but {', '.join(found)}")
        return {_only(model, path): found[name]}, []
    if set(ports) <= set(found):
        unused = [k for k in found if k not in ports]
        return {k: found[k] for k in ports}, [f"{path.name}: {', '.join(unused)} not used"] if unused else []
    fitting = [k for k, a in found.items() if len(ports) == 1 and _fits(a, next(iter(ports.values())))]
    if len(fitting) != 1:
        raise InputError(
            f"{path} holds {', '.join(found)}, but the model expects {_expected(model)}{_hint(model, path)}"
        )
    return {_only(model, path): found[fitting[0]]}, [f"{path.name}: {fitting[0]!r} is taken for the input"]


def _hint(model: Model, path: Path) -> str:
    return f"; name the array: {path}:NAME" if len(model.source.inputs) == 1 else "; name the arrays like the inputs"


def _expected(model: Model) -> str:
    return "; ".join(f"{k}: {v}" for k, v in model.inputs.items())


def _opened(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    """Return the array of an .npy file, or the arrays of an .npz file by name."""
    try:
        data = np.load(path, allow_pickle=False)
        if isinstance(data, np.ndarray):
            return data
        with data:
            return {k: data[k] for k in data.files}
    except Exception as error:
        why = f": {error}" if path.suffix in (".npy", ".npz") else ""
        raise InputError(f"{path} is no .npy, .npz or image file that can be read{why}") from error


def _only(model: Model, path: Path) -> str:
    names = list(model.source.inputs)
    if len(names) != 1:
        raise InputError(
            f"{path} holds one array, but the model expects {_expected(model)}; give an .npz with these names"
        )
    return names[0]


def _fits(array: np.ndarray, port: Port) -> bool:
    if array.dtype.kind not in "fiub" or (array.dtype.kind == "f" and port.dtype.kind != "f"):
        return False
    if port.dims is None:
        return array.dtype.kind == port.dtype.kind
    shape = array.shape if array.ndim == len(port.dims) else (1, *array.shape)
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


def _images(model: Model, paths: list[Path], pixels: Pixels) -> tuple[Feeds, list[str]]:
    name = _only(model, paths[0])
    frame = _frame(model.source.inputs[name], pixels)
    size = pixels.size or ((frame.height, frame.width) if frame.height and frame.width else None)
    pictures = [_picture(p, frame.channels) for p in paths]
    notes = []
    if size is None and len({x.shape for x in pictures}) > 1:
        raise InputError("the images differ in size, and the model leaves its size open; give --size HEIGHTxWIDTH")
    if size is not None and any(x.shape[:2] != size for x in pictures):
        notes = [_resized(p, x, size) for p, x in zip(paths, pictures, strict=True) if x.shape[:2] != size]
        pictures = [_resize(x, size) for x in pictures]
    batch = np.stack([_scaled(x, pixels) for x in pictures])
    return {name: batch if frame.last else np.moveaxis(batch, 3, 1)}, notes


def _frame(port: Port, pixels: Pixels) -> Frame:
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


def _picture(path: Path, channels: int) -> np.ndarray:
    """Return an image as (H, W, C) floats in 0..255."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode in DEEP:
                grey = np.asarray(image, dtype=np.float64)[:, :, None] / 257
                return np.repeat(grey, channels, axis=2)
            pixels = np.asarray(image.convert(MODES[channels]), dtype=np.float64)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}") from error
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the image at (H, W), bilinear, with the mean over what a pixel covers where it shrinks."""
    from PIL import Image

    height, width = size
    if height * width > LARGEST:
        raise InputError(
            f"an image of {height}x{width} is beyond the limit of {LARGEST:,} pixels; give a smaller --size"
        )
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in np.moveaxis(picture, 2, 0)]
    done = [np.asarray(p.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float64) for p in planes]
    return np.stack(done, axis=2)


def _resized(path: Path, picture: np.ndarray, size: tuple[int, int]) -> str:
    height, width = picture.shape[:2]
    skewed = "" if height * size[1] == width * size[0] else "; its proportions change"
    return f"{path.name} is resized from {height}x{width} to {size[0]}x{size[1]}{skewed}"


def _scaled(picture: np.ndarray, pixels: Pixels) -> np.ndarray:
    channels = picture.shape[2]
    for option, given in (("--mean", pixels.mean), ("--std", pixels.std)):
        if len(given) not in (1, channels):
            raise InputError(f"{option} holds {len(given)} numbers; give one, or one for each of {channels} channels")
    x = pixels.low + (pixels.high - pixels.low) * picture / 255
    shifted: np.ndarray = (x - np.asarray(pixels.mean)) / np.asarray(pixels.std)
    return shifted
