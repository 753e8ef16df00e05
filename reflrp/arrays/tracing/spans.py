"""Parts of an axis whose length may be open: what slices take, and what windows and tables have room for."""

from __future__ import annotations

from reflrp.arrays.tracing.dims import (
    Dim,
    Divided,
    TooLong,
    TooShort,
    Undivided,
    bounds,
    check_same,
    is_open,
    parts,
    symbols_of,
)
from reflrp.arrays.tracing.growth import first, growing, lacking
from reflrp.arrays.tracing.polynomials import Floor, added, least, lengthened, scaled, value
from reflrp.arrays.tracing.residues import multiple


def check_room(n: int, needed: int) -> None:
    """Raise TooShort where an open length may be smaller than what its reader needs."""
    symbol = growing(parts(n))
    if symbol and bounds(n, 0)[0] < needed:
        raise TooShort(f"the length {n} may be smaller than {needed}", symbol, lacking(parts(n), symbol, needed))


def check_reach(n: int, most: int) -> None:
    """Raise TooLong where an open length may be larger than the number of entries there are to take."""
    symbol = growing(parts(n))
    if isinstance(n, Dim) and symbol and not isinstance(most, Dim) and bounds(n, most)[1] > 0:
        room = first(lambda beyond: value(dict(n.terms), {symbol: 1 + beyond}) > most)
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


def check_multiple(n: int, by: int) -> None:
    """Raise Divided where an open length is a multiple of a number for some residues only."""
    check_same(n, (n // by) * by)


def shared(n: int, by: int) -> int:
    """Return n / by, that must leave no rest. Raises Divided where it leaves none for multiples of a number only."""
    try:
        found = n // by
    except Undivided:
        found = 0
    if found * by == n or not is_open((n, by)):
        return found
    parting = multiple(parts(n), parts(by))
    if parting is None:
        raise Undivided(f"({n}) // {by!r} is no one formula", n, by)
    raise Divided(f"whether {n} is a multiple of {by} depends on the length", *parting, 0)


def strided(shape: tuple[int, ...]) -> bool:
    """Return whether a length is made of whole parts of others."""
    return any(isinstance(s, Floor) for n in shape if isinstance(n, Dim) for m, _ in n.terms for s in m)


ENDLESS = 2**31 - 1
"""Ends of slices from here on stand for all that is left."""


def sliced(key: slice, n: int) -> tuple[int, int, int]:
    """Return start, stop and step of a slice along n entries, as `slice.indices` does; n, start and stop may be formulas.

    Raises Unsettled where that depends on the length; TooShort or TooLong where it does not for lengths from one on, or up to one.
    """
    start, stop, step = key.start, key.stop, 1 if key.step is None else key.step
    if not any(isinstance(k, Dim) for k in (n, start, stop)):
        return key.indices(n)
    if step < 0:
        first, end = _last(start, n), -1 if stop is None or _endless(stop) else _within(stop, n, ends=True)
        _check_above(first, end)
        return first, end, step
    begin = 0 if start is None or (_endless(start) and start < 0) else _within(start, n)
    end = n if stop is None or _endless(stop) else _within(stop, n, ends=True)
    _check_above(end, begin)
    return begin, (end if end >= begin else begin), step


def _last(start: int | None, n: int) -> int:
    """Return the place from which a slice runs backwards."""
    if start is None or (_endless(start) and start > 0):
        return n - 1
    return _within(start, n) if _below(start) else _within(start + 1, n) - 1


def _check_above(one: int, two: int) -> None:
    """Raise TooShort where a length is at least another from some length on."""
    found, (low, high) = symbols_of((one, two)), bounds(one, two)
    if len(found) != 1 or low >= 0 or high <= 0:
        return
    difference = added(parts(one), scaled(parts(two), -1))
    for by in range(1, LONG + 1):
        if least(lengthened(difference, found[0], by)) >= 0:
            raise TooShort(f"which of {one} and {two} is larger depends on the length", found[0], by)


def _below(place: int) -> bool:
    return not isinstance(place, Dim) and place < 0


def _endless(place: int) -> bool:
    return not isinstance(place, Dim) and abs(place) >= ENDLESS


def beyond(n: int) -> int:
    """Return max(0, n): how many entries an axis gets; an open length may be 0, too."""
    return n if bounds(n, 0)[0] >= 0 else max(0, n)


def within(n: int) -> int:
    """Return max(0, -n): how many entries an axis loses."""
    return 0 if bounds(n, 0)[0] >= 0 else max(0, -n)


def entries(key: slice, n: int) -> int:
    """Return how many of n entries a slice takes."""
    return taken(sliced(key, n))


def taken(span: tuple[int, int, int]) -> int:
    """Return how many entries there are from a start to a stop by a step."""
    start, stop, step = span
    if not is_open((start, stop)):
        return len(range(start, stop, step))
    reach = stop - start if step > 0 else start - stop
    return (reach + (abs(step) - 1)) // abs(step)


LONG = 128
"""A slice that ends at most here is taken to leave entries out; one that ends further on, to be a bound on the length."""


def _within(place: int, n: int, ends: bool = False) -> int:
    """Return a place along n entries, counted from the front and cut to the end."""
    if isinstance(place, Dim):
        check_reach(place, n)
        return place if place <= n else n
    if place < 0:
        check_room(n, -place)
        return n + place if n >= -place else 0
    low, high = bounds(n, place)
    if low < 0 < high:
        if ends and place > LONG:
            check_reach(n, place)
        check_room(n, place)
    return place if low >= 0 or (high > 0 and n >= place) else n
