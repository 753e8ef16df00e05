"""Names that speak to a terminal: of nodes, values, inputs, functions, domains; through the command's output."""

from __future__ import annotations

import random
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import Message
from models import draw
from onnx import ModelProto

import reflrp
from fuzz import terminal
from fuzz.seeds import seeds

SPEAKING = (
    "\x1b[2J",
    "\x1b]0;owned\x07",
    "\x1b[31mred",
    "\r\nerror: all is well",
    "\n" * 50,
    "\t" * 9,
    "\0",
    "\x08" * 9,
    "\x7f",
    "\x9b31m",
)
TURNING = (
    "\u202eevil",
    "\u2066a\u2069",
    "\u200b",
    "\ufeff",
    "\u2028",
    "\U000e0041",
    "e\u0301" * 300,
    "\uffff",
    "\u00a0",
    "\ud7ff",
)
MARKING = (
    "[bold]x[/bold]",
    "[link=x]y[/link]",
    "$\\undefined{$",
    "$x$",
    "<script>",
    "&amp;",
    "%s%n",
    "{0}",
    "{x!r}",
    "*",
    "?",
    "[",
    "a:b",
)
ODD = ("a" * 70_000, "\u6f22" * 9000, " ", "", "../../x", "=1", "-o", "--help")
NAMES = (*SPEAKING, *TURNING, *MARKING, *ODD)
"""Names that move a terminal's cursor, its reading direction or its markup, or that are long, or look like something else."""


def warm() -> None:
    """Run the command once."""
    terminal.run(["presets"])
    terminal.run(["presets"], tty=True)
    import_module("matplotlib.figure")


def make(chance: random.Random) -> bytes:
    """Return a model with one to three names replaced, everywhere they stand."""
    proto = ModelProto.FromString(chance.choice(seeds()))
    for _ in range(chance.choice([1, 1, 2, 3])):
        found = sorted(set(_names(proto)))
        if found:
            _rename(
                proto,
                chance.choice(found),
                chance.choice([chance.choice(NAMES), chance.choice(NAMES) + str(chance.randrange(9))]),
            )
    if chance.random() < 0.15:
        proto.graph.node[chance.randrange(len(proto.graph.node))].op_type = "Nothing" + chance.choice(NAMES)
    return proto.SerializeToString()


def _names(message: Message) -> list[str]:
    """Return all texts in a model that are names."""
    found: list[str] = []
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        if field.type == field.TYPE_STRING and field.name not in ("op_type",):
            found += [v for v in values if v]
        elif field.message_type is not None:
            found += [n for v in values for n in _names(v)]
    return found


def _rename(message: Message, old: str, new: str) -> None:
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            if field.is_repeated:
                value[:] = [new if v == old else v for v in value]
            elif value == old:
                setattr(message, field.name, new)
        elif field.message_type is not None:
            for v in value if field.is_repeated else [value]:
                _rename(v, old, new)


def tried(data: bytes, folder: Path) -> str:
    """List and explain the model by the command, on a terminal and into a pipe."""
    path = folder / "case" / "model.onnx"
    path.write_bytes(data)
    chance = random.Random(data)
    tty = chance.random() < 0.5
    terminal.run(["inspect", str(path)], tty)
    x = folder / "scratch" / "x.npz"
    np.savez(x, **_inputs(path))
    options = chance.choice(
        [
            [],
            ["--ledger"],
            ["--layers", "*"],
            ["--layers", "nothing\x1b[2J"],
            ["-o", str(folder / "scratch" / "e.npz")],
            ["--plot", str(folder / "scratch" / "e.svg")],
        ]
    )
    terminal.run(["explain", str(path), str(x), *options], tty)
    return "done"


def _inputs(path: Path) -> dict[str, Any]:
    """Return inputs that fit the model, or one that does not where it cannot be loaded."""
    try:
        ports = reflrp.load(path).source.inputs
        found = {
            k: draw(*(d if isinstance(d, int) else 2 for d in p.dims or ())).astype(p.dtype) for k, p in ports.items()
        }
        return {"".join(k): v for k, v in found.items() if k and "\0" not in k and "/" not in k and len(k) < 60_000}
    except (reflrp.ReflrpError, MemoryError, ValueError):
        return {"x": draw(2, 4)}
