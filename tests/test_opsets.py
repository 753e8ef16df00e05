"""Old opsets: what changed is read as it was, and brought to newer opsets by formulas, in graphs and in their bodies."""

import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import models
import numpy as np
import onnx
import pytest
from models import draw, ints, model
from old_nodes import all_nodes
from onnx import ModelProto, helper, numpy_helper

import reflrp
from reflrp.compiler.opsets.rewriting import Facts
from reflrp.compiler.opsets.steps import STEPS
from reflrp.compiler.opsets.upgrade import UNCHANGED, upgrade
from reflrp.compiler.source import slim
from reflrp.importer import BUILDERS
from reflrp.importer.nodes.allowed import ALLOWED, IN_SEQUENCES

NEWEST = 25
"""The newest opset whose changes are known."""

REFUSED = {("GroupNormalization", 21), ("Scan", 9)}
"""Changes of operators that are read, for which there is no formula."""

NODES = all_nodes()
OPTIONAL = onnx.defs.OpSchema.FormalParameterOption.Optional


def brought(proto: ModelProto, opset: int, **constants: np.ndarray) -> ModelProto:
    """The model at another opset."""
    found = ModelProto()
    found.CopyFrom(proto)
    upgrade(found, opset, Facts(found, slim(found), constants))
    found.ir_version = max(found.ir_version, 8)
    return found


def in_both_branches(proto: ModelProto) -> ModelProto:
    """The model's nodes as one branch, and under the same names as the other."""
    graph, (port,) = proto.graph, proto.graph.output
    out = helper.make_tensor_value_info(port.name, port.type.tensor_type.elem_type, None)
    one, two = (helper.make_graph([*graph.node], name, [], [out]) for name in ("one", "two"))
    inner = helper.make_node("If", ["yes"], ["out"], "if", then_branch=one, else_branch=two)
    yes, result = numpy_helper.from_array(np.array(True), "yes"), onnx.ValueInfoProto(name="out", type=port.type)
    whole = helper.make_graph([inner], "net", [*graph.input], [result], [*graph.initializer, yes])
    return helper.make_model(whole, opset_imports=[*proto.opset_import], ir_version=proto.ir_version)


def same(found: Any, wanted: Any) -> bool:
    if found.shape != wanted.shape or wanted.dtype.kind in "OSU":
        return bool(np.array_equal(found, wanted))
    one, two = np.asarray(found, float), np.asarray(wanted, float)
    scale = np.abs(two[np.isfinite(two)]).max(initial=0)
    return np.allclose(one, two, rtol=1e-5, atol=1e-6 * scale, equal_nan=True)


# ---------------------------------------------------------------- what is known


@cache
def history() -> dict[str, dict[int, Any]]:
    found: dict[str, dict[int, Any]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.domain:
            found.setdefault(schema.name, {})[schema.since_version] = schema
    return found


def changes() -> Iterator[tuple[str, int]]:
    """Every change of an operator since opset 7."""
    for name, versions in history().items():
        yield from ((name, v) for v in sorted(versions)[1:] if v > 7)


def test_every_change_of_what_is_read_is_known():
    read = {name for domain, name in {*BUILDERS, *ALLOWED} if not domain} | IN_SEQUENCES
    known = [*UNCHANGED, *STEPS]
    assert len(set(known)) == len(known)
    assert set(known) <= {*changes()}
    assert {(k, v) for k, v in changes() if k in read and v <= NEWEST} - {*known} == REFUSED
    assert max(v for _, v in known) == NEWEST


@pytest.mark.parametrize("name", sorted({name for name, _ in UNCHANGED}))
def test_what_is_unchanged_lost_no_words(name):
    """All that an old node can say is there, with the same defaults and in the same places; the rest may be left out."""
    versions = history()[name]
    for version in sorted(v for n, v in UNCHANGED if n == name):
        new, old = versions[version], versions[max(v for v in versions if v < version)]
        assert not new.deprecated
        for key, attribute in old.attributes.items():
            now = new.attributes[key]
            assert (now.type, now.default_value) == (attribute.type, attribute.default_value), (version, key)
        assert not any(a.required for k, a in new.attributes.items() if k not in old.attributes)
        for one, two in ((old.inputs, new.inputs), (old.outputs, new.outputs)):
            assert all(b.option in (a.option, OPTIONAL) for a, b in zip(one, two, strict=False)), version
            assert len(one) <= len(two)
            assert all(a.option == OPTIONAL for a in two[len(one) :]), version


def test_tables_are_where_the_nodes_are():
    assert {name for name, _ in STEPS} == NODES.keys()


# ---------------------------------------------------------------- what changed


@pytest.mark.parametrize("op", sorted(NODES))
def test_read_as_it_was(op):
    """On the way of relevance, and where it is a constant."""
    for node in NODES[op]:
        proto = node.model()
        feeds = models.feeds_of(proto)
        wanted = models.onnxruntime(proto, feeds)["y"]
        assert same(reflrp.load(proto).run(feeds)["y"], wanted), node
        fixed = ModelProto()
        fixed.CopyFrom(proto)
        (port,) = fixed.graph.input
        fixed.graph.initializer.append(numpy_helper.from_array(feeds["x"], "x"))
        port.name = "z"
        fixed.graph.node.add(op_type="Identity", input=["z"], output=["same"])
        fixed.graph.output.append(helper.make_empty_tensor_value_info("same"))
        fixed.graph.output[-1].type.CopyFrom(port.type)
        assert same(reflrp.load(fixed).run({"z": feeds["x"]})["y"], wanted), node


@pytest.mark.parametrize("op", sorted(NODES))
@pytest.mark.parametrize("opset", [17, NEWEST])
def test_brought_to_a_newer_opset(op, opset):
    """For onnxruntime, which knows both: with all that is known of the graph, with nothing known, and in bodies."""
    for node in NODES[op]:
        if node.opset >= opset:
            continue
        proto = node.model()
        feeds = models.feeds_of(proto)
        wanted = models.onnxruntime(proto, feeds)["y"]
        known = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
        assert same(models.onnxruntime(brought(proto, opset, **known), feeds)["y"], wanted), node
        if (op, node.opset) == ("Resize", 10) and "linear" not in node.body:
            with pytest.raises(reflrp.UnsupportedOperator, match="runtimes copy"):
                brought(proto, opset)
            continue
        new, within = brought(proto, opset), brought(in_both_branches(proto), opset)
        assert same(models.onnxruntime(new, feeds)["y"], wanted), node
        assert same(models.onnxruntime(within, feeds)["out"], wanted), node


# ---------------------------------------------------------------- what did not

UNTRIED = {("GlobalLpPool", 22), ("CumSum", 14), ("DepthToSpace", 11)}
"""Changes of types and words that no node of an older opset here meets."""


def nodes_of_all_kinds() -> Iterator[tuple[ModelProto, dict[str, np.ndarray]]]:
    """The standard's own node tests, and ours: as they are, at their own opset."""
    with warnings.catch_warnings():  # ONNX's generators of node tests overflow on purpose
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        cases = load_model_tests(kind="node")
    for case in cases:
        given = [*zip(case.model.graph.input, case.data_sets[0][0], strict=True)]
        if all(isinstance(a, np.ndarray | onnx.TensorProto) for _, a in given):
            yield case.model, {i.name: a if isinstance(a, np.ndarray) else numpy_helper.to_array(a) for i, a in given}
    for _, proto in models.cases():
        yield proto, models.feeds_of(proto)


def lowered(proto: ModelProto) -> Iterator[tuple[int, ModelProto]]:
    """The model at the opset before each change of its operators, where it is valid there."""
    names = {n.op_type for n in proto.graph.node}
    for opset in sorted({v - 1 for name, v in UNCHANGED if name in names}):
        found = ModelProto()
        found.CopyFrom(proto)
        found.opset_import[0].version, found.ir_version = opset, 8
        try:
            onnx.checker.check_model(found)
        except onnx.checker.ValidationError:
            continue
        yield opset, found


def ran(proto: ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """What onnxruntime makes of a model, or None where it cannot run it."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    try:
        return models.onnxruntime(proto, feeds)
    except (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.NotImplemented,
        state.RuntimeException,
        RuntimeError,
    ):
        return None


def test_unchanged():
    """Nodes of all kinds compute the same at the oldest opset in which they are valid, and brought from there to the newest."""
    met = {(n.op, v) for nodes in NODES.values() for n in nodes for v in history()[n.op] if v > n.opset}  # above
    for proto, feeds in nodes_of_all_kinds():
        if [o.domain for o in proto.opset_import] != [""]:
            continue
        for opset, old in lowered(proto):
            crossed = {(n.op_type, v) for n in old.graph.node for v in history()[n.op_type] if opset < v <= NEWEST}
            wanted = None if crossed - UNCHANGED else ran(old, feeds)
            if wanted is not None:
                found = models.onnxruntime(brought(old, NEWEST), feeds)
                assert all(same(found[k], a) for k, a in wanted.items() if isinstance(a, np.ndarray)), (old, opset)
                met |= crossed
                break
    assert UNCHANGED - met == UNTRIED


@pytest.mark.parametrize("scale", [1.1, 1.12, 1.3, 1.5, 2.0])
def test_one_axis_shrinks_and_another_grows_if_at_all(scale):
    """A node of which no axis changes is copied by onnxruntime; so what grows by nothing is no node of its own."""
    for n in range(1, 12):
        proto = model(
            "y = Resize(x, s)", f"float[N,1,{n},4] x", opset=10, ir=5, s=np.array([1, 1, scale, 0.5], np.float32)
        )
        feeds = models.feeds_of(proto)
        wanted = models.onnxruntime(proto, feeds)["y"]
        if scale < 2 and np.float32(n) * np.float32(scale) < n + 1:
            with pytest.raises(reflrp.UnsupportedOperator, match="runtimes copy"):
                brought(proto, 17, s=np.array([1, 1, scale, 0.5], np.float32))
            continue
        assert same(
            models.onnxruntime(brought(proto, 17, s=np.array([1, 1, scale, 0.5], np.float32)), feeds)["y"], wanted
        )


# ---------------------------------------------------------------- what is refused, and what stays


OUT_OF_REACH = {
    "statistics of each entry": (
        "y = BatchNormalization <spatial = 0>(x, g, b, m, v)",
        8,
        "BatchNormalization.*spatial = 0",
    ),
    "statistics of training": ("y, a, c = BatchNormalization(x, g, b, m, v)", 9, "BatchNormalization.*of training"),
    "a mask": ("d, m = Dropout(x) y = Mul(d, m)", 9, "Dropout.*its mask is read"),
    "odd padding": (
        "y = ConvTranspose <output_shape = [17, 16], strides = [2, 2]>(x, w)",
        10,
        "ConvTranspose.*odd padding",
    ),
    "one scale a group": ("y = GroupNormalization <num_groups = 2>(x, g, b)", 18, "another GroupNormalization"),
    "an axis that may stay as long": ("y = Resize(x, g)", 10, "Resize.*runtimes copy"),
    "no axes": ("y = Squeeze <axes: ints = []>(x)", 11, "Squeeze.*empty list of axes"),
}


@pytest.mark.parametrize("name", OUT_OF_REACH)
def test_refused_by_name(name):
    """In the graph, and within its branches: both of them are named."""
    body, opset, why = OUT_OF_REACH[name]
    proto = model(body, "float[N,4,9,8] x", opset=opset, w=(4, 3, 2, 2), **dict.fromkeys("gbmv", (4,)))
    for one, count in ((proto, 1), (in_both_branches(proto), 2)):
        with pytest.raises(reflrp.UnsupportedOperator, match=rf"{why}.*no newer node does the same") as found:
            brought(one, 21)
        assert [(n.op, n.opset) for n in found.value.nodes] == [
            (body.split(" = ")[1].split()[0].split("(")[0], found.value.nodes[0].opset)
        ] * count


def test_a_newer_standard_is_refused(monkeypatch):
    """What a later onnx changes is in no table."""
    monkeypatch.setattr("reflrp.compiler.opsets.upgrade.UNCHANGED", UNCHANGED - {("Relu", 14)})
    with pytest.raises(reflrp.UnsupportedOperator, match=r"Relu.*opset 14 has another Relu"):
        reflrp.compile(model("y = Relu(x)", opset=13), "epsilon")
    with pytest.raises(reflrp.InputError, match="opset=17 is older than the model's own, 18"):
        reflrp.compile(model("y = Relu(x)", opset=18), "epsilon", opset=17)


def test_double_bounds_and_pads():
    """Constants have the type of what they bound, where nobody says it too. Clip's bounds are float32 by default."""
    for inputs in ("double[N,3] x", "float[N,3] h"):
        cast = "" if "x" in inputs else "x = Cast <to = 11>(h)"
        proto = model(
            f"{cast} c = Clip <max = 0.25>(x) y = Pad <pads = [0, 1, 0, 0], value = -0.5>(c)",
            inputs,
            "double[] y",
            opset=9,
        )
        x = np.array([[-np.inf, 0.125, np.inf]], np.float64 if "x" in inputs else np.float32)
        wanted = [[-0.5, -float(np.finfo(np.float32).max), 0.125, 0.25]]
        for one in (proto, in_both_branches(proto)):
            (found,) = models.onnxruntime(brought(one, 17), {inputs[-1]: x}).values()
            assert np.array_equal(found, np.asarray(wanted, float))


def test_an_index_below_zero():
    """Before opset 11 it is off, by the standard's words; onnxruntime counts it from the end in all opsets."""
    weights = {"i": ints(0, -1, 7, 2), "d": np.int64(3), "v": np.float32([-1, 2])}
    for opset in (10, 11):
        proto = model("h = OneHot(i, d, v) y = Mul(x, h)", "float[4,3] x", opset=opset, **weights)
        wanted = np.where(np.eye(8)[[0, 5 if opset < 11 else 2, 7, 2], :3], 2, -1)
        x = np.ones((4, 3), np.float32)
        assert np.array_equal(reflrp.load(proto).run(x)["y"], wanted)
        assert np.array_equal(models.onnxruntime(brought(proto, 17), {"x": x})["y"], wanted)


def test_names_are_left_alone():
    """What is written takes no name that is there; what bodies read keeps its own."""
    names = model(
        '"y:min" = Abs(x) a = Clip <min = 0.5>(x) y = Clip <min = 0.25>("y:min") z = Add(a, y)',
        "float[N,3] x",
        "float[] z",
        opset=7,
    )
    x = draw(2, 3)
    wanted = models.onnxruntime(names, {"x": x})["z"]
    assert same(models.onnxruntime(brought(names, 17), {"x": x})["z"], wanted)
    outputs = {o for n in names.graph.node for o in n.output}
    assert outputs <= {o for n in brought(names, 17).graph.node for o in n.output}


def test_files_of_the_first_format():
    """Their initializers are inputs, which none of the compiled graph's are."""
    proto = model("h = MatMul(x, w) y = Softmax(h)", "float[N,4] x, float[4,3] w", opset=7, ir=3, w=(4, 3))
    g = reflrp.compile(proto, "epsilon", strip=False)
    assert [i.name for i in g.graph.input] == ["x"]
    x = draw(2, 4)
    assert same(models.onnxruntime(g, {"x": x})["y"], models.onnxruntime(proto, {"x": x})["y"])


@pytest.mark.parametrize("op", ["Softmax", "Upsample", "Resize", "Clip", "Pad", "Slice"])
def test_compiled(op):
    """The model's own outputs, and the relevance, of old nodes in a graph and in its branches."""
    for node in NODES[op][:: max(1, len(NODES[op]) // 4)]:
        proto = node.model()
        for one, out in ((proto, "y"), (in_both_branches(proto), "out")):
            x = models.feeds_of(proto, batch=2)["x"]
            g = reflrp.compile(one, "epsilon", target=(0,) * (x.ndim - 1), strip=False, shapes={"x": x.shape})
            found = models.onnxruntime(g, {"x": x})
            assert same(found[out], models.onnxruntime(proto, {"x": x})["y"]), node
            wanted = reflrp.explain(one, x, "epsilon", target=(0,) * (x.ndim - 1), strip=False).relevance
            np.testing.assert_allclose(found["relevance/x"], wanted, atol=1e-5 * np.abs(wanted).max())


def test_functions_are_brought_up():
    body = '<domain: "own", opset_import: ["" : 17]> f (a) => (b) { b = ReduceMean <axes = [1]> (a) }'
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17, "own" : 1]> net (float[N,4] x) => (float[N,1] y) {{ y = own.f(x) }} {body}'
    )
    g = reflrp.compile(proto, "epsilon", opset=21)
    x = draw(2, 4)
    assert same(models.onnxruntime(g, {"x": x})["y"], x.mean(axis=1, keepdims=True))
