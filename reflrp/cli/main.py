"""The command `reflrp`. What is heavy is imported in the commands, so that `reflrp --help` is quick.

Exit codes: 0 done, 1 the model or input cannot be explained (or a file cannot be written), 2 wrong usage, 130 stopped by
Ctrl-C, 141 nobody reads the output any more.
"""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import entry_points
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from reflrp.cli import arguments, compiling, mapping
from reflrp.cli.comparing import compare
from reflrp.cli.output import STOPPED, complain, say, show, status
from reflrp.errors import AdviceWarning, ReflrpError, UnsupportedOperator
from reflrp.starting import end_quietly

SAMPLES = 10
"""How many samples the tables list."""


COMMANDS = "reflrp.commands"
"""The group of entry points in which packages that stand above this one enter commands: `conformance` is one."""


def _entered(name: str) -> Any:
    """Return the command that a package has entered under a name, or None."""
    for found in entry_points(group=COMMANDS, name=name):
        return typer.main.get_command(found.load())
    return None


class _Group(TyperGroup):
    """Gives every failure one line on stderr and its exit code; has the commands of entry points too."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return [*super().list_commands(ctx), *sorted(point.name for point in entry_points(group=COMMANDS))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of a name, our own first."""
        return super().get_command(ctx, cmd_name) or _entered(cmd_name)

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
        list[str] | None,
        typer.Option(
            help='Index; "3,5,1", one a sample; "(1,4)" in an output of more axes. Else: arg-max. May be repeated: '
            "each has its own answer."
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Explain the target against this one: what speaks for it and not for the other.")
    ] = None,
    init: Annotated[str, typer.Option(help="The relevance to start from: output (its value) or one.")] = "output",
    output: Output = None,
    backend: Annotated[str, typer.Option(help="numpy, cupy, onnxruntime, or auto.")] = "numpy",
    dtype: Annotated[str, typer.Option(help="float64, float32, or exact (fractions).")] = "float64",
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="How many threads onnxruntime computes with.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples at once. Else what fits into 512 MiB.")] = None,
    strip: Annotated[bool, typer.Option(help="Explain the logits before a final Softmax or Sigmoid.")] = True,
    canonize: Annotated[
        list[str] | None,
        typer.Option(metavar="PASS", help="A canonizing pass, or none. May be repeated. Else what the rules want."),
    ] = None,
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
    name: Annotated[
        str | None, typer.Option(help="Sequences: the input that the picture of tokens is of, where there are several.")
    ] = None,
    time_first: Annotated[
        bool | None,
        typer.Option(
            "--time-first/--batch-first", help="Whether samples are on an input's second axis. Else as is proven."
        ),
    ] = None,
    layers: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Keep inner values' relevance too; may be repeated.")
    ] = None,
    through: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=N,...", help="Relevance through these neurons or channels only; may be repeated."
        ),
    ] = None,
    ledger: Annotated[bool, typer.Option("--ledger", help="Print the account of each node.")] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Say how far rounding may have moved the relevance: two more runs.")
    ] = False,
    mean: Annotated[str | None, typer.Option(help="Images: what to subtract after scaling; one a channel.")] = None,
    std: Annotated[str | None, typer.Option(help="Images: what to divide by then; one a channel.")] = None,
    scale: Annotated[str, typer.Option(help="Images: what black and white become.")] = "0..1",
    size: Annotated[str | None, typer.Option(help="Images: HEIGHTxWIDTH, where the model leaves it open.")] = None,
    channels: Annotated[int | None, typer.Option(help="Images: 1 (grey) or 3, where the model leaves it open.")] = None,
) -> None:
    """Explain what a network says of an input."""
    from reflrp.cli import outputs, report
    from reflrp.cli.inputs import read
    from reflrp.explainer import Explainer
    from reflrp.model import load

    pixels = arguments.pixels(mean, std, scale, size, channels)
    goals = arguments.targets(target, against)
    for option, given in (("init", init), ("backend", backend), ("dtype", dtype), ("preprocess", preprocess or "pass")):
        arguments.one_of(option, given)
    arguments.together(backend, dtype, threads)
    composite = arguments.rules(rules)
    files = [outputs.Files(out, plot, tokens, name, time_first).of(suffix) for suffix in arguments.suffixes(target)]
    outputs.check(files, [model, *x, *([tokens] if tokens else [])])
    passes, chosen = arguments.passes(canonize), arguments.conditions(through)
    loaded = load(model)
    feeds, notes = read(loaded, x, pixels)
    outputs.check_tokens(files[0], feeds, bool(layers))
    explainer = Explainer(
        loaded,
        composite,
        output=output,
        backend=backend,
        dtype=dtype,
        strip=strip,
        canonize=passes,
        batch_size=batch_size,
        preprocess=preprocess,
        threads=threads,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdviceWarning)  # it is printed below
        found = explainer.each(
            feeds, goals, init=init, layers=layers or False, conditions=chosen, uncertainty=uncertainty
        )
    how = f"{rules}, {dtype} on {backend}"
    for e, places in zip(found, files, strict=True):
        shown = [*notes, *e.notes]
        show(*report.explanation(e, explainer.output, how, shown, SAMPLES, ledger, time_first))
        for path in places.write(e):
            say(f"wrote {path.resolve()}")


app.command()(compare)


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


app.command("compile")(compiling.compile_)
app.command("map")(mapping.map_)


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
