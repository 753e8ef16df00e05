"""Patterns recognised: what exporters take apart becomes one node again; what merely looks alike stays."""

import re

import numpy as np
import pytest
from models import draw, ints, model
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

import reflrp
from reflrp.ops.norms import Standardise
from reflrp.passes.identify import ACTIVATIONS

CONSTANTS = {
    "zero": 0.0, "one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "six": 6.0, "half": 0.5, "minus_half": -0.5,
    "sixth": 1 / 6, "root2": np.sqrt(2), "inverse": 1 / np.sqrt(2), "minus_inverse": -1 / np.sqrt(2),
    "rate": 1.702, "cubic": 0.044715, "slope": np.sqrt(2 / np.pi), "eps": 1e-3,
}  # fmt: skip
"""Named in a body, they become its initializers."""


def net(body, inputs="float[N,4] x", outputs="float[] y", opset=17, dtype=np.float32, **weights):
    named = {k: v for k, v in CONSTANTS.items() if re.search(rf"\b{k}\b", body)} | weights
    weights = {k: v if np.asarray(v).dtype.kind == "i" else np.asarray(v, dtype) for k, v in named.items()}
    swap = (lambda text: text.replace("float[", "double[")) if dtype == np.float64 else str
    return model(body, swap(inputs), swap(outputs), opset=opset, **weights)


def nodes(proto, *shape, tolerance=1e-6):
    """The nodes, after a check that all outputs are those of ONNX's own reference."""
    loaded, reference = reflrp.load(proto), ReferenceEvaluator(proto)
    dtype = np.float64 if proto.graph.input[0].type.tensor_type.elem_type == TensorProto.DOUBLE else np.float32
    x = (3 * draw(*shape, seed=1)).astype(dtype)
    found = loaded.run(x)
    for name, wanted in zip(reference.output_names, reference.run(None, {"x": x}), strict=True):
        assert np.abs(found[name] - wanted).max() <= tolerance * max(1, np.abs(wanted).max()), name
    return loaded.graph({"x": shape}).nodes


def one(proto, *shape, tolerance=1e-6):
    """The only node of what must be one; it names all that it was made of."""
    (node,) = nodes(proto, *shape, tolerance=tolerance)
    assert (node.inputs, node.output) == (("x",), "y")
    assert node.onnx == tuple(f"{n.op_type}_{i}" for i, n in enumerate(proto.graph.node))
    assert " 1 nodes " in reflrp.load(proto).summary()
    return node


# ---------------------------------------------------------------- activations

GELU = {
    "torch, legacy": "d = Div(x, root2) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)",
    "torch, dynamo": "h = Mul(x, half) d = Mul(x, inverse) e = Erf(d) a = Add(e, one) y = Mul(h, a)",
    "operands swapped": "d = Mul(inverse, x) e = Erf(d) a = Add(one, e) m = Mul(a, x) y = Mul(half, m)",
    "half of the sum": "d = Div(x, root2) e = Erf(d) a = Add(e, one) h = Mul(half, a) y = Mul(h, x)",
    "halved by Div": "d = Div(x, root2) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Div(m, two)",
    "half of each": "d = Div(x, root2) e = Erf(d) h = Mul(e, half) a = Add(h, half) y = Mul(x, a)",
    "distributed": "h = Mul(x, half) d = Div(x, root2) e = Erf(d) m = Mul(h, e) y = Add(m, h)",
    "one minus": "d = Mul(x, minus_inverse) e = Erf(d) a = Sub(one, e) m = Mul(x, a) y = Mul(m, half)",
}
GELU_TANH = {
    "torch": """c = Pow(x, three) k = Mul(c, cubic) i = Add(x, k) s = Mul(i, slope) t = Tanh(s) a = Add(t, one)
        h = Mul(x, half) y = Mul(h, a)""",
    "cube by products": """q = Mul(x, x) c = Mul(q, x) k = Mul(cubic, c) i = Add(k, x) s = Mul(slope, i) t = Tanh(s)
        a = Add(one, t) m = Mul(x, a) y = Mul(half, m)""",
    "cube factored": """q = Mul(x, x) k = Mul(q, cubic) o = Add(k, one) r = Mul(x, slope) s = Mul(r, o) t = Tanh(s)
        a = Add(t, one) h = Mul(x, half) y = Mul(a, h)""",
    "Bloom": """k = Mul(x, cubic) q = Mul(k, x) o = Add(q, one) r = Mul(x, slope) s = Mul(r, o) t = Tanh(s)
        a = Add(t, one) h = Mul(x, half) y = Mul(h, a)""",
    "by a sigmoid": """c = Pow(x, three) k = Mul(c, cubic) i = Add(x, k) s = Mul(i, slope) d = Mul(s, two)
        g = Sigmoid(d) y = Mul(x, g)""",
}
SILU = {
    "sigmoid": "s = Sigmoid(x) y = Mul(x, s)",
    "sigmoid first": "s = Sigmoid(x) y = Mul(s, x)",
    "written out": "n = Neg(x) e = Exp(n) d = Add(e, one) y = Div(x, d)",
    "by a reciprocal": "n = Neg(x) e = Exp(n) d = Add(one, e) r = Reciprocal(d) y = Mul(r, x)",
}
OTHERS = {
    "quick gelu": ("k = Mul(x, rate) s = Sigmoid(k) y = Mul(x, s)", "swish(1.702)"),
    "quick gelu, swapped": ("k = Mul(rate, x) s = Sigmoid(k) y = Mul(s, x)", "swish(1.702)"),
    "hard swish": ("a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six)", "hard_swish"),
    "hard swish, bounds apart": (
        "a = Add(x, three) r = Relu(a) c = Min(r, six) m = Mul(x, c) y = Div(m, six)",
        "hard_swish",
    ),
    "hard swish, scaled": ("a = Add(x, three) c = Clip(a, zero, six) s = Mul(c, sixth) y = Mul(s, x)", "hard_swish"),
    "hard swish, by its gate": ("s = HardSigmoid<alpha = 0.16666667>(x) y = Mul(x, s)", "hard_swish"),
    "hard sigmoid": ("a = Add(x, three) c = Clip(a, zero, six) y = Div(c, six)", "hard_sigmoid(0.166667, 0.5)"),
    "mish": ("p = Softplus(x) t = Tanh(p) y = Mul(x, t)", "mish"),
    "mish, written out": ("e = Exp(x) a = Add(e, one) p = Log(a) t = Tanh(p) y = Mul(t, x)", "mish"),
    "softplus": ("e = Exp(x) a = Add(one, e) y = Log(a)", "softplus"),
    "sigmoid": ("n = Neg(x) e = Exp(n) a = Add(e, one) y = Reciprocal(a)", "sigmoid"),
    "softsign": ("p = Abs(x) a = Add(p, one) y = Div(x, a)", "softsign"),
    "log sigmoid": ("s = Sigmoid(x) y = Log(s)", "log_sigmoid"),
    "tanhshrink": ("t = Tanh(x) y = Sub(x, t)", "tanhshrink"),
    "swish of any rate": ("k = Mul(x, root2) s = Sigmoid(k) y = Mul(x, s)", "swish(1.41421)"),
    "hard sigmoid, one bound after the other": (
        "k = Mul(x, sixth) a = Add(k, half) l = Min(a, one) y = Relu(l)",
        "hard_sigmoid(0.166667, 0.5)",
    ),
    "leaky relu": ("k = Mul(x, sixth) y = Max(k, x)", "leaky_relu(0.166667)"),
    "leaky relu, by its halves": (
        "r = Relu(x) n = Neg(x) l = Relu(n) k = Mul(l, sixth) y = Sub(r, k)",
        "leaky_relu(0.166667)",
    ),
    "elu": (
        "r = Relu(x) b = Min(x, zero) e = Exp(b) m = Sub(e, one) k = Mul(m, rate) y = Add(r, k)",
        "elu(1.702)",
    ),
    "celu": (
        "r = Relu(x) b = Min(zero, x) d = Div(b, rate) e = Exp(d) m = Sub(e, one) k = Mul(m, rate) y = Add(k, r)",
        "celu(1.702)",
    ),
    "selu": (
        "r = Relu(x) b = Min(x, zero) e = Exp(b) m = Sub(e, one) k = Mul(m, rate) a = Add(r, k) y = Mul(a, root2)",
        "selu(1.702, 1.41421)",
    ),
}
SPELLED = [
    *(("gelu", name, body, "gelu") for name, body in GELU.items()),
    *(("gelu tanh", name, body, "gelu_tanh") for name, body in GELU_TANH.items()),
    *(("silu", name, body, "swish(1)") for name, body in SILU.items()),
    *(("other", name, body, told) for name, (body, told) in OTHERS.items()),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("body", "told"), [s[2:] for s in SPELLED], ids=[f"{s[0]}: {s[1]}" for s in SPELLED])
def test_an_activation_is_one_node(body, told, dtype):
    node = one(net(body, dtype=dtype), 3, 4)
    assert (node.kind, node.op.describe()) == ("pointwise", told)
    assert node.op_type == told.split("(")[0].title().replace("_", "")


def test_every_activation_of_the_table_is_found():
    assert {told.split("(")[0] for *_, told in SPELLED} == {name for name, _ in ACTIVATIONS}


def test_an_activation_between_layers():
    """Its neighbours stay, biases and all; a gated branch keeps its product."""
    body = "i = Gemm(x, w, b) s = Sigmoid(i) g = Mul(i, s) u = MatMul(x, w) p = Mul(g, u) y = MatMul(p, w)"
    proto = net(body, w=draw(4, 4), b=draw(4))
    assert [n.op_type for n in nodes(proto, 3, 4)] == ["Gemm", "Swish", "MatMul", "Mul", "MatMul"]


# ---------------------------------------------------------------- normalisations

LAST = "<axes = [-1]>"
CENTERED = f"m = ReduceMean{LAST}(x) d = Sub(x, m)"
VARIANCE = f"{CENTERED} q = Mul(d, d) v = ReduceMean{LAST}(q) e = Add(v, eps)"
SQUARES = f"q = Pow(x, two) v = ReduceMean{LAST}(q) e = Add(v, eps)"
LAYER = {
    "torch, legacy": f"{CENTERED} q = Pow(d, two) v = ReduceMean{LAST}(q) e = Add(v, eps) s = Sqrt(e) y = Div(d, s)",
    "square by Mul": f"{VARIANCE} s = Sqrt(e) y = Div(d, s)",
    "reciprocal": f"{VARIANCE} s = Sqrt(e) r = Reciprocal(s) y = Mul(d, r)",
    "operands swapped": f"{VARIANCE.replace('(v, eps)', '(eps, v)')} s = Sqrt(e) r = Reciprocal(s) y = Mul(r, d)",
    "power": f"{VARIANCE} r = Pow(e, minus_half) y = Mul(d, r)",
    "root by Pow": f"{VARIANCE} s = Pow(e, half) y = Div(d, s)",
    "mean of squares less squared mean": f"""{CENTERED} q = Mul(x, x) w = ReduceMean{LAST}(q) k = Mul(m, m)
        v = Sub(w, k) e = Add(v, eps) s = Sqrt(e) y = Div(d, s)""",
    "distributed": f"{VARIANCE} s = Sqrt(e) r = Reciprocal(s) p = Mul(x, r) k = Mul(m, r) y = Sub(p, k)",
    "means by sums": f"""t = ReduceSum{LAST}(x) m = Div(t, four) d = Sub(x, m) q = Mul(d, d) u = ReduceSum{LAST}(q)
        v = Div(u, four) e = Add(v, eps) s = Sqrt(e) y = Div(d, s)""",
}
RMS = {
    "root": f"{SQUARES} s = Sqrt(e) y = Div(x, s)",
    "reciprocal": f"{SQUARES} s = Sqrt(e) r = Reciprocal(s) y = Mul(x, r)",
    "swapped, square by Mul": f"{SQUARES.replace('Pow(x, two)', 'Mul(x, x)')} s = Sqrt(e) r = Reciprocal(s) y = Mul(r, x)",
    "power": f"{SQUARES} r = Pow(e, minus_half) y = Mul(x, r)",
    "one over": f"{SQUARES} s = Sqrt(e) r = Div(one, s) y = Mul(x, r)",
}
L2 = {"center": False, "mean": False, "epsilon": 0.0}
NORMS = [
    *(("layer", name, body, {}) for name, body in LAYER.items()),
    *(("rms", name, body, {"center": False}) for name, body in RMS.items()),
    ("layer", "no epsilon", f"{VARIANCE} s = Sqrt(v) y = Div(d, s)".replace(" e = Add(v, eps)", ""), {"epsilon": 0.0}),
    ("layer", "axis 1", LAYER["reciprocal"].replace("[-1]", "[1]"), {"axes": (1,)}),
    ("layer", "two axes", LAYER["torch, legacy"].replace("[-1]", "[1, 2]"), {"axes": (1, 2)}),
    ("rms", "axis 1", RMS["power"].replace("[-1]", "[-2]"), {"axes": (1,), "center": False}),
    ("layer", "n - 1", LAYER["means by sums"].replace("Div(u, four)", "Div(u, three)"), {"ddof": 1}),
    ("l2", "root", f"q = Mul(x, x) t = ReduceSum{LAST}(q) s = Sqrt(t) y = Div(x, s)", L2),
    ("l2", "ReduceL2", f"s = ReduceL2{LAST}(x) y = Div(x, s)", L2),
]
"""Kind, name, body over (batch, 3, 4), and the fields that are not LayerNorm's over the last axis."""


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize(("body", "fields"), [n[2:] for n in NORMS], ids=[f"{n[0]}: {n[1]}" for n in NORMS])
def test_a_normalisation_is_one_node(body, fields, opset):
    """The axes are an attribute, or from opset 18 on an input."""
    given = {}
    if opset == 18:
        given["axes"] = ints(*(int(i) for i in re.search(r"\[(.+?)\]", body)[1].split(",")))
        body = re.sub(r"<axes = .+?>\((\w+)\)", r"(\1, axes)", body)
    node = one(net(body, "float[2,3,4] x", opset=opset, dtype=np.float64, **given), 2, 3, 4, tolerance=1e-12)
    wanted = {"axes": (2,), "epsilon": 1e-3, "center": True, "mean": True, "ddof": 0, "grouped": None} | fields
    assert {k: getattr(node.op, k) for k in wanted} == wanted
    assert node.kind == "normaliser"
    assert node.op_type == ("LayerNorm" if node.op.center else "RMSNorm" if node.op.mean else "L2Norm")


# ---------------------------------------------------------------- scale and shift

WEIGHT, BIAS = draw(4, seed=5).astype(float), draw(4, seed=6).astype(float)
NATIVE = "n = LayerNormalization(x, g0, b0)"
AFFINE = {
    "layer": (LAYER["torch, legacy"], "k = Mul(n, g) y = Add(k, b)", (WEIGHT, BIAS)),
    "layer, operands swapped": (LAYER["power"], "k = Mul(g, n) y = Add(b, k)", (WEIGHT, BIAS)),
    "shift before scale": (LAYER["reciprocal"], "k = Add(n, b) y = Mul(k, g)", (WEIGHT, BIAS * WEIGHT)),
    "division, difference": (LAYER["reciprocal"], "k = Div(n, g) y = Sub(k, b)", (1 / WEIGHT, -BIAS)),
    "subtracted": (LAYER["reciprocal"], "y = Sub(b, n)", (-np.ones(4), BIAS)),
    "rms": (RMS["reciprocal"], "y = Mul(g, n)", (WEIGHT, 0)),
    "native": (NATIVE, "k = Mul(n, g) y = Add(k, b)", (3 * WEIGHT, 2 * WEIGHT + BIAS)),
    "n and its multiple": (LAYER["power"], "k = Mul(n, g) y = Add(k, n)", (1 + WEIGHT, 0)),
    "scale alone": (LAYER["power"], "y = Mul(n, two)", (2 * np.ones(4), 0)),
    "scale of the root": (
        RMS["root"].replace("Div(x, s)", "Div(x, k)").replace(" y =", " k = Mul(s, two) y ="),
        "y = Mul(n, g)",
        (WEIGHT / 2, 0),
    ),
}


@pytest.mark.parametrize("name", AFFINE)
def test_scale_and_shift_become_weight_and_bias(name):
    body, after, (w, b) = AFFINE[name]
    weights = {k: v for k, v in {"g": WEIGHT, "b": BIAS}.items() if re.search(rf"\b{k}\b", after)}
    weights |= {"g0": 3 * np.ones(4), "b0": 2 * np.ones(4)} if body is NATIVE else {}
    node = one(net(f"{body.replace('y =', 'n =')} {after}", "float[2,3,4] x", dtype=np.float64, **weights), 2, 3, 4)
    assert isinstance(node.op, Standardise)
    assert np.allclose(node.op.w * np.ones(4), w, rtol=1e-14)
    assert np.allclose(node.op.b + np.zeros(4), b, rtol=1e-14)


def test_scale_and_shift_of_channels():
    """LayerNorm over the channels of an image: one weight a channel, and bias in its own shape."""
    body = f"{LAYER['reciprocal'].replace('[-1]', '[1]').replace('y =', 'n =')} k = Mul(n, g) y = Add(k, b)"
    g, b = draw(3, 1, 1, seed=1), draw(3, 1, 1, seed=2)
    node = one(net(body, "float[2,3,4,5] x", dtype=np.float64, g=g, b=b), 2, 3, 4, 5, tolerance=1e-12)
    assert node.op.axes == (1,)
    assert np.array_equal(node.op.w, g)
    assert np.array_equal(node.op.b, b)


@pytest.mark.parametrize(
    ("after", "outputs"),
    [
        ("y = Mul(n, g)", "float[] y, float[] n"),  # n goes out
        ("y = Mul(n, wide)", "float[] y"),  # the result is larger
        ("y = Mul(n, x)", "float[] y"),  # no constant
    ],
)
def test_what_is_no_weight_stays(after, outputs):
    weights = {"g": WEIGHT} if "g)" in after else {"wide": draw(3, 2, 3, 4)} if "wide" in after else {}
    body = f"{LAYER['reciprocal'].replace('y =', 'n =')} {after}"
    found = nodes(net(body, "float[1,3,4] x", outputs, dtype=np.float64, **weights), 1, 3, 4, tolerance=1e-12)
    assert found[0].op_type == "LayerNorm"
    assert np.array_equal(found[0].op.w, np.ones(()))
    assert len(found) > 1


# ---------------------------------------------------------------- what stays as it is

FUSED = {"gelu": GELU["torch, legacy"], "silu": SILU["written out"], "layer": LAYER["power"], "rms": RMS["power"]}
INNER = [(name, v) for name, body in FUSED.items() for v in re.findall(r"(\w+) =(?= [A-Z])", body) if v != "y"]


@pytest.mark.parametrize("seen", ["output", "reader"])
@pytest.mark.parametrize(("name", "inner"), INNER)
def test_a_value_that_escapes_stays(name, inner, seen):
    """It goes out itself, or has a reader elsewhere; so the whole is not one node, and both come out right."""
    body = FUSED[name] + (f" z = Tanh({inner})" if seen == "reader" else "")
    outputs = f"float[] y, float[] {'z' if seen == 'reader' else inner}"
    found = nodes(net(body, "float[2,3,4] x", outputs, dtype=np.float64), 2, 3, 4)
    assert inner in {n.output for n in found}
    (last,) = (n for n in found if n.output == "y")
    assert last.inputs != ("x",)
    assert not (isinstance(last.op, Standardise) and last.op.center)


ALIKE = {
    "gelu, another root": GELU["torch, legacy"].replace("root2", "rate"),
    "gelu, not halved": GELU["torch, legacy"].replace("half", "sixth"),
    "gelu, one less": GELU["torch, legacy"].replace("Add(e, one)", "Sub(e, one)"),
    "gelu by tanh, another cube": GELU_TANH["torch"].replace("cubic", "eps"),
    "gelu by tanh, a square": GELU_TANH["torch"].replace("Pow(x, three)", "Pow(x, two)"),
    "swish, another rate and a shift": "k = Mul(x, rate) a = Add(k, eps) s = Sigmoid(a) y = Mul(x, s)",
    "swish, shifted": "k = Add(x, eps) s = Sigmoid(k) y = Mul(x, s)",
    "hard swish, another bound": OTHERS["hard swish"][0].replace("zero, six", "zero, three"),
    "mish, of twice the softplus": "p = Softplus(x) k = Mul(p, two) t = Tanh(k) y = Mul(x, t)",
    "layer, epsilon outside": f"{VARIANCE.replace(' e = Add(v, eps)', '')} s = Sqrt(v) e = Add(s, eps) y = Div(d, e)",
    "layer, not centred": f"{VARIANCE} s = Sqrt(e) y = Div(x, s)",
    "layer, no root": f"{VARIANCE} y = Div(x, e)",
    "rms, epsilon outside": f"{SQUARES.replace(' e = Add(v, eps)', '')} s = Sqrt(v) e = Add(s, eps) y = Div(x, e)",
    "rms, mean of sizes": RMS["root"].replace("Pow(x, two)", "Abs(x)"),
    "rms, a square": RMS["root"].replace("y = Div(x, s)", "k = Mul(s, x) y = Div(x, k)"),
}


@pytest.mark.parametrize("name", ALIKE)
def test_what_merely_looks_alike_is_not_fused(name):
    found = nodes(net(ALIKE[name], "float[2,3,4] x", dtype=np.float64), 2, 3, 4)
    assert all(len(n.onnx) == 1 for n in found)
    assert not any(
        isinstance(n.op, Standardise) or n.op_type in ("Gelu", "GeluTanh", "Swish", "HardSwish") for n in found
    )


def test_the_mean_of_another_axis_is_no_layer_norm():
    body = LAYER["reciprocal"].replace(LAST, "<axes = [1]>", 1)
    found = nodes(net(body, "float[2,3,4] x", dtype=np.float64), 2, 3, 4, tolerance=1e-12)
    assert [n.op_type for n in found] == ["ReduceMean", "Sub", "RMSNorm"]  # what is centred otherwise, by its own RMS


@pytest.mark.parametrize(
    "body", ["k = Mul(x, g) s = Sigmoid(k) y = Mul(x, s)", "k = Add(x, g) s = Sigmoid(k) y = Mul(k, s)"]
)
def test_only_numbers_are_constants(body):
    """x sigmoid(g x) with a g for each channel stays; a bias for each channel is none of swish's business."""
    found = nodes(net(body, g=WEIGHT), 3, 4)
    assert [n.op_type for n in found] == (["Mul", "Sigmoid", "Mul"] if "Mul(x, g)" in body else ["Add", "Swish"])


def test_one_input_is_read():
    found = nodes(net("k = Tanh(x) s = Sigmoid(x) y = Mul(k, s)"), 3, 4)
    assert [n.kind for n in found] == ["pointwise", "pointwise", "product"]


# ---------------------------------------------------------------- relevance


def test_rules_see_the_whole():
    """An activation spelled out gets what the activation gets: all of R by Pass, not halves of a product."""
    w = draw(4, 4)
    whole = net("p = MatMul(x, w) o = Gelu(p) y = MatMul(o, w)", opset=20, w=w)
    body = GELU["torch, dynamo"].replace("(x", "(p").replace("y =", "o =")
    apart = net(f"p = MatMul(x, w) {body} y = MatMul(o, w)", w=w)
    wanted, found = (reflrp.explain(p, draw(3, 4, seed=2), "epsilon_plus_flat", target=1) for p in (whole, apart))
    assert np.abs(wanted.relevance - found.relevance).max() < 1e-6 * np.abs(wanted.relevance).max()
    for e in (wanted, found):
        assert [row.kind for row in e.conservation.rows] == ["dense", "pointwise", "dense"]


@pytest.mark.parametrize(("name", "nonneg"), [("softplus", True), ("sigmoid", True), ("mish", False)])
def test_signs_are_known_again(name, nonneg):
    """Of a logarithm or a product nobody knows the sign; of a softplus one does."""
    graph = reflrp.load(net(OTHERS[name][0])).graph({"x": (3, 4)})
    assert graph.values["y"].nonneg is nonneg
