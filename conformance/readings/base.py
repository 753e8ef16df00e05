"""What a reading is: a clause, a name, and a change of the oracle or of the rules' parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from reflrp.conformance.literal.oracle import Oracle
from reflrp.conformance.literal.steps import Site, Step
from reflrp.conformance.literal.table import Rule
from reflrp.conformance.protocol import RuleSpec

Specs = tuple[RuleSpec, ...]
Change = Callable[[Oracle, Specs], tuple[Oracle, Specs]]


@dataclass(frozen=True)
class Reading:
    """Another answer to what a clause says.

    Attributes
    ----------
    clause : str
        The clause that is read otherwise.
    tag : str
        The answer's name: "field=value" where a rule has the choice, else a word or two.
    status : str
        "variant": published and chosen by name, so that it counts as conforming. "deviation": it is not what was asked for.
    text : str
        What is done instead, in a sentence.
    change : callable
        (oracle, rules) -> (oracle, rules) with the change; the same rules and oracle where there is nothing to change.
    seen_in : tuple of str
        The libraries that do so.

    """

    clause: str
    tag: str
    status: Literal["variant", "deviation"]
    text: str
    change: Change
    seen_in: tuple[str, ...] = ()


def chosen(rules: str, **values: Any) -> Change:
    """Return the change of a parameter of these rules, named with blanks between."""

    def change(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
        return oracle, tuple(_with(s, values) if s.rule in rules.split() else s for s in specs)

    return change


def _with(spec: RuleSpec, values: Mapping[str, Any]) -> RuleSpec:
    known = {k: v for k, v in values.items() if k in spec.params}
    return replace(spec, params={**spec.params, **known})


def stabilizer(**values: Any) -> Change:
    """Return the change of all stabilisers."""

    def change(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
        return oracle, tuple(_stabilised(s, values) for s in specs)

    return change


def signed(form: Any) -> Change:
    """Return the change of the stabilisers whose form is "signed" into f(z, epsilon)."""

    def change(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
        return oracle, tuple(_stabilised(s, {"form": form}, "signed") for s in specs)

    return change


def _stabilised(spec: RuleSpec, values: Mapping[str, Any], only: str = "") -> RuleSpec:
    if "stabilizer" not in spec.params or (only and spec.params["stabilizer"]["form"] != only):
        return spec
    return replace(spec, params={**spec.params, "stabilizer": {**spec.params["stabilizer"], **values}})


def formula(**rules: Rule) -> Change:
    """Return the change of a rule's formula; `pass` is written pass_."""
    table = {k.rstrip("_"): v for k, v in rules.items()}
    return lambda oracle, specs: (replace(oracle, rules={**oracle.rules, **table}), specs)


def seen(**operators: Callable[[Site], Step]) -> Change:
    """Return the change of what operators are taken for on the way back."""
    return lambda oracle, specs: (replace(oracle, seen={**oracle.seen, **operators}), specs)


def instead(old: str, new: str, **values: Any) -> Change:
    """Return the change of one rule for another."""

    def change(oracle: Oracle, specs: Specs) -> tuple[Oracle, Specs]:
        return oracle, tuple(RuleSpec(s.node, new, {**s.params, **values}) if s.rule == old else s for s in specs)

    return change


def touches(specs: Specs, names: str) -> bool:
    """Return whether one of these rules stands anywhere."""
    return any(s.rule in names.split() for s in specs)
