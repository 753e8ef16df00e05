"""Nothing of a file runs but arithmetic: what is evaluated is on one list, and whatever else is there is refused by name."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference.ops._op_list
import pytest
from models import draw, ints, model, onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

import reflrp
from reflrp import UnsupportedOperator
from reflrp.importer.nodes.allowed import ALLOWED, IN_SEQUENCES, ML, WHY_NOT

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(hostile) print showpage\n%%EOF\n"

NOT_RUN = {
    *("Attention", "CausalConvWithState", "DeformConv", "FlexAttention", "LinearAttention", "MaxRoiPool", "RoiAlign"),
    *("NegativeLogLikelihoodLoss", "NonMaxSuppression", "RotaryEmbedding", "STFT", "SoftmaxCrossEntropyLoss", "SwiGLU"),
    *("Optional", "OptionalGetElement", "OptionalHasElement", "CastMap", "DictVectorizer", "ZipMap"),
}
"""Operators of the standard that are neither on the list, nor in sequences, nor refused with a reason of their own."""


def net(
    nodes: list[Any], values: dict[str, Any], functions: Any = (), inputs: str = "x", opset: int = 20
) -> ModelProto:
    """Return a model of these nodes from `x`, float (1, 4), to `y`, with texts and arrays as initializers."""
    tensors = [
        helper.make_tensor(k, TensorProto.STRING, [len(v)], [t.encode() for t in v])
        if isinstance(v, list)
        else numpy_helper.from_array(v, k)
        for k, v in values.items()
    ]
    ends = [helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", [1, 4]), ("y", None))]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(ML, 3), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)


def image(name: str = "image") -> list[Any]:
    return [
        helper.make_node("ImageDecoder", ["bytes"], [f"{name}_u"]),
        helper.make_node("Cast", [f"{name}_u"], [name], to=1),
    ]


def scaled(name: str = "image") -> Any:
    return helper.make_node("Mul", ["x", name], ["y"])


def images() -> dict[str, ModelProto]:
    """ImageDecoder on an EPS as a constant of the graph, of a branch, of a loop, and of a function."""
    data = {"bytes": np.frombuffer(EPS, np.uint8), "zero": np.float32(0), "one": ints(1)}
    out = helper.make_tensor_value_info("image", 1, None)
    branch = helper.make_graph(image(), "branch", [], [out])
    ask = [helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0), helper.make_node("Greater", ["m", "zero"], ["c"])]
    either = helper.make_node("If", ["c"], ["image"], then_branch=branch, else_branch=branch)
    function = helper.make_function("own", "F", ["bytes"], ["image"], image(), [helper.make_opsetid("", 20)])
    call = helper.make_node("F", ["bytes"], ["image"], domain="own")
    return {
        "graph": net([*image(), scaled()], data),
        "branch": net([*ask, either, scaled()], data),
        "function": net([call, scaled()], data, [function]),
        "unused": net([*image(), helper.make_node("Relu", ["x"], ["y"])], data),
    }


WATCHED = """
import sys
import numpy as np
import reflrp
harmless, *hostile = sys.argv[1:]
reflrp.explain(harmless, np.ones((1, 4), np.float32))
seen = []
HANDS = ("subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.startfile", "socket.")

def spy(event, args):
    foreign = event == "open" and not str(args[0]).startswith((sys.prefix, sys.base_prefix, *hostile))
    if foreign or event.startswith(HANDS):
        seen.append((event, args))

sys.addaudithook(spy)
for path in hostile:
    try:
        reflrp.load(path)
    except reflrp.UnsupportedOperator as error:
        assert "ImageDecoder" in str(error)
    else:
        raise SystemExit(f"{path} was loaded")
raise SystemExit(f"it did {seen}" if seen else 0)
"""


def test_no_process_starts_and_no_foreign_file_opens(tmp_path: Path) -> None:
    paths = []
    for name, proto in {"harmless": model("y = Relu(x)", "float[1,4] x"), **images()}.items():
        paths.append(tmp_path / f"{name}.onnx")
        onnx.save(proto, paths[-1])
    code = [sys.executable, "-P", "-c", WATCHED, *map(str, paths)]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


TREE = {
    "domain": ML, "n_targets": 1, "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"], "nodes_values": [0.5, 0.5, 0.0], "nodes_truenodeids": [1, 0, 0],
    "nodes_falsenodeids": [2, 2, 0], "target_treeids": [0], "target_nodeids": [2], "target_ids": [0],
    "target_weights": [1.0],
}  # fmt: skip
"""A tree whose second node leads back to its first."""

HOSTILE: dict[str, list[Any]] = {
    "RegexFullMatch": [helper.make_node("RegexFullMatch", ["text"], ["c"], pattern="(a|a?)+" * 20 + "b")],
    "TreeEnsembleRegressor": [helper.make_node("TreeEnsembleRegressor", ["row"], ["c"], **TREE)],
    "StringConcat": [helper.make_node("StringConcat", ["text", "text"], ["c"])],
    "StringNormalizer": [helper.make_node("StringNormalizer", ["text"], ["c"])],
    "TfIdfVectorizer": [
        helper.make_node(
            "TfIdfVectorizer", ["ids"], ["c"], mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=2**40,
            ngram_counts=[0], ngram_indexes=[0], pool_int64s=[1],
        )
    ],
    "RandomNormal": [helper.make_node("RandomNormal", [], ["c"], shape=[4])],
    "RandomNormalLike": [helper.make_node("RandomNormalLike", ["x"], ["c"])],
    "RoiAlign": [helper.make_node("RoiAlign", ["map", "boxes", "ids1"], ["c"], sampling_ratio=2**30)],
    "Optional": [helper.make_node("Optional", ["row"], ["c"])],
    "SVMRegressor": [helper.make_node("SVMRegressor", ["row"], ["c"], domain=ML, n_supports=0, coefficients=[1.0])],
}  # fmt: skip
VALUES = {
    "text": ["a" * 40],
    "row": np.zeros((1, 1), np.float32),
    "ids": ints(1, 2),
    "map": np.zeros((1, 1, 4, 4), np.float32),
    "boxes": np.zeros((1, 4), np.float32),
    "ids1": ints(0),
}


@pytest.mark.parametrize("op", HOSTILE)
def test_what_is_no_arithmetic_is_refused(op: str) -> None:
    proto = net([*HOSTILE[op], helper.make_node("Relu", ["x"], ["y"])], VALUES)
    with pytest.raises(UnsupportedOperator, match=op) as caught:
        reflrp.load(proto)
    (node,) = caught.value.nodes
    assert node.why in (WHY_NOT.get(op), "it is not among the operators that reflrp evaluates")


def test_all_of_them_at_once() -> None:
    nodes = [helper.make_node("RegexFullMatch", ["text"], ["a"], pattern="a"), *HOSTILE["RandomNormal"]]
    nodes += [helper.make_node("Det", ["x"], ["d"]), helper.make_node("Foo", ["x"], ["f"], domain="own")]
    with pytest.raises(UnsupportedOperator) as caught:
        reflrp.load(net([*nodes, helper.make_node("Relu", ["x"], ["y"])], VALUES))
    assert [n.op for n in caught.value.nodes] == ["RegexFullMatch", "RandomNormal", "Det", "Foo"]


def test_training_is_refused() -> None:
    proto = net([helper.make_node("Relu", ["x"], ["y"])], {"r": np.float32(1), "t": ints(0), "w": draw(4)})
    proto.opset_import.append(helper.make_opsetid("ai.onnx.preview.training", 1))
    adam = helper.make_node("Adam", ["r", "t", "w", "w", "w", "w"], ["a", "b", "c"], domain="ai.onnx.preview.training")
    proto.graph.node.append(adam)
    with pytest.raises(UnsupportedOperator, match="Adam"):
        reflrp.load(proto)


def test_a_graph_hidden_in_an_operator_is_refused() -> None:
    """An Add has no subgraph; one that brings one is not run."""
    branch = helper.make_graph(image(), "branch", [], [helper.make_tensor_value_info("image", 1, None)])
    add = helper.make_node("Add", ["row", "row"], ["c"], body=branch)
    with pytest.raises(UnsupportedOperator, match="'Add_0'"):
        reflrp.load(net([add, helper.make_node("Mul", ["x", "c"], ["y"])], VALUES | {"bytes": np.zeros(4, np.uint8)}))


def test_every_operator_of_the_standard_is_decided_on() -> None:
    """A new version of ONNX that brings operators must bring a decision."""
    every = {(s.domain, s.name) for s in onnx.defs.get_all_schemas_with_history() if s.domain in ("", ML)}
    assert not ALLOWED - every
    assert {op for _, op in every - ALLOWED} - IN_SEQUENCES - set(WHY_NOT) == NOT_RUN - {"FlexAttention"}


def test_functions_of_the_list_are_made_of_the_list() -> None:
    """ONNX's reference code may run an operator by its function; what has a subgraph in that, it has code of its own for."""
    with_subgraphs = set()
    for schema in onnx.defs.get_all_schemas_with_history():
        if (schema.domain, schema.name) in ALLOWED and schema.has_function:
            for version in schema.function_opset_versions:
                function, body = onnx.FunctionProto(), schema.get_function_with_opset_version(version)
                function.ParseFromString(body if isinstance(body, bytes) else body.SerializeToString())
                within = {(n.domain, n.op_type) for n in function.node}
                assert within <= ALLOWED | {("", "If"), ("", "Loop")}, schema.name
                with_subgraphs |= {schema.name} if within - ALLOWED else set()
    assert all(hasattr(onnx.reference.ops._op_list, name) for name in with_subgraphs)
    assert with_subgraphs <= {"AffineGrid", "CenterCropPad", "Range"}


def test_texts_may_be_labels() -> None:
    """Texts are constants, looked up and moved, as the labels of a classifier are."""
    label = helper.make_node(
        "LabelEncoder", ["k"], ["t"], domain=ML, keys_int64s=[0, 1, 2, 3], values_strings=["cat", "dog", "owl", "fox"]
    )
    nodes = [
        helper.make_node("ArgMax", ["x"], ["k"], axis=1, keepdims=0),
        label,
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    proto = net(nodes, {})
    proto.graph.output.append(helper.make_tensor_value_info("t", TensorProto.STRING, None))
    found = reflrp.load(proto).run(np.array([[1, 2, 9, 3]], np.float32))
    assert found["t"].tolist() == ["owl"]


LOOP = """n = Squeeze(x) g = Greater(x, z) c0 = Cast <to = 7>(g) c = ReduceSum <keepdims = 0>(c0)
  k, s = Loop (c, {cond}, one) <body = a (int64 i, bool go, int64[1] h) => (bool d, int64[1] q, int64[1] r) {{
    l = Less(h, most) l0 = Squeeze(l) d = {on} q = Add(h, one) r = Mul(h, h) }}>
  t = ReduceMax <keepdims = 0>(s) b = Sub(t, t) at = Add(k, b) y = Gather <axis = 0> (n, at)"""


@pytest.mark.parametrize("cond", ["", "true"])
@pytest.mark.parametrize("on", ["Identity(go)", "Identity(l0)"])
def test_loops_without_relevance_turn_as_onnxruntime_says(cond: str, on: str) -> None:
    """By a count that is found in the run, with a condition and without one."""
    weights = {"z": np.float32(0), "one": ints(1), "true": np.array(True), "most": ints(2)}
    proto = model(LOOP.format(cond=cond, on=on), "float[1,6] x", opset=18, **weights)
    for x in ([[1, -2, 3, -4, -5, -6]], [[1, 2, 3, 4, -5, -6]]):
        feeds = {"x": np.array(x, np.float32)}
        np.testing.assert_array_equal(reflrp.load(proto).run(feeds)["y"], onnxruntime(proto, feeds)["y"])


def test_what_a_loop_without_relevance_may_not_run() -> None:
    """A subgraph that is run, and not built, may hold what is on the list only."""
    proto = model(LOOP.format(cond="", on="Identity(go)"), "float[1,6] x", z=np.float32(0), one=ints(1), most=ints(2))
    body = next(n for n in proto.graph.node if n.op_type == "Loop").attribute[0].g
    next(n for n in body.node if n.op_type == "Mul").op_type = "StringConcat"
    with pytest.raises(UnsupportedOperator, match="StringConcat"):
        reflrp.load(proto)
