"""What a layer map may name a kind of layer by: a matcher, a class of torch.nn or zennit, or a tuple of these.

Classes are recognised by their names, so that neither library is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_

from reflrp.composites.matchers import Matcher, Survey
from reflrp.dialects.zennit import nn, types
from reflrp.dialects.zennit.types import Types
from reflrp.errors import RuleError
from reflrp.ground.checks import shown
from reflrp.ground.literals import literal
from reflrp.ir import Graph, Node


def matcher(kinds: Types) -> Matcher:
    """Return the matcher that an entry of a layer map means. Raises RuleError where it means none."""
    if isinstance(kinds, Matcher):
        return kinds
    if isinstance(kinds, tuple) and kinds:
        return reduce(or_, map(matcher, kinds))
    if isinstance(kinds, type):
        for base in kinds.__mro__:
            library = base.__module__.partition(".")[0]
            found = getattr({"torch": nn, "zennit": types}.get(library), base.__name__, None)
            if isinstance(found, Matcher):
                return found
    raise RuleError(
        f"{shown(kinds)} is no type of layer: use reflrp.dialects.zennit.types or .nn, a matcher of reflrp.composites, a "
        "class of torch.nn, or a tuple of these"
    )


@dataclass(frozen=True)
class Named(Matcher):
    """The nodes of one of these names: of the torch module, of the ONNX node, or of its output."""

    names: tuple[str, ...]

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node has one of the names."""
        return any(name in self.names for name in names_of(node))


def module(node: Node) -> tuple[str, ...]:
    """Return the name of the torch module that a node comes from, where the exporter wrote it down."""
    scopes: list[str] = literal(node.scope) if node.scope.startswith("[") else []
    return tuple(filter(None, scopes[-2:-1]))


def names_of(node: Node) -> tuple[str, ...]:
    """Return the names of a node, and that of the torch module that it comes from."""
    return (*module(node), *node.names)


def unnamed(graph: Graph) -> str:
    """Return where the names of a graph's nodes come from, for an error about a name that none of them has."""
    if any(map(module, graph.nodes)):
        return "Names are those of torch modules, of ONNX nodes, or of their outputs; Model.summary() lists the nodes"
    return (
        "The file does not say from which torch modules its nodes are: use torch.onnx.export(..., dynamo=True, optimize=False), "
        "or the names of its nodes; Model.summary() lists them"
    )
