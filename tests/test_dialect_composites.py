"""What the dialects of captum, RelevancePropagation.jl, the LRP Toolbox and innsight put on which node."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from models import draw, model
from nets import MLP, RESNET, build

import reflrp
from reflrp.composites import resolve
from reflrp.dialects import captum, innsight, lrp_toolbox, zennit
from reflrp.dialects import relevance_propagation_jl as jl
from reflrp.errors import InputError, RuleError

LENET = Path(__file__).parents[2] / "shared" / "data" / "lenet5_mnist"


def graph_of(proto, **shapes):
    return reflrp.load(proto).graph(shapes)


# ---------------------------------------------------------------- names of modules


@pytest.mark.parametrize(
    "composite",
    [
        captum.LRP({"nosuch": captum.GammaRule()}),
        captum.LRP({"no*": captum.GammaRule()}),
        captum.LRP(functions=["nosuch"]),
        zennit.NameMapComposite([(["conv1", "nosuch"], zennit.Gamma())]),
        zennit.MixedComposite([zennit.NameMapComposite([(["nosuch"], zennit.Gamma())]), zennit.EpsilonPlus()]),
    ],
)
def test_a_name_of_nothing_is_refused(composite):
    """Its rule would be that of no layer, as of every module where a file does not tell of modules."""
    with pytest.raises(RuleError, match=r"no node is named 'no.*The file does not say from which torch modules"):
        composite.assign(graph_of(build(RESNET), x=(2, 2, 6, 6)))


@pytest.mark.parametrize(
    "composite", [captum.LRP({"unread": captum.GammaRule()}), zennit.NameMapComposite([(["unread"], zennit.Gamma())])]
)
def test_a_name_that_this_output_does_not_need_is_no_name_of_nothing(composite):
    proto, x = model("y = Gemm(x, w) unread = Gemm(x, w)", w=(4, 3)), draw(1, 4)
    assert reflrp.explain(proto, x, rules=composite).output.shape == (1, 3)
    with pytest.raises(RuleError, match="'w'"):
        reflrp.explain(proto, x, rules=zennit.NameMapComposite([(["w"], zennit.Gamma())]))


# ---------------------------------------------------------------- names as texts


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("captum.EpsilonRule(epsilon=0.25)", captum.EpsilonRule(0.25)),
        ("relevance_propagation_jl.GammaRule(gamma=0.5)", jl.GammaRule(0.5)),
    ],
)
def test_texts_take_parameters(text, rule):
    assert resolve(text) == resolve(rule)


@pytest.mark.parametrize(
    "text",
    ["captum.LRP", "captum.GammaRule", "captum.Alpha1_Beta0_Rule", "captum.EpsilonRule", "lrp_toolbox.ww", "innsight.LRP",
     "relevance_propagation_jl.EpsilonPlusFlat", "relevance_propagation_jl.ZeroRule", "lrp_toolbox.epsilon(param=0.01)",
     "innsight.LRP(rule_name='alpha_beta', rule_param=2.0)", "captum.LRP(hooks='layer')",
     "relevance_propagation_jl.EpsilonGammaBox(low=-3, high=3)"],
)  # fmt: skip
def test_every_text_explains(text):
    e = reflrp.explain(build(MLP), draw(3, 4), rules=text)
    assert np.isfinite(e.relevance).all()
    assert np.abs(e.relevance).max() > 0


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("captun.LRP", "did you mean 'captum'?"),
        ("relevance_propagation.EpsilonPlus", "did you mean 'relevance_propagation_jl'?"),
        ("captum.lrp", "did you mean 'LRP'?"),
        ("captum.epsilonrule", "did you mean 'EpsilonRule'?"),
        ("lrp_toolbox.alpha_beta", "did you mean 'alphabeta'?"),
        ("captum.EpsilonRule(epsilon=)", "write name"),
        ("captum.EpsilonRule(eps=1)", "eps"),
        ("captum.LayerLRP", "is no rule or composite"),
        ("nothing.at_all", "there is captum, innsight"),
    ],
)
def test_what_is_wrong_is_said(text, hint):
    with pytest.raises(RuleError) as error:
        resolve(text)
    assert hint in str(error.value)


# ---------------------------------------------------------------- captum

BRANCHES = "[fc1] h = Gemm(x, w1, b1)\n[fc2] a = Gemm(h, w2, b2)\n[add] s = Add(a, h)\n[fc3] y = Gemm(s, w3)"


def branches():
    return model(BRANCHES, w1=(4, 4), b1=(4,), w2=(4, 4), b2=(4,), w3=(4, 3))


def signed(z):
    return z + np.where(z >= 0, 1e-9, -1e-9)


def by_hand(x, units):
    """Relevance of h: what comes back past the layer `fc2`, in captum's units or in its own."""
    w1, b1, w2, b2, w3 = (draw(*s).astype(float) for s in ((4, 4), (4,), (4, 4), (4,), (4, 3)))
    h = x @ w1 + b1
    a = h @ w2 + b2
    s = a + h
    y = s @ w3
    R = y * (y == y.max(1, keepdims=True))
    R = s * ((R / signed(y)) @ w3.T)
    through = ((R / signed(a)) if units == "function" else (a * R / signed(s)) / signed(a)) @ w2.T
    past = {"module": R / signed(s), "function": R}[units]
    return x * ((h * (through + past) / signed(h)) @ w1.T)


@pytest.mark.parametrize(("functions", "units"), [((), "module"), ((captum.modules.Addition_Module,), "function")])
def test_captum_multiplies_all_that_comes_back_to_a_value(functions, units):
    x = draw(3, 4).astype(float)
    e = reflrp.explain(branches(), x, rules=captum.LRP(functions=functions))
    np.testing.assert_allclose(e.relevance, by_hand(x, units), rtol=1e-9)


def test_captum_hooks_on_layers():
    """A sum as a function, each node by its own rule: relevance is doubled, but its units are not mixed."""
    functions = [captum.modules.Addition_Module]
    x = draw(3, 4)
    mixed = reflrp.explain(branches(), x, rules=captum.LRP(functions=functions), init="one", layers="s")
    apart = reflrp.explain(branches(), x, rules=captum.LRP(functions=functions, hooks="layer"), init="one", layers="*")
    assert np.abs(mixed.relevance - apart.relevance).max() > 0.1
    through = apart.rules["fc2"](*_seen(branches(), x, "fc2"), apart.layers["a"])
    np.testing.assert_allclose(apart.layers["h"], through + apart.layers["s"], rtol=1e-9)
    assert mixed.layers["s"].shape == apart.layers["s"].shape


def _seen(proto, x, name):
    """The op of a node, its input and its output."""
    graph = graph_of(proto, x=x.shape)
    node = next(n for n in graph.nodes if n.name == name)
    values = reflrp.Explainer(proto).program(x).forward({"x": x.astype(float)})
    return node.op, values[node.inputs[0]], values[node.output]


def test_captum_where_autograd_decides():
    """Two ReLUs made side by side, then summed: which of them finds the other's relevance hangs on the order."""
    body = "a = Gemm(x, w1)\nb = Gemm(x, w2)\nr = Relu(a)\nq = Relu(b)\ns = Add(r, q)\ny = Gemm(s, w3)"
    proto = model(body, w1=(4, 4), w2=(4, 4), w3=(4, 3))
    with pytest.raises(RuleError, match="order in which autograd"):
        reflrp.explain(proto, draw(3, 4), rules="captum.LRP")
    assert reflrp.explain(proto, draw(3, 4), rules="captum.LRP(hooks='layer')").conservation.worst < 1e-6


def test_captum_at_other_values():
    proto = model("h = Gemm(x, w1)\ng = Sigmoid(h)\ny = Gemm(g, w2)", w1=(4, 4), w2=(4, 3))
    assert np.isfinite(reflrp.explain(proto, draw(3, 4), rules="captum.EpsilonRule").relevance).all()
    with pytest.raises(RuleError, match="not at the network's own values"):
        reflrp.explain(proto, draw(3, 4), rules="captum.GammaRule")


def test_captum_without_a_default_rule():
    proto = model("y = Conv(x, w)", inputs="float[N,2,5] x", w=(3, 2, 3))
    with pytest.raises(RuleError, match=r"no default rule for .*Conv1d"):
        reflrp.explain(proto, draw(2, 2, 5), rules="captum.LRP", target=(0, 0))
    assert reflrp.explain(proto, draw(2, 2, 5), rules="captum.EpsilonRule", target=(0, 0)).relevance.any()


def test_captum_rules_by_name():
    rules = captum.LRP({"fc[12]": captum.GammaRule(), "fc3": captum.EpsilonRule(0.5)})
    found = reflrp.explain(branches(), draw(2, 4), rules=rules).rules
    assert found["fc1"] == found["fc2"] == captum.GammaRule()
    assert found["fc3"] == captum.EpsilonRule(0.5)


def test_captum_layers_and_delta():
    x = draw(3, 4)
    lrp = captum.LayerLRP(branches(), "fc2")
    R, delta = lrp.attribute(x, return_convergence_delta=True)
    e = reflrp.explain(branches(), x, rules="captum.LRP", layers="*")
    np.testing.assert_allclose(R, e.layers["a"])
    np.testing.assert_allclose(delta, e.output.max(1) - R.sum(1))
    np.testing.assert_allclose(lrp.attribute(x, attribute_to_layer_input=True), e.layers["h"])
    assert len(captum.LayerLRP(branches(), None).attribute(x)) == 4
    np.testing.assert_allclose(captum.convergence_delta(e), e.output.max(1) - e.relevance.sum(1))
    with pytest.raises(InputError, match="started at a target"):
        captum.convergence_delta(reflrp.explain(branches(), x, init=np.ones((3, 3))))
    with pytest.raises(RuleError, match="captum's rules"):
        captum.LayerLRP(branches(), "fc2", "epsilon")


class Living:
    """A torch module, as far as `captum.composite` asks: its name, its class, its rule."""

    def __init__(self, rule=None, **children):
        self.rule, self.children = rule, children

    def named_modules(self):
        return [("", self), *self.children.items()]


class GammaRule:
    __module__ = "captum.attr"
    STABILITY_FACTOR = 1e-9
    gamma, set_bias_to_zero = 0.75, True


class IdentityRule:
    __module__ = "captum.attr"
    STABILITY_FACTOR = 0.5


class EpsilonPlusRule(GammaRule):
    """One that captum does not have."""

    __module__ = "captum.attr"


def test_captum_from_a_living_network():
    net = Living(fc1=Living(GammaRule()), fc2=Living(IdentityRule()), fc3=Living())
    found = {m.pattern: rule for m, rule in captum.composite(net).given}
    assert found == {"fc1": captum.GammaRule(0.75, True), "fc2": captum.IdentityRule(0.5)}
    with pytest.raises(RuleError, match="'fc1' has the rule"):
        captum.composite(Living(fc1=Living(EpsilonPlusRule())))
    with pytest.raises(RuleError, match="named_modules"):
        captum.composite("net")


# ---------------------------------------------------------------- RelevancePropagation.jl


def rules_of(composite, proto=None, **shapes):
    return composite.assign(graph_of(proto or build(MLP), **(shapes or {"x": (2, 4)})))


def layered(*primitives):
    """The rules on the two dense layers of the MLP."""
    found = rules_of(jl.Composite(*primitives))
    return tuple(rule for name, rule in found.items() if name not in ("r", "Relu_1") and not _passes(rule))


def _passes(rule):
    return type(rule) is reflrp.rules.Pass


E, G, F, Z = jl.EpsilonRule(), jl.GammaRule(), jl.FlatRule(), jl.ZeroRule()


@pytest.mark.parametrize(
    ("primitives", "rules"),
    [
        ((), (Z, Z)),
        ((G,), (G, G)),
        ((jl.GlobalMap(E), jl.FirstLayerMap(F)), (F, E)),
        ((jl.FirstLayerMap(F), jl.GlobalMap(E)), (E, E)),
        ((E, jl.LastLayerMap(G)), (E, G)),
        ((E, jl.LayerMap(2, G)), (E, G)),
        ((E, jl.RangeMap(range(1, 2), G)), (G, E)),
        ((E, jl.RangeMap(range(2, 9), G)), (E, G)),
        ((jl.GlobalTypeMap({jl.ConvLayer: G, jl.Dense: E}),), (E, E)),
        ((jl.GlobalTypeMap({jl.Dense: F}), jl.FirstNTypeMap(1, {jl.Dense: G})), (G, F)),
        ((jl.RangeTypeMap(range(2, 3), {jl.Dense: G}),), (Z, G)),
        ((E, jl.FirstLayerTypeMap({jl.ConvLayer: F})), (E, E)),
        ((E, jl.FirstLayerTypeMap({jl.Dense: F})), (F, E)),
        ((E, jl.LastLayerTypeMap({jl.Dense: F})), (E, F)),
    ],
)
def test_julia_primitives(primitives, rules):
    assert layered(*primitives) == rules


def test_julia_presets_on_a_residual_network():
    shape = {"x": (2, 2, 6, 6)}
    found = rules_of(jl.EpsilonPlusFlat(), build(RESNET), **shape)
    assert found["conv1"] == jl.FlatRule()
    assert found["conv2"] == found["conv3"] == jl.ZPlusRule()
    assert found["bn1"] == jl.PassRule()
    assert found["pool1"] == jl.ZeroRule()
    assert found["add"] == reflrp.rules.Norm(jl.ZeroRule().stabilizer)
    first = rules_of(jl.EpsilonGammaBox(-1.0, 1.0), build(RESNET), **shape)["conv1"]
    assert first == jl.ZBoxRule(-1.0, 1.0)


def test_julia_sees_the_activation():
    found = rules_of(jl.Composite(jl.ZBoxRule(-1.0, 1.0)))
    fused = [rule for rule in found.values() if hasattr(rule, "activation")]
    assert [(f.rule, f.activation.name) for f in fused] == [(jl.ZBoxRule(-1.0, 1.0), "relu")]


def test_julia_activations_on_their_own():
    """Behind a pool an activation is a layer: a f'(a) R / f(a)."""
    body = "p = GlobalAveragePool(x)\nf = Flatten(p)\ny = Relu(f)"
    x = draw(2, 3, 2, 2).astype(float)
    proto = model(body, inputs="float[N,3,2,2] x")
    e = reflrp.explain(proto, x, rules="relevance_propagation_jl.ZeroRule", init=np.ones((2, 3)), layers="*")
    np.testing.assert_allclose(e.layers["f"], (x.mean((2, 3)) > 0) * 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("body", "match"), [("h = Gemm(x, w)\ny = Tanh(h)", "Tanh"), ("h = Gemm(x, w)\ny = Softmax(h)", "softmax")]
)
def test_julia_checks(body, match):
    proto = model(body, w=(4, 3))
    with pytest.raises(RuleError, match=match):
        reflrp.Explainer(proto, jl.EpsilonPlus(), strip=False)(draw(2, 4))
    skipping = jl.Composite(jl.EpsilonRule(), skip_checks=True)
    assert np.isfinite(reflrp.Explainer(proto, skipping, strip=False)(draw(2, 4)).relevance).all()


def test_julia_starts_with_one():
    e = reflrp.explain(build(MLP), draw(2, 4), rules="relevance_propagation_jl.ZeroRule", init=jl.start())
    assert e.conservation.seed == 2
    assert jl.start(normalize_output_relevance=False) == "output"


# ---------------------------------------------------------------- the LRP Toolbox


def windows(X, size, stride=1):
    for i in range((X.shape[1] - size[0]) // stride + 1):
        for j in range((X.shape[2] - size[1]) // stride + 1):
            yield (slice(None), slice(i * stride, i * stride + size[0]), slice(j * stride, j * stride + size[1])), i, j


def denominators(Z, b, variant, param):
    """The pairs (numerator, denominator) of one variant, for Z (N, h, w, d, n)."""
    total = Z.sum((1, 2, 3), keepdims=True) + b
    sign = np.where(total >= 0, 1.0, -1.0)
    if variant == "alphabeta":
        P, M = Z * (Z > 0), Z * (Z < 0)
        plus, minus = P.sum((1, 2, 3), keepdims=True), M.sum((1, 2, 3), keepdims=True)
        return [(param * P, plus + b * (b > 0) + 1e-16), ((1 - param) * M, minus + b * (b < 0) - 1e-16)]
    return [(Z, total + {"simple": 1e-16, "epsilon": param}[variant] * sign)]


def conv_lrp(X, W, b, R, variant, param):
    """X (N, H, W, D), W (h, w, d, n)."""
    out = np.zeros_like(X)
    for window, i, j in windows(X, W.shape[:2]):
        r = R[:, i, j][:, None, None, None, :]
        if variant in ("flat", "ww"):
            V = (W**2 if variant == "ww" else np.ones_like(W))[None]
            out[window] += (V / V.sum((1, 2, 3), keepdims=True) * r).sum(-1)
        else:
            Z = W[None] * X[window][..., None]
            out[window] += sum((Z_ / D * r).sum(-1) for Z_, D in denominators(Z, b, variant, param))
    return out


def pool_lrp(X, R, variant, param):
    out = np.zeros_like(X)
    for window, i, j in windows(X, (2, 2), 2):
        x, r = X[window], R[:, i : i + 1, j : j + 1]
        total = x.sum((1, 2), keepdims=True)
        sign = np.where(total >= 0, 1.0, -1.0)
        if variant in ("flat", "ww"):
            out[window] += np.ones_like(x) / 4 * r
        elif variant == "alphabeta":
            p, m = x * (x > 0), x * (x < 0)
            squared = r**2 if param * (1 - param) else r
            out[window] += param * p / (p.sum((1, 2), keepdims=True) + 1e-16) * r
            out[window] += (1 - param) * m / (m.sum((1, 2), keepdims=True) - 1e-16) * squared
        else:
            out[window] += x / (total + {"simple": 1e-12, "epsilon": param}[variant] * sign) * r
    return out


def toolbox(proto, x, variant, param):
    """The relevance of a chain of convolutions, rectifiers and sum pools, in the toolbox's axes (N, H, W, D)."""
    weights = {t.name: onnx.numpy_helper.to_array(t).astype(float) for t in proto.graph.initializer}
    X, way = x.transpose(0, 2, 3, 1), []
    for node in proto.graph.node:
        if node.op_type == "Conv":
            W, b = weights[node.input[1]].transpose(2, 3, 1, 0), weights[node.input[2]]
            way.append(("conv", X, W, b))
            Y = np.stack([np.tensordot(X[w], W, 3) + b for w, _, _ in windows(X, W.shape[:2])], 1)
            X = Y.reshape(len(X), X.shape[1] - W.shape[0] + 1, -1, W.shape[3])
        elif node.op_type == "Relu":
            X = np.maximum(X, 0)
        elif node.op_type == "AveragePool":
            way.append(("pool", X))
            Y = np.stack([X[w].sum((1, 2)) / 2 for w, _, _ in windows(X, (2, 2), 2)], 1)
            X = Y.reshape(len(X), X.shape[1] // 2, -1, X.shape[3])
    y = X.reshape(len(X), -1)
    R = (y * (y == y.max(1, keepdims=True))).reshape(X.shape)
    for kind, *rest in reversed(way):
        R = conv_lrp(*rest, R, variant, param) if kind == "conv" else pool_lrp(*rest, R, variant, param)
    return R.transpose(0, 3, 1, 2)


VARIANTS = [("simple", None), ("epsilon", 0.01), ("epsilon", 1.0), ("alphabeta", 2.0), ("alphabeta", 1.0),
            ("alphabeta", 0.5), ("flat", None), ("ww", None)]  # fmt: skip


@pytest.mark.parametrize(("variant", "param"), VARIANTS)
def test_toolbox_on_a_small_network(variant, param):
    """Signed values in the second pool; weights that keep denominators away from rounding."""
    body = """c = Conv(x, w1, b1)
    r = Relu(c)
    p = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(r)
    q = Mul(p, two)
    d = Conv(q, w2, b2)
    e = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(d)
    f = Mul(e, two)
    g = Conv(f, w3, b3)
    y = Flatten(g)"""
    two = np.array(2, np.float32)
    proto = model(body, inputs="float[N,2,12,12] x", two=two, w1=(4, 2, 3, 3), b1=(4,), w2=(5, 4, 2, 2), b2=(5,),
                  w3=(3, 5, 2, 2), b3=(3,))  # fmt: skip
    x = draw(3, 2, 12, 12).astype(float)
    got = reflrp.explain(proto, x, rules=lrp_toolbox.lrp(variant, param)).relevance
    want = toolbox(proto, x, variant, param)
    assert np.abs(got - want).max() <= 1e-12 * np.abs(want).max()


@pytest.mark.skipif(not LENET.exists(), reason="the toolbox's LeNet-5 is not shipped")
@pytest.mark.parametrize(("variant", "param"), VARIANTS)
def test_toolbox_on_its_lenet5(variant, param):
    proto = onnx.load(LENET / "lenet5.onnx")
    x = np.load(LENET / "digits.npz")["image"][:4].astype(float)
    got = reflrp.explain(proto, x, rules=lrp_toolbox.lrp(variant, param)).relevance
    want = toolbox(proto, x, variant, param)
    assert np.abs(got - want).max() <= 1e-12 * np.abs(want).max()


def test_toolbox_layers_by_name():
    rules = lrp_toolbox.lrp("epsilon", 0.25, {"*": ("flat", None)})
    assert {type(rule) for rule in rules.assign(graph_of(build(MLP), x=(1, 4))).values()} == {
        reflrp.rules.Flat,
        reflrp.rules.Pass,
    }
    assert lrp_toolbox.lrp("alpha_slow", 2).pairs[1][1] == lrp_toolbox.SumPool(alpha=2)


def test_toolbox_knows_chains_only():
    with pytest.raises(reflrp.UnassignedNodes, match="add"):
        reflrp.explain(build(RESNET), draw(2, 2, 6, 6), rules="lrp_toolbox.simple")


# ---------------------------------------------------------------- innsight


def test_innsight_shares_sums_and_global_pools_equally():
    body = "s = Add(x, x2)\np = GlobalAveragePool(s)\nm = GlobalMaxPool(s)\nq = Add(p, m)\ny = Flatten(q)"
    proto = model(body, inputs="float[N,1,2,2] x, float[N,1,2,2] x2")
    x = np.array([[[[1.0, 3], [3, -2]]]])
    e = reflrp.explain(proto, {"x": x, "x2": 0 * x}, rules="innsight.LRP", init=np.array([[8.0]]))
    want = np.array([[[[1.0, 5], [5, 1]]]]) / 2
    np.testing.assert_allclose(e.relevances["x"], want)
    np.testing.assert_allclose(e.relevances["x2"], want)


def test_innsight_by_type_of_layer():
    names = {"Conv2D_Layer": "alpha_beta", "BatchNorm_Layer": "pass", "Dense_Layer": "epsilon"}
    composite = innsight.LRP(names, {"Dense_Layer": 0.25}, winner_takes_all=False)
    found = composite.assign(graph_of(build(RESNET), x=(1, 2, 6, 6)))
    assert found["conv1"] == lrp_toolbox.AlphaBeta(0.5, 1e-6, 1e-6)
    assert found["bn1"] == reflrp.rules.Pass()
    assert found["pool1"] == innsight.OverWindows(1e-6)
    assert found["add"] == innsight.EqualParts()
