"""LSTM, GRU and RNN: forward in every arrangement, the ledger, and LRP_for_LSTM written out from its formulas."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import reflrp
from reflrp.dialects import lrp_for_lstm

TRAINED = Path(__file__).parents[2] / "shared" / "data" / "lstm_sst" / "bilstm.onnx"


# ---------------------------------------------------------------- Arras et al. 2017, one sample, one unit at a time


def sgn(z):
    return 1.0 if z >= 0 else -1.0


def linear(h, w, b, z, R, units, eps, factor):
    """R_j = sum_k (w_jk h_j + factor (b_k + eps sgn z_k) / units) / (z_k + eps sgn z_k) R_k."""
    found = np.zeros(len(h))
    for j in range(len(h)):
        for k in range(len(z)):
            share = w[j][k] * h[j] + factor * (b[k] + eps * sgn(z[k])) / units
            found[j] += share / (z[k] + eps * sgn(z[k])) * R[k]
    return found


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class OneWay:
    """One direction over one sequence x (T, e), forward and back. ONNX has the gates in the order i, o, f, g."""

    def __init__(self, x, W, R, B):
        d, T = R.shape[1], len(x)
        self.x, self.T, self.d, self.e = x, T, d, x.shape[1]
        self.Wx, self.Wh, self.b = W[3 * d :], R[3 * d :], (B[: 4 * d] + B[4 * d :])[3 * d :]
        b = B[: 4 * d] + B[4 * d :]
        self.h, self.c = np.zeros((T + 1, d)), np.zeros((T + 1, d))  # the last row, -1, is the initial state
        self.i, self.f, self.g, self.pre = (np.zeros((T, d)) for _ in range(4))
        for t in range(T):
            z = W @ x[t] + R @ self.h[t - 1] + b
            self.i[t], o, self.f[t] = sigmoid(z[:d]), sigmoid(z[d : 2 * d]), sigmoid(z[2 * d : 3 * d])
            self.pre[t], self.g[t] = z[3 * d :], np.tanh(z[3 * d :])
            self.c[t] = self.f[t] * self.c[t - 1] + self.i[t] * self.g[t]
            self.h[t] = o * np.tanh(self.c[t])

    def lrp(self, R_h, eps, factor):
        """Return the relevance of x, and what is left at the initial states, given that of the last h."""
        T, d, e = self.T, self.d, self.e
        Rh, Rc, Rx, eye = np.zeros((T + 1, d)), np.zeros((T + 1, d)), np.zeros((T, e)), np.eye(d)
        Rh[T - 1] = R_h
        for t in reversed(range(T)):
            Rc[t] += Rh[t]
            both = (self.c[t], Rc[t], 2 * d, eps, factor)
            Rc[t - 1] = linear(self.f[t] * self.c[t - 1], eye, np.zeros(d), *both)
            Rg = linear(self.i[t] * self.g[t], eye, np.zeros(d), *both)
            Rx[t] = linear(self.x[t], self.Wx.T, self.b, self.pre[t], Rg, d + e, eps, factor)
            Rh[t - 1] = linear(self.h[t - 1], self.Wh.T, self.b, self.pre[t], Rg, d + e, eps, factor)
        return Rx, Rh[-1].sum() + Rc[-1].sum()


def by_formula(x, W, R, B, Wy, target, eps, factor):
    """Relevance (T, N, e), what is left at the initial states, and the scores, for x (T, N, e)."""
    found, rest, scores = np.zeros(x.shape), 0.0, []
    for n, k in enumerate(target):
        ways = [OneWay(x[:, n], W[0], R[0], B[0]), OneWay(x[::-1, n], W[1], R[1], B[1])]
        d = ways[0].d
        s = np.concatenate([way.h[way.T - 1] for way in ways]) @ Wy
        seed = np.where(np.arange(len(s)) == k, s, 0.0)
        for i, way in enumerate(ways):
            none = np.zeros(len(s))
            R_h = linear(way.h[way.T - 1], Wy[i * d : (i + 1) * d], none, s, seed, 2 * d, eps, factor)
            Rx, left = way.lrp(R_h, eps, factor)
            found[:, n] += Rx if i == 0 else Rx[::-1]
            rest += left
        scores.append(s)
    return found, rest, np.asarray(scores)


def bidirectional(W, R, B, Wy):
    """The network of the paper: a two-way LSTM, its last states side by side, and a layer without bias."""
    d = R.shape[2]
    nodes = [
        helper.make_node("LSTM", ["x", "W", "R", "B"], ["", "h"], direction="bidirectional", hidden_size=d),
        helper.make_node("Transpose", ["h"], ["ht"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["ht", "shape"], ["hr"]),
        helper.make_node("MatMul", ["hr", "Wy"], ["score"]),
    ]
    constants = {"W": W, "R": R, "B": B, "Wy": Wy, "shape": np.asarray([-1, 2 * d])}
    return wrapped(nodes, [("x", ["T", "N", W.shape[2]])], [("score", ["N", Wy.shape[1]])], constants)


def wrapped(nodes, inputs, outputs, constants):
    """A checked model of float64 values."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.DOUBLE, s) for n, s in inputs],
        [helper.make_tensor_value_info(n, TensorProto.DOUBLE, s) for n, s in outputs],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    return model


def weights(rng, e=3, d=4, classes=2, ways=2):
    shapes = (ways, 4 * d, e), (ways, 4 * d, d), (ways, 8 * d), (ways * d, classes)
    return [rng.standard_normal(s) for s in shapes]


def assert_arras(model, arrays, x, target, eps, factor):
    """Per word the same to 1e-9; and with bias_factor 1, all of the score is accounted for."""
    wanted, rest, scores = by_formula(x, *arrays, target, eps, factor)
    e = reflrp.explain(model, x, rules=lrp_for_lstm.LRP(eps, factor), target=target)
    scale = max(1, np.abs(wanted).max())
    assert np.abs(e.output - scores).max() < 1e-9 * max(1, np.abs(scores).max())
    assert np.abs(e.relevance - wanted).max() < 1e-9 * scale
    assert np.abs(e.relevance.sum(axis=2) - wanted.sum(axis=2)).max() < 1e-9 * scale
    assert e.conservation.worst < 1e-9
    if factor == 1:
        totals = e.conservation.totals
        assert abs(totals["stabilizer"]) < 1e-9 * scale
        assert np.isclose(totals["bias"] + totals["dropped"], rest, rtol=0, atol=1e-9 * scale)
        assert np.isclose(e.relevance.sum() + rest, sum(scores[range(len(target)), target]), rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("eps", [0.001, 0.25])
def test_small_lstm_as_arras(eps, factor):
    rng = np.random.default_rng(3)
    arrays = weights(rng)
    assert_arras(bidirectional(*arrays), arrays, rng.standard_normal((4, 3, 3)), [1, 0, 1], eps, factor)


@pytest.mark.skipif(not TRAINED.exists(), reason="needs ../shared/data/lstm_sst")
@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_trained_lstm_as_arras(factor):
    """The weights of Li et al. 2016, in the file as float32: both read them so."""
    model = onnx.load(TRAINED)
    arrays = {i.name: numpy_helper.to_array(i).astype(np.float64) for i in model.graph.initializer}
    arrays = [arrays[k] for k in ("W", "R", "B", "Wy")]
    x = 0.3 * np.random.default_rng(0).standard_normal((5, 2, 60))
    assert_arras(model, arrays, x, [4, 0], 0.001, factor)


@pytest.mark.skipif(not TRAINED.exists(), reason="needs ../shared/data/lstm_sst")
def test_trained_lstm_conserves_for_each_sample():
    """bias_factor 1: what the words get and what is left at the initial states is the score, sample by sample."""
    explainer = reflrp.Explainer(TRAINED, rules=lrp_for_lstm.LRP(bias_factor=1.0))
    x = 0.3 * np.random.default_rng(1).standard_normal((7, 4, 60))
    whole = explainer(x)
    for n in range(4):
        e = explainer(x[:, n : n + 1])
        totals = e.conservation.totals
        assert abs(e.relevance.sum() + totals["bias"] + totals["dropped"] - e.output[0, e.target[0][0]]) < 1e-9
        assert abs(totals["stabilizer"]) < 1e-9
        assert np.abs(whole.relevance[:, n] - e.relevance[:, 0]).max() < 1e-12


def test_lrp_linear_is_checked():
    with pytest.raises(reflrp.RuleError, match="eps must be a number >= 0"):
        lrp_for_lstm.lrp_linear(eps=-1)
    with pytest.raises(reflrp.RuleError, match="bias_nb_units must be at least 1"):
        lrp_for_lstm.lrp_linear(bias_nb_units=0)


@pytest.mark.parametrize("units", [None, 3, 5])
@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_lrp_linear_on_a_layer(units, factor):
    rng = np.random.default_rng(5)
    w, b, x = rng.standard_normal((3, 2)), rng.standard_normal(2), rng.standard_normal((2, 3))
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"])
    model = wrapped([node], [("x", ["N", 3])], [("y", ["N", 2])], {"w": w, "b": b})
    e = reflrp.explain(model, x, rules=lrp_for_lstm.lrp_linear(0.1, factor, units), target=1)
    z = x @ w + b
    for row, a, out in zip(e.relevance, x, z, strict=True):
        seed = [0.0, out[1]]
        assert np.allclose(row, linear(a, w, b, out, seed, units or 3, 0.1, factor), rtol=1e-12)
    assert e.conservation.worst < 1e-12
