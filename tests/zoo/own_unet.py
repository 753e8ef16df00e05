"""Own nets that go up again: autoencoders, generators, U-Nets."""

from __future__ import annotations

import torch
from torch import nn

from zoo.architectures import DYNAMIC, Net, net
from zoo.own_conv import conv_bn
from zoo.torch_tools import Apply, image, plain, sized


@net("conv", exporters=DYNAMIC)
def transposed_autoencoder() -> Net:
    down = nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU()
    first = nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1), nn.BatchNorm2d(4), nn.ReLU()
    return plain(nn.Sequential(*down, *first, nn.ConvTranspose2d(4, 1, 2, 2), nn.Sigmoid()), image(2, 16, 1))


@net("conv")
def transposed_grouped() -> Net:
    body = nn.ConvTranspose1d(4, 4, 4, 2, 1, groups=2), nn.ReLU(), nn.ConvTranspose1d(4, 2, 3, dilation=2)
    return plain(nn.Sequential(*body), sized(2, 4, 7))


@net("conv")
def dcgan_generator() -> Net:
    first = Apply(lambda z: z[:, :, None, None]), nn.ConvTranspose2d(6, 8, 4, bias=False), nn.BatchNorm2d(8), nn.ReLU()
    second = nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()
    return plain(nn.Sequential(*first, *second, nn.ConvTranspose2d(4, 3, 4, 2, 1), nn.Tanh()), sized(2, 6))


class UNet(nn.Module):
    """Two levels down and up, with concatenated skips; the way up is chosen."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv_bn(2, 4), conv_bn(4, 8), conv_bn(8, 8)])
        self.up = nn.ModuleList([self._up(way), self._up(way)])
        self.join = nn.ModuleList([conv_bn(16, 4), conv_bn(8, 4)])
        self.widths = nn.ModuleList([nn.Identity(), nn.Conv2d(4, 4, 1)])
        self.first = nn.ModuleList([nn.Identity(), nn.Conv2d(4, 8, 1)])
        self.top = nn.Conv2d(4, 3, 1)

    @staticmethod
    def _up(way: str) -> nn.Module:
        if way == "transposed":
            return nn.ConvTranspose2d(8, 8, 2, 2)
        if way == "shuffled":
            return nn.Sequential(nn.Conv2d(8, 32, 1), nn.PixelShuffle(2))
        corners = False if way == "bilinear" else None
        return nn.Upsample(scale_factor=2, mode=way, align_corners=corners)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for i, down in enumerate(self.down):
            x = down(nn.functional.max_pool2d(x, 2) if i else x)
            skips.append(x)
        for i, skip in enumerate((skips[1], skips[0])):
            x = self.up[i](self.first[i](x))
            x = self.join[i](torch.cat([skip, x[:, : 8 if i == 0 else 4]], 1))
        return self.top(x)


@net("conv", exporters=DYNAMIC)
def unet_transposed() -> Net:
    return plain(UNet("transposed"), image(2, 16, 2))


@net("conv", exporters=DYNAMIC)
def unet_bilinear() -> Net:
    return plain(UNet("bilinear"), image(2, 16, 2))


@net("conv")
def unet_nearest() -> Net:
    return plain(UNet("nearest"), image(2, 16, 2))


@net("conv")
def unet_pixel_shuffle() -> Net:
    return plain(UNet("shuffled"), image(2, 16, 2))


class Pyramid(nn.Module):
    """A feature pyramid: levels resized to the largest by nearest, bilinear (aligned corners) and bicubic."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList([conv_bn(3, 6), conv_bn(6, 6, stride=2), conv_bn(6, 6, stride=2)])
        self.top = nn.Conv2d(6, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.levels[0](x)
        b = self.levels[1](a)
        c = self.levels[2](b)
        b = b + nn.functional.interpolate(c, size=b.shape[2:], mode="nearest")
        a = a + nn.functional.interpolate(b, scale_factor=2, mode="bilinear", align_corners=True)
        return self.top(a + nn.functional.interpolate(c, scale_factor=4, mode="bicubic")).mean((2, 3))


@net("conv")
def feature_pyramid() -> Net:
    return plain(Pyramid(), image(2, 12))
