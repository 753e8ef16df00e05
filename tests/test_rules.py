"""The linear rules against the oracle: every rule with all its fields, on every map."""

import re
from dataclasses import fields, replace

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from maps import MAPS, dyadic, flat

from reflrp.arrays import ZERO
from reflrp.errors import RuleError
from reflrp.ground.caches import Cache
from reflrp.ops.linear import Dense
from reflrp.rules import (
    AlphaBeta,
    AlphaBetaX,
    Epsilon,
    Flat,
    Gamma,
    Norm,
    Sign,
    Stabilizer,
    StdxEpsilon,
    WSquare,
    ZBox,
    ZPlus,
)

BIG = 33 / 128
"""A large epsilon that is no multiple of 1/16, where the weighted sums lie: a wrong sign or place shows."""

BIASES = ("split", "full", "ignore")
FORMS = ("signed", "plain", "clip", "nonzero")

RULES = [
    Epsilon(0),
    *(Epsilon(BIG, bias) for bias in ("absorb", "ignore")),
    *(Epsilon(stabilizer=Stabilizer(BIG, form)) for form in FORMS),
    *(Epsilon(stabilizer=Stabilizer(BIG, form, norm_scale=True)) for form in ("signed", "clip")),
    *(Gamma(0.25, gen, bias, BIG) for gen in (False, True) for bias in ("scale", "keep", "ignore")),
    Gamma(0, True, stabilizer=BIG),
    Gamma(100, stabilizer=BIG),
    *(AlphaBeta(1 + beta, beta, bias, BIG) for beta in (0, 0.5, 1) for bias in BIASES),
    AlphaBeta(2, 1, stabilizer=Stabilizer(BIG, "nonzero")),
    *(ZPlus(bias, inputs, BIG) for bias in BIASES for inputs in ("split", "raw")),
    *(ZBox(low, high, BIG) for low, high in ((-1, 1), (0, 0), (-0.25, 1.5))),
    *(WSquare(bias, BIG) for bias in ("ignore", "square")),
    Flat(BIG),
    Flat(0),
    Norm(BIG),
    *(Sign(mu, bias, BIG) for mu in (0, 0.25) for bias in ("absorb", "ignore")),
    *(StdxEpsilon(0.25, over, bias) for over in ("sample", "batch") for bias in ("absorb", "ignore")),
    *(make(bias=b, stabilizer=BIG) for b in ("split", "ignore") for make in (AlphaBetaX.x1010, AlphaBetaX.x2m100)),
    AlphaBetaX((0.5, 0.25), (0.25, 0.125), stabilizer=BIG),
    AlphaBetaX((0.5, 0.25), (0.25, 0.125), second="beta", stabilizer=BIG),
]


def denominator(stabilizer):
    """The oracle's stabiliser for one of ours."""
    if not isinstance(stabilizer, Stabilizer):
        return oracle.signed(stabilizer)
    if stabilizer.norm_scale:
        return oracle.scaled(stabilizer.form, stabilizer.epsilon, lambda k: 0)
    return oracle.FORMS[stabilizer.form](stabilizer.epsilon)


def expected(rule, m, R):
    """What the oracle says: the relevance of each sample's inputs, as a list of flat lists."""
    given = {f.name: _as(m.number, getattr(rule, f.name)) for f in fields(rule)}
    st = given.pop("stabilizer", None)
    epsilon = given.pop("epsilon", None)
    st = denominator(epsilon if st is None else st)
    inputs, outputs = m.samples(m.a), flat(R)
    if isinstance(rule, StdxEpsilon):
        return _stdx(rule, m, inputs, outputs)
    if isinstance(rule, ZBox | Sign):
        given |= {k: [given[k]] * len(inputs[0]) for k in ("low", "high", "mu") if k in given}
    formula = {
        Epsilon: oracle.epsilon,
        Gamma: oracle.gamma,
        AlphaBeta: oracle.alpha_beta,
        ZPlus: oracle.z_plus,
        ZBox: oracle.z_box,
        WSquare: oracle.w_square,
        Flat: oracle.flat,
        Norm: oracle.norm,
        Sign: oracle.sign,
        AlphaBetaX: oracle.alpha_beta_x,
    }[type(rule)]
    return [formula(M, a, r, st, **given) for M, a, r in zip(m.matrices, inputs, outputs, strict=True)]


def _as(number, value):
    return number(value) if isinstance(value, float) else value


def _stdx(rule, m, inputs, outputs):
    everything = [x for a in inputs for x in a]
    return [
        oracle.epsilon(
            M,
            a,
            r,
            oracle.signed(rule.factor * oracle.deviation(a if rule.over == "sample" else everything)),
            rule.bias,
        )
        for M, a, r in zip(m.matrices, inputs, outputs, strict=True)
    ]


def actual(rule, m, R):
    """What reflrp says, in the same form."""
    found = rule(m.seen, m.a, m.z, R)
    return replace(m, number=float).samples(np.zeros(m.a.shape) if found is ZERO else found)


def distance(one, two, R):
    """The largest difference in units of the largest relevance, in or out."""
    one, two = np.asarray(one, dtype=float), np.asarray(two, dtype=float)
    scale = max(np.abs(two).max(initial=0), np.abs(R).max(initial=0))
    return np.abs(one - two).max(initial=0) / (scale or 1)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("kind", MAPS)
def test_rule_is_the_sum_over_indices(rule, kind):
    """1e-12 of the largest relevance is safe: z is exact and |st(z)| > 1/128; only a few terms are rounded."""

    @given(MAPS[kind])
    @settings(max_examples=12)
    def check(m):
        R = dyadic(np.random.default_rng(7), m.z.shape)
        assert distance(actual(rule, m, R), expected(rule, m, R), R) < 1e-12

    check()


@pytest.mark.parametrize("kind", MAPS)
def test_tiny_epsilon(kind):
    """With epsilon = 2**-20 a z of 0 gives summands of a million, which may cancel: each is right to 1e-12 of them."""

    @given(MAPS[kind])
    @settings(max_examples=12)
    def check(m):
        R = dyadic(np.random.default_rng(7), m.z.shape)
        for rule in (Epsilon(2**-20), Gamma(stabilizer=2**-20), AlphaBeta(stabilizer=2**-20), ZBox(stabilizer=2**-20)):
            error = np.asarray(actual(rule, m, R)) - np.asarray(expected(rule, m, R), dtype=float)
            assert np.abs(error).max() < 1e-12 * 2**20 * 16

    check()


# ---------------------------------------------------------------- limits


def same(one, two, m, R=None):
    R = dyadic(np.random.default_rng(7), m.z.shape) if R is None else R
    return distance(actual(one, m, R), actual(two, m, R), R) < 1e-13


@pytest.mark.parametrize("kind", MAPS)
def test_limits(kind):
    """Rules that are one another's special cases."""

    @given(MAPS[kind])
    @settings(max_examples=12)
    def check(m):
        assert same(Gamma(0, stabilizer=BIG), Epsilon(BIG), m)
        assert same(Norm(BIG), Epsilon(BIG), m)
        assert same(ZBox(0, 0, BIG), Epsilon(BIG, "ignore"), m)
        for bias in BIASES:
            assert same(AlphaBeta(1, 0, bias, BIG), ZPlus(bias, "split", BIG), m)
        R = dyadic(np.random.default_rng(7), m.z.shape)
        assert same(Gamma(0, True, stabilizer=BIG), Epsilon(BIG), m, np.where(m.z == 0, 0, R))
        m = replace(m, a=abs(m.a)) if kind != "max_of" else m
        if not kind.startswith("max"):
            assert same(Gamma(0.25, True, stabilizer=BIG), Gamma(0.25, stabilizer=BIG), m, np.where(m.z > 0, R, 0))

    check()


def test_large_gamma_tends_to_z_plus():
    L, a, R = Dense(W, B, A.shape), A, np.asarray([[1.0, -2.0]])
    z = L.forward(a)
    assert np.allclose(Gamma(1e9, stabilizer=0)(L, a, z, R), ZPlus(stabilizer=0)(L, a, z, R), atol=1e-7)


A = np.asarray([[1.0, 2.0]])
W = np.asarray([[1.0, -1.0], [2.0, 3.0]])
B = np.asarray([0.5, -0.25])


# ---------------------------------------------------------------- what is known in advance


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("kind", MAPS)
def test_symbolic_zeros_change_nothing(rule, kind):
    """positive (a >= 0) and gated (no relevance where z <= 0) save work; they leave every number as it is."""

    @given(MAPS[kind])
    @settings(max_examples=3)
    def check(m):
        m = replace(m, a=abs(m.a), matrices=[])
        R = np.where(m.z > 0, dyadic(np.random.default_rng(7), m.z.shape), 0)
        plain = actual(rule, m, R)
        for flags in ({"positive": True}, {"gated": True}, {"positive": True, "gated": True}):
            known = replace(m, op=replace(m.op, derived=Cache(), **flags))
            assert actual(rule, known, R) == plain

    check()


def test_nothing_of_the_sort_is_zero():
    """A rule that finds no contribution at all returns the symbolic zero, which costs nothing."""
    L = replace(Dense(-abs(W), ZERO, A.shape), positive=True)
    assert ZPlus()(L, A, L.forward(A), np.ones((1, 2))) is ZERO


def test_weights_are_derived_once(monkeypatch):
    L, calls = Dense(W, B, A.shape), []
    monkeypatch.setattr("reflrp.rules.linear.pos", lambda x: calls.append(1) or np.maximum(x, 0))
    rule = ZPlus(bias="ignore")
    for _ in range(3):
        rule(replace(L, absorbed=[]), A, L.forward(A), np.ones((1, 2)))
    assert len(calls) == 1 + 3  # the weights once, b+ each time


# ---------------------------------------------------------------- arguments


def test_bounds_by_channel():
    """low and high may be arrays; here each input of a dense layer has its own."""
    low, high, R = np.asarray([-1.0, 0.0]), np.asarray([2.0, 4.0]), np.asarray([[1.0, 2.0]])
    L = Dense(W, B, A.shape)
    M = oracle.dense((), W)
    wanted = oracle.z_box(M, A[0].tolist(), R[0].tolist(), oracle.signed(BIG), low.tolist(), high.tolist())
    assert np.allclose(ZBox(low, high, BIG)(L, A, L.forward(A), R), wanted, rtol=1e-15)
    wanted = oracle.sign(oracle.dense((), W, B), A[0].tolist(), R[0].tolist(), oracle.signed(BIG), high.tolist())
    assert np.allclose(Sign(high, stabilizer=BIG)(L, A, L.forward(A), R), wanted, rtol=1e-15)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Epsilon(-1e-6), "epsilon must be a number >= 0"),
        (lambda: Epsilon("1"), "epsilon must be a number >= 0"),
        (lambda: Epsilon(float("nan")), "epsilon must be a number >= 0"),
        (lambda: Epsilon(bias="drop"), "bias='drop' is unknown; use 'absorb' or 'ignore'"),
        (lambda: Gamma(-0.25), "gamma must be a number >= 0"),
        (lambda: Gamma(stabilizer=-1), "stabilizer must be a number >= 0"),
        (lambda: Gamma(bias="split"), "bias='split' is unknown"),
        (lambda: AlphaBeta(2, 0.5), "alpha - beta must be 1, but 2 - 0.5 = 1.5"),
        (lambda: AlphaBeta(0, -1), "beta must be a number >= 0"),
        (lambda: AlphaBeta(2.2, 1.2), "alpha - beta must be 1"),
        (lambda: ZPlus(inputs="clamp"), "inputs='clamp' is unknown"),
        (lambda: ZBox(1, -1), "zbox needs low <= high"),
        (lambda: ZBox(np.zeros(3), np.asarray([1, -1, 1])), "zbox needs low <= high"),
        (lambda: WSquare(bias="keep"), "bias='keep' is unknown"),
        (lambda: StdxEpsilon(-0.25), "factor must be a number >= 0"),
        (lambda: StdxEpsilon(over="channel"), "over='channel' is unknown"),
        (lambda: AlphaBetaX(second="gamma"), "second='gamma' is unknown"),
        (lambda: Stabilizer(form="max"), "stabilizer form 'max' is unknown"),
    ],
)
def test_impossible_fields(make, text):
    with pytest.raises(RuleError, match=re.escape(text)):
        make()


def test_rules_are_data():
    """Equal fields make equal rules; they show as they are written."""
    assert Gamma(0.25) == Gamma(0.25) != Gamma(0.5)
    assert len({Epsilon(), Epsilon(1e-6), Norm()}) == 2
    assert repr(AlphaBeta(2, 1)) == "AlphaBeta(alpha=2, beta=1, bias='split', stabilizer=1e-06)"
