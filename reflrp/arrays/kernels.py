"""Windows over the trailing axes, and the convolution and its transpose: what the array API lacks.

Written once, in array-API operations (slices, stack, reshape, matmul), for any number of axes; so the same lines
run on NumPy, CuPy, array-api-strict and on exact fractions. Symbolic arrays take their twins from `reflrp.arrays.symbolic`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

from reflrp.arrays.namespaces import Array, namespace, twinned
from reflrp.arrays.products import matmul, multiply_into, product_in, room_for, stacked, transposed_product
from reflrp.arrays.tracing.dims import is_open

BLOCK = 1 << 21
"""How many entries one block of unrolled windows may have: bounds the memory of a convolution."""

CACHED = 1 << 19
"""How many entries of partly unrolled windows stay in the processor's cache while they are multiplied."""

TAP = 64
"""How many numbers could stand in place of the slices of one tap."""

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """Where the windows of a convolution or pool lie on the last `len(kernel)` axes of their input.

    Window k along an axis covers the entries `k * stride - begin + t * dilation`, t = 0 .. kernel-1, of an input
    of `size` entries, which is padded by `begin` before and `end` after.
    """

    size: Ints
    kernel: Ints
    strides: Ints
    dilations: Ints
    begin: Ints
    end: Ints

    @property
    def is_open(self) -> bool:
        """Whether the size is a formula: then constants are laid out in the graph."""
        return is_open(self.size)

    @property
    def padded(self) -> Ints:
        """The input's size with its padding."""
        return tuple(n + b + e for n, b, e in zip(self.size, self.begin, self.end, strict=True))

    @property
    def out(self) -> Ints:
        """How many windows there are along each axis."""
        return tuple(
            (n - d * (k - 1) - 1 + s) // s
            for n, k, s, d in zip(self.padded, self.kernel, self.strides, self.dilations, strict=True)
        )

    @property
    def turns(self) -> int:
        """How many turns a loop over the kernel's offsets makes."""
        return prod(self.kernel)

    @property
    def trivial(self) -> bool:
        """Whether each window is just one entry, and each entry one window (a 1x1 convolution)."""
        return set(self.kernel) == {1} and set(self.strides) == {1} and self.padded == self.size

    @property
    def mirrored(self) -> Windows | None:
        """The windows by which a convolution with the mirrored kernel transposes this one; None where none does."""
        reach = tuple(d * (k - 1) for d, k in zip(self.dilations, self.kernel, strict=True))
        begin = tuple(r - b for r, b in zip(reach, self.begin, strict=True))
        end = tuple(r - e for r, e in zip(reach, self.end, strict=True))
        if set(self.strides) != {1} or min(begin + end) < 0:
            return None
        return Windows(self.out, self.kernel, self.strides, self.dilations, begin, end)

    def taps(self, first: int = 0, last: int | None = None) -> Iterator[tuple[slice, ...]]:
        """Yield, for each kernel offset in row-major order, the slices of the padded input that it touches.

        `first` and `last` restrict the windows along the leading window axis to first .. last-1.
        """
        starts = (first,) + (0,) * (len(self.kernel) - 1)
        stops = (self.out[0] if last is None else last, *self.out[1:])
        for offset in product(*map(range, self.kernel)):
            yield tuple(
                slice(o * d + a * s, o * d + (b - 1) * s + 1, s)
                for o, d, s, a, b in zip(offset, self.dilations, self.strides, starts, stops, strict=True)
            )


@twinned
def pad(x: Array, windows: Windows, value: float = 0) -> Array:
    """Return `x` padded with `value` on its window axes."""
    if windows.padded == windows.size:
        return x
    xp = namespace(x)
    shape = (*x.shape[: x.ndim - len(windows.size)], *windows.padded)
    out = xp.full(shape, value, dtype=x.dtype) if value else xp.zeros(shape, dtype=x.dtype)
    out[(..., *_inside(windows))] = x
    return out


def unpad(x: Array, windows: Windows) -> Array:
    """Return `x` without its padding: the transpose of `pad`."""
    return x if windows.padded == windows.size else x[(..., *_inside(windows))]


def _inside(windows: Windows) -> tuple[slice, ...]:
    return tuple(slice(b, b + n) for b, n in zip(windows.begin, windows.size, strict=True))


@twinned
def window_sum(x: Array, windows: Windows) -> Array:
    """Return the sum over each window. Shapes: x (..., *size), result (..., *out)."""
    padded = pad(x, windows)
    taps = windows.taps()
    out = padded[(..., *next(taps))] + 0
    for tap in taps:
        out += padded[(..., *tap)]
    return out


@twinned
def window_spread(s: Array, windows: Windows) -> Array:
    """Return s added onto every entry of its window: the transpose of `window_sum`."""
    xp = namespace(s)
    out = xp.zeros((*s.shape[: s.ndim - len(windows.size)], *windows.padded), dtype=s.dtype)
    for tap in windows.taps():
        out[(..., *tap)] += s
    return unpad(out, windows)


@twinned
def placed(x: Array, key: tuple[Any, ...], shape: Ints) -> Array:
    """Return zeros of a shape with x at a key of slices: the transpose of taking what is there."""
    out = namespace(x).zeros(shape, dtype=x.dtype)
    out[key] = x
    return out


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
        rows = _rows(x[sample, ...], windows, first, last)
        columns = stacked([rows[(..., *tap)] for tap in windows.taps(0, last - first)], 2, room)
        columns = xp.reshape(columns, (columns.shape[0], groups, w.shape[2], -1))
        multiply_into(out[sample, :, first:last, ...], w, columns)
    return out


def _rows(x: Array, windows: Windows, first: int, last: int) -> Array:
    """Return the padded entries that the windows first .. last-1 along the leading window axis touch."""
    size, begin = windows.size[0], windows.begin[0]
    low = first * windows.strides[0] - begin
    high = (last - 1) * windows.strides[0] + windows.dilations[0] * (windows.kernel[0] - 1) + 1 - begin
    top, bottom = min(max(low, 0), size), min(max(high, 0), size)
    of_rows = {"size": bottom - top, "begin": top - low, "end": high - bottom}
    found = replace(windows, **{k: (n, *getattr(windows, k)[1:]) for k, n in of_rows.items()})
    return pad(x[:, :, top:bottom, ...], found)


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
        seen = _rows(x[i : i + 1, ...], windows, first, last)
        columns = stacked([seen[(0, slice(None), *tap)] for tap in across.taps(0, last - first + high - 1)], 1, room)
        columns = xp.reshape(columns, (groups, w.shape[3], -1))
        block = out[i, :, first:last, ...]
        multiply_into(block, w[0, ...], columns[..., : (last - first) * width])
        for k in range(1, high):
            row = slice(k * width, (k + last - first) * width)
            block += xp.reshape(product_in(added, w[k, ...], columns[..., row]), block.shape)
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
