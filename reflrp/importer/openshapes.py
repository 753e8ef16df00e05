"""Shapes with open lengths of operators that join, frame or sort: ONNX's own inference reads no formulas there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from reflrp.arrays.tracing.dims import broadcast_shapes, is_open, whole
from reflrp.arrays.tracing.spans import entries
from reflrp.importer.node import OnnxNode
from reflrp.importer.site import Arg, Unbuildable
from reflrp.ir import Shape


def numbers(a: Arg) -> tuple[int, ...]:
    """Return the integers of an operand, formulas among them. Raises Unbuildable where the run finds them."""
    if not isinstance(a, np.ndarray):
        raise Unbuildable("its size is found in the data")
    return tuple(whole(n) for n in np.ravel(a))


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
    "TopK": _top_k_shape,
}
"""Operators -> the shape of their outputs."""
