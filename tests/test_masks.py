"""Masks between softmax and values: whatever multiplies attention weights and carries no relevance is a constant."""

import numpy as np
import pytest
from models import draw, ints, model

import reflrp

N, T, D = 2, 4, 3
SCORES = "k = Transpose <perm = [0, 2, 1]>(x) s = MatMul(x, k) p = Softmax <axis = 2>(s)"
END = "h = MatMul(m, x) y = Reshape(h, flat)"
HEADS = draw(1, T, T, seed=3)
MASKS = {
    "none": ("m = Identity(p)", {}),
    "constant": ("m = Mul(p, c)", {"c": HEADS}),
    "constant, first": ("m = Mul(c, p)", {"c": HEADS}),
    "of tokens": ("b = Cast <to = 1>(keep) u = Unsqueeze(b, one) m = Mul(p, u)", {"one": ints(1)}),
    "and divided by the sum": ("n = Mul(p, c) d = ReduceSum(n, last) m = Div(n, d)", {"c": abs(HEADS), "last": ints(2)}),
    "a choice": ("b = Cast <to = 9>(keep) u = Unsqueeze(b, one) m = Where(u, p, zero)", {"one": ints(1), "zero": np.float32(0)}),
}  # fmt: skip


def network(name):
    body, weights = MASKS[name]
    keep = ", int64[2,4] keep" if "keep" in body else ""
    return model(f"{SCORES} {body} {END}", f"float[{N},{T},{D}] x{keep}", flat=ints(N, T * D), **weights)


@pytest.mark.parametrize("name", MASKS)
def test_all_goes_through_the_values(name):
    """cp_lrp: R_v[j] = v[j] sum_i m[i, j] R[i] / st(y[i]), the weights m being constants, mask and all."""
    x, keep = draw(N, T, D, seed=1).astype(float), np.array([[1, 1, 0, 1], [1, 0, 1, 1]])
    feeds = {"x": x} | ({"keep": keep} if "keep" in MASKS[name][0] else {})
    e = reflrp.explain(network(name), feeds, "cp_lrp", target=4, init="one")
    wanted = np.zeros_like(x)
    for n in range(N):
        s = x[n] @ x[n].T
        m = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
        if "c" in MASKS[name][1]:
            m = m * np.asarray(MASKS[name][1]["c"][0], float)
        if "keep" in feeds:
            m = m * keep[n]
        if name == "and divided by the sum":
            m = m / m.sum(axis=1, keepdims=True)
        y = sum(m[1, j] * x[n, j, 1] for j in range(T))
        for j in range(T):
            wanted[n, j, 1] = m[1, j] * x[n, j, 1] / (y + 1e-6 * (1 if y >= 0 else -1))
    assert np.abs(e.relevances["x"] - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert abs(e.conservation.totals["dropped"]) < 1e-9
