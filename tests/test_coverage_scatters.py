"""Scatters with the reductions max, min and mul: what comes together at an entry competes for it, or scales it."""

import models
import numpy as np
import pytest
from compiled import check

import reflrp

INDEX = np.array([[1, 3, 3, 5, 3]])


def net(reduction, n="N"):
    """Five updates a sample, of which three go to one entry; updates and data are both worked out of x."""
    return models.model(
        f"v = MatMul(x, g) s = Shape(v) j = Expand(i, s) [sc] u = ScatterElements <axis = 1, reduction = \"{reduction}\">(x, j, v) "
        "y = MatMul(u, f)",
        f"float[{n},6] x", opset=18, g=(6, 5), f=(6, 2), i=INDEX,
    )  # fmt: skip


@pytest.mark.parametrize("reduction", ["max", "min"])
def test_the_winner_gets_the_relevance(reduction):
    """Against a loop over the entries: who is largest, or smallest, takes what arrives."""
    proto, x = net(reduction), models.draw(4, 6).astype(float)
    models.assert_same_as_onnxruntime(proto, {"x": x.astype(np.float32)})
    g, f = (np.asarray(models.onnx.numpy_helper.to_array(t), float) for t in proto.graph.initializer[:2])
    best = max if reduction == "max" else min
    rules = {"sc*": reflrp.rules.WinnerTakesAll(), "*": reflrp.rules.Epsilon(1e-9)}
    found = reflrp.explain(proto, x, rules, target=0, progress=False).relevance
    for row, given in zip(x, found, strict=True):
        v, wanted, u, winners = row @ g, np.zeros(6), np.zeros(6), []
        for k in range(6):
            many = [(row[k], -1)] + [(v[m], m) for m in range(5) if INDEX[0, m] == k]
            u[k], winner = best(many)
            winners.append(winner)
        for k, winner in enumerate(winners):
            if winner < 0:
                wanted[k] += u[k] * f[k, 0]
            else:
                wanted += row * g[:, winner] * f[k, 0]
        np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-6)
    for n in (1, 2, 5):
        check(proto, {"x": models.draw(n, 6)}, rules)


@pytest.mark.parametrize("reduction", ["max", "min", "mul"])
def test_constant_updates_in_rows(reduction):
    proto = models.model(
        f'u = ScatterND <reduction = "{reduction}">(x, i, v) y = MatMul(u, f)', "float[4,6] x", opset=18,
        i=np.array([[1], [3], [3]]), v=(3, 6), f=(6, 2),
    )  # fmt: skip
    x = models.draw(4, 6)
    models.assert_same_as_onnxruntime(proto, {"x": x})
    check(proto, {"x": x}, "epsilon")
    v = np.asarray(models.onnx.numpy_helper.to_array(proto.graph.initializer[1]), float)
    f = np.asarray(models.onnx.numpy_helper.to_array(proto.graph.initializer[2]), float)
    rows = {0: [], 1: [v[0]], 2: [], 3: [v[1], v[2]]}
    of = {"max": np.max, "min": np.min, "mul": np.prod}[reduction]
    u = np.array([of([row, *rows[k]], axis=0) for k, row in enumerate(x.astype(float))])
    own = u == x if reduction != "mul" else np.ones(x.shape, bool)  # what a constant wins, it keeps
    e = reflrp.explain(proto, x, "epsilon", target=1, progress=False)
    np.testing.assert_allclose(e.relevance, np.where(own, u * f[:, 1], 0), rtol=1e-3, atol=1e-5)


def test_observed_indices_as_of_a_graph():
    """The largest message of each node's neighbours, by edges that are an input."""
    proto = models.model(
        'm = Gather(x, a) u = ScatterElements <axis = 0, reduction = "max">(x, b, m) y = MatMul(u, f)',
        "float[4,3] x, int64[5] a, int64[5,3] b", opset=18, f=(3, 2),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for _ in range(3):
        to = np.repeat(rng.integers(0, 4, (5, 1)), 3, axis=1)
        feeds = {"x": models.draw(4, 3, seed=int(to.sum())), "a": rng.integers(0, 4, 5), "b": to}
        models.assert_same_as_onnxruntime(proto, feeds)
        e = reflrp.explain(proto, feeds, "epsilon", progress=False)
        np.testing.assert_allclose(e.relevances["x"].sum(), e.output.max(axis=1).sum(), rtol=1e-3)


def test_a_product_with_updates_of_the_data_is_refused_with_a_way_out():
    with pytest.raises(reflrp.UnsupportedOperator, match=r"'sc'.*'mul'.*write it as Mul"):
        reflrp.explain(net("mul"), models.draw(2, 6))
