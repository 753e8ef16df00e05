"""Why two sides differ: what is different between their rules, and how much of the difference each thing explains.

A cause is switched from a's setting to b's and everything is measured again: alone on top of a, and alone taken away from b. So a
share is what was measured. Shares of several causes need not add up to 1: what one does may depend on another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from reflrp.arrays import Array
from reflrp.arrays.looks import same as alike
from reflrp.comparison.local import apart, shared_values
from reflrp.comparison.sides import Relevances, Ruled, Setting
from reflrp.comparison.spoken import in_one_tongue
from reflrp.comparison.variants import brief, named
from reflrp.errors import ReflrpError
from reflrp.ir import Node
from reflrp.rules.base import Rule

SAME = 1e-10
"""Up to what relative difference two rules are the same at a node, in float64."""

CLAUSES = {
    "Epsilon": {"bias": "EPS-2", "epsilon": "EPS-1", "stabilizer": "STAB-3"},
    "Gamma": {"bias": "GAMMA-2", "gamma": "GAMMA-1", "generalized": "GAMMA-3", "stabilizer": "STAB-3"},
    "AlphaBeta": {"bias": "AB-2", "alpha": "AB-1", "beta": "AB-1", "stabilizer": "STAB-3"},
    "ZPlus": {"bias": "ZP-2", "inputs": "ZP-3", "stabilizer": "STAB-3"},
    "ZBox": {"low": "ZB-1", "high": "ZB-1", "stabilizer": "STAB-3"},
    "WSquare": {"bias": "WSQ-2", "stabilizer": "STAB-3"},
    "Flat": {"stabilizer": "STAB-3"},
    "Norm": {"stabilizer": "STAB-3"},
    "Sign": {"bias": "SIGN-2", "mu": "SIGN-2", "stabilizer": "STAB-3"},
    "StdxEpsilon": {"over": "STDX-2", "bias": "STDX-2", "factor": "STDX-1"},
    "AlphaBetaX": {"bias": "ABX-1", "second": "ABX-2", "alpha": "ABX-1", "beta": "ABX-1", "stabilizer": "STAB-3"},
    "Half": {"over": "PROD-1", "stabilizer": "STAB-3"},
    "SignalTakesAll": {"signal": "PROD-3", "stabilizer": "STAB-3"},
    "Uniform": {"over": "PROD-1"},
    "ProductAlphaBeta": {"alpha": "PROD-5", "beta": "PROD-5", "stabilizer": "STAB-3"},
}
"""Which clause of the specification a field is about, by the rule's name."""

RULE_CLAUSES = {
    "Epsilon": "EPS-1", "Gamma": "GAMMA-1", "AlphaBeta": "AB-1", "ZPlus": "ZP-1", "ZBox": "ZB-1", "WSquare": "WSQ-1",
    "Flat": "FLAT-1", "Norm": "NORM-1", "Sign": "SIGN-1", "StdxEpsilon": "STDX-1", "AlphaBetaX": "ABX-1",
    "WinnerTakesAll": "POOL-1", "Pass": "PASS-1", "Gradient": "GRAD-1", "DeconvNet": "DECONV-1",
    "GuidedBackprop": "GUIDED-1", "BetaSmooth": "BETA-1", "Ratio": "RATIO-1", "Stop": "STOP-1", "Taylor": "SMAX-1",
    "Half": "PROD-2", "SignalTakesAll": "PROD-3", "EpsilonUniform": "PROD-4", "ProductAlphaBeta": "PROD-5",
}  # fmt: skip
"""The clause that says what a rule is."""


@dataclass(frozen=True)
class Cause:
    """One thing that differs between the two sides.

    Attributes
    ----------
    what : str
        A field's name, "rule", or "canonize".
    a, b : str
        Both sides' settings.
    nodes : tuple of str
        Where.
    clause : str
        The clause of the specification that it is about, where there is one.
    share : float
        The share of the final difference that it explains: the mean of the next two.
    added, removed : float
        What switching it alone does on top of a, and what taking it alone away from b does: with D = R_b - R_a,
        <R_(a with it) - R_a, D> / <D, D> and <R_b - R_(b without it), D> / <D, D>.

    """

    what: str
    a: str
    b: str
    nodes: tuple[str, ...]
    clause: str
    share: float
    added: float
    removed: float


Switched = Mapping[str, tuple[Rule, Rule]]
"""Node -> the rule that a gets when the cause is switched on, and the one that b gets when it is taken away."""

Pair = tuple[Rule, Rule]
"""A reading of a's rule, and one of b's."""

Key = tuple[str, str, str, str]
"""What differs, both settings, and the clause."""


def found(setting: Setting, a: Ruled, b: Ruled, Ra: Relevances, Rb: Relevances, seed: Array) -> tuple[Cause, ...]:
    """Return the causes of the difference, the largest share first.

    Where the two sides fold different nodes, their rules are compared on both graphs: what is switched on top of a is what
    b's composite says of a's graph, and what is taken from b is what a's says of b's.
    """
    base, end = a.inputs(Ra), b.inputs(Rb)
    if not float(np.vdot(end - base, end - base)):
        return ()
    if _names(a) == _names(b):
        on = off = _switches(a, b, Ra, Rb)
    else:
        b_there, a_there = _swapped(setting, b, a), _swapped(setting, a, b)
        on = _switches(a, b_there, Ra, b_there.spread(seed)) if b_there else {}
        off = _switches(a_there, b, a_there.spread(seed), Rb) if a_there else {}
        on, off = ({key: _within(nodes, a, b) for key, nodes in found.items()} for found in (on, off))
    span = _Span(a, b, seed, base, end)
    causes = [span.measured(key, on.get(key, {}), off.get(key, {})) for key in dict.fromkeys((*on, *off))]
    if _names(a) != _names(b):
        causes.append(span.canonized(a_there, b_there))
    return tuple(sorted((c for c in causes if c is not None), key=lambda c: -abs(c.share)))


def _names(side: Ruled) -> set[str]:
    return {n.name for n in side.graph.nodes}


def _within(switched: Switched, a: Ruled, b: Ruled) -> Switched:
    """Leave out nodes that one side has folded: how the other treats them is a part of what folding does."""
    both = _names(a) & _names(b)
    return {name: rules for name, rules in switched.items() if name in both}


def _swapped(setting: Setting, side: Ruled, other: Ruled) -> Ruled | None:
    """Return a side's composite on the other's graph; None where it cannot serve that."""
    try:
        return setting.ruled(side.title, side.composite, other.passes)
    except ReflrpError:
        return None


def _switches(a: Ruled, b: Ruled, Ra: Relevances, Rb: Relevances) -> dict[Key, Switched]:
    """Return what differs between the rules of two sides, and for each thing the rules that switch it, by node."""
    grouped: dict[Key, dict[str, Pair]] = {}
    said: dict[tuple[str, str], Pair] = {}
    for node, one, two, arriving in _differing(a, b, Ra, Rb):
        pair = _said(a, node, one, two, arriving, said)
        for key, switched in _parted(one, two, *pair).items():
            grouped.setdefault(key, {})[node.name] = switched
    return dict(grouped)


def _differing(a: Ruled, b: Ruled, Ra: Relevances, Rb: Relevances) -> list[tuple[Node, Rule, Rule, list[Array]]]:
    """Return the nodes that both graphs have and on which the rules do something else with a's relevance or with b's.

    With each come the relevances that arrive there.
    """
    of_b = {n.name: n for n in b.graph.nodes}
    shared = shared_values(a, b)
    kept = []
    for node in a.graph.nodes:
        one, other = a.rule(node), of_b.get(node.name)
        two = b.rule(other) if other else None
        if one is None or two is None or other is None or one == two:
            continue
        if other.output != node.output or node.output not in shared:
            continue
        arriving = [R[node.output] for R in (Ra, Rb) if node.output in R]
        if any(apart(_made(a, node, one, r), _made(b, node, two, r)) > SAME for r in arriving):
            kept.append((node, one, two, arriving))
    return kept


def _made(side: Ruled, node: Node, rule: Rule, r: Array) -> Relevances:
    other = side.with_rules({node.name: rule})
    own = next(n for n in other.graph.nodes if n.name == node.name)
    return other.program.handed_down(own, other.values, r)


def _said(a: Ruled, node: Node, one: Rule, two: Rule, arriving: list[Array], said: dict[tuple[str, str], Pair]) -> Pair:
    """Return the two rules as readings of one class where there are such, for equal rules the same at every node."""

    def same(x: Rule, y: Rule) -> bool:
        try:
            return all(apart(_made(a, node, x, r), _made(a, node, y, r)) <= SAME for r in arriving)
        except ReflrpError:  # a reading that cannot be computed here is none
            return False

    if type(one) is type(two):
        return one, two
    known = said.get((repr(one), repr(two)))
    if known is not None and same(one, known[0]) and same(two, known[1]):
        return known
    pair = in_one_tongue(node, one, two, same)
    said[repr(one), repr(two)] = pair
    return pair


def _parted(one: Rule, two: Rule, x: Rule, y: Rule) -> dict[Key, tuple[Rule, Rule]]:
    """Return what differs between two rules, field by field where their readings x and y are of one class."""
    if type(x) is not type(y):
        return {("rule", named(one), named(two), _rule_clause(y)): (two, one)}
    names = [f.name for f in fields(x) if not alike(getattr(x, f.name), getattr(y, f.name))]
    if "alpha" in names and "beta" in names:  # alpha - beta = 1, so that one does not change alone
        names.remove("beta")
    return {_key(x, y, name): _one_field(x, y, name) for name in names}


def _rule_clause(rule: Rule) -> str:
    kinds = (k.__name__ for k in type(rule).__mro__)
    return next((RULE_CLAUSES[k] for k in kinds if k in RULE_CLAUSES), "")


def _key(one: Rule, two: Rule, name: str) -> Key:
    return name, brief(getattr(one, name)), brief(getattr(two, name)), _clause(one, name)


def _one_field(one: Rule, two: Rule, name: str) -> tuple[Rule, Rule]:
    """Return both rules with this field of the other; alpha and beta go together."""
    names = (
        ("alpha", "beta") if name in ("alpha", "beta") and hasattr(one, "beta") and hasattr(one, "alpha") else (name,)
    )
    return (
        replace(one, **{k: getattr(two, k) for k in names}),
        replace(two, **{k: getattr(one, k) for k in names}),
    )


def _clause(rule: Rule, name: str) -> str:
    kinds = (k.__name__ for k in type(rule).__mro__)
    return next(
        (CLAUSES[k][name] for k in kinds if name in CLAUSES.get(k, {})), "STAB-3" if name == "stabilizer" else ""
    )


@dataclass(frozen=True, eq=False)
class _Span:
    """Both sides, the initial relevance, and what they make of it at the inputs."""

    a: Ruled
    b: Ruled
    seed: Array
    base: np.ndarray
    end: np.ndarray

    def measured(self, key: Key, on: Switched, off: Switched) -> Cause | None:
        """Return what switching alone does; None for a setting that does nothing here, as how a bias counts without one."""
        with_it = self.a.with_rules({k: rule for k, (rule, _) in on.items()})
        without = self.b.with_rules({k: rule for k, (_, rule) in off.items()})
        added, removed = self._ends(with_it) - self.base, self.end - self._ends(without)
        what, one, two, clause = key
        return self._cause(what, one, two, tuple(dict.fromkeys((*on, *off))), clause, added, removed)

    def canonized(self, a_there: Ruled | None, b_there: Ruled | None) -> Cause | None:
        """Return the cause that the two sides fold different nodes."""
        added = self._ends(a_there) - self.base if a_there else 0 * self.base
        removed = self.end - self._ends(b_there) if b_there else 0 * self.base
        before, after = (", ".join(side.passes) or "nothing" for side in (self.a, self.b))
        nodes = tuple(sorted(_names(self.a) ^ _names(self.b)))
        return self._cause("canonize", before, after, nodes, "", added, removed)

    def _ends(self, side: Ruled) -> np.ndarray:
        found: np.ndarray = side.inputs(side.spread(self.seed))
        return found

    def _cause(
        self, what: str, a: str, b: str, nodes: tuple[str, ...], clause: str, added: np.ndarray, removed: np.ndarray
    ) -> Cause | None:
        D = self.end - self.base
        if max(float(np.abs(x).max(initial=0)) for x in (added, removed)) <= SAME * float(np.abs(D).max(initial=0)):
            return None
        one, two = (float(np.vdot(moved, D) / np.vdot(D, D)) for moved in (added, removed))
        return Cause(what, a, b, nodes, clause, (one + two) / 2, one, two)
