"""The verdicts as a page: `python -m reflrp.conformance.verdict_page docs/verdicts.md conformance/reports`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from reflrp.conformance import dialect_page
from reflrp.conformance.report import Report, Row, blamed
from reflrp.conformance.specification import clauses
from reflrp.conformance.verdicts import FAILING
from reflrp.storage.files import write_beside

SHOWN = {"conforms": "conforms", "variant": "variant", "deviates": "**deviates**", "inconclusive": "?", "": "–"}
"""How a clause's state is shown."""

HEAD = """# Verdicts

What other libraries do where the [specification](spec.md) says what to do: each library's own rules, run on networks of its own
kind against all {cases} vectors of suite {suite} in float64. `make verdicts` runs what packages there are in the environment of
`make peers`, and checkouts where variables name them; `make verdicts-tf` the two of Keras in that of `make peers-tf`. They write
[reports](../conformance/reports) and this page. How verdicts come about: [conformance.md](conformance.md).

Scripts that show behaviour in one library alone, ready to be sent: [upstream](../conformance/upstream/README.md), discussed in
[bugs](bugs/README.md).
"""

NOTES = {
    "lrp_for_lstm": "Its function `lrp_linear`, on each dense layer and each sum of a network; a checkout, `LRP_FOR_LSTM`.",
    "lrp_toolbox": "Its NumPy part; a checkout, `LRP_TOOLBOX`. Where a case has another stabiliser for alpha-beta than "
    "its 1e-16, its code runs with that number in the place of its own.",
    "lczerolens": "Its rules beside those of zennit 0.5.1, as its composite has them.",
    "relevance_propagation_jl": "**A transcription** of its formulas into Python, and not the library, which is in Julia. "
    "`tests/peers/test_julia.py` holds it against the relevance that the library's own tests store (68 of 68).",
}
"""What stands for a library here, where that is not the library as it is installed."""

MATRIX = """## Clause by clause

*variant*: another published reading than the one that a vector asks for. An answer that known readings give is held against their
clauses alone, since all others it follows; a NaN against STAB-2; another error, or a refusal that is missing, against its vector's
first clause, but an error against no denominator; any other answer against those clauses of its vector that no other vector clears.
A question mark: it may be one of several clauses, or nothing was left to judge it by. A dash: the library has no such thing.
"""


def reports(folder: Path) -> list[Report]:
    """Return the reports of a folder, by the libraries' names."""
    return [Report.load(path) for path in sorted(folder.glob("*.json"))]


def page(found: Sequence[Report], dialects: Sequence[Report] = ()) -> str:
    """Return the page: what is found of libraries, and how their dialects compare."""
    head = HEAD.format(cases=len(found[0].rows), suite=found[0].suite)
    parts = [*_counts(found), *dialect_page.section(found, dialects), "", *_matrix(found)]
    return "\n".join([head, *parts, *(line for one in found for line in _library(one))]) + "\n"


def _counts(found: Sequence[Report]) -> list[str]:
    titles = ("PASS", "VARIANT", "REJECTED", "DEVIATES", "ERROR", "NOT_REJECTED", "UNSUPPORTED")
    lines = [_line(["library", *titles, "unnamed"]), _line(["---"] * (len(titles) + 2))]
    for report in found:
        counts = Counter(row.verdict for row in report.rows)
        cells = [str(counts[title]) for title in titles]
        lines.append(_line([f"{report.library} {report.version}", *cells, str(len(unnamed(report)))]))
    return [*lines, "", "*Unnamed* are answers that fail and that no reading explains."]


def unnamed(report: Report) -> list[Row]:
    """Return the rows that fail without an explanation: neither a known reading, nor declared with a reason."""
    return [row for row in report.rows if row.fails]


def _matrix(found: Sequence[Report]) -> list[str]:
    lines = [MATRIX, _line(["clause", *(f"{r.library} {r.version}" for r in found)])]
    lines.append(_line(["---"] * (len(found) + 1)))
    for clause in clauses():
        cells = [SHOWN[state(report, clause)] for report in found]
        lines.append(_line([f"[{clause}](spec.md#{clause.lower()})", *cells]))
    return lines


def state(report: Report, clause: str) -> str:
    """Return whether a library deviates from a clause, has a variant of it, or conforms; "" where nothing of it was judged."""
    found = report.clauses().get(clause, "")
    return "" if found == "unsupported" else found


def _library(report: Report) -> list[str]:
    lines = ["", f"## {report.library} {report.version}", ""]
    lines += [NOTES[report.library], ""] if report.library in NOTES else []
    failing = [row for row in report.rows if row.verdict in FAILING]
    lines += [_line(["how", "clauses", "by up to", "vectors"]), _line(["---"] * 4)]
    lines += [_group(rows) for rows in _grouped(failing)]
    variants = [row for row in report.rows if row.verdict == "VARIANT"]
    if variants:
        told = ", ".join(f"`{rows[0].variant}` ({len(rows)})" for rows in _grouped(variants))
        lines += ["", f"Variants, with the number of vectors: {told}."]
    return lines


def _grouped(rows: Sequence[Row]) -> list[list[Row]]:
    """Return rows of one verdict and one reason together, the most frequent first."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.word, row.declared), []).append(row)
    return sorted(found.values(), key=lambda group: (-len(group), group[0].case))


def _group(rows: Sequence[Row]) -> str:
    """Return a line: the reason with its example, the clauses, the largest error in units of the largest relevance, where."""
    first = rows[0]
    against = dict.fromkeys(clause for row in rows for clause in sorted(blamed(row)) or row.clauses[:1])
    errors = [row.error for row in rows if row.error == row.error]
    size = f"{max(errors):.2g}" if errors else {"ERROR": "no number", "NOT_REJECTED": "not refused"}[first.verdict]
    links = " ".join(f"[{row.case}](../conformance/vectors/v1/{row.case}/case.json)" for row in rows)
    return _line([f"**{first.variant or first.verdict}**. {first.declared}", ", ".join(against), size, links])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def main(path: str, folder: str) -> None:
    """Write the page."""
    text = page(reports(Path(folder)), reports(Path(folder) / dialect_page.FOLDER))
    write_beside(Path(path), lambda file: file.write(text.encode()))


if __name__ == "__main__":
    main(*sys.argv[1:])
