"""Masks of attention that are as large as float32 goes, or -inf, are no overflow: the engine gives numbers there."""

import models
import numpy as np
import onnx
import pytest
from compiled import run

import reflrp

STEPS, WIDTH, HEADS = 5, 8, 2
LEAST = np.finfo(np.float32).min
KEPT = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
CAUSAL = np.triu(np.full((STEPS, STEPS), LEAST, np.float32), 1)
OPEN = f"float[N,{STEPS},{WIDTH}] x"

BLOCK = """q{i} = MatMul({h}, wq) k{i} = MatMul({h}, wk) v{i} = MatMul({h}, wv)
qh{i} = Reshape(q{i}, heads) kh{i} = Reshape(k{i}, heads) vh{i} = Reshape(v{i}, heads)
qt{i} = Transpose <perm = [0, 2, 1, 3]>(qh{i}) kt{i} = Transpose <perm = [0, 2, 3, 1]>(kh{i})
vt{i} = Transpose <perm = [0, 2, 1, 3]>(vh{i}) t{i} = MatMul(qt{i}, kt{i}) s{i} = Mul(t{i}, half)
%s p{i} = Softmax <axis = -1>(m{i}) o{i} = MatMul(p{i}, vt{i}) ot{i} = Transpose <perm = [0, 2, 1, 3]>(o{i})
c{i} = Reshape(ot{i}, joined) r{i} = Add(c{i}, {h}) h{i} = LayerNormalization <axis = -1>(r{i}, g, b) """


def net(masked, inputs=OPEN, before="", dtype=np.float32, **more):
    """Two layers of attention; `masked` makes the masked scores m{i} of the scores s{i}, `before` what it reads."""
    blocks = "".join((BLOCK % masked).format(i=i, h=h) for i, h in ((0, "x"), (1, "h0")))
    own = {k: models.draw(WIDTH, WIDTH, seed=n).astype(dtype) for n, k in enumerate(("wq", "wk", "wv"))}
    return models.model(
        f"{before} {blocks} a = ReduceMean <axes = [1], keepdims = 0>(h1) y = MatMul(a, w)", inputs, opset=17,
        heads=models.ints(0, 0, HEADS, WIDTH // HEADS), joined=models.ints(0, 0, WIDTH), half=dtype(0.5),
        g=np.ones(WIDTH, dtype), b=np.zeros(WIDTH, dtype), w=models.draw(WIDTH, 3).astype(dtype), **own, **more,
    )  # fmt: skip


TIMES = "u = Unsqueeze(f, ax) n = Sub(one, u) am = Mul(n, low)"
NUMBERS = {"ax": models.ints(1, 2), "one": np.float32(1), "low": np.float32(LEAST)}
GIVEN, ALL = f"{OPEN}, float[N,1,1,{STEPS}] am", f"{OPEN}, float[N,1,{STEPS},{STEPS}] am"
INTS = f"{OPEN}, int64[N,{STEPS}] mask"
ADDED = "m{i} = Add(s{i}, am)"
NETS = {
    "given": (net(ADDED, GIVEN), "am"),
    "given for each pair": (net(ADDED, ALL), "am"),
    "given beside a causal one": (net("d{i} = Add(s{i}, causal) m{i} = Add(d{i}, am)", GIVEN, causal=CAUSAL), "am"),
    "(1 - int) * least": (net(ADDED, INTS, f"f = Cast <to = 1>(mask) {TIMES}", **NUMBERS), "mask"),
    "(1 - given) * least": (net(ADDED, f"{OPEN}, float[N,{STEPS}] f", TIMES, **NUMBERS), "f"),
    "Where of scores": (
        net("m{i} = Where(u, s{i}, low)", INTS, "k = Cast <to = 9>(mask) u = Unsqueeze(k, ax)", **NUMBERS), "mask",
    ),
    "Where, expanded": (
        net(
            ADDED, INTS, "k = Cast <to = 9>(mask) u = Unsqueeze(k, ax) n = Where(u, nil, low) am = Expand(n, all)",
            **NUMBERS, nil=np.float32(0), all=models.ints(1, 1, STEPS, 1),
        ), "mask",
    ),
    "Where and a causal one": (
        net(
            ADDED, INTS, "k = Cast <to = 9>(mask) u = Unsqueeze(k, ax) n = Where(u, nil, low) am = Add(n, causal)",
            **NUMBERS, nil=np.float32(0), causal=CAUSAL,
        ), "mask",
    ),
    "Where of -inf": (
        net(
            ADDED, INTS, "k = Cast <to = 9>(mask) u = Unsqueeze(k, ax) am = Where(u, nil, low)",
            **{**NUMBERS, "low": np.float32(-np.inf)}, nil=np.float32(0),
        ), "mask",
    ),
    "causal alone": (net("m{i} = Add(s{i}, causal)", causal=CAUSAL), None),
}  # fmt: skip


def fed(proto, name, least=LEAST):
    """An input, and a mask as the network takes it."""
    feeds = {"x": models.draw(2, STEPS, WIDTH)}
    if name == "am":
        mask = np.where(KEPT, 0, least).astype(np.float32)[:, None, None]
        rows = proto.graph.input[1].type.tensor_type.shape.dim[2].dim_value
        feeds["am"] = np.ascontiguousarray(np.broadcast_to(mask, (2, 1, rows, STEPS)))
    elif name:
        feeds[name] = KEPT.astype(np.float32 if name == "f" else np.int64)
    return feeds


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("rule", ["attnlrp", "cp_lrp", "epsilon", "gamma"])
@pytest.mark.parametrize("which", NETS)
def test_a_mask_is_no_overflow(which, rule):
    proto, name = NETS[which]
    graph, feeds = reflrp.compile(proto, rule), fed(proto, name)
    found = run(graph, feeds)
    for k, wanted in reflrp.explain(proto, feeds, rule, dtype="float64").relevances.items():
        close(found[f"relevance/{k}"], wanted)


@pytest.mark.parametrize("rule", ["attnlrp", "cp_lrp"])
@pytest.mark.parametrize("which", ["given", "given for each pair"])
def test_a_mask_of_minus_infinity_may_be_given(which, rule):
    """The engine refuses infinite inputs; it is the mask that another network makes of whole numbers."""
    proto, name = NETS[which]
    found = run(reflrp.compile(proto, rule), fed(proto, name, -np.inf))
    same, other = NETS["Where of -inf"]
    close(found["relevance/x"], reflrp.explain(same, fed(same, other), rule, dtype="float64").relevances["x"])
    assert not found["relevance/am"].any()


@pytest.mark.parametrize("rule", ["attnlrp", "epsilon"])
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats(dtype, rule):
    """Masks as large as another dtype goes: float64's are infinite where the relevance is worked out in float32."""
    word, least = {"float16": "float16", "float64": "double"}[dtype], np.finfo(dtype).min
    proto = net(ADDED, f"{word}[N,{STEPS},{WIDTH}] x, {word}[N,1,1,{STEPS}] am", dtype=np.dtype(dtype).type)
    proto.graph.output[0].type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    feeds = {
        "x": models.draw(2, STEPS, WIDTH).astype(dtype),
        "am": np.where(KEPT, 0, least).astype(dtype)[:, None, None],
    }
    wanted = reflrp.explain(proto, feeds, rule, dtype="float64").relevances["x"]
    found = run(reflrp.compile(proto, rule), feeds)["relevance/x"]
    np.testing.assert_allclose(found, wanted, atol=(5e-2 if dtype == "float16" else 1e-3) * np.abs(wanted).max())
    if dtype == "float64":
        explainer = reflrp.Explainer(proto, rule, backend="onnxruntime", dtype="float64", ledger=False)
        np.testing.assert_allclose(explainer(feeds).relevances["x"], wanted, atol=1e-9 * np.abs(wanted).max())


def test_an_overflow_beside_a_mask_is_heard():
    """What the mask may be says nothing of what it is added to."""
    proto, name = NETS["given"]
    feeds, graph = fed(proto, name), reflrp.compile(proto, "epsilon")
    for k, heard in ((1e3, False), (1e19, True)):
        x = feeds["x"] * np.float32(k)
        assert np.isnan(run(graph, {**feeds, "x": x})["relevance/x"]).all() == heard
        if heard:
            with pytest.raises(reflrp.NonFiniteError):
                reflrp.explain(proto, {**feeds, "x": x}, "epsilon", dtype="float32")


def test_runs_with_padding_look_no_further():
    """A mask that is finite is proven to do nothing; no choice has to look at the scores themselves."""
    proto, name = NETS["given"]
    graph = reflrp.compile(proto, "epsilon")
    tests = {node.input[0] for node in graph.graph.node if node.op_type == "If"}
    assert tests
    graph.graph.output.extend(onnx.ValueInfoProto(name=t) for t in sorted(tests))
    assert all(run(graph, fed(proto, name))[t].all() for t in tests)
