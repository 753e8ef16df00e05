"""reflrp.dialects.zennit without zennit: known answers, the oracle with zeroed parameters, and which rule goes where.

tests/peers compares with the library itself.
"""

import inspect
from dataclasses import replace

import nets
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from maps import MAPS, dyadic, flat
from models import model

import reflrp
from reflrp import composites
from reflrp.arrays import ZERO
from reflrp.dialects import zennit as z
from reflrp.dialects.zennit.naming import matcher
from reflrp.errors import RuleError
from reflrp.ops.linear import Dense
from reflrp.rules import Gradient

BIG = 33 / 128
"""A large epsilon off the lattice of the sums, as in test_rules.py."""

LAYERS = ("dense", "conv", "conv_transpose")
PLAIN = ("sum_axes", "average_pool")


# ---------------------------------------------------------------- known answers


def answer(rule, x, W, b=None, R=1.0):
    """The relevance of the inputs x of one neuron with weights W."""
    a, w = np.array([x], dtype=float), np.array(W, dtype=float)[:, None]
    L = Dense(w, ZERO if b is None else np.array([float(b)]), a.shape)
    return np.ravel(np.zeros(a.shape) + rule(L, a, L.forward(a), np.array([[R]]))).tolist()


# As zennit 0.5.1 and 1.0.0 answer, in float64.
ANSWERS = [
    (z.Epsilon(0.5), [-0.25], [1], None, [1 / 3]),
    (z.Epsilon(0.1), [0.3, -0.5], [1, 1], None, [-1, 5 / 3]),
    (z.Epsilon(0), [1, 1], [1, -1], None, [0, 0]),
    (z.Epsilon(), [1, 1], [1, -1], None, [1e6, -1e6]),
    (z.Gamma(1.0), [1, -1], [2, 1], None, [4 / 3, -1 / 3]),
    (z.Gamma(1.0), [1], [1], 1, [0.5]),
    (z.Gamma(1.0), [1, 1], [1, -3], None, [-0.2, 1.2]),
    (z.Gamma(), [1, 1], [1, -1], None, [0, 0]),
    (z.Gamma(0.0, 0.5, "bias"), [1], [-1], 2, [1 / 1.5]),
    (z.Gamma(0.0, 0.5, "bias"), [1], [-1], 1, [0]),
    (z.ZPlus(), [1, -1], [1, -1], None, [0.5, 0.5]),
    (z.ZPlus(), [2, -1], [1, 1], None, [1, 0]),
    (z.ZPlus(), [1], [2], -1, [1]),
    (z.ZPlus(), [1], [1], 1, [0.5]),
    (z.ZPlus(zero_params="bias"), [1], [1], 1, [1]),
    (z.AlphaBeta(1.0, 0.0), [1, -1], [1, -1], None, [0.5, 0.5]),
    (z.AlphaBeta(), [1], [1], None, [2]),
    (z.WSquare(), [7, 8], [1, 1], 1, [1 / 3, 1 / 3]),
    (z.WSquare(zero_params=["bias"]), [7, 8], [1, 1], 1, [0.5, 0.5]),
    (z.ZBox(0.0, 1.0), [0.5], [1], 9, [1]),
    (z.ZBox(0.0, 1.0, zero_params="bias"), [0.5], [1], 9, [1]),
    (z.Flat(), [0, 1, 3], [1, 2, 3], 5, [1 / 3] * 3),
    (z.Flat(zero_params="weight"), [0, 1, 3], [1, 2, 3], 5, [0] * 3),
    (z.Norm(0.5), [1], [1], 1, [0.4]),
]


@pytest.mark.parametrize(("rule", "x", "W", "b", "want"), ANSWERS)
def test_known_answers(rule, x, W, b, want):
    assert answer(rule, x, W, b) == pytest.approx(want, rel=2e-6, abs=1e-12)


def test_functions():
    x, R = np.array([-1.0, 0.0, 2.0]), np.array([3.0, -1.0, 4.0])
    relu, leaky = reflrp.model.load(model("h = Relu(x) y = LeakyRelu<alpha = 0.5>(h)")).graph({"x": (1, 4)}).nodes
    for rule, node, want in (
        (z.Pass(), relu, R),
        (z.ReLUDeconvNet(), relu, [3, 0, 4]),
        (z.ReLUGuidedBackprop(), relu, [0, 0, 4]),
        (z.ReLUGuidedBackprop(), leaky, [1.5, 0, 4]),
        (z.ReLUBetaSmooth(2.0), relu, R / (1 + np.exp(-2 * x))),
        (z.Norm(0.5), leaky, x * [0.5, 0.5, 1] * R / [-1, 0.5, 2.5]),
    ):
        np.testing.assert_allclose(rule(node.op, x, node.op.forward(x), R), want, rtol=1e-15)


@pytest.mark.parametrize(
    ("stabilizer", "want"),
    [
        (z.Stabilizer(0.5), [-2.5, 0.5, 1.5]),
        (z.Stabilizer(0.5, clip=True), [-2, 0.5, 1]),
        (
            z.Stabilizer(0.5, norm_scale=True),
            [-2 - 0.5 * (5 / 3) ** 0.5, 0.5 * (5 / 3) ** 0.5, 1 + 0.5 * (5 / 3) ** 0.5],
        ),
        (z.Stabilizer(3, clip=True, norm_scale=True, dim=(0,)), [-6, 0, 3]),
        (z.Stabilizer.ensure(0.5), [-2.5, 0.5, 1.5]),
    ],
)
def test_stabilizers(stabilizer, want):
    x = np.array([[-2.0, 0.0, 1.0]])
    np.testing.assert_allclose(stabilizer(x), [want])
    np.testing.assert_allclose(
        z.stabilize(x, stabilizer.epsilon, stabilizer.clip, stabilizer.norm_scale, stabilizer.dim), [want]
    )
    np.testing.assert_allclose(z.Stabilizer.ensure(stabilizer)(x), [want])


# ---------------------------------------------------------------- rules on any layer


FORMULAS = {
    "Epsilon": (z.Epsilon, oracle.epsilon, {}),
    "ZPlus": (z.ZPlus, oracle.z_plus, {}),
    "AlphaBeta": (lambda *rest: z.AlphaBeta(1.5, 0.5, *rest), oracle.alpha_beta, {"alpha": 1.5, "beta": 0.5}),
    "WSquare": (z.WSquare, oracle.w_square, {"bias": "square"}),
    "Flat": (z.Flat, oracle.flat, {}),
    "Gamma": (lambda *rest: z.Gamma(0.5, *rest), None, {}),
    "ZBox": (lambda *rest: z.ZBox(-1.0, 0.5, *rest), None, {}),
}


def zeroed(M, names):
    P = [[0 * p for p in row] for row in M.P] if "weight" in names else M.P
    return oracle.Matrix(M.S, P, [0 * b for b in M.b] if "bias" in names else M.b)


def expected(name, M, names, a, R):
    """What the oracle says of one sample."""
    st, zero = oracle.signed(BIG), zeroed(M, names)
    if name == "ZBox":
        return oracle.z_box(zero, a, R, st, [-1.0] * len(a), [0.5] * len(a))
    if name == "Gamma":
        columns = zip(*oracle.times(a, M.weights(lambda p: p)), strict=True)
        return gamma(zero, a, R, st, [sum(c) + b for c, b in zip(columns, M.b, strict=True)])
    if name == "Flat" and "weight" in names:
        return [0.0] * len(a)
    _, formula, given = FORMULAS[name]
    return formula(zero, a, R, st, **given)


def raised(x):
    return x + 0.5 * max(x, 0)


def lowered(x):
    return x + 0.5 * min(x, 0)


def gamma(M, a, R, st, outputs):
    """The generalised rule with gamma 0.5; the true outputs say which half of it."""
    found = [0.0] * len(a)
    for sign, up, down in ((1, raised, lowered), (-1, lowered, raised)):
        pairs = zip(a, M.weights(up), M.weights(down), strict=True)
        u = [[x * (p if x >= 0 else q) for p, q in zip(*rows, strict=True)] for x, *rows in pairs]
        part = [r if z * sign > 0 else 0 for r, z in zip(R, outputs, strict=True)]
        found = oracle.added(found, oracle.share(u, [up(b) for b in M.b], part, st))
    return found


@pytest.mark.parametrize("names", [(), "bias", "weight", ["weight", "bias"], ["other"]], ids=str)
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("kind", LAYERS)
def test_layers_with_zeroed_parameters(kind, name, names):
    @given(MAPS[kind])
    @settings(max_examples=8)
    def check(m):
        R = dyadic(np.random.default_rng(7), m.z.shape)
        found = FORMULAS[name][0](BIG, names)(m.op, m.a, m.z, R)
        got = m.samples(np.zeros(m.a.shape) if found is ZERO else found)
        want = [expected(name, M, names, a, r) for M, a, r in zip(m.matrices, m.samples(m.a), flat(R), strict=True)]
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12 * np.abs(R).max(initial=0) + 1e-300)

    check()


@pytest.mark.parametrize("kind", PLAIN)
def test_maps_without_parameters(kind):
    """zennit modifies the input alone there: both halves of it add up to the whole again."""

    @given(MAPS[kind])
    @settings(max_examples=8)
    def check(m):
        R = dyadic(np.random.default_rng(7), m.z.shape)

        def by(rule, R=R):
            return rule(m.op, m.a, m.z, R)

        norm = by(z.Norm(BIG))
        for rule in (z.Epsilon(BIG, "weight"), z.ZPlus(BIG, "bias"), z.AlphaBeta(2.0, 1.0, BIG)):
            np.testing.assert_array_equal(by(rule), norm)
        np.testing.assert_array_equal(by(z.Gamma(0.5, BIG)), by(z.Norm(BIG), np.where(m.z == 0, 0, R)))
        np.testing.assert_array_equal(by(z.WSquare(BIG)), by(z.Flat(BIG, "weight")))
        np.testing.assert_allclose(by(z.ZBox(0.0, 0.0, BIG)), norm)
        shifted = replace(m, a=m.a - 0.75)
        want = z.Norm(BIG)(shifted.op, shifted.a, shifted.z, R)
        if m.z.size and not hasattr(m.op, "share"):
            np.testing.assert_allclose(by(z.ZBox(-0.25, 1.0, BIG)), want, atol=1e-12)

    check()


def test_a_stabilizer_sees_the_whole_output():
    """Where all contributions vanish and only the bias is left, the denominator still has the output's shape."""
    a, seen = np.ones((2, 3)), []
    L = Dense(-np.ones((3, 4)), np.ones(4), a.shape, positive=True)
    z.ZPlus(lambda x: seen.append(x.shape) or x)(L, a, L.forward(a), np.ones((2, 4)))
    z.Epsilon(lambda x: seen.append(x.shape) or x, "weight")(L, a, L.forward(a), np.ones((2, 4)))
    assert seen == [(2, 4), (2, 4)]


@pytest.mark.parametrize(
    ("low", "same"),
    [
        (-2, -2.0),
        (np.float32(-2), -2.0),
        ([[[[-1.0]], [[-2.0]]]], [[[[-1.0]], [[-2.0]]]]),
        (-np.ones((1, 2)), -1.0),
        (-np.ones((7, 2, 4, 4)), -1.0),
    ],
)
def test_bounds_of_zbox(low, same):
    shape = (3, 2, 4, 4)
    found = np.broadcast_to(z.core.expand(low, shape), shape)
    np.testing.assert_array_equal(found, np.broadcast_to(same, shape))


def test_bounds_of_zbox_that_differ_by_sample():
    each = -np.arange(1.0, 4)
    np.testing.assert_array_equal(z.core.expand(each, (3, 2, 4, 4)), each[:, None, None, None])
    with pytest.raises(RuleError, match=r"do not fit the input's \(3, 2, 4, 4\).*\(1, 2, 1, 1\)"):
        z.core.expand(np.ones((2, 1)), (3, 2, 4, 4))
    with pytest.raises(RuleError, match="do not fit"):
        z.core.expand(np.broadcast_to(each[:, None, None, None], (3, 2, 4, 4)), (2, 2, 4, 4))


@pytest.mark.parametrize(
    "make",
    [
        lambda: z.AlphaBeta(1, 1),
        lambda: z.AlphaBeta(0, -1),
        lambda: z.Epsilon(-1),
        lambda: z.Norm("1"),
        lambda: z.Gamma(-0.25),
        lambda: z.ZPlus(None),
        lambda: z.WSquare(zero_params="no weights"),
        lambda: z.Stabilizer.ensure("1"),
        lambda: answer(z.ZBox(1.0, 0.0), [1], [1]),
        lambda: z.LayerMapComposite([("Conv2d", z.ZPlus())]),
        lambda: z.LayerMapComposite([(dict, z.ZPlus())]),
        lambda: z.LayerMapComposite([((), z.ZPlus())]),
        lambda: z.LayerMapComposite([(z.Linear, z.ZPlus)]),
        lambda: z.NameMapComposite([("fc", z.ZPlus())]),
        lambda: z.EpsilonPlus(canonizers=["merge"]),
        lambda: composites.preset("zennit.EpsilonGammaBox"),
        lambda: composites.preset("zennit.EpsilonPlus", gamma=1),
        lambda: composites.preset("zennit.EpsilonPluss"),
        lambda: composites.preset("zennit.types"),
    ],
)
def test_errors(make):
    with pytest.raises(RuleError):
        make()


# ---------------------------------------------------------------- which rule goes where


NAMES = ["EpsilonPlus", "EpsilonPlusFlat", "EpsilonAlpha2Beta1", "EpsilonAlpha2Beta1Flat", "ExcitationBackprop"]
NAMES += ["DeconvNet", "GuidedBackprop", "BetaSmooth", "EpsilonGammaBox"]


def made(name, **arguments):
    """A composite by name, and what it is called when it needs a box."""
    return getattr(z, name)(**({"low": -1, "high": 1} if name == "EpsilonGammaBox" else {}), **arguments)


def assigned(composite, net, shape):
    """{node name: rule name}, the passes being run."""
    program = reflrp.Explainer(net, composite).program(np.zeros((2, *shape)))
    return {name: type(rule).__name__ for name, rule in program.rules.items()}


BASE = {
    "bn1": "Pass",
    "relu1": "Pass",
    "pool1": "Gradient",
    "relu2": "Pass",
    "add": "Norm",
    "relu3": "Pass",
    "gap": "Norm",
}
NONE = dict.fromkeys([*BASE, "conv1", "conv2", "conv3", "fc"], "Gradient")
ON_RELU = ("relu1", "relu2", "relu3")
RESNET = {
    "EpsilonPlus": BASE | {"conv1": "ZPlus", "conv2": "ZPlus", "conv3": "ZPlus", "fc": "Epsilon"},
    "EpsilonPlusFlat": BASE | {"conv1": "Flat", "conv2": "ZPlus", "conv3": "ZPlus", "fc": "Epsilon"},
    "EpsilonAlpha2Beta1": BASE | {"conv1": "AlphaBeta", "conv2": "AlphaBeta", "conv3": "AlphaBeta", "fc": "Epsilon"},
    "EpsilonAlpha2Beta1Flat": BASE | {"conv1": "Flat", "conv2": "AlphaBeta", "conv3": "AlphaBeta", "fc": "Epsilon"},
    "EpsilonGammaBox": BASE | {"conv1": "ZBox", "conv2": "Gamma", "conv3": "Gamma", "fc": "Epsilon"},
    "ExcitationBackprop": NONE
    | dict.fromkeys(["conv1", "conv2", "conv3", "fc"], "ZPlus")
    | {"add": "Norm", "gap": "Norm"},
    "DeconvNet": NONE | dict.fromkeys(ON_RELU, "ReLUDeconvNet"),
    "GuidedBackprop": NONE | dict.fromkeys(ON_RELU, "ReLUGuidedBackprop"),
    "BetaSmooth": NONE | dict.fromkeys(ON_RELU, "ReLUBetaSmooth"),
}


@pytest.mark.parametrize("name", NAMES)
def test_composites(name):
    assert assigned(made(name), nets.build(nets.RESNET), (2, 6, 6)) == RESNET[name]


def test_arguments_reach_the_rules():
    def st(x):
        return x + 1

    composite = z.EpsilonGammaBox(-2, 2, 0.5, 0.75, st, zero_params=["bias"])
    found = {rule for _, rule in composite.pairs}
    box = z.ZBox(-2, 2, st, ["bias"])
    want = {z.Gamma(0.75, st, ["bias"]), z.Epsilon(0.5, ["bias"]), box, z.Norm(st), z.Pass(), Gradient()}
    assert found == want
    assert z.BetaSmooth(3.0).pairs[0][1] == z.ReLUBetaSmooth(3.0)
    flats = {r for _, r in z.EpsilonPlusFlat(0.5, 0.25, zero_params="bias").pairs}
    assert {z.Flat(0.25, "bias"), z.ZPlus(0.25, "bias"), z.Epsilon(0.5, "bias")} <= flats


def test_user_maps_come_first():
    net = nets.build(nets.RESNET)
    found = assigned(
        z.EpsilonPlusFlat(layer_map=[(z.nn.Linear, z.WSquare())], first_map=[(z.Sum, z.Flat())]), net, (2, 6, 6)
    )
    assert found == RESNET["EpsilonPlus"] | {"conv1": "Flat", "fc": "WSquare"}
    found = assigned(z.EpsilonPlusFlat(first_map=[(composites.op_type("MaxPool"), z.Norm())]), net, (2, 6, 6))
    assert found == RESNET["EpsilonPlusFlat"], "the first layer that any entry fits closes the map"
    found = assigned(z.EpsilonPlus(layer_map=[((z.Convolution, z.nn.Linear), z.Gamma())]), net, (2, 6, 6))
    assert {found[k] for k in ("conv1", "conv2", "conv3", "fc")} == {"Gamma"}


def test_a_rule_alone():
    net = nets.build(nets.RESNET)
    for rules in (z.Gamma(), "zennit.Gamma"):
        want = RESNET["EpsilonPlus"] | dict.fromkeys(["conv1", "conv2", "conv3", "fc"], "Gamma")
        assert assigned(rules, net, (2, 6, 6)) == want
    assert assigned(z.ReLUDeconvNet(), net, (2, 6, 6)) == RESNET["DeconvNet"]
    assert assigned("zennit.EpsilonPlusFlat", net, (2, 6, 6)) == RESNET["EpsilonPlusFlat"]


INCEPTION = {
    **dict.fromkeys(["left", "right", "mix", "depthwise"], "ZPlus"),
    **dict.fromkeys(["relu", "relu2", "relu3", "bn"], "Pass"),
    "pool": "Norm",
    "gap": "Gradient",
    "fc": "Epsilon",
}


def test_the_first_layer_is_one_node():
    """Two branches start at the input; the graph's order says which is first. A mean without keepdims is no module."""
    net = nets.build(nets.INCEPTION)
    assert assigned(z.EpsilonPlusFlat(), net, (2, 5, 5)) == INCEPTION | {"left": "Flat"}


def test_mixed_composites():
    net, first = nets.build(nets.INCEPTION), z.NameMapComposite([(("left", "fc"), z.WSquare())])
    mixed = z.MixedComposite([first, z.EpsilonPlusFlat(canonizers=[z.VGGCanonizer()])], [z.ResNetCanonizer()])
    assert assigned(mixed, net, (2, 5, 5)) == INCEPTION | {"left": "WSquare", "fc": "WSquare"}, "left stays the first"
    assert mixed.canonize == ("part_bias", "merge_batchnorm")
    both = z.NameLayerMapComposite([(["fc"], z.WSquare())], [(z.Linear, z.ZPlus())])
    found = assigned(both, net, (2, 5, 5))
    assert {k for k, v in found.items() if v == "Gradient"} == {"relu", "relu2", "relu3", "bn", "pool", "gap"}
    assert set(assigned(z.NameLayerMapComposite(), net, (2, 5, 5)).values()) == {"Gradient"}


@pytest.mark.parametrize("canonizer", [z.SequentialMergeBatchNorm(), z.CompositeCanonizer([z.ResNetCanonizer()])])
def test_canonizers(canonizer):
    """A BatchNorm right behind a layer is merged, the one behind a concatenation stays."""
    want = RESNET["EpsilonPlus"].copy()
    del want["bn1"]
    composite = z.EpsilonPlus(canonizers=[canonizer])
    assert assigned(composite, nets.build(nets.RESNET), (2, 6, 6)) == want
    assert assigned(composite, nets.build(nets.INCEPTION), (2, 5, 5)) == INCEPTION


def test_versions():
    assert z.SequentialMergeBatchNorm(version="1.0.0") == z.SequentialMergeBatchNorm()
    for canonizer in (z.SequentialMergeBatchNorm, z.VGGCanonizer, z.ResNetCanonizer):
        for odd in ("2", None, 1.0, np.ones(3)):
            with pytest.raises(reflrp.RuleError, match="version="):
                canonizer(version=odd)
    for twice in (["0.5.1", "1.0.0"], ["0.5.1", "0.5.1"]):
        with pytest.raises(reflrp.RuleError, match="would merge what the first leaves"):
            z.EpsilonPlus(canonizers=[z.SequentialMergeBatchNorm(version) for version in twice])


def test_zennit_0_5_1_divides_once_more():
    """By the network in which its division stands as a layer of its own, which has the rule of a BatchNorm."""
    text, c = (
        "h = Conv(x, w, b) n = BatchNormalization<epsilon=0.01>(h, g, s, m, v)",
        np.random.default_rng(0).standard_normal,
    )
    w, b, s, m = c((4, 3, 3, 3)), c(4), c(4), c(4)
    g, v, x = abs(c(4)), abs(c(4)), c((2, 3, 6, 6)).astype(np.float32)
    constants = {"w": w, "b": b, "g": g, "s": s, "m": m, "v": v, "d": c((64, 5))}
    rest = " r = Relu(n) f = Flatten(r) y = MatMul(f, d)"
    net = model(text + rest, "float[N,3,6,6] x", **{k: a.astype(np.float32) for k, a in constants.items()})
    eps = float(np.float32(0.01))
    w, b, g, s, m, v = (a.astype(np.float32).astype(float) for a in (w, b, g, s, m, v))
    scale = g / np.sqrt(v + eps)
    by_hand = {"w": w * scale[:, None, None, None], "b": (b - m) * scale + s, "d": constants["d"].astype(np.float32)}
    by_hand |= {"q": np.full((4, 1, 1), 1 / np.sqrt(1 + eps))}
    by_hand = {k: a.astype(np.float64) for k, a in by_hand.items()}
    other = model("h = Conv(x, w, b) n = Mul(h, q)" + rest, "double[N,3,6,6] x", **by_hand)
    for rules, alone in ((z.EpsilonPlus, z.Pass()), (z.ExcitationBackprop, None)):
        named = z.NameMapComposite([(("Mul_1",), alone)] if alone else [])
        want = reflrp.explain(other, x.astype(float), z.MixedComposite([named, rules()]), layers=True)
        ours = rules(canonizers=[z.VGGCanonizer(version="0.5.1")])
        got = reflrp.explain(net, x, ours, layers=True)
        np.testing.assert_allclose(got.relevance, want.relevance, atol=1e-12)
        np.testing.assert_allclose(got.output, want.output, atol=1e-12)
        np.testing.assert_allclose(got.layers["h"], want.layers["h"], atol=1e-12)
        assert abs(got.output / reflrp.explain(net, x, rules()).output - 1).max() > 1e-3
        assert "the output is not the network's own" in " ".join(got.notes)
        exact = reflrp.explain(net, x[:1], ours, dtype="exact").rounded()
        np.testing.assert_allclose(exact.relevance, got.relevance[:1], atol=1e-9)


def test_zennit_0_5_1_says_that_it_found_none_to_merge():
    net = model(
        "h = Conv(x, w, b) r = Relu(h) f = Flatten(r) y = MatMul(f, d)",
        "float[N,1,3,3] x",
        w=(2, 1, 2, 2),
        b=(2,),
        d=(8, 3),
    )
    ours = z.EpsilonPlus(canonizers=[z.SequentialMergeBatchNorm("0.5.1")])
    assert "no BatchNormalization follows its layer" in " ".join(reflrp.explain(net, np.ones((1, 1, 3, 3)), ours).notes)


def test_merged_batchnorm_is_exact():
    net, x = nets.net("resnet")
    merged = reflrp.explain(net, x, z.EpsilonPlus(canonizers=[z.SequentialMergeBatchNorm()]))
    folded = reflrp.explain(net, x, "epsilon_plus")
    np.testing.assert_allclose(merged.output, reflrp.load(net).run(x)["y"], rtol=1e-12)
    np.testing.assert_allclose(merged.relevance, folded.relevance, rtol=1e-12)


BODIES = {
    "y = Add(x, w)": (None, {"w": (4,)}),
    "h = Relu(x) y = Add(h, x)": (z.Sum, {}),
    "h = Relu(x) y = Sub(h, x)": (None, {}),
    "y = MatMul(x, w)": (z.nn.Linear, {"w": (4, 2)}),
    "h = MatMul(x, w) y = Add(h, b)": (z.Linear, {"w": (4, 2), "b": (2,)}),
    "h = Transpose(x) y = MatMul(w, h)": (None, {"w": (2, 4)}),
    "y = Gelu(x)": (z.nn.GELU, {}),
    "h = Sigmoid(x) y = Mul(h, x)": (z.nn.SiLU, {}),
    "h = Sigmoid(x) y = Log(h)": (z.nn.LogSigmoid, {}),
    "h = Tanh(x) y = Sub(x, h)": (z.nn.Tanhshrink, {}),
    "y = Mish(x)": (None, {}),
    "y = Softmax(x)": (None, {}),
    "y = Exp(x)": (None, {}),
    "y = Max(x, w)": (None, {"w": (1,)}),
}
IMAGES = {
    "y = Conv(x, w)": (z.nn.Conv2d, {"w": (3, 4, 3, 3)}),
    "y = ConvTranspose(x, w)": (z.nn.ConvTranspose2d, {"w": (4, 3, 3, 3)}),
    "y = MaxPool<kernel_shape = [2, 2]>(x)": (z.MaxPool, {}),
    "y = AveragePool<kernel_shape = [2, 2]>(x)": (z.nn.AvgPool2d, {}),
    "y = GlobalAveragePool(x)": (z.nn.AdaptiveAvgPool2d, {}),
    "y = ReduceMean<axes = [2, 3]>(x)": (z.AvgPool, {}),
    "y = ReduceMean<axes = [-1, -2], keepdims = 0>(x)": (None, {}),
    "y = ReduceMean<axes = [3]>(x)": (None, {}),
    "y = ReduceSum(x, axes)": (None, {"axes": np.array([2, 3])}),
    "y = BatchNormalization(x, a, a, a, w)": (z.BatchNorm, {"a": (4,), "w": np.ones(4, np.float32)}),
}


@pytest.mark.parametrize("body", [*BODIES, *IMAGES])
def test_types(body):
    """The last node is of its type, and of no other base type of zennit's where it is of none."""
    kind, weights = (BODIES | IMAGES)[body]
    inputs, shape = ("float[N,4] x", (2, 4)) if body in BODIES else ("float[N,4,9,8] x", (2, 4, 9, 8))
    graph = reflrp.load(model(body, inputs, opset=20 if "Gelu" in body or "Mish" in body else 17, **weights)).graph(
        {"x": shape}
    )
    survey, last = composites.Survey(graph), graph.nodes[-1]
    base = [z.Linear, z.Sum, z.AvgPool, z.MaxPool, z.BatchNorm, z.Activation]
    assert sum(m(last, survey) for m in base) == (kind is not None)
    assert kind is None or kind(last, survey)


def torch_class(name, module="torch.nn.modules.conv", base=object):
    return type(name, (base,), {"__module__": module})


def test_classes_are_known_by_name():
    """torch's and zennit's own classes, and subclasses, mean what they are called."""
    conv = torch_class("Conv2d")
    for cls, want in (
        (conv, z.nn.Conv2d),
        (torch_class("Own", "my.layers", conv), z.nn.Conv2d),
        (torch_class("Linear"), z.nn.Linear),
        (torch_class("Linear", "zennit.types"), z.Linear),
        (torch_class("Sum", "zennit.layer"), z.Sum),
    ):
        assert matcher(cls) == want
    with pytest.raises(RuleError, match="no type of layer"):
        matcher(torch_class("Conv2d", "my.layers"))


def test_names_of_torch_modules():
    net = nets.build(nets.MLP)
    for node, scope in zip(net.graph.node, ("body.fc1", "body.act", "fc2"), strict=True):
        entry = node.metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.name_scopes", repr(["", scope.partition(".")[0], scope, "linear"])
    found = reflrp.Explainer(net, z.NameMapComposite([(["body.fc1"], z.ZPlus()), (["fc2"], z.Flat())]))
    assert [type(rule).__name__ for rule in found.program(np.zeros((1, 4))).rules.values()] == [
        "ZPlus",
        "Gradient",
        "Flat",
    ]


def test_rules_that_depend_on_what_the_graph_does_not_say():
    net = nets.build(nets.RESNET)
    for where in (z.BatchNorm, z.MaxPool):
        with pytest.raises(RuleError, match="cannot serve"):
            assigned(z.EpsilonPlus(layer_map=[(where, z.ZPlus())]), net, (2, 6, 6))
        assert assigned(z.EpsilonPlus(layer_map=[(where, z.Epsilon())]), net, (2, 6, 6))
    composite = z.EpsilonPlus(layer_map=[(z.BatchNorm, z.Epsilon(zero_params="bias"))])
    with pytest.raises(RuleError, match="tell their parameters apart"):
        reflrp.explain(net, np.ones((1, 2, 6, 6)), composite)


# ---------------------------------------------------------------- zennit's signatures


SIGNATURES = {
    "Epsilon": "epsilon zero_params",
    "Norm": "stabilizer",
    "ZPlus": "stabilizer zero_params",
    "AlphaBeta": "alpha beta stabilizer zero_params",
    "Gamma": "gamma stabilizer zero_params",
    "ZBox": "low high stabilizer zero_params",
    "WSquare": "stabilizer zero_params",
    "Flat": "stabilizer zero_params",
    "Pass": "",
    "ReLUDeconvNet": "",
    "ReLUGuidedBackprop": "",
    "ReLUBetaSmooth": "beta_smooth",
    "Stabilizer": "epsilon clip norm_scale dim",
    "stabilize": "input epsilon clip norm_scale dim",
    "LayerMapComposite": "layer_map canonizers",
    "SpecialFirstLayerMapComposite": "layer_map first_map canonizers",
    "NameMapComposite": "name_map canonizers",
    "MixedComposite": "composites canonizers",
    "NameLayerMapComposite": "name_map layer_map canonizers",
    "EpsilonGammaBox": "low high epsilon gamma stabilizer layer_map first_map zero_params canonizers",
    "EpsilonPlus": "epsilon stabilizer layer_map zero_params canonizers",
    "EpsilonPlusFlat": "epsilon stabilizer layer_map first_map zero_params canonizers",
    "EpsilonAlpha2Beta1": "epsilon stabilizer layer_map zero_params canonizers",
    "EpsilonAlpha2Beta1Flat": "epsilon stabilizer layer_map first_map zero_params canonizers",
    "ExcitationBackprop": "stabilizer layer_map zero_params canonizers",
    "DeconvNet": "layer_map canonizers",
    "GuidedBackprop": "layer_map canonizers",
    "BetaSmooth": "beta_smooth layer_map zero_params canonizers",
    "layer_map_base": "stabilizer",
    "register_composite": "name",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    assert " ".join(inspect.signature(getattr(z, name)).parameters) == SIGNATURES[name]
    assert name in z.__all__


def test_registry():
    assert list(z.COMPOSITES) == [
        "epsilon_gamma_box",
        "epsilon_plus",
        "epsilon_plus_flat",
        "epsilon_alpha2_beta1",
        "epsilon_alpha2_beta1_flat",
        "excitation_backprop",
        "deconvnet",
        "guided_backprop",
        "beta_smooth",
    ]

    @z.register_composite("own")
    class Own(z.LayerMapComposite):
        """A user's own, in zennit's way."""

        def __init__(self):
            super().__init__([(z.Linear, z.ZPlus())])

    assert z.COMPOSITES.pop("own") is Own
    net = nets.build(nets.RESNET)
    assert assigned(Own(), net, (2, 6, 6))["fc"] == "ZPlus"
