"""The iNNvestigate dialect against its formulas written out; tests/peers compares with iNNvestigate itself."""

from functools import partial

import keras_formulas as f
import numpy as np
import oracle
import pytest
from onnx import helper, numpy_helper

import reflrp
from reflrp.composites import preset
from reflrp.dialects import innvestigate as inn

X = {"alpha": (2, 0.5), "beta": (0.25, 1)}
RULES = [
    (inn.ZRule(), f.z),
    (inn.ZRule(bias=False), partial(f.z, bias=False)),
    (inn.EpsilonRule(), f.epsilon),
    (inn.EpsilonRule(0.25, False), partial(f.epsilon, epsilon=0.25, bias=False)),
    (inn.WSquareRule(), f.square),
    (inn.FlatRule(), f.flat),
    (inn.AlphaBetaRule(3), partial(f.alpha_beta, alpha=3, beta=2)),
    (inn.AlphaBetaIgnoreBiasRule(beta=0.5), partial(f.alpha_beta, alpha=1.5, beta=0.5, bias=False)),
    (inn.Alpha2Beta1Rule(), f.alpha_beta),
    (inn.Alpha2Beta1IgnoreBiasRule(), partial(f.alpha_beta, bias=False)),
    (inn.Alpha1Beta0Rule(), partial(f.alpha_beta, alpha=1, beta=0)),
    (inn.Alpha1Beta0IgnoreBiasRule(), partial(f.alpha_beta, alpha=1, beta=0, bias=False)),
    (inn.ZPlusRule(), partial(f.alpha_beta, alpha=1, beta=0, bias=False)),
    (inn.ZPlusFastRule(), f.zplus_fast),
    (inn.BoundedRule(-9, 8), partial(f.bounded, low=-9, high=8)),
    (inn.BoundedRule(3, -2), partial(f.bounded, low=3, high=-2)),
    (inn.AlphaBetaXRule(), f.alpha_beta_x),
    (inn.AlphaBetaXRule(**X, bias=False), partial(f.alpha_beta_x, **X, bias=False)),
    (inn.AlphaBetaXRule(**X, as_released=True), partial(f.alpha_beta_x, **X, second=1)),
    (inn.AlphaBetaX1000Rule(), partial(f.alpha_beta_x, alpha=(1, 0), beta=(0, 0))),
    (inn.AlphaBetaX1010Rule(), partial(f.alpha_beta_x, alpha=(1, 0), beta=(0, -1))),
    (inn.AlphaBetaX1001Rule(), partial(f.alpha_beta_x, alpha=(1, 1), beta=(0, 0))),
    (inn.AlphaBetaX1001Rule(as_released=True), partial(f.alpha_beta_x, alpha=(1, 0), beta=(0, 0))),
    (inn.AlphaBetaX2m100Rule(), partial(f.alpha_beta_x, alpha=(2, 0), beta=(1, 0))),
]


def assert_close(got, want):
    assert np.abs(want).max() > 0
    assert np.abs(got - want.reshape(got.shape)).max() <= 1e-9 * np.abs(want).max()


def assert_chain(analyzer, rules, batchnorm, seed=0, neuron=2):
    """An analyzer of the convolutional network, against a rule for each of its three kernels."""
    net, parts, _, x = f.conv_net(seed)
    y = f.forward(parts, x.reshape(3, -1))[-1]
    want = f.backward(parts, x.reshape(3, -1), y * (np.arange(4) == neuron), rules, batchnorm)
    assert_close(analyzer.analyze(net, x, neuron), want)


@pytest.mark.parametrize(("rule", "formula"), RULES, ids=lambda v: repr(v) if isinstance(v, reflrp.rules.Rule) else "")
def test_rules(rule, formula):
    analyzer = inn.LRP(rule=rule, bn_layer_rule=rule, neuron_selection_mode="index")
    assert_chain(analyzer, 3 * [formula], f.surrogate(formula, "one_linear", False))


@pytest.mark.parametrize("as_released", [True, False])
@pytest.mark.parametrize("mode", ["one_linear", "two_linear"])
@pytest.mark.parametrize(("rule", "formula"), [RULES[i] for i in (0, 3, 4, 8, 23)])
def test_batchnorm(rule, formula, mode, as_released):
    """The variance is squared, and gamma missing, where iNNvestigate's numbers are asked for."""
    model = f.conv_net()[2]
    analyzer = inn.LRP(
        model,
        rule="Z",
        bn_layer_rule=rule,
        bn_layer_fuse_mode=mode,
        neuron_selection_mode="index",
        as_released=as_released,
    )
    assert_chain(analyzer, 3 * [f.z], f.surrogate(formula, mode, as_released))


def test_what_batchnorm_needs():
    """Without bn_layer_rule the Z-rule, but released it raises; statistics that the file lacks are asked for."""
    net, _, model, x = f.conv_net()
    plain = inn.LRP(rule="Z", neuron_selection_mode="index")
    assert_chain(plain, 3 * [f.z], f.surrogate(f.z, "one_linear", False))
    for analyzer, message in (
        (inn.LRP(model, rule="Z", as_released=True), "raises at a BatchNormalization"),
        (inn.LRPZ(as_released=True), "give model="),
        (inn.LRPZ(bn_layer_fuse_mode="two_linear"), "give model="),
    ):
        with pytest.raises(reflrp.RuleError, match=message):
            analyzer.analyze(net, x)
    with pytest.raises(reflrp.RuleError, match="has no weights"):
        inn.LRPZ({**model, "weights": {}}, as_released=True)


A2B1, EPSILON = f.alpha_beta, partial(f.epsilon, epsilon=0.1)
A1B0 = partial(f.alpha_beta, alpha=1, beta=0)
X2M = f.surrogate(partial(f.alpha_beta_x, alpha=(2, 0), beta=(1, 0)), "one_linear", False)


@pytest.mark.parametrize(
    ("make", "rules"),
    [
        (inn.LRPSequentialPresetA, [A1B0, A1B0, EPSILON]),
        (inn.LRPSequentialPresetB, [A2B1, A2B1, EPSILON]),
        (inn.LRPSequentialPresetAFlat, [f.flat, A1B0, EPSILON]),
        (inn.LRPSequentialPresetBFlat, [f.flat, A2B1, EPSILON]),
        (partial(inn.LRPSequentialPresetB, epsilon=0.5), [A2B1, A2B1, partial(f.epsilon, epsilon=0.5)]),
        (
            partial(inn.LRPSequentialPresetA, input_layer_rule=(-3, 2)),
            [partial(f.bounded, low=-3, high=2), A1B0, EPSILON],
        ),
        (partial(inn.LRPSequentialPresetBFlatUntilIdx, f.conv_net()[2], until_layer_idx=3), [f.flat, A2B1, EPSILON]),
        (partial(inn.LRPSequentialPresetBFlatUntilIdx, f.conv_net()[2], until_layer_idx=4), [f.flat, f.flat, EPSILON]),
        (partial(inn.LRPSequentialPresetBFlatUntilIdx), [f.flat, A2B1, EPSILON]),
    ],
)
def test_presets(make, rules):
    assert_chain(make(neuron_selection_mode="index"), rules, X2M)


@pytest.mark.parametrize("given", ["Z", inn.ZRule, inn.ZRule()])
def test_forms_of_rules(given):
    analyzer = inn.LRP(rule=given, bn_layer_rule=given, neuron_selection_mode="index")
    assert_chain(analyzer, 3 * [f.z], f.surrogate(f.z, "one_linear", False))


def test_lists_of_rules():
    """From the input on; as released from the end of the list, and then the input's own rule is never asked."""
    rules, formulas = ["WSquare", "Z", inn.EpsilonRule(0.5)], [f.square, f.z, partial(f.epsilon, epsilon=0.5)]
    model, more = f.conv_net()[2], {"bn_layer_rule": "Z", "neuron_selection_mode": "index"}
    norm = f.surrogate(f.z, "one_linear", False)
    assert_chain(inn.LRP(rule=rules, **more), formulas, norm)
    assert_chain(inn.LRP(rule=rules, input_layer_rule="Flat", **more), [f.flat, *formulas[1:]], norm)
    released = inn.LRP(model, rule=rules, as_released=True, **more)
    assert_chain(released, formulas[::-1], f.surrogate(f.z, "one_linear", True))
    with pytest.raises(reflrp.RuleError, match="too short"):
        inn.LRP(rule=rules[:2], **more).analyze(f.conv_net()[0], f.conv_net()[3], 0)


def test_conditions():
    conditions = [(inn.is_dense_layer, "Flat"), (inn.is_input_layer, "WSquare"), (inn.is_conv_layer, inn.ZPlusRule)]
    for model in (None, f.conv_net()[2]):
        analyzer = inn.LRP(model, rule=conditions, bn_layer_rule="Z", neuron_selection_mode="index")
        norm = f.surrogate(f.z, "one_linear", False)
        assert_chain(analyzer, [f.square, partial(A1B0, bias=False), f.flat], norm)
    with pytest.raises(reflrp.UnassignedNodes):
        inn.LRP(rule=conditions[:1], bn_layer_rule="Z").analyze(f.conv_net()[0], f.conv_net()[3])


def separable_net():
    """A separable convolution as tf2onnx writes it: (ONNX file, matrices of both factors, bias, input)."""
    rng = np.random.default_rng(3)
    depth, point, bias = rng.standard_normal((4, 1, 2, 2)), rng.standard_normal((3, 4, 1, 1)), rng.standard_normal(3)
    shape = {"strides": (1, 1), "begin": (0, 0), "end": (0, 0), "dilations": (1, 1)}
    factors = [
        f.dense_of(oracle.conv((4, 4), depth, None, groups=2, **shape))[0],
        f.dense_of(oracle.conv((3, 3), point, None, groups=1, **shape))[0],
    ]
    nodes = [
        helper.make_node("Conv", ["x", "d"], ["h"], "net/sep/separable_conv2d/depthwise", group=2),
        helper.make_node("Conv", ["h", "p", "b"], ["c"], "net/sep/BiasAdd"),
        helper.make_node("Flatten", ["c"], ["y"], "net/flat/Reshape"),
    ]
    net = f.file(nodes, (2, 4, 4), 27, {"d": depth, "p": point, "b": bias})
    return net, factors, np.repeat(bias, 9), rng.standard_normal((2, 2, 4, 4))


@pytest.mark.parametrize(
    ("rule", "terms"),
    [
        ("Z", lambda x, c: [(x, c(lambda W: W))]),
        ("ZPlus", lambda x, c: [(f.plus(x), c(f.plus)), (f.minus(x), c(f.minus))]),
        ("WSquare", lambda x, c: [(np.ones_like(x), c(np.square))]),
        ("Flat", lambda x, c: [(np.ones_like(x), c(lambda W: (W != 0) * 1.0))]),
    ],
)
def test_separable_convolutions_are_one_layer(rule, terms):
    """Each factor is modified by itself: w+ is the map of both positive parts."""
    net, (one, two), bias, x = separable_net()
    R = np.random.default_rng(0).standard_normal((2, 27))
    parts = terms(x.reshape(2, -1), lambda change: change(one) @ change(two))
    want = f.shared(parts, bias if rule == "Z" else 0, R)
    rules = inn.LRP(rule=rule)
    e = reflrp.explain(net, x, rules=rules, init=R)
    assert_close(e.relevance, want)
    assert len(e.rules) == 1
    # a name that does not say so leaves two convolutions
    net.graph.node[0].name = "net/c1/Conv2D"
    assert len(reflrp.explain(net, x, rules=rules, init=R).rules) == 2


def test_both_factors_negative():
    """Read off iNNvestigate: the product is positive, but neither factor has a positive part."""
    net, _, _, x = separable_net()
    weights = {"d": -np.ones((4, 1, 2, 2)), "p": -np.ones((3, 4, 1, 1)), "b": np.zeros(3)}
    for tensor in net.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    assert not reflrp.explain(net, abs(x), rules=inn.LRPZPlus(), target=0).relevance.any()


E1, E2, E4 = ([[2.0], [-1]], [1.0], [1, 1]), ([[2.0], [-1]], [-0.5], [1, 1]), ([[1.0], [-1]], [-1.0], [1, 1])
E3, E6 = ([[1.0], [1]], [0.0], [-1, 2]), ([[2.0]], [1.0], [1])


@pytest.mark.parametrize(
    ("net", "analyzer", "numbers"),
    [
        (E2, inn.LRPAlpha1Beta0(), (0.6667, 0)),
        (E4, inn.LRPAlpha1Beta0(), (-1e7, 0)),
        (E1, inn.LRPAlpha1Beta0(), (1.3333, 0)),
        (E1, inn.LRPAlpha2Beta1(), (2.6667, 2e7)),
        (E2, inn.LRPAlpha2Beta1(), (1.3333, -0.3333)),
        (E4, inn.LRPAlpha2Beta1(), (-2e7, 0.5)),
        (E1, inn.LRPZPlus(), (2, 0)),
        (E6, inn.LRPZPlus(), (3,)),
        (E3, inn.LRPZPlusFast(), (-1, 2)),
        (E3, inn.LRPZPlus(), (0, 1)),
        (E1, inn.LRPWSquare(), (1.6, 0.4)),
        (E1, inn.LRPFlat(), (1, 1)),
        (E1, inn.LRPEpsilon(epsilon=0.5, bias=False), (2.6667, -1.3333)),
        (E1, inn.LRP(rule=inn.BoundedRule(-1, 2)), (1.6, 0.4)),
        (E3, inn.LRP(rule=inn.AlphaBetaX1010Rule), (1, 1)),
        (E1, inn.LRP(rule=inn.AlphaBetaX1010Rule), (1.3333, 0)),
    ],
)
def test_numbers_that_the_library_gave(net, analyzer, numbers):
    """One dense layer, the relevance begun with its output; each was read off iNNvestigate 2.1.2."""
    W, b, x = map(np.asarray, net)
    found = analyzer.analyze(f.dense_net(W, b), np.asarray([x], dtype=float))
    assert np.allclose(found, [numbers], rtol=1e-4, atol=1e-4)


def test_selection_of_neurons():
    """Two outputs that are equal share; an index may be one for all, or one a sample; all starts with the output."""
    W, x = np.diag([3.0, 1.5]), np.asarray([[1.0, 2], [1, 3]])
    net = f.dense_net(W, np.asarray([1e-300, 0]))
    assert np.allclose(inn.LRPZ().analyze(net, x), [[1.5, 1.5], [0, 4.5]])
    index = inn.LRPZ(neuron_selection_mode="index")
    assert np.allclose(index.analyze(net, x, 0), [[3, 0], [3, 0]])
    assert np.allclose(index.analyze(net, x, [1, 0]), [[0, 3], [3, 0]])
    assert np.allclose(inn.LRPZ(neuron_selection_mode="all").analyze(net, x), [[3, 3], [3, 4.5]])
    for analyzer, selection in (
        (index, None),
        (inn.LRPZ(), 1),
        (index, 2),
        (index, -1),
        (index, [0, 1, 0]),
        (index, 0.5),
    ):
        with pytest.raises(reflrp.InputError, match="neuron_selection"):
            analyzer.analyze(net, x, selection)


def ending(last):
    """A dense network of two layers whose second ends in a function, its description, and what goes into the function."""
    rng = np.random.default_rng(3)
    W, V, b = rng.normal(size=(4, 6)), rng.normal(size=(6, 3)), rng.normal(size=3)
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["h"], "net/d1/MatMul"),
        helper.make_node("Relu", ["h"], ["a"], "net/d1/Relu"),
        helper.make_node("Gemm", ["a", "V", "b"], ["z"], "net/out/Gemm"),
        helper.make_node(last, ["z"], ["y"], f"net/out/{last}"),
    ]
    net = f.file(nodes, (4,), 3, {"W": W, "V": V, "b": b})
    x = rng.normal(size=(5, 4))
    parts = [("kernel", W, 0 * W[0]), ("relu",), ("kernel", V, b)]
    return net, {"config": f.config([("x", "InputLayer"), ("d1", "Dense"), ("out", "Dense")])}, parts, x


@pytest.mark.parametrize(
    ("last", "checked"), [("Softmax", True), ("Softmax", False), ("Sigmoid", True), ("Sigmoid", False)]
)
def test_where_a_function_at_the_output_begins(last, checked):
    """With its values, which pass it; a Softmax only where the checks are disabled, else with what goes into it."""
    net, model, parts, x = ending(last)
    z = f.forward(parts, x)[-1]
    y = {"Softmax": np.exp(z) / np.exp(z).sum(1, keepdims=True), "Sigmoid": 1 / (1 + np.exp(-z))}[last]
    start = z if last == "Softmax" and checked else y
    analyzer = inn.LRPEpsilon(model, 0.25, neuron_selection_mode="index", disable_model_checks=not checked)
    rules = [partial(f.epsilon, epsilon=0.25)] * 2
    assert_close(analyzer.analyze(net, x, 1), f.backward(parts, x, start * [0, 1, 0], rules))


def test_deep_taylor():
    """Alpha1Beta0 without bias on all kernels, the gradient elsewhere, and the output's positive part."""
    net, parts, _, x = f.conv_net(1)
    rule = partial(A1B0, bias=False)

    def gradient(h, gamma, beta, mean, variance, eps, R):
        return R * gamma / np.sqrt(variance + eps)

    values = f.forward(parts, x.reshape(3, -1))
    R = f.plus(values[-1])
    for rules, analyzer in (
        ([rule] * 3, inn.DeepTaylor(neuron_selection_mode="all")),
        (
            [partial(f.bounded, low=-2, high=3), rule, rule],
            inn.BoundedDeepTaylor(None, -2, 3, neuron_selection_mode="all"),
        ),
    ):
        upper = rules[1](values[4], *parts[4][1:], rules[2](values[5], *parts[5][1:], R))
        lower = gradient(values[2], *parts[2][1:], upper @ parts[3][1].T)
        assert_close(analyzer.analyze(net, x), rules[0](values[0], *parts[0][1:], lower))
    for low, high in ((None, 1), (0, None)):
        with pytest.raises(reflrp.RuleError, match="needs low and high"):
            inn.BoundedDeepTaylor(None, low, high)


@pytest.mark.parametrize(
    "make",
    [
        inn.LRP,
        lambda: inn.LRP(rule=[]),
        lambda: inn.LRP(rule="Zed"),
        lambda: inn.LRP(rule=3),
        lambda: inn.LRP(rule=[(1, "Z")]),
        lambda: inn.LRPEpsilon(epsilon=0),
        lambda: inn.LRPEpsilon(epsilon=-1.0),
        lambda: inn.EpsilonRule(0),
        inn.LRPAlphaBeta,
        lambda: inn.LRPAlphaBeta(alpha=0.5),
        lambda: inn.LRPAlphaBeta(beta=-1),
        lambda: inn.LRPAlphaBeta(alpha=2.2, beta=1.2),
        lambda: inn.LRPAlphaBeta(alpha=2, beta=2),
        lambda: inn.LRPZ(bn_layer_fuse_mode="three_linear"),
        lambda: inn.LRPZ(neuron_selection_mode="max"),
        lambda: inn.LRPZ("model.onnx"),
        lambda: inn.LRPZ(input_layer_rule=(1, 2, 3)),
        lambda: inn.LRPSequentialPresetAFlat(input_layer_rule="Z"),
        lambda: inn.LRPSequentialPresetBFlatUntilIdx(until_layer_idx=2),
        lambda: inn.LRPSequentialPresetBFlatUntilIdx(f.conv_net()[2], until_layer_idx=7),
    ],
)
def test_refused_as_in_the_library(make):
    with pytest.raises(reflrp.RuleError):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: inn.LRPEpsilon(epsilon=True),
        lambda: inn.LRPEpsilon(epsilon=5),
        lambda: inn.LRPEpsilon(epsilon=1e-12),
        lambda: inn.LRPAlphaBeta(alpha=1.1, beta=0.1),
        lambda: inn.LRPAlphaBeta(alpha=1.7, beta=0.7),
        lambda: inn.LRPAlphaBeta(alpha=3, beta=2),
        lambda: inn.BoundedRule(3, -3),
        lambda: inn.LRPSequentialPresetAFlat(input_layer_rule="Flat"),
    ],
)
def test_taken_as_in_the_library(make):
    make()


@pytest.mark.parametrize("name", inn.COMPOSITES)
def test_every_analyzer_has_a_name(name):
    arguments = {"LRP": {"rule": "Z"}, "LRPAlphaBeta": {"alpha": 2}, "BoundedDeepTaylor": {"low": -1, "high": 1}}
    rules = preset(f"innvestigate.{name}", **arguments.get(name, {}))
    net, _, _, x = f.conv_net()
    assert reflrp.explain(net, x, rules=rules).relevance.shape == x.shape


def test_a_bare_rule_is_an_analyzer():
    """rules="innvestigate.ZRule" is LRP with that rule, and not with reflrp's defaults for the rest."""
    net, _, _, x = f.conv_net()
    R = np.random.default_rng(0).standard_normal((3, 4))
    one = reflrp.explain(net, x, rules="innvestigate.WSquareRule", init=R)
    assert np.array_equal(one.relevance, reflrp.explain(net, x, rules=inn.LRPWSquare(), init=R).relevance)
