"""Lengths that are known as a formula only: sums of products of symbols, such as 2N + 1, 3NT or floor((T + 1)/2).

A symbol is a length that a graph learns in the run: N is the number of samples, others are the axes that a file leaves open.
All are at least 1; of strides come whole parts of quotients, which are symbols, too, and may be 0. A `Dim` is an int, namely what
the length is at an example; so it passes through every formula over shapes.
Where an answer would hold for some lengths only, it raises `Unsettled`: a graph is never written that is right for one length
and wrong for another.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from reflrp.arrays.tracing.growth import growing, lacking, unwieldy
from reflrp.arrays.tracing.polynomials import (
    Monomial,
    Terms,
    added,
    bases,
    floored,
    least,
    product,
    quotient,
    scaled,
    written,
)
from reflrp.arrays.tracing.residues import residue
from reflrp.errors import InputError

BATCH = "N"
"""The symbol of the number of samples."""


class Unsettled(InputError):
    """What a formula asks of a length has no one answer for all lengths."""


class Undecided(Unsettled):
    """Which of a length and a number is larger depends on the length."""

    def __init__(self, text: str, n: int, other: int) -> None:
        super().__init__(text)
        self.n, self.other = n, other


class TooShort(Unsettled):
    """An open length must be larger than 1: that of a symbol, by so much."""

    def __init__(self, text: str, symbol: str, by: int) -> None:
        super().__init__(text)
        self.symbol, self.by = symbol, by


class TooLong(Unsettled):
    """An open length must not be larger than `most`: that of a symbol."""

    def __init__(self, text: str, symbol: str, most: int) -> None:
        super().__init__(text)
        self.symbol, self.most = symbol, most


class Divided(Unsettled):
    """An open length must leave a rest: that of a symbol must be by * symbol + rest."""

    def __init__(self, text: str, symbol: str, by: int, rest: int) -> None:
        super().__init__(text)
        self.symbol, self.by, self.rest = symbol, by, rest


class Joined(Unsettled):
    """Two open lengths must be one: those of a symbol and of another."""

    def __init__(self, text: str, symbol: str, other: str) -> None:
        super().__init__(text)
        self.symbol, self.other = symbol, other


class Undivided(Unsettled):
    """An open length is divided by another that is no part of its formula."""

    def __init__(self, text: str, n: int, by: int) -> None:
        super().__init__(text)
        self.n, self.by = n, by


class Dim(int):
    """A length that depends on symbols. Make one with `dim` or `length`, and others from it by arithmetic."""

    terms: tuple[tuple[Monomial, int], ...]
    __array_ufunc__ = None

    def __repr__(self) -> str:
        """Return `2N + 1`."""
        return written(self.terms)

    __str__ = __repr__

    def __reduce__(self) -> Any:
        """Return how to make it again."""
        return _restored, (self.terms, example(self))

    def __bool__(self) -> bool:
        """Return True: it is not the number 0, though it may be none for some length."""
        return True

    def __hash__(self) -> int:
        """Return a hash of the formula."""
        return hash(self.terms)

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same formula; a Dim is no number."""
        return isinstance(other, Dim) and self.terms == other.terms

    def __ne__(self, other: object) -> bool:
        """Return whether they are not the same formula."""
        return not self == other

    def _no_number(self, *others: Any) -> Any:
        raise Unsettled(f"a number is asked for where the length {self} is no number yet")

    __int__ = __float__ = __truediv__ = __rtruediv__ = __pow__ = __rpow__ = _no_number
    __rfloordiv__ = __rmod__ = __rdivmod__ = __lshift__ = __rshift__ = __and__ = __or__ = __xor__ = _no_number

    def _met(self, other: Any) -> Any:
        if isinstance(other, np.ndarray | float):
            self._no_number()
        return NotImplemented

    def __neg__(self) -> int:
        """Never asked of a length."""
        raise Unsettled(f"the length {self} is taken below zero")

    def __add__(self, other: int) -> int:
        """Return the sum."""
        if not _is_length(other):
            found: int = self._met(other)
            return found
        return _made(added(parts(self), parts(other)), example(self) + example(other))

    __radd__ = __add__

    def __sub__(self, other: int) -> int:
        """Return the difference."""
        if not _is_length(other):
            found: int = self._met(other)
            return found
        return _made(added(parts(self), scaled(parts(other), -1)), example(self) - example(other))

    def __rsub__(self, other: int) -> int:
        """Return the difference, where it is no length below zero."""
        return _made(added(parts(other), scaled(parts(self), -1)), example(other) - example(self))

    def __mul__(self, other: int) -> int:
        """Return the product."""
        if not _is_length(other):
            found: int = self._met(other)
            return found
        return _made(product(parts(self), parts(other)), example(self) * example(other))

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> int:
        """Return the quotient, where it is one formula for all lengths."""
        found = quotient(parts(self), parts(other))
        if found is None and not isinstance(other, Dim) and other > 0:
            found = floored(parts(self), int(other))
        if found is None:
            raise Undivided(f"({self}) // {other!r} is no one formula", self, other)
        return _made(found, example(self) // example(other))

    def __mod__(self, other: int) -> int:
        """Return the remainder, where it is the same for all lengths."""
        return self - (self // other) * other

    def __divmod__(self, other: int) -> tuple[int, int]:
        """Return quotient and remainder."""
        return self // other, self % other

    def _settled(self, other: int, never: bool, always: bool, text: str) -> bool:
        if never or always:
            return always
        raise Undecided(f"whether {self} {text} {other} depends on the length", self, other)

    def __lt__(self, other: int) -> bool:
        """Return whether it is smaller for all lengths."""
        least, most = bounds(self, other)
        return self._settled(other, least >= 0, most < 0, "<")

    def __le__(self, other: int) -> bool:
        """Return whether it is at most as large for all lengths."""
        least, most = bounds(self, other)
        return self._settled(other, least > 0, most <= 0, "<=")

    def __gt__(self, other: int) -> bool:
        """Return whether it is larger for all lengths."""
        return not self <= other

    def __ge__(self, other: int) -> bool:
        """Return whether it is at least as large for all lengths."""
        return not self < other


def dim(times: int, plus: int = 0) -> int:
    """Return the length plus + times N: a plain int where it does not depend on N."""
    return _made({(BATCH,): int(times), (): int(plus)}, int(times) + int(plus))


def length(symbol: str, at: int, plus: int = 0, times: int = 1) -> int:
    """Return the length times * symbol + plus, whose example has `at` for the symbol."""
    return _made({(symbol,): times, (): plus}, times * at + plus)


def example(n: int) -> int:
    """Return what a length is at the example; a number is itself."""
    return int.__add__(n, 0) if isinstance(n, Dim) else int(n)


def whole(n: Any) -> int:
    """Return a length as it is, and any other number as a plain int."""
    return n if isinstance(n, Dim) else int(n)


def is_open(shape: Any) -> bool:
    """Return whether any length of a shape, or number in an array of integers, depends on a symbol."""
    if isinstance(shape, np.ndarray):
        return shape.dtype == object and any(isinstance(n, Dim) for n in shape.flat)
    return any(isinstance(n, Dim) for n in shape)


def symbols_of(shape: Any) -> tuple[str, ...]:
    """Return the symbols that the lengths of a shape depend on, in order."""
    return tuple(dict.fromkeys(b for n in shape if isinstance(n, Dim) for m, _ in n.terms for s in m for b in bases(s)))


def _made(found: Terms, value: int) -> int:
    terms = {m: k for m, k in sorted(found.items()) if k}
    if terms.keys() <= {()}:
        return terms.get((), 0)
    if unwieldy(terms):
        raise Unsettled("a length is too long a formula of others")
    if least(terms) < 0:
        symbol, text = growing(terms), f"{written(tuple(terms.items()))} is no length for all lengths"
        raise TooShort(text, symbol, lacking(terms, symbol, 0)) if symbol else Unsettled(text)
    return _restored(tuple(terms.items()), value)


def _restored(terms: tuple[tuple[Monomial, int], ...], value: int) -> Dim:
    made = int.__new__(Dim, value)
    made.terms = terms
    return made


def _is_length(n: Any) -> bool:
    return isinstance(n, int | np.integer)


def parts(n: int) -> dict[Monomial, int]:
    """Return the terms of a length, or of a number."""
    return dict(n.terms) if isinstance(n, Dim) else {(): int(n)}


def bounds(one: int, two: int) -> tuple[float, float]:
    """Return the least and the largest that one - two can be."""
    difference = added(parts(one), scaled(parts(two), -1))
    return least(difference), -least(scaled(difference, -1))


def total(shape: tuple[int, ...]) -> int:
    """Return the product of the lengths (math.prod takes a Dim for the int that it is)."""
    return reduce(lambda found, n: n * found, shape, 1)


def check_same(one: int, two: int) -> None:
    """Raise Divided where two different lengths are one for some residues of a length that is left open; Joined for one of two."""
    found = residue(parts(one), parts(two)) if is_open((one, two)) else None
    if found is not None:
        raise Divided(f"whether {one} is {two} depends on the length", *found)
    own, others = set(symbols_of((one,))), set(symbols_of((two,)))
    if len(own - others) == len(others - own) == 1:
        raise Joined(f"whether {one} is {two} depends on the lengths", *(own - others), *(others - own))


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of arrays that are broadcast against one another. Raises InputError where they do not fit."""
    found: list[int] = [1] * (rank := max(map(len, shapes), default=0))
    for shape in shapes:
        for i, n in enumerate(shape, rank - len(shape)):
            if n != 1 and found[i] not in (1, n):
                check_same(n, found[i])
                raise InputError(f"arrays of the shapes {shapes} cannot be broadcast")
            found[i] = n if n != 1 else found[i]
    return tuple(found)


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return what `numpy.broadcast_shapes` does, of lengths that may depend on symbols."""
    return broadcast(*shapes) if any(map(is_open, shapes)) else np.broadcast_shapes(*shapes)
