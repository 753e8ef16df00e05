"""GridSample as sums: for each output, which entries it takes, and by what weights. Symbolic arrays write it into a graph."""

from __future__ import annotations

from functools import reduce
from itertools import product
from operator import mul
from typing import NamedTuple

import numpy as np

from reflrp.arrays import Array, namespace


class Taps(NamedTuple):
    """What GridSample takes: numbers of entries within a channel, and weights; both (N, taps, *out)."""

    places: Array
    weights: Array


class Sampling(NamedTuple):
    """How a GridSample samples: linear, nearest or cubic; zeros, border or reflection outside; aligned corners."""

    mode: str
    padding: str
    aligned: bool

    def taps(self, grid: Array, size: tuple[int, ...]) -> Taps:
        """Return the taps for a grid (N, *out, d) of places in [-1, 1], the last axis' first entry being the width.

        They are worked out in float64, whatever the dtype of the grid is.
        """
        each = [self._along(grid[..., len(size) - 1 - i].astype(np.float64), n) for i, n in enumerate(size)]
        strides = [int(np.prod(size[i + 1 :])) for i in range(len(size))]
        index, weight = [], []
        for chosen in product(*(range(len(places)) for places, _ in each)):
            parts = [(p[k] * s, w[k]) for k, s, (p, w) in zip(chosen, strides, each, strict=True)]
            index.append(sum(p for p, _ in parts))
            weight.append(reduce(mul, (w for _, w in parts)))
        return Taps(_side_by_side(index).astype(np.int64), _side_by_side(weight))

    def _along(self, at: Array, n: int) -> tuple[list[Array], list[Array]]:
        """Return the numbers of the entries along one axis, and their weights."""
        xp = namespace(at)
        x = (at + 1) / 2 * (n - 1) if self.aligned else ((at + 1) * n - 1) / 2
        if self.mode == "nearest":
            x = xp.round(x)
        low, high = (0.0, n - 1.0) if self.aligned else (-0.5, n - 0.5)
        if self.padding == "border" and self.mode != "cubic":
            x = _within(x, n)
        if self.padding == "reflection" and self.mode != "cubic":
            x = _reflected(x, low, high)
        base = xp.floor(x)
        steps, weights = _kernel(self.mode, x - base)
        places = [base + k for k in steps]
        if self.padding == "reflection":
            places = [_reflected(p, low, high) for p in places]
        if self.padding == "zeros":
            weights = [
                w * ((p > -0.5) & (p < n - 0.5)).astype(np.float64) for w, p in zip(weights, places, strict=True)
            ]
        return [_within(xp.round(p), n) for p in places], weights


def _within(x: Array, n: int) -> Array:
    """Return places with those beyond the entries at the border."""
    xp = namespace(x)
    return xp.minimum(xp.maximum(x, 0.0), n - 1.0)


def _side_by_side(arrays: list[Array]) -> Array:
    """Return arrays of one shape (N, ...) as one (N, arrays, ...)."""
    xp, shape = namespace(*arrays), arrays[0].shape
    return xp.concat([xp.reshape(a, (shape[0], 1, *shape[1:])) for a in arrays], axis=1)


def _kernel(mode: str, t: Array) -> tuple[list[int], list[Array]]:
    """Return the steps from the entry below, and the weights at the fraction t."""
    if mode == "nearest":
        return [0], [namespace(t).ones_like(t)]
    if mode != "cubic":
        return [0, 1], [1 - t, t]
    a = -0.75

    def near(s: Array) -> Array:
        return ((a + 2) * s - (a + 3)) * s * s + 1

    def far(s: Array) -> Array:
        return ((a * s - 5 * a) * s + 8 * a) * s - 4 * a

    return [-1, 0, 1, 2], [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _reflected(x: Array, low: float, high: float) -> Array:
    """Return places beyond the border mirrored at it."""
    xp, width = namespace(x), high - low
    if width <= 0:
        return xp.zeros_like(x)
    away = xp.fmod(abs(x - low), 2 * width)
    mirrored = low + xp.where(away > width, 2 * width - away, away)
    return xp.where((x < low) | (x > high), mirrored, x)
