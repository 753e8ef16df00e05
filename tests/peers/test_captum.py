"""reflrp's dialect of captum against captum 0.9.0, in float64. Limit: 1e-9 of the largest relevance."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LRP, LayerLRP
from captum.attr._utils import lrp_rules
from peers import captum_nets, zennit_nets
from torch import nn

import reflrp
from reflrp.dialects import captum as dialect

Make = Callable[[Any], Any]
NETS = captum_nets.NETS | captum_nets.RULED_NETS
LAYERS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear,
)  # fmt: skip
OTHERS = (nn.BatchNorm1d, nn.AvgPool1d, nn.AvgPool3d)
RULES: dict[str, Make] = {
    "EpsilonRule": lambda lib: lib.EpsilonRule(),
    "EpsilonRule(0.25)": lambda lib: lib.EpsilonRule(epsilon=0.25),
    "GammaRule": lambda lib: lib.GammaRule(),
    "GammaRule(2)": lambda lib: lib.GammaRule(gamma=2.0, set_bias_to_zero=True),
    "Alpha1_Beta0_Rule": lambda lib: lib.Alpha1_Beta0_Rule(),
    "Alpha1_Beta0_Rule(True)": lambda lib: lib.Alpha1_Beta0_Rule(set_bias_to_zero=True),
}
# What the networks do by functions.
FUNCTIONS = {"functional": (nn.ReLU, nn.MaxPool2d, nn.AvgPool2d), "plus": (dialect.modules.Addition_Module,)}
# Functions behind changed layers: captum computes them at other values than the network's.
AT_OTHER_VALUES = {"functional", "functions", "shared_relu_output", "stacked"}


@cache
def case(name: str) -> zennit_nets.Case:
    return zennit_nets.made(*NETS[name], optimize=False)


def by_captum(case: zennit_nets.Case, rules: dict[Any, Make]) -> np.ndarray:
    """captum's relevance, of a copy of the network, since captum leaves its marks on it."""
    return attributed(case, rules)[0]


def attributed(case: zennit_nets.Case, rules: dict[Any, Make]) -> tuple[np.ndarray, np.ndarray]:
    net = copy.deepcopy(case.net)
    for name, module in net.named_modules():
        for key in (name, type(module)):
            if key in rules:
                module.rule = rules[key](lrp_rules)
    x = case.x.clone().requires_grad_()
    target = torch.tensor(case.target)
    relevance, delta = LRP(net).attribute(x, target=target, return_convergence_delta=True)
    return relevance.detach().numpy(), delta.detach().numpy()


def by_reflrp(case: zennit_nets.Case, rules: dict[Any, Make], **options: Any) -> reflrp.Explanation:
    composite = dialect.LRP({key: make(dialect) for key, make in rules.items()}, **options)
    return reflrp.Explainer(case.onnx, composite, strip=False)(case.x.numpy(), target=case.target)


def assert_close(got: np.ndarray, want: np.ndarray) -> None:
    assert np.isfinite(want).all()
    assert np.abs(want).max() > 0
    assert np.abs(got - want).max() <= 1e-9 * np.abs(want).max()


def assert_agree(name: str, rules: dict[Any, Make]) -> None:
    answer = by_reflrp(case(name), rules, functions=FUNCTIONS.get(name, ()))
    assert_close(answer.relevance, by_captum(case(name), rules))


@pytest.mark.parametrize("name", captum_nets.NETS)
def test_default_rules(name: str) -> None:
    assert_agree(name, {})


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", NETS)
def test_rules(name: str, rule: str) -> None:
    rules = dict.fromkeys(LAYERS, RULES[rule]) | dict.fromkeys(OTHERS, RULES["EpsilonRule(0.25)"])
    if name in AT_OTHER_VALUES and "Epsilon" not in rule:
        with pytest.raises(reflrp.RuleError, match="not at the network's own values"):
            by_reflrp(case(name), rules, functions=FUNCTIONS.get(name, ()))
    else:
        assert_agree(name, rules)


IDENTITIES: list[tuple[str, dict[Any, Make]]] = [
    ("norm_after", {nn.BatchNorm2d: lambda lib: lib.IdentityRule()}),
    ("norm_before", {nn.BatchNorm2d: lambda lib: lib.IdentityRule()}),
    ("norm_before", {"w": lambda lib: lib.IdentityRule(0.25), nn.Conv2d: RULES["GammaRule"]}),
    ("residual", {"b": lambda lib: lib.IdentityRule(), "d": lambda lib: lib.IdentityRule(0.5)}),
    ("residual", {"add1": lambda lib: lib.IdentityRule(), nn.Conv2d: RULES["Alpha1_Beta0_Rule"]}),
    ("plus", {"a": lambda lib: lib.IdentityRule()}),
    ("plus", {"skip": lambda lib: lib.IdentityRule(0.5)}),
    ("preactivated", {"a": lambda lib: lib.IdentityRule(), "add2": lambda lib: lib.IdentityRule()}),
    ("inception", {"v": lambda lib: lib.IdentityRule(), "m": lambda lib: lib.IdentityRule(0.5)}),
    ("twice", {"a": lambda lib: lib.IdentityRule(), "add2": lambda lib: lib.IdentityRule()}),
    ("twice", {"b": lambda lib: lib.IdentityRule(0.125)}),
    ("twice", {"add3": lambda lib: lib.IdentityRule(0.125)}),
    # no effect, to captum
    ("vgg", {nn.ReLU: RULES["EpsilonRule(0.25)"]}),
    ("vgg", {nn.MaxPool2d: RULES["EpsilonRule(0.25)"], nn.AvgPool2d: RULES["GammaRule"]}),
    (
        "residual",
        {"add1": RULES["EpsilonRule(0.25)"], "add2": RULES["Alpha1_Beta0_Rule"], "g": RULES["EpsilonRule(0.25)"]},
    ),
    ("norm_after", {nn.BatchNorm2d: RULES["EpsilonRule(0.25)"]}),
    ("vgg", {"a": RULES["GammaRule"], "b": RULES["Alpha1_Beta0_Rule"], "fc": RULES["EpsilonRule(0.25)"]}),
]


@pytest.mark.parametrize(("name", "rules"), IDENTITIES)
def test_single_modules(name: str, rules: dict[Any, Make]) -> None:
    assert_agree(name, rules)


@pytest.mark.parametrize("name", captum_nets.RULED_NETS)
def test_layers_without_a_rule_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match="no rule defined"):
        by_captum(case(name), {})
    with pytest.raises(reflrp.RuleError, match="no default rule"):
        by_reflrp(case(name), {})


@pytest.mark.parametrize("rule", ["GammaRule", "Alpha1_Beta0_Rule"])
def test_batchnorm_with_changed_weights_is_refused(rule: str) -> None:
    """captum says itself that this does not work; an ONNX file does not keep what it would need."""
    with pytest.raises(reflrp.RuleError, match="serves"):
        by_reflrp(case("norm_after"), {nn.BatchNorm2d: RULES[rule]})


def test_convergence_delta() -> None:
    e = by_reflrp(case("vgg"), {nn.Conv2d: RULES["GammaRule"]})
    _, want = attributed(case("vgg"), {nn.Conv2d: RULES["GammaRule"]})
    assert_close(dialect.convergence_delta(e), want)


def test_modules_used_twice() -> None:
    """captum raises, the dialect explains."""
    net = captum_nets.Net(lambda n, x: n.a(n.p(n.a(x))), a=nn.Linear(5, 5), p=nn.ReLU())
    twice = zennit_nets.made(lambda: net, (5,))
    with pytest.raises(RuntimeError, match="more than once"):
        by_captum(twice, {})
    assert by_reflrp(twice, {}).conservation.worst < 1e-9


@pytest.mark.parametrize("to_input", [False, True])
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("vgg", "b"),
        ("vgg", "pool"),
        ("vgg", ["a", "fc"]),
        ("residual", "add1"),
        ("residual", "add2"),
        ("inception", "c"),
    ],
)
def test_layers(name: str, layer: Any, to_input: bool) -> None:
    net = copy.deepcopy(case(name).net)
    modules = dict(net.named_modules())
    chosen = [modules[k] for k in layer] if isinstance(layer, list) else modules[layer]
    want, delta = LayerLRP(net, chosen).attribute(
        case(name).x.clone().requires_grad_(),
        torch.tensor(case(name).target),
        attribute_to_layer_input=to_input,
        return_convergence_delta=True,
    )
    got, own = dialect.LayerLRP(case(name).onnx, layer).attribute(
        case(name).x.numpy(), case(name).target, return_convergence_delta=True, attribute_to_layer_input=to_input
    )
    for one, two in zip(flat(got), flat(want), strict=True):
        assert_close(np.asarray(one), two.detach().numpy())
    for one, two in zip(flat(own), flat(delta), strict=True):
        assert np.abs(one - two.detach().numpy()).max() <= 1e-9


def flat(value: Any) -> list[Any]:
    return [x for v in value for x in flat(v)] if isinstance(value, list | tuple) else [value]


def test_an_inner_value_that_captum_does_not_keep() -> None:
    """Of two layers that read one value, the first has it."""
    x = case("residual").x.numpy()
    lrp = dialect.LayerLRP(case("residual").onnx, "skip")
    assert lrp.attribute(x).shape == (3, 6, 6, 6)
    with pytest.raises(reflrp.RuleError, match="captum keeps no relevance"):
        lrp.attribute(x, attribute_to_layer_input=True)
    with pytest.raises(reflrp.InputError, match="layers with rules"):
        dialect.LayerLRP(case("residual").onnx, "none").attribute(x)


def test_a_bare_rule_stands_on_convolutions_and_dense_layers() -> None:
    x, target = case("vgg").x.numpy(), case("vgg").target
    e = reflrp.explain(case("vgg").onnx, x, rules="captum.GammaRule", target=target)
    assert_close(e.relevance, by_captum(case("vgg"), dict.fromkeys(LAYERS, RULES["GammaRule"])))


def test_a_living_network() -> None:
    net = copy.deepcopy(case("vgg").net)
    net.a.rule, net.b.rule, net.mean.rule = (
        lrp_rules.GammaRule(0.5),
        lrp_rules.Alpha1_Beta0_Rule(),
        lrp_rules.EpsilonRule(0.5),
    )
    composite = dialect.composite(net)
    want = LRP(net).attribute(case("vgg").x.clone().requires_grad_(), target=torch.tensor(case("vgg").target))
    got = reflrp.explain(case("vgg").onnx, case("vgg").x.numpy(), rules=composite, target=case("vgg").target)
    assert_close(got.relevance, want.detach().numpy())


def assert_lives(name: str, rules: dict[Any, Make]) -> None:
    """captum on a living network, and what is read from it and its file; captum deletes its rules."""
    net = copy.deepcopy(case(name).net)
    for key, module in net.named_modules():
        for at in (key, type(module)):
            if at in rules:
                module.rule = rules[at](lrp_rules)
    composite = dialect.composite(net, case(name).onnx)
    got = reflrp.Explainer(case(name).onnx, composite, strip=False)(case(name).x.numpy(), target=case(name).target)
    assert_close(got.relevance, by_captum(case(name), rules))


@pytest.mark.parametrize("name", captum_nets.NETS)
def test_living_networks_without_rules(name: str) -> None:
    """What is a function, the file says: nothing needs to be told."""
    assert_lives(name, {})


@pytest.mark.parametrize("rule", ["GammaRule(2)", "Alpha1_Beta0_Rule"])
@pytest.mark.parametrize("name", [name for name in NETS if name not in AT_OTHER_VALUES])
def test_living_networks(name: str, rule: str) -> None:
    assert_lives(name, dict.fromkeys(LAYERS, RULES[rule]) | dict.fromkeys(OTHERS, RULES["EpsilonRule(0.25)"]))


@pytest.mark.parametrize(("name", "rules"), IDENTITIES)
def test_living_networks_with_single_rules(name: str, rules: dict[Any, Make]) -> None:
    assert_lives(name, rules)


@pytest.mark.parametrize("name", captum_nets.RULED_NETS)
def test_living_networks_that_captum_refuses(name: str) -> None:
    with pytest.raises(reflrp.RuleError, match="captum has no default rule for"):
        dialect.composite(case(name).net, case(name).onnx)


def test_a_subclass_is_another_layer_to_captum() -> None:
    class Own(nn.Linear):
        pass

    made = zennit_nets.made(lambda: nn.Sequential(Own(4, 6), nn.ReLU(), nn.Linear(6, 5)), (4,), optimize=False)
    with pytest.raises(reflrp.RuleError, match=r"no default rule for '0' \(Own\)"):
        dialect.composite(made.net, made.onnx)
    with pytest.raises(reflrp.RuleError, match="its weights are others"):
        dialect.composite(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5)).double(), made.onnx)
