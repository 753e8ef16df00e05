"""Small float64 torch networks to compare on, and their ONNX exports.

Registration order is the order of execution throughout: zennit finds the "first layer" by the former,
the graph by the latter. Residual sums go through `Add`: zennit's `Sum` in torch, one `Add` node in ONNX.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from zennit.layer import Sum


class Add(nn.Module):
    """a + b: through zennit's Sum module (which takes a rule), and as a plain sum while exporting."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = Sum()

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_exporting():
            return a + b
        return self.sum(torch.stack([a, b], dim=-1))


class Residual(nn.Module):
    """relu(body(x) + skip(x))."""

    def __init__(self, body: nn.Module, skip: nn.Module | None = None, last: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.skip = skip or nn.Identity()
        self.add = Add()
        self.last = last or nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.add(self.skip(x), self.body(x)))


class Concat(nn.Module):
    """The outputs of several branches, side by side on axis 1."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class Lambda(nn.Module):
    """A function that zennit cannot hook: it lets the gradient through."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def chain(*parts: nn.Module | list[nn.Module]) -> nn.Sequential:
    """One module after the other."""
    return nn.Sequential(*(layer for part in parts for layer in (part if isinstance(part, list) else [part])))


def relu(*layers: nn.Module) -> list[nn.Module]:
    """Each of the layers with a ReLU behind it."""
    return [module for layer in layers for module in (layer, nn.ReLU())]


def dense(features: int, classes: int = 5) -> list[nn.Module]:
    """The end of a classifier: flatten, two dense layers."""
    return [nn.Flatten(), *relu(nn.Linear(features, 12)), nn.Dropout(0.5), nn.Linear(12, classes)]


def mean(features: int, classes: int = 5) -> list[nn.Module]:
    """The other end of a classifier: global average pool, one dense layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes)]


def vgg() -> nn.Module:
    """VGG in small: convolutions, ReLU, max-pools, dense layers."""
    return chain(
        relu(nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)),
        nn.MaxPool2d(2),
        relu(nn.Conv2d(6, 8, 3, padding=1)),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(3),
        dense(8 * 9),
    )


def vgg_bn() -> nn.Module:
    """The same with BatchNorm after each convolution and after the first dense layer."""
    return chain(
        [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)],
        [nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2)],
        [nn.Flatten(), nn.Linear(8 * 9, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 5)],
    )


def basic(a: int, b: int, stride: int, norm: Callable[[int], nn.Module]) -> Residual:
    """A ResNet basic block from a to b channels."""
    body = chain([nn.Conv2d(a, b, 3, stride, 1), norm(b), nn.ReLU()], [nn.Conv2d(b, b, 3, 1, 1), norm(b)])
    skip = None if (a, stride) == (b, 1) else chain(nn.Conv2d(a, b, 1, stride), norm(b))
    return Residual(body, skip)


def resnet(norm: Callable[[int], nn.Module] = nn.Identity) -> nn.Module:
    """ResNet in small: stem, max-pool with padding, three basic blocks, global average pool."""
    return chain(
        [nn.Conv2d(3, 4, 5, 2, 2), norm(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1)],
        [basic(4, 4, 1, norm), basic(4, 6, 2, norm), basic(6, 6, 1, norm)],
        mean(6),
    )


def resnet_bn() -> nn.Module:
    """The same with BatchNorm after each convolution."""
    return resnet(nn.BatchNorm2d)


def norm_first() -> nn.Module:
    """BatchNorm where it cannot be merged to the left: first, and behind activations and pools."""
    return chain(
        [nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3), nn.ReLU(), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3), nn.Tanh()],
        [nn.AvgPool2d(2), nn.BatchNorm2d(6), nn.Flatten(), nn.BatchNorm1d(24), nn.Linear(24, 5)],
    )


def pools() -> nn.Module:
    """Average and max pools with padding, overlap, dilation and rounding up."""
    return chain(
        nn.AvgPool2d(2, 1, 1),
        relu(nn.Conv2d(2, 5, 3, padding=1)),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        relu(nn.Conv2d(5, 5, 3, padding=1)),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        relu(nn.Conv2d(5, 6, 3, padding=1)),
        [nn.MaxPool2d(2, 1, dilation=2), nn.AvgPool2d((2, 1), (1, 1))],
        mean(6),
    )


def conv1d() -> nn.Module:
    """One-dimensional: dilated, grouped, strided, with pools."""
    return chain(
        relu(nn.Conv1d(4, 8, 3, padding=2, dilation=2), nn.Conv1d(8, 6, 3, stride=2, groups=2)),
        nn.MaxPool1d(2),
        relu(nn.Conv1d(6, 6, 2, groups=6, padding=1)),
        nn.AvgPool1d(3, 2),
        dense(6 * 3),
    )


def conv2d() -> nn.Module:
    """Two-dimensional: dilated, grouped, depthwise, strided, unequal axes, reflecting borders."""
    return chain(
        relu(nn.Conv2d(4, 8, (3, 2), (2, 1), (0, 1), dilation=(1, 2), groups=2)),
        relu(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 4, 1)),
        relu(nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), nn.Conv2d(6, 6, 3, padding="same")),
        mean(6),
    )


def conv3d() -> nn.Module:
    """Three-dimensional."""
    return chain(
        relu(nn.Conv3d(2, 4, 3, padding=1)),
        nn.MaxPool3d(2),
        relu(nn.Conv3d(4, 6, 2)),
        nn.AvgPool3d((1, 2, 2), stride=1),
        dense(6 * 2),
    )


def transposed() -> nn.Module:
    """Down and up again: transposed convolutions with stride, padding, groups, dilation; upsampling."""
    return chain(
        relu(nn.Conv2d(2, 6, 3, 2, 1), nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1)),
        [nn.ConvTranspose2d(4, 4, 2, groups=2, dilation=2), nn.LeakyReLU(0.125), nn.Upsample(scale_factor=2)],
        [nn.Conv2d(4, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2)],
        dense(12),
    )


def transposed1d() -> nn.Module:
    """A transposed convolution first, so that it takes the first layer's rule."""
    return chain(
        relu(nn.ConvTranspose1d(3, 4, 4, 2, 1), nn.Conv1d(4, 4, 3)),
        nn.AvgPool1d(4),
        dense(8),
    )


def mlp() -> nn.Module:
    """Dense layers only."""
    return chain(relu(nn.Linear(10, 12), nn.Linear(12, 12, bias=False)), nn.Linear(12, 5))


def dense_first() -> nn.Module:
    """A dense layer before the first convolution: the two kinds of "first layer" differ."""
    return chain(
        relu(nn.Linear(7, 50)),
        nn.Unflatten(1, (2, 5, 5)),
        relu(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 2)),
        dense(16),
    )


def tokens() -> nn.Module:
    """Dense layers on (N, tokens, features), a residual sum, then over the tokens."""
    return chain(
        relu(nn.Linear(6, 8)),
        Residual(chain(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))),
        [nn.Flatten(), nn.Linear(32, 5)],
    )


def branches() -> nn.Module:
    """Inception in small: concatenated branches, two of them pools."""
    return chain(
        relu(nn.Conv2d(3, 4, 3, padding=1)),
        Concat(
            chain(relu(nn.Conv2d(4, 3, 1))),
            chain(relu(nn.Conv2d(4, 2, 1), nn.Conv2d(2, 3, 3, padding=1))),
            chain(nn.AvgPool2d(3, 1, 1), relu(nn.Conv2d(4, 2, 1))),
            chain(nn.MaxPool2d(3, 1, 1), relu(nn.Conv2d(4, 2, 1))),
        ),
        relu(nn.Conv2d(10, 6, 3)),
        mean(6),
    )


def skips() -> nn.Module:
    """From input to output by residual sums and a pool alone: relevance arrives whatever the weights are."""
    return chain(
        Residual(nn.Conv2d(5, 5, 3, padding=1)),
        Residual(nn.Conv2d(5, 5, 3, padding=1), last=nn.Tanh()),
        [nn.AdaptiveAvgPool2d(1), nn.Flatten()],
    )


def activations() -> nn.Module:
    """A smooth or leaky activation after each layer."""
    return chain(
        [nn.Conv2d(3, 6, 3), nn.LeakyReLU(0.125), nn.Conv2d(6, 6, 3), nn.Tanh()],
        [nn.Conv2d(6, 6, 3), nn.GELU(), nn.Conv2d(6, 6, 2), nn.Softplus()],
        [nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 8), nn.ELU(), nn.Linear(8, 5)],
    )


def activated(activation: nn.Module) -> nn.Module:
    """One activation, twice, between convolutions and a dense layer."""
    return chain(
        [nn.Conv1d(3, 5, 3), activation, nn.Conv1d(5, 4, 3), copy.deepcopy(activation)],
        [nn.Flatten(), nn.Linear(16, 5)],
    )


def unhooked(function: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """A function without a rule between two convolutions."""
    return chain(
        relu(nn.Conv2d(3, 6, 3, padding=1)),
        Lambda(function),
        relu(nn.Conv2d(6, 4, 3)),
        mean(4),
    )


class Affine(nn.Module):
    """A layer and arithmetic with constants right behind it, in the same module or in a module of its own."""

    def __init__(self, layer: nn.Module, function: Callable[..., torch.Tensor], *sizes: int) -> None:
        super().__init__()
        self.layer, self.function = layer, function
        self.a, self.b = (nn.Parameter(torch.randn(sizes).double()) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.layer(x), self.a, self.b)


ARITHMETIC: dict[str, Callable[..., torch.Tensor]] = {
    "a number subtracted": lambda z, a, b: z - 0.25,
    "a number added": lambda z, a, b: z + 0.25,
    "a vector added": lambda z, a, b: z + a,
    "a vector added first": lambda z, a, b: a + z,
    "subtracted from a vector": lambda z, a, b: a - z,
    "scaled": lambda z, a, b: z * a,
    "divided": lambda z, a, b: z / (a.abs() + 0.5),
    "negative": lambda z, a, b: -z,
    "scaled and shifted": lambda z, a, b: z * a.abs() + b,
    "standardised": lambda z, a, b: (z - a) / (b.abs() + 0.5),
}


def affine(layer: str, function: Callable[..., torch.Tensor]) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    """A network with arithmetic behind a convolution or a dense layer, with a bias or without."""
    bias = "biased" in layer
    if "conv" in layer:
        return lambda: chain(
            [Affine(nn.Conv2d(3, 6, 3, bias=bias), function, 6, 1, 1), nn.ReLU()],
            [Affine(nn.Conv2d(6, 4, 3, bias=bias), function, 4, 1, 1), nn.ReLU()],
            mean(4),
        ), (3, 7, 7)
    words = (4,) if "words" in layer else ()
    return lambda: chain(
        [Affine(nn.Linear(6, 8, bias=bias), function, 8), nn.ReLU(), Affine(nn.Linear(8, 8, bias=bias), function, 8)],
        [nn.ReLU(), nn.Flatten(), nn.Linear(8 * (4 if words else 1), 5)],
    ), (*words, 6)


LAYERS = ("conv", "conv biased", "dense", "dense biased", "dense words", "dense words biased")


@functools.cache
def affine_case(layer: str, arithmetic: str) -> Case:
    """The network `affine`, exported."""
    return made(*affine(layer, ARITHMETIC[arithmetic]))


# name: (how to make it, the shape of one sample)
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "vgg": (vgg, (3, 12, 12)),
    "resnet": (resnet, (3, 16, 16)),
    "pools": (pools, (2, 14, 13)),
    "conv1d": (conv1d, (4, 25)),
    "conv2d": (conv2d, (4, 11, 9)),
    "conv3d": (conv3d, (2, 6, 6, 6)),
    "transposed": (transposed, (2, 8, 8)),
    "transposed1d": (transposed1d, (3, 6)),
    "mlp": (mlp, (10,)),
    "dense_first": (dense_first, (7,)),
    "tokens": (tokens, (4, 6)),
    "branches": (branches, (3, 8, 8)),
    "skips": (skips, (5, 6, 6)),
    "activations": (activations, (3, 12, 12)),
}
BATCHNORM_NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "vgg_bn": (vgg_bn, (3, 12, 12)),
    "resnet_bn": (resnet_bn, (3, 16, 16)),
    "norm_first": (norm_first, (3, 8, 8)),
    "norm_then_conv": (lambda: chain([nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3), nn.ReLU()], mean(6)), (3, 6, 6)),
}

# ONNX keeps attributes in float32, so the parameters are dyadic. Some are exported as several nodes.
ACTIVATIONS: dict[str, nn.Module] = {
    "celu": nn.CELU(0.75),
    "elu": nn.ELU(1.25),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU(approximate="tanh"),
    "hardswish": nn.Hardswish(),
    "hardtanh": nn.Hardtanh(),
    "leaky_relu": nn.LeakyReLU(0.25),
    "logsigmoid": nn.LogSigmoid(),
    "prelu": nn.PReLU(),
    "relu": nn.ReLU(),
    "relu6": nn.ReLU6(),
    "sigmoid": nn.Sigmoid(),
    "silu": nn.SiLU(),
    "softplus": nn.Softplus(),
    "softsign": nn.Softsign(),
    "tanh": nn.Tanh(),
    "tanhshrink": nn.Tanhshrink(),
}
# Constants of these are no dyadic numbers, and so rounded.
ROUNDED_ACTIVATIONS: dict[str, nn.Module] = {
    "hardsigmoid": nn.Hardsigmoid(),
    "selu": nn.SELU(),
}
# Exported as comparisons and choices: plain gradients to reflrp, where zennit lets relevance pass.
SEVERED_ACTIVATIONS: dict[str, nn.Module] = {
    "hardshrink": nn.Hardshrink(),
    "softshrink": nn.Softshrink(),
}

UNHOOKED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "bilinear": lambda x: nn.functional.interpolate(x, scale_factor=2, mode="bilinear"),
    "layer_norm": lambda x: nn.functional.layer_norm(x, x.shape[1:]),
    "max": lambda x: torch.maximum(x, 2 * x.flip(1)),
    "max_pool": lambda x: nn.functional.max_pool2d(x, 2),
    "mean": lambda x: x - x.mean((2, 3)).unflatten(1, (6, 1, 1)),
    "permute": lambda x: x.permute(0, 1, 3, 2).flip(2),
    "product": lambda x: x * x.amax((2, 3), keepdim=True),
    "scale": lambda x: x * 1.5 - 0.25,
    "softmax": lambda x: x.softmax(dim=1),
    "split": lambda x: torch.cat(x.split(2, dim=1)[::-1], dim=1),
}


@dataclass(frozen=True)
class Case:
    """A network, inputs of both signs, a class for each sample, and the ONNX file."""

    net: nn.Module
    x: torch.Tensor
    target: list[int]
    onnx: bytes


@functools.cache
def case(name: str, seed: int = 0, optimize: bool = True) -> Case:
    """A network by name; without `optimize` the exporter leaves BatchNormalization nodes where they are."""
    make, shape = (NETS | BATCHNORM_NETS)[name]
    return made(make, shape, seed, optimize)


@functools.cache
def activation_case(name: str) -> Case:
    """The network `activated` with the activation of that name."""
    activations = ACTIVATIONS | ROUNDED_ACTIVATIONS | SEVERED_ACTIVATIONS
    return made(lambda: activated(activations[name]), (3, 8))


@functools.cache
def unhooked_case(name: str) -> Case:
    """The network `unhooked` with the function of that name."""
    return made(lambda: unhooked(UNHOOKED[name]), (3, 8, 8))


def made(make: Callable[[], nn.Module], shape: tuple[int, ...], seed: int = 0, optimize: bool = True) -> Case:
    """Build, randomise and export."""
    torch.manual_seed(seed)
    net = randomised(make().double().eval())
    x = torch.randn(3, *shape, dtype=torch.float64)
    target = torch.randint(0, 5, (3,)).tolist()
    return Case(net, x, target, exported(net, x, optimize))


def randomised(net: nn.Module) -> nn.Module:
    """Weights large enough, biases of both signs, and BatchNorm statistics that are not the trivial ones."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.weight.uniform_(0.5, 1.5)
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 2.0)
                module.eps = 2**-17  # ONNX keeps it in float32
            elif not isinstance(module, nn.PReLU) and hasattr(module, "weight"):
                module.weight *= 2
            if getattr(module, "bias", None) is not None:
                module.bias.normal_(std=0.3)
    return net


def exported(net: nn.Module, x: torch.Tensor, optimize: bool = True) -> bytes:
    """The network as ONNX: float64, free batch size, input "x", output "y"."""
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net,
            (x,),
            dynamo=True,
            external_data=False,
            optimize=optimize,
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    return program.model_proto.SerializeToString()
