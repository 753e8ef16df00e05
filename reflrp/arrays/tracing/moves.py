"""Terms that move entries: reshapes, permutations, slices, concatenations, padding."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.arrays.tracing.dims import Dim, Unsettled, broadcast, total
from reflrp.arrays.tracing.spans import sliced, taken
from reflrp.arrays.tracing.terms import Shape, Term, still

ELEMENTWISE = frozenset(["Add", "Sub", "Mul", "Div", "Max", "Min", "Where", "Abs", "Neg", "Relu", "Less", "And", "Cast",
    "GreaterOrEqual", "Greater", "Equal", "Exp", "Sqrt", "LessOrEqual", "Not"])  # fmt: skip
"""Operators whose entry i reads only the entries i of what they are given."""


def same(term: Term, op: str, shape: Shape, inputs: tuple[Term, ...] | None = None, **attributes: Any) -> Term:
    """Return a term that only moves the entries of another, so that what is known of these stays known."""
    found = term.trace.make(op, inputs or (term,), shape, term.dtype, term.nonneg, **attributes)
    found.finite = term.finite
    return found


def reshape(term: Term, shape: Shape) -> Term:
    """Return a term in another shape; one length may be -1."""
    shape = _completed(term.shape, shape)
    if term.value is not None:
        return term.trace.constant(_still_reshaped(term.value, shape))
    while term.op == "Reshape":
        term = term.inputs[0]
    if shape == term.shape:
        return term
    if total(shape) != total(term.shape):
        raise Unsettled(f"the shape {term.shape} cannot become {shape}")
    return same(term, "Reshape", shape)


def _still_reshaped(value: np.ndarray, shape: Shape) -> np.ndarray:
    if value.size == 1 or (value == value.reshape(-1)[:1]).all():
        return (
            np.full((1,) * len(shape), value.reshape(-1)[0])
            if total(still(shape)) != value.size
            else (value.reshape(still(shape)))
        )
    return value.reshape(tuple(map(int, shape)))


def _completed(source: Shape, shape: Shape) -> Shape:
    if not any(not isinstance(n, Dim) and n == -1 for n in shape):
        return tuple(shape)
    rest = total(tuple(n for n in shape if isinstance(n, Dim) or n != -1))
    missing = total(source) // rest if rest != 0 else 0
    return tuple(missing if not isinstance(n, Dim) and n == -1 else n for n in shape)


def permute(term: Term, axes: tuple[int, ...]) -> Term:
    """Return a term with its axes permuted."""
    axes = tuple(int(i) % len(term.shape) for i in axes)
    if term.value is not None:
        return term.trace.constant(term.value.transpose(axes))
    if term.op == "Transpose":
        axes = tuple(term.get("perm")[i] for i in axes)
        term = term.inputs[0]
    if axes == tuple(range(len(axes))):
        return term
    return same(term, "Transpose", tuple(term.shape[i] for i in axes), perm=axes)


def expand(term: Term, shape: Shape) -> Term:
    """Return a term broadcast to a shape. Elementwise operators read through it, so it is seldom written."""
    shape = broadcast(term.shape, shape)
    if shape == term.shape:
        return term
    if term.op == "Expand":
        term = term.inputs[0]
    return same(term, "Expand", shape, (term,))


def bared(terms: tuple[Term, ...], shape: Shape) -> list[Term]:
    """Return operands without what their operator does by itself: broadcasting them, or a constant of equal entries.

    One after the other, for those that are left must make its shape; constants come last, so that rather these are laid out.
    """
    found = list(terms)
    for i in sorted(range(len(found)), key=lambda i: found[i].value is not None):
        found[i] = _bare(found[i], shape, broadcast(*(t.shape for j, t in enumerate(found) if j != i)))
    return found


def _bare(x: Term, shape: Shape, rest: Shape) -> Term:
    if x.op == "Expand" and broadcast(x.inputs[0].shape, rest) == shape:
        return x.inputs[0]
    if x.uniform is not None and x.shape and rest == shape:
        return x.trace.constant(np.asarray(x.uniform, dtype=x.dtype))
    return x


def concat(terms: list[Term], axis: int) -> Term:
    """Return terms side by side along an axis; on the others they are broadcast."""
    axis %= len(terms[0].shape)
    if len(terms) == 1:
        return terms[0]
    rests = [(*t.shape[:axis], 1, *t.shape[axis + 1 :]) for t in terms]
    rest = broadcast(*rests)
    terms = [expand(t, (*rest[:axis], t.shape[axis], *rest[axis + 1 :])) for t in terms]
    length: int = 0
    for t in terms:
        length = t.shape[axis] + length
    shape = (*rest[:axis], length, *rest[axis + 1 :])
    found = terms[0].trace.make("Concat", tuple(terms), shape, nonneg=all(t.nonneg for t in terms), axis=axis)
    found.finite = all(t.finite for t in terms)
    return found


def stack(terms: list[Term]) -> Term:
    """Return terms on a new first axis."""
    return concat([reshape(t, (1, *t.shape)) for t in terms], 0)


def first_axis(term: Term, i: int) -> Term | None:
    """Return entry i of the first axis, worked out before what was stacked is put together; None where it was not."""
    if term.value is not None:
        return term.trace.constant(term.value[i if term.value.shape[0] > 1 else 0])
    if term.op == "Concat" and term.get("axis") == 0 and all(t.shape[0] == 1 for t in term.inputs):
        return reshape(term.inputs[i], term.shape[1:])
    if term.op == "Expand" and (len(term.inputs[0].shape) < len(term.shape) or term.inputs[0].shape[0] == 1):
        inner = term.inputs[0]
        return expand(inner if len(inner.shape) < len(term.shape) else reshape(inner, inner.shape[1:]), term.shape[1:])
    if term.op in ELEMENTWISE and not isinstance(term.shape[0], Dim):
        rank = len(term.shape)
        parts = [_row(t, i, rank) for t in term.inputs]
        if any(p is None for p in parts):
            return None
        shape = broadcast(*(p.shape for p in parts if p is not None))
        found = term.trace.make(
            term.op, tuple(p for p in parts if p is not None), shape, term.dtype, term.nonneg, **dict(term.attributes)
        )
        found.finite = term.finite
        return expand(found, term.shape[1:])
    return None


def _row(term: Term, i: int, rank: int) -> Term | None:
    if len(term.shape) < rank:
        return term
    return reshape(term, term.shape[1:]) if term.shape[0] == 1 and term.value is None else first_axis(term, i)


def index(term: Term, key: Any) -> Term:
    """Return `term[key]` for integers, slices, None and an ellipsis."""
    keys = list(key) if isinstance(key, tuple) else [key]
    given = sum(k is not None and k is not Ellipsis for k in keys)
    at = next((i for i, k in enumerate(keys) if k is Ellipsis), len(keys))
    keys[at : at + 1] = [slice(None)] * (len(term.shape) - given)
    if keys and isinstance(keys[0], int | np.integer) and not isinstance(term.shape[0], Dim):
        found = first_axis(term, int(keys[0]) % term.shape[0])
        if found is not None:
            return index(found, tuple(keys[1:])) if len(keys) > 1 else found
    axis, shape, spans = 0, list[int](), list[tuple[int, int, int, int]]()
    for k in keys:
        if k is None:
            shape.append(1)
            continue
        n = term.shape[axis]
        span = _span(k, n)
        spans.append((axis, *span))
        if isinstance(k, slice):
            shape.append(taken(span))
        axis += 1
    return reshape(_sliced(term, spans), tuple(shape))


def _span(k: Any, n: int) -> tuple[int, int, int]:
    """Return start, stop and step of an index along an axis of n entries."""
    if isinstance(k, slice):
        return sliced(k, n)
    if isinstance(n, Dim):
        raise Unsettled(f"{k} takes one entry of {n}")
    i = int(k) % n
    return i, i + 1, 1


def _sliced(term: Term, spans: list[tuple[int, int, int, int]]) -> Term:
    kept = [s for s in spans if s[1] != 0 or s[3] != 1 or s[2] != term.shape[s[0]]]
    if not kept:
        return term
    lengths = list(term.shape)
    for axis, start, stop, step in kept:
        lengths[axis] = taken((start, stop, step))
    if term.op == "Concat" and len(kept) == 1 and kept[0][3] == 1 and kept[0][0] == term.get("axis"):
        part = _part(term, kept[0][1], kept[0][2])
        if part is not None:
            return part
    axes, starts, stops, steps = zip(*kept, strict=True)
    ends = tuple(-(2**62) if step < 0 and stop == -1 else stop for stop, step in zip(stops, steps, strict=True))
    return same(term, "Slice", tuple(lengths), axes=axes, starts=starts, ends=ends, steps=steps)


def _part(term: Term, start: int, stop: int) -> Term | None:
    """Return the one part of a concatenation that a slice takes, if it takes just one."""
    at = 0
    for part in term.inputs:
        n = part.shape[term.get("axis")]
        if isinstance(n, Dim):
            return None
        if (at, at + n) == (start, stop):
            return part
        at += n
    return None


def pad(term: Term, before: Shape, after: Shape, value: float = 0) -> Term:
    """Return a term in a frame of a number; negative widths crop."""
    if not any(before) and not any(after):
        return term
    shape = tuple(n if b == a == 0 else n + b + a for n, b, a in zip(term.shape, before, after, strict=True))
    found = term.trace.make(
        "Pad", (term,), shape, nonneg=term.nonneg and value >= 0, pads=(*before, *after), value=float(value)
    )
    found.finite = term.finite and bool(np.isfinite(value))
    return found


def placed(term: Term, key: Any, shape: Shape) -> Term:
    """Return zeros of a shape with a term at `key`: slices and an ellipsis. The transpose of `index`."""
    keys = list(key) if isinstance(key, tuple) else [key]
    at = next((i for i, k in enumerate(keys) if k is Ellipsis), len(keys))
    keys[at : at + 1] = [slice(None)] * (len(shape) - sum(k is not Ellipsis for k in keys))
    for axis, (k, n) in enumerate(zip(keys, shape, strict=True)):
        if not isinstance(k, slice):
            raise Unsettled("a symbolic array is written at slices only")
        start, stop, step = _span(k, n)
        if isinstance(n, Dim):
            term = _in_open(term, axis, start, stop, step, n)
        else:
            term = _on_axis(term, axis, range(start, stop, step), n)
    return term


def _in_open(term: Term, axis: int, start: int, stop: int, step: int, n: int) -> Term:
    """Return zeros along an axis of an open length, with the entries of a term from `start` to `stop`, each `step`."""
    if step < 0:
        term, count = flip(term, axis), term.shape[axis]
        start, stop, step = start - (count - 1) * -step, start + 1, -step
    if step > 1:
        spread = _apart(term, axis, step)
        term = index(spread, (*[slice(None)] * axis, slice(0, stop - start), Ellipsis))
    before = tuple(start if i == axis else 0 for i in range(len(term.shape)))
    return pad(term, before, tuple(n - stop if i == axis else 0 for i in range(len(term.shape))))


def _on_axis(term: Term, axis: int, where: range, n: int) -> Term:
    """Return zeros of length n along an axis, with the entries of a term at some places."""
    if where.step < 0:
        term, where = flip(term, axis), where[::-1]
    rank = len(term.shape)
    if where.step > 1 and len(where) > 1:
        term = _apart(term, axis, where.step)
    after = n - where.start - term.shape[axis]
    return pad(
        term,
        tuple(where.start if i == axis else 0 for i in range(rank)),
        tuple(after if i == axis else 0 for i in range(rank)),
    )


def _apart(term: Term, axis: int, step: int) -> Term:
    """Return the entries of a term along an axis, each with step - 1 zeros behind it."""
    lead, count, rest, rank = term.shape[:axis], term.shape[axis], term.shape[axis + 1 :], len(term.shape)
    apart = reshape(term, (*lead, count, 1, *rest))
    apart = pad(apart, (0,) * (rank + 1), tuple(step - 1 if i == axis + 1 else 0 for i in range(rank + 1)))
    return reshape(apart, (*lead, count * step, *rest))


def flip(term: Term, axis: int) -> Term:
    """Return a term with an axis reversed."""
    axis %= len(term.shape)
    return index(term, (*[slice(None)] * axis, slice(None, None, -1), Ellipsis))
