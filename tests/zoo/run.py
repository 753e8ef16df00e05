"""Check every export in a folder and write the coverage table.

    PYTHONPATH=tests python -m zoo.run FOLDER [PATTERN ...] [--table docs/coverage.md] [--json results.json]

PATTERN selects by NAME.EXPORTER, as in `lenet.*`. Which failures are known, and why, is in expected.toml; any other
failure, and any known one that has gone, makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from zoo.check import Outcome, check, entries
from zoo.table import coverage

EXPECTED = Path(__file__).with_name("expected.toml")


def expected() -> dict[str, dict[str, str]]:
    """Return the known failures: stage -> {pattern of NAME.EXPORTER: reason}."""
    return tomllib.loads(EXPECTED.read_text("utf-8"))


def reason(known: Mapping[str, Mapping[str, str]], key: str, stage: str) -> str | None:
    """Return why this export is known to fail at this stage; None where it is not."""
    return next((why for pattern, why in known.get(stage, {}).items() if fnmatchcase(key, pattern)), None)


def surprises(outcomes: Sequence[Outcome], known: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return a line for each failure that is not known, and for each known one that has gone."""
    lines = []
    for outcome in outcomes:
        if outcome.failed and reason(known, outcome.key, outcome.failed) is None:
            lines.append(f"{outcome.key} fails at {outcome.failed}: {outcome.error[:300]}")
        for stage in outcome.passed:
            if reason(known, outcome.key, stage) is not None:
                lines.append(f"{outcome.key} passes {stage}: take it out of expected.toml")
    return lines


def gaps(outcomes: Sequence[Outcome]) -> str:
    """Return the failures by cause, the commonest first: what stands in the way of how many exports."""
    causes: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for outcome in outcomes:
        found = set(outcome.offenders) or ({outcome.error[:160]} if outcome.failed else set())
        for cause in {f"{outcome.failed}: {cause}" for cause in found}:
            causes[cause] += 1
            examples.setdefault(cause, []).append(outcome.key)
    rows = [f"| {n} | {c.replace('|', '/')} | {', '.join(examples[c][:4])} |" for c, n in causes.most_common()]
    return "\n".join(["| exports | cause | for example |", "|---|---|---|", *rows, ""])


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print one line each, write the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("patterns", nargs="*")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--gaps", type=Path, help="write the failures by cause here")
    given = parser.parse_args(arguments)
    chosen = [
        e for e in entries(given.folder) if not given.patterns or any(fnmatchcase(e.key, p) for p in given.patterns)
    ]
    outcomes, known = [], expected()
    for entry in chosen:
        outcomes.append(check(entry))
        print(_line(outcomes[-1], known), flush=True)
    _write(given, outcomes, known)
    lines = surprises(outcomes, known)
    whole = sum(not o.failed for o in outcomes)
    print(f"\n{whole} of {len(outcomes)} exports pass every stage; {len(lines)} surprises", *lines, sep="\n")
    return 1 if lines else 0


def _line(outcome: Outcome, known: Mapping[str, Mapping[str, str]]) -> str:
    text = f"{outcome.key:45} {outcome.nodes:5} nodes {outcome.seconds:7.2f} s  "
    if not outcome.failed:
        return text + "ok"
    sign = "known" if reason(known, outcome.key, outcome.failed) is not None else "FAILS"
    return f"{text}{sign} at {outcome.failed}: {outcome.error[:160]}"


def _write(given: argparse.Namespace, outcomes: Sequence[Outcome], known: Mapping[str, Mapping[str, str]]) -> None:
    if given.json:
        given.json.write_text(json.dumps([o.as_dict() for o in outcomes], indent=1), "utf-8")
    if given.gaps:
        given.gaps.write_text(gaps(outcomes), "utf-8")
    if given.table:
        given.table.parent.mkdir(parents=True, exist_ok=True)
        given.table.write_text(coverage(outcomes, known), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
