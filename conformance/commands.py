"""The command `reflrp conformance`, which enters itself as an entry point of the group `reflrp.commands`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from reflrp.cli.output import say
from reflrp.conformance.cases import select
from reflrp.conformance.protocol import METHODS, Adapter
from reflrp.conformance.report import Report
from reflrp.errors import InputError
from reflrp.storage.files import check_place

app = typer.Typer(help="Hold an LRP library against the conformance vectors.", no_args_is_help=True)

Cases = Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Which cases; may be repeated. Else all.")]
Dtype = Annotated[str, typer.Option(help="float64, float32 or exact.")]
ProfileFile = Annotated[Path | None, typer.Option(help="Declared deviations, a TOML file.")]
Combinations = Annotated[bool, typer.Option(help="Name a FAIL by known readings together; takes seconds for each.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write the report to this JSON file.")]


@app.command()
def run(
    adapter: Annotated[str, typer.Option(metavar="MODULE:CLASS", help="The adapter, called without arguments.")],
    cases: Cases = None,
    dtype: Dtype = "float64",
    profile: ProfileFile = None,
    combinations: Combinations = False,
    out: Out = None,
) -> None:
    """Run a library's adapter on the cases; exit code 1 where something fails."""
    from reflrp.conformance.running import run as run_

    _check(out)
    _finished(run_(adapter_of(adapter), cases or "*", dtype, profile, None, combinations), out)


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

    _check(out)
    _finished(judge_(results, cases or "*", dtype, name, version, profile, combinations), out)


@app.command()
def report(
    reports: Annotated[list[Path], typer.Argument(metavar="REPORT...", help="Reports, JSON files.")],
    form: Annotated[str, typer.Option("--format", help="markdown, html or junit.")] = "markdown",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write it to this file. Else it is printed.")] = None,
) -> None:
    """Write reports as Markdown, an HTML matrix of clauses and libraries, or JUnit XML."""
    from reflrp.conformance.render import FORMATS
    from reflrp.ground import checks
    from reflrp.storage.files import write_beside

    _check(out)
    text = FORMATS[checks.choice("--format", form, tuple(FORMATS))]([Report.load(path) for path in reports])
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
    found = [case for case in select(cases or "*") if clause is None or clause in case.clauses]
    if not found:
        raise InputError(f"--clause={clause!r} is tested by none of these cases; docs/spec.md has their names")
    for case in found:
        say(f"{case.id}  {', '.join(case.clauses)}  {case.record['comment']}")


@app.command()
def explain(case: Annotated[str, typer.Argument(metavar="CASE", help="A case's id, or a glob.")]) -> None:
    """Say what a case tests, with its numbers."""
    from reflrp.conformance.explaining import explained

    for found in select(case):
        for line in explained(found).splitlines():
            say(line)


def adapter_of(text: str) -> Adapter:
    """Return what `module:Class` makes. Raises InputError where there is no such thing."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise InputError(
            f"--adapter={text!r} is none: write MODULE:CLASS, as reflrp.conformance.adapters.reflrp:Adapter"
        )
    try:
        made: Any = getattr(importlib.import_module(module), name)()
    except (Exception, SystemExit) as error:  # whatever the library raises, or its import
        raise InputError(f"--adapter={text!r} cannot be made: {type(error).__name__}: {error}") from error
    missing = [n for n in METHODS if not callable(getattr(made, n, None))]
    if missing:
        raise InputError(f"--adapter={text!r} is no adapter: it has no {', '.join(missing)}")
    found: Adapter = made
    return found


def _check(out: Path | None) -> None:
    """Raise InputError where the report could not be written, before the work is done."""
    if out is not None:
        check_place(out)


def _finished(found: Report, out: Path | None) -> None:
    for line in str(found).splitlines():
        say(line)
    if out is not None:
        found.save(out)
        say(f"wrote {out.resolve()}")
    if not found.ok:
        raise typer.Exit(1)
