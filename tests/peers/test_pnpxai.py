"""reflrp against pnpxai 0.1.4, in float64: its rules for attention and LayerNorm, in its composites, on small networks.

pnpxai's packages import much that LRP has no use for, so its modules are read past their packages' __init__; its four
composites, a few lines each in `explainers/lrp.py`, are repeated here. `a + b` is its StackAndSum, which it puts there.
"""

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zennit.composites as zc
from peers.zennit_nets import exported, randomised
from torch import nn
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.rules import Epsilon
from zennit.types import Convolution

import reflrp
from reflrp.dialects import pnpxai as dp

_found = importlib.util.find_spec("pnpxai")
if _found is None or _found.submodule_search_locations is None:
    pytest.skip("pnpxai is not installed", allow_module_level=True)
_root = Path(_found.submodule_search_locations[0])


def module(name: str) -> Any:
    """A module of pnpxai, without its packages' __init__."""
    packages = ["pnpxai", *(f"pnpxai.{p}" for p in ("explainers", "explainers.attentions", "explainers.zennit"))]
    before = {k: sys.modules.get(k) for k in packages}
    for package in packages:
        stub = types.ModuleType(package)
        folder = _root.joinpath(*package.split(".")[1:])
        stub.__path__ = [str(folder)]
        stub.__spec__ = importlib.machinery.ModuleSpec(
            package, None, origin=str(folder / "__init__.py"), is_package=True
        )
        stub.__spec__.submodule_search_locations = stub.__path__  # so that who looks for the package finds it
        sys.modules[package] = stub
    try:
        return importlib.import_module(f"pnpxai.explainers.{name}")
    finally:
        sys.modules.update({k: v for k, v in before.items() if v is not None})


attention, layer = module("attentions.rules"), module("zennit.layer")


class Add(nn.Module):
    """a + b, as pnpxai's StackAndSum where a graph is traced."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = layer.StackAndSum()

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b if torch.compiler.is_exporting() else self.sum(a, b)


class Block(nn.Module):
    """A pre-norm block of a transformer."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(width, 2**-17), nn.LayerNorm(width, 2**-17)
        self.attention = nn.MultiheadAttention(width, 2, bias=bias, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 12), nn.GELU(), nn.Linear(12, width))
        self.add1, self.add2 = Add(), Add()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.n1(x)
        x = self.add1(x, self.attention(h, h, h, need_weights=False)[0])
        return self.add2(x, self.mlp(self.n2(x)))


class Vit(nn.Module):
    """Patches by two convolutions, a class token, positions, two blocks."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.patches = nn.Sequential(nn.Conv2d(3, 6, 2, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 2, 2))
        self.cls, self.place, self.add = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(10, 8)), Add()
        self.blocks = nn.Sequential(Block(8, bias), Block(8, bias))
        self.last, self.head = nn.LayerNorm(8, 2**-17), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.patches(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.cls.expand(x.shape[0], -1, -1), h], 1)
        return self.head(self.last(self.blocks(self.add(h, self.place)))[:, 0])


class Cross(nn.Module):
    """Queries of some tokens, keys of others, values of third ones."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.a, self.b, self.c = (nn.Linear(8, 8) for _ in range(3))
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.attention(self.a(x), self.b(x), self.c(x), need_weights=False)[0]
        return self.head(h[:, 0])


@dataclass(frozen=True)
class Case:
    net: nn.Module
    x: torch.Tensor
    onnx: bytes


def case(make: Callable[[], nn.Module], *shape: int) -> Case:
    torch.manual_seed(0)
    net = make().double().eval()
    net = net if isinstance(getattr(net, "net", None), nn.LSTM) else randomised(net)
    for m in net.modules():
        if isinstance(m, nn.MultiheadAttention) and m.in_proj_bias is not None:
            nn.init.normal_(m.in_proj_bias, std=0.3)
    x = torch.randn(2, *shape, dtype=torch.float64)
    return Case(net, x, exported(net, x))


@pytest.fixture(scope="module")
def vit() -> Case:
    return case(Vit, 3, 12, 12)


def transformer(stabilizer: float) -> list[Any]:
    """pnpxai's transformer_layer_map."""
    cap, norm = attention.ConservativeAttentionPropagation, attention.LayerNormRule
    return [(nn.MultiheadAttention, cap(stabilizer=stabilizer)), (nn.LayerNorm, norm(stabilizer=stabilizer))]


def theirs(name: str, epsilon: float, stabilizer: float = 1e-6) -> Any:
    """pnpxai's four composites."""
    more: Any = {"layer_map": transformer(stabilizer), "canonizers": [SequentialMergeBatchNorm()]}
    if name == "LRPUniformEpsilon":
        layers = [(nn.Linear, Epsilon(epsilon=epsilon)), (Convolution, Epsilon(epsilon=epsilon))]
        layers += [*more["layer_map"], *zc.layer_map_base(stabilizer=stabilizer)]
        return zc.LayerMapComposite(layer_map=layers, canonizers=more["canonizers"])
    if name == "LRPEpsilonGammaBox":
        return zc.EpsilonGammaBox(-3.0, 3.0, epsilon=epsilon, gamma=0.25, stabilizer=stabilizer, **more)
    make = {"LRPEpsilonPlus": zc.EpsilonPlus, "LRPEpsilonAlpha2Beta1": zc.EpsilonAlpha2Beta1}[name]
    return make(epsilon=epsilon, stabilizer=stabilizer, **more)


def by_pnpxai(case: Case, composite: Any) -> np.ndarray:
    with Gradient(model=case.net, composite=composite) as attributor:
        _, relevance = attributor(case.x.clone(), torch.eye(5, dtype=torch.float64)[[3, 1]])
    return relevance.detach().numpy()


def assert_agree(case: Case, rules: Any, composite: Any, limit: float) -> None:
    wanted = by_pnpxai(case, composite)
    e = reflrp.explain(case.onnx, case.x.numpy(), rules=rules, target=[3, 1], init="one")
    scale = np.abs(wanted).max()
    assert scale > 0
    assert np.abs(e.relevance - wanted).max() <= limit * scale


NAMES = ["LRPUniformEpsilon", "LRPEpsilonGammaBox", "LRPEpsilonPlus", "LRPEpsilonAlpha2Beta1"]


@pytest.mark.parametrize("name", NAMES)
def test_defaults(vit: Case, name: str) -> None:
    """zennit 0.5.1 leaves an emptied BatchNorm its eps, which is set to zero here before it is merged."""
    for m in vit.net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_var += m.eps
            m.eps = 0.0
    epsilon = 0.25 if name == "LRPUniformEpsilon" else 1e-6
    assert_agree(vit, getattr(dp, name)(), theirs(name, epsilon), 1e-9)
    assert_agree(vit, getattr(dp, name)(epsilon=0.1, stabilizer=0.01), theirs(name, 0.1, 0.01), 1e-9)


def test_without_biases_self_attention_doubles() -> None:
    """Table row D22: of a residual-free self-attention without biases comes twice what goes in."""

    class Self(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = (
                nn.MultiheadAttention(8, 2, bias=False, batch_first=True),
                nn.Linear(8, 5, False),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.attention(x, x, x, need_weights=False)[0][:, 0])

    this = case(Self, 4, 8)
    composite = theirs("LRPEpsilonPlus", 1e-6)
    assert_agree(this, dp.LRPEpsilonPlus(), composite, 1e-9)
    assert np.allclose(by_pnpxai(this, composite).sum((1, 2)), 2, atol=1e-3)
    single = reflrp.explain(
        this.onnx, this.x.numpy(), rules=dp.LRPEpsilonPlus(attention="conservative"), target=[3, 1], init="one"
    )
    assert np.allclose(single.relevance.sum((1, 2)), 1, atol=1e-3)


def test_the_key_of_other_tokens_gets_nothing_here() -> None:
    """pnpxai gives the value's relevance to the key, too, where these are not the same; we do not."""
    this = case(Cross, 4, 8)
    original = attention.ConservativeAttentionPropagation.backward

    def value_only(self: Any, *args: Any) -> Any:
        query, _, value = original(self, *args)
        return query, torch.zeros_like(value), value

    attention.ConservativeAttentionPropagation.backward = value_only
    try:
        composite = theirs("LRPUniformEpsilon", 0.25)
        assert_agree(this, dp.LRPUniformEpsilon(attention="conservative"), composite, 1e-9)
        assert_agree(this, dp.LRPUniformEpsilon(), composite, 1e-9)
    finally:
        attention.ConservativeAttentionPropagation.backward = original


def test_recurrent_nets_as_a_plain_gradient() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.net(x)[0][:, -1])

    this = case(Last, 3, 4)
    rules = dp.LRPUniformEpsilon(recurrent="gradient")
    assert_agree(this, rules, theirs("LRPUniformEpsilon", 0.25), 1e-9)
