"""The registry of presets, and what `rules=` means: a text, a Rule, a Composite, or {name pattern: Rule or text}."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from types import FunctionType, ModuleType
from typing import Any, get_type_hints

from reflrp import rules as library
from reflrp.composites.composite import GIVEN, Composite, defaults, uniform
from reflrp.composites.matchers import Matcher, Survey, name
from reflrp.composites.preprocessing import preprocessing
from reflrp.composites.texts import Call, nearest, read_call
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ir import Node
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
    return _composite(Call(checks.text("a preset's name", title, RuleError), named=parameters))


def _composite(call: Call) -> Composite:
    """Return the composite that a preset, a dialect's composite, or a rule makes of the values in brackets."""
    if "." in call.name:
        return resolve(_from_dialect(call))
    make = REGISTRY.presets.get(_canonical(call.name))
    if make is not None:
        return resolve(call.made(make, f"preset {call.name!r}"))
    rule = _rules().get(_squeezed(call.name))
    if rule is not None:
        return resolve(call.made(rule, f"rule {call.name!r}"))
    if call.name in REGISTRY.dialects:
        there = ", ".join(f"{call.name}.{name}" for name in _writable(REGISTRY.dialects[call.name]()))
        raise RuleError(f"{call.name!r} is a library; name one of its rules or composites: {there}")
    names = (*presets(), *(rule.__name__ for rule in _rules().values() if _squeezed(rule.__name__) not in presets()))
    raise RuleError(f"preset {checks.shown(call.name)} is unknown; {nearest(_canonical(call.name), names)}")


def _from_dialect(call: Call) -> Any:
    """Return what a dialect's name makes: a rule or a composite."""
    library, _, title = call.name.partition(".")
    if library not in REGISTRY.dialects:
        raise RuleError(f"dialect {checks.shown(library)} is unknown; {nearest(library, REGISTRY.dialects)}")
    module = REGISTRY.dialects[library]()
    there = _writable(module)
    if title not in there and not (
        call.named and title in module.__all__ and _makes_rules(getattr(module, title), True)
    ):
        what = (
            f"{library} has no {checks.shown(title)}"
            if title not in module.__all__
            else f"{call.name} is no rule or composite, or not of plain values"
        )
        raise RuleError(f"{what}; {nearest(title, there)}")
    return call.made(getattr(module, title), f"{library}.{title}")


def _writable(module: ModuleType) -> list[str]:
    """Return the names of a dialect that are rules and composites, with nothing but plain values in their brackets."""
    composites = getattr(module, "COMPOSITES", {})
    return [name for name in module.__all__ if name in composites or _makes_rules(getattr(module, name))]


def _makes_rules(make: Any, given: bool = False) -> bool:
    """Return whether something is a class of rules or composites, or a function that makes one of no or of given arguments."""
    if isinstance(make, FunctionType):
        bare = given or all(p.default is not p.empty for p in signature(make).parameters.values())
        made = get_type_hints(make).get("return") if bare else None
        return isinstance(made, type) and issubclass(made, Composite | Rule)
    return isinstance(make, type) and issubclass(make, Composite | Rule)


def resolve(rules: Any) -> Composite:
    """Return the composite that `rules=` means: a text, a Rule, a Composite, or {name pattern: Rule or text}.

    A text is the name of a preset, of a rule, or of what a dialect has, with its values in brackets where they are not the
    defaults: "epsilon_gamma_box(low=-2, high=2)", "gamma(0.25)", "zennit.Gamma(gamma=0.5)". In a dict the pattern "*" alone
    means every node that the rule can serve, with the defaults on the rest.
    """
    if isinstance(rules, Composite):
        return rules
    if isinstance(rules, str):
        return _composite(read_call(rules))
    if isinstance(rules, Rule):
        means = (REGISTRY.meanings[c] for c in type(rules).__mro__ if c in REGISTRY.meanings)
        return next(means, uniform)(rules)
    if isinstance(rules, Mapping):
        return Composite((*(_pair(k, _rule(k, v)) for k, v in rules.items()), *defaults()), GIVEN)
    hint = f"; give a rule of the class, as {rules.__name__}()" if isinstance(rules, type) else ""
    raise RuleError(
        f"rules={checks.shown(rules)} is no preset name, Rule, Composite or dict of rules by node name{hint}"
    )


@dataclass(frozen=True)
class _Served(Matcher):
    """The nodes that a rule can stand on."""

    rule: Rule

    def __call__(self, node: Node, survey: Survey) -> bool:
        return self.rule.fits(node)


def _pair(pattern: Any, rule: Rule) -> tuple[Matcher, Rule]:
    """Return what a pattern and its rule stand for; "*" for every node that the rule can serve, but preprocessing."""
    return (_Served(rule) & ~preprocessing() if pattern == "*" else name(pattern)), rule


def _rule(pattern: Any, value: Any) -> Rule:
    """Return the rule that a pattern maps to, given as one or as a text."""
    made = _named_rule(pattern, read_call(value)) if isinstance(value, str) else value
    if not isinstance(made, Rule):
        what = "a composite" if isinstance(made, Composite) else checks.shown(made)
        raise RuleError(
            f"rules: what {checks.shown(pattern)} maps to is {what}, and no rule; use one of reflrp.rules, as Epsilon()"
        )
    return made


def _named_rule(pattern: Any, call: Call) -> Any:
    if "." in call.name:
        return _from_dialect(call)
    make = _rules().get(_squeezed(call.name))
    if make is not None:
        return call.made(make, f"rule {call.name!r}")
    if _canonical(call.name) in REGISTRY.presets:
        raise RuleError(f"rules: what {checks.shown(pattern)} maps to is the preset {call.name!r}, and no rule")
    names = (rule.__name__ for rule in _rules().values())
    raise RuleError(f"rule {checks.shown(call.name)} is unknown; {nearest(_squeezed(call.name), names)}")


def _rules() -> dict[str, type[Rule]]:
    """Return the rules of `reflrp.rules` by name, as `_squeezed` has it."""
    found = (getattr(library, name) for name in library.__all__)
    rules = (c for c in found if isinstance(c, type) and issubclass(c, Rule) and c not in (Rule, library.LinearRule))
    return {_squeezed(c.__name__): c for c in rules}


def _squeezed(title: str) -> str:
    return _canonical(title).replace("_", "")
