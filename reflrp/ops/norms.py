"""Normalisations by a statistic: LayerNorm, RMSNorm, GroupNorm, InstanceNorm, L1, L2, and local response (LRN)."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from reflrp import limits
from reflrp.arrays import ZERO, Array, namespace
from reflrp.arrays.counting import Extent, laid
from reflrp.arrays.kernels import Windows, window_spread, window_sum
from reflrp.ir import Shape
from reflrp.ops.linear import Diagonal, LinearMap
from reflrp.ops.normaliser import Normaliser
from reflrp.ops.stabilizer import held


@dataclass(frozen=True, eq=False)
class Statistic(Normaliser):
    """Base: normalisers that are linear once their statistic is held constant."""

    w: Array
    b: Array

    def held(self, x: Array) -> LinearMap:
        """Return the map at x with the statistic held constant: its bias is `b`, its input and output are the op's."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Standardise(Statistic):
    """y = w (x - mean x) / sqrt(var x + epsilon) + b, the statistics being over `axes`.

    center=False is RMSNorm: the mean is not subtracted, var x = mean x^2. mean=False sums in place of the mean (L2).
    ddof=1 divides the variance by n - 1. `grouped` is the shape in which the statistics are taken (GroupNorm).
    `floor` bounds the root from below (L2: x / max(norm, floor)).
    """

    axes: tuple[int, ...]
    epsilon: float = 1e-5
    center: bool = True
    mean: bool = True
    ddof: int = 0
    grouped: Shape | None = None
    floor: float = 0.0

    def forward(self, *xs: Array) -> Array:
        """Return the normalised values."""
        x = self._grouped(xs[0])
        y = namespace(x).reshape(self._centered(x) / self._scale(x), xs[0].shape)
        return y * self.w + self.b

    def _grouped(self, x: Array) -> Array:
        return x if self.grouped is None else namespace(x).reshape(x, self.grouped)

    def _centered(self, x: Array) -> Array:
        return x - namespace(x).mean(x, axis=self.axes, keepdims=True) if self.center else x

    def squares(self, x: Array) -> Array:
        """Return the sums of squares that a runtime may form, which is not bound to subtract the mean before."""
        return namespace(x).sum(self._grouped(x) ** 2, axis=self.axes, keepdims=True)

    def count(self, x: Array) -> int:
        """Return of how many entries a statistic is made."""
        shape = x.shape if self.grouped is None else self.grouped
        return prod(shape[i] for i in self.axes)

    def _scale(self, x: Array) -> Array:
        """Return sqrt(var + epsilon), in the grouped shape with ones in place of the axes."""
        xp, n = namespace(x), prod(x.shape[i] for i in self.axes)
        total = xp.sum(self._centered(x) ** 2, axis=self.axes, keepdims=True)
        root = held(xp.sqrt(total / (n - self.ddof if self.mean else 1) + self.epsilon))
        return xp.maximum(root, self.floor) if self.floor else root

    def held(self, x: Array) -> LinearMap:
        """Return x -> w (x - mean x) / scale + b with the scale of this x."""
        return HeldStandard(self.w, self.b, x.shape, norm=self, scale=self._scale(self._grouped(x)))

    def vjp(self, x: Array, y: Array, s: Array) -> Array:
        """Return the transposed Jacobian at x, the statistic's own change included."""
        xp, g = namespace(x), self._grouped(x)
        n = prod(g.shape[i] for i in self.axes)
        scale, t = self._scale(g), self._grouped(s * self.w)
        unit = self._centered(g) / scale
        count = n - self.ddof if self.mean else 1
        free = 1 if not self.floor else xp.astype(scale > self.floor, x.dtype)
        out = t - free * unit * xp.sum(t * unit, axis=self.axes, keepdims=True) / count
        return xp.reshape(self._centered(out) / scale, x.shape)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the input's shape."""
        return shapes[0]

    def describe(self) -> str:
        """Return what is normalised over what."""
        what = "" if self.center else "rms, " if self.mean else "norm, "
        inside = f" of {self.grouped}" if self.grouped else ""
        return f"{what}axes {','.join(map(str, self.axes))}{inside}"


@dataclass(frozen=True, eq=False)
class HeldStandard(LinearMap):
    """z = w (a - mean a) / scale + b with a constant scale: a `Standardise` whose statistic is held."""

    norm: Standardise = field(kw_only=True)
    scale: Array = field(kw_only=True)

    def apply(self, x: Array, w: Array) -> Array:
        """Return w (x - mean x) / scale."""
        x = laid(x, Extent(self.source))
        g = self.norm._centered(self.norm._grouped(x)) / self.scale
        return namespace(g).reshape(g, self.source) * w

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return (w s - mean (w s)) / scale."""
        g = self.norm._grouped(s * w)
        return namespace(s).reshape(self.norm._centered(g / self.scale), self.source)


@dataclass(frozen=True, eq=False)
class AbsoluteNorm(Statistic):
    """y = x / max(sum |x|, floor), the sum being over `axes`: LpNormalization with p = 1."""

    axes: tuple[int, ...]
    floor: float

    def forward(self, *xs: Array) -> Array:
        """Return the normalised values."""
        return xs[0] / self._scale(xs[0])

    def _scale(self, x: Array) -> Array:
        xp = namespace(x)
        return xp.maximum(xp.sum(abs(x), axis=self.axes, keepdims=True), self.floor)

    def held(self, x: Array) -> LinearMap:
        """Return x -> x / sum with the sum of this x."""
        return Diagonal(1 / self._scale(x), ZERO, x.shape)

    def vjp(self, x: Array, y: Array, s: Array) -> Array:
        """Return the transposed Jacobian at x; the slope of |x| is 0 at 0."""
        xp, scale = namespace(x), self._scale(x)
        slope = xp.astype(x > 0, x.dtype) - xp.astype(x < 0, x.dtype)
        free = xp.astype(scale > self.floor, x.dtype)
        return (s - free * slope * xp.sum(s * y, axis=self.axes, keepdims=True)) / scale

    def shape(self, *shapes: Shape) -> Shape:
        """Return the input's shape."""
        return shapes[0]

    def describe(self) -> str:
        """Return what is normalised over what."""
        return f"sum of magnitudes, axes {','.join(map(str, self.axes))}"


@dataclass(frozen=True, eq=False)
class LocalResponse(Statistic):
    """y = x / (bias + alpha / size * sum of x^2 over `size` neighbouring channels)^beta: ONNX LRN."""

    size: int
    alpha: float
    beta: float
    bias: float

    def _windows(self, x: Array) -> Windows:
        before = (self.size - 1) // 2
        channels = x.shape[1]
        return Windows((channels,), (self.size,), (1,), (1,), (before,), (self.size - 1 - before,))

    def _base(self, x: Array) -> Array:
        squares = namespace(x).moveaxis(x**2, 1, -1)
        sums = namespace(x).moveaxis(window_sum(squares, self._windows(x)), -1, 1)
        return self.bias + self.alpha / self.size * sums

    def divisor(self, x: Array) -> Array:
        """Return base^beta."""
        return held(self._base(x) ** self.beta)

    def forward(self, *xs: Array) -> Array:
        """Return the response."""
        return xs[0] / self.divisor(xs[0])

    def work(self, out: Shape, *shapes: Shape) -> float:
        """Return a turn over the output for each neighbour."""
        return self.size * (limits.STEP + prod(out))

    def held(self, x: Array) -> LinearMap:
        """Return x -> x / base^beta with the base of this x."""
        return Diagonal(1 / self.divisor(x), ZERO, x.shape)

    def vjp(self, x: Array, y: Array, s: Array) -> Array:
        """Return the transposed Jacobian at x."""
        base = self._base(x)
        xp = namespace(x)
        inner = xp.moveaxis(s * x / base**self.beta / base, 1, -1)  # base^(beta + 1) overflows long before base^beta
        spread = xp.moveaxis(window_spread(inner, self._windows(x)), -1, 1)
        return s / base**self.beta - 2 * self.alpha * self.beta / self.size * x * spread

    def takes(self, *shapes: Shape) -> int:
        """Return the size of the squares in their frame of channels."""
        return 2 * prod(n for i, n in enumerate(shapes[0]) if i != 1) * (shapes[0][1] + self.size)

    def describe(self) -> str:
        """Return the number of channels."""
        return f"{self.size} channels"
