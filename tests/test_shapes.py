"""Shapes that the file computes, and shapes that it leaves open."""

import models
import numpy as np
import pytest
from models import IMAGE, WORDS, draw, ints, model
from onnx import ModelProto

import reflrp

ONE = ints(1)

COMPUTED = {
    "a view of the batch": model(
        "s = Shape(x) n = Gather(s, zero) u = Unsqueeze(n, zero1) t = Concat <axis = 0>(u, rest) y = Reshape(x, t)",
        IMAGE, zero=np.int64(0), zero1=ints(0), rest=ints(-1),
    ),
    "a slice of the shape": model("s = Shape <start = 0, end = 2>(x) t = Concat <axis = 0>(s, rest) y = Reshape(x, t)",
        IMAGE, rest=ints(-1)),
    "chunk in halves": model(
        """s = Shape(x) c = Gather(s, one) two = Constant <value_int = 2>() h = Div(c, two) u = Unsqueeze(h, zero1)
        d = Mul(u, twos) a = Slice(x, zero1, u, ones) b = Slice(x, u, d, ones) y = Sub(a, b)""",
        IMAGE, one=np.int64(1), zero1=ints(0), ones=ints(1), twos=ints(2),
    ),
    "expand to another's shape": model(
        "m = ReduceMean <axes = [2]>(x) s = Shape(x) e = Expand(m, s) y = Sub(x, e)", WORDS
    ),
    "expand with the cast of torch": model(
        """s = Shape(x) i = Cast <to = 6>(s) j = Cast <to = 7>(i)
        o = ConstantOfShape <value = int64[1] {1}>(r) e = Equal(j, o)
        w = Where(e, o, j) m = ReduceMean <axes = [2]>(x) y = Expand(m, w)""",
        WORDS, r=ints(3),
    ),
    "positions": model(
        """s = Shape(x) t = Gather(s, one) z = Constant <value_int = 0>() k = Constant <value_int = 1>()
        p = Range(z, t, k) e = Gather(w, p) y = Add(x, e)""",
        WORDS, one=np.int64(1), w=(9, 4),
    ),
    "a causal mask": model(
        """s = Shape(x) t = Gather(s, one) u = Unsqueeze(t, zero1) tt = Concat <axis = 0>(u, u)
        o = ConstantOfShape <value = float[1] {-10.0}>(tt) k = Constant <value_int = 1>() m = Trilu(o, k)
        v = Transpose <perm = [0, 2, 1]>(x) q = MatMul(x, v) a = Add(q, m) y = Softmax(a)""",
        "float[N,T,4] x", one=np.int64(1), zero1=ints(0),
    ),
    "scale by the size": model(
        "s = Shape(x) n = Gather(s, two) f = Cast <to = 1>(n) r = Sqrt(f) y = Div(x, r)", WORDS, two=np.int64(2)
    ),
    "number of entries": model("n = Size(x) f = Cast <to = 1>(n) y = Div(x, f)", WORDS),
    "resize to another's size": model(
        """p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]>(x) s = Shape(x)
        r = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(p, , , s)
        y = Add(r, x)""",
        "float[N,4,8,6] x",
    ),
    "pads for the same size": model(
        """s = Shape(x) l = Gather(s, two) m = Mod(l, four) d = Sub(four, m) u = Unsqueeze(d, zero1)
        p = Concat <axis = 0>(zeros, u) y = Pad(x, p)""",
        "float[N,2,T] x", two=np.int64(2), four=np.int64(4), zero1=ints(0), zeros=ints(0, 0, 0, 0, 0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", COMPUTED)
def test_shapes_that_the_file_computes(name: str, batch: int) -> None:
    proto = COMPUTED[name]
    models.assert_same_as_onnxruntime(proto, models.feeds_of(proto, batch))


@pytest.mark.parametrize("name", COMPUTED)
def test_shape_arithmetic_leaves_no_node(name: str) -> None:
    proto = COMPUTED[name]
    graph = reflrp.load(proto).graph({"x": models.feeds_of(proto)["x"].shape})
    assert "plumbing" not in [node.kind for node in graph.nodes]


RESHAPES = [
    ((2, 3, 4), (0, -1), {}, (2, 12)),
    ((2, 3, 4), (-1,), {}, (24,)),
    ((2, 3, 4), (0, 0, 2, 2), {}, (2, 3, 2, 2)),
    ((2, 3, 4), (4, -1, 1), {}, (4, 6, 1)),
    ((2, 3, 4), (2, 3, 4, 1), {"allowzero": 1}, (2, 3, 4, 1)),
]


@pytest.mark.parametrize(("shape", "target", "attributes", "want"), RESHAPES)
def test_reshape(
    shape: tuple[int, ...], target: tuple[int, ...], attributes: dict[str, int], want: tuple[int, ...]
) -> None:
    flags = ", ".join(f"{k} = {v}" for k, v in attributes.items())
    proto = model(f"y = Reshape {f'<{flags}>' if flags else ''}(x, s)", "float[A,B,C] x", s=ints(*target))
    x = draw(*shape)
    found = reflrp.load(proto).run(x)["y"]
    assert found.shape == want
    np.testing.assert_array_equal(found.ravel(), x.ravel())


MIXING = ("reversed", "behind", "all", "broadcast", "larger", "Concat", "Expand", "Elements", "ND", "Embedding")
"""Words in the names of cases that mix the samples, or have no batch axis in front."""


def batched() -> dict[str, ModelProto]:
    """Return the cases that treat every sample alike."""
    mixing = (*MIXING, "gemm of", "gemm transposes", "gemm adds", "matmul of a vector", "routing: Transpose")
    return {
        name: proto
        for name, proto in models.cases()
        if proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param and not any(word in name for word in mixing)
    }


@pytest.mark.parametrize("name", batched())
def test_every_batch_size_gives_the_same_per_sample(name: str) -> None:
    loaded = reflrp.load(batched()[name])
    (port,) = loaded.source.inputs.values()
    x = draw(5, *(d if isinstance(d, int) else 5 for d in port.dims[1:]))
    together = loaded.run(x)
    for i in range(5):
        for output, alone in loaded.run(x[i : i + 1]).items():
            if output in loaded.source.active and together[output].shape[:1] == (5,):
                np.testing.assert_allclose(alone[0], together[output][i], rtol=1e-12, atol=1e-12)
    assert len(loaded._graphs) <= 4


def test_graphs_of_recent_shapes_are_kept() -> None:
    loaded = reflrp.load(COMPUTED["a causal mask"])
    first = loaded.graph({"x": (1, 2, 4)})
    assert loaded.graph({"x": (1, 2, 4)}) is first
    for length in range(3, 12):
        assert loaded.graph({"x": (1, length, 4)}).values["y"].shape == (1, length, length)


def test_dimension_of_minus_one_is_open() -> None:
    proto = model("y = Relu(x)")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert reflrp.load(proto).run(draw(3, 4))["y"].shape == (3, 4)


def test_input_without_a_shape() -> None:
    loaded = reflrp.load(model("y = Relu(x)", "float[] x"))
    assert loaded.inputs == {"x": "float32 of any shape"}
    for shape in [(2,), (2, 3), (1, 2, 3, 4)]:
        assert loaded.run(draw(*shape))["y"].shape == shape
