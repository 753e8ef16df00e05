"""Recognising patterns: a part of the graph that computes a known function becomes one node of that kind.

Exporters spell GELU, SiLU, LayerNorm and RMSNorm in dozens of ways. So the pass does not match spellings. It looks for
regions with one input and one output whose inner values nobody else reads, brings each to an algebraic normal form, and
asks whether that is the normal form of a known function (`identify`): a proof, no trial. A region has at most `LARGEST`
nodes, a normal form at most `WORK` terms on its way, and regions that are spelled alike are looked at once, so that the pass is
linear in the size of the graph.

What was replaced stays with the graph (`Graph.replaced`): the first time such a node runs, the nodes that it stands for
run beside it, and must give the same values.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace

import numpy as np

from reflrp import limits
from reflrp.arrays import ZERO, Array
from reflrp.arrays.convert import wide
from reflrp.ir import Graph, Node, Op, Replaced, Value
from reflrp.ops.linear import Diagonal
from reflrp.ops.norms import Standardise
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import Multiply
from reflrp.ops.selection import MaxOf
from reflrp.ops.sums import SumOf
from reflrp.passes.along import reads
from reflrp.passes.identify import identified
from reflrp.passes.region import READERS, Region
from reflrp.passes.rounded import SINGLE

LARGEST, FUNCTIONS, CUTS = 24, 5, 6
"""How many nodes a region may have, how many of them functions, and how many of its values all that follows may go through.

No exporter needs as many; the bounds keep the search linear on chains of thousands of nodes that might all belong together.
"""


def recognise(graph: Graph) -> Graph:
    """Return the graph with each recognised region as one node; `Node.onnx` names what it was made of."""
    view, known = _View(graph), dict[Hashable, Op | None]()
    made: dict[str, Node] = {}
    replaced: dict[str, Replaced] = {}
    gone: set[str] = set()
    for node in reversed(graph.nodes):
        if node.name in gone or not _may_end(node):
            continue
        limits.step(f"recognising what ends in node {node.name!r} (onnx {node.op_type})", LARGEST)
        found = [(region, op) for region in view.regions(node, gone) if (op := _once(region, known)) is not None]
        if found:
            region, op = found[-1]
            made[node.name] = _one_node(region, op)
            replaced[node.name] = Replaced(region.nodes, region.rounding)
            gone.update(n.name for n in region.nodes)
    nodes = [made.get(n.name, n) for n in graph.nodes if n.name not in gone or n.name in made]
    found_in = replace(graph, nodes=tuple(nodes), replaced=replaced)
    return _to_be_checked(_take_in_affine(_with_signs(found_in)))


def _once(region: Region, known: dict[Hashable, Op | None]) -> Op | None:
    """Return the function that a region is; one that is spelled as another before it is the same."""
    spelling = region.spelling()
    if spelling not in known:
        known[spelling] = identified(region)
    return known[spelling]


def _to_be_checked(graph: Graph) -> Graph:
    return replace(graph, unchecked=set(graph.replaced))


def _one_node(region: Region, op: Op) -> Node:
    onnx = tuple(dict.fromkeys(name for n in region.nodes for name in n.onnx))
    return replace(region.exit, op=op, inputs=(region.entry,), onnx=onnx, op_type=_title(op), counts=None)


def _title(op: Op) -> str:
    if isinstance(op, Standardise):
        return "LayerNorm" if op.center else "RMSNorm" if op.mean else "L2Norm"
    return op.name.title().replace("_", "") if isinstance(op, Pointwise) else type(op).__name__


def _with_signs(graph: Graph) -> Graph:
    """Work out again which values are provably >= 0."""
    values: dict[str, Value] = {k: graph.values[k] for k in graph.inputs}
    values |= {k: v for k, v in graph.values.items() if k not in values}
    for node in graph.nodes:
        sign = node.op.nonneg(*(values[i].nonneg for i in node.inputs)) if node.kind != "plumbing" else False
        values[node.output] = replace(values[node.output], nonneg=sign)
    return replace(graph, values=values)


def _may_end(node: Node) -> bool:
    return isinstance(node.op, Multiply | Diagonal | SumOf | MaxOf) or (
        isinstance(node.op, Pointwise) and node.op.name in ("clip", "exp", "relu", "swish", "reciprocal", "log")
    )


def _is_function(node: Node) -> bool:
    return isinstance(node.op, Pointwise | MaxOf)


class _View:
    """The graph as the search sees it: who makes and who reads each value, and each node's place."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers = graph.producers()
        self.readers = graph.consumers()
        self.place = {node.name: i for i, node in enumerate(graph.nodes)}
        self.outputs = {graph.resolve(o) for o in graph.outputs}

    def regions(self, end: Node, gone: set[str]) -> Iterator[Region]:
        """Yield the regions that end in a node, the smallest first; the largest that is known counts."""
        inside, frontier, cuts, functions = [end], set(reads(end, self.graph.values)), 0, int(_is_function(end))
        while len(inside) <= LARGEST and functions <= FUNCTIONS and cuts < CUTS:
            cuts += len(frontier) == 1
            if len(frontier) == 1 and len(inside) > 1:
                (entry,) = frontier
                nodes = tuple(sorted(inside, key=lambda n: self.place[n.name]))
                region = Region(nodes, entry, self.graph.values, self.graph.formulas)
                if region.shape == self.graph.values[end.output].shape and self._closed(region):
                    yield region
            makers = [self.makers[v] for v in frontier if v in self.makers]
            if len(makers) < len(frontier) and len(frontier) > 1 and not makers:
                return
            nearest = max(makers, key=lambda n: self.place[n.name], default=None)
            if nearest is None or type(nearest.op) not in READERS or nearest.name in gone:
                return
            inside.append(nearest)
            functions += _is_function(nearest)
            frontier = (frontier - {nearest.output}) | set(reads(nearest, self.graph.values))

    def _closed(self, region: Region) -> bool:
        """Return whether nobody outside reads an inner value."""
        names = {n.name for n in region.nodes}
        inner = [n.output for n in region.nodes[:-1]]
        return all(v not in self.outputs and all(r.name in names for r in self.readers.get(v, ())) for v in inner)


def _take_in_affine(graph: Graph) -> Graph:
    """Give a normalisation the scale and shift that alone follow it."""
    view, merged, gone, replaced = _View(graph), dict[str, Node](), set[str](), dict(graph.replaced)
    for node in graph.nodes:
        if not isinstance(node.op, Standardise):
            continue
        current = node
        while (after := _affine_after(current, view)) is not None:
            gone.update({current.name, after.name})
            merged.pop(current.name, None)
            before = replaced.pop(current.name, Replaced((current,), SINGLE))
            replaced[after.name] = replace(before, nodes=(*before.nodes, after))
            current = replace(
                current,
                name=after.name,
                op=_with_affine(current.op, after.op),  # type: ignore[arg-type]
                output=after.output,
                onnx=(*current.onnx, *after.onnx),
            )
            merged[current.name] = current
    nodes = [merged.get(n.name, n) for n in graph.nodes if n.name not in gone or n.name in merged]
    return replace(graph, nodes=tuple(nodes), replaced=replaced)


def _affine_after(node: Node, view: _View) -> Node | None:
    readers = view.readers.get(node.output, [])
    if len(readers) != 1 or node.output in view.outputs or not isinstance(readers[0].op, Diagonal):
        return None
    same = view.graph.values[readers[0].output].shape == view.graph.values[node.output].shape
    d, rank = readers[0].op, len(view.graph.values[node.output].shape)
    assert isinstance(node.op, Standardise)
    assert isinstance(d, Diagonal)
    known = same and not readers[0].measured  # by constants that other lengths leave as they are
    return readers[0] if known and all(_is_weight(a, node.op, rank) for a in (d.w, d.b)) else None


def _is_weight(a: Array, norm: Standardise, rank: int) -> bool:
    """Return whether a constant varies along the normalised axes only, or the channels of an image's normalisation.

    One that differs from place to place, as positional embeddings do, is no bias and stays a node of its own.
    """
    varies = {i for i, n in enumerate(np.shape(a), start=rank - np.ndim(a)) if n > 1} if a is not ZERO else set()
    image = rank > 3 and norm.axes == tuple(range(2, rank))
    channels = {1} if image or norm.grouped is not None else set()
    return varies <= channels or (norm.grouped is None and varies <= set(norm.axes))


def _with_affine(norm: Standardise, d: Diagonal) -> Standardise:
    """Return y -> w y + b behind a normalisation as part of it, in float64: float32 would round the products."""
    b = (wide(norm.b) * d.w if norm.b is not ZERO else ZERO) + d.b
    return replace(norm, w=wide(norm.w) * d.w, b=b)
