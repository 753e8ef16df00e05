"""Builders of what only moves entries. What has no builder of its own is run on the numbers of its entries."""

from __future__ import annotations

from math import prod

import numpy as np

from reflrp.arrays.tracing.dims import Dim, broadcast_shapes, check_same, is_open, total, whole
from reflrp.arrays.tracing.spans import check_room, shared
from reflrp.importer.dtypes import is_float
from reflrp.importer.lengths.slicing import (
    evenly,
    mirrored,
    open_frame,
    open_split,
    regrouped,
    reversed_whole,
    runs,
    tiled,
)
from reflrp.importer.nodes.misread import backwards
from reflrp.importer.observed import looked_up, picked
from reflrp.importer.site import Made, Ref, Site, Unbuildable, builds, sized
from reflrp.ir import Shape
from reflrp.ops.picking import Index, Take
from reflrp.ops.pieces import Pieces
from reflrp.ops.routing import Concat, Embedding, Expand, Pad, Reshape, Slice, Transpose


@builds("Identity", "Dropout")
def identity(site: Site) -> Made:
    """Nothing to do: the value itself, under another name."""
    if site.op_type == "Dropout" and site.opset >= 12 and bool(np.any(site.const(2, False))):
        raise Unbuildable("it was exported in training mode; call model.eval() before the export")
    return site.ref()


@builds("Reshape")
def reshape(site: Site) -> Ref:
    """A new shape; 0 copies a dimension (without allowzero), -1 is worked out."""
    x, target = site.ref(), [whole(n) for n in np.ravel(site.const(1))]
    if not site.attr("allowzero", 0):
        if 0 in target[x.ndim :]:
            raise Unbuildable(f"its shape {tuple(target)} copies an axis that its input of shape {x.shape} lacks")
        target = [x.shape[i] if n == 0 else n for i, n in enumerate(target)]
    return _reshaped(site, x, tuple(target))


def _reshaped(site: Site, x: Ref, target: Shape) -> Ref:
    if target.count(-1) > 1 or any(n < -1 for n in target):
        raise Unbuildable(f"its shape {target} is invalid")
    if -1 in target:
        known = prod(n for n in target if n != -1)
        rest = shared(total(x.shape), known if is_open((known,)) else max(known, 1))
        target = tuple(rest if n == -1 else n for n in target)
    if prod(target) != prod(x.shape):
        check_same(total(target), total(x.shape))
        raise Unbuildable(
            f"{prod(x.shape)} entries of shape {x.shape} do not fit the shape {target}; if the batch size is baked "
            "into the file, export it with a dynamic batch"
        )
    return site.emit(Reshape(x.shape, target), x)


@builds("Flatten")
def flatten(site: Site) -> Ref:
    """To a matrix: the axes before `axis`, and the rest."""
    x = site.ref()
    axis = site.attr("axis", 1)
    axis = axis if axis == x.ndim else site.axis(axis, x.ndim)
    return _reshaped(site, x, (prod(x.shape[:axis]), prod(x.shape[axis:])))


@builds("Squeeze")
def squeeze(site: Site) -> Ref:
    """Without axes of size 1."""
    x, axes = site.ref(), site.ints("axes", 1)
    if axes and any(x.shape[site.axis(a, x.ndim)] != 1 for a in axes):
        raise Unbuildable(f"its axes {axes} of the shape {x.shape} are not all of size 1")
    if not axes and is_open(x.shape):
        raise Unbuildable(f"which axes of the shape {x.shape} have the size 1 depends on the length; give it axes")
    gone = {site.axis(a, x.ndim) for a in axes} if axes else {i for i, n in enumerate(x.shape) if n == 1}
    return _reshaped(site, x, tuple(n for i, n in enumerate(x.shape) if i not in gone))


@builds("Unsqueeze")
def unsqueeze(site: Site) -> Ref:
    """With new axes of size 1."""
    x, axes = site.ref(), site.ints("axes", 1) or ()
    rank = x.ndim + len(axes)
    new, old = {site.axis(a, rank) for a in axes}, iter(x.shape)
    if len(new) < len(axes):
        raise Unbuildable(f"its axes {axes} name one twice")
    return _reshaped(site, x, tuple(1 if i in new else next(old) for i in range(rank)))


@builds("Transpose")
def transpose(site: Site) -> Ref:
    """Permuted axes; reversed where no permutation is given."""
    x = site.ref()
    axes = tuple(site.axis(a, x.ndim) for a in site.attr("perm") or range(x.ndim)[::-1])
    if sorted(axes) != list(range(x.ndim)):
        raise Unbuildable(f"its perm {axes} is no permutation of {x.ndim} axes")
    return site.emit(Transpose(axes), x)


@builds("Concat")
def concat(site: Site) -> Ref:
    """Values and constants, one after the other."""
    args = [site.arg(i) for i in range(len(site.args))]
    values = [a for a in args if isinstance(a, Ref)]
    axis = site.axis(site.attr("axis", 1), values[0].ndim)
    shapes = [_beside(a, values[0], axis) for a in args]
    for shape in (s for s in shapes if s != values[0].shape and len(s) == values[0].ndim):
        for i, (n, other) in enumerate(zip(shape, values[0].shape, strict=True)):
            if i != axis and n != other:
                check_same(n, other)
    if len({(*s[:axis], *s[axis + 1 :]) for s in shapes}) > 1 or any(len(s) <= axis for s in shapes):
        raise Unbuildable(f"its inputs of shapes {[a.shape for a in args]} do not fit each other")
    parts = tuple(None if isinstance(a, Ref) else a for a in args)
    return site.emit(Concat(axis, parts, tuple(a.shape[axis] for a in args)), *values)


def _beside(a: Ref | np.ndarray, x: Ref, axis: int) -> Shape:
    """Return a shape; of a constant, one entry on another axis stands for all where their number is open (`spread.py`)."""
    if isinstance(a, Ref) or a.ndim != x.ndim:
        return a.shape
    pairs = enumerate(zip(a.shape, x.shape, strict=True))
    return tuple(other if i != axis and n == 1 and isinstance(other, Dim) else n for i, (n, other) in pairs)


@builds("Split")
def split(site: Site) -> tuple[Ref | None, ...]:
    """One slice for each output that is used."""
    x, names = site.ref(), site.node.outputs
    axis = site.axis(site.attr("axis", 0), x.ndim)
    size, count = x.shape[axis], len(names)
    sizes = site.ints("split", 1) or evenly(size, count, max(1, site.attr("num_outputs", count)))
    if isinstance(size, Dim):
        return open_split(site, x, axis, sizes)
    if len(sizes) < count or sum(sizes) != size or min(sizes) < 0:
        raise Unbuildable(f"its parts {sizes} do not make up the axis of size {size}")
    ends = np.cumsum(sizes).tolist()
    parts = [{axis: slice(end - n, end)} for n, end in zip(sizes, ends, strict=True)]
    return tuple(_sliced(site, x, parts[i], str(i)) if name else None for i, name in enumerate(names))


def _sliced(site: Site, x: Ref, along: dict[int, slice], part: str = "") -> Ref:
    slices = tuple(along.get(i, slice(None)) for i in range(x.ndim))
    return site.emit(Slice(x.shape, slices), x, part=part)


@builds("Slice")
def slice_(site: Site) -> Ref:
    """Ranges along axes; ends beyond the border are cut."""
    x = site.ref()
    old = site.opset < 10
    starts, ends = site.ints("starts", None if old else 1), site.ints("ends", None if old else 2)
    if starts is None or ends is None:
        raise Unbuildable("it has no starts or ends")
    axes = site.ints("axes", None if old else 3) or tuple(range(len(starts)))
    steps = site.ints("steps", None if old else 4) or (1,) * len(starts)
    along: dict[int, slice] = {}
    if 0 in steps or not len(starts) == len(ends) == len(axes) == len(steps):
        raise Unbuildable(f"its starts {starts}, ends {ends}, axes {axes} and steps {steps} do not fit each other")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        i = site.axis(axis, x.ndim)
        if i in along:
            raise Unbuildable(f"its axes {axes} name one twice")
        along[i] = _range(start, end, step, x.shape[i])
    return _sliced(site, x, along)


def _range(start: int, end: int, step: int, size: int) -> slice:
    """Return ONNX's range as a Python slice."""
    if isinstance(size, Dim):
        return slice(start, None if step < 0 and end < -(2**31) else end, step)
    return slice(backwards(start, size, step), None if step < 0 and end < -size else end, step)


@builds("Gather")
def gather(site: Site) -> Ref:
    """Entries along an axis by constant numbers; rows of a constant table by token ids."""
    table, index = site.arg(0), site.arg(1)
    rank = len(table.shape)
    axis = site.axis(site.attr("axis", 0), rank)
    if isinstance(table, np.ndarray):
        ids = site.ref(1)
        if is_float(ids.value.dtype):
            raise Unbuildable("its indices are no integers")
        return site.emit(Embedding(table, axis, ids.ndim), ids)
    if isinstance(index, Ref):
        return picked(site)
    size = table.shape[axis]
    if isinstance(size, Dim):
        return _some_of_many(site, table, axis, index)
    if index.size and not (-size <= int(index.min()) and int(index.max()) < size):
        raise Unbuildable(f"its indices reach beyond the axis of size {size}")
    flat = np.ravel(index) % size if size else np.ravel(index)
    taken = site.emit(Take(table.shape, axis, flat), table, part="" if index.ndim == 1 else "take")
    if index.ndim == 1:
        return taken
    shape = (*table.shape[:axis], *index.shape, *table.shape[axis + 1 :])
    return site.emit(Reshape(taken.shape, shape), taken)


def _some_of_many(site: Site, x: Ref, axis: int, index: np.ndarray) -> Ref:
    """Return entries at constant places along an axis whose length is left open, counted from the front or the end."""
    if not index.size or is_open(index):
        raise Unbuildable(f"it takes entries of an axis of the length {x.shape[axis]}, which is left open")
    flat = index.reshape(-1)
    check_room(x.shape[axis], max(int(flat.max()) + 1, -int(flat.min())))
    pieces, part = runs(flat), "" if index.ndim == 1 else "take"
    along = tuple(pieces if i == axis else () for i in range(x.ndim))
    taken = (
        _sliced(site, x, {axis: pieces[0]}, part)
        if len(pieces) == 1
        else site.emit(Pieces(x.shape, along), x, part=part)
    )
    shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    return taken if index.ndim == 1 else site.emit(Reshape(taken.shape, shape), taken)


@builds("Expand")
def expand(site: Site) -> Ref:
    """Broadcasting to a shape."""
    x = site.ref()
    shape = tuple(whole(n) for n in np.ravel(site.const(1)))
    return site.emit(Expand(x.shape, broadcast_shapes(x.shape, shape)), x)


@builds("Pad")
def pad(site: Site) -> Ref:
    """A frame of a constant; reflection, edge and wrap by entry numbers. Negative pads crop."""
    x = site.ref()
    pads = site.ints("pads", 1 if site.opset >= 11 else None) or ()
    axes = [site.axis(a, x.ndim) for a in (site.ints("", 3) or range(len(pads) // 2))]
    if len(pads) != 2 * len(axes):
        raise Unbuildable(f"its pads {pads} are not two for each of {len(axes)} axes")
    before, after = [0] * x.ndim, [0] * x.ndim
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[i + len(axes)]
    mode = site.attr("mode", "constant")
    for b, a, n in zip(before, after, x.shape, strict=True):
        check_room(n, -min(b, 0) - min(a, 0))
    sized(tuple(n + b + a for n, b, a in zip(x.shape, before, after, strict=True)))
    if mode != "constant" and is_open(x.shape):
        return open_frame(site, x, mode, before, after)
    if mode != "constant":
        sides = zip(before, after, x.shape, strict=True)
        return by_axes(site, x, [mirrored(mode, np.arange(-b, n + a), n) for b, a, n in sides])
    value = site.const(2) if site.opset >= 11 else site.attr("value", 0.0)
    filling = 0.0 if value is None else float(np.asarray(value).item())
    return site.emit(Pad(x.shape, tuple(before), tuple(after), filling), x)


def by_axes(site: Site, x: Ref, places: list[np.ndarray]) -> Ref:
    """Return the entries of x at the given places along every axis."""
    numbers = site.numbers(x.shape)
    site.room(tuple(map(len, places)))
    return site.emit(Index(x.shape, numbers[np.ix_(*places)]), x)


@builds("DepthToSpace", "SpaceToDepth", "GatherElements", "GatherND", "ReverseSequence", "Compress")
def by_number(site: Site) -> Ref:
    """Any operator that moves entries: run it on the numbers of its input's entries to see where each comes from."""
    if isinstance(site.arg(0), np.ndarray):
        return looked_up(site)
    x = site.ref()
    if site.op_type == "ReverseSequence" and is_open(x.shape):
        return reversed_whole(site, x)
    if any(isinstance(a, Ref) for a in site.args[1:]):
        return picked(site)
    if is_open(x.shape):
        return regrouped(site, x)
    numbers = site.numbers(x.shape)
    rest = [site.const(i) for i in range(1, len(site.args))]
    index = site.node.evaluate(numbers, *rest)[0]
    if index is None:
        raise Unbuildable("its output has no name")
    return site.emit(Index(x.shape, index.astype(np.int64)), x)


@builds("Tile")
def tile(site: Site) -> Ref:
    """Repeated along every axis."""
    x, repeats = site.ref(), tuple(whole(n) for n in np.ravel(site.const(1)))
    if is_open(repeats):
        raise Unbuildable(f"how often it repeats its input, {repeats}, depends on the length")
    if len(repeats) != x.ndim or min(repeats, default=0) < 0:
        raise Unbuildable(f"its repeats {repeats} do not fit its input of shape {x.shape}")
    if is_open(x.shape):
        return tiled(site, x, repeats)
    target = sized(tuple(n * k for n, k in zip(x.shape, repeats, strict=True)))
    return by_axes(site, x, [np.arange(m) % max(n, 1) for n, m in zip(x.shape, target, strict=True)])
