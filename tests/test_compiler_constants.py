"""Arrays that rules make themselves (ones, bounds of a box), where a compiled graph leaves a length open.

Such a constant has one entry along an open axis. A map that sums that axis, or picks entries from it, must count them all.
"""

import models
import numpy as np
import pytest
from compiled import part, run

import reflrp
from reflrp import rules
from reflrp.composites import Composite, kind
from reflrp.composites.composite import defaults

LENGTHS = ((2, 1), (1, 3), (3, 8))
RULES = (rules.Flat(), rules.WSquare(), rules.ZBox(-4.0, 4.0), rules.ZBox(-1.0, 2.0), rules.Gradient())
INPUT = "float[N,T,3] x"
NETS = {
    "sum": ("y = ReduceSum <keepdims = 0>(x, one)", {"one": models.ints(1)}),
    "sum of both": ("y = ReduceSum <keepdims = 1>(x, both)", {"both": models.ints(1, 2)}),
    "mean": ("y = ReduceMean <axes = [1], keepdims = 0>(x)", {}),
    "maximum": ("y = ReduceMax <axes = [1], keepdims = 0>(x)", {}),
    "larger": ("h = MatMul(x, w) y = Max(x, h, b)", {"w": (3, 3), "b": (3,)}),
    "einsum": ('y = Einsum <equation = "btd->bd">(x)', {}),
    "einsum by weights": ('y = Einsum <equation = "btd,de->be">(x, w)', {"w": (3, 2)}),
    "windows": ("t = Transpose <perm = [0, 2, 1]>(x) y = AveragePool <kernel_shape = [2], pads = [1, 0]>(t)", {}),
    "windows of one": ("t = Transpose <perm = [0, 2, 1]>(x) y = AveragePool <kernel_shape = [1]>(t)", {}),
    "sum of windows": (
        "t = Transpose <perm = [0, 2, 1]>(x) p = AveragePool <kernel_shape = [1]>(t) y = ReduceSum <keepdims = 0>(p, both)",
        {"both": models.ints(1, 2)},
    ),
    "sum of maxima": (
        "t = Transpose <perm = [0, 2, 1]>(x) p = MaxPool <kernel_shape = [1]>(t) y = ReduceSum <keepdims = 0>(p, both)",
        {"both": models.ints(1, 2)},
    ),
    "maxima": ("t = Transpose <perm = [0, 2, 1]>(x) y = MaxPool <kernel_shape = [2], pads = [1, 0]>(t)", {}),
}


def by(rule):
    """One rule on every linear map, maxima included."""
    maps = kind("dense") | kind("pool") | kind("max") | kind("sum")
    return Composite(((maps, rule), *defaults(0.1)), "one rule", ())


@pytest.mark.parametrize("init", ["output", "one"])
@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("net", NETS)
def test_all_entries_along_an_open_axis_count(net, rule, init):
    body, weights = NETS[net]
    proto = models.model(body, INPUT, **weights)
    g = reflrp.compile(proto, by(rule), init=init, strip=False)
    for seed, (batch, time) in enumerate(LENGTHS):
        x = models.draw(batch, time, 3, seed=seed).astype(np.float32)
        wanted = reflrp.explain(proto, x, by(rule), init=init, strip=False).relevance
        assert part(run(g, {"x": x})["relevance/x"], wanted) < 1e-4, (batch, time)


def test_flat_gives_each_summand_an_equal_part():
    proto = models.model(NETS["sum"][0], INPUT, one=models.ints(1))
    R = models.draw(2, 3).astype(np.float32)
    found = run(reflrp.compile(proto, by(rules.Flat()), init="input"), {"x": np.ones((2, 5, 3), np.float32), "init": R})
    np.testing.assert_allclose(found["relevance/x"], np.repeat(R[:, None] / 5, 5, axis=1), rtol=1e-5)
