"""Which rules are faithful on which kind of network: the evidence behind `rules="auto"`.

    python benchmarks/study_rules.py FOLDER [--samples 60] [--seeds 3] [--only WORD]

trains small networks of several kinds (`study_nets.py`), exports them to ONNX into FOLDER (those that lie there are used
again), explains held-out samples that they get right by each preset, and measures deletion and insertion curves: what the
network says while its features are taken away, or put in, the most relevant first. A feature that is away has its mean over
the training data (a pixel its mean colour, a step of a sequence the mean step). What is averaged is the probability of the
class that was explained.

Two tables in Markdown are printed. The first has the area under the insertion curve less that under the deletion curve, so
that random order scores about 0. The second has what `auto` chose, which share of the seed arrives at the input (the median
over the samples), and the area under the deletion curve (lower is better) of auto, of the default before it, and of random
order.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from study_nets import TASKS, Task
from torch import nn

import reflrp
from reflrp import rules
from reflrp.composites import Composite, first, kind, preset

BEFORE = "epsilon_plus_flat"
"""The default before `auto`."""

FLAT = first("conv"), rules.Flat()
CANDIDATES: dict[str, Any] = {
    "auto": "auto",
    "epsilon": "epsilon",
    "epsilon_plus": "epsilon_plus",
    BEFORE: BEFORE,
    "epsilon_alpha2_beta1": "epsilon_alpha2_beta1",
    "epsilon_gamma_box": "epsilon_gamma_box",
    "gamma, flat first": Composite(
        (FLAT, (kind("conv"), rules.Gamma(0.25, generalized=True)), *preset("epsilon").pairs), "gamma, flat first"
    ),
    "attnlrp": "attnlrp",
    "attnlrp, flat first": Composite((FLAT, *preset("attnlrp").pairs), "attnlrp, flat first"),
    "cp_lrp": "cp_lrp",
    "gamma_attnlrp": "gamma_attnlrp",
    "lstm": "lstm",
    "excitation_backprop": "excitation_backprop",
    "gradient": "gradient",
}
STEPS = 16
"""In how many steps a curve goes from all features to none."""


class Areas(NamedTuple):
    """The areas under the curves of deletion and insertion."""

    deletion: float
    insertion: float

    @property
    def score(self) -> float:
        """What insertion has more than deletion."""
        return self.insertion - self.deletion


class Trained(NamedTuple):
    """A network, held-out samples that it gets right, the mean of the training data, and the accuracy."""

    model: reflrp.Model
    x: np.ndarray
    away: np.ndarray
    accuracy: float


def trained(task: Task, folder: Path, seed: int) -> Trained:
    """Return a network, from the folder where it is there."""
    x, y = task.data()
    train, test, train_y, test_y = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    path = folder / f"{task.name.replace(': ', '-').replace(', ', '-').replace(' ', '_')}-{seed}.onnx"
    if not path.exists():
        torch.manual_seed(seed)
        net = task.make(x.shape[-1], int(y.max()) + 1)
        _fit(net, torch.from_numpy(train), torch.from_numpy(train_y).long(), task.epochs)
        _export(net, torch.from_numpy(test[:2]), path)
    model = reflrp.load(path)
    right = model.run({"x": test})["y"].argmax(1) == test_y
    return Trained(model, test[right], train.mean(0), float(right.mean()))


def _export(net: nn.Module, x: torch.Tensor, path: Path) -> None:
    shapes = ({0: torch.export.Dim("batch")},)
    net.eval()
    program = torch.onnx.export(
        net, (x,), input_names=["x"], output_names=["y"], dynamo=True, dynamic_shapes=shapes, verbose=False
    )
    program.save(str(path))


def _fit(net: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-2)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(net(x[part]), y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def areas(net: Trained, x: np.ndarray, target: np.ndarray, R: np.ndarray, together: tuple[int, ...]) -> Areas:
    """Return the areas under the curves, of the order of relevance `R`."""
    joined = R.sum(axis=tuple(a + 1 for a in together), keepdims=True)
    flat = joined.reshape(len(x), -1)
    ranks = np.argsort(np.argsort(-flat, axis=1, kind="stable"), axis=1).reshape(joined.shape)
    curves = []
    for step in range(1, STEPS):
        early = ranks < flat.shape[1] * step / STEPS
        left, kept = np.where(early, net.away, x), np.where(early, x, net.away)
        curves.append([_probability(net.model, part, target) for part in (left, kept)])
    deletion, insertion = np.mean(curves, axis=0)
    return Areas(float(deletion), float(insertion))


def _probability(model: reflrp.Model, x: np.ndarray, target: np.ndarray) -> float:
    y = model.run({"x": x.astype(np.float32)}, dtype="float32")["y"]
    e = np.exp(y - y.max(1, keepdims=True))
    return float((e / e.sum(1, keepdims=True))[np.arange(len(x)), target].mean())


class Measured(NamedTuple):
    """What one network gave: its accuracy, the areas by candidate, the share that arrives by auto, and auto's note."""

    accuracy: float
    found: dict[str, Areas]
    share: float
    note: str


def measured(task: Task, folder: Path, seed: int, samples: int) -> Measured:
    """Explain the first samples by all candidates."""
    net = trained(task, folder, seed)
    x = net.x[:samples]
    explained = {name: reflrp.explain(net.model, x, rules=chosen) for name, chosen in CANDIDATES.items()}
    e = explained["auto"]
    target = np.array([t[0] for t in e.target])
    found = {name: areas(net, x, target, one.relevance, task.together) for name, one in explained.items()}
    rng = np.random.default_rng(seed)
    orders = [areas(net, x, target, rng.standard_normal(x.shape), task.together) for _ in range(3)]
    found["random"] = Areas(*np.mean(orders, axis=0))
    share = np.median(e.relevance.reshape(len(x), -1).sum(1) / e.output[np.arange(len(x)), target])
    note = next((n for n in e.notes if n.startswith("auto: ")), "")
    return Measured(net.accuracy, found, float(share), note.removeprefix("auto: "))


def mean_areas(rows: list[Measured], name: str) -> Areas:
    """Return the mean over the seeds."""
    return Areas(*np.mean([row.found[name] for row in rows], axis=0))


def scores(results: dict[str, list[Measured]]) -> list[str]:
    """Return the first table."""
    names = [*CANDIDATES, "random"]
    lines = ["| network | right | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for name, rows in results.items():
        right = f"{100 * np.mean([row.accuracy for row in rows]):.0f} %"
        cells = " | ".join(f"{mean_areas(rows, k).score:.2f}" for k in names)
        lines.append(f"| {name} | {right} | {cells} |")
    return lines


def choices(results: dict[str, list[Measured]]) -> list[str]:
    """Return the second table."""
    head = "| network | what auto chose | share | deletion: auto | before | random |"
    lines = [head, "|---" * 6 + "|"]
    for name, rows in results.items():
        share = f"{100 * np.mean([row.share for row in rows]):.0f} %"
        cells = " | ".join(f"{mean_areas(rows, k).deletion:.2f}" for k in ("auto", BEFORE, "random"))
        lines.append(f"| {name} | {rows[0].note} | {share} | {cells} |")
    return lines


def main() -> None:
    """Train, explain, measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="networks whose name contains this")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    results = {
        task.name: [measured(task, given.folder, seed, given.samples) for seed in range(given.seeds)]
        for task in TASKS
        if given.only in task.name
    }
    print("\n".join([*scores(results), "", *choices(results)]))


if __name__ == "__main__":
    main()
