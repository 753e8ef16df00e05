"""Operators of the standard on quantised integers: the numbers that ONNX computes, in the range of their type.

A quantised value is carried as the integer itself, and its `Value.dtype` says of which type it is. What moves, compares or
clips integers is built as on real numbers; arithmetic too, and what leaves the type's range is wrapped around. `Work.bounds`
says how small and large an integer can be, so that it is only wrapped where nothing proves that it stays inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf, prod
from typing import Any

import numpy as np

from reflrp.importer.dtypes import dtype_of, integer_bits, integer_bounds, is_integer
from reflrp.importer.nodes.node import OnnxNode
from reflrp.importer.site import Arg, Build, Ref, Site, Unbuildable, Work
from reflrp.ops.quantised import Bounds, Truncate, Wrap, bounds_through

ALL = range(1 << 20)

MOVES: dict[str, Any] = {
    **dict.fromkeys(["Compress", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"], (0,)),
    **dict.fromkeys(["Identity", "Dropout", "Reshape", "ReverseSequence", "Slice", "SpaceToDepth", "Split"], (0,)),
    **dict.fromkeys(["Squeeze", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "CenterCropPad"], (0,)),
    **dict.fromkeys(["MaxPool", "ReduceMax", "ReduceMin", "Relu", "Resize", "Upsample"], (0,)),
    **dict.fromkeys(["Clip"], (0, 1, 2)),
    **dict.fromkeys(["Concat", "Max", "Min"], ALL),
    "Pad": (0, 2),
    "Where": (1, 2),
    **dict.fromkeys(["Scatter", "ScatterElements", "ScatterND"], (0, 2)),
}
"""Operators that make no numbers but those that come in, and 0 -> which inputs are numbers."""

ARITHMETIC: dict[str, Any] = {
    **dict.fromkeys(["Abs", "CumSum", "Neg", "ReduceSum", "Sign"], (0,)),
    **dict.fromkeys(["Add", "Div", "MatMul", "Mul", "Sub"], (0, 1)),
    "Gemm": (0, 1, 2),
    **dict.fromkeys(["Einsum", "Sum"], ALL),
}
"""Operators that compute."""

OWN = frozenset(
    [
        "Cast",
        "CastLike",
        "ConvInteger",
        "DequantizeLinear",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    ]
)
"""Operators whose builders know of integers; all of com.microsoft do."""

WITHIN = frozenset(["If", "Loop", "Scan"])
"""Operators whose bodies are built node by node."""

BITS = frozenset(["BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"])
"""Operators on the bits of numbers."""


def is_number(arg: Any) -> bool:
    """Return whether an input is a quantised value: an integer that carries relevance."""
    return isinstance(arg, Ref) and arg.value.active and is_integer(arg.value.dtype)


def cast_to(node: OnnxNode, args: tuple[Arg, ...]) -> np.dtype[Any] | None:
    """Return the type that a Cast or a CastLike casts to, None for one that NumPy lacks."""
    if node.op_type == "Cast":
        return dtype_of(node.attributes.get("to", 1))
    like = args[1]
    return like.value.dtype if isinstance(like, Ref) else like.dtype  # type: ignore[union-attr]


def on_integers(node: OnnxNode, args: tuple[Arg, ...]) -> bool:
    """Return whether a node computes with quantised values and its builder knows of real numbers only.

    Raises Unbuildable for one that takes the bits of such a value.
    """
    if not any(map(is_number, args)):
        return False
    if node.domain == "" and node.op_type in BITS:
        raise Unbuildable("it takes the bits of numbers that carry relevance, which has no rule")
    return node.domain in ("", "ai.onnx.ml") and node.op_type not in OWN | WITHIN


def build_on_integers(build: Build, node: OnnxNode, args: tuple[Arg, ...], work: Work) -> Any:
    """Return what the operator's builder makes of integers, wrapped around where they leave the range of their type."""
    places = MOVES.get(node.op_type, ARITHMETIC.get(node.op_type))
    dtype = next(a.value.dtype for a in args if is_number(a))  # type: ignore[union-attr]
    if node.domain or places is None:
        raise Unbuildable(f"it computes with {dtype} numbers, as which it has no rule; dequantise before it")
    if node.op_type in ("Resize", "Upsample") and node.attributes.get("mode", "nearest") not in ("nearest", b"nearest"):
        raise Unbuildable(f"it interpolates {dtype} numbers, which runtimes round each in their own way")
    if any(is_number(a) for i, a in enumerate(args) if i not in places):
        raise Unbuildable(f"an input that says what it does is a {dtype} number that carries relevance")
    given = tuple(_as_real(a) if i in places else a for i, a in enumerate(args))
    numbers = [bounds_of(a, work) for i, a in enumerate(args) if i in places and a is not None]
    site = Site(node, given, work)
    made = _quotient(site) if node.op_type == "Div" else build(site)
    return _typed(site, made, dtype, _bounds(node, numbers, prod(args[0].shape)))  # type: ignore[union-attr]


def _as_real(arg: Arg) -> Arg:
    return arg.astype(np.float64) if isinstance(arg, np.ndarray) else arg


def _typed(site: Site, made: Any, dtype: np.dtype[Any], bounds: Bounds) -> Any:
    if isinstance(made, tuple):
        return tuple(_typed(site, m, dtype, bounds) for m in made)
    return fitted(site, made, dtype, bounds) if isinstance(made, Ref) and made.value.active else made


def _bounds(node: OnnxNode, numbers: list[Bounds], size: int) -> Bounds:
    """Return the bounds of an operator's output, from those of its operands; `size` is that of the first."""
    if node.op_type in MOVES and str(node.attributes.get("reduction", "none")) == "none":
        return _hull(numbers)
    formula = FORMULAS.get(node.op_type)
    return formula(numbers, size) if formula else (-inf, inf)


def _hull(numbers: list[Bounds]) -> Bounds:
    """Return the bounds of all numbers, and of 0."""
    return min(0.0, *(b[0] for b in numbers)), max(0.0, *(b[1] for b in numbers))


def _sum(numbers: list[Bounds], size: int) -> Bounds:
    return sum(b[0] for b in numbers), sum(b[1] for b in numbers)


def _sum_of_entries(numbers: list[Bounds], size: int) -> Bounds:
    low, high = _hull(numbers)
    return max(size, 1) * low, max(size, 1) * high


def _either_sign(numbers: list[Bounds], size: int) -> Bounds:
    most = max(map(abs, numbers[0]))
    return -most, most


FORMULAS: dict[str, Callable[[list[Bounds], int], Bounds]] = {
    "Abs": _either_sign,
    "Add": _sum,
    "CumSum": _sum_of_entries,
    "Div": _either_sign,
    "Mul": lambda numbers, _: bounds_through(lambda a, b: a * b, *numbers),
    "Neg": lambda numbers, _: bounds_through(lambda a: -a, *numbers),
    "ReduceSum": _sum_of_entries,
    "Sign": lambda *_: (-1.0, 1.0),
    "Sub": lambda numbers, _: bounds_through(lambda a, b: a - b, *numbers),
    "Sum": _sum,
}
"""Operator -> the bounds of its output; of any other nothing is known."""


def _quotient(site: Site) -> Ref:
    """Return the quotient of integers, rounded towards zero."""
    divisor = site.arg(1)
    if isinstance(divisor, Ref):
        raise Unbuildable("it divides integers by integers that are no constants")
    if not np.all(divisor):
        raise Unbuildable("it divides integers by 0")
    return site.emit(Truncate(divisor), site.ref(0))


def bounds_of(arg: Any, work: Work) -> Bounds:
    """Return how small and how large the numbers of a value or a constant can be."""
    if isinstance(arg, np.ndarray):
        return (float(arg.min()), float(arg.max())) if arg.size else (0.0, 0.0)
    if arg.name in work.bounds:
        return work.bounds[arg.name]
    return integer_bounds(arg.value.dtype) if is_integer(arg.value.dtype) else (-inf, inf)


def fitted(site: Site, ref: Ref, dtype: np.dtype[Any], bounds: Bounds) -> Ref:
    """Return a value as integers of a type: wrapped around unless its bounds prove that it stays in range."""
    low, high = integer_bounds(dtype)
    if integer_bits(dtype) <= 32 and not low <= bounds[0] <= bounds[1] <= high:
        ref, bounds = site.emit(Wrap(low, high - low + 1), ref, part="wrapped"), (low, high)
    return typed(site.work, ref, dtype, bounds)


def typed(work: Work, ref: Ref, dtype: np.dtype[Any], bounds: Bounds) -> Ref:
    """Return a value as integers of a type; what is known of its size is written down."""
    value = replace(ref.value, dtype=dtype)
    work.bounds[ref.name] = bounds
    work.values[ref.name] = value
    return Ref(ref.name, value)
