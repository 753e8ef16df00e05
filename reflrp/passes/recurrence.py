"""Recurrence that is spelled out, as in an unrolled Loop or Scan: layers whose very weights act again on what comes of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from reflrp.ir import Graph, Node

Key = tuple[Any, ...]
"""Which numbers in memory an array is: where they begin, and how they are laid out."""

NONE: frozenset[Key] = frozenset()


def recurring(graph: Graph) -> frozenset[str]:
    """Return the names of the dense nodes that share their weights with one before or behind them.

    Sharing is that of the same numbers in memory, not of equal ones. Layers that stand side by side, as twins for two
    inputs, do not count.
    """
    shared = {key for key, count in Counter(map(_weights, graph.nodes)).items() if count > 1 and key}
    seen: dict[str, frozenset[Key]] = {}
    again = set[Key]()
    for node in graph.nodes if shared else ():
        before = frozenset().union(*(seen.get(name, NONE) for name in node.inputs))
        own = _weights(node)
        if own in shared:
            again.update(before & {own})
            before |= {own}
        seen[node.output] = before
    return frozenset(node.name for node in graph.nodes if _weights(node) in again)


def _weights(node: Node) -> Key:
    """Return what a layer has as its weights; nothing for what is no layer."""
    w = getattr(node.op, "w", None) if node.kind == "dense" else None
    return (w.ctypes.data, w.shape, w.strides, w.dtype.str) if isinstance(w, np.ndarray) else ()
