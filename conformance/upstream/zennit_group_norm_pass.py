"""zennit: the Pass rule raises on GroupNorm.

    pip install torch zennit==0.5.1
    python zennit_group_norm_pass.py

`Hook.backward` hands on what `pre_backward` was given as the gradients of the output's autograd function. For GroupNorm that is
native_group_norm, which has three outputs, and a hook at the layer's input must return one value.
"""

from __future__ import annotations

import torch
from torch import nn
from zennit.core import Hook
from zennit.rules import Pass


def relevance(rule: Hook, layer: torch.nn.Module, x: list[float], start: list[float]) -> list[float]:
    """Return what the rule gives the layer's inputs of what its outputs have."""
    rule.register(layer.double())
    inputs = torch.tensor([[x]], dtype=torch.float64, requires_grad=True)
    given = torch.tensor([[start]], dtype=torch.float64)
    found: list[float] = torch.autograd.grad(layer(inputs), inputs, given)[0].flatten().tolist()
    return found


def raises(layer: nn.Module) -> bool:
    """Return whether Pass on a layer raises on the way back."""
    try:
        relevance(Pass(), layer, [1, 3], [0, 1])
    except RuntimeError as error:
        return "incorrect number of values (got 3, but expected 1)" in str(error)
    return False


def run() -> dict[str, list[float]]:
    """Return 1 for each layer on which Pass raises."""
    layers = {"LayerNorm": nn.LayerNorm(2), "InstanceNorm1d": nn.InstanceNorm1d(1), "GroupNorm": nn.GroupNorm(1, 1)}
    return {name: [float(raises(layer))] for name, layer in layers.items()}


if __name__ == "__main__":
    for name, numbers in run().items():
        print(f"{name}: {[round(n, 6) for n in numbers]}")
