"""Choices that a run makes: a pass less where the digits that this input has show that it can be done without.

Alpha-beta asks at an input x >= 0 for z+ = L(x, w+) + b+ and z- = L(x, w-) + b-, and z = z+ + z- is there already. Neither z+ nor
z- sums up numbers of both signs, so rounding moves each by a multiple of itself only, and z by one of z+ + |z-|. Where
|z-| > APART z+ in every entry, z - z+ is therefore off by at most 1 + 2 / APART times what z- itself may be off, and stands for
it; where |z-| is smaller anywhere, the graph makes the pass. Then z - z+ < 0, so that its stabiliser's sign is known, too.

The same holds of the stabilised denominators, |z-| + c and z+ + c in place of |z-| and z+; adding c rounds once more, which is up
to 1 / APART roundings of z- - c. (A sum of WIDE products may be off by more.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reflrp.arrays.tracing import affine
from reflrp.arrays.tracing.terms import Term

APART = 1 / 64
"""How much of z+ each |z-| must be for z - z+ to stand for z-."""

WIDE = 128
"""Sums of fewer products are made about as fast as what it takes to see whether they are needed."""


def choice(holds: Term, one: Term, other: Term, *outside: Term) -> Term:
    """Return a value where a condition holds, and another where not, of which the run makes only what it chose.

    `outside` are what they read that is not made within.
    """
    return one.trace.make("If", (holds, *outside), one.shape, one.dtype, branches=(one, other))


def guarded(layer: Term, bias: np.ndarray) -> Term | None:
    """Return z- as z - z+, if the run shows that it can be; None for what is no z-, or where z or z+ is not there."""
    found = _difference(layer, bias)
    if found is None:
        return None
    trace, (z, part) = layer.trace, found
    less = trace.make("Sub", (z, part), layer.shape)
    passed = layer
    if bias.any():
        passed = trace.make("Add", (layer, trace.constant(bias, layer.dtype)), layer.shape)
    return choice(_stands(z, part), less, passed, z, part, *layer.inputs)


def _stands(z: Term, part: Term) -> Term:
    """Return whether |z - part| > APART part in every entry, for z - part < 0 <= part."""
    trace, shape = z.trace, z.shape
    most = trace.make("Mul", (part, trace.constant(np.asarray(1 - APART), part.dtype)), shape, nonneg=True)
    over = trace.make("Sub", (z, most), shape)
    worst = trace.make("ReduceMax", (over,), (), axes=tuple(range(len(shape))), keepdims=0)
    return trace.make("Less", (worst, trace.constant(np.zeros((), z.dtype))), (), bool, True)


def stabilised(value: Term, step: Term) -> Term | None:
    """Return z- + c sgn z- for such a choice, whose sign is known where z - z+ is taken; None for anything else.

    The same of z- - c, where a rule says which sign it has.
    """
    if value.op != "If" or value.get("branches")[0].op != "Sub":
        return None
    if step.uniform is not None and not step.shape:
        made = [step.trace.make("Add", (t, step), t.shape) for t in value.get("branches")]
        return choice(value.inputs[0], *made, *value.inputs[1:])
    if step.op != "Where":
        return None
    test, above, below = step.inputs
    asked = test.op == "GreaterOrEqual" and test.inputs[0] is value and test.inputs[1].uniform == 0
    if not asked or above.uniform is None or below.uniform is None:
        return None
    trace, (one, other) = value.trace, value.get("branches")
    sign = trace.make("GreaterOrEqual", (other, test.inputs[1]), other.shape, bool, True)
    moved = trace.make("Where", (sign, above, below), other.shape, other.dtype)
    return choice(
        value.inputs[0],
        trace.make("Add", (one, below), one.shape),
        trace.make("Add", (other, moved), other.shape),
        *value.inputs[1:],
    )


def settled(y: Term, gates: Sequence[tuple[Term, int]]) -> Term | None:
    """Return what divides a share that vanishes where z <= 0 in place of such a choice of z- - c: of max(z, 0) - (z+ + c).

    Where z <= 0 the quotient is 0 all the same. Else max(z, 0) is z, and z - (z+ + c) is z- - c: it stands for that where it
    is more than APART of z+ + c, which is there already as the other denominator. None for anything else.
    """
    if y.op != "If":
        return None
    (one, other), trace = y.get("branches"), y.trace
    less, below = one.inputs if one.op == "Add" else (one, None)
    if less.op != "Sub" or below is None or below.uniform is None or not below.uniform < 0:
        return None
    z, part = less.inputs
    if not part.nonneg or (z, 1) not in gates:
        return None
    whole = trace.make("Add", (part, trace.constant(-np.asarray(below.uniform), part.dtype)), part.shape, nonneg=True)
    positive = trace.make("Relu", (z,), z.shape, nonneg=True)
    rest = trace.make("Sub", (positive, whole), z.shape)
    return choice(_stands(positive, whole), rest, other, positive, whole, *y.inputs[3:])


def _difference(layer: Term, bias: np.ndarray) -> tuple[Term, Term] | None:
    """Return z and z+ for a convolution plus a bias that is z-, exactly so in its weights."""
    x, v = layer.inputs[0], layer.inputs[1].value
    if layer.op != "Conv" or v is None or v.dtype != np.float32 or not x.nonneg or v[0].size < WIDE:
        return None
    if (bias > 0).any() or (v > 0).any():
        return None
    known = [one for one in affine.known_of(layer) if one.term.op != "Cast"]  # halves have other digits
    return next(((z.term, part.term) for z in known for part in known if _completes(z, part, v, bias)), None)


def _completes(z: affine.Affine, part: affine.Affine, v: np.ndarray, bias: np.ndarray) -> bool:
    """Return whether v and a bias are those of z less those of a part with none < 0, to the last bit."""
    if z is part or z.w.shape != v.shape or part.w.shape != v.shape or (part.b < 0).any():
        return False
    alike = bool((z.w[0] - part.w[0] == v[0]).all() and (z.b - part.b == bias).all())
    return alike and bool((part.w >= 0).all() and (z.w - part.w == v).all())
