"""Quotients s = R / D that are bounded, which may be convolved by minimal filtering (`minimal`).

Rounding moves what that gives by a multiple of the largest of its neighbours, where a convolution's own rounding moves it by
one of what it is the sum of. Where relevance is R = max(z, 0) c and a denominator is D >= z, |s| <= |c|, however small z is;
and where D itself is off by d, s is off by d c / D at most, and what comes back from there, s D or less, by d c. So it goes on
from the output, from which relevance starts without neighbours, as long as each c is made of such s alone. Each Div is
then of one of two kinds:

- R is a multiple of z, and D = z, moved away from zero;
- R is a multiple of max(z, 0), as a rectifier follows, and D >= z: z+ and gamma, of inputs >= 0.

It ends where a sum shares out relevance that z+ meets next (there z < 0 < D may be as small as it likes), and with
alpha-beta, whose z- may be so. A denominator that others read, too, is made once, and with all of its digits.

How large the c of neighbours are is not in it: relevance may start at some rows only, and values be large in the next. So each
run looks, too (`minimal.alike`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from reflrp.arrays.tracing import affine
from reflrp.arrays.tracing.terms import Term, Trace

FLAT = 2
"""The most axes of an output that relevance may start at, of whatever size it is."""

LINEAR = frozenset(["Conv", "ConvTranspose", "MatMul", "Add", "Neg", "Reshape", "Transpose", "Slice", "Pad", "DepthToSpace",
    "Expand", "Identity", "AveragePool", "Concat"])  # fmt: skip
"""Operators that make bounded factors of bounded factors and constants."""

MOVING = frozenset(["MaxUnpool", "Reshape", "Transpose", "Slice", "Pad", "Expand", "Identity", "Neg"])
"""Operators that put relevance in other places."""


STABILISING = frozenset(["Add", "Where", "GreaterOrEqual", "Relu", "Max"])
"""Operators that move a denominator away from zero."""


class Bounded:
    """Which terms of a trace are such quotients, and the denominators D of these, less their stabilisers."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.readers: dict[int, list[Term]] = {}

    def see(self, roots: Iterable[Term]) -> None:
        """Look at who reads what, of the terms that some need."""
        waiting, seen = list(roots), set[int]()
        while waiting:
            term = waiting.pop()
            if id(term) not in seen:
                seen.add(id(term))
                for read in (*term.inputs, *term.get("branches", ())):
                    self.readers.setdefault(id(read), []).append(term)
                    waiting.append(read)

    def quotient(self, term: Term) -> bool:
        """Return whether a term is such a quotient."""
        return id(term) in self._found

    def denominator(self, quotient: Term) -> Term | None:
        """Return D, less its stabiliser, of such a quotient that alone reads it; None where others do."""
        part = self._found.get(id(quotient))
        return part if part is not None and self._alone(part, quotient) else None

    def factor(self, layer: Term) -> Term | None:
        """Return what a term is multiplied by, where nothing else is done with it."""
        read = self.readers.get(id(layer), [])
        if len(read) != 1 or read[0].op != "Mul" or read[0].shape != layer.shape:
            return None
        one, two = read[0].inputs
        return two if one is layer else one

    def _alone(self, part: Term, quotient: Term) -> bool:
        """Return whether all that reads a part goes into a quotient's denominator."""
        read = self.readers.get(id(part), [])
        return all(t is quotient or (t.op in STABILISING and self._alone(t, quotient)) for t in read)

    def _starts(self, R: Term) -> bool:
        """Return whether relevance starts with a term, at an output of samples and classes: nothing there has neighbours."""
        return len(R.shape) <= FLAT and id(R) in self.trace.starts

    @cached_property
    def _found(self) -> dict[int, Term]:
        """Look at all terms once; what a term reads was made before it."""
        found = dict[int, Term]()
        factors, relevances = set[int](), set[int]()
        for term in list(self.trace.terms.values()):
            part = _denominator(term) if term.op == "Div" and id(term.inputs[0]) in relevances else None
            if part is not None:
                found[id(term)] = part
            begins = term.op == "Div" and self._starts(term.inputs[0])
            if begins or part is not None or _is_factor(term, factors):
                factors.add(id(term))
            if _is_relevance(term, factors, relevances):
                relevances.add(id(term))
        return found


def _is_factor(term: Term, factors: set[int]) -> bool:
    """Return whether a term is made of bounded factors and constants alone."""
    known = all(id(t) in factors or t.value is not None for t in term.inputs)
    if term.op == "Div":
        return id(term.inputs[0]) in factors and term.inputs[1].value is not None
    return known and any(id(t) in factors for t in term.inputs) and (term.op in LINEAR or term.op == "Mul")


def _is_relevance(term: Term, factors: set[int], relevances: set[int]) -> bool:
    """Return whether a term is a value times a bounded factor, or such relevance in another place."""
    if term.op == "Add":
        return all(id(t) in relevances for t in term.inputs)
    if term.op == "Mul":
        return any(id(t) in factors for t in term.inputs) or (
            id(term.inputs[0]) in relevances and term.inputs[1].value is not None
        )
    if term.op == "Where":
        return id(term.inputs[1]) in relevances and term.inputs[2].uniform == 0
    return term.op in MOVING and id(term.inputs[0]) in relevances


def _denominator(quotient: Term) -> Term | None:
    """Return D, less its stabiliser, of a quotient of one of the two kinds."""
    (R, below), trace = quotient.inputs, quotient.trace
    whole = below.inputs[0] if below.op == "Add" else below
    if whole is trace.multiples.get(id(R)) and _away(below):
        return whole
    if below.op != "Add" or not (below.inputs[1].uniform or 0) > 0:
        return None
    for z, sign in trace.gates.get(id(R), ()):
        rectified = trace.terms.get(("Relu", (id(z),), (), z.shape, z.dtype))
        part = z if whole is rectified else whole.inputs[0] if whole.op == "Relu" else whole
        if sign > 0 and rectified is not None and affine.at_least(part, z):
            return part
    return None


def _away(below: Term) -> bool:
    """Return whether z + c sgn z is what a term is, c > 0; c alone where z >= 0."""
    if below.op != "Add":
        return False
    z, step = below.inputs
    if step.op != "Where":
        return z.nonneg and (step.uniform or 0) > 0
    test, above, under = step.inputs
    signed = test.op == "GreaterOrEqual" and test.inputs[0] is z and test.inputs[1].uniform == 0
    return signed and (above.uniform or 0) > 0 and under.uniform == -above.uniform
