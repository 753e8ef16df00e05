"""Makers of routing: what moves, copies, picks or drops entries."""

from __future__ import annotations

from typing import Any

import numpy as np

from differential.draft import Draft, Drop
from differential.meetings import fitting


def reshape(d: Draft) -> None:
    """Reshape with 0, -1, sizes written out, or sizes computed from the shape."""
    x = d.pick(least=2)
    shape = d.shape(x)
    rest = int(np.prod(shape[1:]))
    how = d.whole(0, 5)
    if how == 0:
        d.emit("Reshape", x, d.ints(0, -1))
    elif how == 1:
        first = d.one(*[k for k in range(1, rest + 1) if rest % k == 0])
        d.emit("Reshape", x, d.ints(-1, first, rest // first))
    elif how == 2:
        d.emit("Reshape", x, d.ints(0, *(n for n in shape[1:-1]), -1, 1))
    elif how == 3:  # the usual spelling of x.view(x.size(0), -1)
        n = d.emit("Gather", d.emit("Shape", x), d.const(np.array(0)), axis=0)
        n = unsqueezed(d, n, 0)
        d.emit("Reshape", x, d.emit("Concat", n, d.ints(-1), axis=0))
    elif how == 4:
        d.emit("Flatten", x, axis=d.one(1, 1, 2, -1) if d.opset >= 11 else d.one(1, 2))
    else:
        d.emit("Reshape", x, d.ints(*shape[1:], -1) if d.maybe(0.3) else d.ints(-1, *shape[1:]))


def unsqueezed(d: Draft, x: str, axis: int) -> str:
    if d.opset >= 13:
        return d.emit("Unsqueeze", x, d.ints(axis))
    return d.emit("Unsqueeze", x, axes=[axis])


def squeeze(d: Draft) -> None:
    """An axis of length 1 added, or taken away."""
    x = d.pick()
    ones = [i for i, n in enumerate(d.shape(x)) if n == 1 and i]
    if ones and d.maybe(0.6):
        axis = d.one(*ones)
        if d.opset >= 13:
            d.emit("Squeeze", x, d.ints(d.either(axis, x)))
        else:
            d.emit("Squeeze", x, axes=[axis])
        return
    unsqueezed(d, x, d.whole(1, len(d.shape(x))) if d.shape(x) else 0)


def transpose(d: Draft) -> None:
    """Axes in another order."""
    x = d.pick(least=2)
    rank = len(d.shape(x))
    perm = [0, *(1 + d.rng.permutation(rank - 1))] if d.maybe(0.85) else d.rng.permutation(rank)
    d.emit("Transpose", x, perm=[int(i) for i in perm])


def concat(d: Draft) -> None:
    """Values, and constants, side by side; now and then one of them twice."""
    x = d.pick(least=2)
    axis = d.axis(x)

    def fits(a: np.ndarray) -> bool:
        return a.ndim == len(d.shape(x)) and all(
            i == axis or n == m for i, (n, m) in enumerate(zip(a.shape, d.shape(x), strict=True))
        )

    parts = [x, d.pick(fits=fits)]
    if d.maybe(0.3) and axis:
        parts.append(d.const(d.normal(*d.shape(x))))
    d.rng.shuffle(parts)
    d.emit("Concat", *parts, axis=d.either(axis, x))


def split(d: Draft) -> None:
    """A value in parts, of which any may be used."""
    x = d.pick(least=2, fits=lambda a: max(a.shape[1:]) > 1)
    axis = d.one(*[i for i, n in enumerate(d.shape(x)) if i and n > 1])
    n = d.shape(x)[axis]
    sizes = [k := d.whole(1, n - 1), n - k]
    if d.opset >= 13:
        d.emit("Split", x, d.ints(*sizes), axis=axis, outputs=2)
    else:
        d.emit("Split", x, split=sizes, axis=axis, outputs=2)


def slices(d: Draft) -> None:
    """A part of one or two axes: any start, end and step, negative ones and ones beyond the end too."""
    x = d.pick(least=2)
    axes = sorted({d.axis(x) for _ in range(d.one(1, 1, 2))})
    starts, ends, steps = [], [], []
    for axis in axes:
        n = d.shape(x)[axis]
        step = d.one(1, 1, 2, -1, -2) if d.opset >= 10 else 1
        start = d.whole(0, n - 1)
        end = d.one(d.whole(start + 1, n), n + 3, 2**31 - 1) if step > 0 else d.one(-(2**31), -n - 1, start - 1 - n)
        starts.append(start - n if d.maybe(0.3) else start)
        ends.append(end)
        steps.append(step)
    if d.opset < 10:
        d.emit("Slice", x, starts=starts, ends=ends, axes=axes)
        return
    given = [d.ints(*starts), d.ints(*ends), d.ints(*axes), d.ints(*steps)]
    d.emit("Slice", x, *given[: 4 if min(steps) < 1 or max(steps) > 1 else d.one(3, 4)])


def gather(d: Draft) -> None:
    """Entries by constant indices: repeated, negative, of any rank."""
    x = d.pick(least=1)
    axis = d.axis(x) if len(d.shape(x)) > 1 else 0
    n = d.shape(x)[axis]
    ids = d.rng.integers(-n, n, size=d.one((), (2,), (3,), (2, 2), (1,)))
    d.emit("Gather", x, d.const(np.asarray(ids, np.int64)), axis=d.either(axis, x))


def gather_elements(d: Draft) -> None:
    """An entry for each index."""
    x = d.pick(least=2)
    if d.opset < 11:
        raise Drop
    axis = d.axis(x)
    shape = list(d.shape(x))
    n, shape[axis] = shape[axis], d.whole(1, 3)
    if axis == 0:
        shape[0] = n
    d.emit("GatherElements", x, d.const(d.rng.integers(-n, n, size=shape)), axis=d.either(axis, x))


def gather_nd(d: Draft) -> None:
    """Entries by tuples of indices."""
    x = d.pick(least=2)
    if d.opset < 12:
        raise Drop
    shape = d.shape(x)
    depth = d.whole(1, len(shape) - 1)
    ids = np.stack([d.rng.integers(0, n, size=(shape[0], 2)) for n in shape[1 : 1 + depth]], axis=-1)
    d.emit("GatherND", x, d.const(ids), batch_dims=1)


def scatter(d: Draft) -> None:
    """Entries replaced, or added to, by a value or a constant."""
    x = d.pick(least=2)
    if d.opset < 11:
        raise Drop
    shape, axis = d.shape(x), d.axis(x, first=1)
    given: dict[str, Any] = {}
    k = d.whole(1, shape[axis])
    if d.opset >= 16 and d.maybe(0.4):
        given["reduction"] = "add"
        ids = np.take(np.full(shape, 0), range(k), axis) + d.rng.integers(0, shape[axis], (1,) * len(shape))
    else:
        order = d.rng.permutation(shape[axis])[:k].reshape([-1 if i == axis else 1 for i in range(len(shape))])
        ids = np.broadcast_to(order, [k if i == axis else n for i, n in enumerate(shape)])
    updates = d.const(d.normal(*ids.shape))
    if d.maybe():
        updates = d.pick(fits=lambda a: a.shape == ids.shape)
    d.emit("ScatterElements", x, d.const(np.ascontiguousarray(ids)), updates, axis=axis, **given)


def scatter_nd(d: Draft) -> None:
    """Rows replaced, or added to."""
    x = d.pick(least=2)
    if d.opset < 11:
        raise Drop
    shape = d.shape(x)
    rows = d.rng.permutation(shape[1])[: d.whole(1, shape[1])]
    ids = np.array([[[i, int(r)] for r in rows] for i in range(shape[0])])
    given = {"reduction": "add"} if d.opset >= 16 and d.maybe(0.4) else {}
    updates = (shape[0], len(rows), *shape[2:])
    u = d.pick(fits=lambda a: a.shape == updates) if d.maybe() else d.const(d.normal(*updates))
    d.emit("ScatterND", x, d.const(ids), u, **given)


def pad(d: Draft) -> None:
    """A frame: constant, reflected, repeated; or entries cut off."""
    x = d.pick(least=2)
    shape = d.shape(x)
    mode = d.one("constant", "constant", "reflect", "edge", *(["wrap"] if d.opset >= 19 else []))
    before, after = ([0] + [d.whole(0, min(2, n - 1)) for n in shape[1:]] for _ in range(2))
    if mode == "constant" and d.maybe(0.2):
        before = [-min(n - 1 - after[i], 1) if i and n > 1 + after[i] else 0 for i, n in enumerate(shape)]
    if d.opset < 11:
        d.emit("Pad", x, pads=[*before, *after], mode=mode, value=d.one(0.0, 0.7))
    else:
        value = [d.const(0.7)] if mode == "constant" and d.maybe() else []
        d.emit("Pad", x, d.ints(*before, *after), *value, mode=mode)


def expand(d: Draft) -> None:
    """Axes of length 1 repeated, to a shape that is given or computed."""
    x = d.pick(least=1)
    shape = list(d.shape(x))
    target = [d.whole(1, 3) if n == 1 and i else d.one(n, 1) for i, n in enumerate(shape)]
    if d.maybe(0.3):
        y = d.emit("Shape", fitting(d, x))
        d.emit("Expand", x, y)
        return
    d.emit("Expand", x, d.ints(*([2] if d.maybe(0.1) else []), *target))


def tile(d: Draft) -> None:
    """A value repeated along axes."""
    x = d.pick(least=2)
    d.emit("Tile", x, d.ints(1, *(d.whole(1, 2) for _ in d.shape(x)[1:])))


def depth(d: Draft) -> None:
    """DepthToSpace and SpaceToDepth."""
    x = d.pick(rank=4)
    c, h, w = d.shape(x)[1:]
    if c % 4 == 0 and d.maybe():
        d.emit("DepthToSpace", x, blocksize=2, **({"mode": d.one("DCR", "CRD")} if d.opset >= 11 else {}))
    elif h % 2 == 0 and w % 2 == 0:
        d.emit("SpaceToDepth", x, blocksize=2)
    else:
        raise Drop


def top_k(d: Draft) -> None:
    """The largest or smallest entries along an axis."""
    x = d.pick(least=2)
    axis = d.axis(x, first=1)
    k = d.whole(1, d.shape(x)[axis])
    with d.hidden():
        if d.opset < 10:
            y, ids = d.emit("TopK", x, k=k, axis=axis, outputs=2)
        else:
            order = {} if d.opset < 11 else {"largest": d.whole(0, 1)}
            y, ids = d.emit("TopK", x, d.ints(k), axis=d.either(axis, x), outputs=2, **order)
    d.means("TakeAlong", x, ids, output=y, axis=axis)


def picked(d: Draft) -> None:
    """Entries by indices that the network works out: an arg-max."""
    x = d.pick(least=2)
    if d.opset < 11:
        raise Drop
    axis = d.axis(x, first=1)
    ids = d.emit(d.one("ArgMax", "ArgMin"), x, axis=axis, keepdims=1)
    d.emit("GatherElements", fitting(d, x, alike=True), ids, axis=axis)


def where(d: Draft) -> None:
    """One of two values, by a constant or computed condition."""
    x = d.pick()
    if d.opset < 9:
        raise Drop
    y = fitting(d, x)
    c = d.const(d.rng.random(d.shape(x)[-1:]) > 0.5)
    if d.maybe():
        c = d.emit("Greater", x, y) if x != y else c
    d.emit("Where", c, x, y)


def trilu(d: Draft) -> None:
    """The upper or lower triangle."""
    x = d.pick(least=3)
    if d.opset < 14:
        raise Drop
    d.emit("Trilu", x, *([d.const(np.array(d.whole(-2, 2)))] if d.maybe() else []), upper=d.whole(0, 1))


def reverse(d: Draft) -> None:
    """Sequences turned round, each up to its length."""
    x = d.pick(least=3)
    if d.opset < 10:
        raise Drop
    n, t = d.shape(x)[:2]
    d.emit("ReverseSequence", x, d.const(d.rng.integers(1, t + 1, n)), batch_axis=0, time_axis=1)


def compress(d: Draft) -> None:
    """Entries that a constant condition keeps."""
    x = d.pick(least=2)
    axis = d.axis(x, first=1)
    keep = d.rng.random(d.shape(x)[axis]) > 0.4
    keep[d.whole(0, len(keep) - 1)] = True
    d.emit("Compress", x, d.const(keep), axis=axis)


def nothing(d: Draft) -> None:
    """What changes nothing: Identity, Dropout, a cast to where it was."""
    x = d.pick()
    op = d.one("Identity", "Dropout", "Cast")
    d.emit(op, x, **({"to": 1} if op == "Cast" else {}))


MAKERS = {
    reshape: 4, squeeze: 2, transpose: 3, concat: 3, split: 2, slices: 3, gather: 2, gather_elements: 2, gather_nd: 1, scatter: 2,
    scatter_nd: 1, pad: 3, expand: 2, tile: 1, depth: 2, top_k: 1, picked: 1, where: 2, trilu: 1, reverse: 1, compress: 1,
    nothing: 1,
}  # fmt: skip
