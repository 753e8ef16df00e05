"""How much memory a graph takes when it runs: asked once a program, before anything is allocated."""

from __future__ import annotations

from collections.abc import Mapping

from reflrp import limits
from reflrp.errors import TooLarge
from reflrp.ir import Graph, Node


def check_size(graph: Graph, itemsize: int, keep: bool = True, times: int = 1) -> None:
    """Raise TooLarge where a graph takes more than the limit, and name the node.

    What counts is the constants that the import made, the values (with keep=False, as long as somebody reads them), and
    what one node lays out for a moment. With error bars the values are there several `times`.
    """
    last = {} if keep else {i: node.name for node in graph.nodes for i in node.inputs}
    sizes = {
        k: limits.size_of(v.shape, max(itemsize, 0 if v.active else v.dtype.itemsize)) for k, v in graph.values.items()
    }
    total = graph.made + times * (sum(sizes[node.output] for node in graph.nodes) if keep else 0)
    for node in sorted(graph.nodes, key=graph.takes, reverse=True) if keep else graph.nodes:
        total += 0 if keep else sizes[node.output]
        moment = graph.takes(node) * itemsize
        if keep and graph.values[node.output].active:
            moment += 2 * max(sizes[i] for i in (node.output, *node.inputs))
        if total + moment > limits.MEMORY:
            raise TooLarge(_why_too_large(graph, sizes, total, node, moment))
        if not keep:
            total -= sum(sizes[i] for i in {*node.inputs} if last[i] == node.name and i not in graph.inputs)


def _why_too_large(graph: Graph, sizes: Mapping[str, int], total: int, node: Node, moment: int) -> str:
    """Return what a graph takes: its values, with the largest, and what a node lays out for a moment."""
    largest = max(graph.nodes, key=lambda n: sizes[n.output])
    size, shape = limits.in_words(sizes[largest.output]), graph.values[largest.output].shape
    made = f", and constants that the file computes {limits.in_words(graph.made)}" if graph.made else ""
    return (
        f"the values take {limits.in_words(total - graph.made)} at once{made}; the largest, {size} of the shape {shape}, is "
        f"the output of node {largest.name!r} (onnx {largest.op_type}); beside them, node {node.name!r} (onnx "
        f"{node.op_type}) needs {limits.in_words(moment)} for a moment; {limits.limit()}"
    )
