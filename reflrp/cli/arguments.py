"""The command line's texts as values. What cannot be read is a usage error that names the option."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Any

import typer

from reflrp.composites import Composite, resolve
from reflrp.composites.texts import read_rules
from reflrp.errors import InputError, RuleError
from reflrp.ground.checks import listed, shown
from reflrp.mapping.images import MODES, Pixels
from reflrp.passes.canonize import check_passes
from reflrp.seeds import Contrast

if TYPE_CHECKING:
    from reflrp.model import Model

WHOLE = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")
TUPLE = re.compile(r"\s*\(([^()]*?),?\s*\)\s*")
SIDE = re.compile(r"0*[1-9][0-9]{0,17}")
NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?\s*", re.IGNORECASE)


def rules(text: str, option: str = "--rules") -> Composite:
    """Return the composite of `name`, of `name(key=value, ...)`, or of `{'pattern': 'rule', ...}`, as an option gave it."""
    try:
        return resolve(read_rules(text))
    except RuleError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


CHOICES = {
    "init": ("output", "one"),
    "backend": ("numpy", "cupy", "onnxruntime", "auto"),
    "dtype": ("float64", "float32", "exact"),
    "preprocess": ("pass", "absorb"),
}
"""The options that take one of a few words."""


@contextmanager
def usage(option: str) -> Iterator[None]:
    """Make wrong usage of an InputError about an option's value that no model or input can set right."""
    try:
        yield
    except InputError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def one_of(option: str, text: str, choices: Sequence[str] = ()) -> None:
    """Check an option that takes one of a few words: those that it usually takes, or others."""
    known = choices or CHOICES[option]
    if text not in known:
        raise typer.BadParameter(f"{shown(text)} is unknown; use {listed(known)}", param_hint=f"--{option}")


def together(backend: str, dtype: str, threads: int | None = None) -> None:
    """Check what one option forbids another."""
    if dtype == "exact" and backend not in ("numpy", "auto"):
        raise typer.BadParameter("fractions are computed with --backend numpy alone", param_hint="--dtype")
    if threads is not None and backend not in ("onnxruntime", "auto"):
        raise typer.BadParameter("they are for --backend onnxruntime or auto", param_hint="--threads")


def passes(texts: list[str] | None) -> tuple[str, ...] | None:
    """Return the canonizing passes; none at all for the word none."""
    if texts is None:
        return None
    try:
        return check_passes([t for t in texts if t != "none"])
    except RuleError as error:
        raise typer.BadParameter(str(error), param_hint="--canonize") from error


def conditions(texts: list[str] | None) -> dict[str, list[int]] | None:
    """Return the neurons that relevance goes through, by pattern; None where none are given."""
    found = {}
    for text in texts or ():
        pattern, equals, numbers = text.rpartition("=")
        chosen = [int(n) for n in numbers.split(",") if WHOLE.fullmatch(n)]
        if not equals or len(chosen) <= numbers.count(","):
            raise typer.BadParameter("give PATTERN=NEURON,..., as relu1=3,5", param_hint="--through")
        found[pattern] = chosen
    return found or None


def targets(texts: list[str] | None, against: str | None) -> list[Any]:
    """Return what is to be explained: one target an explanation, each against another where one is given."""
    goals = [_target(text, "--target") for text in texts] if texts else [None]
    if against is None:
        return goals
    other = _target(against, "--against")
    if any(_meet(goal, other) for goal in goals):
        raise typer.BadParameter("it sets an entry against itself: give two different ones", param_hint="--against")
    return [Contrast(goal, other) for goal in goals]


def _meet(goal: Any, other: Any) -> bool:
    """Return whether a target and what it is set against are the same entry of a sample."""
    one, two = (
        [i if isinstance(i, tuple) else (i,) for i in (g if isinstance(g, list) else [g])] for g in (goal, other)
    )
    count = max(len(one), len(two))
    return any(a == b for a, b in zip(one * (count // len(one)), two * (count // len(two)), strict=False))


def suffixes(texts: list[str] | None) -> list[str]:
    """Return what to add to the names of files for each target, where there are several."""
    if texts is None or len(texts) < 2:
        return [""]
    found = [f"-target{re.sub('[^0-9-]+', '_', text).strip('_')[:60]}" for text in texts]
    if len(set(found)) < len(found):
        raise typer.BadParameter("each target once", param_hint="--target")
    return found


def _target(text: str | None, option: str) -> Any:
    """Return None, an int, a list of ints (one a sample) or, in brackets, an index tuple."""
    if text is None:
        return None
    inner = TUPLE.fullmatch(text)
    found = [int(t) for t in (inner[1] if inner else text).split(",") if WHOLE.fullmatch(t)]
    if len(found) < 1 + (inner[1] if inner else text).count(","):
        raise typer.BadParameter('give an index, "3,5,1" or "(1,4)"', param_hint=option)
    if inner:
        return tuple(found)
    return found if "," in text else found[0]


def pixels(mean: str | None, std: str | None, scale: str, size: str | None, channels: int | None) -> Pixels:
    """Return how images become numbers."""
    low, high = _numbers("--scale", scale.replace("..", ","), 2)
    means = _numbers("--mean", mean) if mean is not None else Pixels.mean
    stds = _numbers("--std", std) if std is not None else Pixels.std
    if channels not in (None, *MODES):
        raise typer.BadParameter("images have 1, 3 or 4 channels", param_hint="--channels")
    if 0 in stds:
        raise typer.BadParameter("0 divides nothing", param_hint="--std")
    return Pixels(low, high, means, stds, _size(size), channels)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(SIDE.fullmatch(s) for s in sides):
        raise typer.BadParameter("give HEIGHTxWIDTH, as 224x224", param_hint="--size")
    return int(sides[0]), int(sides[-1])


def _numbers(option: str, text: str, count: int | None = None) -> tuple[float, ...]:
    parts = text.split(",")
    found = tuple(float(t) for t in parts if NUMBER.fullmatch(t))
    if count not in (None, len(parts)):
        raise typer.BadParameter("give LOW..HIGH, as 0..1", param_hint=option)
    if len(found) < len(parts) or not all(map(isfinite, found)):
        raise typer.BadParameter("give finite numbers with commas between them", param_hint=option)
    return found


def shapes(model: Model, texts: list[str] | None) -> dict[str, tuple[int, ...]] | None:
    """Return the input shapes of `--shape`; None where none is given."""
    if not texts:
        return None
    found = dict(model.example_shapes())
    for text in texts:
        name, equals, numbers = text.rpartition("=")
        if (not equals and len(found) > 1) or (equals and name not in found):
            raise InputError(f"--shape {text}: name one of the inputs {', '.join(found)}, as NAME=1,3,224,224")
        sizes = [int(n) for n in numbers.split(",") if SIDE.fullmatch(n.strip())]
        if len(sizes) <= numbers.count(","):
            raise typer.BadParameter("give whole numbers above 0 with commas between them", param_hint="--shape")
        found[name or next(iter(found))] = tuple(sizes)
    return found


def open_shapes(model: Model, texts: list[str] | None) -> dict[str, tuple[int | str | None, ...]]:
    """Return the input shapes of `--shape` for `reflrp compile`; names stand for lengths that stay open, N for the batch size."""
    found: dict[str, tuple[int | str | None, ...]] = {}
    names = list(model.source.inputs)
    for text in texts or ():
        name, equals, numbers = text.rpartition("=")
        if (not equals and len(names) > 1) or (equals and name not in names):
            raise InputError(f"--shape {text}: name one of the inputs {', '.join(names)}, as NAME=N,3,224,224")
        parts = [n.strip() for n in numbers.split(",")]
        if not all(SIDE.fullmatch(n) or (n.isidentifier() and (n == "N") == (i == 0)) for i, n in enumerate(parts)):
            raise typer.BadParameter(
                "give whole numbers above 0, or names, with commas between them; N first", param_hint="--shape"
            )
        found[name or names[0]] = tuple(None if n == "N" else int(n) if SIDE.fullmatch(n) else n for n in parts)
    return found
