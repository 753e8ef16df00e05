"""captum: what MaxPool, pools with gamma, norms and sums of 0 do with relevance.

    pip install torch captum
    python captum_layers.py

MaxPool has EpsilonRule, which is a share of the value: a winner of the value 0 gets nothing. GammaRule raises weights, of which an
average has none. EpsilonRule on a norm differentiates the deviation, too, so that nothing is left of an output without a bias. With
epsilon 0 a sum of 0 is divided by 0.
"""

from __future__ import annotations

import torch
from captum.attr import LRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule, IdentityRule
from torch import nn


def relevance(net: nn.Module, x: list[list[float]], target: int | tuple[int, ...] = 0) -> list[float]:
    """Return captum's relevance of an input."""
    inputs = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    found: list[float] = LRP(net.double()).attribute(inputs, target=target).flatten().tolist()
    return found


class Layered(nn.Module):
    """A layer of images or rows on a vector, then a sum with 1 added, which passes relevance as it is."""

    def __init__(self, layer: nn.Module, rule: object = None) -> None:
        super().__init__()
        self.layer, self.shift = layer, nn.Linear(1, 1)
        self.shift.weight.data[:], self.shift.bias.data[:] = 1.0, 1.0
        self.shift.rule = IdentityRule()  # type: ignore[assignment]
        if rule is not None:
            self.layer.rule = rule  # type: ignore[assignment]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return layer(x) + 1."""
        found: torch.Tensor = self.shift(self.layer(x[:, None]).flatten(1))
        return found


def run() -> dict[str, list[float]]:
    """Return captum's relevance and the formulas'; the output, with which captum begins, is 1 in the first and 2 in the second."""
    gamma = GammaRule(gamma=1.0)
    gamma.STABILITY_FACTOR = 1.0
    mean, norm, dense = (
        nn.Sequential(nn.AvgPool1d(2)),
        nn.Sequential(nn.LayerNorm(2, eps=0.0)),
        nn.Linear(2, 1, bias=False),
    )
    mean[0].rule, norm[0].rule, dense.rule = gamma, EpsilonRule(1e-12), EpsilonRule(0.0)  # type: ignore[assignment]
    rms = nn.Sequential(nn.RMSNorm(2, eps=0.0))
    rms[0].rule = Alpha1_Beta0_Rule()  # type: ignore[assignment]
    dense.weight.data[:] = 1.0
    return {
        "max(0, -1) + 1, captum": relevance(Layered(nn.MaxPool1d(2)), [[0, -1]]),
        "max(0, -1) + 1, formula": [1, 0],
        "gamma 1, epsilon 1 of the mean of (3, -1), captum": relevance(mean, [[[3, -1]]], (0, 0)),
        "gamma 1, epsilon 1 of the mean of (3, -1), formula": [1, -1 / 3],
        "LayerNorm of (1, 3), captum": relevance(norm, [[1, 3]], 1),
        "LayerNorm of (1, 3), formula": [-0.5, 1.5],
        "z+ on RMSNorm of (1, 3), captum": relevance(rms, [[1, 3]], 1),
        "z+ on RMSNorm of (1, 3), formula": [0, 3 / 5**0.5],
        "(1, -1) times (1, 1), captum": relevance(nn.Sequential(dense), [[1, -1]]),
    }


if __name__ == "__main__":
    for name, numbers in run().items():
        print(f"{name}: {[round(n, 6) for n in numbers]}")
