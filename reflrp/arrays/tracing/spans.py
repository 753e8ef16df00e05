"""Parts of an axis whose length may be open: what slices take, and what windows and tables have room for."""

from __future__ import annotations

from reflrp.arrays.tracing.dims import Dim, TooLong, TooShort, Unsettled, bounds, is_open, symbols_of


def check_room(n: int, least: int) -> None:
    """Raise TooShort where an open length may be smaller than what its reader needs."""
    if not isinstance(n, Dim) or n.terms[-1][1] < 1 or len(symbols_of((n,))) != 1:
        return
    (symbol,), missing = symbols_of((n,)), least - bounds(n, 0)[0]
    if missing > 0:
        by = -(-int(missing) // n.terms[-1][1])
        raise TooShort(f"the length {n} may be smaller than {least}", symbol, by)


def check_reach(n: int, most: int) -> None:
    """Raise TooLong where an open length may be larger than the number of entries there are to take."""
    if isinstance(n, Dim) and not isinstance(most, Dim) and len(symbols_of((n,))) == 1 and bounds(n, most)[1] > 0:
        (symbol,), (monomial, times) = symbols_of((n,)), n.terms[-1]
        room = (most - dict(n.terms).get((), 0)) // times
        if len(monomial) == 1 and room >= 1:
            raise TooLong(f"the length {n} may be larger than {most}", symbol, room)


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
