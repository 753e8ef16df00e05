"""The command `reflrp`. What is heavy is imported in the commands, so that `reflrp --help` is quick.

Exit codes: 0 done, 1 the model or input cannot be explained (or a file cannot be written), 2 wrong usage, 130 stopped by
Ctrl-C, 141 nobody reads the output any more.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from reflrp.cli import arguments
from reflrp.cli.output import STOPPED, complain, say, show, status
from reflrp.errors import AdviceWarning, ReflrpError, UnsupportedOperator
from reflrp.starting import end_quietly
from reflrp.storage.files import check_place

if TYPE_CHECKING:
    from reflrp.explanation import Explanation

PAGES = (".html", ".htm")
"""Endings of pictures that no library is needed for: pages of tokens."""

SAMPLES = 10
"""How many samples the tables list."""


class _Group(TyperGroup):
    """Gives every failure one line on stderr and its exit code."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command and exit."""
        extra["standalone_mode"] = False
        try:
            code = super().main(*args, **extra)
            if code == STOPPED:  # typer's word for Ctrl-C
                complain("stopped")
        except (Exception, KeyboardInterrupt) as error:
            code = _failed(error)
        sys.exit(status(code))


def _failed(error: BaseException) -> int:
    """Print an error that is no bug of ours, and return its exit code; raise any other."""
    if hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "reflrp"
        message = error.format_message().rstrip(".")
        complain(f"{message}; see `{command} --help`")
        return 2
    if isinstance(error, typer.Abort | KeyboardInterrupt):
        complain("stopped")
        return STOPPED
    if isinstance(error, MemoryError):
        complain("this machine has not enough memory for it; lower reflrp.limits.MEMORY to be told where")
        return 1
    if not isinstance(error, ReflrpError | OSError):
        raise error
    complain(str(error))
    return 1


app = typer.Typer(cls=_Group, add_completion=False, pretty_exceptions_enable=False)

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="The network, an .onnx file.")]
Rules = Annotated[
    str,
    typer.Option(help='A preset, as epsilon_plus, "epsilon_gamma_box(low=0, high=1)", zennit.EpsilonPlusFlat.'),
]
Output = Annotated[str | None, typer.Option(help="Which output, where the model has several.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"reflrp {version('reflrp')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Layer-wise Relevance Propagation on ONNX networks: what each input contributed to the output."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


@app.command()
def explain(
    model: ModelFile,
    x: Annotated[list[str], typer.Argument(metavar="INPUT...", help=".npy, .npz (or x.npz:NAME), or images.")],
    rules: Rules = "auto",
    target: Annotated[
        str | None,
        typer.Option(help='Index; "3,5,1", one a sample; "(1,4)" in an output of more axes. Else: arg-max.'),
    ] = None,
    init: Annotated[str, typer.Option(help="The relevance to start from: output (its value) or one.")] = "output",
    output: Output = None,
    backend: Annotated[str, typer.Option(help="numpy or cupy.")] = "numpy",
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples at once. Else what fits into 512 MiB.")] = None,
    preprocess: Annotated[
        str | None, typer.Option(help="Scalers at the input: pass or absorb. Else as the rules say (pass).")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write everything to this .npz file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a picture: .png, .pdf, .svg ...; of tokens also .html.")
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="Sequences: a text file, a line of tokens for each sample (or a vocabulary).")
    ] = None,
    time_first: Annotated[bool, typer.Option("--time-first", help="Sequences: the first axis is time.")] = False,
    layers: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Keep inner values' relevance too; may be repeated.")
    ] = None,
    ledger: Annotated[bool, typer.Option("--ledger", help="Print the account of each node.")] = False,
    mean: Annotated[str | None, typer.Option(help="Images: what to subtract after scaling; one a channel.")] = None,
    std: Annotated[str | None, typer.Option(help="Images: what to divide by then; one a channel.")] = None,
    scale: Annotated[str, typer.Option(help="Images: what black and white become.")] = "0..1",
    size: Annotated[str | None, typer.Option(help="Images: HEIGHTxWIDTH, where the model leaves it open.")] = None,
    channels: Annotated[int | None, typer.Option(help="Images: 1 (grey) or 3, where the model leaves it open.")] = None,
) -> None:
    """Explain what a network says of an input."""
    from reflrp.cli.inputs import read
    from reflrp.explainer import Explainer
    from reflrp.model import load

    pixels = arguments.pixels(mean, std, scale, size, channels)
    where = arguments.target(target)
    _check_outputs(out, plot, [model, *x])
    if tokens is not None and plot is None:
        raise typer.BadParameter("the tokens are for a picture; give --plot", param_hint="--tokens")
    loaded = load(model)
    feeds, notes = read(loaded, x, pixels)
    explainer = Explainer(
        loaded, arguments.rules(rules), output=output, backend=backend, dtype=dtype, batch_size=batch_size,
        preprocess=preprocess,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdviceWarning)  # it is printed below
        e = explainer(feeds, target=where, init=init, layers=layers or False)
    from reflrp.cli import report

    how = f"{rules}, {dtype} on {backend}"
    show(*report.explanation(e, explainer.output, how, [*notes, *e.notes], SAMPLES, ledger))
    if out is not None:
        say(f"wrote {e.save(out).resolve()}")
    if plot is not None:
        _plot(e, plot, tokens, time_first)
        say(f"wrote {plot.resolve()}")


def _plot(e: Explanation, path: Path, words: Path | None, time_first: bool) -> None:
    """Write a picture: of tokens where these are given, or where a page is wanted."""
    from reflrp.show.tokens import labelled

    if words is None and path.suffix.lower() not in PAGES:
        e.plot(path)
    else:
        labelled(e, words, time_first or None).save(path)


@app.command()
def inspect(
    model: ModelFile,
    rules: Rules = "auto",
    output: Output = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]N,...", help="An input's shape, where the file leaves it open; may be repeated."),
    ] = None,
) -> None:
    """Say whether a network can be explained, and list its layers with their rules, or what stands in the way."""
    from reflrp.model import load
    from reflrp.show import tables

    try:
        loaded = load(model)
        parts = tables.summary_parts(loaded, arguments.rules(rules), arguments.shapes(loaded, shape), output)
    except UnsupportedOperator as error:
        rows = [[n.name, n.op, n.domain or "ai.onnx", str(n.opset), n.why] for n in error.nodes]
        show(tables.grid(["node", "operator", "domain", "opset", "why"], rows))
        count = "1 node stands" if len(rows) == 1 else f"{len(rows)} nodes stand"
        raise ReflrpError(f"{model} cannot be explained: {count} in the way ({_kinds(rows)})") from error
    show(*parts, f"{model} can be explained.")


@app.command()
def presets() -> None:
    """List the names that --rules takes."""
    from reflrp.cli import report

    show(*report.presets())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The folder for the picture.")] = Path(),
) -> None:
    """Explain ten handwritten digits and write a picture of it."""
    from reflrp.demo import RULES, run

    path = run(out)
    say(f"What a small network looks at in ten digits, by {RULES}: red speaks for the digit, blue against it.")
    say(path)


def _kinds(rows: Sequence[Sequence[str]]) -> str:
    return ", ".join(dict.fromkeys(row[1] for row in rows))


def _check_outputs(out: Path | None, plot: Path | None, inputs: Sequence[str | Path]) -> None:
    """Refuse, before any work, files that cannot be written or that would overwrite an input."""
    from reflrp.cli.inputs import split_name

    if plot is not None and plot.suffix.lower() not in PAGES:
        from reflrp.show.figures import require_matplotlib

        require_matplotlib(plot)
    taken = {os.path.realpath(split_name(str(p))[0]) for p in inputs}
    for path in (p for p in (out, plot) if p is not None):
        place = os.path.realpath(path)
        if place in taken:
            raise typer.BadParameter(f"{path} is read or written already", param_hint="--out or --plot")
        check_place(path)
        taken.add(place)


def main() -> None:
    """Run the command."""
    if signal.getsignal(signal.SIGINT) is end_quietly:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on `_Group` sees it
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever the terminal cannot show
    try:
        app(prog_name="reflrp")
    except KeyboardInterrupt:
        complain("stopped")
        sys.exit(STOPPED)
