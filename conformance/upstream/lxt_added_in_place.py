"""LXT: EpsilonRule on `a + b` gives each summand the product of both.

    pip install torch lxt==2.1
    python lxt_added_in_place.py

torch returns one and the same gradient tensor for both summands of a sum, and `epsilon_lrp_fn.backward` multiplies it in place
(`grads[i].mul_(inputs[i])`), once for each. So both get a b R / (a + b), not a R / (a + b) and b R / (a + b).
`lxt.explicit.functional.add2` multiplies copies and is right.
"""

from __future__ import annotations

import torch
from lxt.explicit import functional, rules


def relevance(rule: object) -> list[float]:
    """Return what a = (1, 3) and b = (3, 1) get of R = 1 each, a's first."""
    a, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in ([1.0, 3.0], [3.0, 1.0]))
    rule(a, b).backward(torch.ones(2, dtype=torch.float64))
    return [*a.grad.tolist(), *b.grad.tolist()]


class Add(torch.nn.Module):
    """a + b."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return a + b."""
        return a + b


def run() -> dict[str, list[float]]:
    """Return LXT's relevance by EpsilonRule, by add2, and the formula's: a first, then b."""
    return {
        "EpsilonRule": relevance(rules.EpsilonRule(Add(), 0.0)),
        "add2": relevance(lambda a, b: functional.add2(a, b, epsilon=0.0)),
        "formula": [1 / 4, 3 / 4, 3 / 4, 1 / 4],
    }


if __name__ == "__main__":
    for name, numbers in run().items():
        print(f"{name}: {[round(n, 6) for n in numbers]}")
