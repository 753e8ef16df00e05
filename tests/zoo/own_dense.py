"""Own nets without convolutions: dense, gated, pooled over sets, several inputs or outputs."""

from __future__ import annotations

import copy
import itertools

import torch
from torch import nn

from zoo.architectures import DYNAMIC, QUANTISED, Net, net
from zoo.torch_tools import Apply, Residual, plain, sized

ACTIVATIONS = {
    "smooth": (nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Softplus(), nn.Tanh(), nn.Sigmoid()),
    "piecewise": (nn.LeakyReLU(0.1), nn.PReLU(8), nn.ReLU6(), nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh()),
    "exponential": (nn.ELU(), nn.SELU(), nn.CELU(0.7), nn.Softsign(), nn.LogSigmoid(), nn.Softmax(-1)),
}


def dense(*widths: int, act: type[nn.Module] = nn.ReLU, norm: bool = False) -> nn.Sequential:
    """Linear layers with an activation between them, and BatchNorm before each where asked for."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), *([nn.BatchNorm1d(b)] if norm else []), act()]
    return nn.Sequential(*layers[:-1])


@net("dense", exporters=QUANTISED)
def mlp() -> Net:
    return plain(dense(8, 16, 16, 4), sized(3, 8))


@net("dense")
def mlp_without_bias() -> Net:
    return plain(nn.Sequential(nn.Linear(8, 16, False), nn.ReLU(), nn.Linear(16, 4, False)), sized(3, 8))


@net("dense", exporters=QUANTISED)
def mlp_batchnorm() -> Net:
    return plain(nn.Sequential(dense(8, 16, 16, norm=True), nn.ReLU(), nn.Linear(16, 4)), sized(3, 8))


@net("dense")
def mlp_batchnorm_after_relu() -> Net:
    parts = nn.BatchNorm1d(8), nn.Linear(8, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 4)
    return plain(nn.Sequential(*parts), sized(3, 8))


@net("dense")
def mlp_softmax() -> Net:
    return plain(nn.Sequential(dense(8, 16, 4), nn.Softmax(-1)), sized(3, 8))


@net("dense")
def mlp_float64() -> Net:
    return plain(dense(8, 16, 4).double(), sized(3, 8).double())


@net("dense")
def mlp_float16() -> Net:
    return plain(dense(8, 16, 4).half(), sized(3, 8).half())


def _activation_net(kind: str) -> Net:
    parts = [nn.Sequential(nn.Linear(8, 8), copy.deepcopy(act)) for act in ACTIVATIONS[kind]]
    return plain(nn.Sequential(*parts, nn.Linear(8, 4)), sized(3, 8))


@net("dense")
def activations_smooth() -> Net:
    return _activation_net("smooth")


@net("dense")
def activations_piecewise() -> Net:
    return _activation_net("piecewise")


@net("dense")
def activations_exponential() -> Net:
    return _activation_net("exponential")


@net("dense")
def weight_and_spectral_norm() -> Net:
    weight = nn.utils.parametrizations.weight_norm(nn.Linear(8, 16))
    spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(16, 16))
    return plain(nn.Sequential(weight, nn.ReLU(), spectral, nn.ReLU(), nn.Linear(16, 4)), sized(3, 8))


@net("dense")
def residual_layernorm_mlp() -> Net:
    blocks = [Residual(nn.LayerNorm(8), dense(8, 16, 8, act=nn.GELU)) for _ in range(2)]
    return plain(nn.Sequential(*blocks, nn.LayerNorm(8), nn.Linear(8, 4)), sized(3, 8))


@net("dense")
def rmsnorm_mlp() -> Net:
    class Rms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

    return plain(nn.Sequential(Residual(Rms(), dense(8, 16, 8)), Rms(), nn.Linear(8, 4)), sized(3, 8))


class Pooled(nn.Module):
    """A net per element of a set, a symmetric pooling over the elements, a net on top."""

    def __init__(self, before: nn.Module, after: nn.Module, pool: str) -> None:
        super().__init__()
        self.before, self.after, self.pool = before, after, pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.before(x)
        if self.pool == "both":
            return self.after(torch.cat([h.sum(1), h.amax(1)], -1))
        return self.after(h.mean(1) if self.pool == "mean" else h.max(1).values)


@net("dense", exporters=DYNAMIC)
def deepsets() -> Net:
    return plain(Pooled(dense(3, 16, 8), dense(16, 8, 4), "both"), sized(2, 7, 3))


@net("dense")
def deepsets_mean() -> Net:
    return plain(Pooled(dense(3, 16, 8), dense(8, 8, 4), "mean"), sized(2, 7, 3))


@net("conv")
def pointnet() -> Net:
    points = nn.Sequential(
        *(nn.Sequential(nn.Conv1d(a, b, 1), nn.BatchNorm1d(b), nn.ReLU()) for a, b in ((3, 8), (8, 16)))
    )
    top = nn.Sequential(dense(16, 8, norm=True), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    return plain(nn.Sequential(points, Apply(lambda h: h.max(2).values), top), sized(2, 3, 20))


@net("dense")
def mlp_mixer() -> Net:
    def block() -> nn.Sequential:
        across = nn.Sequential(
            nn.LayerNorm(8),
            Apply(lambda h: h.transpose(1, 2)),
            dense(16, 12, 16, act=nn.GELU),
            Apply(lambda h: h.transpose(1, 2)),
        )
        return nn.Sequential(Residual(across), Residual(nn.LayerNorm(8), dense(8, 16, 8, act=nn.GELU)))

    stem = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), Apply(lambda h: h.transpose(1, 2)))
    top = nn.Sequential(nn.LayerNorm(8), Apply(lambda h: h.mean(1)), nn.Linear(8, 4))
    return plain(nn.Sequential(stem, block(), block(), top), sized(2, 3, 16, 16))
