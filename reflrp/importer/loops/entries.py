"""The entries that the turns of a loop read one by one, in their order along a first axis, and the last one once more."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reflrp.arrays.tracing.dims import Dim, whole
from reflrp.importer.loops.counting import Count
from reflrp.importer.loops.stepping import PART, put
from reflrp.importer.site import Ref, Site, Unbuildable
from reflrp.ir import Lengths
from reflrp.ops.pieces import Pieces
from reflrp.ops.routing import Reshape, Slice, Transpose


@dataclass(frozen=True)
class Row:
    """What turn k reads of a value: the entry at start + slope k along an axis, as `value`, by the nodes that `node` begins.

    `lengths` are those of an entry for all inputs, where a node of the file reads it.
    """

    value: str
    source: Ref
    axis: int
    at: Count
    keeps: bool
    node: tuple[str, str]
    named: tuple[str, str]
    down: bool = False
    lengths: Lengths = ()


@dataclass(frozen=True)
class Reading:
    """What the first turn reads, the second, and all from the second on, with one more; and how the latter are laid out."""

    row: Row
    first: Ref
    second: Ref
    others: Ref


def reading(site: Site, row: Row, count: int, i: int) -> Reading:
    """Put the entries that the turns read in their order, along the first axis, and the last one once more."""
    x, axis, n, part = row.source, row.axis, row.source.shape[row.axis], f"{PART}.row{i}"
    if axis:
        order = (axis, *(k for k in range(x.ndim) if k != axis))
        x = put(site, Transpose(order), x, f"{part}.turned")
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
        x = put(site, Slice(x.shape, (key, *rest)), x, f"{part}.taken")
    if row.at.slope < 0:
        x = put(site, Slice(x.shape, (slice(None, None, -1), *rest)), x, f"{part}.flipped")
    shape = (*x.shape[1 : axis + 1], *((1,) if row.keeps else ()), *x.shape[axis + 1 :])
    if row.keeps:
        x = put(site, Reshape(x.shape, (x.shape[0], *shape)), x, f"{part}.entries")
    everything = slice(None)
    longer = put(site, Pieces(x.shape, ((everything, slice(-1, None)), *((),) * (x.ndim - 1))), x, f"{part}.longer")
    rest = (everything,) * (x.ndim - 1)
    cuts = [put(site, Slice(longer.shape, (slice(k, k + 1), *rest)), longer, f"{part}.{k}") for k in range(2)]
    rows = [_told(site, row, put(site, Reshape(x.shape, shape), x, f"{part}.{k}.read")) for k, x in enumerate(cuts)]
    others = put(site, Slice(longer.shape, (slice(1, None), *rest)), longer, f"{part}.others")
    return Reading(row, rows[0], rows[1], others)


def _told(site: Site, row: Row, entry: Ref) -> Ref:
    """Return an entry with the lengths that it has in the graph of a number of turns."""
    if not row.lengths:
        return entry
    site.work.values[entry.name] = value = replace(entry.value, open_as=row.lengths)
    return Ref(entry.name, value)
