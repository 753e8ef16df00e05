"""Names of lengths: in each run a number is that number, and one name stands for one number; rules do not depend on lengths.

What passes decide by are lengths for all inputs (`Value.lengths`), so that what they say must be true at each.
"""

import numpy as np
import onnx
import pytest
from models import draw, ints, model
from onnx import helper, numpy_helper

import reflrp

WEIGHTS = {
    "eps": np.float32(1e-3), "page": np.full((1, 1, 1), 1e-3, np.float32), "none": np.zeros((1, 1, 4), np.float32),
    "zero": ints(0), "one": ints(1), "two": ints(2), "last": ints(-1), "k": ints(4), "first": np.int64(0), "next": np.int64(1),
    "rows": ints(-1, 4), "pairs": ints(-1, 2, 4), "head": draw(4, 3, seed=9), "nought": np.float32(0), "less": np.float32(0.7),
    "grown": np.float32([1, 1, 1.1, 1.1]), "shrunk": np.float32([1, 1, 0.7, 0.9]), "blown": np.float32([1, 1, 3.3, 1.5]),
}  # fmt: skip
STEPS = ((1, 1, 4), (2, 1, 4), (1, 3, 4), (2, 2, 4), (3, 3, 4), (2, 5, 4))
PIXELS = ((1, 4, 1, 1), (2, 4, 1, 4), (2, 4, 4, 4), (1, 4, 5, 10), (2, 4, 10, 10))
TOP = " f = ReduceMax <axes = [1], keepdims = 0>(z) y = MatMul(f, head)"
POOLED = " g = GlobalMaxPool(z) f = Flatten(g) y = MatMul(f, head)"
COUNTED = "d = Shape(x) n = Slice(d, one, two, zero) "
NORMED = "n = ReduceL2 <axes = [1]>(p) d = Shape(p) e = Expand(n, d) z = Div(p, e)" + POOLED


def built(body, inputs="float[N,T,4] x"):
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return model(body, inputs, **{k: v for k, v in WEIGHTS.items() if k in words})


def check_names(proto, shapes):
    """Assert that the lengths of all values are true in a run."""
    names = {}
    for name, value in reflrp.load(proto).graph(shapes).values.items():
        assert len(value.lengths) == len(value.shape)
        for said, n in zip(value.lengths, value.shape, strict=True):
            assert (said if isinstance(said, int) else names.setdefault(said, n)) == n, (
                name,
                value.shape,
                value.lengths,
            )


def rules(proto, shapes, composite="attnlrp"):
    """The rules that stand on nodes at each of some shapes."""
    explain = reflrp.Explainer(proto, composite)
    feeds = [draw(*shape, seed=5) for shape in shapes]
    return [{k: repr(r) for k, r in explain(x, target=1, progress=False).rules.items()} for x in feeds]


@pytest.mark.parametrize(
    "names", [("unk__0", "T"), ("unk__1", "unk__0"), ("x[1]", ""), ("", "x[0]"), ("t[1]", "s[1]"), ("a", "b")]
)
def test_names_of_the_file_are_not_taken_for_names_that_are_made_up(names):
    body = """t = Slice(x, zero, last, one) r = Reshape(t, rows) u = Relu(r) v = Reshape(u, pairs) s = Concat <axis = 1>(v, t)
        n = ReduceL2 <axes = [-1]>(s) d = Shape(s) e = Expand(n, d) z = Div(s, e)"""
    proto = built(body + TOP)
    for dim, name in zip(proto.graph.input[0].type.tensor_type.shape.dim, names, strict=False):
        dim.Clear()
        dim.dim_param = name
    check_names(proto, {"x": (1, 3, 4)})
    check_names(proto, {"x": (2, 3, 4)})


@pytest.mark.parametrize("equation", ["btk,btk->btk", "btk,btk->bt", "...k,...k->...k", "btk,btk", "btk,bsk->bts"])
@pytest.mark.parametrize("turned", [False, True])
def test_an_index_of_an_einsum_is_as_long_as_in_the_longer_operand(equation, turned):
    one, two = ("m", "x") if turned else ("x", "m")
    ends = {
        "btk,btk": "y = Identity(q)",
        "btk,btk->bt": "u = Unsqueeze(q, last) z = Add(u, u)" + TOP.replace("MatMul(f, head)", "Identity(f)"),
    }
    end = ends.get(equation, "r = Relu(q) z = Add(r, q) f = ReduceMax <axes = [1], keepdims = 0>(z) y = Identity(f)")
    proto = built(f'm = ReduceMean <axes = [1]>(x) q = Einsum <equation = "{equation}">({one}, {two}) {end}')
    for shape in STEPS:
        check_names(proto, {"x": shape})


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (8, 9), (9, 10)])
@pytest.mark.parametrize(
    "op",
    [
        "MaxPool <kernel_shape = [2, 2], strides = [3, 3], pads = [1, 1, 1, 1], ceil_mode = 1>(x)",
        "AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], ceil_mode = 1>(x)",
        'Resize <mode = "nearest">(x, , shrunk)',
        'Resize <mode = "linear">(x, , blown)',
    ],
)
def test_lengths_that_inference_gets_wrong_are_those_of_the_run(op, size):
    proto = built(f"p = {op} " + NORMED, f"float[N,4,{size[0]},{size[1]}] x")
    check_names(proto, {"x": (2, 4, *size)})


def in_body(proto, kind):
    """The network within a branch, or as the one turn of a loop."""
    found, nodes = onnx.ModelProto(), [onnx.NodeProto.FromString(n.SerializeToString()) for n in proto.graph.node]
    found.CopyFrom(proto)
    made = {o for n in nodes for o in n.output}
    for node in nodes:
        node.output[:] = [f"inner_{o}" for o in node.output]
        node.input[:] = [f"inner_{i}" if i in made else i for i in node.input]
    del found.graph.node[:]
    text = "c = Shape(x) l = Size(c) more = Greater(l, none_at_all) trips = Cast <to = 7>(more)"
    found.graph.node.extend(
        onnx.parser.parse_graph(f"g (float[N] x, int64 none_at_all) => (int64 trips) {{ {text} }}").node
    )
    found.graph.initializer.append(numpy_helper.from_array(np.int64(0), "none_at_all"))
    y = onnx.ValueInfoProto(name="inner_y")
    if kind == "If":
        other = helper.make_graph(
            [helper.make_node("Neg", ["x"], ["other"])], "else", [], [onnx.ValueInfoProto(name="other")]
        )
        then = helper.make_graph(nodes, "then", [], [y])
        found.graph.node.append(helper.make_node("If", ["more"], ["y"], name="If", then_branch=then, else_branch=other))
        return found
    nodes.append(helper.make_node("Identity", ["goes_on"], ["goes_on_"]))
    ports = [helper.make_tensor_value_info("turn", 7, []), helper.make_tensor_value_info("goes_on", 9, [])]
    outputs = [helper.make_tensor_value_info("goes_on_", 9, []), helper.make_tensor_value_info("inner_y", 1, None)]
    body = helper.make_graph(nodes, "body", ports, outputs)
    found.graph.initializer.append(numpy_helper.from_array(np.int64(1), "once"))
    found.graph.node.append(helper.make_node("Loop", ["once", ""], ["stacked"], name="Loop", body=body))
    found.graph.initializer.append(numpy_helper.from_array(np.int64([0]), "turns"))
    found.graph.node.append(helper.make_node("Squeeze", ["stacked", "turns"], ["y"]))
    return found


NUMBERED = COUNTED + "q = Squeeze(n) r = Range(first, q, next) l = Less(r, next) m = Unsqueeze(l, last) "
PAGED = COUNTED + "g = Concat <axis = 0>(one, n, {last}) p = Expand({page}, g) q = Mul(x, x) "
BODIES = {
    "a mask that keeps all of one step": NUMBERED + "s = Sigmoid(x) w = Where(m, s, nought) z = Mul(x, w)",
    "an epsilon at each step": PAGED.format(last="k", page="page")
    + "v = ReduceMean <axes = [1]>(q) a = Add(v, p) t = Sqrt(a) z = Div(x, t)",
    "zeros at each step": PAGED.format(last="k", page="none")
    + "v = ReduceMean <axes = [1]>(q) a = Add(v, p) u = ReduceSum(a, one) c = Add(u, eps) t = Sqrt(c) z = Div(x, t)",
}


@pytest.mark.parametrize("kind", ["If", "Loop"])
@pytest.mark.parametrize("body", BODIES)
def test_one_step_within_a_body_is_explained_as_many(body, kind):
    proto = in_body(built(BODIES[body] + TOP), kind)
    for shape in STEPS:
        check_names(proto, {"x": shape})
    first, *others = rules(proto, STEPS)
    assert len(first) > 3
    assert all(found == first for found in others)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_a_scale_that_leaves_small_images_as_they_are_is_a_node_for_them(mode):
    """Ten pixels times 1.1 are eleven, and four stay four: there relevance goes through it, as in the compiled graph."""
    resized = f'Resize <mode = "{mode}", coordinate_transformation_mode = "half_pixel">'
    body = f"s = Sigmoid(x) t = {resized}(s, , grown) u = {resized}(x, , grown) z = Mul(t, u)"
    proto, layers = built(body + POOLED, "float[N,4,H,W] x"), ("Resize_1", "Resize_2")
    first, *others = [
        {k: rule for k, rule in each.items() if k not in layers} for each in rules(proto, PIXELS, "attnlrp")
    ]
    assert "Sigmoid_0" in first
    assert all(found == first for found in others)
    small = {i.name: (2, *PIXELS[0][1:]) for i in proto.graph.input}
    assert {"Resize_1", "Resize_2"} <= {n.name for n in reflrp.load(proto).graph(small).nodes}


WINDOWS = ["Conv {how}(x, {w})", "MaxPool {how}(x)", "AveragePool {how}(x)"]
HOW = {
    "kernel_shape = [3, 3], pads = [1, 1, 1, 1]": True,
    "kernel_shape = [3, 3], pads = [0, 2, 2, 0]": True,
    'kernel_shape = [3, 3], auto_pad = "SAME_LOWER"': True,
    "kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]": False,
    "kernel_shape = [3, 3], pads = [1, 1, 1, 2]": False,
    "kernel_shape = [3, 3], pads = [1, 1, 1, 1], dilations = [2, 2]": False,
    'kernel_shape = [3, 3], auto_pad = "SAME_UPPER", strides = [2, 2]': False,
}


@pytest.mark.parametrize("op", WINDOWS)
@pytest.mark.parametrize("how", HOW)
def test_windows_that_leave_lengths_as_they_are(op, how):
    """A norm behind them that is repeated for the input's own lengths, as exporters write it, is recognised."""
    if "dilations" in how and "Average" in op:
        op = "MaxPool {how}(x)"
    body = f"""p = {op.format(how=f"<{how}>", w="kernel")} n = ReduceL2 <axes = [1]>(p) c = Clip(n, eps) d = Shape({{of}})
        e = Expand(c, d) z = Div(p, e)"""
    shapes = [(1, 4, 7, 7), (2, 4, 4, 6), (2, 4, 6, 4)]
    for of in ("x", "p"):
        if of == "x" and not HOW[how]:
            continue  # it does not fit
        text = body.format(of=of) + POOLED
        proto = model(
            text, "float[N,4,H,W] x", kernel=(4, 4, 3, 3), **{k: WEIGHTS[k] for k in ("eps", "head") if k in text}
        )
        if "kernel)" not in text:
            del proto.graph.initializer[0]
        for shape in shapes:
            check_names(proto, {"x": shape})
        recognised = ["ReduceL2_1" not in found for found in rules(proto, shapes)]
        assert recognised == [True] * 3
