"""The entries that the turns of a loop read one by one, in their order along a first axis, and the last one once more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reflrp.arrays.tracing.dims import Dim, whole
from reflrp.importer.counting import Count
from reflrp.importer.lengths import Shown
from reflrp.importer.site import Ref, Site, Unbuildable
from reflrp.importer.stepping import PART
from reflrp.ir import Op
from reflrp.ops.pieces import Pieces
from reflrp.ops.routing import Reshape, Slice, Transpose


@dataclass(frozen=True)
class Row:
    """What turn k reads of a value: the entry at start + slope k along an axis, as `value`, by the nodes that `node` begins."""

    value: str
    source: Ref
    axis: int
    at: Count
    keeps: bool
    node: tuple[str, str]
    named: tuple[str, str]
    down: bool = False


@dataclass(frozen=True)
class Reading:
    """What the first turn reads, the second, and all from the second on, with one more; and how the latter are laid out."""

    row: Row
    first: Ref
    second: Ref
    others: Ref


def _put(site: Site, op: Op, x: Ref, part: str) -> Ref:
    """Add a node that moves entries, of a value with relevance or without."""
    if x.value.active:
        return site.emit(op, x, part=part)
    sample: Any = Shown(op.shape(x.shape), x.value.dtype)
    made = site.work.plumbing(site.node, 0, (x,), op, sample, part)
    if x.name in site.work.late:
        site.work.late.add(made.name)
    return made


def reading(site: Site, row: Row, count: int, i: int) -> Reading:
    """Put the entries that the turns read in their order, along the first axis, and the last one once more."""
    x, axis, n, part = row.source, row.axis, row.source.shape[row.axis], f"{PART}.row{i}"
    if axis:
        order = (axis, *(k for k in range(x.ndim) if k != axis))
        x = _put(site, Transpose(order), x, f"{part}.turned")
    start, stop = row.at.start, whole(count + row.at.start)
    key = slice(start, stop)
    if row.at.slope < 0:
        low = whole(row.at.start + 1 - count)
        start, stop, key = low, whole(row.at.start + 1), slice(low, whole(row.at.start + 1))
    if not isinstance(start, Dim) and start < 0:
        raise Unbuildable(f"it reads entry {start} of {row.source.name!r}")
    if stop != n and not stop <= n:
        raise Unbuildable(f"it reads {stop} entries of {row.source.name!r}, which has {n}")
    rest = (slice(None),) * (x.ndim - 1)
    if start != 0 or stop != n:
        x = _put(site, Slice(x.shape, (key, *rest)), x, f"{part}.taken")
    if row.at.slope < 0:
        x = _put(site, Slice(x.shape, (slice(None, None, -1), *rest)), x, f"{part}.flipped")
    shape = (*x.shape[1 : axis + 1], *((1,) if row.keeps else ()), *x.shape[axis + 1 :])
    if row.keeps:
        x = _put(site, Reshape(x.shape, (x.shape[0], *shape)), x, f"{part}.entries")
    everything = slice(None)
    longer = _put(site, Pieces(x.shape, ((everything, slice(-1, None)), *((),) * (x.ndim - 1))), x, f"{part}.longer")
    rest = (everything,) * (x.ndim - 1)
    rows = [
        _put(site, Reshape((1, *shape), shape), _put(site, Slice(longer.shape, (slice(k, k + 1), *rest)), longer, f"{part}.{k}"),
             f"{part}.{k}.read")
        for k in range(2)
    ]  # fmt: skip
    others = _put(site, Slice(longer.shape, (slice(1, None), *rest)), longer, f"{part}.others")
    return Reading(row, rows[0], rows[1], others)
