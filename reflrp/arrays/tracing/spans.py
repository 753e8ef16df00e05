"""Parts of an axis whose length may be open: what slices take, and what windows and tables have room for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from reflrp.arrays.tracing.dims import Dim, TooLong, TooShort, Unsettled, bounds, is_open, parts, symbols_of
from reflrp.arrays.tracing.polynomials import Floor, added, least, lengthened, scaled, smallest, value


def check_room(n: int, needed: int) -> None:
    """Raise TooShort where an open length may be smaller than what its reader needs."""
    symbol = _growing(n)
    if isinstance(n, Dim) and symbol and bounds(n, 0)[0] < needed:
        by = _first(lambda by: value(dict(n.terms), {symbol: smallest(symbol) + by}) >= needed)
        raise TooShort(f"the length {n} may be smaller than {needed}", symbol, by)


def check_reach(n: int, most: int) -> None:
    """Raise TooLong where an open length may be larger than the number of entries there are to take."""
    symbol = _growing(n)
    if isinstance(n, Dim) and symbol and not isinstance(most, Dim) and bounds(n, most)[1] > 0:
        room = _first(lambda beyond: value(dict(n.terms), {symbol: 1 + beyond}) > most)
        if room >= 1:
            raise TooLong(f"the length {n} may be larger than {most}", symbol, room)


def check_order(one: int, two: int, most: int) -> None:
    """Raise TooShort where which of two lengths is larger is settled once their one symbol is larger, by `most` at most."""
    found = symbols_of((one, two))
    if len(found) != 1:
        return
    difference = added(parts(one), scaled(parts(two), -1))
    for by in range(1, most + 1):
        longer = lengthened(difference, found[0], by)
        if least(longer) > 0 or -least(scaled(longer, -1)) < 0:
            raise TooShort(f"which of {one} and {two} is larger depends on the length", found[0], by)


def strided(shape: tuple[int, ...]) -> bool:
    """Return whether a length is made of whole parts of others."""
    return any(isinstance(s, Floor) for n in shape if isinstance(n, Dim) for m, _ in n.terms for s in m)


def _growing(n: int) -> str:
    """Return the one symbol that a length grows with; "" where there is none."""
    found = symbols_of((n,))
    grows = isinstance(n, Dim) and len(found) == 1 and all(k > 0 for m, k in n.terms if m)
    return found[0] if grows else ""


def _first(holds: Callable[[int], bool]) -> int:
    """Return the least whole number from 0 on for which something holds, that holds for all larger ones."""
    high = 1
    while not holds(high):
        high *= 2
    return bisect_left(range(high), True, key=holds)


ENDLESS = 2**31 - 1
"""Ends of slices from here on stand for all that is left."""


def sliced(key: slice, n: int) -> tuple[int, int, int]:
    """Return start, stop and step of a slice along n entries, as `slice.indices` does; n, start and stop may be formulas.

    Raises Unsettled where that depends on the length.
    """
    start, stop, step = key.start, key.stop, 1 if key.step is None else key.step
    if not any(isinstance(k, Dim) for k in (n, start, stop)):
        return key.indices(n)
    if step == -1 and start in (None, -1) and (stop is None or (not isinstance(stop, Dim) and stop <= -ENDLESS)):
        return 0, n, -1
    if step != 1:
        raise Unsettled(f"{key} takes some entries of an axis of length {n}")
    begin = _within(0 if start is None else start, n)
    end = n if stop is None or (not isinstance(stop, Dim) and stop >= ENDLESS) else _within(stop, n)
    return begin, (end if end >= begin else begin), 1


def entries(key: slice, n: int) -> int:
    """Return how many of n entries a slice takes."""
    return taken(sliced(key, n))


def taken(span: tuple[int, int, int]) -> int:
    """Return how many entries there are from a start to a stop by a step."""
    start, stop, step = span
    return stop - start if is_open((start, stop)) else len(range(start, stop, step))


def _within(place: int, n: int) -> int:
    """Return a place along n entries, counted from the front and cut to the end."""
    if isinstance(place, Dim):
        check_reach(place, n)
        return place if place <= n else n
    if place < 0:
        return n + place if n >= -place else 0
    return n if n < place else place
