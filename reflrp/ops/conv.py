"""Convolutions and what pools by their windows: z = L(a, w) + b, with the transpose L.T(s, w).

Clauses: LAYER-1 (convolutions), LAYER-2 (the shares of an average).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import ClassVar

import numpy as np

from reflrp import limits
from reflrp.arrays import ZERO, Array, add, is_symbolic, namespace, neg, pos
from reflrp.arrays.convolution import channel_sum, conv, conv_takes, conv_transpose
from reflrp.arrays.kernels import Windows, window_spread, window_sum
from reflrp.ground.caches import Cache
from reflrp.ir import Shape
from reflrp.ops.linear import LinearMap, biased, vanishes


def signs_side_by_side(w: Array) -> Array:
    """Return the kernels w+ and w- as one of twice the outputs; ZERO where either vanishes."""
    parts = pos(w), neg(w)
    return ZERO if any(map(vanishes, parts)) else namespace(w).concat(parts)


@dataclass(frozen=True, eq=False)
class Conv(LinearMap):
    """z = a conv w + b in any number of dimensions.

    Shapes: a (N, C, *size), w (O, C/groups, *kernel), b (O, 1, ...), z (N, O, *out).
    """

    kind: ClassVar[str] = "conv"
    windows: Windows = field(kw_only=True)
    groups: int = field(default=1, kw_only=True)

    def apply(self, x: Array, w: Array) -> Array:
        """Return the convolution."""
        return conv(x, w, self.windows, self.groups)

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return the transposed convolution."""
        return conv_transpose(s, w, self.windows, self.groups)

    def forward(self, *xs: Array) -> Array:
        """Return L(a, w) + b; on NumPy the bias is added in place."""
        z = self(self.join(xs), self.w)
        if self.b is ZERO or not isinstance(z, np.ndarray):
            return add(z, self.b)
        z += self.b
        return z

    def plus(self, *terms: Array) -> Array:
        """Return the sum of outputs that this map just made, and a bias; on NumPy in the memory of the first."""
        made, *others = terms
        if not isinstance(made, np.ndarray):
            return add(*terms)
        for x in others:
            if x is not ZERO:
                made += x
        return made

    def pull(self, a: Array, s: Array, w: Array) -> Array:
        """Return a * L.T(s, w)."""
        return ZERO if a is ZERO or w is ZERO else _multiplied(a, self.T(s, w))

    def alike(self, R: Array) -> tuple[LinearMap, Array]:
        """Return the convolution to one channel, and the sum of R over the channels: of equal weights all are equal."""
        if self.groups > 1:
            return self, R
        one = replace(self, w=self.w[:1, ...], b=ZERO, derived=Cache())
        return one, channel_sum(R)

    def by_sign(self, x: Array) -> tuple[Array, Array]:
        """Return L(x, w+) and L(x, w-), made as one convolution of twice the outputs: windows are laid out once."""
        w = ZERO if self.groups > 1 or is_symbolic(x) or x is ZERO else self.weights(signs_side_by_side)
        if w is ZERO:
            return super().by_sign(x)
        z, count = self.apply(x, w), self.w.shape[0]
        return z[:, :count, ...], z[:, count:, ...]

    def pull_by_sign(self, a: Array, s: Array, t: Array) -> Array:
        """Return a * (L.T(s, w+) + L.T(t, w-)), made as one transposed convolution."""
        w = ZERO if self.groups > 1 or is_symbolic(a) or a is ZERO else self.weights(signs_side_by_side)
        if w is ZERO:
            return super().pull_by_sign(a, s, t)
        return _multiplied(a, self.adjoint(namespace(s).concat([s, t], axis=1), w))

    def work(self, out: Shape, *shapes: Shape) -> float:
        """Return the kernel's size for each output, and a turn for each of its offsets."""
        return float(prod(out) * prod(self.w.shape[1:]) + limits.STEP * self.windows.turns)

    def takes(self, *shapes: Shape) -> int:
        """Return the size of the padded input and of one block of unrolled windows, for w+ and w- together."""
        n, o, c = shapes[0][0], self.w.shape[0], self.w.shape[1] * self.groups
        return conv_takes(n, c, 2 * o, self.windows)

    def shape(self, *shapes: Shape) -> Shape:
        """Return (N, O, *out)."""
        return (shapes[0][0], self.w.shape[0], *self.windows.out)

    def describe(self) -> str:
        """Return channels, kernel and what is unusual."""
        return _describe_conv(self, self.w.shape[1] * self.groups, self.w.shape[0])


@dataclass(frozen=True, eq=False)
class ConvTranspose(LinearMap):
    """z = the transpose of a convolution, plus b: ONNX ConvTranspose.

    Shapes: a (N, O, *out), w (O, C/groups, *kernel), z (N, C, *size), where `windows` is of the convolution that
    maps z to a.
    """

    kind: ClassVar[str] = "conv"
    windows: Windows = field(kw_only=True)
    groups: int = field(default=1, kw_only=True)

    def apply(self, x: Array, w: Array) -> Array:
        """Return the transposed convolution."""
        return conv_transpose(x, w, self.windows, self.groups)

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return the convolution."""
        return conv(s, w, self.windows, self.groups)

    def work(self, out: Shape, *shapes: Shape) -> float:
        """Return the kernel's size for each input, and a turn for each of its offsets."""
        return float(prod(shapes[0]) * prod(self.w.shape[1:]) + limits.STEP * self.windows.turns)

    def takes(self, *shapes: Shape) -> int:
        """Return the size of the padded output and of one block of unrolled windows."""
        n, o, c = shapes[0][0], self.w.shape[0], self.w.shape[1] * self.groups
        return conv_takes(n, c, o, self.windows)

    def shape(self, *shapes: Shape) -> Shape:
        """Return (N, C, *size)."""
        return (shapes[0][0], self.w.shape[1] * self.groups, *self.windows.size)

    def describe(self) -> str:
        """Return channels, kernel and what is unusual."""
        return _describe_conv(self, self.w.shape[0], self.w.shape[1] * self.groups)


@dataclass(frozen=True, eq=False)
class WindowMean(LinearMap):
    """z = share * sum over each window: AveragePool, and the inner sum of LpPool. `w` is the scalar 1.

    Shapes: a (N, C, *size), share (*out) or scalar (None where it is found in the run), z (N, C, *out).
    """

    kind: ClassVar[str] = "pool"
    windows: Windows = field(kw_only=True)
    share: Array = field(kw_only=True)

    def apply(self, x: Array, w: Array) -> Array:
        """Return the window sums times the share."""
        return window_sum(x * w, self.windows) * self.share

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return the share of s on every entry of its window."""
        return window_spread(s * self.share, self.windows) * w

    def sums(self, z: Array) -> Array:
        """Return the sums over the windows that are the averages z."""
        return z / self.share

    def work(self, out: Shape, *shapes: Shape) -> float:
        """Return a turn over the output for each offset in the window."""
        return self.windows.turns * (limits.STEP + prod(out))

    def takes(self, *shapes: Shape) -> int:
        """Return the size of the padded input."""
        return prod(shapes[0][: -len(self.windows.size)]) * prod(self.windows.padded)

    def shape(self, *shapes: Shape) -> Shape:
        """Return (N, C, *out)."""
        return (*shapes[0][: -len(self.windows.size)], *self.windows.out)

    def nonneg(self, *flags: bool) -> bool:
        """Return whether the input is >= 0."""
        return flags[0]

    @property
    def parameters(self) -> int:
        """A pool has none."""
        return 0

    def describe(self) -> str:
        """Return the kernel."""
        return "x".join(map(str, self.windows.kernel))


def _multiplied(a: Array, made: Array) -> Array:
    """Return a * made; on NumPy in the memory of what a convolution just made."""
    if not isinstance(made, np.ndarray) or not isinstance(a, np.ndarray) or not made.flags.c_contiguous:
        return a * made
    alike = a.shape == made.shape and a.dtype == made.dtype
    return np.multiply(a, made, out=made) if alike else a * made


def _describe_conv(L: Conv | ConvTranspose, inputs: int, outputs: int) -> str:
    unusual = [
        f"{name} {'x'.join(map(str, value))}"
        for name, value in (("stride", L.windows.strides), ("dilation", L.windows.dilations))
        if set(value) != {1}
    ]
    unusual += [f"groups {L.groups}"] if L.groups > 1 else []
    text = f"{inputs} -> {outputs}, {'x'.join(map(str, L.windows.kernel))}"
    return ", ".join([text, *unusual]) + biased(L)
