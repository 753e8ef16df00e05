"""What a refusal says: which node, what of it, and what to do; no words of NumPy's alone."""

import numpy as np
import onnx
import pytest
from compiled import run
from models import draw, ints, model, onnxruntime
from typer.testing import CliRunner

import reflrp
from reflrp import rules
from reflrp.cli.main import app
from reflrp.composites import Composite, anything, kind

# ---------------------------------------------------------------- relevance that is a constant

ONE_FOR_ALL = {
    "a sum over axes that are open, by a box": (
        "h = ReduceSum <keepdims = 0>(x, axes) y = Round(h)", "float[N,T,F] x", {"kind": ("pool", rules.ZBox(-4.0, 4.0))},
    ),
    "a sum of two values": ("m = Tanh(x) h = Add(m, m) y = Sign(h)", "float[N,T,F] x", {"kind": ("sum", rules.Epsilon(0.01))}),
    "a product by its signs": (
        "s = Sigmoid(x) y = Div(x, s)", "float[N,T,F] x", {"kind": ("product", rules.ProductAlphaBeta(2.0, 1.0, 0.25))},
    ),
    "an einsum of two values": (
        'm = Tanh(x) h = Einsum <equation = "ntf,nsf->nts">(x, m) y = Ceil(h)', "float[N,3,2] x",
        {"kind": ("product", rules.SignalTakesAll(0))},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_FOR_ALL)
def test_relevance_that_is_a_constant_goes_on(name):
    """Behind a step function no relevance arrives: a constant 0 of one entry for all, which rules took for all of them."""
    body, port, chosen = ONE_FOR_ALL[name]
    which, rule = chosen["kind"]
    others = ((kind("pointwise"), rules.Gradient()), (anything(), rules.Epsilon(0.25)))
    composite = Composite(((kind(which), rule), *others), "own", ())
    proto = model(body, port, axes=ints(1, 2))
    graph = reflrp.compile(proto, composite, init="input")
    for size in [(2, 3, 2), (1, 3, 2)]:
        x = draw(*size)
        y = onnxruntime(proto, {"x": x})["y"]
        init = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
        wanted = reflrp.explain(proto, x, composite, init=init)
        found = run(graph, {"x": x, "init": init})
        np.testing.assert_allclose(found["relevance/x"], wanted.relevance, atol=1e-5)


# ---------------------------------------------------------------- nodes that do not fit their inputs

ROWS = np.int64([[0], [1], [2]])


def test_a_node_that_does_not_fit_says_its_inputs():
    """The file is for three samples, and its batch size is said to be open."""
    proto = model("y = GatherElements <axis = 0>(x, rows)", "float[N,1] x", rows=ROWS)
    assert reflrp.explain(proto, draw(3, 1), "epsilon", init="one").relevance.shape == (3, 1)
    with pytest.raises(reflrp.ReflrpError) as refused:
        reflrp.compile(proto, "epsilon")
    for part in (
        "any batch size",
        "GatherElements",
        r"'x' (1, 1), 'rows' (3, 1)",
        "out of range",
        "shapes={'x': (8, 1)}",
    ):
        assert part in str(refused.value)


def test_what_is_not_broadcast_is_named():
    proto = model("[shift] y = Add(x, c)", "float[N,T] x", c=np.float32([1, 2, 3, 4]))
    with pytest.raises(
        reflrp.InputError, match=r"node 'shift' \(onnx Add\): arrays of the shapes .* cannot be broadcast"
    ):
        reflrp.compile(proto, "epsilon")


def test_a_branch_behind_a_node_that_is_refused_names_that_node():
    body = "<then_branch = a () => (float[] p) { p = Relu(h) }, else_branch = b () => (float[] q) { q = Neg(h) }>"
    proto = model(f"[bad] h = MatMul(x, w) y = If (k) {body}", "float[N,3] x", k=np.array(True), w=(4, 3))
    with pytest.raises(reflrp.UnsupportedOperator, match="'bad'") as refused:
        reflrp.load(proto).run(draw(2, 3))
    assert "KeyError" not in str(refused.value)


class Odd(rules.Epsilon):
    """A rule that asks for more than arrays of all kinds have."""

    def __call__(self, L, a, z, R):
        return a.mean() * R.sort()


def test_a_rule_of_numpy_alone_is_named_where_it_is_compiled():
    proto = model("[fc] y = MatMul(x, w)", w=(4, 3))
    with pytest.raises(
        reflrp.InputError, match=r"node 'fc' .*rule Odd\) cannot be compiled: it asks for what has no formula"
    ):
        reflrp.compile(proto, {"*": Odd()})


# ---------------------------------------------------------------- one by one


def test_a_kernel_that_onnxruntime_lacks_is_named():
    """Opset 22 has the same GlobalLpPool, which onnxruntime does not run."""
    proto = model("[pool] p = GlobalLpPool(x) y = Flatten(p)", "float[N,2,3,3] x")
    with pytest.raises(reflrp.UnsupportedOperator, match=r"'pool'.*onnxruntime has no kernel of it as of opset 22"):
        reflrp.compile(proto, "epsilon", opset=22)
    x = draw(2, 2, 3, 3)
    found = run(reflrp.compile(proto, "epsilon", opset=21), {"x": x})
    np.testing.assert_allclose(found["relevance/x"], reflrp.explain(proto, x, "epsilon").relevance, atol=1e-5)


def grouped(port: str, more: str = "", **constants: np.ndarray) -> onnx.ModelProto:
    node = "com.microsoft.GroupQueryAttention <num_heads = 2, kv_num_heads = 1>"
    weights = {"wq": (4, 16), "wk": (4, 8), "wv": (4, 8)}
    body = f"q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv) y, p, z = {node}(q, k, v, , , l, t)"
    return model(body, port + more, **weights, **constants)


@pytest.mark.parametrize(
    ("proto", "says"),
    [
        (grouped("float[N,T,4] x", ", int32[N] l, int32 t"), "which keys a query sees .*fix all of them"),
        (
            grouped("float[N,3,4] x", l=np.int32([2, 2]), t=np.int32(3)),
            r"its seqlens_k has the shape \(2,\), .* 1 samples",
        ),
        (
            grouped("float[1,3,4] x", ", int32[1] l, int32 t"),
            "make what it reads constant, or explain by reflrp.explain",
        ),
    ],
)
def test_lengths_of_grouped_queries(proto, says):
    with pytest.raises(reflrp.ReflrpError, match=f"GroupQueryAttention.*{says}"):
        reflrp.compile(proto, "epsilon")


def test_a_loop_whose_end_depends_on_data_says_what_to_do():
    body = "d = Tanh(s) m = ReduceMax <keepdims = 0>(d) more = Greater(m, half)"
    proto = model(
        f"[turns] h = Loop (n, yes, x) <body = turn (int64 i, bool go, float[N,4] s) => (bool more, float[N,4] d) {{ {body} }}> "
        "y = MatMul(h, w)", "float[N,4] x", w=(4, 2), n=np.int64(9), yes=np.array(True), half=np.float32(0.5),
    )  # fmt: skip
    assert reflrp.explain(proto, draw(2, 4), "epsilon", progress=False).relevance.any()
    with pytest.raises(reflrp.UnsupportedOperator, match=r"'turns'.*depends on the data.*reflrp.explain does"):
        reflrp.compile(proto, "epsilon")


def test_lengths_of_sequences_of_another_batch_size_say_so():
    proto = model(
        "a, b, y = LSTM <hidden_size = 2>(x, W, R, , n)", "float[T,N,3] x",
        W=(1, 8, 3), R=(1, 8, 2), n=np.int32([2, 3]),
    )  # fmt: skip
    with pytest.raises(reflrp.InputError, match=r"LSTM.*input 4 .*the file has for its own batch size alone"):
        reflrp.compile(proto, "epsilon")
    assert reflrp.compile(proto, "epsilon", shapes={"x": (None, 2, 3)})


def renamed() -> onnx.ModelProto:
    proto = model("a = MatMul(x, w) b = Relu(a) y = MatMul(b, v)", w=(4, 5), v=(5, 3))
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [{"a": "layer/h", "b": "relevance/h"}.get(n, n) for n in names]
    return proto


def test_values_whose_names_begin_as_ours_do():
    proto, x = renamed(), draw(2, 4)
    wanted = reflrp.explain(proto, x, "epsilon", layers=True)
    e = reflrp.Explainer(proto, "epsilon", backend="onnxruntime", dtype="float32")(x, layers=True)
    np.testing.assert_allclose(e.relevance, wanted.relevance, atol=1e-5)
    assert e.layers.keys() == wanted.layers.keys()
    found = run(reflrp.compile(proto, "epsilon", layers=True), {"x": x})
    np.testing.assert_allclose(found["layer/layer/h"], wanted.layers["layer/h"], atol=1e-5)


def test_a_name_that_would_be_there_twice_is_refused():
    proto = model("relevance = MatMul(x, w) y = Relu(relevance)", w=(4, 3))
    proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = "relevance/x"
    with pytest.raises(reflrp.InputError, match=r"'relevance/x' already.*rename"):
        reflrp.compile(proto, "epsilon")


@pytest.mark.parametrize(("command", "name", "known"), [("explain", "x.txt", ".npz"), ("compile", "m.json", ".onnx")])
def test_an_ending_that_is_not_written_is_wrong_usage(command, name, known, tmp_path):
    onnx.save(model("y = MatMul(x, w)", "float[N,4] x", w=(4, 3)), tmp_path / "net.onnx")
    np.save(tmp_path / "in.npy", draw(1, 4))
    inputs = [str(tmp_path / "in.npy")] if command == "explain" else []
    given = [command, str(tmp_path / "net.onnx"), *inputs]
    done = CliRunner().invoke(app, [*given, "-o", str(tmp_path / name)], env={"COLUMNS": "500", "TERM": "dumb"})
    assert done.exit_code == 2
    assert known in done.output
    assert not (tmp_path / name).exists()
    for fine in ("out", f"out{known.upper()}"):
        assert CliRunner().invoke(app, [*given, "-o", str(tmp_path / fine)]).exit_code == 0
        assert (tmp_path / fine).exists()
