"""Why two sides differ: what is different between their rules, and how much of the difference each thing explains.

A cause is switched from a's setting to b's and everything is measured again: alone on top of a, and alone taken away from b. So a
share is what was measured. Shares of several causes need not add up to 1: what one does may depend on another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np

from reflrp.arrays import Array
from reflrp.comparison.local import apart, shared_values
from reflrp.comparison.sides import Relevances, Ruled, Setting
from reflrp.comparison.variants import brief, changes, named
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

Key = tuple[str, str, str, str]
"""What differs, both settings, and the clause."""


def found(setting: Setting, a: Ruled, b: Ruled, Ra: Relevances, Rb: Relevances, seed: Array) -> tuple[Cause, ...]:
    """Return the causes of the difference, the largest share first."""
    base, end = a.inputs(Ra), b.inputs(Rb)
    D = end - base
    if not float(np.vdot(D, D)):
        return ()
    grouped: dict[Key, dict[str, tuple[Rule, Rule]]] = {}
    for node, one, two, r in _differing(a, b, Ra, Rb):
        for key, switched in _parted(a, b, node, one, two, r).items():
            grouped.setdefault(key, {})[node.name] = switched
    causes = [_measured(key, nodes, a, b, seed, base, end) for key, nodes in grouped.items()]
    if {n.name for n in a.graph.nodes} != {n.name for n in b.graph.nodes}:
        causes.append(_canonized(setting, a, b, seed, base, end))
    return tuple(sorted((c for c in causes if c is not None), key=lambda c: -abs(c.share)))


def _differing(a: Ruled, b: Ruled, Ra: Relevances, Rb: Relevances) -> list[tuple[Node, Rule, Rule, Array]]:
    """Return the nodes that both graphs have and on which the rules do something else with a's relevance or with b's."""
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
        for R in (Ra, Rb):
            r = R.get(node.output)
            if r is not None and apart(_made(a, node, one, r), _made(b, node, two, r)) > SAME:
                kept.append((node, one, two, r))
                break
    return kept


def _made(side: Ruled, node: Node, rule: Rule, r: Array) -> Relevances:
    other = side.with_rules({node.name: rule})
    own = next(n for n in other.graph.nodes if n.name == node.name)
    return other.program.handed_down(own, other.values, r)


def _parted(a: Ruled, b: Ruled, node: Node, one: Rule, two: Rule, r: Array) -> dict[Key, tuple[Rule, Rule]]:
    """Return what differs between two rules, field by field where they have the same, and how each is switched."""
    if type(one) is type(two):
        names = [f.name for f in fields(one) if getattr(one, f.name) != getattr(two, f.name)]
        return {_key(one, two, name): _one_field(one, two, name) for name in names}
    wanted = _made(b, node, two, r)
    for what, changed in changes(one):
        if changed.fits(node) and apart(_made(a, node, changed, r), wanted) <= SAME:
            name, value = what.split("=", 1)
            return {(name, brief(getattr(one, name)), value, _clause(one, name)): (changed, one)}
    return {("rule", named(one), named(two), RULE_CLAUSES.get(type(two).__name__, "")): (two, one)}


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
    return next((CLAUSES[k].get(name, "") for k in kinds if k in CLAUSES), "")


def _measured(
    key: Key, nodes: Switched, a: Ruled, b: Ruled, seed: Array, base: np.ndarray, end: np.ndarray
) -> Cause | None:
    with_it = a.with_rules({k: on for k, (on, _) in nodes.items()})
    without = b.with_rules({k: off for k, (_, off) in nodes.items()})
    added = with_it.inputs(with_it.spread(seed)) - base
    removed = end - without.inputs(without.spread(seed))
    what, one, two, clause = key
    return _cause(what, one, two, tuple(nodes), clause, added, removed, end - base)


def _cause(
    what: str,
    a: str,
    b: str,
    nodes: tuple[str, ...],
    clause: str,
    added: np.ndarray,
    removed: np.ndarray,
    D: np.ndarray,
) -> Cause | None:
    """Return a cause; None for a setting that differs and does nothing here, as how a bias counts where there is none."""
    if max(float(np.abs(x).max(initial=0)) for x in (added, removed)) <= SAME * float(np.abs(D).max(initial=0)):
        return None
    of = partial(_share, D=D)
    return Cause(what, a, b, nodes, clause, (of(added) + of(removed)) / 2, of(added), of(removed))


def _share(moved: np.ndarray, D: np.ndarray) -> float:
    return float(np.vdot(moved, D) / np.vdot(D, D))


def _canonized(setting: Setting, a: Ruled, b: Ruled, seed: Array, base: np.ndarray, end: np.ndarray) -> Cause | None:
    """Return the cause that the two sides fold different nodes."""
    one, two = setting.ruled(a.title, a.composite, b.passes), setting.ruled(b.title, b.composite, a.passes)
    nodes = tuple(sorted({n.name for n in a.graph.nodes} ^ {n.name for n in b.graph.nodes}))
    moved = one.inputs(one.spread(seed)) - base, end - two.inputs(two.spread(seed))
    before, after = (", ".join(side.passes) or "nothing" for side in (a, b))
    return _cause("canonize", before, after, nodes, "", *moved, end - base)
