"""Error bars: what they promise against more digits and fractions, and that they are the same however they are asked for."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attention_net
import nets
import numpy as np
import pytest
from models import draw, model

import reflrp
from reflrp import demo, rules
from reflrp.engine.uncertainty import bars, coins, terms, turned
from reflrp.errors import InputError
from reflrp.explainer.bars import Handed
from reflrp.explainer.cuts import Cut
from reflrp.explainer.programs import Programs

RULES = [
    "epsilon",
    "lrp_0",
    "epsilon_plus_flat",
    "epsilon_alpha2_beta1",
    "gradient",
    rules.Gamma(0.25, generalized=True),
]


def apart(e: reflrp.Explanation, near: reflrp.Explanation) -> tuple[float, float]:
    """Of which share of the entries the bars hold, and the median bar by the median error."""
    errors = np.concatenate([np.ravel(abs(R.astype(float) - near.relevances[k])) for k, R in e.relevances.items()])
    found = np.concatenate([np.ravel(e.uncertainty[k]) for k in e.relevances])
    return float((errors <= found).mean()), float(np.median(found[errors > 0]) / np.median(errors[errors > 0]))


def rough(name: str) -> tuple[object, np.ndarray]:
    """A random network whose weights are no dyadic numbers, and 40 inputs."""
    net, x = nets.net(name)
    rng = np.random.default_rng(7)
    for tensor in net.graph.initializer:
        a = np.frombuffer(tensor.raw_data, np.float32)
        tensor.raw_data = (a * rng.uniform(0.9, 1.1, a.shape)).astype(np.float32).tobytes()
    return net, rng.normal(size=(40, *x.shape[1:])).astype(np.float32)


@pytest.mark.parametrize("name", nets.NETS)
@pytest.mark.parametrize("which", RULES, ids=str)
def test_float32_against_float64(name: str, which: object) -> None:
    net, x = rough(name)
    e = reflrp.explain(net, x, which, dtype="float32", uncertainty=True)
    held, ratio = apart(e, reflrp.explain(net, x, which, target=e.target))
    assert held > 0.99  # of one network: what a single denominator does to a sample, all of its entries share
    assert 1 < ratio < 100


def test_of_all_entries_the_bars_hold_in_999_of_1000() -> None:
    path, x, _ = demo.load()
    cases = [(*rough(name), which) for name in nets.NETS for which in RULES] + [(path, x, which) for which in RULES]
    found = []
    for net, inputs, which in cases:
        e = reflrp.explain(net, inputs, which, dtype="float32", uncertainty=True)
        found.append((apart(e, reflrp.explain(net, inputs, which, target=e.target))[0], e.relevance.size))
    assert np.average([held for held, _ in found], weights=[size for _, size in found]) > 0.999


def test_float64_against_fractions() -> None:
    for name, which in [
        ("mlp", "epsilon"),
        ("mlp", rules.Gamma(0.25)),
        ("resnet", "epsilon_plus_flat"),
        ("inception", "lrp_0"),
    ]:
        net, x = rough(name)
        e = reflrp.explain(net, x[:3], which, uncertainty=True)
        exact = reflrp.explain(net, x[:3], which, target=e.target, dtype="exact").rounded()
        held, ratio = apart(e, exact)
        assert held > 0.99
        assert ratio < 100


def test_attention_and_recurrence() -> None:
    lstm = model(
        "h, l = LSTM<hidden_size = 6>(x, w, v, b) s = Squeeze(l, zero) y = MatMul(s, u)", "float[7,3,5] x",
        w=draw(1, 24, 5, seed=1), v=draw(1, 24, 6, seed=2), b=draw(1, 48, seed=3), u=draw(6, 3, seed=4), zero=np.int64([0]),
    )  # fmt: skip
    x = np.random.default_rng(3).normal(size=(7, 3, 5)).astype(np.float32)
    attention = attention_net.model(attention_net.weights()), attention_net.sample()
    for net, inputs, which in [(lstm, x, "lstm"), (*attention, "attnlrp"), (*attention, "cp_lrp")]:
        e = reflrp.explain(net, inputs, which, dtype="float32", uncertainty=True)
        held, ratio = apart(e, reflrp.explain(net, inputs, which, target=e.target))
        assert held == 1
        assert ratio < 100


def cancelling(gap: float) -> tuple[object, np.ndarray]:
    """y = x w + b, which is `gap` at the first sample, and no such thing at the second."""
    rng = np.random.default_rng(5)
    w, x = rng.normal(size=(6, 3)).astype(np.float32), rng.normal(size=(2, 6)).astype(np.float32)
    b = (gap - x[0].astype(float) @ w.astype(float)).astype(np.float32)
    return model("y = Gemm(x, w, b)", "float[N,6] x", w=w, b=b), x


@pytest.mark.parametrize("epsilon", [0, 1e-12, 1e-9])
@pytest.mark.parametrize("gap", [1e-2, 1e-5, 1e-8])
def test_denominators_near_zero(gap: float, epsilon: float) -> None:
    net, x = cancelling(gap)
    e = reflrp.explain(net, x, rules.Epsilon(epsilon), dtype="float32", init="one", uncertainty=True)
    near = reflrp.explain(net, x, rules.Epsilon(epsilon), target=e.target, init="one")
    assert apart(e, near)[0] == 1
    share = (e.uncertainty["x"] / abs(e.relevance)).max(axis=1)
    assert share[1] < 1e-4  # well-conditioned, whatever its neighbour in the batch is
    assert share[0] > 1e-5 / gap * 1e-3
    worst = e.conservation.uncertain
    assert worst is not None
    assert worst.uncertainty / worst.flow > 1e-7 / gap


def test_where_the_sign_of_a_denominator_is_anyones_guess() -> None:
    """z is exactly 0 here and epsilon is 1: R = a w R / 1, or minus that had z been rounded the other way."""
    net = model("y = MatMul(x, w)", "float[N,3] x", w=np.float64([[0.1], [0.2], [-0.1]]).astype(np.float32))
    x = np.float32([[3, -1, 1]])  # 0.3 - 0.2 - 0.1, of float32's 0.1 and 0.2
    e = reflrp.explain(net, x, rules.Epsilon(1.0), dtype="float32", init="one", uncertainty=True)
    assert (e.uncertainty["x"] >= abs(e.relevance)).all()
    assert turned(np.float64([1.0]), np.float64([1.0 - 1e-9]))[0] == 1.0 - 1e-9
    assert turned(np.float64([1e-9, -1e-9, 0]), np.float64([2e-9, -2e-9, 0])).tolist() == [-1e-9, 1e-9, 0]


def test_what_is_infinite_in_a_shaken_run_has_no_bound() -> None:
    net, x = (
        model("y = MatMul(x, w)", "float[N,16] x", w=np.eye(16, dtype=np.float32)),
        np.full((1, 16), np.finfo("f4").max),
    )
    e = reflrp.explain(net, x, rules.Epsilon(0), dtype="float32", init="one", uncertainty=True)
    assert np.isinf(e.uncertainty["x"]).all()
    assert e.conservation.rows[0].uncertainty == np.inf


def test_exact_answers_are_certain_and_rounding_them_is_not() -> None:
    net, x = rough("mlp")
    e = reflrp.explain(net, x[:1], "epsilon", dtype="exact", uncertainty=True)
    assert not e.uncertainty["x"].any()
    assert all(row.uncertainty == 0 for row in e.conservation.rows)
    near = e.rounded()
    assert (near.uncertainty["x"] == np.spacing(abs(near.relevance)) / 2).all()


def test_what_is_explained_stays_what_it_was() -> None:
    net, x = rough("resnet")
    explainer = reflrp.Explainer(net, "epsilon_plus")
    plain, with_bars = explainer(x, layers=["r*"]), explainer(x, layers=["r*"], uncertainty=True)
    assert plain.uncertainty == {}
    assert all(row.uncertainty is None for row in plain.conservation.rows)
    assert (plain.relevance == with_bars.relevance).all()
    assert plain.conservation.totals == with_bars.conservation.totals
    assert with_bars.uncertainty.keys() == {"x", *plain.layers}
    assert all(
        bar.shape == {**with_bars.layers, "x": plain.relevance}[k].shape for k, bar in with_bars.uncertainty.items()
    )


def test_cuts_threads_and_targets_change_nothing() -> None:
    net, x = rough("inception")
    whole = reflrp.Explainer(net, "epsilon_alpha2_beta1", dtype="float32")
    e = whole(x, uncertainty=True, layers=["f"])
    again = reflrp.explain(
        net, x, "epsilon_alpha2_beta1", dtype="float32", batch_size=3, uncertainty=True, layers=["f"]
    )
    for name, bar in e.uncertainty.items():
        near = np.isclose(bar, again.uncertainty[name], rtol=0.3)
        assert near.mean() > 0.95  # BLAS adds batches of other sizes in other orders
    with ThreadPoolExecutor(4) as pool:
        assert all(found == e for found in pool.map(lambda _: whole(x, uncertainty=True, layers=["f"]), range(4)))
    one, two = whole.each(x, [0, 1], uncertainty=True)
    assert one == whole(x, target=0, uncertainty=True)
    assert two == whole(x, target=1, uncertainty=True)


def test_several_inputs_conditions_and_an_array_to_start_from() -> None:
    net = model("a = MatMul(x, w) p = Mul(a, q) r = Relu(p) y = MatMul(r, v)", "float[N,4] x, float[N,3] q",
                w=draw(4, 3, seed=1) + 0.01, v=draw(3, 2, seed=2) + 0.01)  # fmt: skip
    x = {"x": draw(5, 4, seed=3) + 0.1, "q": draw(5, 3, seed=4) + 0.3}
    e = reflrp.explain(
        net, x, "epsilon", uncertainty=True, init=draw(5, 2, seed=5), conditions={"r": [0, 2]}, dtype="float32"
    )
    assert {k: bar.shape for k, bar in e.uncertainty.items()} == {"x": (5, 4), "q": (5, 3)}
    assert all((bar[e.relevances[k] != 0] > 0).all() for k, bar in e.uncertainty.items())


def test_it_is_kept_with_the_explanation(tmp_path: Path) -> None:
    net, x = rough("mlp")
    e = reflrp.explain(net, x, "epsilon", uncertainty=True, layers=True, dtype="float32")
    assert reflrp.Explanation.load(e.save(tmp_path / "e.npz")) == e
    ledger = e.conservation
    assert "uncertain" in str(ledger)
    assert "uncertain" not in str(reflrp.explain(net, x, "epsilon").conservation)
    assert e.conservation.as_dict()["rows"][0]["uncertainty"] == ledger.rows[0].uncertainty
    both = ledger + ledger
    assert both.rows[0].uncertainty == 2 * ledger.rows[0].uncertainty
    halves = [reflrp.explain(net, half, "epsilon", uncertainty=True) for half in (x[:15], x[15:])]
    assert reflrp.Explanation.concatenate(halves).uncertainty["x"].shape == x.shape


def test_rounding_is_no_disagreement() -> None:
    """float32 at a denominator near 0 differs by more than any tolerance, and by less than its error bars."""
    net, x = cancelling(1e-5)
    given = reflrp.explain(net, x, rules.Epsilon(0), dtype="float32", init="one", target=0, uncertainty=True)
    bare = {"x": given.relevance}
    assert reflrp.compare(net, x, a=rules.Epsilon(0), b=bare, init="one", target=0).first is not None
    agreed = reflrp.compare(net, x, a=rules.Epsilon(0), b=given, init="one", target=0)
    assert agreed.first is None
    assert agreed.difference == 0
    assert reflrp.compare(net, x, a=rules.Epsilon(0.5), b=given, init="one", target=0).first is not None


def test_the_pieces() -> None:
    thrown = coins(1 << 12, "float32")
    assert set(thrown) == {-1, 1}
    assert abs(thrown.mean()) < 0.05
    R = np.float64([[1, 2, 0, 4], [1, 1, 1, 1]])
    found = bars(R, [R + np.float64([[3, 0, 0, 0], [0, 0, 0, 0]]), R - np.float64([[4, 0, 0, 0], [0, 0, 0, 0]])], 0)
    assert found[0, 0] == pytest.approx(7 * np.sqrt(12.5))
    assert (found[0, 2], found[1, 0]) == (0, np.finfo(float).eps)
    first = Handed()
    first(graph().nodes[0], (np.ones(3), None))
    second = Handed(first)
    second(graph().nodes[0], (np.zeros(3), None))
    assert list(second.apart.values()) == [3.0]
    node = graph().nodes[0]
    assert [terms(node, [(1, 2, 6, 6), (1, 4, 6, 6)], back) for back in (False, True)] == [18, 36]


def graph():
    net, x = nets.net("resnet")
    return reflrp.load(net).graph({"x": x.shape})


def test_the_memory_of_the_runs_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are there three times, and once more for each further target: in cuts of that many fewer samples."""
    net, x = model("h = MatMul(x, w) r = Relu(h) y = MatMul(r, v)", w=(4, 64), v=(64, 3)), draw(12, 4)
    sizes: list[int] = []
    explained = Programs.explained

    def counted(self: Programs, cut: Cut) -> object:
        sizes.append(len(cut.feeds["x"]))
        return explained(self, cut)

    monkeypatch.setattr(Programs, "explained", counted)
    monkeypatch.setattr("reflrp.explainer.explainer.MEMORY", 12 * 8 * (4 + 64 + 64 + 3))
    reflrp.explain(net, x)
    reflrp.explain(net, x, uncertainty=True)
    reflrp.Explainer(net).each(x, [0, 1], uncertainty=True)
    assert sizes == [12, 4, 4, 4, 3, 3, 3, 3]
    monkeypatch.setattr(reflrp.limits, "MEMORY", 2 * 12 * 8 * (4 + 64 + 64 + 3))
    reflrp.explain(net, x, batch_size=12)
    with pytest.raises(reflrp.TooLarge, match="the values take"):
        reflrp.explain(net, x, batch_size=12, uncertainty=True)


def test_no_entry_that_is_not_zero_is_certain() -> None:
    """Entries so small that a unit in their last place is 0 have the smallest number as their bar."""
    for dtype in (np.float32, np.float64):
        least = np.finfo(dtype).smallest_subnormal
        R = np.array([[0, least, 9 * least, -least]], dtype)
        assert (bars(R, [R, R], 0) == [[0, least, least, least]]).all()


@pytest.mark.parametrize("odd", [None, 1, "yes", np.True_, [True]])
def test_odd_values(odd: object) -> None:
    net, x = nets.net("mlp")
    if odd is np.True_:
        return
    with pytest.raises(InputError, match="uncertainty"):
        reflrp.explain(net, x, "epsilon", uncertainty=odd)


def test_numbers_without_axes() -> None:
    e = reflrp.explain(
        model("y = ReduceSum<keepdims = 0>(x)", "float[4] x"), draw(4, seed=2), init=np.float64(2), uncertainty=True
    )
    assert e.uncertainty["x"].shape == (4,)
    assert (e.uncertainty["x"] < 1e-13).all()
