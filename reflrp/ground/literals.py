"""Reading Python's literals and calls off texts, in any number of threads; a text is read, never run.

CPython 3.11 counts how deep a syntax tree is in one place for all threads, and where two build one at a time, it raises SystemError
for a text that is right. So ours take turns, and where other code came in between, the text is read again.
"""

from __future__ import annotations

import ast
from threading import Lock
from typing import Any

_TURN = Lock()
ATTEMPTS = 20
"""How often a text is read, at most, where other code builds trees at the same time."""


def expression(text: str) -> ast.expr:
    """Return the syntax tree of an expression. Raises what `ast.parse` raises."""
    for left in reversed(range(ATTEMPTS)):
        try:
            with _TURN:
                return ast.parse(text, mode="eval").body
        except SystemError:
            if not left:
                raise
    raise AssertionError


def literal(text: str) -> Any:
    """Return the value of a text that is a literal. Raises what `ast.literal_eval` raises."""
    return ast.literal_eval(expression(text.strip(" \t")))
