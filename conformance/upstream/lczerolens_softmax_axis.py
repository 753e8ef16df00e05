"""lczerolens 0.3.3: SoftmaxEpsilonFunction sums relevance over the last axis, whatever the softmax's own.

Its file of rules is read by itself, past packages that play chess.
"""

import importlib.util
from pathlib import Path

import torch

package = importlib.util.find_spec("lczerolens")
if package is None:
    raise SystemExit("pip install --no-deps lczerolens==0.3.3")
spec = importlib.util.spec_from_file_location("rules", Path(package.origin).parent / "lenses/lrp/rules/epsilon.py")
rules = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rules)


def run() -> dict[str, list[float]]:
    """Return the relevance of ((0, 1), (0, 0)) under a softmax over axis 0, R = ((1, 1), (0, 0))."""
    x = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    R = torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    p = x.softmax(0).detach()
    rules.SoftmaxEpsilonFunction.apply(x, 0).backward(R)
    formula = x.detach() * (R - p * R.sum(0, keepdim=True))
    return {"lczerolens": x.grad.ravel().tolist(), "formula": formula.ravel().tolist()}


if __name__ == "__main__":
    for title, found in run().items():
        print(title, found)
