"""Terms of a choice entry by entry: one value where a condition holds, and another elsewhere."""

from __future__ import annotations

import numpy as np

from reflrp.arrays.tracing.arithmetic import binary, other
from reflrp.arrays.tracing.dims import broadcast
from reflrp.arrays.tracing.moves import bared, expand
from reflrp.arrays.tracing.operators import SIDES
from reflrp.arrays.tracing.terms import Shape, Term


def where(condition: Term, x: Term, y: Term) -> Term:
    """Return x where the condition holds, else y."""
    shape = broadcast(condition.shape, x.shape, y.shape)
    trace = condition.trace
    if condition.value is not None and x.value is not None and y.value is not None:
        return trace.constant(np.where(condition.value, x.value, y.value))
    if condition.uniform is not None:
        return expand(x if condition.uniform else y, shape)
    if x is y:
        return expand(x, shape)
    shifted = x.op == y.op == "Add" and x.inputs[0] is y.inputs[0]
    if shifted and x.inputs[1].uniform is not None and y.inputs[1].uniform is not None:
        return binary("Add", x.inputs[0], where(condition, x.inputs[1], y.inputs[1]))
    condition, x, y = bared((condition, x, y), shape)
    if condition.op not in SIDES or condition.inputs[1].uniform != 0 or y.uniform != 0:
        return _plain(condition, x, y, shape)
    z, side = condition.inputs[0], SIDES[condition.op]
    factor = _factor(x, z) if shape == x.shape else None
    if factor is None:
        found = _plain(condition, x, y, shape)
    else:
        found = binary("Mul", binary("Max" if side > 0 else "Min", z, trace.constant(0, z.dtype)), factor)
    trace.gates.setdefault(id(found), []).append((z, side))
    return found


def _plain(condition: Term, x: Term, y: Term, shape: Shape) -> Term:
    found = condition.trace.make("Where", (condition, x, y), shape, x.dtype, x.nonneg and y.nonneg)
    found.finite = x.finite and y.finite
    return found


def _factor(x: Term, z: Term) -> Term | None:
    """Return q of x = z q; None where it is no such product, or q may be infinite though no number overflows.

    Then z q where z > 0, and else 0, is max(z, 0) q, to the last bit.
    """
    found = other(x, z) if x.op == "Mul" and z in x.inputs and z.shape == x.shape else None
    return found if found is not None and found.finite else None
