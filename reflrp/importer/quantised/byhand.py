"""A pass over quantisation that is written by hand: scales, zero points, rounding and clipping in operators of their own.

`clip(round(x / s) + z)` and `s (q - z)`, with s > 0, are the changes of units of QuantizeLinear and DequantizeLinear, and neither
the shift nor the scale is a layer that keeps relevance. They are such where the graph shows both ends: numbers are rounded, z
is put on and s taken out, by a QuantizeLinear or by operators of their own, and the same z is taken off again, or the same s
put in; between the two stands nothing but moves, clipping and maxima. Any other sum or factor is the file's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from reflrp.arrays import ZERO
from reflrp.arrays.measured import SHAPE
from reflrp.importer.quantised.dequantise import same_number
from reflrp.ir import Graph, Node
from reflrp.ops.linear import Diagonal
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import Multiply
from reflrp.ops.quantised import Dequantise, Quantise, Truncate, Wrap
from reflrp.ops.routing import Routing
from reflrp.ops.selection import Selection
from reflrp.ops.sums import SumOf

Kind = Literal["zero", "scale"]
ROUNDS = ("round", "floor", "ceil")
CLIPS = ("clip", "relu")


class End(NamedTuple):
    """What takes a zero point off, or puts a scale in: its input, and the number, or the name of one found in the run."""

    source: str
    value: float
    number: str = ""


def by_hand(graph: Graph) -> Graph:
    """Return the graph with the steps of quantisation by hand as changes of units."""
    return _paired(_paired(graph, "zero"), "scale") if any(map(_rounds, graph.nodes)) else graph


def _paired(graph: Graph, kind: Kind) -> Graph:
    makers, changed = graph.producers(), dict[str, Node]()
    for node in graph.nodes:
        end = _end(node, kind, graph)
        for start in _starts(end.source, kind, makers, graph) if end else ():
            if end and _is_other_end(start, kind, end, makers):
                changed[node.name] = _made_unit(node, kind, end)
                if isinstance(start.op, Diagonal):
                    changed[start.name] = replace(start, op=_unit_of(start.op, kind))
    return replace(graph, nodes=tuple(changed.get(n.name, n) for n in graph.nodes)) if changed else graph


def _rounds(node: Node) -> bool:
    op = node.op
    return isinstance(op, Quantise | Truncate) or (isinstance(op, Pointwise) and op.name in ROUNDS)


def _end(node: Node, kind: Kind, graph: Graph) -> End | None:
    """Return what a node takes off or puts in; None for one that does something else."""
    op = node.op
    shape = graph.values[node.output].shape
    own = isinstance(op, Diagonal) and not node.measured & SHAPE
    if own and (number := _number(op, kind, shape)) is not None:  # type: ignore[arg-type]
        return End(node.inputs[0], -number if kind == "zero" else number)
    if isinstance(op, Dequantise) and kind == "zero" and len(node.inputs) == 1:
        single = op.zero is not None and op.zero.ndim == 0 and op.zero != 0
        return End(node.inputs[0], float(op.zero)) if single and op.zero is not None else None
    takes = isinstance(op, SumOf) and len(node.inputs) == 2 and op.b is ZERO and np.ravel(op.w).tolist() == [1, -1]
    if takes if kind == "zero" else isinstance(op, Multiply):
        for source, number_ in (node.inputs, node.inputs[::-1])[: 1 if kind == "zero" else 2]:
            if not graph.values[number_].active and not graph.values[number_].shape:
                return End(source, 0.0, number_)
    return None


def _number(op: Diagonal, kind: Kind, out: tuple[int, ...]) -> float | None:
    """Return the one number that a map adds or multiplies by, and does no more; None for any other."""
    if op.source != out or op.w.size != 1 or (op.b is not ZERO and op.b.size != 1):
        return None
    w = float(np.ravel(op.w)[0])
    if kind == "scale":
        return w if op.b is ZERO and w > 0 else None
    return float(np.ravel(op.b)[0]) if w == 1 and op.b is not ZERO else None


def _starts(name: str, kind: Kind, makers: Mapping[str, Node], graph: Graph) -> Iterator[Node]:
    """Yield the node where numbers may have become integers: back through what makes no new numbers."""
    rounded, read_by_others = False, False
    readers, outputs = graph.consumers(), {graph.resolve(o) for o in graph.outputs}
    while name in makers:
        node = makers[name]
        read_by_others = read_by_others or len(readers.get(name, [])) > 1 or name in outputs
        before = makers.get(node.inputs[0])
        if isinstance(node.op, Quantise):
            yield node
            return
        after_rounding = kind == "zero" and before is not None and _rounds(before)
        if isinstance(node.op, Diagonal) and (rounded or after_rounding):
            if not read_by_others:  # to whom else reads it, the shift is a number like any other
                yield node
            return
        rounded = rounded or _rounds(node)
        active = [i for i in node.inputs if graph.values[i].active]
        if len(active) != 1 or not _keeps_numbers(node, kind):
            return
        name = active[0]


def _keeps_numbers(node: Node, kind: Kind) -> bool:
    op = node.op
    if isinstance(op, Dequantise):
        return kind == "scale" and op.scale is not None and bool(np.all(op.scale == 1))
    clips = isinstance(op, Pointwise) and op.name in CLIPS
    return clips or _rounds(node) or isinstance(op, Routing | Selection | Wrap)


def _is_other_end(start: Node, kind: Kind, end: End, makers: dict[str, Node]) -> bool:
    """Return whether a node puts on the zero point that is taken off, or takes out the scale that is put in."""
    op = start.op
    if isinstance(op, Diagonal):
        number = None if end.number else _number(op, kind, op.source)
        wanted = end.value if kind == "zero" or not end.value else 1 / end.value
        return number is not None and number == wanted
    assert isinstance(op, Quantise)
    held = op.zero if kind == "zero" else op.scale
    if end.number:
        if held is not None:
            return False
        given = start.inputs[-1 if kind == "zero" else 1]
        return same_number(end.number, makers) == same_number(given, makers)
    return held is not None and held.ndim == 0 and float(held) == end.value


def _made_unit(node: Node, kind: Kind, end: End) -> Node:
    """Return the far end as a change of units."""
    if isinstance(node.op, Dequantise):
        return node
    value = None if end.number else np.asarray(end.value)
    op = Dequantise(np.ones(()), value) if kind == "zero" else Dequantise(value, np.zeros(()))
    return replace(node, op=op, inputs=(end.source, end.number) if end.number else (end.source,))


def _unit_of(op: Diagonal, kind: Kind) -> Dequantise:
    """Return the near end as a change of units."""
    if kind == "zero":
        return Dequantise(np.ones(()), -np.ravel(op.b)[0])
    return Dequantise(np.ravel(op.w)[0], np.zeros(()))
