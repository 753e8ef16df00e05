"""What each cut of a batch is explained for: its part of the targets, and of an init that is an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.errors import InputError
from reflrp.ground import checks
from reflrp.seeds import Target, one_each


def choices(target: Target, init: Any, cuts: list[dict[str, np.ndarray]]) -> list[tuple[Target, Any]]:
    """Return the target and init of each cut of the batch."""
    if len(cuts) == 1:
        return [(target, init)]
    ends = np.cumsum([max(len(a) for a in cut.values() if a.ndim) for cut in cuts])
    each = one_each(target, int(ends[-1]))
    starts = [0, *ends[:-1]]
    targets = [target if each is None else each[i:j] for i, j in zip(starts, ends, strict=True)]
    inits = [init] * len(cuts) if isinstance(init, str) else _parts("init", init, ends)
    return list(zip(targets, inits, strict=True))


def _parts(name: str, given: Any, ends: np.ndarray) -> list[np.ndarray]:
    array = checks.array(name, given)
    if array.shape[:1] != (ends[-1],):
        raise InputError(f"{name} has shape {array.shape} for {ends[-1]} samples; give one a sample")
    return np.split(array, ends[:-1])
