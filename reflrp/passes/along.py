"""How many entries there are along axes whose lengths a file leaves open: whether a number that it computes of lengths is that."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from itertools import chain, combinations
from typing import NamedTuple

from reflrp.arrays.tracing.dims import Dim, parts
from reflrp.arrays.tracing.polynomials import Terms, added, product, scaled
from reflrp.ir import Lengths, Node, Value


class Count(NamedTuple):
    """times * the number of entries along axes, + plus."""

    times: float
    axes: tuple[int, ...]
    plus: float


def reads(node: Node, values: Mapping[str, Value]) -> tuple[str, ...]:
    """Return what a node reads, without the number of entries that it multiplies or divides by."""
    return tuple(i for i in node.inputs if node.counts is None or values[i].active)


def along(n: int, lengths: Lengths, formulas: Mapping[str, int]) -> Count | None:
    """Return a formula of lengths as a number of entries along some axes; None where it is none, or 0."""
    if not isinstance(n, Dim):
        return Count(float(n), (), 0.0) if n else None
    is_open = [i for i, m in enumerate(lengths) if isinstance(m, str)]
    for axes in chain.from_iterable(combinations(is_open, k) for k in range(1, len(is_open) + 1)):
        whole = reduce(product, (_terms(str(lengths[i]), formulas) for i in axes))
        top = max(whole, key=len)
        times, rest = divmod(parts(n).get(top, 0), whole[top])
        left = {m: k for m, k in added(parts(n), scaled(whole, -times)).items() if k}
        if times > 0 and not rest and left.keys() <= {()}:
            return Count(float(times), axes, float(left.get((), 0)))
    return None


def _terms(name: str, formulas: Mapping[str, int]) -> Terms:
    """Return a length that has a name as a sum of products."""
    return parts(formulas[name]) if name in formulas else {(name,): 1}
