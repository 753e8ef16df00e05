"""Einsum: of a value and a constant a dense map, of two values a product."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from reflrp.arrays import Array, namespace
from reflrp.arrays.counting import Extent, laid
from reflrp.ir import Shape
from reflrp.ops.linear import LinearMap
from reflrp.ops.product import Product


class Equation(NamedTuple):
    """The index letters of both operands and of the result, ellipses written out."""

    left: str
    right: str
    out: str

    def __str__(self) -> str:
        """Return `ab,bc->ac`."""
        return f"{self.left},{self.right}->{self.out}"


def contract(letters: str, other: str, out: str, x: Array, y: Array, sizes: dict[str, int]) -> Array:
    """Return the sum over all letters of x and y that are not in `out`; letters of `out` alone are broadcast."""
    x = laid(x, Extent(tuple(n if c in out else sizes[c] for c, n in zip(letters, x.shape, strict=True))))
    xp = namespace(x)
    known = "".join(c for c in out if c in letters or c in other)
    found = _einsum(f"{letters},{other}->{known}", x, y)
    if known == out:
        return found
    shape = tuple(sizes[c] if c in known else 1 for c in out)
    return xp.broadcast_to(xp.reshape(found, shape), tuple(sizes[c] for c in out))


def _einsum(equation: str, x: Array, y: Array) -> Array:
    xp: Any = namespace(x)
    if hasattr(xp, "einsum"):
        return xp.einsum(equation, x, y, **({"optimize": True} if x.dtype != object else {}))
    return xp.asarray(np.einsum(equation, np.asarray(x), np.asarray(y), optimize=True))


def _sizes(equation: Equation, left: Shape, right: Shape) -> dict[str, int]:
    return dict(zip(equation.left + equation.right, (*left, *right), strict=True))


@dataclass(frozen=True, eq=False)
class DenseEinsum(LinearMap):
    """z = einsum(a, w): a value and a constant. `equation.left` belongs to the value, whichever came first."""

    kind: ClassVar[str] = "dense"
    equation: Equation = field(kw_only=True)

    def apply(self, x: Array, w: Array) -> Array:
        """Return the contraction of x with w."""
        e = self.equation
        return contract(e.left, e.right, e.out, x, w, _sizes(e, self.source, self.w.shape))

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return the contraction of s with w over the output's letters."""
        e = self.equation
        return contract(e.out, e.right, e.left, s, w, _sizes(e, self.source, self.w.shape))

    def work(self, out: Shape, *shapes: Shape) -> float:
        """Return the product of all letters' sizes."""
        return float(prod(_sizes(self.equation, shapes[0], self.w.shape).values()))

    def shape(self, *shapes: Shape) -> Shape:
        """Return the sizes of the output's letters."""
        sizes = _sizes(self.equation, shapes[0], self.w.shape)
        return tuple(sizes[c] for c in self.equation.out)

    def describe(self) -> str:
        """Return the equation."""
        return str(self.equation)


@dataclass(frozen=True, eq=False)
class EinsumProduct(Product):
    """z = einsum(x, y) of two values."""

    equation: Equation = field(kw_only=True)

    @property
    def _lengths(self) -> dict[str, int]:
        return _sizes(self.equation, *self.sources)

    def forward(self, *xs: Array) -> Array:
        """Return the contraction."""
        e = self.equation
        return contract(e.left, e.right, e.out, xs[0], xs[1], self._lengths)

    def left(self, s: Array, y: Array) -> Array:
        """Return the contraction of s with y over the output's letters."""
        e = self.equation
        return contract(e.out, e.right, e.left, s, y, self._lengths)

    def right(self, x: Array, s: Array) -> Array:
        """Return the contraction of x with s over the output's letters."""
        e = self.equation
        return contract(e.out, e.left, e.right, s, x, self._lengths)

    def work(self, out: Shape, *shapes: Shape) -> float:
        """Return the product of all letters' sizes."""
        return float(prod(_sizes(self.equation, *shapes).values()))

    def shape(self, *shapes: Shape) -> Shape:
        """Return the sizes of the output's letters."""
        sizes = _sizes(self.equation, *shapes)
        return tuple(sizes[c] for c in self.equation.out)

    def describe(self) -> str:
        """Return the equation."""
        return str(self.equation)
