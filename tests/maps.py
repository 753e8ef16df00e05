"""Linear maps drawn at random, each as reflrp's op beside the oracle's matrix.

Weights and inputs are small dyadic rationals (multiples of 1/4, a fifth of them 0), so every z is exact in float64
in any order of summation, and no denominator comes nearer to 0 than the lattice allows. A mean of three is no dyadic
rational; there the oracle computes with fractions, so that a z of 0 is 0 for both.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from math import prod

import numpy as np
import oracle
from hypothesis import strategies as st

from reflrp.arrays import ZERO
from reflrp.arrays.kernels import Windows
from reflrp.ops.axismap import axis_map
from reflrp.ops.conv import Conv, ConvTranspose, WindowMean
from reflrp.ops.linear import Dense, Diagonal, LeftDense, LinearMap
from reflrp.ops.selection import MaxAxes, MaxOf, MaxPool, Selection
from reflrp.ops.sums import SumAxes, SumOf

ONE = np.ones(())
N = 2
"""Samples in a batch."""


@dataclass(frozen=True)
class Map:
    """A map with an input: the op, the joined input of N samples, and each sample's matrix."""

    op: LinearMap
    a: np.ndarray
    matrices: list
    axis: int = 0
    """Where the batch lies in `a`: 1 where values are stacked on the first axis."""
    number: type = float
    """What the oracle computes with."""

    @property
    def z(self):
        """The op's output."""
        return (
            self.op.forward(*(self.a[i, ...] for i in range(self.a.shape[0]))) if self.axis else self.op.forward(self.a)
        )

    @property
    def seen(self):
        """The op as a rule sees it: a selection with its winners fixed."""
        return self.op.observed(self.a, self.z) if isinstance(self.op, Selection) else self.op

    def samples(self, x):
        """The samples of an array shaped like the joined input, as flat lists."""
        return [list(map(self.number, np.take(x, n, axis=self.axis).ravel().tolist())) for n in range(N)]

    def converted(self, convert):
        """The same map on other arrays."""
        return replace(self, op=self.op.to(convert), a=convert(self.a))


def flat(z):
    """The samples of an array shaped like the output, as flat lists."""
    return np.reshape(z, (len(z), -1)).tolist()


def dyadic(rng, shape, zeros=0.2):
    return np.asarray(rng.integers(-4, 5, shape) / 4 * (rng.random(shape) >= zeros))


seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
small = st.integers(1, 3)


def bias_or_none(rng, shape):
    """A bias that reflrp sees (ZERO for none), and that the oracle sees (None)."""
    b = dyadic(rng, shape)
    return (b, b) if rng.random() < 0.8 else (ZERO, None)


@st.composite
def dense(draw):
    rng, n, m = draw(seeds), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    lead = draw(st.sampled_from([(), (3,), (2, 2)]))
    w, (b, c) = dyadic(rng, (n, m)), bias_or_none(rng, (m,))
    source = (N, *lead, n)
    return Map(Dense(w, b, source), dyadic(rng, source), [oracle.dense(lead, w, c)] * N)


@st.composite
def stacked_dense(draw):
    rng, heads, rows, n, m = draw(seeds), draw(small), draw(small), draw(small), draw(small)
    w, (b, c) = dyadic(rng, (heads, n, m)), bias_or_none(rng, (m,))
    source = (N, heads, rows, n)
    return Map(Dense(w, b, source), dyadic(rng, source), [oracle.stacked_dense(rows, w, c)] * N)


@st.composite
def left_dense(draw):
    rng, n, m, columns = draw(seeds), draw(small), draw(small), draw(small)
    w, (b, c) = dyadic(rng, (m, n)), bias_or_none(rng, (m, 1))
    source = (N, n, columns)
    return Map(LeftDense(w, b, source), dyadic(rng, source), [oracle.left_dense(columns, w, c)] * N)


@st.composite
def windows(draw, rank=None, dilations=2):
    """Windows in 1 to 3 dimensions, with uneven padding and entries that no window reaches."""
    rank = rank or draw(st.sampled_from([1, 1, 2, 2, 2, 3]))

    def axes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, strides, dilations = axes(1, 3 if rank < 3 else 2), axes(1, 3), axes(1, dilations)
    begin, end = axes(0, 2 if rank < 3 else 1), axes(0, 2 if rank < 3 else 1)
    spans = zip(kernel, dilations, begin, end, axes(0, 3 if rank < 3 else 1), strict=True)
    size = tuple(max(1, d * (k - 1) + 1 - p - q + extra) for k, d, p, q, extra in spans)
    return Windows(size, kernel, strides, dilations, begin, end)


def geometry(v, *, end=True):
    found = {"strides": v.strides, "begin": v.begin, "dilations": v.dilations}
    return found | ({"end": v.end} if end else {})


@st.composite
def conv(draw):
    rng, v, groups = draw(seeds), draw(windows()), draw(small)
    per_group, out = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    w = dyadic(rng, (out * groups, per_group, *v.kernel))
    b, c = bias_or_none(rng, (out * groups, *(1,) * len(v.size)))
    source = (N, per_group * groups, *v.size)
    matrix = oracle.conv(v.size, w, c, groups=groups, **geometry(v))
    return Map(Conv(w, b, source, windows=v, groups=groups), dyadic(rng, source), [matrix] * N)


@st.composite
def conv_transpose(draw):
    rng, v, groups = draw(seeds), draw(windows()), draw(small)
    per_group, out = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    w = dyadic(rng, (per_group * groups, out, *v.kernel))
    b, c = bias_or_none(rng, (out * groups, *(1,) * len(v.size)))
    source = (N, per_group * groups, *v.out)
    matrix = oracle.conv_transpose(v.out, v.size, w, c, groups=groups, **geometry(v, end=False))
    return Map(ConvTranspose(w, b, source, windows=v, groups=groups), dyadic(rng, source), [matrix] * N)


@st.composite
def diagonal(draw):
    rng, shape = draw(seeds), (draw(small), draw(small), draw(small))
    along = draw(st.sampled_from([(shape[0], 1, 1), shape, (), (shape[2],)]))
    w, (b, c) = dyadic(rng, along), bias_or_none(rng, along)
    return Map(Diagonal(w, b, (N, *shape)), dyadic(rng, (N, *shape)), [oracle.diagonal(shape, w, c)] * N)


@st.composite
def sum_of(draw):
    rng, shape = draw(seeds), (draw(small), draw(small))
    signs = draw(st.lists(st.sampled_from([1, -1]), min_size=2, max_size=3))
    w = np.asarray(signs, dtype=float).reshape(-1, 1, 1, 1)
    source = (len(signs), N, *shape)
    op = SumOf(w, ZERO, source, sources=((N, *shape),) * len(signs))
    return Map(op, dyadic(rng, source), [oracle.sum_of(shape, signs)] * N, axis=1)


@st.composite
def sum_axes(draw):
    rng, shape = draw(seeds), (draw(small), draw(small), draw(small))
    axes = draw(st.sampled_from([(1, 2), (0,), (2,), (0, 1, 2)]))
    keepdims, mean = draw(st.booleans()), draw(st.booleans())
    behind = tuple(i + 1 for i in axes)
    op = SumAxes(ONE, ZERO, (N, *shape), axes=behind, keepdims=keepdims, mean=mean)
    return Map(op, dyadic(rng, (N, *shape)), [oracle.sum_axes(shape, axes, mean, Fraction(1))] * N, number=Fraction)


@st.composite
def axis_maps(draw):
    """One to three axes, each with a matrix of both signs: a cubic Resize in small."""
    rng, shape = draw(seeds), (draw(small), draw(small), draw(small))
    axes = draw(st.sampled_from([(0,), (1, 2), (0, 2), (0, 1, 2)]))
    matrices = {i: dyadic(rng, (draw(small), shape[i])) for i in axes}
    op = axis_map((N, *shape), {i + 1: m for i, m in matrices.items()})
    return Map(op, dyadic(rng, (N, *shape)), [oracle.axis_map(shape, matrices)] * N)


@st.composite
def average_pool(draw):
    rng, v, channels, include_pad = draw(seeds), draw(pool_windows()), draw(st.integers(1, 2)), draw(st.booleans())
    share = np.ones(()) / prod(v.kernel) if include_pad else 1 / inside(v)
    op = WindowMean(ONE, ZERO, (N, channels, *v.size), windows=v, share=share)
    matrix = oracle.average_pool(channels, v.size, v.kernel, include_pad=include_pad, one=Fraction(1), **geometry(v))
    return Map(op, dyadic(rng, op.source), [matrix] * N, number=Fraction)


@st.composite
def pool_windows(draw):
    """Windows of a pool: each lies on at least one entry (ONNX asks for less padding than kernel)."""
    v = draw(windows(rank=draw(st.sampled_from([1, 2, 2, 3])), dilations=1))
    short = tuple(k - 1 for k in v.kernel)
    begin, end = (tuple(map(min, p, short)) for p in (v.begin, v.end))
    return replace(v, begin=begin, end=end, size=tuple(map(max, v.size, v.kernel)))


def inside(v):
    """How many entries each window has inside the border."""
    found = np.zeros(v.out)
    for window, _, _ in oracle.taps(v.size, v.kernel, v.strides, v.begin, v.end, v.dilations):
        found[window] += 1
    return found


@st.composite
def max_pool(draw):
    rng, v, channels = draw(seeds), draw(pool_windows()), draw(st.integers(1, 2))
    op = MaxPool(ONE, ZERO, (N, channels, *v.size), windows=v)
    a = dyadic(rng, op.source)
    return Map(op, a, [oracle.max_pool(sample, v.size, v.kernel, **geometry(v)) for sample in a])


@st.composite
def max_axes(draw):
    rng, shape = draw(seeds), (draw(small), draw(small), draw(small))
    axes = draw(st.sampled_from([(1, 2), (0,), (0, 2)]))
    op = MaxAxes(ONE, ZERO, (N, *shape), axes=tuple(i + 1 for i in axes), keepdims=draw(st.booleans()))
    a = dyadic(rng, op.source)
    return Map(op, a, [oracle.max_axes(sample, axes) for sample in a])


@st.composite
def max_of(draw):
    rng, shape, k, least = draw(seeds), (draw(small), draw(small)), draw(st.integers(2, 3)), draw(st.booleans())
    op = MaxOf(ONE, ZERO, (k, N, *shape), sources=((N, *shape),) * k, least=least)
    a = dyadic(rng, op.source)
    return Map(op, a, [oracle.max_of(a[:, n], least) for n in range(N)], axis=1)


MAPS = {
    "dense": dense(),
    "stacked_dense": stacked_dense(),
    "left_dense": left_dense(),
    "conv": conv(),
    "conv_transpose": conv_transpose(),
    "diagonal": diagonal(),
    "sum_of": sum_of(),
    "sum_axes": sum_axes(),
    "axis_map": axis_maps(),
    "average_pool": average_pool(),
    "max_pool": max_pool(),
    "max_axes": max_axes(),
    "max_of": max_of(),
}


def exact(x):
    """An array as fractions; a pool's share 1/9 is 1/9."""
    if np.asarray(x).dtype.kind != "f":
        return x
    found = np.empty(np.shape(x), dtype=object)
    for i in product(*map(range, np.shape(x))):
        found[i] = Fraction(float(np.asarray(x)[i])).limit_denominator(10**6)
    return found


def exact_matrix(M):
    """A matrix of the oracle as fractions."""
    tables = [[[Fraction(v).limit_denominator(10**6) for v in row] for row in table] for table in (M.S, M.P)]
    return oracle.Matrix(*tables, [Fraction(v) for v in M.b])
