"""The command `reflrp conformance`, which enters itself as an entry point of the group `reflrp.commands`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from reflrp.cli import arguments
from reflrp.cli.output import say
from reflrp.cli.outputs import check_places
from reflrp.conformance.cases import select
from reflrp.conformance.protocol import METHODS, Adapter
from reflrp.conformance.report import Report
from reflrp.errors import InputError

app = typer.Typer(help="Hold an LRP library against the conformance vectors.")

Cases = Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Which cases; may be repeated. Else all.")]
Dtype = Annotated[str, typer.Option(help="float64, float32 or exact.")]
ProfileFile = Annotated[Path | None, typer.Option(help="Declared deviations, a TOML file.")]
Combinations = Annotated[bool, typer.Option(help="Name a FAIL by known readings together; takes seconds for each.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write the report to this .json file.")]

ENDINGS = {".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html", ".xml": "junit"}
"""What the ending of a file says of the format of `report`."""


@app.command()
def run(
    adapter: Annotated[str, typer.Option(metavar="MODULE:CLASS", help="The adapter, called without arguments.")],
    cases: Cases = None,
    dtype: Dtype = "float64",
    profile: ProfileFile = None,
    combinations: Combinations = False,
    out: Out = None,
) -> None:
    """Run a library's adapter on the cases; exit code 1 where something fails, 2 where an option means nothing."""
    from reflrp.conformance.running import run as run_

    _check(cases, dtype, profile, out)
    with arguments.usage("--adapter"):
        made = adapter_of(adapter)
    _finished(run_(made, cases or "*", dtype, profile, None, combinations), out)


@app.command()
def judge(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="A folder with GROUP/CASE.npz.")],
    cases: Cases = None,
    dtype: Dtype = "float64",
    name: Annotated[str, typer.Option(help="The library.")] = "results",
    version: Annotated[str, typer.Option(help="Its version.")] = "unknown",
    profile: ProfileFile = None,
    combinations: Combinations = False,
    out: Out = None,
) -> None:
    """Judge what a library in any language wrote."""
    from reflrp.conformance.judging import judge as judge_

    _check(cases, dtype, profile, out)
    _finished(judge_(results, cases or "*", dtype, name, version, profile, combinations), out)


@app.command()
def report(
    reports: Annotated[list[Path], typer.Argument(metavar="REPORT...", help="Reports, JSON files.")],
    form: Annotated[
        str | None,
        typer.Option("--format", help="markdown, html or junit. Else as the file's ending says, or markdown."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write it to this .md, .html or .xml file. Else it is printed.")
    ] = None,
) -> None:
    """Write reports as Markdown, an HTML matrix of clauses and libraries, or JUnit XML."""
    from reflrp.conformance.render import FORMATS
    from reflrp.storage.files import write_beside

    if form is not None:
        arguments.one_of("format", form, tuple(FORMATS))
    write = FORMATS[_form(form, out)]
    check_places("--out", [out] if out else [], reports)
    text = write([Report.load(path) for path in reports])
    if out is None:
        for line in text.splitlines():
            say(line)
    else:
        write_beside(out, lambda file: file.write(text.encode()))
        say(f"wrote {out.resolve()}")


@app.command("list")
def list_(
    cases: Cases = None,
    clause: Annotated[str | None, typer.Option(help="Only those that test this clause.")] = None,
) -> None:
    """List the cases with what they test."""
    with arguments.usage("--cases"):
        chosen = select(cases or "*")
    found = [case for case in chosen if clause is None or clause in case.clauses]
    if not found:
        what = f"{clause!r} is tested by none of these cases; docs/spec.md has the names of clauses"
        raise typer.BadParameter(what, param_hint="--clause")
    for case in found:
        say(f"{case.id}  {', '.join(case.clauses)}  {case.record['comment']}")


@app.command()
def explain(case: Annotated[str, typer.Argument(metavar="CASE", help="A case's id, or a glob.")]) -> None:
    """Say what a case tests, with its numbers."""
    from reflrp.conformance.explaining import explained

    with arguments.usage("CASE"):
        chosen = select(case)
    for found in chosen:
        for line in explained(found).splitlines():
            say(line)


def adapter_of(text: str) -> Adapter:
    """Return what `module:Class` makes. Raises InputError where there is no such thing."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise InputError(f"{text!r} is none: write MODULE:CLASS, as reflrp.conformance.adapters.reflrp:Adapter")
    try:
        made: Any = getattr(importlib.import_module(module), name)()
    except (Exception, SystemExit) as error:  # whatever the library raises, or its import
        raise InputError(f"{text!r} cannot be made: {type(error).__name__}: {error}") from error
    missing = [n for n in METHODS if not callable(getattr(made, n, None))]
    if missing:
        raise InputError(f"{text!r} is no adapter: it has no {', '.join(missing)}")
    found: Adapter = made
    return found


def _check(cases: list[str] | None, dtype: str, profile: Path | None, out: Path | None) -> None:
    """Refuse, before any work, options that no library can serve, and a report that could not be written."""
    arguments.one_of("dtype", dtype)
    with arguments.usage("--cases"):
        select(cases or "*")
    if out is not None and out.suffix.lower() != ".json":
        what = f"{out}: the report is JSON, so end the name with .json; `reflrp conformance report` makes other formats of it"
        raise typer.BadParameter(what, param_hint="--out")
    check_places("--out", [out] if out else [], [profile] if profile else [])


def _form(form: str | None, out: Path | None) -> str:
    """Return the format that is asked for, by name or by the ending of a file; the two may not differ."""
    told = ENDINGS.get(out.suffix.lower()) if out else form or "markdown"
    if told is None:
        known = ", ".join(f"{ending} ({name})" for ending, name in ENDINGS.items())
        raise typer.BadParameter(f"{out} says no known format; end the name with {known}", param_hint="--out")
    if form not in (None, told):
        raise typer.BadParameter(f"{form} is not what {out} says, which is {told}", param_hint="--format")
    return told


def _finished(found: Report, out: Path | None) -> None:
    for line in str(found).splitlines():
        say(line)
    if out is not None:
        found.save(out)
        say(f"wrote {out.resolve()}")
    if not found.ok:
        raise typer.Exit(1)
