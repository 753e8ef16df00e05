"""The shortest numbers of turns of a Loop or Scan: whether graphs of one turn, and of two, are what the open graph says of them.

In the last turn nothing reads the states, and with few turns no layer acts again: passes and composites may see another graph
there. Graphs of one and of two turns are built, and what is another one is left out of the lengths there may be.
"""

from __future__ import annotations

from collections.abc import Callable

from reflrp.arrays.tracing.dims import BATCH, TooShort, example, symbols_of
from reflrp.compiler.lengths.matching import alike, stands_for
from reflrp.compiler.lengths.moving import as_fixed
from reflrp.compiler.loops.settled import settled_after
from reflrp.compiler.loops.unrolled import Places, check_steps, first_two, loops
from reflrp.composites import Composite
from reflrp.errors import InputError
from reflrp.ir import UNRULED, Graph, Node, Shape
from reflrp.rules.base import Rule

Build = Callable[[dict[str, Shape]], Graph]
"""Returns the graph at shapes, after all passes."""

SURE = 3
"""In so many turns each layer has acted again, so that these must be as all longer; shorter ones are left out if they are not."""

MANY = 8
"""Of so many turns is the graph whose rules are those of all longer ones."""


def check_turns(build: Build, shapes: Callable[..., dict[str, Shape]], graph: Graph, composite: Composite) -> None:
    """Raise TooShort where a graph of one turn or two has other layers in them than the open one, or other rules.

    InputError where a longer one has. `shapes` are formulas whose symbols are so large at their example, and the batch size.
    What rules see of a turn is settled some turns from either end (`settled.py`); graphs of at least twice as many are looked at,
    and so all longer ones are known.
    """
    turns = [op for op in loops(graph).values() if op.turns]
    if not turns:
        return
    first = BATCH in symbols_of(tuple(op.count for op in turns))

    def built(n: int) -> tuple[Graph, Graph, list[int]]:
        sized = shapes(n, batch=n if first else 2)
        found = build(sized)
        return build(_numbers(sized)), found, [example(op.count) for op in loops(found).values() if op.turns]

    plain, found, counts = built(MANY)
    usual, ends = _rules(plain, found, composite), settled_after(plain, found, counts)
    for few in range(max(SURE, 2 * ends + 2) if min(counts) == MANY else MANY, 0, -1):
        plain, found, _ = built(few)
        rules = _rules(plain, found, composite)
        unlike = _unlike(plain, found) or next((name for name, rule in rules.items() if usual.get(name) != rule), "")
        if unlike and few >= SURE:
            raise InputError(f"node {unlike!r} is another one, or has another rule, in graphs of few turns")
        if unlike:
            for symbol in symbols_of(tuple(op.count for op in turns)):
                raise TooShort(f"the graph of {few} turns is another one", symbol, few)


def _numbers(shapes: dict[str, Shape]) -> dict[str, Shape]:
    return {name: tuple(map(example, shape)) for name, shape in shapes.items()}


def _rules(plain: Graph, found: Graph, composite: Composite) -> dict[str, Rule]:
    """Return the rules of a plain graph, by the names of the open one, of the turns that this has; all others must be alike."""
    two, renamed = first_two(plain, found)
    kept, rules = {n.name for n in two.nodes}, composite.assign(plain)
    if min(example(op.count) for op in loops(found).values()) >= SURE:
        check_steps(plain, rules, found, alike)
    return {renamed(name): rule for name, rule in rules.items() if renamed(name) in kept}


def _unlike(plain: Graph, found: Graph) -> str:
    """Return a layer of a turn that a graph of few turns has in another way than the open one; "" where there is none."""
    two, _ = first_two(plain, found)
    places, last = Places.of(found), {op.onnx: example(op.count) - 1 for op in loops(found).values() if op.turns}
    ours, known = ({n.name: n for n in g.nodes if n.kind not in UNRULED and places(n.name)} for g in (two, found))
    wrong = [name for name, node in ours.items() if name not in known or not _alike(known[name], node)]
    rest = ((places(n.name), n) for name, n in known.items() if name not in ours)
    wrong += [n.name for w, n in rest if w and w.step < last.get(w.loop, 0) and found.values[n.output].active]
    return wrong[0] if wrong else ""


def _alike(node: Node, plain: Node) -> bool:
    late = len(plain.inputs) == 1 and any(stands_for(node.op, plain.op, first) for first in (True, False))
    return late or alike(as_fixed(node.op, plain.op), plain.op)
