"""What ONNX's inference of shapes would write down of a graph, bounded from above before it runs.

It runs in C++ without a limit of its own. A kilobyte of nodes may double a list of lengths thirty times, give a value as many axes
as an operand has entries, or copy a long name to each of them; the process then ends. So each value's axes and known numbers
are bounded by those of what it is made of, node by node, and a graph whose bounds are too large, or has none, is not shown to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto
from onnx.numpy_helper import to_array

MOST, EACH = 100_000, 16
"""How many axes and numbers may be written: so many, and so many for each node."""

BYTES = 400
"""About what one takes, without its name."""

SMALL = 64
"""Entries of a constant whose numbers are known."""

AXES = {
    "AffineGrid": 1,
    "Col2Im": 1,
    "ConstantOfShape": 0,
    "Expand": 1,
    "MaxUnpool": 2,
    "Reshape": 1,
    "Tile": 1,
    "Unsqueeze": 1,
}
"""Operators of whose output one input has an entry for each axis, or for each axis that is new: which input."""

WIDENS = frozenset(["Gather", "GatherND", "Unsqueeze"])
"""Operators whose output may have as many axes as their inputs together."""

SAME = frozenset((
    "Abs", "Add", "And", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "Cast", "CastLike", "Ceil", "Clip", "Div", "Equal",
    "Floor", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or",
    "Pow", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Round", "Sign", "Slice", "Split", "Sqrt", "Squeeze", "Sub",
    "Sum", "Where", "Xor",
))  # fmt: skip
"""Operators that make a list that is no longer than the longest that they read."""


@dataclass
class Bounds:
    """Upper bounds by a value's name: of its axes, of how many numbers are known, of its length as a list, and of these numbers."""

    axes: dict[str, float] = field(default_factory=dict)
    known: dict[str, float] = field(default_factory=dict)
    length: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, list[int]] = field(default_factory=dict)


def affordable(graph: GraphProto) -> bool:
    """Return whether ONNX's inference writes no more of a graph than a bound that grows with its nodes."""
    graphs = [graph, *_bodies(graph.node)]
    ports = (port for g in graphs for port in (*g.input, *g.output, *g.value_info))
    name = max((len(d.dim_param) for port in ports for d in port.type.tensor_type.shape.dim), default=0)
    most = (MOST + EACH * sum(len(g.node) for g in graphs)) * BYTES / (BYTES + name)
    return _written(graph, Bounds(), most) <= most


def _bodies(nodes: Iterable[NodeProto]) -> Iterator[GraphProto]:
    for node in nodes:
        for body in _graphs(node):
            yield body
            yield from _bodies(body.node)


def _graphs(node: NodeProto) -> list[GraphProto]:
    return [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]


def _written(graph: GraphProto, b: Bounds, most: float, outside: float = 0) -> float:
    """Return how many axes and numbers are written of a graph's values, at most; infinity where there is no bound."""
    for port in (*graph.value_info, *graph.output, *graph.input):
        b.axes[port.name] = max(b.axes.get(port.name, 0), len(port.type.tensor_type.shape.dim))
    for port in graph.input:
        b.axes[port.name] = max(b.axes[port.name], outside)
        b.length[port.name] = inf if outside else _length(port)
    for tensor in graph.initializer:
        _constant(tensor.name, tensor, b)
    written = 0.0
    for node in graph.node:
        most_axes = max((b.axes.get(i, 0) for i in node.input), default=0)
        written += sum(_written(body, b, most, most_axes + 1) for body in _graphs(node))
        axes, known, length = _bounded(node, b)
        for name in node.output:
            b.axes[name] = max(axes, b.axes.get(name, 0))
            b.known[name], b.length[name] = known, length
        if node.op_type == "Constant" and node.output and node.attribute and node.attribute[0].HasField("t"):
            b.numbers.pop(node.output[0], None)
            _constant(node.output[0], node.attribute[0].t, b)
        written += (axes + known) * len(node.output)
        if written > most:
            return inf
    return written


def _length(port: ValueInfoProto) -> float:
    dims = port.type.tensor_type.shape.dim
    return inf if len(dims) > 1 else dims[0].dim_value if dims else 1


def _constant(name: str, tensor: TensorProto, b: Bounds) -> None:
    entries = 1
    for n in tensor.dims:
        entries *= max(n, 0)
    b.axes[name], b.length[name] = len(tensor.dims), entries if len(tensor.dims) < 2 else inf
    if entries <= SMALL:
        b.known[name] = entries
    if entries <= SMALL and tensor.data_type in (TensorProto.INT32, TensorProto.INT64):
        try:
            b.numbers[name] = [int(n) for n in to_array(tensor).ravel()]
        except Exception:  # it is empty, or lies in another file
            return


def _bounded(node: NodeProto, b: Bounds) -> tuple[float, float, float]:
    """Return how many axes and known numbers the outputs of a node may have, and how long they are as lists."""
    axes = [b.axes.get(i, 0) for i in node.input]
    known = [b.known.get(i, 0) for i in node.input]
    lengths = [b.length.get(i, inf) for i in node.input if i]
    said = max((_entries(a) for a in node.attribute), default=0)
    inner = [1 + b.axes.get(o.name, 0) for g in _graphs(node) for o in g.output]
    most = max([*axes, *inner, 1])
    op = "" if node.domain not in ("", "ai.onnx") else node.op_type
    if op == "Shape" and axes[:1] == [1] and lengths[0] < inf:
        b.numbers.update({o: [int(lengths[0])] for o in node.output})
    if op in ("Shape", "Size"):
        return 1, max([*axes, 1]), max([*axes, 1])
    if op == "Concat":
        return most, sum(known), sum(lengths)
    if op in WIDENS:
        most = axes[0] if op == "Unsqueeze" else max(sum(axes) - (op == "Gather"), 0)
    place = AXES.get(op, len(node.input))
    if place < len(node.input) and node.input[place]:
        given = b.length.get(node.input[place], inf)
        most = most + given if op == "Unsqueeze" else max(most, given + 2)
    if op == "Gather":
        return most, sum(known), lengths[1] if len(lengths) > 1 and max(axes) <= 1 else inf
    if op == "Constant":
        b.numbers.update({o: [*map(int, a.ints)] or [int(a.i)] for a in node.attribute for o in node.output})
        return 1, said, max(said, 1)
    most = max(most, said if op not in SAME else 0) + (said if op == "Unsqueeze" else 0)
    most += op in ("ConcatFromSequence", "OneHot")
    return most, max([*known, said]), _listed(op, node, lengths, b)


def _listed(op: str, node: NodeProto, lengths: list[float], b: Bounds) -> float:
    """Return how long the output of a node may be as a list; infinity where it may be none, or nothing is known."""
    if op in ("ConstantOfShape", "Expand"):
        numbers = b.numbers.get(node.input[-1])
        known = numbers is not None and len(numbers) <= 1
        return max([*lengths[: op == "Expand"], *(numbers or ()), 1]) if known else inf
    flat = op in SAME or (op == "Reshape" and lengths[1:] == [1]) or (op == "Unsqueeze" and lengths[:1] == [1])
    return max(lengths, default=inf) if flat else inf


def _entries(attribute: AttributeProto) -> int:
    """Return how many numbers or letters an attribute holds."""
    return max(len(attribute.ints), len(attribute.floats), len(attribute.s))
