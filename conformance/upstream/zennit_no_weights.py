"""zennit: AlphaBeta, Gamma and ZPlus split nothing where a layer has no parameters, as pools and Upsample.

    pip install torch zennit==0.5.1
    python zennit_no_weights.py

A mean is a sum with the weights 1/n, and an interpolation one with its factors: their contributions have signs to split as those of
any linear layer. The rules clip inputs and parameters; of a layer without parameters, all input signs go through the same map, and
what comes out is (alpha - beta) times the epsilon rule.
"""

from __future__ import annotations

import torch
from zennit.core import Hook
from zennit.rules import AlphaBeta, Gamma, ZPlus


def relevance(rule: Hook, layer: torch.nn.Module, x: list[float], start: list[float]) -> list[float]:
    """Return what the rule gives the layer's inputs of what its outputs have."""
    rule.register(layer.double())
    inputs = torch.tensor([[x]], dtype=torch.float64, requires_grad=True)
    given = torch.tensor([[start]], dtype=torch.float64)
    found: list[float] = torch.autograd.grad(layer(inputs), inputs, given)[0].flatten().tolist()
    return found


def run() -> dict[str, list[float]]:
    """Return zennit's relevance and the formulas', of the mean of (3, -1) and of a bicubic Upsample of ones, its fourth output."""
    mean, R = torch.nn.AvgPool1d(2), [1.0]
    cubic = torch.nn.Upsample(scale_factor=(1, 2), mode="bicubic")
    factors = torch.tensor([-27.0, 225.0, 67.0, -9.0]) / 256
    return {
        "alpha 2, beta 1 of a mean, zennit": relevance(AlphaBeta(2, 1, 1e-9), mean, [3, -1], R),
        "alpha 2, beta 1 of a mean, formula": [2, -1],
        "gamma 1, epsilon 1 of a mean, zennit": relevance(Gamma(1, 1.0), torch.nn.AvgPool1d(2), [3, -1], R),
        "gamma 1, epsilon 1 of a mean, formula": [6 / 7, -1 / 7],
        "z+ of Upsample, zennit": relevance(ZPlus(1e-9), Rows(cubic), [1, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0, 0]),
        "z+ of Upsample, formula": (factors.clamp(min=0) / factors.clamp(min=0).sum()).tolist(),
    }


class Rows(torch.nn.Module):
    """A layer of images on one row."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Resize a row."""
        found: torch.Tensor = self.layer(x[:, :, None])[:, :, 0]
        return found


if __name__ == "__main__":
    for name, numbers in run().items():
        print(f"{name}: {[round(n, 6) for n in numbers]}")
