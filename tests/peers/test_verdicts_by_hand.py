"""The examples of docs/verdicts.md: what the profiles say of each library by hand is what the library gives."""

import numpy as np
import pytest
import torch
from captum.attr import LRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule, IdentityRule
from lxt.explicit import functional as lf
from lxt.explicit import rules as lr
from torch import Tensor, nn
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import LayerMapComposite
from zennit.rules import AlphaBeta, Epsilon, Gamma, ReLUGuidedBackprop, ZBox

from reflrp.conformance.adapters import julia_rules as jl
from reflrp.conformance.adapters.lczerolens import lc


def row(*entries: float) -> Tensor:
    return torch.tensor([entries], dtype=torch.float64, requires_grad=True)


def dense(weights: list[float], bias: float = 0.0) -> nn.Linear:
    layer = nn.Linear(len(weights), 1).double()
    layer.weight.data[:] = torch.tensor([weights])
    layer.bias.data[:] = bias
    return layer


def by_zennit(rule: object, module: nn.Module, x: Tensor, R: Tensor) -> list[float]:
    rule.register(module)  # type: ignore[attr-defined]
    return torch.autograd.grad(module(x), x, R)[0].flatten().tolist()


def by_captum(rule: object, module: nn.Module, x: Tensor, target: int = 0) -> list[float]:
    module.rule = rule
    return LRP(nn.Sequential(module)).attribute(x, target=target).flatten().tolist()


class Pooled(nn.Module):
    """max(x) + 1, the sum passed as it is, so that the maximum's relevance is not 0 where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.shift = nn.MaxPool1d(2), dense([1], 1)
        self.shift.rule = IdentityRule()

    def forward(self, x: Tensor) -> Tensor:
        return self.shift(self.pool(x.unsqueeze(1)).squeeze(1))


def test_zennit() -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    assert by_zennit(AlphaBeta(2, 1, 0.0), nn.AvgPool1d(2), row(3, -1)[None], one[None]) == [1.5, -0.5]
    assert by_zennit(Gamma(1, 1.0), nn.AvgPool1d(2), row(3, -1)[None], one[None]) == [0.75, -0.25]
    assert by_zennit(ReLUGuidedBackprop(), nn.LeakyReLU(0.5), row(-1), one) == [0.5]
    norm = nn.BatchNorm1d(1, eps=0.0).double().eval()
    norm.running_mean[:] = 1.0  # type: ignore[index]
    assert by_zennit(AlphaBeta(2, 1, 1e-9), norm, row(2), one) == pytest.approx([4])
    layer = nn.LayerNorm(2, eps=0.0).double()
    assert by_zennit(Epsilon(0.0), layer, row(1, 3), row(0, 1).detach()) == pytest.approx([0, 0])
    assert by_zennit(Epsilon(0.0), dense([1, 1]), row(1, -1), one) == [np.inf, -np.inf]
    ZBox(low=1.0, high=0.0)


def test_zennit_keeps_epsilon() -> None:
    net = nn.Sequential(dense([2]), nn.BatchNorm1d(1, eps=3.0)).double().eval()
    x = row(1)
    assert net(x).item() == 1
    composite = LayerMapComposite([(nn.Linear, Epsilon(0.0))], canonizers=[SequentialMergeBatchNorm()])
    with composite.context(net) as changed:
        y = changed(x)
        assert y.item() == 0.5
        assert torch.autograd.grad(y, x, torch.ones_like(y))[0].item() == 0.5


def test_captum() -> None:
    assert by_captum(Alpha1_Beta0_Rule(), dense([1, 1]), row(2, -1)) == pytest.approx([2, -1])
    assert by_captum(Alpha1_Beta0_Rule(), dense([1, -1], -1), row(2, -1)) == pytest.approx([4, 0])
    assert by_captum(EpsilonRule(0.0), nn.LayerNorm(2, eps=0.0).double(), row(1, 3), 1) == pytest.approx([0, 0])
    assert np.isnan(by_captum(EpsilonRule(0.0), dense([1, 1]), row(1, -1))).all()
    assert LRP(Pooled()).attribute(row(0, -1), target=0).flatten().tolist() == [0, 0]
    assert LRP(Pooled()).attribute(row(2, -1), target=0).flatten().tolist() == pytest.approx([3, 0])
    GammaRule(gamma=-1.0)
    gamma = GammaRule(gamma=1.0)
    gamma.STABILITY_FACTOR = 1.0
    assert by_captum(gamma, nn.AvgPool1d(2), row(3, -1)[None], (0, 0)) == pytest.approx([0.75, -0.25])


def test_lxt() -> None:
    x = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    lf.softmax(x, 0).backward(torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64))
    assert x.grad is not None
    assert x.grad[0, 1].item() == pytest.approx(-0.4621, abs=1e-4)
    summed = lr.EpsilonRule(lambda x: x.sum(-1, keepdim=True), 1.0)
    with pytest.raises(RuntimeError, match="more than one element"):
        summed(row(2, -2)).backward(torch.ones(1, 1, dtype=torch.float64))
    y = row(1, -1)
    lf.linear_epsilon(y, torch.ones(1, 2, dtype=torch.float64), None, 0.0).backward(torch.ones(1, 1).double())
    assert y.grad is not None
    assert y.grad.tolist() == [[np.inf, -np.inf]]


def test_lczerolens() -> None:
    a, b = torch.ones(2, 2, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="permute"):
        lc.BilinearMatMulEpsilon()(a, b).sum().backward()
    x = torch.tensor([0.0, -torch.inf], requires_grad=True)
    lc.SoftmaxEpsilonFunction.apply(x, 0).backward(torch.tensor([1.0, 0.0]))
    assert x.grad is not None
    assert x.grad.isnan().tolist() == [False, True]
    y = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    lc.SoftmaxEpsilonFunction.apply(y, 0).backward(torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64))
    assert y.grad is not None
    assert y.grad[0, 1].item() == pytest.approx(-0.4621, abs=1e-4)


def test_the_transcription_of_relevance_propagation_jl() -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    norm = nn.BatchNorm1d(1, eps=0.0).double().eval()
    eps = {"eps": 1e-9}
    assert jl.zero_or_epsilon(jl.Layer(norm, nn.ReLU()), row(-1), one, eps).item() == 0
    assert jl.zero_or_epsilon(jl.Layer(norm), row(-1), one, eps).item() == pytest.approx(1)
    pool = jl.Layer(nn.MaxPool1d(2))
    assert jl.zero_or_epsilon(pool, row(0, -1)[None], one[None], eps).flatten().tolist() == [0, 0]
    split = jl.zero_or_epsilon(jl.Layer(dense([1, 1])), row(1, -1), one, {"eps": 0.0})
    assert split.flatten().tolist() == [np.inf, -np.inf]
    raised = jl.gamma(jl.Layer(dense([1, 1])), row(1, 1), one, {"gamma": -0.5, "eps": 0.0})
    assert raised.flatten().tolist() == [0.5, 0.5]
