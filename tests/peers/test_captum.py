"""reflrp against captum 0.9.0, in float64, where captum's rules mean the same as zennit's.

Epsilon: always. Gamma and alpha-1-beta-0: for inputs >= 0, without biases only. captum starts with the output
of the target. On a max-pool it divides by the largest value, stabilised; with an epsilon next to nothing that
gives all to the winner, as zennit does.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule
from peers import zennit_nets as nets
from torch import nn

import reflrp
from reflrp.dialects import zennit as dz

Rules = dict[type[nn.Module], Callable[[], Any]]
WINNER: Rules = {nn.MaxPool2d: lambda: EpsilonRule(epsilon=1e-30)}


class Net(nn.Module):
    """Nothing but layers that captum has rules for."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.features = nets.chain(
            nets.relu(nn.Conv2d(3, 6, 3, padding=1, bias=bias)),
            nn.MaxPool2d(2),
            nets.relu(nn.Conv2d(6, 8, 3, bias=bias)),
            nn.AvgPool2d(2),
        )
        self.classes = nn.Linear(8 * 4, 5, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classes(self.features(x).flatten(1))


@pytest.fixture(scope="module")
def biased() -> nets.Case:
    return nets.made(lambda: Net(bias=True), (3, 12, 12))


@pytest.fixture(scope="module")
def positive() -> nets.Case:
    """No biases, no negative inputs."""
    case = nets.made(lambda: Net(bias=False), (3, 12, 12))
    return nets.Case(case.net, case.x.abs(), case.target, case.onnx)


def by_captum(case: nets.Case, rules: Rules) -> np.ndarray:
    """captum's relevance. A copy of the network, since captum leaves its marks on it."""
    net = copy.deepcopy(case.net)
    for module in net.modules():
        if type(module) in rules | WINNER:
            module.rule = (rules | WINNER)[type(module)]()
    x = case.x.clone().requires_grad_()
    return LRP(net).attribute(x, target=torch.tensor(case.target)).detach().numpy()


def assert_agree(case: nets.Case, rules: Any, captum_rules: Rules) -> None:
    """Both give the same to 1e-9 of the largest relevance."""
    answer = reflrp.explain(case.onnx, case.x.numpy(), rules=rules, target=case.target, init="output", dtype="float64")
    want = by_captum(case, captum_rules)
    assert np.abs(want).max() > 0
    assert np.abs(answer.relevance - want).max() <= 1e-9 * np.abs(want).max()


@pytest.mark.parametrize("epsilon", [0.0, 1e-9, 1e-6, 0.25])
def test_epsilon(biased: nets.Case, epsilon: float) -> None:
    composite = dz.EpsilonPlus(stabilizer=epsilon, layer_map=[(dz.Linear, dz.Epsilon(epsilon))])
    layers = (nn.Conv2d, nn.Linear, nn.AvgPool2d)
    # captum's own 0 gives 0/0 on a pool of zeros
    assert_agree(biased, composite, {layer: lambda: EpsilonRule(epsilon or 1e-30) for layer in layers})


@pytest.mark.parametrize("gamma", [0.25, 2.0])
def test_gamma(positive: nets.Case, gamma: float) -> None:
    gammas = [(dz.Convolution, dz.Gamma(gamma, stabilizer=1e-9))]
    composite = dz.EpsilonPlus(epsilon=1e-9, stabilizer=1e-9, layer_map=gammas)
    assert_agree(positive, composite, {nn.Conv2d: lambda: GammaRule(gamma=gamma)})


def test_alpha1_beta0(positive: nets.Case) -> None:
    composite = dz.EpsilonPlus(epsilon=1e-9, stabilizer=1e-9)
    assert_agree(positive, composite, {nn.Conv2d: Alpha1_Beta0_Rule})
