"""The part of docs/verdicts.md on dialects: how many cases are the same as in the library, and why the others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from reflrp.conformance.dialects import FOLDER, Pair, counted, differences, pairs
from reflrp.conformance.report import Report

__all__ = ["FOLDER", "section"]

HEAD = """## Dialects

Each [dialect](dialects.md) answers the cases that its library answered. *Same*: the same verdict by the same readings, which
means the same numbers within the vectors' tolerance. *Neither*: both have no such thing. *Further*: the dialect goes on where the
library has no such layer. *Parted*: on purpose, for one of the reasons below. `tests/test_dialects_conform.py` runs all of them."""

FURTHER = "UNSUPPORTED"


def section(theirs: Sequence[Report], ours: Sequence[Report]) -> list[str]:
    """Return the lines; none where there are no dialects."""
    if not ours:
        return []
    of = {report.library: report for report in theirs}
    compared = {name: pairs(of[name], report) for report in ours if (name := report.library.rpartition(".")[2]) in of}
    lines = [
        "",
        HEAD,
        "",
        "| dialect | same | neither | further | parted | unnamed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_row(name, found) for name, found in compared.items()]
    return [*lines, "", *_reasons(compared)]


def _row(name: str, found: Sequence[Pair]) -> str:
    counts = counted(name, found, differences())
    further = sum(1 for p in found if p.theirs.verdict == FURTHER and not p.without)
    parted = sum(n for key, n in counts.items() if key not in ("same", "without", "unnamed")) - further
    cells = (name, counts["same"], counts["without"], further, parted, counts["unnamed"])
    return f"| {' | '.join(map(str, cells))} |"


def _reasons(compared: dict[str, tuple[Pair, ...]]) -> list[str]:
    """Return a line for each reason, with the number of cases in each dialect."""
    found: dict[str, list[str]] = {}
    for name, rows in compared.items():
        counts: Counter[str] = counted(name, rows, differences())
        for reason, number in counts.items():
            if reason not in ("same", "without", "unnamed"):
                found.setdefault(reason, []).append(f"{name} {number}")
    return [f"- {reason} ({', '.join(dialects)})" for reason, dialects in found.items()]
