"""Windows laid out as the columns of a matrix, with which a convolution is a matrix product."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod

import numpy as np

from reflrp.arrays.kernels import Windows, pad
from reflrp.arrays.namespaces import Array, namespace

Ints = tuple[int, ...]


def columns(x: Array, windows: Windows, first: int, last: int, room: np.ndarray | None) -> Array:
    """Return what the windows first .. last-1 along the leading window axis cover, tap by tap; in `room`, where there is one.

    Shapes: x (N, C, *size), result (N, C, taps, (last - first) * windows along the other axes).
    """
    if room is not None and _is_shifted(windows):
        return _shifted(x, windows, first, last, room)
    rows = _rows(x, windows, first, last)
    taps = [rows[(..., *tap)] for tap in windows.taps(0, last - first)]
    shape = (*x.shape[:2], len(taps), prod(taps[0].shape[2:]))
    if room is None:
        return namespace(x).reshape(namespace(x).stack(taps, axis=2), shape)
    out = np.reshape(room[: prod(shape)], (*shape[:3], *taps[0].shape[2:]))
    return np.stack(taps, axis=2, out=out).reshape(shape)


def _is_shifted(windows: Windows) -> bool:
    """Return whether each tap is the input, shifted: windows are as many as entries, but for the leading axis."""
    return set(windows.strides) == {1} and windows.out[1:] == windows.size[1:]


def _shifted(x: np.ndarray, windows: Windows, first: int, last: int, room: np.ndarray) -> np.ndarray:
    """Return the columns: for each tap one run a channel is copied, and cleared where it went over the edge of a row.

    A run is far longer than a row, which is all that lies side by side in the slices of a padded input.
    """
    lead, across = x.shape[:2], windows.size[1:]
    width = prod(across)
    shape = (*lead, windows.turns, (last - first) * width)
    x, out = np.reshape(x, (*lead, prod(windows.size))), np.reshape(room[: prod(shape)], shape)
    for t, offset in enumerate(product(*map(range, windows.kernel))):
        down, *shifts = (o * d - b for o, d, b in zip(offset, windows.dilations, windows.begin, strict=True))
        _copy(x, out[:, :, t, :], (first + down) * width + _flat(shifts, across))
        _clear(np.reshape(out[:, :, t, :], (*lead, last - first, *across), copy=False), shifts)
    return out


def _flat(shifts: list[int], size: Ints) -> int:
    """Return by how many entries something moves that moves so far along each axis."""
    return sum(d * prod(size[i + 1 :]) for i, d in enumerate(shifts))


def _copy(x: np.ndarray, out: np.ndarray, start: int) -> None:
    """Write the entries of x from `start` on into out, and 0 where x has none."""
    low, high = (min(max(n - start, 0), out.shape[-1]) for n in (0, x.shape[-1]))
    out[..., :low] = out[..., high:] = 0
    out[..., low:high] = x[..., start + low : start + high]


def _clear(tap: np.ndarray, shifts: list[int]) -> None:
    """Write 0 where the entry that is so far away lies over an edge."""
    for i, d in enumerate(shifts):
        n = tap.shape[3 + i]
        over = slice(max(n - d, 0), n) if d > 0 else slice(0, min(-d, n))
        tap[(slice(None),) * (3 + i) + (over,)] = 0


def _rows(x: Array, windows: Windows, first: int, last: int) -> Array:
    """Return the padded entries that the windows first .. last-1 along the leading window axis touch."""
    size, begin = windows.size[0], windows.begin[0]
    low = first * windows.strides[0] - begin
    high = (last - 1) * windows.strides[0] + windows.dilations[0] * (windows.kernel[0] - 1) + 1 - begin
    top, bottom = min(max(low, 0), size), min(max(high, 0), size)
    of_rows = {"size": bottom - top, "begin": top - low, "end": high - bottom}
    found = replace(windows, **{k: (n, *getattr(windows, k)[1:]) for k, n in of_rows.items()})
    return pad(x[:, :, top:bottom, ...], found)
