"""`dtype="exact"`: whole networks in fractions, against a literal oracle in fractions, with `==`."""

from fractions import Fraction

import numpy as np
import pytest
from models import draw, ints, model

import reflrp
from reflrp import rules
from reflrp.arrays.provenance import Own, Rounded, in_fractions, over, own, plus, times

X = draw(2, 4, seed=3)
G, OFF, M, V = draw(3, seed=1), draw(3, seed=2), draw(3, seed=3), np.abs(draw(3, seed=4)) + 1
W1, W2, B1 = draw(4, 3), draw(3, 2), draw(3, seed=9)
NET = model(
    "c = Gemm<alpha = 0.3>(x, w, b) n = BatchNormalization(c, g, o, m, v) r = LeakyRelu<alpha = 0.1>(n) d = Div(r, k) "
    "s = Add(d, r) y = MatMul(s, u)",
    w=W1, b=B1, g=G, o=OFF, m=M, v=V, k=np.float32([3, 0.7, 1.3]), u=W2,
)  # fmt: skip
for node in NET.graph.node:
    node.name = node.output[0]


def fractions(array):
    return np.vectorize(lambda v: Fraction(float(v)), otypes=[object])(array)


def shares(R, parts, constants, epsilon):
    """LRP-epsilon, literally: R_j = sum_k part_jk R_k / (z_k + epsilon sgn z_k); parts[j][k] for one sample."""
    z = [sum(parts[j][k] for j in range(len(parts))) + constants[k] for k in range(len(R))]
    st = [v + epsilon if v >= 0 else v - epsilon for v in z]
    return [sum(parts[j][k] * R[k] / st[k] for k in range(len(R))) for j in range(len(parts))]


def literal(x, epsilon, target):
    """The network above and its relevance, number by number: Norm on sums and scales, Pass on BatchNorm and activations."""
    x, w, b, u = fractions(x), fractions(W1), fractions(B1), fractions(W2)
    alpha, slope, k = (
        Fraction(float(np.float32(0.3))),
        Fraction(float(np.float32(0.1))),
        fractions(np.float32([3, 0.7, 1.3])),
    )
    root = np.sqrt(V.astype(np.float64) + 1e-5)
    c = [sum(x[i] * w[i, j] * alpha for i in range(4)) + b[j] for j in range(3)]
    n = [
        (c[j] - Fraction(float(M[j]))) * Fraction(float(G[j])) / Fraction(root[j]) + Fraction(float(OFF[j]))
        for j in range(3)
    ]
    r = [v if v >= 0 else slope * v for v in n]
    d = [r[j] / k[j] for j in range(3)]
    s = [d[j] + r[j] for j in range(3)]
    y = [sum(s[j] * u[j, i] for j in range(3)) for i in range(2)]
    Ry = [y[i] if i == target else Fraction(0) for i in range(2)]
    Rs = shares(Ry, [[s[j] * u[j, i] for i in range(2)] for j in range(3)], [0, 0], epsilon)
    pairs = [shares([Rs[j]], [[d[j]], [r[j]]], [0], epsilon) for j in range(3)]
    Rr = [one + shares([two], [[d[j]]], [0], epsilon)[0] for j, (two, one) in enumerate(pairs)]
    parts = [[x[i] * w[i, j] * alpha for j in range(3)] for i in range(4)]
    return y, shares(Rr, parts, b, epsilon)


@pytest.mark.parametrize("target", [0, 1])
def test_a_network_is_the_literal_oracle(target):
    """Gemm with an alpha, BatchNormalization, a slope, a quotient, a residual: to the last bit, and the ledger closes."""
    epsilon = Fraction(1, 10**6)
    e = reflrp.Explainer(NET, rules.Epsilon(), dtype="exact", canonize=())(X, target=target)
    for n in range(2):
        y, R = literal(X[n], epsilon, target)
        assert e.output[n].tolist() == y
        assert e.relevance[n].tolist() == R
    kept = e.conservation.totals
    assert kept["inputs"] + kept["bias"] + kept["stabilizer"] == kept["seed"] == e.output[:, target].sum()
    assert kept["error"] == kept["dropped"] == e.conservation.worst == 0


def test_float64_is_near():
    exact = reflrp.explain(NET, X, "epsilon", dtype="exact")
    near = reflrp.explain(NET, X, "epsilon")
    assert np.allclose(exact.rounded().relevance, near.relevance, rtol=1e-9, atol=1e-13)
    assert exact.rules.keys() == near.rules.keys()


def test_folding_is_exact():
    """The folded network's output is the unfolded one's, with ==."""
    folded = reflrp.explain(NET, X, "epsilon", dtype="exact", init="one")
    plain = reflrp.Explainer(NET, "epsilon", dtype="exact", canonize=())(X, init="one")
    assert folded.output.tolist() == plain.output.tolist()
    assert "n" not in folded.rules
    assert "n" in plain.rules


POOLED = model(
    "c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w) r = Relu(c) a = AveragePool<kernel_shape = [3, 3], "
    "pads = [1, 1, 1, 1]>(r) m = MaxPool<kernel_shape = [2, 2], strides = [1, 1]>(a) z = GlobalAveragePool(m) "
    "f = Flatten(z) y = MatMul(f, u)",
    "float[N,2,3,3] x", w=draw(3, 2, 3, 3), u=draw(3, 2),
)  # fmt: skip


@pytest.mark.parametrize(
    "preset", ["epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_gamma_box", "zennit.EpsilonPlus"]
)
def test_thirds_and_ninths_are_exact(preset):
    """A mean of nine is no float; relevance is conserved with == nevertheless, and float64 is near."""
    x = draw(1, 2, 3, 3)
    e = reflrp.explain(POOLED, x, preset, dtype="exact")
    kept = e.conservation.totals
    assert e.relevance.sum() + sum(kept[k] for k in ("bias", "stabilizer", "dropped")) == kept["seed"]
    assert kept["error"] == 0
    near = reflrp.explain(POOLED, x, preset).relevance
    assert np.allclose(e.relevance.astype(float), near, rtol=1e-9, atol=1e-12 * np.abs(near).max())


def test_zero_epsilon_conserves_all_of_it():
    net = model("h = MatMul(x, w) r = Relu(h) y = MatMul(r, u)", w=W1, u=W2)
    e = reflrp.explain(net, X, rules.Epsilon(Fraction(0)), dtype="exact")
    assert e.relevance.sum(axis=1).tolist() == [e.output[n][t] for n, t in enumerate(e.target)]


def test_fractions_as_inputs_and_parameters():
    x = np.array([[Fraction(1, 3), Fraction(-2, 7), Fraction(5), Fraction(0)]], dtype=object)
    seed = np.array([[Fraction(1, 3), Fraction(2, 3)]], dtype=object)
    e = reflrp.explain(NET, x, rules.Epsilon(Fraction(1, 4)), dtype="exact", init=seed)
    assert e.conservation.seed == 1
    assert isinstance(e.relevance[0, 0], Fraction)
    assert e.relevance[0, 3] == 0
    with pytest.raises(reflrp.InputError, match="input 'x'"):
        reflrp.explain(NET, x, "epsilon")


SOFT = model("h = MatMul(x, w) s = Softmax(h) t = Sigmoid(s) y = MatMul(t, u)", w=draw(4, 3), u=draw(3, 2))
NORM = model("y = LayerNormalization(x, s)", s=np.ones(4, np.float32))
TWICE = model('h = Einsum<equation = "ij,kj->i">(x, w)', outputs="float[] h", w=draw(3, 4))


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (SOFT, r"2 of 4 nodes: '\w+' \(onnx Softmax\), '\w+' \(onnx Sigmoid\)"),
        (NORM, "onnx LayerNormalization"),
        (TWICE, "rounded on the way"),
    ],
)
def test_what_are_no_fractions_is_refused_by_name(net, why):
    with pytest.raises(reflrp.InputError, match=why):
        reflrp.explain(net, X, "epsilon", dtype="exact")


@pytest.mark.parametrize(
    "rule",
    [rules.StdxEpsilon(), rules.Epsilon(stabilizer=rules.Stabilizer(norm_scale=True)), rules.Norm(lambda z: z + 1)],
)
def test_rules_that_compute_no_fractions(rule):
    with pytest.raises(reflrp.RuleError, match="no fractions"):
        reflrp.explain(NET, X, rule, dtype="exact")


def test_a_gpu_computes_no_fractions():
    with pytest.raises(reflrp.InputError, match="backend='numpy'"):
        reflrp.Explainer(NET, "epsilon", dtype="exact", backend="cupy")


def test_saving_and_drawing(tmp_path):
    pytest.importorskip("matplotlib")
    e = reflrp.explain(NET, X, "epsilon", dtype="exact", layers=True)
    with pytest.raises(reflrp.InputError, match=r"e\.rounded\(\)"):
        e.save(tmp_path / "e.npz")
    e.plot(tmp_path / "e.png")
    near = reflrp.Explanation.load(e.rounded().save(tmp_path / "e.npz"))
    assert near.relevance.dtype == np.float64
    assert near == e.rounded()
    assert "sum" in repr(e)
    assert str(e.conservation)


@pytest.mark.parametrize("rules_", ["epsilon", "attnlrp"])
@pytest.mark.parametrize("body", ["y = Mul(a, b)", "y = Div(a, b)", "y = Mul(a, a)"])
def test_products_of_values(body, rules_):
    net = model(f"a = MatMul(x, w) b = MatMul(x, v) {body}", w=W1, v=draw(4, 3, seed=8))
    e, near = (reflrp.explain(net, X, rules_, dtype=dtype) for dtype in ("exact", "float64"))
    assert e.conservation.totals["error"] == 0
    assert np.allclose(e.rounded().relevance, near.relevance, rtol=1e-9, atol=1e-12)


def test_conditions_and_a_notebook():
    e = reflrp.explain(POOLED, draw(1, 2, 3, 3), "epsilon", dtype="exact", conditions={"r": [0]})
    kept = e.conservation.totals
    assert sum(kept[k] for k in ("inputs", "bias", "stabilizer", "dropped")) == kept["seed"]
    assert "<table" in e._repr_html_()
    assert str(e.conservation)


def test_exact_explanations_are_not_put_together_with_others():
    parts = [reflrp.explain(NET, X, "epsilon", dtype=dtype) for dtype in ("exact", "float64")]
    with pytest.raises(reflrp.InputError, match=r"e\.rounded\(\)"):
        reflrp.Explanation.concatenate(parts)


def test_a_batch_in_cuts():
    one = reflrp.Explainer(NET, "epsilon", dtype="exact", batch_size=1)(X)
    assert one.relevance.tolist() == reflrp.explain(NET, X, "epsilon", dtype="exact").relevance.tolist()


def test_numbers_of_the_file_and_what_is_computed_from_them():
    """Parts and rearrangements stay the file's own; whatever arithmetic touches does not, by any way into NumPy."""
    x = own(np.arange(6.0).reshape(2, 3) / 3)
    kept = [
        x.T,
        x[0],
        x[:, ::2],
        x.reshape(3, 2),
        np.concatenate([x, x]),
        np.stack([x, x]),
        np.moveaxis(x, 0, 1),
        x.astype(float),
    ]
    assert all(type(k) is Own for k in kept)
    computed = [
        x + 1, 2 * x, x / 3, -x, x @ x.T, np.dot(x, x.T), x.dot(x.T), x.sum(), np.sum(x, axis=0), x.mean(0), np.einsum("ij->i", x),
        np.round(x, 1), x.round(1), np.tensordot(x, x, 2), np.outer(x, x), np.cumsum(x), np.sqrt(x), np.where(x > 0, x, 1 / 3),
        np.maximum(x, 0.1), np.linalg.norm(x, axis=0), np.interp(x, [0, 1], [0, 2]), np.pad(x, 1, constant_values=0.1),
        np.clip(x, 0, 0.5), x.clip(0, 0.5), x.cumsum(), x.prod(0), x.std(0), np.vdot(x, x), np.kron(x, x), np.diff(x),
    ]  # fmt: skip
    assert not [i for i, c in enumerate(computed) if isinstance(c, Own)]
    for c in computed[:3]:
        with pytest.raises(Rounded):
            in_fractions(c)


def test_recipes():
    third, x = over(1.0, own(np.float64(3))), own(np.array([0.1, 0.2]))
    assert in_fractions(third).item() == Fraction(1, 3)
    tenth, fifth = map(Fraction, (0.1, 0.2))
    assert in_fractions(plus(times(x, third), x)).tolist() == [tenth * 4 / 3, fifth * 4 / 3]
    with pytest.raises(Rounded):  # a part of what was computed has no recipe
        in_fractions(over(x, own(np.float64(3)))[:1])
    with pytest.raises(Rounded):
        in_fractions(times(x + x, x))
    assert in_fractions(ints(1, 2)).tolist() == [1, 2]


@pytest.mark.parametrize("x", [np.full((1, 2), 1e308), np.full((1, 2), Fraction(10**400, 3))])
def test_numbers_beyond_float64_are_explained(x):
    """Fractions have no largest number: only rounding them is refused, by name."""
    net = model("y = MatMul(x, w)", inputs="float[N,2] x", outputs="float[N,2] y", w=np.float32([[100, 1], [200, 2]]))
    e = reflrp.explain(net, x, "lrp_0", target=0, dtype="exact")
    assert e.relevance.tolist() == [[100 * Fraction(x[0, 0]), 200 * Fraction(x[0, 1])]]
    assert e.conservation.totals["inputs"] == e.conservation.seed == 300 * Fraction(x[0, 0])
    assert "beyond the largest float64" in e._repr_html_()
    with pytest.raises(reflrp.NonFiniteError, match="beyond the largest float64"):
        e.rounded()
