"""Networks for composites that live: exported with their sums in modules, by both of torch's exporters."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable
from unittest.mock import patch

import torch
from peers import zennit_nets as nets
from torch import nn
from torchvision.models import resnet18

EXPORTERS = ("export", "trace")


def stacked(self: nets.Add, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The sum through zennit's module, in the export, too."""
    return self.sum(torch.stack([a, b], dim=-1))  # type: ignore[no-any-return]


def traced(net: nn.Module, x: torch.Tensor) -> bytes:
    """The network as ONNX by the older exporter, BatchNorm nodes kept."""
    file = io.BytesIO()
    options = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x,), file, dynamo=False, training=torch.onnx.TrainingMode.PRESERVE, **options)
    return file.getvalue()


class Twice(nn.Module):
    """An activation that is called twice, a layer in a ModuleDict, a function, a module in a list of blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 8)
        self.relu = nn.ReLU()
        self.inner = nn.ModuleDict({"fc": nn.Linear(8, 8), "skip": nn.Linear(6, 8)})
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Sequential(nn.Linear(8, 8), nn.GELU())]
        )
        self.add = nets.Add()
        self.last = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.fc(x))
        y = self.add(self.relu(self.inner["fc"](y)), self.inner["skip"](x))
        for block in self.blocks:
            y = block(y)
        return self.last(torch.relu(y))


class Order(nn.Module):
    """Modules that are registered in another order than they run, of which one is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 5)
        self.second = nn.Conv1d(4, 4, 3)
        self.unused = nn.Conv1d(4, 4, 3)
        self.first = nn.Conv1d(3, 4, 3)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.relu(self.second(self.relu(self.first(x)))).mean(2))


class Plus(nn.Module):
    """A residual sum by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.last = nn.Linear(6, 6), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x + self.fc(x))


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    **nets.NETS,
    **nets.BATCHNORM_NETS,
    "twice": (Twice, (6,)),
    "order": (Order, (3, 9)),
    "resnet_plus": (Plus, (6,)),
    "torchvision": (lambda: resnet18(num_classes=5, norm_layer=nn.BatchNorm2d), (3, 40, 40)),
}


@functools.cache
def case(name: str, exporter: str) -> nets.Case:
    """A network by name, and its file by "export" (torch.export) or "trace"."""
    with patch.object(nets.Add, "forward", stacked):
        found = nets.made(*NETS[name], optimize=False)
        return (
            found if exporter == "export" else nets.Case(found.net, found.x, found.target, traced(found.net, found.x))
        )
