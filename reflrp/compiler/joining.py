"""Operands without relevance, as masks, in the dtype of what they are joined with, as `engine.guards.operands` does in a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.arrays import is_symbolic
from reflrp.arrays import symbolic as xp
from reflrp.engine import Values
from reflrp.ir import Graph, Node


def joined(node: Node, graph: Graph, values: Values, real: np.dtype[Any]) -> Values:
    """Return the values, those of a node's operands in float64 that carry no relevance in the dtype of what does."""
    if node.kind == "plumbing" or real == np.float64:
        return values
    found = {
        i: xp.astype(x, real)
        for i in node.inputs
        if not graph.values[i].active and is_symbolic(x := values[i]) and x.dtype == np.float64
    }
    return {**values, **found} if found else values
