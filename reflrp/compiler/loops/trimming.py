"""What nobody reads of an open number of steps: outputs that are stacked, and states that only go on to themselves.

In a graph of a known number of steps these are no nodes at all, so they are left out of the open one, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from reflrp.ir import Graph, Node, Shape
from reflrp.ops.recurrence import Steps
from reflrp.ops.routing import Reshape, Slice


def trimmed(graph: Graph) -> Graph:
    """Return a graph whose repeated steps end in what is read, and nothing more."""
    for node in reversed([n for n in graph.nodes if isinstance(n.op, Steps)]):
        graph = _trimmed(graph, next(n for n in graph.nodes if n.name == node.name))
        graph = graph.restricted_to(*graph.outputs)
    return graph


def _trimmed(graph: Graph, node: Node) -> Graph:
    op = node.op
    assert isinstance(op, Steps)
    readers = [n for n in graph.nodes if node.output in n.inputs]
    places = {n.name: _place(n, op) for n in readers}
    numbers = [k for k in places.values() if k is not None]
    if len(numbers) < len(readers) or node.output in map(graph.resolve, graph.outputs):
        return graph
    ends, reads = _needed(graph, op, numbers)
    if len(ends) == len(op.after):
        return graph
    less = _less(op, node, ends, reads)
    made = {node.name: less, **{n.name: _of(n, less, ends.index(k)) for n, k in zip(readers, numbers, strict=True)}}
    return _replaced(graph, made)


def _place(reader: Node, op: Steps) -> int | None:
    """Return which value that steps end in a node takes; None for any other node."""
    if not isinstance(reader.op, Slice):
        return None
    *others, last = reader.op.slices
    return op.spans.index(last) if last in op.spans and all(s == slice(None) for s in others[1:]) else None


def _needed(graph: Graph, op: Steps, wanted: Iterable[int]) -> tuple[list[int], set[str]]:
    """Return the numbers of the values that steps must end in, and the names of what the second one reads for them."""
    made = {n.output: n.inputs for n in graph.nodes}
    states = {graph.resolve(name): k for k, name in enumerate(op.before[: op.states])}
    fixed = {graph.resolve(name) for name in (*op.sources, *op.kept)}
    found, seen, waiting = set(wanted), set[str](), [graph.resolve(op.after[k]) for k in wanted]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in states:
            waiting.append(graph.resolve(op.after[states[name]]))
            found.add(states[name])
        elif name not in fixed:
            waiting.extend(made.get(name, ()))
    return sorted(found), seen


def _less(op: Steps, node: Node, ends: list[int], reads: set[str]) -> Node:
    """Return the steps with some of their ends, and what these read."""
    n, m = len(op.sources), len(op.after)
    rows = [i for i, name in enumerate(node.inputs[:n]) if op.sources[i] in reads]
    kept = [i for i, name in enumerate(op.kept) if name in reads]
    inputs = [
        *(node.inputs[i] for i in rows), *(node.inputs[n + k] for k in ends), *(node.inputs[n + m + k] for k in ends),
        *(node.inputs[n + 2 * m + i] for i in kept),
    ]  # fmt: skip
    states = [k for k in ends if k < op.states]
    less = replace(
        op, sources=tuple(op.sources[i] for i in rows), before=tuple(op.before[k] for k in ends),
        after=tuple(op.after[k] for k in ends), states=len(states), kept=tuple(op.kept[i] for i in kept),
        shapes=tuple(op.shapes[k] for k in ends), reads=tuple(op.reads[i] for i in rows) if op.reads else (),
        last=tuple(op.last[k] for k in states) if op.last else (),
    )  # fmt: skip
    return replace(node, op=less, inputs=tuple(inputs))


def _of(reader: Node, steps: Node, k: int) -> Node:
    """Return what takes a value that steps end in, of fewer such."""
    op, made = steps.op, reader.op
    assert isinstance(op, Steps)
    assert isinstance(made, Slice)
    key = (made.slices[0], *(slice(None),) * len(op.lead), op.spans[k])
    return replace(reader, op=Slice(op.shape(), key))


def _replaced(graph: Graph, made: dict[str, Node]) -> Graph:
    """Return a graph with other nodes in place of some, and the shapes that these have; a Reshape of them follows."""
    nodes, values = list[Node](), dict(graph.values)
    shapes = dict[str, Shape]()
    for node in graph.nodes:
        found = made.get(node.name, node)
        if node.name in made:
            shapes[found.output] = found.op.shape(*(values[i].shape for i in found.inputs))
            values[found.output] = replace(values[found.output], shape=shapes[found.output])
        elif isinstance(found.op, Reshape) and found.inputs[0] in shapes:
            found = replace(found, op=replace(found.op, source=shapes[found.inputs[0]]))
        nodes.append(found)
    return replace(graph, nodes=tuple(nodes), values=values)
