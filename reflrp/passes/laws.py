"""The laws of samples: for each kind of op, where the samples of its inputs are in its output, and when they meet.

What no law covers counts as meeting, so a proof is never claimed that is not there.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from reflrp.ir import Op
from reflrp.ops.axismap import AxisMap
from reflrp.ops.conv import Conv, ConvTranspose, WindowMean
from reflrp.ops.einsum import DenseEinsum, EinsumProduct
from reflrp.ops.linear import Dense, Diagonal, LeftDense
from reflrp.ops.normaliser import LogSoftmax, Softmax
from reflrp.ops.norms import AbsoluteNorm, LocalResponse, Standardise
from reflrp.ops.picking import Index, Pick, ScatterSum, Take
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import MatrixProduct, Multiply
from reflrp.ops.quantised import Scaled, Truncate, Units
from reflrp.ops.recurrence import Running
from reflrp.ops.routing import Concat, Embedding, Expand, Pad, Reshape, Slice, Transpose, Where
from reflrp.ops.selection import MaxAxes, MaxOf, MaxPool
from reflrp.ops.sums import SumAxes, SumOf
from reflrp.passes.places import Meeting, Place, Sight, landed, local, numbers, places, repeats, reshaped


@singledispatch
def law(op: Op, see: Sight) -> Place:
    """Return where the samples are in the output of an op. Raises Meeting where they meet or no law is known."""
    raise Meeting("no law says how it treats samples")


@law.register
def _pointwise(op: Pointwise, see: Sight) -> Place:
    return see.broadcast(*op.args)


@law.register
def _units(op: Units, see: Sight) -> Place:
    held = (op.scale, op.zero) if isinstance(op, Scaled) else (op.divisor,) if isinstance(op, Truncate) else ()
    return see.broadcast(*held)


@law.register(Softmax)
@law.register(LogSoftmax)
def _softmax(op: Softmax | LogSoftmax, see: Sight) -> Place:
    return see.off(see.one(), op.axes)


@law.register
def _standardise(op: Standardise, see: Sight) -> Place:
    place, shape = see.one(), op.grouped or see.shapes[0]
    see.off(reshaped(place, see.shapes[0], shape, see.count), op.axes)
    return see.same(place, op.w, op.b)


@law.register
def _absolute(op: AbsoluteNorm, see: Sight) -> Place:
    return see.off(see.one(), op.axes)


@law.register
def _local_response(op: LocalResponse, see: Sight) -> Place:
    return see.off(see.one(), (1,))


@law.register
def _running(op: Running, see: Sight) -> Place:
    place = see.one()
    return Place(place.axis + 1, place.before, place.after)


@law.register
def _dense(op: Dense, see: Sight) -> Place:
    rank = len(see.shapes[0])
    place = see.shifted(see.off(see.one(), (rank - 1,)), rank)
    stacks = op.w[..., :1, :1] if place.axis < len(see.out) - 2 else None
    return see.same(place, op.b, stacks)


@law.register
def _left_dense(op: LeftDense, see: Sight) -> Place:
    rank = len(see.shapes[0])
    place = see.shifted(see.off(see.one(), (rank - 2,)), rank)
    stacks = op.w[..., :1, :1] if place.axis < len(see.out) - 2 else None
    return see.same(place, op.b, stacks)


@law.register(Conv)
@law.register(ConvTranspose)
def _conv(op: Conv | ConvTranspose, see: Sight) -> Place:
    return see.off(see.one(), tuple(range(1, len(see.shapes[0]))))


@law.register
def _diagonal(op: Diagonal, see: Sight) -> Place:
    return see.broadcast(op.w, op.b)


@law.register
def _sum_of(op: SumOf, see: Sight) -> Place:
    return see.broadcast(op.b)


@law.register
def _max_of(op: MaxOf, see: Sight) -> Place:
    return see.broadcast(*op.constants)


@law.register(SumAxes)
@law.register(MaxAxes)
def _reduced(op: SumAxes | MaxAxes, see: Sight) -> Place:
    place = see.off(see.one(), op.axes)
    gone = 0 if op.keepdims else sum(axis < place.axis for axis in op.axes)
    return Place(place.axis - gone, place.before, place.after)


@law.register(WindowMean)
@law.register(MaxPool)
def _window(op: WindowMean | MaxPool, see: Sight) -> Place:
    rank = len(see.shapes[0])
    return see.off(see.one(), tuple(range(rank - len(op.windows.size), rank)))


@law.register
def _axis_map(op: AxisMap, see: Sight) -> Place:
    return see.off(see.one(), op.axes)


@law.register
def _multiply(op: Multiply, see: Sight) -> Place:
    return see.broadcast()


@law.register
def _matrix_product(op: MatrixProduct, see: Sight) -> Place:
    (x, y), (m, n), rank = see.places, map(len, see.shapes), len(see.out)
    found = []
    for place, size, summed in ((x, m, m - 1), (y, n, n - 2)):
        if place is not None:
            found.append(see.shifted(see.off(place, (summed,)), size))
    if len(set(found)) != 1 or (len(found) == 2 and found[0].axis >= rank - 2):
        raise Meeting("it multiplies one sample by another")
    for place, shape in zip(see.places, see.shapes, strict=True):
        if place is None and found[0].axis < rank - 2 and see.along(shape, found[0]) != 1:
            raise Meeting("it multiplies each sample by a matrix of its own that is no sample")
    return found[0]


@law.register(DenseEinsum)
@law.register(EinsumProduct)
def _einsum(op: DenseEinsum | EinsumProduct, see: Sight) -> Place:
    terms = (op.equation.left, op.equation.right)
    places = {(terms[i][p.axis], p.before, p.after) for i, p in enumerate(see.places) if p is not None}
    if len(places) != 1:
        raise Meeting("it multiplies one sample by another")
    ((letter, before, after),) = places
    others = [terms[1]] if isinstance(op, DenseEinsum) else [terms[i] for i, p in enumerate(see.places) if p is None]
    if letter not in op.equation.out or any(letter in term for term in others):
        raise Meeting("it sums over the samples, or gives each a factor of its own")
    return Place(op.equation.out.index(letter), before, after)


@law.register
def _reshape(op: Reshape, see: Sight) -> Place:
    return reshaped(see.one(), op.source, op.target, see.count)


@law.register
def _transpose(op: Transpose, see: Sight) -> Place:
    place = see.one()
    return Place(op.axes.index(place.axis), place.before, place.after)


@law.register
def _slice(op: Slice, see: Sight) -> Place:
    place = see.one()
    size = op.source[place.axis]
    if op.slices[place.axis].indices(size) != (0, size, 1):
        raise Meeting("it takes some of the samples")
    return place


@law.register
def _concat(op: Concat, see: Sight) -> Place:
    found = {place for place in see.places if place is not None}
    if len(found) != 1 or None in see.places:
        raise Meeting("it joins what has samples with what has none, or has them elsewhere")
    (place,) = found
    return see.same(see.off(place, (op.axis,)), *op.parts)


@law.register
def _pad(op: Pad, see: Sight) -> Place:
    place = see.one()
    if op.before[place.axis] or op.after[place.axis]:
        raise Meeting("it adds or drops samples")
    return place


@law.register
def _expand(op: Expand, see: Sight) -> Place:
    return see.shifted(see.one(), len(op.source))


@law.register
def _take(op: Take, see: Sight) -> Place:
    place = see.one()
    if place.axis == op.axis and not np.array_equal(op.index, np.arange(op.source[op.axis])):
        raise Meeting("it picks some of the samples")
    return place


@law.register
def _where(op: Where, see: Sight) -> Place:
    return see.broadcast(op.condition, op.x, op.y)


@law.register
def _embedding(op: Embedding, see: Sight) -> Place:
    place = see.one()
    return Place(place.axis + op.axis, place.before, place.after)


@law.register
def _pick(op: Pick, see: Sight) -> Place:
    if see.places[0] is None:
        return see.one(1)
    if not op.each or set(see.places) != {Place(0)}:
        raise Meeting("it moves entries by numbers that are found in the run")
    return Place(0)


@law.register
def _index(op: Index, see: Sight) -> Place:
    return landed(local(np.asarray(op.index), see.one(), op.source, see.count), see.out, see.count)


@law.register
def _scatter_sum(op: ScatterSum, see: Sight) -> Place:
    place = see.one()
    index, mine = np.asarray(op.index).reshape(op.source), numbers(place, op.source, see.count)
    for found in places(op.target, see.count):
        sample, rest = local(index, found, op.target, see.count)
        if (sample == mine).all() and repeats(rest, place, op.source, see.count):
            return found
    raise Meeting("it adds up entries of several samples")
