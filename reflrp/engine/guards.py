"""What the engine checks of each node on the way: dtypes, shapes, and that no NaN or infinity arose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from numbers import Rational
from typing import Any

import numpy as np

from reflrp.arrays import ZERO, Array, is_symbolic, namespace, total
from reflrp.arrays.namespaces import fits
from reflrp.arrays.once import once
from reflrp.errors import ModelError, NonFiniteError, RuleError
from reflrp.ir import Graph, Node, Op, Shape
from reflrp.ops.pointwise import Pointwise


def operands(graph: Graph, node: Node, values: Mapping[str, Array]) -> tuple[Array, ...]:
    """Return the inputs of a node; float64 that carries no relevance, as a mask, in float32 where what does is in float32."""
    xs = tuple(values[i] for i in node.inputs)
    own = next((x for x, i in zip(xs, node.inputs, strict=True) if graph.values[i].active), None)
    if node.kind == "plumbing" or is_symbolic(own) or _dtype(own) != np.float32:
        return xs
    return tuple(x.astype(np.float32) if _dtype(x) == np.float64 else x for x in xs)


def _dtype(x: Array | None) -> np.dtype[Any] | None:
    """Return the dtype of an array of NumPy's or CuPy's; None for any other."""
    own = getattr(x, "dtype", None)
    return own if isinstance(own, np.dtype) else None


def check_value(node: Node, xs: list[Array], y: Array) -> None:
    """Check what a node made of its inputs that carry relevance: its dtype, and that no NaN or infinity is in it, or vanished."""
    check_dtype(node, xs, y)
    if reciprocal(node.op):
        check_finite(xs[0], node, "denominator")
    check_finite(y, node, "value", allow_minus_infinity=True)


def reciprocal(op: Op) -> bool:
    """Return whether an op makes 0 of an infinity."""
    if not isinstance(op, Pointwise) or op.name not in ("reciprocal", "power", "abs_power"):
        return False
    return op.name == "reciprocal" or any(
        bool((p < 0).any()) if hasattr(p, "any") else p < 0 for p in op.args if not is_symbolic(p)
    )


def overflowed(error: NonFiniteError, where: str) -> NonFiniteError:
    """Return the error that says of which node a denominator is infinite, and what to do."""
    return NonFiniteError(
        f"{error} of {where}; use dtype='float64', or check the model's weights and the input's scale"
    )


def check_dtype(node: Node, xs: Iterable[Array], y: Array) -> None:
    """Raise ModelError where a node makes another dtype than its inputs have: the one that all is computed in."""
    for x in xs:
        own = getattr(x, "dtype", None)
        if own is not None and own != getattr(y, "dtype", own):
            raise ModelError(
                f"node {node.name!r} (onnx {node.op_type}) makes {y.dtype} of {own}; its weights are no floating numbers"
            )


def like(r: Array, part: Array, node: Node, shape: Shape, rule: str) -> Array:
    """Return what a rule gives to an input of a shape, in the dtype of the relevance `r` that it shares.

    Raises RuleError where it is not shaped like the input, or holds no such numbers.
    """
    found, dtype = getattr(part, "shape", None), getattr(part, "dtype", None)
    if is_symbolic(r) or is_symbolic(part) or dtype is None or any(type(n) is not int for n in shape):
        return _symbolic(part, node, shape, rule)
    if dtype != r.dtype and {dtype, r.dtype} <= {np.dtype(float), np.dtype(np.float32)}:
        part, dtype = part.astype(r.dtype), r.dtype
    if found != shape or dtype != r.dtype:
        raise RuleError(
            f"{rule} gives an input the shape {found} of {dtype} at node {node.name!r} "
            f"({node.kind}, onnx {node.op_type}), and not {shape} of {r.dtype}"
        )
    return part


def _symbolic(part: Array, node: Node, shape: Shape, rule: str) -> Array:
    """Return a part that is written into a graph; a constant may have one entry where all are the same."""
    found = getattr(part, "shape", shape)
    if found != shape and (is_symbolic(part) or not fits(found, shape)):
        raise RuleError(
            f"{rule} gives an input the shape {found} at node {node.name!r} ({node.kind}, onnx {node.op_type}), and not {shape}"
        )
    return part


def check_finite(x: Array, node: Node, what: str, allow_minus_infinity: bool = False) -> None:
    """Raise NonFiniteError with the node's name where x holds a NaN or an infinity."""
    xp = namespace(x)
    if x.dtype == object:
        if not all(isinstance(v, Rational) for v in x.ravel()):
            raise ModelError(f"the {what} of node {node.name!r} (onnx {node.op_type}) holds more than fractions")
        return
    with np.errstate(all="ignore"):  # infinities of both signs add up to a NaN, which is what is looked for
        if bool(xp.isfinite(xp.sum(x))):
            return
    bad = xp.isnan(x) | ((x == np.inf) if allow_minus_infinity else xp.isinf(x))
    if bool(xp.any(bad)):
        found = "NaN" if bool(xp.any(xp.isnan(x))) else "an infinity"
        raise NonFiniteError(
            f"{found} arose in the {what} of node {node.name!r} ({node.kind}, onnx {node.op_type}); "
            "check the model's weights and the input's scale"
        )


def check_sum(R: Array, name: str) -> None:
    """Raise NonFiniteError where a value's relevance, which is the sum of what its readers gave it, is not finite."""
    if is_symbolic(R) or _is_finite(once(total, R)):
        return
    xp = namespace(R)
    if not bool(xp.all(xp.isfinite(R))):
        raise NonFiniteError(
            f"the relevance of {name!r} is not finite: what its readers give to it adds up to a NaN or an infinity; "
            "check the model's weights and the input's scale, or compute in float64"
        )


def _is_finite(found: Any) -> bool:
    """Return whether a sum is finite; one of fractions is, however large."""
    return not isinstance(found, float) or isfinite(found)


def check_account(node: Node, r: Array, received: Any, parts: tuple[Array, ...], given: list[Any]) -> None:
    """Raise NonFiniteError where what a node received, or gave to an input, holds a NaN or an infinity."""
    if not _is_finite(received):
        check_sum(r, node.output)
    if not _is_finite(sum(given)):
        for part in parts:
            if part is not None and part is not ZERO:
                check_finite(part, node, "relevance")
