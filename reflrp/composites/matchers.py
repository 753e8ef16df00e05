"""Matchers: conditions on a node. They combine with `&`, `|` and `~`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ground.caches import Kept
from reflrp.ground.patterns import fits
from reflrp.ir import KINDS, UNRULED, WEIGHTED, Graph, Node
from reflrp.passes.preprocessing import preprocessing
from reflrp.passes.recurrence import recurring


@dataclass(frozen=True)
class Survey:
    """What matchers ask of a graph: which nodes come before and after which."""

    graph: Graph

    @Kept
    def depths(self) -> dict[str, int]:
        """For each node, the dense and conv nodes on the longest path from an input to it, itself included."""
        return self._count(WEIGHTED)

    def _count(self, kinds: tuple[str, ...]) -> dict[str, int]:
        at: dict[str, int] = {}
        found = {}
        for node in self.graph.nodes:
            above = max((at.get(i, 0) for i in node.inputs), default=0)
            found[node.name] = at[node.output] = above + (node.kind in kinds)
        return found

    def is_first(self, node: Node, kinds: tuple[str, ...]) -> bool:
        """Return whether a node is of these kinds and has none of them before it."""
        if kinds not in self._firsts:
            self._firsts[kinds] = self._count(kinds)
        return node.kind in kinds and self._firsts[kinds][node.name] == 1

    def is_last(self, node: Node, kinds: tuple[str, ...]) -> bool:
        """Return whether a node is of these kinds and has none of them after it."""
        if kinds not in self._lasts:
            self._lasts[kinds] = self._count_back(kinds)
        return node.kind in kinds and self._lasts[kinds][node.name] == 1

    def _count_back(self, kinds: tuple[str, ...]) -> dict[str, int]:
        below: dict[str, int] = {}
        found = {}
        for node in reversed(self.graph.nodes):
            found[node.name] = below.get(node.output, 0) + (node.kind in kinds)
            for name in node.inputs:
                below[name] = max(below.get(name, 0), found[node.name])
        return found

    def earliest(self, matcher: Matcher) -> str | None:
        """Return the name of the first node, in the graph's order, that takes a rule and matches."""
        if matcher not in self._earliest:
            values = self.graph.values
            found = (
                node.name
                for node in self.graph.nodes
                if node.kind not in UNRULED and values[node.output].active and matcher(node, self)
            )
            self._earliest[matcher] = next(found, None)
        return self._earliest[matcher]

    @Kept
    def preprocessing(self) -> frozenset[str]:
        """The names of the nodes that preprocess the inputs."""
        return frozenset(node.name for node in preprocessing(self.graph))

    @Kept
    def recurring(self) -> frozenset[str]:
        """The names of the layers whose weights act again on what comes of them."""
        return recurring(self.graph)

    @Kept
    def _earliest(self) -> dict[Matcher, str | None]:
        return {}

    @Kept
    def _firsts(self) -> dict[tuple[str, ...], dict[str, int]]:
        return {}

    @Kept
    def _lasts(self) -> dict[tuple[str, ...], dict[str, int]]:
        return {}


@dataclass(frozen=True)
class Matcher:
    """A condition on a node. Conditions combine with `&`, `|` and `~`."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node matches."""
        raise NotImplementedError

    def __and__(self, other: Matcher) -> Matcher:
        """Return a matcher of nodes that match both."""
        return _Both(self, _matcher(other))

    def __or__(self, other: Matcher) -> Matcher:
        """Return a matcher of nodes that match either."""
        return _Either(self, _matcher(other))

    def __invert__(self) -> Matcher:
        """Return a matcher of nodes that do not match."""
        return _Not(self)


@dataclass(frozen=True)
class _Both(Matcher):
    one: Matcher
    two: Matcher

    def __repr__(self) -> str:
        return f"({self.one!r} & {self.two!r})"

    def __call__(self, node: Node, survey: Survey) -> bool:
        return self.one(node, survey) and self.two(node, survey)


@dataclass(frozen=True)
class _Either(Matcher):
    one: Matcher
    two: Matcher

    def __repr__(self) -> str:
        return f"({self.one!r} | {self.two!r})"

    def __call__(self, node: Node, survey: Survey) -> bool:
        return self.one(node, survey) or self.two(node, survey)


@dataclass(frozen=True)
class _Not(Matcher):
    one: Matcher

    def __repr__(self) -> str:
        return f"~{self.one!r}"

    def __call__(self, node: Node, survey: Survey) -> bool:
        return not self.one(node, survey)


@dataclass(frozen=True)
class _Kind(Matcher):
    kinds: tuple[str, ...]

    def __repr__(self) -> str:
        return _call("kind", *self.kinds)

    def __call__(self, node: Node, survey: Survey) -> bool:
        return node.kind in self.kinds


@dataclass(frozen=True)
class _OpType(Matcher):
    types: tuple[str, ...]

    def __repr__(self) -> str:
        return _call("op_type", *self.types)

    def __call__(self, node: Node, survey: Survey) -> bool:
        return node.op_type in self.types


@dataclass(frozen=True)
class NameMatcher(Matcher):
    """The nodes with a name, or with one that a glob fits."""

    pattern: str

    def __repr__(self) -> str:
        return _call("name", self.pattern)

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether any of the node's names fits."""
        return any(fits(self.pattern, n) for n in node.names)


@dataclass(frozen=True)
class _First(Matcher):
    kinds: tuple[str, ...]

    def __repr__(self) -> str:
        return _call("first", *self.kinds)

    def __call__(self, node: Node, survey: Survey) -> bool:
        return survey.is_first(node, self.kinds)


@dataclass(frozen=True)
class _Earliest(Matcher):
    matcher: Matcher

    def __repr__(self) -> str:
        return _call("earliest", self.matcher)

    def __call__(self, node: Node, survey: Survey) -> bool:
        return node.name == survey.earliest(self.matcher)


@dataclass(frozen=True)
class _Last(Matcher):
    kinds: tuple[str, ...]

    def __repr__(self) -> str:
        return _call("last", *self.kinds)

    def __call__(self, node: Node, survey: Survey) -> bool:
        return survey.is_last(node, self.kinds)


@dataclass(frozen=True)
class _Depth(Matcher):
    low: int
    high: int

    def __repr__(self) -> str:
        return _call("depth", self.low, self.high)

    def __call__(self, node: Node, survey: Survey) -> bool:
        return self.low <= survey.depths[node.name] <= self.high


@dataclass(frozen=True)
class _Anything(Matcher):
    def __repr__(self) -> str:
        return _call("anything")

    def __call__(self, node: Node, survey: Survey) -> bool:
        return True


def _call(maker: str, *arguments: Any) -> str:
    """Return how a matcher is written."""
    return f"{maker}({', '.join(map(repr, arguments))})"


def kind(*kinds: str) -> Matcher:
    """Return a matcher by kind: dense, conv, diagonal, sum, pool, max, pointwise, product, normaliser."""
    return _Kind(_kinds(kinds))


def _kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [k for k in checks.texts("kinds", kinds, RuleError) if k not in KINDS]
    if unknown:
        raise RuleError(f"kind {unknown[0]!r} is unknown; there is {', '.join(KINDS)}")
    return kinds


def _matcher(value: Any) -> Any:
    """Return a matcher, or whatever else can be asked about a node. Raises RuleError for anything else."""
    if not callable(value):
        raise RuleError(f"{checks.shown(value)} is no matcher; see reflrp.composites for what there is")
    return value


def op_type(*types: str) -> Matcher:
    """Return a matcher by ONNX operator, as "Conv"."""
    return _OpType(checks.texts("op_type", types, RuleError))


def name(pattern: str) -> Matcher:
    """Return a matcher by a glob over the node's name, its output's name, and the ONNX nodes it came from."""
    return NameMatcher(checks.text("a name's pattern", pattern, RuleError))


def first(*kinds: str) -> Matcher:
    """Return a matcher of the nodes of these kinds (default: dense, conv) with none of them before, in the graph."""
    return _First(_kinds(kinds) or WEIGHTED)


def earliest(matcher: Matcher) -> Matcher:
    """Return a matcher of one node: the first in the graph's order that matches (`first` may match several)."""
    return _Earliest(_matcher(matcher))


def last(*kinds: str) -> Matcher:
    """Return a matcher of the nodes of these kinds (default: dense, conv) with none of them after, in the graph."""
    return _Last(_kinds(kinds) or WEIGHTED)


def depth(low: int, high: int) -> Matcher:
    """Return a matcher by depth, low..high inclusive; the first dense or conv node, and what follows it, is 1.

    Raises RuleError for depths that are no ints.
    """
    for value in (low, high):
        if type(value) is not int:
            raise RuleError(f"a depth must be an int, not {checks.shown(value)}")
    return _Depth(low, high)


def anything() -> Matcher:
    """Return a matcher of every node."""
    return _Anything()
