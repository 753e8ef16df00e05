"""Branches, loops and sequences: unrolled where what they hang on is known, else refused with the reason."""

import numpy as np
import onnx
import pytest
from coverage_tools import assert_explained, net
from models import draw, ints

import reflrp

ROWS = "float[2,5,3] x"


def recurrent(steps: str = "t", more: str = "") -> onnx.ModelProto:
    """How tf2onnx writes a SimpleRNN: a loop that gathers the time step by its counter, and says itself when to end."""
    return net(
        f"""xt = Transpose <perm = [1, 0, 2]>(x) {more}
        n, h, all = Loop ({steps}, true, i0, h0) <body = step (int64 k, bool go, int64 i, float[2,4] s)
          => (bool on, int64 j, float[2,4] r, float[2,4] out) {{
            xi = Gather(xt, i) a = MatMul(xi, w) b = MatMul(s, u) c = Add(a, b) d = Add(c, bias) r = Tanh(d)
            j = Add(i, one) on = Less(j, t) out = Identity(r) }}>
        y = ReduceMean <keepdims = 0>(all, axes)""",
        ROWS,
        w=(3, 4),
        u=(4, 4),
        bias=(4,),
        i0=np.int64(0),
        one=np.int64(1),
        t=np.int64(5),
        true=np.array(True),
        h0=np.zeros((2, 4), np.float32),
        axes=ints(0),
        most=np.int64(9),
    )


def by_hand(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    weights = {t.name: onnx.numpy_helper.to_array(t).astype(float) for t in proto.graph.initializer}
    h, found = weights["h0"], []
    for t in range(5):
        h = np.tanh(x[:, t] @ weights["w"] + h @ weights["u"] + weights["bias"])
        found.append(h)
    return np.mean(found, axis=0)


@pytest.mark.parametrize("steps", ["t", "most", ""])
def test_loop_is_unrolled(steps: str) -> None:
    """By its trip count, and by the condition that it works out from its counter."""
    proto, x = recurrent(steps), draw(2, 5, 3)
    e = assert_explained(proto, {"x": x})
    np.testing.assert_allclose(e.output, by_hand(proto, x), rtol=1e-6)
    names = [row.node for row in e.conservation.rows]
    assert any("[4]/" in n for n in names)
    assert not any("[5]/" in n for n in names)


def test_steps_of_a_loop_say_where_they_come_from() -> None:
    graph = reflrp.load(recurrent()).graph({"x": (2, 5, 3)})
    step = next(n for n in graph.nodes if "[2]/" in n.name and n.kind == "dense")
    assert len(step.onnx) == 1
    assert step.onnx[0].startswith("Loop")
    assert len({n.name for n in graph.nodes}) == len(graph.nodes)


def test_loop_is_explained_like_the_operator() -> None:
    """The loop and the RNN operator are the same network, and get the same relevance where rules meet the same maps."""
    proto, x = recurrent(), draw(2, 5, 3)
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    same = net(
        """xt = Transpose <perm = [1, 0, 2]>(x) all, last = RNN <hidden_size = 4>(xt, w, r, b)
        y = ReduceMean <keepdims = 0>(all, axes)""",
        ROWS,
        w=weights["w"].T[None],
        r=weights["u"].T[None],
        axes=ints(0, 1),
        b=np.concatenate([weights["bias"], np.zeros(4, np.float32)])[None],
    )
    found = [reflrp.explain(p, x, "gradient", target=1).relevance for p in (proto, same)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("largest", [1.5, 4.2, 9.9])
def test_loop_as_long_as_the_data_say(largest: float) -> None:
    """By a count that is worked out from what carries relevance; as long as observed, and never longer than there is to read."""
    proto = recurrent("data", "s = ReduceMax <keepdims = 0>(x) data = Cast <to = 7>(s)")
    x = np.minimum(draw(2, 5, 3), largest)
    x[0, 0, 0] = largest
    e = assert_explained(proto, {"x": x})
    assert any("depend on the data" in n for n in e.notes)


@pytest.mark.parametrize("scale", [0.05, 1.0, 30.0])
def test_loop_that_ends_by_its_data(scale: float) -> None:
    proto = net(
        """y = Loop (m, true, x) <body = step (int64 k, bool go, float[2,3] s) => (bool on, float[2,3] r) {
            r = Mul(s, half) top = ReduceMax <keepdims = 0>(r) on = Greater(top, limit) }>""",
        "float[2,3] x",
        m=np.int64(9),
        true=np.array(True),
        half=np.float32(0.5),
        limit=np.float32(0.1),
    )
    assert_explained(proto, {"x": scale * abs(draw(2, 3))})


def test_loop_without_end_is_refused() -> None:
    proto = net(
        """y = Loop (, true, x) <body = step (int64 k, bool go, float[2,3] s) => (bool on, float[2,3] r) {
            r = Mul(s, half) on = Identity(go) }>""",
        "float[2,3] x",
        true=np.array(True),
        half=np.float32(0.5),
    )
    with pytest.raises(reflrp.UnsupportedOperator, match="more than 2000 steps"):
        reflrp.load(proto).run(draw(2, 3))


def test_loops_inside_loops_have_an_end() -> None:
    inner = """r = Loop (m, true, s) <body = inner (int64 i, bool g, float[2,3] a) => (bool h, float[2,3] b) {
        b = Mul(a, half) h = Identity(g) }>"""
    proto = net(
        f"""y = Loop (m, true, x) <body = step (int64 k, bool go, float[2,3] s) => (bool on, float[2,3] r) {{
            {inner} on = Identity(go) }}>""",
        "float[2,3] x",
        m=np.int64(1000),
        true=np.array(True),
        half=np.float32(1),
    )
    with pytest.raises(reflrp.UnsupportedOperator, match="all loops together 20000"):
        reflrp.load(proto).run(draw(2, 3))


def test_operators_inside_a_body_are_named() -> None:
    """An operator without a builder is found when the file is loaded, whatever it stands in."""
    proto = net(
        """y = Loop (m, true, x) <body = step (int64 k, bool go, float[2,3] s) => (bool on, float[2,3] r) {
            c = Identity(go) on = Identity(c) r = Det(s) }>""",
        "float[2,3] x",
        m=np.int64(2),
        true=np.array(True),
    )
    with pytest.raises(reflrp.UnsupportedOperator, match="Det"):
        reflrp.load(proto)


@pytest.mark.parametrize("reverse", [0, 1])
def test_scan_is_unrolled(reverse: int) -> None:
    proto = net(
        f"""h, y = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [{reverse}],
            scan_output_axes = [1], scan_output_directions = [{reverse}],
            body = step (float[2,4] s, float[2,3] xi) => (float[2,4] r, float[2,4] out) {{
              a = MatMul(xi, w) b = Mul(s, half) r = Add(a, b) out = Tanh(r) }}>(h0, x)""",
        ROWS,
        w=(3, 4),
        half=np.float32(0.5),
        h0=np.zeros((2, 4), np.float32),
    )
    e = assert_explained(proto, {"x": draw(2, 5, 3)})
    assert e.output.shape == (2, 5, 4)


def test_scan_of_distances() -> None:
    """How skl2onnx writes distances to stored points."""
    proto = net(
        """kept, y = Scan <num_scan_inputs = 1, body = one (float[4,3] all, float[3] row)
              => (float[4,3] same, float[4] d) {
              same = Identity(all) diff = Sub(all, row) d = ReduceSumSquare <keepdims = 0>(diff, axes) }>(points, x)""",
        "float[2,3] x",
        points=(4, 3),
        axes=ints(1),
        opset=18,
    )
    assert_explained(proto, {"x": draw(2, 3)})


BRANCHES = """y = If (c) <then_branch = yes () => (float[] a) { a = Relu(x) }, else_branch = no () => (float[] b) {
    t = MatMul(x, w) b = Tanh(t) }>"""


@pytest.mark.parametrize("condition", [True, False])
def test_branch_with_a_constant_condition(condition: bool) -> None:
    proto = net(BRANCHES, "float[2,3] x", c=np.array(condition), w=(3, 3))
    e = assert_explained(proto, {"x": draw(2, 3)})
    assert ("Tanh" in {n.op_type for n in reflrp.load(proto).graph({"x": (2, 3)}).nodes}) != condition
    assert e.relevance.shape == (2, 3)


def test_branch_by_the_shape_of_the_input() -> None:
    proto = net(
        "s = Shape <start = 0, end = 1>(x) n = Squeeze(s) c = Greater(n, one) " + BRANCHES,
        "float[N,3] x",
        one=np.int64(1),
        w=(3, 3),
    )
    for batch in (1, 2):
        assert_explained(proto, {"x": draw(batch, 3)})


@pytest.mark.parametrize("sign", [1, -1])
def test_branch_by_the_data(sign: int) -> None:
    proto = net(
        "s = ReduceMax <keepdims = 0>(x) c = Greater(s, zero) " + BRANCHES, "float[2,3] x", zero=np.float32(0), w=(3, 3)
    )
    e = assert_explained(proto, {"x": sign * abs(draw(2, 3))})
    assert any("depend on the data" in n for n in e.notes)


def test_branch_that_carries_no_relevance_is_run() -> None:
    """A branch among masks and positions may depend on the data: nothing needs to be explained there."""
    proto = net(
        """s = ReduceMax <keepdims = 0>(x) c = Greater(s, zero)
        k = If (c) <then_branch = yes () => (int64[] a) { a = Identity(one) },
                    else_branch = no () => (int64[] b) { b = Identity(two) }>
        y = Gather <axis = 1>(x, k)""",
        "float[2,3] x",
        zero=np.float32(0),
        one=ints(1),
        two=ints(2),
    )
    for sign in (1, -1):
        e = assert_explained(proto, {"x": sign * abs(draw(2, 3))})
        assert np.abs(e.relevance[:, 1 if sign > 0 else 2]).min() > 0


def test_sequences() -> None:
    proto = net(
        """parts = SplitToSequence <axis = 1, keepdims = 0>(x) a = SequenceAt(parts, one) b = SequenceAt(parts, last)
        few = SequenceConstruct(a, b) more = SequenceInsert(few, a, zero) fewer = SequenceErase(more, zero)
        again = SequenceInsert(fewer, b) n = SequenceLength(again) f = Cast <to = 1>(n)
        z = ConcatFromSequence <axis = 1, new_axis = 1>(again) y = Mul(z, f)""",
        ROWS,
        one=np.int64(1),
        last=np.int64(-1),
        zero=np.int64(0),
    )
    assert_explained(proto, {"x": draw(2, 5, 3)})


def test_sequence_of_constants_that_grows() -> None:
    """How torch writes a list that a loop appends to: the sequence starts empty, and is a state of the loop."""
    proto = net(
        """none = SequenceEmpty() all, last = Loop (m, true, none, x)
          <body = step (int64 k, bool go, seq(float) s, float[2,3] h) => (bool on, seq(float) t, float[2,3] r) {
            on = Identity(go) r = MatMul(h, w) t = SequenceInsert(s, r) }>
        y = ConcatFromSequence <axis = 0>(all)""",
        "float[2,3] x",
        m=np.int64(3),
        true=np.array(True),
        w=(3, 3),
    )
    e = assert_explained(proto, {"x": draw(2, 3)})
    assert e.output.shape == (6, 3)


def test_bags_of_embeddings() -> None:
    """How torch writes an EmbeddingBag: a loop over the bags that gathers their rows and takes the mean."""
    proto = net(
        """rows = Loop (bags, true) <body = bag (int64 k, bool go) => (bool on, float[4] mean) {
            on = Identity(go) start = Gather(starts, k) end = Gather(ends, k) s1 = Unsqueeze(start, axis)
            e1 = Unsqueeze(end, axis) mine = Slice(ids, s1, e1) words = Gather(table, mine)
            mean = ReduceMean <keepdims = 0>(words, axis) }>
        y = MatMul(rows, w)""",
        "int64[6] ids",
        table=(9, 4),
        w=(4, 2),
        bags=np.int64(2),
        true=np.array(True),
        starts=ints(0, 2),
        ends=ints(2, 6),
        axis=ints(0),
    )
    e = assert_explained(proto, {"ids": ints(1, 2, 3, 4, 8, 0)})
    assert np.abs(e.relevances["ids"]).min() > 0
