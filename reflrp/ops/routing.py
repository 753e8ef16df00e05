"""Routing: operators that only move entries. Their relevance goes back by the transpose, always.

Clauses: ROUTE-1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from reflrp.arrays import Array, is_symbolic, namespace, to_host, unbroadcast, where
from reflrp.arrays.kernels import placed
from reflrp.arrays.tracing.spans import beyond, entries, within
from reflrp.arrays.tracing.terms import still
from reflrp.errors import InputError
from reflrp.ir import Op, Shape


@dataclass(frozen=True, eq=False)
class Routing(Op):
    """Base: `forward` moves entries, `transpose` moves relevance back along the same ways."""

    kind: ClassVar[str] = "routing"

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return the relevance of each input, for the relevance R of the output."""
        raise NotImplementedError

    def nonneg(self, *flags: bool) -> bool:
        """Return whether all inputs are >= 0."""
        return all(flags)


@dataclass(frozen=True, eq=False)
class Reshape(Routing):
    """Reshape, Flatten, Squeeze and Unsqueeze."""

    source: Shape
    target: Shape

    def forward(self, *xs: Array) -> Array:
        """Return x in the new shape."""
        return namespace(xs[0]).reshape(xs[0], self.target)

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return R in the old shape."""
        return (namespace(R).reshape(R, self.source),)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the target shape."""
        return self.target


@dataclass(frozen=True, eq=False)
class Transpose(Routing):
    """Transpose."""

    axes: tuple[int, ...]

    def forward(self, *xs: Array) -> Array:
        """Return x with its axes permuted."""
        return namespace(xs[0]).permute_dims(xs[0], self.axes)

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return R with its axes permuted back."""
        return (namespace(R).permute_dims(R, tuple(np.argsort(self.axes).tolist())),)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the permuted shape."""
        return tuple(shapes[0][i] for i in self.axes)

    def describe(self) -> str:
        """Return the permutation."""
        return " ".join(map(str, self.axes))


@dataclass(frozen=True, eq=False)
class Slice(Routing):
    """Slice, and each output of Split. `slices` has one slice an axis; steps may be negative."""

    source: Shape
    slices: tuple[slice, ...]

    def forward(self, *xs: Array) -> Array:
        """Return the slice."""
        return xs[0][self.slices]

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return R in its place, zero elsewhere."""
        return (placed(R, self.slices, self.source),)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the slice's shape."""
        return tuple(entries(s, n) for s, n in zip(self.slices, shapes[0], strict=True))


@dataclass(frozen=True, eq=False)
class Concat(Routing):
    """Concat of values and constants: `parts[i]` is the constant at place i, or None for the next input."""

    axis: int
    parts: tuple[Array | None, ...]
    sizes: tuple[int, ...]

    @property
    def keeps(self) -> bool:
        """Constants among the parts keep theirs."""
        return any(part is not None for part in self.parts)

    def forward(self, *xs: Array) -> Array:
        """Return the parts, one after the other."""
        values = iter(xs)
        return namespace(xs[0]).concat([next(values) if part is None else part for part in self.parts], axis=self.axis)

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return the section of R of each input; a constant keeps what it is given."""
        found, start = [], 0
        for part, size in zip(self.parts, self.sizes, strict=True):
            if part is None:
                found.append(R[(slice(None),) * self.axis + (slice(start, start + size), ...)])
            start += size
        return tuple(found)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the joined shape."""
        return (*shapes[0][: self.axis], sum(self.sizes), *shapes[0][self.axis + 1 :])

    def nonneg(self, *flags: bool) -> bool:
        """Return whether all values and constants are >= 0."""
        return all(flags) and all(part is None or bool(np.all(np.asarray(part) >= 0)) for part in self.parts)


@dataclass(frozen=True, eq=False)
class Pad(Routing):
    """Pad with a constant; negative pads crop."""

    source: Shape
    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float = 0.0

    @property
    def keeps(self) -> bool:
        """The frame keeps its relevance."""
        return True

    def forward(self, *xs: Array) -> Array:
        """Return x inside a frame of the constant."""
        shape = self.shape(self.source)
        key = self._slices(self.before, shape)
        out = placed(xs[0][self._crop()], key, shape)
        if not self.value:
            return out
        frame = np.ones(still(shape), dtype=bool)
        frame[key] = False
        return where(namespace(out).asarray(frame), self.value + 0 * out, out)

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return R without the frame, which keeps what it is given."""
        return (placed(R[self._slices(self.before, self.shape(self.source))], self._crop(), self.source),)

    def _crop(self) -> tuple[slice, ...]:
        ends = zip(self.before, self.after, self.source, strict=True)
        return tuple(slice(within(b), n - within(a)) for b, a, n in ends)

    def _slices(self, before: tuple[int, ...], shape: Shape) -> tuple[slice, ...]:
        ends = zip(before, self.after, shape, strict=True)
        return tuple(slice(beyond(b), n - beyond(a)) for b, a, n in ends)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the padded shape."""
        return tuple(n + b + a for n, b, a in zip(shapes[0], self.before, self.after, strict=True))

    def nonneg(self, *flags: bool) -> bool:
        """Return whether the input and the constant are >= 0."""
        return flags[0] and self.value >= 0


@dataclass(frozen=True, eq=False)
class Expand(Routing):
    """Expand: broadcasting to a shape; its transpose is a sum."""

    source: Shape
    target: Shape

    def forward(self, *xs: Array) -> Array:
        """Return x broadcast."""
        return namespace(xs[0]).broadcast_to(xs[0], self.target)

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return R summed over the copies."""
        return (unbroadcast(R, self.source),)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the target shape."""
        return self.target


@dataclass(frozen=True, eq=False)
class Where(Routing):
    """Where(condition, x, y): each entry comes from x or from y; constants keep what they are given.

    Inputs: the condition (unless constant), then the values among x and y; `x`, `y` hold constants.
    """

    condition: Array | None
    x: Array | None
    y: Array | None
    sources: tuple[Shape, ...]
    target: Shape

    @property
    def keeps(self) -> bool:
        """Constants keep theirs."""
        return self.x is not None or self.y is not None

    def forward(self, *xs: Array) -> Array:
        """Return x where the condition holds, else y."""
        condition, x, y = self._parts(xs)
        return namespace(x if self.x is None else y).where(condition, x, y)

    def _parts(self, xs: tuple[Array, ...]) -> tuple[Array, Array, Array]:
        given = iter(xs)
        parts = [part if part is not None else next(given) for part in (self.condition, self.x, self.y)]
        return parts[0], parts[1], parts[2]

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return the relevance of each input, for the condition that was observed."""
        condition = self._parts(xs)[0]
        xp = namespace(R)
        condition = xp.broadcast_to(xp.asarray(condition), self.target)
        parts: list[Array | None] = [] if self.condition is not None else [None]
        if self.x is None:
            parts.append(xp.where(condition, R, 0 * R))
        if self.y is None:
            parts.append(xp.where(condition, 0 * R, R))
        return tuple(
            None if part is None else unbroadcast(part, shape) for part, shape in zip(parts, self.sources, strict=True)
        )

    def shape(self, *shapes: Shape) -> Shape:
        """Return the broadcast shape."""
        return self.target

    def nonneg(self, *flags: bool) -> bool:
        """Unknown."""
        return False


@dataclass(frozen=True, eq=False)
class Embedding(Op):
    """Rows of a constant table by token ids: out = table[ids] along `axis`.

    Relevance goes to the token: the sum over its embedding entries, in the shape of the ids.
    """

    kind: ClassVar[str] = "embedding"
    table: Array
    axis: int = 0
    rank: int = field(default=1)

    def forward(self, *xs: Array) -> Array:
        """Return the rows."""
        xp, size = namespace(xs[0] if is_symbolic(xs[0]) else self.table), self.table.shape[self.axis]
        ids = xp.asarray(xs[0])
        if not is_symbolic(ids) and bool(xp.any((ids < -size) | (ids >= size))):
            wrong = np.unique(to_host(ids[(ids < -size) | (ids >= size)]))
            raise InputError(f"the ids {wrong[:8].tolist()} are not in a table of {size} rows")
        rows = xp.take(self.table, xp.reshape(ids % size, (-1,)), axis=self.axis)
        return xp.reshape(rows, self.shape(tuple(ids.shape)))

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return the relevance of each token."""
        around = (*range(self.axis), *range(self.axis + self.rank, R.ndim))
        return (namespace(R).sum(R, axis=around),)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the ids' shape with the table's other axes around it."""
        return (*self.table.shape[: self.axis], *shapes[0], *self.table.shape[self.axis + 1 :])

    def describe(self) -> str:
        """Return the table's size."""
        return " x ".join(map(str, self.table.shape))


@dataclass(frozen=True, eq=False)
class Plumbing(Op):
    """Arithmetic on integers, shapes and masks. It carries no relevance; ONNX's own reference code runs it."""

    kind: ClassVar[str] = "plumbing"
    function: Callable[..., Any]

    def forward(self, *xs: Array) -> Array:
        """Return the operator's output, on the host."""
        return self.function(*(np.asarray(x) for x in xs))
