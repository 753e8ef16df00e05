"""What makes NumPy fast gives the numbers of the plain way: convolutions, pools and sums beside literal formulas of NumPy's own."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from reflrp.arrays import ZERO, blocks, columns, convolution, kernels, ones_like, only, pools, products, total
from reflrp.arrays.convolution import conv, conv_transpose
from reflrp.arrays.kernels import Windows
from reflrp.arrays.levels import exactly
from reflrp.arrays.namespaces import away_from_zero
from reflrp.arrays.once import each_once, once
from reflrp.ops.conv import Conv
from reflrp.ops.stabilizer import ratio, shares
from reflrp.rules import Flat


def literal(x, w, windows, groups):
    """Return the convolution as a sum over windows, group by group."""
    axes = range(2, x.ndim)
    pads = [(0, 0), (0, 0), *zip(windows.begin, windows.end, strict=True)]
    reach = [d * (k - 1) + 1 for d, k in zip(windows.dilations, windows.kernel, strict=True)]
    seen = sliding_window_view(np.pad(x, pads), reach, axis=tuple(axes))
    steps = tuple(slice(None, None, s) for s in windows.strides)
    inside = tuple(slice(None, None, d) for d in windows.dilations)
    seen = seen[(slice(None), slice(None), *steps, *inside)]
    over = ([1, *range(x.ndim, seen.ndim)], [1, *range(2, w.ndim)])
    parts = zip(np.split(seen, groups, axis=1), np.split(w, groups), strict=True)
    return np.concatenate([np.moveaxis(np.tensordot(v, u, over), -1, 1) for v, u in parts], axis=1)


SLIDING = [
    Windows((70,), (3,), (1,), (1,), (1,), (1,)),
    Windows((9, 8), (3, 3), (1, 1), (1, 1), (1, 1), (1, 1)),
    Windows((12, 19), (2, 5), (1, 2), (1, 3), (0, 2), (3, 1)),
    Windows((5, 4, 6), (2, 3, 1), (1, 1, 1), (1, 1, 1), (1, 0, 0), (0, 2, 0)),
]


@pytest.mark.parametrize("windows", SLIDING, ids=str)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("cached", [1, 3000, 1 << 19])
def test_products_added_along_one_axis_are_the_convolution(windows, groups, cached, monkeypatch):
    monkeypatch.setattr(convolution, "CACHED", cached)
    random = np.random.default_rng(0)
    x, w = random.standard_normal((2, 16, *windows.size)), random.standard_normal((6, 16 // groups, *windows.kernel))
    assert convolution._slides(16, 6, windows)
    z = conv(x, w, windows, groups)
    assert np.allclose(z, literal(x, w, windows, groups), rtol=0, atol=1e-12)
    s = random.standard_normal(z.shape)
    assert np.isclose(np.vdot(z, s), np.vdot(x, conv_transpose(s, w, windows, groups)), rtol=1e-11)


def test_the_transpose_slides_too_and_fractions_are_exact():
    windows = SLIDING[1]
    random = np.random.default_rng(1)
    w, s = random.integers(-3, 4, (16, 16, 3, 3)), random.integers(-3, 4, (1, 16, 9, 8))
    assert convolution._slides(16, 16, windows.mirrored)
    found = conv_transpose(s.astype(float), w.astype(float), windows)
    mirrored = np.flip(w, (2, 3)).swapaxes(0, 1)
    assert (found == literal(s, mirrored, windows, 1)).all()
    some = exactly(w[:2] / 4)
    assert (conv(exactly(s), some, windows) == literal(s, w[:2], windows, 1) / 4).all()


@pytest.mark.parametrize("dtype", [float, np.float32, object])
@pytest.mark.parametrize(("kernel", "stride", "groups"), [(1, 1, 1), (3, 2, 1), (2, 1, 2), (1, 2, 2)])
def test_few_columns_meet_the_transposed_weights_the_other_way_round(kernel, stride, groups, dtype):
    windows = Windows((3, 4), (kernel, kernel), (stride, stride), (1, 1), (0, 0), (0, 0))
    random = np.random.default_rng(5)
    w = random.integers(-3, 4, (6, 120 // groups, kernel, kernel)).astype(dtype)
    x, s = (
        random.integers(-3, 4, (2, 120, 3, 4)).astype(dtype),
        random.integers(-3, 4, (2, 6, *windows.out)).astype(dtype),
    )
    columns = s[:1].reshape(6, -1)
    assert products.is_narrow(w[0].size, columns.shape[-1], columns) == (dtype is not object)
    back = conv_transpose(s, w, windows, groups)
    assert (x * back).sum() == (literal(x.astype(float), w.astype(float), windows, groups) * s).sum()
    assert back.dtype == dtype


@pytest.mark.parametrize("rows", [1, 2, 100])
@pytest.mark.parametrize("cached", [1, 1 << 19])
def test_windows_may_lie_in_the_padding(rows, cached, monkeypatch):
    windows = Windows((2, 5), (2, 3), (1, 1), (1, 1), (4, 1), (5, 2))
    random = np.random.default_rng(6)
    for c, o in ((2, 3), (16, 2)):
        monkeypatch.setattr(convolution, "CACHED", cached)
        monkeypatch.setattr(convolution, "BLOCK", rows * c * 6 * windows.out[1])
        monkeypatch.setattr(convolution, "TAP", 1)
        x, w = random.standard_normal((2, c, 2, 5)), random.standard_normal((o, c, 2, 3))
        assert np.allclose(conv(x, w, windows), literal(x, w, windows, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [float, object])
@pytest.mark.parametrize("groups", [1, 2])
def test_where_all_weights_are_one_the_outputs_of_a_place_are_alike(groups, dtype):
    windows = Windows((5, 6), (3, 2), (2, 1), (1, 1), (1, 0), (1, 1))
    random, notes = np.random.default_rng(7), []
    R = random.integers(-9, 9, (2, 4, *windows.out)).astype(dtype)
    a, w = np.zeros((2, 6, 5, 6), dtype=dtype), random.integers(-3, 4, (4, 6 // groups, 3, 2)).astype(dtype)
    R, a, w = (exactly(x.astype(float)) if dtype is object else x for x in (R, a, w))
    L = Conv(w, ZERO, a.shape, windows=windows, groups=groups, absorbed=notes)
    assert L.alike(R)[1].shape[1] == (1 if groups == 1 else 4)
    epsilon = Fraction(1, 4) if dtype is object else 0.25
    found = Flat(epsilon)(L, a, None, R)
    ones = L.weights(ones_like)
    wanted = L.T(R / (L(ones_like(a), ones) + epsilon), ones)
    assert (abs(found - wanted) <= 0 if dtype is object else np.isclose(found, wanted, rtol=1e-13, atol=1e-13)).all()
    assert np.isclose(float(notes[0].stabilizer), float(R.sum() - found.sum()), atol=1e-12)


def test_samples_of_a_batch_are_what_they_are_alone():
    windows = SLIDING[1]
    random = np.random.default_rng(2)
    x, w = random.standard_normal((3, 16, 9, 8)), random.standard_normal((5, 16, 3, 3))
    alone = np.concatenate([conv(x[i : i + 1], w, windows) for i in range(3)])
    assert np.allclose(conv(x, w, windows), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [float, np.float32, object])
@pytest.mark.parametrize(
    "windows",
    [
        Windows((6, 8), (2, 2), (2, 2), (1, 1), (0, 0), (0, 0)),
        Windows((7, 9), (3, 2), (2, 1), (1, 2), (1, 1), (1, 0)),
        Windows((13, 13), (12, 12), (1, 1), (1, 1), (0, 0), (0, 0)),  # more taps than an int8 can count
    ],
    ids=str,
)
def test_the_first_of_equals_wins(windows, dtype):
    x = np.random.default_rng(3).integers(-2, 3, (2, 3, *windows.size))
    z = pools.pool(x.astype(float), windows)
    winners = pools.pool_winners(x.astype(dtype), z.astype(dtype), windows)
    padded = kernels.pad(x.astype(float), windows, -np.inf)
    taps = np.stack([padded[(..., *tap)] for tap in windows.taps()])
    assert (winners == taps.argmax(axis=0)).all()
    s = np.random.default_rng(4).integers(1, 9, z.shape).astype(dtype)
    back = pools.pool_unpicked(s, winners, windows)
    assert back.sum() == s.sum()
    assert (pools.pool_picked(x.astype(dtype), winners, windows) == z).all()


def test_only_is_a_choice_against_zero():
    x, hit = np.array([2.0, -3.0, np.nan]), np.array([True, False, True])
    assert np.array_equal(only(x, hit), [2.0, 0.0, np.nan], equal_nan=True)
    assert only(x.astype(np.float32), hit).dtype == np.float32
    assert (only(exactly(np.array([0.5, 0.25])), hit[:2]) == [0.5, 0]).all()


def test_a_quotient_leaves_its_operands_alone():
    R, z = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, -0.0, 0.0, -1.0])
    kept = R.copy(), z.copy()
    assert np.allclose(ratio(R, z, 0.5), [1 / 2.5, 2 / 0.5, 3 / 0.5, 4 / -1.5])  # sgn -0 = +1, as sgn 0
    assert np.array_equal(R, kept[0])
    assert np.array_equal(np.signbit(z), np.signbit(kept[1]))
    assert ratio(R.astype(np.float32), z, 0.5).dtype == float
    assert away_from_zero(z.astype(np.float32), 0.5).dtype == np.float32


def test_a_bias_is_added_to_what_the_layer_made():
    w, b, x = np.ones((2, 1, 1, 1)), np.array([1.0, 2.0]).reshape(2, 1, 1), np.ones((1, 1, 2, 2))
    L = Conv(w, b, x.shape, windows=Windows((2, 2), (1, 1), (1, 1), (1, 1), (0, 0), (0, 0)))
    for _ in range(2):
        assert L.forward(x).tolist() == [[[[2.0] * 2] * 2, [[3.0] * 2] * 2]]
    assert (x == 1).all()
    assert (w == 1).all()


def test_a_sum_is_worked_out_once_for_an_array_that_lives():
    asked = []

    def counting(x):
        asked.append(x.size)
        return total(x)

    x = np.ones(3)
    assert [once(counting, x), once(counting, x)] == [3.0, 3.0]
    assert len(asked) == 2
    with each_once():
        assert [once(counting, x), once(counting, x), once(total, x)] == [3.0, 3.0, 3.0]
        assert len(asked) == 3
        for n in range(50):  # arrays that are gone leave their ids to others
            assert once(counting, np.full(2, float(n))) == 2 * n
    once(counting, x)
    assert len(asked) == 3 + 50 + 1


SHIFTED = [
    Windows((5, 4), (3, 3), (1, 1), (1, 1), (1, 1), (1, 1)),
    Windows((6, 5), (2, 5), (1, 1), (1, 1), (0, 4), (3, 0)),
    Windows((4, 7), (3, 3), (1, 1), (1, 2), (9, 2), (0, 2)),
    Windows((3, 2), (2, 5), (1, 1), (1, 2), (0, 4), (0, 4)),  # further away than the input is wide
    Windows((9,), (4,), (1,), (2,), (5,), (1,)),
    Windows((3, 4, 2), (2, 3, 1), (1, 1, 1), (1, 1, 1), (1, 1, 0), (0, 1, 0)),
]


@pytest.mark.parametrize("windows", SHIFTED, ids=str)
@pytest.mark.parametrize("dtype", [float, object])
def test_runs_over_the_edge_of_a_row_are_the_slices_of_a_padded_input(windows, dtype):
    assert columns._is_shifted(windows)
    x = np.random.default_rng(8).integers(1, 9, (2, 3, *windows.size)).astype(dtype)
    for first, last in [(0, windows.out[0]), (1, 2), (windows.out[0] - 1, windows.out[0])]:
        room = np.full(1 << 13, 7, dtype)  # of what was laid out before
        found = columns.columns(x, windows, first, last, room)
        assert np.array_equal(found, columns.columns(x, windows, first, last, None))
        rows = kernels.pad(x, windows)
        taps = [rows[(..., *tap)].reshape(2, 3, -1) for tap in windows.taps(first, last)]
        assert np.array_equal(found, np.stack(taps, axis=2))


@pytest.mark.parametrize("epsilon", [1e-6, 0.25, 1])
@pytest.mark.parametrize("dtype", [float, np.float32])
def test_shares_block_by_block_are_the_quotients(epsilon, dtype, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK", 7)
    random = np.random.default_rng(9)
    R, z = random.standard_normal((2, 5, 6)).astype(dtype), random.integers(-2, 3, (2, 5, 6)).astype(dtype)
    z[0, 0] = -0.0
    s, given = shares(R, z, epsilon)
    assert given is not None
    assert s.dtype == dtype
    assert np.array_equal(s, R / np.where(z >= 0, z + dtype(epsilon), z - dtype(epsilon)))
    assert np.isclose(given, (z.astype(float) * s).sum(), rtol=1e-5)


@pytest.mark.parametrize("dtype", [float, np.float32])
def test_signs_set_by_bits_are_those_of_copysign(dtype):
    tiny, huge = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max / 4
    z = np.array([0.0, -0.0, tiny, -tiny, 1e-6, -1e-6, huge, -huge], dtype)
    R = np.full_like(z, 1e-3)
    s, given = shares(R, z, 1e-6)
    assert s.tobytes() == (R / (z + np.copysign(dtype(1e-6), z + 0))).tobytes()
    assert np.isclose(given, (z * s).sum(), rtol=1e-5)


def test_what_is_not_finite_is_divided_the_plain_way():
    R, z = np.array([0.0, 1.0]), np.array([np.inf, 2.0])
    s, given = shares(R, z, 1e-6)
    assert given is None
    assert np.array_equal(s, [0.0, 1 / (2 + 1e-6)])
    assert shares(R, z[1:], 1e-6)[1] is None  # of another shape


@pytest.mark.parametrize("groups", [1, 2])
def test_a_sum_in_the_memory_of_an_output_is_the_sum(groups):
    windows, random = SHIFTED[0], np.random.default_rng(10)
    x, w = random.standard_normal((2, 4, 5, 4)), random.standard_normal((6, 4 // groups, 3, 3))
    L = Conv(w, random.standard_normal((6, 1, 1)), x.shape, windows=windows, groups=groups)
    b, seen = L.b.copy(), x.copy()
    assert np.array_equal(L.plus(L(x, w), ZERO, L.b), L(x, w) + L.b)
    assert np.array_equal(L.plus(ZERO, L(x, w)), L(x, w))
    assert L.plus(ZERO, ZERO) is ZERO
    assert np.array_equal(L.b, b)
    assert np.array_equal(x, seen)


@pytest.mark.parametrize("kernel", [1, 3])
def test_few_columns_are_multiplied_from_the_other_side(kernel):
    windows = Windows((3, 4), (kernel, kernel), (1, 1), (1, 1), (kernel // 2,) * 2, (kernel // 2,) * 2)
    random = np.random.default_rng(11)
    x, w = random.integers(-3, 4, (2, 8, 3, 4)).astype(float), random.integers(-3, 4, (200, 8, kernel, kernel)) / 4
    assert products._is_slow(w.reshape(200, -1), x.reshape(2, 8, -1))
    assert np.array_equal(conv(x, w, windows), literal(x, w, windows, 1))
