"""Products and normalisers, alone and in a network: formulas written out, masks, conservation, the ledger."""

import math
from dataclasses import dataclass

import attention_net as net
import numpy as np
import pytest
from onnx import parser

import reflrp
from reflrp import rules as r
from reflrp.arrays import ZERO, total
from reflrp.composites import Composite, defaults, kind, op_type, preset
from reflrp.ops.einsum import EinsumProduct, Equation
from reflrp.ops.normaliser import Softmax
from reflrp.ops.norms import LocalResponse, Standardise
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import MatrixProduct, Multiply

TARGET = [2, 0]


@dataclass
class Conservative(net.Formulas):
    """CP-LRP: the values and the up-projection take all."""

    def softmax(self, x, p, R):
        return np.zeros_like(x)

    def weigh(self, p, v, R):
        s = net.share(R, self.st(p @ v))
        return np.zeros_like(p), v * (p.swapaxes(1, 2) @ s)

    def gated(self, g, u, R):
        return np.zeros_like(g), R


def assert_formulas(rules, formulas, bias=True, masked=True, one=False, limit=1e-9):
    w, x = net.weights(bias=bias, masked=masked), net.sample()
    e = reflrp.explain(net.model(w), x, rules=rules, target=TARGET, init="one" if one else "output", layers=True)
    values = net.forward(w, x)
    assert np.allclose(e.output, values["logits"], rtol=0, atol=1e-12)
    wanted = net.backward(w, values, net.seed_of(values["logits"], TARGET, one), formulas)
    inner = ("n", "v", "h", "r", "y") if bias else ("n", "h", "r", "y")
    for name, found in {"x": e.relevance, **{k: e.layers.get(k, np.zeros(net.D)) for k in inner}}.items():
        assert np.abs(found - wanted[name]).max() <= limit * np.abs(wanted[name]).max(), name
    assert e.conservation.worst < 1e-12
    totals = e.conservation.totals
    assert math.isclose(totals["seed"], sum(totals.values()) - totals["seed"], abs_tol=1e-9)
    return e


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_attnlrp(epsilon, masked):
    assert_formulas(preset("attnlrp", epsilon=epsilon), net.Formulas(net.signed(epsilon)), masked=masked)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_cp_lrp(epsilon, masked):
    assert_formulas(preset("cp_lrp", epsilon=epsilon), Conservative(net.signed(epsilon)), masked=masked)


def test_cp_lrp_conserves_without_biases():
    """Nothing is created or lost but in the stabiliser; attention weights get nothing."""
    e = assert_formulas(preset("cp_lrp", epsilon=1e-12), Conservative(net.signed(1e-12)), bias=False)
    totals = e.conservation.totals
    assert abs(totals["bias"]) < 1e-12
    assert abs(totals["dropped"]) < 1e-9
    assert np.isclose(e.relevance.sum(), totals["seed"], rtol=1e-9)


def test_where_attnlrp_loses_relevance():
    """Without biases and epsilon, the softmax's expansion is all that does not conserve; the ledger says how much."""
    e = assert_formulas(preset("attnlrp", epsilon=0), net.Formulas(net.signed(0)), bias=False)
    rows = {row.node: row for row in e.conservation.rows}
    lost = {name: row.dropped for name, row in rows.items() if abs(row.dropped) > 1e-12}
    assert set(lost) == {"Softmax:p"}
    assert np.isclose(e.relevance.sum() + lost["Softmax:p"], e.conservation.seed, rtol=1e-9)


@dataclass
class HeldNorm(net.Formulas):
    def norm(self, x, w, b, R):
        return net.held(x, w, b, R, self.st)


def test_layernorm_with_its_deviation_held():
    own = ((op_type("LayerNormalization"), r.Epsilon(1e-3)), *preset("attnlrp", epsilon=1e-3).pairs)
    assert_formulas(Composite(own), HeldNorm(net.signed(1e-3)))


def test_gamma_attnlrp_is_attnlrp_without_gamma():
    """But for z = 0, which does not occur."""
    assert_formulas(preset("gamma_attnlrp", gamma=0.0), net.Formulas(net.signed(1e-6)))


def test_an_attention_of_masked_rows():
    """A row that is masked entirely gets and gives nothing, and nothing is NaN."""
    w = net.weights()
    w["mask"] = np.where(np.arange(net.T)[:, None] == 0, -np.inf, w["mask"])
    for rules in ("attnlrp", "cp_lrp", "gamma_attnlrp", "lxt.AttnLRP", "lxt.CP_LRP"):
        e = reflrp.explain(net.model(w), net.sample(), rules=rules)
        assert np.isfinite(e.relevance).all(), rules
        assert e.conservation.worst < 1e-9


MASKED_AFTER = """<ir_version: 8, opset_import: ["" : 17]>
g (double[N, 3, 4] x, bool[N, 3, 3] seen) => (double[N, 3, 4] y) {
  t = Transpose <perm = [0, 2, 1]> (x)
  s = MatMul (x, t)
  p = Softmax (s)
  zero = Constant <value = double {0.0}> ()
  q = Where (seen, p, zero)
  y = MatMul (q, x)
}"""


def test_weights_are_known_behind_a_mask():
    """Exporters write a mask after the softmax too: what comes through it still are attention weights."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    seen = np.broadcast_to(np.tri(3) > 0, (2, 3, 3))
    graph = reflrp.load(parser.parse_model(MASKED_AFTER)).graph({"x": x.shape, "seen": seen.shape})
    weighing = next(n for n in graph.nodes if n.output == "y")
    assert weighing.op.gates == (3, 0)
    e = reflrp.explain(parser.parse_model(MASKED_AFTER), {"x": x, "seen": seen}, rules="cp_lrp", init=np.ones(x.shape))
    assert abs(e.conservation.totals["dropped"]) < 1e-3


# ---------------------------------------------------------------- product rules, one by one


def pair(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal(s) for s in shapes)


CASES = {
    "mul": (Multiply, ((2, 3), (2, 3)), "ab,ab->ab"),
    "broadcast": (Multiply, ((2, 3), (3,)), "ab,b->ab"),
    "outer": (Multiply, ((2, 1), (1, 3)), None),
    "matmul": (MatrixProduct, ((2, 3), (3, 4)), "ab,bc->ac"),
    "batched": (MatrixProduct, ((5, 2, 3), (5, 3, 4)), "nab,nbc->nac"),
    "shared": (MatrixProduct, ((5, 2, 3), (3, 4)), "nab,bc->nac"),
    "einsum": (None, ((2, 3, 4), (5, 4)), "abd,cd->abc"),
}


def made(name, **fields):
    make, shapes, equation = CASES[name]
    if make is None:
        return EinsumProduct(shapes, equation=Equation(*equation.replace("->", ",").split(",")), **fields), shapes
    return make(shapes, **fields), shapes


def contributions(name, x, y):
    """Every single product x_i y_j that enters an output: a list of (i, j, k, x_i y_j)."""
    _, shapes, equation = CASES[name]
    if equation is None:
        out = np.broadcast_shapes(*shapes)
        places = [[tuple(min(k, n - 1) for k, n in zip(o, s, strict=True)) for s in shapes] for o in np.ndindex(out)]
        return [(*place, o) for place, o in zip(places, np.ndindex(out), strict=True)]
    left, right, result = equation.replace("->", ",").split(",")
    sizes = dict(zip(left + right, (*shapes[0], *shapes[1]), strict=True))
    letters = sorted(sizes)
    found = []
    for index in np.ndindex(*(sizes[c] for c in letters)):
        at = dict(zip(letters, index, strict=True))
        found.append(tuple(tuple(at[c] for c in term) for term in (left, right, result)))
    return found


def by_contribution(name, x, y, R, weight):
    """Give each contribution c of an output its weight(c, z, k), times x_i y_j's owners' shares, and add up."""
    z, parts = np.zeros(R.shape), contributions(name, x, y)
    for i, j, k in parts:
        z[k] += x[i] * y[j]
    left, right = np.zeros(x.shape), np.zeros(y.shape)
    for i, j, k in parts:
        one, two = weight(x[i] * y[j], k, z)
        left[i] += one * R[k]
        right[j] += two * R[k]
    return left, right


def st(z, e=0.05):
    return z + e if z >= 0 else z - e


LITERAL = {
    "half": (r.Half(0.05), lambda c, k, z: (c / st(2 * z[k]),) * 2),
    "epsilon_uniform": (r.EpsilonUniform(0.05), lambda c, k, z: (c / st(z[k]) / 2,) * 2),
    "value": (r.SignalTakesAll(1, 0.05), lambda c, k, z: (0, c / st(z[k]))),
    "query": (r.SignalTakesAll(0, 0.05), lambda c, k, z: (c / st(z[k]), 0)),
}


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n][0] is not Multiply])
@pytest.mark.parametrize("rule", LITERAL)
def test_matrix_products_by_contribution(name, rule):
    op, shapes = made(name)
    x, y = pair(shapes)
    z = op.forward(x, y)
    R = pair([z.shape], 1)[0]
    found = LITERAL[rule][0](op, (x, y), z, R)
    wanted = by_contribution(name, x, y, R, LITERAL[rule][1])
    for one, two in zip(found, wanted, strict=True):
        assert np.allclose(one + 0 * two, two, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_epsilon_uniform_and_alpha_beta_by_contribution(name):
    """Alpha-beta: positive contributions over their sum, negative ones over theirs; half to each owner."""
    op, shapes = made(name)
    x, y = pair(shapes)
    z = op.forward(x, y)
    R = pair([z.shape], 1)[0]
    up, down = np.zeros(z.shape), np.zeros(z.shape)
    for i, j, k in contributions(name, x, y):
        up[k] += max(x[i] * y[j], 0)
        down[k] += min(x[i] * y[j], 0)

    def shares(c, k, z):
        share = 2 * max(c, 0) / st(up[k]) - min(c, 0) / st(down[k])
        return share / 2, share / 2

    for rule, weight in ((r.ProductAlphaBeta(2.0, 1.0, 0.05), shares), LITERAL["epsilon_uniform"]):
        found, wanted = rule(op, (x, y), z, R), by_contribution(name, x, y, R, weight)
        for one, two in zip(found, wanted, strict=True):
            assert np.allclose(one, two, rtol=0, atol=1e-12)


ALL = [r.Half(0), r.EpsilonUniform(0), r.SignalTakesAll(0, 0), r.SignalTakesAll(1, 0), r.SignalTakesAll("auto", 0)]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rule", [*ALL, r.ProductAlphaBeta(1.0, 0.0, 0)])
@pytest.mark.parametrize("gates", [(0, 0), (3, 0), (2, 3)])
def test_product_rules_conserve(name, rule, gates):
    op, shapes = made(name, gates=gates)
    x, y = (abs(v) for v in pair(shapes))
    z = op.forward(x, y)
    R = pair([z.shape], 1)[0]
    parts = rule(op, (x, y), z, R)
    assert all(part is ZERO or part.shape == shape for part, shape in zip(parts, shapes, strict=True))
    assert math.isclose(sum(map(total, parts)), R.sum(), rel_tol=1e-9)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rule", [r.Half(0), r.EpsilonUniform(0), r.SignalTakesAll("auto", 0)])
@pytest.mark.parametrize("only", [0, 1])
def test_an_operand_without_relevance(name, rule, only):
    """It leaves all to the other, whichever of the two is the gate."""
    active = (only == 0, only == 1)
    for gates in ((0, 0), (3, 0), (0, 3)):
        op, shapes = made(name, active=active, gates=gates)
        x, y = (abs(v) for v in pair(shapes))
        z = op.forward(x, y)
        R = pair([z.shape], 1)[0]
        assert math.isclose(rule(op, (x, y), z, R)[only].sum(), R.sum(), rel_tol=1e-9)


def test_both_keep_their_half_where_all_count():
    for name in CASES:
        op, shapes = made(name, active=(True, False))
        x, y = pair(shapes)
        z = op.forward(x, y)
        R = pair([z.shape], 1)[0]
        assert math.isclose(r.Half(0, over="all")(op, (x, y), z, R)[0].sum(), R.sum() / 2, rel_tol=1e-9)


def test_uniform_is_for_elementwise_products():
    model = parser.parse_model(MASKED_AFTER)
    rules = Composite(((kind("product"), r.Uniform()), *defaults()))
    x = {"x": np.ones((1, 3, 4)), "seen": np.ones((1, 3, 3), dtype=bool)}
    with pytest.raises(reflrp.RuleError, match="rules stand on nodes that they cannot serve"):
        reflrp.explain(model, x, rules=rules, init=np.ones((1, 3, 4)))


@pytest.mark.parametrize("rule", [r.Half, r.Uniform])
def test_over_is_checked(rule):
    with pytest.raises(reflrp.RuleError, match="over='both' is unknown; use 'active' or 'all'"):
        rule(over="both")


# ---------------------------------------------------------------- normalisers, one by one

ROWS, GIVEN = pair([(2, 3, 4), (2, 3, 4)], 3)


def test_taylor_over_the_last_axis():
    """LXT and lczerolens sum over the last axis, whichever is the softmax's."""
    op = Softmax((1,))
    p = op.forward(ROWS)
    found = r.Taylor("last")(op, ROWS, p, GIVEN)
    assert np.allclose(found, ROWS * (GIVEN - p * GIVEN.sum(-1, keepdims=True)), rtol=1e-13)
    assert not np.allclose(found, r.Taylor()(op, ROWS, p, GIVEN))
    with pytest.raises(reflrp.RuleError, match="over='first' is unknown"):
        r.Taylor("first")


def test_softmax_held_constant_stopped_and_by_epsilon():
    op = Softmax((2,))
    p = op.forward(ROWS)
    assert r.Pass()(op, ROWS, p, GIVEN) is GIVEN
    assert not np.any(np.asarray(0 + r.Stop()(op, ROWS, p, GIVEN)))
    wanted = np.zeros(ROWS.shape)
    for n, t, i in np.ndindex(ROWS.shape):
        for k in range(4):
            slope = p[n, t, k] * ((i == k) - p[n, t, i])
            wanted[n, t, i] += ROWS[n, t, i] * slope * GIVEN[n, t, k] / st(p[n, t, k])
    assert np.allclose(r.Ratio(0.05)(op, ROWS, p, GIVEN), wanted, rtol=0, atol=1e-13)


W, B = pair([(4,), (4,)], 5)
NO_BIAS = 0 * B


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("rule", [r.Epsilon(0.05), r.Norm(0.05)])
def test_layernorm_with_both_variances(ddof, rule):
    """Both of the statistic's forms: divided by n, and by n - 1."""
    op = Standardise(W, B, (2,), net.EPS, ddof=ddof)
    y, wanted = op.forward(ROWS), net.held(ROWS, W, B, GIVEN, net.signed(0.05), ddof)
    variance = ROWS.var(-1, ddof=ddof, keepdims=True)
    assert np.allclose(y, (ROWS - ROWS.mean(-1, keepdims=True)) / np.sqrt(variance + net.EPS) * W + B, rtol=1e-13)
    assert np.allclose(rule(op.held(ROWS), ROWS, y, GIVEN), wanted, rtol=1e-10)


@pytest.mark.parametrize(
    "op",
    [
        Standardise(W, NO_BIAS, (2,), 0.0, center=False),
        Standardise(np.ones(()), NO_BIAS, (2,), 0.0, center=False, mean=False, floor=1e-30),
        Standardise(np.ones(()), NO_BIAS, (2,), 1e-5),
        Standardise(np.ones(()), NO_BIAS, (2,), 1e-5, grouped=(2, 2, 6)),
        LocalResponse(np.ones(()), NO_BIAS, 3, 0.1, 0.75, 1.0),
    ],
    ids=["rms", "l2", "layer", "group", "local"],
)
def test_a_held_statistic_conserves(op):
    """Without a bias: LRP-0 hands on all of R. For those that do not subtract a mean it is the identity."""
    y = op.forward(ROWS)
    found = r.Epsilon(0)(op.held(ROWS), ROWS, y, GIVEN)
    assert math.isclose(found.sum(), GIVEN.sum(), rel_tol=1e-9)
    if not getattr(op, "center", False):
        assert np.allclose(found, GIVEN, rtol=1e-9)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "swish", "tanh", "sigmoid", "mish"])
def test_activations_pass_or_by_their_ratio(name):
    op, x = Pointwise(name, (1.0,) if name == "swish" else ()), ROWS
    y, h = op.forward(x), 2.0**-16
    slope = (op.forward(x + h) - op.forward(x - h)) / (2 * h)
    assert r.Pass()(op, x, y, GIVEN) is GIVEN
    assert np.allclose(r.Ratio(0.05)(op, x, y, GIVEN), x * slope * GIVEN / net.signed(0.05)(y), rtol=0, atol=1e-7)
