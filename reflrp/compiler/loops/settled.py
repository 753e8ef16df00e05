"""Longer loops than were looked at: after how many turns all that comes before and behind one is what it was for its neighbour.

Conditions ask of a node what it is, and which nodes come before or behind it. What comes before the states after a turn is a
function of what comes before those that it starts from, the same for all turns from the second on: once it stays as it is, it does
so for ever. So it is behind them, counted from the last turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from reflrp.compiler.loops.unrolled import Places, loops
from reflrp.errors import InputError
from reflrp.ir import Graph, Node


def settled_after(plain: Graph, found: Graph, counts: Sequence[int]) -> int:
    """Return after how many turns, from either end, what comes before and behind the states of all loops is settled.

    `plain` is a graph of so many turns of each Loop and Scan of the open graph `found`. Raises InputError where it is not.
    """
    turns = [op for op in loops(found).values() if op.turns]
    label = _labels(plain, found)
    before, behind = _before(plain, label), _behind(plain, label)
    most = 0
    for op, count in zip(turns, counts, strict=True):
        parts = [found.resolve(name).removeprefix(f"{op.onnx}[1]/") for name in op.after[: op.states]]
        rows = [[f"{op.onnx}[{k}]/{part}" for part in parts] for k in range(count - 1)]
        for seen, order in ((before, rows), (behind, rows[::-1])):
            sets = [[seen.get(plain.resolve(name)) for name in row] for row in order]
            still = next((k for k in range(len(sets) - 1) if None not in sets[k] and sets[k] == sets[k + 1]), None)
            if still is None:
                raise InputError(
                    f"node {op.onnx!r} cannot be compiled for any number of turns: what comes before or behind one is still another"
                    f" thing after {count} of them, so that rules may differ; fix it: shapes={{...}}"
                )
            most = max(most, still)
    return most


def _labels(plain: Graph, found: Graph) -> Callable[[Node], int]:
    """Return what says of a node which one it is, alike in all turns but the first, as a bit."""
    places, own = Places.of(found), {onnx for onnx, _ in loops(found)}
    bits: dict[Any, int] = {}

    def label(node: Node) -> int:
        where = places(node.name)
        what: Any = node.name
        if where:
            what = (node.onnx, where.loop, where.part, min(where.step, 1) if where.loop else 0)
        elif own.issuperset(node.onnx):  # reads entries, or puts together what the turns make
            what = (node.onnx, type(node.op))
        return bits.setdefault(what, 1 << len(bits))

    return label


def _before(graph: Graph, label: Callable[[Node], int]) -> dict[str, int]:
    """Return the nodes that come before each value, that which makes it included."""
    found: dict[str, int] = {}
    for node in graph.nodes:
        found[node.output] = _all(found.get(i, 0) for i in node.inputs) | label(node)
    return found


def _behind(graph: Graph, label: Callable[[Node], int]) -> dict[str, int]:
    """Return the nodes that come behind each value."""
    found: dict[str, int] = {}
    for node in reversed(graph.nodes):
        reached = found.get(node.output, 0) | label(node)
        for name in node.inputs:
            found[name] = found.get(name, 0) | reached
    return found


def _all(bits: Iterable[int]) -> int:
    found = 0
    for n in bits:
        found |= n
    return found
