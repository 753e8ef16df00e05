"""Warnings of other libraries that say nothing to a caller, kept quiet in any number of threads."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

ANY = "(?s:.)*"
"""A pattern of any text; filters of the caller's are written otherwise, so that ours are told from them."""

FILTERS: tuple[tuple[Any, str, type[Warning], str], ...] = (
    ("ignore", ANY, Warning, rf"(PIL|reflrp\.mapping\.images){ANY}"),  # odd metadata, which are not used
    ("error", f"Image size{ANY}exceeds limit{ANY}", RuntimeWarning, ANY),  # a decompression bomb
    ("ignore", f"Glyph{ANY}missing{ANY}", UserWarning, ANY),  # a box is drawn for what no font has
    ("ignore", ANY, SyntaxWarning, ANY),  # what Python has to say of the style of a text
    ("ignore", f"invalid escape sequence{ANY}", DeprecationWarning, ANY),
)
"""Action, text, class and module of what is kept quiet, or raised."""


class _Quiet:
    """The filters that all threads share which are in `quiet` at once: the first puts them in, the last takes out the same.

    With `warnings.catch_warnings` each thread would put back the list that it found, in any order: what another had put there
    then stays for good, and warnings that the caller wants are lost.
    """

    def __init__(self) -> None:
        self.lock, self.inside = Lock(), 0
        self.ours: list[Any] = []

    def enter(self) -> None:
        """Put the filters in, if nobody has."""
        with self.lock:
            self.inside += 1
            if self.inside > 1:
                return
            for action, message, category, module in FILTERS:
                warnings.filterwarnings(action, message, category, module)
                self.ours.append((action, re.compile(message, re.IGNORECASE), category, re.compile(module), 0))

    def leave(self) -> None:
        """Take the filters out, if nobody else is inside."""
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self._take_out()

    def after_fork(self) -> None:
        """Take the filters out in a forked child: threads that were inside are not there to do it."""
        self.lock, self.inside = Lock(), 0
        self._take_out()

    def _take_out(self) -> None:
        for one in self.ours:
            with suppress(ValueError):  # somebody put a list back that he found before
                warnings.filters.remove(one)  # type: ignore[attr-defined]
        self.ours = []


_QUIET = _Quiet()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_QUIET.after_fork)


@contextmanager
def quiet() -> Iterator[None]:
    """Let no idle warnings of other libraries through in here; the caller's own, and reflrp's advice, go on."""
    _QUIET.enter()
    try:
        yield
    finally:
        _QUIET.leave()
