"""The command line's texts as values. What cannot be read is a usage error that names the option."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from reflrp.cli.inputs import Pixels
from reflrp.composites import Composite, preset
from reflrp.errors import InputError, RuleError

if TYPE_CHECKING:
    from reflrp.model import Model


def rules(text: str) -> Composite:
    """Return the composite of `name` or `name(key=value, ...)`; a list stands for an array."""
    name, parameters = _call(text) if "(" in text else (text, {})
    try:
        return preset(name, **parameters)
    except TypeError as error:
        raise RuleError(f"--rules {text}: {error}") from error


def _call(text: str) -> tuple[str, dict[str, Any]]:
    try:
        call: Any = ast.parse(text.strip(), mode="eval").body
        found = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
        if call.args or None in found:
            raise ValueError("not all arguments have names")
        return ast.unparse(call.func), {k: np.asarray(v) if isinstance(v, list) else v for k, v in found.items()}
    except (SyntaxError, ValueError, AttributeError) as error:
        raise typer.BadParameter("write name(key=value, ...)", param_hint="--rules") from error


def target(text: str | None) -> Any:
    """Return None, an int, a list of ints (one a sample) or, in brackets, an index tuple."""
    if text is None:
        return None
    try:
        if text.strip().startswith("("):
            return tuple(int(t) for t in text.strip(" (),").split(","))
        found = [int(t) for t in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter('give an index, "3,5,1" or "(1,4)"', param_hint="--target") from error
    return found if "," in text else found[0]


def pixels(mean: str | None, std: str | None, scale: str, size: str | None, channels: int | None) -> Pixels:
    """Return how images become numbers."""
    low, high = _numbers("--scale", scale.replace("..", ","), 2)
    means = _numbers("--mean", mean) if mean else Pixels.mean
    stds = _numbers("--std", std) if std else Pixels.std
    if 0 in stds:
        raise typer.BadParameter("0 divides nothing", param_hint="--std")
    return Pixels(low, high, means, stds, _size(size), channels)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(s.isdigit() and int(s) for s in sides):
        raise typer.BadParameter("give HEIGHTxWIDTH, as 224x224", param_hint="--size")
    return int(sides[0]), int(sides[-1])


def _numbers(option: str, text: str, count: int | None = None) -> tuple[float, ...]:
    try:
        found = tuple(float(t) for t in text.split(","))
    except ValueError as error:
        raise typer.BadParameter("give numbers with commas between them", param_hint=option) from error
    if count not in (None, len(found)):
        raise typer.BadParameter("give LOW..HIGH, as 0..1", param_hint=option)
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
        try:
            found[name or next(iter(found))] = tuple(int(n) for n in numbers.split(","))
        except ValueError as error:
            raise typer.BadParameter("give numbers with commas between them", param_hint="--shape") from error
    return found
