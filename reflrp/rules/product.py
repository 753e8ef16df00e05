"""The rules for products of two values: Mul, MatMul, Einsum.

They are called as the linear rules are, `rule(op, x, y, R)`, with both operands in the tuple x, and return the relevance
of both: ZERO for an operand that gets none. `op.left(s, y)` and `op.right(x, s)` are the product's transposes in its two
operands, `op.ratio(R, z, stabilizer)` is R / st(z), which also enters in the ledger what the stabiliser keeps. An
operand may carry no relevance itself (`op.active`): a mask, a position, a constant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from reflrp.arrays import ZERO, Array, add, neg, pos, unbroadcast
from reflrp.errors import RuleError
from reflrp.ground.checks import shown
from reflrp.ir import Node
from reflrp.ops.product import Multiply, Product
from reflrp.ops.stabilizer import StabilizerLike, check_epsilon, check_stabilizer
from reflrp.rules.base import Rule, check_choice

Parts = tuple[Any, Any]
"""The relevance of both operands."""


@dataclass(frozen=True)
class Half(Rule):
    """A product's relevance in equal parts to both operands.

    Mul:     R_x = R / 2, R_y = R / 2 (summed where an operand was broadcast).
    MatMul:  R_x = x * (s y^T), R_y = y * (x^T s), s = R / st(2 z).
    An operand that carries no relevance leaves all of it to the other; over="all" gives it its half all the same.

    Conserves (MatMul up to the stabiliser). Source: Achtibat et al. 2024, as Taylor. Clauses: PROD-1, PROD-2.
    """

    stabilizer: StabilizerLike = 1e-6
    over: Literal["active", "all"] = "active"
    serves: ClassVar[frozenset[str]] = frozenset({"product"})

    def __post_init__(self) -> None:
        """Check the fields."""
        check_stabilizer(self.stabilizer)
        check_choice("over", self.over, ("active", "all"))

    def __call__(self, op: Product, x: tuple[Array, Array], y: Array, R: Array) -> Parts:
        """Return the relevance of both operands."""
        if isinstance(op, Multiply):
            return Uniform(self.over)(op, x, y, R)
        to = _receivers(op, self.over)
        return _pull(op, x, op.ratio(R, sum(to) * y, self.stabilizer), to)


@dataclass(frozen=True)
class SignalTakesAll(Rule):
    """All of a product's relevance to the signal, none to the gate:  R_signal = R, R_gate = 0.

    signal: 0 or 1 for the operand; "auto" for the one that is less of a gate, where one comes out of a sigmoid or
    softmax (most of a gate) or a tanh; "activated" also where one comes out of another activation (the gate of a
    SwiGLU). Where both are equal, and where only one carries relevance (the other is a mask), `Half`.
    For MatMul, LRP-epsilon with the gate as the weight.

    Conserves (MatMul up to the stabiliser). Source: Arras et al., "Explaining Recurrent Neural Network Predictions in
    Sentiment Analysis", WASSA 2017. Clauses: PROD-3.
    """

    signal: Literal[0, 1, "auto", "activated"] = "auto"
    stabilizer: StabilizerLike = 1e-6
    serves: ClassVar[frozenset[str]] = frozenset({"product"})

    def __post_init__(self) -> None:
        """Check the fields."""
        if type(self.signal) not in (int, str) or self.signal not in (0, 1, "auto", "activated"):
            raise RuleError(f"signal={shown(self.signal)} is unknown; use 0 or 1 or 'auto' or 'activated'")
        check_stabilizer(self.stabilizer)

    def __call__(self, op: Product, x: tuple[Array, Array], y: Array, R: Array) -> Parts:
        """Return the relevance of both operands."""
        if isinstance(self.signal, str):
            gate = op.gate(2 if self.signal == "auto" else 1)
            if gate is None or not all(op.active):
                return Half(self.stabilizer)(op, x, y, R)
            signal = 1 - gate
        else:
            signal = self.signal
        return Half(self.stabilizer)(replace(op, active=(signal == 0, signal == 1)), x, y, R)


@dataclass(frozen=True)
class Uniform(Rule):
    """A Mul's relevance in equal parts, whatever the operands' sizes:  R_x = R / n, R_y = R / n.

    Summed where an operand was broadcast. over="active" counts the operands that carry relevance, "all" both.
    Conserves; with over="all" the ledger books what an operand without relevance gets as what a bias takes.
    Source: Achtibat et al. 2024, as Taylor. Clauses: PROD-1.
    """

    over: Literal["active", "all"] = "active"
    serves: ClassVar[frozenset[str]] = frozenset({"product"})
    only: ClassVar[str] = "elementwise products"

    def __post_init__(self) -> None:
        """Check the field."""
        check_choice("over", self.over, ("active", "all"))

    def fits(self, node: Node) -> bool:
        """Return whether the node is an elementwise product."""
        return isinstance(node.op, Multiply)

    def __call__(self, op: Product, x: tuple[Array, Array], y: Array, R: Array) -> Parts:
        """Return the relevance of both operands."""
        to = _receivers(op, self.over)
        one, two = (unbroadcast(R / sum(to), shape) for shape in op.sources)
        return one if to[0] else ZERO, two if to[1] else ZERO


@dataclass(frozen=True)
class EpsilonUniform(Rule):
    """LRP-epsilon on a product, in equal parts:  R_x = x * left(s, y), R_y = y * right(x, s), s = R / (n st(z)).

    n is the number of operands that carry relevance. Half has the stabiliser on 2 z, this one on z.
    Conserves up to the stabiliser. Source: Achtibat et al. 2024, as Taylor. Clauses: PROD-4.
    """

    stabilizer: StabilizerLike = 1e-6
    serves: ClassVar[frozenset[str]] = frozenset({"product"})

    def __post_init__(self) -> None:
        """Check the fields."""
        check_stabilizer(self.stabilizer)

    def __call__(self, op: Product, x: tuple[Array, Array], y: Array, R: Array) -> Parts:
        """Return the relevance of both operands."""
        return _pull(op, x, op.ratio(R, y, self.stabilizer) / sum(op.active), op.active)


@dataclass(frozen=True)
class ProductAlphaBeta(Rule):
    """LRP-alpha-beta on a product, in equal parts to its operands.

    With (x y)+ the positive contributions x+ y+ + x- y- and (x y)- the negative ones x+ y- + x- y+,
    R_x = 1/n (alpha sum (x y)+ R / st(z+)  -  beta sum (x y)- R / st(z-)), and R_y likewise, for the n operands that
    carry relevance. alpha 1, beta 0 is the z+ form.

    Conserves up to the stabiliser, which keeps the share of a part that is empty. Raises RuleError unless
    alpha - beta = 1. Clauses: PROD-5.
    """

    alpha: float = 1.0
    beta: float = 0.0
    stabilizer: StabilizerLike = 1e-6
    serves: ClassVar[frozenset[str]] = frozenset({"product"})

    def __post_init__(self) -> None:
        """Check the fields."""
        check_stabilizer(self.stabilizer)
        check_epsilon(self.alpha, "alpha")
        check_epsilon(self.beta, "beta")
        if self.alpha - self.beta != 1 or self.beta < 0:
            raise RuleError(f"alpha - beta must be 1 and beta >= 0, not alpha={self.alpha}, beta={self.beta}")

    def __call__(self, op: Product, x: tuple[Array, Array], y: Array, R: Array) -> Parts:
        """Return the relevance of both operands."""
        (ap, an), (bp, bn) = (pos(x[0]), neg(x[0])), (pos(x[1]), neg(x[1]))
        excited = self._share(op, self.alpha * R, ((ap, bp), (an, bn)))
        if self.beta == 0:
            return excited
        inhibited = self._share(op, -self.beta * R, ((ap, bn), (an, bp)))
        return add(excited[0], inhibited[0]), add(excited[1], inhibited[1])

    def _share(self, op: Product, R: Array, pairs: tuple[tuple[Array, Array], ...]) -> Parts:
        z = op.forward(*pairs[0]) + op.forward(*pairs[1])
        s = op.ratio(R, z, self.stabilizer) / sum(op.active)
        one, two = (_pull(op, pair, s, op.active) for pair in pairs)
        return add(one[0], two[0]), add(one[1], two[1])


def _receivers(op: Product, over: str) -> tuple[bool, bool]:
    """Return which operands share: those that carry relevance (over="active"), or both."""
    return op.active if over == "active" else (True, True)


def _pull(op: Product, x: tuple[Array, Array], s: Array, to: tuple[bool, bool]) -> Parts:
    """Return each receiver's contributions times s: x_i J_i^T s."""
    return x[0] * op.left(s, x[1]) if to[0] else ZERO, x[1] * op.right(x[0], s) if to[1] else ZERO
