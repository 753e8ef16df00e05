"""Values of an open shape that a file fills with one number: states of zeros, lengths that are the same for all samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.importer.site import Site
from reflrp.ops.routing import Plumbing


def filled(site: Site, name: str) -> Any:
    """Return the number that a file fills a value of an open shape with, as exporters make states of zeros; None for any other."""
    node = site.work.makers.get(name)
    if node is None or not isinstance(node.op, Plumbing):
        return None
    made, *given = getattr(node.op.function, "args", (None,))
    if node.op_type == "ConstantOfShape" and made is not None:
        return site.work.evaluated(made, np.ones(1, np.int64))[0].item()
    if node.op_type not in MOVES or not given:
        return None
    inputs = iter(node.inputs)
    parts: list[Any] = given if node.op_type == "Concat" else given[:1]
    numbers = {_number(site, next(inputs) if part is None else part) for part in parts}
    return numbers.pop() if len(numbers) == 1 else None


def _number(site: Site, part: Any) -> Any:
    """Return the number that all entries of a part are; None where they differ, or are not known."""
    if isinstance(part, str):
        return filled(site, part)
    numbers = np.unique(part)
    return numbers.item() if numbers.size == 1 else None


MOVES = frozenset(["Cast", "Concat", "Expand", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"])
"""Operators that leave every entry of their first input what it is, or of all."""
