"""Builders of signals: the discrete Fourier transform as a dense map, and sums of windows (Col2Im)."""

from __future__ import annotations

from math import prod

import numpy as np

from reflrp.arrays import ZERO
from reflrp.importer.decompose import call
from reflrp.importer.site import Made, Ref, Site, Unbuildable, builds
from reflrp.importer.windows.geometry import conv_windows, window_places
from reflrp.ir import Shape
from reflrp.ops.linear import Dense
from reflrp.ops.picking import ScatterSum
from reflrp.ops.routing import Reshape, Transpose


@builds("DFT")
def fourier(site: Site) -> Ref:
    """The discrete Fourier transform along an axis: one dense map of real and imaginary parts to both."""
    x, inverse, onesided = site.ref(), bool(site.attr("inverse", 0)), bool(site.attr("onesided", 0))
    axis = site.axis(_axis(site), x.ndim)
    if axis == x.ndim - 1 or x.shape[-1] not in (1, 2):
        raise Unbuildable(f"its input of shape {x.shape} does not end in real and imaginary parts beside axis {axis}")
    if onesided and x.shape[-1] != 1 + inverse:
        raise Unbuildable("one side of it is defined for a real input, and its inverse for a complex one")
    back = onesided and inverse
    size = int(np.ravel(site.const(1, 2 * (x.shape[axis] - 1) if back else x.shape[axis]))[0])
    if size < 1:
        raise Unbuildable(f"its length is {size}")
    kept = size // 2 + 1 if onesided and not inverse else size
    site.room((3, min(size, x.shape[axis]), kept), (2 * x.shape[axis], 2 * kept))
    w = _from_one_side(x.shape[axis], size) if back else _matrix(x.shape[axis], x.shape[-1], size, kept, inverse)
    return _along(site, x, axis, w, kept)


def _axis(site: Site) -> int:
    """Return the axis: an attribute before opset 20, there an input."""
    if site.opset < 20:
        return int(site.attr("axis", 1))
    return int(np.ravel(site.const(2, -2))[0])


def _matrix(length: int, parts: int, size: int, kept: int, inverse: bool) -> np.ndarray:
    """Return the transform (length * parts, kept * 2); what is longer than `size` is cut, what is shorter is padded."""
    used = min(length, size)
    turns = np.outer(np.arange(used), np.arange(kept)) % size * (2 * np.pi / size)
    cos, sin = np.cos(turns), np.sin(turns) * (1 if inverse else -1)
    found = np.zeros((length, parts, kept, 2))
    found[:used, 0, :, 0], found[:used, 0, :, 1] = cos, sin
    if parts == 2:
        found[:used, 1, :, 0], found[:used, 1, :, 1] = -sin, cos
    return found.reshape(length * parts, kept * 2) / (size if inverse else 1)


def _from_one_side(length: int, size: int) -> np.ndarray:
    """Return the map (length * 2, size) from one side of a spectrum to the real signal: the other side is its conjugate."""
    used = min(length, size // 2 + 1)
    turns = np.outer(np.arange(used), np.arange(size)) % size * (2 * np.pi / size)
    twice = np.where((np.arange(used) == 0) | (2 * np.arange(used) == size), 1, 2)[:, None] / size
    found = np.zeros((length, 2, size))
    found[:used, 0], found[:used, 1] = twice * np.cos(turns), -twice * np.sin(turns)
    return found.reshape(length * 2, size)


def _along(site: Site, x: Ref, axis: int, w: np.ndarray, kept: int) -> Ref:
    """Return x with its axis and its last, as one, mapped by w."""
    order = (*(i for i in range(x.ndim - 1) if i != axis), axis, x.ndim - 1)
    turned = site.emit(Transpose(order), x, part="turned") if order != tuple(range(x.ndim)) else x
    rows: Shape = (*turned.shape[:-2], w.shape[0])
    flat = site.emit(Reshape(turned.shape, rows), turned, part="parts")
    mapped = site.emit(Dense(w, ZERO, rows), flat, part="transform")
    back = tuple(order.index(i) for i in range(x.ndim))
    shape = (*turned.shape[:-2], kept, w.shape[1] // kept)
    moved = back != tuple(range(x.ndim))
    y = site.emit(Reshape(mapped.shape, shape), mapped, part="both" if moved else "")
    return site.emit(Transpose(back), y) if moved else y


@builds("Col2Im")
def windows_summed(site: Site) -> Made:
    """Columns put back as windows of an image, added up where these overlap."""
    x, image, block = site.ref(), _sizes(site, 1), _sizes(site, 2)
    if x.ndim != 3 or not image or len(image) != len(block) or min(*image, *block) < 1:
        raise Unbuildable(f"blocks {block} of an image {image} are none of an input of shape {x.shape}")
    windows, (batch, columns, count) = conv_windows(site, image, block), x.shape
    if columns % prod(block) or count != prod(windows.out):
        raise Unbuildable(
            f"its input of shape {x.shape} does not hold {windows.out} blocks {block} of an image {image}"
        )
    shape = (batch, columns // prod(block), *windows.padded)
    numbers = site.numbers(shape).reshape(*shape[:2], -1)
    index = numbers[:, :, window_places(windows, site.numbers(windows.padded))].reshape(x.shape)
    whole = windows.padded == image
    op = ScatterSum(np.ones(()), ZERO, x.shape, index=index, target=shape)
    y = site.emit(op, x, part="" if whole else "padded")
    if whole:
        return y
    ends = [b + n for b, n in zip(windows.begin, image, strict=True)]
    return call(site, "Slice", y, list(windows.begin), ends, list(range(2, 2 + len(image))))


def _sizes(site: Site, i: int) -> Shape:
    return tuple(int(n) for n in np.ravel(site.const(i)))
