"""Constants that a file computes from the batch size are no parameters: one sample is explained as it is among others.

The oracle is the network itself: what it does to the first sample does not depend on how many there are, so its relevance must
not either; nor may the compiled graph's, which is for any number.
"""

import numpy as np
import pytest
from compiled import run
from models import draw, ints, model

import reflrp
from reflrp import rules
from reflrp.composites import Composite
from reflrp.composites.composite import defaults
from reflrp.composites.matchers import kind

WEIGHTS = {
    "w": (4, 5), "v": (5, 3), "u": (3, 5), "row": draw(1, 5, seed=3), "table": draw(8, 5, seed=4), "bias": (5,), "head": (3,),
    "five": ints(5), "four": ints(4), "three": ints(3), "unit": ints(1), "nought": ints(0), "i0": np.int64(0), "i1": np.int64(1),
    "half": np.float32(0.5), "last": ints(-1), "two": ints(2), "gamma": draw(5, seed=5), "eps": np.float32(1e-3),
    "one": np.float32(1),
}  # fmt: skip
SIZES = "d = Shape(x) n = Gather(d, nought) m = Gather(d, i0) dims = Concat <axis = 0>(n, five) column = Concat <axis = 0>(n, unit)"
COUNTED = "ids = Range(i0, m, i1) f = Cast <to = 1>(ids) g = Unsqueeze(f, unit) "

STATES = {
    "expanded": "c = Expand(row, dims)",
    "as torch does": """ones = ConstantOfShape <value = int64[1] {1}>(two) minus = Mul(ones, last) same = Equal(dims, minus)
        to = Where(same, ones, dims) c = Expand(row, to)""",
    "filled": "c = ConstantOfShape <value = float[1] {0.75}>(dims)",
    "tiled": "times = Concat <axis = 0>(n, unit) c = Tile(row, times)",
    "worked out": "at = Concat <axis = 0>(n, three) s = ConstantOfShape <value = float[1] {0.5}>(at) t = MatMul(s, u) c = Tanh(t)",
    "a table's rows": "c = Slice(table, nought, n, nought)",
    "gathered rows": "ids = Range(i0, m, i1) c = Gather(table, ids)",
    "counted": f"{COUNTED} g1 = Add(g, one) c = Mul(g1, row)",
    "a mask": f"{COUNTED} k = Less(g, half) z = Cast <to = 1>(k) c = Mul(z, row)",
    "in a branch": """yes = Less(i0, m) c = If (yes) <then_branch = a () => (float[M,5] p) { p = Expand(row, dims) },
        else_branch = b () => (float[M,5] q) { q = Identity(row) }>""",
    "in a loop": """c = Loop (m, , row) <body = turn (int64 k, bool go, float[M,5] s) => (bool on, float[L,5] t)
        { on = Identity(go) fresh = Slice(row, nought, unit, nought) t = Expand(fresh, dims) }>""",
    "stacked by a loop": """a1 = Squeeze(row, nought) e, c = Loop (m, , a1) <body = turn (int64 k, bool go, float[5] s) =>
        (bool on, float[5] t, float[5] out) { on = Identity(go) t = Mul(s, half) out = Identity(s) }>""",
    "of a sequence": "e = Expand(row, dims) q = SequenceConstruct(e) c = SequenceAt(q, i0)",
    "a column": "c = ConstantOfShape <value = float[1] {0.75}>(column)",
    "a column of the file": "e = Expand(half, column) c = Identity(e)",
    "a counted column": f"{COUNTED} c = Add(g, half)",
}  # fmt: skip
USES = {
    "Add": "h = MatMul(x, w) a = Add(h, c)",
    "Add in front": "h = MatMul(x, w) a = Add(c, h)",
    "Gemm": "a = Gemm(x, w, c)",
    "Sub": "h = MatMul(x, w) a = Sub(h, c)",
    "behind a reshape": "h = MatMul(x, w) a0 = Reshape(h, dims) a = Add(a0, c)",
    "BatchNormalization": "h = MatMul(x, w) b = Mul(h, gamma) b1 = Mul(b, gamma) a = Add(b1, c)",
    "scale": "h = Gemm(x, w, bias) b = Mul(h, c) a = Add(b, bias)",
    "preprocessing": "p0 = Slice(c, nought, four, unit) p = Sub(x, p0) a = Gemm(p, w, bias)",
    "PRelu": "h = Gemm(x, w, bias) a = PRelu(h, c)",
    "Max": "h = Gemm(x, w, bias) a = Max(h, c)",
    "Min": "h = Gemm(x, w, bias) a = Min(c, h)",
    "Pow": "h = Gemm(x, w, bias) k0 = Softplus(h) k1 = Abs(c) a = Pow(k0, k1)",
    "gate": "h = Gemm(x, w, bias) s0 = Sigmoid(h) s1 = Mul(s0, c) s2 = Sub(c, s1) a = Mul(h, s2)",
    "swish": "h = Gemm(x, w, bias) s0 = Mul(h, c) s1 = Sigmoid(s0) a = Mul(h, s1)",
    "LayerNorm": """h = Gemm(x, w, bias) mu = ReduceMean <axes = [1]>(h) l0 = Sub(h, mu) l1 = Mul(l0, l0)
        l2 = ReduceMean <axes = [1]>(l1) l3 = Add(l2, eps) l4 = Sqrt(l3) l5 = Div(l0, l4) a = Mul(l5, c)""",
    "LayerNorm's bias": """h = Gemm(x, w, bias) mu = ReduceMean <axes = [1]>(h) l0 = Sub(h, mu) l1 = Mul(l0, l0)
        l2 = ReduceMean <axes = [1]>(l1) l3 = Add(l2, eps) l4 = Sqrt(l3) l5 = Div(l0, l4) l6 = Mul(l5, gamma) a = Add(l6, c)""",
    "an outer product": """h = Gemm(x, w, bias) h1 = Unsqueeze(h, unit) c1 = Unsqueeze(c, last) h2 = MatMul(c1, h1)
        a = ReduceMean <axes = [1], keepdims = 0>(h2)""",
    "joined": "h = Gemm(x, w, bias) j = Concat <axis = 1>(h, c) j1 = ReduceMax <axes = [1]>(j) a = Mul(h, j1)",
    "a state": "h = MatMul(x, w) sv = MatMul(c, v) su = MatMul(sv, u) a = Add(h, su)",
}  # fmt: skip
NARROW = {"a state", "Gemm"}
"""Uses that take no column."""

EVERYWHERE = Composite([(kind("dense", "diagonal", "sum", "pool"), rules.Epsilon(0.5)), *defaults()])


def net(state, use, head="y0 = MatMul(r, v) y = Add(y0, head)"):
    tail = "r = Relu(a)"
    named = {k: a for k, a in WEIGHTS.items() if k in f"{SIZES} {state} {use} {tail} {head}"}
    return model(f"{SIZES} {state} {use} {tail} {head}", **named)


def answers(network, preset, x, **options):
    """The relevance of x, and what rule each node has."""
    e = reflrp.Explainer(network, preset, **options)(x, target=0)
    return e.relevance, {k: str(rule) for k, rule in e.rules.items()}


PAIRS = [(s, u) for s in STATES for u in USES if not ("column" in s and u in NARROW)]


@pytest.mark.parametrize("use", USES)
def test_one_sample_is_explained_as_it_is_among_others(use):
    x = draw(1, 4, seed=7)
    for state, text in STATES.items():
        if (state, use) not in PAIRS:
            continue
        network = reflrp.load(net(text, USES[use]))
        one, named = answers(network, EVERYWHERE, x)
        for n in (2, 3):
            several, also = answers(network, EVERYWHERE, np.repeat(x, n, axis=0))
            np.testing.assert_allclose(several[:1], one, rtol=1e-9, atol=1e-12, err_msg=state)
            assert also == named, state


SAME = ("expanded", "worked out", "in a branch", "a column")
"""States that are the same for all samples."""


@pytest.mark.parametrize("use", [u for u in USES if u != "a state"])
def test_the_compiled_graph_and_a_batch_in_cuts_agree(use):
    """The graph for any number of samples, that for one, a batch, its samples, and the batch in cuts."""
    x = draw(3, 4, seed=8)
    for state in SAME:
        if (state, use) not in PAIRS:
            continue
        network = reflrp.load(net(STATES[state], USES[use]))
        whole, _ = answers(network, EVERYWHERE, x)
        alone = np.concatenate([answers(network, EVERYWHERE, row[None])[0] for row in x])
        np.testing.assert_allclose(alone, whole, rtol=1e-9, atol=1e-12, err_msg=state)
        np.testing.assert_allclose(answers(network, EVERYWHERE, x, batch_size=1)[0], whole, rtol=1e-9, atol=1e-12)
        proto = net(STATES[state], USES[use])
        for shapes, sizes in ((None, (1, 3)), ({"x": (1, 4)}, (1,))):
            compiled = reflrp.compile(proto, EVERYWHERE, target=0, shapes=shapes)
            for size in sizes:
                found = run(compiled, {"x": x[:size]})["relevance/x"]
                np.testing.assert_allclose(
                    found, whole[:size], rtol=1e-3, atol=2e-5 * np.abs(whole).max(), err_msg=state
                )
