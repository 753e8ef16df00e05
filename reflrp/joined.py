"""The parts of a batch that was cut, put together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from reflrp.errors import InputError
from reflrp.ir import Layout


class Part(Protocol):
    """What an explanation has that is put together with that of others."""

    @property
    def relevances(self) -> Mapping[str, np.ndarray]:
        """The relevance of each input."""

    @property
    def output(self) -> np.ndarray:
        """The explained output."""

    @property
    def layers(self) -> Mapping[str, np.ndarray]:
        """The relevance of inner values."""

    @property
    def layout(self) -> Mapping[str, Layout] | None:
        """What is known of their axes."""


def joined(name: str, parts: Sequence[np.ndarray], axis: int = 0) -> np.ndarray:
    """Return what the cuts of a batch gave for a value as one array. Raises InputError where they do not fit together."""
    try:
        return np.concatenate(parts, axis=axis)
    except ValueError as error:
        raise InputError(
            f"the parts of {name!r}, of the shapes {[p.shape for p in parts[:3]]}, do not make one batch ({error}); "
            "give fewer samples at a time"
        ) from error


def whole(name: str, parts: Sequence[np.ndarray], same: bool = False, axis: int = 0) -> np.ndarray:
    """Return the cuts of an input, or of its relevance, as one; an input without axes is the same for all of them."""
    if parts[0].ndim:
        return joined(name, parts, axis)
    return parts[0] if same else np.asarray(sum(parts), dtype=parts[0].dtype)


def inner(name: str, parts: Sequence[Part], axis: int | None) -> np.ndarray:
    """Return the cuts of an inner value's relevance as one."""
    found = [p.layers[name] for p in parts]
    if axis is None and any(R.ndim and R.shape[0] != len(p.output) for R, p in zip(found, parts, strict=True)):
        raise InputError(
            f"which axis of {name!r}, of shape {found[0].shape}, holds the samples is not known, so that the parts of the "
            "batch are not put together: leave it out of layers=, or explain one part at a time"
        )
    return whole(name, found, axis=axis or 0)


def layout_of(parts: Sequence[Part], axes: Mapping[str, int]) -> dict[str, Layout] | None:
    """Return the layout of the whole: cuts hold samples on the first axis of an input, if each does that has several."""
    if any(p.layout is None for p in parts):
        return None
    found: dict[str, Layout] = {}
    for name in (*parts[0].relevances, *parts[0].layers):
        layouts = [(p.layout or {}).get(name, {}) for p in parts]
        samples = {known.get("sample", -1) for known, p in zip(layouts, parts, strict=True) if len(p.output) > 1} or {0}
        axis = {axes[name]} if name in axes else samples if name in parts[0].relevances else {-1}
        channel = {k: v for k, v in layouts[0].items() if k == "channel"}
        found[name] = {**({"sample": next(iter(axis))} if len(axis) == 1 and axis != {-1} else {}), **channel}
    return found
