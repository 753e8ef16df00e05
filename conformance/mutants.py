"""Mutants: adapters with one clause read otherwise. Each must be told from the right one by some vector."""

from __future__ import annotations

from collections.abc import Iterator

from reflrp.conformance.adapters.literal import Adapter, Permissive
from reflrp.conformance.cases import Case, select
from reflrp.conformance.readings import READINGS, Reading
from reflrp.conformance.running import judge_one

ALIKE = frozenset({"PASS", "REJECTED", "UNSUPPORTED"})
"""The verdicts that a mutant shares with the right answer."""


def killers(reading: Reading, cases: list[Case]) -> Iterator[tuple[str, str]]:
    """Yield (case, verdict) of each case of the reading's clause that tells it from the right answer."""
    adapter = Adapter(reading)
    for case in cases:
        if reading.clause in case.clauses and case.expect != "reject":
            found = judge_one(case, adapter, adapter.describe(), "float64")
            if found.verdict not in ALIKE:
                yield case.id, found.verdict


def survivors() -> list[str]:
    """Return the mutants that no vector tells apart, and the clauses that no mutant stands for."""
    cases = select("*")
    alive = [f"{r.clause}: {r.tag}" for r in READINGS if next(killers(r, cases), None) is None]
    permissive = Permissive()
    refused = [case for case in cases if case.expect == "reject"]
    taken = [c for c in refused if judge_one(c, permissive, permissive.describe(), "float64").verdict in ALIKE]
    return [*alive, *(f"{c.id}: refuses nothing" for c in taken)]
