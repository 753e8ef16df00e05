"""LXT: the softmax's relevance is summed over the last axis, and EpsilonRule differentiates a norm's deviation.

    pip install torch lxt==2.1
    python lxt_axes_and_norms.py

The Taylor decomposition of softmax (Achtibat et al., 2024, proposition 3.1) sums relevance over the softmax's own axis. LXT's
own functions for LayerNorm hold the deviation constant; for GroupNorm and InstanceNorm there is EpsilonRule alone, which does not.
With epsilon 0 a sum of 0 is divided by 0.
"""

from __future__ import annotations

import torch
from lxt.explicit import functional
from lxt.explicit.rules import EpsilonRule


def back(y: torch.Tensor, x: torch.Tensor, start: list[list[float]]) -> list[float]:
    """Return the relevance of x."""
    found: list[float] = torch.autograd.grad(y, x, torch.tensor(start, dtype=torch.float64))[0].flatten().tolist()
    return found


def run() -> dict[str, list[float]]:
    """Return LXT's relevance and the formulas'."""
    x = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    pair = torch.tensor([[1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    norm = EpsilonRule(torch.nn.GroupNorm(1, 2, eps=0.0).double(), 1e-12)
    other = torch.tensor([[1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    ones = torch.ones(1, 2, dtype=torch.float64)
    return {
        "softmax over axis 0, LXT": back(functional.softmax(x, 0), x, [[1, 1], [0, 0]]),
        "softmax over axis 0, formula": [0, 0.268941, 0, 0],
        "GroupNorm of (1, 3), LXT": back(norm(pair), pair, [[0, 1]]),
        "GroupNorm of (1, 3), formula": [-0.5, 1.5],
        "(1, -1) times (1, 1), epsilon 0, LXT": back(functional.linear_epsilon(other, ones, None, 0.0), other, [[1]]),
    }


if __name__ == "__main__":
    for name, numbers in run().items():
        print(f"{name}: {[round(n, 6) for n in numbers]}")
