"""The SignXAI dialect against its formulas written out; tests/peers compares with SignXAI2 itself."""

from functools import partial

import keras_formulas as f
import numpy as np
import pytest
from onnx import helper
from test_dialect_innvestigate import E1, E2, E3, E4, E6, assert_close

import reflrp
from reflrp.composites import preset
from reflrp.dialects import innvestigate as inn
from reflrp.dialects import signxai as sx

RULES = [
    (sx.ZIgnoreBiasRule(), partial(f.z, bias=False)),
    (sx.EpsilonIgnoreBiasRule(0.25), partial(f.epsilon, epsilon=0.25, bias=False)),
    (sx.StdxEpsilonRule(), f.stdx),
    (sx.StdxEpsilonRule(2, False), partial(f.stdx, stdfactor=2, bias=False)),
    (sx.SIGNRule(), f.sign),
    (sx.SIGNmuRule(mu=0.5), partial(f.sign, mu=0.5)),
    (sx.GammaRule(0.5), f.gamma),
    (sx.GammaRule(2, False), partial(f.gamma, gamma=2, bias=False)),
    (sx.GammaRule(0.25, as_released=True), partial(f.gamma_as_released, gamma=0.25)),
    (sx.GammaRule(-1, False, as_released=True), partial(f.gamma_as_released, gamma=-1, bias=False)),
    (sx.BoundedRule(-9, 8), partial(f.bounded, low=-9, high=8)),
    (sx.AlphaBetaXRule(), f.alpha_beta_x),
    (sx.AlphaBetaX1001Rule(), partial(f.alpha_beta_x, alpha=(1, 1), beta=(0, 0))),
    (sx.ZRule(), f.z),
    (sx.Alpha2Beta1Rule(), f.alpha_beta),
]
BATCHNORM = f.surrogate(f.z, "one_linear", False)


def assert_chain(analyzer, rules, batchnorm=BATCHNORM, neuron=2):
    """An analyzer of the convolutional network, against a rule for each of its three kernels."""
    net, parts, _, x = f.conv_net()
    y = f.forward(parts, x.reshape(3, -1))[-1]
    want = f.backward(parts, x.reshape(3, -1), y * (np.arange(4) == neuron), rules, batchnorm)
    assert_close(analyzer.analyze(net, x, neuron), want)


@pytest.mark.parametrize(("rule", "formula"), RULES, ids=lambda v: repr(v) if isinstance(v, reflrp.rules.Rule) else "")
def test_rules(rule, formula):
    assert_chain(sx.LRP(rule=rule), 3 * [formula])


A2B1, A1B0, EPSILON = f.alpha_beta, partial(f.alpha_beta, alpha=1, beta=0), partial(f.epsilon, epsilon=0.1)
MODEL = f.conv_net()[2]


@pytest.mark.parametrize(
    ("analyzer", "rules"),
    [
        (sx.LRPZ(alpha=3, epsilon=-1), [f.z] * 3),
        (sx.LRPZIgnoreBias(), [partial(f.z, bias=False)] * 3),
        (sx.LRPEpsilonIgnoreBias(epsilon=0.1), [partial(EPSILON, bias=False)] * 3),
        (sx.LRPStdxEpsilon(stdfactor=0.5), [partial(f.stdx, stdfactor=0.5)] * 3),
        (sx.LRPWSquare(), [f.square] * 3),
        (sx.LRPFlat(), [f.flat] * 3),
        (sx.LRPAlphaBeta(alpha=3), [partial(f.alpha_beta, alpha=3, beta=2)] * 3),
        (sx.LRPZPlus(), [partial(A1B0, bias=False)] * 3),
        (sx.LRPZPlusFast(), [f.zplus_fast] * 3),
        (sx.LRPGamma(), [f.gamma] * 3),
        (sx.LRPGamma(MODEL, gamma=0.25, as_released=True), [partial(f.gamma_as_released, gamma=0.25)] * 3),
        (sx.LRPSequentialCompositeA(), [A1B0, A1B0, EPSILON]),
        (sx.LRPSequentialCompositeBFlat(), [f.flat, A2B1, EPSILON]),
        (sx.LRPZ(input_layer_rule="SIGN"), [f.sign, f.z, f.z]),
        (sx.LRPZ(input_layer_rule=(-3, 2)), [partial(f.bounded, low=-3, high=2), f.z, f.z]),
        (sx.LRPRuleUntilIndex(MODEL), [f.flat, A2B1, EPSILON]),
        (sx.LRPRuleUntilIndex(MODEL, until_layer_idx=3, until_index_rule="WSquare"), [f.flat, f.square, EPSILON]),
        (sx.LRPRuleUntilIndex(MODEL, until_layer_idx=2, until_index_rule="WSquare"), [f.flat, A2B1, EPSILON]),
        (
            sx.LRPRuleUntilIndex(MODEL, until_layer_idx=3, default_rule_configuration=sx.LRPSequentialCompositeA),
            [f.flat, f.flat, EPSILON],
        ),
    ],
)
def test_analyzers(analyzer, rules):
    assert_chain(analyzer, rules, f.reverse_batchnorm if analyzer.as_released else BATCHNORM)


def test_batchnorm_as_released():
    assert_chain(sx.LRPZ(MODEL, as_released=True), [f.z] * 3, f.reverse_batchnorm)
    with pytest.raises(reflrp.RuleError, match="give model="):
        sx.LRPZ(as_released=True).analyze(f.conv_net()[0], f.conv_net()[3])


@pytest.mark.parametrize(
    ("net", "analyzer", "numbers"),
    [
        (E2, sx.LRPAlpha1Beta0(), (0.6667, 0)),
        (E1, sx.LRPAlpha2Beta1(), (2.6667, 2e7)),
        (E1, sx.LRPGamma(gamma=0.25, as_released=True), (-1.2, 0.3)),
        (E3, sx.LRPGamma(gamma=0.25, as_released=True), (0.25, -1)),
        (E4, sx.LRPGamma(gamma=0.25, as_released=True), (1.5e7, -7.5e6)),
        (E6, sx.LRPGamma(gamma=1, as_released=True), (0,)),
        (E1, sx.LRPGamma(gamma=0.25), (1.8182, -0.7273)),
        (E1, sx.LRP(rule="Bounded", as_released=True), (0, 0)),
        (E1, sx.LRP(rule=sx.BoundedRule(-1, 2)), (1.6, 0.4)),
        (E1, sx.LRPEpsilonIgnoreBias(epsilon=0.5, as_released=True), (1.3333, -0.6667)),
        (E1, sx.LRPEpsilonIgnoreBias(epsilon=0.5), (2.6667, -1.3333)),
    ],
)
def test_numbers_that_the_library_gave(net, analyzer, numbers):
    """One dense layer, its output selected by index; those as released were read off SignXAI2 0.14.1."""
    W, b, x = map(np.asarray, net)
    found = analyzer.analyze(f.dense_net(W, b), np.asarray([x], dtype=float), 0)
    assert np.allclose(found, [numbers], rtol=1e-4, atol=1e-4)


def test_the_maximum_of_terms_is_refused():
    W, b, x = map(np.asarray, E1)
    for analyzer in (sx.LRPZPlus, sx.LRPWSquare, sx.LRPGamma):
        with pytest.raises(reflrp.InputError, match="give its index"):
            analyzer(as_released=True).analyze(f.dense_net(W, b), np.asarray([x], dtype=float))
    for analyzer in (sx.LRPZ, sx.LRPFlat):
        analyzer(as_released=True).analyze(f.dense_net(W, b), np.asarray([x], dtype=float))


def test_batches_are_not_cut_where_samples_meet():
    """StdxEpsilon takes one deviation of the whole batch, so a cut batch would silently be another answer."""
    net, _, _, x = f.conv_net()
    rules = sx.LRPStdxEpsilon()
    together = reflrp.explain(net, x, rules=rules, target=1).relevance
    assert not np.allclose(together[:1], reflrp.explain(net, x[:1], rules=rules, target=1).relevance)
    assert np.array_equal(reflrp.Explainer(net, rules, batch_size=5)(x, target=1).relevance, together)
    for same in (rules, reflrp.rules.StdxEpsilon(over="batch")):
        with pytest.raises(reflrp.InputError, match="samples"):
            reflrp.Explainer(net, same, batch_size=2)(x, target=1)
    reflrp.Explainer(net, reflrp.rules.StdxEpsilon(), batch_size=2)(x, target=1)


def chain(*nodes, shape=(4,), outputs=4, constants=None):
    return f.file(list(nodes), shape, outputs, constants or {})


def test_one_tensor_twice():
    """x + x of a layer Add: relevance is kept, or doubled as in the libraries."""
    net = chain(helper.make_node("Add", ["x", "x"], ["y"], "net/add/add"))
    x, R = np.asarray([[1.0, -2, 3, 0]]), np.ones((1, 4))
    for released, factor in ((False, 1), (True, 2)):
        for rules in (inn.LRPFlat(as_released=released), sx.LRPFlat(as_released=released)):
            e = reflrp.explain(net, x, rules=rules, init=R)
            assert np.allclose(e.relevance, factor * R * (x != 0))


def test_operators_are_no_layers():
    """a + b of Python gives both summands all of it."""
    weights = {"W": np.eye(4)}
    nodes = [helper.make_node("MatMul", ["x", "W"], ["h"], "net/d/MatMul")]
    x, R = np.asarray([[1.0, 2, 3, 4]]), np.ones((1, 4))
    for name, factor in (("net/add/add", 1), ("net/tf.__operators__.add/AddV2", 2)):
        net = chain(*nodes, helper.make_node("Add", ["x", "h"], ["y"], name), constants=weights)
        assert np.allclose(reflrp.explain(net, x, rules=inn.LRPZ(), init=R).relevance, factor * R)


def test_activations():
    """Fused and in Activation they pass; as layers they have their gradient in iNNvestigate, and pass in SignXAI."""
    net = chain(helper.make_node("LeakyRelu", ["x"], ["y"], "net/act/LeakyRelu", alpha=0.25))
    x, R = np.asarray([[1.0, -2, 3, -4]]), np.ones((1, 4))
    slope = np.where(x > 0, 1, 0.25)
    layers = {"config": f.config([("x", "InputLayer"), ("act", "LeakyReLU")])}
    fused = {"config": f.config([("x", "InputLayer"), ("act", "Activation")])}
    for rules, wanted in (
        (inn.LRPZ(), slope),
        (inn.LRPZ(layers), slope),
        (inn.LRPZ(fused), R),
        (sx.LRPZ(), R),
        (sx.LRPZ(layers), R),
    ):
        assert np.allclose(reflrp.explain(net, x, rules=rules, init=R).relevance, wanted)


def test_what_the_file_does_not_say_is_asked_for():
    """A scale that no name explains may be a layer or a part of an activation; a Softmax inside is refused."""
    scaled = chain(helper.make_node("Mul", ["x", "s"], ["y"], "m"), constants={"s": np.full(4, 2.0)})
    soft = chain(helper.make_node("Softmax", ["x"], ["h"], "a"), helper.make_node("Relu", ["h"], ["y"], "b"))
    x = np.asarray([[1.0, -2, 3, -4]])
    for net, analyzer, message in (
        (scaled, inn.LRPZ(), "give model="),
        (soft, inn.LRPZ(), "Softmax"),
        (soft, inn.LRPZ(disable_model_checks=True), "Softmax"),
        (scaled, inn.DeepTaylor(), "give model="),
        (scaled, sx.LRPZ(), "give model="),
        (scaled, inn.LRPZ({"config": f.config([("x", "InputLayer")])}), "none of the layers"),
    ):
        with pytest.raises(reflrp.RuleError, match=message):
            reflrp.explain(net, x, rules=analyzer, target=0)


@pytest.mark.parametrize("rule", ["Z", "ZIgnoreBias", "ZPlus"])
@pytest.mark.parametrize("as_released", [True, False])
def test_where_a_sigmoid_at_the_output_begins(rule, as_released):
    """With its values; in the library only where a rule reweights, else with what goes into it."""
    rng = np.random.default_rng(4)
    W, b, x = rng.normal(size=(4, 4)), rng.normal(size=4), rng.normal(size=(3, 4))
    gemm = helper.make_node("Gemm", ["x", "W", "b"], ["z"], "net/out/Gemm")
    net = chain(gemm, helper.make_node("Sigmoid", ["z"], ["y"], "net/out/Sigmoid"), constants={"W": W, "b": b})
    bias = 0 if rule == "ZIgnoreBias" else b
    z = x @ W + bias
    start = z if as_released and rule != "ZPlus" else 1 / (1 + np.exp(-(x @ W + b)))
    formula = partial(f.alpha_beta, alpha=1, beta=0, bias=False) if rule == "ZPlus" else f.z
    got = sx.LRP(rule=rule, as_released=as_released).analyze(net, x, 2)
    want = formula(x, W, bias, start * [0, 0, 1, 0])
    assert np.abs(got - want).max() <= 1e-9 * np.abs(want).max()


def test_ties_of_global_maxima_share():
    net = chain(
        helper.make_node("GlobalMaxPool", ["x"], ["h"], "net/gmp/Max"),
        helper.make_node("Flatten", ["h"], ["y"], "net/gmp/Squeeze"),
        shape=(1, 2, 2),
        outputs=1,
    )
    x = np.asarray([[[[3.0, 1], [3, 3]]], [[[0, 1], [2, 0]]]])
    for rules in (inn.LRPZ(), sx.LRPZ(), inn.DeepTaylor()):
        e = reflrp.explain(net, x, rules=rules, target=0, init="one")
        assert np.allclose(e.relevance, [[[[1 / 3, 0], [1 / 3, 1 / 3]]], [[[0, 0], [1, 0]]]])


def test_maxima_that_keep_the_shape():
    """A max-pool of stride 1 passes in SignXAI and gives to the largest in iNNvestigate."""
    net = chain(
        helper.make_node("MaxPool", ["x"], ["h"], "net/mp/MaxPool", kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
        helper.make_node("Flatten", ["h"], ["y"], "net/flat/Reshape"),
        shape=(1, 2, 2),
    )
    x, R = np.asarray([[[[1.0, 2], [3, 4]]]]), np.asarray([[1.0, 2, 3, 4]])
    assert np.allclose(reflrp.explain(net, x, rules=sx.LRPZ(), init=R).relevance.ravel(), R)
    assert np.allclose(reflrp.explain(net, x, rules=inn.LRPZ(), init=R).relevance.ravel(), [0, 0, 0, 10])


def padded_net():
    """A padding that became the convolution's own, and a BatchNormalization that became part of it."""
    node = helper.make_node("Conv", ["x", "w"], ["h"], "Conv__7", pads=[1, 1, 1, 1])
    last = helper.make_node("Flatten", ["h"], ["y"], "net/flat/Reshape")
    return chain(node, last, shape=(1, 2, 2), outputs=9, constants={"w": np.ones((1, 1, 2, 2))})


def test_layers_that_the_exporter_took_away():
    net, x = padded_net(), np.asarray([[[[1.0, 2], [3, 4]]]])
    layers = [("x", "InputLayer"), ("pad", "ZeroPadding2D"), ("c", "Conv2D"), ("flat", "Flatten")]
    padded = {"config": f.config(layers)}
    for analyzer in (inn.LRPZ(padded), sx.LRPZ(padded), inn.LRPFlat()):
        reflrp.explain(net, x, rules=analyzer, target=0)
    for analyzer in (inn.LRPFlat(padded), sx.LRPWSquare(padded), inn.LRP(padded, rule="Bounded")):
        with pytest.raises(reflrp.RuleError, match="ZeroPadding"):
            reflrp.explain(net, x, rules=analyzer, target=0)
    gone = {"config": f.config([*layers[:3], ("bn", "BatchNormalization"), layers[3]])}
    with pytest.raises(reflrp.RuleError, match="no node of the layers 'bn'"):
        reflrp.explain(net, x, rules=inn.LRPZ(gone), target=0)


def test_where_an_input_layer_is():
    """Zero padding before it counts in iNNvestigate, and not in SignXAI; both look through reshapes."""
    net, x = padded_net(), np.asarray([[[[1.0, 2], [3, 4]]]])
    layers = [("x", "InputLayer"), ("pad", "ZeroPadding2D"), ("c", "Conv2D"), ("flat", "Flatten")]
    padded = {"config": f.config(layers)}
    for dialect, seen in ((inn, False), (sx, True)):
        e = reflrp.explain(net, x, rules=dialect.LRPZ(padded, input_layer_rule=dialect.EpsilonRule(0.5)), target=0)
        assert any(isinstance(rule, inn.EpsilonRule) for rule in e.rules.values()) == seen
    W, b, x = np.eye(4), np.ones(4), np.arange(1, 9).reshape(2, 2, 2) * 1.0
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], "net/flat/Reshape"),
        helper.make_node("MatMul", ["f", "W"], ["d"], "net/d/MatMul"),
        helper.make_node("Add", ["d", "b"], ["y"], "net/d/BiasAdd"),
    ]
    flat = f.file(nodes, (2, 2), 4, {"W": W, "b": b})
    for model in (None, {"config": f.config([("x", "InputLayer"), ("flat", "Flatten"), ("d", "Dense")])}):
        for dialect in (inn, sx):
            e = reflrp.explain(flat, x, rules=dialect.LRPZ(model, input_layer_rule="Flat"), target=0)
            assert np.allclose(e.relevance, e.output[:, :1, None] / 4)


@pytest.mark.parametrize(
    "make",
    [
        sx.LRP,
        lambda: sx.LRPEpsilon(epsilon=0),
        lambda: sx.LRPStdxEpsilon(epsilon=-1),
        lambda: sx.LRPGamma(gamma=None),
        sx.GammaRule,
        sx.LRPAlphaBeta,
        lambda: sx.LRPAlphaBeta(2.2, 1.2),
        lambda: sx.AlphaBetaX1000Rule(as_released=True),
        lambda: sx.LRP(rule="AlphaBetaX1000"),
        lambda: sx.LRPZ(bn_layer_fuse_mode="other"),
        sx.LRPRuleUntilIndex,
        lambda: sx.LRPRuleUntilIndex(MODEL, default_rule_configuration="LRPZ"),
        lambda: sx.LRPSequentialCompositeAFlat(input_layer_rule="Z"),
    ],
)
def test_refused_as_in_the_library(make):
    with pytest.raises(reflrp.RuleError):
        make()


@pytest.mark.parametrize("name", [n for n in sx.__all__ if n.startswith("LRP") and n != "LRP_RULES"])
def test_every_analyzer_has_a_name(name):
    arguments = {"LRP": {"rule": "Z"}, "LRPAlphaBeta": {"alpha": 2}, "LRPRuleUntilIndex": {"model": MODEL}}
    rules = preset(f"signxai.{name}", **arguments.get(name, {}))
    net, _, _, x = f.conv_net()
    assert reflrp.explain(net, x, rules=rules).relevance.shape == x.shape
