"""Resize and Upsample as one matrix an axis: which entries an output takes, and how much of each.

Where onnxruntime and ONNX's reference code differ, this follows the standard's text:

- an output axis of length 1 with pytorch_half_pixel takes the coordinate 0 (the reference code: -0.5),
- align_corners with scales counts with scale times length, as the standard's own tests do (onnxruntime: with the output's
  length in whole entries),
- an axis whose length stays is resized all the same where its scale is not 1 (onnxruntime copies the input where no length
  changes, and with antialias),
- nearest rounds coordinates that were computed in float32, as they are where a model runs (the reference code: float64), and
  those that are half of an entry off but for 1e-6 are so, as in onnxruntime 1.31,
- Resize of opset 10, of which the standard gives no formula, takes the entry below, or above where it shrinks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from reflrp.arrays.tracing.dims import Dim, bounds, example, is_open, whole
from reflrp.arrays.tracing.spans import check_room
from reflrp.importer.site import Site, Unbuildable, sized
from reflrp.ir import Shape
from reflrp.ops.openmaps import ROUNDINGS, rounded

RATIO = 0.0
"""The scale of an axis that grows by the ratio of two lengths, of which one is left open."""

FINEST, COARSEST = 64, 4096
"""Denominator and numerator of scales by which an open length has a formula: their products are whole numbers in float32, too."""


@dataclass(frozen=True)
class Resampling:
    """How every axis is resized: its scale, its new length, and the attributes that say how entries are weighed."""

    mode: str
    transformation: str
    nearest: str
    scales: tuple[float, ...]
    target: Shape
    by_scales: bool
    cubic: float = -0.75
    antialias: bool = False
    exclude_outside: bool = False

    def matrix(self, axis: int, size: int) -> np.ndarray | None:
        """Return the matrix (out, in) along an axis of `size` entries; None where it stays as it is."""
        scale, out = self.scales[axis], self.target[axis]
        if scale == 1 and out == size:
            return None
        sized((out, size))  # before the weights are worked out, which are as many as there are outputs
        found = self._nearest(scale, size, out) if self.mode == "nearest" else self._weighed(scale, size, out)
        return None if found.shape == (size, size) and bool((found == np.eye(size)).all()) else found

    def _nearest(self, scale: float, size: int, out: int) -> np.ndarray:
        places = np.arange(out, dtype=np.float32)
        x = _coordinate(self.transformation, places, np.float32(scale), size, out, self.by_scales)
        rounded = _rounding(self.nearest, scale)(x)
        matrix = np.zeros((out, size))
        matrix[np.arange(out), np.clip(rounded, 0, size - 1).astype(np.int64)] = 1
        return matrix

    def _weighed(self, scale: float, size: int, out: int) -> np.ndarray:
        """Return the weights of a kernel around each output's coordinate; beyond the border, the edge counts again."""
        kernel, reach = _kernel(self.mode, self.cubic)
        x = _coordinate(self.transformation, np.arange(out, dtype=np.float64), scale, size, out, self.by_scales)
        shrink = min(scale, 1.0) if self.antialias else 1.0
        wide = int(np.ceil(reach / shrink))
        sized((out, 2 * wide + 2))
        around = np.arange(-wide, wide + 2)
        places = np.floor(x)[:, None] + around
        weights = kernel(np.abs(places - x[:, None]) * shrink)
        if self.exclude_outside:
            weights = np.where((places < 0) | (places >= size), 0, weights)
        if self.exclude_outside or self.antialias:
            weights = weights / weights.sum(axis=1, keepdims=True)
        matrix = np.zeros((out, size))
        np.add.at(matrix, (np.arange(out)[:, None], np.clip(places, 0, size - 1).astype(np.int64)), weights)
        return matrix


def resampling(site: Site, shape: Shape) -> Resampling:
    """Return how a Resize or Upsample node changes an input of a shape."""
    if site.op_type == "Upsample" or site.opset < 11:
        return _old(site, shape)
    transformation = site.attr("coordinate_transformation_mode", "half_pixel")
    if transformation == "tf_crop_and_resize":
        raise Unbuildable("crop and resize has no rule")
    scales, target = _extents(site, shape)
    return Resampling(
        site.attr("mode", "nearest"),
        transformation,
        site.attr("nearest_mode", "round_prefer_floor"),
        scales,
        sized(target),
        site.has(2) and bool(site.const(2).size),
        site.attr("cubic_coeff_a", -0.75),
        bool(site.attr("antialias", 0)),
        bool(site.attr("exclude_outside", 0)),
    )


def _old(site: Site, shape: Shape) -> Resampling:
    """Return a resampling of before opset 11: coordinates are asymmetric."""
    scales = site.attr("scales") if site.attr("scales") else site.const(1)
    if scales is None:
        raise Unbuildable("it has no scales")
    mode = {"bilinear": "linear"}.get(site.attr("mode", "nearest"), site.attr("mode", "nearest"))
    return Resampling(mode, "asymmetric", "simple", *_by_scales(np.ravel(scales), shape, range(len(shape))), True)


def _extents(site: Site, shape: Shape) -> tuple[tuple[float, ...], Shape]:
    """Return the scale and the new length of every axis."""
    axes = [site.axis(int(a), len(shape)) for a in site.attr("axes") or range(len(shape))]
    scales = site.const(2) if site.has(2) and site.const(2).size else None
    if scales is not None:
        return _by_scales(np.ravel(scales), shape, axes)
    if not site.has(3):
        raise Unbuildable("it has neither scales nor sizes")
    return _by_sizes(site, [whole(n) for n in np.ravel(site.const(3))], shape, axes)


def _by_scales(scales: np.ndarray, shape: Shape, axes: Any) -> tuple[tuple[float, ...], Shape]:
    given = dict(zip(axes, (float(s) for s in scales), strict=False))
    if len(scales) != len(given) or not np.isfinite(scales).all() or min(given.values(), default=1) <= 0:
        raise Unbuildable(f"its scales {np.ravel(scales).tolist()} do not fit its input of shape {shape}")
    every = tuple(given.get(i, 1.0) for i in range(len(shape)))
    return every, tuple(_scaled(n, s) for n, s in zip(shape, every, strict=True))


def _scaled(n: int, scale: float) -> int:
    """Return the whole part of a length times a scale: a formula where the length is open and the scale a plain fraction."""
    if not isinstance(n, Dim):
        return int(np.floor(np.float32(n) * np.float32(scale)))
    over, under = scale.as_integer_ratio()
    if under > FINEST or over > COARSEST:
        raise Unbuildable(f"an axis of the open length {n} becomes {scale} times as long, which is no plain fraction")
    needed = 1 if under == 1 else ceil(1 / scale) if scale < 1 else ceil(1 / (scale - 1))
    check_room(n, needed)  # no entry is left of shorter ones, or they stay as long, and onnxruntime copies them
    if bounds(n, needed)[0] < 0:
        raise Unbuildable(
            f"an axis of the open length {n} may be shorter than {needed}, and becomes {scale} times as long"
        )
    return over * n // under


def _by_sizes(site: Site, sizes: list[int], shape: Shape, axes: list[int]) -> tuple[tuple[float, ...], Shape]:
    given = dict(zip(axes, sizes, strict=False))
    if len(sizes) != len(given) or 0 in shape:
        raise Unbuildable(f"its sizes {sizes} do not fit its input of shape {shape}")
    policy = site.attr("keep_aspect_ratio_policy", "stretch")
    target = tuple(given.get(i, n) for i, n in enumerate(shape))
    if policy == "stretch":
        return tuple(_ratio(m, n) for n, m in zip(shape, target, strict=True)), target
    if is_open((*shape, *target)):
        raise Unbuildable(f"its keep_aspect_ratio_policy {policy!r} depends on lengths that are left open")
    if policy not in ("not_larger", "not_smaller"):
        raise Unbuildable(f"its keep_aspect_ratio_policy {policy!r} is unknown")
    scale = (min if policy == "not_larger" else max)(m / shape[i] for i, m in given.items())
    every = tuple(scale if i in given else 1.0 for i in range(len(shape)))
    return every, tuple(int(np.floor(n * s + 0.5)) for n, s in zip(shape, every, strict=True))


def _ratio(target: int, n: int) -> float:
    """Return by how much a length grows; where it is left open, a whole number by which it does so at all lengths, else RATIO."""
    if not is_open((target, n)):
        return target / n
    times = example(target) // max(example(n), 1)
    return float(times) if times and target == times * n else RATIO


def _coordinate(
    transformation: str, places: np.ndarray, scale: Any, size: int, out: int, by_scales: bool
) -> np.ndarray:
    """Return where each output lies in the input, in the dtype of `places`."""
    number = places.dtype.type
    if transformation == "asymmetric":
        return np.asarray(places / scale)
    if transformation == "align_corners":
        length = number(scale) * number(size) if by_scales else number(out)
        return np.asarray(places * number(size - 1) / (length - number(1)) if out > 1 else 0 * places)
    if transformation == "tf_half_pixel_for_nn":
        return np.asarray((places + number(0.5)) / scale)
    if transformation == "pytorch_half_pixel" and out == 1:
        return 0 * places
    if transformation == "half_pixel_symmetric":
        offset = number(size) / number(2) * (number(1) - number(out) / (scale * number(size)))
        return np.asarray(float(offset) + (np.float64(places) + 0.5) / float(scale) - 0.5).astype(places.dtype)
    if transformation in ("half_pixel", "pytorch_half_pixel"):
        return np.asarray((places + number(0.5)) / scale - number(0.5))
    raise Unbuildable(f"its coordinate_transformation_mode {transformation!r} is unknown")


def _kernel(mode: str, a: float) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Return how much an entry at a distance counts, and the distance from which on it does not."""
    if mode == "linear":
        return lambda d: np.maximum(0, 1 - d), 1
    if mode != "cubic":
        raise Unbuildable(f"its mode {mode!r} is unknown")

    def cubic(d: np.ndarray) -> np.ndarray:
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    return cubic, 2


def _rounding(mode: str, scale: float) -> Callable[[np.ndarray], np.ndarray]:
    if mode == "simple":
        mode = "ceil" if scale < 1 else "floor"
    if mode not in ROUNDINGS:
        raise Unbuildable(f"its nearest_mode {mode!r} is unknown")
    return lambda x: rounded(x, mode)
