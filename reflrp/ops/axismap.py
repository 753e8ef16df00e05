"""Linear maps by one fixed matrix an axis: Resize (linear, cubic), CumSum, and other separable operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import ClassVar

import numpy as np

from reflrp.arrays import ZERO, Array, is_symbolic, namespace, neg, ones_like, pos, square, where
from reflrp.errors import RuleError
from reflrp.ir import Shape
from reflrp.ops.linear import LinearMap, vanishes

Function = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class AxisMap(LinearMap):
    """z = a with a matrix applied along each of `axes`: the coefficient of an input is a product of one entry an axis.

    Shapes: w (axes, rows, columns) holds the matrices, each of `lengths[i]` rows and as many columns as its axis has
    entries, filled up with zeros. What a rule makes of the coefficients (w+, w^2 ...) need not be such a product, but is a
    sum of several: `weights` returns them stacked, (terms, axes, rows, columns), and `apply` takes either.

    Where a coefficient is 0, there is no connection; so Flat's ones are ones where a coefficient is not 0.
    """

    kind: ClassVar[str] = "pool"
    axes: tuple[int, ...] = field(kw_only=True)
    lengths: Shape = field(kw_only=True)

    def apply(self, x: Array, w: Array) -> Array:
        """Return x with each matrix applied along its axis, summed over the terms."""
        return self._summed(x, w, transposed=False)

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return s with each transposed matrix applied along its axis, summed over the terms."""
        return self._summed(s, w, transposed=True)

    def _summed(self, x: Array, w: Array, *, transposed: bool) -> Array:
        terms = [w] if w.ndim == 3 else [w[t, ...] for t in range(w.shape[0])]
        found = self._term(x, terms[0], transposed)
        for term in terms[1:]:
            found = found + self._term(x, term, transposed)
        return found

    def _term(self, x: Array, w: Array, transposed: bool) -> Array:
        for i, (axis, rows) in enumerate(zip(self.axes, self.lengths, strict=True)):
            matrix = w[i, :rows, : self.source[axis]]
            x = along(x, namespace(w).matrix_transpose(matrix) if transposed else matrix, axis)
        return x

    def weights(self, function: Function) -> Array:
        """Return function(coefficients) as stacked terms; ZERO where all of it vanishes.

        The function must be the square, a constant 1, or homogeneous: f(c v) = c f(v) for c >= 0, as w+ and w + gamma w+.
        Raises RuleError for any other.
        """
        return self.derived.made(function, lambda: self._made(function))

    def _made(self, function: Function) -> Array:
        xp = namespace(self.w)
        if function is ones_like:
            return xp.stack([where(self.w == 0, 0 * self.w, ones_like(self.w))])
        if function is square:
            return xp.stack([square(self.w)])
        one = ones_like(self.w[:1, :1, :1])
        up, down = function(one), function(-one)
        if not _homogeneous(function, one, up, down):
            raise RuleError(
                f"a rule asks for a function of the coefficients of {self.describe()!r} that is neither homogeneous nor "
                "a square; assign another rule to this node"
            )
        terms = [*self._scaled(up, negative=False), *self._scaled(-down, negative=True)]
        return xp.stack(terms) if terms else ZERO

    def _scaled(self, factor: Array, *, negative: bool) -> list[Array]:
        """Return the terms whose sum is factor times the positive (or the negative) coefficients."""
        if vanishes(factor):
            return []
        xp, found = namespace(self.w), []
        for signs in product((pos, neg), repeat=len(self.axes)):
            parts = [sign(self.w[i : i + 1, ...]) for i, sign in enumerate(signs)]
            if (signs.count(neg) % 2 == 1) == negative and not any(map(vanishes, parts)):
                found.append(xp.concat([parts[0] * factor, *parts[1:]]))
        return found

    def work(self, out: Shape, *shapes: Shape) -> float:
        """Return each entry of the larger side times its matrix's other side."""
        sides = (max(n, self.source[axis]) for axis, n in zip(self.axes, self.lengths, strict=True))
        return float(max(prod(out), prod(shapes[0])) * sum(sides))

    def shape(self, *shapes: Shape) -> Shape:
        """Return the input's shape with the axes in their new lengths."""
        lengths = dict(zip(self.axes, self.lengths, strict=True))
        return tuple(lengths.get(i, n) for i, n in enumerate(shapes[0]))

    def takes(self, *shapes: Shape) -> int:
        """Return the size of the largest array between one axis and the next, forwards or backwards."""
        forwards, backwards = list(shapes[0]), list(self.shape(*shapes))
        largest = 0
        for axis, length in zip(self.axes, self.lengths, strict=True):
            forwards[axis], backwards[axis] = length, self.source[axis]
            largest = max(largest, prod(forwards), prod(backwards))
        return largest

    def nonneg(self, *flags: bool) -> bool:
        """Return whether the input and all matrices are >= 0."""
        return flags[0] and bool(np.all(np.asarray(self.w) >= 0))

    @property
    def parameters(self) -> int:
        """A resampling has none."""
        return 0

    def describe(self) -> str:
        """Return the axes with their lengths."""
        pairs = zip(self.axes, self.lengths, strict=True)
        return ", ".join(f"axis {a}: {self.source[a]} -> {n}" for a, n in pairs)


def axis_map(source: Shape, matrices: Mapping[int, np.ndarray]) -> AxisMap:
    """Return the map that applies a matrix (out, in) along each of some axes."""
    rows, columns = (max(m.shape[i] for m in matrices.values()) for i in (0, 1))
    w = np.zeros((len(matrices), rows, columns))
    for i, m in enumerate(matrices.values()):
        w[i, : m.shape[0], : m.shape[1]] = m
    return AxisMap(w, ZERO, source, axes=tuple(matrices), lengths=tuple(m.shape[0] for m in matrices.values()))


def _homogeneous(function: Function, one: Array, up: Array, down: Array) -> bool:
    """Return whether a function at 2 and -2 is twice what it is at 1 and -1 (a symbolic array does not say)."""
    twice = (function(2 * one), function(-2 * one))
    if is_symbolic(one):
        return True
    return all(bool(namespace(one).all(a == 2 * b)) for a, b in zip(twice, (up, down), strict=True))


def along(x: Array, matrix: Array, axis: int) -> Array:
    """Return the matrix applied along one axis of x."""
    xp = namespace(x)
    return xp.moveaxis(xp.matmul(xp.moveaxis(x, axis, -1), xp.matrix_transpose(matrix)), -1, axis)
