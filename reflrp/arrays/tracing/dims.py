"""Lengths that are known as a formula only: a + b N, where N is the number of samples that a graph will run at.

A `Dim` is an int, namely what the length is for one sample. So it passes through every formula over shapes, and a constant
that is worked out along such an axis has one entry there, which is broadcast. Where an answer would hold for some N only,
it raises `Unsettled`: a graph is never written that is right for one batch size and wrong for another.
"""

from __future__ import annotations

from math import inf
from typing import Any

from reflrp.errors import InputError


class Unsettled(InputError):
    """What a formula asks of a length has no one answer for all batch sizes."""


class Dim(int):
    """A length a + b N with b > 0; N >= 1 is the number of samples. Make one with `dim`."""

    times: int
    plus: int

    def __repr__(self) -> str:
        """Return `2N + 1`."""
        return f"{self.times if self.times != 1 else ''}N{f' + {self.plus}' if self.plus else ''}"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        """Return how to make it again."""
        return dim, (self.times, self.plus)

    def __hash__(self) -> int:
        """Return a hash of the formula."""
        return hash((self.times, self.plus))

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same formula; a Dim is no number."""
        return isinstance(other, Dim) and (self.times, self.plus) == (other.times, other.plus)

    def __ne__(self, other: object) -> bool:
        """Return whether they are not the same formula."""
        return not self == other

    def __add__(self, other: int) -> int:
        """Return the sum."""
        times, plus = _parts(other)
        return dim(self.times + times, self.plus + plus)

    __radd__ = __add__

    def __neg__(self) -> int:
        """Never asked of a length."""
        raise Unsettled(f"the length {self} is taken below zero")

    def __sub__(self, other: int) -> int:
        """Return the difference."""
        times, plus = _parts(other)
        return dim(self.times - times, self.plus - plus)

    def __rsub__(self, other: int) -> int:
        """Return the difference, which must not depend on N."""
        raise Unsettled(f"{other} - ({self}) depends on the batch size")

    def __mul__(self, other: int) -> int:
        """Return the product with a number."""
        if isinstance(other, Dim):
            raise Unsettled(f"({self}) * ({other}) is no a + b N")
        return dim(self.times * other, self.plus * other)

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> int:
        """Return the quotient, where it is the same formula for all N."""
        if isinstance(other, Dim):
            quotient, rest = divmod(self.times, other.times)
            if rest or self.plus != quotient * other.plus:
                raise Unsettled(f"({self}) // ({other}) depends on the batch size")
            return quotient
        if self.times % other or self.plus % other:
            raise Unsettled(f"({self}) // {other} depends on the batch size")
        return dim(self.times // other, self.plus // other)

    def __mod__(self, other: int) -> int:
        """Return the remainder, where it is the same for all N."""
        if isinstance(other, Dim):
            return int(self - (self // other) * other)
        if self.times % other:
            raise Unsettled(f"({self}) % {other} depends on the batch size")
        return self.plus % other

    def __divmod__(self, other: int) -> tuple[int, int]:
        """Return quotient and remainder."""
        return self // other, self % other

    def _difference(self, other: int) -> tuple[float, float]:
        """Return the least and the largest that self - other can be."""
        times, plus = self.times - _parts(other)[0], self.plus - _parts(other)[1]
        return (-inf if times < 0 else times + plus), (inf if times > 0 else times + plus)

    def _settled(self, other: int, never: bool, always: bool, text: str) -> bool:
        if never or always:
            return always
        raise Unsettled(f"whether {self} {text} {other} depends on the batch size")

    def __lt__(self, other: int) -> bool:
        """Return whether it is smaller for all N."""
        least, most = self._difference(other)
        return self._settled(other, least >= 0, most < 0, "<")

    def __le__(self, other: int) -> bool:
        """Return whether it is at most as large for all N."""
        least, most = self._difference(other)
        return self._settled(other, least > 0, most <= 0, "<=")

    def __gt__(self, other: int) -> bool:
        """Return whether it is larger for all N."""
        return not self <= other

    def __ge__(self, other: int) -> bool:
        """Return whether it is at least as large for all N."""
        return not self < other


def dim(times: int, plus: int = 0) -> int:
    """Return the length plus + times N: a plain int where it does not depend on N."""
    times, plus = int(times), int(plus)
    if times == 0:
        return plus
    if times < 0 or times + plus < 0:
        raise Unsettled(f"{plus} + {times} N is no length for all batch sizes")
    made = int.__new__(Dim, times + plus)
    made.times, made.plus = times, plus
    return made


def _parts(n: int) -> tuple[int, int]:
    return (n.times, n.plus) if isinstance(n, Dim) else (0, int(n))


def total(shape: tuple[int, ...]) -> int:
    """Return the product of the lengths (math.prod takes a Dim for the int that it is)."""
    found = 1
    for n in shape:
        found = n * found
    return found


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of arrays that are broadcast against one another. Raises InputError where they do not fit."""
    rank = max(map(len, shapes), default=0)
    found: list[int] = [1] * rank
    for shape in shapes:
        for i, n in enumerate(shape, rank - len(shape)):
            if n != 1 and found[i] not in (1, n):
                raise InputError(f"arrays of the shapes {shapes} cannot be broadcast")
            found[i] = n if n != 1 else found[i]
    return tuple(found)
