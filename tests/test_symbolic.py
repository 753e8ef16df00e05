"""Every linear rule, traced into an ONNX graph, gives the numbers of the NumPy engine.

onnxruntime has no float64 kernel for Conv, ConvTranspose and Erf. So graphs with those run twice: in float64 by
`onnx.reference`, and in float32 by onnxruntime. The former's own ConvTranspose knows neither groups nor dilations
together with output_padding; the one here is the standard's definition, index by index.
"""

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from reflrp import rules
from reflrp.arrays import ZERO, erf, namespace, scatter_add
from reflrp.arrays import symbolic as xp
from reflrp.arrays.convolution import conv, conv_transpose
from reflrp.arrays.kernels import Windows, pad, unpad, window_spread, window_sum
from reflrp.arrays.tracing.array import term_of
from reflrp.arrays.tracing.dims import dim
from reflrp.arrays.tracing.terms import Trace
from reflrp.compiler.writing.emit import Writer
from reflrp.ops import conv as conv_ops
from reflrp.ops import linear, picking, routing, selection, sums
from reflrp.rules import Stabilizer

FLOAT64, FLOAT32 = 1e-12, 4e-6
ONE = np.ones(())


def draw(*shape):
    return np.random.default_rng(shape).standard_normal(shape)


def single(x):
    return np.asarray(x, dtype=np.float32)


ONLY_FLOAT32 = {"Conv", "ConvTranspose", "Erf", "AveragePool", "MaxUnpool"}


def trace(function, inputs, dynamic=False):
    """The ONNX model of what the function does to arrays shaped like the inputs; dynamic: of any length on the first axis."""
    terms, graph = Trace(), onnx.GraphProto(name="traced")
    shapes = {name: (dim(1), *x.shape[1:]) if dynamic else x.shape for name, x in inputs.items()}
    arguments = {name: xp.argument(terms, name, shapes[name], x.dtype) for name, x in inputs.items()}
    if dynamic:
        terms.batch = next(iter(arguments.values())).term, 0
    found = function(*arguments.values())
    for name, x in inputs.items():
        kind = helper.np_dtype_to_tensor_dtype(x.dtype)
        graph.input.append(
            helper.make_tensor_value_info(name, kind, ["n" if dynamic else x.shape[0], *x.shape[1:]][: x.ndim])
        )
    writer = Writer(graph, terms, 21, "stored")
    term = term_of(found, terms)
    graph.node.append(helper.make_node("Identity", [writer.write(term)], ["found"]))
    graph.output.append(helper.make_tensor_value_info("found", kind, None))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def ops(model):
    """How many nodes of each type; Identity only gives the output its name."""
    found = Counter(node.op_type for node in model.graph.node)
    del found["Identity"]
    return found


def in_onnxruntime(model, inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["found"], inputs)[0]


class ConvTranspose(OpRun):
    """ONNX ConvTranspose: out[o * stride + t * dilation - pad] += x[o] w[t]."""

    op_domain = ""

    def _run(self, x, w, *, dilations, group, output_padding, pads, strides, **_):
        rank = x.ndim - 2
        taken = zip(x.shape[2:], w.shape[2:], strides, dilations, output_padding, strict=True)
        full = tuple(s * (n - 1) + d * (k - 1) + 1 + extra for n, k, s, d, extra in taken)
        out = np.zeros((len(x), group, w.shape[1], *full))
        x = x.reshape(len(x), group, -1, *x.shape[2:])
        w = w.reshape(group, -1, *w.shape[1:])
        for o in product(*map(range, x.shape[3:])):
            for t in product(*map(range, w.shape[3:])):
                place = tuple(i * s + j * d for i, j, s, d in zip(o, t, strides, dilations, strict=True))
                here = np.einsum("ngo,goc->ngc", x[(..., *o)], w[(..., *t)])
                out[(..., *place)] += here
        out = out.reshape(len(x), -1, *full)
        inside = (slice(b, n - e) for b, e, n in zip(pads[:rank], pads[rank:], full, strict=True))
        return (out[(..., *inside)],)


def in_reference(model, inputs):
    return ReferenceEvaluator(model, new_ops=[ConvTranspose]).run(["found"], inputs)[0]


def assert_close(found, expected, limit):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= limit * np.abs(expected).max()


def check(function, *arrays):
    """Assert that the traced function gives what it gives on NumPy arrays, in float64; return its graph's nodes."""
    inputs = {f"x{i}": x for i, x in enumerate(arrays)}
    model = trace(function, inputs)
    run = in_reference if ops(model).keys() & ONLY_FLOAT32 else in_onnxruntime
    assert_close(run(model, inputs), function(*arrays), FLOAT64)
    return ops(model)


def check_single(function, *arrays):
    """Assert that the traced function gives in onnxruntime, in float32, what it gives on NumPy arrays in float64."""
    inputs = {f"x{i}": single(x) for i, x in enumerate(arrays)}
    assert_close(in_onnxruntime(trace(function, inputs), inputs), function(*arrays), FLOAT32)


def apply(rule, L):
    """The rule on the map, which is converted to the dtype of the input."""
    return lambda a, z, R: rule(L.to(single) if "32" in str(a.dtype) else L, a, z, R)


def eased(rule):
    """The rule with a large stabiliser: no denominator comes near to 0, and float32 can follow."""
    name = next((n for n in ("stabilizer", "epsilon") if isinstance(getattr(rule, n, None), float)), None)
    return replace(rule, **{name: 33 / 128}) if name else rule


RULES = {
    "epsilon": rules.Epsilon(),
    "epsilon-large": rules.Epsilon(33 / 128),
    "epsilon-0": rules.Epsilon(0),
    "epsilon-ignore": rules.Epsilon(bias="ignore"),
    "epsilon-clip": rules.Epsilon(stabilizer=Stabilizer(0.1, "clip")),
    "epsilon-plain": rules.Epsilon(stabilizer=Stabilizer(0.1, "plain")),
    "epsilon-nonzero": rules.Epsilon(stabilizer=Stabilizer(0.1, "nonzero")),
    "epsilon-norm_scale": rules.Epsilon(stabilizer=Stabilizer(0.1, norm_scale=True)),
    "gamma": rules.Gamma(),
    "gamma-keep": rules.Gamma(bias="keep"),
    "gamma-ignore": rules.Gamma(bias="ignore"),
    "gamma-generalized": rules.Gamma(generalized=True),
    "gamma-generalized-keep": rules.Gamma(generalized=True, bias="keep"),
    "gamma-generalized-ignore": rules.Gamma(generalized=True, bias="ignore"),
    "alpha2beta1": rules.AlphaBeta(),
    "alpha1beta0": rules.AlphaBeta(1, 0),
    "alpha_beta-full": rules.AlphaBeta(bias="full"),
    "alpha_beta-ignore": rules.AlphaBeta(bias="ignore"),
    "zplus": rules.ZPlus(),
    "zplus-full": rules.ZPlus(bias="full"),
    "zplus-ignore": rules.ZPlus(bias="ignore"),
    "zplus-raw": rules.ZPlus(inputs="raw"),
    "zplus-raw-full": rules.ZPlus(inputs="raw", bias="full"),
    "zbox": rules.ZBox(-3.0, 3.0),
    "wsquare": rules.WSquare(),
    "wsquare-square": rules.WSquare(bias="square"),
    "flat": rules.Flat(),
    "norm": rules.Norm(),
    "sign": rules.Sign(),
    "sign-mu": rules.Sign(0.25, bias="ignore"),
    "stdx": rules.StdxEpsilon(),
    "stdx-batch": rules.StdxEpsilon(over="batch", bias="ignore"),
    "alpha_beta_x": rules.AlphaBetaX(),
    "alpha_beta_x-ignore": rules.AlphaBetaX((0.25, 0.75), (0.5, -0.5), bias="ignore"),
    "alpha_beta_x-second": rules.AlphaBetaX((1.0, 0.0), (0.0, 1.0), second="beta"),
}


def dense():
    return linear.Dense(draw(5, 4), draw(4), (2, 5))


def left_dense():
    return linear.LeftDense(draw(4, 5), draw(4, 1), (2, 5, 3))


GEOMETRIES = {
    "plain": (Windows((5, 4), (3, 2), (1, 1), (1, 1), (0, 0), (0, 0)), 1),
    "uneven-pads": (Windows((5, 4), (3, 2), (1, 1), (1, 1), (2, 0), (1, 3)), 1),
    "strides-leave-rest": (Windows((8, 9), (3, 2), (3, 4), (1, 1), (1, 0), (1, 0)), 1),
    "dilated-grouped": (Windows((7, 8), (3, 2), (2, 3), (2, 3), (1, 2), (2, 1)), 2),
    "depthwise": (Windows((6, 6), (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)), 4),
    "1x1": (Windows((3, 2), (1, 1), (1, 1), (1, 1), (0, 0), (0, 0)), 1),
    "1d": (Windows((9,), (3,), (2,), (2,), (1,), (0,)), 2),
    "3d": (Windows((4, 5, 3), (2, 3, 2), (2, 1, 1), (1, 2, 1), (0, 1, 1), (1, 0, 0)), 1),
}


def convolution(name):
    v, groups = GEOMETRIES[name]
    b = draw(4, *(1,) * len(v.size))
    return conv_ops.Conv(draw(4, 4 // groups, *v.kernel), b, (2, 4, *v.size), windows=v, groups=groups)


def transposed_convolution(name):
    v, groups = GEOMETRIES[name]
    b = draw(4, *(1,) * len(v.size))
    return conv_ops.ConvTranspose(draw(4, 4 // groups, *v.kernel), b, (2, 4, *v.out), windows=v, groups=groups)


def observe(L):
    """An input of the map, its output, and some relevance."""
    a = draw(*L.source)
    z = L(a, L.w) + L.b
    return a, z, z * draw(*z.shape, 1)[..., 0]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("make", [dense, left_dense])
def test_rules_on_dense(rule, make):
    L = make()
    check(apply(rule, L), *observe(L))
    check_single(apply(eased(rule), L), *observe(L))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("make", [convolution, transposed_convolution])
def test_rules_on_conv(rule, make):
    L = make("dilated-grouped")
    check(apply(rule, L), *observe(L))
    check_single(apply(eased(rule), L), *observe(L))


@pytest.mark.parametrize("rule", [RULES["epsilon"], RULES["zplus"], RULES["alpha2beta1"]])
@pytest.mark.parametrize("make", [convolution, transposed_convolution])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_rules_on_all_geometries(rule, make, name):
    L = make(name)
    check(apply(rule, L), *observe(L))
    check_single(apply(eased(rule), L), *observe(L))


def test_zbox_with_bounds_for_each_channel():
    L = convolution("uneven-pads")
    low, high = -3 - abs(draw(4, 1, 1)), 3 + abs(draw(4, 1, 1))
    check(apply(rules.ZBox(low, high), L), *observe(L))


def test_sign_with_an_array():
    L = dense()
    check(apply(rules.Sign(draw(5) / 4), L), *observe(L))


PARAMETER_FREE = {
    "sum": sums.SumOf(np.ones((2, 1, 1)), ZERO, (2, 3, 4), sources=((3, 4), (4,))),
    "difference": sums.SumOf(np.array([1.0, -1.0]).reshape(2, 1, 1), ZERO, (2, 3, 4), sources=((3, 4), (3, 4))),
    "mean": sums.SumAxes(ONE, ZERO, (2, 3, 4, 5), axes=(2, 3)),
    "total": sums.SumAxes(ONE, ZERO, (2, 3, 4, 5), axes=(1,), keepdims=False, mean=False),
    "pool": conv_ops.WindowMean(ONE, ZERO, (2, 4, 6, 6), windows=GEOMETRIES["depthwise"][0], share=ONE / 9),
    "pool-rest": conv_ops.WindowMean(
        ONE, ZERO, (2, 3, 8, 9), windows=GEOMETRIES["strides-leave-rest"][0], share=ONE / 6
    ),
    "diagonal": linear.Diagonal(draw(3, 1), draw(3, 1), (2, 3, 4)),
}


@pytest.mark.parametrize(
    "rule", [r for name, r in RULES.items() if name != "stdx"], ids=[n for n in RULES if n != "stdx"]
)
@pytest.mark.parametrize("L", PARAMETER_FREE.values(), ids=PARAMETER_FREE)
def test_rules_on_sums_and_pools(rule, L):
    check(apply(rule, L), *observe(L))


def test_parts_of_a_sum_where_a_value_was_broadcast():
    L = PARAMETER_FREE["sum"]
    check(lambda R: L.part(R)[1], draw(2, 3, 4))


@pytest.mark.parametrize("v", [v for v, _ in GEOMETRIES.values()], ids=GEOMETRIES)
def test_windows(v):
    x = draw(2, 3, *v.size)
    check(lambda x: unpad(2 * pad(x, v, 1.5), v), x)
    check(lambda x: window_sum(x, v), x)
    check(lambda s: window_spread(s, v), draw(2, 3, *v.out))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_transposes_are_transposes(name):
    """<conv(x), s> = <x, conv_transpose(s)>, in onnxruntime, on whole numbers: exact in float32."""
    v, groups = GEOMETRIES[name]
    x, w = (np.rint(3 * draw(*shape)) for shape in ((2, 4, *v.size), (6 * groups, 4 // groups, *v.kernel)))
    s = np.rint(3 * draw(2, 6 * groups, *v.out))
    inputs = {"x": single(x), "s": single(s)}
    left = in_onnxruntime(trace(lambda x, s: xp.sum(conv(x, single(w), v, groups) * s), inputs), inputs)
    right = in_onnxruntime(trace(lambda x, s: xp.sum(x * conv_transpose(s, single(w), v, groups)), inputs), inputs)
    assert left == right != 0


ROUTES = {
    "reshape": (routing.Reshape((3, 4), (2, 6)), (2, 6)),
    "transpose": (routing.Transpose((2, 0, 1)), (4, 2, 3)),
    "slice": (routing.Slice((3, 6), (slice(1, 3), slice(None, None, -2))), (2, 3)),
    "concat": (routing.Concat(1, (None, np.ones((3, 2))), (4, 2)), (3, 6)),
    "pad": (routing.Pad((3, 4), (1, -1), (0, 2)), (4, 5)),
    "expand": (routing.Expand((1, 4), (3, 4)), (3, 4)),
    "index": (picking.Index((3, 4), np.array([[0, 5], [5, 11]])), (2, 2)),
    "take": (picking.Take((3, 4), 1, np.array([0, 2, 2])), (3, 3)),
}


@pytest.mark.parametrize(("route", "shape"), ROUTES.values(), ids=ROUTES)
def test_transposes_of_routes(route, shape):
    check(lambda R: route.transpose(R)[0], draw(*shape))


MAXIMA = {
    "pool": selection.MaxPool(
        ONE, ZERO, (1, 2, 4, 4), windows=Windows((4, 4), (2, 2), (2, 2), *((n, n) for n in (1, 0, 0)))
    ),
    "axes": selection.MaxAxes(ONE, ZERO, (2, 3, 4), axes=(1,)),
    "values": selection.MaxOf(ONE, ZERO, (2, 3, 4), sources=((3, 4), (3, 4))),
}


@pytest.mark.parametrize("rule", [rules.WinnerTakesAll(), rules.Epsilon()])
@pytest.mark.parametrize("L", MAXIMA.values(), ids=MAXIMA)
def test_rules_on_maxima(rule, L):
    a = draw(*L.source)
    z = L.forward(*a) if L.stacked else L.forward(a)
    check(lambda a, z, R: rule(L.observed(a, z), a, z, R), a, z, z * z)


def test_scatter_add():
    index = np.array([0, 2, 2, 1, 0])
    assert check(lambda v: scatter_add(4, index, v), draw(5, 3)) == {"ConstantOfShape": 1, "ScatterND": 1}


def test_erf():
    check_single(erf, draw(3, 4))


def test_constants_mix_with_symbolic_arrays():
    """Each function of the namespace takes NumPy arrays as constants, wherever they stand."""
    c = draw(3, 4)
    check(lambda x: namespace(c, x).maximum(c, x), -c)
    check(lambda x: namespace(x).concat([c, x, c], axis=1), draw(3, 2))
    check(lambda x: namespace(x).stack([x, c]) * (c > 0), 2 * c)


COUNTED = {
    "a sign": lambda z: z + (2 * (z >= 0) - 1) / 4,
    "a multiple": lambda z: z + 3 * (z > 0) * 0.5,
    "counted": lambda z: z * ((z > 0) + 1),
    "numbers of their own": lambda z: (z > 0) * np.asarray([1, 2, 3, 4]) + z,
    "chosen integers": lambda z: z + namespace(z).where(z > 0, 1, -1) / 2,
    "both": lambda z: z * ((z > -0.5) * (z < 0.5)),
    "either": lambda z: z * ((z < -0.5) + (z > 0.5)),
    "compared": lambda z: z * ((z > 0) == 1),
    "how many": lambda z: z + namespace(z).sum(z > 0, axis=1, keepdims=True),
    "which part": lambda z: z + namespace(z).mean(z > 0, axis=1, keepdims=True),
    "whether any": lambda z: z * namespace(z).max(z > 1, axis=1, keepdims=True),
    "wide numbers": lambda z: z + namespace(z).astype(z > 0, np.int32) * np.int64(1 << 33) * 1e-9,
    "mean of integers": lambda z: z + namespace(z).mean(namespace(z).where(z > 0, 2, 1), axis=1, keepdims=True),
}


@pytest.mark.parametrize("formula", COUNTED.values(), ids=COUNTED)
def test_truth_values_and_integers_are_numbers_in_formulas(formula):
    """As NumPy has it: 2 * (z >= 0) is 0 or 2, a quotient or mean of integers no integer."""
    check_single(formula, draw(3, 4))


def count(rule, L, **known):
    """The nodes of the traced rule."""
    a, z, R = observe(L)
    return ops(trace(apply(rule, replace(L, **known)), {"a": a, "z": z, "R": R}))


def test_epsilon_on_dense_is_six_nodes():
    """z + epsilon or z - epsilon is z and what is chosen of both; w is transposed while tracing."""
    found = count(RULES["epsilon"], dense())
    assert found == {"GreaterOrEqual": 1, "Where": 1, "Add": 1, "Div": 1, "MatMul": 1, "Mul": 1}


def test_zplus_on_conv_behind_a_rectifier_is_one_pass_there_and_one_back():
    """The rule says that no share is negative: nobody looks at the sign of their sum."""
    found = count(RULES["zplus"], convolution("plain"), positive=True)
    assert found == {"Conv": 2, "Add": 2, "Div": 1, "Mul": 1}


def test_a_stabiliser_of_what_is_never_negative_is_one_addition():
    z = draw(2, 4)
    terms = Trace()
    found = term_of(rules.Epsilon(0.5)(dense(), draw(2, 5), xp.argument(terms, "z", z.shape, nonneg=True), z), terms)
    assert {t.op for t in terms.terms.values() if t.op not in ("constant", "value")} <= {"Add", "Div", "MatMul", "Mul"}
    assert found.shape == (2, 5)


def test_flat_needs_no_forward_pass():
    """What does not depend on the input is computed while tracing; of kernels of ones a Conv with ones sums the channels first."""
    assert count(RULES["flat"], convolution("plain")) == {"Div": 1, "Conv": 2}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("make", [dense, lambda: convolution("plain")], ids=["dense", "conv"])
def test_no_control_flow_and_no_arithmetic_on_shapes(rule, make):
    assert not count(rule, make()).keys() & {"If", "Loop", "Scan", "Size", "Shape", "Expand", "Range", "ScatterND"}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("make", [convolution, transposed_convolution])
def test_batch_may_be_of_unknown_length(make, rule):
    """Maps know the shape of their input; here it has a batch of unknown length."""
    L = make("uneven-pads")
    a, z, R = observe(L)
    if rule == RULES["stdx-batch"]:
        pytest.skip("its samples meet")
    feeds = {"a": single(a), "z": single(z), "R": single(R)}
    model = trace(apply(eased(rule), replace(L, source=(dim(1), *L.source[1:]))), feeds, dynamic=True)
    for count in (1, 2):
        cut = {k: v[:count] for k, v in feeds.items()}
        assert_close(in_onnxruntime(model, cut), eased(rule)(L, a[:count], z[:count], R[:count]), FLOAT32)


@pytest.mark.parametrize("divisor", [0.75, -0.75])
def test_remainders_and_fractions(divisor):
    """A remainder has the divisor's sign; ONNX's Mod has it for integers only."""
    assert "Mod" not in check(lambda x: x % divisor, 3 * draw(4, 5))
    check(xp.trunc, 3 * draw(4, 5))
