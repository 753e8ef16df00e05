"""Profiles: the deviations that a library declares of itself, which fail the run when they stop being true."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from reflrp.conformance.report import Row
from reflrp.conformance.verdicts import STOPPING
from reflrp.errors import InputError
from reflrp.ground import checks
from reflrp.storage.files import named, read_text

FIELDS = ("case", "verdict", "reason", "url", "until")


@dataclass(frozen=True)
class Deviation:
    """One declared verdict.

    Attributes
    ----------
    case : str
        A glob over the ids of cases.
    verdict : str
        Exactly what the runner says: "DEVIATES(bias=full)", "FAIL", "ERROR", "FORWARD", "NOT_REJECTED".
    reason, url : str
        Why, and where it is discussed.
    until : str
        "open", or the version of the library that ends it.

    """

    case: str
    verdict: str
    reason: str
    url: str
    until: str

    def __post_init__(self) -> None:
        """Check the words: a verdict that no run gives would never be found out of date."""
        for field in FIELDS:
            checks.text(field, getattr(self, field))
        if self.verdict.partition("(")[0] not in STOPPING:
            raise InputError(f"verdict={self.verdict!r} is none that can be declared: {', '.join(sorted(STOPPING))}")

    def matches(self, case: str) -> bool:
        """Return whether a case is meant."""
        return fnmatchcase(case, self.case)


@dataclass(frozen=True)
class Profile:
    """What a library declares of itself."""

    deviations: tuple[Deviation, ...] = ()

    def __post_init__(self) -> None:
        """Check that they are deviations."""
        found = checks.listed_things("deviations", self.deviations, "a list of Deviation")
        if not all(isinstance(d, Deviation) for d in found):
            raise checks.refuse("deviations", self.deviations, "a list of Deviation")
        object.__setattr__(self, "deviations", tuple(found))

    @classmethod
    def of(cls, given: Profile | str | Path | None) -> Profile:
        """Return a profile as it is, that of a file, or for None one that declares nothing."""
        if isinstance(given, Profile):
            return given
        return cls() if given is None else cls.load(given)

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Return the profile of a TOML file. Raises InputError where a field is missing, unknown or no text."""
        try:
            records = tomllib.loads(read_text(named(path)))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path} is no TOML: {error}") from error
        entries = records.get("deviation", [])
        if set(records) - {"deviation"} or not isinstance(entries, list):
            raise InputError(f"{path}: a profile holds [[deviation]] entries and nothing else")
        return cls(tuple(_deviation(path, n, entry) for n, entry in enumerate(entries, 1)))

    def applied(self, rows: Sequence[Row]) -> tuple[Row, ...]:
        """Return the rows with what is declared, XPASS where it is no longer so.

        Raises InputError for a deviation that names none of the rows.
        """
        self.check([row.case for row in rows])
        found = list(rows)
        for deviation in self.deviations:
            for i in [i for i, row in enumerate(rows) if deviation.matches(row.case)]:
                found[i] = _declared(rows[i], deviation)
        return tuple(found)

    def check(self, cases: Sequence[str]) -> None:
        """Raise InputError for a deviation that names none of the cases: it would never be found out of date."""
        for deviation in self.deviations:
            if not any(map(deviation.matches, cases)):
                raise InputError(f"the profile's case={deviation.case!r} matches none of the cases that were run")


def _deviation(path: str | Path, number: int, entry: Any) -> Deviation:
    wrong = (
        not isinstance(entry, dict) or set(entry) != set(FIELDS) or not all(isinstance(v, str) for v in entry.values())
    )
    if wrong:
        raise InputError(f"{path}: deviation {number} needs exactly the texts {', '.join(FIELDS)}")
    return Deviation(**entry)


def _declared(row: Row, deviation: Deviation) -> Row:
    """Return a row with the profile's reason, or as XPASS where the verdict is another one by now."""
    if row.verdict == "UNSUPPORTED":
        return row
    if row.word == deviation.verdict:
        return replace(row, declared=deviation.reason)
    said = f"the profile declares {deviation.verdict}, but it is {row.word}: {deviation.reason}"
    return replace(row, verdict="XPASS", message=said)
