"""The rules of captum, RelevancePropagation.jl, the LRP Toolbox and innsight, each against its formula written out.

The formulas are those of the libraries, on the matrix of one sample: Z[j, k] = a_j w_jk.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maps import MAPS, dyadic, flat

from reflrp.arrays import ZERO
from reflrp.dialects import captum, innsight, lrp_toolbox
from reflrp.dialects import relevance_propagation_jl as jl
from reflrp.dialects.relevance_propagation_jl.fused import Fused
from reflrp.errors import RuleError
from reflrp.ops.linear import Dense, Diagonal
from reflrp.ops.norms import Standardise
from reflrp.ops.pointwise import Pointwise

LAYERS = ("dense", "conv", "conv_transpose")
F9, F6 = float(np.float32(1e-9)), float(np.float32(1e-6))


def up(x):
    return np.maximum(x, 0)


def down(x):
    return np.minimum(x, 0)


def signed(z, epsilon):
    return z + epsilon * np.where(z >= 0, 1.0, -1.0)


def shared(Z, denominator, R):
    """sum_k Z_jk / denominator_k R_k."""
    return (Z * (R / denominator)).sum(axis=1)


# ---------------------------------------------------------------- formulas: (a, W, b, R) -> relevance of a


def captum_rule(change, keep_bias=True, epsilon=1e-9):
    def formula(a, S, W, b, R):
        Z = a[:, None] * change(W)
        return shared(Z, signed(Z.sum(axis=0) + b * keep_bias, epsilon), R)

    return formula


def julia_gamma(gamma):
    return lambda a, S, W, b, R: shared(
        a[:, None] * (W + gamma * up(W)), signed((a[:, None] * (W + gamma * up(W))).sum(0) + b + gamma * up(b), F9), R
    )


def julia_alphabeta(alpha, beta):
    def formula(a, S, W, b, R):
        Z = a[:, None] * W
        positive = shared(up(Z), signed(up(Z).sum(0) + up(b), F9), R)
        return alpha * positive - beta * shared(down(Z), signed(down(Z).sum(0) + down(b), F9), R)

    return formula


def generalised(gamma, f=lambda z: z):
    def formula(a, S, W, b, R):
        y = f(a @ W + b)
        plus, minus, p, n = W + gamma * up(W), W + gamma * down(W), up(a)[:, None], down(a)[:, None]
        above, below = p * plus + n * minus, p * minus + n * plus
        return shared(above, signed(above.sum(0) + b + gamma * up(b), F9), R * (y > 0)) + shared(
            below, signed(below.sum(0) + b + gamma * down(b), F9), R * (y < 0)
        )

    return formula


def zbox(low, high, f=lambda z: z, slope=np.ones_like):
    def formula(a, S, W, b, R):
        z = a @ W + b
        s = R / signed(f(z) - (low * up(W)).sum(0) - up(b) - (high * down(W)).sum(0) - down(b), F9)
        return a * (W @ (s * slope(z))) - low * (up(W) @ s) - high * (down(W) @ s)

    return formula


def parts(alpha, positive, negative):
    def formula(a, S, W, b, R):
        Z = a[:, None] * W
        first = shared(up(Z), up(Z).sum(0) + up(b) + positive, R)
        return alpha * first + (1 - alpha) * shared(down(Z), down(Z).sum(0) + down(b) - negative, R)

    return formula


def by_weights(power, epsilon):
    def formula(a, S, W, b, R):
        V = W**2 if power else (S != 0).astype(float)
        total = V.sum(0) + epsilon
        return (V * np.where(total == 0, 0, R / np.where(total == 0, 1, total))).sum(1)

    return formula


def innsight_epsilon(epsilon, weak):
    def formula(a, S, W, b, R):
        z = a @ W + b
        return shared(a[:, None] * W, z + np.sign(z) * epsilon + (z == 0) * weak, R)

    return formula


def identity(W):
    return W


def relu_slope(z):
    return (z > 0) * 1.0


ON_WEIGHTS = {
    "captum.EpsilonRule": (captum.EpsilonRule(), captum_rule(identity)),
    "captum.EpsilonRule(0.25)": (captum.EpsilonRule(0.25), captum_rule(identity, epsilon=0.25)),
    "captum.GammaRule": (captum.GammaRule(0.5), captum_rule(lambda W: W + 0.5 * up(W))),
    "captum.GammaRule, no bias": (captum.GammaRule(2, True), captum_rule(lambda W: W + 2 * up(W), keep_bias=False)),
    "captum.Alpha1_Beta0_Rule": (captum.Alpha1_Beta0_Rule(), captum_rule(up)),
    "captum.Alpha1_Beta0_Rule, no bias": (captum.Alpha1_Beta0_Rule(True), captum_rule(up, keep_bias=False)),
    "jl.ZeroRule": (jl.ZeroRule(), captum_rule(identity, epsilon=F9)),
    "jl.EpsilonRule": (jl.EpsilonRule(), captum_rule(identity, epsilon=F6)),
    "jl.LayerNormRule": (jl.LayerNormRule(), captum_rule(identity, epsilon=F9)),
    "jl.GammaRule": (jl.GammaRule(), julia_gamma(0.25)),
    "jl.AlphaBetaRule": (jl.AlphaBetaRule(), julia_alphabeta(2, 1)),
    "jl.ZPlusRule": (jl.ZPlusRule(), julia_alphabeta(1, 0)),
    "jl.GeneralizedGammaRule": (jl.GeneralizedGammaRule(), generalised(0.25)),
    "jl.GeneralizedGammaRule, relu": (Fused(jl.GeneralizedGammaRule(0.5), "relu"), generalised(0.5, up)),
    "jl.ZBoxRule": (jl.ZBoxRule(-1.0, 2.0), zbox(-1, 2)),
    "jl.ZBoxRule, relu": (Fused(jl.ZBoxRule(-1.0, 2.0), "relu"), zbox(-1, 2, up, relu_slope)),
    "jl.WSquareRule": (jl.WSquareRule(), by_weights(True, F9)),
    "jl.FlatRule": (jl.FlatRule(), by_weights(False, F9)),
    "toolbox alphabeta 2": (lrp_toolbox.AlphaBeta(2.0), parts(2, 1e-16, 2e-16)),
    "toolbox alphabeta 0.5": (lrp_toolbox.AlphaBeta(0.5), parts(0.5, 1e-16, 2e-16)),
    "toolbox alphabeta 0": (lrp_toolbox.AlphaBeta(0.0), parts(0, 1e-16, 2e-16)),
    "innsight simple": (innsight.LRP().pairs[0][1], captum_rule(identity, epsilon=1e-6)),
    "innsight epsilon": (innsight.LRP("epsilon").pairs[0][1], innsight_epsilon(0.01, 1e-6)),
    "innsight epsilon as released": (
        innsight.LRP("epsilon", dtype="double", as_released=True).pairs[0][1],
        innsight_epsilon(0.001, 1e-15),
    ),
    "innsight alpha_beta": (innsight.LRP("alpha_beta").pairs[0][1], parts(0.5, 1e-6, 1e-6)),
}


def activated(rule):
    return Fused(rule.rule, Pointwise("relu")) if isinstance(rule, Fused) else rule


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("title", ON_WEIGHTS)
@settings(max_examples=12)
@given(data=st.data())
def test_on_layers_with_weights(kind, title, data):
    """Where a denominator is 0, shares of 1e9 cancel: what is left of them is rounding, below 1e-5."""
    rule, formula = ON_WEIGHTS[title]
    m = data.draw(MAPS[kind])
    R = dyadic(np.random.default_rng(1), m.z.shape) * (m.z != 0 if "innsight" in title else 1)
    got = flat(activated(rule)(m.op, m.a, m.z, R) + 0 * m.a)
    for n, (a, one, matrix) in enumerate(zip(flat(m.a), flat(R), m.matrices, strict=True)):
        with np.errstate(all="ignore"):
            want = formula(np.array(a), np.array(matrix.S), np.array(matrix.full), np.array(matrix.b), np.array(one))
        np.testing.assert_allclose(got[n], want, rtol=1e-7, atol=1e-5)


def test_innsight_where_an_output_is_0():
    """The weak stabiliser takes the place of epsilon, and is beside "simple"'s z in any case."""
    op = Dense(np.array([[1.0, 2.0], [-1.0, 1.0]]), ZERO, (1, 2))
    a, R = np.ones((1, 2)), np.ones((1, 2))
    epsilon = innsight.LRP("epsilon", 0.5).pairs[0][1]
    np.testing.assert_allclose(epsilon(op, a, op.forward(a), R), [[1e6 + 2 / 3.5, -1e6 + 1 / 3.5]])
    simple = innsight.LRP(dtype="double").pairs[0][1]
    np.testing.assert_allclose(simple(op, a, op.forward(a), R), [[1e15 + 2 / 3, -1e15 + 1 / 3]])


# ---------------------------------------------------------------- pools, sums, norms


def windows_of(x, size):
    for i in range(0, x.shape[2] - size + 1, size):
        for j in range(0, x.shape[3] - size + 1, size):
            yield (slice(None), slice(None), slice(i, i + size), slice(j, j + size)), (..., i // size, j // size)


def spread(x, R, share):
    """share(window, R of the window) for each 2x2 window: its relevance."""
    out = np.zeros_like(x)
    for window, k in windows_of(x, 2):
        out[window] += share(x[window], R[k][..., None, None])
    return out


def plane(x):
    return x.sum((2, 3), keepdims=True)


def toolbox_alphabeta(alpha, squared):
    def share(x, R):
        Q = R**2 if squared else R
        return alpha * up(x) / (plane(up(x)) + 1e-16) * R + (1 - alpha) * down(x) / (plane(down(x)) - 1e-16) * Q

    return share


POOLS = {
    "simple": (lrp_toolbox.SumPool(), lambda x, R: x / signed(plane(x), 1e-12) * R),
    "epsilon": (lrp_toolbox.SumPool(0.5), lambda x, R: x / signed(plane(x), 0.5) * R),
    "alphabeta": (lrp_toolbox.SumPool(alpha=2.0, squared=True), toolbox_alphabeta(2, True)),
    "alphabeta slow": (lrp_toolbox.SumPool(alpha=2.0), toolbox_alphabeta(2, False)),
    "alphabeta 1": (lrp_toolbox.SumPool(alpha=1.0, squared=True), toolbox_alphabeta(1, False)),
    "innsight": (innsight.OverWindows(1e-6), lambda x, R: x / 4 / signed(plane(x) / 4, 1e-6) * R),
    "innsight alpha_beta": (
        innsight.OverWindows(1e-6, 0.25),
        lambda x, R: (
            0.25 * up(x) / 4 / (plane(up(x)) / 4 + 1e-6) * R + 0.75 * down(x) / 4 / (plane(down(x)) / 4 - 1e-6) * R
        ),
    ),
}
MAXIMA = {
    "equal": (lrp_toolbox.MaxPoolEqual(), lambda x, R: (x == top(x)) / plane(x == top(x)) * R),
    "flat": (lrp_toolbox.MaxPoolFlat(), lambda x, R: np.ones_like(x) / 4 * R),
    "innsight, as an average": (innsight.OverWindows(1e-6), POOLS["innsight"][1]),
}


def top(x):
    return x.max((2, 3), keepdims=True)


def pooled(kind):
    from reflrp.arrays.kernels import Windows
    from reflrp.ops.conv import WindowMean
    from reflrp.ops.selection import MaxPool

    rng = np.random.default_rng(3)
    x, R = dyadic(rng, (2, 3, 4, 6), zeros=0.5), rng.normal(size=(2, 3, 2, 3))
    windows = Windows((4, 6), (2, 2), (2, 2), (1, 1), (0, 0), (0, 0))
    one = np.ones(())
    mean = WindowMean(one, ZERO, x.shape, windows=windows, share=np.asarray(0.25))
    return (mean if kind == "mean" else MaxPool(one, ZERO, x.shape, windows=windows)), x, R


@pytest.mark.parametrize("title", POOLS)
def test_on_averages(title):
    rule, share = POOLS[title]
    op, x, R = pooled("mean")
    np.testing.assert_allclose(rule(op, x, op.forward(x), R), spread(x, R, share), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("title", MAXIMA)
def test_on_maxima(title):
    rule, share = MAXIMA[title]
    op, x, R = pooled("max")
    z = op.forward(x)
    np.testing.assert_allclose(rule(op.observed(x, z), x, z, R), spread(x, R, share), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_innsight_on_batchnorm(alpha):
    rng = np.random.default_rng(0)
    w, b, a, R = rng.normal(size=4), rng.normal(size=4), dyadic(rng, (3, 4)), rng.normal(size=(3, 4))
    p, n = up(w * a), down(w * a)
    first = alpha * p / (p + (p == 0) * 1e-6 + up(b))
    want = (first + (1 - alpha) * n / (n - (n == 0) * 1e-6 + down(b))) * R
    rule = innsight.LRP({"BatchNorm_Layer": "alpha_beta"}, alpha).pairs[3][1]
    op = Diagonal(w, b, a.shape)
    np.testing.assert_allclose(rule(op, a, op.forward(a), R), want, rtol=1e-12)
    simple = innsight.LRP().pairs[3][1]
    np.testing.assert_allclose(simple(op, a, op.forward(a), R), w * a / op.forward(a) * R, rtol=1e-12)


@pytest.mark.parametrize("activation", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_julia_on_layernorm(affine, activation):
    rng = np.random.default_rng(0)
    w, b = (rng.normal(size=5), rng.normal(size=5)) if affine else (np.ones(5), np.zeros(5))
    a, R = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    op = Standardise(w, b, axes=(1,), epsilon=0.25)
    z = op.forward(a)
    n = (a - a.mean(1, keepdims=True)) / np.sqrt(a.var(1, keepdims=True) + 0.25)
    Q = n * w * R / signed(n * w + b, F9) if affine or activation else R
    s = Q / signed(a - a.mean(1, keepdims=True), F9)
    rule = Fused(jl.LayerNormRule(), Pointwise("relu")) if activation else jl.LayerNormRule()
    np.testing.assert_allclose(rule(op, a, z, R), a * (s - s.mean(1, keepdims=True)), rtol=1e-9)


def test_julia_takes_batchnorm_with_its_activation():
    rng = np.random.default_rng(0)
    w, b, a, R = rng.normal(size=4), rng.normal(size=4), rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    op = Diagonal(w, b, a.shape)
    z = a * w + b
    want = a * w * (z > 0) * R / signed(up(z), F9)
    np.testing.assert_allclose(Fused(jl.ZeroRule(), Pointwise("relu"))(op, a, z, R), want, rtol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: captum.EpsilonRule(-1.0),
        lambda: captum.GammaRule(gamma="1"),
        lambda: captum.Alpha1_Beta0_Rule(1),
        lambda: captum.LRP(rules={"a": 3}),
        lambda: captum.LRP(rules={3: captum.EpsilonRule()}),
        lambda: captum.LRP(functions="conv"),
        lambda: captum.LRP(hooks="none"),
        lambda: jl.AlphaBetaRule(2.0, 0.5),
        lambda: jl.ZBoxRule(1.0, 0.0),
        lambda: jl.Composite(3),
        lambda: jl.GlobalMap(captum.EpsilonRule()),
        lambda: jl.GlobalTypeMap({"Dense": jl.ZeroRule()}),
        lambda: jl.RangeMap((1, 2), jl.ZeroRule()),
        lambda: jl.LayerMap(0, jl.ZeroRule()),
        lambda: jl.start("yes"),
        lambda: lrp_toolbox.lrp("epsilons"),
        lambda: lrp_toolbox.lrp("epsilon", None),
        lambda: lrp_toolbox.lrp(layers={"a": "simple"}),
        lambda: innsight.LRP("pass"),
        lambda: innsight.LRP({"Dense_Layer": "pass"}),
        lambda: innsight.LRP({"Dense": "simple"}),
        lambda: innsight.LRP("epsilon", "0.1"),
        lambda: innsight.LRP(dtype="half"),
    ],
)
def test_wrong_arguments_are_refused(make):
    with pytest.raises((RuleError, ValueError)):
        make()
