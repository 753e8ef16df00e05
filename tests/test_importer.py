"""The importer: the forward pass agrees with onnxruntime, in every spelling that files have."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import models
import numpy as np
import onnx
import pytest
from models import IMAGE, WORDS, assert_same_as_onnxruntime, draw, feeds_of, ints, model, onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

import reflrp
from reflrp.importer import BUILDERS
from reflrp.ir import KINDS
from reflrp.ops.conv import Conv
from reflrp.ops.linear import Dense
from reflrp.ops.product import Multiply
from reflrp.passes.canonize import fold_batchnorm

CASES = dict(models.cases())


def kinds(proto: ModelProto, batch: int = 2) -> list[str]:
    shapes = {k: a.shape for k, a in feeds_of(proto, batch).items()}
    return [node.kind for node in reflrp.load(proto).graph(shapes).nodes]


def run(proto: ModelProto | str | Path, feeds: Any) -> np.ndarray:
    (found,) = reflrp.load(proto).run(feeds).values()
    return found


@pytest.mark.parametrize("name", CASES)
def test_forward_is_that_of_onnxruntime(name: str) -> None:
    proto = CASES[name]
    ids = {"i": np.array([[0, 6, -1], [1, 2, 3]])}
    assert_same_as_onnxruntime(proto, ids if "Embedding" in name else feeds_of(proto))


# Opsets


def small_net(opset: int) -> ModelProto:
    """One net in the spelling of its opset: what were attributes became inputs, one operator after the other."""
    extra: dict[str, Any] = {}

    def late(since: int, name: str, *values: int) -> tuple[str, str]:
        """Return the attribute, or the input, that says the same."""
        if opset < since:
            return f"<{name} = {list(values)}>", ""
        key = f"{name}_{len(extra)}"
        extra[key] = ints(*values)
        return "", f", {key}"

    split, split_in = late(13, "split", 1, 3)
    if opset < 13:
        split = split.replace("<", "<axis = 1, ")
    unsqueeze, unsqueeze_in = late(13, "axes", 2)
    squeeze, squeeze_in = late(13, "axes", 2)
    total, total_in = late(13, "axes", 3)
    mean, mean_in = late(18, "axes", 1)
    largest, largest_in = late(18, "axes", 2)
    clip = "r = Clip <min = 0.0, max = 1.5>(n)" if opset < 11 else "r = Clip(n, low, high)"
    pad = "p = Pad <pads = [0, 0, 1, 0, 0, 0, 0, 2]>(r)" if opset < 11 else "p = Pad(r, pads)"
    crop = "s = Slice <starts = [1], ends = [100], axes = [3]>(d)" if opset < 10 else "s = Slice(d, start, end, axis)"
    drop = "d = Dropout <ratio = 0.3>(m)" if opset < 12 else "d = Dropout(m, ratio)"
    if opset >= 11:
        extra |= {"low": np.float32(0), "high": np.float32(1.5), "pads": ints(0, 0, 1, 0, 0, 0, 0, 2)}
    if opset >= 10:
        extra |= {"start": ints(1), "end": ints(100), "axis": ints(3)}
    if opset >= 12:
        extra["ratio"] = np.float32(0.3)
    if opset < 9:
        up = "g = Upsample <scales = [1.0, 1.0, 2.0, 3.0]>(s)"
    elif opset < 10:
        up = "g = Upsample(s, scales)"
    elif opset < 11:
        up = "g = Resize(s, scales)"
    else:
        roi = "roi" if opset < 13 else ""
        up = f'g = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(s, {roi}, scales)'
    if opset >= 9:
        extra |= {"scales": np.array([1, 1, 2, 3], np.float32), "roi": np.zeros(0, np.float32)}
    return model(
        f"""c = Conv <pads = [1, 1, 1, 1]>(x, w, b)
        n = BatchNormalization(c, scale, shift, centre, spread)
        {clip} {pad}
        m = MaxPool <kernel_shape = [2, 2], strides = [2, 1]>(p)
        {drop} {crop} {up}
        k, l = Split {split or "<axis = 1>"}(g{split_in})
        u = Unsqueeze {unsqueeze}(l{unsqueeze_in})
        q = Squeeze {squeeze}(u{squeeze_in})
        e = Sub(q, k)
        t = ReduceSum {total}(e{total_in})
        v = ReduceMean {mean}(t{mean_in})
        z = ReduceMax {largest}(v{largest_in})
        f = Flatten(e)
        h = MatMul(f, wide)
        a = Flatten(z)
        i = Add(h, a)
        o = Add(fixed, i)
        y = Softmax(o)""",
        "float[N,2,8,6] x", opset=opset, ir=3 if opset < 9 else 8,
        w=(4, 2, 3, 3), b=(4,), scale=(4,), shift=(4,), centre=(4,), spread=draw(4) ** 2, wide=(3 * 8 * 18, 5),
        fixed=(5,), **extra,
    )  # fmt: skip


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24])
def test_every_opset_gives_the_same(opset: int) -> None:
    proto = small_net(opset)
    if opset < 9:  # onnxruntime wants initializers among the inputs of files so old
        proto.graph.input.extend(value_info(t) for t in proto.graph.initializer)
    feeds = {"x": draw(2, 2, 8, 6)}
    want = models.onnxruntime(small_net(13), feeds)["y"]
    np.testing.assert_allclose(run(proto, feeds), want, rtol=1e-5)
    np.testing.assert_allclose(models.onnxruntime(proto, feeds)["y"], want, rtol=1e-5)


def value_info(tensor: TensorProto) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)


# Constants


PLAIN = model("y = Gemm(x, w, b)", w=(4, 3), b=(3,))
ROW = draw(2, 4, seed=1)


def unnamed(proto: ModelProto) -> ModelProto:
    for node in proto.graph.node:
        node.name = ""
    return proto


def as_constants(proto: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(proto)
    nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in copy.graph.initializer]
    del copy.graph.initializer[:]
    copy.graph.node.extend(nodes)  # behind their readers: nodes need not be sorted
    return copy


def as_inputs_too(proto: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(proto)
    copy.graph.input.extend(value_info(t) for t in copy.graph.initializer)
    return copy


def renamed_by_identity(proto: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(proto)
    for t in copy.graph.initializer:
        copy.graph.node.append(helper.make_node("Identity", [f"{t.name}_"], [t.name]))
        t.name += "_"
    return copy


def sparse(proto: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(proto)
    for t in copy.graph.initializer:
        array = numpy_helper.to_array(t)
        found = copy.graph.sparse_initializer.add(dims=array.shape)
        found.values.CopyFrom(numpy_helper.from_array(array.reshape(-1), t.name))
        found.indices.CopyFrom(numpy_helper.from_array(np.arange(array.size), ""))
    del copy.graph.initializer[:]
    return copy


@pytest.mark.parametrize("spell", [as_constants, as_inputs_too, renamed_by_identity, sparse])
def test_constants_in_every_spelling(spell: Callable[[ModelProto], ModelProto]) -> None:
    np.testing.assert_array_equal(run(spell(PLAIN), ROW), run(PLAIN, ROW))


def test_constant_attributes() -> None:
    proto = model(
        """a = Constant <value_float = 0.5>() b = Constant <value_floats = [1.0, 2.0, 3.0, 4.0]>()
        i = Constant <value_int = 1>() j = Constant <value_ints = [1, 2]>()
        p = Mul(x, a) q = Add(p, b) r = Gather <axis = 1>(q, j) s = Gather <axis = 1>(r, i) y = Identity(s)""",
    )
    assert_same_as_onnxruntime(proto, {"x": ROW})


def test_weights_that_are_expressions_are_folded_before_they_are_matched() -> None:
    proto = model(
        "n = ReduceL2 <axes = [0], keepdims = 1>(v) d = Div(v, n) t = Transpose(d) w = Mul(t, g) y = Gemm(x, w, b)",
        v=(3, 4), g=(1, 3), b=(3,),
    )  # fmt: skip
    assert kinds(proto) == ["dense"]
    assert_same_as_onnxruntime(proto, {"x": ROW})


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_weights_of_other_dtypes(dtype: str) -> None:
    number = {"float16": 10, "float64": 11, "bfloat16": 16}[dtype]
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    w = draw(4, 3).astype(kind)
    cast = f"c = Cast <to = {number}>(x) z = MatMul(c, w) y = Cast <to = 1>(z)"
    want = ROW @ w.astype(np.float64)
    np.testing.assert_allclose(run(model(cast, w=w), ROW), want, rtol=1e-12)
    direct = model("y = MatMul(x, w)", f"{dtype if dtype != 'float64' else 'double'}[N,4] x", w=w)
    np.testing.assert_allclose(run(direct, ROW.astype(kind)), ROW.astype(kind).astype(float) @ w.astype(float))
    np.testing.assert_allclose(run(direct, ROW), want, rtol=1e-12)


# Files


def save_external(folder: Path, proto: ModelProto, **changes: Any) -> Path:
    """Write a model whose tensors lie in one other file, one behind the other."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    start = 3
    data = bytearray(b"abc")
    for tensor in copy.graph.initializer:
        size = len(tensor.raw_data)
        data += tensor.raw_data
        entries = {"location": "sub/weights.bin", "offset": start, "length": size, **changes}
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            if value is not None:
                tensor.external_data.add(key=key, value=str(value))
        start += size
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "weights.bin").write_bytes(data)
    path = folder / "model.onnx"
    path.write_bytes(copy.SerializeToString())
    return path


def test_external_data_with_offset_and_length(tmp_path: Path) -> None:
    np.testing.assert_array_equal(run(save_external(tmp_path, PLAIN), ROW), run(PLAIN, ROW))


def test_external_data_of_a_whole_file(tmp_path: Path) -> None:
    weight = model("y = MatMul(x, w)", w=(4, 3))
    path = save_external(tmp_path, weight, offset=None, length=None)
    (tmp_path / "sub" / "weights.bin").write_bytes(weight.graph.initializer[0].raw_data)
    np.testing.assert_array_equal(run(str(path), ROW), run(weight, ROW))


def test_path_bytes_and_proto_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(PLAIN.SerializeToString())
    for given in (path, str(path), path.read_bytes(), PLAIN):
        np.testing.assert_array_equal(run(given, ROW), run(PLAIN, ROW))


def test_proto_is_left_as_it_is() -> None:
    before = PLAIN.SerializeToString()
    run(PLAIN, ROW)
    assert PLAIN.SerializeToString() == before


# Structure


def test_nodes_need_not_be_sorted() -> None:
    proto = model("y = Neg(u) u = Exp(t) t = Relu(x)")
    np.testing.assert_allclose(run(proto, ROW), -np.exp(np.maximum(ROW, 0)), rtol=1e-6)


def test_nodes_without_names_and_with_the_same_name() -> None:
    proto = unnamed(model("t = Relu(x) y = Relu(t)"))
    nodes = reflrp.load(proto).graph({"x": (2, 4)}).nodes
    assert len({n.name for n in nodes}) == 2
    for node in proto.graph.node:
        node.name = "same"
    nodes = reflrp.load(proto).graph({"x": (2, 4)}).nodes
    assert len({n.name for n in nodes}) == 2


def test_output_that_is_an_input_or_a_constant() -> None:
    proto = model("y = Relu(x)", outputs="float[N,4] y, float[N,4] x, float[2] c", c=(2,))
    found = reflrp.load(proto).run(ROW)
    np.testing.assert_array_equal(found["x"], ROW)
    np.testing.assert_array_equal(found["c"], draw(2))


def test_unused_input_and_unused_nodes() -> None:
    proto = model("y = Relu(x) t = Exp(z)", "float[N,4] x, float[N,2] z")
    found = reflrp.load(proto).run({"x": ROW, "z": draw(2, 2)})
    np.testing.assert_array_equal(found["y"], np.maximum(ROW, 0))


def test_functions_are_inlined() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    net (float[N,4] x) => (float[N,4] y) { t = own.scaled <a = 2.0>(x) y = own.scaled <a = 3.0>(t) }
    <domain: "own", opset_import: ["" : 17]> scaled <a> (x) => (y) {
        f = Constant <value_float: float = @a>() z = Mul(x, f) y = Relu(z) }"""
    proto = onnx.parser.parse_model(text)
    np.testing.assert_allclose(run(proto, ROW), 6 * np.maximum(ROW, 0), rtol=1e-6)


def test_if_with_a_constant_condition_over_constants_is_folded() -> None:
    proto = model(
        """w = If (c) <then_branch = a () => (float[4] p) { p = Add(v, v) },
                       else_branch = b () => (float[4] q) { q = Neg(v) }>
        y = Mul(x, w)""",
        v=(4,), c=np.array(True),
    )  # fmt: skip
    np.testing.assert_allclose(run(proto, ROW), ROW * 2 * draw(4), rtol=1e-6)


def test_masks_are_plumbing() -> None:
    proto = model(
        "e = Gather(w, i) z = Constant <value_int = 0>() g = Greater(i, z) m = Cast <to = 1>(g)"
        "u = Unsqueeze(m, last) y = Mul(e, u)",
        "int64[N,3] i", w=(7, 4), last=ints(-1),
    )  # fmt: skip
    assert_same_as_onnxruntime(proto, {"i": np.array([[0, 6, 2], [1, 0, 3]])})
    assert kinds(proto).count("plumbing") == 3


# Fusing


@pytest.mark.parametrize("name", ["bias on the right", "bias on the left"])
def test_matmul_and_bias_are_one_node(name: str) -> None:
    assert kinds(CASES[f"dense: {name}"]) == ["dense"]


def test_a_constant_that_differs_from_place_to_place_is_no_bias() -> None:
    """As positional embeddings: they get a share of their own."""
    assert kinds(CASES["dense: bias for each place"]) == ["dense", "diagonal"]


@pytest.mark.parametrize("name", ["bias added", "bias added, left"])
def test_convolution_and_bias_are_one_node(name: str) -> None:
    proto = CASES[f"convolutions: {name}"]
    (node,) = reflrp.load(proto).graph({"x": (2, 4, 9, 8)}).nodes
    assert isinstance(node.op, Conv)
    assert len(node.onnx) == 2


def test_bias_behind_a_squeeze_belongs_to_the_convolution() -> None:
    nodes = reflrp.load(models.keras_conv1d()).graph({"x": (2, 7, 4)}).nodes
    assert [n.kind for n in nodes] == ["routing", "routing", "conv", "routing", "routing"]
    assert nodes[2].op.b.shape == (3, 1, 1)
    assert nodes[-1].output == "y"


@pytest.mark.parametrize(
    "body",
    [
        "z = MatMul(x, w) t = Add(z, b) y = Add(t, z)",  # z is read twice
        "z = MatMul(x, w) y = Add(z, wide)",  # the sum is larger
        "z = MatMul(x, w) r = Relu(x) t = MatMul(r, w) y = Add(z, t)",  # no constant
    ],
)
def test_what_is_no_bias_stays(body: str) -> None:
    proto = model(body, w=(4, 3), b=(3,), wide=(2, 1, 3))
    assert "dense" in kinds(proto)
    assert len(kinds(proto)) > 1
    assert_same_as_onnxruntime(proto, {"x": ROW})


def test_an_output_keeps_its_value() -> None:
    proto = model("z = MatMul(x, w) y = Add(z, b)", outputs="float[] z, float[] y", w=(4, 3), b=(3,))
    assert_same_as_onnxruntime(proto, {"x": ROW})


def test_batch_norms_are_folded_in_place() -> None:
    norm = "BatchNormalization({}, g, b, m, v)"
    proto = model(
        f"c = Conv(x, w) n = {norm.format('c')} r = Relu(n) o = {norm.format('r')} y = Conv(o, u)",
        IMAGE, w=(3, 4, 3, 3), g=(3,), b=(3,), m=(3,), v=draw(3) ** 2, u=(2, 3, 3, 3),
    )  # fmt: skip
    graph = reflrp.load(proto).graph({"x": (2, 4, 9, 8)})
    folded = fold_batchnorm(graph)
    assert [n.kind for n in graph.nodes] == ["conv", "diagonal", "pointwise", "diagonal", "conv"]
    assert [n.kind for n in folded.nodes] == ["conv", "pointwise", "conv"]
    assert [n.output for n in folded.nodes] == ["n", "r", "y"]


def test_gates_are_found_through_routing() -> None:
    proto = model("g = Sigmoid(x) t = Unsqueeze(g, a) s = Squeeze(t, a) e = Exp(x) y = Mul(e, s)", a=ints(2))
    product = reflrp.load(proto).graph({"x": (2, 4)}).nodes[-1].op
    assert isinstance(product, Multiply)
    assert product.gate() == 1


# Size


def test_import_is_linear() -> None:
    """Four times as many nodes take about four times as long; sixteen times would be quadratic."""
    short, long = _seconds(500), _seconds(2000)
    assert long < max(10 * short, 5)


def _seconds(count: int) -> float:
    body, name = [], "x"
    for i in range(count // 4):
        body.append(f"m{i} = MatMul({name}, w) a{i} = Add(b, m{i}) n{i} = BatchNormalization(a{i}, b, b, b, v)")
        body.append(f"s{i} = Sigmoid(n{i})")
        name = f"s{i}"
    proto = model(" ".join(body), outputs=f"float[] {name}", w=(4, 4), b=(4,), v=draw(4) ** 2)
    start = time.perf_counter()
    graph = fold_batchnorm(reflrp.load(proto).graph({"x": (2, 4)}))
    assert len(graph.nodes) == count // 2
    assert all(isinstance(n.op, Dense) for n in graph.nodes[::2])
    return time.perf_counter() - start


def test_sequence_dimension_is_free() -> None:
    proto = model("y = MatMul(x, w)", "float[N,T,4] x", w=(4, 3))
    loaded = reflrp.load(proto)
    for shape in [(1, 1, 4), (2, 7, 4), (3, 2, 4)]:
        assert loaded.run(draw(*shape))["y"].shape == (*shape[:2], 3)
    assert WORDS.startswith("float[N")


# The table of docs/operators.md


def documented() -> dict[str, set[str]]:
    """Return operator -> kinds, as the tables say."""
    text = (Path(__file__).parents[1] / "docs" / "operators.md").read_text("utf-8")
    found: dict[str, set[str]] = {}
    says_kinds = False
    for line in text.splitlines():
        if line.startswith("| operator"):
            says_kinds = line.startswith("| operator | kind")
        elif line.startswith("| ") and says_kinds:
            names, kinds_, _ = (cell.strip() for cell in line.strip("|").split("|", 2))
            for name in names.split(", "):
                found.setdefault(name, set()).update(kinds_.split(", "))
    return found


def test_every_operator_is_documented() -> None:
    known = {f"{domain}::{op}".removeprefix("::") for domain, op in BUILDERS}
    assert set(documented()) == known
    assert set().union(*documented().values()) <= set(KINDS)


@pytest.mark.parametrize("name", [k for k, m in CASES.items() if len(m.graph.node) == 1])
def test_kinds_are_as_documented(name: str) -> None:
    proto = CASES[name]
    shapes = {k: a.shape for k, a in feeds_of(proto).items()}
    found = {node.kind for node in reflrp.load(proto).graph(shapes).nodes}
    assert found - {"routing", "plumbing"} <= documented()[proto.graph.node[0].op_type]


def test_constant_gather_elements_with_a_small_index() -> None:
    """ONNX's reference code fails where the index is smaller than the data on the other axes."""
    proto = model("g = GatherElements<axis = 1>(t, i) y = Add(x, g)", t=(3, 5), i=np.array([[4, 0, 2, 1]]))
    assert_same_as_onnxruntime(proto, {"x": draw(1, 4)})


EINSUMS = {
    "an index of the constant alone": ("bi,ijk->bj", (2, 3), (3, 4, 5)),
    "one of length 1": ("bij,bjk->bik", (2, 3, 4), (1, 4, 2)),
    "the value is repeated": ("...ij,...jk->...ik", (1, 3, 4), (2, 4, 5)),
    "the value is repeated, not summed": ("bij,ij->bij", (2, 1, 4), (3, 4)),
}


@pytest.mark.parametrize("name", EINSUMS)
def test_einsum_by_a_constant_is_its_dense_matrix(name: str) -> None:
    """alpha-beta sees the coefficients: the sums over what the constant alone has, each by its own sign."""
    equation, shape, constant = EINSUMS[name]
    x, w = draw(*shape, seed=1), draw(*constant, seed=2)
    proto = model(f'y = Einsum <equation = "{equation}">(x, w)', f"float[{','.join(map(str, shape))}] x", w=w)
    y = np.einsum(equation, x, w)
    units = np.eye(x.size).reshape(x.size, *shape)
    W = np.stack([np.einsum(equation, u, w.astype(float)).ravel() for u in units])
    R = draw(*y.shape, seed=3).astype(float)
    e = reflrp.explain(proto, x, {"*": reflrp.rules.AlphaBeta(2, 1, stabilizer=0)}, init=R)
    assert e.relevance.shape == x.shape
    u = x.astype(float).ravel()[:, None] * W
    up, down = np.maximum(u, 0), np.minimum(u, 0)
    shares = [
        np.where(p.sum(axis=0) == 0, 0, R.ravel() / np.where(p.sum(axis=0) == 0, 1, p.sum(axis=0))) for p in (up, down)
    ]
    assert np.allclose(e.relevance.ravel(), 2 * up @ shares[0] - down @ shares[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("equation", "one", "two"),
    [("bij,bjk->bik", (1, 3, 4), (5, 4, 2)), ("...ij,...jk->...ik", (5, 3, 4), (1, 4, 2)), ("bij,bij->bi", (2, 1, 4), (2, 3, 4))],
)  # fmt: skip
def test_einsum_of_values_of_length_1(equation: str, one: tuple[int, ...], two: tuple[int, ...]) -> None:
    """Repeated axes of length 1: relevance comes back in the shape of each input, and all of it."""
    inputs = f"float[{','.join(map(str, one))}] a, float[{','.join(map(str, two))}] b"
    proto = model(f't = Tanh(b) y = Einsum <equation = "{equation}">(a, t)', inputs)
    feeds = {"a": draw(*one), "b": draw(*two)}
    y = onnxruntime(proto, feeds)["y"]
    e = reflrp.explain(proto, feeds, "attnlrp", init=draw(*y.shape).astype(float), output="y")
    assert {k: r.shape for k, r in e.relevances.items()} == {"a": one, "b": two}
    assert np.isclose(sum(r.sum() for r in e.relevances.values()), e.conservation.seed, rtol=1e-4)


@pytest.mark.parametrize(("body", "shape", "c"), [("Pow(a, c)", (2, 1), (3,)), ("Pow(c, a)", (2, 3), (2, 1, 1))])
def test_power_that_broadcasts(body: str, shape: tuple[int, ...], c: tuple[int, ...]) -> None:
    proto = model(f"a = Abs(x) y = {body}", f"float[{','.join(map(str, shape))}] x", c=abs(draw(*c)) + 0.5)
    x = draw(*shape)
    y = onnxruntime(proto, {"x": x})["y"]
    e = reflrp.explain(proto, x, "epsilon", init=np.ones(y.shape))
    assert np.allclose(reflrp.load(proto).run(x)["y"], y, atol=1e-5)
    assert e.relevance.shape == shape
    assert np.isclose(e.relevance.sum(), y.size, rtol=1e-4)
