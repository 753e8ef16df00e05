"""What compiled graphs save: passes that vanish by algebra, proven on fractions, and counted as nodes."""

from fractions import Fraction

import numpy as np
import onnx
import onnx.reference
import pytest
from compiled import check, choices_in, off, run
from models import draw, model
from nets import build

import reflrp
from reflrp import rules
from reflrp.arrays.convolution import conv, conv_transpose
from reflrp.arrays.kernels import Windows
from reflrp.arrays.tracing import affine, choices, derived, operators
from reflrp.arrays.tracing import windows as traced
from reflrp.arrays.tracing.terms import Trace
from reflrp.compiler.writing import fusing
from reflrp.composites import Composite, anything, first, kind, uniform
from reflrp.dialects import zennit

GAMMA = rules.Gamma(0.25, generalized=True)


def fractions(rng, *shape):
    """Sevenths, exact."""
    return np.vectorize(lambda n: Fraction(int(n), 7), otypes=[object])(rng.integers(-20, 20, shape))


def behind_the_first(rule):
    """A rule on all convolutions but the first."""
    return Composite(((first(), rules.Epsilon()), (kind("conv"), rule), *uniform(rules.Epsilon()).pairs))


def convolutions(proto):
    """How many the relevance costs."""
    return sum(n.op_type in ("Conv", "ConvTranspose") and n.name.startswith("reflrp/") for n in proto.graph.node)


@pytest.mark.parametrize("gamma", [Fraction(1, 4), Fraction(1), Fraction(2)])
def test_the_lower_denominator_of_gamma_is_a_sum_of_two_others(gamma):
    """L(a, w + g w-) + b + g b- = (2 + g) (L(a, w) + b) - (L(a, w + g w+) + b + g b+), to the last bit."""
    rng = np.random.default_rng(0)
    a, w, b = fractions(rng, 2, 3, 5, 5), fractions(rng, 4, 3, 3, 3), fractions(rng, 4, 1, 1)
    frame = Windows((5, 5), (3, 3), (2, 1), (1, 1), (1, 0), (1, 1))

    def layer(change):
        return conv(a, change(w), frame) + change(b)

    lower = layer(lambda x: x + gamma * np.minimum(x, 0))
    raised = layer(lambda x: x + gamma * np.maximum(x, 0))
    assert (lower == (2 + gamma) * layer(lambda x: x) - raised).all()


def sums(*weights, biases=(0, 0, 0)):
    """What serves for L(x, v) + c, where L(x, w) + b is known for each w before v."""
    trace = Trace()
    x = trace.named("x", (1, 5), np.float32)
    layers = [trace.make("MatMul", (x, trace.constant(w, np.float32)), (1, 4)) for w in weights]
    for i, layer in enumerate(layers[:-1]):
        affine.know(trace.named(f"z{i}", (1, 4), np.float32), layer, np.full(4, biases[i], np.float32))
    found = affine.combined(layers[-1], np.full(4, biases[-1], np.float32))
    return found and ([round(f, 5) for f in found.factors], [t.get("name") for t in found.terms], found.rest)


def test_weights_are_combined_where_no_digits_are_lost():
    w = np.random.default_rng(0).standard_normal((5, 4))
    p, n = np.maximum(w, 0), np.minimum(w, 0)
    assert sums(w, w + p / 4, w + n / 4)[:2] == ([2.25, -1], ["z0", "z1"])
    assert sums(w, 2 * w)[:2] == ([2], ["z0"])
    assert sums(abs(w), p - n)[:2] == ([1], ["z0"])
    assert sums(w, p, n) is None  # w - w+ is zero up to rounding where w- is
    assert sums(w, w + p / 100, n) is None
    assert sums(w, w**2) is None
    assert sums(w, w + p / 4, w + n / 4 + 1e-5) is None


def test_biases_are_combined_where_no_digits_are_lost():
    w = np.random.default_rng(0).standard_normal((5, 4))
    p, n = np.maximum(w, 0), np.minimum(w, 0)
    gamma = w, w + p / 4, w + n / 4
    assert not sums(*gamma, biases=(-1, -1, -1.25))[2].any()
    assert np.allclose(sums(w, w, biases=(1, 3))[2], 2)
    assert sums(w, w, biases=(1, 0)) is None  # the bias may be much larger than all that is left without it
    assert sums(w, w, biases=(100, 1)) is None


BLOCK = """net (float[N, 2, 6, 6] x) => (float[N, 3] y)
<float[4, 2, 3, 3] w1, float[4] b1, float[4, 4, 3, 3] w2, float[4] b2, float[4, 4, 3, 3] w3, float[4] b3, float[3, 4] w4>
{
    a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w1, b1)
    r = Relu(a)
    b = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(r, w2, b2)
    c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(r, w3, b3)
    s = Add(b, c)
    q = Relu(s)
    g = GlobalAveragePool(q)
    f = Flatten(g)
    y = Gemm<transB = 1>(f, w4)
}"""


def test_gamma_without_a_gate_costs_one_pass_for_both_denominators():
    """Each of the two layers before the sum: one convolution for the denominators, and two for the way back."""
    proto, x = build(BLOCK), np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype(np.float32)
    composite = behind_the_first(GAMMA)
    assert convolutions(reflrp.compile(proto, composite)) == 2 * (1 + 2) + 1
    check(proto, {"x": x}, composite, layers=True)


def test_the_negative_denominator_of_alpha_beta_is_the_output_less_the_positive_one():
    """L(a, w-) + b- = (L(a, w) + b) - (L(a, w+) + b+), to the last bit."""
    rng = np.random.default_rng(0)
    a, w, b = fractions(rng, 2, 3, 5, 5), fractions(rng, 4, 3, 3, 3), fractions(rng, 4, 1, 1)
    frame = Windows((5, 5), (3, 3), (2, 1), (1, 1), (1, 0), (1, 1))

    def layer(change):
        return conv(a, change(w), frame) + change(b)

    parts = [layer(lambda x, part=part: part(x, 0)) for part in (np.maximum, np.minimum)]
    assert (parts[1] == layer(lambda x: x) - parts[0]).all()


def behind_a_rectifier(negative, bias=(0.1, -0.1)):
    """A convolution of 16 channels at what a rectifier gives; the negative weights are so many times what was drawn."""
    body = (
        "r = Relu(x) c = Conv<pads = [1, 1, 1, 1]>(r, w, b) q = Relu(c) y = ReduceMean<axes = [2, 3], keepdims = 0>(q)"
    )
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 16, 3, 3))
    w = np.where(w < 0, negative * w, w).astype(np.float32)
    x = abs(rng.standard_normal((3, 16, 6, 6))).astype(np.float32)
    return model(body, "float[N,16,6,6] x", w=w, b=np.tile(bias, 2).astype(np.float32)), x


def taken(proto, x):
    """Of each choice of a compiled graph, whether the first value was taken."""
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    asked = [n.input[0] for n in choices_in(shown.graph)]
    shown.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.BOOL, ()) for name in asked)
    found = run(shown, {"x": x}, asked)
    return [bool(found[name]) for name in asked]


@pytest.mark.parametrize("rule", [rules.AlphaBeta(), rules.AlphaBeta(bias="ignore"), rules.AlphaBeta(3, 2)])
@pytest.mark.parametrize(("negative", "holds"), [(1, True), (0.1, True), (1e-3, False), (1e-7, False)])
def test_alpha_beta_saves_a_pass_where_the_run_keeps_its_digits(rule, negative, holds):
    """Wherever z- is much smaller than z+, the graph makes the pass, and no digits are lost."""
    proto, x = behind_a_rectifier(negative, bias=(0, 0) if rule.bias == "ignore" else (0.1, -0.1 * negative))
    composite = Composite(((kind("conv"), rule), *uniform(rules.Epsilon()).pairs))
    written = reflrp.compile(proto, composite)
    assert convolutions(written) == 1 + 2
    assert taken(written, x) == [holds]
    assert off(proto, {"x": x}, composite)["relevance/x"].ours < 1e-5


def test_without_a_look_at_the_digits_the_saved_pass_would_be_wrong(monkeypatch):
    """What the choice is for: taken always, the difference is rounding where z- is small."""
    proto, x = behind_a_rectifier(1e-7, bias=(0.1, -1e-8))
    composite = Composite(((kind("conv"), rules.AlphaBeta()), *uniform(rules.Epsilon()).pairs))
    monkeypatch.setattr(choices, "APART", -1)
    assert taken(reflrp.compile(proto, composite), x) == [True]
    assert not off(proto, {"x": x}, composite)["relevance/x"].ours < 0.1  # NaN where z - z+ is 0


def readers(graph, name):
    """The operators that read a value, in the branches of a choice too."""
    bodies = [a.g for n in graph.node for a in n.attribute if a.type == onnx.AttributeProto.GRAPH]
    return [n.op_type for n in graph.node if name in n.input] + [r for body in bodies for r in readers(body, name)]


@pytest.mark.parametrize("rule", [rules.AlphaBeta(), rules.AlphaBeta(3, 2), rules.AlphaBeta(2, 1, stabilizer=0.1)])
def test_behind_a_gate_the_difference_is_that_of_the_rectified_output(rule):
    """Then nothing but the rectifier reads what the layer gives, so that runtimes make the two in one."""
    proto, x = behind_a_rectifier(1)
    composite = Composite(((kind("conv"), rule), *uniform(rules.Norm()).pairs))
    written = reflrp.compile(proto, composite)
    assert readers(written.graph, "c") == ["Relu"]
    assert taken(written, x) == [True]
    x[1], x[2, :, 2:] = 0, 0
    check(proto, {"x": x}, composite, layers=True)


def test_without_a_gate_the_difference_is_that_of_the_output_itself():
    """Relevance of another branch arrives where z <= 0 too."""
    layer = "r = Relu(x) c = Conv<pads = [1, 1, 1, 1]>(r, w, b)"
    body = f"{layer} s = Sigmoid(c) y = ReduceMean<axes = [2, 3], keepdims = 0>(s)"
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((4, 16, 3, 3)).astype(np.float32), np.tile([0.1, -0.1], 2).astype(np.float32)
    proto, x = model(body, "float[N,16,6,6] x", w=w, b=b), abs(rng.standard_normal((3, 16, 6, 6))).astype(np.float32)
    composite = Composite(((kind("conv"), rules.AlphaBeta()), *uniform(rules.Norm()).pairs))
    written = reflrp.compile(proto, composite)
    assert sorted(readers(written.graph, "c")) == ["Sigmoid", "Sub", "Sub"]
    check(proto, {"x": x}, composite, layers=True)


def test_a_choice_holds_where_nothing_arrives_at_a_layer():
    """At an input of zeros z+ and z- may be 0 both, and the quotients are those of the engine, with the stabiliser's sign."""
    for bias in ((0, 0), (0.1, -0.1)):
        proto, x = behind_a_rectifier(1, bias)
        x[1] = 0
        x[2, :, :, 3:] = -1
        check(proto, {"x": x}, "AlphaBeta", layers=True)


def test_what_a_file_computes_in_halves_is_no_part_of_a_difference():
    """z- would be off by what rounding to 11 bits does to z."""
    body = (
        "r = Relu(x) c = Conv<pads = [1, 1, 1, 1]>(r, w, b) q = Relu(c) y = ReduceMean<axes = [2, 3], keepdims = 0>(q)"
    )
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((4, 16, 3, 3)).astype(np.float16), np.tile([0.1, -0.1], 2).astype(np.float16)
    composite = Composite(((kind("conv"), rules.AlphaBeta()), *uniform(rules.Epsilon()).pairs))
    written = reflrp.compile(model(body, "float16[N,16,6,6] x", "float16[] y", w=w, b=b), composite)
    assert convolutions(written) == 2 + 2
    assert not choices_in(written.graph)


def test_sums_of_few_products_are_not_worth_a_choice():
    composite = behind_the_first(rules.AlphaBeta())
    written = reflrp.compile(build(BLOCK), composite)
    assert convolutions(written) == 2 * (2 + 2) + 1
    assert not choices_in(written.graph)


def nodes_by_output(proto):
    """The node that makes each value."""
    return {o: n for n in proto.graph.node for o in n.output}


@pytest.mark.parametrize("rule", [rules.ZPlus(), rules.ZPlus(bias="ignore"), rules.Gamma(0.25), rules.AlphaBeta(1, 0)])
def test_a_stabiliser_is_part_of_the_bias_where_nothing_else_reads_the_sum(rule):
    """No number is added to what a convolution gives with its bias."""
    proto, x = behind_a_rectifier(1)
    composite = Composite(((kind("conv"), rule), *uniform(rules.Epsilon()).pairs))
    written = reflrp.compile(proto, composite)
    made, ours = nodes_by_output(written), [n for n in written.graph.node if n.name.startswith("reflrp/")]
    denominators = [made[n.input[1]] for n in ours if n.op_type == "Div" and n.input[1] in made]
    layers = [d for d in denominators if any(i in made and made[i].op_type == "Conv" for i in d.input)]
    assert len(layers) == (
        not isinstance(rule, rules.Gamma)
    )  # of Gamma the sign is asked for: no gate is before the mean
    check(proto, {"x": x}, composite, layers=True)


def test_a_rectified_denominator_and_its_stabiliser_are_one_bound():
    """max(z, 0) + epsilon is max(z + epsilon, epsilon), which runtimes make with the convolution."""
    x = np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype(np.float32)
    composite = zennit.EpsilonGammaBox(-4.0, 4.0)
    written = reflrp.compile(build(POOLED), composite)
    made = nodes_by_output(written)
    clips = [n for n in written.graph.node if n.op_type == "Clip"]
    assert [made[made[n.input[0]].input[0]].op_type for n in clips] == ["Conv"]
    assert 1e-6 in [onnx.numpy_helper.to_array(t) for t in written.graph.initializer if t.name == clips[0].input[1]]
    check(build(POOLED), {"x": x}, composite, layers=True)


@pytest.mark.parametrize(("alpha", "left"), [(2, 0), (3, 1)])
def test_a_power_of_two_goes_back_in_the_kernel(alpha, left):
    """L.T(2 s, w) = L.T(s, 2 w) to the last bit, and -1 likewise; other factors are products of their own."""
    proto, x = behind_a_rectifier(1)
    composite = Composite(((kind("conv"), rules.AlphaBeta(alpha, alpha - 1)), *uniform(rules.Epsilon()).pairs))
    written = reflrp.compile(proto, composite, derived="stored")
    numbers = {t.name: onnx.numpy_helper.to_array(t) for t in written.graph.initializer if not t.dims}
    factors = [abs(numbers[i]) for n in written.graph.node if n.op_type == "Mul" for i in n.input if i in numbers]
    negatives = [n for n in written.graph.node if n.op_type == "Neg"]
    assert len([f for f in factors if f != 1 - choices.APART and f > 1e-20]) + len(negatives) == left
    check(proto, {"x": x}, composite, layers=True)


@pytest.mark.parametrize("stem", ["[3, 3], pads = [1, 1, 1, 1]", "[7, 7], strides = [2, 2], pads = [3, 3, 3, 3]"])
@pytest.mark.parametrize(("rule", "channels"), [(rules.Flat(), 1), (rules.WSquare(), 8)])
def test_kernels_that_are_all_the_same_take_the_sum_of_the_channels(stem, rule, channels):
    """sum_k L.T(s_k, v) = L.T(sum_k s_k, v)."""
    body = f"c = Conv<kernel_shape = {stem}>(x, w, b) r = Relu(c) y = ReduceMean<axes = [2, 3], keepdims = 0>(r)"
    size = 7 if "7" in stem else 3
    proto = model(body, "float[N,3,17,18] x", w=(8, 3, size, size), b=(8,))
    composite = Composite(((kind("conv"), rule), *uniform(rules.Epsilon()).pairs))
    for how in ("stored", "graph"):
        written = reflrp.compile(proto, composite, derived=how)
        known = onnx.shape_inference.infer_shapes(written, data_prop=True).graph
        shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in known.value_info}
        shapes |= {t.name: list(t.dims) for t in known.initializer}
        (back,) = [n for n in known.node if n.op_type == "Conv" and n.name.startswith("reflrp/")][-1:]
        assert shapes[back.input[1]][1] == channels
        x = np.random.default_rng(0).standard_normal((2, 3, 17, 18)).astype(np.float32)
        check(proto, {"x": x}, composite)


def test_what_is_interleaved_is_summed_before():
    """Alpha-beta on an input of both signs adds two transposes: one interleaving serves both."""
    stem = "Conv<kernel_shape = [7, 7], strides = [2, 2], pads = [3, 3, 3, 3]>(x, w, b)"
    body = f"c = {stem} r = Relu(c) y = ReduceMean<axes = [2, 3], keepdims = 0>(r)"
    proto = model(body, "float[N,3,18,18] x", w=(8, 3, 7, 7), b=(8,))
    written = reflrp.compile(proto, "AlphaBeta")
    assert [n.op_type for n in written.graph.node].count("DepthToSpace") == 2
    check(proto, {"x": np.random.default_rng(0).standard_normal((2, 3, 18, 18)).astype(np.float32)}, "AlphaBeta")


POOLED = """net (float[N, 2, 6, 6] x) => (float[N, 3] y)
<float[4, 2, 3, 3] w1, float[4] b1, float[4, 4, 3, 3] w2, float[4] b2, float[3, 36] w4>
{
    a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w1, b1)
    r = Relu(a)
    b = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(r, w2, b2)
    s = Relu(b)
    p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(s)
    f = Flatten(p)
    y = Gemm<transB = 1>(f, w4)
}"""


def test_a_maximum_behind_a_rectifier_is_a_gate():
    """The gradient of a maximum gives to the winner, which is its output: where that is 0, no relevance arrives."""
    proto, x = build(POOLED), np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype(np.float32)
    composite = zennit.EpsilonGammaBox(-4.0, 4.0)
    assert convolutions(reflrp.compile(proto, composite)) == (1 + 1) + 1  # ZBox: L(a, w) is there, w = w+ + w-
    check(proto, {"x": x}, composite, layers=True)


FRAMES = [
    Windows((n, m), (k, j), (s, s), (1, 1), (p, p), (q, q))
    for n, m, k, j, s in ((8, 7, 3, 3, 2), (9, 9, 7, 5, 2), (7, 8, 4, 3, 3), (10, 8, 5, 5, 4), (6, 6, 3, 4, 3))
    for p, q in ((0, 0), (1, 1), (2, 2), (0, 2), (2, 1))
]


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_a_strided_transpose_is_one_convolution_of_all_phases(frame):
    """Its channels, interleaved, are the transposed convolution, to the last bit."""
    rng, stride = np.random.default_rng(1), frame.strides[0]
    w, s = fractions(rng, 2, 3, *frame.kernel), fractions(rng, 2, 2, *frame.out)
    trace = Trace()
    made = traced.by_phases(trace.named("s", s.shape, np.float32), trace.constant(w.astype(np.float32)), frame)
    while made.op != "Conv":
        made = made.inputs[0]
    taps, pads = made.get("kernel_shape"), made.get("pads")
    phases = conv(
        s, derived.phased(w, windows=frame, taps=taps), Windows(frame.out, taps, (1, 1), (1, 1), pads[:2], pads[2:])
    )
    rows = phases.reshape(2, stride, stride, 3, *phases.shape[2:]).transpose(0, 3, 4, 1, 5, 2)
    whole = rows.reshape(2, 3, stride * rows.shape[2], stride * rows.shape[4])[..., : frame.size[0], : frame.size[1]]
    assert (whole == conv_transpose(s, w, frame)).all()


@pytest.mark.parametrize(
    "stem", ["[7, 7], strides = [2, 2], pads = [3, 3, 3, 3]", "[3, 3], strides = [2, 2], pads = [0, 1, 1, 0]"]
)
def test_the_transpose_of_a_strided_stem_is_no_convtranspose(stem):
    body = f"c = Conv<kernel_shape = {stem}>(x, w, b) r = Relu(c) y = ReduceMean<axes = [2, 3], keepdims = 0>(r)"
    size = 7 if "7" in stem else 3
    proto = model(body, "float[N,3,17,18] x", w=(8, 3, size, size), b=(8,))
    x = np.random.default_rng(0).standard_normal((2, 3, 17, 18)).astype(np.float32)
    for rule in ("epsilon", "AlphaBeta", "WSquare"):
        written = reflrp.compile(proto, rule)
        assert not any(n.op_type == "ConvTranspose" for n in written.graph.node)
        check(proto, {"x": x}, rule)


@pytest.mark.parametrize("rule", ["epsilon", "AlphaBeta", "Flat"])
@pytest.mark.parametrize(
    "layer",
    ["strides = [2, 2]", "strides = [2, 3], pads = [1, 0, 0, 2]", "strides = [3, 3], group = 2", "strides = [2, 1]"],
)
def test_the_transpose_of_windows_of_one_entry_mixes_channels_before_it_lays_them_apart(layer, rule):
    """What is laid apart is a kernel of ones a channel; alpha-beta at inputs of both signs adds two transposes a sign before."""
    body = f"c = Conv<kernel_shape = [1, 1], {layer}>(x, w, b) y = ReduceMean<axes = [2, 3], keepdims = 0>(c)"
    channels = 24 if "group" in layer else 48
    proto = model(body, "float[N,48,9,8] x", w=(16, channels, 1, 1), b=(16,))
    composite = Composite(((kind("conv"), {"epsilon": rules.Epsilon(), "AlphaBeta": rules.AlphaBeta(), "Flat": rules.Flat()}[rule]),
                           *uniform(rules.Epsilon()).pairs))  # fmt: skip
    written = reflrp.compile(proto, composite)
    known = {t.name: onnx.numpy_helper.to_array(t) for t in written.graph.initializer}
    apart = [n for n in written.graph.node if n.op_type == "ConvTranspose"]
    if rule != "Flat":
        assert len(apart) == (2 if rule == "AlphaBeta" else 1)
        assert all(known[n.input[1]].shape == (48, 1, 1, 1) and (known[n.input[1]] == 1).all() for n in apart)
    check(proto, {"x": np.random.default_rng(0).standard_normal((2, 48, 9, 8)).astype(np.float32)}, composite)


def test_channels_are_summed_by_a_convolution_with_ones():
    """In graphs of any batch size, and of none: a product of matrices would not take the latter."""
    body = "c = Conv<kernel_shape = [3, 3]>(x, w, b) r = Relu(c) y = ReduceMean<axes = [2, 3], keepdims = 0>(r)"
    proto = model(body, "float[N,3,9,8] x", w=(8, 3, 3, 3), b=(8,))
    written = reflrp.compile(proto, Composite(((kind("conv"), rules.Flat()), *uniform(rules.Epsilon()).pairs)))
    summed = {n.input[0] for n in written.graph.node if n.op_type == "ReduceSum"}
    assert all(
        name in ("x", "r", "y") or name.startswith("reflrp/Reduce") for name in summed
    )  # what is looked at for an overflow
    empty = np.zeros((0, 3, 9, 8), np.float32)
    assert run(written, {"x": empty}, ["relevance/x"])["relevance/x"].shape == empty.shape


def test_the_sign_of_a_denominator_is_known_behind_a_gate():
    """Where relevance vanishes unless z > 0, and the denominator is at least z, none of its signs is asked for."""
    x = np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype(np.float32)
    for text, composite, asked in (
        (POOLED, zennit.EpsilonGammaBox(-4.0, 4.0), 2),  # at the output and in the box
        (BLOCK, behind_the_first(GAMMA), 1),
        (BLOCK, behind_the_first(rules.Gamma(0.25, generalized=True, bias="keep")), 1),
        (BLOCK, behind_the_first(rules.Gamma(0.25, generalized=True, bias="ignore")), 1 + 4),
    ):
        written = reflrp.compile(build(text), composite)
        assert sum(n.op_type == "GreaterOrEqual" for n in written.graph.node) == asked
        check(build(text), {"x": x}, composite, layers=True)


def test_a_value_is_at_least_another_if_weights_and_bias_are():
    trace = Trace()
    x, y = (trace.named(name, (1, 5), np.float32, nonneg=name == "x") for name in "xy")
    w = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)

    def value(operand, weights, bias):
        layer = trace.make("MatMul", (operand, trace.constant(weights)), (1, 4))
        made = trace.named(f"{operand.get('name')}{len(trace.terms)}", (1, 4), np.float32)
        affine.know(made, layer, np.full(4, bias, np.float32))
        return made

    z, larger, biased, crossed = value(x, w, 0), value(x, w + abs(w), 1), value(x, w, -1), value(x, w - 1, 2)
    assert affine.at_least(z, z)
    assert affine.at_least(larger, z)
    assert not affine.at_least(z, larger)
    assert affine.at_least(z, biased)
    assert not affine.at_least(biased, z)
    assert not affine.at_least(crossed, z)
    assert not affine.at_least(value(y, w + abs(w), 1), value(y, w, 0))  # inputs of any sign
    assert not affine.at_least(larger, trace.named("z", (1, 4), np.float32))


def test_what_a_maximum_lets_through_is_the_same_without_its_gate():
    """The engine's relevance with the layer's gate known is the relevance without, to the last bit."""
    x = np.random.default_rng(0).standard_normal((3, 2, 6, 6))
    program = reflrp.Explainer(reflrp.load(build(POOLED)), zennit.EpsilonGammaBox(-4.0, 4.0)).program(x)
    gated = [name for name, op in program.ops.items() if getattr(op, "gated", False)]
    assert len(gated) == 2
    values = program.forward({"x": x})
    y = program.graph.resolve(program.graph.outputs[0])
    one, two = (p.backward(dict(values), {y: values[y]}, lambda _: True)[0] for p in (program, program.ungated()))
    assert all(np.array_equal(one[name], two[name]) for name in two)


@pytest.mark.parametrize("op", sorted(operators.KEEPS_SIGN - {"Cast"}))
def test_functions_that_are_said_to_keep_a_sign_keep_it(op):
    """What is never negative needs no maximum with 0; tan, say, is not of that kind."""
    x = np.linspace(0, 9, 91, dtype=np.float32)
    proto = model(f"y = {op}(x)", "float[N] x")
    assert (onnx.reference.ReferenceEvaluator(proto).run(None, {"x": x})[0] >= 0).all()


@pytest.mark.parametrize("pads", ["2, 0", "1, 3", "0, 0"])
@pytest.mark.parametrize("outputs", [1, 6])
def test_a_shift_that_is_none_of_a_channel_stays_beside_the_convolution(pads, outputs):
    """A box's lower end, seen through windows that reach into the padding, is a number for each place."""
    body = f"r = Relu(x) c = Conv<pads = [{pads}]>(r, w, b) y = Identity(c)"
    proto = model(body, "float[N,1,4] x", w=np.ones((outputs, 1, 1), np.float32), b=np.ones(outputs, np.float32))
    x = np.random.default_rng(0).standard_normal((2, 1, 4)).astype(np.float32)
    init = np.random.default_rng(1).standard_normal(reflrp.load(proto).run(x)["y"].shape).astype(np.float32)
    given = {"c": "zbox(low=-4,high=4)", "*": "pass"}
    found = run(reflrp.compile(proto, given, init="input"), {"x": x, "init": init}, ["relevance/x"])["relevance/x"]
    np.testing.assert_allclose(found, reflrp.explain(proto, x, given, init=init).relevance, atol=1e-5)


@pytest.mark.parametrize(("rule", "forward", "back"), [("zbox(low=-4,high=4)", 3, 2), ("alphabeta(2, 1)", 4, 4)])
@pytest.mark.parametrize("derived", ["graph", "stored"])
@pytest.mark.parametrize(("channels", "joined"), [(3, True), (4, True), (5, False)])
def test_transposes_of_one_share_to_few_channels_are_one(rule, forward, back, derived, channels, joined):
    """By w+ and by w-; up to a block of 8 outputs, and neither with other inputs nor with a bias behind."""
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((6, channels, 3, 3)).astype(np.float32), rng.standard_normal(6).astype(np.float32)
    proto = model("c = Conv<pads = [1, 1, 1, 1]>(x, w, b) y = Identity(c)", f"float[N,{channels},7,H] x", w=w, b=b)
    given = {"c": rule, "*": "pass"}
    compiled = reflrp.compile(proto, given, init="input", derived=derived)
    assert convolutions(compiled) == forward + (back // 2 if joined else back)
    for batch, width in ((1, 5), (3, 8)):
        x = rng.standard_normal((batch, channels, 7, width)).astype(np.float32)
        init = rng.standard_normal((batch, 6, 7, width)).astype(np.float32)
        found = run(compiled, {"x": x, "init": init}, ["relevance/x"])["relevance/x"]
        expected = reflrp.explain(proto, x, given, init=init).relevance
        np.testing.assert_allclose(found, expected, atol=1e-4 * abs(expected).max())


def test_a_convolution_with_a_bias_behind_it_stays_apart():
    """It is one step of a runtime with the bias, and two if it were a part of another."""
    trace = Trace()
    x = trace.named("x", (1, 2, 5), np.float32)
    w = [trace.constant(np.full((2, 2, 1), n, np.float32)) for n in range(1, 4)]
    layers = [traced.conv(x, v, Windows.each((5,)), 1) for v in w]
    biased = trace.make("Add", (layers[0], trace.constant(np.ones((2, 1), np.float32))), (1, 2, 5))
    found = fusing.side_by_side([biased, *layers[1:]])
    assert set(found) == set(map(id, layers[1:]))
    assert {part.inputs[0].shape for part in found.values()} == {(1, 4, 5)}


@pytest.mark.parametrize("rule", [rules.Flat(0.25), rules.WSquare(stabilizer=0.25), rules.Norm(0.25)])
def test_a_broadcast_value_and_a_constant_make_the_shape_that_is_said(rule):
    """A mean's relevance is one entry for all, and the windows of a constant are all the same: one of both is laid out."""
    proto = model(
        "p = AveragePool <kernel_shape = [1]>(x) n = LpNormalization <axis = 2>(p) y = GlobalAveragePool(n)",
        "float[N,C,4] x",
    )  # fmt: skip
    composite = Composite(((kind("pool"), rule), (anything(), rules.Pass())), "one")
    graph = reflrp.compile(proto, composite, init="input", layers=True)
    for shape in ((1, 1, 4), (2, 3, 4)):
        x, init = draw(*shape), draw(*shape[:2], 1, seed=1)
        wanted = reflrp.explain(proto, x, composite, init=init, layers=True)
        found = run(graph, {"x": x, "init": init})
        np.testing.assert_allclose(found["relevance/x"], wanted.relevance, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["layer/n"], wanted.layers["n"], rtol=1e-4, atol=1e-6)
