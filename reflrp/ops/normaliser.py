"""Normalisers: each output depends on a statistic of a whole axis. Softmax and LogSoftmax.

Clauses: ATT-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from reflrp.arrays import Array, namespace, ones_like, where
from reflrp.ir import Op, Shape


@dataclass(frozen=True, eq=False)
class Normaliser(Op):
    """Base of the normalisers."""

    kind: ClassVar[str] = "normaliser"

    def vjp(self, x: Array, y: Array, s: Array) -> Array:
        """Return the transposed Jacobian at x, applied to s."""
        raise NotImplementedError

    def shape(self, *shapes: Shape) -> Shape:
        """Return the input's shape."""
        return shapes[0]


@dataclass(frozen=True, eq=False)
class Softmax(Normaliser):
    """y = exp(x) / sum exp(x) over `axes`."""

    axes: tuple[int, ...]

    def forward(self, *xs: Array) -> Array:
        """Return the softmax; where all of x is -inf (a row that is masked entirely) it is 0, not NaN."""
        xp = namespace(xs[0])
        top = xp.max(xs[0], axis=self.axes, keepdims=True)
        e = xp.exp(xs[0] - where(top == -np.inf, xp.zeros_like(top), top))
        total = xp.sum(e, axis=self.axes, keepdims=True)
        return e / where(total == 0, ones_like(total), total)

    def vjp(self, x: Array, y: Array, s: Array) -> Array:
        """Return y * (s - sum y s)."""
        return y * (s - namespace(s).sum(y * s, axis=self.axes, keepdims=True))

    def nonneg(self, *flags: bool) -> bool:
        """Probabilities are >= 0."""
        return True

    def describe(self) -> str:
        """Return the axes."""
        return f"axis {','.join(map(str, self.axes))}"


@dataclass(frozen=True, eq=False)
class LogSoftmax(Normaliser):
    """y = x - log sum exp(x) over `axes`."""

    axes: tuple[int, ...]

    def forward(self, *xs: Array) -> Array:
        """Return the log-softmax."""
        xp = namespace(xs[0])
        x = xs[0] - xp.max(xs[0], axis=self.axes, keepdims=True)
        return x - xp.log(xp.sum(xp.exp(x), axis=self.axes, keepdims=True))

    def vjp(self, x: Array, y: Array, s: Array) -> Array:
        """Return s - softmax(x) sum s."""
        xp = namespace(y)
        return s - xp.exp(y) * xp.sum(s, axis=self.axes, keepdims=True)

    def describe(self) -> str:
        """Return the axes."""
        return f"axis {','.join(map(str, self.axes))}"
