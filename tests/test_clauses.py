"""The clauses and the rules that cite them: each knows of the other."""

import importlib
import inspect
import pkgutil
import re
from dataclasses import fields
from typing import get_args

import pytest

from reflrp import rules
from reflrp.conformance import Clause, clauses, sources
from reflrp.rules import Rule

ALL = clauses()
RULES = [
    value for value in vars(rules).values() if inspect.isclass(value) and issubclass(value, Rule) and value is not Rule
]


def cited(text):
    return set(re.findall(r"\b[A-Z]+-\d+\b", " ".join(re.findall(r"[Cc]lauses?:? +([A-Z]+-\d+[^:]*)", text))))


def modules():
    for folder in ("arrays", "ops", "passes", "rules"):
        package = importlib.import_module(f"reflrp.{folder}")
        yield from (
            importlib.import_module(f"reflrp.{folder}.{i.name}") for i in pkgutil.iter_modules(package.__path__)
        )
    yield from (
        importlib.import_module(f"reflrp.{name}") for name in ("composites", "engine", "neurons", "seeds", "ledger")
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_rule_says_what_it_is(rule):
    """An equation or its words, whether it conserves, and its clauses."""
    text = inspect.getdoc(rule)
    assert rule.__doc__ is not None
    assert cited(text), "Clauses: ..."
    assert "=" in text or "All relevance to" in text or "No relevance" in text, "an equation"
    if rule is not rules.LinearRule:
        assert re.search(r"[Cc]onserve", text) or not rule.conserves, "Conserves ..."


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_clause_that_a_rule_cites_is_there(rule):
    assert cited(inspect.getdoc(rule)) <= set(ALL)


def test_every_clause_is_cited():
    texts = [inspect.getdoc(module) or "" for module in modules()]
    for module in modules():
        texts += [inspect.getdoc(v) or "" for v in vars(module).values() if inspect.isclass(v) or inspect.isfunction(v)]
    found = set().union(*map(cited, texts))
    assert found == set(ALL)


@pytest.mark.parametrize("clause", ALL.values(), ids=ALL)
def test_clauses_are_complete(clause: Clause):
    assert clause.statement.endswith(".")
    assert clause.equation
    assert clause.kind in ("required", "variant", "informative")
    assert re.fullmatch(r"\d+\.\d+", clause.since)
    assert set(clause.source) <= set(sources())


@pytest.mark.parametrize("clause", [c for c in ALL.values() if c.variants], ids=lambda c: c.id)
def test_variants_are_fields_of_the_rules_that_cite_them(clause: Clause):
    """Each variant is another value than the default of a field of a citing rule (or of the stabiliser)."""
    citing = [rule for rule in RULES if clause.id in cited(inspect.getdoc(rule))]
    citing += [rules.Stabilizer] if clause.id.startswith("STAB") else []
    assert clause.kind == "variant"
    for variant in clause.variants:
        name, _, value = variant.partition("=")
        assert any(f.name == name and value in _choices(rule, f) for rule in citing for f in fields(rule)), variant


def _choices(rule, field):
    hints = inspect.get_annotations(rule, eval_str=True)
    named = [str(v) for v in get_args(hints[field.name])]
    return named or [str(v) for v in (True, False) if hints[field.name] is bool]


def test_every_source_is_cited():
    assert {key for clause in ALL.values() for key in clause.source} == set(sources())


def test_ids_are_numbered_without_gaps():
    families = {}
    for key in ALL:
        family, number = key.rsplit("-", 1)
        families.setdefault(family, []).append(int(number))
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in families.values())
