"""Which rules are faithful on which kind of network: the evidence behind `rules="auto"`.

    python benchmarks/study_rules.py FOLDER [--samples 100] [--seeds 3]

trains small networks of five kinds on data that ship with scikit-learn or are made here, exports them to ONNX into FOLDER
(those that lie there are used again), explains held-out samples by each preset, and measures deletion and insertion curves:
what the network says while its features are taken away, or put in, the most relevant first. A feature that is away has its
mean over the training data (a step of a sequence: the mean step). The score of a preset is the area under the insertion curve
less that under the deletion curve, of the probability of the class that was explained, so random order scores about 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import train_test_split
from torch import nn

import reflrp

PRESETS = (
    "epsilon", "lrp_0", "epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_gamma_box", "attnlrp", "cp_lrp",
    "gamma_attnlrp", "lstm", "excitation_backprop", "gradient",
)  # fmt: skip
STEPS = 16
"""In how many steps a curve goes from all features to none."""


@dataclass(frozen=True)
class Task:
    """A network to train: its data, and which axes of a sample (after the batch) make one feature together."""

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
    """The same on patches of 2x2 pixels, cut by a convolution."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__(32, classes, 16)
        self.cut = nn.Conv2d(1, 32, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return super().forward(self.cut(x).flatten(2).transpose(1, 2))


TASKS = (
    Task("table: breast cancer", mlp, lambda: table(load_breast_cancer)),
    Task("table: wine", mlp, lambda: table(load_wine)),
    Task("image: digits, convolutions", cnn, lambda: digits((1, 8, 8))),
    Task("image: digits, patches and attention", Vision, lambda: digits((1, 8, 8))),
    Task("series: bursts, convolutions", cnn_1d, waves),
    Task("sequence: phrases, LSTM", Recurrent, phrases, (1,)),
    Task("sequence: phrases, attention", Transformer, phrases, (1,)),
    Task("sequence: rows of digits, LSTM", Recurrent, lambda: digits((8, 8)), (1,)),
)


def trained(task: Task, folder: Path, seed: int) -> tuple[reflrp.Model, np.ndarray, np.ndarray, float]:
    """Return a network, held-out samples, the mean of the training data, and the accuracy."""
    x, y = task.data()
    train, test, train_y, test_y = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    path = folder / f"{task.name.replace(': ', '-').replace(', ', '-').replace(' ', '_')}-{seed}.onnx"
    if not path.exists():
        torch.manual_seed(seed)
        net = task.make(x.shape[-1], int(y.max()) + 1)
        _fit(net, torch.from_numpy(train), torch.from_numpy(train_y).long(), task.epochs)
        program = torch.onnx.export(
            net.eval(),
            (torch.from_numpy(test[:2]),),
            input_names=["x"],
            output_names=["y"],
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
        program.save(str(path))
    model = reflrp.load(path)
    right = model.run({"x": test})["y"].argmax(1) == test_y
    return model, test[right], train.mean(0), float(right.mean())


def _fit(net: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-2)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(net(x[part]), y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def score(
    model: reflrp.Model, x: np.ndarray, away: np.ndarray, target: np.ndarray, R: np.ndarray, together: tuple[int, ...]
) -> float:
    """Return the area under the insertion curve less that under the deletion curve, over all samples."""
    joined = R.sum(axis=tuple(a + 1 for a in together), keepdims=True)
    flat = joined.reshape(len(x), -1)
    ranks = np.argsort(np.argsort(-flat, axis=1, kind="stable"), axis=1).reshape(joined.shape)
    found = 0.0
    for step in range(1, STEPS):
        first = ranks < flat.shape[1] * step / STEPS
        kept, left = np.where(first, x, away), np.where(first, away, x)
        found += float((_probability(model, kept, target) - _probability(model, left, target)).mean())
    return found / (STEPS - 1)


def _probability(model: reflrp.Model, x: np.ndarray, target: np.ndarray) -> np.ndarray:
    y = model.run({"x": x.astype(np.float32)})["y"]
    e = np.exp(y - y.max(1, keepdims=True))
    return (e / e.sum(1, keepdims=True))[np.arange(len(x)), target]


def main() -> None:
    """Train, explain, measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    presets = [p for p in ("auto", *PRESETS) if p in reflrp.composites.presets()]
    print("| network | right | " + " | ".join(presets) + " | random |")
    print("|---" * (len(presets) + 3) + "|")
    for task in TASKS:
        rows = np.mean([_row(task, given.folder, seed, given.samples, presets) for seed in range(given.seeds)], axis=0)
        print(f"| {task.name} | {100 * rows[0]:.0f} % | " + " | ".join(f"{v:.3f}" for v in rows[1:]) + " |", flush=True)


def _row(task: Task, folder: Path, seed: int, samples: int, presets: list[str]) -> list[float]:
    model, x, away, right = trained(task, folder, seed)
    x = x[:samples]
    found = [right]
    for preset in presets:
        e = reflrp.explain(model, x, rules=preset)
        target = np.array([t[0] for t in e.target])
        found.append(score(model, x, away, target, e.relevance, task.together))
    rng = np.random.default_rng(seed)
    found.append(
        np.mean([score(model, x, away, target, rng.standard_normal(x.shape), task.together) for _ in range(3)])
    )
    return found


if __name__ == "__main__":
    main()
