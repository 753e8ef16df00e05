"""Which known function a region of the graph computes: tried on values, since exporters spell it in dozens of ways.

An activation is tried on a grid. Each constant of the region must count: where the values stay without one (an epsilon, a
clip far outside), it serves where the grid does not look, and the region is no activation. A normalisation is tried on
random values, at ordinary scales and at those at which its epsilon or floor matters; a weight and a bias that are woven
into the region are fitted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from reflrp.arrays import ZERO
from reflrp.ir import Node, Op
from reflrp.linear import Diagonal, SumAxes, SumOf
from reflrp.norms import Standardise
from reflrp.pointwise import Pointwise
from reflrp.product import Multiply
from reflrp.routing import Expand

TOLERANCE = 2e-6
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
    if all(isinstance(n.op, Diagonal | SumOf) for n in region.nodes):
        return None
    flat = _flattened(region)
    trial = _on_grid(flat)
    for name, args in ACTIVATIONS:
        op = Pointwise(name, args)
        if _same(trial, op.forward(GRID)):
            return op if all(not _same(_on_grid(other), trial) for other in _without_a_constant(flat)) else None
    return None


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
            others += [replace(node.op, w=np.ones_like(node.op.w))] if np.any(node.op.w != 1) else []
        elif isinstance(node.op, Pointwise) and node.op.name == "clip":
            low, high = node.op.args
            others += [replace(node.op, args=(-np.inf, high)), replace(node.op, args=(low, np.inf))]
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
    if not all(isinstance(n.op, Pointwise | Multiply | Diagonal | SumOf | SumAxes | Expand) for n in region.nodes):
        return None
    constants = _constants(region.nodes)
    woven = any(_is_affine(n.op) for n in region.nodes)
    if woven and _is_affine(region.exit.op):
        return None  # what follows the normalisation, `_take_in_affine` takes in exactly
    with np.errstate(all="ignore"):
        trials = [(x, region.run(x)) for x in _trials(shape, constants)]
        for op in _norms(axes, [*constants, 0.0]):
            found = _fitted(op, trials) if woven else op
            if all(_same_rows(found.forward(x), y, axes) for x, y in trials):
                return found
    return None


def _is_affine(op: Op) -> bool:
    return isinstance(op, Diagonal) and max(np.size(op.w), np.size(op.b)) > 1


def _constants(nodes: tuple[Node, ...]) -> list[float]:
    """Return the positive numbers that the region adds or bounds with: candidates for an epsilon or a floor."""
    found: list[float] = []
    for node in nodes:
        if isinstance(node.op, Diagonal) and node.op.b is not ZERO and np.size(node.op.b) == 1:
            found.append(float(np.reshape(node.op.b, ())))
        elif isinstance(node.op, Pointwise) and node.op.name == "clip" and np.size(node.op.args[0]) == 1:
            found.append(float(np.reshape(node.op.args[0], ())))
    return [c for c in dict.fromkeys(found) if 0 < c < np.inf]


def _trials(shape: tuple[int, ...], constants: list[float]) -> Iterator[np.ndarray]:
    """Yield inputs at ordinary scales, and at those at which a constant counts as much as the statistic, and more."""
    random = np.random.default_rng(0)
    matter = [scale * part for c in constants for scale in (c, np.sqrt(c)) for part in (1, 0.03)]
    for scale in (1.7, 0.9, 1e3, *matter):
        yield scale * (random.standard_normal(shape) + 0.35)


def _norms(axes: tuple[int, ...], constants: list[float]) -> Iterator[Standardise]:
    """Yield the normalisations over the axes with each constant as the epsilon, and as the floor of the root."""
    one = np.ones(())
    for c in constants:
        for epsilon, floor in [(c, 0.0), (0.0, c), (0.0, float(np.sqrt(c)))] if c else [(0.0, 0.0)]:
            layer = Standardise(one, ZERO, axes, epsilon, floor=floor)
            yield from (layer, replace(layer, center=False), replace(layer, ddof=1))
            yield replace(layer, center=False, mean=False)


def _same_rows(y: np.ndarray, wanted: np.ndarray, axes: tuple[int, ...]) -> bool:
    """Return whether values agree, relative to the largest of each row that is normalised."""
    scale = np.max(np.abs(wanted), axis=axes, keepdims=True)
    return bool(np.all(np.abs(y - wanted) <= TOLERANCE * scale))


def _fitted(op: Standardise, trials: list[tuple[np.ndarray, np.ndarray]]) -> Standardise:
    """Return the normalisation with the weight and bias, along its axes, that fit the trials best."""
    rows = tuple(i for i in range(trials[0][0].ndim) if i not in op.axes)
    n, y = (np.concatenate(a) for a in zip(*((op.forward(x), y) for x, y in trials[:3]), strict=True))
    unit = n - n.mean(axis=rows, keepdims=True)
    w = (unit * y).sum(axis=rows, keepdims=True) / (unit * unit).sum(axis=rows, keepdims=True)
    b = (y - w * n).mean(axis=rows, keepdims=True)
    return replace(op, w=_squeezed(w), b=ZERO if np.all(np.abs(b) <= 1e-12 * np.abs(w).max()) else _squeezed(b))


def _squeezed(x: np.ndarray) -> np.ndarray:
    """Return an array without its leading axes of length 1."""
    lead = next((i for i, n in enumerate(x.shape) if n > 1), x.ndim)
    return np.reshape(x, x.shape[lead:])
