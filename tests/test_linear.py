"""The linear maps: equal to the oracle's matrix, adjoint to their transposes, and what they say of themselves."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from maps import MAPS, ONE, dyadic, flat

from reflrp.arrays import ZERO, neg, pos
from reflrp.arrays.convolution import BLOCK
from reflrp.arrays.kernels import Windows
from reflrp.ground.caches import Cache
from reflrp.ops.conv import Conv, ConvTranspose, WindowMean
from reflrp.ops.linear import Dense, Diagonal, LeftDense, LinearMap
from reflrp.ops.sums import SumAxes, SumOf

LINE = Windows((4,), (2,), (1,), (1,), (0,), (0,))


@pytest.mark.parametrize("kind", MAPS)
def test_forward_is_the_matrix(kind):
    @given(MAPS[kind])
    @settings(max_examples=40)
    def check(m):
        z = m.z
        if m.axis == 0:
            assert z.shape == m.op.shape(m.a.shape)
        for M, a, found in zip(m.matrices, m.samples(m.a), flat(z), strict=True):
            wanted = [sum(column) + b for column, b in zip(_columns(M.full, a), M.b, strict=True)]
            assert np.allclose(found, [float(x) for x in wanted], rtol=0, atol=1e-14)

    check()


def _columns(W, a):
    return zip(*([x * w for w in row] for x, row in zip(a, W, strict=True)), strict=True)


@pytest.mark.parametrize("kind", MAPS)
def test_transpose_is_adjoint(kind):
    """<L(x, w), s> = <x, L.T(s, w)> for any parameter, not just the map's own."""

    @given(MAPS[kind])
    @settings(max_examples=40)
    def check(m):
        rng, L = np.random.default_rng(3), m.seen
        x, s, w = dyadic(rng, m.a.shape), dyadic(rng, m.z.shape), dyadic(rng, L.w.shape)
        there, back = L(x, w), L.T(s, w)
        assert there.shape == s.shape
        assert back.shape == x.shape == L.source
        assert np.isclose((there * s).sum(), (x * back).sum(), rtol=1e-14, atol=1e-14)

    check()


@pytest.mark.parametrize("kind", MAPS)
def test_both_signs_at_once(kind):
    """As two maps, one after the other; also where a kernel has one sign only."""

    @given(MAPS[kind])
    @settings(max_examples=10)
    def check(m):
        for change in (lambda w: w, abs, lambda w: -abs(w)):
            L = replace(m.seen, w=change(m.seen.w), derived=Cache())
            s, t = m.z + 1.0, 2.0 * m.z - 1.0
            parts = [L(m.a, L.weights(f)) for f in (pos, neg)]
            found = L.by_sign(m.a)
            assert all(np.allclose(one + 0 * s, two + 0 * s, atol=1e-12) for one, two in zip(found, parts, strict=True))
            wanted = m.a * (L.T(s, L.weights(pos)) + L.T(t, L.weights(neg)))
            assert np.allclose(L.pull_by_sign(m.a, s, t) + 0 * m.a, wanted + 0 * m.a, atol=1e-11)

    check()


@pytest.mark.parametrize("kind", MAPS)
def test_zero_in_zero_out(kind):
    @given(MAPS[kind])
    @settings(max_examples=3)
    def check(m):
        L = m.seen
        assert L(ZERO, L.w) is L.T(ZERO, L.w) is L(m.a, ZERO) is L.T(m.z, ZERO) is L.pull(ZERO, m.z, L.w) is ZERO

    check()


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_in_blocks(rows, stride, monkeypatch):
    """A convolution that does not fit into memory at once is cut, first along the batch, then along the windows.

    With stride 1 its transpose is then the convolution with the mirrored kernel.
    """
    rng = np.random.default_rng(0)
    v = Windows((9, 8), (3, 2), (stride, 1), (1, 2), (1, 0), (2, 1))
    assert (v.mirrored is None) == (stride == 2)
    w, a = dyadic(rng, (4, 3, 3, 2)), dyadic(rng, (5, 6, 9, 8))
    L = Conv(w, ZERO, a.shape, windows=v, groups=2)
    whole, back = L(a, w), L.T(L(a, w), w)
    assert a.size * 6 < BLOCK
    monkeypatch.setattr("reflrp.arrays.convolution.BLOCK", 6 * 6 * v.out[1] * rows)
    assert np.array_equal(L(a, w), whole)
    assert np.array_equal(L.T(whole, w), back)


def test_broadcast_values_are_summed_back():
    """Values of different shapes are added with broadcasting; each gets its relevance in its own shape."""
    shapes = ((2, 3, 4), (1, 3, 1), (4,))
    op = SumOf(np.ones((3, 1, 1, 1)), ZERO, (3, 2, 3, 4), sources=shapes)
    xs = tuple(dyadic(np.random.default_rng(i), s) for i, s in enumerate(shapes))
    assert np.array_equal(op.forward(*xs), xs[0] + xs[1] + xs[2])
    R = dyadic(np.random.default_rng(9), (3, 2, 3, 4))
    parts = op.part(R)
    assert [p.shape for p in parts] == list(shapes)
    assert np.array_equal(parts[1], R[1].sum(axis=(0, 2), keepdims=True))
    assert np.array_equal(parts[2], R[2].sum(axis=(0, 1)))


def test_derived_weights_are_kept_and_shared():
    L, calls = Dense(np.ones((2, 2)), ZERO, (1, 2)), []

    def double(w):
        calls.append(w)
        return 2 * w

    for _ in range(3):
        replace(L, absorbed=[]).weights(double)
    assert len(calls) == 1
    assert L.weights(np.zeros_like) is ZERO
    assert not L.to(np.asarray).derived


@pytest.mark.parametrize(
    ("op", "nonneg"),
    [
        (Diagonal(ONE, ZERO, (1, 2)), True),
        (Diagonal(-ONE, ZERO, (1, 2)), False),
        (Diagonal(ONE, np.asarray([-1.0]), (1, 2)), False),
        (SumOf(np.ones((2, 1, 1)), ZERO, (2, 1, 2), sources=((1, 2),) * 2), True),
        (SumOf(np.asarray([1.0, -1.0]).reshape(2, 1, 1), ZERO, (2, 1, 2), sources=((1, 2),) * 2), False),
        (SumAxes(ONE, ZERO, (1, 2), axes=(1,)), True),
        (WindowMean(ONE, ZERO, (1, 1, 4), windows=LINE, share=ONE / 2), True),
        (Dense(np.ones((2, 2)), ZERO, (1, 2)), False),
    ],
)
def test_signs_that_are_known(op, nonneg):
    """Whether the output is provably >= 0 for inputs >= 0. (Of dense weights nobody asks.)"""
    assert op.nonneg(*[True] * 2) is nonneg
    assert op.nonneg(*[False] * 2) is False


@pytest.mark.parametrize(
    ("op", "text", "parameters"),
    [
        (Dense(np.ones((3, 2)), np.ones(2), (1, 3)), "3 -> 2, bias", 8),
        (LeftDense(np.ones((3, 2)), ZERO, (1, 2, 1)), "2 -> 3", 6),
        (Conv(np.ones((4, 3, 2)), np.ones((4, 1)), (1, 3, 4), windows=LINE), "3 -> 4, 2, bias", 28),
        (
            Conv(np.ones((4, 1, 2)), ZERO, (1, 2, 4), windows=replace(LINE, strides=(2,)), groups=2),
            "2 -> 4, 2, stride 2, groups 2",
            8,
        ),
        (ConvTranspose(np.ones((4, 3, 2)), ZERO, (1, 4, 3), windows=LINE), "4 -> 3, 2", 24),
        (SumAxes(ONE, ZERO, (1, 2, 3), axes=(1, 2)), "mean over 1,2", 0),
        (WindowMean(ONE, ZERO, (1, 1, 4), windows=LINE, share=ONE / 2), "2", 0),
        (SumOf(np.asarray([1.0, -1.0]).reshape(2, 1, 1), ZERO, (2, 1, 2), sources=((1, 2),) * 2), "+ -", 0),
    ],
)
def test_description(op: LinearMap, text, parameters):
    assert op.describe() == text
    assert op.parameters == parameters
