"""Which known function a region of the graph computes: tried on values, since exporters spell it in dozens of ways.

Values alone do not do, since a trial does not look everywhere; so a region may hold only functions of which such spellings
are made, and each of its constants must have a part in what it is taken for. An activation is tried on a grid, on which each
constant must count: where the values stay without one (an epsilon, a clip far outside), it serves where the grid does not
look. A normalisation adds or bounds with one number at most, its epsilon or floor, and is tried on random values, at ordinary
scales and at those at which that number matters; a weight and a bias that are woven into the region are fitted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from reflrp.arrays import ZERO, Array
from reflrp.ir import Node, Op
from reflrp.ops.linear import Diagonal, SumOf
from reflrp.ops.norms import Standardise
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import Multiply
from reflrp.ops.routing import Expand

TOLERANCE = 5e-7
"""How far trial values may differ, relative to the largest: constants in files are often float32."""

ACTIVATIONS: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("gelu", ()),
    ("gelu_tanh", ()),
    ("swish", (1.0,)),
    ("swish", (1.702,)),
    ("hard_swish", ()),
    ("hard_sigmoid", (1 / 6, 0.5)),
    ("mish", ()),
    ("softplus", ()),
    ("sigmoid", ()),
    ("softsign", ()),
    ("log_sigmoid", ()),
    ("tanhshrink", ()),
)
"""The activations that exporters take apart."""

IN_ACTIVATIONS = frozenset(
    ("abs", "abs_power", "clip", "erf", "exp", "exponential", "hard_sigmoid", "log", "power", "reciprocal")
    + ("relu", "sigmoid", "softplus", "swish", "tanh")
)
IN_NORMS = frozenset(("abs_power", "clip", "power", "reciprocal", "root", "sqrt"))
"""The pointwise functions that spellings of activations and of normalisations are made of."""

GRID = np.concatenate([np.linspace(-12, 12, 97), np.linspace(-1, 1, 32), [-80, -40, -20, 20, 40, 80]])


@dataclass(frozen=True)
class Region:
    """Nodes in topological order with one input value and one output value."""

    nodes: tuple[Node, ...]
    entry: str

    @property
    def exit(self) -> Node:
        """The node whose output is the region's."""
        return self.nodes[-1]

    def run(self, x: np.ndarray) -> np.ndarray:
        """Return the region's output at x."""
        values = {self.entry: x}
        for node in self.nodes:
            values[node.output] = node.op.forward(*(values[i] for i in node.inputs))
        return values[self.exit.output]


def as_activation(region: Region) -> Op | None:
    """Return the activation that gives the region's values on the grid."""
    arrays = [a for n in region.nodes if isinstance(n.op, Diagonal) for a in (n.op.w, n.op.b) if a is not ZERO]
    if any(np.size(a) != 1 for a in arrays) or any(isinstance(n.op, Expand) for n in region.nodes):
        return None
    if all(isinstance(n.op, Diagonal | SumOf) for n in region.nodes) or not _functions(region) <= IN_ACTIVATIONS:
        return None
    flat = _flattened(region)
    trial = _on_grid(flat)
    for op, values in _known():
        if _same(trial, values):
            return op if all(not _same(_on_grid(other), trial) for other in _without_a_constant(flat)) else None
    return None


@cache
def _known() -> tuple[tuple[Pointwise, np.ndarray], ...]:
    """Return each activation with its values on the grid."""
    ops = [Pointwise(name, args) for name, args in ACTIVATIONS]
    with np.errstate(all="ignore"):
        return tuple((op, op.forward(GRID)) for op in ops)


def _functions(region: Region) -> set[str]:
    return {n.op.name for n in region.nodes if isinstance(n.op, Pointwise)}


def _on_grid(region: Region) -> np.ndarray | None:
    """Return a region's values on the grid, None where it does not run on a vector."""
    with np.errstate(all="ignore"):
        try:
            return np.asarray(region.run(GRID))
        except (ValueError, IndexError):
            return None


def _same(y: np.ndarray | None, wanted: np.ndarray | None) -> bool:
    if y is None or wanted is None or y.shape != wanted.shape:
        return False
    return bool(np.all(np.abs(y - wanted) <= TOLERANCE * (np.abs(wanted) + np.maximum(np.abs(GRID), 1))))


def _without_a_constant(region: Region) -> Iterator[Region]:
    """Yield the region without one of its scales, shifts or bounds, for each of them."""
    for i, node in enumerate(region.nodes):
        others: list[Op] = []
        if isinstance(node.op, Diagonal):
            others += [replace(node.op, b=ZERO)] if node.op.b is not ZERO and np.any(node.op.b) else []
            if np.any(node.op.w != 1):
                others += [replace(node.op, w=np.ones_like(node.op.w)), replace(node.op, w=np.zeros_like(node.op.w))]
        elif isinstance(node.op, Pointwise) and node.op.name == "clip":
            low, high = node.op.args
            others += [replace(node.op, args=(-np.inf, high))] if low > -np.inf else []
            others += [replace(node.op, args=(low, np.inf))] if high < np.inf else []
        for op in others:
            yield Region((*region.nodes[:i], replace(node, op=op), *region.nodes[i + 1 :]), region.entry)


def _flattened(region: Region) -> Region:
    """Return the region with its shapes taken off, so that it runs on a vector."""
    return Region(tuple(replace(n, op=_flat(n.op)) for n in region.nodes), region.entry)


def _flat(op: Op) -> Op:
    if isinstance(op, Diagonal):
        return replace(op, w=np.reshape(op.w, ()), b=op.b if op.b is ZERO else np.reshape(op.b, ()))
    if isinstance(op, SumOf):
        k = len(op.sources)
        return replace(op, w=np.reshape(op.w, (k, 1)), source=(k, *GRID.shape), sources=(GRID.shape,) * k)
    if isinstance(op, Multiply):
        return replace(op, sources=(GRID.shape, GRID.shape))
    return op


def as_norm(region: Region, axes: tuple[int, ...], shape: tuple[int, ...]) -> Op | None:
    """Return the normalisation over these axes that gives the region's values on random ones."""
    bound = _bound(region.nodes)
    woven = any(_is_affine(n.op) for n in region.nodes)
    if bound is None or not _functions(region) <= IN_NORMS or (woven and _is_affine(region.exit.op)):
        return None  # a scale and a shift at the end, `_take_in_affine` takes in exactly
    with np.errstate(all="ignore"):
        trials = [(x, region.run(x)) for x in _trials(shape, bound)]
        for op in _norms(axes, bound):
            found = _fitted(op, trials) if woven else op
            if all(_same_rows(found.forward(x), y, axes) for x, y in trials):
                return found
    return None


def _is_affine(op: Op) -> bool:
    """Return whether a scale or a shift is a weight or a bias: no number, nor an array of one number."""
    return isinstance(op, Diagonal) and (np.size(op.w) > 1 or (np.size(op.b) > 1 and _number(op.b) is None))


def _number(x: Array) -> float | None:
    """Return the number that all entries are; 0 for ZERO, None where they differ."""
    flat = np.zeros(1) if x is ZERO else np.reshape(x, -1)
    return float(flat[0]) if np.all(flat == flat[0]) else None


def _bound(nodes: tuple[Node, ...]) -> float | None:
    """Return the one positive number that the region adds or bounds from below with, 0 without any; else None."""
    found: list[float] = []
    for node in nodes:
        if isinstance(node.op, Diagonal):
            found.append(_number(node.op.b) or 0.0)  # what differs from entry to entry is a bias
        elif isinstance(node.op, Pointwise) and node.op.name == "clip":
            low, high = (_number(np.asarray(a)) for a in node.op.args)
            found.append(low if low is not None and high == np.inf else -1.0)
    found = [c for c in found if c] or [0.0]
    return found[0] if len(found) == 1 and 0 <= found[0] < np.inf else None


def _trials(shape: tuple[int, ...], bound: float) -> Iterator[np.ndarray]:
    """Yield inputs at ordinary scales, and at those at which the bound counts as much as the statistic, and more."""
    random = np.random.default_rng(0)
    matter = [scale * part for scale in (bound, np.sqrt(bound)) for part in (1, 0.03)] if bound else [1e-3]
    for scale in (1.7, 0.9, 1e3, *matter):
        yield scale * (random.standard_normal(shape) + 0.35)


def _norms(axes: tuple[int, ...], bound: float) -> Iterator[Standardise]:
    """Yield the normalisations over the axes with the bound as the epsilon, and as the floor of the root."""
    for epsilon, floor in [(bound, 0.0), (0.0, bound), (0.0, float(np.sqrt(bound)))] if bound else [(0.0, 0.0)]:
        layer = Standardise(np.ones(()), ZERO, axes, epsilon, floor=floor)
        yield from (layer, replace(layer, center=False), replace(layer, ddof=1))
        yield replace(layer, center=False, mean=False)


def _same_rows(y: np.ndarray, wanted: np.ndarray, axes: tuple[int, ...]) -> bool:
    """Return whether values agree, relative to the largest of each row that is normalised."""
    scale = np.max(np.abs(wanted), axis=axes, keepdims=True)
    return bool(np.all(np.abs(y - wanted) <= TOLERANCE * scale))


def _fitted(op: Standardise, trials: list[tuple[np.ndarray, np.ndarray]]) -> Standardise:
    """Return the normalisation with the weight and bias, along its axes, that fit the first three trials best."""
    n = np.stack([op.forward(x) for x, _ in trials[:3]])
    y = np.stack([y for _, y in trials[:3]])
    rows = (0, *(i + 1 for i in range(n.ndim - 1) if i not in op.axes))
    unit = n - n.mean(axis=rows, keepdims=True)
    w = (unit * y).sum(axis=rows, keepdims=True) / (unit * unit).sum(axis=rows, keepdims=True)
    b = (y - w * n).mean(axis=rows, keepdims=True)
    return replace(op, w=_squeezed(w), b=ZERO if np.all(np.abs(b) <= 1e-12 * np.abs(w).max()) else _squeezed(b))


def _squeezed(x: np.ndarray) -> np.ndarray:
    """Return an array without its leading axes of length 1."""
    lead = next((i for i, n in enumerate(x.shape) if n > 1), x.ndim)
    return np.reshape(x, x.shape[lead:])
