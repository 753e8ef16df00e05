"""Moves by indices that are found in the run, scatters, samplings, token ids on their way to a table."""

from itertools import product

import numpy as np
import onnx
import pytest
from coverage_tools import assert_explained, net
from models import draw, ints

import reflrp

WORDS = "float[2,5,4] x"
IMAGE = "float[2,3,5,6] x"
ROWS = np.array([[[0, 1, 2, 3]], [[4, 3, 2, 1]]], np.int64)

CASES = {
    "TopK": net("y, i = TopK(x, k)", WORDS, k=ints(2)),
    "TopK of the smallest": net("y, i = TopK <axis = 1, largest = 0>(x, k)", WORDS, k=ints(3)),
    "TopK and where": net("v, i = TopK <axis = 1>(x, k) f = Cast <to = 1>(i) y = Add(v, f)", WORDS, k=ints(2)),
    "TopK of old": net("y, i = TopK <k = 2>(x)", WORDS, opset=9),
    "Gather by ArgMax": net(
        "m = ReduceMean <keepdims = 0>(x, axes) i = ArgMax <axis = 0, keepdims = 0>(m) y = Gather <axis = 1>(x, i)",
        WORDS,
        axes=ints(0, 2),
        opset=18,
    ),
    "GatherElements by ArgMax": net("i = ArgMax <axis = 1>(x) y = GatherElements <axis = 1>(x, i)", WORDS),
    "GatherND by ArgMax": net(
        "i = ArgMax <axis = 2>(x) y = GatherND <batch_dims = 2>(x, i)",
        WORDS,
    ),
    "ScatterND": net("y = ScatterND(x, i, u)", WORDS, i=np.array([[0, 1], [1, 4]]), u=(2, 4)),
    "ScatterND of a value": net(
        "t = ReduceSum <keepdims = 0>(x, axes) y = ScatterND(c, i, t)",
        WORDS,
        i=np.array([[2], [0]]),
        c=(3, 4),
        axes=ints(1),
    ),
    "ScatterND of both": net(
        "a = Slice(x, zero, one, two) t = Tanh(a) y = ScatterND(x, i, t)",
        "float[2,5,4] x",
        i=np.array([[[1, 0]], [[0, 3]]]),
        zero=ints(0),
        one=ints(1),
        two=ints(1),
    ),
    "ScatterElements": net("y = ScatterElements <axis = 1>(x, i, u)", WORDS, i=ROWS, u=(2, 1, 4)),
    "ScatterElements by what is found": net(
        "i = ArgMax <axis = 1>(x) m = ReduceMax(x, axes) n = Neg(m) y = ScatterElements <axis = 1>(x, i, n)",
        WORDS,
        axes=ints(1),
        opset=18,
    ),
    "ScatterElements adds": net(
        'a = Slice(x, zero, two, axis) y = ScatterElements <axis = 1, reduction = "add">(x, i, a)',
        WORDS,
        i=np.concatenate([ROWS, ROWS], axis=1),
        zero=ints(0),
        two=ints(2),
        axis=ints(1),
    ),
    "ScatterElements adds to zero": net(
        'y = ScatterElements <axis = 1, reduction = "add">(c, i, x)',
        WORDS,
        c=np.zeros((2, 3, 4), np.float32),
        i=np.tile(np.array([0, 1, 1, 2, 0])[None, :, None], (2, 1, 4)),
    ),
    "ScatterND adds": net('y = ScatterND <reduction = "add">(c, i, x)', WORDS, c=(4, 5, 4), i=np.array([[2], [2]])),
    "ScatterND adds constants": net(
        'y = ScatterND <reduction = "add">(x, i, u)', WORDS, u=(2, 4), i=np.array([[0, 1], [0, 1]])
    ),
    "Scatter": net("y = Scatter <axis = 1>(x, i, u)", WORDS, i=ROWS, u=(2, 1, 4), opset=10),
    "Trilu": net("y = Trilu(x)", WORDS),
    "Trilu of the lower": net("y = Trilu <upper = 0>(x, k)", WORDS, k=np.int64(1)),
    "ReduceProd over two axes": net("y = ReduceProd(x, axes)", "float[2,4,2] x", axes=ints(0, 1), opset=18),
    "ReduceProd of four": net("y = ReduceProd <keepdims = 0>(x, axes)", WORDS, axes=ints(2), opset=18),
    "BatchNormalization of values": net(
        "m = ReduceMean <keepdims = 0>(x, axes) d = Mul(x, x) v = ReduceMean <keepdims = 0>(d, axes)"
        "y = BatchNormalization(x, g, b, m, v)",
        IMAGE,
        g=(3,),
        b=(3,),
        axes=ints(0, 2, 3),
        opset=18,
    ),
    "experts": net(
        """z = MatMul(x, r) p = Softmax(z) v, i = TopK(p, one) w = GatherND(experts, i) xe = Unsqueeze(x, axis)
        h = MatMul(w, xe) s = Squeeze(h, axis) y = Mul(s, v)""",
        "float[5,4] x",
        r=(4, 3),
        experts=(3, 2, 4),
        one=ints(1),
        axis=ints(-1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    proto = CASES[name]
    dims = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    assert_explained(proto, {"x": draw(*dims, seed=4)})


def test_index_is_found_anew_for_each_input() -> None:
    model = reflrp.load(CASES["TopK"])
    for seed in range(3):
        x = draw(2, 5, 4, seed=seed)
        want = -np.sort(-x, axis=-1)[..., :2]
        np.testing.assert_allclose(model.run(x)["y"], want)
        e = reflrp.explain(model, x, "epsilon", init=np.ones((2, 5, 2)))
        np.testing.assert_array_equal(e.relevance != 0, x >= want[..., 1:])


def test_chosen_experts_are_constants() -> None:
    """Which expert is chosen is no token id: its weights get nothing, and all comes from the activations."""
    e = assert_explained(CASES["experts"], {"x": draw(5, 4, seed=4)})
    kinds = {row.kind for row in e.conservation.rows}
    assert "embedding" not in kinds


def test_product_of_three_is_refused() -> None:
    with pytest.raises(reflrp.UnsupportedOperator, match="one of 2, 4, 8"):
        reflrp.load(net("y = ReduceProd(x)", "float[1,3] x")).run(draw(1, 3))


MODES = list(product(("linear", "nearest", "cubic"), ("zeros", "border", "reflection"), (0, 1)))


@pytest.mark.parametrize(("mode", "padding", "aligned"), MODES)
def test_grid_sample(mode: str, padding: str, aligned: int) -> None:
    attributes = f'<mode = "{mode}", padding_mode = "{padding}", align_corners = {aligned}>'
    grid = draw(2, 4, 3, 2, seed=5) * 0.8
    assert_explained(net(f"y = GridSample {attributes}(x, g)", IMAGE, g=grid), {"x": draw(2, 3, 5, 6)}, rtol=2e-5)


def test_grid_sample_in_space() -> None:
    grid = draw(1, 2, 3, 2, 3, seed=5) * 0.5
    assert_explained(net("y = GridSample(x, g)", "float[1,2,4,5,6] x", g=grid), {"x": draw(1, 2, 4, 5, 6)})


def test_spatial_transformer() -> None:
    """The grid comes out of the network: it is held, gets nothing, and the notes say so."""
    proto = net(
        "f = Flatten(x) t = MatMul(f, w) a = Reshape(t, two) b = Add(a, c)g = AffineGrid(b, size) y = GridSample(x, g)",
        IMAGE,
        w=draw(90, 6) * 0.02,
        two=ints(-1, 2, 3),
        c=np.eye(2, 3, dtype=np.float32),
        size=ints(2, 3, 4, 4),
    )
    e = assert_explained(proto, {"x": draw(2, 3, 5, 6)}, rtol=3e-5)
    assert any("a grid that is held constant" in note for note in e.notes)
    low = reflrp.explain(proto, draw(2, 3, 5, 6), "epsilon", dtype="float32", init="one", target=(0, 0, 0))
    high = reflrp.explain(proto, draw(2, 3, 5, 6), "epsilon", init="one", target=(0, 0, 0))
    assert low.relevance.dtype == np.float32
    assert np.allclose(low.relevance, high.relevance, rtol=1e-4, atol=1e-6)
    assert not any(row.flow for row in e.conservation.rows if "MatMul" in row.node)
    single = reflrp.explain(proto, {"x": draw(2, 3, 5, 6)}, rules="epsilon", dtype="float32", init="one")
    assert single.relevance.dtype == np.float32
    exact = reflrp.explain(proto, {"x": draw(2, 3, 5, 6)}, rules="epsilon", init="one")
    np.testing.assert_allclose(single.relevance, exact.relevance, atol=1e-4 * np.abs(exact.relevance).max())


IDS = "int64[2,4] ids"
TABLE = {"table": (9, 4), "w": (4, 3)}
MOVED = {
    "cast": net("i = Cast <to = 6>(ids) e = Gather(table, i) y = MatMul(e, w)", IDS, **TABLE),
    "reshape": net("i = Reshape(ids, s) e = Gather(table, i) y = MatMul(e, w)", IDS, s=ints(-1), **TABLE),
    "shift": net("i = Add(ids, one) e = Gather(table, i) y = MatMul(e, w)", IDS, one=np.int64(1), **TABLE),
    "slice": net(
        "i = Slice(ids, a, b, c) e = Gather(table, i) y = MatMul(e, w)", IDS, a=ints(1), b=ints(3), c=ints(1), **TABLE
    ),
    "padding id": net(
        "n = Less(ids, three) i = Where(n, two, ids) e = Gather(table, i) y = MatMul(e, w)",
        IDS,
        two=np.int64(2),
        three=np.int64(3),
        **TABLE,
    ),
    "last axis": net("i = Unsqueeze(ids, c) e = GatherND(table, i) y = MatMul(e, w)", IDS, c=ints(-1), **TABLE),
    "floats": net("i = Cast <to = 7>(ids) e = Gather(table, i) y = MatMul(e, w)", "float[2,4] ids", **TABLE),
}


@pytest.mark.parametrize("name", MOVED)
def test_token_ids_that_are_moved_get_relevance(name: str) -> None:
    """As much as where the table is read by the ids as they come in."""
    ids = np.array([[1, 2, 3, 4], [7, 0, 5, 6]])
    dtype = onnx.helper.tensor_dtype_to_np_dtype(MOVED[name].graph.input[0].type.tensor_type.elem_type)
    e = assert_explained(MOVED[name], {"ids": ids.astype(dtype)}, rules="epsilon")
    read = np.abs(e.relevances["ids"]) > 0
    if name == "padding id":
        assert np.array_equal(read, ids >= 3)  # those that are replaced get nothing
        return
    assert read[:, 1:3].all()
    assert read.all() == (name != "slice")


def test_rows_by_a_counter_keep_their_relevance() -> None:
    """Positions that are counted, not given, have no input to give relevance to: it stays, and the ledger says so."""
    proto = net(
        "m = Cast <to = 7>(x) p = CumSum(m, one) e = Gather(table, p) s = Add(e, f) y = MatMul(s, w)",
        "float[2,3] x, float[2,3,4] f",
        table=(9, 4),
        w=(4, 3),
        one=np.int64(1),
    )
    e = assert_explained(proto, {"x": np.ones((2, 3), np.float32), "f": draw(2, 3, 4)})
    assert next(row for row in e.conservation.rows if row.kind == "embedding").bias != 0
