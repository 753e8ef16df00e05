"""Sequences of their own lengths in a recurrent node: which run on at each step, where the lengths come with the data.

A sequence that has ended keeps its state, and its output is zero: state' = new where t < length, else state; Y = H where
t < length, else 0. Backwards this makes a sequence begin at its own last entry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reflrp.arrays.tracing.dims import bounds, is_open
from reflrp.arrays.tracing.spans import check_room
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
    if not isinstance(lengths, Ref) or lengths.name in site.work.late:
        return None
    if lengths.value.active or lengths.value.dtype.kind not in "iu":
        raise Unbuildable("the lengths of its sequences are worked out by the network")
    column = put(site, Reshape(lengths.shape, (*lengths.shape, 1)), lengths, "running.lengths")
    return compared(site, Running(x.shape[0]), column, "running")


def own_lengths(site: Site, x: Ref) -> Any:
    """Return the lengths of the sequences that the file says: an array, a number for all, or None where they run to the end.

    Those that come with the data are none of these (`running`).
    """
    lengths = site.args[4] if site.has(4) else None
    if isinstance(lengths, Ref):
        if lengths.name not in site.work.late:
            return None
        found = filled(site, lengths.name)
        if found is None:
            raise Unbuildable(
                "the lengths of its sequences follow from lengths that are left open, and are no number for all"
            )
        return None if found == x.shape[0] else found
    return lengths


def until_ended(site: Site, x: Ref) -> Ref:
    """Return the entries that any sequence has: behind them no state changes, and all outputs are zeros.

    Raises TooShort where an open number of steps may be smaller, Unbuildable where that is not settled.
    """
    lengths, steps = own_lengths(site, x), x.shape[0]
    if lengths is None:
        return x
    most = (
        lengths if is_open((lengths,)) else max(1, *np.ravel(lengths).tolist())
    )  # a step, so that there is something to join
    if not is_open((most, steps)):
        if most >= steps:
            return x
    else:
        check_room(most, 1) if is_open((most,)) else check_room(steps, most)
        if bounds(steps, most)[0] < 0 or bounds(most, 1)[0] < 0:
            raise Unbuildable(f"its sequences are {most} long, and there may be fewer steps ({steps}), or none")
        if most == steps:
            return x
    return site.emit(Slice(x.shape, (slice(0, most), slice(None), slice(None))), x, part="until")


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
