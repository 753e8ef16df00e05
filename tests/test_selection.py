"""Maxima: ties go to the first, constants keep what they win, padding never wins."""

import numpy as np
import pytest

from reflrp.arrays import ZERO
from reflrp.arrays.kernels import Windows
from reflrp.ops.selection import MaxAxes, MaxOf, MaxPool
from reflrp.rules import Epsilon, Flat, Gradient, WinnerTakesAll

ONE = np.ones(())


def relevance(op, a, R, rule=None):
    z = op.forward(*a) if isinstance(op, MaxOf) else op.forward(a)
    return (rule or WinnerTakesAll())(op.observed(a, z), a, z, np.asarray(R, dtype=float))


def line(size, kernel, stride=1, begin=0, end=0):
    windows = Windows((size,), (kernel,), (stride,), (1,), (begin,), (end,))
    return MaxPool(ONE, ZERO, (1, 1, size), windows=windows)


def test_first_of_equals_wins():
    op = line(4, 4)
    assert relevance(op, np.asarray([[[1.0, 3.0, 3.0, 3.0]]]), [[[1.0]]]).tolist() == [[[0, 1, 0, 0]]]
    a = np.asarray([[[[1.0, 3.0], [3.0, 3.0]]]])
    every = MaxAxes(ONE, ZERO, a.shape, axes=(2, 3))
    assert relevance(every, a, [[[[2.0]]]]).tolist() == [[[[0, 2], [0, 0]]]]
    both = MaxOf(ONE, ZERO, (2, 1, 2), sources=((1, 2),) * 2)
    assert relevance(both, np.asarray([[[1.0, 5.0]], [[1.0, 6.0]]]), [[1.0, 1.0]]).tolist() == [[[1, 0]], [[0, 1]]]


def test_windows_that_overlap_add_up():
    """One entry may win several windows; it gets the relevance of all of them."""
    assert relevance(line(3, 2), np.asarray([[[1.0, 5.0, 2.0]]]), [[[1.0, 10.0]]]).tolist() == [[[0, 11, 0]]]


def test_padding_never_wins():
    """Not even over negative entries: it is -infinity, no zero."""
    op = line(2, 3, stride=1, begin=1, end=1)
    a = np.asarray([[[-2.0, -1.0]]])
    assert op.forward(a).tolist() == [[[-1, -1]]]
    assert relevance(op, a, [[[1.0, 1.0]]]).tolist() == [[[0, 2]]]


def test_a_winner_of_value_zero():
    """Winner takes all, flat and the gradient let it have everything; epsilon finds no contribution."""
    op, a = line(2, 2), np.zeros((1, 1, 2))
    for rule in (WinnerTakesAll(), Gradient(), Flat(0)):
        assert relevance(op, a, [[[1.0]]], rule).tolist() == [[[1, 0]]]
    assert relevance(op, a, [[[1.0]]], Epsilon()).tolist() == [[[0, 0]]]


@pytest.mark.parametrize(("least", "R"), [(False, [0, 2, 0]), (True, [1, 0, 3])])
def test_constants_keep_what_they_win(least, R):
    """max (min) of x and the constant 0: x gets relevance only where it wins."""
    x = np.asarray([[-1.0, 1.0, -3.0]])
    op = MaxOf(ONE, ZERO, (2, 1, 3), sources=((1, 3),), constants=(np.zeros((1, 1)),), least=least)
    a = op.join((x,))
    z = op.forward(x)
    assert z.tolist() == (np.minimum(x, 0) if least else np.maximum(x, 0)).tolist()
    (part,) = op.part(WinnerTakesAll()(op.observed(a, z), a, z, np.asarray([[1.0, 2.0, 3.0]])))
    assert part.tolist() == [R]


def test_broadcast_winners_are_summed_back():
    op = MaxOf(ONE, ZERO, (2, 2, 3), sources=((2, 3), (1, 3)))
    x, y = np.asarray([[1.0, 2, 3], [4, 5, 6]]), np.asarray([[2.0, 2, 7]])
    a, z = op.join((x, y)), op.forward(x, y)
    parts = op.part(WinnerTakesAll()(op.observed(a, z), a, z, np.ones((2, 3))))
    assert parts[0].tolist() == [[0, 1, 0], [1, 1, 0]]
    assert parts[1].tolist() == [[1, 0, 2]]


@pytest.mark.parametrize(
    ("op", "flags", "nonneg"),
    [
        (line(3, 2), (True,), True),
        (line(3, 2), (False,), False),
        (MaxOf(ONE, ZERO, (2, 1, 2), sources=((1, 2),) * 2), (True, False), True),
        (MaxOf(ONE, ZERO, (2, 1, 2), sources=((1, 2),) * 2, least=True), (True, False), False),
        (MaxOf(ONE, ZERO, (2, 1, 2), sources=((1, 2),), constants=(np.zeros(1),)), (False,), True),
        (MaxOf(ONE, ZERO, (2, 1, 2), sources=((1, 2),), constants=(-np.ones(1),), least=True), (True,), False),
    ],
)
def test_signs_that_are_known(op, flags, nonneg):
    assert op.nonneg(*flags) is nonneg


def test_the_maximum_of_each_of_no_places():
    """Another axis without entries leaves nothing to choose, and nothing to fail on."""
    op, x = MaxAxes(np.ones(()), ZERO, (2, 4, 0, 3), axes=(1,)), np.zeros((2, 4, 0, 3))
    seen = op.observed(x, op.forward(x))
    assert seen.adjoint(np.zeros((2, 1, 0, 3)), op.w).shape == x.shape
