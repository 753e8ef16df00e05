"""The command `reflrp map`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from reflrp.cli import arguments
from reflrp.cli.output import say
from reflrp.mapping import Images
from reflrp.mapping.images import Pixels, format_of
from reflrp.storage.files import opened


def map_(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The network, an .onnx file.")],
    data: Annotated[
        list[str],
        typer.Argument(metavar="DATA...", help=".npy, zarr, HDF5 (file.h5:NAME), a folder of images, or images."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The zarr group; what is there of this is gone on with.")],
    rules: Annotated[
        str, typer.Option(help='A preset, as epsilon_plus, "epsilon_gamma_box(low=0, high=1)", zennit.EpsilonPlusFlat.')
    ] = "auto",
    target: Annotated[
        str | None, typer.Option(help='Index; "3,5,1", one a sample; "(1,4)" in an output of more axes. Else: arg-max.')
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Explain the target against this one: what speaks for it and not for the other.")
    ] = None,
    init: Annotated[str, typer.Option(help="The relevance to start from: output (its value) or one.")] = "output",
    output: Annotated[str | None, typer.Option(help="Which output, where the model has several.")] = None,
    backend: Annotated[str, typer.Option(help="numpy, cupy, onnxruntime, or auto.")] = "numpy",
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples a chunk of the store. Else what fits into 512 MiB.")
    ] = None,
    strip: Annotated[bool, typer.Option(help="Explain the logits before a final Softmax or Sigmoid.")] = True,
    canonize: Annotated[
        list[str] | None,
        typer.Option(metavar="PASS", help="A canonizing pass, or none. May be repeated. Else what the rules want."),
    ] = None,
    preprocess: Annotated[
        str | None, typer.Option(help="Scalers at the input: pass or absorb. Else as the rules say (pass).")
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
    mean: Annotated[str | None, typer.Option(help="Images: what to subtract after scaling; one a channel.")] = None,
    std: Annotated[str | None, typer.Option(help="Images: what to divide by then; one a channel.")] = None,
    scale: Annotated[str, typer.Option(help="Images: what black and white become.")] = "0..1",
    size: Annotated[str | None, typer.Option(help="Images: HEIGHTxWIDTH, where the model leaves it open.")] = None,
    channels: Annotated[int | None, typer.Option(help="Images: 1 (grey) or 3, where the model leaves it open.")] = None,
) -> None:
    """Explain more samples than memory holds, into a zarr store; begun again, it goes on where it was stopped."""
    from reflrp.explainer import Explainer

    for option, given in (("init", init), ("backend", backend), ("dtype", dtype), ("preprocess", preprocess or "pass")):
        arguments.one_of(option, given)
    if dtype == "exact":
        raise typer.BadParameter("fractions are not stored; use float64 or float32", param_hint="--dtype")
    if os.path.realpath(out) in set(map(os.path.realpath, [str(model), *data])):
        raise typer.BadParameter(f"{out} is read already", param_hint="--out")
    given = _data(data, arguments.pixels(mean, std, scale, size, channels))
    explainer = Explainer(
        model,
        arguments.rules(rules),
        output=output,
        backend=backend,
        dtype=dtype,
        strip=strip,
        canonize=arguments.passes(canonize),
        preprocess=preprocess,
    )
    found = explainer.map(
        given,
        out,
        target=arguments.targets(None if target is None else [target], against)[0],
        init=init,
        layers=layers or False,
        conditions=arguments.conditions(through),
        batch_size=batch_size,
    )
    arrays = ", ".join(f"relevance/{name}" for name in sorted(found["relevance"].array_keys()))
    say(f"wrote {out.resolve()}: {found['output'].shape[0]} samples; {arrays}")


def _data(texts: list[str], pixels: Pixels) -> Any:
    """Return the data of the command line: one path, or images."""
    only = len(texts) == 1
    if only and pixels == Pixels() and not _is_image(texts[0]):
        return texts[0]
    where: Any = texts[0] if only and Path(texts[0]).is_dir() else texts
    return Images(where, (pixels.low, pixels.high), pixels.mean, pixels.std, pixels.size, pixels.channels)


def _is_image(text: str) -> bool:
    path = Path(text)
    if not path.is_file():
        return False
    with opened(path) as file:
        return format_of(file.read(16)) is not None
