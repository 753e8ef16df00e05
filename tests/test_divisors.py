"""What a network divides by: where it overflows, all that is divided is 0, and nothing may be explained by that.

The oracle is float64, which holds the squares of all numbers of float32, and the norms as literal sums.
"""

import models
import numpy as np
import pytest
from compiled import run

import reflrp
from reflrp.ops.pointwise import FUNCTIONS

ONES = np.ones(8, np.float32)
NETS = {
    "layer": "y = LayerNormalization(x, ones)",
    "rms": "y = RMSNormalization(x, ones)",
    "instance": "y = InstanceNormalization(x, three, nought)",
    "group": "y = GroupNormalization <num_groups = 3>(x, three, nought)",
    "l2": "y = LpNormalization <axis = -1, p = 2>(x)",
    "mean variance": "y = MeanVarianceNormalization <axes = [2]>(x)",
    "by hand": "m = ReduceMean(x, last) d = Sub(x, m) s = Mul(d, d) v = ReduceMean(s, last) r = Sqrt(v) y = Div(d, r)",
    "norm by hand": "r = ReduceL2(x, last) y = Div(x, r)",
    "quotient": "s = Mul(x, x) t = ReduceSum(s, last) y = Div(x, t)",
    "power": "s = Mul(x, x) t = ReduceSum(s, last) u = Pow(t, less) y = Mul(x, u)",
}


def net(body, inputs="float[N,3,8] x"):
    fixed = {
        "ones": ONES, "three": ONES[:3], "nought": 0 * ONES[:3], "last": models.ints(-1), "less": np.float32(-0.5),
    }  # fmt: skip
    return models.model(body, inputs, opset=23, **{k: v for k, v in fixed.items() if k in body})


def outcome(explainer, x, **asked):
    """What an explainer says of an input: relevance, or None where it refuses it by name."""
    try:
        return explainer(x, **asked).relevance
    except reflrp.NonFiniteError as error:
        if "node '" not in str(error) or not ("float64" in str(error) or "scale" in str(error)):
            raise
        return None


@pytest.mark.parametrize("rule", ["epsilon", "attnlrp", "gradient"])
@pytest.mark.parametrize("name", NETS)
def test_a_statistic_that_overflows_is_heard(name, rule):
    proto, unit = net(NETS[name]), models.draw(2, 3, 8)
    graph = reflrp.compile(proto, rule, init="one", target=(1, 5))
    explainers = [reflrp.Explainer(proto, rule, dtype="float32")]
    for ledger in (True, False):
        explainers.append(reflrp.Explainer(proto, rule, backend="onnxruntime", dtype="float32", ledger=ledger))
    for scale, over in ((1e15, False), (1e20, True), (3e37, True)):
        x = (unit * scale).astype(np.float32)
        asked = {"init": "one", "target": (1, 5)}
        exact = reflrp.explain(proto, x.astype(float), rule, dtype="float64", **asked).relevance
        assert np.abs(exact).max() > 0
        made = [outcome(explainer, x, **asked) for explainer in explainers]
        found = run(graph, {"x": x})["relevance/x"]
        made.append(None if np.isnan(found).any() else found)
        assert over or all(m is not None for m in made)
        for one in made:
            if one is not None and np.abs(exact).max() > 1e-30:
                np.testing.assert_allclose(one, exact, atol=1e-3 * np.abs(exact).max())
        if over and name not in ("quotient", "power"):
            assert made == [None] * 4


def test_the_norms_are_right_below():
    x = models.draw(2, 3, 8).astype(float) * 1e15
    centred = x - x.mean(-1, keepdims=True)
    wanted = {
        "layer": centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5),
        "rms": x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5),
        "l2": x / np.sqrt((x**2).sum(-1, keepdims=True)),
        "by hand": centred / np.sqrt((centred**2).mean(-1, keepdims=True)),
    }
    for name, y in wanted.items():
        for dtype, near in (("float64", 1e-12), ("float32", 1e-5)):
            found = reflrp.explain(net(NETS[name]), x.astype(dtype), "epsilon", dtype=dtype, target=(0, 1)).output
            np.testing.assert_allclose(found, y, atol=near)


@pytest.mark.parametrize("rule", ["epsilon", "gradient"])
def test_of_a_neighbourhood(rule):
    proto = net("y = LRN <size = 3>(x)", "float[N,5,2,3] x")
    graph, unit = reflrp.compile(proto, rule, init="one", target=(1, 0, 1)), models.draw(2, 5, 2, 3)
    for scale, over in ((1e12, False), (1e18, False), (1e21, True)):
        x, asked = (unit * scale).astype(np.float32), {"init": "one", "target": (1, 0, 1)}
        exact = reflrp.explain(proto, x.astype(float), rule, **asked).relevance
        single = outcome(reflrp.Explainer(proto, rule, dtype="float32"), x, **asked)
        found = run(graph, {"x": x})["relevance/x"]
        assert (single is None) == np.isnan(found).all() == over
        if not over:
            for one in (single, found):
                np.testing.assert_allclose(one, exact, atol=1e-3 * np.abs(exact).max())


@pytest.mark.parametrize("inputs", ["float[N,3,L] x", "float[N,3,H,W] x"])
def test_of_open_lengths(inputs):
    proto = net("y = InstanceNormalization(x, three, nought)", inputs)
    graph = reflrp.compile(proto, "epsilon", init="one", target=(0, 1) if "L" in inputs else (0, 1, 1))
    for shape in ((1, 3, 5), (2, 3, 9)):
        shape = shape if "L" in inputs else (*shape, 4)
        x = models.draw(*shape)
        assert np.isfinite(run(graph, {"x": x})["relevance/x"]).all()
        assert np.isnan(run(graph, {"x": x * np.float32(1e21)})["relevance/x"]).all()


def test_in_a_loop():
    body = (
        "s = Shape(x) t1 = Slice(s, zero, one) t = Squeeze(t1, zero) begins = Less(i0, t) "
        "n, y = Loop (, begins, i0, start) <body = turn (int64 k, bool go, int64 i, float[N,4] h) "
        "=> (bool on, int64 j, float[N,4] r) { xi = Gather(x, i) c = Add(xi, h) "
        "r = RMSNormalization(c, ones) j = Add(i, more) on = Less(j, t) }>"
    )
    proto = models.model(
        body, "float[T,N,4] x, float[N,4] start", opset=23, zero=models.ints(0), one=models.ints(1), i0=np.int64(0),
        more=np.int64(1), ones=ONES[:4],
    )  # fmt: skip
    graph = reflrp.compile(proto, "epsilon", init="one", target=1)
    x, start = models.draw(6, 2, 4), models.draw(2, 4)
    feeds = {"x": x, "start": start}
    wanted = reflrp.explain(proto, feeds, "epsilon", init="one", target=1).relevances["x"]
    np.testing.assert_allclose(run(graph, feeds)["relevance/x"], wanted, atol=1e-3 * np.abs(wanted).max())
    for t in (0, 1, 4):
        large = x.copy()
        large[t] *= np.float32(1e21)
        assert np.isnan(run(graph, {"x": large, "start": start})["relevance/x"]).all()


@pytest.mark.parametrize("name", ["asinh", "acosh"])
def test_slopes_without_squares(name):
    x = np.logspace(0.1, 37, 40)
    for dtype, near in ((np.float32, 1e-5), (np.float64, 1e-13)):
        found = FUNCTIONS[name].derivative(x.astype(dtype))
        wanted = 1 / np.sqrt(x * x + (1 if name == "asinh" else -1))
        np.testing.assert_allclose(found, wanted, rtol=1e-3 if dtype == np.float32 else near)


def test_a_divisor_of_minus_infinity():
    """-inf is a mask's, and stays; what is divided by it would vanish."""
    proto = net("s = Neg(x) p = Mul(x, s) y = Div(x, p)")
    x = np.full((1, 3, 8), 1e20, np.float32)
    with pytest.raises(reflrp.NonFiniteError, match="an infinity arose in the denominator of node"):
        reflrp.explain(proto, x, "epsilon", dtype="float32", target=(0, 0))
    assert np.isnan(run(reflrp.compile(proto, "epsilon", init="one", target=(0, 0)), {"x": x})["relevance/x"]).all()
