"""Moves whose way is only known at the observed input: by indices that were looked up, sorted or searched for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar, NamedTuple

import numpy as np

from reflrp.arrays import Array, namespace, scatter_add, to_host, unbroadcast
from reflrp.ir import Shape
from reflrp.ops.linear import LinearMap
from reflrp.ops.routing import Plumbing, Routing


@dataclass(frozen=True, eq=False)
class Pick(Routing):
    """out = x.flat[index], the numbers being a second input without relevance: TopK, Gather by found indices.

    `each` says that the operator never takes entries of one slice of the first axis to another.
    """

    source: Shape
    each: bool = field(default=False, kw_only=True)

    def forward(self, *xs: Array) -> Array:
        """Return the entries that the numbers name."""
        xp = namespace(xs[0])
        index = xp.asarray(xs[1])
        flat = xp.take(xp.reshape(xs[0], (-1,)), xp.reshape(index, (-1,)), axis=0)
        return xp.reshape(flat, index.shape)

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return R added up at the entries it came from, and nothing for the numbers."""
        xp = namespace(R)
        flat = scatter_add(prod(self.source), xp.reshape(xp.asarray(xs[1]), (-1,)), xp.reshape(R, (-1,)))
        return xp.reshape(flat, self.source), None

    def shape(self, *shapes: Shape) -> Shape:
        """Return the shape of the numbers."""
        return shapes[1]

    def nonneg(self, *flags: bool) -> bool:
        """Return whether x is >= 0."""
        return flags[0]

    def describe(self) -> str:
        """Return what it is."""
        return "by observed index"


class Share(NamedTuple):
    """What an input without relevance of its own, an id, gets of an output's relevance.

    `index` holds for each entry of the output the number of the input's entry that it comes from, or -1; None where each id
    stays in its place, but for broadcasting. `weight` is the part of the relevance that goes there (None: all of it).
    """

    place: int
    index: Array
    weight: Array | None = None

    def of(self, R: Array, shape: Shape) -> Array:
        """Return the part of the relevance R of the output that goes to an input of a shape."""
        xp = namespace(R)
        part = R if self.weight is None else R * xp.asarray(self.weight, dtype=R.dtype)
        if self.index is None:
            return unbroadcast(part, shape)
        part = part * xp.asarray(self.index >= 0, dtype=R.dtype)
        numbers = xp.asarray(np.maximum(np.ravel(self.index), 0))
        return xp.reshape(scatter_add(prod(shape), numbers, xp.reshape(part, (-1,))), shape)


@dataclass(frozen=True, eq=False)
class MovedIds(Plumbing):
    """Whole numbers on their way to a table, moved, cast or shifted: relevance of a token goes back.

    `tokens` are the inputs that may get some; `shares` says, for the inputs that were observed, how much and where. What no
    id gets, because a constant or a mask put the entry there, stays with the node.
    """

    tokens: tuple[int, ...]
    shares: Callable[..., list[Share]]

    @property
    def keeps(self) -> bool:
        """Constants keep theirs."""
        return True

    def transpose(self, R: Array, *xs: Array) -> tuple[Array | None, ...]:
        """Return R added up at the entries it came from."""
        found: list[Array | None] = [None] * len(xs)
        for share in self.shares(*(np.asarray(to_host(x)) for x in xs)):
            found[share.place] = share.of(R, xs[share.place].shape)
        return tuple(found)


@dataclass(frozen=True, eq=False)
class ScatterSum(LinearMap):
    """z.flat[index] = sum of the entries of `a` that go there: ScatterElements and ScatterND that add. `w` is 1."""

    kind: ClassVar[str] = "pool"
    index: Array = field(kw_only=True)
    target: Shape = field(kw_only=True)

    def apply(self, x: Array, w: Array) -> Array:
        """Return the sums."""
        xp = namespace(x)
        flat = scatter_add(prod(self.target), xp.reshape(self.index, (-1,)), xp.reshape(x * w, (-1,)))
        return xp.reshape(flat, self.target)

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return s at the place that each entry went to."""
        xp = namespace(s)
        return xp.reshape(xp.take(xp.reshape(s, (-1,)), xp.reshape(self.index, (-1,)), axis=0), self.source) * w

    def shape(self, *shapes: Shape) -> Shape:
        """Return the target's shape."""
        return self.target

    def nonneg(self, *flags: bool) -> bool:
        """Return whether the input is >= 0."""
        return flags[0]

    @property
    def parameters(self) -> int:
        """A sum has none."""
        return 0


@dataclass(frozen=True, eq=False)
class Index(Routing):
    """Any other operator that moves entries, as the map of entry numbers: out = x.flat[index].

    The map is found by running the operator itself on the numbers of its input's entries.
    """

    source: Shape
    index: Array

    def forward(self, *xs: Array) -> Array:
        """Return the entries that the map names."""
        xp = namespace(xs[0])
        flat = xp.take(xp.reshape(xs[0], (-1,)), xp.reshape(self.index, (-1,)), axis=0)
        return xp.reshape(flat, self.index.shape)

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return R added up at the entries it came from."""
        xp = namespace(R)
        flat = scatter_add(prod(self.source), xp.reshape(self.index, (-1,)), xp.reshape(R, (-1,)))
        return (xp.reshape(flat, self.source),)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the map's shape."""
        return tuple(self.index.shape)


@dataclass(frozen=True, eq=False)
class Take(Routing):
    """Gather with constant numbers: out = x[..., index, ...] along `axis`; a number may come several times."""

    source: Shape
    axis: int
    index: Array

    def forward(self, *xs: Array) -> Array:
        """Return the entries."""
        return namespace(xs[0]).take(xs[0], self.index, axis=self.axis)

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return R added up at the entries it came from."""
        xp = namespace(R)
        rows = scatter_add(self.source[self.axis], self.index, xp.moveaxis(R, self.axis, 0))
        return (xp.moveaxis(rows, 0, self.axis),)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the shape with the axis cut to the index's length."""
        return (*shapes[0][: self.axis], len(self.index), *shapes[0][self.axis + 1 :])
