"""Builders of moves by indices that are only known at the observed input, and of scatters and samplings."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.arrays import ZERO
from reflrp.arrays.measured import ENTRIES, how
from reflrp.arrays.tracing.dims import Undecided, is_open
from reflrp.importer.builders.linear import diagonal, multiply, sum_of
from reflrp.importer.decompose import call
from reflrp.importer.lengths.formulas import Shown
from reflrp.importer.nodes.misread import newer
from reflrp.importer.nodes.node import made_node
from reflrp.importer.observed import found_late, observed
from reflrp.importer.plumbing import Along, Filled, Numbered, TapPlaces, TapWeights
from reflrp.importer.site import Made, Ref, Site, Unbuildable, builds
from reflrp.importer.windows.sampling import Sampling
from reflrp.ops.picking import Index, Pick, ScatterSum
from reflrp.ops.routing import Concat, Reshape
from reflrp.ops.sums import SumAxes

ONE = np.ones(())


@builds("TopK")
def top_k(site: Site) -> Any:
    """The largest or smallest entries along an axis, by the indices that are observed; the indices are plumbing."""
    x, count = site.ref(), site.const(1) if site.opset >= 10 else np.asarray([site.needed("k")])
    axis = site.axis(site.attr("axis", -1), x.ndim)
    node = site.node if site.opset >= 10 else newer(site.node, "TopK", 11, ("x", "k"), axis=axis)
    rest = [np.asarray(count, dtype=np.int64).reshape(1)]
    found = Filled(node.evaluate, (None, *rest), (0,), 1, np.int64)
    if is_open(x.shape):
        y = found_late(site, Numbered(node, tuple(rest), x.shape, sorted_=True))
        if len(site.node.outputs) < 2 or not site.node.outputs[1]:
            return y
        return y, site.work.plumbing(site.node, 1, (x,), found, Shown(y.shape, np.dtype(np.int64)))
    numbers = site.numbers(x.shape)
    y = site.emit(Pick(x.shape), x, observed(site, Along(numbers, found, axis), (x,), "index"))
    if len(site.node.outputs) < 2 or not site.node.outputs[1]:
        return y
    return y, site.work.plumbing(site.node, 1, (x,), found, found(site.work.sample(x)))


@builds("Scatter", "ScatterElements", "ScatterND")
def scatter(site: Site) -> Made:
    """Data with some entries replaced by updates, or with updates added to them, or the largest or smallest of both."""
    data, index, updates = (site.arg(i) for i in range(3))
    how = site.attr("reduction", "none")
    if how != "none":
        target = _targets(site, data, updates, site.const(1))
        if how == "add":
            return _added(site, data, updates, target)
        if how in ("max", "min"):
            return _extremes(site, data, updates, target, "Max" if how == "max" else "Min")
        return _multiplied(site, data, updates, target, how)
    node = site.node
    if site.op_type == "Scatter":  # as ScatterElements was called
        node = made_node("ScatterElements", ("data", "indices", "updates"), 13, axis=site.attr("axis", 0))
    size, more = prod(data.shape), prod(updates.shape)
    site.room((3, size + more))
    first = np.arange(size, dtype=np.int64).reshape(data.shape)
    second = np.arange(size, size + more, dtype=np.int64).reshape(updates.shape)
    order = Filled(node.evaluate, (first, None, second), (1,), dtype=np.int64)
    both = _side_by_side(site, data, updates)
    if isinstance(index, np.ndarray):
        return site.emit(Index(both.shape, order(index)), both)
    return site.emit(Pick(both.shape), both, observed(site, order, (index,), "index"))


def _side_by_side(site: Site, data: Any, updates: Any) -> Ref:
    """Return the entries of both in one row."""
    rows = [
        site.emit(Reshape(a.shape, (prod(a.shape),)), a, part=part) if isinstance(a, Ref) else np.ravel(a)
        for a, part in ((data, "data"), (updates, "updates"))
    ]
    parts = tuple(None if isinstance(r, Ref) else r for r in rows)
    values = [r for r in rows if isinstance(r, Ref)]
    return site.emit(Concat(0, parts, tuple(r.shape[0] for r in rows)), *values, part="both")


def _targets(site: Site, data: Any, updates: Any, index: np.ndarray) -> np.ndarray:
    """Return for each update the number of the entry that it goes to."""
    numbers = site.numbers(data.shape)
    if site.op_type == "ScatterND":
        target = np.asarray(numbers[tuple(np.moveaxis(index.astype(np.int64), -1, 0))])
    else:
        axis = site.axis(site.attr("axis", 0), len(data.shape))
        cut = tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(index.shape))
        target = np.take_along_axis(numbers[cut], index.astype(np.int64) % data.shape[axis], axis)
    if target.shape != updates.shape:
        raise Unbuildable(f"updates of shape {updates.shape} do not fit indices of shape {index.shape}")
    return target


def _multiplied(site: Site, data: Any, updates: Any, target: np.ndarray, how: str) -> Ref:
    """Return data times all updates that go to each entry, which must be constant."""
    if how != "mul" or isinstance(updates, Ref):
        raise Unbuildable(
            f"a scatter with the reduction {how!r} of updates that depend on the data has no rule; write it as Mul"
        )
    factors = np.ones(prod(data.shape))
    np.multiply.at(factors, target.ravel(), np.asarray(updates, float).ravel())
    return diagonal(site, data, factors.reshape(data.shape), None)


def _extremes(site: Site, data: Any, updates: Any, target: np.ndarray, op_type: str) -> Made:
    """Return the largest, or smallest, of each entry and the updates that go to it: a Max of as many values as come together.

    Where fewer come, the least number of all stands in their place, which is never larger.
    """
    order = np.argsort(target, axis=None, kind="stable")
    goes = target.ravel()[order]
    turn = np.arange(len(goes)) - np.searchsorted(goes, goes)  # how many went to the same entry before
    none = np.full((), np.finfo(np.float32).min if op_type == "Max" else np.finfo(np.float32).max, np.float32)
    found: list[Any] = [data]
    most = int(turn.max(initial=-1)) + 1
    site.room((most + 1, prod(data.shape)))
    for first in range(most):
        table, given = _elsewhere(data.shape, updates.shape), np.zeros(prod(data.shape), bool)
        chosen = turn == first
        table[goes[chosen]], given[goes[chosen]] = order[chosen], True
        table, mask = table.reshape(data.shape), given.reshape(data.shape)
        if isinstance(updates, np.ndarray):
            found.append(np.where(mask, np.ravel(updates)[table], none).astype(np.float32))
            continue
        taken = site.emit(Index(updates.shape, table), updates, part=f"update{first}")
        alike = mask.ndim > 0 and bool((mask == mask[:1]).all())  # as it is for any number of samples
        found.append(call(site, "Where", mask[:1] if alike else mask, taken, none, part=f"given{first}"))
    return call(site, op_type, *found)


def _elsewhere(data: tuple[int, ...], updates: tuple[int, ...]) -> np.ndarray:
    """Return for each entry an update that nobody reads: the first of its own sample, where there are as many on both."""
    if len(data) == 0 or len(updates) == 0 or data[0] != updates[0] or not data[0]:
        return np.zeros(prod(data), np.int64)
    each = np.arange(data[0], dtype=np.int64) * prod(updates[1:])
    return np.repeat(each, prod(data[1:]))


def _added(site: Site, data: Any, updates: Any, target: np.ndarray) -> Ref:
    """Return data + the sums of the updates that go to each entry."""
    size = prod(data.shape)
    if isinstance(updates, np.ndarray):
        spread = np.zeros(size)
        np.add.at(spread, target.ravel(), updates.ravel())
        return diagonal(site, data, None, spread.reshape(data.shape))
    alone = isinstance(data, np.ndarray) and not np.any(data) and not how(site.args[0]) & ENTRIES
    op = ScatterSum(ONE, ZERO, updates.shape, index=target, target=data.shape)
    spread_ = site.emit(op, updates, part="" if alone else "sums")
    if alone:
        return spread_
    if isinstance(data, np.ndarray):
        return diagonal(site, spread_, None, data)
    return sum_of(site, [data, spread_], [1, 1])


@builds("Trilu")
def trilu(site: Site) -> Made:
    """The upper or lower triangle, zero elsewhere."""
    x, k = site.ref(), int(np.asarray(site.const(1, 0)).item())
    rows, columns = x.shape[-2:]
    if is_open((rows, columns)):
        raise Undecided("which entries it keeps depends on the length", rows, columns)
    kept = np.ones((rows, columns), dtype=bool)
    kept = np.triu(kept, k) if site.attr("upper", 1) else np.tril(kept, k)
    return call(site, "Where", kept, x, np.zeros((), np.float32))


TAP_TURNS = 20
"""How many steps the number and the weight of one entry take that a GridSample reads, for each axis."""


@builds("GridSample")
def grid_sample(site: Site) -> Ref:
    """Entries at places between the entries: a sum of a few, by weights that the grid says.

    A grid that the network works out is held constant, so that all relevance goes to the entries.
    """
    x, grid = site.ref(0), site.arg(1)
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(site.attr("mode", "linear"), site.attr("mode", "linear"))
    how = Sampling(mode, site.attr("padding_mode", "zeros"), bool(site.attr("align_corners", 0)))
    if is_open((*x.shape, *grid.shape)):
        raise Unbuildable(
            f"it samples the shape {x.shape} by a grid of the shape {tuple(grid.shape)}, which are left open"
        )
    batch, channels, *size = x.shape
    inner = prod(size)
    taps = {"linear": 2, "cubic": 4}.get(mode, 1) ** len(size)
    site.room((5, taps, batch, *grid.shape[1:]), (2, taps, channels, batch, *grid.shape[1:-1]))
    starts = np.arange(batch * channels, dtype=np.int64).reshape(batch, channels, 1, *(1,) * len(size)) * inner
    index, weight = TapPlaces(how, tuple(size), starts), TapWeights(how, tuple(size), alike=isinstance(grid, Ref))
    if isinstance(grid, np.ndarray):
        limits.spend(f"node {site.node.name!r} (GridSample)", TAP_TURNS * taps * grid.size)
        taken = site.emit(Index(x.shape, index(grid)), x, part="taps")
        weighed = diagonal(site, taken, weight(grid), None, part="weighed")
    else:
        if grid.value.active:
            site.work.notes.append(f"{site.node.name!r} samples by a grid that is held constant: it gets no relevance")
        taken = site.emit(Pick(x.shape, each=True), x, observed(site, index, (grid,), "index"), part="taps")
        weighed = multiply(site, taken, observed(site, weight, (grid,), "weights"), part="weighed")
    return site.emit(SumAxes(ONE, ZERO, weighed.shape, axes=(2,), keepdims=False, mean=False), weighed)
