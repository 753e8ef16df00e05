"""The rules as loops over terms: (step, operands' entries, R of the outputs, parameters) -> R of each operand's entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

from reflrp.conformance.literal import numbers
from reflrp.conformance.literal.steps import Linear, Normaliser, Numbers, Step, Term

Params = Mapping[str, Any]
Relevance = list[Numbers]
"""The relevance of each operand's entries."""


class NotServed(Exception):
    """A rule on a node that it says nothing of."""


@dataclass(frozen=True)
class Node:
    """What a rule may look at: the step, its operands' entries and shapes, its output, and which operands carry relevance."""

    step: Step
    a: list[Numbers]
    shapes: list[tuple[int, ...]]
    z: Numbers
    active: tuple[bool, ...]
    gates: tuple[int, ...]

    def zeros(self) -> Relevance:
        """Return no relevance for any entry."""
        return [[Fraction(0)] * len(x) for x in self.a]

    @property
    def linear(self) -> Linear:
        """The step as terms; a normaliser with its statistic held constant."""
        if isinstance(self.step, Linear):
            return self.step
        if isinstance(self.step, Normaliser) and self.step.held:
            return _held(self.step, self.a[0])
        raise NotServed("a rule for linear maps stands on another kind of node")

    @property
    def samples(self) -> list[int]:
        """The number of each output's sample: samples are on the first axis."""
        per = max(prod(self.step.shape[1:]), 1)
        return [k // per for k in range(len(self.z))]


def _held(step: Normaliser, x: Numbers) -> Linear:
    rows: list[list[Term]] = [[] for _ in x]
    bias = [Fraction(0)] * len(x)
    for group in step.groups:
        assert step.held is not None
        matrix, shift = step.held([x[i] for i in group], group)
        for k, i in enumerate(group):
            rows[i] = [Term(0, j, Fraction(1), w) for j, w in zip(group, matrix[k], strict=True)]
            bias[i] = shift[k]
    return Linear("normaliser", rows, bias, step.shape)


def fraction(x: Any) -> Fraction:
    """Return a parameter as the number that it is."""
    return x if isinstance(x, Fraction) else Fraction(x)


def pos(x: Fraction) -> Fraction:
    """Return x+."""
    return max(x, Fraction(0))


def neg(x: Fraction) -> Fraction:
    """Return x-."""
    return min(x, Fraction(0))


def square(x: Fraction) -> Fraction:
    """Return x^2."""
    return x * x


# ---------------------------------------------------------------- denominators


def stabilised(z: Numbers, samples: list[int], how: Params) -> Numbers:
    """Return st(z) of each output. STAB-1, STAB-3."""
    epsilon, form = fraction(how["epsilon"]), how["form"] if callable(how["form"]) else FORMS[how["form"]]
    found = []
    scale = _norms(z, samples) if how.get("norm_scale") else {}
    for x, n in zip(z, samples, strict=True):
        found.append(form(x, epsilon * scale.get(n, Fraction(1))))
    return found


FORMS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "signed": lambda x, e: x + e if x >= 0 else x - e,
    "plain": lambda x, e: x + e,
    "clip": lambda x, e: max(x, e) if x >= 0 else min(x, -e),
    "nonzero": lambda x, e: e if x == 0 else x,
}


def _norms(z: Numbers, samples: list[int]) -> dict[int, Fraction]:
    of: dict[int, Numbers] = {}
    for x, n in zip(z, samples, strict=True):
        of.setdefault(n, []).append(x)
    return {n: numbers.sqrt(sum(x * x for x in xs) / Fraction(len(xs))) for n, xs in of.items()}


Contribution = Callable[[Fraction, Term], Fraction]
"""What a term contributes: u(a_j, term)."""


def shared(node: Node, u: Contribution, bias: Numbers, R: Numbers, how: Params) -> Relevance:
    """Return sum_k u_jk R_k / st(sum_j u_jk + bias_k), where a denominator 0 passes nothing (STAB-2)."""
    found = node.zeros()
    terms = [[(t, u(node.a[t.operand][t.j], t)) for t in row] for row in node.linear.rows]
    z = [sum((c for _, c in row), b or Fraction(0)) for row, b in zip(terms, bias, strict=True)]
    for row, d, r in zip(terms, stabilised(z, node.samples, how), R, strict=True):
        if d != 0 and r != 0:  # no relevance comes to what a mask hides
            for t, c in row:
                found[t.operand][t.j] += c * r / d
    return found


def added(*parts: Relevance) -> Relevance:
    """Return the sum of relevances."""
    return [[sum(x, Fraction(0)) for x in zip(*operand, strict=True)] for operand in zip(*parts, strict=True)]


def times(factor: Any, R: Numbers) -> Numbers:
    """Return factor R."""
    return [fraction(factor) * r for r in R]


def biases(node: Node, choice: str, whole: str, part: Callable[[Fraction], Fraction] = lambda b: b) -> Numbers:
    """Return the bias in a denominator: 0 for "ignore", b for the choice `whole`, else its part."""
    return [Fraction(0) if choice == "ignore" else b if choice == whole else part(b) for b in node.linear.bias]


# ---------------------------------------------------------------- linear rules


# ---------------------------------------------------------------- pointwise functions and normalisers


# ---------------------------------------------------------------- products
