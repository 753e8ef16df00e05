"""The laws of samples for plumbing: masks, positions and shapes, by the ONNX operator that a node runs.

What is on none of the lists counts as mixing the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from reflrp.ops.routing import Plumbing
from reflrp.passes.laws import law
from reflrp.passes.places import Meeting, Place, Sight, landed, local, reshaped

ENTRYWISE = frozenset([
    "Abs", "Add", "And", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "Ceil", "Clip",
    "Div", "Equal", "Erf", "Exp", "Floor", "Greater", "GreaterOrEqual", "Identity", "IsInf", "IsNaN", "Less",
    "LessOrEqual", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu", "Round",
    "Sigmoid", "Sign", "Sqrt", "Sub", "Sum", "Tanh", "Where", "Xor",
])  # fmt: skip
FLAT = frozenset(["Flatten", "Reshape", "Squeeze", "Unsqueeze"])
REDUCES = frozenset(
    ["ArgMax", "ArgMin", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"]
)


@dataclass(frozen=True)
class Recipe:
    """What a plumbing node runs: an operator, its attributes, and its operands; None stands for what is observed."""

    op_type: str
    attributes: Mapping[str, Any]
    operands: tuple[Any, ...]

    def ints(self, name: str, i: int) -> tuple[int, ...] | None:
        """Return integers that are an attribute in old opsets and operand i in new ones; None where they are neither."""
        found = (
            self.operands[i] if i < len(self.operands) and self.operands[i] is not None else self.attributes.get(name)
        )
        return None if found is None else tuple(int(n) for n in np.ravel(found))


def recipe(op: Plumbing) -> Recipe | None:
    """Return what a plumbing node runs, if that is an ONNX operator as it stands in the file."""
    given: tuple[Any, ...] = getattr(op.function, "args", ()) or (None,)
    node, *operands = given
    if not hasattr(node, "op_type") or getattr(node, "domain", None) != "":
        return None
    return Recipe(node.op_type, node.attributes, tuple(operands))


@law.register
def _plumbing(op: Plumbing, see: Sight) -> Place:
    known = recipe(op)
    if getattr(op.function, "each", False) and see.places == (Place(0),):
        return Place(0)
    if known is None:
        raise Meeting("no law says how it treats samples")
    if known.op_type in ENTRYWISE:
        return see.broadcast(*known.operands)
    if known.op_type != "Concat" and any(place is not None for place in see.places[1:]):
        raise Meeting("samples say how it treats samples")
    if known.op_type in FLAT:
        return reshaped(see.one(), see.shapes[0], see.out, see.count)
    found = LAWS.get("Reduce" if known.op_type in REDUCES else known.op_type)
    if found is None:
        raise Meeting(f"no law says how {known.op_type} treats samples")
    return found(known, see)


def _axes(axes: tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(rank))
    return tuple(a % rank for a in axes)


def _reduce(known: Recipe, see: Sight) -> Place:
    name = "axis" if known.op_type.startswith("Arg") else "axes"
    default = (0,) if name == "axis" else None
    axes = _axes(known.ints(name, 1) or default, len(see.shapes[0]))
    place = see.off(see.one(), axes)
    gone = 0 if known.attributes.get("keepdims", 1) else sum(a < place.axis for a in axes)
    return replace(place, axis=place.axis - gone)


def _transpose(known: Recipe, see: Sight) -> Place:
    rank, place = len(see.shapes[0]), see.one()
    perm = known.attributes.get("perm") or range(rank)[::-1]
    return replace(place, axis=list(perm).index(place.axis))


def _concat(known: Recipe, see: Sight) -> Place:
    found = {place for place in see.places if place is not None}
    if len(found) != 1 or None in see.places:
        raise Meeting("it joins what has samples with what has none, or has them elsewhere")
    (place,) = found
    return see.same(see.off(place, (known.attributes["axis"] % len(see.out),)), *known.operands)


def _expand(known: Recipe, see: Sight) -> Place:
    return see.shifted(see.one(), len(see.shapes[0]))


def _gather(known: Recipe, see: Sight) -> Place:
    if known.operands[0] is not None:  # rows of a constant, by numbers of the samples
        place, axis = see.one(), known.attributes.get("axis", 0) % np.ndim(known.operands[0])
        return replace(place, axis=place.axis + axis)
    if known.operands[1] is None:
        raise Meeting("it moves entries by numbers that are found in the run")
    place, axis = see.one(), known.attributes.get("axis", 0) % len(see.shapes[0])
    see.off(place, (axis,))
    more = np.ndim(known.operands[1]) - 1
    return replace(place, axis=place.axis + (more if place.axis > axis else 0))


def _gather_nd(known: Recipe, see: Sight) -> Place:
    index = known.operands[1]
    if index is None or known.operands[0] is not None or known.attributes.get("batch_dims", 0):
        raise Meeting("it moves entries by numbers that are found in the run, or batch by batch")
    shape, depth = see.shapes[0], np.shape(index)[-1]
    numbered = np.arange(prod(shape)).reshape(shape)
    bounds = np.array(shape[:depth]).reshape((1,) * (np.ndim(index) - 1) + (-1,))
    numbers = numbered[tuple(np.moveaxis(np.where(index < 0, index + bounds, index), -1, 0))]
    return landed(local(numbers, see.one(), shape, see.count), see.out, see.count)


def _slice(known: Recipe, see: Sight) -> Place:
    starts = known.ints("starts", 1)
    axes = known.ints("axes", 3) or (None if starts is None else tuple(range(len(starts))))
    return see.off(see.one(), _axes(axes, len(see.shapes[0])))


def _cumsum(known: Recipe, see: Sight) -> Place:
    return see.off(see.one(), _axes(known.ints("axis", 1), len(see.shapes[0])))


def _dynamic(known: Recipe, see: Sight) -> Place:
    raise Meeting("it rounds all samples to one scale, that of the largest")


LAWS: dict[str, Callable[[Recipe, Sight], Place]] = {
    "Concat": _concat,
    "CumSum": _cumsum,
    "DynamicQuantizeLinear": _dynamic,
    "Expand": _expand,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Reduce": _reduce,
    "Slice": _slice,
    "Transpose": _transpose,
}
