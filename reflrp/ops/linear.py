"""The linear maps: z = L(a, w) + b, with the transpose L.T(s, w).

A map takes its parameter as an argument, so that a rule evaluates the same geometry with w+, w-, w**2 or ones.
Sums and pools carry the scalar parameter w = 1.

Clauses: BN-1 (a BatchNormalization is a diagonal map).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from reflrp.arrays import ZERO, Array, add, inner, is_symbolic, namespace, neg, pos, total, unbroadcast
from reflrp.arrays.once import once
from reflrp.arrays.products import matmul
from reflrp.arrays.tracing.dims import broadcast_shapes, is_open
from reflrp.ground.caches import Cache
from reflrp.ir import Op, Shape
from reflrp.ops.stabilizer import StabilizerLike, shares


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
        return ZERO if w is ZERO or self._nothing(x) else self.apply(x, w)

    def T(self, s: Array, w: Array) -> Array:
        """Return the transposed map at s, (N, *out) -> (N, *in). ZERO in, ZERO out."""
        return ZERO if w is ZERO or self._nothing(s) else self.adjoint(s, w)

    def _nothing(self, x: Array) -> bool:
        """Return whether an argument is ZERO, or is a constant that vanishes, of which open lengths have one entry only."""
        return x is ZERO or (isinstance(x, np.ndarray) and is_open(self.source) and not x.any())

    def pull(self, a: Array, s: Array, w: Array) -> Array:
        """Return a * L.T(s, w): what the share s per unit of z gives to each input. Skipped where a is ZERO."""
        return ZERO if a is ZERO or w is ZERO else a * self.T(s, w)

    def by_sign(self, x: Array) -> tuple[Array, Array]:
        """Return L(x, w+) and L(x, w-)."""
        return self(x, self.weights(pos)), self(x, self.weights(neg))

    def pull_by_sign(self, a: Array, s: Array, t: Array) -> Array:
        """Return a * (L.T(s, w+) + L.T(t, w-))."""
        return add(self.pull(a, s, self.weights(pos)), self.pull(a, t, self.weights(neg)))

    def plus(self, *terms: Array) -> Array:
        """Return the sum of outputs that this map just made, which nobody else reads, and a bias."""
        return add(*terms)

    def split(self, a: Array) -> tuple[Array, Array]:
        """Return a+ and a-; the latter is ZERO where the input is provably >= 0."""
        return (a, ZERO) if self.positive else (pos(a), neg(a))

    def alike(self, R: Array) -> tuple[LinearMap, Array]:
        """Return a map and its relevance that stand for this one and R where all weights are the same number.

        Outputs that are equal then may be one, whose relevance is the sum of theirs.
        """
        return self, R

    def weights(self, function: Callable[[Array], Array]) -> Array:
        """Return function(w), computed once a map; ZERO where all of it vanishes."""
        return self.derived.made(function, lambda: unless_it_vanishes(function(self.w)))

    def ratio(self, R: Array, z: Array, stabilizer: StabilizerLike, bias: Array = ZERO, side: int = 0) -> Array:
        """Return R / st(z), and enter in the ledger what the bias in z and the stabiliser keep of R.

        `side` is 1 or -1 where z sums up nothing of the other sign: where it is 0, so are all that share R.
        """
        if getattr(z, "shape", None) != R.shape:
            z = z + 0 * R
        s, given = shares(R, z, stabilizer, side)
        if self.absorbed is not None:
            given = inner(z, s) if given is None else given
            self.absorbed.append(Absorbed(inner(bias, s), once(total, R) - given))
        return s

    def keep(self, R: Array) -> None:
        """Enter in the ledger relevance that a rule gives to no input, as if it stayed in the stabiliser."""
        if self.absorbed is not None:
            self.absorbed.append(Absorbed(0, once(total, R)))

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
        lead = broadcast_shapes(shapes[0][:-2], self.w.shape[:-2])
        return (*lead, *shapes[0][len(shapes[0][:-2]) : -1], self.w.shape[-1])

    def takes(self, *shapes: Shape) -> int:
        """Return the size of the transpose before it is summed, where the weights are a stack that the input lacks."""
        return prod(self.shape(*shapes)[:-1]) * self.w.shape[-2] if self.w.ndim > 2 else 0

    def describe(self) -> str:
        """Return `in -> out`."""
        return f"{self.w.shape[-2]} -> {self.w.shape[-1]}{biased(self)}"


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
        lead = broadcast_shapes(shapes[0][:-2], self.w.shape[:-2])
        return (*lead, self.w.shape[-2], *shapes[0][-1:])

    def takes(self, *shapes: Shape) -> int:
        """Return the size of the transpose before it is summed, where the weights are a stack that the input lacks."""
        lead = self.shape(*shapes)[:-2]
        return prod(lead) * prod(shapes[0][-2:]) if self.w.ndim > 2 else 0

    def describe(self) -> str:
        """Return `in -> out`."""
        return f"{self.w.shape[-1]} -> {self.w.shape[-2]}{biased(self)}"


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
        return broadcast_shapes(shapes[0], self.w.shape, b)

    def forward(self, *xs: Array) -> Array:
        """Return w * a + b, with a broadcast where only b asks for it."""
        return add(xs[0] * self.w, self.b)

    def nonneg(self, *flags: bool) -> bool:
        """Return whether a, w and b are all >= 0."""
        return flags[0] and at_least_zero(self.w) and at_least_zero(self.b)


@dataclass(frozen=True, eq=False)
class BatchNorm(Diagonal):
    """A BatchNormalization; `eps` is what was added to the variances under the root of w."""

    eps: float = 0.0


def biased(L: LinearMap) -> str:
    """Return `, bias` of a map that has one."""
    return "" if L.b is ZERO else ", bias"


def at_least_zero(x: Array) -> bool:
    """Return whether all entries of a constant are >= 0."""
    return x is ZERO or bool(np.all(np.asarray(x) >= 0))
