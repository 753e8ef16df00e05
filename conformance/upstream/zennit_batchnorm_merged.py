"""zennit: a merged BatchNorm still divides by sqrt(1 + eps), and AlphaBeta on one alone counts its mean twice.

    pip install torch zennit==0.5.1
    python zennit_batchnorm_merged.py

`MergeBatchNorm` sets the variance that is left to 1 and keeps eps: output and relevance are divided by sqrt(1 + eps), which
with torch's 1e-5 is 5e-6 of both. AlphaBeta on a BatchNorm that is not merged splits the bias by its sign, but the running mean,
which is no parameter, stands whole in both denominators.
"""

from __future__ import annotations

import torch
from torch import nn
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import LayerMapComposite
from zennit.rules import AlphaBeta, Epsilon


def merged() -> list[float]:
    """Return output and relevance of x = 1 through y = 2 x, then x / sqrt(1 + eps) with eps 3, merged; begun with 1."""
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, eps=3.0)).double().eval()
    net[0].weight.data[:] = 2.0
    x = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    composite = LayerMapComposite([(nn.Linear, Epsilon(1e-12))], canonizers=[SequentialMergeBatchNorm()])
    with composite.context(net) as changed:
        y = changed(x)
        return [y.item(), torch.autograd.grad(y, x, torch.ones_like(y))[0].item()]


def split() -> list[float]:
    """Return the relevance of x = 2 through x - 1 by alpha 2, beta 1, begun with 1."""
    norm = nn.BatchNorm1d(1, eps=0.0).double().eval()
    norm.running_mean[:] = 1.0  # type: ignore[index]
    AlphaBeta(2, 1, 1e-9).register(norm)
    x = torch.tensor([[2.0]], dtype=torch.float64, requires_grad=True)
    return [torch.autograd.grad(norm(x), x, torch.ones_like(x))[0].item()]


def run() -> dict[str, list[float]]:
    """Return what zennit gives, and what the network as it was gives."""
    return {"merged, zennit": merged(), "merged, formula": [1, 1], "mean 1, zennit": split(), "mean 1, formula": [2]}


if __name__ == "__main__":
    for name, numbers in run().items():
        print(f"{name}: {[round(n, 6) for n in numbers]}")
