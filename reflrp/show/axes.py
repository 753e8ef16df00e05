"""Which part of an array is of which sample, and which of its entries are one pixel: proven on the graph, or told by the user."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.errors import InputError
from reflrp.explanation import Explanation
from reflrp.show.text import inline

CHANNELS = (1, 3, 4)
"""How many channels a picture may have."""

TELL = (
    "say time_first=False (--batch-first: samples on the first axis) or time_first=True (--time-first: on the second)"
)


def count_of(e: Explanation) -> int:
    """Return how many samples the output has."""
    return len(e.output) if e.output.ndim else 1


def axis_of(e: Explanation, name: str, shape: tuple[int, ...], time_first: bool | None = None) -> int | None:
    """Return the axis of an input or inner value that the samples are on; None where they have none, or it is unknown.

    What is proven counts, but of a file that contradicts itself; then what the user told. Of one sample alone it is any axis of
    length 1. Where nobody looked, as in a file of an earlier version, it is the first, if that is long enough.
    """
    count = count_of(e)
    known = {} if e.layout is None else e.layout.get(name, {})
    if "sample" in known:
        axis = known["sample"]
        return axis if axis is None or _fits(shape, axis, count) else None
    if time_first is not None:
        return int(time_first) if _fits(shape, int(time_first), count) else None
    if count == 1:
        return next((axis for axis, n in enumerate(shape) if n == 1), None)
    return 0 if e.layout is None and _fits(shape, 0, count) else None


def _fits(shape: tuple[int, ...], axis: int, count: int) -> bool:
    return len(shape) > axis and shape[axis] == count


def check_told(e: Explanation, time_first: bool | None, *names: str) -> None:
    """Raise InputError where what the user told of the samples' axis holds in none of the arrays (default: the inputs)."""
    if time_first is None:
        return
    told, arrays = int(time_first), {**e.layers, **e.relevances}
    found = {k: axis_of(e, k, arrays[k].shape, time_first) for k in names or e.relevances}
    if told not in found.values():
        text = "; ".join(f"{inline(k, 80)!r} {arrays[k].shape}: {_axis(axis)}" for k, axis in found.items())
        option = "--time-first" if time_first else "--batch-first"
        raise InputError(
            f"time_first={time_first} ({option}): axis {told} does not hold the {count_of(e)} samples ({text})"
        )


def _axis(axis: int | None) -> str:
    return f"proven to hold them on axis {axis}" if axis is not None else "it has no such axis of that length"


def by_sample(e: Explanation, name: str, array: np.ndarray, time_first: bool | None = None) -> np.ndarray | None:
    """Return an array that belongs to an input or inner value with the samples first; None where that is unknown."""
    axis = axis_of(e, name, array.shape, time_first)
    if axis is None:
        return array[None] if count_of(e) == 1 and e.layout is not None else None
    return np.moveaxis(array, axis, 0)


def shared(e: Explanation, name: str) -> bool:
    """Return whether an input or inner value is proven to be the same for all samples."""
    return e.layout is not None and e.layout.get(name, {}).get("sample", 0) is None


def unknown(e: Explanation, name: str) -> str:
    """Return why an array is not shown sample by sample."""
    what = f"{inline(name, 80)!r} {(e.relevances if name in e.relevances else e.layers)[name].shape}"
    if shared(e, name):
        return f"{what} is the same for all {count_of(e)} samples"
    return f"which axis of {what} holds the {count_of(e)} samples is not proven"


def needed(e: Explanation, name: str, array: np.ndarray, time_first: bool | None = None) -> np.ndarray:
    """Return an array with the samples first. Raises InputError, which says what to do, where that is unknown."""
    found = by_sample(e, name, array, time_first)
    if found is None:
        tell = "" if shared(e, name) else f"; {TELL}"
        raise InputError(f"{unknown(e, name)}, so it cannot be drawn sample by sample{tell}")
    return found


def channel_of(e: Explanation, name: str, time_first: bool | None = None) -> int | None:
    """Return the axis of channels in one sample of an input, that is without the samples' axis; None where there is none.

    It is the one that convolutions take for it; else, of what looks like pictures (N, C, H, W) or (N, H, W, C), by size.
    """
    R = e.relevances[name] if name in e.relevances else e.layers[name]
    samples = axis_of(e, name, R.shape, time_first)
    axis: Any = (e.layout or {}).get(name, {}).get("channel")
    if axis is None and R.ndim == 4 and samples == 0:
        axis = 1 if R.shape[1] in CHANNELS else 3 if R.shape[3] in CHANNELS else None
    if axis is None or axis == samples:
        return None
    return int(axis - (samples is not None and samples < axis))


def pixels(e: Explanation, name: str, R: np.ndarray, time_first: bool | None = None) -> tuple[np.ndarray, int]:
    """Return the relevance of one sample of an input with an image's channels summed, and how many channels these are.

    None are summed where it is no image: one that has channels and two axes of space or more.
    """
    channel = channel_of(e, name, time_first)
    if channel is None or R.ndim < 3:
        return R, 0
    return R.sum(axis=channel), R.shape[channel]


def names_of(e: Explanation, name: str, time_first: bool | None = None) -> tuple[str, ...]:
    """Return what to call the axes of a sample, those of an image without its channels; by their numbers where that is all.

    Known are rows and columns of what is convolved, steps of a series, and those of a sequence with the time first.
    """
    R = e.relevances[name] if name in e.relevances else e.layers[name]
    samples, channel = axis_of(e, name, R.shape, time_first), channel_of(e, name, time_first)
    own = [axis for axis in range(R.ndim) if axis != samples]
    if channel is None:
        sure = time_first or (e.layout or {}).get(name, {}).get("sample") == 1
        timed = samples == 1 and R.ndim == 3 and sure
        return ("step", "feature") if timed else tuple(f"axis {axis}" for axis in own)
    if len(own) == 2:
        return tuple("channel" if i == channel else "step" for i in range(2))
    return ("row", "column") if len(own) == 3 else tuple(f"axis {axis}" for i, axis in enumerate(own) if i != channel)
