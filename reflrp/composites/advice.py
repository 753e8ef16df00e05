"""Advice: what an explanation shows of itself that its reader should know, observed at the input that is explained.

There are three kinds, and each says what to do:

1. the share of the seed that reaches the inputs is below a half or above two, for more than half of the samples and for all
   of them together (where their seeds do not cancel). A sample whose seed is less than a tenth of what it could be (the
   largest output; the absolute sum of a given init) has no share to speak of, and gradient-like rules are left alone;
2. the input of a ZBox rule leaves its box by more than a hundredth of the box's width;
3. what looks like pixels of 0..255 reaches a convolution on images: whole numbers, or any that go up to nearly 255. Which
   range a network was trained on does not stand in the file, so this is silent where the file shows that it takes such
   numbers: it scales or centres them itself, or normalises them, or the convolution's output, by statistics that they fit.

A `Watch` sees every cut of a batch, so that what it says does not depend on how the batch is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np

from reflrp.arrays import Array, namespace
from reflrp.composites.auto import on_images
from reflrp.ir import Graph, Node
from reflrp.ledger import Ledger, Row
from reflrp.passes.preprocessing import origins
from reflrp.rules.base import Rule
from reflrp.rules.other import Stop, Taylor
from reflrp.seeds import Contrast, Goal, value

LEAST, MOST = 0.5, 2.0
"""The share of the seed that should reach the inputs."""

SMALL = 0.1
"""A seed that is smaller than this part of what it could be has no share to speak of."""

EDGE = 0.01
"""The part of a box' width that an input may lie outside: bounds are written with few digits."""

WHITE, BRIGHT, CENTRED, FITTING = 200, 64, -16, 20
"""Pixels of 0..255: the brightest is beyond the first, or at least (whole numbers) the second; one that was centred may be
below the third; outputs that were normalised by statistics of such pixels are, in each sample's mean square, below the fourth."""

SOME = 1000
"""How many numbers are looked at first."""

CURES = {
    "bias": "biases and other constants keep or supply the rest, as these rules have it (bias='ignore' of Epsilon and ZPlus "
    "leaves them out)",
    "stabilizer": "stabilisers keep the rest, where contributions cancel or none counts (try a smaller epsilon there)",
    "dropped": "rules that do not conserve lose or add the rest, as Taylor at a Softmax (compare rules='cp_lrp')",
}
"""Where relevance may have gone, and what to do."""


@dataclass
class _Seen:
    """The least and the largest number of what was seen, whether all were whole, and the largest mean square of a sample."""

    low: float = inf
    high: float = -inf
    whole: bool = True
    square: float = -inf

    def add(self, x: Array, square: bool = False) -> tuple[float, float]:
        """See one more array, and return its least and its largest number."""
        xp = namespace(x)
        if 0 in x.shape:
            return inf, -inf
        low, high = float(xp.min(x)), float(xp.max(x))
        self.low, self.high = min(self.low, low), max(self.high, high)
        for part in (xp.reshape(x, (-1,))[:SOME], x):  # most of what is not whole shows it at once
            self.whole = self.whole and bool(xp.all(part % 1 == 0))
        if square:
            self.square = max(self.square, float(xp.max(xp.mean(x * x, axis=tuple(range(1, x.ndim))))))
        return low, high


@dataclass
class _Box:
    """How far a node's input went beyond its box, in widths of it; the box and the input by their least and largest."""

    beyond: float = 0.0
    bounds: _Seen = field(default_factory=_Seen)
    input: _Seen = field(default_factory=_Seen)


@dataclass
class Watch:
    """What is observed in the cuts of a batch: `see` each of them, then read `advice`.

    Attributes
    ----------
    operators : dict
        The ONNX operator of each node of the file.

    """

    operators: Mapping[str, str]
    boxes: dict[str, _Box] = field(default_factory=dict)
    pixels: dict[str, _Seen] = field(default_factory=dict)
    firsts: dict[tuple[str, str], tuple[_Seen, _Seen]] = field(default_factory=dict)

    def see(self, graph: Graph, rules: Mapping[str, Rule], values: Mapping[str, Array]) -> None:
        """See the values of one cut, before any is given back. Only what is looked at is asked for: it may be worked out then."""
        for node in graph.nodes:
            rule = rules.get(node.name)
            if rule is None or type(rule).box is Rule.box:
                continue
            box = rule.box(values[node.inputs[0]])
            if box is not None:
                self._see_box(node, values[node.inputs[0]], *box)
        images = [k for k in graph.inputs if values[k].ndim == 4 and graph.values[k].active]
        bright = [self._see_pixels(name, values[name]) for name in images]
        if any(bright):
            self._see_firsts(graph, values)

    def _see_pixels(self, name: str, x: Array) -> bool:
        """See an image, and return whether it may be one of several whose brightest is that of pixels of 0..255."""
        low, high = self.pixels.setdefault(name, _Seen()).add(x)
        return low >= 0 and 1 < high <= 255

    def _see_box(self, node: Node, a: Array, low: Array, high: Array) -> None:
        xp, seen = namespace(a), self.boxes.setdefault(node.name, _Box())
        seen.bounds.add(low)
        seen.bounds.add(high)
        seen.input.add(a)
        if 0 in a.shape:
            return
        width = float(xp.max(high - low)) or 1.0
        seen.beyond = max(seen.beyond, float(xp.max(low - a)) / width, float(xp.max(a - high)) / width)

    def _see_firsts(self, graph: Graph, values: Mapping[str, Array]) -> None:
        """See what the first convolutions take, and what becomes of it where it is normalised by statistics."""
        origin, consumers = origins(graph), graph.consumers()
        for node in graph.nodes:
            name = origin.get(node.inputs[0]) if on_images(node, graph) else None
            if name not in self.pixels:
                continue
            taken, given = self.firsts.setdefault((name, node.name), (_Seen(), _Seen()))
            after = consumers.get(node.output, [])
            behind = next((n for n in after if n.op_type == "BatchNormalization"), None)
            operators = [self.operators.get(k) for k in node.onnx]
            if operators[:1] == ["BatchNormalization"]:
                taken.add(0 * values[node.inputs[0]])  # it normalises the pixels themselves
            else:
                taken.add(values[node.inputs[0]])
            if behind is not None or "BatchNormalization" in operators:
                given.add(values[behind.output if behind else node.output], square=True)

    def advice(self) -> Iterator[str]:
        """Yield what is to be said of boxes and of images."""
        for name, box in self.boxes.items():
            if box.beyond > EDGE:
                yield (
                    f"the input of {name!r} is in {box.input.low:.4g}..{box.input.high:.4g}, beyond the box "
                    f"{box.bounds.low:.4g}..{box.bounds.high:.4g} of its rule ZBox: give it the bounds of this node's input, "
                    "which are those behind all preprocessing, as low= and high= of the rule or preset"
                )
        for (name, first), (taken, given) in self.firsts.items():
            fits = 0 <= given.square < FITTING**2
            if _pixels(self.pixels[name]) and taken.high > BRIGHT and taken.low > CENTRED and not fits:
                yield (
                    f"input {name!r} goes up to {self.pixels[name].high:.0f}, as pixels of 0..255 do, and {first!r} takes them "
                    "unscaled: a network that was trained on pixels of 0..1 wants them divided by 255 first"
                )


def _pixels(seen: _Seen) -> bool:
    return seen.low >= 0 and (BRIGHT if seen.whole else WHITE) < seen.high <= 255


def shares(relevances: Mapping[str, np.ndarray], seeds: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """Return which share of its seed reaches the inputs, for each sample that has a seed worth the name.

    Of a batch whose relevance is not one row a sample in every input, the share of all of it together.
    """
    reached: Any = [float(sum(R.sum(dtype=float) for R in relevances.values()))]
    if all(R.ndim and len(R) == len(seeds) for R in relevances.values()):
        reached = sum(R.reshape(len(seeds), -1).sum(axis=1, dtype=float) for R in relevances.values())
    elif not worth.all():
        return np.zeros(0)
    else:
        seeds, worth = seeds.sum(keepdims=True), np.abs(seeds.sum(keepdims=True)) > SMALL * np.abs(seeds).sum()
    found: np.ndarray = np.asarray(reached, dtype=float)[worth] / seeds[worth]
    finite: np.ndarray = found[np.isfinite(found)]
    return finite


def seeds_of(output: np.ndarray, target: Sequence[Goal], init: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the seed of each sample, and whether it is large enough to speak of a share of it."""
    if not isinstance(init, str):
        given = np.asarray(init, dtype=float).reshape(len(output) if output.ndim else 1, -1)
        return given.sum(axis=1), np.abs(given.sum(axis=1)) > SMALL * np.abs(given).sum(axis=1)
    y = output.reshape(len(output), -1).astype(float)
    at = np.array([value(output, n, goal) for n, goal in enumerate(target)], dtype=float)
    ones = np.array([not isinstance(goal, Contrast) for goal in target], dtype=float)  # of a contrast 1 and -1
    seeds, large = at if init == "output" else ones, np.abs(at) > SMALL * np.abs(y).max(axis=1)
    return seeds, large & (seeds != 0)


def on_share(found: np.ndarray, ledger: Ledger, rules: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is to be said of the shares of the seed that reach the inputs."""
    odd, totals = (found < LEAST) | (found > MOST), ledger.totals
    conserving = all(not isinstance(r, Rule) or r.conserves or isinstance(r, Taylor | Stop) for r in rules.values())
    whole = (
        totals["inputs"] / totals["seed"] if totals["seed"] else inf
    )  # no more to be said where samples are in other places
    if not conserving or 2 * np.count_nonzero(odd) <= len(found) or LEAST <= whole <= MOST:
        return
    kind = max(CURES, key=lambda k: abs(totals[k]))
    most = sorted(ledger.rows, key=lambda row: -abs(_kept(row)))[:3]
    where = ", ".join(f"{row.node!r} {_kept(row):.3g}" for row in most if _kept(row))
    share = f"{100 * float(np.median(found)):.3g} %"
    yield (
        f"{share} of the seed reaches the input{' (median of the samples)' * (len(found) > 1)}, so do not read its sums as parts "
        f"of the output; of {totals['seed']:.3g} most stays in (or, negative, comes from) {where}: {CURES[kind]}"
    )


def _kept(row: Row) -> float:
    return row.bias + row.stabilizer + row.dropped
