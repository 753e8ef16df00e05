"""What compiled graphs save by knowing signs: no choice entry by entry where a product says the same, to the last bit."""

import numpy as np
import onnx
import pytest
from compiled import check, run
from models import model
from nets import build

import reflrp
from reflrp import rules
from reflrp.arrays import symbolic as xp
from reflrp.arrays.tracing.array import term_of
from reflrp.arrays.tracing.terms import Trace
from reflrp.composites import Composite, first, kind, uniform

GAMMA = rules.Gamma(0.25, generalized=True)

JOINED = """net (float[N, 2, 6, 6] x) => (float[N, 3] y)
<float[4, 2, 3, 3] w1, float[4] b1, float[4, 4, 3, 3] w2, float[4, 4, 3, 3] w3, float[4, 3] w4>
{
    a = Conv<pads = [1, 1, 1, 1]>(x, w1, b1)
    r = Relu(a)
    b = Conv<pads = [1, 1, 1, 1]>(r, w2)
    c = Conv<pads = [1, 1, 1, 1]>(r, w3)
    s = Add(b, c)
    q = Relu(s)
    g = ReduceMean<axes = [2, 3], keepdims = 0>(q)
    y = MatMul(g, w4)
}"""


def sides(proto):
    """How often the graph of the relevance asks on which side of 0 a value lies."""
    return sum(n.op_type in ("Greater", "Less") and n.name.startswith("reflrp/") for n in proto.graph.node)


def signs(proto):
    """How often it asks for the sign of a denominator, in the branches of its choices, too."""

    def of(graph):
        inner = sum(of(a.g) for n in graph.node for a in n.attribute if a.type == onnx.AttributeProto.GRAPH)
        return inner + sum(n.op_type == "GreaterOrEqual" and n.output[0].startswith("reflrp/") for n in graph.node)

    return of(proto.graph)


@pytest.fixture
def joined():
    """Two convolutions behind a rectifier, added; their outputs have both signs, and are exactly 0 where nothing arrives."""
    proto, rng = build(JOINED), np.random.default_rng(0)
    x = rng.standard_normal((3, 2, 6, 6)).astype(np.float32)
    x[1], x[2, :, 3:] = 0, 0
    return proto, x


@pytest.mark.parametrize("rule", [GAMMA, rules.Gamma(2, generalized=True, stabilizer=0.1)])
def test_what_gamma_shares_where_an_output_is_positive_is_a_product(joined, rule):
    """Relevance of an output z of a sum is z q: where z > 0, and else 0, it is max(z, 0) q."""
    proto, x = joined
    composite = Composite(((first(), rules.Epsilon()), (kind("conv"), rule), *uniform(rules.Epsilon()).pairs))
    written = reflrp.compile(proto, composite)
    assert sides(written) == 0
    check(proto, {"x": x}, composite, layers=True)


def test_what_may_be_divided_by_zero_is_no_factor(joined):
    """Without a stabiliser q may be infinite where z is 0: there the choice stays."""
    proto, x = joined
    composite = Composite(((first(), rules.Epsilon()), (kind("conv"), GAMMA), *uniform(rules.Norm(0)).pairs))
    assert sides(reflrp.compile(proto, composite)) == 4
    check(proto, {"x": x}, composite, layers=True)


@pytest.mark.parametrize("side", ["Greater", "Less"])
def test_a_product_is_the_choice_to_the_last_bit(side):
    """Of numbers of all sizes, zeros of both signs among them."""
    rng = np.random.default_rng(0)
    z, r, d = (rng.standard_normal((4, 500)) * 10.0 ** rng.integers(-30, 30, (4, 500)) for _ in range(3))
    z[:, :50], z[:, 50:100], r[:, 80:120] = 0.0, -0.0, 0.0
    z, r, d = (k.astype(np.float32) for k in (z, r, abs(d)))
    terms = Trace()
    Z, R, D = (xp.argument(terms, n, (4, 500), nonneg=n == "d", finite=True) for n in "zrd")
    share = Z * (R / (D + np.float32(1e-6)))
    found = xp.where(Z > 0 if side == "Greater" else Z < 0, share, 0 * share)
    assert "Where" not in {t.op for t in terms.terms.values()}
    assert term_of(found, terms).op == "Mul"
    with np.errstate(over="ignore"):
        whole = z * (r / (d + np.float32(1e-6)))
        want = np.where(z > 0 if side == "Greater" else z < 0, whole, np.float32(0))
        part = np.maximum(z, 0) if side == "Greater" else np.minimum(z, 0)
        assert (part * (r / (d + np.float32(1e-6))) == want).all()


@pytest.mark.parametrize(
    "rule", [rules.AlphaBeta(), rules.AlphaBeta(1, 0), rules.AlphaBeta(3, 2, bias="ignore"), rules.ZPlus()]
)
@pytest.mark.parametrize("signed", [True, False])
def test_a_sum_of_shares_of_one_sign_is_stabilised_without_a_look(rule, signed):
    """Its sign is that of its shares; where all are 0, none passes on relevance, whatever the sign of the stabiliser."""
    rng = np.random.default_rng(0)
    body = f"r = {'Identity' if signed else 'Relu'}(x) c = Conv<pads = [1, 1, 1, 1]>(r, w, b) y = Tanh(c)"
    w, b = rng.standard_normal((4, 2, 3, 3)).astype(np.float32), np.float32([0.5, -0.5, 0, 0])
    w[2], w[3] = abs(w[2]), -abs(w[3])
    proto, x = model(body, "float[N,2,6,6] x", w=w, b=b), rng.standard_normal((3, 2, 6, 6)).astype(np.float32)
    x[1], x[2, :, 3:] = 0, 0
    composite = Composite(((kind("conv"), rule), *uniform(rules.Norm()).pairs))
    written = reflrp.compile(proto, composite, target=(1, 2, 3), init="one")
    assert signs(written) <= 1  # the function's own
    check(proto, {"x": x}, composite, layers=True)
    assert np.isfinite(run(written, {"x": x}, ["relevance/x"])["relevance/x"]).all()


def test_a_bias_in_both_denominators_leaves_their_signs_open():
    """With all of b in z+ and z- each may have any sign: it is looked at."""
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((4, 2, 3, 3)).astype(np.float32), np.float32([5, -5, 0.1, -0.1])
    proto = model("c = Conv(x, w, b) y = ReduceMean<axes = [2, 3], keepdims = 0>(c)", "float[N,2,6,6] x", w=w, b=b)
    composite = Composite(((kind("conv"), rules.AlphaBeta(bias="full")), *uniform(rules.Epsilon()).pairs))
    assert signs(reflrp.compile(proto, composite)) == 3  # the output's, too
    check(proto, {"x": rng.standard_normal((3, 2, 6, 6)).astype(np.float32)}, composite)
