"""What must be true of a saved explanation: everything is checked when it is written and when it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import inf
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from reflrp.errors import shortened
from reflrp.ir import Layout
from reflrp.ledger import NUMBERS, Ledger, Row
from reflrp.seeds import Contrast, Goal, Index

DIGEST = re.compile("[0-9a-f]{64}")


class Fields(NamedTuple):
    """What is kept of an explanation, in the order of its fields."""

    relevances: Mapping[str, np.ndarray]
    output: np.ndarray
    target: tuple[Goal, ...]
    layers: Mapping[str, np.ndarray]
    conservation: Ledger
    rules: Mapping[str, str]
    notes: tuple[str, ...]
    inputs: Mapping[str, np.ndarray]
    layout: Mapping[str, Layout] | None
    score: str
    advice: tuple[str, ...]
    uncertainty: Mapping[str, np.ndarray]
    init: str
    init_sha256: str


class Wrong(ValueError):
    """What is not true of an explanation that should be."""


def checked(found: Fields) -> Fields:
    """Return the fields in the types that they have in an explanation; raise Wrong where they are no explanation."""
    relevances, layers = (_arrays(f"{what} of", part, "f") for what, part in _parts(found))
    inputs = _arrays("input", found.inputs, "fiub")
    must(bool(relevances), "there is no relevance")
    for name, R in relevances.items():
        fits = name not in inputs or inputs[name].shape == R.shape
        must(fits, f"the relevance of {short(name)} is not shaped like the input")
    output = _array("the output", found.output, "f")
    ledger = _checked_ledger(found.conservation, relevances)
    notes = tuple(_text("a note", note) for note in found.notes)
    advice = tuple(_text("an advice", text) for text in found.advice)
    rules = {_text("a node", k): _text("a rule", v) for k, v in found.rules.items()}
    targets, layout = _targets(found.target, output), _layout(found.layout, {**layers, **relevances})
    must(found.score in ("output", "logit"), f"its 'score' is {short(found.score)}")
    bars = _bars(found.uncertainty, {**relevances, **layers})
    begun = _begun(found.init, found.init_sha256)
    return Fields(
        relevances, output, targets, layers, ledger, rules, notes, inputs, layout, found.score, advice, bars, *begun
    )


def _begun(init: Any, digest: Any) -> tuple[str, str]:
    """Return what relevance started from, and of an array the digest, where there is one."""
    must(isinstance(init, str) and init in ("", "output", "one", "array"), f"its 'init' is {short(init)}")
    known = isinstance(digest, str) and (not digest or (init == "array" and DIGEST.fullmatch(digest) is not None))
    must(known, f"its 'init_sha256' is {short(digest)}")
    return init, digest


def _parts(found: Fields) -> tuple[tuple[str, Mapping[str, np.ndarray]], ...]:
    return ("the relevance", found.relevances), ("the relevance of the layer", found.layers)


def _bars(found: Mapping[str, np.ndarray], of: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the error bars: none, or those of all relevance, shaped as it is; infinite is one, negative and NaN are not."""
    bars = _arrays("the uncertainty of", found, "f")
    must(not bars or bars.keys() == of.keys(), "its uncertainty is not of what it holds the relevance of")
    for name, bar in bars.items():
        must(bar.shape == of[name].shape, f"the uncertainty of {short(name)} is not shaped like its relevance")
        must(bool((bar >= 0).all()), f"the uncertainty of {short(name)} is negative, or no number")
    return {name: bars[name] for name in of if name in bars}


def _arrays(what: str, found: Mapping[str, np.ndarray], kinds: str) -> dict[str, np.ndarray]:
    return {_text("a name", k): _array(f"{what} {short(k)}", v, kinds) for k, v in found.items()}


def _array(what: str, found: Any, kinds: str) -> np.ndarray:
    array = np.asarray(found)
    fits = array.dtype.kind in kinds and (kinds != "f" or array.itemsize in (4, 8))
    expected = "float32 or float64" if kinds == "f" else "numbers"
    must(fits, f"{what} is {array.dtype}, and should be {expected}")
    return array


def _targets(found: Sequence[Any], output: np.ndarray) -> tuple[Goal, ...]:
    must(
        not found or len(found) == (len(output) if output.ndim else 0),
        f"it has {len(found)} targets for {output.shape}",
    )
    return tuple(_goal(goal, output.shape[1:]) for goal in found)


def _goal(found: Any, shape: tuple[int, ...]) -> Goal:
    sides = (found.target, found.against) if isinstance(found, Contrast) else found
    if isinstance(sides, dict):
        must(sides.keys() == {"target", "against"}, "a target does not fit the output")
        sides = sides["target"], sides["against"]
    elif not isinstance(found, Contrast):
        return _index(found, shape)
    return Contrast(*(_index(side, shape) for side in sides))


def _index(target: Any, shape: tuple[int, ...]) -> Index:
    must(isinstance(target, list | tuple) and len(target) == len(shape), "a target does not fit the output")
    for i, n in zip(target, shape, strict=True):
        whole = isinstance(i, Integral) and not isinstance(i, bool)
        must(whole and 0 <= i < n, f"the target {short(target)} is outside the output")
    return tuple(int(i) for i in target)


def _layout(found: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, Layout] | None:
    """Return the layout of the arrays, which says of each that it names an axis that the array has."""
    if found is None:
        return None
    must(isinstance(found, Mapping) and set(found) <= set(arrays), "its 'layout' is of arrays that it does not hold")
    for name, axes in found.items():
        must(isinstance(axes, Mapping) and set(axes) <= {"sample", "channel"}, f"the layout of {short(name)} is none")
        must(all(_axis(axis, arrays[name]) for axis in axes.values()), f"the layout of {short(name)} does not fit it")
    return {name: dict(axes) for name, axes in found.items()}


def _axis(axis: Any, array: np.ndarray) -> bool:
    return axis is None or (isinstance(axis, int) and not isinstance(axis, bool) and 0 <= axis < array.ndim)


def _checked_ledger(found: Ledger, relevances: Mapping[str, np.ndarray]) -> Ledger:
    inputs = {_text("an input", k): _number(v) for k, v in found.inputs.items()}
    must(set(inputs) <= set(relevances), "the ledger has inputs that there is no relevance of")
    return Ledger(tuple(_row(row) for row in found.rows), _number(found.seed), inputs)


def _row(row: Row) -> Row:
    node, kind, rule = (_text(f"the ledger's {k}", getattr(row, k)) for k in ("node", "kind", "rule"))
    numbers = {k: _number(getattr(row, k)) for k in NUMBERS}
    return Row(node, kind, rule, **numbers, uncertainty=_uncertain(row.uncertainty))


def _uncertain(value: Any) -> float | None:
    if value is None or (isinstance(value, str | float) and value in ("inf", inf)):
        return None if value is None else inf
    must(_number(value) >= 0, "the ledger holds an uncertainty below 0")
    return _number(value)


def _number(value: Any) -> float:
    fits = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    must(fits and abs(value) < inf, f"the ledger holds {short(value)}, which is no finite number")
    return float(value)


def _text(what: str, value: Any) -> str:
    must(isinstance(value, str), f"{what} is {short(value)} and no text")
    return str(value)


def short(value: Any) -> str:
    """Return a value as a short text."""
    return shortened(repr(value), 200)


def must(true: bool, else_: str) -> None:
    """Raise Wrong, which says what, unless something is true."""
    if not true:
        raise Wrong(else_)
