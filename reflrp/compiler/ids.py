"""The way back of token ids to their input: what moves, casts or masks them gives relevance on as it does in `explain`.

What leaves each id in its place is written by the formulas of `importer/tokens.py` itself, for any number of ids. Other moves are
a table of entry numbers where fixed shapes alone say what comes where; else the file's own operator moves the numbers in the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from reflrp.arrays import Array, is_symbolic
from reflrp.arrays import symbolic as xp
from reflrp.arrays.tracing import arithmetic, moves
from reflrp.arrays.tracing.array import array, term_of
from reflrp.arrays.tracing.dims import Dim, dim, example, total
from reflrp.arrays.tracing.terms import CURRENT, Term, Trace
from reflrp.compiler.lengths.lift import added
from reflrp.compiler.plumbing import written
from reflrp.importer.tokens import DATA, STAYS, Sharing
from reflrp.ir import Graph, Node, Shape
from reflrp.ops.picking import MovedIds, Share

FLAT = frozenset(["Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"])
"""Operators that leave ids one after another as they were."""

UNKNOWN = "where the ids come from depends on the data"


def moved(node: Node, graph: Graph, xs: Sequence[Any], R: Array, opset: int) -> tuple[Array | None, ...]:
    """Return the relevance of token ids that were moved, cast, masked or shifted, for the relevance R of what they became.

    `xs` are the node's operands. Raises NotImplementedError where it hangs on numbers that cannot be written.
    """
    assert isinstance(node.op, MovedIds)
    how, shapes, out = node.op.shares, [graph.values[i].shape for i in node.inputs], graph.values[node.output].shape
    if not isinstance(how, Sharing):
        raise NotImplementedError(UNKNOWN)
    missing = next((xs[i] for i in how.asked if not is_symbolic(xs[i])), None)
    if missing is not None:
        raise NotImplementedError(str(missing))
    if how.node.op_type in STAYS:
        return _placed(how(*xs), shapes, R)
    place = how.places.index(how.tokens[0])
    if how.node.op_type in FLAT and len(how.tokens) == 1 and total(shapes[place]) == total(out):
        return tuple(xp.reshape(R, s) if i == place else None for i, s in enumerate(shapes))
    if how.node.op_type == "Transpose":
        axes = how.node.attributes.get("perm") or tuple(reversed(range(len(out))))
        return (xp.permute_dims(R, tuple(np.argsort(axes).tolist())),)
    each = all(n == dim(example(n)) for s in (*shapes, out) for n in s if isinstance(n, Dim))
    if each and not how.asked:  # the operator is that of one sample, or nothing is open
        return _by_shapes(how, shapes, out, R)
    if each and any(isinstance(n, Dim) for s in (*shapes, out) for n in s):
        raise NotImplementedError(UNKNOWN)
    found: list[Array | None] = [None] * len(shapes)
    for token in how.tokens:
        i = how.places.index(token)
        found[i] = _added_up(R, _numbers(how, token, xs, shapes, out, opset), shapes[i])
    return tuple(found)


def _placed(shares: list[Share], shapes: list[Shape], R: Array) -> tuple[Array | None, ...]:
    found: list[Array | None] = [None] * len(shapes)
    for share in shares:
        nothing = share.weight is not None and not is_symbolic(share.weight) and not np.any(share.weight)
        found[share.place] = None if nothing else share.of(R, shapes[share.place])
    return tuple(found)


def _by_shapes(how: Sharing, shapes: list[Shape], out: Shape, R: Array) -> tuple[Array | None, ...]:
    """Return the relevance of ids that are moved as the shapes say."""
    found: list[Array | None] = [None] * len(shapes)
    fixed = not any(isinstance(n, Dim) for s in (*shapes, out) for n in s)
    for share in how(*(np.zeros(tuple(map(example, s)), dtype=np.int64) for s in shapes)):
        source = shapes[share.place]
        part, numbers = R * (share.index >= 0).astype(np.float32), np.maximum(np.ravel(share.index), 0)
        leading = source[:1] == out[:1] == (dim(1),) and not any(isinstance(n, Dim) for n in (*source[1:], *out[1:]))
        if (fixed or leading) and np.array_equal(numbers, np.arange(prod(map(example, source)))):
            found[share.place] = xp.reshape(part, source)
        elif fixed:
            sums = xp.scatter_add(prod(source), numbers, xp.reshape(part, (-1,)))
            found[share.place] = xp.reshape(sums, source)
        elif leading:
            found[share.place] = added(part, numbers, out, source)
        else:
            raise NotImplementedError("the ids of all samples are moved at once")
    return tuple(found)


def _numbers(how: Sharing, token: int, xs: Sequence[Any], shapes: list[Shape], out: Shape, opset: int) -> Term:
    """Return for each entry of the output which entry of operand `token` comes there, from 1 on; 0 where another does.

    The operator itself moves the numbers, in the run. Raises NotImplementedError where the graph's opset has it not.
    """
    trace, data, place = CURRENT.get(), DATA.get(how.node.op_type, ()), how.places.index(token)
    one, sources = trace.constant(np.int64(1)), dict(zip(how.places, shapes, strict=True))
    row = arithmetic.binary("Add", term_of(xp.arange(total(shapes[place])), trace), one)
    numbers = moves.reshape(row, shapes[place])
    operands = []
    for i, given in enumerate(how.args):
        if i == token and how.node.op_type != "TopK":
            operands.append(numbers)
        elif data is None or i in data:
            shape = sources[i] if i in sources else np.shape(given)
            operands.append(trace.make("Zeros", (), shape, np.int64, True))
        else:
            operands.append(xs[how.places.index(i)].term if i in sources else _constant(given, trace))
    if how.node.op_type != "TopK":
        made = written(how.node, tuple(operands), how.output, out, np.int64, opset)
    elif (at := written(how.node, tuple(operands), 1, out, np.int64, opset)) is not None:
        made = trace.make("onnx:GatherElements", (numbers, at), out, np.int64, axis=how.node.attributes.get("axis", -1))
    else:
        made = None
    if made is None:
        raise NotImplementedError(f"opset {opset} has another {how.node.op_type} than the file")
    return made


def _constant(given: Any, trace: Trace) -> Term:
    """Return the term of a constant operand, among whose integers may be lengths."""
    if given is None:
        raise NotImplementedError("an operand is left out")
    if given.dtype != object:
        return trace.constant(given)
    return moves.concat([moves.reshape(term_of(n, trace, np.int64), (1,)) for n in np.ravel(given)], 0)


def _added_up(R: Array, numbers: Term, source: Shape) -> Array:
    """Return R added up at the entries that it came from, which are numbered from 1 on; 0 is none of them."""
    trace, one, zero = numbers.trace, *(numbers.trace.constant(np.int64(n)) for n in (1, 0))
    part = xp.where(array(arithmetic.binary("Greater", numbers, zero)), R, np.zeros((), R.dtype))
    at = arithmetic.binary("Max", arithmetic.binary("Sub", numbers, one), zero)
    places, rows = moves.reshape(at, (total(numbers.shape), 1)), moves.reshape(part.term, (total(numbers.shape),))
    start = trace.make("Zeros", (), (total(source),), R.dtype, True)
    sums = trace.make("ScatterND", (start, places, rows), start.shape, R.dtype, reduction="add")
    return xp.reshape(array(sums), source)
