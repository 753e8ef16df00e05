"""Maps along axes of an open length, whose coefficients follow from the length: running sums, means, resampling.

At a fixed length each is the map that `plain` says, which is what the graph of an example has in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from reflrp.arrays import ZERO, Array, namespace, ones_like, square
from reflrp.arrays.counting import Extent, laid, numbers, ones_of, running
from reflrp.arrays.kernels import Windows, window_spread, window_sum
from reflrp.errors import RuleError
from reflrp.ir import Shape
from reflrp.ops.axismap import AxisMap, along, axis_map
from reflrp.ops.conv import WindowMean
from reflrp.ops.linear import LinearMap, unless_it_vanishes
from reflrp.ops.picking import Take
from reflrp.ops.routing import Routing

Function = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class OpenSum(LinearMap):
    """z = the sums of a up to each entry along one axis: CumSum. `w` is the scalar 1."""

    kind: ClassVar[str] = "pool"
    axis: int = field(kw_only=True)
    exclusive: bool = field(kw_only=True)
    reverse: bool = field(kw_only=True)

    def apply(self, x: Array, w: Array) -> Array:
        """Return the sums."""
        return running(laid(x, Extent(self.source)) * w, self.axis, self.exclusive, self.reverse)

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return the sums from the other end."""
        return running(laid(s, Extent(self.source)), self.axis, self.exclusive, not self.reverse) * w

    def shape(self, *shapes: Shape) -> Shape:
        """Return the input's shape."""
        return shapes[0]

    def nonneg(self, *flags: bool) -> bool:
        """Return whether the input is >= 0."""
        return flags[0]

    def plain(self) -> AxisMap:
        """Return the map at a fixed length: a triangular matrix."""
        matrix = np.tri(self.source[self.axis], k=-1 if self.exclusive else 0)
        return axis_map(self.source, {self.axis: matrix.T if self.reverse else matrix})


@dataclass(frozen=True, eq=False)
class OpenMean(WindowMean):
    """A mean over windows that lie partly in a padding: `counted` are those windows over the entries that count."""

    counted: Windows = field(kw_only=True)

    def apply(self, x: Array, w: Array) -> Array:
        """Return the window sums over the number of entries that count."""
        x = laid(x, Extent(self.source))
        return window_sum(x * w, self.windows) / self._count(x)

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return the share of s on every entry of its window."""
        return window_spread(s / self._count(s), self.windows) * w

    def sums(self, z: Array) -> Array:
        """Return the sums over the windows that are the averages z."""
        return ZERO if z is ZERO else z * self._count(z)

    def _count(self, x: Array) -> Array:
        return window_sum(ones_of(x, (1, 1, *self.counted.size)), self.counted)

    def plain(self) -> WindowMean:
        """Return the map at a fixed length: with a share for each window, or one for all."""
        share = 1 / self._count(np.zeros(()))[0, 0]
        share = share.flat[0] if (share == share.flat[0]).all() else share
        kept = {f.name: getattr(self, f.name) for f in fields(WindowMean) if f.init and f.name != "share"}
        return WindowMean(**kept, share=share)


@dataclass(frozen=True)
class Stretch:
    """How an axis of `size` entries becomes one of `out`: the place in it that each of these is taken from.

    `scale` is by how much it grows, where that is one number for all lengths; None: by out / size.
    """

    size: int
    out: int
    scale: float | None
    transformation: str

    def matrix(self, x: Array) -> Array:
        """Return the weights (out, size) of linear interpolation in the dtype of x, max(0, 1 - |c_i - j|), c_i cut to the axis.

        A place is a fraction of whole numbers, so that a weight is off by the rounding of one quotient, however far along it is.
        """
        if self.size == 1:  # all places are cut to the one entry
            return ones_of(x, (self.out, 1))
        xp, j = namespace(x), numbers(x, self.size)
        over, under = self._fraction(x)
        cut = laid(xp.minimum(xp.maximum(over, 0), j[-1:] * under), Extent((self.out,)))
        weights = xp.maximum(1 - abs(xp.reshape(cut, (self.out, 1)) - xp.reshape(j * under, (1, self.size))) / under, 0)
        return laid(weights, Extent((self.out, self.size)))  # of one entry all are taken from that one: a constant

    def _fraction(self, x: Array) -> tuple[Array, Array]:
        """Return the places as numerators (out,) and their denominator (1,)."""
        xp, i, size = namespace(x), numbers(x, self.out), self._size(x)
        p, q = (i[-1:] + 1, size) if self.scale is None else map(float, self.scale.as_integer_ratio())
        if self.transformation == "align_corners":
            return i * (size - 1), xp.maximum(i[-1:], 1)
        one = xp.ones_like(size)
        if self.transformation == "asymmetric":
            return i * q, one * p
        found = (2 * i + 1) * q - p
        first = i[-1:] if self.transformation == "pytorch_half_pixel" else one
        return found * xp.minimum(first, 1), one * p * 2

    def places(self, x: Array) -> Array:
        """Return the places in the dtype of x, in the order of operations by which a runtime rounds them."""
        xp, i, size = namespace(x), numbers(x, self.out), self._size(x)
        last = i[-1:]
        scale = (last + 1) / size if self.scale is None else xp.ones_like(size) * self.scale
        if self.transformation == "align_corners":
            return i * (size - 1) / xp.maximum(last, 1)
        if self.transformation == "asymmetric":
            return i / scale
        if self.transformation == "tf_half_pixel_for_nn":  # an axis whose length stays is not resized
            return (i + xp.minimum(abs(last + 1 - size), 1) * 0.5) / scale
        found = (i + 0.5) / scale - 0.5
        return found * xp.minimum(last, 1) if self.transformation == "pytorch_half_pixel" else found

    def _size(self, x: Array) -> Array:
        return numbers(x, self.size)[-1:] + 1


ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
"""How places become numbers of entries."""

TIE = 1e-6
"""Places so near to the middle of two entries lie in it, as onnxruntime has it: their quotients are rounded to float32."""


def rounded(c: Array, how: str) -> Array:
    """Return places as whole numbers, in one of the ways of `ROUNDINGS`."""
    xp = namespace(c)
    low, half = xp.floor(c), c.dtype.type(0.5)
    if how in ("floor", "ceil"):
        return low if how == "floor" else xp.ceil(c)
    tie = c.dtype.type(TIE)
    return low + (xp.ceil(c - low - (half + tie)) if how == "round_prefer_floor" else xp.floor(c - low + (half + tie)))


@dataclass(frozen=True, eq=False)
class OpenTake(Routing):
    """The entry nearest to each place along an axis: Resize to nearest neighbours."""

    source: Shape
    axis: int
    stretch: Stretch
    rounding: str

    def forward(self, *xs: Array) -> Array:
        """Return the entries."""
        x = laid(xs[0], Extent(self.source))
        return along(x, self._chosen(x), self.axis)

    def transpose(self, R: Array, *xs: Array) -> tuple[Array, ...]:
        """Return R added up at the entries it came from."""
        R = laid(R, Extent(self.shape(self.source)))
        return (along(R, namespace(R).matrix_transpose(self._chosen(R)), self.axis),)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the shape with the axis in its new length."""
        return (*shapes[0][: self.axis], self.stretch.out, *shapes[0][self.axis + 1 :])

    def plain(self) -> Take:
        """Return the op at a fixed length."""
        return Take(self.source, self.axis, self._index(np.zeros((), np.float32)).astype(np.int64))

    def _chosen(self, x: Array) -> Array:
        """Return ones where an output (rows) takes an entry (columns)."""
        if self.stretch.size == 1:
            return ones_of(x, (self.stretch.out, 1))
        xp, like = namespace(x), namespace(x).astype(x, np.float32)
        out, size = self.stretch.out, self.stretch.size
        j, index = xp.reshape(numbers(like, size), (1, size)), laid(self._index(like), Extent((out,)))
        return laid(xp.astype(xp.reshape(index, (out, 1)) == j, x.dtype), Extent((out, size)))

    def _index(self, x: Array) -> Array:
        """Return the numbers of the entries, worked out in float32 as where a model runs."""
        xp, c = namespace(x), self.stretch.places(x)
        return xp.minimum(xp.maximum(rounded(c, self.rounding), 0), numbers(x, self.stretch.size)[-1:])


@dataclass(frozen=True, eq=False)
class OpenAxisMap(LinearMap):
    """z = a with a matrix applied along each axis, as `AxisMap`; that of an open one is found in the run. `w` is the scalar 1."""

    kind: ClassVar[str] = "pool"
    maps: tuple[tuple[int, Stretch | Array], ...] = field(kw_only=True)

    def apply(self, x: Array, w: Any) -> Array:
        """Return x with each matrix applied along its axis."""
        return self._mapped(laid(x, Extent(self.source)), w, transposed=False)

    def adjoint(self, s: Array, w: Any) -> Array:
        """Return s with each transposed matrix applied along its axis."""
        return self._mapped(laid(s, Extent(self.shape(self.source))), w, transposed=True)

    def _mapped(self, x: Array, w: Any, *, transposed: bool) -> Array:
        function, factor = (square, 1.0) if w is square else (None, w)
        for axis, how in self.maps:
            matrix = how.matrix(x) if isinstance(how, Stretch) else how
            matrix = matrix if function is None else function(matrix)
            x = along(x, namespace(matrix).matrix_transpose(matrix) if transposed else matrix, axis)
        return x * factor

    def weights(self, function: Function) -> Any:
        """Return what a function makes of the coefficients, all >= 0: a factor, or the square itself.

        Raises RuleError for ones, as it is only known in the run which coefficients are 0.
        """
        if function is ones_like:
            raise RuleError(
                f"which entries {self.describe()} reads is known in the run only; fix the lengths: shapes={{...}}"
            )
        return square if function is square else unless_it_vanishes(function(self.w))

    def shape(self, *shapes: Shape) -> Shape:
        """Return the input's shape with the axes in their new lengths."""
        found = {axis: how.out if isinstance(how, Stretch) else how.shape[0] for axis, how in self.maps}
        return tuple(found.get(i, n) for i, n in enumerate(shapes[0]))

    def nonneg(self, *flags: bool) -> bool:
        """Return whether the input is >= 0."""
        return flags[0]

    def plain(self) -> AxisMap:
        """Return the map at fixed lengths, along axes that it does not leave as they are."""
        found = {a: m.matrix(np.zeros(())) if isinstance(m, Stretch) else m for a, m in self.maps}
        return axis_map(self.source, {a: m for a, m in found.items() if not np.array_equal(m, np.eye(len(m)))})

    def describe(self) -> str:
        """Return the axes."""
        return "a resampling along " + ", ".join(f"axis {axis}" for axis, _ in self.maps)


def open_sum(source: Shape, axis: int, exclusive: bool, reverse: bool) -> OpenSum:
    """Return a running sum."""
    return OpenSum(np.ones(()), ZERO, source, axis=axis, exclusive=exclusive, reverse=reverse)


def open_axis_map(source: Shape, maps: tuple[tuple[int, Stretch | Array], ...]) -> OpenAxisMap:
    """Return a resampling of an input of a shape."""
    return OpenAxisMap(np.ones(()), ZERO, source, maps=maps)
