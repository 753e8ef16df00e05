"""The pnpxai dialect against its formulas written out; tests/peers/test_pnpxai.py compares with pnpxai itself."""

from dataclasses import dataclass, field

import attention_net as net
import numpy as np
import pytest
from models import draw, model
from onnx import helper
from test_attention import assert_formulas
from test_recurrent import wrapped

import reflrp
from reflrp.composites import preset
from reflrp.dialects import pnpxai, zennit


@dataclass
class Explainer(net.Formulas):
    """Dense layers by zennit's epsilon; attention, sums and LayerNorm by pnpxai's; all else is a plain gradient.

    The MLP's gate: zennit's Activation lets SiLU pass, and a product of two values is no module of its.
    """

    epsilon: float = 0.25
    copies: int = 2
    inside: list = field(default_factory=list)

    def linear(self, x, w, b, R):
        if any(b is other for other in self.inside):  # out_proj, and the value's projection: the stabiliser
            return super().linear(x, w, b, R) * (self.copies if b is self.inside[1] else 1)
        return x * ((R / net.signed(self.epsilon)(x @ w + b)) @ w.T)

    def softmax(self, x, p, R):
        return np.zeros_like(x)

    def weigh(self, p, v, R):
        return np.zeros_like(p), v * (p.swapaxes(1, 2) @ (R / self.st(p @ v)))

    def norm(self, x, w, b, R):
        return net.held(x, w, b, R, net.signed(1e-6), ddof=1)

    def gated(self, g, u, R):
        return R * u, R * net.silu(g)

    def mean(self, x, R):
        return np.repeat(R[:, None] / net.T, net.T, axis=1)


@pytest.mark.parametrize("attention", ["doubled", "conservative"])
@pytest.mark.parametrize(("epsilon", "stabilizer"), [(0.25, 1e-6), (0.1, 0.01)])
def test_uniform_epsilon(attention, epsilon, stabilizer):
    """q, k, v and output projections: `epsilon` of the explainer is not theirs."""
    w = net.weights()
    rules = pnpxai.LRPUniformEpsilon(epsilon, stabilizer, attention=attention)
    formulas = Explainer(net.signed(stabilizer), epsilon, 2 if attention == "doubled" else 1)
    original = net.weights
    try:
        net.weights = lambda **_: w
        formulas.inside = [w["bo"], w["bv"]]
        assert_formulas(rules, formulas, one=True)
    finally:
        net.weights = original


@pytest.mark.parametrize(
    ("make", "base"),
    [
        (pnpxai.LRPEpsilonPlus, zennit.EpsilonPlus()),
        (pnpxai.LRPEpsilonAlpha2Beta1, zennit.EpsilonAlpha2Beta1()),
        (pnpxai.LRPEpsilonGammaBox, zennit.EpsilonGammaBox(-3.0, 3.0)),
    ],
)
def test_convolutions_are_zennits(make, base):
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((4, 2, 3, 3)), "b": rng.standard_normal(4),
        "v": rng.standard_normal((5, 4, 3, 3)), "shape": np.asarray([-1, 20]), "d": rng.standard_normal((20, 3)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "v"], ["k"]),
        helper.make_node("Reshape", ["k", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "d"], ["y"]),
    ]
    model = wrapped(nodes, [("x", ["N", 2, 6, 6])], [("y", ["N", 3])], constants)
    x = rng.standard_normal((2, 2, 6, 6))
    one, two = (reflrp.explain(model, x, rules=rules, target=1, init="one") for rules in (make(), base))
    assert np.array_equal(one.relevance, two.relevance)


def test_an_added_constant_keeps_its_share():
    """`x + 1` is a Sum for pnpxai; for zennit it is no module."""
    model = wrapped(
        [helper.make_node("Add", ["x", "c"], ["y"])], [("x", ["N", 2])], [("y", ["N", 2])], {"c": np.ones(2)}
    )
    x = np.asarray([[3.0, -2.0]])
    for rules, wanted in ((pnpxai.LRPEpsilonPlus(stabilizer=0.5), 3 / 4.5), (zennit.EpsilonPlus(), 1.0)):
        e = reflrp.explain(model, x, rules=rules, target=0, init="one")
        assert np.allclose(e.relevance, [[wanted, 0]])


def lstm():
    rng = np.random.default_rng(1)
    constants = {"W": rng.standard_normal((1, 16, 3)), "R": rng.standard_normal((1, 16, 4))}
    nodes = [helper.make_node("LSTM", ["x", "W", "R"], ["", "h"], hidden_size=4)]
    return wrapped(nodes, [("x", [5, 2, 3])], [("h", [1, 2, 4])], constants), rng.standard_normal((5, 2, 3))


def test_recurrent_nets():
    """By rules, or by the plain gradient that pnpxai gives them."""
    model, x = lstm()
    R = np.random.default_rng(2).standard_normal((1, 2, 4))
    explain = {k: reflrp.explain(model, x, rules=pnpxai.LRPUniformEpsilon(1e-9, 1e-9, recurrent=k), init=R)
               for k in ("rules", "gradient")}  # fmt: skip
    h, plain = 1e-6, np.zeros_like(x)
    loaded = reflrp.load(model)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = h
        up, down = (loaded.run({"x": x + s * step})["h"] for s in (1, -1))
        plain[i] = ((up - down) * R).sum() / (2 * h)
    assert np.abs(explain["gradient"].relevance - plain).max() < 1e-8
    totals = explain["rules"].conservation.totals
    assert abs(totals["dropped"]) < 1e-5
    assert np.isclose(totals["inputs"] + totals["bias"], R.sum(), atol=1e-5)


def test_attribute_and_its_layer():
    w, x = net.weights(), net.sample()
    plain = pnpxai.LRPEpsilonPlus()
    e = reflrp.explain(net.model(w), x, rules=plain, target=[1, 2], init="one", layers="r")
    assert np.array_equal(plain.attribute(net.model(w), x, [1, 2]), e.relevance)
    inner = pnpxai.LRPEpsilonPlus(layer="r").attribute(net.model(w), x, [1, 2])
    assert np.array_equal(inner, e.layers["r"])
    both = pnpxai.LRPEpsilonPlus(layer="[ry]").attribute(net.model(w), x, 1)
    assert set(both) == {"r", "y"}


def test_tunables():
    """What pnpxai's optimizer may vary, as data."""
    unit = (float, {"low": 1e-6, "high": 1, "log": True})
    assert pnpxai.LRPUniformEpsilon().get_tunables() == {"epsilon": unit}
    assert pnpxai.LRPEpsilonGammaBox().get_tunables() == {"epsilon": unit, "gamma": unit}


def test_arguments_are_checked():
    with pytest.raises(reflrp.RuleError, match="attention='twice' is unknown"):
        pnpxai.LRPEpsilonPlus(attention="twice")
    with pytest.raises(reflrp.RuleError, match="recurrent='none' is unknown"):
        pnpxai.LRPEpsilonPlus(recurrent="none")
    assert preset("pnpxai.LRPUniformEpsilon", epsilon=0.5).title == "pnpxai.LRPUniformEpsilon"


def test_attention_as_a_plain_gradient():
    """For what pnpxai does not convert: the softmax and both products by the chain rule."""
    w, x = net.weights(), net.sample()
    e = reflrp.explain(net.model(w), x, rules=pnpxai.LRPUniformEpsilon(attention="gradient"), init="one")
    kinds = {name: type(rule).__name__ for name, rule in e.rules.items()}
    assert kinds["Softmax:p"] == kinds["MatMul:h"] == kinds["MatMul:s"] == "Gradient"


def test_a_layer_norm_over_several_axes_is_refused():
    """pnpxai 0.1.4 takes the mean of the whole batch there: one sample's relevance goes to another."""
    flat, both = (f"y = LayerNormalization <axis = {axis}>(x, g, b)" for axis in (2, 1))
    x = draw(2, 3, 4)
    of_rows = model(flat, "float[N,3,4] x", g=(4,), b=(4,))
    assert reflrp.explain(of_rows, x, pnpxai.LayerNormRule(), init=x).relevance.shape == x.shape
    of_all = model(both, "float[N,3,4] x", g=(3, 4), b=(3, 4))
    for rules in ({"y": pnpxai.LayerNormRule()}, pnpxai.LRPEpsilonPlus()):
        with pytest.raises(reflrp.RuleError, match="one axis"):
            reflrp.explain(of_all, x, rules, init=x)
