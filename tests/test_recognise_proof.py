"""Recognition is a proof: what differs anywhere stays, however small or far out; any spelling of the same function goes."""

from dataclasses import replace

import numpy as np
import pytest
from models import draw, ints, model, onnxruntime

import reflrp
from reflrp.errors import ForwardChanged
from reflrp.ops.pointwise import Pointwise

SILU = "s = Sigmoid(x) f = Mul(x, s)"
GELU = "d = Div(x, root2) e = Erf(d) a = Add(e, one) m = Mul(x, a) f = Mul(m, half)"
GELU_TANH = """c = Pow(x, three) k = Mul(c, cubic) i = Add(x, k) s = Mul(i, slope) t = Tanh(s) a = Add(t, one)
    h = Mul(x, half) f = Mul(h, a)"""
RMS = "q = Mul(x, x) v = ReduceMean(q, last) t = Add(v, eps) r = Sqrt(t) f = Div(x, r)"
NUMBERS = {
    "one": 1, "two": 2, "three": 3, "half": 0.5, "root2": np.sqrt(2), "cubic": 0.044715, "slope": np.sqrt(2 / np.pi),
    "six": 6, "zero": 0, "tiny": 1e-9, "fifty": 50, "hundred": 100, "far": 1e4, "eps": 1e-5, "sixth": 1 / 6,
}  # fmt: skip


def net(body, inputs="float[N,4] x", dtype=np.float32, outputs="float[] y", **weights):
    named = {
        k: v for k, v in NUMBERS.items() if k in body.replace("(", " ").replace(")", " ").replace(",", " ").split()
    }
    arrays = {k: np.asarray(v, dtype) for k, v in {**named, **weights}.items() if k not in ("last", "axes")}
    arrays |= {"last": ints(-1)} if "last" in body else {}
    arrays |= {"axes": weights["axes"]} if "axes" in weights else {}
    kind = {np.float64: "double[", np.float16: "float16["}.get(dtype, "float[")
    return model(body, inputs.replace("float[", kind), outputs.replace("float[", kind), opset=20, **arrays)


def types(proto, *shape):
    return [n.op_type for n in reflrp.load(proto).graph({"x": shape}).nodes]


# ---------------------------------------------------------------- what differs stays

FAR = {
    "begins at 100": f"{SILU} z = Sub(x, hundred) r = Relu(z) y = Add(f, r)",
    "begins at 50, and small": f"{GELU} z = Sub(x, fifty) r = Relu(z) k = Mul(r, tiny) y = Add(f, k)",
    "clipped far out": f"{SILU} y = Min(f, far)",
    "clipped far out below": f"{GELU} y = Max(f, low)",
    "a small square": f"{SILU} q = Mul(x, x) k = Mul(q, tiny) y = Add(f, k)",
    "a hinge of the square": f"{SILU} q = Mul(x, x) z = Sub(q, far) r = Relu(z) y = Add(f, r)",
    "a small multiple": f"{SILU} k = Mul(x, tiny) y = Add(f, k)",
}


@pytest.mark.parametrize("name", FAR)
def test_what_differs_far_out_or_by_little_stays(name):
    proto = net(FAR[name], low=-30.0) if "low" in FAR[name] else net(FAR[name])
    graph = reflrp.load(proto).graph({"x": (2, 4)})
    assert [n.op_type for n in graph.nodes][-1] not in ("Swish", "Gelu")
    x = np.array([[99, 101, 200, 20000], [-50, 51, 60, 1e6]], np.float32)
    wanted = onnxruntime(proto, {"x": x})["y"]
    np.testing.assert_allclose(reflrp.load(proto).run(x)["y"], wanted, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        (GELU_TANH, "cubic", 0.044),
        (GELU_TANH, "cubic", 0.04472),
        (GELU_TANH, "slope", 0.79788),
        (GELU_TANH, "three", 3.001),
        (GELU, "root2", 1.4142),
        (GELU, "half", 0.50001),
        (GELU, "one", 1.00001),
    ],
)
def test_a_constant_that_is_off(body, name, value, dtype):
    assert types(net(body.replace("f =", "y ="), dtype=dtype), 2, 4)[0] in ("Gelu", "GeluTanh")
    assert len(types(net(body.replace("f =", "y ="), dtype=dtype, **{name: value}), 2, 4)) > 1


@pytest.mark.parametrize(("value", "kept"), [(np.float32(np.sqrt(2)), True), (np.sqrt(2), True), (1.41421356, False)])
def test_a_constant_is_compared_in_the_format_that_holds_it(value, kept):
    """1.41421356 in float64 is no rounding of the root of 2, neither to float64 nor to float32."""
    assert (types(net(GELU.replace("f =", "y ="), dtype=np.float64, root2=value), 2, 4) == ["Gelu"]) is kept


@pytest.mark.parametrize(
    ("body", "wanted"), [(GELU, "Gelu"), (GELU_TANH, "GeluTanh"), (SILU, "Swish"), (RMS, "RMSNorm")]
)
def test_constants_of_float16(body, wanted):
    assert types(net(body.replace("f =", "y ="), dtype=np.float16), 2, 4) == [wanted]
    rounded = {
        k: np.float32(np.float16(v)) for k, v in NUMBERS.items() if k in ("cubic", "slope", "root2") and k in body
    }
    assert types(net(body.replace("f =", "y ="), **rounded), 2, 4) == [wanted]


def test_one_step_beside_the_rounding_to_float16():
    off = np.nextafter(np.float16(0.044715), np.float16(1))
    assert len(types(net(GELU_TANH.replace("f =", "y ="), cubic=off), 2, 4)) > 1


NORMS = {
    "epsilon for each row": (RMS, {"eps": np.array([[1e-6], [1e-3]])}),
    "epsilon outside": ("q = Mul(x, x) v = ReduceMean(q, last) r = Sqrt(v) t = Add(r, eps) f = Div(x, t)", {}),
    "another axis in the mean": (
        """m = ReduceMean(x, axes) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, last) t = Add(v, eps) r = Sqrt(t)
        f = Div(d, r)""",
        {"axes": ints(0)},
    ),
    "a mean that meets another axis": (
        """m = ReduceMean <keepdims = 0>(x, last) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, last) t = Add(v, eps)
        r = Sqrt(t) f = Div(d, r)""",
        {},
    ),
    "a root of the sum for another length": (RMS.replace("f =", "g =") + " f = Mul(g, x)", {}),
}


@pytest.mark.parametrize("name", NORMS)
def test_what_is_no_normalisation(name):
    body, weights = NORMS[name]
    proto = net(body.replace("f =", "y ="), "float[4,4] x" if "meets" in name else "float[2,4] x", **weights)
    x = draw(4 if "meets" in name else 2, 4)
    nodes = reflrp.load(proto).graph({"x": x.shape}).nodes
    assert (nodes[-1].op_type, nodes[-1].inputs) not in [("LayerNorm", ("x",)), ("RMSNorm", ("x",))]
    np.testing.assert_allclose(reflrp.load(proto).run(x)["y"], onnxruntime(proto, {"x": x})["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "more",
    [
        "l = Log(x) z = Mul(l, zero) y = Add(f, z)",
        "l = Sqrt(x) z = Sub(l, l) y = Add(f, z)",
        "r = Reciprocal(x) z = Mul(r, x) y = Mul(f, z)",
        "l = Log(x) e = Exp(l) z = Sub(e, x) y = Add(f, z)",
        "q = Sqrt(x) p = Mul(q, q) z = Sub(p, x) y = Add(f, z)",
    ],
)
def test_what_is_not_defined_everywhere_does_not_cancel(more):
    """At -1 or 0 the file has a NaN, and no Swish."""
    assert types(net(f"{SILU} {more}"), 2, 4)[-1] != "Swish"


# ---------------------------------------------------------------- softmax

SOFTMAX = {
    "plain": "e = Exp(x) t = ReduceSum(e, axes) y = Div(e, t)",
    "with the maximum": "m = ReduceMax(x, axes) d = Sub(x, m) e = Exp(d) t = ReduceSum(e, axes) y = Div(e, t)",
    "by a reciprocal": "m = ReduceMax(x, axes) d = Sub(x, m) e = Exp(d) t = ReduceSum(e, axes) r = Reciprocal(t) y = Mul(r, e)",
    "without keepdims": """m = ReduceMax <keepdims = 0>(x, axes) n = Unsqueeze(m, axes) d = Sub(x, n) e = Exp(d)
        t = ReduceSum <keepdims = 0>(e, axes) u = Unsqueeze(t, axes) y = Div(e, u)""",
    "by a mean": "e = Exp(x) t = ReduceMean(e, axes) r = Div(e, t) y = Div(r, size)",
    "by the logarithm": "t = ReduceLogSumExp(x, axes) d = Sub(x, t) y = Exp(d)",
    "logarithm": "e = Exp(x) t = ReduceSum(e, axes) l = Log(t) y = Sub(x, l)",
    "logarithm, with the maximum": """m = ReduceMax(x, axes) d = Sub(x, m) e = Exp(d) t = ReduceSum(e, axes) l = Log(t)
        y = Sub(d, l)""",
    "logarithm of the whole": "e = Exp(x) t = ReduceSum(e, axes) p = Div(e, t) y = Log(p)",
}


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax_spelled_out(name, axis):
    given = {"size": (2, 3, 4)[axis]} if "size" in SOFTMAX[name] else {}
    proto = net(SOFTMAX[name], "float[2,3,4] x", axes=ints(axis), **given)
    (node,) = reflrp.load(proto).graph({"x": (2, 3, 4)}).nodes
    assert (node.op_type, node.op.axes) == ("LogSoftmax" if "logarithm" in name[:9] else "Softmax", (axis % 3,))
    x = 5 * draw(2, 3, 4)
    np.testing.assert_allclose(reflrp.load(proto).run(x)["y"], onnxruntime(proto, {"x": x})["y"], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        "e = Exp(x) t = ReduceSum(e, axes) p = Add(t, eps) y = Div(e, p)",  # an epsilon below
        "e = Exp(x) t = ReduceMean(e, axes) y = Div(e, t)",  # a mean
        "e = Exp(x) t = ReduceSum(e, axes) s = ReduceSum(e, last) y = Div(e, t) z = Mul(y, s)",  # another reader
        "m = ReduceMax(x, last) d = Sub(x, m) e = Exp(d) t = ReduceSum(e, axes) y = Div(e, t)",  # another maximum
        "q = Mul(x, x) e = Exp(q) t = ReduceSum(e, axes) k = Exp(x) y = Div(k, t)",  # another argument
        "e = Exp(x) t = ReduceSum <keepdims = 0>(e, axes) y = Div(e, t)",  # the sum meets another axis
    ],
)
def test_what_is_no_softmax(body):
    proto = net(body, "float[4,4] x", axes=ints(0 if "keepdims" not in body else 1), outputs="float[] y")
    nodes = reflrp.load(proto).graph({"x": (4, 4)}).nodes
    assert not any(n.op_type == "Softmax" and n.inputs == ("x",) for n in nodes)
    x = draw(4, 4)
    np.testing.assert_allclose(reflrp.load(proto).run(x)["y"], onnxruntime(proto, {"x": x})["y"], rtol=1e-5)


def test_softmax_of_scaled_scores():
    """The scale stays before it; attention spelled out has a softmax."""
    body = "z = Mul(x, half) " + SOFTMAX["with the maximum"].replace("x,", "z,")
    assert types(net(body, "float[2,4] x", axes=ints(-1)), 2, 4) == ["Mul", "Softmax"]


# ---------------------------------------------------------------- regions


def test_regions_in_regions():
    """A recognised function of a recognised function; the inner one ends where the outer begins."""
    body = f"{SILU} " + GELU.replace("(x", "(f").replace("e =", "ee =").replace("Add(e", "Add(ee").replace(
        "f = Mul(m", "y = Mul(m"
    )
    assert types(net(body), 2, 4) == ["Swish", "Gelu"]
    body = "n = Neg(x) e = Exp(n) a = Add(e, one) r = Reciprocal(a) y = Mul(x, r)"  # a sigmoid in a swish
    assert types(net(body), 2, 4) == ["Swish"]


@pytest.mark.parametrize("inner", ["q", "v", "t", "r"])
@pytest.mark.parametrize("seen", ["output", "reader"])
def test_inner_values_that_are_seen(inner, seen):
    body = RMS.replace("f =", "y =") + (f" z = Tanh({inner})" if seen == "reader" else "")
    proto = net(body, outputs=f"float[] y, float[] {'z' if seen == 'reader' else inner}")
    assert "RMSNorm" not in types(proto, 2, 4)


def test_keras_layer_norm():
    """A BatchNormalization with statistics of each row, as Keras has it written."""
    body = """i = Reshape(x, flat) m = ReduceMean(i, axes) q = Mul(i, i) k = ReduceMean(q, axes) n = Mul(m, m)
        v = Sub(k, n) mm = Reshape(m, rows) vv = Reshape(v, rows)
        b = BatchNormalization <epsilon = 0.001>(i, ones, zeros, mm, vv) o = Reshape(b, back) g = Mul(o, w) y = Add(g, c)"""
    proto = net(
        body, "float[2,3,4] x", axes=ints(2, 3), w=draw(4), c=draw(4, seed=1), ones=np.ones(6), zeros=np.zeros(6)
    )
    for name, shape in {"flat": (1, 6, 4, 1), "rows": (6,), "back": (2, 3, 4)}.items():
        proto.graph.initializer.extend(model("y = Identity(x)", **{name: ints(*shape)}).graph.initializer)
    nodes = reflrp.load(proto).graph({"x": (2, 3, 4)}).nodes
    assert "LayerNorm" in [n.op_type for n in nodes]
    x = draw(2, 3, 4)
    np.testing.assert_allclose(reflrp.load(proto).run(x)["y"], onnxruntime(proto, {"x": x})["y"], rtol=1e-4, atol=1e-5)


def test_keras_group_norm():
    """Weight and bias of each group and channel are woven in; the groups are an axis of their own."""
    body = """m = ReduceMean(x, axes) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, axes) t = Add(v, eps) s = Sqrt(t)
        r = Reciprocal(s) k = Mul(r, g) p = Mul(x, k) l = Mul(m, k) o = Sub(b, l) y = Add(p, o)"""
    g, b = draw(1, 1, 1, 2, 3), draw(1, 1, 1, 2, 3, seed=1)
    proto = net(body, "float[2,3,4,2,3] x", axes=ints(1, 2, 4), g=g, b=b)
    (node,) = reflrp.load(proto).graph({"x": (2, 3, 4, 2, 3)}).nodes
    assert (node.op_type, node.op.axes) == ("LayerNorm", (1, 2, 4))
    np.testing.assert_allclose(node.op.w, g[0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(node.op.b, b[0, 0, 0], rtol=1e-6)
    x = draw(2, 3, 4, 2, 3)
    np.testing.assert_allclose(reflrp.load(proto).run(x)["y"], onnxruntime(proto, {"x": x})["y"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "c", [1e300, -1e300, 1e-300, np.inf, -np.inf, np.nan, 0.0, np.array([1.0, np.nan, 0.0, 1e300])]
)
@pytest.mark.parametrize(
    "body",
    [
        "k = Mul(x, c) q = Mul(k, k) h = Mul(q, q) s = Sigmoid(h) y = Mul(x, s)",
        "k = Add(x, c) r = Relu(k) m = Clip(r, , c) y = Mul(x, m)",
        "k = Mul(x, c) q = Mul(k, k) v = ReduceMean(q, last) t = Add(v, c) s = Sqrt(t) y = Div(k, s)",
        "k = Mul(x, c) e = Exp(k) t = ReduceSum(e, last) u = Add(t, c) y = Div(e, u)",
        "e = Exp(x) t = Add(e, c) l = Log(t) y = Pow(l, c)",
    ],
)
def test_numbers_of_all_sizes(body, c):
    """Whatever stands in the file, its graph is made."""
    if np.ndim(c) and ("Clip" in body or "Pow" in body):
        body = "k = Mul(x, c) s = Sigmoid(k) y = Mul(x, s)"
    assert types(net(body, dtype=np.float64, c=c), 2, 4)


# ---------------------------------------------------------------- wide ranges

WIDE = {
    "gelu": GELU, "gelu_tanh": GELU_TANH, "silu": SILU, "rms": RMS,
    "hard swish": "a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) f = Div(m, six)",
    "silu, and a hinge": FAR["begins at 100"],
    "softmax": "m = ReduceMax(x, last) d = Sub(x, m) e = Exp(d) t = ReduceSum(e, last) f = Div(e, t)",
}  # fmt: skip


@pytest.mark.parametrize("name", WIDE)
def test_from_very_small_to_very_large(name):
    """Each row at a scale of its own. Where onnxruntime overflows in float32, it says nothing."""
    proto = net(WIDE[name] if "y =" in WIDE[name] else WIDE[name].replace("f =", "y ="))
    scales = 10.0 ** np.arange(-30, 31, 3)
    x = (scales[:, None] * draw(len(scales), 4, seed=3)).astype(np.float32)
    wanted, found = onnxruntime(proto, {"x": x})["y"], reflrp.load(proto).run(x)["y"]
    seen = np.isfinite(wanted)
    assert seen[scales < 1e15].all()
    assert np.all(np.abs(found - wanted)[seen] <= 1e-6 * np.abs(x)[seen] + 1e-6 * np.abs(wanted)[seen] + 1e-30)


# ---------------------------------------------------------------- the belt


def wrong(monkeypatch):
    """Let every region be taken for a Mish."""
    monkeypatch.setattr("reflrp.passes.recognise.identified", lambda region: Pointwise("mish"))


def test_what_was_recognised_wrongly_is_an_error(monkeypatch):
    wrong(monkeypatch)
    loaded = reflrp.load(net(SILU.replace("f =", "y =")))
    with pytest.raises(ForwardChanged, match=r"'Mul_1' was recognised as Mish, .*'Sigmoid_0', 'Mul_1'"):
        loaded.run(draw(2, 4))
    with pytest.raises(ForwardChanged, match="Mish"):
        reflrp.explain(loaded, draw(2, 4))


def test_a_normalisation_with_the_scale_after_it(monkeypatch):
    """The scale that a normalisation took in belongs to what is compared."""
    loaded = reflrp.load(net(RMS.replace("f =", "n =") + " y = Mul(n, g)", g=draw(4)))
    graph = loaded.graph({"x": (2, 4)})
    (name,) = graph.replaced
    assert [n.op_type for n in graph.replaced[name].nodes][-2:] == ["Div", "Mul"]
    monkeypatch.setitem(graph.replaced, name, replace(graph.replaced[name], nodes=graph.replaced[name].nodes[:-1]))
    with pytest.raises(ForwardChanged, match="RMSNorm"):
        loaded.run(draw(2, 4))


def test_it_is_compared_once(monkeypatch):
    seen = []
    monkeypatch.setattr("reflrp.engine.program.compare", lambda node, *_: seen.append(node.name))
    loaded = reflrp.load(net(f"{SILU} y = MatMul(f, w)", w=draw(4, 4)))
    loaded.run(draw(2, 4))
    loaded.run(draw(2, 4))
    reflrp.explain(loaded, draw(2, 4), "epsilon_plus")
    assert seen == ["Mul_1"]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("body", [GELU, GELU_TANH, SILU, RMS, SOFTMAX["with the maximum"].replace("y =", "f =")])
def test_rounding_is_no_mismatch(body, scale, dtype):
    proto = net(body.replace("f =", "y ="), axes=ints(-1)) if "axes" in body else net(body.replace("f =", "y ="))
    loaded = reflrp.load(proto)
    loaded.run(scale * draw(64, 4), dtype=dtype)
    assert not loaded.graph({"x": (64, 4)}).unchecked


def test_a_variance_that_cancels_is_no_mismatch():
    """The mean of squares less the squared mean, where the mean is large: what rounding does there is bounded."""
    body = """m = ReduceMean(x, last) q = Mul(x, x) k = ReduceMean(q, last) n = Mul(m, m) v = Sub(k, n) t = Add(v, eps)
        r = Sqrt(t) d = Sub(x, m) y = Div(d, r)"""
    loaded = reflrp.load(net(body))
    assert types(net(body), 2, 4) == ["LayerNorm"]
    loaded.run(1e3 + draw(2, 4))


@pytest.mark.parametrize(
    "function", ["LeakyRelu<alpha = 0.1>", "Relu", "Elu", "Celu", "Selu", "HardSigmoid", "Sigmoid"]
)
def test_a_factor_for_each_feature_is_no_parameter(function):
    """The skeleton is that of a function with one number where the file has four."""
    proto = model(f"r = {function}(x) d = Mul(r, k) y = Add(d, r)", k=np.float32([3, 0.7, 1.3, 2]))
    x = draw(3, 4)
    wanted = onnxruntime(proto, {"x": x})["y"]
    assert np.allclose(reflrp.load(proto).run(x)["y"], wanted, rtol=1e-6, atol=1e-7)
    assert reflrp.explain(proto, x, "epsilon").relevance.shape == x.shape


@pytest.mark.parametrize(
    "spread",
    [
        "b = Mul(x, above) d = Sub(b, x) e = Mul(d, big) u = Add(e, x)",  # 2 x; x, were `above` 1
        "b = Add(x, above) r = Relu(b) c = Add(x, one) s = Relu(c) d = Sub(r, s) e = Mul(d, big) u = Add(e, x)",
        "m = Mul(x, above) p = Exp(m) q = Exp(x) d = Div(p, q) l = Log(d) e = Mul(l, big) u = Add(e, x)",
    ],
)
def test_what_nearly_cancels_may_be_amplified(spread):
    """Within a region, numbers are equal where they are: equal up to float32's rounding is for the function's own parameters."""
    body = f"{spread} n = Neg(u) E = Exp(n) a = Add(E, one) y = Reciprocal(a)"
    proto, x = net(body, above=1 + 2.0**-22, big=2.0**22, one=1), draw(3, 4)
    wanted = 1 / (1 + np.exp(-2 * x if "Relu" not in spread else -(x + (x > -1))))
    assert np.allclose(reflrp.load(proto).run(x)["y"], wanted, rtol=1e-6)
