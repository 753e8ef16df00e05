"""Resizes that leave every length as it was: onnxruntime copies there, whatever the scales, and the standard does not."""

import models
import numpy as np
import pytest
from compiled import run

import reflrp

POSITIONS = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3) ** 2


def network(node, scale, inputs="float[N,1,3,3] x", **constants):
    """A resize along both axes, a rectifier and a dense layer."""
    text = f"{node} h = Relu(u) f = Flatten(h) y = MatMul(f, w)"
    return models.model(text, inputs, w=models.draw(9, 2), s=np.float32([1, 1, scale, scale]), **constants)


COPIED = {
    "nearest": "u = Resize <mode = \"nearest\">(x, , s)",
    "linear": "u = Resize <mode = \"linear\">(x, , s)",
    "cubic": "u = Resize <mode = \"cubic\">(x, , s)",
    "of a constant": "p = Resize <mode = \"cubic\">(pos, , s) u = Add(x, p)",
}  # fmt: skip


@pytest.mark.parametrize("name", COPIED)
def test_refused_by_name(name):
    proto = network(COPIED[name], 1.3, pos=POSITIONS)
    with pytest.raises(reflrp.InputError, match=r"\(onnx Resize\) cannot be compiled: its scales are not 1"):
        reflrp.compile(proto, "epsilon")
    x = models.draw(2, 1, 3, 3)
    wanted = reflrp.explain(proto, x, "epsilon").relevance
    found = reflrp.explain(proto, x, "epsilon", backend="onnxruntime", dtype="float32").relevance
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("name", COPIED)
def test_what_takes_each_entry_is_compiled(name):
    """By scales of 1, and by others that take the same entries, nothing is between the copy and the standard."""
    proto, x = network(COPIED[name], 1.0, pos=POSITIONS), models.draw(2, 1, 3, 3)
    found = run(reflrp.compile(proto, "epsilon"), {"x": x})["relevance/x"]
    np.testing.assert_allclose(found, reflrp.explain(proto, x, "epsilon").relevance, atol=1e-5)


def test_one_axis_that_stays_beside_one_that_grows():
    node = 'u = Resize <mode = "linear">(x, , t) m = Slice(u, a, e, one)'
    text = f"{node} h = Relu(m) f = Flatten(h) y = MatMul(f, w)"
    proto = models.model(
        text, "float[N,1,3,3] x", w=models.draw(18, 2), t=np.float32([1, 1, 1.3, 2]),
        a=models.ints(0), e=models.ints(3), one=models.ints(2),
    )  # fmt: skip
    x = models.draw(2, 1, 3, 3)
    found = run(reflrp.compile(proto, "epsilon"), {"x": x})
    wanted = reflrp.explain(proto, x, "epsilon")
    np.testing.assert_allclose(found["y"].max(axis=1), np.ravel(wanted.output.max(axis=1)), rtol=1e-5)
    np.testing.assert_allclose(found["relevance/x"], wanted.relevance, atol=1e-5 * np.abs(wanted.relevance).max())
