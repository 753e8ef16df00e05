"""What the torch makers share: example inputs, non-trivial statistics and biases, torchvision on a CPU torch."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from zoo.architectures import Net

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_KEPT: list[Any] = []


def sized(*shape: int) -> torch.Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape)


def image(batch: int = 2, size: int = 32, channels: int = 3) -> torch.Tensor:
    """Smooth random images, about -2..2."""
    coarse = torch.randn(batch, channels, max(size // 8, 2), max(size // 8, 2))
    return nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")


def tokens(batch: int = 2, length: int = 6, count: int = 50) -> torch.Tensor:
    """Random token ids; 0 to 2 are left to the tokenizers' special tokens."""
    return torch.randint(3, count, (batch, length))


def plain(module: nn.Module, *inputs: torch.Tensor) -> Net:
    """Make a net whose inputs are called x, or x_0, x_1, ...; statistics and biases become non-trivial."""
    names = ["x"] if len(inputs) == 1 else [f"x_{i}" for i in range(len(inputs))]
    return named(module, **dict(zip(names, inputs, strict=True)))


def named(module: nn.Module, **inputs: torch.Tensor) -> Net:
    """Make a net with the given names of its inputs; statistics and biases become non-trivial."""
    unsettle(module, list(inputs.values()))
    return Net(module.eval(), inputs)


@torch.no_grad()
def unsettle(module: nn.Module, inputs: Iterable[torch.Tensor]) -> None:
    """Disturb biases, scales, what starts at zero, and BatchNorm statistics; these are those of the inputs first."""
    for p in module.parameters():
        if p.ndim <= 1 and p.is_floating_point():
            p.mul_(torch.empty_like(p).uniform_(0.8, 1.25)).add_(0.1 * torch.randn_like(p))
        elif p.is_floating_point() and not p.any():
            p.normal_(std=0.1)
    norms = [part for part in module.modules() if isinstance(part, NORMS) and part.track_running_stats]
    if norms:
        _measure(module, norms, inputs)
    for part in norms:
        part.running_mean += 0.2 * torch.randn_like(part.running_mean) * part.running_var.sqrt()
        part.running_var *= torch.empty_like(part.running_var).uniform_(0.8, 1.25)


def _measure(module: nn.Module, norms: list[Any], inputs: Iterable[torch.Tensor]) -> None:
    """Set the BatchNorm statistics to those of the inputs, eight noisy copies of each sample."""
    module.eval()
    for part in norms:
        part.momentum, part.training = 1.0, True
    module(*(_noisy(x) for x in inputs))
    module.eval()


def _noisy(x: torch.Tensor) -> torch.Tensor:
    x = x.repeat_interleave(4, 0)
    return x + 0.5 * torch.randn_like(x) if x.is_floating_point() else x


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class Apply(nn.Module):
    """Any function of one tensor as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def torchvision_library(name: str) -> Any:
    """Import a library that imports torchvision; its wheel for CUDA needs two operators beside a CPU torch."""
    if not _KEPT:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, operator):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
    return importlib.import_module(name)
