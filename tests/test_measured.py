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
from reflrp.arrays.measured import how, marks
from reflrp.composites import Composite
from reflrp.composites.composite import defaults
from reflrp.composites.matchers import kind
from reflrp.importer.build import build
from reflrp.importer.construction import Construction

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
    "counted from nought": f"{COUNTED} c = Mul(g, row)",
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


@pytest.mark.parametrize("state", [s for s in STATES if "column" not in s])
def test_what_counts_the_samples_is_no_preprocessing(state):
    """The preset lets relevance pass what preprocesses the input: one sample tells it as several do."""
    network, x = reflrp.load(net(STATES[state], USES["preprocessing"])), draw(1, 4, seed=7)
    one, several = (answers(network, "epsilon", np.repeat(x, n, axis=0)) for n in (1, 3))
    np.testing.assert_allclose(several[0][:1], one[0], rtol=1e-9, atol=1e-12)
    assert several[1] == one[1]


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


LOOP = """xt = Transpose <perm = [1, 0, 2]>(x) h = Loop (turns, , c) <body = turn (int64 k, bool go, float[M,5] s) =>
    (bool on, float[M,5] next) { on = Identity(go) xi = Gather(xt, k) l1 = MatMul(xi, w) l2 = MatMul(s, square) l3 = Add(l1, l2)
    l4 = Add(l3, bias) next = Tanh(l4) }> a = Identity(h)"""


@pytest.mark.parametrize("state", [s for s in STATES if "column" not in s])
def test_a_loop_that_starts_with_a_computed_state(state):
    """Its first turn adds a constant to a layer, (N, 5), which is no bias of five features; all others add a value."""
    named = {"turns": np.int64(2), "square": (5, 5), **WEIGHTS}
    body = f"{SIZES} {STATES[state]} {LOOP} r = Relu(a) y = MatMul(r, v)"
    proto = model(body, "float[N,2,4] x", **{k: a for k, a in named.items() if k in body})
    network, x = reflrp.load(proto), draw(1, 2, 4, seed=5)
    for preset in ("epsilon", EVERYWHERE):
        one, named = answers(network, preset, x)
        for n in (2, 3):
            several, also = answers(network, preset, np.repeat(x, n, axis=0))
            np.testing.assert_allclose(several[:1], one, rtol=1e-9, atol=1e-12)
            assert also == named
    if state in SAME:
        found = run(reflrp.compile(proto, EVERYWHERE, target=0), {"x": x})["relevance/x"]
        np.testing.assert_allclose(found, one, rtol=1e-3, atol=2e-5 * np.abs(one).max())


def test_ones_for_each_sample_within_a_loop():
    """What does nothing is left out of loops; ones for each sample are one number for one sample alone."""
    body = f"""{SIZES} c = Expand(row, dims) ones = ConstantOfShape <value = float[1] {{1}}>(column)
        {LOOP.replace("Tanh(l4)", "Mul(l4, ones)")} y = MatMul(a, v)"""
    named = {"turns": np.int64(2), "square": (5, 5), **WEIGHTS}
    network = reflrp.load(model(body, "float[N,2,4] x", **{k: a for k, a in named.items() if k in body}))
    one, several = (answers(network, EVERYWHERE, np.repeat(draw(1, 2, 4), n, axis=0)) for n in (1, 2))
    np.testing.assert_allclose(several[0][:1], one[0], rtol=1e-9, atol=1e-12)
    assert several[1] == one[1]


CELLS = {
    "LSTM": "h0 = Unsqueeze(c, nought) o, a0, p = LSTM <hidden_size = 5>(xt, w4, r4, , , h0, h0)",
    "LSTM with peepholes": "h0 = Unsqueeze(c, nought) o, a0, p = LSTM <hidden_size = 5>(xt, w4, r4, , , h0, h0, peep)",
    "GRU": "h0 = Unsqueeze(c, nought) o, a0 = GRU <hidden_size = 5>(xt, w3, r3, , , h0)",
    "RNN": "h0 = Unsqueeze(c, nought) o, a0 = RNN <hidden_size = 5>(xt, w1, r1, , , h0)",
    "scatter": "x0 = Gather <axis = 1>(x, i0) h = MatMul(x0, w) places = ConstantOfShape <value = int64[1] {1}>(dims) "
    "b1 = ScatterElements <axis = 1, reduction = \"add\">(c, places, h) a0 = Identity(b1)",
}  # fmt: skip
GATES = {f"{k}{n}": (1, 5 * n, size) for n in (1, 3, 4) for k, size in (("w", 4), ("r", 5))} | {"peep": (1, 15)}


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_nodes_that_start_with_a_computed_state(cell):
    x = draw(1, 2, 4, seed=5)
    for state, text in STATES.items():
        if "column" in state:
            continue
        body = (
            f"{SIZES} xt = Transpose <perm = [1, 0, 2]>(x) {text} {CELLS[cell]} a = Reshape(a0, dims) y = MatMul(a, v)"
        )
        weights = {k: a for k, a in {**WEIGHTS, **GATES}.items() if k in body}
        network = reflrp.load(model(body, "float[N,2,4] x", **weights))
        one, named = answers(network, EVERYWHERE, x)
        for n in (2, 3):
            several, also = answers(network, EVERYWHERE, np.repeat(x, n, axis=0))
            np.testing.assert_allclose(several[:1], one, rtol=1e-9, atol=1e-12, err_msg=state)
            assert also == named, state


ROWS = """d = Shape(x) n = Gather(d, nought) t = Gather(d, unit) ts = Gather(d, i1) dims = Concat <axis = 0>(n, t, five)
    some = Concat <axis = 0>(t, five)"""
ALONG = {
    "positions": "c = Slice(table, nought, t, nought)",
    "expanded": "c = Expand(row, some)",
    "filled": "c = ConstantOfShape <value = float[1] {0.75}>(dims)",
    "counted": "ids = Range(i0, ts, i1) f = Cast <to = 1>(ids) g = Unsqueeze(f, unit) g1 = Add(g, one) c = Mul(g1, row)",
    "a root": "e = Cast <to = 1>(t) c = Sqrt(e)",
}
READS = {
    "Add": "h = MatMul(x, w) a = Add(h, c)",
    "BatchNormalization": "h = MatMul(x, w) b = Mul(h, gamma) b1 = Mul(b, gamma) a = Add(b1, c)",
    "gate": "h0 = MatMul(x, w) h = Add(h0, bias) s0 = Sigmoid(h) s1 = Mul(s0, c) s2 = Sub(c, s1) a = Mul(h, s2)",
    "power": "h0 = MatMul(x, w) h = Add(h0, bias) k0 = Softplus(h) a = Pow(k0, c)",
    "LayerNorm's bias": USES["LayerNorm's bias"].replace("[1]", "[2]").replace("Gemm(x, w, bias)", "MatMul(x, w)"),
}


@pytest.mark.parametrize("reads", READS)
@pytest.mark.parametrize("along", ALONG)
def test_other_open_lengths_count_as_the_batch_size_does(along, reads):
    """One place has the same nodes and rules as several, and the graph of any length gives for it what the engine gives."""
    body = f"{ROWS} {ALONG[along]} {READS[reads]} q = ReduceSum <keepdims = 0>(a, unit) y = MatMul(q, v)"
    proto = model(body, "float[N,T,4] x", **{k: a for k, a in WEIGHTS.items() if k in body})
    drawn, network = [draw(n, t, 4, seed=n) for n, t in ((1, 1), (2, 1), (1, 2), (2, 3))], reflrp.load(proto)
    found = [answers(network, EVERYWHERE, x) for x in drawn]
    assert all(named == found[0][1] for _, named in found)
    try:
        compiled = reflrp.compile(proto, EVERYWHERE, target=0)
    except reflrp.InputError as error:
        assert "cannot be compiled for any length" in str(error)  # noqa: PT017 - refused by name, where an operand is late
        return
    least = [1 + ("T > 1" in p.value) for p in compiled.metadata_props if p.key == "reflrp.lengths"] or [1]
    for x, (R, _) in zip(drawn, found, strict=True):
        if x.shape[1] >= least[0]:
            np.testing.assert_allclose(
                run(compiled, {"x": x})["relevance/x"], R, rtol=1e-3, atol=2e-5 * np.abs(R).max()
            )


MADE = {
    "Shape(x)": ("d", [True, False], ()),
    "the features of the input": ("f = Gather(d, unit)", [False], ()),
    "the features behind a layer": ("h = MatMul(x, w) e = Shape(h) f = Gather(e, i1)", False, ()),
    "a size behind a Reshape": ("h = Reshape(x, two4) e = Shape(h) f = Identity(e)", [False, True, False], ()),
    "times two": ("f = Mul(d, i1)", [True, False], ()),
    "filled": ("f = ConstantOfShape(dims)", False, (0,)),
    "expanded": ("f = Expand(row, dims)", False, (0,)),
    "moved": ("e = Expand(row, dims) f = Transpose(e)", False, (1,)),
    "unsqueezed": ("e = Expand(row, dims) f = Unsqueeze(e, nought)", False, (1,)),
    "through a layer": ("e = Expand(row, dims) f = MatMul(e, v)", False, (0,)),
    "a sum over the samples": ("e = Expand(row, dims) f = ReduceSum(e, nought)", True, (0, 1)),
    "rows of a table": ("f = Slice(table, nought, n, nought)", True, (0, 1)),
    "a number for each sample": ("ids = Range(i0, m, i1) k = Cast <to = 1>(ids) f = Unsqueeze(k, unit)", True, (0, 1)),
    "other rows each": ("f = Expand(three5, dims)", True, (0, 1)),
}  # fmt: skip
"""Nodes -> which entries and which axes of the last value, f, depend on the batch size; three samples."""


@pytest.mark.parametrize("case", MADE)
def test_what_depends_on_the_batch_size(case):
    """Held against literal answers; a constant that stays in the graph as an output shows what is known of it."""
    body, entries, axes = MADE[case]
    named = {**WEIGHTS, "two4": ints(2, -1, 4), "three5": draw(3, 5)}
    text = f"{SIZES} {body if '=' in body else 'f = Identity(d)'} y = MatMul(x, w)"
    proto = model(text, **{k: a for k, a in named.items() if k in text})
    known = constants(reflrp.load(proto).source, {"x": (3 if "Reshape" not in case else 4, 4)})["f"]
    found, seen = marks(known)
    np.testing.assert_array_equal(found, np.broadcast_to(entries, known.shape))
    assert seen == set(axes)
    fixed = model(
        text, "float[4,4] x" if "Reshape" in case else "float[3,4] x", **{k: a for k, a in named.items() if k in text}
    )
    assert not how(constants(reflrp.load(fixed).source, {"x": (4 if "Reshape" in case else 3, 4)})["f"])


def constants(source, shapes):
    """What a build of a file knows."""
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "reflrp.importer.build.Construction",
            lambda *args, **given: kept.append(Construction(*args, **given)) or kept[0],
        )
        build(source, shapes)
    return kept[0].known
