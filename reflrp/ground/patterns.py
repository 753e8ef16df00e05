"""Names and the patterns that stand for them."""

from __future__ import annotations

from fnmatch import fnmatchcase


def fits(pattern: str, name: str) -> bool:
    """Return whether a pattern of `fnmatch` stands for a name, or is that name: files have names with brackets in them."""
    return pattern == name or fnmatchcase(name, pattern)
