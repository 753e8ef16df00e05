"""The lczerolens dialect against its modules' formulas written out."""

from dataclasses import dataclass

import attention_net as net
import numpy as np
import pytest
from onnx import helper
from test_attention import assert_formulas
from test_recurrent import wrapped

import reflrp
from reflrp import rules as r
from reflrp.composites import preset
from reflrp.dialects import lczerolens as lc
from reflrp.ops.linear import Dense, Diagonal
from reflrp.ops.normaliser import Softmax
from reflrp.ops.product import MatrixProduct, Multiply


def stabilize(t, epsilon=1e-6):
    return t + epsilon * np.where(t < 0, -1.0, 1.0)


@dataclass
class Chess(net.Formulas):
    """onnx2torch's modules by lczerolens' rules; what has none is a plain gradient."""

    bilinear: bool = False
    how: str = "gradient"

    def linear(self, x, w, b, R):
        """A MatMul, then an Add of the bias; the last layer is a Gemm, which is nn.Linear: one epsilon."""
        if w.shape[1] == net.C:
            return x * ((R / stabilize(x @ w + b)) @ w.T)
        R = (x @ w) * R / stabilize(x @ w + b)
        return x * ((R / stabilize(x @ w)) @ w.T)

    def add(self, a, b, R):
        return a * R / stabilize(a + b), b * R / stabilize(a + b)

    def constant(self, x, c, R):
        return self.add(x, np.where(np.isfinite(c), c, 0), np.where(np.isfinite(c), R, 0))[0]

    def scaled(self, x, c, R):
        return R / 2

    def softmax(self, x, p, R):
        if self.how == "gradient":
            return p * (R - (p * R).sum(-1, keepdims=True))
        return R if self.how == "identity" else super().softmax(x, p, R)

    def _products(self, a, b, R):
        s = R / stabilize(2 * a @ b)
        return a * (s @ b.swapaxes(1, 2)), b * (a.swapaxes(1, 2) @ s)

    def _first(self, a, b, R):
        return a * ((R / stabilize(a @ b)) @ b.swapaxes(1, 2)), np.zeros_like(b)

    def weigh(self, p, v, R):
        return (self._products if self.bilinear else self._first)(p, v, R)

    def scores(self, q, k, R):
        left, right = (self._products if self.bilinear else self._first)(q, k.swapaxes(1, 2), R)
        return left, right.swapaxes(1, 2)

    def norm(self, x, w, b, R):
        sigma = np.sqrt(x.var(-1, keepdims=True) + net.EPS)
        unit, t = (x - x.mean(-1, keepdims=True)) / sigma, R * w
        return (t - t.mean(-1, keepdims=True) - unit * (t * unit).mean(-1, keepdims=True)) / sigma

    def mean(self, x, R):
        return np.repeat(R[:, None] / net.T, net.T, axis=1)


@pytest.mark.parametrize("bilinear", [False, True])
@pytest.mark.parametrize("how", ["gradient", "identity", "epsilon"])
def test_composite(bilinear, how):
    rules = lc.LRP(bilinear=bilinear, softmax=how)
    assert_formulas(rules, Chess(bilinear=bilinear, how=how), masked=how == "epsilon")


def test_convolutions_and_squeeze_excitation():
    """A residual block with squeeze-excitation: conv by z+, pool by epsilon, sigmoid passes, Mul in halves."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((3, 3, 3, 3)), "b": rng.standard_normal(3), "d": rng.standard_normal((3, 3)),
        "e": rng.standard_normal(3), "flat": np.asarray([-1, 3]), "wide": np.asarray([-1, 3, 1, 1]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Reshape", ["p", "flat"], ["f"]),
        helper.make_node("Gemm", ["f", "d", "e"], ["g"]),
        helper.make_node("Sigmoid", ["g"], ["s"]),
        helper.make_node("Reshape", ["s", "wide"], ["t"]),
        helper.make_node("Mul", ["c", "t"], ["m"]),
        helper.make_node("Add", ["x", "m"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    model = wrapped(nodes, [("x", ["N", 3, 4, 4])], [("y", ["N", 3, 4, 4])], constants)
    x = rng.standard_normal((1, 3, 4, 4))
    values = values_of(x, constants)
    e = reflrp.explain(model, x, rules=lc.LRP(), init=values["y"], layers=True)
    at = {k: a[0] for k, a in values.items()}
    R = at["y"].copy()
    Rx, Rm = at["x"] * R / stabilize(at["a"]), at["m"] * R / stabilize(at["a"])
    Rc, Rt = Rm / 2, Rm.sum((1, 2)) / 2
    Rp = at["p"] * (constants["d"] @ (Rt / stabilize(at["g"])))
    Rc = Rc + at["c"] * (Rp / stabilize(at["p"]))[:, None, None] / 16
    assert np.abs(e.layers["c"][0] - Rc).max() < 1e-9
    # z+ on the convolution, tap by tap
    wp, wn = np.maximum(constants["w"], 0), np.minimum(constants["w"], 0)
    padded = np.pad(x[0], ((0, 0), (1, 1), (1, 1)))
    ap, an, back = np.maximum(padded, 0), np.minimum(padded, 0), np.zeros_like(padded)
    for o, i, j in np.ndindex(3, 4, 4):
        window = np.s_[:, i : i + 3, j : j + 3]
        c = ap[window] * wp[o] + an[window] * wn[o]
        back[window] += c * Rc[o, i, j] / stabilize(c.sum() + max(constants["b"][o], 0))
    assert np.abs(e.relevance[0] - Rx - back[:, 1:-1, 1:-1]).max() < 1e-9


def values_of(x, k):
    """The block's values, written out."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    c = np.zeros_like(x)
    for o, i, j in np.ndindex(3, 4, 4):
        c[:, o, i, j] = (padded[:, :, i : i + 3, j : j + 3] * k["w"][o]).sum((1, 2, 3)) + k["b"][o]
    p = c.mean((2, 3))
    g = p @ k["d"] + k["e"]
    m = c / (1 + np.exp(-g))[:, :, None, None]
    return {"x": x, "c": c, "p": p, "g": g, "m": m, "a": x + m, "y": np.maximum(x + m, 0)}


# ---------------------------------------------------------------- one by one


def test_a_bilinear_product_of_one_and_minus_one():
    """Table row D19: epsilon 1/2 beside 2 z = -2."""
    op, R = MatrixProduct(((1, 1), (1, 1))), np.ones((1, 1))
    x, z = (R, -R), -R
    assert np.allclose(lc.BilinearMatMulEpsilon(0.5)(op, x, z, R), 0.4)
    left, right = lc.MatMulEpsilon(0.5)(op, x, z, R)
    assert np.allclose(left, 1 / 1.5)
    assert right is reflrp.arrays.ZERO


def test_a_constant_factor_keeps_half():
    one = np.ones((2, 2))
    scale = Diagonal(np.asarray(3.0), reflrp.arrays.ZERO, (2, 2))
    assert np.all(lc.MulUniform()(scale, one, 3 * one, one) == 0.5)
    half = Multiply(((2, 2), (2, 2)), active=(True, False))
    assert np.all(lc.MulUniform()(half, (one, one), one, one)[0] == 0.5)


def test_add_and_matmul_with_constants():
    x, b, R = np.asarray([[2.0, -3.0]]), np.asarray([1.0, 1.0]), np.asarray([[1.0, 4.0]])
    added = Diagonal(np.ones(()), b, (1, 2))
    assert np.allclose(lc.AddEpsilon(0.5)(added, x, x + b, R), [[2 / 3.5, -3 * 4 / -2.5]])
    w = np.asarray([[1.0, 2.0], [-1.0, 0.5]])
    L = Dense(w, b, (1, 2))
    z = x @ w
    first = z * R / stabilize(z + b, 0.5)
    assert np.allclose(lc.MatMulEpsilon(0.5)(L, x, z + b, R), x * ((first / stabilize(z, 0.5)) @ w.T))


def test_softmax_and_its_mask():
    """x (R - p sum R), the sum over the last axis; under a mask of -inf lczerolens gives NaN, here it is 0."""
    x, R = (np.random.default_rng(i).standard_normal((2, 3, 4)) for i in range(2))
    x[0, 0, 0] = -np.inf
    op = Softmax((1,))
    p = op.forward(x)
    found = lc.SoftmaxEpsilon()(op, x, p, R)
    inside = np.isfinite(x)
    assert np.allclose(found[inside], (x * (R - p * R.sum(-1, keepdims=True)))[inside])
    assert found[0, 0, 0] == 0


def test_by_name_and_checked():
    assert preset("lczerolens.LRP", epsilon=1e-3).title == "lczerolens.LRP"
    assert isinstance(lc.SoftmaxEpsilon(), r.Taylor)
    for rule in (lc.AddEpsilon, lc.MatMulEpsilon, lc.BilinearMatMulEpsilon):
        with pytest.raises(reflrp.RuleError, match="epsilon must be a number >= 0"):
            rule(-1.0)
