"""Own nets with several heads or inputs, gates, and graphs."""

from __future__ import annotations

import torch
from torch import nn

from zoo.architectures import DYNAMIC, Net, net
from zoo.own_dense import dense
from zoo.torch_tools import plain, sized


class Dueling(nn.Module):
    """Q = V + A - mean(A)."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.value, self.advantage = dense(8, 16, 16), dense(16, 8, 1), dense(16, 8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = nn.functional.relu(self.body(x))
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
            return (nn.functional.normalize(p, dim=-1) * nn.functional.normalize(q, dim=-1)).sum(-1, keepdim=True)
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
        x = t * nn.functional.relu(self.h(x)) + (1 - t) * x
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
        return torch.einsum("nig,igo->no", bumps, self.spline) + self.base(nn.functional.silu(x))


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
            x = nn.functional.relu(layer(adjacency @ x / degree))
        return self.top(x.mean(1))


@net("dense")
def dense_gcn() -> Net:
    links = (torch.rand(2, 6, 6) > 0.5).float()
    return plain(Graph(), sized(2, 6, 5), torch.clamp(links + links.mT + torch.eye(6), max=1))
