"""Texts that come out of files, made fit to print.

A name in a model may hold anything: sequences that a terminal obeys, line ends, marks that turn the direction of writing, or
a megabyte of letters. What is printed shows such a name and does nothing else.
"""

from __future__ import annotations

from reflrp.errors import shortened

CELL = 300
"""Characters of a table's cell."""

LINE = 2000
"""Characters of a line between tables."""


def inline(text: str, longest: int = LINE) -> str:
    r"""Return a text as one line of printable characters, others as `\x1b`, `\n`, `\u202e`; of a long one the ends."""
    text = shortened(text, longest)
    return text if text.isprintable() else "".join(c if c.isprintable() else _written_out(c) for c in text)


def cell(text: str) -> str:
    """Return a text as `inline` does, at a length that a table's column can have."""
    return inline(text, CELL)


def _written_out(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
