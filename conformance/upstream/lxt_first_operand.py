"""LXT: UniformEpsilonRule raises where the first operand needs no gradient.

    pip install torch lxt==2.1
    python lxt_first_operand.py

A mask times a value: relevance goes to the value alone. `uniform_epsilon_lrp_fn.backward` counts gradients by the operands'
places, but has those of the operands alone that need one. `epsilon_lrp_fn` goes through them in order, and does not raise.
"""

from __future__ import annotations

import torch
from lxt.explicit.rules import EpsilonRule, UniformEpsilonRule


def raises(rule: type, masked_first: bool) -> bool:
    """Return whether a rule on a product of a mask and a value raises on the way back."""
    mask, x = torch.eye(2), torch.ones(2, 2, requires_grad=True)
    pair = (mask, x) if masked_first else (x, mask)
    try:
        rule(torch.matmul, 1e-6)(*pair).sum().backward()
    except IndexError:
        return True
    return False


def run() -> dict[str, list[float]]:
    """Return 1 where UniformEpsilonRule, and EpsilonRule, raise: the mask second, and first."""
    return {
        rule.__name__: [float(raises(rule, first)) for first in (False, True)]
        for rule in (UniformEpsilonRule, EpsilonRule)
    }


if __name__ == "__main__":
    for name, numbers in run().items():
        print(f"{name}: {[round(n, 6) for n in numbers]}")
