"""What a run found: a row a case, with who was judged and against which vectors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reflrp.conformance.readings import LIBRARIES, READINGS
from reflrp.conformance.verdicts import CONFORM, FAILING, STOPPING
from reflrp.errors import InputError
from reflrp.ground import checks
from reflrp.storage.files import named, read_text, write_beside

VERDICTS = CONFORM | STOPPING | {"XPASS", "UNSUPPORTED"}

SCHEMA = "reflrp-conformance-report-1"

DENOMINATORS = "STAB-"
"""How the clauses of stabilisers begin."""

NAMED = (*READINGS, *LIBRARIES)
"""The readings whose tags verdicts carry."""


@dataclass(frozen=True)
class Row:
    """The verdict on one case.

    Attributes
    ----------
    case : str
        The case's id.
    clauses : tuple of str
        What it tests.
    verdict, variant, error, tolerance, first_bad, message
        As in `Verdict`; NaN where there is no number.
    declared : str
        The reason that a profile gives for this verdict; "" where none does.
    seconds : float
        How long the library took.

    """

    case: str
    clauses: tuple[str, ...]
    verdict: str
    variant: str = ""
    error: float = float("nan")
    tolerance: float = float("nan")
    first_bad: str = ""
    message: str = ""
    declared: str = ""
    seconds: float = 0.0

    @property
    def conforms(self) -> bool:
        """Whether the answer is a right one."""
        return self.verdict in CONFORM

    @property
    def fails(self) -> bool:
        """Whether the answer is wrong, or to another question since the forward pass differs, and no profile says so."""
        return self.verdict == "XPASS" or (self.verdict in STOPPING and not self.declared)

    @property
    def word(self) -> str:
        """The verdict with its variant, as DEVIATES(bias=full)."""
        return f"{self.verdict}({self.variant})" if self.variant and self.verdict != "FAIL" else self.verdict


@dataclass(frozen=True)
class Report:
    """All rows of a run.

    Attributes
    ----------
    library, version : str
        Who was judged.
    dtype : str
        In what it computed.
    suite : str
        The version of the vectors.
    index : str
        The SHA-256 of index.json, so that two reports are known to be of the same vectors.
    rows : tuple of Row
        A row a case.

    """

    library: str
    version: str
    dtype: str
    suite: str
    index: str
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        """Return the counts, and a line for each row that fails."""
        counts = Counter(row.verdict for row in self.rows)
        head = f"{self.library} {self.version}, {self.dtype}: " + ", ".join(f"{n} {v}" for v, n in counts.most_common())
        lines = [f"  {row.case}: {row.word} {row.message}".rstrip() for row in self.rows if row.fails]
        lines += [] if self.judged else ["  nothing was judged: each case is UNSUPPORTED or FORWARD"]
        return "\n".join([head, *lines])

    @property
    def ok(self) -> bool:
        """Whether something was judged, nothing fails, and what a profile declares is still so."""
        return self.judged and not any(row.fails for row in self.rows)

    @property
    def judged(self) -> bool:
        """Whether any row says something: a library that has none of it, or computes another network, is not right by that."""
        return any(row.verdict not in ("UNSUPPORTED", "FORWARD") for row in self.rows)

    def clauses(self) -> dict[str, str]:
        """Return each clause's state: deviates, inconclusive, variant, conforms or unsupported; see `states`."""
        return states(self.rows)

    def save(self, path: str | Path) -> None:
        """Write the report as JSON."""
        record = {"schema": SCHEMA, **asdict(self)}
        for row in record["rows"]:
            row.update({k: None for k in ("error", "tolerance") if row[k] != row[k]})
        write_beside(named(path), lambda file: file.write((json.dumps(record, indent=1) + "\n").encode()))

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Return the report that was saved. Raises InputError for a file that is none."""
        try:
            record = json.loads(read_text(named(path)))
            if record.pop("schema") != SCHEMA:
                raise ValueError("another schema")
            rows = tuple(_row(row) for row in record.pop("rows"))
            if not all(isinstance(v, str) for v in record.values()):
                raise ValueError("library, version, dtype, suite and index are texts")
            return cls(rows=rows, **record)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is no report of the conformance suite: {error}") from error


def _row(record: dict[str, Any]) -> Row:
    nan = {k: float("nan") for k in ("error", "tolerance") if record[k] is None}
    row = Row(**{**record, **nan, "clauses": tuple(record["clauses"])})
    texts = (row.case, *row.clauses, row.verdict, row.variant, row.first_bad, row.message, row.declared)
    numbers = (row.error, row.tolerance, row.seconds)
    if (
        row.verdict not in VERDICTS
        or not all(isinstance(t, str) for t in texts)
        or any(type(n) not in (int, float) for n in numbers)
    ):
        raise ValueError(f"the row {checks.shown(record)}")
    return row


def states(rows: Sequence[Row]) -> dict[str, str]:
    """Return {clause: deviates, inconclusive, variant, conforms or unsupported}.

    A clause deviates where a failing case speaks against it alone: a known reading of it gives the answer, the case names no
    other clause, or all others that it names conform somewhere. Where a case fails and none of its clauses deviates, all are
    inconclusive. An exception on a case of denominators alone clears nothing and speaks against nothing.
    """
    judged = [row for row in rows if row.verdict != "UNSUPPORTED"]
    failing = [row for row in judged if row.verdict == "XPASS" or row.verdict in FAILING or row.declared]
    passed = {clause for row in judged if row.conforms and not row.declared for clause in row.clauses}
    telling = [row for row in failing if not _says_nothing(row)]
    deviates = {clause for row in telling for clause in blamed(row, "deviation") or _left(row, passed)}
    open_ = {c for row in judged if row.verdict == "FORWARD" for c in row.clauses}
    open_ |= {c for row in telling if not deviates & {*blamed(row, "deviation"), *row.clauses} for c in row.clauses}
    variant = {clause for row in judged if row.verdict in ("VARIANT", "DEVIATES") for clause in blamed(row)}
    told = {**dict.fromkeys(passed, "conforms"), **dict.fromkeys(variant, "variant")}
    told |= {**dict.fromkeys(open_, "inconclusive"), **dict.fromkeys(deviates, "deviates")}
    named = dict.fromkeys(clause for row in rows for clause in row.clauses)
    explained = dict.fromkeys((c for row in failing for c in row.clauses), "inconclusive")
    return {clause: told.get(clause) or explained.get(clause, "unsupported") for clause in named}


def _raised(row: Row) -> bool:
    """Return whether the library raised, or gave no numbers at all: what is wrong is no denominator."""
    return row.verdict == "ERROR" and "NaN" not in row.message


def _says_nothing(row: Row) -> bool:
    return _raised(row) and all(clause.startswith(DENOMINATORS) for clause in row.clauses)


def _left(row: Row, passed: set[str]) -> frozenset[str]:
    """Return the clauses that a failure without a name speaks against: the only one, or those that no other case clears."""
    return frozenset(row.clauses) - passed if len(row.clauses) > 1 else frozenset(row.clauses)


def blamed(row: Row, status: str = "") -> frozenset[str]:
    """Return the clauses that a verdict by itself speaks of: those of the readings that give the answer, of a NaN STAB-2.

    With a status, those of its readings that have this one: what is a deviation together may be made of variants, too.
    An error, and a refusal that is missing, speak against the first clause of their case; an error not against denominators.
    """
    if row.verdict in ("VARIANT", "DEVIATES"):
        of = frozenset(
            r.clause for tag in row.variant.split(" + ") for r in NAMED if r.tag == tag and status in ("", r.status)
        )
        return of & set(row.clauses) or of
    if row.verdict == "ERROR" and "NaN" in row.message:
        return frozenset({"STAB-2"})
    if _raised(row):
        return frozenset([clause for clause in row.clauses if not clause.startswith(DENOMINATORS)][:1])
    return frozenset(row.clauses[:1] if row.verdict == "NOT_REJECTED" else ())
