"""Operators that the standard defines by a function: they come apart into what they are made of."""

import numpy as np
import onnx
import pytest
from coverage_tools import assert_explained, net
from models import draw, ints

import reflrp

QKV = "float[2,4,5,8] q, float[2,4,6,8] k, float[2,4,6,8] v"
SHARED = "float[2,4,5,8] q, float[2,2,5,8] k, float[2,2,5,8] v"
FLAT = "float[2,5,32] q, float[2,6,32] k, float[2,6,32] v"

ATTENTION = {
    "plain": net("y = Attention(q, k, v)", QKV, opset=23),
    "scaled": net("y = Attention <scale = 0.2>(q, k, v)", QKV, opset=23),
    "causal": net("y = Attention <is_causal = 1>(q, k, v)", SHARED.replace("2,2,5", "2,4,5"), opset=23),
    "shared keys": net("y = Attention(q, k, v)", SHARED, opset=23),
    "shared keys, causal": net("y = Attention <is_causal = 1>(q, k, v)", SHARED, opset=24),
    "mask": net("y = Attention(q, k, v, m)", QKV, opset=23, m=np.tri(5, 6, 1).astype(bool)),
    "bias": net("y = Attention(q, k, v, m)", QKV, opset=23, m=(5, 6)),
    "softcap": net("y = Attention <softcap = 2.0>(q, k, v)", QKV, opset=23),
    "heads side by side": net("y = Attention <q_num_heads = 4, kv_num_heads = 4>(q, k, v)", FLAT, opset=23),
    "opset 24": net("y = Attention(q, k, v)", QKV, opset=24),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name: str) -> None:
    """Two products and a softmax, whatever the attributes."""
    proto = ATTENTION[name]
    feeds = {
        i.name: draw(*(d.dim_value for d in i.type.tensor_type.shape.dim), seed=k)
        for k, i in enumerate(proto.graph.input)
    }
    e = assert_explained(proto, feeds)
    kinds = [row.kind for row in e.conservation.rows]
    assert kinds.count("product") == 2
    assert kinds.count("normaliser") == 1
    assert set(e.relevances) == {"q", "k", "v"}


def test_attention_by_a_mask_that_comes_in() -> None:
    proto = net("y = Attention(x, x, x, m)", "float[2,2,5,4] x, bool[5,5] m", opset=23)
    m = np.tri(5, dtype=bool)
    e = assert_explained(proto, {"x": draw(2, 2, 5, 4), "m": m})
    assert list(e.relevances) == ["x"]


def test_a_row_that_is_masked_entirely_is_zero() -> None:
    m = np.tri(5, dtype=bool)
    m[2] = False
    e = assert_explained(net("y = Attention(x, x, x, m)", "float[1,2,5,4] x", opset=23, m=m), {"x": draw(1, 2, 5, 4)})
    assert not e.output[:, :, 2].any()


OTHERS = {
    "RotaryEmbedding": net("y = RotaryEmbedding(x, c, s)", "float[2,3,5,4] x", opset=23, c=(2, 5, 2), s=(2, 5, 2)),
    "RotaryEmbedding by positions": net(
        "y = RotaryEmbedding <interleaved = 1>(x, c, s, p)",
        "float[2,3,5,4] x",
        opset=23,
        c=(9, 2),
        s=(9, 2),
        p=np.arange(10).reshape(2, 5) % 9,
    ),
    "CenterCropPad": net("y = CenterCropPad <axes = [2, 3]>(x, s)", "float[2,3,5,4] x", s=ints(3, 6)),
    "GroupNormalization": net(
        "y = GroupNormalization <num_groups = 2>(x, g, b)", "float[2,4,3,3] x", opset=21, g=(4,), b=(4,)
    ),
    "MeanVarianceNormalization": net("y = MeanVarianceNormalization(x)", "float[2,4,3,3] x"),
    "HardSwish": net("y = HardSwish(x)", "float[2,4] x"),
    "Range and comparison": net(
        "r = Range(a, b, c) f = Cast <to = 1>(r) m = GreaterOrEqual(x, f) y = Where(m, x, f)",
        "float[2,4] x",
        a=np.int64(0),
        b=np.int64(4),
        c=np.int64(1),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_others(name: str) -> None:
    dims = [d.dim_value for d in OTHERS[name].graph.input[0].type.tensor_type.shape.dim]
    assert_explained(OTHERS[name], {"x": draw(*dims)})


def test_parts_say_which_operator_they_come_from() -> None:
    graph = reflrp.load(ATTENTION["plain"]).graph({"q": (2, 4, 5, 8), "k": (2, 4, 6, 8), "v": (2, 4, 6, 8)})
    name = "Attention_0"
    assert all(node.onnx == (name,) for node in graph.nodes)
    assert all(node.name.startswith(f"{name}/") for node in graph.nodes)


def test_types_that_do_not_fit_a_function_are_an_error() -> None:
    with pytest.raises(reflrp.ReflrpError, match="Attention"):
        reflrp.load(net("y = Attention <q_num_heads = 4, kv_num_heads = 4>(x, x, x)", "float[2,4] x", opset=23)).run(
            draw(2, 4)
        )


def test_a_function_in_the_file_is_inlined_before() -> None:
    """Model-local functions, of which one hides an operator that is itself a function."""
    function = onnx.parser.parse_function(
        '<domain: "mine", opset_import: ["" : 23]> Heads (q) => (y) { a = Attention(q, q, q) y = Relu(a) }'
    )
    proto = net("y = mine.Heads(x)", "float[2,2,5,4] x", opset=23)
    proto.opset_import.append(onnx.helper.make_opsetid("mine", 1))
    proto.functions.append(function)
    assert_explained(proto, {"x": draw(2, 2, 5, 4)})
