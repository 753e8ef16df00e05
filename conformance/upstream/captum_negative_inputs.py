"""captum: Alpha1_Beta0_Rule clips the weights only, so that negative inputs count with the wrong weights (captum issue 1234).

    pip install torch captum
    python captum_negative_inputs.py

The rule of Bach et al. (2015) with alpha 1 and beta 0 is R_j = sum_k (a_j w_jk)+ / sum_j (a_j w_jk)+ R_k. captum has
a_j w+_jk in place of (a_j w_jk)+: the same for inputs >= 0, as behind a ReLU, and something else for others.
"""

from __future__ import annotations

import torch
from captum.attr import LRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule

CASES = {"both contributions positive": ([1.0, -1.0], [1.0, -1.0]), "one negative input": ([2.0, -1.0], [1.0, 1.0])}


def run() -> dict[str, list[float]]:
    """Return captum's relevance, and the formula's, of one dense layer without a bias, for each case of inputs and weights."""
    found = {}
    for title, (a, w) in CASES.items():
        x, weight = (torch.tensor([v], dtype=torch.float64) for v in (a, w))
        net = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False, dtype=torch.float64))
        net[0].weight.data = weight
        net[0].rule = Alpha1_Beta0_Rule()
        found[f"{title}, captum"] = LRP(net).attribute(x.requires_grad_())[0].tolist()
        positive = (x.detach() * weight).clamp(min=0)
        found[f"{title}, formula"] = (positive / positive.sum() * (x.detach() * weight).sum())[0].tolist()
    return found


if __name__ == "__main__":
    for name, relevance in run().items():
        print(f"{name}: {relevance}")
