"""Sizes that a file works out: lengths behind strides, windows and sums of sizes are what their formulas say, at each size.

The oracle is the same file with its sizes written down: there every length is a number, and nothing follows from a formula.
"""

import numpy as np
import onnx
import pytest
from compiled import run
from models import draw, ints, model, onnxruntime
from onnx import numpy_helper
from test_open_names import in_body

import reflrp
from reflrp.arrays.tracing.dims import parts
from reflrp.arrays.tracing.polynomials import value

WEIGHTS = {
    "eps": np.float32(1e-3), "kernel": (4, 4, 3, 3), "zero": ints(0), "one": ints(1), "two": ints(2), "three": ints(3),
    "four": ints(4), "last": ints(-1), "minus2": ints(-2), "minus3": ints(-3), "k": ints(4), "space": ints(2, 3),
    "starts": ints(1, 1), "ends": ints(-1, -1), "ones": np.float32(1), "batch": np.int64(0), "high": np.int64(2),
    "broad": np.int64(3), "factors": np.float32([1, 1, 2, 2]), "row": draw(4, 4, seed=3), "head": draw(4, 3, seed=9),
}  # fmt: skip
SIZES = ((2, 4, 8, 6), (1, 4, 5, 7), (3, 4, 4, 10), (1, 4, 6, 6), (2, 4, 3, 3), (1, 4, 12, 4))
SHAPE = """d = Shape(x) n0 = Gather(d, batch) hs = Gather(d, high) ws = Gather(d, broad) nv = Unsqueeze(n0, zero)
    hv = Unsqueeze(hs, zero) wv = Unsqueeze(ws, zero) """
NORM = " n = ReduceL2 <axes = [1]>(p) c = Clip(n, eps) e = Expand(c, t) z = Div(p, e)"
POOLED = " g = GlobalMaxPool(z) f = Flatten(g) y = MatMul(f, head)"
ROWS = " f = ReduceMax <axes = [1], keepdims = 0>(z) y = MatMul(f, head)"
STRIDED = "Conv <strides = [2, 2], pads = [1, 1, 1, 1], kernel_shape = [3, 3]>({x}, kernel)"


def both(expression):
    """An expression of the height and of the width."""
    return " ".join(expression.format(s=s, v=f"{s}v") for s in "hw")


def target(height="hr", width="wr"):
    return f" t = Concat <axis = 0>(nv, k, {height}, {width})"


HALVED = both("{s}l = Add({v}, last) {s}q = Div({s}l, two) {s}r = Add({s}q, one)")
RESIZED = 'b = Concat <axis = 0>(nv, k, {2}) p = Resize <mode = "{0}">({1}, , , b)'
ROLLED = """m = Mod(last, wv) a = Slice(x, zero, m, three) b = Slice(x, m, wv, three) p = Concat <axis = 3>(b, a)"""
NORM_OF_ROWS = """ n = ReduceL2 <axes = [-1]>(p) c = Clip(n, eps) t = Concat <axis = 0>(nv, hw, k) e = Expand(c, t)
    z = Div(p, e)"""

CASES = {
    "a stride": SHAPE + f"p = {STRIDED.format(x='x')} " + HALVED + target() + NORM + POOLED,
    "two strides": SHAPE + f"o = {STRIDED.format(x='x')} p = {STRIDED.format(x='o')} "
    + HALVED.replace("two", "four") + target() + NORM + POOLED,
    "a window": SHAPE + "p = Conv <kernel_shape = [3, 3]>(x, kernel) " + both("{s}r = Add({v}, minus2)")
    + target() + NORM + POOLED,
    "a size that is worked out before its window": SHAPE + HALVED.replace("last", "minus3")
    + " p = MaxPool <kernel_shape = [3, 3], strides = [2, 2]>(x)" + target() + NORM + POOLED,
    "a crop": SHAPE + "p = Slice(x, starts, ends, space) " + both("{s}l = Add({v}, minus2) {s}r = Max({s}l, zero)")
    + target() + NORM + POOLED,
    "twice the size": SHAPE + both("{s}r = Mul({v}, two)") + RESIZED.format("nearest", "x", "hr, wr") + target() + NORM + POOLED,
    "twice the size, by factors": SHAPE + both("{s}r = Add({v}, {v})") + 'p = Resize <mode = "linear">(x, , factors)'
    + target() + NORM + POOLED,
    "its own size again": SHAPE + f"o = {STRIDED.format(x='x')} " + RESIZED.format("linear", "o", "hv, wv")
    + target("hv", "wv") + NORM + POOLED,
    "rolled": SHAPE + ROLLED + target("hv", "wv") + NORM + POOLED,
    "pixels as rows": SHAPE + """hw = Mul(hv, wv) s = Concat <axis = 0>(nv, k, hw) o = Reshape(x, s)
        q = Transpose <perm = [0, 2, 1]>(o) p = MatMul(q, row)""" + NORM_OF_ROWS + ROWS,
    "pixels as rows, counted by what is left": SHAPE + """hw = Mul(wv, hv) s = Concat <axis = 0>(nv, k, last) o = Reshape(x, s)
        p = Transpose <perm = [0, 2, 1]>(o)""" + NORM_OF_ROWS + ROWS,
    "a mean by a count": SHAPE + """hw = Mul(hv, wv) w = Cast <to = 1>(hw) s = ReduceSum(x, space) m = Div(s, w) c = Sub(x, m)
        q = Mul(c, c) u = ReduceSum(q, space) v = Div(u, w) a = Add(v, eps) r = Sqrt(a) z = Div(c, r)""" + POOLED,
    "a variance by one less": SHAPE + f"p = {STRIDED.format(x='x')} " + """ps = Shape(p) pq = Gather(ps, space)
        h = ReduceProd <keepdims = 0>(pq) w = Cast <to = 1>(h) l = Sub(w, ones) m = ReduceMean <axes = [2, 3]>(p) c = Sub(p, m)
        q = Mul(c, c) v = ReduceMean <axes = [2, 3]>(q) u = Mul(v, w) i = Div(u, l) a = Add(i, eps) r = Sqrt(a) z = Div(c, r)"""
    + POOLED,
}  # fmt: skip


def built(body):
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return model(body, "float[N,4,H,W] x", **{k: v for k, v in WEIGHTS.items() if k in words})


def fixed(proto, shape):
    """The same file with its sizes written down."""
    found = onnx.ModelProto.FromString(proto.SerializeToString())
    for dim, n in zip(found.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dim.dim_value = n
    return found


def check_formulas(proto, shape):
    """Assert that each name of a length is one number in a run, and what its formula makes of the others."""
    graph, at = reflrp.load(proto).graph(shape if isinstance(shape, dict) else {"x": shape}), {}
    for name, each in graph.values.items():
        for said, n in zip(each.lengths, each.shape, strict=True):
            assert (said if isinstance(said, int) else at.setdefault(said, n)) == n, (name, each)
    known = {k: n for k, n in graph.formulas.items() if k in at}
    assert {k: value(parts(n), at) for k, n in known.items()} == {k: at[k] for k in known}


def kinds(proto, shape):
    return {n.name: type(n.op).__name__ for n in reflrp.load(proto).graph({"x": shape}).nodes}


@pytest.mark.parametrize("case", CASES)
def test_a_norm_at_a_size_that_is_worked_out_is_recognised(case):
    proto = built(CASES[case])
    for shape in SIZES:
        check_formulas(proto, shape)
        assert "Standardise" in kinds(proto, shape).values()
    assert len({tuple(sorted(kinds(proto, shape).items())) for shape in SIZES}) == 1


@pytest.mark.parametrize("rules", ["attnlrp", "epsilon_plus"])
@pytest.mark.parametrize("case", CASES)
def test_relevance_is_that_of_the_same_file_with_its_sizes_written_down(case, rules):
    proto = built(CASES[case])
    explain, graph = reflrp.Explainer(proto, rules), reflrp.compile(proto, rules, target=1)
    for i, shape in enumerate(SIZES):
        x = draw(*shape, seed=i)
        wanted = reflrp.explain(fixed(proto, shape), x, rules=rules, target=1).relevance
        found = explain(x, target=1, progress=False).relevance
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())
        made = run(graph, {"x": x})["relevance/x"]
        np.testing.assert_allclose(made, wanted, rtol=0, atol=2e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", ["If", "Loop"])
def test_a_norm_within_a_body_is_recognised(kind):
    body = (
        "p = Relu(x) n = ReduceL2 <axes = [1]>(p) c = Clip(n, eps) d = Shape(x) e = Expand(c, d) z = Div(p, e)" + POOLED
    )
    proto = in_body(built(body), kind)
    for shape in SIZES:
        check_formulas(proto, shape)
        assert "Standardise" in kinds(proto, shape).values()


OTHERS = {
    "the count of another axis": "hw = Mul(wv, wv)",
    "a number that is the count here": "hw = Mul(four, four)",
    "a count of other rounding": "hq = Div(hv, two) ho = Mul(hq, two) hw = Mul(ho, wv)",
    "one more than there are": "hp = Mul(hv, wv) hw = Add(hp, one)",
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_number_that_is_the_count_at_one_size_only_makes_no_mean(case):
    """Of 4 x 4 pixels each of these may be 16; the rules are those of other sizes, where it is not."""
    body = CASES["a mean by a count"].replace("hw = Mul(hv, wv)", OTHERS[case])
    proto = built(body)
    for shape in ((1, 4, 4, 4), (2, 4, 6, 5)):
        check_formulas(proto, shape)
        assert "Standardise" not in kinds(proto, shape).values()
    assert kinds(proto, (1, 4, 4, 4)) == kinds(proto, (2, 4, 6, 5))


def test_a_file_may_call_a_length_as_a_formula_is_written():
    proto = built(CASES["a stride"])
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    dims[0].dim_param, dims[3].dim_param = "(floor((H + 1)/2))", "(floor(((floor((H + 1)/2)) + 1)/2))"
    for shape in SIZES:
        check_formulas(proto, shape)
        assert "Standardise" in kinds(proto, shape).values()


def test_counts_that_float16_rounds_are_no_counts():
    body = CASES["a mean by a count"].replace("w = Cast <to = 1>(hw)", "o = Cast <to = 10>(hw) w = Cast <to = 1>(o)")
    for shape in ((1, 4, 4, 4), (1, 4, 50, 50)):  # 2,500 entries are 2,500 in float16, and 2,501 are not
        assert "Standardise" not in kinds(built(body), shape).values()


def test_long_chains_of_sizes_are_no_deep_recursion():
    steps = " ".join(f"a{i} = Add({f'a{i - 1}' if i else 'hl'}, zero)" for i in range(3000))
    body = (
        SHAPE
        + "hl = Add(hv, minus3) "
        + steps
        + " p = Relu(x) s = Concat <axis = 0>(a2999, hv) r = Shape(s)"
        + target("hv", "wv")
        + NORM
    )
    proto = built(body + POOLED)
    assert "Standardise" in kinds(proto, (1, 4, 8, 6)).values()


@pytest.mark.parametrize("shift", [-1, -3, 2, 5])
def test_a_rest_by_an_open_length(shift):
    """A place that is shifted by less than the length is one formula; by more it is none, and nothing is said."""
    body = (
        SHAPE + "m = Mod(shift, wv) a = Slice(x, zero, m, three) b = Slice(x, m, wv, three) p = Concat <axis = 3>(b, a)"
    )
    proto = built(body + target("hv", "wv") + NORM + POOLED)
    proto.graph.initializer.append(numpy_helper.from_array(ints(shift), "shift"))
    for shape in SIZES:
        check_formulas(proto, shape)


def test_batch_sizes_that_differ_by_one_name_of_the_file_are_two():
    """A file says of two inputs that they have as many samples, and one is given for all: the name says nothing then."""
    body = (
        "a = Add(x, m) n = ReduceL2 <axes = [1]>(a) c = Clip(n, eps) d = Shape(m) e = Expand(c, d) z = Div(a, e)" + ROWS
    )
    proto = model(body, "float[N,T,4] x, float[N,T,4] m", eps=np.float32(1e-3), head=draw(4, 3, seed=9))
    explain = reflrp.Explainer(proto, "attnlrp")
    for shapes in (((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (1, 3, 4)), ((1, 3, 4), (2, 3, 4))):
        feeds = {k: draw(*s, seed=i) for i, (k, s) in enumerate(zip("xm", shapes, strict=True))}
        check_formulas(proto, {k: a.shape for k, a in feeds.items()})
        apart = model(body, "float[N,T,4] x, float[M,T,4] m", eps=np.float32(1e-3), head=draw(4, 3, seed=9))
        wanted, found = (
            reflrp.explain(apart, feeds, rules="attnlrp", target=1),
            explain(feeds, target=1, progress=False),
        )
        for k in feeds if len(set(shapes)) > 1 else ():
            np.testing.assert_array_equal(found.relevances[k], wanted.relevances[k])


PATCHES = {
    "sizes that are halved": SHAPE + both("{s}q = Div({v}, two)") + """ s = Concat <axis = 0>(last, k, hq, two, wq, two)
        r = Reshape(x, s) o = Transpose <perm = [0, 1, 3, 5, 2, 4]>(r) c = Concat <axis = 0>(last, sixteen, hq, wq)
        z = Reshape(o, c)""",
    "a size that is left": SHAPE + """s = Concat <axis = 0>(nv, k, last, two, wv) r = Reshape(x, s)
        o = Transpose <perm = [0, 1, 3, 2, 4]>(r) z = Reshape(o, eight)""",
}  # fmt: skip


@pytest.mark.parametrize("case", PATCHES)
def test_patches_that_fit_multiples_of_a_size_are_compiled(case):
    body = PATCHES[case] + " n = Relu(z) g = GlobalMaxPool(n) f = Flatten(g) y = MatMul(f, out)"
    given = {"sixteen": ints(16), "eight": ints(0, 8, -1, 1), "out": draw(16 if "halved" in case else 8, 3, seed=4)}
    used = {k: v for k, v in {**WEIGHTS, **given}.items() if k in body}
    proto = model(body, "float[N,4,H,W] x", **used)
    graph = reflrp.compile(proto, "epsilon_plus", target=1)
    lengths = {p.key: p.value for p in graph.metadata_props}["reflrp.lengths"]
    assert "H % 2 == 0" in lengths
    for i, shape in enumerate(((2, 4, 8, 6), (1, 4, 2, 4), (3, 4, 4, 10))):
        x = draw(*shape, seed=i)
        wanted = reflrp.explain(proto, x, rules="epsilon_plus", target=1).relevance
        found = run(graph, {"x": x})["relevance/x"]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-4 * np.abs(wanted).max())
    with pytest.raises(Exception, match=r"(?i)index|reshape|range"):
        run(graph, {"x": draw(1, 4, 5, 6)})


@pytest.mark.parametrize("names", ["NSS", "NST", "NNN"])
@pytest.mark.parametrize(("axes", "count"), [((3,), "wv"), ((2,), "hv"), ((2, 3), "hw")])
def test_axes_of_one_length_are_counted_alike(names, axes, count):
    """Where height and width have one name, each is the count of the other."""
    body = CASES["a mean by a count"].replace("Cast <to = 1>(hw)", f"Cast <to = 1>({count})").replace("space", "along")
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    proto = model(body, "float[N,4,H,W] x", along=ints(*axes), **{k: v for k, v in WEIGHTS.items() if k in words})
    for dim, name in zip(np.array(proto.graph.input[0].type.tensor_type.shape.dim)[[0, 2, 3]], names, strict=True):
        dim.dim_param = name
    for n in (3, 5):
        check_formulas(proto, (n, 4, n, n))
        assert "Standardise" in kinds(proto, (n, 4, n, n)).values()


def test_a_count_of_more_axes_than_what_it_divides_is_no_raw_error():
    body = (
        SHAPE
        + """hw = Mul(hv, wv) w = Cast <to = 1>(hw) u = Reshape(w, deep) s = Div(x, u) p = Squeeze(s, zero) z = Relu(p)"""
        + POOLED
    )
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    proto = model(
        body, "float[N,4,H,W] x", deep=ints(1, 1, 1, 1, 1), **{k: v for k, v in WEIGHTS.items() if k in words}
    )
    assert "Diagonal" in kinds(proto, (2, 4, 3, 5)).values()
    with pytest.raises(reflrp.InputError, match="for any length"):
        reflrp.compile(proto, "attnlrp", target=1)


GROWING = {
    "powers": "q{i} = Add({p}, wv) a{i} = Mul(q{i}, q{i})",
    "products": "q{i} = Mul({p}, wv) a{i} = Add(q{i}, hv)",
    "quotients": "q{i} = Add({p}, wv) a{i} = Div(q{i}, three)",
    "products of quotients": "q{i} = Div({p}, two) r{i} = Div(wv, three) s{i} = Mul(q{i}, r{i}) a{i} = Add(s{i}, hv)",
}


@pytest.mark.parametrize("case", GROWING)
def test_formulas_that_grow_without_end_are_left(case):
    """Their bounds take time that grows with the power of their size: beyond some size a length is one of its own."""
    steps = " ".join(GROWING[case].format(i=i, p=f"a{i - 1}" if i else "hv") for i in range(12))
    body = SHAPE + steps + " b = Sub(a11, a11) o = Add(b, hv) p = Relu(x)" + target("o", "wv") + NORM + POOLED
    check_formulas(built(body), (2, 4, 3, 2))
    with pytest.raises(reflrp.InputError, match="too long a formula"):
        reflrp.compile(built(body), "epsilon")


@pytest.mark.parametrize("dims", ["float[2,3,4] x", "float[N,T,4] x"])
@pytest.mark.parametrize(
    ("start", "end", "step"), [(-5, -9, -1), (-4, -9, -2), (-3, -9, -1), (-9, 1, -1), (-9, -2, 1), (7, 0, -2)]
)
@pytest.mark.parametrize("constant", [False, True])
def test_a_slice_that_begins_before_the_first_entry(dims, start, end, step, constant):
    """Backwards it takes the first entry, as the standard clamps a start to the entries there are, and Python does not."""
    body = """s = Slice({}, a, b, one, d) f = ReduceSum <keepdims = 0>(s, one) r = Add(x, f)
        g = ReduceSum <keepdims = 0>(r, one) y = MatMul(g, h)"""
    given = {"a": ints(start), "b": ints(end), "one": ints(1), "d": ints(step), "h": (4, 3)}
    rows = {"table": draw(1, 3, 4, seed=7)} if constant else {}
    proto, x = model(body.format("table" if constant else "x"), dims, **given, **rows), draw(2, 3, 4)
    if not constant:
        proto = model(body.format("x").replace("r = Add(x, f)", "u = Unsqueeze(f, one) r = Add(x, u)"), dims, **given)
    wanted = onnxruntime(proto, {"x": x})["y"]
    np.testing.assert_allclose(reflrp.load(proto).run({"x": x})["y"], wanted, rtol=1e-5, atol=1e-6)


def test_of_two_open_lengths_that_may_be_1_neither_is_that_of_their_sum():
    """Which of them is longer differs from run to run, and so the sum has a length of its own in each."""
    proto = model("a = Add(x, m) y = ReduceSum <keepdims = 0>(a, one)", "float[N,T,4] x, float[N,S,4] m", one=ints(1))
    found = []
    for t, s in ((3, 1), (1, 3), (3, 3)):
        shapes = {"x": (2, t, 4), "m": (2, s, 4)}
        check_formulas(proto, shapes)
        found.append(reflrp.load(proto).graph(shapes).values["a"].lengths)
    assert found[1:] == found[:1] * 2
    assert found[0][1] not in ("T", "S")
