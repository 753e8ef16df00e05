"""The command, run in the judged process, and what it may print: no character that a terminal takes for a command."""

from __future__ import annotations

import contextlib
import io
import sys
import unicodedata
from collections.abc import Sequence

LONGEST = 40_000
"""Characters that a command may print."""

CODES = frozenset([0, 1, 2])
"""Exit codes: done, refused, wrong usage."""


class Screen(io.TextIOWrapper):
    """A stream that says that it is a terminal, or a pipe."""

    def __init__(self, tty: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self.tty = tty

    def isatty(self) -> bool:
        """Say what it is."""
        return self.tty

    def text(self) -> str:
        """Return what was written."""
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode("utf-8", "replace")


def run(arguments: Sequence[str], tty: bool = False) -> str:
    """Run the command; check its exit code and what it prints, and return that."""
    from reflrp.cli.main import app

    out, err = Screen(tty), Screen(tty)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app(list(arguments), prog_name="reflrp")
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    said, errors = out.text(), err.text()
    assert code in CODES, f"exit code {code}"
    if not code and tty:
        errors = ""  # a bar of progress, which is taken away again
    assert code or not errors, f"prints errors and says that all is well [{errors[-300:]}]"
    check(said + errors)
    if sys.exc_info()[0] is None and code == 1:
        assert errors.startswith("error: "), "an error that does not say so"
    return said + errors


def check(text: str) -> None:
    """Check that a text does nothing but stand there."""
    odd = {c for c in text if c != "\n" and not c.isprintable() and unicodedata.category(c) != "Zs"}
    assert not odd, f"prints {sorted(odd)!r}"[:60]
    assert len(text) <= LONGEST, "prints more than a few screens"
