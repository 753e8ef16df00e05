"""The specification as a page: `python -m reflrp.conformance.page docs/spec.md`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from reflrp.conformance.cases import Case, select
from reflrp.conformance.readings import LIBRARIES, READINGS
from reflrp.conformance.specification import Clause, clauses, sources

ROOMS = ("arrays", "ops", "passes", "rules")
FACES = ("composites", "engine", "neurons", "seeds", "ledger")
"""Where clauses are cited: in all files of the first, in the faces of the second."""

CITED = re.compile(r"[Cc]lauses?:? +([A-Z]+-\d+[^:]*)", re.DOTALL)

HEAD = """# The specification

What "the same rule" means, one statement a clause. The ids are permanent. This page is written by `make spec` from
[clauses.toml](../conformance/spec/clauses.toml), the vectors, and the code.

*required*: all published definitions agree. *variant*: several answers are published; the statement is the one that stands for the
name alone. *informative*: follows from other clauses. In the equations a is the input, w the parameter, b the bias,
z = sum_j a_j w_jk + b_k, R the relevance of the output, st the stabilised denominator, x+ = max(x, 0), x- = min(x, 0).

{count} clauses, {cases} vectors, {readings} other readings that the vectors tell apart, and {more} that were found in libraries and
stand in no vector: verdicts try them, too. How a library is held against them: [conformance.md](conformance.md); what other
libraries do: [verdicts.md](verdicts.md).
"""


def modules() -> Iterator[str]:
    """Yield the names of modules whose texts cite clauses."""
    for room in ROOMS:
        package = importlib.import_module(f"reflrp.{room}")
        yield from (f"reflrp.{room}.{i.name}" for i in pkgutil.iter_modules(package.__path__))
    yield from (f"reflrp.{name}" for name in FACES)


def places() -> dict[str, dict[str, tuple[str, int]]]:
    """Return {clause: {name: (file, line)}} of the classes, functions and modules that cite it."""
    found: dict[str, dict[str, tuple[str, int]]] = {}
    for name in modules():
        module = importlib.import_module(name)
        own = [v for v in vars(module).values() if getattr(v, "__module__", None) == name and hasattr(v, "__name__")]
        cited = [
            (value.__name__, inspect.getdoc(value), inspect.getsourcelines(value)[1])
            for value in own
            if callable(value)
        ]
        for title, text, line in [*cited, (name.removeprefix("reflrp."), inspect.getdoc(module), 1)]:
            for clause in {c for part in CITED.findall(text or "") for c in re.findall(r"\b[A-Z]+-\d+\b", part)}:
                found.setdefault(clause, {})[title] = _file(name), line
    return found


def _file(module: str) -> str:
    """Return a module's file in the repository."""
    path = Path(importlib.import_module(module).__file__ or "")
    parts = path.parts[len(path.parts) - 1 - path.parts[::-1].index("reflrp") :]
    return "/".join(parts)


def page() -> str:
    """Return the page."""
    cases, where, all_ = select("*"), places(), clauses()
    lines = [HEAD.format(count=len(all_), cases=len(cases), readings=len(READINGS), more=len(LIBRARIES))]
    family = ""
    for clause in all_.values():
        if clause.id.rsplit("-", 1)[0] != family:
            family = clause.id.rsplit("-", 1)[0]
            lines.append(f"## {family}\n")
        lines += _clause(clause, where.get(clause.id, {}), [c for c in cases if clause.id in c.clauses])
    lines.append("## Sources\n")
    lines += [f"- **{key}**: {text}" for key, text in sources().items()]
    return "\n".join(lines) + "\n"


def _clause(clause: Clause, where: dict[str, tuple[str, int]], cases: list[Case]) -> list[str]:
    lines = [f"### {clause.id}\n", f"{clause.statement}\n", f"```text\n{clause.equation}\n```\n"]
    told = ", ".join(clause.source) or "by convention"
    lines.append(f"- {clause.kind}, since {clause.since}; source: {told}")
    code = [f"[{name}](../{file}#L{line})" for name, (file, line) in sorted(where.items())]
    lines += [f"- code: {', '.join(code)}"] if code else []
    lines += [f"- variant `{tag}`: {text}" for tag, text in clause.variants.items()]
    for reading in (*READINGS, *LIBRARIES):
        if reading.clause == clause.id and (reading.seen_in or reading.status == "deviation"):
            seen = f" Seen in {', '.join(reading.seen_in)}." if reading.seen_in else ""
            lines.append(f"- otherwise, *{reading.tag}*: {reading.text}{seen}")
    links = " ".join(f"[{c.id}](../conformance/vectors/v1/{c.id}/case.json)" for c in cases)
    count = "1 vector" if len(cases) == 1 else f"{len(cases)} vectors"
    lines.append(f"\n<details><summary>{count}</summary>\n\n{links}\n\n</details>\n")
    return lines


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), "utf-8")
