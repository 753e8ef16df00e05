"""zennit: on layers that normalise their own input, rules differentiate the standard deviation, too.

    pip install torch zennit==0.5.1
    python zennit_norm_layers.py

A LayerNorm's relevance goes through x - mean with the deviation held constant (Ali et al., 2022). zennit's rules take the layer's
whole gradient: the output does not change when its input is scaled, so that relevance sums to 0 but for the bias. ZPlus clips
inputs and weights before the layer, which then normalises what is left of them.
"""

from __future__ import annotations

import torch
from torch import nn
from zennit.core import Hook
from zennit.rules import Epsilon, ZPlus


def relevance(rule: Hook, layer: torch.nn.Module, x: list[float], start: list[float]) -> list[float]:
    """Return what the rule gives the layer's inputs of what its outputs have."""
    rule.register(layer.double())
    inputs = torch.tensor([[x]], dtype=torch.float64, requires_grad=True)
    given = torch.tensor([[start]], dtype=torch.float64)
    found: list[float] = torch.autograd.grad(layer(inputs), inputs, given)[0].flatten().tolist()
    return found


def run() -> dict[str, list[float]]:
    """Return the relevance of (1, 3), the second output begun with 1, epsilon 0 everywhere, and what a constant deviation gives."""
    x, start = [1.0, 3.0], [0.0, 1.0]
    return {
        "Epsilon on LayerNorm": relevance(Epsilon(1e-12), nn.LayerNorm(2, eps=0.0), x, start),
        "Epsilon on InstanceNorm1d": relevance(Epsilon(1e-12), nn.InstanceNorm1d(1, eps=0.0), x, start),
        "Epsilon on GroupNorm": relevance(Epsilon(1e-12), nn.GroupNorm(1, 1, eps=0.0), x, start),
        "centred, formula": [-0.5, 1.5],
        "Epsilon on RMSNorm": relevance(Epsilon(1e-12), nn.RMSNorm(2, eps=0.0), x, start),
        "ZPlus on RMSNorm": relevance(ZPlus(1e-12), nn.RMSNorm(2, eps=1e-9), x, start),
        "not centred, formula": [0, 1],
    }


if __name__ == "__main__":
    for name, numbers in run().items():
        print(f"{name}: {[round(n, 6) for n in numbers]}")
