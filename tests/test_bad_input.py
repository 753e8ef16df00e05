"""What goes wrong says so: each broken file and wrong input is a ReflrpError whose message helps."""

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import models
import numpy as np
import onnx
import pytest
from models import IMAGE, draw, ints, model
from onnx import ModelProto, TensorProto, helper
from test_importer import PLAIN, ROW, save_external, small_net

import reflrp
from reflrp import InputError, ModelError, NonFiniteError, ReflrpError, TooLarge, UnsupportedOperator


def refused(given: Any, *words: str, error: type[ReflrpError] = ModelError) -> ReflrpError:
    """Check that loading fails with this error, whose message has these words; return it."""
    with pytest.raises(error) as caught:
        reflrp.load(given)
    for word in words:
        assert word in str(caught.value)
    return caught.value


def unbuilt(proto: ModelProto, shape: tuple[int, ...], *words: str) -> None:
    """Check that the model loads, but cannot be built for an input of this shape, and says why."""
    with pytest.raises((UnsupportedOperator, ModelError, TooLarge)) as caught:
        reflrp.load(proto).run(draw(*shape))
    for word in words:
        assert word in str(caught.value)


# Files


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", "none.onnx", "does not exist")


def test_folder(tmp_path: Path) -> None:
    refused(str(tmp_path), "is a folder")


def test_path_that_no_file_can_have() -> None:
    refused("a\0b.onnx", "does not exist")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user that may not read everything")
def test_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(PLAIN.SerializeToString())
    path.chmod(0)
    refused(path, "cannot be read")


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.touch()
    refused(path, "is empty")


@pytest.mark.parametrize("data", [b"PK\x03\x04 a zip", b"\x89PNG\r\n", b"{}", b"\0" * 100, "ü".encode() * 50])
def test_what_is_no_protobuf(data: bytes) -> None:
    refused(data, "no ONNX model")


@pytest.mark.parametrize("given", [None, 3, ["model.onnx"], np.zeros(3)])
def test_what_is_no_model_at_all(given: Any) -> None:
    refused(given, "cannot import a", "path, bytes or an onnx.ModelProto")


class _Module:
    """As a module of PyTorch, which need not be installed for this."""


@pytest.mark.parametrize(
    ("home", "words"),
    [
        ("torch.nn.modules.module", "a PyTorch module: give reflrp.converters.from_torch(model, x)"),
        ("sklearn.neural_network._multilayer_perceptron", "reflrp.converters.from_sklearn(estimator, n_features)"),
        (
            "keras.src.models.sequential",
            "a Keras model: write it as ONNX with model.export('model.onnx', format='onnx')",
        ),
        ("tensorflow.python.module", "a TensorFlow model: write it as ONNX with tf2onnx"),
        ("flax.linen.module", "jax2onnx"),
        ("onnxruntime.capi.session", "give the .onnx file that it was made of"),
    ],
)
def test_models_of_other_frameworks_name_the_converter(home: str, words: str) -> None:
    """By the module of a base class: what a user derives from it is defined elsewhere."""
    base = type("Base", (_Module,), {"__module__": home})
    mine = type("Net", (base,), {"__module__": "__main__"})
    with pytest.raises(ModelError) as caught:
        reflrp.load(mine())
    assert words in str(caught.value)
    with pytest.raises(ModelError, match="the class Net, and no object of it"):
        reflrp.explain(mine, np.ones((1, 2)))
    similar = type("Net", (_Module,), {"__module__": home.split(".", maxsplit=1)[0] + "ish.nn"})
    with pytest.raises(ModelError, match="cannot import a model from"):
        reflrp.load(similar())


def test_real_models_of_other_frameworks_name_the_converter() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(ModelError, match="from_torch"):
        reflrp.explain(torch.nn.Linear(2, 1), np.ones((1, 2)))
    neighbours = pytest.importorskip("sklearn.linear_model")
    with pytest.raises(ModelError, match="from_sklearn"):
        reflrp.explain(neighbours.LogisticRegression(), np.ones((1, 2)))


def test_truncated_anywhere() -> None:
    data = small_net(13).SerializeToString()
    for length in [*range(1, 200), *range(200, len(data), 97), len(data) - 1]:
        with pytest.raises(ReflrpError):
            reflrp.load(data[:length]).run(draw(1, 2, 8, 6))


def test_mutated_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed byte makes an error of ours or another network, never another exception, and nothing hangs."""
    monkeypatch.setattr(reflrp.limits, "MEMORY", 1 << 23)
    chance, ends = random.Random(0), Counter[str]()
    files = [proto.SerializeToString() for proto in (small_net(9), small_net(18), *dict(models.cases()).values())]
    for _ in range(1500):
        data = bytearray(chance.choice(files))
        for _ in range(chance.randint(1, 3)):
            mutate(data, chance)
        ends[end_of(bytes(data))] += 1
    assert {"run", "ModelError", "UnsupportedOperator"} <= set(ends), ends


def mutate(data: bytearray, chance: random.Random) -> None:
    """Overwrite, nudge, cut or insert a byte."""
    place = chance.randrange(min(len(data), 4000))
    how = chance.choice(["overwrite", "nudge", "cut", "insert"])
    if how == "overwrite":
        data[place] = chance.randrange(256)
    elif how == "nudge":
        data[place] = (data[place] + chance.choice([-1, 1, 128])) % 256
    elif how == "cut":
        del data[place : place + chance.choice([1, 2, 5])]
    else:
        data[place:place] = bytes([chance.randrange(256)])


def end_of(data: bytes) -> str:
    try:
        loaded = reflrp.load(data)
        shapes = {
            name: [d if isinstance(d, int) else 2 for d in p.dims or ()] for name, p in loaded.source.inputs.items()
        }
        if any(np.prod(s, dtype=float) > 1e6 for s in shapes.values()):
            return "too large"
        loaded.run({name: draw(*s).astype(loaded.source.inputs[name].dtype) for name, s in shapes.items()})
    except ReflrpError as error:
        return type(error).__name__
    return "run"


# Graphs


def test_every_missing_operator_is_listed() -> None:
    proto = model("a = Det(x) b = Foo(a) c = own.Bar(b) d = Relu(c) y = NonMaxSuppression(d, d)")
    proto.opset_import.add(domain="own", version=3)
    for i, node in enumerate(proto.graph.node):
        node.name = f"node{i}"
    error = refused(proto, "4 nodes are not supported", error=UnsupportedOperator)
    assert isinstance(error, UnsupportedOperator)
    found = [(n.name, n.op, n.domain, n.opset) for n in error.nodes]
    assert found == [
        ("node0", "Det", "", 17),
        ("node1", "Foo", "", 17),
        ("node2", "Bar", "own", 3),
        ("node4", "NonMaxSuppression", "", 17),
    ]
    assert "not an operator of the ONNX standard" in error.nodes[2].why


def test_unknown_operator_of_constants_only() -> None:
    proto = model("w = own.Bar(c) y = MatMul(x, w)", c=(4, 3))
    proto.opset_import.add(domain="own", version=1)
    refused(proto, "own::Bar", error=UnsupportedOperator)


def test_control_flow_that_depends_on_each_sample() -> None:
    """One condition decides for all of them: a condition of several values is none."""
    body = """c = Greater(x, z) y = If (c) <then_branch = a () => (float[N,4] p) { p = Relu(x) },
        else_branch = b () => (float[N,4] q) { q = Neg(x) }>"""
    unbuilt(model(body, z=np.float32(0)), (2, 4), "its condition holds 8 values", "one by one")


def test_random_output_is_refused() -> None:
    with pytest.raises(ReflrpError):
        reflrp.explain(model("y = RandomNormalLike(x)"), ROW)


def test_training_mode() -> None:
    unbuilt(
        model("y = Dropout(x, r, t)", r=np.float32(0.5), t=np.array(True)),
        (2, 4),
        "random",
        "export the model for inference",
    )
    norm = "y, a, c = BatchNormalization <training_mode = 1>(x, w, b, m, v)"
    unbuilt(model(norm, w=(4,), b=(4,), m=(4,), v=(4,)), (2, 4), "training mode")


def test_cycle() -> None:
    refused(model("a = Add(x, y) t = Relu(a) y = Neg(t)"), "cycle", "Add_0", "Relu_1")


def test_value_that_reads_itself() -> None:
    refused(model("y = Relu(y)"), "cycle")


def test_values_assigned_twice() -> None:
    refused(model("y = Relu(x) y = Neg(x)"), "'y' is assigned twice", "Neg_1")
    refused(model("x = Relu(x) y = Neg(x)"), "'x' is assigned twice")
    refused(model("y = Relu(x)", "float[N,4] x, float[N,4] x"), "'x' is there twice")
    proto = model("y = MatMul(x, w)", w=(4, 3))
    proto.graph.initializer.append(proto.graph.initializer[0])
    refused(proto, "'w' is there twice")


def test_undefined_values() -> None:
    refused(model("y = MatMul(x, w)"), "nothing produces the values ['w']")
    refused(model("t = Relu(x)"), "nothing produces its outputs ['y']")


def test_no_graph_or_no_opset() -> None:
    refused(ModelProto(), "no graph")
    proto = model("y = Relu(x)")
    del proto.opset_import[:]
    refused(proto, "opset")
    proto.opset_import.add(domain="ai.onnx.ml", version=3)
    refused(proto, "which opset")


def test_opset_too_old_or_too_new() -> None:
    refused(model("y = Relu(x)", opset=6), "opset 6", "export it again with a newer opset")
    refused(model("y = Relu(x)", opset=999), "opset 999", "upgrade onnx")


@pytest.mark.parametrize("kind", ["seq(float[N])", "string[N]", "optional(float[N])", "map(int64, float[N])"])
def test_inputs_that_are_no_tensors(kind: str) -> None:
    refused(model("y = Identity(x)", f"{kind} x"), "'x'", "tensor")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("y = Relu(x, x)", "Relu"),
        ("y = Relu()", "Relu"),
        ("y = Relu <alpha = 0.5>(x)", "alpha"),
        ("y = LeakyRelu <alpha = 1>(x)", "alpha"),
        ("y = Concat(x, x)", "axis"),
        ("y, z = Relu(x)", "Relu"),
        ("y = Upsample(x, s)", "Upsample"),  # deprecated since opset 10
    ],
)
def test_nodes_that_break_their_schema(body: str, words: str) -> None:
    refused(model(body, s=np.ones(2, np.float32)), "is invalid", words)


@pytest.mark.parametrize(
    ("body", "weights", "words"),
    [
        ("y = Conv(x, w)", {"w": (3, 4, 12, 3)}, "kernel (12, 3) does not fit"),
        ("y = Conv(x, w)", {"w": (3, 5, 3, 3)}, "do not fit an input"),
        ("y = Conv <group = 3>(x, w)", {"w": (3, 4, 3, 3)}, "3 groups"),
        ("y = Conv <group = 0>(x, w)", {"w": (3, 4, 3, 3)}, "do not fit"),
        ("y = Conv(x, w)", {"w": (3, 4, 3)}, "do not fit"),
        ("y = Conv <kernel_shape = [2, 2]>(x, w)", {"w": (3, 4, 3, 3)}, "kernel (2, 2)"),
        ("y = Conv(x, w, b)", {"w": (3, 4, 3, 3), "b": (4,)}, "bias"),
        ("y = Conv <strides = [0, 1]>(x, w)", {"w": (3, 4, 3, 3)}, "strides"),
        ("y = Conv <strides = [1]>(x, w)", {"w": (3, 4, 3, 3)}, "strides"),
        ("y = Conv <dilations = [-1, 1]>(x, w)", {"w": (3, 4, 3, 3)}, "dilations"),
        ("y = Conv <pads = [-1, 0, 0, 0]>(x, w)", {"w": (3, 4, 3, 3)}, "pads"),
        ("y = Conv <pads = [1, 1]>(x, w)", {"w": (3, 4, 3, 3)}, "pads"),
        ('y = Conv <auto_pad = "SOME">(x, w)', {"w": (3, 4, 3, 3)}, "auto_pad"),
        ("y = ConvTranspose(x, w)", {"w": (3, 4, 3, 3)}, "do not fit"),
        ("y = ConvTranspose <pads = [9, 9, 9, 9]>(x, w)", {"w": (4, 3, 3, 3)}, "does not fit"),
        ("y = MaxPool <kernel_shape = [10, 1]>(x)", {}, "does not fit"),
        ("y = MaxPool <kernel_shape = [2, 2], pads = [3, 0, 0, 0]>(x)", {}, "empty"),
        ("y = AveragePool <kernel_shape = [2]>(x)", {}, "kernel_shape"),
        ("y = BatchNormalization(x, w, w, w, w)", {"w": (5,)}, "do not fit"),
        ("y = MatMul(x, w)", {"w": (5, 3)}, "do not fit each other"),
        ("y = Gemm(x, w)", {"w": (8, 3)}, "is no matrix"),
        ("f = Flatten(x) y = Gemm(f, w, b)", {"w": (288, 3), "b": (4,)}, "broadcast"),
        ("y = Add(x, c)", {"c": (5,)}, "broadcast"),
        ("y = Concat <axis = 4>(x, x)", {}, "axis 4 is out of range"),
        ("y = Concat <axis = 0>(x, c)", {"c": (1, 4, 9, 7)}, "do not fit each other"),
        ("y = Softmax <axis = 5>(x)", {}, "axis 5 is out of range"),
        ("y = ReduceMean <axes = [-5]>(x)", {}, "axis -5 is out of range"),
        ("y = Flatten <axis = 7>(x)", {}, "axis 7 is out of range"),
        ("y = Transpose <perm = [0, 1, 1, 2]>(x)", {}, "perm"),
        ("y = Transpose <perm = [0, 1]>(x)", {}, "perm"),
        ("y = Squeeze(x, a)", {"a": ints(1)}, "size 1"),
        ("y = Unsqueeze(x, a)", {"a": ints(1, 1)}, "twice"),
        ("y = Reshape(x, s)", {"s": ints(2, 7)}, "batch"),
        ("y = Reshape(x, s)", {"s": ints(-1, -1)}, "invalid"),
        ("y = Reshape(x, s)", {"s": ints(1, 1, 1, 1, 0)}, "lacks"),
        ("y = Gather <axis = 1>(x, i)", {"i": ints(4)}, "beyond"),
        ("y, z = Split <axis = 1>(x, s)", {"s": ints(1, 1)}, "do not make up"),
        ("y = Slice(x, s, e, a, k)", {"s": ints(0), "e": ints(3), "a": ints(1), "k": ints(0)}, "steps"),
        ("y = Slice(x, s, e)", {"s": ints(0), "e": ints(3, 4)}, "do not fit each other"),
        ("y = Pad(x, p)", {"p": ints(0, 0, -10, 0, 0, 0, 0, 0)}, "shape"),
        ("y = Pad(x, p)", {"p": ints(1, 2, 3)}, "pads"),
        ('y = Pad <mode = "some">(x, p)', {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}, "mode"),
        ("y = Expand(x, s)", {"s": ints(5, 1)}, "broadcast"),
        ("y = Expand(x, s)", {"s": ints(2**40, 1, 1, 1, 1)}, "shape"),
        ("y = DepthToSpace <blocksize = 3>(x)", {}, "DepthToSpace"),
        ("y = Pow(x, x)", {}, "exponent"),
        ("y = ReduceProd(x)", {}, "no relevance rule"),
    ],
)
def test_nodes_that_do_not_fit(body: str, weights: dict[str, Any], words: str) -> None:
    unbuilt(model(body, IMAGE, **weights), (2, 4, 9, 8), words)


# External data


def test_bytes_cannot_reach_external_data(tmp_path: Path) -> None:
    path = save_external(tmp_path, PLAIN)
    refused(path.read_bytes(), "in memory", "by its path")
    refused(onnx.load(path, load_external_data=False), "in memory")


@pytest.mark.parametrize("location", ["../secret", "sub/../../secret", "/etc/hostname", "", ".", "sub"])
def test_external_data_outside_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(1000))
    folder = tmp_path / "folder"
    folder.mkdir()
    path = save_external(folder, PLAIN, location=location, offset=0)
    refused(path, "'w'", "refuses" if location[:1] in ("/", ".") or "secret" in location else "")


def test_external_data_behind_a_link_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(1000))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    refused(save_external(folder, PLAIN, location="link", offset=0), "refuses")


def test_external_file_missing_or_truncated(tmp_path: Path) -> None:
    path = save_external(tmp_path, PLAIN)
    data = tmp_path / "sub" / "weights.bin"
    data.write_bytes(data.read_bytes()[:-1])
    refused(path, "'b'", "truncated")
    data.unlink()
    refused(path, "'w'", "does not exist")


@pytest.mark.parametrize("changes", [{"offset": -4}, {"offset": "x"}, {"length": 7}, {"length": -1}, {"offset": 2**70}])
def test_external_data_with_impossible_places(tmp_path: Path, changes: dict[str, Any]) -> None:
    refused(save_external(tmp_path, PLAIN, **changes), "'w'")


def test_tensor_with_too_little_data() -> None:
    proto = model("y = MatMul(x, w)", w=(4, 3))
    proto.graph.initializer[0].raw_data = b"1234"
    refused(proto, "'w'", "truncated")


# Inputs


LOADED = reflrp.load(PLAIN)


def wrong(x: Any, *words: str, loaded: reflrp.Model = LOADED, error: type[ReflrpError] = InputError) -> None:
    for do in (loaded.run, lambda x: reflrp.explain(loaded, x)):
        with pytest.raises(error) as caught:
            do(x)
        for word in words:
            assert word in str(caught.value)


def test_wrong_names() -> None:
    wrong({"z": ROW}, "missing: ['x']", "unknown: ['z']", "x: float32 (N, 4)")
    two = reflrp.load(model("y = Add(x, z)", "float[N,4] x, float[N,4] z"))
    wrong(ROW, "x: float32 (N, 4); z: float32 (N, 4)", "by name", loaded=two)
    wrong({"x": ROW}, "missing: ['z']", loaded=two)


@pytest.mark.parametrize("shape", [(2, 5), (2, 4, 1), (4,), ()])
def test_wrong_shapes(shape: tuple[int, ...]) -> None:
    wrong(np.zeros(shape), f"has shape {shape}", "expects float32 (N, 4)")


def test_sizes_that_must_agree() -> None:
    two = reflrp.load(model("y = Add(x, z)", "float[N,T] x, float[N,T] z"))
    wrong({"x": np.ones((2, 3)), "z": np.ones((2, 1))}, "'z'", "(2, 1)", loaded=two)


def test_batch_baked_into_the_file() -> None:
    fixed = reflrp.load(model("y = Relu(x)", "float[2,4] x"))
    with pytest.raises(InputError, match="the batch size is baked into the file"):
        fixed.run(draw(3, 4))
    reshaped = model("s = Reshape(x, shape) y = Relu(s)", "float[N,4] x", shape=ints(2, 2, 2))
    unbuilt(reshaped, (3, 4), "batch size is baked into the file")


@pytest.mark.parametrize("x", [np.array([["a"] * 4]), np.zeros((1, 4), complex), np.full((1, 4), None), {}])
def test_wrong_dtypes(x: Any) -> None:
    wrong(x, "x", "float32 (N, 4)")


def test_numbers_an_integer_input_cannot_hold() -> None:
    ids = reflrp.load(model("y = Gather(w, i)", "uint8[N,3] i", w=(7, 4)))
    wrong(np.ones((1, 3)), "float64", "uint8", loaded=ids)
    wrong(np.full((1, 3), -1), "uint8", loaded=ids)
    assert ids.run(np.ones((1, 3), np.int64))["y"].shape == (1, 3, 4)


def test_token_ids_beyond_the_table() -> None:
    ids = reflrp.load(model("y = Gather(w, i)", "int64[N,3] i", w=(7, 4)))
    for bad in (7, -8):
        wrong(np.array([[0, 1, bad]]), str(bad), "7 rows", loaded=ids)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity(bad: float) -> None:
    x = ROW.copy()
    x[1, 2] = bad
    wrong(x, "NaN or an infinity", "(1, 2)")


def test_nan_that_arises_names_the_node() -> None:
    proto = model("t = Log(x) y = Relu(t)")
    proto.graph.node[0].name = "logarithm"
    wrong(np.full((1, 4), -1.0), "'logarithm'", loaded=reflrp.load(proto), error=NonFiniteError)


def test_weights_with_nan_name_the_node() -> None:
    proto = model("y = MatMul(x, w)", w=np.full((4, 3), np.nan, np.float32))
    wrong(ROW, "MatMul", loaded=reflrp.load(proto), error=NonFiniteError)


def test_no_sample() -> None:
    wrong(np.zeros((0, 4)), "(0, 4)", "no sample")


def test_no_float_input() -> None:
    loaded = reflrp.load(model("y = Add(x, x)", "int64[N,4] x", "int64[] y"))
    assert loaded.run(np.ones((1, 4), int))["y"].tolist() == [[2] * 4]
    with pytest.raises(InputError, match="nothing to explain"):
        reflrp.explain(loaded, np.ones((1, 4), int))


def test_unknown_element_type() -> None:
    proto = model("y = Relu(x)")
    proto.graph.input[0].type.tensor_type.elem_type = 99
    refused(proto, "'x'")
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.UNDEFINED
    refused(proto, "'x'")


def test_attribute_without_a_value() -> None:
    proto = model("y = Relu(x)")
    proto.graph.node[0].attribute.append(onnx.AttributeProto(name="alpha"))
    refused(proto, "Relu_0", "attr")
    proto = model("y = Flatten(x)")
    proto.graph.node[0].attribute.append(helper.make_attribute("axis", "one"))
    refused(proto, "axis")


def test_models_of_this_file_are_right_without_the_faults() -> None:
    models.assert_same_as_onnxruntime(PLAIN, {"x": ROW})
