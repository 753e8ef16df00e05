"""The convolution and its transpose: windows laid out as columns of a matrix, and products with them.

Written once, in array-API operations, for any number of axes, as the windows are (`arrays/kernels.py`). Symbolic arrays take
their twins from `reflrp.arrays.symbolic`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import prod

from reflrp.arrays.columns import columns
from reflrp.arrays.kernels import Windows, pad, unpad
from reflrp.arrays.namespaces import Array, namespace, twinned
from reflrp.arrays.products import matmul, multiply_into, product_in, room_for, transposed_product

BLOCK = 1 << 21
"""How many entries one block of unrolled windows may have: bounds the memory of a convolution."""

CACHED = 1 << 19
"""How many entries of partly unrolled windows stay in the processor's cache while they are multiplied."""

TAP = 64
"""How many numbers could stand in place of the slices of one tap."""


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
        return xp.reshape(matmul(w, x), (n, o, *windows.out))
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
    out = xp.zeros((n, c, *windows.padded), dtype=s.dtype)
    taps = prod(windows.kernel)
    for sample, first, last in _blocks(n, c, windows):
        block = s[sample, :, first:last, ...]
        shape = (block.shape[0], c, taps, *block.shape[2:])
        columns = transposed_product(w, xp.reshape(block, (block.shape[0], groups, o // groups, -1)))
        columns = xp.reshape(columns, shape)
        for t, tap in enumerate(windows.taps(first, last)):
            out[(sample, slice(None), *tap)] += columns[:, :, t, ...]
    return unpad(out, windows)


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
    if groups * prod(kernel) == 1:
        return xp.permute_dims(w, (1, 0, *range(2, len(w.shape))))
    w = xp.reshape(w, (groups, o // groups, c, -1))
    return xp.reshape(xp.flip(xp.permute_dims(w, (0, 2, 1, 3)), axis=3), (groups * c, o // groups, *kernel))


def _block_size(n: int, c: int, windows: Windows) -> int:
    """Return how many entries the largest block of `_blocks` has at most."""
    return min(n * windows.out[0] * (row := c * prod(windows.kernel) * prod(windows.out[1:])), max(row, BLOCK))


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
