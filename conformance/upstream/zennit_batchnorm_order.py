"""zennit: `SequentialMergeBatchNorm` merges by the order in which modules are registered (zennit issue 63).

    pip install torch zennit
    python zennit_batchnorm_order.py

The network computes second(norm(first(x))). Registered in this order, the BatchNorm is merged into `first`. Registered as
first, second, norm, it is merged into `second`, which runs after it: within the composite the network computes something else.
"""

from __future__ import annotations

import torch
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import EpsilonPlus

ORDERS = {"as they run": ("first", "norm", "second"), "norm last": ("first", "second", "norm")}


class Net(torch.nn.Module):
    """second(norm(first(x))), its modules registered in any order."""

    def __init__(self, order: tuple[str, ...]) -> None:
        super().__init__()
        norm = torch.nn.BatchNorm1d(2, eps=0.0, dtype=torch.float64)
        norm.running_mean, norm.running_var = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 0.0], [4.0, 0.25]))
        made = {"first": [[1.0, 2.0], [3.0, -1.0]], "second": [[1.0, 1.0], [1.0, -1.0]]}
        for name in order:
            layer = norm if name == "norm" else torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)
            if name != "norm":
                layer.weight.data = torch.tensor(made[name], dtype=torch.float64)
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute y."""
        return self.second(self.norm(self.first(x)))


def run() -> dict[str, list[float]]:
    """Return the output at x = (1, 2): of the network, and of the network within a composite, by order."""
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    found = {}
    for title, order in ORDERS.items():
        net = Net(order).eval()
        with torch.no_grad():
            found["the network"] = net(x)[0].tolist()
            with EpsilonPlus(canonizers=[SequentialMergeBatchNorm()]).context(net) as modified:
                found[title] = modified(x)[0].tolist()
    return found


if __name__ == "__main__":
    for name, y in run().items():
        print(f"{name}: y = {y}")
