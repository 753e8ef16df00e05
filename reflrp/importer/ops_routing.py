"""Builders of what only moves entries. What has no builder of its own is run on the numbers of its entries."""

from __future__ import annotations

from math import prod

import numpy as np

from reflrp.importer.build import Ref, Site, Unbuildable, builds
from reflrp.ir import Shape
from reflrp.routing import Concat, Embedding, Expand, Index, Pad, Reshape, Slice, Take, Transpose, Where


@builds("Identity", "Dropout", "Cast", "CastLike")
def identity(site: Site) -> Ref:
    """Nothing to do: the value itself, under another name."""
    if site.op_type == "Dropout" and site.opset >= 12 and bool(np.any(site.const(2, False))):
        raise Unbuildable("it was exported in training mode; call model.eval() before the export")
    return site.ref()


@builds("Reshape")
def reshape(site: Site) -> Ref:
    """A new shape; 0 copies a dimension (without allowzero), -1 is worked out."""
    x, target = site.ref(), [int(n) for n in np.ravel(site.const(1))]
    if not site.attr("allowzero", 0):
        target = [x.shape[i] if n == 0 else n for i, n in enumerate(target)]
    return _reshaped(site, x, tuple(target))


def _reshaped(site: Site, x: Ref, target: Shape) -> Ref:
    if -1 in target:
        known = prod(n for n in target if n != -1)
        target = tuple(prod(x.shape) // max(known, 1) if n == -1 else n for n in target)
    if prod(target) != prod(x.shape):
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
    axis = axis + x.ndim if axis < 0 else axis
    return _reshaped(site, x, (prod(x.shape[:axis]), prod(x.shape[axis:])))


@builds("Squeeze")
def squeeze(site: Site) -> Ref:
    """Without axes of size 1."""
    x, axes = site.ref(), site.ints("axes", 1)
    gone = {site.axis(a, x.ndim) for a in axes} if axes else {i for i, n in enumerate(x.shape) if n == 1}
    return _reshaped(site, x, tuple(n for i, n in enumerate(x.shape) if i not in gone))


@builds("Unsqueeze")
def unsqueeze(site: Site) -> Ref:
    """With new axes of size 1."""
    x, axes = site.ref(), site.ints("axes", 1) or ()
    rank = x.ndim + len(axes)
    new, old = {site.axis(a, rank) for a in axes}, iter(x.shape)
    return _reshaped(site, x, tuple(1 if i in new else next(old) for i in range(rank)))


@builds("Transpose")
def transpose(site: Site) -> Ref:
    """Permuted axes; reversed where no permutation is given."""
    x = site.ref()
    axes = site.attr("perm") or range(x.ndim)[::-1]
    return site.emit(Transpose(tuple(site.axis(a, x.ndim) for a in axes)), x)


@builds("Concat")
def concat(site: Site) -> Ref:
    """Values and constants, one after the other."""
    args = [site.arg(i) for i in range(len(site.args))]
    values = [a for a in args if isinstance(a, Ref)]
    axis = site.axis(site.attr("axis", 1), values[0].ndim)
    parts = tuple(None if isinstance(a, Ref) else a for a in args)
    return site.emit(Concat(axis, parts, tuple(a.shape[axis] for a in args)), *values)


@builds("Split")
def split(site: Site) -> tuple[Ref, ...]:
    """One slice for each output."""
    x = site.ref()
    axis, count = site.axis(site.attr("axis", 0), x.ndim), len(site.node.outputs)
    size = x.shape[axis]
    chunk = -(-size // site.attr("num_outputs", count))
    sizes = site.ints("split", 1) or [min(chunk, size - i * chunk) for i in range(count)]
    ends = np.cumsum(sizes).tolist()
    return tuple(
        _sliced(site, x, {axis: slice(end - n, end)}, str(i)) for i, (n, end) in enumerate(zip(sizes, ends, strict=True))
    )


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
    along = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        i = site.axis(axis, x.ndim)
        along[i] = _range(start, end, step, x.shape[i])
    return _sliced(site, x, along)


def _range(start: int, end: int, step: int, size: int) -> slice:
    """Return ONNX's range as a Python slice."""
    if step < 0 and end < -size:
        return slice(start, None, step)
    return slice(start, end, step)


@builds("Gather")
def gather(site: Site) -> Ref:
    """Entries along an axis by constant numbers; rows of a constant table by token ids."""
    table, index = site.arg(0), site.arg(1)
    rank = len(table.shape)
    axis = site.axis(site.attr("axis", 0), rank)
    if isinstance(table, np.ndarray):
        return site.emit(Embedding(table, axis, len(index.shape)), site.ref(1))
    if isinstance(index, Ref):
        raise Unbuildable("its indices depend on the data")
    size = table.shape[axis]
    if index.size and not (-size <= int(index.min()) and int(index.max()) < size):
        raise Unbuildable(f"its indices reach beyond the axis of size {size}")
    flat = np.ravel(index) % size if size else np.ravel(index)
    taken = site.emit(Take(table.shape, axis, flat), table, part="" if index.ndim == 1 else "take")
    if index.ndim == 1:
        return taken
    shape = (*table.shape[:axis], *index.shape, *table.shape[axis + 1 :])
    return site.emit(Reshape(taken.shape, shape), taken)


@builds("Expand")
def expand(site: Site) -> Ref:
    """Broadcasting to a shape."""
    x = site.ref()
    shape = tuple(int(n) for n in np.ravel(site.const(1)))
    return site.emit(Expand(x.shape, np.broadcast_shapes(x.shape, shape)), x)


@builds("Pad")
def pad(site: Site) -> Ref:
    """A frame of a constant; reflection, edge and wrap by entry numbers."""
    x = site.ref()
    if site.attr("mode", "constant") != "constant":
        return by_number(site)
    pads = site.ints("pads", 1 if site.opset >= 11 else None) or ()
    axes = [site.axis(a, x.ndim) for a in (site.ints("", 3) or range(len(pads) // 2))]
    before, after = [0] * x.ndim, [0] * x.ndim
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[i + len(axes)]
    value = site.const(2) if site.opset >= 11 else site.attr("value", 0.0)
    return site.emit(Pad(x.shape, tuple(before), tuple(after), float(np.asarray(0 if value is None else value).item())), x)


@builds("Tile", "DepthToSpace", "SpaceToDepth", "GatherElements", "GatherND", "ReverseSequence", "Compress")
def by_number(site: Site) -> Ref:
    """Any operator that moves entries: run it on the numbers of its input's entries to see where each comes from."""
    x = site.ref()
    numbers = np.arange(prod(x.shape), dtype=np.int64).reshape(x.shape)
    rest = [site.const(i) for i in range(1, len(site.args))]
    (index,) = site.node.evaluate(numbers, *rest)[:1]
    return site.emit(Index(x.shape, index.astype(np.int64)), x)


@builds("Where")
def where(site: Site) -> Ref:
    """A choice between two values or constants, entry by entry."""
    args = [site.arg(i) for i in range(3)]
    refs = [a for a in args if isinstance(a, Ref)]
    target = np.broadcast_shapes(*(a.shape for a in args))
    condition, x, y = (None if isinstance(a, Ref) else a for a in args)
    return site.emit(Where(condition, x, y, tuple(r.shape for r in refs), target), *refs)
