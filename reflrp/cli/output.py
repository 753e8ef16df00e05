"""What the command says: on stdout what was asked for, on stderr what is wrong; nothing in it that a terminal obeys.

Whoever reads stdout may stop early, as `head` does. Then the work is still done, files included, in silence, and the exit code
is 141, that of a command that a closed pipe ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from reflrp.errors import SCREEN, ReflrpError
from reflrp.show.text import inline
from reflrp.storage.files import why

if TYPE_CHECKING:
    from reflrp.show.tables import Part

STOPPED = 130
"""The exit code after Ctrl-C."""

CLOSED = 141
"""The exit code where nobody reads the output any more."""

_LEFT: list[TextIO] = []
"""Streams whose reader has gone."""


def say(text: object) -> None:
    """Print a line."""
    if sys.stdout is not None:
        with _heard(sys.stdout) as stream:
            print(inline(str(text)), file=stream, flush=True)


def show(*parts: Part) -> None:
    """Print tables and lines: fitted to a terminal, or plain and as wide as they are for a pipe."""
    from reflrp.show.tables import plain

    if sys.stdout is None:
        return
    with _heard(sys.stdout) as stream:
        if stream.isatty():
            _fitted(*parts)
        else:
            print(plain(*parts), file=stream, flush=True)


def _fitted(*parts: Part) -> None:
    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False)
    for part in parts:
        if isinstance(part, str):
            console.print(inline(part))
            continue
        widest = max(16, 2 * console.width // 5)
        for column in part.columns:
            if any(
                len(str(cell)) > widest for cell in column.cells
            ):  # one long name must not squeeze the other columns
                column.no_wrap, column.max_width = False, widest
        console.print(part)


def complain(text: str) -> None:
    """Print an error: one line or, where it lists something, indented lines below it."""
    first, *rest = text.split("\n")
    lines = [f"error: {inline(first, SCREEN)}", *(f"  {inline(line.strip(), SCREEN)}" for line in rest)]
    if sys.stderr is not None:
        with suppress(OSError):
            print("\n".join(lines), file=sys.stderr, flush=True)


def status(code: Any) -> int:
    """Return the exit code."""
    found = code if isinstance(code, int) else 0
    return CLOSED if sys.stdout in _LEFT and not found else found


@contextmanager
def _heard(stream: TextIO) -> Iterator[TextIO]:
    try:
        yield stream
    except BrokenPipeError:
        _leave(stream)
    except OSError as error:
        _leave(stream)
        raise ReflrpError(f"the output cannot be written: {why(error)}") from error


def _leave(stream: TextIO) -> None:
    """Send what else is written there nowhere, so that not even Python complains at its end."""
    _LEFT.append(stream)
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
