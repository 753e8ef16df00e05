"""The command `reflrp compile`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from reflrp.cli import arguments
from reflrp.cli.output import say
from reflrp.cli.outputs import check_ending
from reflrp.seeds import Contrast
from reflrp.storage.files import check_place


def compile_(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The network, an .onnx file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Write the compiled model to this .onnx file.")],
    rules: Annotated[
        str, typer.Option(help='A preset, as epsilon_plus, "epsilon_gamma_box(low=0, high=1)", zennit.EpsilonPlusFlat.')
    ] = "auto",
    target: Annotated[
        str | None, typer.Option(help='Index, "(1,4)" in an output of more axes, or input: an input `target` is added.')
    ] = None,
    init: Annotated[str, typer.Option(help="The relevance to start from: output, one, or input.")] = "output",
    output: Annotated[str | None, typer.Option(help="Which output, where the model has several.")] = None,
    layers: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Inner values whose relevance is an output too.")
    ] = None,
    opset: Annotated[int | None, typer.Option(min=17, help="The opset, 17 or later. Else the model's own.")] = None,
    preprocess: Annotated[
        str | None, typer.Option(help="Scalers at the input: pass or absorb. Else as the rules say (pass).")
    ] = None,
    strip: Annotated[bool, typer.Option(help="Strip a final Softmax or Sigmoid, and explain its input.")] = True,
    canonize: Annotated[
        list[str] | None,
        typer.Option(metavar="PASS", help="A canonizing pass, or none. May be repeated. Else as the rules say."),
    ] = None,
    against: Annotated[str | None, typer.Option(help="Explain the target against this one.")] = None,
    through: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN=NEURON,...", help="Let relevance through these neurons only. May be repeated."),
    ] = None,
    derived: Annotated[str, typer.Option(help="Weights made of others: in the graph, or stored.")] = "graph",
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]N,3,...", help="An input's shape; a name, as N or T, keeps a length open. May be repeated."
        ),
    ] = None,
) -> None:
    """Write one ONNX model that computes the output and its relevance, to run without reflrp."""
    from reflrp.compiler import compile
    from reflrp.model import load

    check_place(out)
    if os.path.realpath(out) == os.path.realpath(model):
        raise typer.BadParameter(f"{out} is read already", param_hint="--out")
    check_ending("--out", out, (".onnx", ".pb"), "both are ONNX's binary format")
    arguments.one_of("preprocess", preprocess or "pass")
    arguments.one_of("init", init, ("output", "one", "input"))
    arguments.one_of("derived", derived, ("graph", "stored"))
    goals = None if target is None else [target]
    where: Any = target if target == "input" else arguments.targets(goals, against)[0]
    if target == "input" and against is not None:
        raise typer.BadParameter("of a target that is an input there is no other", param_hint="--against")
    sides = (where.target, where.against) if isinstance(where, Contrast) else (where,)
    if any(isinstance(side, list) for side in sides):
        raise typer.BadParameter("a graph has one target for all samples, or an input for it", param_hint="--target")
    composite, passes = arguments.rules(rules), arguments.passes(canonize)
    shapes = arguments.open_shapes(load(model), shape)
    how: Any = derived
    compiled = compile(
        model,
        composite,
        where,
        init,
        output,
        layers or False,
        opset,
        how,
        conditions=arguments.conditions(through),
        shapes=shapes,
        preprocess=preprocess,
        strip=strip,
        canonize=passes,
        out=out,
    )
    outputs = ", ".join(o.name for o in compiled.graph.output)
    say(f"wrote {out.resolve()}: {len(compiled.graph.node)} nodes; outputs {outputs}")
