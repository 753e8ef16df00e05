"""Old opsets: what changed is read as it was, and brought to newer opsets by formulas, in graphs and in their bodies."""

import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import models
import numpy as np
import onnx
import pytest
from old_nodes import all_nodes
from onnx import ModelProto, helper, numpy_helper

import reflrp
from reflrp.compiler.opsets import UNCHANGED, upgrade
from reflrp.compiler.rewriting import Facts
from reflrp.compiler.source import slim
from reflrp.compiler.steps import STEPS
from reflrp.importer import BUILDERS
from reflrp.importer.allowed import ALLOWED, IN_SEQUENCES

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
        for new in (brought(proto, opset, **known), brought(proto, opset)):
            assert same(models.onnxruntime(new, feeds)["y"], wanted), node
        new = brought(in_both_branches(proto), opset)
        assert same(models.onnxruntime(new, feeds)["out"], wanted), node


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
