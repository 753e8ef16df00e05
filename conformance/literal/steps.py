"""What a node is at the observed input. All entries of a value, batch and all, are numbered in row-major order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

Shape = tuple[int, ...]
Numbers = list[Any]
"""Fractions; None is -infinity, which only a mask adds and a softmax takes."""


class Term(NamedTuple):
    """One input of one output: entry j of an operand, the share that the geometry fixes, and the parameter.

    The coefficient is share * parameter. A pool of n entries has the share 1/n and the parameter 1; rules clip, square
    and replace parameters.
    """

    operand: int
    j: int
    share: Fraction
    parameter: Fraction

    @property
    def w(self) -> Fraction:
        """The coefficient."""
        return self.share * self.parameter


@dataclass(frozen=True)
class Linear:
    """z_k = sum of w_jk a_j over the terms of k, plus b_k. `kind`: dense, conv, diagonal, sum, pool or max."""

    kind: str
    rows: list[list[Term]]
    bias: Numbers
    shape: Shape

    def forward(self, a: list[Numbers]) -> Numbers:
        """Return z; a bias of -infinity, None, makes it so."""
        return [
            b if b is None else sum((t.w * a[t.operand][t.j] for t in row), b)
            for row, b in zip(self.rows, self.bias, strict=True)
        ]


@dataclass(frozen=True)
class Routing:
    """Each output is one entry of one operand, or the constant of `fixed`."""

    source: list[tuple[int, int] | None]
    fixed: Numbers
    shape: Shape


@dataclass(frozen=True)
class Pointwise:
    """y = f(x) entry by entry, with its slope."""

    f: Callable[[Fraction], Fraction]
    slope: Callable[[Fraction], Fraction]
    shape: Shape
    gate: int = 0


@dataclass(frozen=True)
class Product:
    """z_k = sum of x_i y_j over the pairs (i, j) of k: products of two values, elementwise or of matrices."""

    pairs: list[list[tuple[int, int]]]
    shape: Shape
    elementwise: bool


@dataclass(frozen=True)
class Normaliser:
    """Entries in groups that are normalised together: softmax, or (x - m) / sigma times scale plus bias.

    `forward` gives a group's results, `jacobian` its J[k][j] = d y_k / d x_j; `held` the same with the statistic sigma
    constant, which is linear: y = held x + b.
    """

    groups: list[list[int]]
    forward: Callable[[Numbers, list[int]], Numbers]
    jacobian: Callable[[Numbers, list[int]], list[Numbers]]
    shape: Shape
    held: Callable[[Numbers, list[int]], tuple[list[Numbers], Numbers]] | None = None


Step = Linear | Routing | Pointwise | Product | Normaliser


@dataclass(frozen=True)
class Site:
    """One ONNX node with what it reads: attributes, shapes of its operands, and the constants among them."""

    name: str
    op: str
    attributes: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: tuple[Shape, ...]
    constants: dict[int, np.ndarray]
    values: dict[int, np.ndarray]

    def constant(self, place: int) -> np.ndarray | None:
        """Return the constant at an operand, or None."""
        return self.constants.get(place)

    def get(self, name: str, default: Any) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)


def numbered(shape: Shape) -> np.ndarray:
    """Return the entries' numbers in row-major order."""
    return np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)
