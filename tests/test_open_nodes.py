"""Old and odd nodes with all lengths open: each is compiled by a formula, or refused by name."""

import models
import numpy as np
import pytest
from compiled import run

import reflrp

MEAN = "y = ReduceMean <axes = [1], keepdims = 0>(h)"

# body, opset, sizes that fit, constants, and what the metadata say of lengths
NODES = {
    "TopK of opset 7": (f"h, i = TopK <k = 2>(x) {MEAN}", 7, [(2, 3, 4), (1, 1, 2), (3, 5, 7)], "F > 1"),
    "TopK of opset 9, along another axis": (f"h, i = TopK <k = 2, axis = 1>(x) {MEAN}", 9, [(2, 3, 4), (1, 2, 1)], "T > 1"),
    "Dropout of opset 7 with a mask that nobody reads": (f"h, m = Dropout(x) {MEAN}", 7, [(2, 3, 4), (1, 1, 1)], ""),
    "DepthToSpace": (
        "h = DepthToSpace <blocksize = 2>(x) y = ReduceMean <axes = [2, 3], keepdims = 0>(h)", 13, [(2, 4, 3, 5), (1, 8, 1, 1)],
        "C % 4 == 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_all_lengths_open(name):
    body, opset, sizes, limits = NODES[name]
    axes = "N,T,F" if len(sizes[0]) == 3 else "N,C,H,W"
    proto = models.model(body, f"float[{axes}] x", opset=opset)
    graph = reflrp.compile(proto, "epsilon")
    assert {p.key: p.value for p in graph.metadata_props}.get("reflrp.lengths", "") == limits
    for size in sizes:
        x = models.draw(*size)
        wanted = reflrp.explain(proto, x, "epsilon")
        found = run(graph, {"x": x})
        assert np.allclose(found["y"], models.onnxruntime(proto, {"x": x})["y"], atol=1e-6)
        np.testing.assert_allclose(found["relevance/x"], wanted.relevance, atol=1e-5 * np.abs(wanted.relevance).max())


@pytest.mark.parametrize("opset", [9, 11, 17])
@pytest.mark.parametrize("depth", [models.ints(5), np.int64(5)])
def test_a_depth_that_is_a_row_of_one(depth, opset):
    """As the standard and onnxruntime take it."""
    text = "o = OneHot(ids, d, v) z = Mul(x, o) y = MatMul(z, w)"
    proto = models.model(text, "int64[N] ids, float[N,5] x", d=depth, v=np.float32([0.5, 2]), w=(5, 3), opset=opset)
    feeds = {"ids": np.array([1, 4, -1 if opset > 10 else 0]), "x": models.draw(3, 5)}
    e = reflrp.explain(proto, feeds, "lrp_0", target=1)
    assert np.allclose(e.output, models.onnxruntime(proto, feeds)["y"], atol=1e-5)
    assert np.allclose(e.relevances["x"].sum(axis=1), e.output[:, 1], atol=1e-6)


def test_squares_that_overflow_are_named():
    proto = models.model("[fc] y = MatMul(x, w)", w=np.full((4, 3), 1e30, np.float32))
    with pytest.raises(reflrp.NonFiniteError, match="in a denominator of node 'fc'"):
        reflrp.compile(proto, "wsquare")


@pytest.mark.parametrize("size", [(7, 5), (9, 11)])
def test_an_output_shape_of_before_opset_11_that_pads_evenly(size):
    """What is cut off is as much at both ends, so that it is no matter to which an odd one goes."""
    node = f"ConvTranspose <strides = [2, 2], output_shape = [{size[0]}, {size[1]}]>"
    proto = models.model(
        f"c = {node}(x, w) h = Relu(c) y = ReduceMean <axes = [2, 3], keepdims = 0>(h)", "float[N,2,4,4] x",
        w=(2, 3, 3, 3), opset=10,
    )  # fmt: skip
    if size == (9, 11):  # nothing is cut off along the first axis, and the second would be longer
        with pytest.raises(reflrp.ReflrpError, match="ConvTranspose"):
            reflrp.compile(proto, "epsilon")
        return
    x = models.draw(2, 2, 4, 4)
    wanted = reflrp.explain(proto, x, "epsilon")
    found = run(reflrp.compile(proto, "epsilon"), {"x": x})
    assert np.allclose(found["y"], models.onnxruntime(proto, {"x": x})["y"], atol=1e-6)
    np.testing.assert_allclose(found["relevance/x"], wanted.relevance, atol=1e-5 * np.abs(wanted.relevance).max())


def test_a_norm_divided_by_the_number_of_steps_is_compiled():
    """That number is no weight of the norm: it is another for each length."""
    body = """h = LayerNormalization <axis = -1>(x, scale) s = Shape(x) n = Slice(s, one, two, zero) f = Cast <to = 1>(n)
        d = Div(h, f) y = ReduceSum <keepdims = 0>(d, one)"""
    ends = {"zero": models.ints(0), "one": models.ints(1), "two": models.ints(2)}
    proto = models.model(body, "float[N,T,4] x", scale=np.abs(models.draw(4)) + 0.5, **ends)
    graph = reflrp.compile(proto, "attnlrp", target=1)
    for t in (1, 3, 4):
        x = models.draw(2, t, 4)
        e = reflrp.explain(proto, x, "attnlrp", target=1)
        assert {"LayerNormalization_0", "Div_4"} <= set(e.rules)
        np.testing.assert_allclose(
            run(graph, {"x": x})["relevance/x"], e.relevance, atol=1e-5 * np.abs(e.relevance).max()
        )


def test_a_norm_at_its_own_shape_behind_a_shift_by_place():
    """ONNX does not infer that the sum is as long as x: that its constant is of one sample is known here."""
    body = "s = Add(x, page) n = ReduceL2 <axes = [-1]>(s) d = Shape(s) e = Expand(n, d) z = Div(s, e) y = MatMul(z, w)"
    rules = []
    for batch in ("N", 2):
        proto = models.model(body, f"float[{batch},3,4] x", page=(1, 3, 4), w=(4, 3))
        rules.append({k: repr(r) for k, r in reflrp.explain(proto, models.draw(2, 3, 4), target=(0, 1)).rules.items()})
    assert rules[0] == rules[1]
    assert "ReduceL2_1" not in rules[0]
