"""The registry of presets, and what `rules=` means: a name, a Rule, a Composite, or {name pattern: Rule}."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import signature
from types import ModuleType
from typing import Any

from reflrp.composites.composite import Composite, defaults, uniform
from reflrp.composites.matchers import name
from reflrp.composites.spelling import called
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.rules.base import Rule

Preset = Callable[..., Composite]


@dataclass
class _Registry:
    """What names and rules mean as `rules=`.

    `presets` are makers by name, `dialects` what imports a dialect by its library's name, and `meanings` what a bare
    rule of some class stands for where that is not `uniform`. Dialects stand above this file and enter themselves.
    """

    presets: dict[str, Preset] = field(default_factory=dict)
    dialects: dict[str, Callable[[], ModuleType]] = field(default_factory=dict)
    meanings: dict[type[Rule], Callable[[Any], Composite]] = field(default_factory=dict)


REGISTRY = _Registry()
"""The one registry of composites."""


def register(title: str) -> Callable[[Preset], Preset]:
    """Register a composite's maker under a name, so that `rules="name"` finds it. Use as a decorator.

    The maker takes keyword arguments with defaults and returns a Composite.
    """
    checks.text("a preset's name", title, RuleError)

    def enter(make: Preset) -> Preset:
        if not callable(make):
            raise RuleError(f"{checks.shown(make)} makes no Composite: register a function that returns one")
        REGISTRY.presets[_canonical(title)] = make
        return make

    return enter


def _canonical(title: str) -> str:
    return title.lower().replace("-", "_").replace(" ", "_")


def presets() -> tuple[str, ...]:
    """Return the names that `rules=` takes."""
    return tuple(sorted(REGISTRY.presets))


def preset(title: str, **parameters: Any) -> Composite:
    """Return a preset by its name, as preset("epsilon_gamma_box", low=-2, high=2), or "zennit.EpsilonPlus".

    Raises RuleError for an unknown name, and suggests the nearest.
    """
    library, dot, rest = checks.text("a preset's name", title, RuleError).partition(".")
    if dot:
        return _from_dialect(library, rest, parameters)
    make = REGISTRY.presets.get(_canonical(title))
    if make is None:
        near = get_close_matches(_canonical(title), presets(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(presets())}"
        raise RuleError(f"preset {title!r} is unknown; {hint}")
    return _made(title, make, parameters)


def _made(title: str, make: Preset, parameters: dict[str, Any]) -> Composite:
    """Return what a preset's maker makes, as a composite. Raises RuleError for parameters that it does not have."""
    try:
        signature(make).bind(**parameters)
    except TypeError as error:
        raise RuleError(f"preset {title!r}: {error}") from error
    return resolve(make(**parameters))


def _from_dialect(library: str, title: str, parameters: dict[str, Any]) -> Composite:
    if library not in REGISTRY.dialects:
        near = get_close_matches(library, REGISTRY.dialects, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(REGISTRY.dialects)}"
        raise RuleError(f"dialect {library!r} is unknown; {hint}")
    module = REGISTRY.dialects[library]()
    make = getattr(module, title, None) if title in module.__all__ else None
    if make is None:
        names = {name.lower(): name for name in module.__all__}
        near = get_close_matches(title.lower(), names, n=1)
        raise RuleError(f"{library} has no {title!r}" + (f"; did you mean {names[near[0]]!r}?" if near else ""))
    if not callable(make):
        raise RuleError(f"{library}.{title} is no rule or composite")
    return _made(f"{library}.{title}", make, parameters)


def resolve(rules: Any) -> Composite:
    """Return the composite that `rules=` means: a name, a Rule, a Composite, or {name pattern: Rule}."""
    if isinstance(rules, Composite):
        return rules
    if isinstance(rules, str):
        name_, parameters = called(rules)
        return preset(name_, **parameters)
    if isinstance(rules, Rule):
        means = (REGISTRY.meanings[c] for c in type(rules).__mro__ if c in REGISTRY.meanings)
        return next(means, uniform)(rules)
    if isinstance(rules, Mapping):
        return Composite((*((name(k), _rule(k, v)) for k, v in rules.items()), *defaults()), "the given rules")
    hint = f"; give a rule of the class, as {rules.__name__}()" if isinstance(rules, type) else ""
    raise RuleError(
        f"rules={checks.shown(rules)} is no preset name, Rule, Composite or dict of rules by node name{hint}"
    )


def _rule(pattern: Any, value: Any) -> Rule:
    if not isinstance(value, Rule):
        raise RuleError(
            f"rules: what {pattern!r} maps to is {checks.shown(value)}, and no rule; use one of reflrp.rules, as Epsilon()"
        )
    return value
