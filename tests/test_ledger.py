"""Conservation: each node's account closes, and the network's too."""

import numpy as np
import pytest
from models import draw, model
from nets import NETS, build, net

import reflrp
from reflrp.composites import Composite, defaults
from reflrp.composites.matchers import kind
from reflrp.ledger import Ledger, Row
from reflrp.rules import (
    AlphaBetaX,
    Epsilon,
    EpsilonUniform,
    Flat,
    Gamma,
    Half,
    ProductAlphaBeta,
    Sign,
    SignalTakesAll,
    Uniform,
)

CONSERVING = [
    "epsilon",
    "lrp_0",
    "epsilon_plus",
    "epsilon_plus_flat",
    "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat",
    "epsilon_gamma_box",
    "sequential_a",
    "sequential_b_flat",
]


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("rules", CONSERVING)
@pytest.mark.parametrize("init", ["output", "one"])
def test_every_node_closes(name, rules, init):
    """received = passed_on + bias + stabilizer to 1e-10 of what flows, at each node and over the network."""
    model, x = net(name)
    ledger = reflrp.explain(model, x, rules, init=init).conservation
    assert ledger.worst < 1e-10
    flow = max(row.flow for row in ledger.rows)
    for row in ledger.rows:
        assert row.dropped == 0
        assert abs(row.received - row.passed_on - row.bias - row.stabilizer - row.error) <= 1e-12 * row.flow
    totals = ledger.totals
    assert abs(totals.pop("seed") - sum(totals.values())) < 1e-10 * flow


@pytest.mark.parametrize("rule", [Sign(), AlphaBetaX()])
def test_what_a_rule_drops_is_no_error(rule):
    model, x = net("resnet")
    ledger = reflrp.explain(model, x, rule).conservation
    assert ledger["fc"].dropped != 0
    assert all(row.error == 0 for row in ledger.rows if row.rule == type(rule).__name__)
    totals = ledger.totals
    assert np.isclose(totals.pop("seed"), sum(totals.values()), rtol=1e-10)


def test_gamma_at_zero_stays_in_the_stabiliser():
    """Generalized gamma passes nothing on where z = 0; the account says so."""
    model = build("net (float[N, 2] x) => (float[N, 1] y) <float[2, 1] w> { [fc] y = MatMul(x, w) }")
    row = reflrp.explain(model, np.zeros((1, 2)), Gamma(generalized=True), init=np.ones((1, 1))).conservation["fc"]
    assert (row.received, row.passed_on, row.stabilizer, row.error) == (1, 0, 1, 0)


def test_nothing_stays():
    """Flat without a stabiliser passes everything on."""
    model, x = net("mlp")
    for row in reflrp.explain(model, x, Flat(0), init="one").conservation.rows:
        assert row.bias == 0
        assert abs(row.stabilizer) < 1e-15
        assert np.isclose(row.received, row.passed_on, rtol=1e-15)


NORMALISED = {
    "LayerNormalization <epsilon = 0.1>(x, g, b)": lambda x: x.reshape(8, 3),
    "InstanceNormalization <epsilon = 0.1>(x, g, b)": lambda x: x.reshape(8, 3),
    "GroupNormalization <epsilon = 0.1, num_groups = 2>(x, g, b)": lambda x: x.reshape(4, 6),
}


@pytest.mark.parametrize("bias", ["absorb", "ignore"])
@pytest.mark.parametrize("text", NORMALISED)
def test_what_stays_in_a_normalisation(text, bias):
    """Its statistic held, its bias keeps sum b R / st(z), the stabiliser sum R - z R / st(z), and inputs get the rest."""
    count = 3 if "Layer" in text else 4
    g, b = draw(count, seed=1), draw(count, seed=2)
    proto = model(f"[norm] y = {text}", "float[N,4,3] x", opset=21, g=g, b=b)
    x, R = (draw(2, 4, 3, seed=k).astype(float) for k in (3, 4))
    e = reflrp.explain(proto, x, {"norm": Epsilon(0.3, bias)}, init=R)
    rows, shape = NORMALISED[text](x), (3,) if count == 3 else (4, 1)
    y = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + np.float32(0.1))
    b = b.reshape(shape).astype(float) * (bias == "absorb")
    z = y.reshape(x.shape) * g.reshape(shape) + b
    s = R / (z + 0.3 * np.sign(z))
    row = e.conservation["norm"]
    wanted = [R.sum(), ((z - b) * s).sum(), (b * s).sum(), (R - z * s).sum(), 0]
    found = [row.received, row.passed_on, row.bias, row.stabilizer, row.dropped]
    assert np.allclose(found, wanted, rtol=1e-12, atol=1e-13)
    assert abs(row.error) < 1e-13
    assert np.isclose(e.relevance.sum(), row.passed_on, rtol=1e-12)


PRODUCT = model(
    "h = MatMul(x, w) k = Mul(h, two) y = MatMul(h, k)", "double[2,3,3] x", "double[2,3,3] y", w=draw(3, 3), two=2.0
)
MASK = model("m = Cast <to = 11>(seen) y = Mul(x, m)", "double[2,3] x, bool[2,3] seen", "double[2,3] y")


@pytest.mark.parametrize(
    "rule", [Half(0.5), EpsilonUniform(0.5), SignalTakesAll(0, 0.5), ProductAlphaBeta(2.0, 1.0, 0.5)]
)
def test_what_stays_in_a_product(rule):
    """Nothing but what the stabiliser keeps, and the account closes."""
    x, R = draw(2, 3, 3, seed=3).astype(float), draw(2, 3, 3, seed=4).astype(float)
    rules = Composite(((kind("product"), rule), (kind("dense"), Epsilon(0)), *defaults()))
    e = reflrp.explain(PRODUCT, x, rules, init=R, layers=["h", "k"])
    account = e.conservation["MatMul_2"]
    assert account.bias == account.dropped == 0
    assert abs(account.error) < 1e-13
    assert abs(account.stabilizer) > 1e-3
    assert np.isclose(account.received, account.passed_on + account.stabilizer, rtol=1e-13)
    if isinstance(rule, Half):
        z = e.output
        assert np.isclose(account.stabilizer, (R - 2 * z * R / (2 * z + np.copysign(0.5, z))).sum(), rtol=1e-12)


@pytest.mark.parametrize(("over", "share"), [("active", 1), ("all", 0.5)])
def test_a_mask_takes_its_half_only_where_all_count(over, share):
    """Its half is booked as what a constant takes; else nothing stays in the product."""
    x, R = draw(2, 3).astype(float), draw(2, 3, seed=1).astype(float)
    rules = Composite(((kind("product"), Uniform(over)), *defaults()))
    e = reflrp.explain(MASK, {"x": x, "seen": np.ones((2, 3), bool)}, rules, init=R)
    account = e.conservation["Mul_1"]
    assert np.allclose(e.relevances["x"], share * R, rtol=1e-15)
    assert account.stabilizer == account.dropped == 0
    assert np.isclose(account.bias, (1 - share) * R.sum(), rtol=1e-14)


def test_a_gate_without_relevance():
    """What leads to it alone has accounts of nothing, and kept values on that way are zero."""
    body = "h = MatMul(x, w) g = Sigmoid(h) y = Mul(x, g)"
    proto = model(body, "double[2,3] x", "double[2,3] y", w=draw(3, 3))
    e = reflrp.explain(proto, draw(2, 3).astype(float), "cp_lrp", init=np.ones((2, 3)), layers=True)
    assert [row.node for row in e.conservation.rows] == ["Mul_2", "Sigmoid_1", "MatMul_0"]
    assert [row.flow for row in e.conservation.rows] == [6, 0, 0]
    assert e.layers["h"].shape == (2, 3)
    assert not e.layers["h"].any()
    assert np.array_equal(e.relevance, np.ones((2, 3)))


def row(node, **numbers):
    return Row(node, "dense", "Epsilon", **{"received": 2.0, "passed_on": 1.0, "bias": 0.5, "flow": 4.0} | numbers)


def test_ledger_is_a_mapping():
    ledger = Ledger((row("b"), row("a", error=0.5)), 2.0, {"x": 1.0})
    assert list(ledger) == ["b", "a"]
    assert len(ledger) == 2
    assert ledger["a"].error == 0.5
    assert "c" not in ledger
    with pytest.raises(KeyError):
        ledger["c"]
    assert ledger.worst == 0.125
    assert ledger.totals == {"seed": 2, "inputs": 1, "bias": 1, "stabilizer": 0, "dropped": 0, "error": 0.5}


def test_accounts_of_two_batches_add_up():
    one, two = (Ledger((row("a", received=n),), n, {"x": n}) for n in (1.0, 10.0))
    both = one + two
    assert both["a"].received == both.seed == both.inputs["x"] == 11
    assert both["a"].flow == 8


def test_nothing_flows():
    assert Ledger((), 0.0).worst == 0
    assert Ledger((row("a", flow=0.0, error=1.0),), 0.0).worst == 0


def test_as_text_and_data():
    model, x = net("mlp")
    ledger = reflrp.explain(model, x).conservation
    assert all(name in str(ledger) for name in ledger)
    kept = ledger.as_dict()
    assert [r["node"] for r in kept["rows"]] == list(ledger)
    assert kept["seed"] == ledger.seed
