"""Averages, sums over axes, and maxima as terms."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from math import prod

import numpy as np

from reflrp.conformance.literal.layers import ONE, Windows, windows_of
from reflrp.conformance.literal.steps import Linear, Shape, Site, Step, Term, numbered


def average_pool(site: Site) -> Step:
    """Return AveragePool: the mean over each window, or over its entries inside the border."""
    windows, (count, channels, *_) = windows_of(site, site.get("kernel_shape", None)), site.shapes[0]
    place = numbered(site.shapes[0])
    padded = bool(site.get("count_include_pad", 0))
    rows = []
    for n, c in product(range(count), range(channels)):
        for window in product(*map(range, windows.number)):
            entries = [entry for _, entry in windows.taps(window)]
            share = Fraction(1, _within(windows, window) if padded else len(entries))
            rows.append([Term(0, int(place[(n, c, *entry)]), share, ONE) for entry in entries])
    return Linear("pool", rows, [Fraction(0)] * len(rows), (count, channels, *windows.number))


def _within(windows: Windows, window: Shape) -> int:
    """Return how many taps of a window lie within the input and its padding; ceil_mode may reach beyond."""
    inside = []
    for o, n, k, s, p, q, d in zip(
        window,
        windows.size,
        windows.kernel,
        windows.strides,
        windows.begin,
        windows.end,
        windows.dilations,
        strict=True,
    ):
        inside.append(sum(o * s + t * d - p < n + q for t in range(k)))
    return prod(inside)


def max_pool(site: Site) -> Step:
    """Return MaxPool: one term a window, the first entry that is greatest."""
    windows, (count, channels, *_) = windows_of(site, site.get("kernel_shape", None)), site.shapes[0]
    place, a = numbered(site.shapes[0]), site.values[0]
    rows = []
    for n, c in product(range(count), range(channels)):
        for window in product(*map(range, windows.number)):
            entries = [(n, c, *entry) for _, entry in windows.taps(window)]
            rows.append([Term(0, int(place[first_greatest(entries, a)]), ONE, ONE)])
    return Linear("max", rows, [Fraction(0)] * len(rows), (count, channels, *windows.number))


def first_greatest(entries: list[Shape], a: np.ndarray) -> Shape:
    """Return the first entry, in the order given, that no other exceeds."""
    best = entries[0]
    for entry in entries[1:]:
        if a[entry] > a[best]:
            best = entry
    return best


def reduced(kind: str) -> Callable[[Site], Step]:
    """Return ReduceSum, ReduceMean, ReduceMax and the global pools, by "sum", "mean" or "max"."""

    def build(site: Site) -> Step:
        shape, place = site.shapes[0], numbered(site.shapes[0])
        axes, keep = _axes(site)
        kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
        rows = []
        for out in product(*map(range, kept)):
            entries = list(product(*(range(n) if i in axes else [out[i]] for i, n in enumerate(shape))))
            if kind == "max":
                rows.append([Term(0, int(place[first_greatest(entries, site.values[0])]), ONE, ONE)])
            else:
                share = Fraction(1, len(entries)) if kind == "mean" else ONE
                rows.append([Term(0, int(place[entry]), share, ONE) for entry in entries])
        made = kept if keep else tuple(n for i, n in enumerate(shape) if i not in axes)
        return Linear("max" if kind == "max" else "pool", rows, [Fraction(0)] * len(rows), made)

    return build


def _axes(site: Site) -> tuple[list[int], bool]:
    rank = len(site.shapes[0])
    if site.op.startswith("Global"):
        return list(range(2, rank)), True
    given = site.constant(1)
    axes = site.get("axes", None) if given is None else given.ravel().tolist()
    return [a % rank for a in (range(rank) if axes is None else axes)], bool(site.get("keepdims", 1))


def greatest(site: Site) -> Step:
    """Return Max of several values: the first operand that is greatest; constants come after all values."""
    shape = np.broadcast_shapes(*site.shapes)
    places = [np.broadcast_to(numbered(s), shape).ravel() for s in site.shapes]
    flat = [np.broadcast_to(site.values[i], shape).ravel() for i in range(len(site.shapes))]
    rows, bias = [], []
    order = sorted(range(len(flat)), key=lambda i: i in site.constants)
    for k in range(places[0].size):
        best = order[0]
        for i in order[1:]:
            if flat[i][k] > flat[best][k]:
                best = i
        constant = best in site.constants
        rows.append([] if constant else [Term(best, int(places[best][k]), ONE, ONE)])
        bias.append(flat[best][k] if constant else Fraction(0))
    return Linear("max", rows, bias, shape)


POOLS: dict[str, Callable[[Site], Step]] = {
    "AveragePool": average_pool,
    "GlobalAveragePool": reduced("mean"),
    "GlobalMaxPool": reduced("max"),
    "Max": greatest,
    "MaxPool": max_pool,
    "ReduceMax": reduced("max"),
    "ReduceMean": reduced("mean"),
    "ReduceSum": reduced("sum"),
}
"""ONNX operators that average, sum over axes, or choose."""
