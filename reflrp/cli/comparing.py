"""The command `reflrp compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reflrp.cli import arguments, outputs
from reflrp.cli.output import say, show

SIDE = "A preset, as epsilon_plus or zennit.EpsilonPlusFlat, or a saved explanation, an .npz file."


def compare(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The network, an .onnx file.")],
    x: Annotated[list[str], typer.Argument(metavar="INPUT...", help=".npy, .npz (or x.npz:NAME), or images.")],
    a: Annotated[str, typer.Option("--a", help=SIDE)],
    b: Annotated[str, typer.Option("--b", help=SIDE)],
    target: Annotated[
        str | None,
        typer.Option(help='Index; "3,5,1", one a sample; "(1,4)" in an output of more axes. Else: arg-max.'),
    ] = None,
    against: Annotated[str | None, typer.Option(help="Explain the target against this one.")] = None,
    init: Annotated[
        str | None,
        typer.Option(help="The relevance to start from: output (its value) or one. Else: a saved side's, or output."),
    ] = None,
    output: Annotated[str | None, typer.Option(help="Which output, where the model has several.")] = None,
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write a page (.html) or a picture (.png, .pdf, .svg ...).")
    ] = None,
) -> None:
    """Say at which node two explanations part, and which of their settings make the difference."""
    from reflrp.cli.inputs import read
    from reflrp.comparison import compare as compared
    from reflrp.mapping.images import Pixels
    from reflrp.model import load
    from reflrp.show.compared import parts

    (where,) = arguments.targets(None if target is None else [target], against)
    arguments.one_of("init", init or "output")
    arguments.one_of("dtype", dtype, ("float64", "float32"))
    outputs.check_picture("--out", out)
    outputs.check_places("--out", [out] if out else [], [model, *x, *(side for side in (a, b) if _saved(side))])
    sides = [_side("--a", a), _side("--b", b)]
    loaded = load(model)
    feeds, notes = read(loaded, x, Pixels())
    c = compared(loaded, feeds, sides[0], sides[1], target=where, init=init, output=output, dtype=dtype)
    show(*(f"note: {note}" for note in notes), *parts(c))
    if out is not None:
        c.to_html(out) if outputs.is_page(out) else c.plot(out)
        say(f"wrote {out.resolve()}")


def _side(option: str, text: str) -> Any:
    return text if _saved(text) else arguments.rules(text, option)


def _saved(text: str) -> bool:
    return text.endswith(".npz")
