"""Small networks whose batch size and length are open: one step of one sample is explained as many steps of many are.

The oracle is the network itself. What it does to a sample does not depend on how many there are, so its relevance must not either;
which rule stands on which node must not depend on lengths at all; and the compiled graph, which is one for all lengths, must give
what the engine gives at each.
"""

import random
import re

import numpy as np
import pytest
from compiled import run
from models import draw, ints, model

import reflrp
from reflrp.composites import Composite, Matcher, kind
from reflrp.composites.composite import defaults
from reflrp.rules import Epsilon, Flat, Half, Pass, ZPlus

K, H = 4, 5
WEIGHTS = {
    "bias": draw(K), "row": draw(1, K, seed=1), "page": draw(1, 1, K, seed=2), "column": draw(K, 1, seed=31),
    "number": np.float32(0.7), "single": np.float32([1.3]), "scale": np.abs(draw(K, seed=3)) + 0.5, "table": draw(6, K, seed=21),
    "w": (K, H), "b": (H,), "v": (H, K), "column5": draw(H, 1, seed=32), "wide": draw(H, K, 3, seed=5), "b5": draw(H, seed=6),
    "thin": draw(H, K, 1, seed=9), "w1": (1, 12, K), "r1": (1, 12, 3), "b1": (1, 24), "w2": (1, 9, K), "r2": (1, 9, 3),
    "b2": (1, 18), "back": (3, K), "head": (K, 3), "rows": ints(-1, K), "pages": ints(-1, 1, K), "turned": ints(0, K, -1),
    "turned5": ints(0, H, -1), "steps5": ints(0, -1, H), "zero": ints(0), "one": ints(1), "two": ints(2), "eight": ints(8),
    "k": ints(K), "last": ints(-1), "first": np.int64(0), "order": ints(3, 1, 0, 2), "eps": np.float32(1e-3),
    "third": np.float32(1 / 3),
}  # fmt: skip


def norm(x, y, axis):
    """A LayerNormalization as exporters take it apart."""
    return f"""{y}m = ReduceMean <axes = [{axis}]>({x}) {y}c = Sub({x}, {y}m) {y}q = Mul({y}c, {y}c)
        {y}v = ReduceMean <axes = [{axis}]>({y}q) {y}e = Add({y}v, eps) {y}s = Sqrt({y}e) {y} = Div({y}c, {y}s)"""


def root(x, y, times=""):
    """A division by the root of a sum of squares over the steps, or of a number times it."""
    scaled = f"{y}u = Mul({y}v, {times})" if times else f"{y}u = Identity({y}v)"
    return f"""{y}q = Mul({x}, {x}) {y}v = ReduceSum({y}q, one) {scaled} {y}e = Add({y}u, eps) {y}s = Sqrt({y}e)
        {y} = Div({x}, {y}s)"""


def inside(x, y, shape, body):
    """What a body does to the rows of another shape, and the old shape again."""
    return (
        f"{y}r = Reshape({x}, {shape}) {body.format(x=f'{y}r', y=f'{y}i')} {y}d = Shape({x}) {y} = Reshape({y}i, {y}d)"
    )


def across(x, y, body):
    """What a body does with channels before steps."""
    return f"{y}r = Transpose <perm = [0, 2, 1]>({x}) {body.format(x=f'{y}r', y=f'{y}i')} {y} = Transpose <perm = [0, 2, 1]>({y}i)"


def over(x, y, body, back):
    """A layer over the steps, which come first."""
    return f"""{y}t = Transpose <perm = [1, 0, 2]>({x}) {y}o, {y}h = {body.format(x=f"{y}t")}
        {y}q = Squeeze({y}o, one) {y}u = Transpose <perm = [1, 0, 2]>({y}q) {y} = MatMul({y}u, {back})"""


LAYER = "{y}m = MatMul({x}, w) {y}a = Add({y}m, b) {y}r = Relu({y}a) {y}v = MatMul({y}r, v) {y} = Add({y}v, bias)"
CONV = """{y}c = Conv {how}({x}, {w}, b5) {y}r = Relu({y}c) {y}u = Transpose <perm = [0, 2, 1]>({y}r)
    {y}w = MatMul({y}u, v) {y} = Transpose <perm = [0, 2, 1]>({y}w)"""
COUNTED = "{y}d = Shape({x}) {y}n = Slice({y}d, one, two, zero) "
WEIGHED = "{y}s = Transpose <perm = [0, 2, 1]>({x}) {y}p = MatMul({x}, {y}s) "

PIECES = {
    "shifted": "{y} = Sub({x}, bias)",
    "scaled": "{y} = Mul({x}, scale)",
    "shifted by a row": "{y} = Add({x}, row)",
    "shifted by a page": "{y} = Add({x}, page)",
    "divided by a row": "{y}n = Sub({x}, row) {y} = Div({y}n, scale)",
    "shifted by a number": "{y} = Sub({x}, number)",
    "scaled by one number": "{y} = Mul({x}, single)",
    "shifted as rows": lambda x, y: inside(x, y, "rows", "{y} = Sub({x}, bias)"),
    "shifted as pages": lambda x, y: inside(x, y, "pages", "{y} = Sub({x}, bias)"),
    "shifted in another order": lambda x, y: inside(x, y, "turned", "{y} = Sub({x}, column)"),
    "shifted across": lambda x, y: across(x, y, "{y} = Sub({x}, column)"),
    "BatchNormalization": lambda x, y: across(x, y, "{y} = BatchNormalization({x}, scale, bias, bias, scale)"),
    "shifted between axes": "{y}u = Unsqueeze({x}, one) {y}s = Sub({y}u, page) {y} = Squeeze({y}s, one)",
    "a table of positions": COUNTED + "{y}p = Slice(table, zero, {y}n, zero) {y} = Add({x}, {y}p)",
    "one row, repeated": COUNTED + "{y}q = Concat <axis = 0>({y}n, k) {y}p = Expand(row, {y}q) {y} = Add({x}, {y}p)",
    "one row, repeated for all": "{y}d = Shape({x}) {y}p = Expand(row, {y}d) {y} = Sub({x}, {y}p)",
    "dense": LAYER,
    "dense as rows": lambda x, y: inside(x, y, "rows", LAYER),
    "a bias behind another order": """{y}m = MatMul({x}, w) {y}x = Reshape({y}m, turned5) {y}y = Add({y}x, column5)
        {y}r = Relu({y}y) {y}z = Reshape({y}r, steps5) {y} = MatMul({y}z, v)""",
    "Conv": lambda x, y: across(x, y, CONV.replace("{how}", "<pads = [1, 1]>").replace("{w}", "wide")),
    "Conv of one tap": lambda x, y: across(x, y, CONV.replace("{how}", "").replace("{w}", "thin")),
    "attention": WEIGHED + "{y}q = Softmax <axis = -1>({y}p) {y} = MatMul({y}q, {x})",
    "attention, taken apart": WEIGHED
    + "{y}e = Exp({y}p) {y}u = ReduceSum({y}e, last) {y}q = Div({y}e, {y}u) {y} = MatMul({y}q, {x})",
    "LayerNormalization": "{y} = LayerNormalization <axis = -1>({x}, scale, bias)",
    "LayerNorm": lambda x, y: norm(x, f"{y}n", -1) + f" {y}w = Mul({y}n, scale) {y} = Add({y}w, bias)",
    "LayerNorm as rows": lambda x, y: inside(x, y, "rows", norm("{x}", "{y}", -1)),
    "LayerNorm over steps": lambda x, y: norm(x, y, 1),
    "L2 over steps": root,
    "L2 at its own shape": """{y}n = ReduceL2 <axes = [-1]>({x}) {y}c = Max({y}n, eps) {y}d = Shape({x}) {y}e = Expand({y}c, {y}d)
        {y} = Div({x}, {y}e)""",
    "L2 over steps at its own shape": """{y}n = ReduceL2 <axes = [1]>({x}) {y}c = Max({y}n, eps) {y}d = Shape({x})
        {y}e = Expand({y}c, {y}d) {y} = Div({x}, {y}e)""",
    "a third of the squares": lambda x, y: root(x, y, "third"),
    "SiLU": "{y}s = Sigmoid({x}) {y} = Mul({x}, {y}s)",
    "gated by the mean": "{y}t = ReduceMean <axes = [1]>({x}) {y}g = Sigmoid({y}t) {y} = Mul({x}, {y}g)",
    "Gather": "{y}g = Gather <axis = 2>({x}, order) {y} = Sub({y}g, bias)",
    "Concat": """{y}c = Concat <axis = 2>({x}, {x}) {y}d = Slice({y}c, two, eight, two) {y}e = Slice({y}d, zero, k, two)
        {y} = Add({y}e, bias)""",
    "residual": "{y}r = Relu({x}) {y} = Add({y}r, {x})",
    "LSTM": lambda x, y: over(x, y, "LSTM <hidden_size = 3>({x}, w1, r1, b1)", "back"),
    "GRU": lambda x, y: over(x, y, "GRU <hidden_size = 3>({x}, w2, r2, b2)", "back"),
}  # fmt: skip
HEADS = {
    "mean": "f = ReduceMean <axes = [1], keepdims = 0>({x}) y = MatMul(f, head)",
    "max": "f = ReduceMax <axes = [1], keepdims = 0>({x}) y = MatMul(f, head)",
    "first": "f = Gather <axis = 1>({x}, first) y = MatMul(f, head)",
    "sum": "f = ReduceSum <keepdims = 0>({x}, one) y = MatMul(f, head)",
    "pool": "t = Transpose <perm = [0, 2, 1]>({x}) p = GlobalAveragePool(t) f = Flatten(p) y = MatMul(f, head)",
}


def network(pieces, head, inputs="float[N,T,4] x"):
    """The pieces, one behind the other, and a head."""
    body, x = [], "x"
    for i, name in enumerate(pieces):
        piece, y = PIECES[name], f"s{i}_"
        body.append(piece(x, y) if callable(piece) else piece.format(x=x, y=y))
        x = y
    text = " ".join([*body, HEADS[head].format(x=x)])
    return model(text, inputs, **{k: v for k, v in WEIGHTS.items() if re.search(rf"\b{k}\b", text)})


def told(e, pieces, steps):
    """What stands on which node, and what is said. Recurrences have nodes for each step, and no state in the first."""
    if not {"LSTM", "GRU"} & set(pieces):
        return {k: repr(rule) for k, rule in e.rules.items()}, e.notes
    rules = {(re.sub(r"\d+", "", k), repr(rule)) for k, rule in e.rules.items()}
    return steps == 1, frozenset(rules), tuple(re.sub(r"\d+ nodes?", "", note) for note in e.notes)


def holds(pieces, head):
    """Assert all that the file's head promises, at some batch sizes and lengths."""
    proto = network(pieces, head)
    explain, compiled, kinds = reflrp.Explainer(proto), reflrp.compile(proto, target=1), set()
    for n, t in ((1, 1), (3, 1), (1, 3), (2, 2), (2, 3), (3, 4)):
        x = draw(n, t, K, seed=9)
        e = explain(x, target=1, progress=False)
        found = told(e, pieces, t)
        kinds.add(repr((found[0], sorted(found[1].items()) if isinstance(found[1], dict) else found[1:])))
        alone = [explain(x[i : i + 1], target=1, progress=False).relevance for i in range(n)]
        np.testing.assert_allclose(np.concatenate(alone), e.relevance, rtol=1e-6, atol=1e-9 * np.abs(e.relevance).max())
        R = run(compiled, {"x": x})["relevance/x"]
        np.testing.assert_allclose(R, e.relevance, rtol=2e-3, atol=2e-3 * np.abs(e.relevance).max())
    assert len(kinds) <= 1 + bool({"LSTM", "GRU"} & set(pieces)), kinds


@pytest.mark.parametrize("piece", PIECES)
def test_each_piece_is_explained_alike_at_all_lengths(piece):
    holds([piece], "first")


@pytest.mark.parametrize("seed", range(24))
def test_networks_are_explained_alike_at_all_lengths(seed):
    drawn = random.Random(seed)
    pieces = drawn.choices(list(PIECES), k=3)
    holds(
        pieces, drawn.choice(["max", "first"] if "LayerNorm over steps" in pieces else list(HEADS))
    )  # whose mean is 0


OF_ONE_STEP = {"shifted by a row", "shifted by a page", "divided by a row", "Conv", "Conv of one tap"} | {
    "one row, repeated", "one row, repeated for all", "shifted as rows", "shifted as pages", "LayerNorm as rows",
    "shifted between axes", "shifted in another order", "a bias behind another order", "a table of positions", "shifted across",
}  # fmt: skip
OF_THREE = {"a third of the squares", "one row, repeated", "one row, repeated for all"}
"""What a file says more of, where it fixes its length: one step is no series, a third of a sum of three is a mean, and a row that
is repeated by a constant is a table."""


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("steps", [1, 3])
def test_a_file_of_one_length_is_explained_as_the_open_one(piece, steps):
    x = draw(2, steps, K, seed=9)
    fixed, wide = (reflrp.explain(network([piece], "max", f"float[N,{t},4] x"), x, target=1) for t in (steps, "T"))
    same = {k: repr(r) for k, r in fixed.rules.items()} == {k: repr(r) for k, r in wide.rules.items()}
    assert same or piece in (OF_ONE_STEP if steps == 1 else OF_THREE)
    if same:
        np.testing.assert_allclose(fixed.relevance, wide.relevance, rtol=1e-9, atol=1e-12)


def test_an_axis_that_the_file_fixes_at_one_stays_one():
    table = "s = Add(x, page) f = Reshape(s, rows) y = MatMul(f, head)"
    names = {k: WEIGHTS[k] for k in ("page", "rows", "head")}
    rules = [reflrp.explain(model(table, f"float[N,{t},4] x", **names), draw(2, 1, 4)).rules["Add_0"] for t in ("T", 1)]
    assert isinstance(rules[0], Pass)
    assert not isinstance(rules[1], Pass)
    conv = "c = Conv <pads = [1, 1]>(x, wide) r = Relu(c) f = GlobalAveragePool(r) g = Flatten(f) y = MatMul(g, v)"
    nets = [model(conv, f"float[N,4,{t}] x", wide=WEIGHTS["wide"], v=(H, 3)) for t in ("T", 1)]
    assert [type(reflrp.explain(p, draw(2, 4, 1)).rules["Conv_0"]) for p in nets] == [ZPlus, Epsilon]


GATED = """c = Conv <pads = [1, 1, 1, 1]>(x, w1) r = Relu(c) p = GlobalAveragePool(r) e = Conv(p, w3) g = Sigmoid(e) s = Mul(r, g)
    f = Reshape(s, flat) t = Transpose <perm = [0, 2, 1]>(f) u = MatMul(t, f) a = Softmax <axis = -1>(u) o = MatMul(a, t)
    m = ReduceMean <axes = [1], keepdims = 0>(o) y = MatMul(m, w6)"""


def test_images_of_one_pixel_are_images():
    """A gate of channels is one, and a window slides, however few pixels there are."""
    weights = {"w1": (5, 3, 3, 3), "w3": (5, 5, 1, 1), "w6": (5, 3), "flat": ints(0, 5, -1)}
    proto = model(GATED, "float[N,3,H,W] x", **weights)
    explain, compiled = reflrp.Explainer(proto), reflrp.compile(proto, target=1)
    assert "reflrp.lengths" not in {p.key for p in compiled.metadata_props}
    for shape in ((1, 3, 1, 1), (2, 3, 1, 4), (2, 3, 4, 3)):
        x = draw(*shape, seed=2)
        e = explain(x, target=1)
        assert isinstance(e.rules["Conv_0"], Flat)
        assert isinstance(e.rules["Conv_3"], Epsilon)
        assert [type(e.rules[k]) for k in ("Mul_5", "MatMul_8")] != [Half, Half]
        assert isinstance(e.rules["MatMul_8"], Half)
        np.testing.assert_allclose(
            run(compiled, {"x": x})["relevance/x"], e.relevance, rtol=2e-3, atol=2e-3 * np.abs(e.relevance).max()
        )


NORMED = """p = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>(x) s = Shape(x)
    u = Resize <mode = "{mode}", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(p, , , s)
    n = ReduceL2 <axes = [1]>(u) c = Max(n, eps) d = Shape(u) e = Expand(c, d) z = Div(u, e) g = GlobalAveragePool(z)
    f = Flatten(g) y = MatMul(f, head)"""


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_a_resize_to_the_same_size_does_not_change_what_is_recognised(mode):
    weights = {k: WEIGHTS[k] for k in ("eps", "head")}
    proto = model(NORMED.format(mode=mode), "float[N,4,H,W] x", **weights)
    explain, compiled = reflrp.Explainer(proto, "attnlrp"), reflrp.compile(proto, "attnlrp", target=1)
    for shape in ((1, 4, 1, 1), (2, 4, 1, 4), (2, 4, 4, 3)):
        x = draw(*shape, seed=2)
        e = explain(x, target=1)
        assert isinstance(e.rules["Div_7"], Pass)
        assert "ReduceL2_3" not in e.rules
        if min(shape[2:]) > 1:  # what the graph's metadata ask
            R = run(compiled, {"x": x})["relevance/x"]
            np.testing.assert_allclose(R, e.relevance, rtol=2e-3, atol=2e-3 * np.abs(e.relevance).max())


@pytest.mark.parametrize(
    ("order", "of", "known"), [("0, 1, 2", "x", True), ("0, 1, 2", "z0", False), ("0, 2, 1", "x", False)]
)
def test_a_norm_that_is_repeated_along_another_axis_is_none(order, of, known):
    """Two axes may be of one length for this input alone."""
    turned = f"t = Transpose <perm = [{order}]>(n)" if order != "0, 1, 2" else "t = Neg(n)"
    text = f"""n = ReduceL2 <axes = [-1]>(x) {turned} d = Shape({of}) e = Expand(t, d) z = Div(x, e)
        y = ReduceSum <keepdims = 0>(z, one)"""
    proto = model(text, "float[N,T,U] x, float[N,U,T] z0", one=WEIGHTS["one"])
    e = reflrp.explain(proto, {"x": draw(2, K, K), "z0": draw(2, K, K, seed=1)}, "attnlrp", target=1, progress=False)
    assert ("ReduceL2_0" not in e.rules) is known


class Wide(Matcher):
    """Someone's own matcher, which looks at the length of this one input."""

    def __call__(self, node, survey):
        return node.kind == "conv" and node.op.source[2] > 2


def test_rules_that_tell_lengths_apart_say_so_in_the_run():
    body = "c = Conv(x, w) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p) y = MatMul(f, v)"
    proto = model(body, "float[N,4,T] x", w=(5, 4, 1), v=(5, 3))
    rules = Composite([(Wide(), ZPlus()), (kind("dense", "conv"), Epsilon(0.1)), *defaults()])
    compiled = reflrp.compile(proto, rules)
    assert {p.key: p.value for p in compiled.metadata_props}["reflrp.lengths"] == "T > 2"
    x = draw(2, 4, 3)
    wanted = reflrp.explain(proto, x, rules).relevance
    np.testing.assert_allclose(run(compiled, {"x": x})["relevance/x"], wanted, rtol=1e-4, atol=1e-6)
    with pytest.raises(Exception, match="Non-zero status code"):
        run(compiled, {"x": x[:, :, :2]})


BRANCHED = """s = Shape(x) n = Gather(s, i1) c = Greater(n, zeros) h = If (c) <
    then_branch = t () => (float[] a) { r = Reshape(x, rows) m = MatMul(r, w) d = Shape(x) b = Slice(d, zero, two)
        z = Concat <axis = 0>(b, five) u = Reshape(m, z) a = Add(u, b5) },
    else_branch = e () => (float[] o) { o = MatMul(x, w) }>
    r2 = Relu(h) f = ReduceMax <axes = [1], keepdims = 0>(r2) y = MatMul(f, v)"""


@pytest.mark.parametrize("steps", [1, 3])
def test_a_bias_is_the_layers_own_within_a_branch(steps):
    """ONNX infers nothing there: which lengths are numbers follows from the branch's own nodes."""
    weights = {k: WEIGHTS[k] for k in ("w", "rows", "b5", "zero", "two", "v")}
    weights |= {"i1": np.int64(1), "zeros": np.int64(0), "five": ints(H)}
    nets = [model(BRANCHED, f"float[N,{t},4] x", **weights) for t in ("T", steps)]
    x = draw(2, steps, K, seed=9)
    wide, fixed = (reflrp.explain(p, x, "epsilon", target=1) for p in nets)
    assert {k: repr(r) for k, r in wide.rules.items()} == {k: repr(r) for k, r in fixed.rules.items()}
    assert not any("Add" in k for k in wide.rules)
    np.testing.assert_allclose(wide.relevance, fixed.relevance, rtol=1e-9, atol=1e-12)
