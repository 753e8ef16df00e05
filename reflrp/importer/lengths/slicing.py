"""Building what moves entries along axes of an open length: of slices and shapes, where a fixed length has a table of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from reflrp.arrays.tracing.dims import Dim, is_open
from reflrp.arrays.tracing.spans import check_multiple, check_room
from reflrp.importer.lengths.fillings import filled
from reflrp.importer.site import Ref, Site, Unbuildable
from reflrp.importer.windows.resampling import RATIO, Resampling
from reflrp.ir import Op
from reflrp.ops.openmaps import ROUNDINGS, OpenTake, Stretch, open_axis_map
from reflrp.ops.picking import Take
from reflrp.ops.pieces import Pieces, Regrouped, Repeated
from reflrp.ops.routing import Slice


def open_frame(site: Site, x: Ref, mode: str, before: list[int], after: list[int]) -> Ref:
    """Return x in a frame of its own entries, of slices: so it is right for any length of an open axis."""
    sides = list(zip(before, after, x.shape, strict=True))
    return site.emit(Pieces(x.shape, tuple(_framed(mode, b, a, n) if b or a else () for b, a, n in sides)), x)


def _framed(mode: str, before: int, after: int, n: int) -> tuple[slice, ...]:
    """Return the slices that stand beside one another along an axis; an open one must be as long as its frame is wide."""
    if not isinstance(n, Dim):
        return runs(mirrored(mode, np.arange(-before, n + after), n))
    b, a = max(before, 0), max(after, 0)
    beyond = {"edge": 0, "wrap": max(b, a), "reflect": max(b + 1, a + 2)}
    check_room(n, max(beyond.get(mode, 0), 1 - min(before, 0) - min(after, 0)))
    inner = slice(max(-before, 0), n - max(-after, 0))
    if mode == "edge" and b + a > MANY:
        raise Unbuildable(f"it puts an axis together of {b + a + 1} parts, where lengths are left open")
    if mode == "edge":
        return (*[slice(0, 1)] * b, inner, *[slice(n - 1, n)] * a)
    if mode == "wrap":
        return (*[slice(n - b, n)] * bool(b), inner, *[slice(0, a)] * bool(a))
    if mode == "reflect":
        return (*[slice(b, 0, -1)] * bool(b), inner, *[slice(n - 2, n - 2 - a, -1)] * bool(a))
    raise Unbuildable(f"its mode {mode!r} is unknown")


MANY = 64
"""Of at most so many slices an axis of an open length is put together."""


def runs(places: np.ndarray) -> tuple[slice, ...]:
    """Return the slices that take entries by their numbers, all of which count from the front or, below 0, from the end."""
    found = list[slice]()
    for place in places.tolist():
        last = found[-1] if found else None
        if last is not None and last.stop == place and place != 0:
            found[-1] = slice(last.start, place + 1 or None)
        else:
            found.append(slice(place, place + 1 or None))
    if len(found) > MANY:
        raise Unbuildable(f"it puts an axis together of {len(found)} parts, where lengths are left open")
    return tuple(found)


def mirrored(mode: str, places: np.ndarray, n: int) -> np.ndarray:
    """Return which of n entries stands at each place, places beyond the border included."""
    if mode == "edge":
        return np.asarray(np.clip(places, 0, n - 1))
    if mode == "wrap":
        return places % n
    if mode == "reflect":
        period = max(2 * (n - 1), 1)
        return (n - 1) - abs((n - 1) - places % period)
    raise Unbuildable(f"its mode {mode!r} is unknown")


def regrouped(site: Site, x: Ref) -> Ref:
    """Return what DepthToSpace and SpaceToDepth make of pictures of open sizes: a shape, a permutation, another shape."""
    if site.op_type not in ("DepthToSpace", "SpaceToDepth") or x.ndim != 4:
        raise Unbuildable(f"it moves entries by their number among those of the shape {x.shape}, which is left open")
    n, c, h, w = x.shape
    k = int(site.attr("blocksize", 1))
    if site.op_type == "SpaceToDepth":
        for size in (h, w):
            check_multiple(size, k)
        return site.emit(
            Regrouped(x.shape, (n, c, h // k, k, w // k, k), (0, 3, 5, 1, 2, 4), (n, c * k * k, h // k, w // k)), x
        )
    check_multiple(c, k * k)
    target = (n, c // (k * k), h * k, w * k)
    if site.attr("mode", "DCR") == "DCR":
        return site.emit(Regrouped(x.shape, (n, k, k, target[1], h, w), (0, 3, 4, 1, 5, 2), target), x)
    return site.emit(Regrouped(x.shape, (n, target[1], k, k, h, w), (0, 1, 4, 2, 5, 3), target), x)


def reversed_whole(site: Site, x: Ref) -> Ref:
    """Return x the other way round along an axis, where a ReverseSequence turns all of its samples as a whole."""
    axis, lengths = int(site.attr("time_axis", 0)) % x.ndim, site.arg(1)
    number = filled(site, lengths.name) if isinstance(lengths, Ref) else None
    if isinstance(lengths, np.ndarray):
        found = list(dict.fromkeys(lengths.flat))
        number = found[0] if len(found) == 1 else None
    if number is None or number != x.shape[axis]:
        raise Unbuildable(f"it turns a part of the axis of the length {x.shape[axis]}, which is left open")
    turned = (slice(None, None, -1) if i == axis else slice(None) for i in range(x.ndim))
    return site.emit(Slice(x.shape, tuple(turned)), x)


def tiled(site: Site, x: Ref, repeats: tuple[int, ...]) -> Ref:
    """Return x several times along every axis."""
    if not all(1 <= k <= MANY for k in repeats):
        raise Unbuildable(f"its repeats {repeats} are not 1 to {MANY}, where lengths are left open")
    return site.emit(Pieces(x.shape, tuple((slice(None),) * k if k > 1 else () for k in repeats)), x)


def evenly(size: int, count: int, parts: int) -> tuple[int, ...]:
    """Return the lengths of the first parts of an axis, of which the last one may be shorter; of an open axis all are alike."""
    if isinstance(size, Dim):
        check_multiple(size, parts)
        return (size // parts,) * count
    chunk = -(-size // parts)
    return tuple(min(chunk, size - i * chunk) for i in range(count))


def open_split(site: Site, x: Ref, axis: int, sizes: tuple[int, ...]) -> tuple[Ref | None, ...]:
    """Return the parts of an axis of an open length, which must make it up whatever it is."""
    names, ends = site.node.outputs, [0]
    for n in sizes:
        ends.append(n + ends[-1])
    if len(sizes) < len(names) or ends[-1] != x.shape[axis]:
        raise Unbuildable(f"its parts {sizes} do not make up the axis of size {x.shape[axis]}")
    keys = [
        (*[slice(None)] * axis, slice(*ends[i : i + 2]), *[slice(None)] * (x.ndim - axis - 1))
        for i in range(len(names))
    ]
    return tuple(site.emit(Slice(x.shape, k), x, part=str(i)) if names[i] else None for i, k in enumerate(keys))


HALF = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
"""Where a whole factor makes one of these of an axis of any length: entry i is taken from (i + 1/2) / factor - 1/2."""


def open_resize(site: Site, x: Ref, how: Resampling) -> Ref:
    """Return x resized along axes of which one length at least is open, and along fixed ones by their matrices."""
    both = list(zip(x.shape, how.target, strict=True))
    changed = [i for i, n in enumerate(both) if not (is_open(n) and how.scales[i] == 1)]
    fixed = {i: how.matrix(i, x.shape[i]) for i in changed if not is_open(both[i])}
    kept = [i for i in changed if is_open(both[i]) or fixed[i] is not None]
    if how.mode == "nearest":
        return _nearest(site, x, how, kept, fixed)
    maps = tuple((i, _stretch(how, i, x.shape[i]) if is_open(both[i]) else fixed[i]) for i in kept)
    return site.emit(open_axis_map(x.shape, maps), x) if maps else x


def _nearest(site: Site, x: Ref, how: Resampling, kept: list[int], fixed: Mapping[int, Any]) -> Ref:
    below = how.transformation == "asymmetric" and how.nearest in ("floor", "simple")
    near = how.transformation in HALF and how.nearest in ("round_prefer_floor", "round_prefer_ceil")
    for i in kept:
        n, scale, part = x.shape[i], how.scales[i], "" if i == max(kept) else f"axis{i}"
        if i in fixed:
            op: Op = Take(x.shape, i, fixed[i].argmax(axis=1))
        elif (below or near) and scale.is_integer() and scale != RATIO:
            op = Repeated(x.shape, i, int(scale))
        else:
            op = OpenTake(x.shape, i, _stretch(how, i, n), _rounded(how, i, n))
        x = site.emit(op, x, part=part)
    return x


def _rounded(how: Resampling, axis: int, size: int) -> str:
    """Return how places are rounded along an axis."""
    if how.nearest == "simple" and how.scales[axis] != RATIO:
        return "ceil" if how.scales[axis] < 1 else "floor"
    if how.nearest not in ROUNDINGS:
        raise Unbuildable(_unsettled(how, size))
    return how.nearest


def _stretch(how: Resampling, axis: int, size: int) -> Stretch:
    scale = how.scales[axis]
    even = scale == RATIO or scale.is_integer()
    known = (
        "half_pixel",
        "pytorch_half_pixel",
        "asymmetric",
        "tf_half_pixel_for_nn",
        *(("align_corners",) if even else ()),
    )
    centred = how.transformation == "half_pixel_symmetric" and even
    plain = not how.exclude_outside and (scale >= 1 or not how.antialias)
    weighed = how.mode == "nearest" or (how.mode == "linear" and plain and how.transformation != "tf_half_pixel_for_nn")
    if not weighed or not (centred or how.transformation in known):
        raise Unbuildable(_unsettled(how, size))
    transformation = "half_pixel" if centred else how.transformation
    return Stretch(size, how.target[axis], None if scale == RATIO else scale, transformation)


def _unsettled(how: Resampling, size: int) -> str:
    return f"its {how.mode} entries, by {how.transformation}, have no formula along an axis of the open length {size}"
