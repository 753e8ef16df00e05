"""Composites: who matches, who is first, what is refused; and what each preset puts where."""

import numpy as np
import onnx
import pytest
from models import draw, model
from nets import RESNET, build, net

import reflrp
from reflrp import composites as c
from reflrp.dialects import captum, lrp_toolbox, zennit
from reflrp.errors import RuleError, UnassignedNodes
from reflrp.rules import Epsilon, Flat, Gamma, Gradient, Norm, Pass, WinnerTakesAll, ZPlus

GRAPH = reflrp.load(build(RESNET)).graph({"x": (1, 2, 6, 6)})
INCEPTION = reflrp.load(net("inception")[0]).graph({"x": (1, 2, 5, 5)})


def matched(matcher, graph=GRAPH):
    survey = c.Survey(graph)
    return [node.name for node in graph.nodes if matcher(node, survey)]


@pytest.mark.parametrize(
    ("matcher", "names"),
    [
        (c.kind("conv"), "conv1 conv2 conv3"),
        (c.kind("dense", "sum"), "add fc"),
        (c.op_type("BatchNormalization", "Relu"), "bn1 relu1 relu2 relu3"),
        (c.name("conv?"), "conv1 conv2 conv3"),
        (c.name("r1"), "relu1"),  # the output's name
        (c.first(), "conv1"),
        (c.last(), "fc"),
        (c.last("conv"), "conv3"),
        (c.first("pointwise"), "relu1"),
        (c.depth(1, 1), "conv1 bn1 relu1 pool1"),
        (c.depth(2, 2) & c.kind("conv"), "conv2"),
        (c.depth(3, 9), "conv3 add relu3 gap flatten fc"),
        (c.kind("conv") & ~c.first(), "conv2 conv3"),
        (c.first() | c.last(), "conv1 fc"),
        (~c.kind("conv", "pointwise", "routing"), "bn1 pool1 add gap fc"),
        (c.anything() & c.kind("pool"), "gap"),
    ],
)
def test_matchers(matcher, names):
    assert matched(matcher) == names.split()


def test_first_is_first_in_the_graph():
    """Two branches have two first layers; a layer behind one of them is none, in whatever order they are listed."""
    assert matched(c.first(), INCEPTION) == ["left", "right"]
    assert matched(c.last(), INCEPTION) == ["fc"]
    assert matched(c.depth(1, 1) & c.kind("conv"), INCEPTION) == ["left", "right"]


def test_unknown_kind():
    with pytest.raises(RuleError, match="kind 'linear' is unknown; there is dense, conv"):
        c.kind("linear")


def test_first_match_wins():
    composite = c.Composite(((c.name("conv2"), Flat()), (c.kind("conv"), ZPlus()), (c.anything(), Gradient())))
    rules = composite.assign(GRAPH)
    assert [type(rules[f"conv{i}"]) for i in (1, 2, 3)] == [ZPlus, Flat, ZPlus]


def test_nodes_without_a_rule_are_all_named():
    with pytest.raises(UnassignedNodes) as error:
        c.Composite(((c.kind("conv", "dense", "pointwise"), Gradient()),), "mine").assign(GRAPH)
    assert str(error.value) == (
        "4 of 12 nodes have no rule in 'mine': 'bn1' (diagonal, onnx BatchNormalization), "
        "'pool1' (max, onnx MaxPool), 'add' (sum, onnx Add), 'gap' (pool, onnx GlobalAveragePool). "
        "Add pairs for kind('diagonal'), kind('max'), kind('sum'), kind('pool')."
    )


def test_rules_on_nodes_they_cannot_serve():
    with pytest.raises(RuleError) as error:
        c.Composite(((c.name("*1"), WinnerTakesAll()), (c.anything(), Gradient()))).assign(GRAPH)
    for text in ("'conv1' (onnx Conv) is of kind conv, but WinnerTakesAll serves max", "'relu1' (onnx Relu) is of"):
        assert text in str(error.value)
    assert "pool1" not in str(error.value)


def test_pass_needs_equal_shapes():
    with pytest.raises(RuleError) as error:
        c.Composite(((c.kind("conv", "max"), Pass()), (c.anything(), Gradient()))).assign(GRAPH)
    assert str(error.value) == (
        "Pass needs nodes whose output is shaped like their one input, unlike "
        "'conv1' (conv, onnx Conv), 'pool1' (max, onnx MaxPool)"
    )  # conv2 and conv3 make 4 channels of 4


def test_no_rules():
    with pytest.raises(RuleError, match=r"is no rule; use one of reflrp\.rules, with its brackets"):
        c.Composite(((c.anything(), Epsilon),))


# ---------------------------------------------------------------- what `rules=` takes


def test_a_bare_rule_stands_on_every_layer():
    rules = c.resolve(Gamma()).assign(GRAPH)
    assert all(rules[name] == Gamma() for name in ("conv1", "conv2", "conv3", "fc"))
    assert (rules["add"], rules["gap"], rules["relu1"], rules["pool1"]) == (Norm(), Norm(), Pass(), WinnerTakesAll())


def test_a_dict_of_patterns():
    rules = c.resolve({"conv1": Flat(), "conv*": ZPlus(), "fc": Epsilon()}).assign(GRAPH)
    assert (rules["conv1"], rules["conv3"], rules["fc"], rules["add"]) == (Flat(), ZPlus(), Epsilon(), Norm())
    with pytest.raises(UnassignedNodes, match="'fc'"):
        c.resolve({"conv*": ZPlus()}).assign(GRAPH)


TYPO = {"conv11": Flat(), "*": Epsilon()}


@pytest.mark.parametrize(
    "rules",
    [
        TYPO,
        c.Composite(((c.name("conv11") & c.kind("conv"), Flat()), *c.preset("epsilon").pairs)),
        c.Composite(((~c.name("conv11"), Flat()), *c.preset("epsilon").pairs)),
        lrp_toolbox.lrp(layers={"conv11": ("flat", 1)}),
        zennit.NameMapComposite([(["conv11"], zennit.Flat())]),
        captum.LRP({"conv11": captum.EpsilonRule()}),
    ],
)
def test_a_name_of_nothing_suggests_the_nearest(rules):
    with pytest.raises(RuleError, match=r"no node is named 'conv11'; did you mean 'conv1' or"):
        c.resolve(rules).assign(GRAPH)


def test_a_name_of_nothing_is_refused_wherever_rules_are_taken(tmp_path):
    proto, x = build(RESNET), np.ones((3, 2, 6, 6), np.float32)
    for use in (
        lambda: reflrp.explain(proto, x, TYPO),
        lambda: reflrp.load(proto).summary(TYPO),
        lambda: reflrp.compile(proto, rules=TYPO),
        lambda: reflrp.compare(proto, x, a=TYPO, b="epsilon"),
        lambda: reflrp.Explainer(proto, TYPO).map(x, out=tmp_path / "r.zarr", batch_size=2),
    ):
        with pytest.raises(RuleError, match="'conv11'; did you mean"):
            use()


@pytest.mark.parametrize("rules", [{"nosuch*": Flat()}, {"flatten": Flat()}, {"unread": Flat()}])
def test_names_that_take_no_rule_are_a_note(rules):
    proto, x = build(RESNET), np.ones((1, 2, 6, 6), np.float32)
    proto.graph.node.append(onnx.helper.make_node("Relu", ["x"], ["unread"], "aside"))
    (name,) = rules
    e = reflrp.explain(proto, x, rules | {"*": Epsilon()})
    assert f"no node that takes a rule is named {name!r}" in e.notes
    assert not any("named" in note for note in reflrp.explain(proto, x, {"bn1": Flat(), "*": Epsilon()}).notes), (
        "folded"
    )


def test_names_with_brackets_are_names():
    """A name is itself before it is a pattern: exporters number the turns of a loop in brackets."""
    proto, x = build(RESNET), np.ones((1, 2, 6, 6), np.float32)
    for node in proto.graph.node:
        node.name = "while[3]/conv1" if node.name == "conv1" else node.name
    alpha = captum.Alpha1_Beta0_Rule()
    for rules in ({"while[3]/conv1": Flat(), "*": Epsilon()}, captum.LRP({"while[3]/conv1": alpha}, functions=["add"])):
        assert reflrp.Explainer(proto, rules)(x).rules["while[3]/conv1"] in (Flat(), alpha)
    e = reflrp.explain(proto, x, "epsilon", layers="while[3]/conv1", conditions={"while[3]/conv1": [0]})
    assert len(e.layers) == 1


def test_names_of_what_another_output_needs_are_names():
    """Names that import makes, as `q:reciprocal`, of a node that this output does not read."""
    proto = model("h = MatMul(x, w) y = Relu(h) q = Div(y, h)", w=(4, 3))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("q", onnx.TensorProto.FLOAT, ["N", 3]))
    e = reflrp.explain(proto, np.ones((2, 4), np.float32), {"q:reciprocal": Pass(), "*": Epsilon()}, output="y")
    assert "no node that takes a rule is named 'q:reciprocal'" in e.notes
    with pytest.raises(RuleError, match="did you mean 'q:reciprocal'"):
        reflrp.explain(proto, np.ones((2, 4), np.float32), {"q:reciprocol": Pass(), "*": Epsilon()}, output="y")


def test_names_in_branches_are_names():
    """The branch that is not taken has its names, too."""
    then, other = (
        "then_branch = t () => (float[N,3] p) { p = MatMul(x, v) }",
        "else_branch = e () => (float[N,3] q) { q = MatMul(x, w) }",
    )
    proto = model(
        f"s = ReduceSum<keepdims=0>(x) c = Greater(s, z) y = If (c) <{then}, {other}>",
        w=(4, 3),
        v=(4, 3),
        z=np.float32(0),
    )
    proto.graph.node[2].name = "if"
    e = reflrp.explain(proto, np.ones((1, 4), np.float32), {"if/p": Flat(), "if/q": Gamma(), "*": Epsilon()})
    assert "no node that takes a rule is named 'if/q'" in e.notes


def test_a_composite_is_itself():
    composite = c.preset("epsilon")
    assert c.resolve(composite) is composite


@pytest.mark.parametrize("rules", [3, None, Epsilon])
def test_what_is_none_of_these(rules):
    with pytest.raises(RuleError, match="is no preset name, Rule, Composite or dict"):
        c.resolve(rules)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("epsilon_pluss", "did you mean 'epsilon_plus'?"),
        ("EpsilonGammaBox", "did you mean 'epsilon_gamma_box'?"),
        ("?", "there is attnlrp, auto, beta_smooth"),
        ("zenit.EpsilonPlus", "dialect 'zenit' is unknown"),
    ],
)
def test_unknown_presets(name, hint):
    with pytest.raises(RuleError) as error:
        c.preset(name)
    assert hint in str(error.value)


def test_names_are_forgiving():
    assert c.preset("Epsilon-Plus Flat") == c.preset("epsilon_plus_flat")


def test_register(monkeypatch):
    monkeypatch.setattr(c.REGISTRY, "presets", dict(c.REGISTRY.presets))

    @c.register("mine")
    def mine(gamma=0.5):
        return c.uniform(Gamma(gamma))

    assert "mine" in c.presets()
    assert c.resolve("mine") == mine()
    assert c.preset("mine", gamma=1).assign(GRAPH)["fc"] == Gamma(1)


# ---------------------------------------------------------------- presets

LAYERS = ("conv1", "conv2", "conv3", "fc")


PRESETS = [
    ("epsilon", "Epsilon(epsilon=1e-06)", "Epsilon(epsilon=1e-06)", "Epsilon(epsilon=1e-06)"),
    ("lrp_0", "Epsilon(epsilon=0)", "Epsilon(epsilon=0)", "Epsilon(epsilon=0)"),
    ("epsilon_plus", "ZPlus()", "ZPlus()", "Epsilon(epsilon=1e-06)"),
    ("epsilon_plus_flat", "Flat()", "ZPlus()", "Epsilon(epsilon=1e-06)"),
    ("epsilon_alpha2_beta1", "AlphaBeta(2, 1)", "AlphaBeta(2, 1)", "Epsilon(epsilon=1e-06)"),
    ("epsilon_alpha2_beta1_flat", "Flat()", "AlphaBeta(2, 1)", "Epsilon(epsilon=1e-06)"),
    ("epsilon_gamma_box", "ZBox(-3, 3)", "Gamma(0.25, generalized=True)", "Epsilon(epsilon=1e-06)"),
    ("excitation_backprop", "ZPlus()", "ZPlus()", "ZPlus()"),
    ("sequential_a", "AlphaBeta(1, 0)", "AlphaBeta(1, 0)", "Epsilon(epsilon=0.1)"),
    ("sequential_b", "AlphaBeta(2, 1)", "AlphaBeta(2, 1)", "Epsilon(epsilon=0.1)"),
    ("sequential_a_flat", "Flat()", "AlphaBeta(1, 0)", "Epsilon(epsilon=0.1)"),
    ("sequential_b_flat", "Flat()", "AlphaBeta(2, 1)", "Epsilon(epsilon=0.1)"),
    ("gradient", "Gradient()", "Gradient()", "Gradient()"),
    ("guided_backprop", "Gradient()", "Gradient()", "Gradient()"),
    ("deconvnet", "Gradient()", "Gradient()", "Gradient()"),
    ("beta_smooth", "Gradient()", "Gradient()", "Gradient()"),
    ("until_index", "Flat()", "AlphaBeta(2, 1)", "Epsilon(epsilon=0.1)"),
    ("auto", "Flat(1e-06)", "ZPlus(stabilizer=1e-06)", "Epsilon(epsilon=1e-06)"),
    ("attnlrp", "Epsilon(epsilon=1e-06)", "Epsilon(epsilon=1e-06)", "Epsilon(epsilon=1e-06)"),
    ("cp_lrp", "Epsilon(epsilon=1e-06)", "Epsilon(epsilon=1e-06)", "Epsilon(epsilon=1e-06)"),
    ("gamma_attnlrp", "Gamma(0.25, generalized=True)", "Gamma(0.25, generalized=True)", "Epsilon(epsilon=1e-06)"),
    ("lstm", "Epsilon(epsilon=0.001)", "Epsilon(epsilon=0.001)", "Epsilon(epsilon=0.001)"),
]


def test_every_preset_is_below():
    assert sorted(row[0] for row in PRESETS) == list(c.presets())


@pytest.mark.parametrize(("name", "conv1", "conv", "fc"), PRESETS)
def test_presets_on_a_residual_network(name, conv1, conv, fc):
    rules = c.preset(name).assign(GRAPH)
    found = [rules[layer] for layer in LAYERS]
    assert found == [eval(rule, vars(reflrp.rules)) for rule in (conv1, conv, conv, fc)]


ACTIVATIONS = {
    "excitation_backprop": "Gradient",
    "gradient": "Gradient",
    "guided_backprop": "GuidedBackprop",
    "deconvnet": "DeconvNet",
    "beta_smooth": "BetaSmooth",
}


@pytest.mark.parametrize("name", c.presets())
def test_what_presets_put_elsewhere(name):
    rules = c.preset(name).assign(GRAPH)
    assert type(rules["relu2"]).__name__ == ACTIVATIONS.get(name, "Pass")
    gradient_like = name in ACTIVATIONS and name != "excitation_backprop"
    others = [type(rules[node]).__name__ for node in ("bn1", "pool1", "add", "gap")]
    assert others == (["Gradient"] * 4 if gradient_like else ["Pass", "WinnerTakesAll", "Norm", "Norm"])
    assert c.preset(name).canonize == (() if gradient_like else ("fold_batchnorm",))
    assert "flatten" not in rules


def test_until_index():
    rules = c.preset("until_index", index=2, rule=Gradient(), base="epsilon_plus").assign(GRAPH)
    assert [type(rules[layer]) for layer in LAYERS] == [Gradient, Gradient, ZPlus, Epsilon]


# ---------------------------------------------------------------- what presets are equal to


@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_lrp_0_is_input_times_gradient(name):
    """On a network of ReLUs, with biases too: where no z is 0, each ratio z / z cancels."""
    model, x = net(name, seed=3)
    rng = np.random.default_rng(0)
    x = x + rng.uniform(0.01, 0.1, x.shape)  # off the lattice: no z is 0
    lrp = reflrp.explain(model, x, "lrp_0", init="output")
    gradient = reflrp.explain(model, x, "gradient", init="one")
    assert lrp.target == gradient.target
    wanted = x * gradient.relevance
    assert np.abs(lrp.relevance - wanted).max() < 1e-12 * np.abs(wanted).max()


def test_gradient_is_the_derivative():
    """Against finite differences."""
    model, x = net("mlp")
    x = x + 0.01
    e = reflrp.explain(model, x, "gradient", target=1, init="one")
    m, h = reflrp.load(model), 2.0**-20
    for i in range(4):
        up, down = (m.run(x + s * h * np.eye(4)[i])["y"][:, 1] for s in (1, -1))
        assert np.allclose(e.relevance[:, i], (up - down) / (2 * h), atol=1e-9)


@pytest.mark.parametrize("name", ["guided_backprop", "deconvnet", "beta_smooth"])
@pytest.mark.parametrize(
    ("body", "rectifies"),
    [
        ("r = Max(h, zero)", True),
        ("r = Clip(h, zero)", True),
        ("r = Clip(h, zero, six)", True),
        ("r = LeakyRelu<alpha = 0.0>(h)", True),
        ("r = ThresholdedRelu<alpha = 0.0>(h)", True),
        ("r = Clip(h, minus, six)", False),
        ("r = ThresholdedRelu<alpha = 0.1>(h)", False),
        ("r = LeakyRelu<alpha = 0.1>(h)", False),
    ],
)
def test_rectifiers_by_what_they_compute(name, body, rectifies):
    numbers = {k: np.float32(v) for k, v in {"zero": 0, "six": 6, "minus": -1}.items() if k in body}
    w, v, x = draw(4, 5, seed=1), draw(5, 3, seed=2), draw(6, 4)
    own, relu, plain = (
        reflrp.explain(
            model(f"h = MatMul(x, w) {line} y = MatMul(r, v)", w=w, v=v, **extra), x, rules, target=0, init="one"
        )
        for line, extra, rules in ((body, numbers, name), ("r = Relu(h)", {}, name), (body, numbers, "gradient"))
    )
    assert np.array_equal(own.relevance, (relu if rectifies else plain).relevance)
