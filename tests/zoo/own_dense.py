"""Own nets without convolutions: dense, gated, pooled over sets, several inputs or outputs."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from zoo.architectures import Net, net
from zoo.torch_tools import DYNAMIC, Apply, Residual, plain, sized

ACTIVATIONS = {
    "smooth": (nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Softplus(), nn.Tanh(), nn.Sigmoid()),
    "piecewise": (nn.LeakyReLU(0.1), nn.PReLU(8), nn.ReLU6(), nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh()),
    "exponential": (nn.ELU(), nn.SELU(), nn.CELU(0.7), nn.Softsign(), nn.LogSigmoid(), nn.Softmax(-1)),
}


def dense(*widths: int, act: type[nn.Module] = nn.ReLU, norm: bool = False) -> nn.Sequential:
    """Linear layers with an activation between them, and BatchNorm before each where asked for."""
    layers: list[nn.Module] = []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(a, b), *([nn.BatchNorm1d(b)] if norm else []), act()]
    return nn.Sequential(*layers[:-1])


@net("dense", exporters=DYNAMIC)
def mlp() -> Net:
    return plain(dense(8, 16, 16, 4), sized(3, 8))


@net("dense")
def mlp_without_bias() -> Net:
    return plain(nn.Sequential(nn.Linear(8, 16, False), nn.ReLU(), nn.Linear(16, 4, False)), sized(3, 8))


@net("dense", exporters=DYNAMIC)
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
    parts = [nn.Sequential(nn.Linear(8, 8), act) for act in ACTIVATIONS[kind]]
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


class Dueling(nn.Module):
    """Q = V + A - mean(A)."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.value, self.advantage = dense(8, 16, 16), dense(16, 8, 1), dense(16, 8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.body(x))
        a = self.advantage(h)
        return self.value(h) + a - a.mean(1, keepdim=True)


@net("dense")
def dueling_dqn() -> Net:
    return plain(Dueling(), sized(2, 8))


class Heads(nn.Module):
    """One body, several heads; returns a tuple."""

    def __init__(self, body: nn.Module, *heads: nn.Module) -> None:
        super().__init__()
        self.body, self.heads = body, nn.ModuleList(heads)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        h = self.body(x)
        return tuple(head(h) for head in self.heads)


@net("dense")
def two_heads() -> Net:
    return plain(Heads(nn.Sequential(dense(8, 16, 16), nn.ReLU()), nn.Linear(16, 4), dense(16, 8, 1)), sized(2, 8))


@net("conv")
def vae_encoder() -> Net:
    convs = nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(), nn.Flatten()
    return plain(Heads(nn.Sequential(*convs), nn.Linear(128, 3), nn.Linear(128, 3)), sized(2, 1, 16, 16))


class Siamese(nn.Module):
    """Two inputs through one body; their cosine similarity, or a head on the difference."""

    def __init__(self, body: nn.Module, head: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        p, q = self.body(a), self.body(b)
        if self.head is None:
            return (F.normalize(p, dim=-1) * F.normalize(q, dim=-1)).sum(-1, keepdim=True)
        return self.head(torch.cat([p * q, torch.abs(p - q)], -1))


@net("dense")
def siamese() -> Net:
    return plain(Siamese(dense(8, 16, 6), dense(12, 8, 2)), sized(2, 8), sized(2, 8))


@net("dense")
def siamese_cosine() -> Net:
    return plain(Siamese(dense(8, 16, 6)), sized(2, 8), sized(2, 8))


class Tabular(nn.Module):
    """Embeddings of three categorical columns beside four numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, 3) for n in (5, 7, 4))
        self.norm, self.top = nn.BatchNorm1d(4), dense(13, 16, 2)

    def forward(self, columns: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        parts = [table(columns[:, i]) for i, table in enumerate(self.tables)]
        return self.top(torch.cat([*parts, self.norm(numbers)], 1))


@net("dense", exporters=DYNAMIC)
def tabular() -> Net:
    return plain(Tabular(), torch.randint(0, 4, (3, 3)), sized(3, 4))


class Normalised(nn.Module):
    """Pixels of 0..255 are normalised inside the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.2, 0.3, 0.25]).view(1, 3, 1, 1))
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(54, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body((x / 255 - self.mean) / self.std)


@net("conv")
def normalised_input() -> Net:
    return plain(Normalised(), torch.rand(2, 3, 8, 8) * 255)


class Gated(nn.Module):
    """A highway layer, then a gated linear unit."""

    def __init__(self) -> None:
        super().__init__()
        self.h, self.t, self.glu, self.top = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 16), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t = torch.sigmoid(self.t(x))
        x = t * F.relu(self.h(x)) + (1 - t) * x
        a, b = self.glu(x).chunk(2, -1)
        return self.top(a * torch.sigmoid(b))


@net("dense")
def highway_glu() -> Net:
    return plain(Gated(), sized(2, 8))


class Kan(nn.Module):
    """A sum of learnable functions of each input: Gaussian bumps on a grid, plus a SiLU branch."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(-2, 2, 5))
        self.spline = nn.Parameter(0.3 * torch.randn(inputs, 5, outputs))
        self.base = nn.Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bumps = torch.exp(-((x.unsqueeze(-1) - self.grid) ** 2))
        return torch.einsum("nig,igo->no", bumps, self.spline) + self.base(F.silu(x))


@net("dense")
def kan() -> Net:
    return plain(nn.Sequential(Kan(6, 8), Kan(8, 3)), sized(2, 6))


class Graph(nn.Module):
    """Two graph convolutions on a dense adjacency matrix: relu(A X W)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.top = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        degree = adjacency.sum(-1, keepdim=True)
        for layer in (self.a, self.b):
            x = F.relu(layer(adjacency @ x / degree))
        return self.top(x.mean(1))


@net("dense")
def dense_gcn() -> Net:
    links = (torch.rand(2, 6, 6) > 0.5).float()
    return plain(Graph(), sized(2, 6, 5), torch.clamp(links + links.mT + torch.eye(6), max=1))
