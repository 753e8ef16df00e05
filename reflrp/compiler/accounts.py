"""The ledger of a compiled graph: its sums are one small output, its accounts are worked out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from reflrp.arrays.tracing.tallies import Tally
from reflrp.arrays.tracing.terms import Term
from reflrp.ledger import NUMBERS, Row

Numbers = tuple[np.ndarray, np.ndarray, float]
"""A tally by the places of its sums: the places, the factors, and the number beside."""


@dataclass(frozen=True)
class Accounts:
    """The rows of a ledger, with the sums that each of their numbers is made of.

    Attributes
    ----------
    rows : tuple of Row
        The accounts, their numbers left at 0.
    numbers : tuple of dict
        For each row what its numbers are made of, by their names.

    """

    rows: tuple[Row, ...]
    numbers: tuple[dict[str, Numbers], ...]

    def read(self, sums: np.ndarray) -> tuple[Row, ...]:
        """Return the accounts, from what the graph gives for the sums."""
        with np.errstate(all="ignore"):  # what is not finite is reported by who reads them
            found = [{k: float(sums[at] @ by + plus) for k, (at, by, plus) in made.items()} for made in self.numbers]
        return tuple(Row(row.node, row.kind, row.rule, **own) for row, own in zip(self.rows, found, strict=True))


def accounts(rows: Sequence[Row]) -> tuple[Accounts, list[Term]]:
    """Return the accounts of traced rows, and the terms of the sums that they need."""
    places: dict[Term, int] = {}
    numbers = []
    for row in rows:
        made = {}
        for name in NUMBERS:
            tally = getattr(row, name)
            if not isinstance(tally, Tally):
                tally = Tally({}, float(tally))
            at = [places.setdefault(term, len(places)) for term in tally.factors]
            factors = np.array([*tally.factors.values()], dtype=float)
            made[name] = np.array(at, dtype=int), factors, float(tally.number)
        numbers.append(made)
    empty: dict[str, Any] = {f.name: 0.0 for f in fields(Row) if f.name in NUMBERS}
    return Accounts(tuple(replace(row, **empty) for row in rows), tuple(numbers)), list(places)
