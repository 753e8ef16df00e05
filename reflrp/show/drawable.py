"""What can be drawn: which samples are meant, and which arrays no picture could show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reflrp.errors import InputError
from reflrp.explanation import Explanation
from reflrp.ground import checks
from reflrp.show.text import inline

SAMPLES = 20
"""At most so many samples are drawn unless `sample` names them."""

TOKENS = 2**17
"""Of more tokens, no bar could be told from the next."""

ENTRIES = 2**24
"""How many entries of an input a picture may be made of."""


def chosen(e: Explanation, sample: int | Sequence[int] | None) -> list[int]:
    """Return the samples to draw, counted from the front."""
    if not e.output.ndim or not len(e.output):
        raise InputError(f"the output has the shape {e.output.shape}: there is no sample that could be drawn")
    count = len(e.output)
    wanted = list(range(min(count, SAMPLES))) if sample is None else _whole(sample)
    outside = [i for i in wanted if not -count <= i < count]
    if outside or not wanted:
        raise InputError(f"sample={checks.shown(sample)} is not among the {count} samples of this explanation")
    return [i % count for i in wanted]


def _whole(sample: Any) -> list[int]:
    """Return the samples that a caller names. Raises InputError where these are no whole numbers."""
    try:
        found = checks.array("sample", sample)
        given = found if not found.size else checks.whole_array("sample", sample)
    except InputError:
        given = None
    found = np.zeros((0, 0)) if given is None else np.atleast_1d(given)
    if found.ndim != 1 or found.size > TOKENS:
        raise checks.refuse("sample", sample, "an int, ints, or None")
    return [int(i) for i in found]


def check_explanation(e: Any) -> None:
    """Raise InputError for anything but an explanation."""
    if not isinstance(e, Explanation):
        raise checks.refuse("explanation", e, "an Explanation")


def check_drawable(name: str, x: np.ndarray, R: np.ndarray) -> None:
    """Raise InputError for what no picture could show: nothing, too much, or numbers at the ends of what a float holds."""
    what = f"the relevance of {inline(name, 80)!r}"
    if x.shape != R.shape or not R.size:
        why = "there is nothing to draw" if x.shape == R.shape else f"and the input {x.shape}"
        raise InputError(f"{what} has the shape {R.shape} for a sample: {why}")
    most = TOKENS if x.dtype.kind in "iub" and R.ndim not in (2, 3) else ENTRIES
    if R.size > most:
        raise InputError(
            f"{what} has {R.size:,} entries for a sample; a picture shows up to {most:,}, so draw a part of it"
        )
    check_range(what, R)
    if x.dtype.kind not in "iub":
        check_range(f"the input {inline(name, 80)!r}", x)


def check_range(what: str, x: np.ndarray) -> None:
    """Raise InputError for numbers that a picture's axes and colours cannot be computed with."""
    largest = float(np.abs(x).max(initial=0))
    if not np.isfinite(x).all() or largest > 1e250 or 0 < largest < 1e-250:
        raise InputError(f"{what} has numbers up to {largest:.3g}, which cannot be drawn; scale them")
