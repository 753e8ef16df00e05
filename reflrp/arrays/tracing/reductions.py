"""Terms that work over axes: sums, means, extrema, and the products of matrices."""

from __future__ import annotations

import numpy as np

from reflrp.arrays.tracing.arithmetic import binary, cast, saved
from reflrp.arrays.tracing.dims import Dim, Unsettled, broadcast
from reflrp.arrays.tracing.moves import first_axis, permute, reshape
from reflrp.arrays.tracing.terms import Shape, Term, still

Axes = int | tuple[int, ...] | None

STACKED = 16
"""A first axis of at most so many entries is summed term by term, where these are known apart."""


def axes_of(term: Term, axis: Axes) -> Shape:
    """Return axes counted from the front; None stands for all."""
    rank = len(term.shape)
    given = range(rank) if axis is None else (axis,) if isinstance(axis, int | np.integer) else axis
    return tuple(sorted(int(i) % rank for i in given))


def reduced(op: str, term: Term, axis: Axes, keepdims: bool) -> Term:
    """Return a reduction: ReduceSum, ReduceMean, ReduceMax or ReduceMin. A mean is a floating number, booleans are counted."""
    if op == "ReduceMean" and not term.is_float:
        term = cast(term, term.trace.real)
    if term.dtype.kind == "b":
        found = reduced(op, cast(term, np.int64), axis, keepdims)
        return found if op == "ReduceSum" else cast(found, bool)
    axes = axes_of(term, axis)
    if not axes:
        return term
    if op == "ReduceSum" and axes == (0,) and not isinstance(term.shape[0], Dim) and term.shape[0] <= STACKED:
        rows = [row for i in range(term.shape[0]) if (row := first_axis(term, i)) is not None]
        if len(rows) == term.shape[0]:
            total = rows[0]
            for row in rows[1:]:
                total = binary("Add", total, row)
            return reshape(total, (1, *total.shape)) if keepdims else total
    shape = tuple(1 if i in axes else n for i, n in enumerate(term.shape) if keepdims or i not in axes)
    if all(not isinstance(term.shape[i], Dim) and term.shape[i] == 1 for i in axes):
        return reshape(term, shape)
    found = term.trace.make(op, (term,), shape, nonneg=term.nonneg, axes=axes, keepdims=int(keepdims))
    found.finite = term.finite
    return found


def best(op: str, term: Term, axis: int, keepdims: bool) -> Term:
    """Return the place of the first largest (ArgMax) or least (ArgMin) entry along an axis."""
    (i,) = axes_of(term, axis)
    shape = tuple(1 if k == i else n for k, n in enumerate(term.shape) if keepdims or k != i)
    return term.trace.make(op, (term,), shape, np.int64, True, axis=i, keepdims=int(keepdims))


def matmul(x: Term, y: Term) -> Term:
    """Return the matrix product over the last two axes."""
    if len(x.shape) < 2 or len(y.shape) < 2:
        raise Unsettled("a product with a vector is written as one with a matrix")
    lead = broadcast(x.shape[:-2], y.shape[:-2])
    if x.shape[-1] != y.shape[-2]:
        if 0 in (x.uniform, y.uniform):  # of a constant that vanishes there is one entry for all of an open length
            return x.trace.constant(np.zeros(still((*lead, x.shape[-2], y.shape[-1])), x.dtype))
        raise Unsettled(f"matrices of the shapes {x.shape} and {y.shape} cannot be multiplied")
    made = x.trace.make("MatMul", (x, y), (*lead, x.shape[-2], y.shape[-1]), x.dtype, x.nonneg and y.nonneg)
    made.finite = x.finite and y.finite
    return saved(made)


def transposed(x: Term) -> Term:
    """Return a term with its last two axes exchanged."""
    rank = len(x.shape)
    return permute(x, (*range(rank - 2), rank - 1, rank - 2))


def einsum(equation: str, x: Term, y: Term) -> Term:
    """Return the sum over all letters that the result lacks."""
    operands, out = equation.split("->")
    left, right = operands.split(",")
    sizes = dict(zip(left + right, (*x.shape, *y.shape), strict=True))
    shape = tuple(sizes[c] for c in out)
    return x.trace.make("Einsum", (x, y), shape, x.dtype, x.nonneg and y.nonneg, equation=equation)


def take(x: Term, at: Term, axis: int) -> Term:
    """Return the rows of x that `at` numbers, along an axis."""
    (axis,) = axes_of(x, axis)
    if isinstance(x.shape[axis], Dim):
        raise Unsettled("it picks entries by their number among those of all samples")
    shape = (*x.shape[:axis], *at.shape, *x.shape[axis + 1 :])
    found = x.trace.make("Gather", (x, at), shape, x.dtype, x.nonneg, axis=axis)
    found.finite = x.finite
    return found


def scatter_add(size: int, at: Term, values: Term) -> Term:
    """Return zeros of `size` rows, to which each row of `values` is added at the place that `at` numbers."""
    if isinstance(size, Dim) or any(isinstance(n, Dim) for n in at.shape):
        raise Unsettled("it adds up entries by their number among those of all samples")
    shape = (size, *values.shape[1:])
    places = reshape(at, (*at.shape, 1))
    start = values.trace.make("Zeros", (), shape, values.dtype, True)
    return values.trace.make("ScatterND", (start, places, values), shape, values.dtype, values.nonneg, reduction="add")
