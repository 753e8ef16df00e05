"""Choices that a file writes as arithmetic on integers: `m*u + (1 - m)*v` for a condition m, which is `Where(m, u, v)`.

tf2onnx writes so what TensorFlow chooses, as where Keras' Embedding counts negative ids from the table's end. That m is a condition
and that the factors exclude one another is read off the nodes that make them. For integers the two are the same, whatever u and
v are; of floats the product with 0 may be NaN, so they stay sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import onnx

from reflrp import limits
from reflrp.arrays.measured import how
from reflrp.importer.nodes.node import OnnxNode, node_of
from reflrp.importer.site import Arg, Ref

ORDERS = {"Less": (0, 1, False), "Greater": (1, 0, False), "LessOrEqual": (1, 0, True), "GreaterOrEqual": (0, 1, True)}
"""Comparisons -> which operands are the lesser and the greater one in `Less`, and whether it is the opposite of that."""

INTEGERS = ("i", "u", "O")
"""Kinds of integers in NumPy's words; formulas of open lengths are objects."""


class Scope(Protocol):
    """What is looked up: the values that are known by name, and the nodes of the same scope that make them."""

    @property
    def known(self) -> Mapping[str, Arg]:
        """The values."""

    @property
    def written(self) -> Mapping[str, OnnxNode]:
        """The nodes."""


@dataclass(frozen=True, eq=False)
class Condition:
    """A 0 or 1 for the condition `value`, or for its `opposite`.

    `key` is alike for conditions that are alike or opposites, `turned` is another one for opposites.
    """

    value: Arg
    opposite: bool
    key: Any
    turned: bool


def selection(node: OnnxNode, args: tuple[Arg, ...], scope: Scope) -> tuple[OnnxNode, tuple[Arg, ...]]:
    """Return a sum of integers that is a choice as the Where that it is, with its operands; any other node as it is."""
    if node.domain or node.op_type != "Add" or node.opset < 7:
        return node, args
    if not all(_kind(a) in INTEGERS for a in args):
        return node, args
    given = next(_choices(node, scope), None)
    if given is None or any(_kind(a) not in INTEGERS for a in given[1:]):
        return node, args
    proto = onnx.helper.make_node("Where", ["condition", "chosen", "other"], node.outputs)
    where = node_of(proto, node.name, {**node.opsets, "": max(node.opset, 9)})
    return replace(where, scope=node.scope), given


def _kind(arg: Arg) -> str:
    """Return of which kind the numbers of a value are, as NumPy calls it."""
    dtype = arg.value.dtype if isinstance(arg, Ref) else getattr(arg, "dtype", None)
    return "" if dtype is None else str(dtype.kind)


def _choices(node: OnnxNode, scope: Scope) -> Iterator[tuple[Arg, Arg, Arg]]:
    """Yield the condition and the two sides of each way to read a sum as a choice."""
    first, second = (_factors(name, scope) for name in node.inputs)
    for a, u in first:
        for b, v in second:
            if a.key == b.key and a.turned != b.turned:
                yield (a.value, v, u) if a.opposite else (a.value, u, v)


def _factors(name: str, scope: Scope) -> list[tuple[Condition, Arg]]:
    """Return each way to read a value as a condition times another value."""
    made = scope.written.get(name)
    if made is None or made.domain or made.op_type != "Mul" or made.opset < 7:
        return []
    pairs = [(made.inputs[i], made.inputs[1 - i]) for i in range(2)]
    return [(found, scope.known.get(other)) for m, other in pairs if (found := _condition(m, scope)) is not None]


def _condition(name: str, scope: Scope) -> Condition | None:
    """Return which condition a value is a number for; None for any other value."""
    value = scope.known.get(name)
    if isinstance(value, np.ndarray) and not how(value):
        return _constant(value)
    found, opposite = None, False
    while True:
        if _kind(scope.known.get(name)) == "b":
            found = (name, opposite)
        made = scope.written.get(name)
        inner = None if made is None else _inner(made, scope)
        if made is None or inner is None:
            return None if found is None else _of_data(*found, scope)
        limits.step(f"node {made.name!r} ({made.op_type})")
        name, opposite = inner, opposite != (made.op_type in ("Not", "Sub"))


def _constant(value: np.ndarray) -> Condition | None:
    """Return a constant of zeros and ones as the condition that it is."""
    if not value.size or value.dtype.kind not in "biu" or not np.isin(value, (0, 1)).all():
        return None
    is_one = value.astype(bool)
    turned = bool(is_one.flat[0])
    return Condition(is_one, False, (value.shape, (is_one != turned).tobytes()), turned)


def _inner(made: OnnxNode, scope: Scope) -> str | None:
    """Return which operand a node hands on, or the opposite of which."""
    if made.domain:
        return None
    if made.op_type in ("Cast", "Identity", "Not"):
        return made.inputs[0]
    if made.op_type != "Sub" or made.opset < 7:
        return None
    one, other = (scope.known.get(i) for i in made.inputs)
    if not isinstance(one, np.ndarray) or how(one) or one.size != 1 or one.dtype.kind not in "iuf":
        return None
    return made.inputs[1] if np.all(one == 1) and one.ndim <= np.ndim(_shown(other)) else None


def _shown(arg: Arg) -> Any:
    """Return an array with as many axes as a value has."""
    return np.empty((0,) * arg.ndim) if isinstance(arg, Ref) else arg


def _of_data(name: str, opposite: bool, scope: Scope) -> Condition:
    """Return a condition of the data. The key of a comparison is what is compared: `a < b` and `a >= b` are opposites."""
    made, value = scope.written.get(name), scope.known.get(name)
    if made is None or made.domain or made.op_type not in ORDERS:
        return Condition(value, opposite, name, opposite)
    low, high, turned = ORDERS[made.op_type]
    if turned and not all(_kind(scope.known.get(i)) in ("i", "u") for i in made.inputs):  # NaN is neither < nor >=
        return Condition(value, opposite, name, opposite)
    key = tuple(_operand(made.inputs[i], scope) for i in (low, high))
    return Condition(value, opposite, key, opposite != turned)


def _operand(name: str, scope: Scope) -> Any:
    """Return what is alike for equal operands."""
    value = scope.known.get(name)
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "biuf" and not how(value):
        return value.dtype.str, value.shape, value.tobytes()
    return name
