"""Arrays of exact numbers over one denominator, and the division that keeps them so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from numbers import Rational
from typing import Any

import numpy as np

from reflrp.arrays.denominators import ONE, Denominator, denominator, factors_of, whole
from reflrp.arrays.exact import Exact, number, split


def exactly(array: Any) -> np.ndarray:
    """Return an array of exact numbers, of the same values; floats are the dyadic numbers that they are.

    They get one denominator, so that what is computed with them adds whole numbers. Shapes: as given.
    """
    given = np.asarray(array)
    return levelled([number(v if isinstance(v, Rational) else float(v)) for v in given.ravel()], given.shape)


def levelled(numbers: Iterable[Exact], shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of the numbers over one denominator."""
    numbers = list(numbers)
    common = _common(numbers)
    return _filled([Exact(_top(x, common), common) for x in numbers], shape)


def _common(numbers: Iterable[Exact]) -> Denominator:
    found = ONE
    for over in {id(x.over): x.over for x in numbers}.values():
        found = found.joined(over)[0]
    return found


def _top(x: Exact, common: Denominator) -> Any:
    return x.top if x.over is common else x.top * x.over.joined(common)[1]


def _filled(numbers: list[Exact], shape: tuple[int, ...]) -> np.ndarray:
    out = np.empty(len(numbers), dtype=object)
    out[:] = numbers
    return out.reshape(shape)


def divided(x: Any, y: Any) -> np.ndarray:
    """Return x / y elementwise, over one denominator; 0 where y = 0. Shapes: x, y broadcast against each other.

    With the distinct odd parts p of the divisors' numerators, x_k / y_k = x_k (prod of all p but p_k) / (prod of all p): the
    products of all but one are read off a tree of products.
    """
    x, y = np.broadcast_arrays(np.asarray(x, dtype=object), np.asarray(y, dtype=object))
    pairs = [(number(a), number(b)) for a, b in zip(x.ravel(), y.ravel(), strict=True)]
    used = [i for i, (a, b) in enumerate(pairs) if a.top and b.top]
    tops = levelled((pairs[i][0] for i in used), (len(used),))
    parts = [split(pairs[i][1].top) for i in used]
    others, product = _all_but_one(dict.fromkeys(odd for odd, _, _ in parts))
    twos = max((t for _, t, _ in parts), default=0)
    over = (tops[0].over if used else ONE).times(denominator(twos, factors_of(product)))
    found = [Exact(whole(0), over)] * len(pairs)
    for i, a, (odd, t, sign) in zip(used, tops, parts, strict=True):
        found[i] = Exact((sign * a.top * others[odd] * pairs[i][1].over.value) << (twos - t), over)
    return _filled(found, x.shape)


def _all_but_one(numbers: Mapping[Any, None]) -> tuple[dict[Any, Any], Any]:
    """Return for each number the product of all others, and the product of all."""
    if not numbers:
        return {}, whole(1)
    levels = [list(numbers)]
    while len(levels[-1]) > 1:
        level = levels[-1]
        levels.append([prod(level[i : i + 2]) for i in range(0, len(level), 2)])
    found = [whole(1)]
    for level in reversed(levels[:-1]):
        found = [found[i // 2] * (level[i ^ 1] if i ^ 1 < len(level) else 1) for i in range(len(level))]
    return dict(zip(numbers, found, strict=True)), levels[-1][0]
