"""The relevance to start from, as nodes of the graph: of an arg-max, a fixed entry, or inputs that are added."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.arrays import Array
from reflrp.arrays import symbolic as xp
from reflrp.arrays.counting import numbers
from reflrp.arrays.tracing.array import array, term_of
from reflrp.arrays.tracing.dims import BATCH, Dim, bounds, dim, example, is_open, symbols_of, total
from reflrp.arrays.tracing.moves import expand
from reflrp.arrays.tracing.spans import check_room
from reflrp.arrays.tracing.terms import Trace
from reflrp.compiler.signs import by_signs
from reflrp.errors import InputError
from reflrp.ground import checks
from reflrp.ir import Shape
from reflrp.seeds import Contrast, Target, one_each, seed, targets

TARGET, INIT = "target", "init"
"""The names of the inputs that a compiled graph may have beside the model's own."""


def check_target(target: Target) -> None:
    """Refuse a target that is not one for all samples: a graph has no list of them."""
    if target is None or (isinstance(target, str) and target == "input"):
        return
    for side in _sides(target):
        if not isinstance(side, int | np.integer | tuple) or one_each(side, 1) is not None:
            raise InputError(
                f"target={checks.shown(target)} is not the same entry in all samples; use None, an int, a tuple of ints, "
                "a Contrast of two such, or 'input'"
            )


def turned(shape: Shape) -> int:
    """Return the axis of an output that holds the samples; 0 where it is the first, or none is theirs alone."""
    batch = [i for i, n in enumerate(shape) if BATCH in symbols_of((n,))]
    return batch[0] if len(batch) == 1 and shape[batch[0]] == dim(1) else 0


def bounded(R: Array, trace: Trace) -> Array:
    """Return the initial relevance, which no runtime gives where a length is not as it may be."""
    for symbol, (term, axis, plus, times) in trace.lengths.items():
        if not plus and times == 1 and symbol not in trace.most and symbol not in trace.alike:
            continue
        length = array(trace.length(term.shape[axis] - plus))
        R = xp.where(length >= 1, R, xp.zeros_like(R))
    return R


def check_entries(shape: Shape, target: Target) -> None:
    """Raise TooShort where an output of open lengths may be too short to have an entry that is a target."""
    rest = [n for i, n in enumerate(shape) if i != turned(shape)]
    for side in _sides(target):
        if isinstance(side, int | np.integer | tuple):
            for k, n in zip(_index(side), rest, strict=False):
                check_room(n, int(k) + 1 if k >= 0 else -int(k))


def _sides(target: Target) -> tuple[Target, ...]:
    return (target.target, target.against) if isinstance(target, Contrast) else (target,)


def _index(side: Any) -> tuple[Any, ...]:
    return side if isinstance(side, tuple) else (side,)


def _signs(y: Array, target: Target) -> Array:
    """Return 1 at a target, -1 at what it is set against, and 0 elsewhere, (1, *lengths)."""
    lengths, zeros = y.shape[1:], np.zeros((1, *map(example, y.shape[1:])), np.float32)
    goals = targets(zeros, target)  # refuses what is no entry
    if not is_open(lengths):
        return seed(zeros, goals, "one")
    indices = list(map(_index, _sides(target)))
    for one in indices:
        short = any(bounds(n, k + 1 if k >= 0 else -k)[0] < 0 for k, n in zip(one, lengths, strict=True))
        ends = [[k < 0 for k, n in zip(i, lengths, strict=True) if isinstance(n, Dim)] for i in (one, indices[0])]
        if short or ends[0] != ends[1]:  # which may be one entry for some lengths
            raise InputError(
                f"target={checks.shown(target)} is an entry of an output of the shape {y.shape}, which leaves a length open; use "
                "target=None, init='input' or shapes="
            )
    parts = [_entry(y, one) for one in indices]
    return parts[0] - parts[1] if len(parts) == 2 else parts[0]


def _entry(y: Array, index: tuple[Any, ...]) -> Array:
    """Return 1 at an index after the batch axis, and 0 elsewhere."""
    found: Any = 1
    for axis, (k, n) in enumerate(zip(index, y.shape[1:], strict=True)):
        i = numbers(y, n)
        place = i == (i[-1:] + (int(k) + 1) if k < 0 else int(k))
        shape = tuple(n if axis == other else 1 for other in range(len(index)))
        found = found * xp.reshape(xp.astype(place, y.dtype), (1, *shape))
    return found


def seeded(y: Array, trace: Trace, target: Target, init: str, axis: int) -> tuple[Array, list[tuple[str, Any, Any]]]:
    """Return the initial relevance of an output y, and the inputs that it adds: name, dtype and shape.

    The samples are on an axis of y; targets have them first.
    """
    if init == "input":
        return xp.argument(trace, INIT, y.shape, trace.real, finite=True), [(INIT, trace.real, y.shape)]
    if init == "signs":
        return by_signs(y, trace, axis)
    if axis:
        R, added = seeded(xp.moveaxis(y, axis, 0), trace, target, init, 0)
        return xp.moveaxis(R, 0, axis), added
    added = []
    if not y.ndim:
        raise InputError("the output is one number without a batch axis; use init='input'")
    count = total(y.shape[1:])
    if BATCH in symbols_of((count,)):
        raise InputError("the output holds samples on another axis than the first; use init='input'")
    flat = xp.reshape(y, (y.shape[0], count))
    sign: Any = 1
    if target is None:
        chosen = xp.arange(count) == xp.argmax(flat, axis=1, keepdims=True)
    elif isinstance(target, str):
        if y.ndim != 2:
            raise InputError("target='input' needs an output of the shape (batch, classes); use init='input'")
        asked = xp.argument(trace, TARGET, (y.shape[0],), np.int64)
        added = [(TARGET, np.int64, (y.shape[0],))]
        asked = xp.where(asked < 0, asked + count, asked)
        chosen = xp.arange(count) == xp.reshape(asked, (y.shape[0], 1))
    else:
        sign = xp.reshape(_signs(y, target), (1, count))
        chosen = sign != 0
    if init == "one":
        R = xp.astype(chosen, trace.real) * sign
    else:
        R = xp.where(chosen, flat * sign, xp.zeros_like(flat))
    return xp.reshape(array(expand(term_of(R, trace), flat.shape)), y.shape), added
