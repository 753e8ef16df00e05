"""A rule in the words of another: of two rules of different names, the readings that differ in the fewest fields.

zennit's ZPlus and iNNvestigate's Alpha1Beta0Rule are two classes, and what parts them is how the bias counts. A reading is
taken for a rule only where it gives the same relevance at the node, for the relevance of either side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import islice, product
from typing import Any

from reflrp import rules as r
from reflrp.arrays.looks import same as alike
from reflrp.comparison.variants import changed, choices
from reflrp.ir import Node
from reflrp.rules.base import Rule

CORE: tuple[Rule, ...] = (
    r.Epsilon(), r.ZPlus(), r.AlphaBeta(1, 0), r.Gamma(), r.WSquare(), r.Flat(), r.ZBox(), r.Norm(),
)  # fmt: skip
"""The rules in whose words others are said."""

READINGS = 200
"""How many readings of a rule are tried at a node."""

Same = Callable[[Rule, Rule], bool]
"""Whether two rules give the same at a node."""


def in_one_tongue(node: Node, one: Rule, two: Rule, same: Same) -> tuple[Rule, Rule]:
    """Return a reading of each of two rules, of one class, with the fewest fields that differ.

    Where no class has a reading of both, what comes back are a reading of each in our words, or the rule itself.
    """
    ones, twos = (_readings(node, rule, other, same) for rule, other in ((one, two), (two, one)))
    pairs = [(x, y) for x in ones for y in twos if type(x) is type(y)]
    return min(pairs, key=lambda pair: _parted(*pair), default=(ones[:2][-1], twos[:2][-1]))


def in_our_words(node: Node, rule: Rule, same: Same) -> tuple[Rule, ...]:
    """Return a rule, and behind it, where it is another library's, the first of our rules that is the same at the node."""
    if rule.__class__.__module__.startswith("reflrp.rules."):
        return (rule,)
    found = (c for base in CORE for c in _candidates(rule, base) if type(c) is type(base))
    return (rule, *islice((c for c in islice(found, READINGS) if c.fits(node) and same(rule, c)), 1))


def _parted(x: Rule, y: Rule) -> int:
    return sum(not alike(getattr(x, f.name), getattr(y, f.name)) for f in fields(x))


def _readings(node: Node, rule: Rule, other: Rule, same: Same) -> list[Rule]:
    found = [c for c in islice(_candidates(rule, other), READINGS) if c.fits(node) and same(rule, c)]
    return [rule, *found]


def _candidates(rule: Rule, other: Rule) -> Iterator[Rule]:
    """Yield the other's class and the core rules with the rule's own numbers, in every reading of their fields."""
    numbers = {name: getattr(rule, name) for name in ("gamma", "alpha", "beta", "low", "high") if hasattr(rule, name)}
    small = getattr(rule, "stabilizer", None)
    small = getattr(rule, "epsilon", None) if small is None else small
    if small is not None:
        numbers |= {"stabilizer": small, "epsilon": small}
    for base in (other, *CORE):
        yield from _grid(base, numbers)
        if type(base) is r.Epsilon and small is not None:
            yield from _grid(r.Epsilon(0), {"stabilizer": small})


def _grid(base: Rule, numbers: dict[str, Any]) -> Iterator[Rule]:
    """Yield a rule with these numbers, in every choice of its other fields; its own come first."""
    own = {f.name: (numbers[f.name],) for f in fields(base) if f.name in numbers}
    if type(base) is r.Epsilon and "epsilon" in numbers:
        own["stabilizer"] = (None,)
    for f in fields(base):
        value = getattr(base, f.name)
        own.setdefault(f.name, (value, *(c for c in choices(type(base), f.name) if c != value)))
    for values in product(*own.values()):
        found = changed(base, dict(zip(own, values, strict=True)))
        if found is not None:
            yield found
