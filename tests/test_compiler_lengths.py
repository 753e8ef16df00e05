"""Lengths that a compiled graph leaves open: one file at many lengths and batch sizes gives what the engine gives at each."""

import models
import numpy as np
import pytest
from compiled import FACTOR, FLOOR, part, run

import reflrp
from reflrp import rules
from reflrp.arrays.tracing.dims import Dim, TooLong, TooShort, Undecided, Unsettled, bounds, dim, length
from reflrp.arrays.tracing.polynomials import at_most, value
from reflrp.arrays.tracing.spans import entries, sliced

PRESETS = ["auto", "epsilon", "epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_gamma_box", "attnlrp"]
D, HEADS, WORDS, PLACES = 8, 2, 11, 40
ids = models.ints


def attention(mask):
    """Attention of two heads over values `h` (N, T, D), as exporters spell it: shapes are read, joined, and reshaped to."""
    return f"""
        s = Shape(h) n = Gather(s, zero) t = Gather(s, one) n1 = Unsqueeze(n, zero1) t1 = Unsqueeze(t, zero1)
        apart = Concat <axis = 0>(n1, t1, heads, width) joined = Concat <axis = 0>(n1, t1, all)
        q0 = MatMul(h, wq) q1 = Reshape(q0, apart) q = Transpose <perm = [0, 2, 1, 3]>(q1)
        k0 = MatMul(h, wk) k1 = Reshape(k0, apart) k = Transpose <perm = [0, 2, 3, 1]>(k1)
        v0 = MatMul(h, wv) v1 = Reshape(v0, apart) v = Transpose <perm = [0, 2, 1, 3]>(v1)
        a0 = MatMul(q, k) a1 = Mul(a0, scale) {mask} p = Softmax <axis = -1>(a)
        o0 = MatMul(p, v) o1 = Transpose <perm = [0, 2, 1, 3]>(o0) o2 = Reshape(o1, joined) r = Add(h, o2)
    """


WEIGHTS = {
    "zero": np.asarray(0), "one": np.asarray(1), "zero1": ids(0), "heads": ids(HEADS), "width": ids(D // HEADS), "all": ids(D),
    "wq": (D, D), "wk": (D, D), "wv": (D, D), "scale": np.asarray(0.5, np.float32), "w": (D, 3),
}  # fmt: skip


def tokens():
    """Token ids, positions counted in the graph and looked up, a causal mask, the last place."""
    body = (
        """
        e = Gather(table, ids) si = Shape(ids) ti = Gather(si, one) place = Range(zero, ti, one) pe = Gather(places, place)
        pu = Unsqueeze(pe, zero1) h = Add(e, pu)
    """
        + attention("""tt = Concat <axis = 0>(t1, t1) full = ConstantOfShape <value = float[1] {-10000.0}>(tt)
        ahead = Trilu <upper = 1>(full, one) a = Add(a1, ahead)""")
        + " l = Gather <axis = 1>(r, last) y = MatMul(l, w)"
    )
    return models.model(
        body, "int64[N,T] ids", **WEIGHTS, table=(WORDS, D), places=(PLACES, D), last=np.asarray(-1)
    )  # fmt: skip


def masked():
    """Values with a table of positions that is cut to their length, a padding mask, the mean over what is not padded."""
    body = (
        """
        sx = Shape(x) tx = Gather(sx, one) tx1 = Unsqueeze(tx, zero1) cut = Slice(places, zero1, tx1, one1) h = Add(x, cut)
    """
        + attention("""m1 = Sub(onef, m) m2 = Mul(m1, low) m3 = Unsqueeze(m2, inner) a = Add(a1, m3)""")
        + """
        mu = Unsqueeze(m, two) rm = Mul(r, mu) total = ReduceSum <keepdims = 0>(rm, one1)
        count = ReduceSum <keepdims = 1>(m, one1) mean = Div(total, count) y = MatMul(mean, w)
    """
    )
    return models.model(
        body, "float[N,T,8] x, float[N,T] m", **WEIGHTS, places=(1, PLACES, D), one1=ids(1), two=ids(2), inner=ids(1, 2),
        onef=np.asarray(1, np.float32), low=np.asarray(-10000, np.float32),
    )  # fmt: skip


def named_apart():
    """As transformers' models are exported: each input's axes have names of their own, and a mask is read entry by entry."""
    body = (
        "e = Gather(table, ids) pos = CumSum(m, one) pe = Gather(places, pos) h = Add(e, pe)"
        + attention("""mf = Cast <to = 1>(m) flat = Flatten <axis = 2>(mf)
        rows = Range(zero, n, one) times = Mul(rows, t) places_ = Range(zero, t, one) rows1 = Unsqueeze(times, one1)
        at = Add(rows1, places_) list = Concat <axis = 0>(n1, one1, one1, t1) ranks = Shape(list)
        ones = ConstantOfShape <value = int64[1] {1}>(ranks) minus = Mul(ones, all_of_it) same = Equal(list, minus)
        wide = Where(same, ones, list) at4 = Reshape(at, wide) seen3 = Gather(flat, at4) seen = Squeeze(seen3, four1)
        turns = Concat <axis = 0>(one1, one1, t1, one1) some = Tile(seen, turns) shown = Cast <to = 9>(some)
        a = Where(shown, a1, low)""")
        + " sw = Unsqueeze(mf, two1) rm = Mul(r, sw) sum = ReduceSum <keepdims = 0>(rm, one1) y = MatMul(sum, w)"
    )
    return models.model(
        body, "int64[A,B] ids, int64[C,D] m", **WEIGHTS, table=(WORDS, D), places=(PLACES, D), one1=ids(1), two1=ids(2),
        four1=ids(4), all_of_it=ids(-1), low=np.asarray(-10000, np.float32),
    )  # fmt: skip


def convolved():
    body = """c = Conv <pads = [2, 2]>(x, w1, b1) d = Relu(c) e = Conv(d, w2) f = Relu(e) g = Conv <dilations = [2]>(f, w3)
        h = Relu(g) p = GlobalAveragePool(h) q = Flatten(p) y = MatMul(q, v)"""
    return models.model(body, "float[N,3,T] x", w1=(4, 3, 5), b1=(4,), w2=(4, 4, 3), w3=(5, 4, 3), v=(5, 3))


def pictures():
    body = """c = Conv <pads = [1, 1, 1, 1]>(x, w1) d = Relu(c) e = Conv(d, w2) f = Relu(e)
        p = ReduceMean <axes = [2, 3], keepdims = 0>(f) y = MatMul(p, v)"""
    return models.model(body, "float[N,2,H,W] x", w1=(4, 2, 3, 3), w2=(4, 4, 2, 3), v=(4, 3))


def resnet():
    """Strides, and shortcuts that meet again: a stem, a block, and one that halves; images of any height and width."""
    body = """c = Conv <strides = [2, 2], pads = [3, 3, 3, 3]>(x, w1, b1) r = Relu(c)
        p = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(r) c1 = Conv <pads = [1, 1, 1, 1]>(p, w2)
        r1 = Relu(c1) c2 = Conv <pads = [1, 1, 1, 1]>(r1, w2) s1 = Add(c2, p) r2 = Relu(s1)
        c3 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]>(r2, w3) r3 = Relu(c3) c4 = Conv <pads = [1, 1, 1, 1]>(r3, w4)
        d = Conv <strides = [2, 2]>(r2, w5) s2 = Add(c4, d) r4 = Relu(s2) g = GlobalAveragePool(r4) f = Flatten(g) y = Gemm(f, v)"""
    return models.model(
        body, "float[N,3,H,W] x", w1=(4, 3, 7, 7), b1=(4,), w2=(4, 4, 3, 3), w3=(6, 4, 3, 3), w4=(6, 6, 3, 3), w5=(6, 4, 1, 1),
        v=(6, 3),
    )  # fmt: skip


def strided():
    """The stem of a net for sound: strides of 5, 3 and 2, with windows that leave entries behind the last one; pools."""
    body = """c = Conv <strides = [5]>(x, w1, b1) d = Relu(c) e = Conv <strides = [3], pads = [1, 0]>(d, w2) f = Relu(e)
        g = Conv <strides = [2], dilations = [2], pads = [1, 2]>(f, w3) h = Relu(g)
        m = MaxPool <kernel_shape = [2], strides = [2]>(h)
        p = AveragePool <kernel_shape = [3], strides = [2]>(m) q = GlobalAveragePool(p) r = Flatten(q) y = MatMul(r, v)"""
    return models.model(body, "float[N,2,T] x", w1=(4, 2, 9), b1=(4,), w2=(4, 4, 2), w3=(5, 4, 3), v=(5, 3))


def keras():
    """Padding that keeps sizes, and of strided windows depends on them."""
    body = """c = Conv <strides = [2, 2], auto_pad = "SAME_UPPER">(x, w1) d = Relu(c)
        p = MaxPool <kernel_shape = [3, 3], strides = [2, 2], auto_pad = "SAME_UPPER">(d) e = Conv <auto_pad = "SAME_UPPER">(p, w2)
        f = Relu(e) h = Conv <strides = [2, 2], auto_pad = "SAME_LOWER">(f, w3)
        i = Conv <strides = [2, 2], auto_pad = "SAME_UPPER">(f, w4)
        s = Add(h, i) r = Relu(s) g = GlobalAveragePool(r) q = Flatten(g) y = MatMul(q, v)"""
    return models.model(
        body, "float[N,3,H,W] x", w1=(4, 3, 3, 3), w2=(4, 4, 3, 3), w3=(5, 4, 3, 3), w4=(5, 4, 1, 1), v=(5, 3)
    )  # fmt: skip


def halved():
    """The first half of the places."""
    body = (
        "s = Shape(x) t = Gather(s, one) m = Div(t, two) e = Slice(x, z, m, one) f = MatMul(e, w) y = ReduceSum(f, one)"
    )
    return models.model(body, "float[N,T,4] x", w=(4, 3), z=ids(0), one=ids(1), two=ids(2))


def searched():
    """The largest over time, and a mean that divides by a length which the graph reads."""
    body = """c = Conv(x, w1) d = Relu(c) m = ReduceMax <axes = [2], keepdims = 0>(d) s = Shape(d) t = Gather(s, two)
        f = Cast <to = 1>(t) a = ReduceSum <keepdims = 0>(d, at) b = Div(a, f) j = Concat <axis = 1>(m, b) y = MatMul(j, v)"""
    return models.model(body, "float[N,3,T] x", w1=(4, 3, 2), two=np.asarray(2), at=ids(2), v=(8, 3))


def turned():
    """A label a place: samples and places meet on one axis, some places are dropped, and the order is reversed."""
    body = """u = Reshape(x, rows) a = MatMul(u, w1) b = Relu(a) s = Shape(x) n = Slice(s, z, e) f = Concat <axis = 0>(n, last)
        c = Reshape(b, f) d = Slice(c, one, far, one) g = Slice(d, back, early, one, back) y = MatMul(g, v)"""
    return models.model(
        body, "float[N,T,4] x", w1=(4, 6), v=(6, 3), rows=ids(-1, 4), z=ids(0), e=ids(2), last=ids(6), one=ids(1),
        far=ids(2**62), back=ids(-1), early=ids(-(2**62)),
    )  # fmt: skip


def words(n, t, seed):
    return {"ids": np.random.default_rng(seed).integers(0, WORDS, (n, t))}


def padded(n, t, seed):
    m = np.ones((n, t), np.float32)
    m[0, t // 2 + 1 :] = 0
    return {"x": models.draw(n, t, D, seed=seed).astype(np.float32), "m": m}


def words_shown(n, t, seed):
    return {**words(n, t, seed), "m": padded(n, t, seed)["m"].astype(np.int64)}


def series(channels):
    return lambda n, *t, seed: {"x": models.draw(n, channels, *t, seed=seed).astype(np.float32)}


NETS = {
    "tokens": (tokens, words, [(1, 1), (3, 2), (2, 9), (1, 33)]),
    "masked": (masked, padded, [(1, 1), (3, 2), (2, 9), (1, PLACES)]),
    "named apart": (named_apart, words_shown, [(1, 1), (3, 2), (2, 9), (5, 3), (1, 17)]),
    "convolved": (convolved, series(3), [(1, 8), (3, 9), (2, 30)]),
    "pictures": (pictures, series(2), [(1, 4, 5), (2, 9, 4), (3, 5, 12)]),
    "resnet": (resnet, series(3), [(1, 33, 34), (2, 64, 49), (3, 34, 63), (1, 39, 96)]),
    "strided": (strided, series(2), [(1, 180), (2, 181), (3, 200), (1, 277)]),
    "keras": (keras, series(3), [(1, 17, 18), (2, 20, 19), (1, 22, 33)]),
    "halved": (
        halved, lambda n, t, seed: {"x": models.draw(n, t, 4, seed=seed).astype(np.float32)}, [(1, 2), (3, 3), (2, 17)],
    ),
    "searched": (searched, series(3), [(1, 4), (3, 5), (2, 30)]),
    "turned": (
        turned, lambda n, t, seed: {"x": models.draw(n, t, 4, seed=seed).astype(np.float32)}, [(1, 2), (3, 4), (2, 17)],
    ),
}  # fmt: skip


def agrees(found, model, feeds, rules_, **asked):
    exact, single = (
        reflrp.Explainer(model, rules_, dtype=dtype)(feeds, progress=False, **asked) for dtype in ("float64", "float32")
    )
    wanted = {f"relevance/{k}": (R, single.relevances[k]) for k, R in exact.relevances.items()}
    wanted |= {f"layer/{k}": (R, single.layers[k]) for k, R in exact.layers.items()}
    assert set(wanted) <= set(found)  # of one place, a mask that hides none is no node of the engine
    for name, (R, rough) in wanted.items():
        assert part(found[name], R) <= max(FACTOR * part(rough, R), FLOOR), (name, R.shape)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("net", NETS)
def test_one_file_at_many_lengths(net, preset):
    """The lengths that a net is tried at include those at which it was not built."""
    make, draw, sizes = NETS[net]
    proto = make()
    g = reflrp.compile(proto, preset, layers=True)
    for seed, size in enumerate(sizes):
        feeds = draw(*size, seed=seed)
        agrees(run(g, feeds), proto, feeds, preset, layers=True)


@pytest.mark.parametrize("target", [None, 1, reflrp.Contrast(2, 0)])
def test_targets(target):
    proto = tokens()
    g = reflrp.compile(proto, "attnlrp", target=target, init="one")
    for n, t in ((1, 3), (4, 12)):
        agrees(run(g, words(n, t, 1)), proto, words(n, t, 1), "attnlrp", target=target, init="one")


def test_targets_and_relevance_as_inputs():
    proto, feeds = tokens(), words(3, 6, 2)
    g = reflrp.compile(proto, "epsilon", target="input")
    agrees(run(g, {**feeds, "target": np.array([2, 0, 1])}), proto, feeds, "epsilon", target=[2, 0, 1])
    proto, x = turned(), models.draw(2, 7, 4).astype(np.float32)
    R = models.draw(2, 6, 3).astype(np.float32)
    g = reflrp.compile(proto, "epsilon", init="input")
    agrees(run(g, {"x": x, "init": R}), proto, {"x": x}, "epsilon", init=R)


def test_conditions():
    proto, feeds = convolved(), series(3)(2, 11, seed=3)
    g = reflrp.compile(proto, "epsilon", conditions={"d": [1, 3]})
    agrees(run(g, feeds), proto, feeds, "epsilon", conditions={"d": [1, 3]})


@pytest.mark.parametrize("rule", [rules.StdxEpsilon(0.3), rules.Norm(rules.Stabilizer(0.3, norm_scale=True))])
def test_statistics_are_of_each_sample(rule):
    proto = models.model("a = MatMul(x, w) h = Relu(a) y = MatMul(h, v)", "float[N,T,4] x", w=(4, 5), v=(5, 3))
    g = reflrp.compile(proto, rule)
    x = (models.draw(3, 6, 4) * np.array([0.01, 1, 100]).reshape(3, 1, 1)).astype(np.float32)
    agrees(run(g, {"x": x}), proto, {"x": x}, rule)


def test_lengths_are_named_in_the_file_or_by_the_caller():
    proto = models.model("a = Add(x, z) y = MatMul(a, w)", "float[N,S,4] x, float[N,T,4] z", w=(4, 3))
    feeds = {"x": models.draw(2, 5, 4).astype(np.float32), "z": models.draw(2, 5, 4, seed=1).astype(np.float32)}
    for shapes, said in (
        (None, "T == S"),
        ({"x": (None, "time", 4), "z": (None, "time", 4)}, None),
        ({"x": (None, "time", 4)}, "T == time"),
    ):
        g = reflrp.compile(proto, "epsilon", shapes=shapes)
        assert {p.key: p.value for p in g.metadata_props}.get("reflrp.lengths") == said
        agrees(run(g, feeds), proto, feeds, "epsilon")
        with pytest.raises(Exception, match="Non-zero status code"):
            run(g, {**feeds, "z": feeds["z"][:, :1]})
    g = reflrp.compile(proto, "epsilon", shapes={"x": (2, None, 4), "z": (2, "S", 4)})
    agrees(run(g, feeds), proto, feeds, "epsilon")


def test_names_of_lengths_are_no_formulas():
    """A length that is called NT is not N times T."""
    proto = models.model(
        "a = MatMul(x, w) b = Cast <to = 1>(m) c = Mul(a, b) y = ReduceSum <keepdims = 0>(c, one)",
        "float[N,T,NT,4] x, int64[1,NT,1] m", w=(4, 3), one=ids(1, 2),
    )  # fmt: skip
    g = reflrp.compile(proto, "epsilon")
    feeds = {"x": models.draw(2, 3, 5, 4).astype(np.float32), "m": np.arange(5).reshape(1, 5, 1)}
    agrees(run(g, feeds), proto, feeds, "epsilon")


ODD = [5, None, "abc", (None, 0, 4), (None, -1, 4), (None, 2.5, 4), (None, 10**30, 4), (None, [], 4), {}]


@pytest.mark.parametrize("shape", ODD, ids=str)
def test_odd_shapes(shape):
    proto = models.model("y = MatMul(x, w)", "float[N,T,4] x", w=(4, 3))
    with pytest.raises(reflrp.InputError):
        reflrp.compile(proto, "epsilon", shapes={"x": shape})
    g = reflrp.compile(proto, "epsilon", shapes={"x": (None, np.int64(3), 4)})
    assert [d.dim_value for d in g.graph.output[-1].type.tensor_type.shape.dim][1:] == [3, 4]


def test_the_batch_may_lie_on_another_axis_than_the_first():
    proto = models.model(
        "a = MatMul(x, w) h = Relu(a) y = ReduceMean <axes = [0], keepdims = 0>(h)", "float[T,B,4] x", w=(4, 3)
    )
    g = reflrp.compile(proto, "epsilon", init="input")
    x, R = models.draw(7, 3, 4).astype(np.float32), models.draw(3, 3).astype(np.float32)
    agrees(run(g, {"x": x, "init": R}), proto, {"x": x}, "epsilon", init=R)


# ---------------------------------------------------------------- what does not hold for all lengths


def test_a_table_that_ends_says_so_in_the_run():
    g = reflrp.compile(masked(), "epsilon")
    assert "reflrp.lengths" in {p.key for p in g.metadata_props}
    with pytest.raises(Exception, match=r"out of|broadcast"):
        run(g, padded(1, PLACES + 1, 0))


def test_a_window_that_has_one_place_only_slides_where_there_may_be_more():
    """`auto` is decided by what the file says of an axis, and so is the same at the shortest length."""
    proto = convolved()
    g = reflrp.compile(proto, "auto")
    assert "reflrp.lengths" not in {p.key for p in g.metadata_props} or "T > 6" in {p.value for p in g.metadata_props}
    for t in (7, 8):
        agrees(run(g, series(3)(1, t, seed=0)), proto, series(3)(1, t, seed=0), "auto")


REFUSED = {
    "a number in place of the length": ("r = Reshape(x, baked) y = MatMul(r, w)", "Reshape"),
    "a choice by the length": (
        "s = Shape(x) t = Gather(s, one) c = Greater(t, five) cf = Cast <to = 1>(c) a = Mul(x, cf) y = MatMul(a, w)", "Greater",
    ),
    "the smaller of two lengths": (
        "s = Shape(x) t = Gather(s, one) m = Min(t, five) e = Slice(x, z, m, one) y = MatMul(e, w)", "Min",
    ),
    "a length in one case": (
        "s = Shape(x) t = Gather(s, one) c = Equal(t, five) cf = Cast <to = 1>(c) a = Mul(x, cf) y = MatMul(a, w)", "Equal",
    ),
    "axes that may have one entry": ("s = Squeeze(x) y = MatMul(s, w)", "Squeeze"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    body, name = REFUSED[case]
    proto = models.model(
        body, "float[N,T,4] x", w=(4, 3), z=ids(0), one=ids(1), two=ids(2), five=ids(5), far=ids(2**62),
        baked=ids(0, 5, 4),
    )  # fmt: skip
    with pytest.raises(reflrp.InputError, match=rf"(?s){name}.*shapes={{'x': \(None, 128, 4\)}}"):
        reflrp.compile(proto, "epsilon")


COUNTED = {
    "cast": "c = Cast <to = 6>(ids) i = Cast <to = 7>(c)",
    "shifted": "i = Sub(ids, one)",
    "a token and its field": "i = Add(ids, fields)",
    "an axis more, and less": "u = Unsqueeze(ids, one) i = Squeeze(u, one)",
}


def counted(way, time):
    """Token ids on their way to a table, beside a series of an open length."""
    fields = f"int64[N,{time}] fields, " if "fields" in way else ""
    return models.model(
        f"{way} e = Gather(table, i) m = ReduceMean <axes = [1], keepdims = 0>(e) n = ReduceMean <axes = [1], keepdims = 0>(z)"
        "a = Add(m, n) y = MatMul(a, w)",
        f"int64[N,{time}] ids, {fields}float[N,S,4] z", table=(20, 4), w=(4, 3), one=ids(1), four=ids(4),
    )  # fmt: skip


@pytest.mark.parametrize("time", [6, "T"])
@pytest.mark.parametrize("way", COUNTED)
def test_ids_that_stay_in_their_places_beside_open_lengths(way, time):
    proto = counted(COUNTED[way], time)
    g = reflrp.compile(proto, "epsilon")
    rng = np.random.default_rng(0)
    for n, s in ((1, 3), (3, 5)):
        feeds = {k: rng.integers(1, 9, (n, 6)) for k in ("ids", "fields")} | {"z": models.draw(n, s, 4)}
        feeds = {i.name: feeds[i.name] for i in proto.graph.input if i.name in feeds}
        agrees(run(g, feeds), proto, feeds, "epsilon")


def test_ids_that_move_beside_open_lengths():
    proto = counted("i = Slice(ids, one, four, one)", 6)
    g = reflrp.compile(proto, "epsilon")
    for n, s in ((1, 3), (3, 5)):
        feeds = {"ids": np.random.default_rng(n).integers(1, 9, (n, 6)), "z": models.draw(n, s, 4)}
        agrees(run(g, feeds), proto, feeds, "epsilon")


ENTRIES = {
    (1, 2): "T > 1", (-1, 0): None, (-3, 1): "T > 2",
    reflrp.Contrast((2, 1), (2, 0)): "T > 2", reflrp.Contrast((-1, 1), (-2, 1)): "T > 1",
}  # fmt: skip


@pytest.mark.parametrize("target", ENTRIES, ids=str)
def test_entries_of_open_outputs_are_counted_from_either_end(target):
    """As the last token's next one; where there is no such entry, the run fails, and explain refuses."""
    proto = models.model("h = MatMul(x, w) r = Relu(h) y = MatMul(r, v)", "float[N,T,4] x", w=(4, 6), v=(6, 3))
    for init in ("output", "one"):
        g = reflrp.compile(proto, "epsilon", target=target, init=init)
        assert {p.key: p.value for p in g.metadata_props}.get("reflrp.lengths") == ENTRIES[target]
        for n, t in ((1, 1), (2, 2), (3, 3), (1, 5), (2, 17)):
            feeds = {"x": models.draw(n, t, 4, seed=t).astype(np.float32)}
            try:
                reflrp.explain(proto, feeds, "epsilon", target=target)
            except reflrp.InputError:
                with pytest.raises(Exception, match="Non-zero status code"):
                    run(g, feeds)
            else:
                agrees(run(g, feeds), proto, feeds, "epsilon", target=target, init=init)


@pytest.mark.parametrize("target", [reflrp.Contrast((-1, 1), (0, 1)), (1, 7), 3, (0, 0, 0)], ids=str)
def test_what_is_no_entry_of_an_open_output_or_may_be_another(target):
    proto = models.model("y = MatMul(x, w)", "float[N,T,4] x", w=(4, 3))
    with pytest.raises(reflrp.InputError, match=r"leaves a length open|out of range|does not fit"):
        reflrp.compile(proto, "epsilon", target=target)


# ---------------------------------------------------------------- formulas


def test_formulas_are_right_at_all_lengths():
    """Sums, products, quotients and slices of lengths are what they are for numbers, wherever they are settled."""
    rng = np.random.default_rng(0)
    symbolic = {"N": dim(1), "T": length("T", 5), "S": length("S", 7)}
    kept = 0
    for _ in range(3000):
        a, b, c = (str(rng.choice(["N", "T", "S", *map(str, rng.integers(0, 6, 3))])) for _ in range(3))
        text = f"(({a} {rng.choice(['+', '*', '-'])} {b}) {rng.choice(['+', '*', '//', '%', '-', '<', '>='])} {c})"
        try:
            found = eval(text, {}, dict(symbolic))
        except (Unsettled, ZeroDivisionError):
            continue
        kept += 1
        for n, t, s in ((1, 1, 1), (3, 2, 9), (4, 17, 5)):
            there = {"N": n, "T": t, "S": s}
            assert at(found, there) == eval(text, {}, there), text
    assert kept > 1000


def at(n, there):
    if not hasattr(n, "terms"):
        return n
    return value(dict(n.terms), there)


def test_whole_parts_are_one_where_they_are_alike():
    """What two ways of strides make is one formula, and what is known of it is no more and no less than what holds."""
    t = length("T", 40)
    assert (t // 2) // 3 == t // 6
    assert ((t - 1) // 2) // 2 + 1 == ((t + 1) // 2 + 1) // 2 == (t + 3) // 4
    assert (4 * t + 6) // 8 == (2 * t + 3) // 4
    assert (2 * t + 3) // 2 == t + 1
    rng = np.random.default_rng(1)
    for _ in range(500):
        n = t
        for _ in range(rng.integers(1, 4)):
            n = (n + int(rng.integers(0, 9))) // int(rng.integers(1, 5)) + int(rng.integers(0, 3))
        for other in (t, t // 2, int(rng.integers(0, 6))):
            found = [at(n, {"T": k}) - at(other, {"T": k}) for k in range(1, 200)]
            low, high = bounds(n, other)
            assert low <= min(found)
            assert max(found) <= high
            assert low == min(found) or isinstance(other, Dim)


def test_slices_are_right_at_all_lengths():
    t = length("T", 5)
    for key in (slice(None), slice(1, None), slice(0, -1), slice(-1, None), slice(1, 2**62), slice(None, None, -1)):
        assert_sliced(key, t, 0)
    for key, plus in ((slice(None, 3), 2), (slice(2, None), 1), (slice(-2, None), 1)):
        with pytest.raises(TooShort) as said:
            sliced(key, t)
        assert said.value.by == plus
        assert_sliced(key, length("T", 5, plus), plus)
    assert_sliced(slice(1, -2, 3), length("T", 5, 3), 3)
    for key in (slice(None, None, 2), slice(None, None, -3), slice(0, 2**62, 4), slice(-1, -(2**62), -2)):
        assert_sliced(key, t, 0)
    with pytest.raises(TooLong) as found:
        sliced(slice(0, 512), t)
    assert found.value.most == 512


def assert_sliced(key, t, plus):
    start, stop, step = sliced(key, t)
    for n in range(1 + plus, 24 + plus):
        wanted = range(*slice(key.start, key.stop, key.step).indices(n))
        there = {"T": n - plus}
        assert at(entries(key, t), there) == len(wanted)
        assert [*range(at(start, there), at(stop, there), step)] == [*wanted]


def test_a_length_is_no_number():
    t = length("T", 5)
    for asks in (lambda: int(t), lambda: float(t), lambda: 1 / t, lambda: t / 2, lambda: np.ones(3) * t, lambda: 2**t):
        with pytest.raises(Unsettled):
            asks()
    assert t != 5
    assert t == length("T", 9)
    assert repr(2 * t * dim(1) - t + 3) == "2NT - T + 3"
    with pytest.raises(Undecided):
        bool(t > 4)
    with at_most({"T": 4}):
        assert not t > 4


@pytest.mark.parametrize(
    "shapes", [((2, 5, 4), (2, 1, 4)), ((2, 1, 4), (2, 5, 4)), ((2, 5, 4), (1, 5, 4)), ((2, 5, 4), (2, 3, 4))]
)
def test_lengths_of_one_name_must_be_one_length(shapes):
    """One of two inputs would be read with the length of the other, or get relevance of another shape than its own."""
    proto = models.model(
        "s = ReduceMean<axes = [1], keepdims = 1>(a) t = ReduceMean<axes = [1], keepdims = 1>(b) z = Mul(s, t) y = Add(z, z)",
        "float[N,T,4] a, float[N,T,4] b",
    )
    compiled = reflrp.compile(proto, "epsilon")
    feeds = {k: np.ones(shape, np.float32) for k, shape in zip("ab", shapes, strict=True)}
    with pytest.raises(Exception, match=r"out of data bounds|Shape mismatch"):
        run(compiled, feeds)
    feeds["b"] = feeds["a"]
    assert run(compiled, feeds)["relevance/b"].shape == shapes[0]


@pytest.mark.parametrize("given", ["[2]", "[3], pads = [1, 1], count_include_pad = 1"])
def test_means_of_windows_that_are_all_full_are_open(given):
    proto = models.model(f"p = AveragePool<kernel_shape = {given}>(x) y = Relu(p)", "float[N,4,T] x")
    compiled = reflrp.compile(proto, "epsilon", target=None)
    for batch, time in ((1, 2), (2, 3), (3, 17)):
        x = models.draw(batch, 4, time)
        wanted = reflrp.explain(proto, x, "epsilon").relevance
        assert part(run(compiled, {"x": x})["relevance/x"], wanted) < 1e-5


@pytest.mark.parametrize(
    "pool",
    [
        'MaxPool <kernel_shape = [4], strides = [2], auto_pad = "VALID", ceil_mode = 1>(h)',
        'Conv <kernel_shape = [1], strides = [4], auto_pad = "SAME_UPPER">(h, k)',
    ],
)
def test_what_a_runtime_makes_otherwise_for_some_lengths_needs_a_fixed_length(pool):
    proto = models.model(
        f"h = Relu(x) p = {pool} m = ReduceMean <axes = [2], keepdims = 0>(p) y = MatMul(m, w)",
        "float[N,2,T] x",
        w=(2, 3),
        k=(2, 2, 1),
    )
    with pytest.raises(reflrp.InputError, match=r"auto_pad .* otherwise than ONNX's text along axis 2 of length T"):
        reflrp.compile(proto, "epsilon_plus_flat", target=1)
    x = {"x": models.draw(2, 2, 6)}
    g = reflrp.compile(proto, "epsilon_plus_flat", target=1, shapes={"x": ("N", 2, 6)})
    wanted = reflrp.explain(proto, x, "epsilon_plus_flat", target=1, dtype="float64").relevance
    assert part(run(g, x, ["relevance/x"])["relevance/x"], wanted) < 1e-4


def test_a_pool_of_a_single_window():
    proto = models.model(
        "y = MaxPool <kernel_shape = [3, 2], strides = [4, 4], pads = [2, 1, 2, 1]>(x)", "float[N,2,H,W] x"
    )
    g = reflrp.compile(proto, "epsilon_plus", init="input")
    for high, wide in ((4, 3), (2, 7), (9, 9)):
        x = models.draw(2, 2, high, wide).astype(np.float32)
        y = run(proto, {"x": x})["y"]
        found = run(g, {"x": x, "init": y}, ["relevance/x"])["relevance/x"]
        np.testing.assert_allclose(found, reflrp.explain(proto, x, "epsilon_plus", init=y).relevance, atol=1e-5)


BY_NUMBER = {
    "Slice": "y = Slice(x, nought, four, nought)",
    "Min": "h = Shape<end = 1>(x) m = Min(h, four) y = Slice(x, nought, m, nought)",
    "Less": "h = Shape<end = 1>(x) m = Less(h, four) f = Cast<to = 1>(m) y = Mul(x, f)",
    "Trilu": "u = Unsqueeze(x, nought) y = Trilu<upper = 1>(u, below)",
}  # fmt: skip


@pytest.mark.parametrize("operator", BY_NUMBER)
def test_what_depends_on_how_many_samples_there_are_is_refused_by_name(operator):
    """They are the same graph for one, two and three samples, and another one for more."""
    body = BY_NUMBER[operator]
    known = {"nought": np.int64([0]), "four": np.int64([4]), "below": np.int64(-2)}
    proto = models.model(body, "float[N,6] x", **{k: a for k, a in known.items() if k in body})
    with pytest.raises(reflrp.InputError, match=rf"any batch size: node '{operator}_\d+'.*(depends|smaller).*shapes="):
        reflrp.compile(proto, "epsilon", init="input", strip=False)
