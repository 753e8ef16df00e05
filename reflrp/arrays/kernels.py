"""Windows over the trailing axes: what the array API lacks.

Written once, in array-API operations (slices, stack, reshape), for any number of axes; so the same lines run on NumPy,
CuPy, array-api-strict and on exact fractions. Symbolic arrays take their twins from `reflrp.arrays.symbolic`. What is made
of windows: `convolution`, `pools`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from reflrp.arrays.namespaces import Array, namespace, twinned
from reflrp.arrays.tracing.dims import is_open

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

    @staticmethod
    def each(size: Ints) -> Windows:
        """Windows of one entry each, one at each place."""
        ones, zeros = (1,) * len(size), (0,) * len(size)
        return Windows(size, ones, ones, ones, zeros, zeros)

    @property
    def apart(self) -> bool:
        """Whether no two windows share an entry."""
        spans = zip(self.strides, self.dilations, self.kernel, strict=True)
        return all(s > d * (k - 1) for s, d, k in spans)

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
