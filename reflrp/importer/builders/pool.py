"""Builders of pools and reductions."""

from __future__ import annotations

from math import prod

import numpy as np

from reflrp.arrays import ZERO
from reflrp.arrays.tracing.dims import broadcast_shapes
from reflrp.arrays.tracing.spans import check_room
from reflrp.importer.builders.linear import diagonal, multiply
from reflrp.importer.plumbing import Winners
from reflrp.importer.site import Made, Ref, Site, Unbuildable, builds
from reflrp.importer.windows.geometry import average_share, counted, pool_windows
from reflrp.ops.conv import WindowMean
from reflrp.ops.openmaps import OpenMean
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.routing import Reshape, Slice
from reflrp.ops.selection import MaxAxes, MaxOf, MaxPool
from reflrp.ops.sums import SumAxes

ONE = np.ones(())


@builds("AveragePool")
def average_pool(site: Site) -> Ref:
    """The mean over each window."""
    x = site.ref()
    windows = pool_windows(site, x.shape[2:])
    counting = counted(site, windows)
    if counting is not None:
        return site.emit(OpenMean(ONE, ZERO, x.shape, windows=windows, share=None, counted=counting), x)
    return site.emit(WindowMean(ONE, ZERO, x.shape, windows=windows, share=average_share(site, windows)), x)


@builds("MaxPool")
def max_pool(site: Site) -> Made:
    """The maximum over each window, and where it lies in the input."""
    x = site.ref()
    op = MaxPool(ONE, ZERO, x.shape, windows=pool_windows(site, x.shape[2:]))
    z = site.emit(op, x)
    if len(site.node.outputs) < 2:
        return z
    numbers = site.numbers(x.shape).astype(np.float64)
    if site.attr("storage_order", 0):
        numbers = np.swapaxes(numbers.reshape(*x.shape[:2], *x.shape[:1:-1]), 2, -1)
    return z, site.work.plumbing(site.node, 1, (x,), Winners(op, numbers), np.zeros(z.shape, np.int64))


@builds("LpPool")
def lp_pool(site: Site) -> Ref:
    """(sum |x|^p)^(1/p) over each window, as a power, a sum and a root."""
    x, p = site.ref(), float(site.attr("p", 2))
    windows = pool_windows(site, x.shape[2:])
    powers = site.emit(Pointwise("abs_power", (p,)), x, part="power")
    total = site.emit(WindowMean(ONE, ZERO, x.shape, windows=windows, share=np.ones(())), powers, part="sum")
    return site.emit(Pointwise("root", (p,)), total)


@builds("GlobalAveragePool")
def global_average_pool(site: Site) -> Ref:
    """The mean over all spatial axes."""
    return _sum_axes(site, site.ref(), tuple(range(2, site.ref().ndim)), True, mean=True)


@builds("GlobalMaxPool")
def global_max_pool(site: Site) -> Ref:
    """The maximum over all spatial axes."""
    x = site.ref()
    return site.emit(MaxAxes(ONE, ZERO, x.shape, axes=tuple(range(2, x.ndim))), x)


@builds("GlobalLpPool")
def global_lp_pool(site: Site) -> Ref:
    """(sum |x|^p)^(1/p) over all spatial axes."""
    x, p = site.ref(), float(site.attr("p", 2))
    powers = site.emit(Pointwise("abs_power", (p,)), x, part="power")
    total = _sum_axes(site, powers, tuple(range(2, x.ndim)), True, mean=False, part="sum")
    return site.emit(Pointwise("root", (p,)), total)


def _axes(site: Site) -> tuple[int, ...]:
    """Return the axes of a reduction: attribute in old opsets, input in new ones; none means all."""
    x = site.ref()
    axes = site.ints("axes", 1)
    if not axes:
        return () if site.attr("noop_with_empty_axes", 0) else tuple(range(x.ndim))
    return tuple(sorted(site.axis(a, x.ndim) for a in axes))


def _none(x: Ref, axes: tuple[int, ...]) -> bool:
    """Return whether axes have no entries; of open lengths, those for which that is so are left out."""
    for axis in axes:
        check_room(x.shape[axis], 1)
    return not prod(x.shape[axis] for axis in axes)


def _sum_axes(site: Site, x: Ref, axes: tuple[int, ...], keepdims: bool, *, mean: bool, part: str = "") -> Ref:
    if mean and _none(x, axes):
        raise Unbuildable("it takes the mean of no entries")
    return site.emit(SumAxes(ONE, ZERO, x.shape, axes=axes, keepdims=keepdims, mean=mean), x, part=part)


def _reduce(site: Site, x: Ref, *, mean: bool = False, part: str = "") -> Ref:
    axes = _axes(site)
    return _sum_axes(site, x, axes, bool(site.attr("keepdims", 1)), mean=mean, part=part) if axes else x


@builds("ReduceMean", "ReduceSum")
def reduce_sum(site: Site) -> Ref:
    """A mean or sum over axes."""
    return _reduce(site, site.ref(), mean=site.op_type == "ReduceMean")


@builds("ReduceMax")
def reduce_max(site: Site) -> Ref:
    """The maximum over axes."""
    return _extreme(site, site.ref())


@builds("ReduceMin")
def reduce_min(site: Site) -> Ref:
    """The minimum over axes, as the maximum of the negative."""
    below = _extreme(site, diagonal(site, site.ref(), -ONE, None, part="neg"), part="max")
    return diagonal(site, below, -ONE, None)


def _extreme(site: Site, x: Ref, part: str = "") -> Ref:
    axes = _axes(site)
    if _none(x, axes):
        raise Unbuildable("it takes the maximum or minimum of no entries")
    op = MaxAxes(ONE, ZERO, x.shape, axes=axes, keepdims=bool(site.attr("keepdims", 1)))
    return site.emit(op, x, part=part) if axes else x


@builds("ReduceL1", "ReduceL2", "ReduceSumSquare")
def reduce_power(site: Site) -> Ref:
    """Sums of absolute values or squares, and their root."""
    p = 1.0 if site.op_type == "ReduceL1" else 2.0
    powers = site.emit(Pointwise("abs_power", (p,)), site.ref(), part="power")
    root = site.op_type == "ReduceL2"
    total = _reduce(site, powers, part="sum" if root else "")
    return site.emit(Pointwise("root", (2.0,)), total) if root else total


@builds("ReduceLogSum", "ReduceLogSumExp")
def reduce_log(site: Site) -> Ref:
    """The logarithm of a sum, or of a sum of exponentials."""
    x = site.ref()
    if site.op_type == "ReduceLogSumExp":
        x = site.emit(Pointwise("exp"), x, part="exp")
    return site.emit(Pointwise("log"), _reduce(site, x, part="sum"))


@builds("Max", "Min")
def extreme_of(site: Site) -> Ref:
    """The elementwise maximum or minimum; of one value and scalars it is a Clip."""
    args = [site.arg(i) for i in range(len(site.args))]
    values = [a for a in args if isinstance(a, Ref)]
    constants = [a for a in args if isinstance(a, np.ndarray)]
    least = site.op_type == "Min"
    if len(values) == 1 and all(site.is_number(c) and c.ndim <= values[0].ndim for c in constants):
        return _clip(site, values[0], [float(c.item()) for c in constants], least)
    shapes = tuple(v.shape for v in values)
    out = broadcast_shapes(*shapes, *(c.shape for c in constants))
    source = (len(args), *out)
    op = MaxOf(ONE, ZERO, source, sources=shapes, constants=tuple(constants), least=least)
    return site.emit(op, *values)


def _clip(site: Site, x: Ref, bounds: list[float], least: bool) -> Ref:
    if not bounds:
        return x
    low_high = (-np.inf, min(bounds)) if least else (max(bounds), np.inf)
    return site.emit(Pointwise("clip", low_high), x)


@builds("ReduceProd")
def reduce_prod(site: Site) -> Made:
    """A product over axes, pair by pair, so that each factor is treated alike: of 1, 2, 4, 8 ... factors."""
    x, axes = site.ref(), _axes(site)
    if not prod(x.shape[a] for a in axes):
        raise Unbuildable("it takes the product of no entries")
    for axis in axes:
        while (size := x.shape[axis]) > 1:
            if size % 2:
                raise Unbuildable(f"a product of {size} values has no relevance rule; one of 2, 4, 8 ... has")
            first, second = (_half(site, x, axis, k) for k in (0, 1))
            x = multiply(site, first, second, part=f"product.{axis}.{size}")
    shape = tuple(n for i, n in enumerate(x.shape) if site.attr("keepdims", 1) or i not in axes)
    return site.emit(Reshape(x.shape, shape), x)


def _half(site: Site, x: Ref, axis: int, which: int) -> Ref:
    size = x.shape[axis]
    part = slice(which * size // 2, (which + 1) * size // 2)
    slices = tuple(part if i == axis else slice(None) for i in range(x.ndim))
    return site.emit(Slice(x.shape, slices), x, part=f"half{which}.{axis}.{size}")
