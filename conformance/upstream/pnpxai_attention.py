"""pnpxai: its rule for attention gives the value's relevance to the key as well, so that self-attention doubles it.

    pip install torch zennit==0.5.1
    pip install --no-deps pnpxai==0.1.4
    python pnpxai_attention.py

The rule is that of Ali et al. (2022): attention weights are held constant, relevance goes through the values alone, and is
conserved. Here queries, keys and values are one tensor, no layer has a bias, and 1 stands at the output.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from pathlib import Path

import torch
from zennit.attribution import Gradient
from zennit.composites import EpsilonPlus


def rules() -> types.ModuleType:
    """Return pnpxai's rules for attention, without what the package imports besides."""
    spec = importlib.machinery.PathFinder.find_spec("pnpxai")
    assert spec is not None
    root = Path(next(iter(spec.submodule_search_locations or ())))
    packages = ("pnpxai", "pnpxai.explainers", "pnpxai.explainers.attentions", "pnpxai.explainers.zennit")
    before = {name: sys.modules.get(name) for name in packages}
    for name in packages:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(root.joinpath(*name.split(".")[1:]))]
    try:
        return importlib.import_module("pnpxai.explainers.attentions.rules")
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class Net(torch.nn.Module):
    """Self-attention and a dense layer on the first token; no biases."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = torch.nn.MultiheadAttention(4, 2, bias=False, batch_first=True, dtype=torch.float64)
        self.out = torch.nn.Linear(4, 2, bias=False, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute y."""
        return self.out(self.attention(x, x, x, need_weights=False)[0][:, 0])


def run() -> dict[str, list[float]]:
    """Return how much relevance arrives at the input where 1 stands at the output."""
    rule = rules().ConservativeAttentionPropagation(stabilizer=1e-9)
    composite = EpsilonPlus(epsilon=1e-9, stabilizer=1e-9, layer_map=[(torch.nn.MultiheadAttention, rule)])
    x = torch.randn(1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with Gradient(model=Net().eval(), composite=composite) as attributor:
        _, relevance = attributor(x, torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    return {"pnpxai": [float(relevance.sum())], "conserved": [1.0]}


if __name__ == "__main__":
    for name, total in run().items():
        print(f"{name}: {total[0]:.6f}")
