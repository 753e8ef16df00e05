"""Dialects against their libraries: `python -m reflrp.conformance.dialects conformance/reports [library ...]`.

Each dialect answers the cases that its library answered (conformance/reports), and is judged in the same way: PASS, or the same
readings, within the tolerance, so that where verdicts are equal values are, too. What differs on purpose is named in
conformance/spec/dialects.toml, and everything else is an error of the dialect.
"""

from __future__ import annotations

import importlib
import sys
import tomllib
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any

from reflrp.conformance.cases import Case, select
from reflrp.conformance.libraries import save, steady
from reflrp.conformance.naming import Kept, named_as
from reflrp.conformance.protocol import Adapter
from reflrp.conformance.report import Report, Row
from reflrp.conformance.running import judge_one, row_of

FOLDER = "dialects"
"""Where the dialects' reports lie, beside those of the libraries."""

DIALECTS = ("captum", "innvestigate", "lczerolens", "lrp_for_lstm", "lrp_toolbox", "lxt", "pnpxai",
            "relevance_propagation_jl", "signxai", "zennit")  # fmt: skip
"""The dialects by the modules of their adapters; each is compared where its library has a report."""


@dataclass(frozen=True)
class Difference:
    """Where a dialect and its library part, on purpose.

    Attributes
    ----------
    dialects, cases : tuple of str
        Names, and globs over the ids of cases.
    library, dialect : str
        The verdicts of both: "ERROR" and "PASS"; "*" is any verdict.
    reason : str
        Why.
    says : str, optional
        What the library's message must have in it.

    """

    dialects: tuple[str, ...]
    cases: tuple[str, ...]
    library: str
    dialect: str
    reason: str
    says: str = ""

    def names(self, dialect: str, theirs: Row, ours: Row) -> bool:
        """Return whether this says why two rows of a dialect and its library differ."""
        known = dialect in self.dialects and any(fnmatchcase(theirs.case, glob) for glob in self.cases)
        return (
            known
            and self.says in theirs.message
            and theirs.verdict == self.library
            and self.dialect in ("*", ours.verdict)
        )


@dataclass(frozen=True)
class Pair:
    """What a library and its dialect were found to do with a case."""

    theirs: Row
    ours: Row

    @property
    def same(self) -> bool:
        """Whether the verdicts are equal, and with them the values: errors of what has no name are compared."""
        unnamed = self.theirs.verdict == "FAIL"
        return self.theirs.word == self.ours.word and (not unnamed or self.theirs.error == self.ours.error)

    @property
    def without(self) -> bool:
        """Whether neither has such a thing."""
        return self.theirs.verdict == self.ours.verdict == "UNSUPPORTED"


def adapter_of(dialect: str) -> Adapter:
    """Return the adapter of a dialect."""
    found: Adapter = importlib.import_module(f"reflrp.conformance.adapters.dialects.{dialect}").Adapter()
    return found


def report(theirs: Report, adapter: Adapter) -> Report:
    """Return a dialect's verdicts, in the words of its library's report where the same readings give its answers."""
    info, of = adapter.describe(), {row.case: row for row in theirs.rows}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = tuple(_row(case, adapter, of[case.id], theirs.dtype) for case in select())
    return replace(theirs, library=info.name, version="", rows=rows)


def _row(case: Case, adapter: Adapter, theirs: Row, dtype: str) -> Row:
    kept = Kept(adapter)
    found = judge_one(case, kept, adapter.describe(), dtype)
    if theirs.variant and theirs.verdict in ("VARIANT", "DEVIATES"):
        found = named_as(case, kept.answer, found, theirs.variant)
    return replace(steady(row_of(case, found)), message=found.message if found.verdict == "ERROR" else "")


def pairs(theirs: Report, ours: Report) -> tuple[Pair, ...]:
    """Return the rows of a library and its dialect together."""
    return tuple(Pair(a, b) for a, b in zip(theirs.rows, ours.rows, strict=True))


def differences() -> tuple[Difference, ...]:
    """Return what is named of the ways in which dialects part from their libraries."""
    file = resources.files("reflrp.conformance") / "spec" / "dialects.toml"
    return tuple(_difference(entry) for entry in tomllib.loads(file.read_text("utf-8"))["difference"])


def _difference(entry: dict[str, Any]) -> Difference:
    return Difference(**{**entry, **{k: tuple(entry[k]) for k in ("dialects", "cases")}})


def reason(dialect: str, pair: Pair, known: Sequence[Difference]) -> str:
    """Return why two rows differ, or "" where nothing says so."""
    return next((d.reason for d in known if d.names(dialect, pair.theirs, pair.ours)), "")


def counted(dialect: str, found: Sequence[Pair], known: Sequence[Difference]) -> Counter[str]:
    """Return how many rows are the same, without, named by a reason, or "unnamed"."""
    return Counter(
        "without" if p.without else "same" if p.same else reason(dialect, p, known) or "unnamed" for p in found
    )


def main(folder: str, *dialects: str) -> None:
    """Write the report of each dialect whose library has one."""
    known, place = differences(), Path(folder) / FOLDER
    place.mkdir(exist_ok=True)
    for dialect in dialects or [d for d in DIALECTS if (Path(folder) / f"{d}.json").is_file()]:
        theirs = Report.load(Path(folder) / f"{dialect}.json")
        ours = report(theirs, adapter_of(dialect))
        save(ours, place / f"{dialect}.json")
        found = pairs(theirs, ours)
        sys.stdout.write(f"{dialect}: {dict(counted(dialect, found, known))}\n")
        for p in found:
            if not p.same and not reason(dialect, p, known):
                sys.stdout.write(f"  {p.theirs.case}: {p.theirs.word}, dialect {p.ours.word} {p.ours.message}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
