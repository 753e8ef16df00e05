"""The operators that onnxruntime's optimiser writes, each alone against onnxruntime, and whole models after it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from coverage_tools import MS, assert_explained, net
from models import draw, ints, model, onnxruntime

import reflrp

IMAGE = "float[N,4,6,6] x"
WORDS = "float[2,5,8] x"
CONV = {"w": (3, 4, 3, 3), "b": (3,)}


def fused(
    op: str, attributes: str = "", args: str = "x", inputs: str = WORDS, outputs: str = "y", **weights: Any
) -> Any:
    shown = ", ".join(f"float[] {o}" for o in outputs.split(", ")[:1])
    return net(f"{outputs} = {MS}.{op} {attributes}({args})", inputs, shown, **weights)


CASES = {
    "FusedConv": fused("FusedConv", '<activation = "Relu", pads = [1, 1, 1, 1]>', "x, w, b", IMAGE, **CONV),
    "FusedConv LeakyRelu": fused(
        "FusedConv", '<activation = "LeakyRelu", activation_params = [0.2]>', "x, w, b", IMAGE, **CONV
    ),
    "FusedConv Clip": fused(
        "FusedConv", '<activation = "Clip", activation_params = [0.0, 1.5]>', "x, w", IMAGE, w=CONV["w"]
    ),
    "FusedConv HardSigmoid": fused(
        "FusedConv", '<activation = "HardSigmoid", activation_params = [0.1, 0.4]>', "x, w, b", IMAGE, **CONV
    ),
    "FusedConv with a sum": net(
        f't = Conv(x, v) y = {MS}.FusedConv <activation = "Relu">(x, w, b, t)', IMAGE, v=(3, 4, 3, 3), **CONV
    ),
    "FusedGemm": fused(
        "FusedGemm",
        '<activation = "LeakyRelu", activation_alpha = 0.3, transB = 1, alpha = 0.5>',
        "x, w, b",
        "float[N,4] x",
        w=(3, 4),
        b=(3,),
    ),
    "FusedMatMul": fused("FusedMatMul", "<alpha = 0.5, transA = 1>", "x, w", w=(5, 3)),
    "FusedMatMul transB": fused("FusedMatMul", "<transB = 1>", "x, w", w=(3, 8)),
    "FusedMatMul of two": net(f"t = Tanh(x) y = {MS}.FusedMatMul <transB = 1, alpha = 0.25>(x, t)", WORDS),
    "Gelu": fused("Gelu"),
    "FastGelu": fused("FastGelu"),
    "FastGelu with a bias": fused("FastGelu", "", "x, b", b=(8,)),
    "QuickGelu": fused("QuickGelu"),
    "QuickGelu alpha": fused("QuickGelu", "<alpha = 1.0>"),
    "BiasGelu": fused("BiasGelu", "", "x, b", b=(8,)),
    "SkipLayerNormalization": net(
        f"t = Relu(x) y = {MS}.SkipLayerNormalization(x, t, g, b, c)", WORDS, g=(8,), b=(8,), c=(8,)
    ),
    "SkipLayerNormalization, its sum": net(
        f"t = Relu(x) z, m, s, u = {MS}.SkipLayerNormalization <epsilon = 0.01>(x, t, g) y = Add(z, u)", WORDS, g=(8,)
    ),
    "SkipSimplifiedLayerNormalization": net(
        f"t = Relu(x) y = {MS}.SkipSimplifiedLayerNormalization <epsilon = 0.01>(x, t, g)", WORDS, g=(8,)
    ),
    "SimplifiedLayerNormalization": net("y = SimplifiedLayerNormalization <epsilon = 0.01>(x, g)", WORDS, g=(8,)),
    "Attention": fused("Attention", "<num_heads = 2>", "x, w, b", w=(8, 24), b=(24,)),
    "Attention, causal": fused(
        "Attention", "<num_heads = 2, unidirectional = 1, scale = 0.3>", "x, w, b", w=(8, 24), b=(24,)
    ),
    "Attention, sizes": fused(
        "Attention", "<num_heads = 2, qkv_hidden_sizes = [8, 8, 4]>", "x, w, b", w=(8, 20), b=(20,)
    ),
    "Attention, lengths": fused(
        "Attention", "<num_heads = 2>", "x, w, b, m", w=(8, 24), b=(24,), m=np.array([3, 5], np.int32)
    ),
    "Attention, mask": fused(
        "Attention", "<num_heads = 2>", "x, w, b, m", w=(8, 24), b=(24,), m=np.tri(2, 5, 2, dtype=np.int32)
    ),
    "MultiHeadAttention": net(f"t = Relu(x) y = {MS}.MultiHeadAttention <num_heads = 2>(x, t, x, b)", WORDS, b=(24,)),
    "MultiHeadAttention, mask": net(
        f"t = Relu(x) y = {MS}.MultiHeadAttention <num_heads = 4, scale = 0.5>(x, t, x, , m)",
        WORDS,
        m=np.tri(2, 5, 2, dtype=np.int32),
    ),
    "MultiHeadAttention, bias": net(
        f"y = {MS}.MultiHeadAttention <num_heads = 2>(x, x, x, , , r)", WORDS, r=(1, 2, 5, 5)
    ),
    "MultiHeadAttention, causal, more keys": net(
        f"q = Slice(x, a, b, c) y = {MS}.MultiHeadAttention <num_heads = 2, unidirectional = 1>(q, x, x)",
        WORDS,
        a=ints(1),
        b=ints(4),
        c=ints(1),
    ),
    "MultiHeadAttention, causal, fewer keys": net(
        f"k = Slice(x, a, b, c) y = {MS}.MultiHeadAttention <num_heads = 2, unidirectional = 1>(x, k, k)",
        WORDS,
        a=ints(1),
        b=ints(4),
        c=ints(1),
    ),
    "RotaryEmbedding": fused("RotaryEmbedding", "", "x, p, c, s", "float[2,3,5,4] x", p=ints(0), c=(9, 2), s=(9, 2)),
    "RotaryEmbedding, interleaved": fused(
        "RotaryEmbedding",
        "<interleaved = 1, num_heads = 2>",
        "x, p, c, s",
        p=np.array([[0, 1, 2, 3, 4]] * 2),
        c=(9, 2),
        s=(9, 2),
    ),
    "RotaryEmbedding from a start": fused(
        "RotaryEmbedding", "", "x, p, c, s", "float[2,3,5,4] x", p=ints(2), c=(9, 2), s=(9, 2)
    ),
    "GroupQueryAttention": net(
        f"q = MatMul(x, o) k = MatMul(x, w) v = MatMul(x, u) "
        f"y, pk, pv = {MS}.GroupQueryAttention <num_heads = 4, kv_num_heads = 2>(q, k, v, , , n, t)",
        WORDS,
        o=(8, 32),
        w=(8, 16),
        u=(8, 16),
        n=np.array([4, 4], np.int32),
        t=np.int32(5),
    ),
    "GroupQueryAttention, rotary": net(
        f"q = MatMul(x, w) y, pk, pv = {MS}.GroupQueryAttention "
        "<num_heads = 2, kv_num_heads = 1, do_rotary = 1, softcap = 2.0>"
        "(q, , , , , n, t, c, s)",
        WORDS,
        w=(8, 64),
        n=np.array([4, 4], np.int32),
        t=np.int32(5),
        c=(9, 8),
        s=(9, 8),
    ),
}


def grouped(
    attributes: str = "", time: int = 1, past: int = 3, lengths: tuple[int, ...] = (3, 3), total: int = 4
) -> Any:
    """GroupQueryAttention on keys and values of earlier calls, which are inputs too."""
    rotary = ", c, s" if "rotary" in attributes else ""
    known = ", kp, vp" if past else ", , "
    return net(
        f"q = MatMul(x, o) k = MatMul(x, w) v = MatMul(x, u) y, pk, pv = {MS}.GroupQueryAttention "
        f"<{attributes}num_heads = 4, kv_num_heads = 2>(q, k, v{known}, n, t{rotary})",
        f"float[2,{time},8] x" + (f", float[2,2,{past},16] kp, float[2,2,{past},16] vp" if past else ""),
        "float[] y, float[] pk, float[] pv",
        o=(8, 64),
        w=(8, 32),
        u=(8, 32),
        n=np.array(lengths, np.int32),
        t=np.int32(total),
        **({"c": (9, 8), "s": (9, 8)} if rotary else {}),
    )


GROUPED: dict[str, dict[str, Any]] = {
    "padded": {"time": 5, "past": 0, "lengths": (2, 4), "total": 5},
    "a past": {},
    "a past, of two lengths": {"lengths": (1, 3)},
    "a past that is longer": {"past": 5, "lengths": (3, 2)},
    "a past to be overwritten": {"time": 4, "lengths": (3, 2), "past": 6},
}


@pytest.mark.parametrize("attributes", ["", "do_rotary = 1, ", "local_window_size = 2, "])
@pytest.mark.parametrize("name", GROUPED)
def test_group_query_attention(name: str, attributes: str) -> None:
    """Outputs as onnxruntime's, keys and values for the next call too; relevance adds up, those of the past included."""
    proto = grouped(attributes, **GROUPED[name])
    feeds = {i.name: draw(*(d.dim_value for d in i.type.tensor_type.shape.dim), seed=4) for i in proto.graph.input}
    found, wanted = reflrp.load(proto).run(feeds), onnxruntime(proto, feeds)
    for key, value in wanted.items():
        assert np.allclose(found[key], value, atol=2e-5), key
    e = reflrp.explain(proto, feeds, "cp_lrp", target=(0, 3), init="one", output="y")
    assert {k: r.shape for k, r in e.relevances.items()} == {k: a.shape for k, a in feeds.items()}
    assert np.isclose(e.conservation.totals["inputs"], 2, atol=1e-3)


def test_group_query_attention_by_lengths_that_come_in() -> None:
    """The lengths are an input: what each query sees is found in the run."""
    proto = grouped(lengths=(1, 3))
    fixed = {i.name: draw(*(d.dim_value for d in i.type.tensor_type.shape.dim), seed=4) for i in proto.graph.input}
    given = onnx.ModelProto()
    given.CopyFrom(proto)
    del given.graph.initializer[[t.name for t in given.graph.initializer].index("n")]
    given.graph.input.append(onnx.helper.make_tensor_value_info("n", onnx.TensorProto.INT32, [2]))
    for lengths in ([1, 3], [3, 2]):
        feeds = fixed | {"n": np.array(lengths, np.int32)}
        found, wanted = reflrp.load(given).run(feeds), onnxruntime(given, feeds)
        assert all(np.allclose(found[k], wanted[k], atol=2e-5) for k in wanted)


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    proto = CASES[name]
    dims = [d.dim_value or 2 for d in proto.graph.input[0].type.tensor_type.shape.dim]
    assert_explained(proto, {"x": draw(*dims, seed=3)})


@pytest.mark.parametrize("masked", [False, True])
def test_embed_layer_normalization(masked: bool) -> None:
    args = "ids, seg, w, p, s, g, b" + (", m" if masked else "")
    inputs = "int32[2,4] ids, int32[2,4] seg" + (", int32[2,4] m" if masked else "")
    proto = net(f"y, n = {MS}.EmbedLayerNormalization({args})", inputs, w=(9, 6), p=(7, 6), s=(2, 6), g=(6,), b=(6,))
    feeds = {"ids": np.array([[1, 2, 3, 4], [0, 8, 1, 1]], np.int32), "seg": np.tri(2, 4, dtype=np.int32)}
    e = assert_explained(proto, feeds | ({"m": np.tri(2, 4, 2, dtype=np.int32)} if masked else {}))
    assert e.relevances["ids"].shape == (2, 4)
    assert np.abs(e.relevances["ids"]).max() > 0
    assert np.abs(e.relevances["seg"]).max() > 0


def test_layout_of_one_processor_is_refused_with_a_hint() -> None:
    proto = net("y = com.microsoft.nchwc.Conv(x, w)", IMAGE, w=(3, 4, 3, 3))
    proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft.nchwc", 1))
    with pytest.raises(reflrp.UnsupportedOperator, match="extended or lower"):
        reflrp.load(proto)


NETS = {
    "convolutions": model(
        "c = Conv <pads = [1, 1, 1, 1]>(x, w, b) r = Relu(c) d = Conv <pads = [1, 1, 1, 1]>(r, v) s = Add(d, r)"
        "t = Relu(s) p = GlobalAveragePool(t) f = Flatten(p) g = Gemm <transB = 1>(f, u, e) y = Sigmoid(g)",
        "float[2,4,6,6] x",
        w=(4, 4, 3, 3),
        b=(4,),
        v=(4, 4, 3, 3),
        u=(3, 4),
        e=(3,),
    ),
    "transformer": model(
        """q = MatMul(x, wq) qb = Add(q, bq) k = MatMul(x, wk) kb = Add(k, bk) v = MatMul(x, wv) vb = Add(v, bv)
        q4 = Reshape(qb, split) k4 = Reshape(kb, split) v4 = Reshape(vb, split)
        qh = Transpose <perm = [0, 2, 1, 3]>(q4) kh = Transpose <perm = [0, 2, 3, 1]>(k4)
        vh = Transpose <perm = [0, 2, 1, 3]>(v4)
        z = MatMul(qh, kh) s = Div(z, two) p = Softmax <axis = -1>(s) h = MatMul(p, vh)
        ht = Transpose <perm = [0, 2, 1, 3]>(h) hf = Reshape(ht, join) o = MatMul(hf, wo) ob = Add(o, bo)
        r = Add(ob, x) n = LayerNormalization <axis = -1>(r, g, b)
        m = MatMul(n, w1) mb = Add(m, b1) e1 = Div(mb, root) e2 = Erf(e1) e3 = Add(e2, one) e4 = Mul(mb, e3)
        e5 = Mul(e4, half) f = MatMul(e5, w2) fb = Add(f, b2) u = Add(fb, n)
        y = LayerNormalization <axis = -1>(u, g, b)""",
        "float[2,5,8] x",
        wq=(8, 8),
        wk=(8, 8),
        wv=(8, 8),
        wo=(8, 8),
        bq=(8,),
        bk=(8,),
        bv=(8,),
        bo=(8,),
        g=(8,),
        b=(8,),
        w1=(8, 16),
        b1=(16,),
        w2=(16, 8),
        b2=(8,),
        split=ints(0, 0, 2, 4),
        join=ints(0, 0, 8),
        two=np.float32(2),
        root=np.float32(2**0.5),
        one=np.float32(1),
        half=np.float32(0.5),
    ),
}


@pytest.mark.parametrize("level", ["BASIC", "EXTENDED"])
@pytest.mark.parametrize("name", NETS)
def test_model_after_the_optimiser(name: str, level: str, tmp_path: Path) -> None:
    import onnxruntime as ort

    options, path = ort.SessionOptions(), tmp_path / "optimised.onnx"
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    ort.InferenceSession(NETS[name].SerializeToString(), options, providers=["CPUExecutionProvider"])
    proto = onnx.load(path)
    if level == "EXTENDED":
        assert any(node.domain == MS for node in proto.graph.node)
    dims = [d.dim_value for d in NETS[name].graph.input[0].type.tensor_type.shape.dim]
    x = draw(*dims, seed=2)
    e = assert_explained(proto, {"x": x})
    plain = assert_explained(NETS[name], {"x": x})
    np.testing.assert_allclose(e.output, plain.output, atol=1e-5)
