"""Rules that look at more of a sample than a layer's own entries are told where the samples are.

A rule with a statistic of each sample (StdxEpsilon, a stabiliser scaled by the norm) needs the axis that the samples are on,
in the input and the output of each node that it stands on: proven on the graph by `passes/samples.py`. One sample alone needs
no axis: all entries are its own. So where no axis is proven, the samples are explained one by one.
"""

from __future__ import annotations

from collections.abc import Mapping

from reflrp.errors import RuleError
from reflrp.ir import Graph, Node
from reflrp.ops.linear import LinearMap
from reflrp.passes.samples import Samples, trace
from reflrp.rules.base import Rule, Seat


class Together(RuleError):
    """A rule looks at each sample by itself, and which entries of a value are whose is not known."""


def told(graph: Graph, rules: Mapping[str, Rule], count: int) -> dict[str, Rule]:
    """Return the rules, each told where its node holds `count` samples, which the inputs have on their first axis.

    Raises Together where that is not known, for more than one sample; a count of 0 is one that is not known.
    """
    if not any(rule.looks == "sample" for rule in rules.values()):
        return dict(rules)
    seen = trace(graph, {k: 0 for k in graph.inputs if graph.values[k].shape}) if count > 1 else None
    found = dict(rules)
    for node in graph.nodes:
        rule = found.get(node.name)
        if rule is not None and rule.looks == "sample":
            if count == 0:
                raise Together(_refused(node, rule, "the inputs do not agree on how many samples there are"))
            found[node.name] = rule.told(*_seats(node, rule, graph, seen))
    return found


def _seats(node: Node, rule: Rule, graph: Graph, seen: Samples | None) -> tuple[Seat, Seat]:
    """Return where a node's input, joined where it has several, and its output hold the samples."""
    shape, stacked = graph.values[node.output].shape, isinstance(node.op, LinearMap) and node.op.stacked
    axis = None if seen is None else _axis(node, rule, node.output, seen)
    z = Seat(axis, len(shape))
    if stacked:
        return Seat(None if axis is None else axis + 1, len(shape) + 1), z
    name = next(i for i in node.inputs if graph.values[i].active)
    within = None if seen is None else _axis(node, rule, name, seen)
    return Seat(within, len(graph.values[name].shape)), z


def _axis(node: Node, rule: Rule, name: str, seen: Samples) -> int | None:
    if name in seen.meetings:
        raise Together(_refused(node, rule, f"samples meet in node {seen.meetings[name]}"))
    place = seen.places[name]
    if place is not None and not place.alone:
        raise Together(_refused(node, rule, f"{name!r} has no axis for the samples alone"))
    return None if place is None else place.axis


def _refused(node: Node, rule: Rule, why: str) -> str:
    return (
        f"node {node.name!r}: {type(rule).__name__} takes a statistic of each sample, and which entries are whose is not "
        f"known: {why}; explain one sample at a time"
    )
