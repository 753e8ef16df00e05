"""Layers, sums, pools and maxima as terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product
from math import ceil
from typing import NamedTuple

import numpy as np

from reflrp.conformance.literal.numbers import fractions, sqrt
from reflrp.conformance.literal.steps import Linear, Product, Shape, Site, Step, Term, numbered

ONE = Fraction(1)


class Windows(NamedTuple):
    """Where the kernel of a layer or pool lies."""

    size: Shape
    kernel: Shape
    strides: Shape
    begin: Shape
    end: Shape
    dilations: Shape
    ceil: bool = False

    @property
    def count(self) -> Shape:
        """How many windows there are along each axis."""
        found = []
        for n, k, s, p, q, d in zip(
            self.size, self.kernel, self.strides, self.begin, self.end, self.dilations, strict=True
        ):
            room = Fraction(n + p + q - (d * (k - 1) + 1), s)
            windows = (ceil(room) if self.ceil else room.__floor__()) + 1
            if self.ceil and (windows - 1) * s >= n + p:  # a window that would begin behind the border
                windows -= 1
            found.append(windows)
        return tuple(found)

    def taps(self, window: Shape) -> Iterator[tuple[Shape, Shape]]:
        """Yield (tap, entry) for each kernel tap that lies on an entry of the input."""
        for tap in product(*map(range, self.kernel)):
            entry = tuple(
                o * s + t * d - p
                for o, t, s, p, d in zip(window, tap, self.strides, self.begin, self.dilations, strict=True)
            )
            if all(0 <= i < n for i, n in zip(entry, self.size, strict=True)):
                yield tap, entry


def windows_of(site: Site, kernel: Sequence[int]) -> Windows:
    """Return the windows that a node's attributes say."""
    size, rank = site.shapes[0][2:], len(kernel)
    strides, dilations = tuple(site.get("strides", [1] * rank)), tuple(site.get("dilations", [1] * rank))
    pads = site.get("pads", [0] * 2 * rank)
    auto = site.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        total = [
            max((ceil(Fraction(n, s)) - 1) * s + d * (k - 1) + 1 - n, 0)
            for n, s, d, k in zip(size, strides, dilations, kernel, strict=True)
        ]
        small = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
        pads = [*small, *(t - p for t, p in zip(total, small, strict=True))]
    return Windows(
        size, tuple(kernel), strides, tuple(pads[:rank]), tuple(pads[rank:]), dilations, bool(site.get("ceil_mode", 0))
    )


def conv(site: Site) -> Step:
    """Return Conv: a (N, C, *size) with w (O, C / groups, *kernel)."""
    w, b = fractions(site.constants[1]), site.constant(2)
    windows, groups = windows_of(site, w.shape[2:]), site.get("group", 1)
    count, out, per_group = site.shapes[0][0], w.shape[0], w.shape[1]
    place = numbered(site.shapes[0])
    rows, bias = [], []
    for n, o in product(range(count), range(out)):
        first = o // (out // groups) * per_group
        for window in product(*map(range, windows.count)):
            rows.append(
                [
                    Term(0, int(place[(n, first + c, *entry)]), ONE, w[(o, c, *tap)])
                    for tap, entry in windows.taps(window)
                    for c in range(per_group)
                ]
            )
            bias.append(Fraction(0) if b is None else fractions(b)[o])
    return Linear("conv", rows, bias, (count, out, *windows.count))


def conv_transpose(site: Site) -> Step:
    """Return ConvTranspose: each entry of a (N, I, *size) paints the kernel w (I, O / groups, *kernel)."""
    w, b = fractions(site.constants[1]), site.constant(2)
    (count, channels, *size), kernel, rank = site.shapes[0], w.shape[2:], w.ndim - 2
    strides, dilations = site.get("strides", [1] * rank), site.get("dilations", [1] * rank)
    pads, extra, groups = site.get("pads", [0] * 2 * rank), site.get("output_padding", [0] * rank), site.get("group", 1)
    axes = zip(size, kernel, strides, dilations, pads[:rank], pads[rank:], extra, strict=True)
    sizes = tuple(s * (n - 1) + e + d * (k - 1) + 1 - p - q for n, k, s, d, p, q, e in axes)
    shape = (count, w.shape[1] * groups, *sizes)
    place, out = numbered(site.shapes[0]), numbered(shape)
    rows: list[list[Term]] = [[] for _ in range(out.size)]
    for n, i in product(range(count), range(channels)):
        group = i // (channels // groups)
        for entry, tap, o in product(product(*map(range, size)), product(*map(range, kernel)), range(w.shape[1])):
            at = tuple(
                e * s + t * d - p for e, t, s, d, p in zip(entry, tap, strides, dilations, pads[:rank], strict=True)
            )
            if all(0 <= x < m for x, m in zip(at, sizes, strict=True)):
                k = int(out[(n, group * w.shape[1] + o, *at)])
                rows[k].append(Term(0, int(place[(n, i, *entry)]), ONE, w[(i, o, *tap)]))
    of = np.indices(shape)[1].ravel()
    bias = [Fraction(0) if b is None else fractions(b)[o] for o in of]
    return Linear("conv", rows, bias, shape)


def gemm(site: Site) -> Step:
    """Return Gemm with a constant matrix B: alpha A B + beta C."""
    w = fractions(site.constants[1])
    w = (w.T if site.get("transB", 0) else w) * Fraction(site.get("alpha", 1.0))
    c = site.constant(2)
    place = numbered(site.shapes[0])
    place = place.T if site.get("transA", 0) else place
    shape = (place.shape[0], w.shape[1])
    bias = np.broadcast_to(fractions(0 if c is None else c) * Fraction(site.get("beta", 1.0)), shape)
    rows = [
        [Term(0, int(place[n, j]), ONE, w[j, k]) for j in range(w.shape[0])]
        for n, k in product(range(shape[0]), range(shape[1]))
    ]
    return Linear("dense", rows, list(bias.ravel()), shape)


def matmul(site: Site) -> Step:
    """Return MatMul: with one constant a dense layer, else the product of two values."""
    shape = np.matmul(*(np.zeros(s) for s in site.shapes)).shape
    terms: list[list[tuple[int, int]]] = []
    left, right = (numbered(s) for s in site.shapes)
    lead = shape[:-2]
    left, right = (np.broadcast_to(p, (*lead, *p.shape[-2:])) for p in (left, right))
    for index in product(*map(range, shape)):
        *batch, i, j = index
        inner = range(left.shape[-1])
        terms.append([(int(left[(*batch, i, m)]), int(right[(*batch, m, j)])) for m in inner])
    if not site.constants:
        return Product(terms, shape, elementwise=False)
    known = next(iter(site.constants))
    w = list(fractions(site.constants[known]).ravel())
    rows = [[Term(1 - known, pair[1 - known], ONE, w[pair[known]]) for pair in row] for row in terms]
    return Linear("dense", rows, [Fraction(0)] * len(rows), shape)


def elementwise(signs: Callable[[int], int]) -> Callable[[Site], Step]:
    """Return Add, Sub and Sum: values are summed with signs, constants are the bias."""

    def build(site: Site) -> Step:
        shape = np.broadcast_shapes(*site.shapes)
        places = [np.broadcast_to(numbered(s), shape).ravel() for s in site.shapes]
        values = [i for i in range(len(site.shapes)) if i not in site.constants]
        bias = np.broadcast_to(fractions(np.zeros(())), shape)
        for i, c in site.constants.items():
            masked = np.broadcast_to(fractions(c), shape)
            bias = np.where(masked == None, None, bias + signs(i) * np.where(masked == None, 0, masked))  # noqa: E711
        rows = [[Term(i, int(places[i][k]), ONE, ONE * signs(i)) for i in values] for k in range(places[0].size)]
        return Linear("sum" if len(values) > 1 else "diagonal", rows, list(bias.ravel()), shape)

    return build


def scaled(site: Site) -> Step:
    """Return Mul and Div: by a constant a diagonal map, of two values a product."""
    shape = np.broadcast_shapes(*site.shapes)
    places = [np.broadcast_to(numbered(s), shape).ravel() for s in site.shapes]
    if not site.constants:
        return Product([[(int(i), int(j))] for i, j in zip(*places, strict=True)], shape, elementwise=True)
    known = next(iter(site.constants))
    factor = np.broadcast_to(fractions(site.constants[known]), shape).ravel()
    rows = [
        [Term(1 - known, int(j), ONE, 1 / f if site.op == "Div" else f)]
        for j, f in zip(places[1 - known], factor, strict=True)
    ]
    return Linear("diagonal", rows, [Fraction(0)] * len(rows), shape)


def batchnorm(site: Site) -> Step:
    """Return BatchNormalization: gamma (x - mean) / sqrt(var + epsilon) + beta, a channel on axis 1."""
    gamma, beta, mean, var = (fractions(site.constants[i]) for i in range(1, 5))
    epsilon = Fraction(float(np.float32(site.get("epsilon", 1e-5))))
    scale = [g / sqrt(v + epsilon) for g, v in zip(gamma, var, strict=True)]
    shape = site.shapes[0]
    of = np.indices(shape)[1].ravel()
    rows = [[Term(0, j, ONE, scale[c])] for j, c in enumerate(of)]
    return Linear("diagonal", rows, [beta[c] - scale[c] * mean[c] for c in of], shape)


LAYERS: dict[str, Callable[[Site], Step]] = {
    "Add": elementwise(lambda i: 1),
    "BatchNormalization": batchnorm,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Div": scaled,
    "Gemm": gemm,
    "MatMul": matmul,
    "Mul": scaled,
    "Sub": elementwise(lambda i: -1 if i else 1),
    "Sum": elementwise(lambda i: 1),
}
"""ONNX operators that are linear at the observed input, and products."""
