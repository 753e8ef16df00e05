"""What a run found: a row a case, with who was judged and against which vectors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reflrp.conformance.verdicts import CONFORM, FAILING
from reflrp.errors import InputError
from reflrp.ground import checks
from reflrp.storage.files import named, read_text, write_beside

VERDICTS = CONFORM | FAILING | {"XPASS", "FORWARD", "UNSUPPORTED"}

SCHEMA = "reflrp-conformance-report-1"


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
        """Whether the answer is wrong, and no profile says so."""
        return self.verdict == "XPASS" or (self.verdict in FAILING and not self.declared)

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
        return "\n".join([head, *lines])

    @property
    def ok(self) -> bool:
        """Whether nothing fails, and what a profile declares is still so."""
        return not any(row.fails for row in self.rows)

    def clauses(self) -> dict[str, str]:
        """Return each clause's state: a clause conforms only if all of its cases that could be judged do."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            for clause in row.clauses:
                found.setdefault(clause, []).append(row)
        return {clause: state(rows) for clause, rows in found.items()}

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


def state(rows: Iterable[Row]) -> str:
    """Return what rows say together: deviates, conforms, variant, inconclusive or unsupported."""
    verdicts = {"DEVIATES" if row.verdict in FAILING or row.declared else row.verdict for row in rows}
    if verdicts & {"DEVIATES", "XPASS"}:
        return "deviates"
    if "FORWARD" in verdicts:
        return "inconclusive"
    if not verdicts & CONFORM:
        return "unsupported"
    return "variant" if "VARIANT" in verdicts else "conforms"
