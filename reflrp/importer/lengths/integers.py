"""What operators make of two integers that may be formulas of open lengths: one answer for all lengths, or Unsettled."""

from __future__ import annotations

from typing import Any

from reflrp.arrays.tracing.dims import Dim, Undecided, bounds, is_open
from reflrp.arrays.tracing.spans import check_room


def quotient(a: Any, b: Any) -> Any:
    """Return a / b without its fraction."""
    if isinstance(a, Dim) or isinstance(b, Dim):
        return a // b
    return int(a / b) if b else 0


def rest(a: Any, b: Any) -> Any:
    """Return a mod b, which has the sign of b."""
    if isinstance(b, Dim) and not isinstance(a, Dim) and bounds(b, abs(a))[0] >= (a >= 0):
        return a if a >= 0 else b + a
    return a % b


def larger(a: Any, b: Any) -> Any:
    """Return the larger one; which one that is must be the same for all lengths."""
    low, high = bounds(a, b)
    return a if low >= 0 else b if high <= 0 or not a > b else a


def smaller(a: Any, b: Any) -> Any:
    """Return the smaller one; which one that is must be the same for all lengths."""
    low, high = bounds(a, b)
    return b if low >= 0 else a if high <= 0 or not a > b else b


def same(a: Any, b: Any) -> bool:
    """Return whether two lengths are one; that a length is 1 is left out, as where a file drops an axis of one entry."""
    if a == b or not is_open((a, b)):
        return bool(a == b)
    low, high = bounds(a, b)
    if low <= 0 <= high:
        n, other = (a, b) if isinstance(a, Dim) else (b, a)
        check_room(n, 2 if other == 1 else 0)
        raise Undecided(f"whether {n} is {other} depends on the length", n, other)
    return False
