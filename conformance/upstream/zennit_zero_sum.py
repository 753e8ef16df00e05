"""zennit: with epsilon 0 a sum of 0 makes relevance infinite, and bounds or layers that make no sense are taken.

    pip install torch zennit==0.5.1
    python zennit_zero_sum.py

x = (1, -1), w = (1, 1): z = 0, and R / 0. ZBox asks for low <= 0 <= high and does not compare them; ZPlus takes weights apart by
sign where a mean is subtracted, and gives numbers.
"""

from __future__ import annotations

import torch
from zennit.core import Hook
from zennit.rules import Epsilon, ZBox, ZPlus


def relevance(rule: Hook, layer: torch.nn.Module, x: list[float], start: list[float]) -> list[float]:
    """Return what the rule gives the layer's inputs of what its outputs have."""
    rule.register(layer.double())
    inputs = torch.tensor([[x]], dtype=torch.float64, requires_grad=True)
    given = torch.tensor([[start]], dtype=torch.float64)
    found: list[float] = torch.autograd.grad(layer(inputs), inputs, given)[0].flatten().tolist()
    return found


def run() -> dict[str, list[float]]:
    """Return the relevance of x = (1, -1), and what is made without a word."""
    dense = torch.nn.Linear(2, 1, bias=False)
    dense.weight.data[:] = 1.0
    ZBox(low=1.0, high=0.0)
    return {
        "Epsilon(0)": relevance(Epsilon(0.0), dense, [1, -1], [1]),
        "ZPlus on LayerNorm": relevance(ZPlus(1e-9), torch.nn.LayerNorm(2, eps=1e-9), [1, 3], [0, 1]),
    }


if __name__ == "__main__":
    for name, numbers in run().items():
        print(f"{name}: {[round(n, 6) for n in numbers]}")
