"""Pointwise functions and normalisers, with their slopes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product

import numpy as np

from reflrp.conformance.literal import numbers as n
from reflrp.conformance.literal.steps import Normaliser, Numbers, Pointwise, Shape, Site, Step, numbered

ZERO, ONE, HALF = Fraction(0), Fraction(1), Fraction(1, 2)

SIGMOID_GATE, TANH_GATE = 3, 2
"""Of how much of a gate an activation's output is; any other activation's is 1."""


def leaky(slope: Fraction) -> tuple[Callable[[Fraction], Fraction], Callable[[Fraction], Fraction]]:
    """Return x where x > 0, else slope x."""
    return lambda x: x if x > 0 else slope * x, lambda x: ONE if x > 0 else slope


def gelu(x: Fraction) -> Fraction:
    """Return x Phi(x)."""
    return n.coarse(x * (1 + n.erf(x / n.sqrt(Fraction(2)))) / 2)


def gelu_slope(x: Fraction) -> Fraction:
    """Return Phi(x) + x phi(x)."""
    phi = n.exp(-x * x / 2) / n.sqrt(2 * n.pi())
    return n.coarse((1 + n.erf(x / n.sqrt(Fraction(2)))) / 2 + x * phi)


def _relu(site: Site) -> Step:
    return Pointwise(*leaky(ZERO), site.shapes[0], 1)


def _leaky(site: Site) -> Step:
    return Pointwise(*leaky(Fraction(float(np.float32(site.get("alpha", 0.01))))), site.shapes[0], 1)


def _sigmoid(site: Site) -> Step:
    return Pointwise(n.sigmoid, lambda x: n.sigmoid(x) * (1 - n.sigmoid(x)), site.shapes[0], SIGMOID_GATE)


def _tanh(site: Site) -> Step:
    return Pointwise(n.tanh, lambda x: 1 - n.tanh(x) ** 2, site.shapes[0], TANH_GATE)


def _gelu(site: Site) -> Step:
    return Pointwise(gelu, gelu_slope, site.shapes[0], 1)


def _exp(site: Site) -> Step:
    return Pointwise(n.exp, n.exp, site.shapes[0])


def _greater(site: Site) -> Step:
    bound = n.fractions(site.constants[1]).ravel()[0]
    return Pointwise(lambda x: ONE if x > bound else ZERO, lambda x: ZERO, site.shapes[0])


def _quantize(site: Site) -> Step:
    """Return the whole number nearest to x / scale (halves to the even one) plus the zero point, within its bounds."""
    scale, zero, low, high = _units(site)
    return Pointwise(lambda x: Fraction(min(max(round(x / scale) + zero, low), high)), lambda x: ZERO, site.shapes[0])


def _dequantize(site: Site) -> Step:
    scale, zero, *_ = _units(site)
    return Pointwise(lambda x: (x - zero) * scale, lambda x: scale, site.shapes[0])


def _units(site: Site) -> tuple[Fraction, int, int, int]:
    zero = site.constants[2]
    bounds = np.iinfo(zero.dtype)
    return n.fractions(site.constants[1]).ravel()[0], int(zero), bounds.min, bounds.max


def grouped(shape: Shape, axes: Sequence[int]) -> list[list[int]]:
    """Return the numbers of the entries that meet over these axes, a list a group."""
    places = numbered(shape)
    outer = [range(1) if i in axes else range(size) for i, size in enumerate(shape)]
    found = []
    for out in product(*outer):
        cut = tuple(slice(None) if i in axes else out[i] for i in range(len(shape)))
        found.append([int(j) for j in places[cut].ravel()])
    return found


def softmax(site: Site) -> Step:
    """Return Softmax over one axis (opset 13 and later); None stands for -infinity, a mask."""

    def p(x: Numbers, group: list[int]) -> Numbers:
        e = [ZERO if v is None else n.exp(v) for v in x]
        return [n.coarse(v / sum(e)) for v in e]

    def jacobian(x: Numbers, group: list[int]) -> list[Numbers]:
        y = p(x, group)
        return [[y[k] * ((k == j) - y[j]) for j in range(len(x))] for k in range(len(x))]

    axis = site.get("axis", -1) % len(site.shapes[0])
    return Normaliser(grouped(site.shapes[0], [axis]), p, jacobian, site.shapes[0])


def layernorm(centred: bool) -> Callable[[Site], Step]:
    """Return LayerNormalization (centred), or RMSNormalization: (x - m) / sigma scale + bias over the last axes."""

    def build(site: Site) -> Step:
        shape, rank = site.shapes[0], len(site.shapes[0])
        axes = range(site.get("axis", -1) % rank, rank)
        given = site.constant(2)
        scale, bias = (
            np.broadcast_to(n.fractions(c), shape) for c in (site.constants[1], 0 if given is None else given)
        )
        return standardised(site, grouped(shape, list(axes)), scale.ravel(), bias.ravel(), centred)

    return build


def by_channels(groups: Callable[[Site], int]) -> Callable[[Site], Step]:
    """Return InstanceNormalization or GroupNormalization (opset 21): channels in groups, scale and bias for each."""

    def build(site: Site) -> Step:
        places = numbered(site.shapes[0])
        of = np.indices(site.shapes[0])[1].ravel()
        scale, bias = (n.fractions(site.constants[i])[of] for i in (1, 2))
        members = places.reshape(site.shapes[0][0] * groups(site), -1)
        return standardised(site, [[int(i) for i in row] for row in members], scale, bias, centred=True)

    return build


def standardised(site: Site, groups: list[list[int]], scale: np.ndarray, bias: np.ndarray, centred: bool) -> Step:
    """Return (x - m) / sigma scale + bias in groups; m is 0 where they are not centred."""
    epsilon = Fraction(float(np.float32(site.get("epsilon", 1e-5))))

    def sigma(x: Numbers) -> tuple[Fraction, Fraction]:
        m = sum(x) / Fraction(len(x)) if centred else ZERO
        return m, n.sqrt(sum((v - m) ** 2 for v in x) / Fraction(len(x)) + epsilon)

    def forward(x: Numbers, group: list[int]) -> Numbers:
        m, s = sigma(x)
        return [n.coarse((v - m) / s * scale[i] + bias[i]) for v, i in zip(x, group, strict=True)]

    def held(x: Numbers, group: list[int]) -> tuple[list[Numbers], Numbers]:
        _, s = sigma(x)
        mean = Fraction(1, len(x)) if centred else ZERO
        rows = [[scale[i] * ((k == j) - mean) / s for j in range(len(x))] for k, i in enumerate(group)]
        return rows, [bias[i] for i in group]

    def jacobian(x: Numbers, group: list[int]) -> list[Numbers]:
        m, s = sigma(x)
        rows, _ = held(x, group)
        size = len(x)
        return [
            [rows[k][j] - scale[i] * (x[k] - m) * (x[j] - m) / (size * s**3) for j in range(size)]
            for k, i in enumerate(group)
        ]

    return Normaliser(groups, forward, jacobian, site.shapes[0], held)


FUNCTIONS: dict[str, Callable[[Site], Step]] = {
    "DequantizeLinear": _dequantize,
    "Exp": _exp,
    "Gelu": _gelu,
    "Greater": _greater,
    "GroupNormalization": by_channels(lambda site: site.get("num_groups", 1)),
    "InstanceNormalization": by_channels(lambda site: site.shapes[0][1]),
    "LayerNormalization": layernorm(centred=True),
    "LeakyRelu": _leaky,
    "RMSNormalization": layernorm(centred=False),
    "QuantizeLinear": _quantize,
    "Relu": _relu,
    "Sigmoid": _sigmoid,
    "Softmax": softmax,
    "Tanh": _tanh,
}
"""ONNX operators that are pointwise or normalise."""
