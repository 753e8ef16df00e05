"""The convolution and its transpose: windows laid out as columns of a matrix, and products with them.

Written once, in array-API operations, for any number of axes, as the windows are (`arrays/kernels.py`). Symbolic arrays take
their twins from `reflrp.arrays.symbolic`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import prod

import numpy as np

from reflrp.arrays.columns import columns
from reflrp.arrays.kernels import Windows, pad, unpad
from reflrp.arrays.namespaces import Array, namespace, twinned
from reflrp.arrays.products import (
    is_narrow,
    matmul,
    multiply_into,
    product_in,
    product_with,
    room_for,
    transposed_product,
)

BLOCK = 1 << 21
"""How many entries one block of unrolled windows may have: bounds the memory of a convolution."""

CACHED = 1 << 20
"""How many entries of partly unrolled windows stay in the processor's cache while they are multiplied."""

TAP = 64
"""How many numbers could stand in place of the slices of one tap."""


@twinned
def channel_sum(x: Array) -> Array:
    """Return the sum over the channels, (N, 1, *size)."""
    return namespace(x).sum(x, axis=1, keepdims=True)


@twinned
def conv(x: Array, w: Array, windows: Windows, groups: int = 1) -> Array:
    """Return the convolution of x with w.

    Shapes: x (N, C, *size), w (O, C/groups, *kernel), result (N, O, *out).
    """
    if groups > 1 and w.shape[0] == groups == x.shape[1]:
        return _depthwise(x, w, windows)
    xp = namespace(x)
    n, c, o = x.shape[0], x.shape[1], w.shape[0]
    w = xp.reshape(w, (groups, o // groups, -1))
    if windows.trivial:
        x = xp.reshape(x, (n, groups, c // groups, -1))
        return xp.reshape(product_with(w, x), (n, o, *windows.out))
    if _slides(c, o, windows):
        return _slid(x, w, windows)
    out = xp.empty((n, o, *windows.out), dtype=x.dtype)
    room = room_for(x, _block_size(n, c, windows))
    for sample, first, last in _blocks(n, c, windows):
        seen = columns(x[sample, ...], windows, first, last, room)
        multiply_into(out[sample, :, first:last, ...], w, xp.reshape(seen, (seen.shape[0], groups, w.shape[2], -1)))
    return out


def _slides(c: int, o: int, windows: Windows) -> bool:
    """Return whether `_slid` serves: windows lie side by side, weights are few beside them, and outputs beside inputs."""
    side_by_side = windows.strides[0] == windows.dilations[0] == 1 < windows.kernel[0]
    return side_by_side and o <= c and prod(windows.out) >= 4 * c >= TAP


def _slid(x: Array, w: Array, windows: Windows) -> Array:
    """Return the convolution of x, unrolled along all axes but the first, along which products are added.

    So much less is laid out, and it stays in the cache. Shapes: x (N, C, *size), w (groups, O/groups, C/groups * taps).
    """
    xp = namespace(x)
    (n, c), (groups, o, _) = x.shape[:2], w.shape
    high, width, rows = windows.kernel[0], prod(windows.out[1:]), windows.out[0]
    w = xp.permute_dims(xp.reshape(w, (groups, o, c // groups, high, -1)), (3, 0, 1, 2, 4))
    w = xp.reshape(w, (high, groups, o, -1))
    across = replace(windows, kernel=(1, *windows.kernel[1:]))
    out = xp.empty((n, groups * o, *windows.out), dtype=x.dtype)
    step = max(1, CACHED // (w.shape[3] * groups * width) + 1 - high)
    room = room_for(x, (min(step, rows) + high - 1) * w.shape[3] * groups * width)
    added = room_for(x, min(step, rows) * groups * o * width)
    for i, first in product(range(n), range(0, rows, step)):
        last = min(first + step, rows)
        seen = columns(x[i : i + 1, ...], across, first, last + high - 1, room)
        seen = xp.reshape(seen, (groups, w.shape[3], -1))
        block = out[i, :, first:last, ...]
        multiply_into(block, w[0, ...], seen[..., : (last - first) * width])
        for k in range(1, high):
            row = slice(k * width, (k + last - first) * width)
            block += xp.reshape(product_in(added, w[k, ...], seen[..., row]), block.shape)
    return out


@twinned
def conv_transpose(s: Array, w: Array, windows: Windows, groups: int = 1) -> Array:
    """Return the transpose of `conv`: <conv(x), s> = <x, conv_transpose(s)>.

    Shapes: s (N, O, *out), w (O, C/groups, *kernel), result (N, C, *size).
    """
    if groups > 1 and w.shape[0] == groups and w.shape[1] == 1:
        return _depthwise_transpose(s, w, windows)
    xp = namespace(s)
    n, o, c = s.shape[0], s.shape[1], w.shape[1] * groups
    turned = windows.mirrored if o <= c else None
    if turned and (_slides(o, c, turned) or n * c * prod(windows.kernel) * prod(windows.out) > BLOCK):
        return conv(s, mirror(w, groups), turned, groups)
    w = xp.reshape(w, (groups, o // groups, -1))
    if windows.trivial:
        s = xp.reshape(s, (n, groups, o // groups, -1))
        return xp.reshape(transposed_product(w, s), (n, c, *windows.size))
    if is_narrow(w.shape[2], prod(windows.out), s):
        return _spread_last(s, w, windows)
    out = xp.zeros((n, c, *windows.padded), dtype=s.dtype)
    taps = prod(windows.kernel)
    for sample, first, last in _blocks(n, c, windows):
        block = s[sample, :, first:last, ...]
        shape = (block.shape[0], c, taps, *block.shape[2:])
        made = matmul(xp.matrix_transpose(w), xp.reshape(block, (block.shape[0], groups, o // groups, -1)))
        made = xp.reshape(made, shape)
        for t, tap in enumerate(windows.taps(first, last)):
            out[(sample, slice(None), *tap)] += made[:, :, t, ...]
    return unpad(out, windows)


def _spread_last(s: np.ndarray, w: np.ndarray, windows: Windows) -> np.ndarray:
    """Return the transpose where windows are few: products are made transposed, and added up with the channels last.

    Shapes: s (N, O, *out), w (groups, O/groups, C/groups * taps), result (N, C, *size).
    """
    n, (groups, o, _), taps = s.shape[0], w.shape, prod(windows.kernel)
    c = w.shape[2] // taps
    out = np.zeros((n, *windows.padded, groups, c), dtype=s.dtype)
    for sample, first, last in _blocks(n, groups * c, windows):
        rows = np.reshape(s[sample, :, first:last, ...], (-1, groups, o, (last - first) * prod(windows.out[1:])))
        made = np.reshape(np.matrix_transpose(rows) @ w, (-1, groups, last - first, *windows.out[1:], c, taps))
        made = np.moveaxis(made, 1, -3)
        for t, tap in enumerate(windows.taps(first, last)):
            out[(sample, *tap)] += made[..., t]
    first_again = np.moveaxis(out, (-2, -1), (1, 2))
    return np.ascontiguousarray(unpad(first_again, windows)).reshape(n, groups * c, *windows.size)


def conv_takes(n: int, c: int, o: int, windows: Windows) -> int:
    """Return how many numbers `conv` and `conv_transpose` lay out at once: the padded input, and a block of windows.

    Shapes: N samples, C channels that windows lie on, O channels that they make. A tap's slices count as so many numbers.
    """
    if windows.trivial:
        return 0
    turned = windows.mirrored
    frame = max(c * prod(windows.padded), o * prod(turned.padded) if turned else 0)
    return n * frame + _block_size(n, c, windows) + prod(windows.kernel) * TAP


def mirror(w: Array, groups: int) -> Array:
    """Return the kernel of the transposed convolution: inputs and outputs swapped, each axis reversed."""
    xp, (o, c, *kernel) = namespace(w), w.shape
    w = xp.reshape(w, (groups, o // groups, c, -1))
    return xp.reshape(xp.flip(xp.permute_dims(w, (0, 2, 1, 3)), axis=3), (groups * c, o // groups, *kernel))


def _block_size(n: int, c: int, windows: Windows) -> int:
    """Return how many entries the largest block of `_blocks` has at most."""
    row = c * prod(windows.kernel) * prod(windows.out[1:])
    return min(n * windows.out[0] * row, max(row, BLOCK))


def _blocks(n: int, c: int, windows: Windows) -> Iterator[tuple[slice, int, int]]:
    """Cut the batch, then the leading window axis, into blocks of at most BLOCK unrolled entries."""
    row, rows = c * prod(windows.kernel) * prod(windows.out[1:]), windows.out[0]
    step = min(rows, max(1, BLOCK // max(row, 1)))
    samples = max(1, BLOCK // max(row * rows, 1)) if step == rows else 1
    for i in range(0, n, samples):
        for r in range(0, rows, max(step, 1)):
            yield slice(i, min(n, i + samples)), r, min(rows, r + step)


def _depthwise(x: Array, w: Array, windows: Windows) -> Array:
    xp = namespace(x)
    x = pad(x, windows)
    w = xp.reshape(w, (w.shape[0], *(1,) * len(windows.kernel), -1))
    out = xp.zeros((x.shape[0], x.shape[1], *windows.out), dtype=x.dtype)
    for t, tap in enumerate(windows.taps()):
        out += x[(..., *tap)] * w[..., t]
    return out


def _depthwise_transpose(s: Array, w: Array, windows: Windows) -> Array:
    xp = namespace(s)
    w = xp.reshape(w, (w.shape[0], *(1,) * len(windows.kernel), -1))
    out = xp.zeros((s.shape[0], s.shape[1], *windows.padded), dtype=s.dtype)
    for t, tap in enumerate(windows.taps()):
        out[(..., *tap)] += s * w[..., t]
    return unpad(out, windows)
