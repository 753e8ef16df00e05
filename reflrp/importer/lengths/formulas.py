"""Lengths that are left open: what a file computes with them is carried as formulas, node by node (`arrays/tracing/dims.py`).

Integers made of lengths (Shape, Gather, Concat, Mul ...) are arrays of formulas. Whatever else follows from lengths alone, as
positions or a causal mask, is *late*: a value without relevance of a known shape, whose numbers the file computes in the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from reflrp.arrays.tracing.dims import Dim, Unsettled, broadcast_shapes, is_open, total, whole
from reflrp.arrays.tracing.spans import entries, shared
from reflrp.importer.dtypes import dtype_of
from reflrp.importer.lengths.integers import larger, quotient, rest, same, smaller
from reflrp.importer.lengths.openshapes import JOINED, told
from reflrp.importer.lengths.openshapes import numbers as _numbers
from reflrp.importer.nodes.misread import backwards
from reflrp.importer.nodes.node import OnnxNode
from reflrp.importer.site import Arg, Items, Ref, Unbuildable, Work
from reflrp.ir import Shape


@dataclass(frozen=True)
class Shown:
    """The shape and dtype of a value that cannot be tried on zeros."""

    shape: Shape
    dtype: np.dtype[Any]


def concerns(args: tuple[Arg, ...]) -> bool:
    """Return whether any argument has an open length, or is made of such."""
    return any((isinstance(a, Ref) and is_open(a.shape)) or (isinstance(a, np.ndarray) and is_open(a)) for a in args)


def counted(node: OnnxNode, args: tuple[Arg, ...]) -> np.ndarray | None:
    """Return integers that follow from lengths, with their formulas; None for any other node."""
    if node.op_type in ("Shape", "Size") and isinstance(args[0], Ref | np.ndarray):
        shape = args[0].shape
        start, end = node.attributes.get("start", 0), node.attributes.get("end")
        return _array(shape[start:end] if node.op_type == "Shape" else total(shape))
    law = INTEGERS.get(node.op_type) if node.domain == "" else None
    arrays = [a for a in args if isinstance(a, np.ndarray)]
    if law is None or len(arrays) < len(args) or any(a.dtype.kind not in "iubO" for a in arrays):
        return None
    try:
        found = law(node, *arrays)
    except Unsettled:
        raise
    except (TypeError, ValueError, IndexError) as error:
        raise Unbuildable(f"it does not fit its inputs: {error}") from error
    return None if found is None else _array(found)


def _array(x: Any) -> np.ndarray:
    """Return integers as an array: of formulas where one is, else of plain numbers."""
    found = np.asarray(x, dtype=object)
    if any(isinstance(n, Dim) for n in found.flat):
        return np.asarray(_each(whole, found), dtype=object).reshape(found.shape)
    kinds = {type(n) for n in found.flat}
    return found.astype(bool if kinds and kinds <= {bool, np.bool_} else np.int64)


def _each(function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    wide = [np.broadcast_to(a, shape) for a in arrays]
    found = np.empty(shape, dtype=object)
    for i in np.ndindex(shape):
        found[i] = function(*(a[i] for a in wide))
    return found


def _entrywise(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    return lambda node, *arrays: _each(function, *(np.asarray(a, dtype=object) for a in arrays))


def _modulo(node: OnnxNode, a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    return None if node.attributes.get("fmod", 0) else _entrywise(rest)(node, a, b)


def _cast(node: OnnxNode, x: np.ndarray) -> np.ndarray | None:
    to = dtype_of(node.attributes.get("to", 0))
    return x if to is not None and to.kind in "iu" and to.itemsize >= 4 else None


def _gather(node: OnnxNode, x: np.ndarray, index: np.ndarray) -> np.ndarray | None:
    return None if is_open(index) else np.take(x, index.astype(np.int64), axis=node.attributes.get("axis", 0))


def _axes(node: OnnxNode, given: tuple[np.ndarray, ...]) -> tuple[int, ...] | None:
    found = given[0] if given else node.attributes.get("axes")
    return None if found is None else tuple(int(a) for a in np.ravel(found))


def _squeeze(node: OnnxNode, x: np.ndarray, *axes: np.ndarray) -> np.ndarray:
    return np.squeeze(x, axis=_axes(node, axes))


def _unsqueeze(node: OnnxNode, x: np.ndarray, *axes: np.ndarray) -> np.ndarray:
    return np.expand_dims(x, axis=_axes(node, axes) or ())


def _concat(node: OnnxNode, *arrays: np.ndarray) -> np.ndarray:
    return np.concatenate([a.astype(object) for a in arrays], axis=node.attributes["axis"])


def _slice(node: OnnxNode, x: np.ndarray, *rest: np.ndarray) -> np.ndarray | None:
    given = rest or tuple(np.asarray(node.attributes[k]) for k in ("starts", "ends", "axes") if k in node.attributes)
    if any(map(is_open, given)):
        return None
    numbers = [np.ravel(a).astype(np.int64) for a in given]
    axes = numbers[2] if len(numbers) > 2 else np.arange(len(numbers[0]))
    steps = numbers[3] if len(numbers) > 3 else np.ones(len(axes), dtype=np.int64)
    key = [slice(None)] * x.ndim
    for start, end, axis, step in zip(numbers[0], numbers[1], axes, steps, strict=True):
        begin = backwards(int(start), x.shape[axis], int(step))
        key[axis] = slice(begin, None if step < 0 and end < -x.shape[axis] else int(end), int(step))
    return x[tuple(key)]


def _reshape(node: OnnxNode, x: np.ndarray, shape: np.ndarray) -> np.ndarray | None:
    return None if is_open(shape) else x.reshape(tuple(int(n) for n in np.ravel(shape)))


def _prod(node: OnnxNode, x: np.ndarray, *axes: np.ndarray) -> np.ndarray | None:
    kept = (1,) if node.attributes.get("keepdims", 1) else ()
    return _array(total(tuple(x))).reshape(kept) if x.ndim == 1 else None


INTEGERS: Mapping[str, Callable[..., np.ndarray | None]] = {
    "Add": _entrywise(lambda a, b: a + b), "Sub": _entrywise(lambda a, b: a - b), "Mul": _entrywise(lambda a, b: a * b),
    "Div": _entrywise(quotient), "Mod": _modulo, "Equal": _entrywise(same),
    "Less": _entrywise(lambda a, b: bool(a < b)), "Greater": _entrywise(lambda a, b: bool(a > b)),
    "LessOrEqual": _entrywise(lambda a, b: bool(a <= b)), "GreaterOrEqual": _entrywise(lambda a, b: bool(a >= b)),
    "Min": _entrywise(smaller), "Max": _entrywise(larger),
    "Where": _entrywise(lambda c, a, b: a if c else b), "Identity": lambda node, x: x, "Cast": _cast, "Gather": _gather,
    "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Concat": _concat, "Slice": _slice, "Reshape": _reshape,
    "ReduceProd": _prod,
}  # fmt: skip
"""What operators do to integers some of which are formulas; None where the answer has no formula."""


def shown(node: OnnxNode, args: tuple[Arg, ...], work: Work | None = None) -> tuple[Shown | None, ...]:
    """Return the shapes and dtypes of a node's outputs, by ONNX's own inference, with a name for each formula.

    Raises Unbuildable where a length does not follow.
    """
    if any(isinstance(a, Items) for a in args):
        raise Unbuildable("it reads a sequence, and lengths are left open")
    formulas: dict[str, Dim] = {}
    given = node.apart.bound(args)
    inputs = [_info(name, a, formulas) for name, a in given.items()]
    numbers = {name: a for name, a in given.items() if isinstance(a, np.ndarray) and a.dtype != object and a.size < 64}
    constants = [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in numbers.items()]
    outputs = [onnx.ValueInfoProto(name=o) for o in node.outputs if o]
    graph = helper.make_graph([node.apart.proto], "node", inputs, outputs, constants)
    opsets = [helper.make_opsetid(domain, version) for domain, version in (node.opsets or {"": node.opset}).items()]
    try:
        inferred = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets), strict_mode=False)
    except Exception as error:
        raise Unbuildable(f"its shape does not follow from open lengths ({str(error)[:200]})") from error
    types = {o.name: o.type.tensor_type for o in inferred.graph.output}
    own = SHAPES[node.op_type](node, told(node, args, work)) if node.op_type in SHAPES else None
    if node.op_type == "Dropout":  # before opset 10, inference says nothing of its mask, which has the type of the data
        for kind in types.values():
            kind.elem_type = kind.elem_type or inputs[0].type.tensor_type.elem_type
    return tuple(_shown(types[o], own, formulas) if o else None for o in node.outputs)


def _info(name: str, a: Any, formulas: dict[str, Dim]) -> onnx.ValueInfoProto:
    dtype = np.dtype(np.int64) if isinstance(a, np.ndarray) and a.dtype == object else np.asarray(a).dtype
    dtype = a.value.dtype if isinstance(a, Ref) else dtype
    dtype = np.dtype(np.float32) if dtype == np.float64 and isinstance(a, Ref) else dtype
    dims = [_named(n, formulas) if isinstance(n, Dim) else int(n) for n in a.shape]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), dims)


def _named(n: Dim, formulas: dict[str, Dim]) -> str:
    """Return a name that stands for a formula alone, whatever its symbols are called."""
    known = next((name for name, formula in formulas.items() if formula == n), f"length{len(formulas)}")
    formulas[known] = n
    return known


def _shown(kind: Any, own: Shape | None, formulas: Mapping[str, Dim]) -> Shown:
    dtype = dtype_of(kind.elem_type)
    if own is None and not kind.HasField("shape"):
        raise Unbuildable("its shape does not follow from open lengths")
    dims = own if own is not None else tuple(_dim(d, formulas) for d in kind.shape.dim)
    if dtype is None:
        raise Unbuildable("its type does not follow")
    return Shown(dims, dtype)


def _dim(d: Any, formulas: Mapping[str, Dim]) -> int:
    if d.HasField("dim_value"):
        return int(d.dim_value)
    if d.dim_param in formulas:
        return formulas[d.dim_param]
    raise Unbuildable("its shape does not follow from open lengths")


def _slice_shape(node: OnnxNode, args: tuple[Arg, ...]) -> Shape:
    x = args[0]
    shape = list(getattr(x, "shape", ()))
    starts, ends = _numbers(args[1]), _numbers(args[2])
    axes = _numbers(args[3]) if len(args) > 3 and args[3] is not None else tuple(range(len(starts)))
    steps = _numbers(args[4]) if len(args) > 4 and args[4] is not None else (1,) * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        shape[axis] = entries(slice(start, None if step < 0 and end < -(2**31) else end, step), shape[axis])
    return tuple(shape)


def _reshape_shape(node: OnnxNode, args: tuple[Arg, ...]) -> Shape:
    source: Shape = getattr(args[0], "shape", ())
    return reshaped(source, _numbers(args[1]), bool(node.attributes.get("allowzero", 0)))


def reshaped(source: Shape, target: Shape, allowzero: bool) -> Shape:
    """Return the shape that a Reshape makes: 0 copies a length (without allowzero), -1 is worked out."""
    copied = tuple(n if allowzero or n != 0 else source[i] for i, n in enumerate(target))
    if -1 not in target:
        return copied
    rest = shared(total(source), total(tuple(n for n in copied if n != -1)))
    return tuple(rest if n == -1 else n for n in copied)


def _flatten_shape(node: OnnxNode, args: tuple[Arg, ...]) -> Shape:
    shape: Shape = getattr(args[0], "shape", ())
    axis = node.attributes.get("axis", 1)
    return total(shape[:axis]), total(shape[axis:])


def _resize_shape(node: OnnxNode, args: tuple[Arg, ...]) -> Shape:
    shape, sizes = getattr(args[0], "shape", ()), args[3] if len(args) > 3 else None
    if sizes is None or node.attributes.get("keep_aspect_ratio_policy", b"stretch") not in (b"stretch", "stretch"):
        raise Unbuildable("its shape does not follow from open lengths")
    axes = node.attributes.get("axes") or range(len(shape))
    given = {a % len(shape): n for a, n in zip(axes, _numbers(sizes), strict=True)}
    return tuple(given.get(i, n) for i, n in enumerate(shape))


def _tile_shape(node: OnnxNode, args: tuple[Arg, ...]) -> Shape:
    shape, times = getattr(args[0], "shape", ()), _numbers(args[1])
    if len(shape) != len(times):
        raise Unbuildable(f"it repeats {len(shape)} axes {times} times")
    return tuple(whole(n * k) for n, k in zip(shape, times, strict=True))


def _joint_shape(node: OnnxNode, args: tuple[Arg, ...]) -> Shape:
    return broadcast_shapes(*(getattr(a, "shape", ()) for a in args))


JOINT = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Or", "Pow",
    "Sub", "Where", "Xor",
)  # fmt: skip
"""Operators whose operands are broadcast: of two lengths that are open, ONNX's inference does not say that they must be one."""

SHAPES: Mapping[str, Callable[[OnnxNode, tuple[Arg, ...]], Shape]] = {
    **dict.fromkeys(JOINT, _joint_shape),
    **JOINED,
    "ConstantOfShape": lambda node, args: _numbers(args[0]),
    "Expand": lambda node, args: broadcast_shapes(getattr(args[0], "shape", ()), _numbers(args[1])),
    "Flatten": _flatten_shape,
    "Reshape": _reshape_shape,
    "Resize": _resize_shape,
    "Slice": _slice_shape,
    "Tile": _tile_shape,
}
"""Operators that are told lengths by an operand, which ONNX's inference cannot read as a formula."""
