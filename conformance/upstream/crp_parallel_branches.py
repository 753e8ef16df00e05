"""zennit-crp: what a condition lets through on a parallel branch (zennit-crp issue 16).

    pip install torch zennit zennit-crp
    python crp_parallel_branches.py

The network computes y = sum(relu(x) + x). The condition is channel 0 of the layer before the ReLU. Until 0.4.2 the branch
around it is passed in full; from 0.5 on, `exclude_parallel=True` is the default, and only what goes through the layer counts.
"""

from __future__ import annotations

import torch
from zennit.composites import EpsilonPlus
from zennit.layer import Sum

from crp.attribution import CondAttribution  # isort: skip


class Net(torch.nn.Module):
    """y = sum(relu(layer(x)) + x), the layer being the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.relu = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64), torch.nn.ReLU()
        self.sum, self.out = Sum(), torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
        self.layer.weight.data = torch.eye(2, dtype=torch.float64)
        self.out.weight.data = torch.ones(1, 2, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute y."""
        return self.out(self.sum(torch.stack([self.relu(self.layer(x)), x], dim=-1)))


def run() -> dict[str, list[float]]:
    """Return the relevance of x = (1, 2), of all and under the condition of channel 0."""
    found = {}
    for title, condition in {"all": {"y": [0]}, "channel 0": {"layer": [0], "y": [0]}}.items():
        x = torch.tensor([[1.0, 2.0]], dtype=torch.float64, requires_grad=True)
        CondAttribution(Net().eval())(x, [condition], EpsilonPlus())
        assert x.grad is not None
        found[title] = x.grad[0].tolist()
    return found


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: relevance {relevance}, sum {sum(relevance):.6f}")
    print("channel 0 of the layer contributes relu(x_0) = 1 to y = 6")
