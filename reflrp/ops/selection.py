"""Selections: at the observed input, an index map. Max-pools and maxima; ties go to the first (clause POOL-2)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, ClassVar

import numpy as np

from reflrp import limits
from reflrp.arrays import ZERO, Array, namespace, total, unbroadcast
from reflrp.arrays.kernels import Windows
from reflrp.arrays.pools import pool, pool_picked, pool_unpicked, pool_winners
from reflrp.arrays.tracing.dims import broadcast_shapes
from reflrp.ir import Shape
from reflrp.ops.linear import LinearMap


@dataclass(frozen=True, eq=False)
class Selection(LinearMap):
    """A maximum, linear at the observed input: z = a[winner], `w` is the scalar 1.

    `observed(x, z)` returns the map with the winners of that input fixed; only then may it be applied.
    """

    kind: ClassVar[str] = "max"
    winners: Array = field(default=None, kw_only=True, repr=False)

    def observed(self, x: Array, z: Array) -> Selection:
        """Return this map with its winners fixed at the input x, whose output is z."""
        raise NotImplementedError

    def nonneg(self, *flags: bool) -> bool:
        """Return whether any input is >= 0 in all."""
        return any(flags)

    @property
    def parameters(self) -> int:
        """A maximum has none."""
        return 0


@dataclass(frozen=True, eq=False)
class MaxPool(Selection):
    """ONNX MaxPool: overlapping windows, strides, dilations, padding. `winners` is each window's first best tap."""

    windows: Windows = field(kw_only=True)

    def forward(self, *xs: Array) -> Array:
        """Return the maximum of each window."""
        return pool(xs[0], self.windows)

    def observed(self, x: Array, z: Array) -> MaxPool:
        """Return this map with the first best tap of each window."""
        return replace(self, winners=pool_winners(x, z, self.windows))

    def apply(self, x: Array, w: Array) -> Array:
        """Return the entries of x at the winners."""
        return pool_picked(x * w, self.winners, self.windows)

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return s at the winners."""
        return pool_unpicked(s * w, self.winners, self.windows)

    def work(self, out: Shape, *shapes: Shape) -> float:
        """Return a turn over the output for each offset in the window."""
        return self.windows.turns * (limits.STEP + prod(out))

    def takes(self, *shapes: Shape) -> int:
        """Return the size of the padded input."""
        return prod(shapes[0][: -len(self.windows.size)]) * prod(self.windows.padded)

    def shape(self, *shapes: Shape) -> Shape:
        """Return (N, C, *out)."""
        return (*shapes[0][: -len(self.windows.size)], *self.windows.out)

    def describe(self) -> str:
        """Return the kernel."""
        return "x".join(map(str, self.windows.kernel))


@dataclass(frozen=True, eq=False)
class MaxAxes(Selection):
    """ReduceMax and GlobalMaxPool. `winners` is one-hot over the axes, in the input's shape."""

    axes: tuple[int, ...] = field(kw_only=True)
    keepdims: bool = field(default=True, kw_only=True)

    def forward(self, *xs: Array) -> Array:
        """Return the maximum over the axes."""
        return namespace(xs[0]).max(xs[0], axis=self.axes, keepdims=self.keepdims)

    def observed(self, x: Array, z: Array) -> MaxAxes:
        """Return this map with a one-hot mark on the first maximum."""
        xp = namespace(x)
        kept = tuple(i for i in range(x.ndim) if i not in self.axes)
        order = (*kept, *self.axes)
        flat = xp.reshape(xp.permute_dims(x, order), (*(x.shape[i] for i in kept), prod(x.shape[i] for i in self.axes)))
        best = xp.argmax(flat, axis=-1, keepdims=True)
        marks = xp.astype(xp.arange(flat.shape[-1]) == best, x.dtype)
        marks = xp.reshape(marks, tuple(x.shape[i] for i in order))
        return replace(self, winners=xp.permute_dims(marks, tuple(np.argsort(order).tolist())))

    def apply(self, x: Array, w: Array) -> Array:
        """Return the entries of x at the winners."""
        return namespace(self.winners).sum(x * self.winners * w, axis=self.axes, keepdims=self.keepdims)

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return s at the winners."""
        kept = tuple(1 if i in self.axes else n for i, n in enumerate(self.source))
        return namespace(s).reshape(s, kept) * self.winners * w

    def shape(self, *shapes: Shape) -> Shape:
        """Return the shape without the axes, or with ones in their place."""
        if self.keepdims:
            return tuple(1 if i in self.axes else n for i, n in enumerate(shapes[0]))
        return tuple(n for i, n in enumerate(shapes[0]) if i not in self.axes)

    def describe(self) -> str:
        """Return the axes."""
        return f"over {','.join(map(str, self.axes))}"


@dataclass(frozen=True, eq=False)
class MaxOf(Selection):
    """The elementwise maximum (or minimum) of several values, constants among them (ONNX Max, Min).

    Shapes: a (k, *out) stacked as in `SumOf`; `winners` is one-hot over the first axis. `constants` stand after
    the values; what they win stays in them, as in a bias.
    """

    stacked: ClassVar[bool] = True
    sources: tuple[Shape, ...] = field(kw_only=True)
    constants: tuple[Array, ...] = field(default=(), kw_only=True)
    least: bool = field(default=False, kw_only=True)

    def join(self, xs: tuple[Array, ...]) -> Array:
        """Return values and constants, broadcast and stacked."""
        xp = namespace(xs[0])
        return xp.stack([xp.broadcast_to(x, self.source[1:]) for x in (*xs, *self.constants)])

    def part(self, R: Array) -> tuple[Array, ...]:
        """Return each value's relevance, summed where the value was broadcast."""
        return tuple(unbroadcast(R[i, ...], shape) for i, shape in enumerate(self.sources))

    def kept(self, R: Array) -> Any:
        """Return what the constants win."""
        return total(R[len(self.sources) :, ...]) if self.constants else 0

    def forward(self, *xs: Array) -> Array:
        """Return the maximum (or minimum) over the values."""
        a = self.join(xs)
        return namespace(a).min(a, axis=0) if self.least else namespace(a).max(a, axis=0)

    def observed(self, x: Array, z: Array) -> MaxOf:
        """Return this map with a one-hot mark on the first winner."""
        xp = namespace(x)
        best = xp.argmin(x, axis=0, keepdims=True) if self.least else xp.argmax(x, axis=0, keepdims=True)
        order = xp.reshape(xp.arange(x.shape[0]), (-1,) + (1,) * (x.ndim - 1))
        return replace(self, winners=xp.astype(order == best, x.dtype))

    def apply(self, x: Array, w: Array) -> Array:
        """Return the entries of x at the winners."""
        return namespace(self.winners).sum(x * self.winners * w, axis=0)

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return s at the winners."""
        return s[None, ...] * self.winners * w

    def takes(self, *shapes: Shape) -> int:
        """Return the size of the stack, of its winners, and of its relevance."""
        return 3 * prod(self.source)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the broadcast shape."""
        return broadcast_shapes(*shapes, *(c.shape for c in self.constants))

    def nonneg(self, *flags: bool) -> bool:
        """Return whether the winner is provably >= 0."""
        known = [*flags, *(bool(np.all(np.asarray(c) >= 0)) for c in self.constants)]
        return all(known) if self.least else any(known)


def unit() -> tuple[np.ndarray, object]:
    """Return the parameters of a map that has none: w = 1, b = ZERO."""
    return np.ones(()), ZERO
