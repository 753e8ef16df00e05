"""GridSample as sums: for each output, which entries it takes, and by what weights. On host arrays."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np


class Taps(NamedTuple):
    """What GridSample takes: numbers of entries within a channel, and weights; both (N, taps, *out)."""

    places: np.ndarray
    weights: np.ndarray


class Sampling(NamedTuple):
    """How a GridSample samples: linear, nearest or cubic; zeros, border or reflection outside; aligned corners."""

    mode: str
    padding: str
    aligned: bool

    def taps(self, grid: np.ndarray, size: tuple[int, ...]) -> Taps:
        """Return the taps for a grid (N, *out, d) of places in [-1, 1], the last axis' first entry being the width."""
        each = [self._along(grid[..., len(size) - 1 - i].astype(np.float64), n) for i, n in enumerate(size)]
        strides = [int(np.prod(size[i + 1 :])) for i in range(len(size))]
        index, weight = [], []
        for chosen in product(*(range(len(places)) for places, _ in each)):
            parts = [(p[k] * s, w[k]) for k, s, (p, w) in zip(chosen, strides, each, strict=True)]
            index.append(sum(p for p, _ in parts))
            weight.append(np.prod([w for _, w in parts], axis=0))
        return Taps(np.stack(index, axis=1).astype(np.int64), np.stack(weight, axis=1))

    def _along(self, at: np.ndarray, n: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the numbers of the entries along one axis, and their weights."""
        x = (at + 1) / 2 * (n - 1) if self.aligned else ((at + 1) * n - 1) / 2
        if self.mode == "nearest":
            x = np.rint(x)
        low, high = (0.0, n - 1.0) if self.aligned else (-0.5, n - 0.5)
        if self.padding == "border" and self.mode != "cubic":
            x = np.clip(x, 0, n - 1)
        if self.padding == "reflection" and self.mode != "cubic":
            x = _reflected(x, low, high)
        base = np.floor(x)
        steps, weights = _kernel(self.mode, x - base)
        places = [base + k for k in steps]
        if self.padding == "reflection":
            places = [_reflected(p, low, high) for p in places]
        inside = [(p > -0.5) & (p < n - 0.5) if self.padding == "zeros" else True for p in places]
        found = [np.clip(np.rint(p), 0, n - 1) for p in places]
        return found, [w * i for w, i in zip(weights, inside, strict=True)]


def _kernel(mode: str, t: np.ndarray) -> tuple[list[int], list[np.ndarray]]:
    """Return the steps from the entry below, and the weights at the fraction t."""
    if mode == "nearest":
        return [0], [np.ones_like(t)]
    if mode != "cubic":
        return [0, 1], [1 - t, t]
    a = -0.75

    def near(s: np.ndarray) -> np.ndarray:
        return np.asarray(((a + 2) * s - (a + 3)) * s * s + 1)

    def far(s: np.ndarray) -> np.ndarray:
        return np.asarray(((a * s - 5 * a) * s + 8 * a) * s - 4 * a)

    return [-1, 0, 1, 2], [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _reflected(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return places beyond the border mirrored at it."""
    width = high - low
    if width <= 0:
        return np.zeros_like(x)
    away = np.abs(x - low) % (2 * width)
    mirrored = low + np.where(away > width, 2 * width - away, away)
    return np.where((x < low) | (x > high), mirrored, x)
