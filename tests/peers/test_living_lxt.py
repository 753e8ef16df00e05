"""Composites of lxt.explicit itself, read by reflrp.dialects.lxt.composite, against LXT. Limit: 1e-9 of the largest relevance."""

import copy
import importlib
import importlib.util
import operator
import sys
from functools import cache
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from peers import zennit_nets as nets
from torch import fx, nn

import reflrp
from reflrp.dialects.lxt import composite as read

if importlib.util.find_spec("lxt") is None:
    pytest.skip("LXT is not installed", allow_module_level=True)

import lxt.explicit.functional as lf
import lxt.explicit.modules as lm
import lxt.explicit.rules as lr


class Tracer(fx.Tracer):
    """In place of transformers' tracer, which LXT imports: torch's own."""

    def trace(self, root: Any, concrete_args: Any = None, dummy_inputs: Any = None) -> fx.Graph:
        return super().trace(root)

    def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
        return isinstance(m, lr.WrapModule) or super().is_leaf_module(m, qualified_name)


def _core() -> Any:
    """lxt.explicit.core, which imports transformers and tabulate."""
    tracing, tables = ModuleType("transformers.utils.fx"), ModuleType("tabulate")
    vars(tracing).update(HFTracer=Tracer, get_concrete_args=lambda model, names: {})
    vars(tables).update(tabulate=str)
    stubs = {"transformers": ModuleType("transformers"), "transformers.utils": ModuleType("transformers.utils")}
    with patch.dict(sys.modules, {**stubs, "transformers.utils.fx": tracing, "tabulate": tables}):
        return importlib.import_module("lxt.explicit.core")


core = _core()


class Mixer(nn.Module):
    """Layers, a norm, sums and products by functions, a constant, an activation that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.gate = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(6, 8, bias=False)
        self.act, self.norm, self.head = nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.act(self.fc1(x))
        h = h + self.fc2(self.norm(h))
        return self.head(self.act(h) * self.gate(x))


class Scaled(nn.Module):
    """Functions with constants: a sum, a product, and a quotient, which no map here holds; a product of two values, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.act, self.head = nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)
        self.shift = nn.Parameter(torch.randn(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.act(self.fc(x) + self.shift)
        return self.head((self.act(h / 3.0) * self.shift).relu() * h)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(6, 8)
        self.softmax, self.head = nn.Softmax(-1), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = self.softmax(torch.matmul(self.q(x), self.k(x).transpose(1, 2)))
        return self.head((torch.matmul(p, self.v(x)) + self.v(x)).flatten(1))


@cache
def case(name: str) -> nets.Case:
    return nets.made(
        *{"mixer": (Mixer, (6,)), "attention": (Attention, (4, 6)), "scaled": (Scaled, (6,))}[name], optimize=False
    )


REPLACED = {
    nn.Linear: lm.LinearEpsilon, nn.LayerNorm: lm.LayerNormEpsilon, nn.GELU: lr.IdentityRule, nn.Softmax: lm.SoftmaxDT,
}  # fmt: skip
WRAPPED = {
    nn.Linear: lr.EpsilonRule, nn.LayerNorm: lr.IdentityRule, nn.GELU: lr.EpsilonRule, nn.Softmax: lr.StopRelevanceRule,
}  # fmt: skip
FUNCTIONS = {operator.add: lf.add2, operator.mul: lf.mul2, torch.matmul: lf.matmul}
MAPS = {
    "replaced": REPLACED,
    "wrapped": WRAPPED,
    "functions": FUNCTIONS,
    "some": {nn.GELU: lr.IdentityRule, nn.Module: lr.EpsilonRule},
    "replaced, functions": REPLACED | FUNCTIONS,
    "wrapped, functions": WRAPPED | FUNCTIONS,
}


@pytest.mark.parametrize("title", MAPS)
@pytest.mark.parametrize("net", ["mixer", "attention", "scaled"])
def test_composites(net: str, title: str) -> None:
    known, layer_map = case(net), MAPS[title]
    functions = any(not isinstance(key, type) for key in layer_map)
    registered = core.Composite(layer_map).register(
        copy.deepcopy(known.net), dummy_inputs={"x": known.x} if functions else None
    )
    x = known.x.clone().requires_grad_()
    registered(x).backward(torch.tensor(np.eye(5)[known.target]))
    assert x.grad is not None
    want = x.grad.numpy()
    ours = read(core.Composite(layer_map), known.onnx, known.net, functions=functions)
    got = reflrp.explain(known.onnx, known.x.numpy(), rules=ours, target=known.target, init="one", strip=False)
    assert np.abs(want).max() > 0
    assert np.abs(got.relevance - want).max() <= 1e-9 * np.abs(want).max()


def test_what_has_no_equivalent() -> None:
    known = case("mixer")
    for layer_map, why in (
        ({nn.Linear: lr.TaylorDecompositionRule}, "TaylorDecompositionRule, which has no equivalent"),
        ({nn.GELU: lm.LinearEpsilon}, "stands for nn.Linear only"),
        (FUNCTIONS, "say by functions=True"),
        ({"head": lr.EpsilonRule}, "for which LXT itself fails"),
    ):
        with pytest.raises(reflrp.RuleError, match=why):
            read(core.Composite(layer_map), known.onnx, known.net)
    composite = core.Composite({nn.Linear: lm.LinearEpsilon})
    composite.register(copy.deepcopy(known.net))
    with pytest.raises(reflrp.RuleError, match=r"obj.remove\(\) first"):
        read(composite, known.onnx, known.net)
