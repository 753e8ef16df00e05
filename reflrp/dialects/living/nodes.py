"""Nodes by their names."""

from __future__ import annotations

from dataclasses import dataclass

from reflrp.composites.matchers import Matcher, Survey
from reflrp.ir import Node


@dataclass(frozen=True)
class At(Matcher):
    """The nodes of these names."""

    names: frozenset[str]

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node is one of them."""
        return node.name in self.names
