"""The same formulas on fractions: no rounding at all, so conservation and the oracle hold with `==`."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from maps import MAPS, dyadic, exact, exact_matrix
from test_rules import RULES, expected

import reflrp
from reflrp.arrays import ZERO
from reflrp.engine import prepare
from reflrp.rules import AlphaBeta, AlphaBetaX, Epsilon, Gamma, Rule, Sign, Stabilizer, StdxEpsilon, ZBox


def rational(rule):
    """Standard deviations and root mean squares are no fractions."""
    scaled = isinstance(getattr(rule, "stabilizer", None), Stabilizer) and rule.stabilizer.norm_scale
    return not scaled and not isinstance(rule, StdxEpsilon)


EXACT = [rule.exact() for rule in RULES if rational(rule)]


def fractions_only(x):
    """Whether no float hides among the entries."""
    return all(isinstance(v, Fraction | int) for v in np.asarray(x, dtype=object).ravel())


@pytest.mark.parametrize("kind", MAPS)
def test_rules_without_rounding(kind):
    """The relevance is the oracle's, and sum R_in + what bias and stabiliser keep == sum R_out."""

    @given(MAPS[kind])
    @settings(max_examples=12)
    def check(m):
        m = replace(m, matrices=list(map(exact_matrix, m.matrices)), number=Fraction).converted(exact)
        R, z = exact(dyadic(np.random.default_rng(7), m.z.shape)), m.z
        assert fractions_only(z)
        for rule in EXACT:
            L = replace(m.seen, absorbed=[])
            found = rule(L, m.a, z, R)
            found = 0 * m.a if found is ZERO else found
            assert fractions_only(found), rule
            assert [[*row] for row in m.samples(found)] == expected(rule, m, R), rule
            if rule.conserves:
                kept = [number for share in L.absorbed for number in share]
                assert fractions_only(kept), rule
                assert found.sum() + sum(kept) == R.sum(), rule

    check()


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (Epsilon(0.1), Epsilon(Fraction(1, 10))),
        (AlphaBeta(1.7, 0.7), AlphaBeta(Fraction(17, 10), Fraction(7, 10), stabilizer=Fraction(1, 10**6))),
        (Gamma(stabilizer=Stabilizer(0.5)), Gamma(Fraction(1, 4), stabilizer=Stabilizer(Fraction(1, 2)))),
        (AlphaBetaX(stabilizer=0), AlphaBetaX((Fraction(1, 2),) * 2, (Fraction(1, 2),) * 2, stabilizer=0)),
    ],
)
def test_fields_become_the_fractions_they_say(rule: Rule, wanted):
    assert rule.exact() == wanted


@pytest.mark.parametrize("rule", [ZBox(np.asarray([-0.5, 0]), np.asarray([0.25, 1])), Sign(np.asarray([0.25, -0.5]))])
def test_arrays_of_bounds_become_fractions(rule):
    bounds = [v for v in vars(rule.exact()).values() if isinstance(v, np.ndarray)]
    assert bounds
    assert all(isinstance(v, Fraction) for b in bounds for v in b)


NET = """
<ir_version: 8, opset_import: ["": 17]>
net (float[N, 2, 5, 5] x) => (float[N, 3] y)
<float[4, 2, 3, 3] w1, float[4] b1, float[4, 4, 1, 1] w2, float[3, 4] w3, float[3] b3>
{
    c1 = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w1, b1)
    r1 = Relu(c1)
    c2 = Conv<kernel_shape = [1, 1]>(r1, w2)
    sum = Add(c2, r1)
    r2 = Relu(sum)
    p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r2)
    g = GlobalAveragePool(p)
    f = Flatten(g)
    y = Gemm<transB = 1>(f, w3, b3)
}
"""


@pytest.mark.parametrize(
    "preset", ["epsilon", "epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_gamma_box", "lrp_0"]
)
def test_a_network_without_rounding(preset):
    """A residual CNN: the ledger closes with ==, and float64 agrees to its precision."""
    net, rng = onnx.parser.parse_model(NET), np.random.default_rng(5)
    for info in net.graph.value_info:
        dims = [d.dim_value for d in info.type.tensor_type.shape.dim]
        net.graph.initializer.append(onnx.numpy_helper.from_array(dyadic(rng, dims).astype(np.float32), info.name))
    del net.graph.value_info[:]
    x = dyadic(rng, (2, 2, 5, 5))
    explainer = reflrp.Explainer(net, preset)
    floats = explainer.program(x)
    rules = {name: rule.exact() for name, rule in floats.rules.items()}
    program = prepare(floats.graph, rules, exact)
    values = program.forward({"x": exact(x)})
    y = values["y"]
    assert fractions_only(y)
    found, rows = program.backward(values, {"y": y}, lambda name: False)
    assert fractions_only(found["x"])
    for row in rows:
        assert all(isinstance(v, Fraction | int) for v in (row.received, row.passed_on, row.bias, row.stabilizer))
        assert row.error == row.dropped == 0
    kept = sum(row.bias + row.stabilizer for row in rows)
    assert found["x"].sum() + kept == y.sum()
    near = explainer(x, init=y.astype(float)).relevance
    assert np.allclose(near, found["x"].astype(float), rtol=0, atol=1e-9 * np.abs(near).max())
