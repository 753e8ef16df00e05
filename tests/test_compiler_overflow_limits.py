"""Near the end of what float32 holds, a compiled graph says NaN where the engine refuses, and the engine's numbers elsewhere."""

from collections import Counter

import models
import numpy as np
import onnxruntime
import pytest

import reflrp
from reflrp import rules

SMALL = np.float32(1e-18)
RULES = [
    rules.Epsilon(), rules.Epsilon(epsilon=0), rules.ZPlus(), rules.ZPlus(bias="full", inputs="raw"), rules.AlphaBeta(),
    rules.Gamma(0.25), rules.Gamma(0.25, generalized=True), rules.Sign(), rules.StdxEpsilon(), rules.AlphaBetaX(),
    rules.ZBox(-1.0, 1.0), rules.ZBox(-3e38, 3e38), "epsilon_plus", "attnlrp",
]  # fmt: skip


def w(*shape, small=False):
    return models.draw(*shape) * (SMALL if small else np.float32(1))


NETS = {
    "dense": models.model(
        "c = Gemm(x, w, b) q = Relu(c) d = MatMul(q, u) e = Relu(d) y = MatMul(e, v)", "float[N,16] x",
        w=w(16, 6), b=w(6), u=w(6, 5), v=w(5, 3, small=True),
    ),
    "conv": models.model(
        "c = Conv(x, w) q = Relu(c) p = AveragePool <kernel_shape = [2]>(q) m = GlobalMaxPool(p) f = Flatten(m) y = MatMul(f, v)",
        "float[N,5,6] x", w=w(4, 5, 3), v=w(4, 3, small=True),
    ),
    "sum": models.model(
        "c = MatMul(x, w) q = Relu(c) s = Add(q, x) y = MatMul(s, v)", "float[N,8] x", w=w(8, 8), v=w(8, 3, small=True)
    ),
    "product": models.model(
        "a = MatMul(x, w) b = MatMul(x, u) p = MatMul(b, a) m = ReduceMean <axes = [1], keepdims = 0>(p) y = MatMul(m, v)",
        "float[N,4,4] x", w=w(4, 4), u=w(4, 4), v=w(4, 3, small=True),
    ),
    "one": models.model("y = MatMul(x, w)", "float[N,16] x", w=w(16, 3)),
    "sigmoid": models.model("c = MatMul(x, w) q = Sigmoid(c) y = MatMul(q, v)", "float[N,16] x", w=w(16, 6), v=w(6, 3)),
    "rnn": models.model(
        'a, h = RNN <hidden_size = 4, activations = ["Relu"]>(x, w, r) q = Squeeze(h, zero) y = MatMul(q, v)',
        "float[T,N,3] x", w=w(1, 4, 3), r=w(1, 4, 4), v=w(4, 3, small=True), zero=models.ints(0),
    ),
}  # fmt: skip


class Sides:
    """A compiled model, and the engine in both precisions; relevance of one entry of the output, started with 1."""

    def __init__(self, proto, rule):
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, 1
        graph = reflrp.compile(proto, rule, init="one", target=1).SerializeToString()
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.engine = {k: reflrp.Explainer(proto, rule, dtype=k) for k in ("float32", "float64")}

    def explained(self, x, dtype):
        """Relevance by the engine; None where it refuses numbers that are not finite."""
        try:
            return self.engine[dtype](x.astype(dtype), init="one", target=1).relevance
        except reflrp.NonFiniteError:
            return None

    def verdict(self, x):
        """What the compiled graph says beside the engine."""
        found = self.session.run(["relevance/x"], {"x": x})[0]
        single, exact = (self.explained(x, k) for k in ("float32", "float64"))
        if exact is None:
            return "beyond float64"
        near = 2e-2 * np.abs(exact).max()
        heard, right = not np.isfinite(found).all(), bool((np.abs(found - exact) <= near).all())
        if single is None:
            return "heard" if heard else "right" if right else "lost"
        if not (np.abs(single - exact) <= near).all():
            return "unstable"  # float32 has too few digits for it, here as there
        return "needless" if heard else "right" if right else "wrong"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("net", NETS)
def test_what_is_heard_is_what_the_engine_refuses(net, rule):
    if net == "rnn" and rule not in RULES[2:3] + RULES[4:7]:
        rule = rules.Epsilon()
    sides, found = Sides(NETS[net], rule), Counter()
    shape = {"conv": (2, 5, 6), "product": (2, 4, 4), "sum": (2, 8), "rnn": (5, 2, 3)}.get(net, (2, 16))
    rng = np.random.default_rng([len(net), RULES.index(rule)])
    for k in range(12):
        x = rng.standard_normal(shape)
        x = np.abs(x) if k % 3 == 0 else x
        x *= 10 ** (rng.uniform(35, 38.5) / (2 if net == "product" else 1)) / np.abs(x).max() if k else 1
        found[sides.verdict(x.astype(np.float32))] += 1
    assert not found["lost"], found
    assert not found["wrong"], found
    assert found["needless"] <= 1, found  # sums of other orders: onnxruntime's may overflow where NumPy's does not
    assert found["right"] or getattr(rule, "high", 0) > 1, found  # a box so large overflows itself


@pytest.mark.parametrize("rule", [rules.ZPlus(), rules.AlphaBeta(), rules.Epsilon()])
def test_the_limit_is_that_of_the_denominator(rule):
    """One part in a thousand below the overflow nothing is said, and as much above it is NaN."""
    weights = np.array([[3, 1], [2, -1], [1, 2], [2, 1]], np.float32)
    proto = models.model("c = MatMul(x, w) q = Relu(c) y = MatMul(q, v)", w=weights, v=w(2, 3, small=True))
    sides, x = Sides(proto, rule), np.ones((1, 4), np.float32)
    most = np.finfo(np.float32).max / 8  # the first column sums up to 8
    for k in (1e-30, 1e-3, 0.1, 0.999):
        assert sides.verdict(x * np.float32(most * k)) == "right"
    for k in (1.001, 1.5, 4):
        assert sides.verdict(x * np.float32(most * k)) == "heard"


def test_a_limit_beyond_float32_is_that_infinities_are_not():
    """Behind weights that are small enough any finite number will do, and infinities still will not."""
    proto = models.model(
        "m = ReduceMean <axes = [1], keepdims = 0>(x) y = MatMul(m, v)", "float[N,4,4] x", v=w(4, 3, small=True)
    )
    sides = Sides(proto, rules.Epsilon())
    assert sides.verdict(np.full((1, 4, 4), 1e37, np.float32)) == "right"
    assert sides.verdict(np.full((1, 4, 4), 2e38, np.float32)) == "heard"


def test_relevance_that_is_known_beforehand():
    """Of a last layer all relevance may be a constant; its denominator is looked at all the same."""
    signs = np.tile(np.float32([1, -1]), 16)[:, None] * np.ones((1, 3), np.float32)
    proto = models.model("y = MatMul(x, w)", "float[N,32] x", w=signs)
    graph = reflrp.compile(proto, rules.ZPlus(), init="one", target=1)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for scale, finite in ((1e36, True), (1e38, False)):
        y, R = session.run(["y", "relevance/x"], {"x": np.full((1, 32), scale, np.float32)})
        assert np.isfinite(y).all()
        assert np.isfinite(R).all() == finite
        assert np.isnan(R).all() != finite


def test_where_no_relevance_is_an_overflow_is_none():
    """A negative part beyond float32 behind a rectifier that is off takes nothing from anybody."""
    weights = np.array([[1, -3], [1, -2], [1, -1], [1, 2]], np.float32)
    proto = models.model("c = MatMul(x, w) q = Relu(c) y = MatMul(q, v)", w=weights, v=w(2, 3, small=True))
    assert Sides(proto, rules.AlphaBeta()).verdict(np.full((1, 4), 8e37, np.float32)) == "right"


def test_sums_on_the_way_to_a_mean():
    """A mean is small, but the sum that it is made of overflows: what is behind it is not proven by the mean's size."""
    proto = models.model(
        "m = GlobalAveragePool(x) f = Flatten(m) c = MatMul(f, w) q = Sigmoid(c) y = MatMul(q, v)", "float[N,4,64] x",
        w=-np.abs(w(4, 5)), v=w(5, 3),
    )  # fmt: skip
    sides = Sides(proto, rules.Epsilon())
    x = np.abs(models.draw(2, 4, 64))
    assert sides.verdict(x) == "right"
    assert sides.verdict(x * np.float32(3e37)) in ("heard", "right")
    assert sides.explained(x * np.float32(3e37), "float32") is None


def test_in_the_body_of_a_loop_what_no_bound_is_known_of():
    """A product of two values of one step: its bound is not known, and no term outside has it."""
    proto = models.model(
        "a, h, c = LSTM <hidden_size = 4, activations = ['Sigmoid', 'Relu', 'Relu']>(x, w, r) q = Squeeze(h, zero) "
        "y = MatMul(q, v)".replace("'", '"'),
        "float[T,N,3] x", w=w(1, 16, 3), r=w(1, 16, 4), v=w(4, 3, small=True), zero=models.ints(0),
    )  # fmt: skip
    graph = reflrp.compile(proto, rules.ZPlus(), init="one", target=1)
    back = [n for n in graph.graph.node if n.op_type == "Scan"][-1]
    assert any(n.op_type == "If" for n in _body(back))  # where bounds say enough it looks no further
    assert any(n.op_type == "LessOrEqual" for n in _body(back))  # elsewhere always
    sides, found = Sides(proto, rules.ZPlus()), Counter()
    rng = np.random.default_rng(0)
    for k in range(12):
        x = rng.standard_normal((int(rng.integers(2, 9)), 2, 3))
        found[sides.verdict((x * 10 ** (rng.uniform(35, 38) if k else 0)).astype(np.float32))] += 1
    assert not found["lost"] + found["wrong"], found
    assert found["right"], found


def _body(node):
    return next(a.g for a in node.attribute if a.name == "body").node
