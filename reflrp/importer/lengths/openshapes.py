"""Shapes with open lengths of operators that join, frame or sort: ONNX's own inference reads no formulas there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from reflrp.arrays.tracing.dims import broadcast_shapes, is_open, whole
from reflrp.arrays.tracing.spans import check_reach, entries
from reflrp.importer.dtypes import is_float
from reflrp.importer.loops.counting import EXACT, Outside
from reflrp.importer.nodes.node import OnnxNode
from reflrp.importer.site import Arg, Ref, Unbuildable, Work
from reflrp.ir import Shape


def numbers(a: Arg) -> tuple[int, ...]:
    """Return the integers of an operand, formulas among them. Raises Unbuildable where the run finds them."""
    if not isinstance(a, np.ndarray):
        raise Unbuildable("its size is found in the data")
    return tuple(whole(n) for n in np.ravel(a))


def told(node: OnnxNode, args: tuple[Arg, ...], work: Work | None) -> tuple[Arg, ...]:
    """Return a node's operands, those of a Range over floats (positions for sines) as the whole numbers that they are.

    Raises Unbuildable where one is none, and TooLong where float32 may lack it.
    """
    kinds = [a.value.dtype if isinstance(a, Ref) else np.asarray(a).dtype for a in args]
    if node.op_type != "Range" or work is None or not any(map(is_float, kinds)):
        return args
    found = tuple(Outside(work).whole(a) for a in args)
    for n in found:
        check_reach(n, EXACT)
    return tuple(np.asarray(n, dtype=object) for n in found)


def _range_shape(node: OnnxNode, args: tuple[Arg, ...]) -> Shape:
    (start,), (stop,), (step,) = (numbers(a) for a in args)
    if step != 1:
        raise Unbuildable(f"it counts to an open length in steps of {step}")
    return (stop - start,)


def _concat_shape(node: OnnxNode, args: tuple[Arg, ...]) -> Shape:
    shapes = [tuple(getattr(a, "shape", ())) for a in args]
    axis = node.attributes["axis"] % len(shapes[0])
    others = [(*s[:axis], *s[axis + 1 :]) for s in shapes]
    joint = broadcast_shapes(*others)
    if any(o != joint for o in others):
        raise Unbuildable(f"it joins the shapes {shapes} along axis {axis}")
    return (*joint[:axis], whole(sum(s[axis] for s in shapes)), *joint[axis:])


def _pad_shape(node: OnnxNode, args: tuple[Arg, ...]) -> Shape:
    shape, pads = list(getattr(args[0], "shape", ())), numbers(args[1])
    axes = numbers(args[3]) if len(args) > 3 and args[3] is not None else tuple(range(len(shape)))
    if is_open(pads) or min(pads, default=0) < 0 or len(pads) != 2 * len(axes):
        raise Unbuildable("its shape does not follow from open lengths")
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        shape[axis] = whole(shape[axis] + before + after)
    return tuple(shape)


def _top_k_shape(node: OnnxNode, args: tuple[Arg, ...]) -> Shape:
    shape = list(getattr(args[0], "shape", ()))
    (count,) = numbers(args[1]) if node.opset >= 10 else (node.attributes["k"],)
    axis = node.attributes.get("axis", -1)
    shape[axis] = entries(slice(0, count), shape[axis])
    return tuple(shape)


JOINED: Mapping[str, Callable[[OnnxNode, tuple[Arg, ...]], Shape]] = {
    "Concat": _concat_shape,
    "Dropout": lambda node, args: tuple(getattr(args[0], "shape", ())),
    "Pad": _pad_shape,
    "Range": _range_shape,
    "TopK": _top_k_shape,
}
"""Operators -> the shape of their outputs."""
