"""Recurrent nodes of an open number of steps: that the graph of an example does in each step what it does in the second.

The open graph has the first step of a direction, the second beside it, and one node `Steps` that repeats this one. Here the steps
of the plain graph are compared with one another, node by node, rule by rule; what the open graph has in another way is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from reflrp.arrays.tracing.dims import example
from reflrp.errors import InputError
from reflrp.importer.loops.stepping import PART
from reflrp.ir import Graph, Node
from reflrp.neurons import matching
from reflrp.ops.recurrence import Steps

LABEL = re.compile(r":d(?P<direction>\d+)\.t(?P<step>-?\d+)\.")
"""What is in the name of a node that belongs to one step in one direction of a recurrent node."""

Alike = Callable[[Any, Any], bool]


@dataclass(frozen=True)
class Place:
    """Where a node of a recurrent ONNX node stands: in which direction and step; the part is its name within the step.

    `loop` is the Loop or Scan whose turn it is, "" for a step of any other node; `span` says where the number stands in the name.
    """

    direction: int
    step: int
    part: str
    loop: str = ""
    span: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Places:
    """Where nodes and values stand, by their names; `turns` are the Loops and Scans that a graph repeats."""

    turns: tuple[str, ...] = ()

    @classmethod
    def of(cls, graph: Graph) -> Places:
        """Return the places of a graph with repeated steps."""
        return cls(tuple(dict.fromkeys(op.onnx for op in loops(graph).values() if op.turns)))

    def __call__(self, name: str) -> Place | None:
        """Return where a node or value stands in a recurrence; None for what is in no step."""
        for loop in self.turns:
            found = re.match(rf"{re.escape(loop)}\[(\d+)\]/", name)
            if found:
                return Place(0, int(found[1]), name[found.end() :], loop, found.span(1))
        found = LABEL.search(name)
        if not found:
            return None
        return Place(int(found[1]), int(found[2]), name[: found.start()] + name[found.end() :], "", found.span(2))


def loops(graph: Graph) -> dict[tuple[str, int], Steps]:
    """Return the repeated steps of a graph by ONNX node and direction."""
    found = (node.op for node in graph.nodes if isinstance(node.op, Steps))
    return {(op.onnx, op.direction): op for op in found}


def glue(node: Node, graph: Graph) -> bool:
    """Return whether a node only puts the steps of a recurrent node together."""
    return _of(node, {name for name, _ in loops(graph)}) and Places.of(graph)(node.name) is None


def shown(name: str, graph: Graph) -> bool:
    """Return whether a value is one of the engine's graph, too, and not a part of a loop or counted from the last step."""
    where = Places.of(graph)(name)
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


def _of(node: Node, names: set[str]) -> bool:
    """Return whether a node is made of one of these ONNX nodes alone, and is a part of it."""
    own = node.onnx[0] if node.onnx else ""
    alone = own in names and all(name == own for name in node.onnx)
    return alone and node.name.startswith((f"{own}:", f"{own}["))


def first_two(plain: Graph, found: Graph) -> tuple[Graph, Callable[[str], str]]:
    """Return a plain graph without what stands for the repeated steps of an open one, and how its names are spelled there."""
    made = loops(found)
    if not made:
        return plain, lambda name: name
    places = Places.of(found)
    counts = {key: _count(plain, places, *key) for key in made}
    owners = _owners(plain)
    pairs = [_named_apart(op, counts[key], found) for key, op in made.items()]
    read, last = ({name: new for pair in pairs for name, new in pair[k].items()} for k in range(2))

    def renamed(name: str) -> str:
        where = places(name)
        key = next((k for k in made if where and k[1] == where.direction and owners.get(name) == k[0]), None)
        if key is None or where is None or where.loop:
            return name
        step = where.step - counts[key] * made[key].backwards
        if step == _kept(made[key])[1] and (entry := name[where.span[1] + 1 :]) in ENTRIES:
            return made[key].sources[ENTRIES.index(entry)]
        return f"{name[: where.span[0]]}{step}{name[where.span[1] :]}"

    names = {name for name, _ in made}
    nodes = []
    for node in plain.nodes:
        if not _of(node, names) or _stays(node, made, counts, places):
            where = places(node.name)
            own = f"{where.loop}[" if where and where.loop else "\n"
            apart = {i: read.get(i) if i.startswith(own) or i in read else last.get(i) for i in node.inputs}
            inputs = tuple(apart[i] or renamed(i) for i in node.inputs)
            nodes.append(replace(node, name=renamed(node.name), inputs=inputs, output=renamed(node.output)))
    values = {renamed(name): value for name, value in plain.values.items()}
    return replace(plain, nodes=tuple(nodes), values=values), renamed


def with_third(graph: Graph) -> Graph:
    """Return an open graph with a third turn of each Loop and Scan, for who asks what is done again in later ones."""
    nodes, values = list[Node](), dict(graph.values)
    for node in graph.nodes:
        if isinstance(node.op, Steps) and node.op.turns:
            more = _third(node.op, graph)
            values.update({n.output: graph.values[name] for name, n in more.items()})
            nodes.extend(more.values())
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), values=values)


def _third(op: Steps, graph: Graph) -> dict[str, Node]:
    """Return the nodes of the second turn once more, from the states that it ends in, by what these make there."""
    turns = f"{op.onnx}[1]/", f"{op.onnx}[2]/"
    second = [n for n in graph.nodes if n.name.startswith(turns[0]) and n.output.startswith(turns[0])]
    known = {graph.resolve(a): graph.resolve(b) for a, b in zip(op.before[: op.states], op.after, strict=False)}
    renamed = {n.output: turns[1] + n.output.removeprefix(turns[0]) for n in second}
    return {
        n.output: replace(
            n,
            name=turns[1] + n.name.removeprefix(turns[0]),
            inputs=tuple(renamed.get(i, known.get(i, i)) for i in n.inputs),
            output=renamed[n.output],
        )
        for n in second
    }


def _named_apart(op: Steps, count: int, found: Graph) -> tuple[dict[str, str], dict[str, str]]:
    """Return how the open graph calls what a turn of a loop reads of its own, and the last states, as all others read them."""
    firsts = [(r, k, n) for r, s in zip(op.reads, op.sources, strict=False) for k, n in enumerate((r.first, s))]
    read = {_spelled(r.value, k, r.down, count): found.resolve(n) for r, k, n in firsts}
    turn, last = f"{op.onnx}[1]/", f"{op.onnx}[{count - 1}]/"
    ends = (found.resolve(name).removeprefix(turn) for name in op.after)
    return read, {f"{last}{part}": found.resolve(name) for part, name in zip(ends, op.last, strict=False)}


def _spelled(name: tuple[str, str], step: int, down: bool, count: int) -> str:
    return f"{name[0]}{count - 1 - step if down else step}{name[1]}"


ENTRIES = ("x", "running")
"""What the entries are called that a step reads, in the order of its sources; the open graph reads them from longer values."""

READ = ("slice", "x", "running.slice", "running")
"""What the nodes of a step are called that read its entries."""


def _stays(
    node: Node, made: Mapping[tuple[str, int], Steps], counts: Mapping[tuple[str, int], int], places: Places
) -> bool:
    """Return whether a node of a recurrent node is the open graph's, too: of the first step, or of the second but for its entry."""
    where = places(node.name)
    if where is None:
        return False
    key = node.onnx[0], where.direction
    op = made[key]
    if op.turns:
        return where.step < 2 and not _reads(node, op)
    step = where.step - counts[key] * op.backwards
    first, second = _kept(op)
    return step == first or (step == second and where.part not in [f"{node.onnx[0]}{part}" for part in READ])


def _reads(node: Node, op: Steps) -> bool:
    """Return whether a node of a turn only reads an entry."""
    heads = (re.escape(r.node[0]) + r"\d+" + re.escape(r.node[1]) + r"(:.*)?" for r in op.reads)
    return any(re.fullmatch(head, node.name, re.DOTALL) for head in heads)


def _kept(op: Steps) -> tuple[int, int]:
    return (-1, -2) if op.backwards else (0, 1)


def _owners(plain: Graph) -> Mapping[str, str]:
    own = [n for n in plain.nodes if len(set(n.onnx)) == 1]
    return {n.name: n.onnx[0] for n in own} | {n.output: n.onnx[0] for n in own}


def _count(plain: Graph, places: Places, onnx: str, direction: int) -> int:
    """Return how many steps a plain graph has."""
    found = (places(n.name) for n in plain.nodes if _of(n, {onnx}))
    return 1 + max((p.step for p in found if p and p.direction == direction), default=0)


def check_steps(plain: Graph, rules: Mapping[str, Any], found: Graph, alike: Alike) -> None:
    """Raise InputError where a step of a plain graph, from the second on, is another one than the second."""
    places = Places.of(found)
    for (onnx, direction), op in loops(found).items():
        count = _count(plain, places, onnx, direction)
        if count != example(op.count):
            raise InputError(f"node {onnx!r} makes {count} steps in place of {example(op.count)}")
        steps = [dict(_step(plain, places, onnx, direction, t)) for t in range(count)]
        ordered = steps[::-1] if op.backwards else steps
        before, after = (
            {_part(found.resolve(name), places): str(k) for k, name in enumerate(s[: op.states])}
            for s in (op.before, op.after)
        )
        if op.turns:
            ordered = [{part: n for part, n in step.items() if not _reads(n, op)} for step in ordered]
            entries = {
                _spelled(r.value, t, r.down, count): (t, f"entry {i}")
                for i, r in enumerate(op.reads)
                for t in range(count)
            }
        else:
            entries = {}
        for i, (one, two) in enumerate(pairwise(ordered[1:]), 1):
            if i == count - 2:  # what only a state needs has no reader in the last step
                one = {part: one[part] for part in one if part in two}
            states = (after if i > 1 else before, after)
            read = [{name: what for name, (t, what) in entries.items() if t == step} for step in (i, i + 1)]
            _check_same((one, two), states, read, rules, alike, places, onnx)


def _step(plain: Graph, places: Places, onnx: str, direction: int, t: int) -> Iterator[tuple[str, Node]]:
    for node in plain.nodes:
        where = places(node.name) if _of(node, {onnx}) else None
        if where and (where.direction, where.step) == (direction, t):
            yield where.part, node


def _check_same(
    steps: tuple[Mapping[str, Node], Mapping[str, Node]],
    states: tuple[Mapping[str, str], Mapping[str, str]],
    read: Sequence[Mapping[str, str]],
    rules: Any,
    alike: Alike,
    places: Places,
    onnx: str,
) -> None:
    """Raise InputError where two steps, one after the other, are not the same. `states` are what those before them end in."""
    one, two = steps
    for part, node in one.items():
        other = two.get(part)
        same = other is not None and len(one) == len(two)
        same = same and _inputs(node, states[0], read[0], places) == _inputs(other, states[1], read[1], places)  # type: ignore[arg-type]
        if other is None or not same or not alike(node.op, other.op) or rules.get(node.name) != rules.get(other.name):
            where = f"node {node.name!r} (onnx {node.op_type})"
            raise InputError(f"{where} is another one, or has another rule, in other steps of {onnx!r}")


def _inputs(node: Node, states: Mapping[str, str], read: Mapping[str, str], places: Places) -> list[str]:
    """Return what a node reads: parts of its own step, or states of the one before by their numbers."""
    own, found = places(node.name), []
    for name in node.inputs:
        where = places(name)
        if name in read:
            found.append(read[name])
        elif where is None or (own is not None and where.loop != own.loop):
            found.append(name)
        elif own is not None and where.step == own.step:
            found.append(where.part)
        else:
            found.append(states.get(where.part, name))
    return found


def _part(name: str, places: Places) -> str:
    where = places(name)
    return where.part if where else name
