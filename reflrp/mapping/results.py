"""The arrays that a store keeps of an explanation, each with the samples first."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import numpy as np

from reflrp.errors import InputError
from reflrp.explanation import Explanation
from reflrp.seeds import Contrast, Goal

LONGEST = 200
"""Characters of the name of an array in a store; file systems have no more than 255 bytes."""

Arrays = dict[str, np.ndarray]


def key_of(name: str) -> str:
    """Return the name of a value as a store has it: `/` and what else cannot name a file is written as in a URL."""
    key = quote(name, safe=" ()[],:;=+@!$&'")
    if len(key) > LONGEST:
        raise InputError(
            f"the name {name[:80]!r}... is too long for a store; explain without out=, or rename it in the model"
        )
    odd = not key.strip(".") or key.startswith("__") or key == "zarr.json"
    return f"%{ord(key[0]):02X}{key[1:]}" if odd and key else key or "%"


def arrays_of(e: Explanation, contrasts: bool) -> Arrays:
    """Return the arrays of an explanation by their place in the store; `contrasts` says that some target may be one.

    Raises InputError where samples are not first.
    """
    values = {f"relevance/{key_of(k)}": (k, R) for k, R in e.relevances.items()}
    values |= {f"layer/{key_of(k)}": (k, R) for k, R in e.layers.items()}
    for name, R in values.values():
        _check_first(e, name, R)
    return {place: R for place, (_, R) in values.items()} | {"output": e.output} | goals_of(e.target, contrasts)


def _check_first(e: Explanation, name: str, R: np.ndarray) -> None:
    axis = (e.layout or {}).get(name, {}).get("sample", 0)
    if axis != 0 or R.shape[:1] != e.output.shape[:1]:
        raise InputError(
            f"the relevance of {name!r}, of the shape {R.shape}, does not have the {len(e.output)} samples first, so that it is "
            "not stored sample by sample: leave it out of layers=, or explain without out="
        )


def goals_of(goals: tuple[Goal, ...], contrasts: bool) -> Arrays:
    """Return the targets as indices (samples, axes of the output but the first); of contrasts, both sides.

    A sample that has a plain target where others have a Contrast is against -1.
    """
    if not goals or not len(_side(goals[0], "target")):
        return {}
    sides = ("target", "against") if contrasts else ("target",)
    return {side: np.array([_side(g, side) for g in goals], dtype=np.int64) for side in sides}


def _side(goal: Goal, side: str) -> Any:
    if isinstance(goal, Contrast):
        return getattr(goal, side)
    return goal if side == "target" else (-1,) * len(goal)
