"""The parts of a batch that was cut, put together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

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
    def score(self) -> str:
        """What was explained: the output, or a logit."""

    @property
    def inputs(self) -> Mapping[str, np.ndarray]:
        """The explained inputs."""

    @property
    def layout(self) -> Mapping[str, Layout] | None:
        """What is known of their axes."""

    @property
    def uncertainty(self) -> Mapping[str, np.ndarray]:
        """The error bars of relevances and layers; none where nobody asked."""


def joined(name: str, parts: Sequence[np.ndarray], axis: int = 0) -> np.ndarray:
    """Return what the cuts of a batch gave for a value as one array. Raises InputError where they do not fit together."""
    try:
        return np.concatenate(parts, axis=axis)
    except ValueError as error:
        raise InputError(
            f"the parts of {name!r}, of the shapes {[p.shape for p in parts[:3]]}, do not make one batch ({error}); "
            "give fewer samples at a time"
        ) from error


SHARED = -1
"""In place of an axis: all samples share the array."""


def axis_of(name: str, parts: Sequence[Part], arrays: Sequence[np.ndarray]) -> int:
    """Return the axis on which the parts of an array are put together: where samples are proven to be, else the first.

    Raises InputError where the parts are at odds over it, or an array has another length there than its part has samples.
    """
    layouts = [(p.layout or {}).get(name, {}) for p in parts]
    known = {SHARED if known["sample"] is None else known["sample"] for known in layouts if "sample" in known}
    axis = next(iter(known), 0)
    lengths = [a.shape[axis] if a.ndim > axis else None for a in arrays]
    recorded = all(p.layout is not None for p in parts)
    if len(known) > 1 or (axis != SHARED and recorded and lengths != [len(p.output) for p in parts]):
        raise InputError(
            f"which axis of {name!r}, of shape {arrays[0].shape}, holds the samples is not known, so that the parts of the "
            "batch are not put together: leave it out, or explain one part at a time"
        )
    return axis


def inputs(parts: Sequence[Part]) -> dict[str, np.ndarray]:
    """Return the parts of the inputs as one; of what all samples share, the one that all have."""
    found = {}
    for name in parts[0].inputs:
        arrays = [p.inputs[name] for p in parts]
        axis = axis_of(name, parts, arrays) if arrays[0].ndim and name in parts[0].relevances else 0
        if axis == SHARED and any(not np.array_equal(arrays[0], a) for a in arrays):
            raise InputError(f"{name!r} is the same for all samples of a part, and not the same in all parts")
        found[name] = arrays[0] if axis == SHARED or not arrays[0].ndim else joined(name, arrays, axis)
    return found


def relevances(parts: Sequence[Part]) -> dict[str, np.ndarray]:
    """Return the parts of the inputs' relevance as one; of what all samples share, the sum."""
    found = {}
    for name, first in parts[0].relevances.items():
        arrays = [p.relevances[name] for p in parts]
        axis = axis_of(name, parts, arrays) if first.ndim else SHARED
        found[name] = np.asarray(sum(arrays), dtype=first.dtype) if axis == SHARED else joined(name, arrays, axis)
    return found


def inner(name: str, parts: Sequence[Part], axis: int | None) -> np.ndarray:
    """Return the cuts of an inner value's relevance as one; zeros where a cut takes a way that does not pass it."""
    one = next(p.layers[name] for p in parts if name in p.layers)
    arrays = [p.layers.get(name, np.zeros_like(one)) for p in parts]
    if axis is None and any(R.ndim and R.shape[0] != len(p.output) for R, p in zip(arrays, parts, strict=True)):
        raise InputError(
            f"which axis of {name!r}, of shape {arrays[0].shape}, holds the samples is not known, so that the parts of the "
            "batch are not put together: leave it out of layers=, or explain one part at a time"
        )
    return joined(name, arrays, axis or 0) if arrays[0].ndim else np.asarray(sum(arrays), dtype=arrays[0].dtype)


class _Bars(NamedTuple):
    """A part with its error bars in place of its relevance."""

    relevances: Mapping[str, np.ndarray]
    layers: Mapping[str, np.ndarray]
    output: np.ndarray
    score: str
    inputs: Mapping[str, np.ndarray]
    layout: Mapping[str, Layout] | None
    uncertainty: Mapping[str, np.ndarray]


def bars(parts: Sequence[Part], names: Sequence[str], axes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Return the parts' error bars, put together as the relevance is; none where a part has none. `names` are the layers."""
    if not all(p.uncertainty for p in parts):
        return {}
    of = [({k: p.uncertainty[k] for k in p.relevances}, {k: p.uncertainty[k] for k in p.layers}) for p in parts]
    found = [
        _Bars(*both, p.output, p.score, p.inputs, p.layout, p.uncertainty) for both, p in zip(of, parts, strict=True)
    ]
    return {**relevances(found), **{k: inner(k, found, axes.get(k)) for k in names}}


def layout_of(parts: Sequence[Part], axes: Mapping[str, int]) -> dict[str, Layout] | None:
    """Return the layout of the whole: that of the parts, and for inner values the axes that they were put together on."""
    if any(p.layout is None for p in parts):
        return None
    found: dict[str, Layout] = {}
    for name, R in {**parts[0].relevances, **parts[0].layers}.items():
        channel = {k: v for k, v in (parts[0].layout or {}).get(name, {}).items() if k == "channel"}
        sample: dict[str, int | None] = {"sample": axes[name]} if name in axes else {}
        if name in parts[0].relevances and R.ndim:
            axis = axis_of(name, parts, [p.relevances[name] for p in parts])
            sample = {"sample": None if axis == SHARED else axis}
        found[name] = {**sample, **channel}
    return found


def check_parts(parts: Sequence[Part]) -> None:
    """Raise InputError for explanations of several models, and for exact ones among others."""
    if len({p.output.dtype == object for p in parts}) > 1:
        raise InputError("some of the explanations are exact and others are not; give e.rounded() of the exact ones")
    if any((p.relevances.keys(), p.score) != (parts[0].relevances.keys(), parts[0].score) for p in parts):
        raise InputError("the explanations are not of one model")


def all_layers(parts: Sequence[Part]) -> tuple[list[str], tuple[str, ...]]:
    """Return the layers of all parts, and what to say of those that some samples do not pass."""
    names = list(dict.fromkeys(k for p in parts for k in p.layers))
    some = [k for k in names if any(k not in p.layers for p in parts)]
    if some and len({len(p.output) for p in parts}) > 1:
        raise InputError(
            f"not all samples have the layers {some[:5]}: they take different ways through the model; explain the samples one by "
            "one, or ask for layers that all have"
        )
    note = f"samples take different ways: the layers {some[:5]} are zeros where a sample does not pass them"
    return names, (note,) if some else ()
