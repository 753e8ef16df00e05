"""Write the benchmark networks: VGG-16, ResNet-18 and ResNet-50 as ONNX and as torch state.

    python benchmarks/nets.py FOLDER [NAME ...]

needs torch, torchvision, onnx and onnxscript. The weights are random (seed 0), the biases of both signs, the
BatchNorm statistics measured on noise and then disturbed, so that values stay of order one and relevance is
non-trivial. BatchNorm is folded into the convolutions once, in float64, before anything is written, and so
NAME.onnx and NAME.pt hold the very same float32 numbers.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

NAMES = ("vgg16", "resnet50", "resnet18")
_KEPT: list[Any] = []


def torchvision_models() -> Any:
    """torchvision.models, also where torchvision's wheel is for CUDA and torch's is not."""
    if not _KEPT:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
    import torchvision.models

    return torchvision.models


def noise(batch: int, size: int = 224) -> torch.Tensor:
    """A batch of smooth random images, about -2..2."""
    generator = torch.Generator().manual_seed(batch)
    coarse = torch.randn(batch, 3, 14, 14, generator=generator)
    return nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")


def build(name: str) -> nn.Module:
    """The network with its random weights, BatchNorm folded, float32, in eval mode."""
    torch.manual_seed(0)
    net = getattr(torchvision_models(), name)(weights=None)
    randomise(net)
    return folded(net.double().eval()).float()


def blank(name: str) -> nn.Module:
    """The network as the state in NAME.pt wants it: Identity for BatchNorm, a bias in each convolution."""
    return folded(getattr(torchvision_models(), name)(weights=None).eval())


def randomise(net: nn.Module) -> None:
    """Random biases and BatchNorm parameters; the statistics are those of noise, then disturbed."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.3)
            module.momentum = 1.0
        elif getattr(module, "bias", None) is not None:
            nn.init.normal_(module.bias, std=0.1)
    with torch.no_grad():
        net.train()(noise(2, 112))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean += 0.2 * torch.randn_like(module.running_mean) * module.running_var.sqrt()
            module.running_var *= torch.empty_like(module.running_var).uniform_(0.8, 1.25)


def folded(net: nn.Module) -> nn.Module:
    """Fold each BatchNorm into the convolution registered just before it, and leave Identity in its place."""
    before = ""
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            conv = net.get_submodule(before)
            net.set_submodule(before, torch.nn.utils.fusion.fuse_conv_bn_eval(conv, module))
            net.set_submodule(name, nn.Identity())
        before = name
    return net


def write(name: str, folder: Path) -> None:
    """NAME.onnx (input "x" (N, 3, 224, 224), output "y" (N, 1000)) and NAME.pt."""
    net = build(name)
    torch.save(net.state_dict(), folder / f"{name}.pt")
    torch.onnx.export(
        net,
        (noise(2),),
        folder / f"{name}.onnx",
        dynamo=True,
        external_data=False,
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    with torch.no_grad():
        y = net(noise(1))
    print(f"{name}: output mean {y.mean():.3g}, std {y.std():.3g}, largest {y.abs().max():.3g}")


def main(folder: Path, names: list[str]) -> None:
    """Write the named networks, or all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or NAMES:
        write(name, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
