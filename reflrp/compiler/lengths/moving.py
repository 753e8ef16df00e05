"""Slices in place of tables of entry numbers: along an open axis a node is another one than at an example, and does the same."""

from __future__ import annotations

from dataclasses import fields, replace
from math import prod
from typing import Any

import numpy as np

from reflrp.arrays.kernels import Windows
from reflrp.arrays.tracing.dims import Dim, example
from reflrp.ir import Op, Shape
from reflrp.ops.axismap import AxisMap
from reflrp.ops.openmaps import OpenAxisMap, OpenMean, OpenSum, OpenTake, Stretch
from reflrp.ops.picking import Index, Take
from reflrp.ops.pieces import Pieces, Regrouped, Repeated
from reflrp.ops.routing import Slice
from reflrp.ops.shifted import Shifted


def moves_alike(op: Op, twin: Op) -> bool:
    """Return whether slices, at the example, move entries and their relevance as a table of numbers does.

    Both are run on the entries' numbers: there, and back on those of the outputs.
    """
    if not isinstance(op, Slice | Pieces | Regrouped | Repeated) or not isinstance(twin, Index | Take):
        return False
    own = at_example(op)
    if own.source != twin.source:
        return False
    x = _numbers(twin.source)
    y, wanted = own.forward(x), twin.forward(x)
    if not np.array_equal(y, wanted):
        return False
    R = _numbers(wanted.shape)
    return all(map(np.array_equal, own.transpose(R, x), twin.transpose(R, x)))


def _numbers(shape: Shape) -> np.ndarray:
    return np.arange(prod(shape), dtype=float).reshape(shape)


ROUNDED = 1e-12
"""How far apart two ways to work out a coefficient of at most 1 may be, in float64."""


def as_fixed(op: Op, twin: Op) -> Op:
    """Return a map whose coefficients follow from open lengths as it is at the example; any other op as it is.

    Its coefficients are those of its twin, where they are so up to the rounding of another order of operations.
    """
    if not isinstance(op, OpenAxisMap | OpenMean | OpenSum | OpenTake | Shifted):
        return op
    found: Op = at_example(op).plain()
    if isinstance(found, AxisMap) and isinstance(twin, AxisMap) and found.w.shape == twin.w.shape:
        return replace(found, w=twin.w) if bool((abs(found.w - twin.w) <= ROUNDED).all()) else found
    return found


def stays(op: Op) -> bool:
    """Return whether a resize leaves a length as it is at the example, but not at all others."""
    how = [op.stretch] if isinstance(op, OpenTake) else [m for _, m in op.maps] if isinstance(op, OpenAxisMap) else []
    return any(isinstance(h, Stretch) and h.size != h.out and example(h.size) == example(h.out) for h in how)


def at_example(x: Any) -> Any:
    """Return an op, or a part of one, with the numbers of the example in place of lengths."""
    if isinstance(x, Dim):
        return example(x)
    if isinstance(x, slice):
        return slice(at_example(x.start), at_example(x.stop), x.step)
    if isinstance(x, Op | Windows | Stretch):
        return replace(x, **{f.name: at_example(getattr(x, f.name)) for f in fields(x)})
    return tuple(map(at_example, x)) if isinstance(x, tuple) else x
