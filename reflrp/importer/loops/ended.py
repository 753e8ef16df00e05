"""Sequences of their own lengths in a recurrent node: which run on at each step, where the lengths come with the data.

A sequence that has ended keeps its state, and its output is zero: state' = new where t < length, else state; Y = H where
t < length, else 0. Backwards this makes a sequence begin at its own last entry.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reflrp.arrays.tracing.dims import is_open
from reflrp.importer.lengths.fillings import filled
from reflrp.importer.lengths.formulas import Shown
from reflrp.importer.loops.cells import Cell, Made, State
from reflrp.importer.loops.stepping import put
from reflrp.importer.site import Ref, Site, Unbuildable
from reflrp.ops.recurrence import Running
from reflrp.ops.routing import Reshape, Slice, Where


def running(site: Site, x: Ref) -> Ref | None:
    """Return which sequences run on at each step, (steps, batch, 1), by lengths that are no constant; None for none such."""
    lengths = site.args[4] if site.has(4) else None
    if not isinstance(lengths, Ref):
        if lengths is not None and is_open(x.shape[:1]):
            raise Unbuildable(
                "the lengths of its sequences are constant, and the number of its steps is left open: fix that number, or make the "
                "lengths an input of the model"
            )
        return None
    if lengths.name in site.work.late:
        if filled(site, lengths.name) == x.shape[0]:
            return None
        raise Unbuildable("the lengths of its sequences follow from lengths that are left open, and are other ones")
    if lengths.value.active or lengths.value.dtype.kind not in "iu":
        raise Unbuildable("the lengths of its sequences are worked out by the network")
    column = put(site, Reshape(lengths.shape, (*lengths.shape, 1)), lengths, "running.lengths")
    return compared(site, Running(x.shape[0]), column, "running")


def compared(site: Site, op: Running, x: Ref, part: str) -> Ref:
    """Add a comparison of data with the numbers of all steps."""
    return put(site, op, x, part, Shown(op.shape(x.shape), np.dtype(bool)))


def at(site: Site, mask: Ref, t: int, cell: Cell) -> Ref:
    """Return which sequences run on at step t, (batch, 1)."""
    key = (slice(t, t + 1), slice(None), slice(None))
    row = put(site, Slice(mask.shape, key), mask, cell.label("running.slice"))
    return put(site, Reshape(row.shape, mask.shape[1:]), row, cell.label("running"))


Advance = Callable[[Cell, Ref, State], State]


def advanced(cell: Cell, advance: Advance, x: Ref, state: State, mask: Ref | None) -> State:
    """Return the states after a step; behind them, where sequences may have ended, what the step puts out."""
    new = advance(cell, x, state)
    if mask is None:
        return new
    kept = tuple(chosen(cell, mask, a, b, f"S{k}") for k, (a, b) in enumerate(zip(new, state, strict=True)))
    return (*kept, chosen(cell, mask, new[0], np.zeros((1, cell.hidden)), "Y"))


def chosen(cell: Cell, running: np.ndarray | Ref, new: Made, old: Made, what: str) -> Made:
    """Return the new state for the sequences that still run, the old one for those that have ended."""
    given = (running, new, old)
    refs = [v for v in given if isinstance(v, Ref)]
    condition, x, y = (None if isinstance(v, Ref) else v for v in given)
    op = Where(condition, x, y, tuple(r.shape for r in refs), new.shape)
    return cell.site.emit(op, *refs, part=cell.label(what))
