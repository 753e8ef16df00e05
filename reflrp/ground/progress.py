"""The bar that shows how far a long explanation is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Step = Callable[[], None]
"""Called once a node, forwards and backwards."""


@contextmanager
def bar(progress: bool | None, steps: int | None) -> Iterator[Step]:
    """Give a function to call at each step, of which there may be any number (None).

    Shows a bar on a terminal after a second, or at once when asked.
    """
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    shown_bar, start = Progress(console=Console(stderr=True), transient=True), time.monotonic()
    task = shown_bar.add_task("relevance", total=steps)
    shown = False

    def step() -> None:
        nonlocal shown
        if not shown and (progress or time.monotonic() - start > 1):
            shown_bar.start()
            shown = True
        shown_bar.advance(task)

    try:
        yield step
    finally:
        if shown:
            shown_bar.stop()
