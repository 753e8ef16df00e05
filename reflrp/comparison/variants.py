"""The published readings of a rule: every choice of its fields, and the rules that share its family."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from reflrp import rules as r
from reflrp.errors import ReflrpError
from reflrp.ops.stabilizer import Stabilizer
from reflrp.rules.base import Rule

EPSILONS = (0, 1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.25, 1.0)
"""The epsilons that libraries have as defaults, and a few more."""

FORMS = ("signed", "plain", "clip", "nonzero")

FAMILIES: tuple[tuple[Rule, ...], ...] = (
    (r.Norm(), r.Gradient(), r.WinnerTakesAll()),
    (r.ZPlus(), r.AlphaBeta(1, 0), r.AlphaBeta(2, 1), r.Gamma(), r.Gamma(generalized=True), r.Epsilon(), r.Norm()),
    (r.WSquare(), r.Flat(), r.ZBox(), r.Epsilon(), r.Norm()),
    (r.Pass(), r.Gradient(), r.Ratio(), r.Taylor(), r.Stop()),
    (r.Half(), r.SignalTakesAll(), r.Uniform(), r.EpsilonUniform(), r.ProductAlphaBeta(1, 0), r.Stop()),
)
"""Rules that are taken for one another."""

Change = tuple[str, Rule]
"""What is changed, in words, and the changed rule."""


def changes(rule: Rule) -> Iterator[Change]:
    """Yield the rule with one of its fields changed to each of its other published values."""
    for f in fields(rule):
        value = getattr(rule, f.name)
        number = getattr(rule, "epsilon", None) if f.name == "stabilizer" and value is None else value
        for other in (*choices(type(rule), f.name), *_numbers(f.name, number)):
            if type(other) is not type(value) or other != value:
                found = changed(rule, {f.name: other})
                if found is not None:
                    yield f"{f.name}={brief(other)}", found


def others(rule: Rule) -> Iterator[Change]:
    """Yield the rules of the same families, each in all of its readings."""
    name = type(rule).__name__
    for family in FAMILIES:
        if any(type(other).__name__ == name for other in family):
            for other in family:
                yield repr(other), other
                yield from ((repr(changed), changed) for _, changed in changes(other))


def twice_changed(rule: Rule) -> Iterator[Change]:
    """Yield the rule with two of its fields changed."""
    for what, changed in changes(rule):
        name = what.split("=")[0]
        yield from ((f"{what}, {more}", twice) for more, twice in changes(changed) if name < more.split("=")[0])


def changed(rule: Rule, new: dict[str, Any]) -> Rule | None:
    """Return a rule with other fields; None where it refuses them."""
    try:
        return replace(rule, **new)
    except ReflrpError:
        return None


@cache
def _hints(kind: Any) -> dict[str, Any]:
    try:
        return get_type_hints(kind)
    except NameError:  # a hint that only type checkers see
        return {}


def choices(kind: type[Rule], name: str) -> tuple[Any, ...]:
    """Return what a field may be, where that is a flag or one of a few names."""
    hint = _hints(cast(Any, kind)).get(name)
    if hint is bool:
        return True, False
    return get_args(hint) if get_origin(hint) is Literal else ()


def _numbers(name: str, value: Any) -> tuple[Any, ...]:
    """Return other stabilisers in place of a stabiliser."""
    if name == "epsilon" and isinstance(value, int | float):
        return EPSILONS
    if name != "stabilizer" or not (value is None or isinstance(value, int | float | Stabilizer)):
        return ()
    own = value.epsilon if isinstance(value, Stabilizer) else value or 1e-6
    forms = [Stabilizer(e, form=form) for form in FORMS[1:] for e in dict.fromkeys((own, *EPSILONS)) if e]  # type: ignore[arg-type]
    return (*EPSILONS, *forms, Stabilizer(own, norm_scale=True))


def brief(value: Any) -> str:
    """Return a value of a field as text; a stabiliser by what differs from the plain epsilon."""
    if isinstance(value, Stabilizer):
        scaled = ", norm_scale" if value.norm_scale else ""
        return f"{value.epsilon} ({value.form}{scaled})"
    few = f"{value:.3g}" if isinstance(value, float) else ""
    return few if few and abs(float(few) - value) < 1e-6 * abs(value) else repr(value)  # 1e-9 of Float32


def named(rule: Rule) -> str:
    """Return a rule as text, a dialect's with the library's name: `zennit.ZPlus(...)`."""
    module = type(rule).__module__
    library = module.removeprefix("reflrp.dialects.").split(".")[0] if module.startswith("reflrp.dialects.") else ""
    return f"{library}.{rule!r}" if library else repr(rule)
