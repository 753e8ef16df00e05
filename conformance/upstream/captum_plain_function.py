"""captum: what a function without a module hands to an input of an Addition_Module is multiplied by that input again.

    pip install torch captum
    python captum_plain_function.py

y = x + flip(x), with flip a plain function. The hook on x, which multiplies the gradient by x, sees the gradient of the sum and
what came through flip, which is relevance already: x_j (g_j + R_j) in place of x_j g_j + R_j.
"""

from __future__ import annotations

import torch
from captum.attr import LRP
from captum.attr._utils.custom_modules import Addition_Module
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import nn


class Net(nn.Module):
    """sum(x + flip(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.add = Addition_Module()
        self.add.rule = EpsilonRule(1e-12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum over both entries."""
        found: torch.Tensor = self.add(x, x.flip(1)).sum(1, keepdim=True)
        return found


def run() -> dict[str, list[float]]:
    """Return captum's relevance of (1, 3), the formula's, and their sums; captum begins with the output, 8, at each sum."""
    x = torch.tensor([[1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    found = LRP(Net()).attribute(x, target=0)[0]
    return {"captum": found.tolist(), "formula": [4, 12], "sums": [found.sum().item(), 16]}


if __name__ == "__main__":
    for name, numbers in run().items():
        print(f"{name}: {[round(n, 6) for n in numbers]}")
