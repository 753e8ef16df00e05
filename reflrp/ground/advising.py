"""How advice is given: a warning that points at the caller's line, and does not stop anyone who did not ask for that."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from reflrp.errors import AdviceWarning

PACKAGE = str(Path(__file__).parents[1])


def advise(text: str) -> None:
    """Warn with a text. It is raised only where a filter makes errors of AdviceWarning by name, not of all warnings."""
    try:
        warnings.warn(text, AdviceWarning, stacklevel=_outside())
    except AdviceWarning:
        if any(action == "error" and kind is AdviceWarning for action, _, kind, *_ in warnings.filters):
            raise


def _outside() -> int:
    """Return how many frames up, from `advise`, the first is that is not of this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _of_package(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    return level


def _of_package(filename: str) -> bool:
    """Return whether a frame is of this package, or of a decorator of the standard library around its functions."""
    return filename.startswith(PACKAGE) or Path(filename).name == "contextlib.py"
