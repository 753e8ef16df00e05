"""What each node adds to the difference: both sides' rules on the same relevance, node by node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reflrp.comparison.sides import Relevances, Ruled, difference
from reflrp.comparison.variants import named
from reflrp.ir import Node


@dataclass(frozen=True)
class Row:
    """A node of a comparison.

    Attributes
    ----------
    node : str
        Its name.
    value : str
        The name of its output.
    a, b : str
        Both sides' rules; empty where a side does not say, or has the node folded into another.
    arrives : float or None
        max|R_a - R_b| of the relevance that arrives at its output, relative to the largest entry; None where a side does not
        say it.
    adds : float or None
        The same of what both sides make of one and the same relevance there: what the node itself adds.

    """

    node: str
    value: str
    a: str
    b: str
    arrives: float | None
    adds: float | None


def text(side: Ruled, node: Node | None) -> str:
    """Return a node's rule as text; of a node without a choice its kind, of no node nothing."""
    if node is None:
        return ""
    rule = side.rule(node)
    return named(rule) if rule else node.kind


def shared_values(a: Ruled, b: Ruled) -> frozenset[str]:
    """Return the values that both graphs have and compute alike: a folded node leaves only what comes out of it."""
    limit = 1e-9 if next(iter(a.values.values())).dtype == np.float64 else 1e-4
    names = a.values.keys() & b.values.keys()
    return frozenset(k for k in names if a.values[k].shape == b.values[k].shape and _close(a, b, k, limit))


def _close(a: Ruled, b: Ruled, name: str, limit: float) -> bool:
    x, y = a.values[name], b.values[name]
    return x is y or bool((x == y).all()) or (x.dtype.kind == "f" and difference(_plain(x), _plain(y)) <= limit)


def _plain(x: np.ndarray) -> np.ndarray:
    """Return the values without the -infinity of a mask."""
    return np.where(np.isfinite(x), x, 0)


def of_rules(a: Ruled, b: Ruled, Ra: Relevances, Rb: Relevances) -> list[Row]:
    """Return the rows of two sides that are given by rules, output first."""
    shared, of_b = shared_values(a, b), b.graph.producers()
    rows = []
    for node in reversed(a.graph.nodes):
        v = node.output
        if v not in Ra or not a.graph.values[v].active:
            continue
        if v not in shared or v not in of_b:
            rows.append(Row(node.name, v, text(a, node), "", None, None))
            continue
        one, two = a.segment(v, Ra[v], shared), b.segment(v, Ra[v], shared)
        rows.append(Row(node.name, v, text(a, node), text(b, of_b[v]), _arrives(Ra, Rb, v), apart(one, two)))
    return rows


def apart(one: Relevances, two: Relevances) -> float:
    """Return how far two sets of relevances are apart, relative to the largest entry of all."""
    zero = np.zeros(())
    pairs = [(one.get(k, zero), two.get(k, zero)) for k in one.keys() | two.keys()]
    scale = max((float(np.abs(x).max(initial=0)) for pair in pairs for x in pair), default=0.0)
    worst = max((float(np.abs(x - y).max(initial=0)) for x, y in pairs), default=0.0)
    return worst / scale if scale else 0.0


def _arrives(Ra: Relevances, Rb: Relevances, v: str) -> float | None:
    return difference(Ra[v], Rb[v]) if v in Rb else None


def of_given(
    a: Ruled, Ra: Relevances, given: Relevances, swapped: bool
) -> tuple[list[Row], dict[str, Relevances], dict[str, float]]:
    """Return the rows against a side that is given by its relevance, what each node was handed, and how far values are apart.

    The walk back takes the given relevance wherever there is some, so that a difference counts only where it arises.
    """
    readers = a.graph.consumers()
    R, handed = {a.output: given.get(a.output, Ra[a.output])}, dict[str, Relevances]()
    apart_at: dict[str, float] = {}
    for name, producer in _backwards(a):
        if name in given and name in R:
            apart_at[name] = difference(R[name], given[name])
            R[name] = given[name]
        if producer is not None and name in R:
            handed[producer.name] = parts = a.program.handed_down(producer, a.values, R[name])
            for k, part in parts.items():
                R[k] = R[k] + part if k in R else part
    rows = []
    for node in reversed(a.graph.nodes):
        if node.name in handed:
            blamed = [apart_at[i] for i in dict.fromkeys(node.inputs) if i in apart_at and node in readers.get(i, [])]
            rules = (text(a, node), "")
            row = Row(node.name, node.output, *(rules[::-1] if swapped else rules), None, max(blamed, default=None))
            arrives = difference(Ra[node.output], given[node.output]) if node.output in given else None
            rows.append(Row(row.node, row.value, row.a, row.b, arrives, row.adds))
    return rows, {**handed, "": R}, apart_at


def _backwards(a: Ruled) -> Iterator[tuple[str, Node | None]]:
    """Yield the values from the output to the inputs, each with the node that makes it."""
    yield from ((node.output, node) for node in reversed(a.graph.nodes))
    yield from ((name, None) for name in a.graph.inputs)
