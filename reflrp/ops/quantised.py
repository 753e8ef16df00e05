"""Quantised values: the integer itself, and the steps between integers and real units, through which relevance passes.

An integer q with the scale s and the zero point z stands for the number s (q - z). Both say the same in other units, as
metres and feet do, so that what was relevant of the one is relevant of the other: no step between them is a layer.

Clauses: QUANT-1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from reflrp.arrays import Array, is_symbolic, namespace, ones_like, where
from reflrp.errors import InputError
from reflrp.ir import Op, Shape

EXACT = {"float32": 2.0**24, "float64": 2.0**53}
"""The largest of the whole numbers that a dtype holds without a gap."""

Bounds = tuple[float, float]
"""The least and the largest number that a value can be."""


@dataclass(frozen=True, eq=False)
class Units(Op):
    """Base of what changes units or rounds, y = f(x) elementwise: relevance passes unchanged, clipped entries included.

    Only a chain rule has a choice here, and gets the derivative (of rounding, that of the line through its steps).
    """

    kind: ClassVar[str] = "pointwise"

    def held(self, *rest: Array) -> Self:
        """Return the op with its further inputs, scale and zero point as they are observed, put in place."""
        return self

    def derivative(self, x: Array) -> Array:
        """Return f'(x)."""
        return ones_like(x)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the input's shape."""
        return np.broadcast_shapes(*shapes)

    def nonneg(self, *flags: bool) -> bool:
        """Return whether the input is >= 0."""
        return flags[0]


@dataclass(frozen=True, eq=False)
class Scaled(Units):
    """A step with a scale s and a zero point z. What of the two is None comes as a further input, in this order.

    Such an input gets no relevance, even where it depends on the data: it says in which units the number is written.
    """

    scale: Array | None
    zero: Array | None

    def held(self, *rest: Array) -> Self:
        """Return the op with the scale and zero point as they are observed."""
        given = iter(rest)
        scale = next(given) if self.scale is None else self.scale
        return replace(self, scale=scale, zero=next(given) if self.zero is None else self.zero)

    def parameters_for(self, x: Array, rest: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return the scale and the zero point in the dtype of x."""
        op = self.held(*rest)
        return _like(x, op.scale), _like(x, op.zero)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the input's shape."""
        return np.broadcast_shapes(*shapes, *(np.shape(p) for p in (self.scale, self.zero) if p is not None))

    def describe(self) -> str:
        """Return scale and zero point, where there is one of each."""
        said = [
            f"{k} {float(a):g}" for k, a in (("s", self.scale), ("z", self.zero)) if a is not None and not np.ndim(a)
        ]
        return f"{type(self).__name__.lower()}({', '.join(said)})"


@dataclass(frozen=True, eq=False)
class Quantise(Scaled):
    """q = clip(round(x / s) + z, low, high), rounding half to even: QuantizeLinear.

    The quotient is taken in float32, as runtimes take it (`single`), so that what lies half way does so here as there.
    """

    low: float
    high: float
    single: bool = True

    def forward(self, *xs: Array) -> Array:
        """Return the integers."""
        x, xp = xs[0], namespace(xs[0])
        scale, zero = self.parameters_for(x, xs[1:])
        q = xp.round(_quotient(x, scale) if self.single else x / scale) + zero
        return xp.minimum(xp.maximum(q, self.low), self.high)

    def derivative(self, x: Array) -> Array:
        """Return 1 / s inside the range, 0 where it is clipped."""
        scale, zero = self.parameters_for(x, ())
        q = x / scale + zero
        return where((q >= self.low) & (q <= self.high), 1 / scale + 0 * x, 0 * x)

    def nonneg(self, *flags: bool) -> bool:
        """Return whether the integers have no sign."""
        return self.low >= 0


@dataclass(frozen=True, eq=False)
class Dequantise(Scaled):
    """y = s (q - z): DequantizeLinear. With s = 1, the integer less its zero point.

    `low` is the least that q can be.
    """

    low: float = -np.inf

    def forward(self, *xs: Array) -> Array:
        """Return the real numbers."""
        scale, zero = self.parameters_for(xs[0], xs[1:])
        return (xs[0] - zero) * scale

    def derivative(self, x: Array) -> Array:
        """Return s."""
        return self.parameters_for(x, ())[0] + 0 * x

    def nonneg(self, *flags: bool) -> bool:
        """Return whether no integer lies below the zero point."""
        if self.scale is None or self.zero is None:
            return False
        return bool(np.all(self.scale >= 0)) and bool(np.all(self.zero <= (max(self.low, 0) if flags[0] else self.low)))


@dataclass(frozen=True, eq=False)
class Wrap(Units):
    """What an integer type keeps of a whole number: it begins again at `low`, behind `size` numbers.

    Raises InputError for numbers that are too large to be whole in the dtype that all is computed in.
    """

    low: float
    size: float

    def forward(self, *xs: Array) -> Array:
        """Return low + (x - low) mod size."""
        x, xp = xs[0], namespace(xs[0])
        most = np.inf if is_symbolic(x) else EXACT.get(str(x.dtype), np.inf)
        if most < np.inf and bool(xp.any(abs(x) > most)):
            raise InputError(
                f"integers beyond {most:.0f} are not exact in {x.dtype}; use dtype='float64', or dequantise before"
            )
        return self.low + (x - self.low) % self.size

    def nonneg(self, *flags: bool) -> bool:
        """Return whether the type has no sign."""
        return self.low >= 0


@dataclass(frozen=True, eq=False)
class Truncate(Units):
    """A number without its fraction: a cast to an integer type, and with a divisor the division of integers."""

    divisor: Array = 1

    def forward(self, *xs: Array) -> Array:
        """Return x / divisor, rounded towards zero."""
        return namespace(xs[0]).trunc(xs[0] / self.divisor)

    def derivative(self, x: Array) -> Array:
        """Return 1 / divisor."""
        return 1 / self.divisor + 0 * x

    def shape(self, *shapes: Shape) -> Shape:
        """Return the broadcast shape."""
        return np.broadcast_shapes(*shapes, np.shape(self.divisor))

    def nonneg(self, *flags: bool) -> bool:
        """Return whether dividend and divisor are >= 0."""
        return flags[0] and bool(np.all(np.asarray(self.divisor) > 0))


def _like(x: Array, parameter: Any) -> Array:
    """Return a scale or zero point as an array of the namespace and dtype of x."""
    if x.dtype == object or is_symbolic(x):
        return parameter
    return namespace(x).asarray(parameter, dtype=x.dtype)


def _quotient(x: Array, scale: Array) -> Array:
    """Return x / scale as float32 has it."""
    if x.dtype != np.float64 or is_symbolic(x):
        return x / scale
    xp = namespace(x)
    return xp.astype(xp.astype(x, xp.float32) / xp.astype(scale, xp.float32), x.dtype)


def bounds_through(function: Callable[..., float], *given: Bounds) -> Bounds:
    """Return the bounds of a function that is monotone in each operand: its extremes lie at theirs."""
    corners: list[tuple[float, ...]] = [()]
    for bound in given:
        corners = [(*c, end) for c in corners for end in bound]
    found = [function(*c) for c in corners]
    return min(found), max(found)
