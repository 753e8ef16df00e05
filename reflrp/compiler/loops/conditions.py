"""Conditions on nodes beside loops of open length: that they tell no step of a recurrent node from the others.

The matchers of reflrp were read for it; those of others are refused. What a pattern says of names is asked of its automaton, for
steps of any number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from fnmatch import fnmatchcase
from typing import Any

from reflrp.compiler.loops.unrolled import Places, loops
from reflrp.composites import Composite
from reflrp.composites.matchers import depth
from reflrp.errors import InputError
from reflrp.ir import Graph


def check_matchers(composite: Composite, plain: Graph, found: Graph) -> None:
    """Raise InputError where a composite counts steps, tells them apart by their names, or asks what is not known to do neither."""
    if not loops(found):
        return
    places = Places.of(found)
    parts = {(n.name, n.output) for n in plain.nodes if places(n.name)}
    spots = {_spot(text, places) for pair in parts for text in pair if places(text)}
    if not _own(type(composite).assign):
        raise InputError(_unproven(f"the way in which {type(composite).__name__} assigns rules"))
    for matcher in (inner for outer, _ in composite.pairs for inner in _matchers(outer)):
        if isinstance(matcher, COUNTED) or _picks(matcher, spots, places):
            raise InputError(
                f"{matcher!r} tells the steps of a recurrent node apart, whose number is left open; fix it: shapes={{...}}"
            )
        if not _own(matcher):
            raise InputError(_unproven(repr(matcher)))


COUNTED = type(depth(1, 1))
"""The matcher that counts layers, each step's for itself."""


READ = ("innsight", "lczerolens", "lrp_for_lstm", "lrp_toolbox", "lxt", "zennit")
KNOWN = (
    "reflrp.composites.", "reflrp.rules.", *(f"reflrp.dialects.{d}." for d in READ),
    "reflrp.dialects.signxai.base.KeepsShape.", "reflrp.dialects.pnpxai.heads.LayerNorm.",
)  # fmt: skip
"""Where conditions are that were read for this: alike nodes answer alike in all steps. Those of other dialects may count layers."""

OF_LAYERS = ("reflrp.dialects.keras_matchers.", "reflrp.dialects.innvestigate.layers.")
"""Conditions that were read for it, too, as far as they have no Keras model whose layers they find by names and places."""


def _own(matcher: Any) -> bool:
    """Return whether a condition is one of those that are known to look at no step."""
    asked = matcher if hasattr(matcher, "__qualname__") else type(matcher)
    where = f"{asked.__module__}.{asked.__qualname__}."
    return where.startswith(KNOWN) or (where.startswith(OF_LAYERS) and getattr(matcher, "model", None) is None)


def _unproven(what: str) -> str:
    return (
        f"{what} is not known to look at single nodes: it may tell the steps of a recurrent node apart, whose number is left open; "
        "use the matchers of reflrp.composites, or fix the number: shapes={...}"
    )


def _picks(matcher: Any, spots: Iterable[tuple[str, str]], places: Places) -> bool:
    """Return whether a matcher names some steps only."""
    if any(places(one) for one in getattr(matcher, "names", ()) if isinstance(one, str)):
        return True
    pattern = getattr(matcher, "pattern", "")
    return bool(re.search(r"\.t\d", pattern)) or any(len(_answers(pattern, *spot)) > 1 for spot in spots if pattern)


def _matchers(outer: Any) -> Iterator[Any]:
    """Yield a matcher and those that it is made of; of a rule that says which nodes it fits, that function."""
    yield outer
    for inner in (getattr(outer, f.name) for f in fields(outer)) if is_dataclass(outer) else ():
        for one in inner if isinstance(inner, tuple) else (inner,):
            if callable(one):
                yield from _matchers(one)
            elif hasattr(one, "fits"):
                yield type(one).fits


def _spot(text: str, places: Places) -> tuple[str, str]:
    """Return what stands before and behind the number of a step."""
    where = places(text)
    assert where is not None
    return text[: where.span[0]], text[where.span[1] :]


def _answers(pattern: str, before: str, behind: str) -> set[bool]:
    """Return what a pattern says of the steps from the second on, of any number of digits.

    The pattern is read as an automaton, whose states after any digits are few.
    """
    tokens = TOKEN.findall(pattern)
    waiting = [_read(tokens, _open({0}, tokens), before + digit) for digit in "123456789"]
    reached = set[frozenset[int]]()
    while waiting:
        states = waiting.pop()
        if states not in reached:
            reached.add(states)
            waiting.extend(_read(tokens, states, digit) for digit in "0123456789")
    return {len(tokens) in _read(tokens, states, behind) for states in reached}


TOKEN = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)
"""The parts of a pattern of `fnmatch`."""


def _read(tokens: list[str], states: frozenset[int], text: str) -> frozenset[int]:
    """Return how many tokens may be used up behind a text."""
    for char in text:
        used = (i for i in states if i < len(tokens) and fnmatchcase(char, tokens[i]))
        states = _open({i + (tokens[i] != "*") for i in used}, tokens)
    return states


def _open(states: set[int], tokens: list[str]) -> frozenset[int]:
    """Return states and those behind a `*` that stands for nothing."""
    found, waiting = set[int](), list(states)
    while waiting:
        i = waiting.pop()
        found.add(i)
        if i < len(tokens) and tokens[i] == "*":
            waiting.append(i + 1)
    return frozenset(found)
