"""Entries that are masked (numpy.ma) have no value: wherever an array is given, they are refused, and not taken for numbers."""

import numpy as np
import pytest
from models import draw, model

import reflrp


def net():
    return model("y = MatMul(x, w)", w=(4, 3), inputs="float[N,4] x")


def gappy(count=1):
    """Rows of which some entries are masked."""
    x = np.ma.array(draw(2, 4), mask=False)
    x[0, :count] = np.ma.masked
    return x


WAYS = {
    "explain": lambda x: reflrp.explain(net(), x, "epsilon"),
    "by name": lambda x: reflrp.explain(net(), {"x": x}, "epsilon"),
    "in a list": lambda x: reflrp.explain(net(), [*x], "epsilon"),
    "Explainer": reflrp.Explainer(net(), "epsilon"),
    "each": lambda x: reflrp.Explainer(net(), "epsilon").each(x, [0, 1]),
    "onnxruntime": reflrp.Explainer(net(), "epsilon", backend="onnxruntime", dtype="float32"),
    "map": lambda x: [*reflrp.Explainer(net(), "epsilon").map(x, batch_size=1)],
    "map of batches": lambda x: [*reflrp.Explainer(net(), "epsilon").map([{"x": x}])],
    "run": lambda x: reflrp.load(net()).run(x),
}


@pytest.mark.parametrize("way", WAYS)
def test_masked_inputs_are_refused(way):
    with pytest.raises(reflrp.InputError, match=r"masked entries \(\d of \d\).*filled"):
        WAYS[way](gappy())


def test_it_says_of_what():
    with pytest.raises(reflrp.InputError, match=r"input 'x' has masked entries \(3 of 8\)"):
        reflrp.explain(net(), gappy(3), "epsilon")
    init = np.ma.array(np.ones((2, 3)), mask=np.eye(2, 3))
    with pytest.raises(reflrp.InputError, match=r"init has masked entries \(2 of 6\)"):
        reflrp.explain(net(), draw(2, 4), "epsilon", init=init)
    with pytest.raises(reflrp.InputError, match=r"target.* has masked entries"):
        reflrp.explain(net(), draw(2, 4), "epsilon", target=np.ma.array([0, 1], mask=[True, False]))


@pytest.mark.parametrize("way", ["explain", "in a list", "onnxruntime"])
def test_a_mask_that_covers_nothing_loses_nothing(way):
    x = gappy(0)
    assert WAYS[way](x) == WAYS[way](x.data)
