"""Minimal filtering in compiled graphs: exact in fractions, close in float32, and only where quotients are bounded."""

from fractions import Fraction

import numpy as np
import onnx
import onnxruntime
import pytest

import reflrp
from reflrp import rules
from reflrp.compiler.minimal import INPUT, KERNEL, OUTPUT, READ, ROWS
from reflrp.composites import Composite, kind, uniform

WIDE = 128


def exact(matrix):
    """Its entries, which are multiples of 1/24."""
    return np.vectorize(lambda v: Fraction(round(float(v) * 24), 24), otypes=[object])(matrix)


def test_six_products_make_four_outputs_of_three_taps():
    assert np.abs(exact(KERNEL).astype(float) - KERNEL).max() < 1e-8
    rng = np.random.default_rng(0)
    d, g = (np.array([Fraction(int(n), 7) for n in rng.integers(-20, 20, size)]) for size in (READ, 3))
    found = exact(OUTPUT) @ ((exact(KERNEL) @ g) * (exact(INPUT) @ d))
    assert list(found) == [sum(d[i + j] * g[j] for j in range(3)) for i in range(ROWS)]


def net(height, width, *, branch=False, pads=(1, 1, 1, 1)):
    """Two convolutions of many channels behind another, rectified, and classes."""
    rng = np.random.default_rng(1)

    def normal(*shape):
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype("f")

    weights = {"v": normal(WIDE, 2, 3, 3), "w": normal(WIDE, WIDE, 3, 3), "u": normal(WIDE, WIDE, 3, 3)}
    weights |= {"b": normal(WIDE, 1).ravel(), "d": normal(5, WIDE).T.copy()}
    end = "t2 = Add(t, s) a = Relu(t2)" if branch else "a = Relu(t)"
    found = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
    net (float[N, 2, {height}, {width}] x) => (float[N, 5] y) {{
        p = Conv<pads = [1, 1, 1, 1]>(x, v, b) q = Relu(p)
        r = Conv<pads = [{", ".join(map(str, pads))}]>(q, w, b) s = Relu(r)
        t = Conv<pads = [1, 1, 1, 1]>(s, u, b) {end}
        m = ReduceMean<axes = [2, 3], keepdims = 0>(a) y = MatMul(m, d) }}""")
    found.graph.initializer.extend(onnx.numpy_helper.from_array(w, k) for k, w in weights.items())
    return found


def groups(proto):
    """How many convolutions are made by minimal filtering."""
    return sum(a.name == "group" and a.i == READ for n in proto.graph.node for a in n.attribute)


def off(proto, model, x, rule):
    """How far a compiled graph is from float64, and NumPy's float32 too, by the largest relevance."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(["relevance/x"], {"x": x})[0]
    right = reflrp.explain(model, x, rule).relevance
    single = reflrp.explain(model, x, rule, dtype="float32").relevance
    return [np.abs(R - right).max() / np.abs(right).max() for R in (found, single)]


RULES = [rules.Epsilon(), rules.ZPlus(), rules.Gamma(0.25, generalized=True), rules.AlphaBeta(1, 0)]
SIZES = [(8, 8, (1, 1, 1, 1)), (9, 5, (1, 1, 1, 1)), (6, 7, (0, 1, 2, 0)), (3, 3, (1, 1, 1, 1))]


@pytest.mark.parametrize("derived", ["graph", "stored"])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_bounded_quotients_are_filtered(rule, derived):
    for batch, (height, width, pads) in enumerate(SIZES, 1):
        model = net(height, width, pads=pads)
        composite = Composite(((kind("conv"), rule), *uniform(rules.Epsilon()).pairs))
        proto = reflrp.compile(model, composite, derived=derived)
        assert groups(proto) == (2 if type(rule) is rules.Epsilon else 4)  # epsilon divides by what the file computes
        x = np.random.default_rng(2).standard_normal((batch, 2, height, width)).astype("f")
        ours, numpys = off(proto, model, x, composite)
        assert ours < max(3 * numpys, 2e-6)


def test_alpha_beta_and_residual_sums_are_not_filtered():
    conv = Composite(((kind("conv"), rules.AlphaBeta(2, 1)), *uniform(rules.Epsilon()).pairs))
    assert groups(reflrp.compile(net(8, 8), conv)) <= 1  # the way back from the last z+, nothing below it
    plus = Composite(((kind("conv"), rules.ZPlus()), *uniform(rules.Epsilon()).pairs))
    assert groups(reflrp.compile(net(8, 8, branch=True), plus)) == 0


def test_where_all_is_off_no_relevance_arrives():
    """Rounding leaves no relevance where a denominator is zero, and makes none of an input that is zero."""
    model = net(12, 8)
    composite = Composite(((kind("conv"), rules.ZPlus(bias="full")), *uniform(rules.Epsilon()).pairs))
    x = np.zeros((1, 2, 12, 8), "f")
    x[:, :, :2, :2] = 1000
    proto = reflrp.compile(model, composite)
    assert groups(proto) == 4
    ours, numpys = off(proto, model, x, composite)
    assert ours < max(3 * numpys, 2e-6)


def dark(height):
    """Classes that see the first rows only, which are dark, beside bright ones."""
    rng = np.random.default_rng(0)
    weights = {k: rng.standard_normal((WIDE, WIDE, 3, 3)).astype("f") / 34 for k in "uw"}
    d = rng.standard_normal((WIDE, height, height, 5)) / height
    d[:, 2:] = 0
    found = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
    dark (float[N, {WIDE}, {height}, {height}] x) => (float[N, 5] y) {{
        p = Conv<pads = [1, 1, 1, 1]>(x, u) q = Relu(p) r = Conv<pads = [1, 1, 1, 1]>(q, w) s = Relu(r)
        m = Flatten(s) y = MatMul(m, d) }}""")
    weights["d"] = d.reshape(-1, 5).astype("f")
    found.graph.initializer.extend(onnx.numpy_helper.from_array(w, k) for k, w in weights.items())
    return found


def choices(proto, x):
    """What a run chose of each filtered convolution."""
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    names = [n.input[0] for n in shown.graph.node if n.op_type == "If"]
    shown.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.BOOL, []) for n in names)
    session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    return [bool(v) for v in session.run(names, {"x": x})]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_run_looks_at_the_sizes_of_neighbours(rule):
    """Minimal filtering would lose 2 to 7 % of the largest relevance where a dark part is explained beside a bright one."""
    composite, model = Composite(((kind("conv"), rule), *uniform(rules.Epsilon()).pairs)), dark(8)
    proto = reflrp.compile(model, composite)
    assert groups(proto) == 2
    bright = np.abs(np.random.default_rng(5).standard_normal((2, WIDE, 8, 8))).astype("f")
    assert all(choices(proto, bright))
    x = bright.copy()
    x[1, :, :4] *= 1e-5  # one sample is enough
    assert not all(choices(proto, x))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(["relevance/x"], {"x": x})[0]
    right, single = (reflrp.explain(model, x, composite, dtype=d).relevance for d in ("float64", "float32"))
    for ours, numpys, R in zip(found, single, right, strict=True):
        scale = np.abs(R).max()
        assert np.abs(ours - R).max() / scale < max(10 * np.abs(numpys - R).max() / scale, 5e-6)
