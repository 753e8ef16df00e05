"""A belt for what was recognised: the nodes that a recognised node stands for run beside it once, at the observed input.

The proof says that both are the same function. Should the proof be wrong, the values differ by more than rounding, and that
is an error. What rounding may do is bounded node by node: each node's own value is uncertain by its relative rounding, and
carries on the uncertainty of its inputs by its slope (a first-order bound, as in running error analysis).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.arrays import ZERO, Array, is_symbolic, namespace
from reflrp.engine.exactness import exact_op
from reflrp.errors import ForwardChanged
from reflrp.ir import Node, Op, Replaced
from reflrp.ops.linear import Diagonal
from reflrp.ops.norms import Standardise
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import Multiply
from reflrp.ops.routing import Expand, Reshape
from reflrp.ops.selection import MaxAxes, MaxOf
from reflrp.ops.sums import SumAxes, SumOf

LOOSE = 8
"""How many times the first-order bound a difference may be."""


def compare(node: Node, replaced: Replaced, x: Array, y: Array) -> None:
    """Raise ForwardChanged where a recognised node's output y at x is not that of the nodes it stands for.

    Where those overflow, they say nothing.
    """
    if is_symbolic(x):
        return
    if x.dtype == object:
        _compare_exactly(node, replaced, x, y)
        return
    with np.errstate(all="ignore"):
        wanted, bound = _run(replaced, node.inputs[0], x)
        difference = abs(y - wanted)
        own = 16 * float(namespace(y).finfo(y.dtype).eps) * (abs(x) + abs(y)) if isinstance(node.op, Pointwise) else 0
        wrong = difference > LOOSE * bound + own  # a known function of its own has rounding too
    if bool(namespace(y).any(wrong)):
        worst = float(namespace(y).max(difference[wrong]))
        raise ForwardChanged(
            f"node {node.name!r} was recognised as {node.op_type}, but differs by {worst:.3g} from the nodes that it stands "
            f"for, onnx {', '.join(map(repr, node.onnx))}; this is an error of reflrp: please report it with the model"
        )


def _compare_exactly(node: Node, replaced: Replaced, x: Array, y: Array) -> None:
    """Raise ForwardChanged where a recognised node is not, to the last bit, what the nodes compute that it stands for."""
    values = {node.inputs[0]: x}
    for n in replaced.nodes:
        values[n.output] = exact_op(n.op).forward(*(values[i] for i in n.inputs))
    if not bool((values[replaced.nodes[-1].output] == y).all()):
        raise ForwardChanged(
            f"node {node.name!r} was recognised as {node.op_type}, which is not exactly what onnx "
            f"{', '.join(map(repr, node.onnx))} compute: the file rounds its constants; use dtype='float64'"
        )


def _run(replaced: Replaced, entry: str, x: Array) -> tuple[Array, Array]:
    """Return the last value of the replaced nodes at x, and how uncertain rounding leaves it."""
    xp = namespace(x)
    kind = xp.finfo(x.dtype)
    small = max(replaced.rounding, 8 * float(kind.eps))
    least = 8 * float(kind.eps) * float(kind.smallest_normal)  # below it numbers are equally far apart
    values, bounds = {entry: x}, {entry: 0 * x}
    for node in replaced.nodes:
        op = node.op.to(lambda a: xp.asarray(a, dtype=x.dtype if np.dtype(a.dtype).kind == "f" else None))
        xs = tuple(values[i] for i in node.inputs)
        values[node.output] = op.forward(*xs)
        carried = _carried(op, xs, tuple(bounds[i] for i in node.inputs))
        bounds[node.output] = carried + small * _size(op, values[node.output]) + least
    last = replaced.nodes[-1].output
    return values[last], bounds[last]


def _size(op: Op, y: Array) -> Array:
    """Return how large what an output is the sum of is: a normalised value and its shift may cancel."""
    return abs(y - op.b) + abs(op.b) if isinstance(op, Standardise) and op.b is not ZERO else abs(y)


def _carried(op: Op, xs: tuple[Array, ...], bounds: tuple[Array, ...]) -> Any:
    """Return how much the inputs' uncertainty moves the output, to first order."""
    if isinstance(op, Pointwise):
        return abs(op.derivative(xs[0])) * bounds[0]
    if isinstance(op, Multiply):
        return abs(xs[0]) * bounds[1] + abs(xs[1]) * bounds[0]
    if isinstance(op, MaxOf):
        return sum(bounds)
    if isinstance(op, SumOf):
        return sum(abs(op.w[i, ...]) * b for i, b in enumerate(bounds))
    if isinstance(op, Diagonal):
        return abs(op.w) * bounds[0]
    return op.forward(bounds[0]) if isinstance(op, SumAxes | MaxAxes | Expand | Reshape) else 0.0
