"""A Loop or Scan of an open number of turns: the first as it is, all others as one node that repeats the second.

The body is taken apart first. What counts the turns (`counting.py`) may end the loop and say which entry of a value is read, and
nothing else; so all turns do the same with their entries and with the states, and from the second on the states are alike. What
cannot be shown to be so is refused. As in `stepping.py` there is one turn more than there are, which nothing reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reflrp.arrays.tracing.dims import Dim, is_open, whole
from reflrp.arrays.tracing.terms import still
from reflrp.importer.lengths.fillings import filled
from reflrp.importer.lengths.spread import check_spread
from reflrp.importer.loops.counting import Count, Turns
from reflrp.importer.loops.ended import compared
from reflrp.importer.loops.entries import Reading, Row, reading
from reflrp.importer.loops.stepping import PART, stacked_steps
from reflrp.importer.nodes.node import Body, OnnxNode
from reflrp.importer.site import Arg, Ref, Site, Unbuildable, Work
from reflrp.ops.recurrence import Read, Running, Steps


@dataclass(frozen=True)
class Repeated:
    """The body of a loop without what counts: which entries it reads, what its states begin with, and what each turn ends in."""

    body: Body
    rows: tuple[Row, ...]
    states: Mapping[str, Arg]
    ends: tuple[str, ...]
    given: Mapping[str, Arg]
    count: int


def concerned(site: Site) -> bool:
    """Return whether a loop reads anything of an open length."""
    reads = (site.work.known.get(name) for name in site.node.reads)
    return any(
        isinstance(a, Ref | np.ndarray) and (is_open(a.shape if isinstance(a, Ref) else a) or _late(site, a))
        for a in reads
    )


def _late(site: Site, a: Any) -> bool:
    return isinstance(a, Ref) and a.name in site.work.late


def open_loop(site: Site) -> tuple[Arg, ...] | None:
    """Return the outputs of a Loop whose number of turns is a formula of open lengths; None for any other."""
    body, states = site.node.bodies["body"], list(site.args[2:])
    turns = Turns(body, states, site.work)
    most, going = (*site.args[:2], None, None)[:2]
    try:
        count = turns.count(most, going)
    except Unbuildable:
        if _late(site, most) or _late(site, going) or (isinstance(most, np.ndarray) and is_open(most)):
            raise
        return None
    if not isinstance(count, Dim):
        return None
    ends = body.outputs[1:]
    rows, counting = _taken(site, turns, count)
    carried = {
        n: a for n, a in zip(body.inputs[2:], states, strict=True) if n not in turns.kept and n not in turns.counters
    }
    wanted = [
        o for i, o in enumerate(ends)
        if i >= len(states) or body.inputs[2 + i] in carried
    ]  # fmt: skip
    live = _live(body, wanted, counting | {row.value for row in rows})
    given = {**turns.kept, body.inputs[1]: np.asarray(True)}
    made = _repeated(site, Repeated(replace(body, nodes=live), rows, carried, tuple(wanted), given, count))
    last = iter(made)
    found: list[Arg] = []
    for i, name in enumerate((*body.inputs[2:], *ends[len(states) :])):
        if i < len(states) and name in turns.kept:
            found.append(turns.kept[name])
        elif i < len(states) and name in turns.counters:
            found.append(_after(turns.counters[name], count))
        else:
            found.append(next(last))
    return tuple(found)


def _after(counter: Count, count: int) -> np.ndarray | None:
    """Return a counter after the last turn; None where it counts down, whose formula may be below zero."""
    if counter.slope < 0:
        return None
    found = np.empty((), dtype=object)
    found[()] = whole(count * counter.slope + counter.start)
    return found


def open_scan(site: Site, count: int, rows: list[tuple[str, Ref, int, bool]], states: Mapping[str, Arg]) -> list[Ref]:
    """Return the last states and what is stacked of a Scan over an axis of an open length, all in the order of its turns."""
    body, name, first = site.node.bodies["body"], site.node.name, site.node.outputs[0]
    kept = tuple(
        Row(
            value, x, axis, Count(count - 1, -1) if back else Count(0, 1), False,
            (f"{name}:in{i}.", ""), (f"{first}:in{i}.", ""), back,
        )
        for i, (value, x, axis, back) in enumerate(rows)
    )  # fmt: skip
    return _repeated(site, Repeated(body, kept, states, body.outputs, {}, count))


def _taken(site: Site, turns: Turns, count: int) -> tuple[tuple[Row, ...], set[str]]:
    """Return which entries the turns of a Loop read, and the values that count; refuse whatever else reads these."""
    rows, counting = list[Row](), set(turns.counters)
    for node in turns.body.nodes:
        if not counting.intersection(turns.same(i) for i in node.reads) and not counting.intersection(node.reads):
            continue
        row = _row(site, turns, node) or _compared(site, turns, node, count)
        if row is not None:
            rows.append(row)
            continue
        try:
            for output in node.outputs:
                turns.number(output)
        except Unbuildable as error:
            raise Unbuildable(
                f"its node {node.name!r} ({node.op_type}) reads the number of the turn, of which there is an open number: {error}"
            ) from error
        counting.update(node.outputs)
    return tuple(rows), counting


def _row(site: Site, turns: Turns, node: OnnxNode) -> Row | None:
    """Return what a Gather reads by the number of the turn; None for any other node."""
    if node.op_type != "Gather" or node.domain != "":
        return None
    x, at = turns.known(node.inputs[0]), turns.number(node.inputs[1])
    if not isinstance(x, Ref) or not isinstance(at, Count) or at.slope not in (1, -1) or at.rank not in (0, 1):
        raise Unbuildable(
            f"its node {node.name!r} (Gather) reads other entries than one by one of a value from outside"
        )
    axis = site.axis(node.attributes.get("axis", 0), x.ndim)
    prefix, own = f"{site.node.name}[", x.value.lengths
    lengths = (*own[:axis], *((1,) if at.rank == 1 else ()), *own[axis + 1 :])
    return Row(
        node.outputs[0], x, axis, at, at.rank == 1, (prefix, f"]/{node.name}"), (prefix, f"]/{node.outputs[0]}"), lengths=lengths
    )  # fmt: skip


TURNED = {
    "Less": "Greater",
    "LessOrEqual": "GreaterOrEqual",
    "Greater": "Less",
    "GreaterOrEqual": "LessOrEqual",
    "Equal": "Equal",
}
"""Comparisons, and what each is with its operands exchanged."""


def _compared(site: Site, turns: Turns, node: OnnxNode, count: int) -> Row | None:
    """Return what a comparison of data from outside with the number of the turn is in all turns; None for any other node."""
    if node.op_type not in TURNED or node.domain != "":
        return None
    given = [turns.known(name) for name in node.inputs]
    first = isinstance(given[0], Ref)
    x, name = given[not first], node.inputs[first]
    if not isinstance(x, Ref) or x.value.active or x.name in site.work.late or isinstance(given[first], Ref):
        return None
    at = turns.number(name)
    if not isinstance(at, Count) or isinstance(at.start, Dim) or at.rank is None or at.rank > x.ndim:
        return None
    op = Running(count, node.op_type if first else TURNED[node.op_type], at.start, at.slope)
    whole = compared(site, op, x, f"{PART}.{node.outputs[0]}")
    prefix = f"{site.node.name}["
    return Row(
        node.outputs[0], whole, 0, Count(0, 1), False, (prefix, f"]/{node.name}"), (prefix, f"]/{node.outputs[0]}")
    )


def _live(body: Body, wanted: list[str], apart: set[str]) -> tuple[OnnxNode, ...]:
    """Return the nodes of a body that what is wanted needs, without those that make what stands apart."""
    needed, found = set(wanted), list[OnnxNode]()
    for node in reversed(body.nodes):
        if not needed.isdisjoint(node.outputs) and apart.isdisjoint(node.outputs):
            found.append(node)
            needed.update(node.reads)
    return tuple(reversed(found))


def _repeated(site: Site, loop: Repeated) -> list[Ref]:
    """Return the states after the last turn, and all values that the turns stack up on a new first axis."""
    if site.work.prefix:
        raise Unbuildable("it makes an open number of turns within another loop, branch or function")
    begin = {name: _initial(site, value) for name, value in loop.states.items()}
    read = [reading(site, row, loop.count, i) for i, row in enumerate(loop.rows)]
    values = [row.value for row in loop.rows]
    inner, one = _turn(site, loop, 0, {**begin, **dict(zip(values, (r.first for r in read), strict=True))})
    spread = {n: tuple(i for i, d in enumerate(v.shape) if isinstance(d, Dim)) for n, v in loop.states.items()
              if isinstance(v, Ref) and isinstance(begin[n], np.ndarray)}  # fmt: skip
    check_spread(loop.body.nodes, spread, inner.known)
    states, start = dict(zip(loop.states, one, strict=False)), len(site.work.nodes)
    _, two = _turn(site, loop, 1, {**states, **dict(zip(values, (r.second for r in read), strict=True))})
    return _stepped(site, loop, read, _alike(one, two, len(states), read), site.work.nodes[start:])


def _turn(site: Site, loop: Repeated, k: int, args: Mapping[str, Arg]) -> tuple[Work, list[Arg]]:
    inner = site.work.inside(site.node, f"[{k}]")
    return inner, inner.run(replace(loop.body, outputs=loop.ends), {**loop.given, **args})


def _initial(site: Site, value: Arg) -> Arg:
    """Return what a state begins with: where a file fills it with one number, that, with one entry on axes of open lengths."""
    if not isinstance(value, Ref) or not is_open(value.shape):
        return value
    number = filled(site, value.name)
    return value if number is None else np.full(still(value.shape), number, value.value.dtype)


def _alike(one: list[Arg], two: list[Arg], states: int, read: list[Reading]) -> list[tuple[Ref, Ref]]:
    """Return what the first and the second turn end in, where all further turns are as the second; raises Unbuildable else."""
    found = list[tuple[Ref, Ref]]()
    for k, (a, b) in enumerate(zip(one, two, strict=True)):
        what = f"state {k}" if k < states else f"output {k} of its body"
        if not (isinstance(a, Ref) and isinstance(b, Ref) and a.value.active and b.value.active):
            raise Unbuildable(f"{what} is constant, or carries no relevance, after its first turns, of an open number")
        if a.value != b.value or a.name == b.name:
            raise Unbuildable(f"{what} is another kind of value after the first turn than after the second")
        found.append((a, b))
    sides = [[pair[side].name for pair in found[:states]] for side in (0, 1)]
    rows = {r.name for reading in read for r in (reading.first, reading.second)}
    if any(len({*side}) < states or rows.intersection(side) for side in sides):
        raise Unbuildable(
            "two of its states are one value after a turn, or an entry as it is read: write a sum from zeros on as CumSum"
        )
    return found


def _stepped(
    site: Site, loop: Repeated, read: list[Reading], pairs: list[tuple[Ref, Ref]], second: list[Any]
) -> list[Ref]:
    """Return the last states, and all values that are stacked, of steps that repeat the second."""
    prefix, first = f"{site.node.name}[1]/", site.node.outputs[0]
    made = {n.output for n in second}
    wrong = next((b for _, b in pairs if b.name not in made or not b.name.startswith(prefix)), None)
    if wrong is not None:
        raise Unbuildable(f"its body hands {wrong.name!r} on from outside")
    unlike = list(dict.fromkeys(pairs))
    known = made | {r.second.name for r in read} | {a.name for a, _ in pairs}
    outside = dict.fromkeys(i for n in second for i in n.inputs if i not in known)
    kept = tuple(Ref(i, site.work.values[i]) for i in outside)
    states = len(loop.states)
    op = Steps(
        site.node.name, 0, tuple(r.second.name for r in read), tuple(a.name for a, _ in unlike), tuple(b.name for _, b in unlike),
        states, tuple(k.name for k in kept), tuple(a.shape for a, _ in unlike), loop.count,
        turns=True, reads=tuple(Read(r.row.node, r.row.named, r.first.name, r.row.down, r.row.axis) for r in read),
        last=tuple(f"{first}:{PART}.last{k}" for k in range(states)),
    )  # fmt: skip
    inputs = (*(r.others for r in read), *(a for a, _ in unlike), *(b for _, b in unlike), *kept)
    packed = site.emit(op, *inputs, part=f"{PART}.steps")
    last = [stacked_steps(site, packed, op, k, f"{PART}.last{k}", last=True) for k in range(states)]
    return last + [
        stacked_steps(site, packed, op, unlike.index(pair), f"scan{k}") for k, pair in enumerate(pairs[states:])
    ]
