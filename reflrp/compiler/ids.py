"""The way back of token ids to their input: what moves, casts or masks them gives relevance on as it does in `explain`.

What leaves each id in its place is written by the formulas of `importer/tokens.py` itself, for any number of ids. Of other moves
the entries are numbered, by a table where the shapes alone say what comes where.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from reflrp.arrays import Array, is_symbolic
from reflrp.arrays import symbolic as xp
from reflrp.arrays.tracing.dims import Dim, dim, example, total
from reflrp.compiler.lift import added
from reflrp.importer.tokens import STAYS, Sharing
from reflrp.ir import Graph, Node, Shape
from reflrp.ops.picking import MovedIds

FLAT = frozenset(["Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"])
"""Operators that leave ids one after another as they were."""


def moved(node: Node, graph: Graph, xs: Sequence[Any], R: Array) -> tuple[Array | None, ...]:
    """Return the relevance of token ids that were moved, cast, masked or shifted, for the relevance R of what they became.

    `xs` are the node's operands. Raises NotImplementedError where it hangs on numbers that cannot be written.
    """
    assert isinstance(node.op, MovedIds)
    how, shapes = node.op.shares, [graph.values[i].shape for i in node.inputs]
    if not isinstance(how, Sharing):
        raise NotImplementedError("where the ids come from depends on the data")
    missing = next((xs[i] for i in how.asked if not is_symbolic(xs[i])), None)
    if missing is not None:
        raise NotImplementedError(str(missing))
    found: list[Array | None] = [None] * len(shapes)
    if how.node.op_type in STAYS:
        for share in how(*xs):
            found[share.place] = share.of(R, shapes[share.place])
        return tuple(found)
    if how.asked:
        raise NotImplementedError("where the ids come from depends on the data")
    return _by_shapes(how, shapes, graph.values[node.output].shape, R)


def _by_shapes(how: Sharing, shapes: list[Shape], out: Shape, R: Array) -> tuple[Array | None, ...]:
    """Return the relevance of ids that are moved as the shapes say."""
    found: list[Array | None] = [None] * len(shapes)
    if not all(n == dim(example(n)) for s in (*shapes, out) for n in s if isinstance(n, Dim)):  # else of one sample
        return _one_after_another(how, shapes, out, R)
    for share in how(*(np.zeros(tuple(map(example, s)), dtype=np.int64) for s in shapes)):
        source = shapes[share.place]
        part, numbers = R * (share.index >= 0).astype(np.float32), np.maximum(np.ravel(share.index), 0)
        if np.array_equal(numbers, np.arange(prod(map(example, source)))):
            found[share.place] = xp.reshape(part, source)
        elif not any(isinstance(n, Dim) for n in (*source, *out)):
            sums = xp.scatter_add(prod(source), numbers, xp.reshape(part, (-1,)))
            found[share.place] = xp.reshape(sums, source)
        elif source[0] == out[0] == dim(1) and not any(isinstance(n, Dim) for n in (*source[1:], *out[1:])):
            found[share.place] = added(part, numbers, out, source)
        else:
            raise NotImplementedError("the ids of all samples are moved at once")
    return tuple(found)


def _one_after_another(how: Sharing, shapes: list[Shape], out: Shape, R: Array) -> tuple[Array | None, ...]:
    """Return the relevance of token ids, of which there is an open number, that stay one after another as they were."""
    (place,) = (how.places.index(t) for t in how.tokens) if len(how.tokens) == 1 else (-1,)
    if how.node.op_type not in FLAT or place < 0 or total(shapes[place]) != total(out):
        raise NotImplementedError("ids are moved whose number is left open")
    return tuple(xp.reshape(R, s) if i == place else None for i, s in enumerate(shapes))
