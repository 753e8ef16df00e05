"""LXT: the stabiliser of `lxt.explicit` is added whatever the sign of the denominator.

    pip install torch lxt==2.1
    python lxt_stabiliser.py

The epsilon rule of Bach et al. (2015) has z + epsilon sgn(z): it moves z away from 0. LXT has z + epsilon: for a small
negative z it moves z towards 0, and past it where -epsilon < z < 0, so that the sign of the relevance turns over.
"""

from __future__ import annotations

import torch
from lxt.explicit import functional

EPSILON = 0.5


def run() -> dict[str, list[float]]:
    """Return LXT's relevance of one weight 1 at inputs around 0, epsilon 0.5, R = 1, and the formula's."""
    inputs = [2.0, 0.25, -0.25, -2.0]
    weight, found = torch.ones(1, 1, dtype=torch.float64), []
    for value in inputs:
        x = torch.tensor([[value]], dtype=torch.float64, requires_grad=True)
        functional.linear_epsilon(x, weight, None, EPSILON).backward(torch.ones(1, 1, dtype=torch.float64))
        assert x.grad is not None
        found.append(float(x.grad))
    return {"inputs": inputs, "LXT": found, "formula": [z / (z + EPSILON * (1 if z >= 0 else -1)) for z in inputs]}


if __name__ == "__main__":
    for name, numbers in run().items():
        print(f"{name}: {[round(n, 6) for n in numbers]}")
