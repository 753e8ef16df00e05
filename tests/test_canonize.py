"""Canonizing: the folded network computes the same; what cannot be folded stays; a wrong pass is caught."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from maps import dyadic
from models import draw, model
from nets import build, net

import reflrp
from reflrp.dialects import zennit
from reflrp.errors import ForwardChanged, RuleError
from reflrp.ground.caches import Cache
from reflrp.ops.conv import Conv
from reflrp.passes.canonize import PASSES
from reflrp.rules import Epsilon

BN = "float[4] gamma, float[4] beta, float[4] mean, float[4] var"
FOLDED = {
    "after conv": f"<float[4, 2, 3, 3] w, {BN}> {{ a = Conv(x, w) y = BatchNormalization(a, gamma, beta, mean, var) }}",
    "after conv with bias": f"""<float[4, 2, 3, 3] w, float[4] b, {BN}>
        {{ a = Conv(x, w, b) y = BatchNormalization(a, gamma, beta, mean, var) }}""",
    "after grouped conv": f"""<float[4, 1, 3, 3] w, float[4] b, {BN}>
        {{ a = Conv<group = 2>(x, w, b) y = BatchNormalization(a, gamma, beta, mean, var) }}""",
    "after grouped transposed conv": f"""<float[2, 2, 3, 3] w, float[4] b, {BN}>
        {{ a = ConvTranspose<group = 2, strides = [2, 2]>(x, w, b)
           y = BatchNormalization(a, gamma, beta, mean, var) }}""",
    "after dense": f"""<float[32, 4] w, float[4] b, {BN}>
        {{ f = Flatten(x) a = Gemm(f, w, b) y = BatchNormalization(a, gamma, beta, mean, var) }}""",
    "as a product and a sum": """<float[4, 2, 3, 3] w, float[4, 1, 1] var, float[4, 1, 1] shift>
        { a = Conv(x, w) b = Mul(a, var) y = Add(b, shift) }""",
    "before conv": """<float[3, 2, 3, 3] w, float[2] gamma, float[2] beta, float[2] mean, float[2] var>
        { a = BatchNormalization(x, gamma, beta, mean, var) y = Conv(a, w) }""",
    "before padded conv": """<float[3, 2, 3, 3] w, float[3] b,
         float[2] gamma, float[2] beta, float[2] mean, float[2] var>
        { a = BatchNormalization(x, gamma, beta, mean, var)
          y = Conv<pads = [1, 1, 2, 0], strides = [2, 1]>(a, w, b) }""",
    "before grouped conv": """<float[4, 1, 3, 3] w, float[2] gamma, float[2] beta, float[2] mean, float[2] var>
        { a = BatchNormalization(x, gamma, beta, mean, var) y = Conv<group = 2>(a, w) }""",
    "before transposed conv": """<float[2, 3, 3, 3] w, float[2] gamma, float[2] beta, float[2] mean, float[2] var>
        { a = BatchNormalization(x, gamma, beta, mean, var) y = ConvTranspose(a, w) }""",
    "over concat": f"""<float[1, 2, 1, 1] w, float[1] b, float[3, 2, 1, 1] v, {BN}>
        {{ a = Conv(x, w, b) c = Conv(x, v) d = Concat<axis = 1>(a, c)
           y = BatchNormalization(d, gamma, beta, mean, var) }}""",
    "over concat, as a product and a sum": """<float[1, 2, 1, 1] w, float[3, 2, 1, 1] v, float[4, 1, 1] vark, float[4, 1, 1] s>
        { a = Conv(x, w) c = Conv(x, v) d = Concat<axis = 1>(a, c) e = Mul(d, vark) y = Add(e, s) }""",
    "as four nodes": """<float[4, 2, 3, 3] w, float[4] b, float[1, 4, 1, 1] mean, float[4, 1, 1] var,
         float[4, 1, 1] varg, float[4, 1, 1] beta>
        { a = Conv(x, w, b) c = Sub(a, mean) d = Div(c, var) e = Mul(varg, d) y = Add(beta, e) }""",
    "after dense, as a product and a sum": """<float[32, 4] w, float[4] var, float[4] shift>
        { f = Flatten(x) a = Gemm(f, w) b = Mul(a, var) y = Add(b, shift) }""",
    "negative, by its name": """<float[4, 2, 3, 3] w, float[4, 1, 1] k, float[4, 1, 1] shift>
        { a = Conv(x, w) [batch_normalization_3_mul] b = Mul(a, k) [batch_normalization_3_add] y = Add(b, shift) }""",
}
KEPT = {
    "a map added to images": """<float[4, 2, 1, 1] w, float[4, 4] p> { a = Conv(x, w) y = Add(a, p) }""",
    "a constant of each place": """<float[4, 3] w, float[4, 3] p> { a = MatMul(x, w) y = Add(a, p) }""",
    "over concat a map added": """<float[1, 2, 1, 1] w, float[3, 2, 1, 1] v, float[4, 4] p>
        { a = Conv(x, w) c = Conv(x, v) d = Concat<axis = 1>(a, c) y = Add(d, p) }""",
    "over concat a bias of features": """<float[4, 3] w, float[4, 3] v, float[3] p>
        { a = MatMul(x, w) c = MatMul(x, v) d = Concat<axis = 1>(a, c) y = Add(d, p) }""",
    "a scale": "<float[4, 2, 3, 3] w, float[4, 1, 1] var> { a = Conv(x, w) y = Mul(a, var) }",
    "a divisor": "<float[4, 2, 3, 3] w, float[4, 1, 1] var> { a = Conv(x, w) y = Div(a, var) }",
    "the negative": "<float[4, 2, 3, 3] w> { a = Conv(x, w) y = Neg(a) }",
    "a shift and a scale": """<float[4, 2, 3, 3] w, float[4, 1, 1] var, float[4, 1, 1] s>
        { a = Conv(x, w) b = Sub(a, s) y = Mul(b, var) }""",
    "a negative scale and a shift": """<float[4, 2, 3, 3] w, float[4, 1, 1] k, float[4, 1, 1] s>
        { a = Conv(x, w) b = Mul(a, k) y = Add(b, s) }""",
    "numbers": """<float[4, 2, 3, 3] w, float var, float s> { a = Conv(x, w) b = Mul(a, var) y = Add(b, s) }""",
    "a scale and a number": """<float[4, 2, 3, 3] w, float[4, 1, 1] var, float s>
        { a = Conv(x, w) b = Mul(a, var) y = Add(b, s) }""",
    "a map of rows": """<float[2, 2, 1, 1] w, float[4, 1] var, float[4, 1] s>
        { a = Conv(x, w) b = Mul(a, var) y = Add(b, s) }""",
    "output read twice": f"""<float[4, 2, 3, 3] w, {BN}>
        {{ a = Conv(x, w) b = BatchNormalization(a, gamma, beta, mean, var) y = Add(a, b) }}""",
    "behind a rectifier": f"""<float[4, 2, 3, 3] w, {BN}>
        {{ a = Conv(x, w) r = Relu(a) y = BatchNormalization(r, gamma, beta, mean, var) }}""",
    "over concat of one value twice": f"""<float[2, 2, 1, 1] w, {BN}>
        {{ a = Conv(x, w) d = Concat<axis = 1>(a, a) y = BatchNormalization(d, gamma, beta, mean, var) }}""",
    "over concat along another axis": f"""<float[4, 2, 1, 1] w, float[4, 2, 1, 1] v, {BN}>
        {{ a = Conv(x, w) c = Conv(x, v) d = Concat<axis = 2>(a, c)
           y = BatchNormalization(d, gamma, beta, mean, var) }}""",
}


def graphs(body, passes=("fold_batchnorm",)):
    """The graph before and after, and the network's output in both."""
    model = reflrp.load(build(f"net (float[N, 2, 4, 4] x) => (float y) {body}", seed=4))
    x = dyadic(np.random.default_rng(1), (2, 2, 4, 4))
    versions = [reflrp.Explainer(model, Epsilon(), canonize=names).program(x) for names in ((), passes)]
    return [v.graph for v in versions], [v.forward({"x": x}, keep=False)["y"] for v in versions]


@pytest.mark.parametrize("name", FOLDED)
def test_folding_leaves_the_output(name):
    (before, after), (old, new) = graphs(FOLDED[name])
    assert any(node.kind == "diagonal" for node in before.nodes)
    assert not any(node.kind == "diagonal" for node in after.nodes)
    assert np.abs(old - new).max() <= 1e-12 * np.abs(old).max()
    folded = [n for n in after.nodes if len(n.onnx) > 1]
    assert folded
    assert "fold_batchnorm" in after.notes[0]


@pytest.mark.parametrize("name", KEPT)
def test_what_cannot_be_folded_stays(name):
    (before, after), (old, new) = graphs(KEPT[name])
    assert [n.kind for n in before.nodes] == [n.kind for n in after.nodes]
    assert np.array_equal(old, new)
    assert not after.notes


def test_folding_before_a_padded_convolution_makes_a_bias_of_each_place():
    """The shift does not reach into the padding, so the border has another bias than the middle."""
    (_, after), _ = graphs(FOLDED["before padded conv"])
    (conv,) = after.nodes
    assert conv.op.b.shape[1:] == after.values["y"].shape[1:]


def test_merge_is_the_smaller_pass():
    """merge_batchnorm folds only what stands right behind a linear node."""
    (_, after), _ = graphs(FOLDED["before conv"], ("merge_batchnorm",))
    assert [n.kind for n in after.nodes] == ["diagonal", "conv"]
    (_, after), (old, new) = graphs(FOLDED["after conv"], ("merge_batchnorm",))
    assert [n.kind for n in after.nodes] == ["conv"]
    assert np.abs(old - new).max() <= 1e-12 * np.abs(old).max()


def broken(graph):
    """A pass that forgets a factor."""
    nodes = tuple(
        replace(n, op=replace(n.op, w=n.op.w * 1.01, derived=Cache())) if isinstance(n.op, Conv) else n
        for n in graph.nodes
    )
    return replace(graph, nodes=nodes)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_wrong_pass_is_caught(monkeypatch, dtype):
    monkeypatch.setitem(PASSES, "broken", broken)
    model, x = net("resnet")
    explainer = reflrp.Explainer(model, dtype=dtype, canonize=("fold_batchnorm", "broken"))
    with pytest.raises(ForwardChanged, match=r"changed the output 'y' by .*; pass canonize=\(\)"):
        explainer(x)


def test_unknown_pass():
    model, x = net("mlp")
    with pytest.raises(RuleError, match="canonizing pass 'fold' is unknown; there is fold_batchnorm"):
        reflrp.Explainer(model, canonize=("fold",))(x)


@pytest.mark.parametrize(
    ("equation", "w", "b", "out"),
    [
        ("ntd,dk->ntk", (4, 3), (3,), (2, 5, 3)),
        ("ntd,kd->nkt", (3, 4), (3, 1), (2, 3, 5)),
        ("ntd,dhk->nhtk", (4, 3, 2), (3, 1, 2), (2, 3, 5, 2)),
    ],
)
def test_the_bias_behind_an_einsum(equation, w, b, out):
    """It is the Einsum's own: epsilon has it in the denominator, as of a Gemm."""
    x, w, b, R = (draw(*shape, seed=i).astype(np.float64) for i, shape in enumerate([(2, 5, 4), w, b, out]))
    proto = model(f'h = Einsum<equation = "{equation}">(x, w) y = Add(h, b)', "double[N,5,4] x", "double[] y", w=w, b=b)
    e = reflrp.explain(proto, x, "epsilon(0.1)", init=R)
    z = np.einsum(equation, x, w) + b
    a, back = equation.replace("->", ",").split(",")[:2], equation.split("->")[1]
    wanted = x * np.einsum(f"{back},{a[1]}->{a[0]}", R / (z + 0.1 * np.where(z >= 0, 1, -1)), w)
    assert np.allclose(e.relevance, wanted, rtol=1e-12)
    apart = reflrp.explain(proto, x, "epsilon(0.1)", init=R, canonize=("part_bias",))
    assert len(apart.rules) == 2


@pytest.mark.parametrize(
    ("body", "biased"),
    [
        ("<float[4, 3] w, float[3] b> { h = MatMul(x, w) y = Add(h, b) }", True),
        ("<float[4, 3] w, float[3] b> { h = MatMul(x, w) y = Add(b, h) }", True),
        ("<float[4, 3] w, float[3] b> { h = Gemm(x, w) y = Add(h, b) }", True),
        ("<float[4, 3] w, float[3] b, float[3] c> { h = Gemm(x, w, c) y = Add(h, b) }", False),
        ("<float[4, 3] w, float[3] b, float[3] c> { h = MatMul(x, w) t = Add(h, c) y = Add(t, b) }", False),
        ("<float[4, 3] w, float[3] b> { h = MatMul(x, w) y = Sub(h, b) }", False),
        ("<float[4, 3] w, float[1] b> { h = MatMul(x, w) y = Add(h, b) }", False),
        ("<float[4, 3] w, float b> { h = MatMul(x, w) y = Add(h, b) }", False),
        ("<float[4, 3] w, float[3] b> { h = MatMul(x, w) r = Relu(h) y = Add(r, b) }", False),
        ("<float[4, 3] w, float[2, 1, 3] b> { h = MatMul(x, w) y = Add(h, b) }", False),  # it broadcasts
    ],
)
def test_an_added_constant_is_the_bias(body, biased):
    model = reflrp.load(build(f"net (float[N, 4] x) => (float y) {body}", seed=1))
    x = np.ones((2, 4))
    graph = model.graph({"x": x.shape})
    kinds = [node.kind for node in graph.nodes]
    assert (kinds == ["dense"]) is biased
    h = x @ constant(model, "w") + (constant(model, "c") if " c>" in body else 0)
    h = np.maximum(h, 0) if "Relu" in body else h
    b = constant(model, "b")
    assert np.allclose(model.run(x)["y"], h - b if "Sub" in body else h + b, rtol=1e-15)


@pytest.mark.parametrize(("names", "joined"), [(("/fc/MatMul", "/fc/Add"), True), (("/fc/MatMul", "/Add"), False)])
@pytest.mark.parametrize("written", ["names", "metadata"])
def test_a_bias_comes_from_the_layers_module(names, joined, written):
    """Where the exporter wrote down modules: torch does, in the nodes' names or in their metadata."""
    proto = build("net (float[N, 4] x) => (float y) <float[4, 3] w, float[3] b> { h = MatMul(x, w) y = Add(h, b) }", 1)
    for node, name in zip(proto.graph.node, names, strict=True):
        scopes = str(["", *name.split("/")[1:]])
        if written == "names":
            node.name = name
        else:
            node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    kinds = [n.kind for n in reflrp.load(proto).graph({"x": (1, 4)}).nodes]
    assert kinds == (["dense"] if joined else ["dense", "diagonal"])


CONVOLVED = {
    "Add(a, b)": ("float[3, 1, 1] b", True),
    "Add(b, a)": ("float[1, 3, 1, 1] b", True),
    "Sub(a, b)": ("float[3, 1, 1] b", False),
    "Add(a, n)": ("float n", False),
    "Add(a, p)": ("float[4, 4] p", False),
}


@pytest.mark.parametrize("own", ["none", "zeros", "a bias"])
@pytest.mark.parametrize("added", CONVOLVED)
def test_a_constant_behind_a_convolution(added, own):
    """It is the bias that an exporter split off only where the convolution has none, and never in zennit's dialect."""
    declared, split = CONVOLVED[added]
    conv = "Conv(x, w)" if own == "none" else "Conv(x, w, o)"
    text = f"<float[3, 2, 1, 1] w, float[3] o, {declared}> {{ a = {conv} y = {added} }}"
    proto = build(f"net (float[N, 2, 4, 4] x) => (float y) {text}", seed=3)
    if own == "zeros":
        zero = next(t for t in proto.graph.initializer if t.name == "o")
        zero.CopyFrom(onnx.numpy_helper.from_array(np.zeros(3, np.float32), "o"))
    model, x = reflrp.load(proto), dyadic(np.random.default_rng(2), (2, 2, 4, 4))
    kinds = [node.kind for node in model.graph({"x": x.shape}).nodes]
    assert kinds == (["conv"] if split and own == "none" else ["conv", "diagonal"])
    program = reflrp.Explainer(model, zennit.EpsilonPlus()).program(x)
    assert [node.kind for node in program.graph.nodes] == ["conv", "diagonal"]
    assert np.array_equal(program.forward({"x": x}, keep=False)["y"], model.run(x)["y"])


def test_a_bias_of_equal_numbers_is_one_too():
    """What a constant holds has no say, only how it lies."""
    proto = build("net (float[N, 4] x) => (float y) <float[4, 3] w> { h = MatMul(x, w) y = Add(h, b) }")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "b"))
    assert [n.kind for n in reflrp.load(proto).graph({"x": (1, 4)}).nodes] == ["dense"]


BEHIND = {
    "Mul": ("y = Mul(a, k)", lambda z, k: z * k, lambda R, z, k: R),
    "Div": ("y = Div(a, k)", lambda z, k: z / k, lambda R, z, k: R),
    "Neg": ("y = Neg(a)", lambda z, k: -z, lambda R, z, k: R),
    "Sub": ("y = Sub(a, k)", lambda z, k: z - k, lambda R, z, k: R * z / (z - k)),
}


@pytest.mark.parametrize("op", BEHIND)
def test_z_plus_behind_arithmetic(op):
    """R of the output through the arithmetic first (in proportion), then by z+ among the contributions to the layer."""
    body, forward, back = BEHIND[op]
    proto = build(
        f"net (float[N, 2, 1, 1] x) => (float y) <float[3, 2, 1, 1] w, float[3, 1, 1] k> {{ a = Conv(x, w) {body} }}"
    )
    k = np.array([1.5, -0.75, 2.0]).reshape(3, 1, 1)
    tensor = next(t for t in proto.graph.initializer if t.name == "k")
    tensor.CopyFrom(onnx.numpy_helper.from_array(k.astype(np.float32), "k"))
    model, x = reflrp.load(proto), np.array([[0.75, 0.5], [1.25, -0.5]]).reshape(2, 2, 1, 1)
    w = constant(model, "w").reshape(3, 2)
    R = np.arange(1.0, 7.0).reshape(2, 3, 1, 1)
    e = reflrp.explain(model, x, "epsilon_plus", init=R)
    for n in range(2):
        wanted = np.zeros(2)
        for c in range(3):
            u = [w[c, j] * x[n, j, 0, 0] for j in range(2)]
            z, part = sum(u), k[c, 0, 0]
            assert np.isclose(model.run(x)["y"][n, c, 0, 0], forward(z, part))
            inner = back(R[n, c, 0, 0], z, part) if forward(z, part) else 0
            positive = sum(max(v, 0) for v in u)
            wanted += [max(v, 0) * inner / positive if positive else 0 for v in u]
        assert np.allclose(e.relevance[n].ravel(), wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("between", "axes", "bias"),
    [
        ("m = Transpose<perm = [0, 2, 1]>(a)", (0, 2, 1), "float[3]"),
        ("m = Transpose<perm = [2, 0, 1]>(a)", (2, 0, 1), "float[1, 3]"),
        ("s = Unsqueeze(a, one) m = Squeeze(s, one)", (0, 1, 2), "float[3, 1]"),
        ("t = Transpose<perm = [0, 2, 1]>(a) m = Transpose<perm = [0, 2, 1]>(t)", (0, 1, 2), "float[3, 1]"),
    ],
)
def test_a_constant_added_behind_reshapes_and_transposes(between, axes, bias):
    """As around the one-dimensional convolutions of Keras: the bias moves back to the convolution."""
    text = f"<float[3, 2, 2] w, {bias} b, int64[1] one = {{1}}> {{ a = Conv(x, w) {between} y = Add(m, b) }}"
    model = reflrp.load(build(f"net (float[N, 2, 5] x) => (float y) {text}", seed=1))
    x = dyadic(np.random.default_rng(6), (2, 2, 5))
    graph = model.graph({"x": x.shape})
    assert [n.kind for n in graph.nodes if n.kind != "routing"] == ["conv"]
    w, b = (constant(model, name) for name in "wb")
    a = np.stack([(x[:, :, t : t + 2, None] * w.transpose(1, 2, 0)).sum(axis=(1, 2)) for t in range(4)], axis=2)
    assert np.array_equal(model.run(x)["y"], a.transpose(axes) + b)


def constant(model, name):
    return np.asarray(model.source.constants[name], dtype=float)


@pytest.mark.parametrize(
    ("op", "stripped"), [("Softmax", True), ("LogSoftmax", True), ("Sigmoid", True), ("Tanh", False)]
)
def test_final_activations_are_stripped(op, stripped):
    model = build(f"net (float[N, 4] x) => (float[N, 3] y) <float[4, 3] w> {{ h = MatMul(x, w) [last] y = {op}(h) }}")
    x = np.ones((2, 4))
    logits, kept = reflrp.Explainer(model)(x), reflrp.Explainer(model, strip=False)(x)
    assert any("stripped" in note for note in logits.notes) is stripped
    assert (("last" in logits.rules), ("last" in kept.rules)) == (not stripped, True)
    assert np.allclose(kept.output, reflrp.load(model).run(x)["y"])
    if stripped:
        assert "'h' is explained" in logits.notes[0]
        assert not np.allclose(kept.output, logits.output)


@pytest.mark.parametrize(
    "behind",
    [
        "y = Reshape(p, rows)",
        "y = Identity(p)",
        "q = Unsqueeze(p, two) y = Squeeze(q, two)",
        "q = Transpose(p) y = Transpose(q)",
        "s = Shape(p) y = Reshape(p, s)",
    ],
)
def test_what_moves_entries_behind_a_final_softmax_moves_its_input(behind):
    numbers = {k: v for k, v in {"rows": np.int64([-1, 3]), "two": np.int64([2])}.items() if k in behind}
    w, x = draw(4, 3), draw(2, 4, seed=1)
    plain = reflrp.explain(model("y = MatMul(x, w)", w=w), x, "epsilon", target=1)
    for backend in ("numpy", "onnxruntime"):
        proto = model(f"h = MatMul(x, w) p = Softmax(h) {behind}", w=w, **numbers)
        e = reflrp.explain(proto, x, "epsilon", target=1, backend=backend)
        assert (e.score, e.output.tolist()) == ("logit", plain.output.tolist())
        assert np.array_equal(e.relevance, plain.relevance)
        assert "Softmax" in e.notes[0]


def test_a_softmax_that_is_read_beside_its_reshape_stays():
    proto = model(
        "h = MatMul(x, w) p = Softmax(h) q = Reshape(p, rows) y = Mul(p, q)", w=draw(4, 3), rows=np.int64([-1, 3])
    )
    assert reflrp.explain(proto, draw(2, 4), "attnlrp").score == "output"
