"""LSTM, GRU and RNN: forward in every arrangement, the ledger, and LRP_for_LSTM written out from its formulas."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import reflrp
from reflrp import rules
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


# ---------------------------------------------------------------- the operators, in every arrangement

T, N, E, HIDDEN = 4, 3, 3, 5
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
WAYS = ["forward", "reverse", "bidirectional"]
ACTIVATIONS = {
    "LSTM": [["HardSigmoid", "Relu", "Softsign"], ["Sigmoid", "LeakyRelu", "Tanh"]],
    "GRU": [["HardSigmoid", "Softsign"], ["Sigmoid", "Elu"]],
    "RNN": [["Relu"], ["Softplus"]],
}
ARRANGEMENTS = {
    "plain": {},
    "bias": {"B": True},
    "states": {"B": True, "initial": True},
    "lengths": {"B": True, "lengths": [4, 2, 1]},
    "both": {"B": True, "initial": True, "lengths": [2, 4, 3]},
    "clip": {"B": True, "clip": 0.6},
    "activations": {"B": True, "activations": 0},
    "alphas": {"B": True, "activations": 1, "alpha": 0.3},
    "layout": {"B": True, "initial": True, "layout": 1},
}
ONLY = {
    "LSTM": {"peepholes": {"B": True, "P": True}, "coupled": {"B": True, "input_forget": 1},
             "clip peepholes": {"B": True, "P": True, "clip": 0.4, "initial": True},
             "coupled peepholes": {"B": True, "P": True, "input_forget": 1, "initial": True}},
    "GRU": {"after": {"B": True, "linear_before_reset": 1},
            "clip after": {"B": True, "linear_before_reset": 1, "clip": 0.4, "initial": True},
            "after lengths": {"B": True, "linear_before_reset": 1, "lengths": [1, 3, 4], "initial": True}},
    "RNN": {},
}  # fmt: skip
CASES = [(op, way, name) for op in GATES for way in WAYS for name in (*ARRANGEMENTS, *ONLY[op])]


def recurrent(op, way, name, dtype=np.float64):
    """A model of one recurrent node, its input, and the same in time-first layout, which onnxruntime wants."""
    has = {**ARRANGEMENTS, **ONLY[op]}[name]
    rng, ways, g = np.random.default_rng(len(name)), 2 if way == "bidirectional" else 1, GATES[op]
    constants = {"W": rng.standard_normal((ways, g * HIDDEN, E)), "R": rng.standard_normal((ways, g * HIDDEN, HIDDEN))}
    names = ["x", "W", "R", "", "", "", "", ""]
    if has.get("B"):
        constants["B"], names[3] = rng.standard_normal((ways, 2 * g * HIDDEN)), "B"
    if "lengths" in has:
        constants["L"], names[4] = np.asarray(has["lengths"], dtype=np.int32), "L"
    if has.get("initial"):
        for i, k in ((5, "h0"), (6, "c0"))[: 2 if op == "LSTM" else 1]:
            constants[k], names[i] = rng.standard_normal((ways, N, HIDDEN)), k
    if has.get("P"):
        constants["P"], names[7] = 0.5 * rng.standard_normal((ways, 3 * HIDDEN)), "P"
    attributes = {k: has[k] for k in ("clip", "input_forget", "linear_before_reset") if k in has}
    if "activations" in has:
        attributes["activations"] = ACTIVATIONS[op][has["activations"]] * ways
    if "alpha" in has and op != "RNN":
        attributes["activation_alpha"] = [has["alpha"]] * ways
    x = rng.standard_normal((T, N, E))
    made = []
    for layout in (0, has.get("layout", 0)):
        first = {k: v.swapaxes(0, 1) if layout and k in ("h0", "c0") else v for k, v in constants.items()}
        first = {k: v.astype(dtype) if v.dtype == np.float64 else v for k, v in first.items()}
        more = {"layout": 1} if layout else {}
        outputs = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
        node = helper.make_node(op, names, outputs, direction=way, hidden_size=HIDDEN, **attributes, **more)
        while node.input and not node.input[-1]:
            node.input.pop()
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        shape = [N, T, E] if layout else [T, N, E]
        graph = helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info(o, kind, None) for o in outputs],
            [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in first.items()],
        )
        made.append(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8))
    return made[1], x.swapaxes(0, 1) if has.get("layout") else x, made[0], x


@pytest.mark.parametrize(("op", "way", "name"), CASES)
def test_forward_as_onnxruntime(op, way, name):
    """In float32, since onnxruntime has no other; it has no layout 1, so that the time-first node stands for it."""
    ort = pytest.importorskip("onnxruntime")
    ours, x, theirs, time_first = recurrent(op, way, name, np.float32)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(theirs.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": time_first.astype(np.float32)})
    found = reflrp.load(ours).run({"x": x.astype(np.float32)})
    for output, array in zip(session.get_outputs(), wanted, strict=True):
        expected = array
        if x is not time_first:
            expected = array.transpose(2, 0, 1, 3) if output.name == "Y" else array.swapaxes(0, 1)
        assert np.abs(found[output.name] - expected).max() < 2e-6 * max(1, np.abs(expected).max()), output.name


LITERAL = {
    "LeakyRelu": (lambda z, a, b: np.where(z >= 0, z, a * z), 0.01, None),
    "HardSigmoid": (lambda z, a, b: np.clip(a * z + b, 0, 1), 0.2, 0.5),
    "Elu": (lambda z, a, b: np.where(z >= 0, z, a * (np.exp(z) - 1)), 1.0, None),
    "ThresholdedRelu": (lambda z, a, b: np.where(z >= a, z, 0), "", None),
    "Affine": (lambda z, a, b: a * z + b, "", 0.0),
    "ScaledTanh": (lambda z, a, b: a * np.tanh(b * z), "", ""),
}
"""f(z, alpha, beta), and their defaults by ONNX; "": none that ONNX and onnxruntime agree on."""


@pytest.mark.parametrize("given", [(), (0.3,), (None, 0.7), (0.3, 0.7)])
@pytest.mark.parametrize("name", LITERAL)
def test_parameters_that_are_left_out(name, given):
    """As the standard has them where onnxruntime has the same, and else refused with what to write."""
    ort = pytest.importorskip("onnxruntime")
    function, *defaults = LITERAL[name]
    values = [d if v is None else v for v, d in zip((*given, None, None)[:2], defaults, strict=True)]
    asked = {f"activation_{k}": [v] for k, v in zip(("alpha", "beta"), given, strict=False) if v is not None}
    node = helper.make_node("RNN", ["x", "W", "R"], ["y"], hidden_size=3, activations=[name], **asked)
    ports = [helper.make_tensor_value_info("x", 1, [1, 1, 3])], [helper.make_tensor_value_info("y", 1, [1, 1, 1, 3])]
    weights = [
        numpy_helper.from_array(a[None].astype(np.float32), k) for k, a in (("W", np.eye(3)), ("R", 0 * np.eye(3)))
    ]
    model = helper.make_model(
        helper.make_graph([node], "g", *ports, weights), opset_imports=[helper.make_opsetid("", 14)], ir_version=8
    )
    x = np.array([[[-1.5, 0.4, 1.7]]], np.float32)
    if "" in values:
        kind = ("alpha", "beta")[values.index("")]
        for ask in (lambda: reflrp.explain(model, x), lambda: reflrp.compile(model, "epsilon")):
            with pytest.raises(
                reflrp.UnsupportedOperator, match=rf"{name}' has no activation_{kind}.*write the one that is meant"
            ):
                ask()
        return
    found = reflrp.load(model).run({"x": x})["y"].ravel()
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for other in (function(x, *values), session.run(None, {"x": x})[0]):
        np.testing.assert_allclose(found, other.ravel(), atol=1e-6)


@pytest.mark.parametrize(("op", "way", "name"), CASES)
def test_ledger_closes(op, way, name):
    """What comes in goes on, or is accounted for, with every output; padding gets nothing."""
    model, x, _, _ = recurrent(op, way, name)
    has = {**ARRANGEMENTS, **ONLY[op]}[name]
    for output in [o.name for o in model.graph.output]:
        R = np.random.default_rng(0).standard_normal(reflrp.load(model).run({"x": x})[output].shape)
        explainer = reflrp.Explainer(model, rules="lstm", output=output)
        e = explainer(x, init=R)
        assert e.conservation.worst < 1e-12
        totals = e.conservation.totals
        kept = totals["inputs"] + totals["bias"] + totals["stabilizer"] + totals["dropped"]
        assert np.isclose(kept, totals["seed"], rtol=0, atol=1e-9 * np.abs(R).sum())
        for n, length in enumerate(has.get("lengths", ())):
            assert not np.any(e.relevance[length:, n])


@pytest.mark.parametrize("op", GATES)
def test_a_sum_of_recurrent_rules_without_epsilon(op):
    """LRP-0 without biases and initial states: a product's signal takes all, so that only the products' halves stay."""
    model, x, _, _ = recurrent(op, "bidirectional", "plain")
    e = reflrp.Explainer(model, rules=reflrp.composites.preset("lstm", epsilon=0.0), output="Y_h")(
        x, init=np.ones((2, N, HIDDEN))
    )
    totals = e.conservation.totals
    flow = np.abs(e.relevance).sum()
    if op != "GRU":  # 1 - z adds a constant
        assert abs(totals["bias"]) < 1e-9 * flow
    assert abs(totals["dropped"]) < 1e-9 * flow
    assert np.isclose(totals["inputs"] + totals["bias"], totals["seed"], rtol=0, atol=1e-9 * flow)


def gradient_by_differences(model, x, output, R):
    loaded, found, h = reflrp.load(model), np.zeros_like(x), 2.0**-20
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = h
        up, down = (loaded.run({"x": x + s * step})[output] for s in (1, -1))
        found[i] = ((up - down) * R).sum() / (2 * h)
    return found


@pytest.mark.parametrize(("op", "name"), [(op, name) for op in GATES for name in ("both", "layout", *ONLY[op])])
def test_the_unrolled_graph_by_its_gradient(op, name):
    """The chain rule through the unrolled nodes is the derivative of what they compute."""
    model, x, _, _ = recurrent(op, "bidirectional", name)
    R = np.random.default_rng(1).standard_normal(reflrp.load(model).run({"x": x})["Y"].shape)
    e = reflrp.Explainer(model, rules="gradient", output="Y")(x, init=R)
    assert np.abs(e.relevance - gradient_by_differences(model, x, "Y", R)).max() < 1e-7


def test_half_and_proportional_products_in_a_cell():
    """Other rules for the gates' products: in halves, by contribution; each closes."""
    arrays = weights(np.random.default_rng(8))
    x = np.random.default_rng(9).standard_normal((4, 2, 3))
    base = reflrp.composites.preset("lstm").pairs
    found = []
    for rule in (rules.Half(1e-6), rules.EpsilonUniform(1e-6), rules.ProductAlphaBeta(2.0, 1.0)):
        mine = reflrp.composites.Composite(((reflrp.composites.kind("product"), rule), *base))
        e = reflrp.explain(bidirectional(*arrays), x, rules=mine, target=1)
        assert e.conservation.worst < 1e-12
        found.append(e.relevance)
    assert not np.allclose(found[0], found[2])


def test_an_unrolled_network_is_served_alike():
    """The same LSTM written step by step, as exporters unroll it: the preset gives the same, but for the bias."""
    W, R, B, Wy = weights(np.random.default_rng(4), ways=1)
    d, steps = R.shape[2], 3
    bias = np.zeros_like(B)
    x = np.random.default_rng(5).standard_normal((steps, 2, W.shape[2]))
    nodes, h, c = [], "", ""

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    for t in range(steps):
        at = node("Gather", ["x", f"t{t}"], f"x{t}", axis=0)
        both = node("Concat", [at, h or "zeros"], f"in{t}", axis=1)
        node("MatMul", [both, "both"], f"z{t}")
        nodes.append(helper.make_node("Split", [f"z{t}"], [f"z{k}{t}" for k in "iofc"], axis=1))
        for k in "iof":
            node("Sigmoid", [f"z{k}{t}"], f"{k}{t}")
        g = node("Tanh", [f"zc{t}"], f"g{t}")
        write = node("Mul", [f"i{t}", g], f"write{t}")
        c = node("Add", [node("Mul", [f"f{t}", c], f"keep{t}"), write], f"c{t}") if c else write
        h = node("Mul", [f"o{t}", node("Tanh", [c], f"tanh{t}")], f"h{t}")
    node("MatMul", [h, "Wy"], "score")
    constants = {
        "both": np.concatenate([W[0], R[0]], axis=1).T.copy(), "Wy": Wy, "zeros": np.zeros((2, d)),
        **{f"t{t}": np.asarray(t) for t in range(steps)},
    }  # fmt: skip
    unrolled = wrapped(nodes, [("x", list(x.shape))], [("score", [2, Wy.shape[1]])], constants)
    native = [
        helper.make_node("LSTM", ["x", "W", "R", "B"], ["", "h"], hidden_size=d),
        helper.make_node("Squeeze", ["h", "axes"], ["s"]),
        helper.make_node("MatMul", ["s", "Wy"], ["score"]),
    ]
    own = {"W": W, "R": R, "B": bias, "Wy": Wy, "axes": np.asarray([0])}
    lstm = wrapped(native, [("x", list(x.shape))], [("score", [2, Wy.shape[1]])], own)
    one, two = (reflrp.explain(m, x, rules="lstm", target=1) for m in (unrolled, lstm))
    assert np.abs(one.output - two.output).max() < 1e-12
    assert np.abs(one.relevance - two.relevance).max() < 1e-12
