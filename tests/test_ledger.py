"""Conservation: each node's account closes, and the network's too."""

import numpy as np
import pytest
from nets import NETS, build, net

import reflrp
from reflrp.ledger import Ledger, Row
from reflrp.rules import AlphaBetaX, Flat, Gamma, Sign

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
