"""Rules and composites as texts: `name`, or `name(value, key=value, ...)`. A text is read, never run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import signature
from typing import Any

import numpy as np

from reflrp.errors import RuleError
from reflrp.ground.checks import shown
from reflrp.ground.literals import expression, literal
from reflrp.ground.quiet import quiet


@dataclass(frozen=True)
class Call:
    """A name, and the values in brackets after it."""

    name: str
    values: tuple[Any, ...] = ()
    named: dict[str, Any] = field(default_factory=dict)

    def made(self, make: Callable[..., Any], what: str) -> Any:
        """Return what `make` makes of the values. Raises RuleError for values that it does not take."""
        try:
            bound = signature(make).bind(*self.values, **self.named)
        except TypeError as error:
            takes = ", ".join(signature(make).parameters) or "nothing"
            raise RuleError(f"{what}: {error}; it takes {takes}") from error
        try:
            return make(*bound.args, **bound.kwargs)
        except TypeError as error:  # a value of a kind that its checks do not know
            raise RuleError(f"{what}: {error}") from error


def read_call(text: str) -> Call:
    """Return a text as a call; a list in it stands for an array. Raises RuleError where it is none."""
    name, bracket, rest = text.strip().partition("(")
    if not bracket:
        return Call(name)
    try:
        found = _parsed(f"f({rest}")
        named = {k.arg: _value(k.value) for k in found.keywords if k.arg is not None}
        if not isinstance(found.func, ast.Name) or len(named) < len(found.keywords):
            raise ValueError("what stands behind the name is more than one pair of brackets with values")
        return Call(name.strip(), tuple(map(_value, found.args)), named)
    except (SyntaxError, ValueError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise RuleError(
            f"{shown(text)} cannot be read: write name or name(key=value, ...), with plain values"
        ) from error


def read_rules(text: str) -> Any:
    """Return what a text means as `rules=`: {pattern: text} where it is such a dict, else the text itself."""
    if not text.lstrip().startswith("{"):
        read_call(text)
        return text
    try:
        return dict(literal(text.strip()))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise RuleError(f"{shown(text)} cannot be read: write {{'pattern': 'rule', ...}}") from error


def _parsed(text: str) -> Any:
    with quiet():
        return expression(text)


def _value(node: Any) -> Any:
    value = ast.literal_eval(node)
    return np.asarray(value) if isinstance(value, list) else value


def nearest(name: str, names: Iterable[str]) -> str:
    """Return how an error about an unknown name goes on: the nearest that there is, or all of them."""
    known = {n.lower(): n for n in names}
    near = get_close_matches(name.lower(), known, n=1)
    return f"did you mean {known[near[0]]!r}?" if near else f"there is {', '.join(known.values()) or 'none'}"
