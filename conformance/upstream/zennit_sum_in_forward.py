"""zennit: a residual sum that is made in `forward` gets no rule, and relevance doubles (zennit issue 236).

    pip install torch zennit
    python zennit_sum_in_forward.py

Two networks compute the same y = W x + x. One makes its `Sum` in `__init__`, the other in `forward`. Composites attach hooks
to the modules that `named_modules` lists, so that they do not see the second one, and the gradient of a sum hands all to both.
"""

from __future__ import annotations

import torch
from zennit.attribution import Gradient
from zennit.composites import EpsilonPlus
from zennit.layer import Sum


class Registered(torch.nn.Module):
    """y = W x + x, the sum being a submodule."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)
        self.linear.weight.data = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
        self.sum = Sum()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute y."""
        return self.sum(torch.stack([self.linear(x), x], dim=-1))


class Made(Registered):
    """The same, the sum being made at each call."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute y."""
        return Sum()(torch.stack([self.linear(x), x], dim=-1))


def run() -> dict[str, list[float]]:
    """Return the relevance of x = (1, 2) for the first output, of both networks, begun with 1."""
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    start = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    found = {}
    for kind in (Registered, Made):
        with Gradient(model=kind(), composite=EpsilonPlus()) as attributor:
            _, relevance = attributor(x, start)
        found[kind.__name__] = relevance[0].tolist()
    return found


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: relevance {relevance}, sum {sum(relevance):.6f}")
    print("y_0 = 2 x_0 + x_1 + x_0: with 1 at the output, (0.6, 0.4) arrives, sum 1")
