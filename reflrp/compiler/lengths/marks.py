"""Marks: the inputs' shapes, with a symbol for each length that stays open."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from reflrp.arrays.tracing.dims import BATCH
from reflrp.errors import InputError
from reflrp.ground import checks

LONGEST = 2**31 - 1
"""The largest length that is taken for one."""


def marks_of(model: Any, shapes: Any, batch: str = "") -> dict[str, tuple[int | str, ...]]:
    """Return the input shapes, with a symbol for each length that stays open.

    That of a first axis is BATCH, and so are others that the file calls the same. Where first axes have several names, `batch`
    says which of them is the batch size; the first one is, unless it does.
    """
    asked = {} if shapes is None else checks.mapping("shapes", shapes, "a dict of the inputs' shapes by name")
    unknown = sorted(set(asked) - set(model.source.inputs))
    if unknown:
        raise InputError(f"shapes: the model has no inputs {unknown}; it has {sorted(model.source.inputs)}")
    found = dict[str, tuple[int | str, ...]]()
    for name, port in model.source.inputs.items():
        if port.dims is None and name not in asked:
            raise InputError(
                f"the file does not say the shape of input {name!r}; give shapes={{{name!r}: (None, ...)}}"
            )
        given = _given(name, asked.get(name, port.dims or ()))
        own = port.dims if port.dims is not None and len(port.dims) == len(given) else (None,) * len(given)
        found[name] = tuple(_mark(name, i, n, own[i]) for i, n in enumerate(given))
    called = batch or next((s[0] for s in found.values() if s and isinstance(s[0], str) and s[0]), "")
    return {k: tuple(_symbol(n, called, i) for i, n in enumerate(s)) for k, s in found.items()}


def _symbol(n: int | str, batch: int | str, axis: int) -> int | str:
    """Return a length, or its symbol: BATCH for the batch size and a first axis without a name."""
    if (n == batch and n) or (n == "" and axis == 0):
        return BATCH
    return f"{n}'" if n == BATCH else n


def _given(name: str, shape: Any) -> tuple[int | str | None, ...]:
    """Return the shape of an input: numbers, names of lengths that stay open, and None. Raises InputError for any other."""
    what = f"shapes[{name!r}]"
    if isinstance(shape, str) or not isinstance(shape, Iterable):
        raise InputError(f"{what}={checks.shown(shape)} must be a tuple of numbers, names and None, as (None, 128)")
    listed = tuple(int(n) if isinstance(n, np.integer) else n for n in shape)
    numbers = checks.shape(what, tuple(1 if n is None or isinstance(n, str) else n for n in listed))
    if 0 in numbers[1:] or max(numbers, default=1) > LONGEST:
        raise InputError(f"{what}={checks.shown(shape)} must have lengths of 1 to {LONGEST}")
    return listed


def _mark(name: str, axis: int, asked: int | str | None, own: int | str | None) -> int | str:
    """Return a length, or its name where it stays open: lengths that the file calls the same are one. "" is a nameless batch."""
    if isinstance(asked, int):
        return asked
    if asked is None and isinstance(own, int) and axis:
        return own
    called = asked or own
    return called if isinstance(called, str) else f"{name}[{axis}]" if axis else ""
