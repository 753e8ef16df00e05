"""Routing along axes of an open length: what a table of entry numbers says of a fixed one, as slices that hold for all lengths.

Clauses: ROUTE-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reflrp.arrays import Array, namespace
from reflrp.arrays.kernels import placed
from reflrp.arrays.tracing.dims import whole
from reflrp.arrays.tracing.spans import entries
from reflrp.ir import Shape
from reflrp.ops.routing import Routing

Along = tuple[slice, ...]
"""Slices of one axis, one after the other; none where it stays as it is."""


@dataclass(frozen=True, eq=False)
class Pieces(Routing):
    """Slices of x side by side along each axis: Pad by reflection, edge or wrap, Tile, Gather of a few entries."""

    source: Shape
    along: tuple[Along, ...]

    def forward(self, *xs: Array) -> Array:
        """Return the slices, one after the other."""
        found = xs[0]
        for axis, pieces in self._axes:
            found = namespace(found).concat([found[_key(axis, piece)] for piece in pieces], axis=axis)
        return found

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return R added up at the entries it came from."""
        for axis, pieces in self._axes[::-1]:
            shape = (*R.shape[:axis], self.source[axis], *R.shape[axis + 1 :])
            start, parts = 0, list[Array]()
            for piece in pieces:
                stop = whole(entries(piece, self.source[axis]) + start)
                parts.append(placed(R[_key(axis, slice(start, stop))], _key(axis, piece), shape))
                start = stop
            R = sum(parts[1:], start=parts[0])
        return (R,)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the shape with as many entries along each axis as its slices have."""
        lengths = {axis: _total([entries(p, self.source[axis]) for p in pieces]) for axis, pieces in self._axes}
        return tuple(lengths.get(axis, n) for axis, n in enumerate(shapes[0]))

    @property
    def _axes(self) -> list[tuple[int, Along]]:
        return [(axis, pieces) for axis, pieces in enumerate(self.along) if pieces]


def _total(lengths: list[int]) -> int:
    found: int = 0
    for n in lengths:
        found = whole(n + found)
    return found


def _key(axis: int, piece: slice) -> tuple[Any, ...]:
    return (*[slice(None)] * axis, piece, ...)


@dataclass(frozen=True, eq=False)
class Regrouped(Routing):
    """x as another shape, with its axes permuted, as a third: DepthToSpace, SpaceToDepth, entries that come `times` in a row."""

    source: Shape
    apart: Shape
    axes: tuple[int, ...]
    target: Shape

    def forward(self, *xs: Array) -> Array:
        """Return the entries in their new places."""
        xp = namespace(xs[0])
        return xp.reshape(xp.permute_dims(xp.reshape(xs[0], self.apart), self.axes), self.target)

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return R at the places it came from."""
        xp = namespace(R)
        turned = xp.reshape(R, tuple(self.apart[i] for i in self.axes))
        back = tuple(self.axes.index(i) for i in range(len(self.axes)))
        return (xp.reshape(xp.permute_dims(turned, back), self.source),)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the target shape."""
        return self.target


@dataclass(frozen=True, eq=False)
class Repeated(Routing):
    """Each entry along one axis `times` in a row: Resize to the nearest entry, by a whole factor."""

    source: Shape
    axis: int
    times: int

    def forward(self, *xs: Array) -> Array:
        """Return the entries, each so many times."""
        xp = namespace(xs[0])
        apart = xp.reshape(xs[0], (*self.source[: self.axis + 1], 1, *self.source[self.axis + 1 :]))
        return xp.reshape(xp.broadcast_to(apart, self._apart), self.shape(self.source))

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return R summed over the copies of each entry."""
        xp = namespace(R)
        return (xp.sum(xp.reshape(R, self._apart), axis=self.axis + 1),)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the shape with the axis so many times as long."""
        return (*shapes[0][: self.axis], self.times * shapes[0][self.axis], *shapes[0][self.axis + 1 :])

    @property
    def _apart(self) -> Shape:
        return (*self.source[: self.axis + 1], self.times, *self.source[self.axis + 1 :])
