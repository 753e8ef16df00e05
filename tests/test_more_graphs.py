"""What unseen exports met: values that are observed in the file's own dtype, exponents, empty loops, ids that are sorted."""

from typing import Any

import numpy as np
import onnx
import pytest
from coverage_tools import assert_explained
from models import draw, ints, model, onnxruntime
from onnx import TensorProto, helper, numpy_helper

import reflrp

COUNTED = (
    "m = ReduceMax<keepdims = 0>(x) a = Abs(m) r = Range(nought, a, step) n = Size(r) c = Cast<to = 1>(n) y = Mul(x, c)"
)
BODY = (
    "body = b (int64 i, bool c, float[1,4] h) => (bool d, float[1,4] k, float[1,4] s) "
    "{ d = Identity(c) k = Add(h, h) s = Mul(h, h) }"
)
ZERO_TURNS = (
    f"m = ReduceMax<keepdims = 0>(x) g = Greater(m, big) n = Cast<to = 7>(g) e, s = Loop(n, , x) <{BODY}> "
    "q = ReduceSum(s, first) y = Add(e, q)"
)
SCATTERED = (
    'f = Cast<to = 1>(i) l = ArgMax<axis = 1>(f) z = ConstantOfShape(size) y = ScatterND<reduction = "add">(z, l, x)'
)
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "Range to an observed bound": (
        model(COUNTED, nought=np.float32(0), step=np.float32(0.25)), {"x": draw(1, 4)},
    ),
    "an observed exponent": (
        model("m = ReduceMax<keepdims = 0>(x) g = Greater(m, z) c = Cast<to = 1>(g) d = Add(c, o) a = Abs(x) y = Pow(a, d)",
              z=np.float32(0), o=np.float32(1)), {"x": draw(1, 4)},
    ),
    "exponents that come in": (
        model("a = Abs(x) y = Pow(a, p)", "float[N,4] x, int64[N,4] p"),
        {"x": draw(2, 4), "p": np.array([[1, 2, 3, 0], [2, 2, 1, 1]])},
    ),
    "a loop without turns": (
        model(ZERO_TURNS, opset=13, big=np.float32(100), first=ints(0)), {"x": draw(1, 4)},
    ),
    "a sum by found indices": (
        model(SCATTERED, "float[4,3] x, int64[4,2] i", opset=18, size=ints(2, 3)),
        {"x": draw(4, 3), "i": np.array([[1, 0], [0, 1], [3, 1], [5, 9]])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_explained(name):
    proto, feeds = CASES[name]
    e = assert_explained(proto, feeds)
    assert e.relevances["x"].any()


@pytest.mark.parametrize("name", [k for k in CASES if k != "exponents that come in"])
def test_the_observed_input_is_the_one_that_counts(name):
    """Another input goes another way, through the same explainer."""
    proto, feeds = CASES[name]
    explainer = reflrp.Explainer(proto, "epsilon")
    for scale in (1, -3):
        given = {k: a * scale if a.dtype.kind == "f" else a[::-1].copy() for k, a in feeds.items()}
        assert np.allclose(explainer(given).output, onnxruntime(proto, given)["y"], rtol=1e-5)


def test_a_loop_without_turns_whose_shape_is_open():
    body = BODY.replace("float[1,4] s)", "float[] s)")
    proto = model(f"e, s = Loop(n, , x) <{body}> q = ReduceSum(s, first) y = Add(e, q)", n=np.int64(0), first=ints(0))
    with pytest.raises(reflrp.ModelError, match="makes no turns here, so that the shape of its output 2 is open"):
        reflrp.explain(proto, draw(1, 4))


def test_ids_that_are_sorted_keep_their_relevance():
    proto = model("v, i = TopK(x, k) e = Gather(t, v) w = Mul(e, f) y = ReduceSum<keepdims = 0>(w, one)", "int64[N,4] x",
                  opset=13, k=ints(2), t=(9, 3), f=np.array([[[2.0], [5.0]]], np.float32), one=ints(1))  # fmt: skip
    ids = np.array([[1, 5, 3, 2], [8, 1, 0, 4]])
    e = reflrp.explain(proto, ids, "epsilon", target=0)
    table = numpy_helper.to_array(next(i for i in proto.graph.initializer if i.name == "t"))
    want = np.zeros((2, 4))
    for row, best in enumerate([(1, 2), (0, 3)]):
        for place, weight in zip(best, (2, 5), strict=True):
            want[row, place] = weight * table[ids[row, place], 0]
    assert np.allclose(e.relevance, want, rtol=1e-4)
    places = model("v, i = TopK(x, k) e = Gather(t, i) y = ReduceSum(e, one)", "int64[N,4] x", opset=13,
                   k=ints(2), t=(9, 3), one=ints(1))  # fmt: skip
    with pytest.raises(reflrp.InputError, match="numbers which the network works out"):
        reflrp.explain(places, ids, "epsilon")


def zipped() -> onnx.ModelProto:
    """A linear classifier with skl2onnx's default: a list of dictionaries for the scores."""
    nodes = [
        helper.make_node("LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", coefficients=[1.0, -2, 0.5, 1, 2, 3],
                         intercepts=[0.1, 0.2, -0.3], classlabels_ints=[0, 1, 2], post_transform="SOFTMAX"),
        helper.make_node("ZipMap", ["scores"], ["zipped"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]),
    ]  # fmt: skip
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    )
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        helper.make_value_info("zipped", maps),
    ]
    graph = helper.make_graph(nodes, "net", [helper.make_tensor_value_info("x", 1, [None, 2])], outputs)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def test_scores_in_dictionaries():
    x = draw(3, 2, seed=5)
    found = reflrp.load(zipped()).run({"x": x})
    want = onnxruntime(zipped(), {"x": x})
    assert np.allclose(found["zipped"], [[row[k] for k in (0, 1, 2)] for row in want["zipped"]], rtol=1e-5)
    e = reflrp.explain(zipped(), x, "epsilon", output="zipped")
    assert e.relevance.shape == (3, 2)
    assert e.conservation.worst < 1e-12


LSTM = {"w": (1, 16, 6), "r": (1, 16, 4), "b": (1, 32)}
MISFITS = {
    "an initial cell": ("y = LSTM<hidden_size = 4>(x, w, r, b, , h, c)", {**LSTM, "h": (1, 2, 4), "c": (1, 2, 8)}, 6),
    "a state of another batch": ("y = LSTM<hidden_size = 4>(x, w, r, b, , h)", {**LSTM, "h": (1, 1, 4)}, 5),
    "a bias": ("y = LSTM<hidden_size = 4>(x, w, r, b)", {**LSTM, "b": (1, 16)}, 3),
    "one gate too many": ("y = GRU<hidden_size = 4>(x, w, r)", {"w": (1, 16, 6), "r": (1, 16, 4)}, 1),
    "weights of the state": ("y = RNN<hidden_size = 4>(x, w, r)", {"w": (1, 4, 6), "r": (1, 4, 3)}, 2),
    "one direction of two": ('y = RNN<hidden_size = 4, direction = "bidirectional">(x, w, r)', {"w": (1, 4, 6), "r": (1, 4, 4)}, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_recurrent_parameters_fit_one_another(name):
    """As torch writes an LSTM with a projection: onnxruntime refuses the file, and so does the import."""
    body, weights, i = MISFITS[name]
    with pytest.raises(reflrp.UnsupportedOperator, match=rf"its input {i} of shape .* must have the shape"):
        reflrp.explain(model(body, "float[5,2,6] x", **weights), draw(5, 2, 6))


@pytest.mark.parametrize("opset", [18, 20, 21])
def test_group_normalisation_before_and_since_opset_21(opset):
    """Before, scale and bias are one a group; since, one a channel."""
    count = 2 if opset < 21 else 4
    g, b = draw(count, seed=1), draw(count, seed=2)
    proto = model(
        "y = GroupNormalization<num_groups = 2, epsilon = 0.1>(x, g, b)", "float[2,4,3,3] x", opset=opset, g=g, b=b
    )
    x = draw(2, 4, 3, 3)
    wide = x.astype(float).reshape(2, 2, -1)
    unit = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 0.1)
    scale, shift = (np.repeat(a, 4 // count).reshape(4, 1, 1) for a in (g, b))
    assert np.allclose(reflrp.load(proto).run({"x": x})["y"], unit.reshape(x.shape) * scale + shift, atol=1e-6)
    wrong = model(
        "y = GroupNormalization<num_groups = 2>(x, g, b)", "float[2,4,3,3] x", opset=opset, g=(6 - count,), b=b
    )
    with pytest.raises(reflrp.UnsupportedOperator, match=f"must have {count} numbers at opset {opset}"):
        reflrp.load(wrong).run({"x": x})


def test_what_cannot_be_tried_on_zeros_waits_for_the_input():
    """A squeeze of an axis that zeros make empty, as where an expert of a mixture gets no token."""
    body = "g = Greater(x, z) n = NonZero(g) r = Squeeze(n, first) i = Cast<to = 7>(r) f = Gather<axis = 0>(x, i) y = Mul(f, f)"
    proto = model(body, "float[N] x", opset=13, z=np.float32(0), first=ints(0, 1))
    loaded = reflrp.load(proto)
    with pytest.raises(reflrp.errors.DependsOnData, match="cannot be tried on zeros"):
        loaded.graph({"x": (3,)})


WAYS = model(
    "m = ReduceMax<keepdims = 0>(x) g = Greater(m, z) "
    "h = If (g) <then_branch = t () => (float[1,4] p) { q = Add(x, x) p = Relu(q) }, "
    "else_branch = e () => (float[1,4] r) { u = Neg(x) r = Relu(u) }> y = MatMul(h, w)",
    "float[1,4] x",
    opset=13,
    z=np.float32(0),
    w=(4, 3),
)
APART = np.array([[1, 2, 3, 4], [-1, -2, -3, -4], [2, 2, 1, 1]], np.float32)
THEN = next(n.name for n in reflrp.load(WAYS).graph({"x": (1, 4)}, {"x": APART[:1]}).nodes if n.name.endswith("Add_0"))


def test_layers_of_one_branch_where_samples_take_different_ways():
    e = reflrp.explain(WAYS, APART, "epsilon", layers=[THEN])
    (inner,) = e.layers
    assert e.layers[inner].shape == (3, 4)
    assert [bool(row.any()) for row in e.layers[inner]] == [True, False, True]
    assert any(n.startswith("samples take different ways") for n in e.notes)
    one = reflrp.explain(WAYS, APART[:1], "epsilon", layers=[THEN])
    assert np.array_equal(e.layers[inner][:1], one.layers[inner])
    with pytest.raises(reflrp.InputError, match=r"layers=\['no such'\] match no value"):
        reflrp.explain(WAYS, APART, "epsilon", layers=["no such"])


def test_conditions_in_one_branch_hold_for_those_who_pass_it():
    free = reflrp.explain(WAYS, APART, "epsilon").relevance
    bound = reflrp.explain(WAYS, APART, "epsilon", conditions={THEN: [1]}).relevance
    assert np.array_equal(bound[1], free[1])
    assert not bound[0, [0, 2, 3]].any()
    assert bound[0, 1] == free[0, 1]
