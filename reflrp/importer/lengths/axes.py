"""How long the axes of a node's output are for all inputs: what passes decide by, in place of the lengths of this one input.

An axis of one entry may be one of a series that is one step long. So each axis of a value has a number only where that is proven,
by ONNX's own inference (`inferring.py`) or by what the op does with axes; else the name of a length that the file leaves open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from reflrp.arrays.measured import SHAPE, how, marks
from reflrp.arrays.tracing.dims import is_open
from reflrp.importer.lengths.inferring import named
from reflrp.importer.lengths.settling import settled
from reflrp.importer.nodes.node import OnnxNode
from reflrp.importer.site import Items, Ref, Work
from reflrp.ir import Lengths, Op, Shape
from reflrp.ops.conv import Conv, ConvTranspose, WindowMean
from reflrp.ops.linear import Dense, Diagonal
from reflrp.ops.normaliser import Normaliser
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import MatrixProduct, Multiply
from reflrp.ops.quantised import Units
from reflrp.ops.routing import Concat, Embedding, Expand, Reshape, Slice, Transpose
from reflrp.ops.selection import MaxAxes, MaxPool
from reflrp.ops.sums import SumAxes, SumOf

Found = tuple[int | str | None, ...]
"""The lengths that a law finds; None where it says nothing."""


def lengths(
    work: Work, node: OnnxNode, op: Op, inputs: tuple[Ref, ...], shape: Shape, output: str, part: str
) -> Lengths:
    """Return the lengths of an op's output, or () where they are its shape; `part` is "" for the node's own output."""
    if not _may_be_open(work, inputs):
        return ()
    whole = not part or (part == "expand" and node.op_type in ENTRYWISE)
    inferred = _inferred(work, node, 0) if whole else None
    inferred = _as_run(inferred, shape) if inferred is not None and len(inferred) == len(shape) else None
    own, loose = tuple(i.value.lengths for i in inputs), _loose(work, node, inputs)
    if inferred is None and not loose and all(isinstance(n, int) for each in own for n in each):
        return ()
    told: Found = (None,) * len(shape) if inferred is None else tuple(work.same.get(n, n) for n in inferred)
    if isinstance(op, Reshape):
        known = (_asked(work, node, own[0]) if whole and inferred is None else None) or told
        law = _reshaped(own[0], tuple(n if isinstance(n, int) or n in own[0] else None for n in known))
    else:
        law = (_unknown if loose and isinstance(op, SHAPED) else LAWS.get(type(op), _unknown))(op, own, shape)
    law = law if len(law) == len(shape) else (None,) * len(shape)
    if loose:
        beside = _longest(work, node, inputs, len(shape)) if isinstance(op, Diagonal) else frozenset[int]()
        law = tuple(None if n == 1 or (isinstance(n, str) and i in beside) else n for i, n in enumerate(law))
    work.same.update((m, n) for m, n in zip(told, law, strict=True) if isinstance(m, str) and n not in (None, m))
    given = named(output, told, work.source.said if work.source else ()) or ()
    found = tuple(m if isinstance(m, int) or n is None else n for m, n in zip(given, law, strict=True))
    return settled(work, node, shape, found) if whole else work.names.know(found)


def _inferred(work: Work, node: OnnxNode, i: int) -> Lengths | None:
    """Return what ONNX infers of an output of a node of the file."""
    return work.source.lengths.get(node.outputs[i]) if work.source and not (work.origin or work.belied) else None


def _as_run(inferred: Lengths, shape: Shape) -> Lengths:
    """Return what ONNX infers, a number that it gets wrong (windows by ceil_mode, scales) as it is in the run.

    It infers a number of numbers alone, so that this one is that of all runs, too.
    """
    pairs = zip(inferred, shape, strict=True)
    return tuple(m if isinstance(n, int) and not is_open((m,)) else n for n, m in pairs)


def _may_be_open(work: Work, inputs: tuple[Ref, ...]) -> bool:
    """Return whether the lengths of what is made of some values may be others for other inputs."""
    return work.source is not None and (work.source.is_open or any(i.name in work.sized_by_data for i in inputs))


def _loose(work: Work, node: OnnxNode, inputs: tuple[Ref, ...]) -> bool:
    """Return whether a node reads what depends on open lengths or on the data, and is not handed to its op."""
    names, read = {i.name for i in inputs}, [work.known.get(i) for i in node.inputs]
    return any(how(a) or (isinstance(a, Ref) and not a.value.active and a.name not in names) for a in read)


def _longest(work: Work, node: OnnxNode, inputs: tuple[Ref, ...], rank: int) -> frozenset[int]:
    """Return the axes of an output along which what a node reads beside its op's inputs may be longer than these."""
    names, found = {i.name for i in inputs}, set[int]()
    for a in map(work.known.get, filter(None, node.inputs)):
        if isinstance(a, Ref) and a.name not in names:
            found.update(i + rank - a.ndim for i, n in enumerate(a.value.lengths) if n != 1)
        elif isinstance(a, np.ndarray):
            found.update(i + rank - a.ndim for i, n in enumerate(a.shape) if n != 1 or i in marks(a)[1])
    return frozenset(found)


def plumbed(work: Work, node: OnnxNode, i: int, inputs: tuple[Ref, ...], shape: Shape, part: str) -> Lengths:
    """Return the lengths of a value that carries no relevance: what ONNX infers, or names."""
    if not _may_be_open(work, inputs):
        return ()
    inferred = None if part else _inferred(work, node, i)
    if inferred is not None and len(inferred) == len(shape):
        found: Lengths = tuple(work.same.get(n, n) for n in _as_run(inferred, shape))
    else:
        name = f"{work.prefix}{node.outputs[i]}:{part}"
        found = named(name, (None,) * len(shape), work.source.said if work.source else ()) or ()
    return work.names.know(found) if part or i else settled(work, node, shape, found)


def _unknown(op: Op, own: tuple[Lengths, ...], shape: Shape) -> Found:
    return (None,) * len(shape)


def _kept(op: Op, own: tuple[Lengths, ...], shape: Shape) -> Found:
    return own[0]


def _by_shape(op: Op, own: tuple[Any, ...], shape: Shape) -> Found:
    """Return what the op's own law of shapes says, which hands lengths on as they are."""
    return op.shape(*own)


def _broadcast(op: Op, own: tuple[Lengths, ...], shape: Shape) -> Found:
    """Return the lengths of values that are broadcast together; two open ones may be one, or one of them 1."""
    found: list[int | str | None] = []
    for i in range(-len(shape), 0):
        along = {each[i] for each in own if len(each) >= -i} - {1}
        fixed = [n for n in along if isinstance(n, int)]
        found.append(1 if not along else fixed[0] if fixed else along.pop() if len(along) == 1 else None)
    return tuple(found)


def _product(op: Op, own: tuple[Lengths, ...], shape: Shape) -> Found:
    one, two = own
    lead = _broadcast(op, (one[:-2], two[:-2]), shape[:-2])
    return (*lead, one[-2], two[-1])


def _dense(op: Dense, own: tuple[Lengths, ...], shape: Shape) -> Found:
    return (*own[0][:-1], shape[-1]) if np.ndim(op.w) == 2 else _unknown(op, own, shape)


def _windows(op: Conv | ConvTranspose | WindowMean | MaxPool, own: tuple[Lengths, ...], shape: Shape) -> Found:
    """Return the lengths behind windows: an open axis is as long as before where each entry starts one, else none is known."""
    channels = shape[1] if isinstance(op, Conv | ConvTranspose) else own[0][1]
    return (
        own[0][0],
        channels,
        *(
            m if isinstance(n, int) else n if keeps else None
            for n, m, keeps in zip(own[0][2:], shape[2:], _kept_lengths(op), strict=True)
        ),
    )


def _kept_lengths(op: Conv | ConvTranspose | WindowMean | MaxPool) -> tuple[bool, ...]:
    """Return for each axis whether there are as many windows as entries, however many these are."""
    w = op.windows
    each = zip(w.kernel, w.dilations, w.begin, w.end, w.strides, strict=True)
    return tuple(not isinstance(op, ConvTranspose) and s == 1 and d * (k - 1) == b + e for k, d, b, e, s in each)


def _slice(op: Slice, own: tuple[Lengths, ...], shape: Shape) -> Found:
    whole = [s == slice(None) for s in op.slices]
    pairs = zip(own[0], shape, whole, strict=True)
    return tuple(n if is_whole else m if isinstance(n, int) else None for n, m, is_whole in pairs)


def _concat(op: Concat, own: tuple[Lengths, ...], shape: Shape) -> Found:
    joined = [each[op.axis] for each in own]
    along = shape[op.axis] if all(isinstance(n, int) for n in joined) else None
    return (*own[0][: op.axis], along, *own[0][op.axis + 1 :])


def _expanded(op: Expand, own: tuple[Lengths, ...], shape: Shape) -> Found:
    """Return the lengths of what is broadcast: those that are numbers stay; others may be as long as what it is joined with."""
    aligned = (*(None for _ in range(len(shape) - len(own[0]))), *own[0])
    return tuple(n if isinstance(n, int) and n != 1 else None for n in aligned)


def _asked(work: Work, node: OnnxNode, own: Lengths) -> Found | None:
    """Return what a node that reshapes asks for by constants, where ONNX's inference does not reach, as in a function's body."""
    given = work.known.get(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else None
    numbers = node.attributes.get("axes") if given is None else given
    if numbers is None or isinstance(numbers, Ref | Items) or how(given) & SHAPE:
        return None
    asked = [int(n) for n in np.ravel(np.asarray(numbers))]
    if node.op_type == "Reshape" and not node.attributes.get("allowzero", 0):
        loose = np.ravel(marks(given)[0]) if isinstance(given, np.ndarray) else (False,) * len(asked)
        pairs = enumerate(zip(asked, loose, strict=True))
        return tuple(None if n < 0 or is_loose else own[i] if n == 0 else n for i, (n, is_loose) in pairs)
    if how(given):
        return None
    if node.op_type == "Unsqueeze":
        rank = len(own) + len(asked)
        new, rest = {a % rank for a in asked}, iter(own)
        return tuple(1 if i in new else next(rest) for i in range(rank))
    if node.op_type == "Squeeze":
        gone = {a % len(own) for a in asked}
        return tuple(n for i, n in enumerate(own) if i not in gone)
    return None


def _reshaped(own: Lengths, known: Found) -> Found:
    """Return the lengths behind a reshape, one of which follows from the others: there are as many entries."""
    if known.count(None) != 1:
        return known
    left = Counter(n for n in own if isinstance(n, str))
    left.subtract(n for n in known if isinstance(n, str))
    names = list(left.elements())
    given, taken = (prod(n for n in each if isinstance(n, int)) for each in (own, known))
    fits = min(left.values(), default=0) >= 0 and taken and given % taken == 0
    rest: int | str | None = None
    if fits and not names:
        rest = given // taken
    elif fits and len(names) == 1 and given == taken:
        rest = names[0]
    return tuple(rest if n is None else n for n in known)


def kinds(base: type[Op]) -> list[type[Op]]:
    """Return a type of op and those that are made of it."""
    return [base, *(k for kind in base.__subclasses__() for k in kinds(kind))]


ENTRYWISE = {"Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Sum", "Mean"}
"""Operators of which an operand is broadcast to what the node makes before it meets a constant."""

SHAPED = (Concat, Expand, Slice)
"""Ops whose output is as long as the node's other operands say."""

LAWS: dict[type[Op], Callable[..., Found]] = {
    **dict.fromkeys((Pointwise, *kinds(Diagonal), *kinds(Units), *kinds(Normaliser)), _kept),
    **dict.fromkeys((Transpose, SumAxes, MaxAxes, Embedding), _by_shape),
    **dict.fromkeys((SumOf, Multiply), _broadcast),
    **dict.fromkeys((Conv, ConvTranspose, WindowMean, MaxPool), _windows),
    MatrixProduct: _product,
    Dense: _dense,
    Slice: _slice,
    Concat: _concat,
    Expand: _expanded,
}
"""What ops do with axes, for all lengths; of the others only ONNX's inference is asked."""
