"""Which values get no relevance where they are <= 0: known from the graph and its rules, and saves half of a rule."""

from __future__ import annotations

from collections.abc import Mapping

from reflrp.ir import UNRULED, Graph, Node
from reflrp.ops.linear import LinearMap
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.selection import Selection
from reflrp.rules.base import Rule
from reflrp.rules.other import Gradient, Pass


def gated_values(graph: Graph, rules: Mapping[str, Rule]) -> set[str]:
    """Return the values whose relevance provably vanishes wherever they are <= 0.

    Such a value feeds only rectifiers with the rule Pass, and all readers of these give relevance that is a multiple
    of their input; so where the rectifier is off, no relevance arrives.
    """
    consumers, outputs = graph.consumers(), {graph.resolve(o) for o in graph.outputs}
    multiple: set[str] = set()
    gated: set[str] = set()
    for name in [*(n.output for n in reversed(graph.nodes)), *graph.inputs]:
        readers = consumers.get(name, [])
        if name in outputs or not readers:
            continue
        if all(_gives_multiples(node, rules.get(node.name), multiple) for node in readers):
            multiple.add(name)
        if all(_is_gate(node, rules.get(node.name), multiple) for node in readers):
            gated.add(name)
    return gated


def _gives_multiples(node: Node, rule: Rule | None, multiple: set[str]) -> bool:
    """Return whether a node's relevance for its input vanishes wherever the input does."""
    if node.kind in UNRULED:
        return node.output in multiple and node.kind != "plumbing"
    if isinstance(node.op, Selection):  # a maximum gives to its winner, which is its output
        return node.output in multiple and (type(rule) is Gradient or _is_multiple(rule))
    if isinstance(node.op, LinearMap):
        return _is_multiple(rule)
    return _is_gate(node, rule, multiple)


def _is_multiple(rule: Rule | None) -> bool:
    return rule is not None and rule.multiple


def _is_gate(node: Node, rule: Rule | None, multiple: set[str]) -> bool:
    is_rectifier = isinstance(node.op, Pointwise) and node.op.gates
    return is_rectifier and isinstance(rule, Pass) and node.output in multiple
