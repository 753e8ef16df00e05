"""Sums: of several values, and over axes. They carry the scalar or sign w.

Clauses: LAYER-3 (a constant that is added is a bias).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import numpy as np

from reflrp.arrays import ZERO, Array, add, finite, namespace, unbroadcast
from reflrp.arrays.counting import Extent, laid
from reflrp.arrays.tracing.dims import broadcast_shapes
from reflrp.ir import Shape
from reflrp.ops.linear import LinearMap, at_least_zero


def less_one(w: Array) -> Array:
    """Return w - 1."""
    return w - 1


@dataclass(frozen=True, eq=False)
class SumOf(LinearMap):
    """z = sum_i w_i a_i of several values, with broadcasting: Add, Sub, Sum, Mean, residual connections.

    The values are broadcast and stacked on a new first axis, so that each linear rule works on them unchanged.
    Shapes: a (k, *out), w (k, 1, ...), z (*out).
    """

    kind: ClassVar[str] = "sum"
    stacked: ClassVar[bool] = True
    sources: tuple[Shape, ...] = field(kw_only=True)

    def apply(self, x: Array, w: Array) -> Array:
        """Return the weighted sum over the first axis."""
        return namespace(x).sum(x * w, axis=0)

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return w_i s for each i."""
        copies = namespace(s).broadcast_to(s[None, ...], self.source)
        return copies if w is self.w and self._adds else w * copies

    @property
    def _adds(self) -> bool:
        """Whether all values are added as they are."""
        return self.weights(less_one) is ZERO

    def pull(self, a: Array, s: Array, w: Array) -> Array:
        """Return a * L.T(s, w); a mask of -inf gets nothing."""
        return super().pull(a if a is ZERO else finite(a), s, w)

    def forward(self, *xs: Array) -> Array:
        """Return the weighted sum, without the stack."""
        return add(*xs) if self._adds else add(*(x * self.w[i, ...] for i, x in enumerate(xs)))

    def join(self, xs: tuple[Array, ...]) -> Array:
        """Return the values, broadcast and stacked."""
        xp = namespace(xs[0])
        return xp.stack([xp.broadcast_to(x, self.source[1:]) for x in xs])

    def part(self, R: Array) -> tuple[Array, ...]:
        """Return each value's relevance, summed where the value was broadcast."""
        return tuple(unbroadcast(R[i, ...], shape) for i, shape in enumerate(self.sources))

    def takes(self, *shapes: Shape) -> int:
        """Return the size of the stack, of its product with the signs, and of its relevance."""
        return 3 * prod(self.source)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the broadcast shape."""
        return broadcast_shapes(*shapes)

    def nonneg(self, *flags: bool) -> bool:
        """Return whether all values and all signs are >= 0."""
        return all(flags) and at_least_zero(self.w)

    @property
    def parameters(self) -> int:
        """A sum has none."""
        return 0

    def describe(self) -> str:
        """Return the signs, where one is negative."""
        signs = np.ravel(np.asarray(self.w))
        return "" if (signs > 0).all() else " ".join("+" if s > 0 else "-" for s in signs)


@dataclass(frozen=True, eq=False)
class SumAxes(LinearMap):
    """z = scale * sum over axes: ReduceSum, ReduceMean, GlobalAveragePool. `w` is the scalar 1."""

    kind: ClassVar[str] = "pool"
    axes: tuple[int, ...] = field(kw_only=True)
    keepdims: bool = field(default=True, kw_only=True)
    mean: bool = field(default=True, kw_only=True)

    @property
    def count(self) -> int:
        """How many inputs one output has."""
        return prod(self.source[i] for i in self.axes)

    def apply(self, x: Array, w: Array) -> Array:
        """Return the sum or mean."""
        x = laid(x, self._summed(x.shape))
        out = namespace(x).sum(x * w, axis=self.axes, keepdims=self.keepdims)
        return out / self.count if self.mean else out

    def _summed(self, shape: Shape) -> Extent:
        """Return a shape with the lengths of the axes that it sums, of which a constant has one entry where they are open."""
        return Extent(tuple(self.source[i] if i in self.axes else n for i, n in enumerate(shape)))

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return s for each input that it sums."""
        xp = namespace(s)
        kept = tuple(1 if i in self.axes else n for i, n in enumerate(self.source))
        s = laid(xp.reshape(s, kept), Extent(self.source)) * w
        return s / self.count if self.mean else s

    def sums(self, z: Array) -> Array:
        """Return the sums over the axes that are the sums or means z."""
        return z * self.count if self.mean else z

    def shape(self, *shapes: Shape) -> Shape:
        """Return the shape without the axes, or with ones in their place."""
        kept = ((i, n) for i, n in enumerate(shapes[0]))
        if self.keepdims:
            return tuple(1 if i in self.axes else n for i, n in kept)
        return tuple(n for i, n in kept if i not in self.axes)

    def nonneg(self, *flags: bool) -> bool:
        """Return whether the input is >= 0."""
        return flags[0]

    @property
    def parameters(self) -> int:
        """A sum has none."""
        return 0

    def describe(self) -> str:
        """Return the axes."""
        return f"{'mean' if self.mean else 'sum'} over {','.join(map(str, self.axes))}"
