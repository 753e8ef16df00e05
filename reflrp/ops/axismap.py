"""Linear maps by one fixed matrix an axis: Resize (linear, cubic), CumSum, and other separable operators."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import numpy as np

from reflrp.arrays import Array, namespace
from reflrp.ir import Shape
from reflrp.ops.linear import LinearMap


@dataclass(frozen=True, eq=False)
class AxisMap(LinearMap):
    """z = a with `matrices[i]` applied along `axes[i]`. Shapes: each matrix (out, in); `w` is the scalar 1."""

    kind: ClassVar[str] = "pool"
    axes: tuple[int, ...] = field(kw_only=True)
    matrices: tuple[Array, ...] = field(kw_only=True)

    def apply(self, x: Array, w: Array) -> Array:
        """Return x with each matrix applied along its axis."""
        for axis, matrix in zip(self.axes, self.matrices, strict=True):
            x = _along(x, matrix, axis)
        return x * w

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return s with each transposed matrix applied along its axis."""
        for axis, matrix in zip(self.axes, self.matrices, strict=True):
            s = _along(s, namespace(matrix).matrix_transpose(matrix), axis)
        return s * w

    def work(self, out: Shape, *shapes: Shape) -> float:
        """Return each entry of the larger side times its matrix's other side."""
        return float(max(prod(out), prod(shapes[0])) * sum(max(m.shape) for m in self.matrices))

    def shape(self, *shapes: Shape) -> Shape:
        """Return the input's shape with the axes in their new lengths."""
        lengths = {axis: m.shape[0] for axis, m in zip(self.axes, self.matrices, strict=True)}
        return tuple(lengths.get(i, n) for i, n in enumerate(shapes[0]))

    def takes(self, *shapes: Shape) -> int:
        """Return the size of the largest array between one axis and the next, forwards or backwards."""
        forwards, backwards = list(shapes[0]), list(self.shape(*shapes))
        largest = 0
        for axis, matrix in zip(self.axes, self.matrices, strict=True):
            forwards[axis], backwards[axis] = matrix.shape
            largest = max(largest, prod(forwards), prod(backwards))
        return largest

    def nonneg(self, *flags: bool) -> bool:
        """Return whether the input and all matrices are >= 0."""
        return flags[0] and all(bool(np.all(np.asarray(m) >= 0)) for m in self.matrices)

    @property
    def parameters(self) -> int:
        """A resampling has none."""
        return 0

    def describe(self) -> str:
        """Return the axes with their lengths."""
        pairs = zip(self.axes, self.matrices, strict=True)
        return ", ".join(f"axis {a}: {m.shape[1]} -> {m.shape[0]}" for a, m in pairs)


def _along(x: Array, matrix: Array, axis: int) -> Array:
    """Return the matrix applied along one axis of x."""
    xp = namespace(x)
    return xp.moveaxis(xp.matmul(xp.moveaxis(x, axis, -1), xp.matrix_transpose(matrix)), -1, axis)
