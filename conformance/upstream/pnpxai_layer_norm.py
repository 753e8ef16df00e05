"""pnpxai: LayerNormRule divides by n - 1, over two axes normalises the batch, needs a bias, and forgets its stabiliser in a copy.

    pip install torch zennit==0.5.1
    pip install --no-deps pnpxai==0.1.4
    python pnpxai_layer_norm.py

The rule computes the layer anew on the way back, with `input.var(dims, correction=1)` where the layer divides by n, over
`range(-len(normalized_shape), -2, -1)`, which for two axes is empty: mean and variance are those of the whole batch. `Hook.copy`,
by which composites set a rule on each layer, makes a rule with the stabiliser 1e-6, whatever was given.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from pathlib import Path

import torch
from torch import nn


def rules() -> types.ModuleType:
    """Return pnpxai's rules, without what the package imports besides."""
    spec = importlib.machinery.PathFinder.find_spec("pnpxai")
    assert spec is not None
    root = Path(next(iter(spec.submodule_search_locations or ())))
    packages = ("pnpxai", "pnpxai.explainers", "pnpxai.explainers.zennit")
    before = {name: sys.modules.get(name) for name in packages}
    for name in packages:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(root.joinpath(*name.split(".")[1:]))]
    try:
        return importlib.import_module("pnpxai.explainers.zennit.rules")
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def relevance(layer: nn.Module, x: torch.Tensor) -> list[float]:
    """Return the relevance of x, the second entry of the first sample begun with 1."""
    rules().LayerNormRule(1e-12).register(layer)
    start = torch.zeros_like(x)
    start.view(-1)[1] = 1
    found: list[float] = torch.autograd.grad(layer(x), x, start)[0].flatten().tolist()
    return found


def raises(layer: nn.Module, x: torch.Tensor) -> bool:
    """Return whether a layer's relevance raises a TypeError."""
    try:
        relevance(layer, x)
    except TypeError:
        return True
    return False


def run() -> dict[str, list[float]]:
    """Return the relevance of (1, 3), bias 1, epsilon 0, and of (1, 3) and (5, 7) over two axes; a copy's stabiliser."""
    one, two = (nn.LayerNorm(shape, eps=0.0).double() for shape in (2, (1, 2)))
    one.bias.data[:], two.bias.data[:] = 1.0, 1.0
    x = torch.tensor([[1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    both = torch.tensor([[[1.0, 3.0]], [[5.0, 7.0]]], dtype=torch.float64, requires_grad=True)
    return {
        "one axis, pnpxai": relevance(one, x),
        "one axis, formula": [-0.25, 0.75],
        "two axes, pnpxai": relevance(two, both),
        "two axes, formula": [-0.25, 0.75, 0, 0],
        "raises without a bias": [float(raises(nn.LayerNorm(2, bias=False).double(), x))],
        "the stabiliser of a copy of LayerNormRule(0.5)": [rules().LayerNormRule(0.5).copy().stabilizer],
    }


if __name__ == "__main__":
    for name, numbers in run().items():
        print(f"{name}: {[round(n, 6) for n in numbers]}")
