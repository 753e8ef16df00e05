"""Recurrent nodes of an open number of steps: that the graph of an example does in each step what it does in the second.

The open graph has the first step of a direction, the second beside it, and one node `Steps` that repeats this one. Here the
steps of the plain graph are compared with one another, node by node and rule by rule, and what the open graph has in another
way is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from reflrp.arrays.tracing.dims import example
from reflrp.errors import InputError
from reflrp.importer.stepping import PART
from reflrp.ir import Graph, Node
from reflrp.neurons import matching
from reflrp.ops.recurrence import Steps

LABEL = re.compile(r":d(\d+)\.t(-?\d+)\.")
"""What is in the name of a node that belongs to one step in one direction."""

Alike = Callable[[Any, Any], bool]


@dataclass(frozen=True)
class Place:
    """Where a node of a recurrent ONNX node stands: in which direction and step; the part is its name within the step."""

    direction: int
    step: int
    part: str


def loops(graph: Graph) -> dict[tuple[str, int], Steps]:
    """Return the repeated steps of a graph by ONNX node and direction."""
    found = (node.op for node in graph.nodes if isinstance(node.op, Steps))
    return {(op.onnx, op.direction): op for op in found}


def glue(node: Node, graph: Graph) -> bool:
    """Return whether a node only puts the steps of a recurrent node together."""
    return _of(node, {name for name, _ in loops(graph)}) and place(node.name) is None


def shown(name: str, graph: Graph) -> bool:
    """Return whether a value is one of the engine's graph, too, and not a part of a loop or counted from the last step."""
    where = place(name)
    return not loops(graph) or (f":{PART}." not in name and (where is None or where.step == 0))


def check_conditions(patterns: Sequence[str], plain: Graph, found: Graph) -> None:
    """Raise InputError where conditions are on other values at an example, as on those of each step."""
    if not loops(found):
        return
    for pattern in patterns:
        values, known = (matching([pattern], graph, "conditions") for graph in (found, plain))
        apart = sorted((values ^ known) | {v for v in values if not shown(v, found)})
        if apart:
            raise InputError(
                f"conditions: {pattern!r} is on {apart[0]!r}, a value of one step among an open number of steps; fix the lengths: "
                "shapes={...}"
            )


def place(name: str) -> Place | None:
    """Return where a node or value stands in a recurrence; None for what is in no step."""
    found = LABEL.search(name)
    return Place(int(found[1]), int(found[2]), name[: found.start()] + name[found.end() :]) if found else None


def _of(node: Node, names: set[str]) -> bool:
    return len(node.onnx) == 1 and node.onnx[0] in names and node.name.startswith(f"{node.onnx[0]}:")


def first_two(plain: Graph, found: Graph) -> tuple[Graph, Callable[[str], str]]:
    """Return a plain graph without what stands for the repeated steps of an open one, and how its names are spelled there."""
    made = loops(found)
    if not made:
        return plain, lambda name: name
    counts = {key: _count(plain, *key) for key in made}

    def renamed(name: str) -> str:
        where = LABEL.search(name)
        key = next((k for k in made if where and k[1] == int(where[1]) and _named(plain, name, k[0])), None)
        if key is None or where is None:
            return name
        step, part = int(where[2]) - counts[key] * made[key].backwards, name[where.end() :]
        if step == _kept(made[key])[1] and part == READ[-1]:
            return made[key].source
        return f"{name[: where.start()]}:d{where[1]}.t{step}.{part}"

    names = {name for name, _ in made}
    nodes = []
    for node in plain.nodes:
        if not _of(node, names) or _stays(node, made, counts):
            inputs = tuple(map(renamed, node.inputs))
            nodes.append(replace(node, name=renamed(node.name), inputs=inputs, output=renamed(node.output)))
    values = {renamed(name): value for name, value in plain.values.items()}
    return replace(plain, nodes=tuple(nodes), values=values), renamed


READ = ("slice", "x")
"""What the nodes of a step are called that read its entry, the last of which makes it; the open graph reads it from longer ones."""


def _stays(node: Node, made: Mapping[tuple[str, int], Steps], counts: Mapping[tuple[str, int], int]) -> bool:
    """Return whether a node of a recurrent node is the open graph's, too: of the first step, or of the second but for its entry."""
    where = place(node.name)
    if where is None:
        return False
    key = node.onnx[0], where.direction
    step = where.step - counts[key] * made[key].backwards
    first, second = _kept(made[key])
    return step == first or (step == second and where.part not in [f"{node.onnx[0]}{part}" for part in READ])


def _kept(op: Steps) -> tuple[int, int]:
    return (-1, -2) if op.backwards else (0, 1)


def _named(plain: Graph, name: str, onnx: str) -> bool:
    """Return whether a node or value belongs to an ONNX node."""
    owners = _owners(plain)
    return owners.get(name) == onnx


def _owners(plain: Graph) -> Mapping[str, str]:
    found = {n.name: n.onnx[0] for n in plain.nodes if len(n.onnx) == 1}
    return found | {n.output: n.onnx[0] for n in plain.nodes if len(n.onnx) == 1}


def _count(plain: Graph, onnx: str, direction: int) -> int:
    """Return how many steps a plain graph has."""
    found = (place(n.name) for n in plain.nodes if _of(n, {onnx}))
    return 1 + max((p.step for p in found if p and p.direction == direction), default=0)


def check_steps(plain: Graph, rules: Mapping[str, Any], found: Graph, alike: Alike) -> None:
    """Raise InputError where a step of a plain graph, from the second on, is another one than the second."""
    for (onnx, direction), op in loops(found).items():
        count = _count(plain, onnx, direction)
        if count != example(op.count):
            raise InputError(f"node {onnx!r} makes {count} steps in place of {example(op.count)}")
        steps = [dict(_step(plain, onnx, direction, t)) for t in range(count)]
        ordered = steps[::-1] if op.backwards else steps
        before, after = (
            {_part(found.resolve(name)): str(k) for k, name in enumerate(s)} for s in (op.before, op.after)
        )
        for i, (one, two) in enumerate(pairwise(ordered[1:])):
            _check_same(one, two, (after if i else before, after), rules, alike, onnx)


def _step(plain: Graph, onnx: str, direction: int, t: int) -> Iterator[tuple[str, Node]]:
    for node in plain.nodes:
        where = place(node.name) if _of(node, {onnx}) else None
        if where and (where.direction, where.step) == (direction, t):
            yield where.part, node


def _check_same(
    one: Mapping[str, Node],
    two: Mapping[str, Node],
    states: tuple[Mapping[str, str], ...],
    rules: Any,
    alike: Alike,
    onnx: str,
) -> None:
    """Raise InputError where two steps, one after the other, are not the same. `states` are what those before them end in."""
    for part, node in one.items():
        other = two.get(part)
        same = other is not None and len(one) == len(two) and _inputs(node, states[0]) == _inputs(other, states[1])
        if other is None or not same or not alike(node.op, other.op) or rules.get(node.name) != rules.get(other.name):
            where = f"node {node.name!r} (onnx {node.op_type})"
            raise InputError(f"{where} is another one, or has another rule, in other steps of {onnx!r}")


def _inputs(node: Node, states: Mapping[str, str]) -> list[str]:
    """Return what a node reads: parts of its own step, or states of the one before by their numbers."""
    own, found = place(node.name), []
    for name in node.inputs:
        where = place(name)
        inside = where is None or (own is not None and where.step == own.step)
        found.append(_part(name) if inside else states.get(_part(name), name))
    return found


def _part(name: str) -> str:
    where = place(name)
    return where.part if where else name
