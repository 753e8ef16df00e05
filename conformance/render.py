"""Reports as Markdown, as an HTML matrix of clauses and libraries, and as JUnit XML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from xml.etree import ElementTree

from reflrp.conformance.report import Report, Row
from reflrp.conformance.specification import clauses

SIGNS = {"conforms": "✓", "variant": "variant", "deviates": "✗", "inconclusive": "?", "unsupported": "–", "": ""}
"""How a state is shown."""

COLOURS = {"conforms": "#cfc", "variant": "#ffc", "deviates": "#fcc", "inconclusive": "#eee", "unsupported": "#fff"}


def matrix(reports: Sequence[Report]) -> list[tuple[str, list[str]]]:
    """Return (clause, each report's state of it), in the order of the clauses."""
    found = [report.clauses() for report in reports]
    return [(clause, [states.get(clause, "") for states in found]) for clause in clauses()]


def titles(reports: Sequence[Report]) -> list[str]:
    """Return who was judged, and in what."""
    return [f"{r.library} {r.version}, {r.dtype}" for r in reports]


def markdown(reports: Sequence[Report]) -> str:
    """Return the matrix, the counts, and each failing row with its message."""
    head = ["clause", *titles(reports)]
    rows = [[clause, *(SIGNS[s] for s in states)] for clause, states in matrix(reports)]
    lines = ["# Conformance", "", _line(head), _line(["---"] * len(head)), *map(_line, rows)]
    for report, title in zip(reports, titles(reports), strict=True):
        counts = Counter(row.verdict for row in report.rows)
        lines += [
            "",
            f"## {title}",
            "",
            f"Suite {report.suite}: " + ", ".join(f"{n} {v}" for v, n in counts.most_common()),
        ]
        lines += ["", *(_told(row) for row in report.rows if row.verdict in TOLD)]
    return "\n".join(lines).rstrip() + "\n"


TOLD = ("DEVIATES", "FAIL", "NOT_REJECTED", "ERROR", "XPASS", "FORWARD", "VARIANT")
"""Verdicts of which a report says more than their number."""


def _told(row: Row) -> str:
    declared = f" *(declared: {row.declared})*" if row.declared else ""
    return f"- `{row.case}` **{row.word}** {row.message}{declared}".rstrip()


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"


def html(reports: Sequence[Report]) -> str:
    """Return a page with the matrix; a cell says its cases and verdicts when it is pointed at."""
    head = "".join(f"<th>{escape(t)}</th>" for t in ["clause", *titles(reports)])
    body = []
    for clause, states in matrix(reports):
        cells = [f'<th title="{escape(clauses()[clause].statement)}">{escape(clause)}</th>']
        for report, state in zip(reports, states, strict=True):
            said = "\n".join(
                f"{row.case}: {row.word}" for row in report.rows if clause in row.clauses and not row.conforms
            )
            colour = COLOURS.get(state, "#fff")
            cells.append(f'<td style="background:{colour}" title="{escape(said)}">{escape(state)}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    style = "body{font:14px sans-serif}table{border-collapse:collapse}th,td{border:1px solid #999;padding:2px 6px}"
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f'<!doctype html><meta charset="utf-8"><title>Conformance</title><style>{style}</style>{table}\n'


def junit(reports: Sequence[Report]) -> str:
    """Return the rows as JUnit XML, a suite a report: what fails there fails here."""
    root = ElementTree.Element("testsuites")
    for report, title in zip(reports, titles(reports), strict=True):
        failing = sum(row.fails for row in report.rows)
        skipped = sum(_unjudged(row) for row in report.rows)
        counts = {"tests": str(len(report.rows)), "failures": str(failing), "skipped": str(skipped)}
        suite = ElementTree.SubElement(root, "testsuite", {"name": title, **counts})
        for row in report.rows:
            case = ElementTree.SubElement(suite, "testcase", name=row.case, classname=title, time=f"{row.seconds:.4f}")
            if row.fails:
                ElementTree.SubElement(case, "failure", message=_clean(f"{row.word} {row.message}"))
            elif _unjudged(row):
                ElementTree.SubElement(case, "skipped", message=_clean(f"{row.verdict} {row.message}"))
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _unjudged(row: Row) -> bool:
    """Return whether a row says nothing, and that fails no run: a FORWARD does unless it is declared."""
    return row.verdict in ("UNSUPPORTED", "FORWARD") and not row.fails


def _clean(text: str) -> str:
    """Return a text without the characters that XML has none of."""
    return "".join(c if c.isprintable() else " " for c in text)


FORMATS = {"markdown": markdown, "html": html, "junit": junit}
"""How reports are written."""
