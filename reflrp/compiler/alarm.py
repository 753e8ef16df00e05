"""What makes an overflow heard: relevance over a denominator that is infinite would be 0 without a word.

The graph looks at a few values, sums up their magnitudes, and adds NaN to all relevance where that says that a denominator may
have overflowed; else 0. Where the bounds from weights say nothing, it sums up the denominator itself.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from reflrp.arrays import is_symbolic
from reflrp.arrays.tracing.arithmetic import plain
from reflrp.arrays.tracing.array import array
from reflrp.arrays.tracing.tallies import magnitude
from reflrp.arrays.tracing.terms import Term, Trace
from reflrp.compiler.bounds import Bounds, Unseen
from reflrp.engine import Program, Values

ROOM = 4
"""By how much a denominator is to stay below what its dtype holds: rounding, and the order of its sum, are no matter then."""

LEAST = 1e13
"""Below this a value that is looked at may well be without an overflow: the denominator itself is looked at then."""


def heard(found: Values, program: Program, values: Values, trace: Trace) -> Values:
    """Return relevance that is NaN where a denominator may have overflowed, of `found`, which has it by name."""
    alarm = _alarm(Bounds(program, values, trace)) if trace.denominators else None
    if alarm is None:
        return found
    return {
        k: array(plain("Add", R.term, alarm)) if is_symbolic(R) and R.term.is_float else R for k, R in found.items()
    }


def _alarm(bounds: Bounds) -> Term | None:
    """Return a term that is 0, and NaN where a denominator may have overflowed; None where none can."""
    trace, looked, own = bounds.trace, dict[int, tuple[Term, float]](), list[Term]()
    largest = float(np.finfo(trace.real).max)
    for z, R in trace.denominators:
        try:
            bound = bounds.of(z)
        except Unseen:
            continue
        most = (largest / ROOM - bound.rest) / bound.gain if bound.gain else np.inf
        if bound.rest <= largest / ROOM / 2 and most >= LEAST:
            looked |= {k: (t, min(most, looked.get(k, (t, most))[1])) for k, t in bound.looked.items()}
        elif not bounds.inside(z) and not bounds.inside(R):
            own.append(_shared(z, R))
    parts = [_part(*pair) for pair in (*looked.values(), *((z, largest) for z in own))]
    if not parts:
        return None
    whole = trace.make("Reshape", (reduce(lambda a, b: plain("Add", a, b), parts),), (), nonneg=True)
    one, zero, nan = (trace.constant(np.full((), v), trace.real) for v in (1.0, 0.0, np.nan))
    return trace.make("Where", (plain("LessOrEqual", whole, one), zero, nan), (), trace.real)


def _shared(z: Term, R: Term) -> Term:
    """Return a denominator where relevance meets it, else 0: behind a mask of -inf there is none."""
    zero = z.trace.constant(np.zeros((), z.dtype))
    none = plain("Equal", R, z.trace.constant(np.zeros((), R.dtype)))
    return z.trace.make("Where", (none, zero, z), z.shape, z.dtype)


def _part(term: Term, most: float) -> Term:
    """Return what the magnitudes of a term add up to, as a part of the most that is fine."""
    (found,) = magnitude(array(term)).factors
    return plain("Mul", found, term.trace.constant(np.full((), 1 / most), term.trace.real))
