"""Token ids on their way from an input to a table: what is only moved, cast or shifted lets relevance back."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from reflrp.importer.node import OnnxNode

MOVES = frozenset(
    ["Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze"]
)
ENTRYWISE = frozenset(["Abs", "Add", "Cast", "Clip", "Max", "Min", "Mod", "Mul", "Sub", "Where"])
"""Operators that leave each id in its place."""


def origins(node: OnnxNode, args: tuple[Any, ...], shape: tuple[int, ...], out: np.ndarray) -> np.ndarray | None:
    """Return for each entry of the output which entry of the ids it comes from; None where it is no such move.

    `shape` is the ids' shape, `out` an output of the right shape and dtype.
    """
    if out.dtype.kind not in "iu" or not (node.op_type in MOVES or node.op_type in ENTRYWISE):
        return None
    numbers = np.arange(prod(shape), dtype=np.int64).reshape(shape)
    if node.op_type in ENTRYWISE:
        return numbers if out.shape == shape else None
    if any(not isinstance(a, np.ndarray) for a in args[1:]) or isinstance(args[0], np.ndarray):
        return None  # it moves by numbers that are found in the run
    found = node.evaluate(numbers, *args[1:])[0]
    return np.asarray(found, dtype=np.int64)
