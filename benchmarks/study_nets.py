"""The networks of `study_rules.py`: small ones of many kinds, and the data that they learn, which need no download.

Real data are those that ship with scikit-learn: tables (breast cancer, wine), digits, and two photographs. Made are series
with bursts, phrases of embedded words, and the shapes that are drawn on pieces of the photographs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_sample_images, load_wine
from torch import nn


@dataclass(frozen=True)
class Task:
    """A network to train: its data, and which axes of a sample (after the batch) make one feature together.

    `make` takes the size of the data's last axis and the number of classes.
    """

    name: str
    make: Callable[[int, int], nn.Module]
    data: Callable[[], tuple[np.ndarray, np.ndarray]]
    together: tuple[int, ...] = ()
    epochs: int = 60


def table(load: Callable[..., tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return a table with each column standardised."""
    x, y = load(return_X_y=True)
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32), y


def digits(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits in 0..1, as images or as sequences of rows."""
    x, y = load_digits(return_X_y=True)
    return (x / 16).reshape(-1, *shape).astype(np.float32), y


def shapes() -> tuple[np.ndarray, np.ndarray]:
    """Return pieces of photographs (N, 3, 20, 20) in 0..1, on each of which a shape is drawn: of four, which are the classes."""
    rng, photographs = np.random.default_rng(2), [i / 255 for i in load_sample_images().images]
    rows, columns = np.mgrid[-3:4, -3:4]
    disk, ring = rows**2 + columns**2 <= 10, np.maximum(abs(rows), abs(columns)) == 3
    drawn = np.stack([disk, ring, (rows == 0) | (columns == 0), abs(rows) == abs(columns)])[:, None]
    y = rng.integers(4, size=3000)
    x = np.empty((len(y), 3, 20, 20))
    for piece, shape in zip(x, y, strict=True):
        photograph = photographs[rng.integers(2)]
        i, j = (rng.integers(n - 20) for n in photograph.shape[:2])
        piece[:] = photograph[i : i + 20, j : j + 20].transpose(2, 0, 1)
        i, j = rng.integers(13, size=2)
        where = piece[:, i : i + 7, j : j + 7]
        where[:] = np.where(drawn[shape], rng.random((3, 1, 1)), where)
    return x.astype(np.float32), y


def halves() -> tuple[np.ndarray, np.ndarray]:
    """Return digits (N, 44): the pixels of the upper half, and of the lower half the sums of its rows and columns."""
    x, y = digits((8, 8))
    upper, lower = x[:, :4].reshape(len(x), 32), x[:, 4:]
    sums = np.concatenate([lower.sum(1), lower.sum(2)], axis=1)
    return np.concatenate([upper, (sums - sums.mean(0)) / (sums.std(0) + 0.1)], axis=1).astype(np.float32), y


def waves() -> tuple[np.ndarray, np.ndarray]:
    """Return noisy series (N, 1, 64) with a burst somewhere: of four shapes, which are the classes."""
    rng, t = np.random.default_rng(0), np.arange(12)
    bursts = np.stack([np.sin(t), np.sign(np.sin(t)), np.exp(-((t - 6) ** 2) / 4), (t % 6) / 3 - 1])
    y = rng.integers(4, size=1500)
    x = 0.3 * rng.standard_normal((len(y), 1, 64))
    for i, start in enumerate(rng.integers(0, 52, size=len(y))):
        x[i, 0, start : start + 12] += bursts[y[i]]
    return x.astype(np.float32), y


def phrases() -> tuple[np.ndarray, np.ndarray]:
    """Return embedded phrases (N, 12, 16): good and bad words among neutral ones, and "not", which turns the next word."""
    rng = np.random.default_rng(1)
    table_ = rng.standard_normal((40, 16))
    ids = rng.integers(9, 40, size=(3000, 12))
    for row in ids:
        for place in rng.choice(np.arange(0, 12, 2), size=3, replace=False):
            row[place + 1] = rng.integers(1, 9)  # 1..4 good, 5..8 bad
            row[place] = 0 if rng.random() < 0.3 else row[place]
    value = np.where(ids == 0, 0, np.where(ids < 5, 1, np.where(ids < 9, -1, 0)))
    turned = np.concatenate([np.ones((len(ids), 1)), np.where(ids[:, :-1] == 0, -1, 1)], axis=1)
    total = (value * turned).sum(1)
    kept = total != 0
    return table_[ids[kept]].astype(np.float32), (total[kept] > 0).astype(int)


def mlp(inputs: int, classes: int) -> nn.Module:
    """Return two hidden layers."""
    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, classes))


def cnn(inputs: int, classes: int) -> nn.Module:
    """Return three convolutions, two pools and a dense layer."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(96, classes),
    )  # fmt: skip


def cnn_1d(inputs: int, classes: int) -> nn.Module:
    """Return convolutions over time."""
    return nn.Sequential(
        nn.Conv1d(1, 12, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(12, 16, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(16, 16, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, classes),
    )  # fmt: skip


class Photographs(nn.Module):
    """Convolutions behind the usual normalisation of colours."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1))
        self.net = self.body(classes)

    def body(self, classes: int) -> nn.Module:
        """Return the network behind the normalisation."""
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24),
            nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(24, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
            nn.Linear(32, classes),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.net((x - self.mean) / self.std)


class PhotographPatches(Photographs):
    """A vision transformer on patches of 4x4 pixels, behind the same normalisation."""

    def body(self, classes: int) -> nn.Module:
        """Return the network behind the normalisation."""
        return Vision(3, classes, 4, 25)


class Recurrent(nn.Module):
    """An LSTM, and a dense layer on its last state."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(inputs, 24, batch_first=True), nn.Linear(24, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.head(self.lstm(x)[0][:, -1])


class Transformer(nn.Module):
    """Two encoder blocks with learned positions, and a dense layer on the mean token."""

    def __init__(self, inputs: int, classes: int, length: int = 12, width: int = 32) -> None:
        super().__init__()
        self.into, self.place = nn.Linear(inputs, width), nn.Parameter(0.1 * torch.randn(length, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 64, 0.0, nn.functional.gelu, batch_first=True) for _ in range(2)
        )
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        h = self.into(x) + self.place
        for block in self.blocks:
            h = block(h)
        return self.head(h.mean(1))


class Vision(Transformer):
    """The same on patches, cut by a convolution."""

    def __init__(self, inputs: int, classes: int, side: int = 2, length: int = 16) -> None:
        super().__init__(32, classes, length)
        self.cut = nn.Conv2d(inputs if side > 2 else 1, 32, side, stride=side)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return super().forward(self.cut(x).flatten(2).transpose(1, 2))


class ThenAttention(Transformer):
    """Convolutions, whose places are the tokens of the encoder."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__(24, classes, 16)
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return super().forward(self.convolutions(x).flatten(2).transpose(1, 2))


class ThenRecurrent(Recurrent):
    """Convolutions, whose columns are read one after the other by an LSTM."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__(96, classes)
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return super().forward(self.convolutions(x).permute(0, 3, 1, 2).flatten(2))


class Beside(nn.Module):
    """Convolutions on 32 pixels beside dense layers on the other columns."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )  # fmt: skip
        self.table = nn.Sequential(nn.Linear(inputs - 32, 24), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(96 + 24, 32), nn.ReLU(), nn.Linear(32, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        image = self.image(x[:, :32].reshape(-1, 1, 4, 8))
        return self.head(torch.cat([image, self.table(x[:, 32:])], dim=1))


TASKS = (
    Task("table: breast cancer", mlp, lambda: table(load_breast_cancer)),
    Task("table: wine", mlp, lambda: table(load_wine)),
    Task("image: digits, convolutions", cnn, lambda: digits((1, 8, 8))),
    Task("image: photographs, convolutions", Photographs, shapes, (0,), 25),
    Task("image: digits, patches and attention", Vision, lambda: digits((1, 8, 8))),
    Task("image: photographs, patches and attention", PhotographPatches, shapes, (0,)),
    Task("series: bursts, convolutions", cnn_1d, waves),
    Task("sequence: phrases, LSTM", Recurrent, phrases, (1,)),
    Task("sequence: rows of digits, LSTM", Recurrent, lambda: digits((8, 8)), (1,)),
    Task("sequence: phrases, attention", Transformer, phrases, (1,)),
    Task("mixed: digits, convolutions then LSTM", ThenRecurrent, lambda: digits((1, 8, 8))),
    Task("mixed: digits, convolutions then attention", ThenAttention, lambda: digits((1, 8, 8))),
    Task("mixed: halves of digits, image beside table", Beside, halves),
)
