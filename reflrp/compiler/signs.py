"""The initial relevance as inputs of a graph: what a runner feeds, so that one graph serves every target and init."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.arrays import Array
from reflrp.arrays import symbolic as xp
from reflrp.arrays.tracing.dims import Dim, total
from reflrp.arrays.tracing.terms import Trace
from reflrp.errors import InputError
from reflrp.seeds import Contrast, Target, one_each, seed, targets

SIGNS, BEST, TIMES, MASK = "reflrp/signs", "reflrp/best", "reflrp/times", "reflrp/mask/"
"""The names of the inputs, and what those begin with that say which neurons of a value relevance goes through."""

SUMS, EXPLAINED = "reflrp/sums", "reflrp/explained"
"""The names of two outputs: the sums that the ledger asks for, and what is explained."""


def by_signs(y: Array, trace: Trace, axis: int) -> tuple[Array, list[tuple[str, Any, Any]]]:
    """Return the initial relevance that three inputs say, and these: so one graph serves every target and init.

    SIGNS (shaped like y) has what each entry counts, 0 for most; BEST (samples,) what the arg-max of each sample counts beside;
    and where TIMES is not 0, all is multiplied by y.
    """
    signs = xp.argument(trace, SIGNS, y.shape, trace.real, finite=True)
    times = xp.argument(trace, TIMES, (), trace.real, finite=True)
    added = [(SIGNS, trace.real, y.shape), (TIMES, trace.real, ())]
    if y.ndim:
        first = xp.moveaxis(y, axis, 0)
        count = total(first.shape[1:])
        if isinstance(count, Dim):
            raise InputError("the output holds samples on another axis than the first")
        flat = xp.reshape(first, (first.shape[0], count))
        best = xp.argument(trace, BEST, (first.shape[0],), trace.real, finite=True)
        chosen = xp.arange(count) == xp.argmax(flat, axis=1, keepdims=True)
        picked = xp.astype(chosen, trace.real) * xp.reshape(best, (first.shape[0], 1))
        signs = signs + xp.moveaxis(xp.reshape(picked, first.shape), 0, axis)
        added.append((BEST, trace.real, (first.shape[0],)))
    scaled = xp.where(xp.logical_and(signs != 0, times != 0), y, xp.ones_like(y))
    return signs * scaled, added


def signs_of(shape: tuple[int, ...], target: Target, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what each entry of an output counts, and each sample's arg-max beside: 1, or -1 for what it is set against.

    The output has the samples on an axis; the first array is shaped like it.
    """
    if not shape:
        targets(np.zeros(()), target)  # which says that there is no batch
    zeros = np.zeros((shape[axis], *shape[:axis], *shape[axis + 1 :]))
    each = one_each(target, len(zeros))
    best = np.zeros(len(zeros))
    for n, goal in enumerate([target] * len(zeros) if each is None else each):
        sides = [(goal.target, 1), (goal.against, -1)] if isinstance(goal, Contrast) else [(goal, 1)]
        for side, sign in sides:
            if side is None:
                best[n] += sign
            else:
                zeros[n : n + 1] += sign * seed(zeros[:1] * 0, targets(zeros[:1], side), "one")
    return np.moveaxis(zeros, 0, axis), best
