"""Preprocessing in composites: the matcher of its nodes, and what is said of them (`reflrp.passes.preprocessing`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reflrp import rules as r
from reflrp.arrays.looks import listed
from reflrp.composites.matchers import Matcher, Survey
from reflrp.ir import Graph, Node
from reflrp.passes.preprocessing import preprocessing as find
from reflrp.rules.base import Rule

CHOICES = ("pass", "absorb")
"""What `preprocess=` takes."""

PASSES = "preprocessing: relevance passes {} unchanged; preprocess='absorb' shares it there with the constants"


@dataclass(frozen=True)
class _Preprocessing(Matcher):
    def __repr__(self) -> str:
        return "preprocessing()"

    def __call__(self, node: Node, survey: Survey) -> bool:
        return node.name in survey.preprocessing


def preprocessing() -> Matcher:
    """Return a matcher of the nodes that scale and shift the inputs by constants before anything else happens."""
    return _Preprocessing()


def remarks(graph: Graph, rules: Mapping[str, Rule]) -> tuple[str, ...]:
    """Return the note on the preprocessing that relevance passes, or nothing where there is none."""
    names = [repr(node.name) for node in find(graph) if isinstance(rules.get(node.name), r.Pass)]
    return (PASSES.format(listed(names, 5, 60)),) if names else ()
