"""lczerolens 0.3.3: BilinearMatMulEpsilon works for four axes only, and SoftmaxEpsilonFunction gives NaN under a mask.

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


def raised(axes: int) -> float:
    """Return 1 if the product of two arrays of so many axes raises on the way back."""
    a, b = (torch.ones((2,) * axes, requires_grad=True) for _ in range(2))
    try:
        rules.BilinearMatMulEpsilon()(a, b).sum().backward()
    except RuntimeError:
        return 1.0
    return 0.0


def run() -> dict[str, list[float]]:
    """Return whether products of 2, 3 and 4 axes raise, and which entries of a masked softmax's relevance are NaN."""
    x = torch.tensor([0.0, -torch.inf], requires_grad=True)
    rules.SoftmaxEpsilonFunction.apply(x, 0).backward(torch.tensor([1.0, 0.0]))
    return {
        "raises, of 2, 3, 4 axes": [raised(n) for n in (2, 3, 4)],
        "NaN, of (0, -inf)": x.grad.isnan().float().tolist(),
    }


if __name__ == "__main__":
    for title, found in run().items():
        print(title, found)
    print("the formulas: 0, 0, 0; and 0, 0, for relevance (1, 0) gives 0 and 0")
