"""Own convolutional nets: one, two and three dimensions, gated, grouped, normalised in many ways."""

from __future__ import annotations

import torch
from torch import nn

from zoo.architectures import DYNAMIC, QUANTISED, Net, net
from zoo.torch_tools import Apply, Residual, image, plain, sized


def conv_bn(a: int, b: int, kernel: int = 3, **options: int) -> nn.Sequential:
    """Convolution (same size), BatchNorm, ReLU."""
    conv = nn.Conv2d(a, b, kernel, padding=kernel // 2, bias=False, **options)
    return nn.Sequential(conv, nn.BatchNorm2d(b), nn.ReLU())


def head(width: int, classes: int = 4) -> nn.Sequential:
    """Global average pooling and a dense layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


@net("conv", exporters=QUANTISED)
def lenet() -> Net:
    convs = nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)
    dense = nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 10)
    return plain(nn.Sequential(*convs, *dense), sized(2, 1, 16, 16))


@net("conv", exporters=DYNAMIC)
def cnn_batchnorm() -> Net:
    convs = conv_bn(3, 8), nn.MaxPool2d(2), conv_bn(8, 12, stride=2), conv_bn(12, 16)
    return plain(nn.Sequential(*convs, head(16)), image(size=16))


@net("conv")
def cnn_batchnorm_first() -> Net:
    blocks = [nn.Sequential(nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2d(a, b, 3, padding=1)) for a, b in ((3, 8), (8, 8))]
    return plain(nn.Sequential(*blocks, nn.BatchNorm2d(8), nn.ReLU(), head(8)), image(size=12))


@net("conv", exporters=QUANTISED)
def small_resnet() -> Net:
    blocks = [Residual(conv_bn(8, 8), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)) for _ in range(2)]
    return plain(nn.Sequential(conv_bn(3, 8), blocks[0], nn.ReLU(), blocks[1], nn.ReLU(), head(8)), image(size=16))


@net("conv")
def preact_resnet() -> Net:
    blocks = [Residual(nn.BatchNorm2d(8), nn.ReLU(), conv_bn(8, 8), nn.Conv2d(8, 8, 3, padding=1)) for _ in range(2)]
    return plain(nn.Sequential(nn.Conv2d(3, 8, 3), *blocks, nn.BatchNorm2d(8), nn.ReLU(), head(8)), image(size=16))


@net("conv")
def fcn_time_series() -> Net:
    convs = [
        nn.Sequential(nn.Conv1d(a, b, k, padding="same"), nn.BatchNorm1d(b), nn.ReLU())
        for a, b, k in ((2, 8, 8), (8, 12, 5), (12, 8, 3))
    ]
    return plain(nn.Sequential(*convs, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3)), sized(2, 2, 24))


class Inception(nn.Module):
    """Three kernel sizes and a pooling branch, concatenated; a projected shortcut."""

    def __init__(self, a: int) -> None:
        super().__init__()
        self.narrow = nn.Conv1d(a, 4, 1, bias=False)
        self.branches = nn.ModuleList(nn.Conv1d(4, 4, k, padding=k // 2, bias=False) for k in (3, 5, 9))
        self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(a, 4, 1, bias=False))
        self.norm = nn.BatchNorm1d(16)
        self.shortcut = nn.Sequential(nn.Conv1d(a, 16, 1, bias=False), nn.BatchNorm1d(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.narrow(x)
        h = torch.cat([*(branch(h) for branch in self.branches), self.pooled(x)], 1)
        return nn.functional.relu(nn.functional.relu(self.norm(h)) + self.shortcut(x))


@net("conv")
def inceptiontime() -> Net:
    top = nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 3)
    return plain(nn.Sequential(Inception(2), Inception(16), *top), sized(2, 2, 20))


class Causal(nn.Module):
    """A dilated convolution that sees the past only: padded on both sides, then cut."""

    def __init__(self, a: int, b: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(a, b, 3, padding=2 * dilation, dilation=dilation)
        self.cut = 2 * dilation
        self.shortcut = nn.Conv1d(a, b, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(nn.functional.relu(self.conv(x)[:, :, : -self.cut]) + self.shortcut(x))


@net("conv", exporters=DYNAMIC)
def tcn() -> Net:
    body = Causal(2, 6, 1), Causal(6, 6, 2), Causal(6, 6, 4)
    return plain(nn.Sequential(*body, Apply(lambda h: h[:, :, -1]), nn.Linear(6, 3)), sized(2, 2, 20))


class WaveNet(nn.Module):
    """Gated dilated convolutions, tanh times sigmoid, with skip connections."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 6, 1)
        self.gates = nn.ModuleList(nn.Conv1d(6, 12, 2, dilation=2**i) for i in range(3))
        self.skips = nn.ModuleList(nn.Conv1d(6, 6, 1) for _ in range(3))
        self.top = nn.Sequential(nn.ReLU(), nn.Conv1d(6, 6, 1), nn.ReLU(), nn.Conv1d(6, 4, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, total = self.stem(x), 0
        for i, (gate, skip) in enumerate(zip(self.gates, self.skips, strict=True)):
            a, b = gate(nn.functional.pad(x, (2**i, 0))).chunk(2, 1)
            h = skip(torch.tanh(a) * torch.sigmoid(b))
            x, total = x + h, total + h
        return self.top(total)[:, :, -1]


@net("conv")
def wavenet() -> Net:
    return plain(WaveNet(), sized(2, 1, 16))


@net("conv", exporters=DYNAMIC)
def conv3d() -> Net:
    convs = nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(4, 6, 3), nn.ReLU()
    return plain(nn.Sequential(*convs, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, 3)), sized(2, 1, 8, 8, 8))


@net("conv")
def grouped_depthwise() -> Net:
    separable = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 12, 1), nn.BatchNorm2d(12), nn.ReLU6()
    grouped = nn.Conv2d(12, 12, 3, padding=2, dilation=2, groups=3), nn.ReLU()
    return plain(nn.Sequential(conv_bn(3, 8), *separable, *grouped, head(12)), image(size=16))


class Squeeze(nn.Module):
    """Squeeze-and-excitation as in lc0: a gate and a bias for each channel, from the channels' means."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, 4), nn.Linear(4, 2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, bias = self.second(nn.functional.relu(self.first(x.mean((2, 3))))).chunk(2, 1)
        return torch.sigmoid(gate)[:, :, None, None] * x + bias[:, :, None, None]


class Tower(nn.Module):
    """An lc0 network: a residual tower with SE units, a policy head by a map of squares, value and moves-left heads."""

    def __init__(self, width: int = 8, blocks: int = 3) -> None:
        super().__init__()
        self.stem = conv_bn(12, width)
        self.blocks = nn.ModuleList(self._block(width) for _ in range(blocks))
        self.policy = nn.Sequential(conv_bn(width, width), nn.Conv2d(width, 5, 3, padding=1), nn.Flatten())
        self.register_buffer("moves", torch.randperm(320)[:100])
        self.value = self._head(width, 3)
        self.left = nn.Sequential(self._head(width, 1), nn.ReLU())

    @staticmethod
    def _block(width: int) -> nn.Sequential:
        return nn.Sequential(conv_bn(width, width), nn.Conv2d(width, width, 3, padding=1), Squeeze(width))

    @staticmethod
    def _head(width: int, outputs: int) -> nn.Sequential:
        dense = nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, outputs)
        return nn.Sequential(conv_bn(width, 4, 1), *dense)

    def forward(self, planes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.stem(planes)
        for block in self.blocks:
            x = nn.functional.relu(block(x) + x)
        return self.policy(x)[:, self.moves], self.value(x), self.left(x)


@net("conv", exporters=QUANTISED)
def lc0_tower() -> Net:
    return plain(Tower(), (torch.rand(2, 12, 8, 8) > 0.8).float())


class Excite(nn.Module):
    """Squeeze-and-excitation with 1x1 convolutions."""

    def __init__(self, width: int, gate: nn.Module) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 4, 1), nn.ReLU(), nn.Conv2d(4, width, 1), gate
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x)


@net("conv", exporters=QUANTISED)
def squeeze_excitation() -> Net:
    parts = conv_bn(3, 8), Excite(8, nn.Sigmoid()), conv_bn(8, 8), Excite(8, nn.Hardsigmoid()), head(8)
    return plain(nn.Sequential(*parts), image(size=12))


@net("conv")
def group_instance_norm() -> Net:
    first = nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU()
    second = nn.Conv2d(8, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.SiLU()
    return plain(nn.Sequential(*first, *second, head(8)), image(size=12))


@net("conv")
def layernorm_2d() -> Net:
    class Norm(nn.LayerNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    body = nn.Conv2d(3, 8, 2, 2), Norm(8), Residual(nn.Conv2d(8, 8, 3, padding=1, groups=8), Norm(8), nn.GELU())
    return plain(nn.Sequential(*body, head(8)), image(size=12))


@net("conv")
def local_response_norm() -> Net:
    body = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.LocalResponseNorm(3, alpha=0.1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3)
    return plain(nn.Sequential(*body, nn.ReLU(), head(8)), image(size=12))


@net("conv")
def odd_pooling() -> Net:
    ceil = nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(3, 2, 1, ceil_mode=True)
    tail = nn.MaxPool2d(2, 1, dilation=2), nn.AvgPool2d(2, 1, count_include_pad=False), nn.LPPool2d(2, 2)
    return plain(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), *ceil, *tail, head(6)), image(size=24))


@net("conv")
def adaptive_pooling() -> Net:
    parts = conv_bn(3, 6), nn.AdaptiveAvgPool2d((4, 4)), nn.AdaptiveMaxPool2d((2, 2)), nn.Flatten(), nn.Linear(24, 4)
    return plain(nn.Sequential(*parts), image(size=16))


@net("conv")
def adaptive_pooling_uneven() -> Net:
    parts = conv_bn(3, 6), nn.AdaptiveAvgPool2d((3, 3)), nn.Flatten(), nn.Linear(54, 4)
    return plain(nn.Sequential(*parts), image(size=10))


@net("conv")
def padded_in_many_ways() -> Net:
    pads = nn.ReflectionPad2d(1), nn.ReplicationPad2d(1), nn.ZeroPad2d((1, 2, 0, 1)), nn.ConstantPad2d(1, 0.5)
    convs = [nn.Sequential(pad, nn.Conv2d(3, 3, 3), nn.ReLU()) for pad in pads]
    return plain(nn.Sequential(*convs, nn.ZeroPad2d(-1), head(3)), image(size=12))


class Transformer2d(nn.Module):
    """A spatial transformer: an affine grid predicted from the image, sampled bilinearly."""

    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Sequential(nn.Flatten(), nn.Linear(144, 6))
        self.body = nn.Sequential(conv_bn(1, 4), head(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        theta = 0.1 * self.where(x).view(-1, 2, 3) + torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        grid = nn.functional.affine_grid(theta, [x.shape[0], 1, 12, 12], align_corners=False)
        return self.body(nn.functional.grid_sample(x, grid, align_corners=False))


@net("conv")
def spatial_transformer() -> Net:
    return plain(Transformer2d(), image(size=12, channels=1))
