"""Small layers worked out by hand, in fractions; among them every place where libraries of one name differ.

E1 .. E6 are one layer each: inputs x, weights w (one output), bias b; the relevance is the output z unless said.
What a library answers is reached by the fields of our rules.
"""

from fractions import Fraction

import numpy as np
import pytest

from reflrp.arrays import ZERO
from reflrp.arrays.kernels import Windows
from reflrp.ops.conv import WindowMean
from reflrp.ops.linear import Dense, Diagonal
from reflrp.ops.sums import SumAxes, SumOf
from reflrp.rules import (
    AlphaBeta,
    AlphaBetaX,
    Epsilon,
    Flat,
    Gamma,
    Gradient,
    Norm,
    Pass,
    Sign,
    Stabilizer,
    StdxEpsilon,
    WSquare,
    ZBox,
    ZPlus,
)

F = Fraction
LAYERS = {
    "E1": ([1, 1], [2, -1], 1),
    "E2": ([1, 1], [2, -1], F(-1, 2)),
    "E3": ([-1, 2], [1, 1], 0),
    "E4": ([1, 1], [1, -1], -1),
    "E6": ([1], [2], 1),
}
SAFE = Stabilizer(F(1, 10**7), "nonzero")
"""iNNvestigate's division: only an exact 0 is replaced."""


fractions = np.vectorize(F, otypes=[object])


def layer(rule, x, w, b=0, R=None):
    """The relevance of the inputs of one dense layer; w has a row for each input."""
    a, w = fractions([x]), fractions(w)
    L = Dense(w if w.ndim == 2 else w[:, None], fractions(np.atleast_1d(b)) if b else ZERO, a.shape)
    z = L.forward(a)
    found = rule.exact()(L, a, z, z if R is None else fractions([np.atleast_1d(R)]))
    return (0 * a if found is ZERO else found)[0].tolist()


def bare(make, *args, **fields):
    """A rule without a stabiliser."""
    return make(*args, **fields, stabilizer=0)


def test_two_by_two():
    """x = (1, 2), w = ((1, -1), (2, 3)), so z = (5, 5); R = (5, 10)."""
    case = ([1, 2], [[1, -1], [2, 3]], 0, [5, 10])
    assert layer(Epsilon(0), *case) == [1 * 5 / 5 - 1 * 10 / 5, 4 * 5 / 5 + 6 * 10 / 5]
    assert layer(Epsilon(1), *case) == [F(5, 6) - F(10, 6), F(20, 6) + F(60, 6)]
    assert layer(bare(ZPlus), *case) == [F(1, 5) * 5, F(4, 5) * 5 + F(6, 6) * 10]
    assert layer(bare(Gamma, 1), *case) == [F(2, 10) * 5 - F(1, 11) * 10, F(8, 10) * 5 + F(12, 11) * 10]
    assert layer(bare(AlphaBeta), *case) == [2 * 1 - 1 * 10, 2 * 14]  # input 1 alone pulls output 2 down
    assert layer(bare(WSquare), *case) == [F(1, 5) * 5 + F(1, 10) * 10, F(4, 5) * 5 + F(9, 10) * 10]
    assert layer(bare(Flat), *case) == [F(15, 2), F(15, 2)]
    assert layer(bare(ZBox, 0, 2), *case) == [
        F(1, 5) * 5 + F(-1 + 2, 9 - 2) * 10 * 1,
        F(4, 5) * 5 + F(6, 7) * 10,
    ]


@pytest.mark.parametrize(
    ("name", "rule", "wanted"),
    [
        # alpha 1, beta 0: the bias of iNNvestigate is in both denominators
        ("E1", bare(AlphaBeta, 1, 0), (F(4, 3), 0)),
        ("E1", bare(AlphaBeta, 1, 0, bias="full"), (F(4, 3), 0)),
        ("E2", bare(AlphaBeta, 1, 0), (F(1, 2), 0)),
        ("E2", bare(AlphaBeta, 1, 0, bias="full"), (F(2, 3), 0)),
        ("E4", bare(AlphaBeta, 1, 0), (-1, 0)),
        ("E4", AlphaBeta(1, 0, "full", SAFE), (-(10**7), 0)),
        # alpha 2, beta 1
        ("E1", bare(AlphaBeta), (F(8, 3), -2)),
        ("E1", AlphaBeta(2, 1, "full", SAFE), (F(8, 3), 2 * 10**7)),
        ("E2", bare(AlphaBeta), (1, F(-1, 3))),
        ("E2", AlphaBeta(2, 1, "full", SAFE), (F(4, 3), F(-1, 3))),
        ("E4", bare(AlphaBeta), (-2, F(1, 2))),
        ("E4", AlphaBeta(2, 1, "full", SAFE), (-2 * 10**7, F(1, 2))),
        # alpha 2, beta 1 where nothing is negative: all libraries give twice the alpha part
        ("E6", bare(AlphaBeta), (4,)),
        ("E6", bare(AlphaBeta, bias="ignore"), (6,)),
        # z+
        ("E1", bare(ZPlus), (F(4, 3), 0)),
        ("E1", bare(ZPlus, bias="ignore"), (2, 0)),
        ("E3", bare(ZPlus, bias="ignore"), (0, 1)),
        ("E3", bare(ZPlus, bias="ignore", inputs="raw"), (-1, 2)),  # ZPlusFast
        ("E6", bare(ZPlus), (2,)),
        ("E6", bare(ZPlus, bias="ignore"), (3,)),
        # w^2: zennit squares the bias too
        ("E1", bare(WSquare), (F(8, 5), F(2, 5))),
        ("E1", bare(WSquare, bias="square"), (F(4, 3), F(1, 3))),
        ("E6", bare(WSquare), (3,)),
        ("E6", bare(WSquare, bias="square"), (F(12, 5),)),
        # gamma 1/4: plain, and generalized
        ("E1", bare(Gamma, F(1, 4)), (F(20, 11), F(-8, 11))),
        ("E1", bare(Gamma, F(1, 4), generalized=True), (F(20, 11), F(-8, 11))),
        ("E3", bare(Gamma, F(1, 4)), (-1, 2)),
        ("E3", bare(Gamma, F(1, 4), generalized=True), (F(-2, 3), F(5, 3))),
        ("E4", bare(Gamma, F(1, 4)), (F(5, 3), F(-4, 3))),
        ("E4", bare(Gamma, F(1, 4), generalized=True), (F(2, 3), F(-5, 6))),
        # z^B for inputs in [-1, 2]
        ("E1", bare(ZBox, -1, 2), (F(8, 5), F(2, 5))),
        # epsilon 1/2 without the bias
        ("E1", Epsilon(F(1, 2), bias="ignore"), (F(8, 3), F(-4, 3))),
        # flat: all agree
        ("E1", bare(Flat), (1, 1)),
        # the four parts; iNNvestigate takes beta[1] for alpha[1]
        ("E3", bare(AlphaBetaX.x1010), (1, 1)),
        ("E1", bare(AlphaBetaX.x1010), (F(4, 3), 0)),
    ],
    ids=str,
)
def test_one_output(name, rule, wanted):
    x, w, b = LAYERS[name]
    assert layer(rule, x, w, b) == list(wanted)


@pytest.mark.parametrize(
    ("rule", "x", "w", "b", "R", "wanted"),
    [
        # the sign of epsilon: zennit and captum, LXT
        (Epsilon(F(1, 2)), [F(-1, 4)], [1], 0, 1, [F(1, 3)]),
        (Epsilon(stabilizer=Stabilizer(F(1, 2), "plain")), [F(-1, 4)], [1], 0, 1, [-1]),
        (Epsilon(F(1, 10)), [F(3, 10), F(-1, 2)], [1, 1], 0, 1, [-1, F(5, 3)]),
        (Epsilon(stabilizer=Stabilizer(F(1, 10), "plain")), [F(3, 10), F(-1, 2)], [1, 1], 0, 1, [-3, 5]),
        # z = 0
        (Epsilon(F(1, 10**6)), [1, 1], [1, -1], 0, 1, [10**6, -(10**6)]),
        (Epsilon(stabilizer=SAFE), [2, 2], [1, -1], 0, 1, [2 * 10**7, -2 * 10**7]),
        (Epsilon(0), [1, 1], [1, -1], 0, 1, [0, 0]),
        (Gamma(generalized=True, stabilizer=0), [1, 1], [1, -1], 0, 1, [0, 0]),
        # gamma 1: an input below 0, a bias, an output below 0
        (bare(Gamma, 1, generalized=True), [1, -1], [2, 1], 0, 1, [F(4, 3), F(-1, 3)]),
        (bare(Gamma, 1), [1, -1], [2, 1], 0, 1, [2, -1]),
        (bare(Gamma, 1), [1], [1], 1, 1, [F(1, 2)]),
        (bare(Gamma, 1, bias="keep"), [1], [1], 1, 1, [F(2, 3)]),
        (bare(Gamma, 1, generalized=True), [1, 1], [1, -3], 0, 1, [F(-1, 5), F(6, 5)]),
        (bare(Gamma, 1), [1, 1], [1, -3], 0, 1, [-2, 3]),
        # alpha 1, beta 0 of captum: the input is not split, the bias keeps its sign
        (bare(ZPlus), [1, -1], [1, -1], 0, 1, [F(1, 2), F(1, 2)]),
        (bare(ZPlus, bias="full", inputs="raw"), [1, -1], [1, -1], 0, 1, [1, 0]),
        (bare(ZPlus), [2, -1], [1, 1], 0, 1, [1, 0]),
        (bare(ZPlus, bias="full", inputs="raw"), [2, -1], [1, 1], 0, 1, [2, -1]),
        (bare(ZPlus), [1], [2], -1, 1, [1]),
        (bare(ZPlus, bias="full", inputs="raw"), [1], [2], -1, 1, [2]),
        # z^B takes no notice of the bias
        (bare(ZBox, 0, 1), [F(1, 2)], [1], 9, 1, [1]),
        # X1001 as meant, and as iNNvestigate computes it
        (bare(AlphaBetaX.x1001), [1, -1], [1, -1], 0, 2, [2, 2]),
        (bare(AlphaBetaX.x1001, second="beta"), [1, -1], [1, -1], 0, 2, [2, 0]),
        # SIGN: sgn 0 = +1; SIGN-mu: the threshold belongs to +1
        (bare(Sign), [0, -2], [1, 1], 0, -2, [1, -1]),
        (bare(Sign, 2), [2, 1], [1, 1], 0, 3, [1, -1]),
        # flat for an input of 0
        (bare(Flat), [0, 1, 3], [1, 1, 1], 0, 4, [F(4, 3)] * 3),
    ],
)
def test_where_libraries_differ(rule, x, w, b, R, wanted):
    assert layer(rule, x, w, b, R) == wanted


def test_deviation_of_one_sample_and_of_the_batch():
    """x = (0, 2) deviates by 1, x = (0, 6) by 3, both together by sqrt(6): epsilon is 1/2 of that."""
    a = np.asarray([[0.0, 2.0], [0.0, 6.0]])
    L, R = Dense(np.ones((2, 1)), ZERO, a.shape), np.ones((2, 1))
    each = StdxEpsilon(0.5)(L, a, L.forward(a), R)
    assert np.allclose(each, [[0, 2 / 2.5], [0, 6 / 7.5]], rtol=1e-15)
    both = StdxEpsilon(0.5, over="batch")(L, a, L.forward(a), R)
    assert np.allclose(both, [[0, 2 / (2 + 6**0.5 / 2)], [0, 6 / (6 + 6**0.5 / 2)]], rtol=1e-15)


def test_mean():
    """Epsilon is in units of the mean, not of the sum."""
    a = fractions([[1, 2, 3, 4]]) / 10**6
    L = SumAxes(fractions(np.ones(())), ZERO, a.shape, axes=(1,))
    found = Norm(F(1, 10**6))(L, a, L.forward(a), fractions([[1]]))
    assert found.tolist() == [[F(1, 14), F(2, 14), F(3, 14), F(4, 14)]]


def test_average_pool():
    """[1, 3, -2, 2] with mean 1: in proportion, where deep Taylor would give a quarter each."""
    a, windows = np.asarray([[[1.0, 3, -2, 2]]]), Windows((4,), (4,), (1,), (1,), (0,), (0,))
    L = WindowMean(np.ones(()), ZERO, a.shape, windows=windows, share=np.full((1,), 0.25))
    assert Norm(0)(L, a, L.forward(a), np.ones((1, 1, 1))).tolist() == [[[0.25, 0.75, -0.5, 0.5]]]
    assert Flat(0)(L, a, L.forward(a), np.ones((1, 1, 1))).tolist() == [[[0.25] * 4]]


def test_batch_normalisation():
    """y = (x - 1) + 3 at x = 2: passed on, or in proportion, mean and shift being a bias."""
    a = np.asarray([[2.0]])
    L = Diagonal(np.ones((1,)), np.asarray([2.0]), a.shape)
    assert Pass()(L, a, L.forward(a), np.ones((1, 1))).tolist() == [[1]]
    assert Epsilon(0)(L, a, L.forward(a), np.ones((1, 1))).tolist() == [[0.5]]
    assert Gradient()(L, a, L.forward(a), np.ones((1, 1))).tolist() == [[1]]


def test_residual():
    """h + x with h = [[1, 2], [3, 1]] x at x = (2, 1), summed: 4 + 7 and 2 + 1 of R = 1 (zennit's `+` gives 2)."""
    w, x = fractions([[1, 3], [2, 1]]), fractions([[2, 1]])
    h = x @ w
    add = SumOf(fractions(np.ones((2, 1, 1))), ZERO, (2, 1, 2), sources=((1, 2),) * 2)
    a = add.join((h, x))
    z = add.forward(h, x)
    of_h, of_x = add.part(Norm(0)(add, a, z, z / z.sum()))
    L = Dense(w, ZERO, x.shape)
    total = of_x + Epsilon(0)(L, x, h, of_h)
    assert total.tolist() == [[F(5, 7), F(2, 7)]]
