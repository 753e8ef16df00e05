"""What makes an overflow heard: relevance over a denominator that is infinite would be 0 without a word.

The graph adds NaN to all relevance where relevance met a denominator that is infinite; else 0. It looks at the denominator itself
only where it has to: the bounds from weights say how large a few values of the run may be, so that no denominator behind them can
overflow, and where these are no larger, it looks no further (an `If`). In the body of a loop it does so turn by turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import reduce
from math import prod

import numpy as np

from reflrp.arrays import is_symbolic
from reflrp.arrays.tracing.arithmetic import plain, unary
from reflrp.arrays.tracing.array import array
from reflrp.arrays.tracing.choices import choice
from reflrp.arrays.tracing.dims import broadcast, example
from reflrp.arrays.tracing.moves import concat, reshape
from reflrp.arrays.tracing.terms import Divided, Term, Trace
from reflrp.compiler.overflow.bounds import Bound, Bounds, Unseen
from reflrp.engine import Program, Values

ROOM = 4
"""By how much a sum is proven to stay below what its dtype holds: rounding, and the order of its terms, are no matter then."""

LEAST = 1e6
"""Where a value that is looked at may be no larger than this, it may well be larger: the denominator itself is looked at."""


def heard(found: Values, program: Program, values: Values, trace: Trace, ledger: bool = False) -> Values:
    """Return relevance that is NaN where a denominator overflowed, of `found`, which has it by name.

    The sums of a ledger say it of denominators of relevance, and not of those of values.
    """
    watched = Watched(_of(trace.denominators, ledger), [(loop, _of(inner, ledger)) for loop, inner in trace.loops])
    alarm = Alarm(Bounds(program, values, trace), watched).found() if watched.any else None
    if alarm is None:
        return found
    return {
        k: array(plain("Add", R.term, alarm)) if is_symbolic(R) and R.term.is_float else R for k, R in found.items()
    }


def _of(pairs: list[Divided], ledger: bool) -> list[Divided]:
    return [p for p in pairs if p.R is None or not ledger]


@dataclass(frozen=True)
class Limits:
    """How large the terms that are looked at may be, so that a denominator cannot overflow: below a number, or finite (`whole`)."""

    below: dict[int, float] = field(default_factory=dict)
    whole: tuple[int, ...] = ()


@dataclass(frozen=True)
class Watched:
    """What is watched: of the graph, and of the bodies of its loops."""

    outside: list[Divided]
    loops: list[tuple[Term, list[Divided]]]

    @property
    def any(self) -> bool:
        """Whether there is something."""
        return bool(self.outside) or any(inner for _, inner in self.loops)


@dataclass(eq=False)
class Alarm:
    """What a graph has to look at.

    `most` is how large each term that is looked at may be for all denominators behind it, `often` behind how many that are.
    """

    bounds: Bounds
    watched: Watched
    most: dict[int, float] = field(default_factory=dict)
    often: Counter[int] = field(default_factory=Counter)

    @property
    def trace(self) -> Trace:
        """The trace of the graph."""
        return self.bounds.trace

    @property
    def largest(self) -> float:
        """The largest number that there is."""
        return float(np.finfo(self.trace.real).max)

    def found(self) -> Term | None:
        """Return a term that is 0, and NaN where relevance met a denominator that overflowed; None where that cannot be."""
        outside, inside = list[Divided](), list[tuple[Term, list[Divided]]]()
        for loop, pairs in self.watched.loops:
            inside.append((loop, [p for p in pairs if self._inside(p)]))
            outside += [p for p in pairs if not self._inside(p)]
        outside += self.watched.outside
        limits = {pair: self._limits(pair) for pair in [*outside, *(p for _, pairs in inside for p in pairs)]}
        for known in limits.values():
            for k, most in (known.below if known else {}).items():
                self.most[k] = min(most, self.most.get(k, most))
                self.often[k] += 1
        parts = [self._looks(pair, known) for pair in dict.fromkeys(outside) if not _proven(known := limits[pair])]
        for loop, pairs in inside:
            own = [self._looks(pair, known) for pair in dict.fromkeys(pairs) if not _proven(known := limits[pair])]
            parts += [_each_turn(loop, self._together(own))] if own else []
        return reshape(self._together(parts), ()) if parts else None

    def _inside(self, pair: Divided) -> bool:
        return any(self.bounds.inside(t) for t in (pair.z, pair.R) if t is not None)

    @staticmethod
    def _together(parts: list[Term]) -> Term:
        """Return the sum of parts (1,), the first of which is written last.

        Of what a node reads, onnxruntime runs first what stands last. So each is looked at as soon as it is there.
        """
        trace = parts[0].trace
        row = concat(parts[::-1], 0)
        return trace.make("ReduceSum", (row,), (1,), axes=(0,), keepdims=1) if len(parts) > 1 else row

    def _limits(self, pair: Divided) -> Limits | None:
        """Return how large the terms that are looked at may be; None where nothing says enough of a denominator."""
        try:
            bound = self.bounds.of(pair.z if pair.of is None else pair.of)
        except Unseen:
            return None
        if pair.of is not None:
            found = self._below(bound, pair.most)
            return None if found is None else Limits(found)
        least = self.largest * float(np.finfo(self.trace.real).eps) / 16
        for k in sorted(self._in_order(bound.even), key=lambda k: prod(map(example, self.bounds.looked[k].shape))):
            rest = self._below(Bound({i: g for i, g in bound.gains.items() if i != k}, bound.rest), least)
            if rest is not None:
                return Limits(rest, (k,))
        found = self._below(bound, self.largest / ROOM)
        return None if found is None else Limits(found)

    def _in_order(self, looked: Collection[int]) -> list[int]:
        """Return terms that are looked at in the order in which the graph came to them: it is to be the same each time."""
        return [k for k in self.bounds.looked if k in looked]

    @staticmethod
    def _below(bound: Bound, most: float) -> dict[int, float] | None:
        """Return how large each term may be for a bound to stay below a number; None where that is too small to be expected."""
        if bound.rest > most / 2:
            return None
        found = {k: most / 2 / len(bound.gains) / g if g else np.inf for k, g in bound.gains.items()}
        return {k: v for k, v in found.items() if v < np.inf} if all(v >= LEAST for v in found.values()) else None

    def _looks(self, pair: Divided, known: Limits | None) -> Term:
        """Return 0, and NaN where a denominator overflowed that relevance meets, (1,): unless the limits say that it cannot."""
        seen = self._seen(pair.z, pair.R)
        if known is None:
            return seen
        first = sorted(self._in_order(known.below), key=lambda k: -self.often[k])  # what many share is joined once
        holds = [self._within(k, self.most[k]) for k in first]
        holds += [self._within(k, self.largest) for k in known.whole]
        fine = reduce(lambda a, b: plain("And", a, b), holds)
        read = [t for t in (pair.of or pair.z, pair.R) if t is not None]
        return choice(fine, self._number(0.0, (1,)), seen, *read)

    def _seen(self, z: Term, R: Term | None) -> Term:
        """Return what a look at the denominator itself says; behind a mask of -inf there is no relevance."""
        trace, met = self.trace, z
        if R is not None:
            none, shape = plain("Equal", R, trace.constant(np.zeros((), R.dtype))), broadcast(z.shape, R.shape)
            met = trace.make("Where", (none, trace.constant(np.zeros((), z.dtype)), z), shape, z.dtype, z.nonneg)
        fine = self._at_most(met, self.largest)
        value = z.inputs[0] if z.op == "Add" else z
        if (
            value.op == "value" and value.get("name") in self.bounds.makers
        ):  # which the engine refuses where it is infinite
            fine = plain("And", fine, self._at_most(z, self.largest, magnitude=False))
        return trace.make("Where", (fine, self._number(0.0, (1,)), self._number(np.nan, (1,))), (1,), trace.real)

    def _within(self, k: int, most: float) -> Term:
        return self._at_most(self.bounds.looked[k], most)

    def _at_most(self, term: Term, most: float, magnitude: bool = True) -> Term:
        """Return whether all entries, or their magnitudes, are at most a number: not where there is a NaN."""
        trace = self.trace
        term = unary("Abs", term) if magnitude else term
        if term.shape:
            axes = tuple(range(len(term.shape)))
            term = trace.make("ReduceMax", (term,), (), nonneg=term.nonneg, axes=axes, keepdims=0)
        return plain("LessOrEqual", term, self._number(min(most, self.largest), ()))

    def _number(self, value: float, shape: tuple[int, ...]) -> Term:
        return self.trace.constant(np.full(shape, value), self.trace.real)


def _proven(known: Limits | None) -> bool:
    """Return whether no input makes a denominator overflow."""
    return known is not None and not known.below and not known.whole


def _each_turn(loop: Term, found: Term) -> Term:
    """Return the sum of what a term in the body of a loop is at each turn, (1,)."""
    trace, body = loop.trace, loop.get("body")
    body.added.append(found)
    turns = loop.inputs[-1].shape[0]
    made = trace.make("output", (loop,), (turns, 1), found.dtype, i=len(body.made) - 1)
    return reshape(trace.make("ReduceSum", (made,), (1, 1), axes=(0,), keepdims=1), (1,))
