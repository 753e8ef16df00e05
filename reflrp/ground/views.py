"""How an object shows itself: `e.plot()`, `model.summary()`, `print(e.conservation)`.

Drawing stands above all that is drawn (`reflrp.show` knows explanations, models and ledgers, and they do not know it). So
what draws enters itself here, when `reflrp` is imported, and the objects' methods call it by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol


class Picture(Protocol):
    """A picture that can be a page, a figure or a file."""

    def html(self) -> str:
        """Return a page of its own, with nothing to load and nothing to run."""

    def figure(self) -> Any:
        """Return a matplotlib figure. Raises ReflrpError where matplotlib is not installed."""

    def save(self, path: str | Path) -> Path:
        """Write it: .html, or whatever matplotlib writes (.png, .pdf, .svg ...)."""


VIEWS: dict[str, Callable[..., Any]] = {}
"""Name -> what draws it; filled by `reflrp/show/__init__.py`, which is the place to see what is behind a name."""


def shown(view: str, /, *args: Any, **options: Any) -> Any:
    """Return what a view makes of its arguments."""
    return VIEWS[view](*args, **options)
