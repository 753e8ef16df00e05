"""Products of two values: Mul and MatMul. Bilinear, so that each operand has a transpose."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

from reflrp.arrays import Array, inner, namespace, total, unbroadcast
from reflrp.arrays.counting import Extent, laid
from reflrp.arrays.products import matmul
from reflrp.arrays.tracing.dims import broadcast_shapes
from reflrp.ir import Op, Shape
from reflrp.ops.linear import Absorbed
from reflrp.ops.stabilizer import StabilizerLike, ratio


@dataclass(frozen=True, eq=False)
class Product(Op):
    """z = x times y. `active[i]` says whether operand i carries relevance, `gates[i]` how much of a gate it is.

    3: out of a sigmoid or softmax; 2: out of a tanh; 1: out of another activation; 0: none of these.
    `absorbed` is where `ratio` writes down what stays in the node; None while nobody keeps a ledger.
    """

    kind: ClassVar[str] = "product"
    sources: tuple[Shape, Shape]
    active: tuple[bool, bool] = (True, True)
    gates: tuple[int, int] = (0, 0)
    absorbed: list[Absorbed] | None = field(default=None, kw_only=True, repr=False)

    def gate(self, least: int = 2) -> int | None:
        """Return which operand is the gate: the one that is more of a gate, and at least that much; else None."""
        one, two = self.gates
        return None if one == two or max(one, two) < least else 0 if one > two else 1

    def left(self, s: Array, y: Array) -> Array:
        """Return the transpose in the first operand: <x times y, s> = <x, left(s, y)>."""
        raise NotImplementedError

    def right(self, x: Array, s: Array) -> Array:
        """Return the transpose in the second operand: <x times y, s> = <y, right(x, s)>."""
        raise NotImplementedError

    def ratio(self, R: Array, z: Array, stabilizer: StabilizerLike) -> Array:
        """Return R / st(z), and enter in the ledger what the stabiliser keeps of R."""
        s = ratio(R, z, stabilizer)
        if self.absorbed is not None:
            self.absorbed.append(Absorbed(0, total(R) - inner(z, s)))
        return s

    def nonneg(self, *flags: bool) -> bool:
        """Return whether both operands are >= 0."""
        return all(flags)


@dataclass(frozen=True, eq=False)
class Multiply(Product):
    """z = x * y, elementwise with broadcasting."""

    @property
    def _out(self) -> Extent:
        """The output's shape: a part that is 0 everywhere is a constant of one entry along open lengths."""
        return Extent(broadcast_shapes(*self.sources))

    def forward(self, *xs: Array) -> Array:
        """Return x * y."""
        return xs[0] * xs[1]

    def left(self, s: Array, y: Array) -> Array:
        """Return s * y, summed where x was broadcast."""
        return unbroadcast(laid(s * y, self._out), self.sources[0])

    def right(self, x: Array, s: Array) -> Array:
        """Return x * s, summed where y was broadcast."""
        return unbroadcast(laid(x * s, self._out), self.sources[1])

    def shape(self, *shapes: Shape) -> Shape:
        """Return the broadcast shape."""
        return broadcast_shapes(*shapes)


@dataclass(frozen=True, eq=False)
class MatrixProduct(Product):
    """z = x @ y over the last two axes, with broadcasting of the others."""

    def forward(self, *xs: Array) -> Array:
        """Return x @ y."""
        return matmul(xs[0], xs[1])

    def left(self, s: Array, y: Array) -> Array:
        """Return s y^T, summed where x was broadcast."""
        return unbroadcast(matmul(s, namespace(y).matrix_transpose(y)), self.sources[0])

    def right(self, x: Array, s: Array) -> Array:
        """Return x^T s, summed where y was broadcast."""
        return unbroadcast(matmul(namespace(x).matrix_transpose(x), s), self.sources[1])

    def work(self, out: Shape, *shapes: Shape) -> float:
        """Return rows * inner * columns."""
        return float(prod(out) * shapes[0][-1])

    def takes(self, *shapes: Shape) -> int:
        """Return the size of the larger transpose before it is summed, where one operand is broadcast."""
        *lead, rows, columns = self.shape(*shapes)
        return prod(lead) * shapes[0][-1] * max(rows, columns) if shapes[0][:-2] != shapes[1][:-2] else 0

    def shape(self, *shapes: Shape) -> Shape:
        """Return (..., rows of x, columns of y)."""
        lead = broadcast_shapes(shapes[0][:-2], shapes[1][:-2])
        return (*lead, shapes[0][-2], shapes[1][-1])
