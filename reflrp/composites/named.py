"""Names in rules: those that name nothing are typing errors, and refused with the nearest that there are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from operator import attrgetter
from typing import Any

from reflrp.arrays.looks import listed
from reflrp.composites.matchers import Matcher, NameMatcher
from reflrp.errors import RuleError
from reflrp.ir import Graph, Node

NamesOf = Callable[[Node], Iterable[str]]

WHERE = "Names are those of nodes, of their outputs, or of ONNX nodes; Model.summary() lists them"


def patterns(matcher: Any) -> Iterator[str]:
    """Yield the names and patterns that a matcher asks for, at any depth."""
    if isinstance(matcher, NameMatcher):
        yield matcher.pattern
    elif isinstance(matcher, Matcher) and is_dataclass(matcher):
        for f in fields(matcher):
            yield from patterns(getattr(matcher, f.name))


def is_glob(pattern: str) -> bool:
    """Return whether a pattern may stand for several names."""
    return any(c in pattern for c in "*?[")


def known(graph: Graph, of: NamesOf = attrgetter("names")) -> frozenset[str]:
    """Return all names of a graph's nodes, and of its file's, of which this output may need only some."""
    return frozenset(name for node in graph.nodes for name in of(node)) | graph.names


def matching(pattern: str, names: Collection[str]) -> bool:
    """Return whether a name or pattern is that of any of the names."""
    return pattern in names or (is_glob(pattern) and any(fnmatchcase(name, pattern) for name in names))


def check_names(title: str, lost: Iterable[str], names: Collection[str], hint: str = WHERE) -> None:
    """Raise RuleError where any names are lost, that is, are those of nothing; it suggests the nearest of what there is."""
    found = list(dict.fromkeys(lost))
    if found:
        folded = {name.lower(): name for name in sorted(names)}
        near = [folded[name] for name in get_close_matches(found[0].lower(), folded, n=3)]
        guess = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
        raise RuleError(f"{title}: no node is named {', '.join(map(repr, found[:8]))}{guess} {hint}")


def check_plain(title: str, graph: Graph, matchers: Iterable[Any]) -> None:
    """Raise RuleError for names without a wildcard that neither a node nor the file has."""
    plain = [p for m in matchers for p in patterns(m) if not is_glob(p)]
    if plain:
        names = known(graph)
        check_names(title, (p for p in plain if p not in names), names)


def idle(graph: Graph, assigned: Mapping[str, Any], matchers: Iterable[Any]) -> tuple[str, ...]:
    """Return the note on names and patterns that no node has which takes a rule, or nothing where there are none."""
    asked = [p for m in matchers if isinstance(first := _leading(m), NameMatcher) for p in (first.pattern,) if p != "*"]
    if not asked:
        return ()
    ruled = {name for node in graph.nodes if node.name in assigned for name in node.names}
    lost = [repr(p) for p in dict.fromkeys(asked) if not matching(p, ruled)]
    return (f"no node that takes a rule is named {listed(lost, 5, 60)}",) if lost else ()


def _leading(matcher: Any) -> Any:
    """Return what a matcher asks first: the name in `name("a*") & kind("conv")`."""
    return _leading(matcher.one) if hasattr(matcher, "one") and hasattr(matcher, "two") else matcher
