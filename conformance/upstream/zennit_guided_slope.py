"""zennit: ReLUGuidedBackprop multiplies by the slope of whatever activation it is hooked to.

    pip install torch zennit==0.5.1
    python zennit_guided_slope.py

Guided backpropagation (Springenberg et al., 2015) lets positive relevance through where the input is positive. The hook keeps
the module's own gradient in place of that gate: the same for a ReLU, but a LeakyReLU hands on relevance at
negative inputs, times its slope.
"""

from __future__ import annotations

import torch
from zennit.core import Hook
from zennit.rules import ReLUGuidedBackprop


def relevance(rule: Hook, layer: torch.nn.Module, x: list[float], start: list[float]) -> list[float]:
    """Return what the rule gives the layer's inputs of what its outputs have."""
    rule.register(layer.double())
    inputs = torch.tensor([[x]], dtype=torch.float64, requires_grad=True)
    given = torch.tensor([[start]], dtype=torch.float64)
    found: list[float] = torch.autograd.grad(layer(inputs), inputs, given)[0].flatten().tolist()
    return found


def run() -> dict[str, list[float]]:
    """Return the relevance of (-1, 1), both outputs begun with 1, and what the gate gives."""
    return {
        "ReLU": relevance(ReLUGuidedBackprop(), torch.nn.ReLU(), [-1, 1], [1, 1]),
        "LeakyReLU with the slope 1/2": relevance(ReLUGuidedBackprop(), torch.nn.LeakyReLU(0.5), [-1, 1], [1, 1]),
        "the gate": [0, 1],
    }


if __name__ == "__main__":
    for name, numbers in run().items():
        print(f"{name}: {[round(n, 6) for n in numbers]}")
