"""The symbolic zero: a term that is known to vanish, so that nobody computes it."""

from __future__ import annotations

from typing import Any


class Zero:
    """The symbolic zero: a term that is known to vanish, so that nobody computes it.

    `ZERO + x` is `x`, `ZERO * x` is `ZERO`. A linear map applied to `ZERO` is `ZERO`.
    """

    __array_ufunc__ = None
    __array_priority__ = 1000

    def __add__(self, other: Any) -> Any:
        """Return `other`."""
        return other

    def __sub__(self, other: Any) -> Any:
        """Return `-other`."""
        return -other

    def __rsub__(self, other: Any) -> Any:
        """Return `other`."""
        return other

    def __mul__(self, other: Any) -> Zero:
        """Return zero."""
        return self

    def __pow__(self, exponent: Any) -> Zero:
        """Return zero."""
        return self

    def __neg__(self) -> Zero:
        """Return zero."""
        return self

    def __repr__(self) -> str:
        """Return `ZERO`."""
        return "ZERO"

    def __reduce__(self) -> str:
        """Return the name of the one there is: pickled, copied or sent to another process, it stays that one."""
        return "ZERO"

    __radd__ = __add__
    __rmul__ = __mul__
    __truediv__ = __mul__


ZERO = Zero()
