"""What a node lacks: each attribute and each input taken away from each node of the sound models, one at a time."""

from collections.abc import Iterator
from pathlib import Path

import fuzz
import numpy as np
import onnx
import pytest
from fuzz.networks import explained
from models import model
from onnx import ModelProto

import reflrp

LARGEST = 100_000
"""Bytes of the models that are changed here."""


def lacking(data: bytes) -> Iterator[tuple[str, ModelProto]]:
    """Yield the model without one attribute, without one input, and with nothing from an input on."""
    for i, node in enumerate(onnx.load_from_string(data).graph.node):
        for j, attribute in enumerate(node.attribute):
            proto = onnx.load_from_string(data)
            del proto.graph.node[i].attribute[j]
            yield f"{node.op_type} without {attribute.name}", proto
        for j in range(len(node.input)):
            proto = onnx.load_from_string(data)
            proto.graph.node[i].input[j] = ""
            yield f"{node.op_type} without input {j}", proto
            proto = onnx.load_from_string(data)
            del proto.graph.node[i].input[j:]
            yield f"{node.op_type} with {j} inputs", proto


def test_what_a_node_lacks(tmp_path: Path) -> None:
    path, tried, raw = tmp_path / "model.onnx", set[str](), []
    for data in fuzz.seeds():
        for what, proto in lacking(data) if len(data) < LARGEST else ():
            if what in tried:
                continue
            tried.add(what)
            path.write_bytes(proto.SerializeToString())
            try:
                explained(path)
            except reflrp.ReflrpError:
                pass
            except Exception as error:
                raw.append(f"{what}: {type(error).__name__}: {error}"[:200])
    assert not raw
    assert len(tried) > 400


def test_an_attribute_that_is_needed_is_named() -> None:
    """ONNX's checker does not look for it in a branch of a branch."""
    inner = "<then_branch = c () => (float[] q) { q = LRN(x) }, else_branch = d () => (float[] r) { r = Neg(x) }>"
    outer = f"<then_branch = a () => (float[] p) {{ p = If (k) {inner} }}, else_branch = b () => (float[] s) {{ s = Neg(x) }}>"
    proto = model(f"y = If (k) {outer}", "float[N,4,3,3] x", k=np.array(True))
    with pytest.raises(reflrp.ReflrpError, match="attribute 'size' is missing"):
        reflrp.load(proto).run(np.ones((1, 4, 3, 3), np.float32))


def test_infinities_of_both_signs_are_a_nan_without_a_warning() -> None:
    proto = model("y = Selu(x)")
    proto.graph.node[0].attribute.append(onnx.helper.make_attribute("gamma", float("inf")))
    with pytest.raises(reflrp.NonFiniteError, match="Selu"):
        reflrp.load(proto).run(np.array([[1, -1, 2, -2]], np.float32))
