"""The rules for pointwise functions, products and normalisers, by their formulas written out."""

import math
import re

import numpy as np
import oracle
import pytest
from maps import Map, dyadic
from models import model
from test_arrays import ARGS, POINTS
from test_rules import RULES, actual, distance, expected

import reflrp
from reflrp.arrays import ZERO, total
from reflrp.errors import RuleError
from reflrp.ops.normaliser import LogSoftmax, Softmax
from reflrp.ops.norms import Standardise
from reflrp.ops.pointwise import FUNCTIONS, Pointwise
from reflrp.ops.product import MatrixProduct, Multiply
from reflrp.rules import (
    AlphaBeta,
    BetaSmooth,
    DeconvNet,
    Epsilon,
    EpsilonUniform,
    Flat,
    Gamma,
    Gradient,
    GuidedBackprop,
    Half,
    Norm,
    Pass,
    ProductAlphaBeta,
    Ratio,
    Sign,
    SignalTakesAll,
    Stabilizer,
    StdxEpsilon,
    Stop,
    Taylor,
    Uniform,
    WSquare,
    ZBox,
    ZPlus,
)

X = np.asarray([-2.0, 0.0, 0.5, 3.0])
R = np.asarray([1.0, -2.0, 4.0, -8.0])
RELU = Pointwise("relu")


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (Pass(), [1, -2, 4, -8]),
        (Gradient(), [0, 0, 4, -8]),
        (DeconvNet(), [1, 0, 4, 0]),
        (GuidedBackprop(), [0, 0, 4, 0]),
        (BetaSmooth(2.0), [r / (1 + math.exp(-2 * x)) for x, r in zip(X, R, strict=True)]),
        (Ratio(1.0), [0, 0, 0.5 * 4 / 1.5, 3 * -8 / 4]),
    ],
)
def test_rules_on_a_rectifier(rule, wanted):
    assert np.allclose(rule(RELU, X, RELU.forward(X), R), wanted, rtol=1e-15, atol=0)


def test_smooth_far_from_zero():
    """No overflow, in either direction."""
    x = np.asarray([-1e4, 1e4])
    assert BetaSmooth()(RELU, x, RELU.forward(x), np.ones(2)).tolist() == [0, 1]


STEPS = {"floor", "ceil", "round", "sign"}


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in STEPS])
def test_derivatives(name):
    """Against central differences; the points keep away from kinks."""
    x = np.linspace(-0.9, 0.9, 7) + (0.0321 if name not in POINTS else POINTS[name] + 0.9)
    op, h = Pointwise(name, ARGS.get(name, ())), 2.0**-17
    slope = (op.forward(x + h) - op.forward(x - h)) / (2 * h)
    assert np.allclose(op.derivative(x), slope, rtol=1e-7, atol=1e-8)
    assert np.allclose(Gradient()(op, x, op.forward(x), 2 * np.ones(7)), 2 * slope, rtol=1e-7, atol=1e-8)


# ---------------------------------------------------------------- products

A, B = np.asarray([[1.0, -2.0], [0.5, 3.0]]), np.asarray([[4.0, 0.25], [-1.0, 2.0]])
P, S = np.asarray([[2.0, -1.0], [1.0, 4.0]]), Stabilizer(0.5)


def halves(rule, op, x=A, y=B, r=P):
    return [(part + 0 * v).tolist() for part, v in zip(rule(op, (x, y), op.forward(x, y), r), (x, y), strict=True)]


def test_half_of_an_elementwise_product():
    assert halves(Half(), Multiply(((2, 2), (2, 2)))) == [(P / 2).tolist()] * 2


def test_half_of_a_broadcast_product():
    one, two = halves(Half(), Multiply(((2, 2), (2,))), y=B[0])
    assert one == (P / 2).tolist()
    assert two == P.sum(axis=0).__truediv__(2).tolist()


def test_half_of_a_matrix_product():
    """R_ij of x_ij: x_ij sum_k y_jk P_ik / st(2 z_ik); likewise for y."""
    op = MatrixProduct(((2, 2), (2, 2)))
    z = A @ B
    s = [[P[i, k] / (2 * z[i, k] + (0.5 if z[i, k] >= 0 else -0.5)) for k in range(2)] for i in range(2)]
    left = [[A[i, j] * sum(B[j, k] * s[i][k] for k in range(2)) for j in range(2)] for i in range(2)]
    right = [[B[j, k] * sum(A[i, j] * s[i][k] for i in range(2)) for k in range(2)] for j in range(2)]
    found = Half(S)(op, (A, B), z, P)
    assert np.allclose(found, [left, right], rtol=1e-15)
    exact = Half(0)(op, (A, B), z, P)
    assert np.isclose(exact[0].sum() + exact[1].sum(), P.sum(), rtol=1e-15)


@pytest.mark.parametrize(("form", "wanted"), [("plain", 2 / 3), ("signed", 0.4)])
def test_product_of_one_and_minus_one(form, wanted):
    """LXT's and lczerolens' answers, epsilon = 1/2."""
    op = MatrixProduct(((1, 1), (1, 1)))
    found = Half(Stabilizer(0.5, form))(op, (np.ones((1, 1)), -np.ones((1, 1))), -np.ones((1, 1)), np.ones((1, 1)))
    assert np.allclose([x.item() for x in found], [wanted] * 2, rtol=1e-15)


def test_an_operand_without_relevance_leaves_all_to_the_other():
    assert halves(Half(), Multiply(((2, 2), (2, 2)), active=(True, False)))[0] == P.tolist()
    op = MatrixProduct(((2, 2), (2, 2)), active=(True, False))
    assert np.isclose(Half(0)(op, (A, B), A @ B, P)[0].sum(), P.sum())


@pytest.mark.parametrize(
    ("rule", "gates", "wanted"),
    [
        (SignalTakesAll(), (3, 0), (0, 1)),  # a sigmoid
        (SignalTakesAll(), (2, 3), (1, 0)),  # a tanh and a sigmoid
        (SignalTakesAll(), (3, 3), (0.5, 0.5)),
        (SignalTakesAll(), (1, 0), (0.5, 0.5)),  # another activation
        (SignalTakesAll(signal="activated"), (1, 0), (0, 1)),
        (SignalTakesAll(signal=0), (3, 0), (1, 0)),
        (SignalTakesAll(signal=1), (0, 0), (0, 1)),
    ],
)
def test_signal_takes_all(rule, gates, wanted):
    assert halves(rule, Multiply(((2, 2), (2, 2)), gates=gates)) == [(share * P).tolist() for share in wanted]
    found = rule(MatrixProduct(((2, 2), (2, 2)), gates=gates), (A, B), A @ B, P)
    assert np.allclose([total(part) for part in found], [share * P.sum() for share in wanted], rtol=1e-5)


@pytest.mark.parametrize(("over", "shares"), [("active", (1, 0)), ("all", (0.5, 0.5))])
def test_equal_parts(over, shares):
    """Over the operands that carry relevance, or over both."""
    assert halves(Uniform(), Multiply(((2, 2), (2, 2)))) == [(P / 2).tolist()] * 2
    one, _ = halves(Uniform(over), Multiply(((2, 2), (2, 2)), active=(True, False)))
    assert one == (shares[0] * P).tolist()


def test_epsilon_on_a_product():
    """Half with the stabiliser on z in place of 2 z."""
    op, z = MatrixProduct(((2, 2), (2, 2))), A @ B
    found, half = EpsilonUniform(0.5)(op, (A, B), z, P), Half(1.0)(op, (A, B), z, P)
    assert np.allclose(found, half, rtol=1e-15)


def contributions(sign):
    """(x_ij y_jk)+ or -, over i, j, k."""
    u = A[:, :, None] * B[None, :, :]
    return u * (u * sign > 0)


def test_alpha_beta_on_a_product():
    op, up, un = MatrixProduct(((2, 2), (2, 2))), contributions(1), contributions(-1)
    parts = 2 * up * (P / (up.sum(axis=1) + 0.5))[:, None] - un * (P / (un.sum(axis=1) - 0.5))[:, None]
    found = ProductAlphaBeta(2, 1, 0.5)(op, (A, B), A @ B, P)
    assert np.allclose(found, [parts.sum(axis=2) / 2, parts.sum(axis=0) / 2], rtol=1e-14)
    plus = ProductAlphaBeta(stabilizer=0.5)(op, (A, B), A @ B, P)
    parts = up * (P / (up.sum(axis=1) + 0.5))[:, None]
    assert np.allclose(plus, [parts.sum(axis=2) / 2, parts.sum(axis=0) / 2], rtol=1e-14)


def test_stop():
    assert Stop()(RELU, X, RELU.forward(X), R) is ZERO


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SignalTakesAll(signal=2), "signal=2 is unknown; use 0 or 1 or 'auto'"),
        (lambda: SignalTakesAll(stabilizer=-1), "stabilizer must be a number >= 0"),
        (lambda: BetaSmooth(-1), "beta must be a number >= 0"),
        (lambda: Uniform("both"), "over='both' is unknown; use 'active' or 'all'"),
        (lambda: ProductAlphaBeta(2, 0), "alpha - beta must be 1"),
        (lambda: Half(stabilizer=-1), "stabilizer must be a number >= 0"),
    ],
)
def test_impossible_fields(make, text):
    with pytest.raises(RuleError, match=re.escape(text)):
        make()


def test_gradient_of_products():
    """d(xy) = y dx + x dy, elementwise and for matrices."""
    assert halves(Gradient(), Multiply(((2, 2), (2, 2)))) == [(B * P).tolist(), (A * P).tolist()]
    assert halves(Gradient(), MatrixProduct(((2, 2), (2, 2)))) == [(P @ B.T).tolist(), (A.T @ P).tolist()]


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (Multiply, ((2, 3), (2, 3))),
        (Multiply, ((2, 3), (3,))),
        (Multiply, ((2, 1), (1, 3))),
        (MatrixProduct, ((2, 3), (3, 4))),
        (MatrixProduct, ((5, 2, 3), (3, 4))),
        (MatrixProduct, ((1, 2, 3), (5, 3, 4))),
    ],
)
def test_products_are_adjoint_in_each_operand(make, shapes):
    op, rng = make(shapes), np.random.default_rng(1)
    x, y = (dyadic(rng, s) for s in shapes)
    z = op.forward(x, y)
    s = dyadic(rng, z.shape)
    assert z.shape == op.shape(*shapes)
    left, right = op.left(s, y), op.right(x, s)
    assert (left.shape, right.shape) == shapes
    assert (z * s).sum() == (x * left).sum() == (y * right).sum()


# ---------------------------------------------------------------- normalisers

LOGITS = np.asarray([[[1.0, 2.0, -1.0], [0.0, 0.5, 3.0]]])
ROWS = np.asarray([[[1.0, -2.0, 0.5], [3.0, 1.0, -1.0]]])


@pytest.mark.parametrize("axis", [1, 2])
def test_taylor(axis):
    """x_i (R_i - p_i sum_j R_j), the sum over the softmax's own axis."""
    op = Softmax((axis,))
    found = np.moveaxis(Taylor()(op, LOGITS, op.forward(LOGITS), ROWS), axis, -1).reshape(-1, (2, 3)[axis - 1])
    for x, r, row in zip(*(np.moveaxis(v, axis, -1).reshape(found.shape) for v in (LOGITS, ROWS)), found, strict=True):
        p = [math.exp(v) / sum(map(math.exp, x)) for v in x]
        assert np.allclose(row, [x[i] * (r[i] - p[i] * sum(r)) for i in range(len(x))], rtol=1e-14)


def test_masked_logits_get_nothing():
    op, x = Softmax((0,)), np.asarray([1.0, -np.inf, 2.0])
    found = Taylor()(op, x, op.forward(x), np.asarray([1.0, 5.0, -1.0]))
    assert found[1] == 0
    assert np.isfinite(found).all()


@pytest.mark.parametrize("op", [Softmax((1,)), Softmax((1, 2)), LogSoftmax((2,))])
def test_jacobians(op):
    """The transposed Jacobian against finite differences."""
    h, wanted = 2.0**-17, np.zeros_like(LOGITS)
    for i in np.ndindex(LOGITS.shape):
        step = np.zeros_like(LOGITS)
        step[i] = h
        wanted[i] = ((op.forward(LOGITS + step) - op.forward(LOGITS - step)) * ROWS).sum() / (2 * h)
    y = op.forward(LOGITS)
    assert np.allclose(Gradient()(op, LOGITS, y, ROWS), wanted, atol=1e-9)
    ratio = LOGITS * Gradient()(op, LOGITS, y, ROWS / np.where(y >= 0, y + 0.5, y - 0.5))
    assert np.allclose(Ratio(0.5)(op, LOGITS, y, ROWS), ratio, rtol=1e-14)


# ---------------------------------------------------------------- linear rules on normalisers, their statistic held

ENTRIES = np.random.default_rng(5).standard_normal((2, 4, 3)) + 0.5
SCALE, SHIFT = np.random.default_rng(6).standard_normal((2, 4, 1))
HELD = {
    "layer": (Standardise(SCALE[:3, 0], SHIFT[:3, 0], (2,), 0.1), lambda i: i[0]),
    "instance": (Standardise(SCALE, SHIFT, (2,), 0.1), lambda i: i[0]),
    "group": (Standardise(SCALE, SHIFT, (2,), 0.1, grouped=(2, 2, 6)), lambda i: i[0] // 2),
    "two axes": (Standardise(SCALE, SHIFT, (1, 2), 0.1), lambda i: 0),
    "rms": (Standardise(SCALE[:3, 0], SHIFT[:3, 0], (2,), 0.1, center=False), lambda i: i[0]),
    "l2": (Standardise(SCALE, ZERO, (1,), 0.0, center=False, mean=False), lambda i: i[1]),
}
"""Each with what the places that share a statistic have in common."""

SIGNLESS = (Epsilon, Norm, Sign, StdxEpsilon)
"""The rules that do not look at the sign of a weight: where a mean is subtracted, weights have both."""

ON_HELD = [(k, rule) for k, (op, _) in HELD.items() for rule in RULES if isinstance(rule, SIGNLESS) or not op.center]


def held(op, x, group):
    """The matrix of one sample: w_k (1[j = k] - 1/n) / sigma within each group, without 1/n where nothing is centred."""
    made, places, w = oracle.Builder(x.shape, x.shape), list(np.ndindex(x.shape)), np.broadcast_to(op.w, x.shape)
    for k in places:
        others = [j for j in places if group(j) == group(k)]
        mean = sum(x[j] for j in others) / len(others) if op.center else 0
        total = sum((x[j] - mean) ** 2 for j in others)
        sigma = math.sqrt((total / len(others) if op.mean else total) + op.epsilon)
        for j in others if op.center else [k]:
            made.put(j, k, w[k].item(), ((j == k) - op.center / len(others)) / sigma)
    return made.matrix(None if op.b is ZERO else op.b)


@pytest.mark.parametrize(("name", "rule"), ON_HELD, ids=[f"{name}-{rule!r}" for name, rule in ON_HELD])
def test_rule_on_a_held_statistic(name, rule):
    op, group = HELD[name]
    m = Map(op.held(ENTRIES), ENTRIES, [held(op, x, group) for x in ENTRIES])
    R = np.random.default_rng(7).standard_normal(ENTRIES.shape)
    assert np.allclose(m.z, op.forward(ENTRIES), rtol=1e-13)
    assert distance(actual(rule, m, R), expected(rule, m, R), R) < 1e-12


@pytest.mark.parametrize("rule", [ZPlus(), AlphaBeta(), Gamma(), Flat(), WSquare(), ZBox()])
@pytest.mark.parametrize(("op", "fits"), [("LayerNormalization(x, w)", False), ("RMSNormalization(x, w)", True)])
def test_weights_of_another_sign(rule, op, fits):
    """With the mean subtracted, the map's coefficients have other signs than w: no rule that takes w apart stands there."""
    proto, x = model(f"[norm] y = {op}", "double[N,4] x", "double[] y", opset=23, w=np.ones(4)), np.ones((1, 4))
    if fits:
        assert reflrp.explain(proto, x, {"norm": rule}).rules == {"norm": rule}
    else:
        with pytest.raises(
            RuleError, match=r"'norm' \(onnx LayerNormalization\) .* serves only normalisations by a stat"
        ):
            reflrp.explain(proto, x, {"norm": rule})
