"""The LXT dialect against LXT's formulas written out; tests/peers/test_lxt.py compares with LXT itself."""

from dataclasses import dataclass

import attention_net as net
import numpy as np
import pytest
from test_attention import Conservative, assert_formulas

import reflrp
from reflrp import rules as r
from reflrp.composites import preset
from reflrp.dialects import lxt, zennit
from reflrp.ops.linear import Dense, Diagonal
from reflrp.ops.normaliser import Softmax
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import MatrixProduct, Multiply
from reflrp.ops.sums import SumAxes


@dataclass
class Efficient(net.Formulas):
    """R / value is carried: LRP-0, the deviation detached, activations times x / (x + 1e-10)."""

    def norm(self, x, w, b, R):
        return net.held(x, w, b, R, self.st)

    def gated(self, g, u, R):
        return R / 2 * g / (g + 1e-10), R / 2


@dataclass
class EfficientConservative(Efficient, Conservative):
    def gated(self, g, u, R):
        return np.zeros_like(g), R


@dataclass
class Explicit(net.Formulas):
    """Each function's own epsilon, added whatever the sign."""

    def linear(self, x, w, b, R):
        return x * ((R / (x @ w + b + 1e-8)) @ w.T)

    def add(self, a, b, R):
        return a * R / (a + b + 1e-8), b * R / (a + b + 1e-8)

    def constant(self, x, c, R):
        z = np.where(np.isfinite(c), x + c + 1e-8, 1)
        return np.where(np.isfinite(c), x, 0) * R / z

    def scaled(self, x, c, R):
        return R

    def weigh(self, p, v, R):
        s = R / (p @ v + 1e-6) / 2
        return p * (s @ v.swapaxes(1, 2)), v * (p.swapaxes(1, 2) @ s)

    def scores(self, q, k, R):
        s = R / (2 * q @ k.swapaxes(1, 2) + 1e-8)
        return q * (s @ k), k * (s.swapaxes(1, 2) @ q)

    def norm(self, x, w, b, R):
        return net.held(x, w, b, R, net.plain(1e-6))

    def mean(self, x, R):
        return x * (R / (x.sum(1) + 1e-6))[:, None]


@dataclass
class ExplicitConservative(Explicit):
    def softmax(self, x, p, R):
        return np.zeros_like(x)

    def weigh(self, p, v, R):
        return np.zeros_like(p), v * (p.swapaxes(1, 2) @ (R / (p @ v + 1e-8)))

    def gated(self, g, u, R):
        return np.zeros_like(g), R * net.silu(g) * u / (net.silu(g) * u + 1e-8)


@pytest.mark.parametrize("masked", [True, False])
def test_rule_sets(masked):
    zero = net.signed(0)
    assert_formulas(lxt.AttnLRP(), Efficient(zero), masked=masked)
    assert_formulas(lxt.CP_LRP("efficient"), EfficientConservative(zero), masked=masked)
    assert_formulas(lxt.AttnLRP("explicit"), Explicit(), masked=masked)
    assert_formulas(lxt.CP_LRP("explicit"), ExplicitConservative(), masked=masked)


def test_by_name():
    assert preset("lxt.AttnLRP", form="explicit").title == "lxt.AttnLRP, explicit"
    assert preset("lxt.CP_LRP").title == "lxt.CP_LRP, efficient"
    with pytest.raises(reflrp.RuleError, match="form='fast' is unknown; use 'efficient' or 'explicit'"):
        lxt.AttnLRP("fast")
    with pytest.raises(reflrp.RuleError, match="operands='gate' is unknown"):
        lxt.EpsilonRule(operands="gate")


# ---------------------------------------------------------------- where LXT's numbers are its own


@pytest.mark.parametrize(("x", "epsilon", "wanted"), [([-0.25], 0.5, [-1.0]), ([0.3, -0.5], 0.1, [-3.0, 5.0])])
def test_the_stabiliser_has_no_sign(x, epsilon, wanted):
    """For -epsilon < z < 0 relevance flips; the papers' rule gives 1/3, and -1 and 5/3."""
    a = np.asarray([x])
    L = Dense(np.ones((len(x), 1)), reflrp.arrays.ZERO, a.shape)
    found = lxt.linear_epsilon(epsilon)(L, a, a.sum(1, keepdims=True), np.ones((1, 1)))
    assert np.allclose(found, [wanted], rtol=1e-12)
    assert np.allclose(lxt.EpsilonRule(epsilon)(L, a, a.sum(1, keepdims=True), np.ones((1, 1))), [wanted], rtol=1e-12)


def test_a_product_of_one_and_minus_one():
    """`matmul` stabilises 2 z, `UniformEpsilonRule` z."""
    op, x, z = MatrixProduct(((1, 1), (1, 1))), (np.ones((1, 1)), -np.ones((1, 1))), -np.ones((1, 1))
    assert np.allclose(lxt.matmul(0.5)(op, x, z, np.ones((1, 1))), 2 / 3)
    assert np.allclose(lxt.UniformEpsilonRule(0.5)(op, x, z, np.ones((1, 1))), 1.0)
    assert np.allclose(lxt.EpsilonRule(0.5)(op, x, z, np.ones((1, 1))), 2.0)


def test_constants_and_inactive_operands():
    """mul2: all to the one that carries relevance. UniformRule and matmul: half to each all the same."""
    R, one = np.ones((2, 2)), np.ones((2, 2))
    half = Multiply(((2, 2), (2, 2)), active=(True, False))
    assert np.all(lxt.mul2()(half, (one, one), one, R)[0] == 1)
    assert np.all(lxt.UniformRule()(half, (one, one), one, R)[0] == 0.5)
    scale = Diagonal(np.asarray(3.0), reflrp.arrays.ZERO, (2, 2))
    assert np.all(lxt.mul2()(scale, one, 3 * one, R) == 1)
    product = MatrixProduct(((2, 2), (2, 2)), active=(True, False))
    assert np.isclose(lxt.matmul(0)(product, (one, one), 2 * one, R)[0].sum(), 2)


def test_the_mean_is_stabilised_as_a_sum():
    """x = 1e-6 (1, 2, 3, 4): epsilon stands beside 1e-5."""
    x = 1e-6 * np.asarray([[1.0, 2, 3, 4]])
    L = SumAxes(np.ones(()), reflrp.arrays.ZERO, (1, 4), axes=(1,))
    found = lxt.mean(1e-6)(L, x, x.mean(1, keepdims=True), np.ones((1, 1)))
    assert np.allclose(found, [[1 / 11, 2 / 11, 3 / 11, 4 / 11]])


def test_nothing_passes_an_implicit_identity_at_zero():
    x, R = np.asarray([1.0, -2.0, 0.0]), np.ones(3)
    op = Pointwise("swish", (1.0,))
    assert np.allclose(lxt.identity_rule_implicit()(op, x, op.forward(x), R), [1, 1, 0])
    assert np.all(lxt.identity()(op, x, op.forward(x), R) == 1)


def test_a_patched_rule_loses_what_goes_to_zeros():
    """Table row D17: Flat on (0, 1, 3)."""
    a = np.asarray([[0.0, 1.0, 3.0]])
    L = Dense(np.ones((3, 1)), reflrp.arrays.ZERO, a.shape)
    wanted = 4 / 3 * np.asarray([[0, 1, 1]])
    found = lxt.monkey_patch_zennit(zennit.Flat(0.0))(L, a, np.full((1, 1), 4.0), np.full((1, 1), 4.0))
    assert np.allclose(found, wanted)


def test_zennit_rules_in_the_rule_sets():
    """As LXT's examples for vision transformers mix them; wrapped in the efficient form, once."""
    gamma = zennit.Gamma(0.25)
    for form, wanted in (("efficient", lxt.Patched), ("explicit", zennit.Gamma)):
        rules = lxt.CP_LRP(form, conv=gamma, linear=gamma)
        w, x = net.weights(), net.sample()
        e = reflrp.explain(net.model(w), x, rules=rules)
        dense = [rule for name, rule in e.rules.items() if "_product" in name or "Gemm" in name]
        assert dense
        assert all(type(rule) is wanted for rule in dense)
        assert e.conservation.worst < 1e-9
    assert lxt.AttnLRP(linear=lxt.Patched(gamma)).pairs[1][1] == lxt.Patched(gamma)


def test_softmax_sums_over_the_last_axis():
    x, R = (np.random.default_rng(i).standard_normal((2, 3, 4)) for i in range(2))
    op = Softmax((1,))
    p = op.forward(x)
    assert np.allclose(lxt.softmax()(op, x, p, R), x * (R - p * R.sum(-1, keepdims=True)))
    assert np.allclose(lxt.softmax("own")(op, x, p, R), x * (R - p * R.sum(1, keepdims=True)))


@pytest.mark.parametrize("rule", [lxt.linear_epsilon, lxt.EpsilonRule, lxt.UniformEpsilonRule, lxt.mean, lxt.Patched])
def test_epsilon_is_checked(rule):
    with pytest.raises(reflrp.RuleError, match="must be a number >= 0"):
        rule(r.Epsilon(), -1.0) if rule is lxt.Patched else rule(-1.0)
