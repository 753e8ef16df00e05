"""One node of a graph under construction, computed before the graph is there: counted as in the run, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.ir import Node, Shape


def computed(node: Node, xs: Sequence[np.ndarray], out: Shape) -> np.ndarray:
    """Return a node's output, of the shape `out` or one near it. A NaN is no error here, but where the graph runs.

    Raises TooLarge beyond the limits on memory and time, before it is computed.
    """
    what, shapes = f"node {node.name!r} ({node.op_type})", [x.shape for x in xs]
    limits.room(what, limits.size_of(out) + limits.WIDEST * node.op.takes(*shapes))
    limits.spend(what, node.op.work(out, *shapes))
    with np.errstate(all="ignore"):
        return np.asarray(node.op.to(_widest).forward(*xs))


def _widest(array: Any) -> Any:
    return array.astype(np.float64) if array.dtype.kind == "f" else array
