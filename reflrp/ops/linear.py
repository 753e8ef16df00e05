"""The linear maps: z = L(a, w) + b, with the transpose L.T(s, w).

A map takes its parameter as an argument, so that a rule evaluates the same geometry with w+, w-, w**2 or ones.
Sums and pools carry the scalar parameter w = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from reflrp import limits
from reflrp.arrays import ZERO, Array, add, finite, inner, is_symbolic, namespace, neg, pos, total, unbroadcast
from reflrp.arrays.kernels import Windows, conv, conv_takes, conv_transpose, matmul, window_spread, window_sum
from reflrp.ground.caches import Cache
from reflrp.ir import Op, Shape
from reflrp.ops.stabilizer import StabilizerLike, ratio


class Absorbed(NamedTuple):
    """How much relevance stayed in a node: in the bias, and in the stabiliser."""

    bias: Any
    stabilizer: Any


@dataclass(frozen=True, eq=False)
class LinearMap(Op):
    """Base of the linear maps; a rule is written against this interface.

    Attributes
    ----------
    w, b : array
        The parameter and the bias. `b` broadcasts against the output; ZERO where there is none.
    has_bias : bool
        The layer has a bias of its own, if only one of zeros (which `b` has as ZERO).
    source : tuple of int
        The input's shape.
    positive : bool
        The observed input is provably >= 0, so that its negative part is a symbolic zero.
    gated : bool
        The relevance that arrives provably vanishes wherever z <= 0.
    stacked : bool
        The map joins several values on a new first axis, so that the batch is on the second.
    absorbed : list, optional
        Where `ratio` writes down what stays in the node; None while nobody keeps a ledger.

    """

    stacked: ClassVar[bool] = False
    w: Array
    b: Array
    source: Shape
    positive: bool = field(default=False, kw_only=True)
    gated: bool = field(default=False, kw_only=True)
    has_bias: bool = field(default=False, kw_only=True)
    absorbed: list[Absorbed] | None = field(default=None, kw_only=True, repr=False)
    derived: Cache[Any, Array] = field(default_factory=Cache, kw_only=True, repr=False)

    def to(self, convert: Callable[[Array], Array]) -> Self:
        """Return the same map on converted arrays; derived weights start anew."""
        return replace(super().to(convert), derived=Cache())

    def apply(self, x: Array, w: Array) -> Array:
        """Return the map of x with parameter w, without bias."""
        raise NotImplementedError

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return the transpose of `apply` at s."""
        raise NotImplementedError

    def __call__(self, x: Array, w: Array) -> Array:
        """Return L(x, w), (N, *in) -> (N, *out), without bias. ZERO in, ZERO out."""
        return ZERO if x is ZERO or w is ZERO else self.apply(x, w)

    def T(self, s: Array, w: Array) -> Array:
        """Return the transposed map at s, (N, *out) -> (N, *in). ZERO in, ZERO out."""
        return ZERO if s is ZERO or w is ZERO else self.adjoint(s, w)

    def pull(self, a: Array, s: Array, w: Array) -> Array:
        """Return a * L.T(s, w): what the share s per unit of z gives to each input. Skipped where a is ZERO."""
        return ZERO if a is ZERO or w is ZERO else a * self.T(s, w)

    def by_sign(self, x: Array) -> tuple[Array, Array]:
        """Return L(x, w+) and L(x, w-)."""
        return self(x, self.weights(pos)), self(x, self.weights(neg))

    def pull_by_sign(self, a: Array, s: Array, t: Array) -> Array:
        """Return a * (L.T(s, w+) + L.T(t, w-))."""
        return add(self.pull(a, s, self.weights(pos)), self.pull(a, t, self.weights(neg)))

    def split(self, a: Array) -> tuple[Array, Array]:
        """Return a+ and a-; the latter is ZERO where the input is provably >= 0."""
        return (a, ZERO) if self.positive else (pos(a), neg(a))

    def weights(self, function: Callable[[Array], Array]) -> Array:
        """Return function(w), computed once a map; ZERO where all of it vanishes."""
        return self.derived.made(function, lambda: unless_it_vanishes(function(self.w)))

    def ratio(self, R: Array, z: Array, stabilizer: StabilizerLike, bias: Array = ZERO) -> Array:
        """Return R / st(z), and enter in the ledger what the bias in z and the stabiliser keep of R."""
        if getattr(z, "shape", None) != R.shape:
            z = z + 0 * R
        s = ratio(R, z, stabilizer)
        if self.absorbed is not None:
            self.absorbed.append(Absorbed(inner(bias, s), total(R) - inner(z, s)))
        return s

    def keep(self, R: Array) -> None:
        """Enter in the ledger relevance that a rule gives to no input, as if it stayed in the stabiliser."""
        if self.absorbed is not None:
            self.absorbed.append(Absorbed(0, total(R)))

    def forward(self, *xs: Array) -> Array:
        """Return L(a, w) + b at the joined inputs."""
        return add(self(self.join(xs), self.w), self.b)

    def join(self, xs: tuple[Array, ...]) -> Array:
        """Return the one array `a` that the map acts on."""
        return xs[0]

    def part(self, R: Array) -> tuple[Array, ...]:
        """Return the relevance of each input, from the relevance of the joined one."""
        return (R,)

    def kept(self, R: Array) -> Any:
        """Return how much of the joined input's relevance belongs to constants among its parts."""
        return 0


def signs_side_by_side(w: Array) -> Array:
    """Return the kernels w+ and w- as one of twice the outputs; ZERO where either vanishes."""
    parts = pos(w), neg(w)
    return ZERO if any(map(vanishes, parts)) else namespace(w).concat(parts)


def less_one(w: Array) -> Array:
    """Return w - 1."""
    return w - 1


def unless_it_vanishes(x: Array) -> Array:
    """Return ZERO for what vanishes, anything else as it is."""
    return ZERO if vanishes(x) else x


def vanishes(x: Array) -> bool:
    """Return whether all entries are known to be zero (a symbolic array never is)."""
    if x is ZERO:
        return True
    return not is_symbolic(x) and not bool(namespace(x).any(x != 0))


@dataclass(frozen=True, eq=False)
class Dense(LinearMap):
    """z = a w + b. Shapes: a (..., in), w (in, out) or a stack of such, z (..., out)."""

    kind: ClassVar[str] = "dense"

    def apply(self, x: Array, w: Array) -> Array:
        """Return x w."""
        return matmul(x, w)

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return s w^T."""
        return unbroadcast(matmul(s, namespace(w).matrix_transpose(w)), self.source)

    def work(self, out: Shape, *shapes: Shape) -> float:
        """Return rows * in * out."""
        return float(prod(out) * self.w.shape[-2])

    def shape(self, *shapes: Shape) -> Shape:
        """Return (..., out)."""
        lead = np.broadcast_shapes(shapes[0][:-2], self.w.shape[:-2])
        return (*lead, *shapes[0][len(shapes[0][:-2]) : -1], self.w.shape[-1])

    def takes(self, *shapes: Shape) -> int:
        """Return the size of the transpose before it is summed, where the weights are a stack that the input lacks."""
        return prod(self.shape(*shapes)[:-1]) * self.w.shape[-2] if self.w.ndim > 2 else 0

    def describe(self) -> str:
        """Return `in -> out`."""
        return f"{self.w.shape[-2]} -> {self.w.shape[-1]}{_biased(self)}"


@dataclass(frozen=True, eq=False)
class LeftDense(LinearMap):
    """z = w a + b, a constant on the left. Shapes: w (out, in) or a stack, a (..., in, n), z (..., out, n)."""

    kind: ClassVar[str] = "dense"

    def apply(self, x: Array, w: Array) -> Array:
        """Return w x."""
        return matmul(w, x)

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return w^T s."""
        return unbroadcast(matmul(namespace(w).matrix_transpose(w), s), self.source)

    def work(self, out: Shape, *shapes: Shape) -> float:
        """Return columns * in * out."""
        return float(prod(out) * self.w.shape[-1])

    def shape(self, *shapes: Shape) -> Shape:
        """Return (..., out, n)."""
        lead = np.broadcast_shapes(shapes[0][:-2], self.w.shape[:-2])
        return (*lead, self.w.shape[-2], *shapes[0][-1:])

    def takes(self, *shapes: Shape) -> int:
        """Return the size of the transpose before it is summed, where the weights are a stack that the input lacks."""
        lead = self.shape(*shapes)[:-2]
        return prod(lead) * prod(shapes[0][-2:]) if self.w.ndim > 2 else 0

    def describe(self) -> str:
        """Return `in -> out`."""
        return f"{self.w.shape[-1]} -> {self.w.shape[-2]}{_biased(self)}"


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

    def by_sign(self, x: Array) -> tuple[Array, Array]:
        """Return L(x, w+) and L(x, w-), made as one convolution of twice the outputs: windows are laid out once."""
        w = ZERO if self.groups > 1 or x is ZERO else self.weights(signs_side_by_side)
        if w is ZERO:
            return super().by_sign(x)
        z, count = self.apply(x, w), self.w.shape[0]
        return z[:, :count, ...], z[:, count:, ...]

    def pull_by_sign(self, a: Array, s: Array, t: Array) -> Array:
        """Return a * (L.T(s, w+) + L.T(t, w-)), made as one transposed convolution."""
        w = ZERO if self.groups > 1 or a is ZERO else self.weights(signs_side_by_side)
        if w is ZERO:
            return super().pull_by_sign(a, s, t)
        return a * self.adjoint(namespace(s).concat([s, t], axis=1), w)

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
class Diagonal(LinearMap):
    """z = w * a + b, elementwise with broadcasting: BatchNormalization, Mul, Div and Add with a constant."""

    kind: ClassVar[str] = "diagonal"

    def apply(self, x: Array, w: Array) -> Array:
        """Return x * w."""
        return x * w

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return s * w, summed where `a` was broadcast."""
        return unbroadcast(s * w, self.source)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the broadcast shape."""
        b = () if self.b is ZERO else self.b.shape
        return np.broadcast_shapes(shapes[0], self.w.shape, b)

    def forward(self, *xs: Array) -> Array:
        """Return w * a + b, with a broadcast where only b asks for it."""
        return add(xs[0] * self.w, self.b)

    def nonneg(self, *flags: bool) -> bool:
        """Return whether a, w and b are all >= 0."""
        return flags[0] and _at_least_zero(self.w) and _at_least_zero(self.b)


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
        return np.broadcast_shapes(*shapes)

    def nonneg(self, *flags: bool) -> bool:
        """Return whether all values and all signs are >= 0."""
        return all(flags) and _at_least_zero(self.w)

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
        out = namespace(x).sum(x * w, axis=self.axes, keepdims=self.keepdims)
        return out / self.count if self.mean else out

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return s for each input that it sums."""
        xp = namespace(s)
        kept = tuple(1 if i in self.axes else n for i, n in enumerate(self.source))
        s = xp.broadcast_to(xp.reshape(s, kept), self.source) * w
        return s / self.count if self.mean else s

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


@dataclass(frozen=True, eq=False)
class WindowMean(LinearMap):
    """z = share * sum over each window: AveragePool, and the inner sum of LpPool. `w` is the scalar 1.

    Shapes: a (N, C, *size), share (*out) or scalar, z (N, C, *out).
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


def _biased(L: LinearMap) -> str:
    return "" if L.b is ZERO else ", bias"


def _at_least_zero(x: Array) -> bool:
    return x is ZERO or bool(np.all(np.asarray(x) >= 0))


def _describe_conv(L: Conv | ConvTranspose, inputs: int, outputs: int) -> str:
    unusual = [
        f"{name} {'x'.join(map(str, value))}"
        for name, value in (("stride", L.windows.strides), ("dilation", L.windows.dilations))
        if set(value) != {1}
    ]
    unusual += [f"groups {L.groups}"] if L.groups > 1 else []
    text = f"{inputs} -> {outputs}, {'x'.join(map(str, L.windows.kernel))}"
    return ", ".join([text, *unusual]) + _biased(L)
