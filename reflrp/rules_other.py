"""Rules for the kinds that are no linear map: pointwise functions, maxima, products and normalisers.

They are called as the linear rules are, `rule(op, x, y, R)`: the op, its input (a tuple of two for a product), its
output, and the relevance of the output.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, ClassVar, Literal, Self

import numpy as np

from reflrp.arrays import ZERO, Array, namespace, neg, pos, where
from reflrp.errors import RuleError
from reflrp.ir import LINEAR, Node, Op
from reflrp.linear import LinearMap
from reflrp.normaliser import Normaliser, Softmax
from reflrp.pointwise import Pointwise
from reflrp.product import Multiply, Product
from reflrp.stabilizer import Stabilizer, StabilizerLike, check_epsilon, check_stabilizer, ratio


@dataclass(frozen=True)
class Rule:
    """Base of all rules: frozen data, called with a node's op, input, output and relevance.

    Class attributes: `serves`, the kinds that the rule can stand on; `conserves`, whether bias and stabiliser are all
    that keeps relevance (else the ledger has a column `dropped`); `multiple`, whether the relevance that it gives to
    an input vanishes where the input does.
    """

    serves: ClassVar[frozenset[str]] = frozenset()
    conserves: ClassVar[bool] = True
    multiple: ClassVar[bool] = True

    def __call__(self, op: Any, x: Any, y: Array, R: Array) -> Any:
        """Return the relevance of the input."""
        raise NotImplementedError

    def fits(self, node: Node) -> bool:
        """Return whether the rule can stand on a node."""
        return node.kind in self.serves

    def composite(self) -> Any:
        """Return what this rule means as `rules=`: it on every dense and conv node, its family's defaults elsewhere."""
        from reflrp.composites import uniform

        return uniform(self)

    def exact(self) -> Self:
        """Return the same rule with each float in its fields as the fraction that its digits say: 0.1 is 1/10."""
        return replace(self, **{f.name: _exact(getattr(self, f.name)) for f in fields(self)})


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return Fraction(str(float(value)))
    if isinstance(value, tuple):
        return tuple(map(_exact, value))
    if isinstance(value, Stabilizer):
        return replace(value, epsilon=_exact(value.epsilon))
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return np.vectorize(_exact, otypes=[object])(value)
    return value


@dataclass(frozen=True)
class Pass(Rule):
    """Relevance unchanged:  R_j = R_j. For functions of one input whose output has its shape.

    Conserves. Raises RuleError (when it is assigned) on any other node. Clauses: PASS-1.
    """

    serves: ClassVar[frozenset[str]] = frozenset(
        {"pointwise", "normaliser", "diagonal", "dense", "conv", "pool", "max"}
    )
    multiple: ClassVar[bool] = False

    def __call__(self, op: Op, x: Array, y: Array, R: Array) -> Array:
        """Return R."""
        return R


@dataclass(frozen=True)
class Gradient(Rule):
    """The chain rule:  R_j = sum_k (d y_k / d x_j) R_k. On a node, not a relevance rule: it does not conserve.

    For a maximum it is winner takes all. Clauses: GRAD-1.
    """

    serves: ClassVar[frozenset[str]] = frozenset({*LINEAR, "pointwise", "product", "normaliser"})
    conserves: ClassVar[bool] = False
    multiple: ClassVar[bool] = False

    def __call__(self, op: Op, x: Any, y: Array, R: Array) -> Any:
        """Return the transposed Jacobian at x, applied to R."""
        if isinstance(op, LinearMap):
            return op.T(R, op.w)
        if isinstance(op, Product):
            return op.left(R, x[1]), op.right(x[0], R)
        if isinstance(op, Normaliser):
            return op.vjp(x, y, R)
        return R * op.derivative(x)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class WinnerTakesAll(Rule):
    """All relevance to the maximum, the first one where several are equal.

    Conserves. Clauses: POOL-1, POOL-2.
    """

    serves: ClassVar[frozenset[str]] = frozenset({"max"})

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return R at the winners."""
        return L.T(R, L.w)


@dataclass(frozen=True)
class DeconvNet(Rule):
    """ReLU DeconvNet:  R_j = max(R_j, 0), whatever the input was.

    Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014. Clauses: DECONV-1.
    """

    serves: ClassVar[frozenset[str]] = frozenset({"pointwise"})
    conserves: ClassVar[bool] = False
    multiple: ClassVar[bool] = False

    def __call__(self, op: Pointwise, x: Array, y: Array, R: Array) -> Array:
        """Return R+."""
        return pos(R)


@dataclass(frozen=True)
class GuidedBackprop(Rule):
    """ReLU guided backpropagation:  R_j = R_j where x_j > 0 and R_j > 0, else 0.

    Source: Springenberg et al., "Striving for Simplicity: The All Convolutional Net", ICLR workshop track, 2015.
    Clauses: GUIDED-1.
    """

    serves: ClassVar[frozenset[str]] = frozenset({"pointwise"})
    conserves: ClassVar[bool] = False
    multiple: ClassVar[bool] = False

    def __call__(self, op: Pointwise, x: Array, y: Array, R: Array) -> Array:
        """Return R+ where x > 0."""
        return where(x > 0, pos(R), 0 * R)


@dataclass(frozen=True)
class BetaSmooth(Rule):
    """The gradient of a softplus in place of a ReLU:  R_j = sigmoid(beta x_j) R_j.

    Source: Dombrowski et al., "Explanations can be manipulated and geometry is to blame", NeurIPS 2019.
    Clauses: BETA-1.
    """

    beta: float = 10.0
    serves: ClassVar[frozenset[str]] = frozenset({"pointwise"})
    conserves: ClassVar[bool] = False
    multiple: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the fields."""
        check_epsilon(self.beta, "beta")

    def __call__(self, op: Pointwise, x: Array, y: Array, R: Array) -> Array:
        """Return sigmoid(beta x) R."""
        e = namespace(x).exp(-abs(self.beta * x))
        return R * where(x >= 0, 1 / (1 + e), e / (1 + e))


@dataclass(frozen=True)
class Ratio(Rule):
    """LRP-epsilon on a pointwise function, taken as linear with its slope at x:  R_j = x_j f'(x_j) R_j / st(f(x_j)).

    On a normaliser the same with the transposed Jacobian. It does not conserve. Clauses: RATIO-1.
    """

    stabilizer: StabilizerLike = 1e-6
    serves: ClassVar[frozenset[str]] = frozenset({"pointwise", "normaliser"})
    conserves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the fields."""
        check_stabilizer(self.stabilizer)

    def __call__(self, op: Op, x: Array, y: Array, R: Array) -> Array:
        """Return x times the transposed Jacobian at R / st(y)."""
        return x * Gradient()(op, x, y, ratio(R, y, self.stabilizer))


@dataclass(frozen=True)
class Taylor(Rule):
    """Softmax by its first-order expansion at the input:  R_i = x_i (R_i - p_i sum_j R_j), over the softmax's axis.

    An input of -inf (a mask) gets none. over="last" sums over the last axis, whichever the softmax's is, as LXT and
    lczerolens do. It does not conserve: the ledger calls the difference `dropped`.
    Source: Achtibat et al., "AttnLRP: Attention-Aware Layer-wise Relevance Propagation for Transformers", ICML 2024.
    Clauses: SMAX-1, SMAX-2.
    """

    over: Literal["own", "last"] = "own"
    serves: ClassVar[frozenset[str]] = frozenset({"normaliser"})
    conserves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the field."""
        _check_choice("over", self.over, ("own", "last"))

    def fits(self, node: Node) -> bool:
        """Return whether the node is a Softmax."""
        return isinstance(node.op, Softmax)

    def __call__(self, op: Softmax, x: Array, y: Array, R: Array) -> Array:
        """Return x (R - p sum R)."""
        xp = namespace(x)
        share = R - y * xp.sum(R, axis=op.axes if self.over == "own" else -1, keepdims=True)
        return where(xp.isfinite(x), x, 0 * y) * share


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
    conserves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the fields."""
        check_stabilizer(self.stabilizer)
        _check_choice("over", self.over, ("active", "all"))

    def __call__(self, op: Product, x: tuple[Array, Array], y: Array, R: Array) -> tuple[Any, Any]:
        """Return the relevance of both operands."""
        if isinstance(op, Multiply):
            return Uniform(self.over)(op, x, y, R)
        s = ratio(R, _parts(op, self.over) * y, self.stabilizer)
        return x[0] * op.left(s, x[1]), x[1] * op.right(x[0], s)


def _parts(op: Product, over: str) -> int:
    """Return how many operands share: those that carry relevance (over="active"), or both."""
    return sum(op.active) if over == "active" else 2


def _check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise RuleError(f"{field}={value!r} is unknown; use {' or '.join(map(repr, choices))}")


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
    conserves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.signal not in (0, 1, "auto", "activated"):
            raise RuleError(f"signal={self.signal!r} is unknown; use 0 or 1 or 'auto' or 'activated'")
        check_stabilizer(self.stabilizer)

    def __call__(self, op: Product, x: tuple[Array, Array], y: Array, R: Array) -> tuple[Any, Any]:
        """Return the relevance of both operands."""
        if isinstance(self.signal, str):
            gate = op.gate(2 if self.signal == "auto" else 1)
            if gate is None or not all(op.active):
                return Half(self.stabilizer)(op, x, y, R)
            signal = 1 - gate
        else:
            signal = self.signal
        only = replace(op, active=(signal == 0, signal == 1))
        parts = Half(self.stabilizer)(only, x, y, R)
        return (parts[0], 0 * x[1]) if signal == 0 else (0 * x[0], parts[1])


@dataclass(frozen=True)
class Uniform(Rule):
    """A Mul's relevance in equal parts, whatever the operands' sizes:  R_x = R / n, R_y = R / n.

    Summed where an operand was broadcast. over="active" counts the operands that carry relevance, "all" both.
    Conserves where both carry relevance, or over="active".
    Source: Achtibat et al. 2024, as Taylor. Clauses: PROD-1.
    """

    over: Literal["active", "all"] = "active"
    serves: ClassVar[frozenset[str]] = frozenset({"product"})
    conserves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the field."""
        _check_choice("over", self.over, ("active", "all"))

    def fits(self, node: Node) -> bool:
        """Return whether the node is an elementwise product."""
        return isinstance(node.op, Multiply)

    def __call__(self, op: Product, x: tuple[Array, Array], y: Array, R: Array) -> tuple[Any, Any]:
        """Return the relevance of both operands."""
        ones = namespace(R).ones_like(R)
        R = R / _parts(op, self.over)
        return op.left(R, ones), op.right(ones, R)


@dataclass(frozen=True)
class EpsilonUniform(Rule):
    """LRP-epsilon on a product, in equal parts:  R_x = x * left(s, y), R_y = y * right(x, s), s = R / (n st(z)).

    n is the number of operands that carry relevance. Half has the stabiliser on 2 z, this one on z.
    Conserves up to the stabiliser. Source: Achtibat et al. 2024, as Taylor. Clauses: PROD-4.
    """

    stabilizer: StabilizerLike = 1e-6
    serves: ClassVar[frozenset[str]] = frozenset({"product"})
    conserves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the fields."""
        check_stabilizer(self.stabilizer)

    def __call__(self, op: Product, x: tuple[Array, Array], y: Array, R: Array) -> tuple[Any, Any]:
        """Return the relevance of both operands."""
        s = ratio(R, y, self.stabilizer) / _parts(op, "active")
        return x[0] * op.left(s, x[1]), x[1] * op.right(x[0], s)


@dataclass(frozen=True)
class ProductAlphaBeta(Rule):
    """LRP-alpha-beta on a product, in equal parts to its operands.

    With (x y)+ the positive contributions x+ y+ + x- y- and (x y)- the negative ones x+ y- + x- y+,
    R_x = 1/n (alpha sum (x y)+ R / st(z+)  -  beta sum (x y)- R / st(z-)), and R_y likewise, for the n operands that
    carry relevance. alpha 1, beta 0 is the z+ form. Raises RuleError unless alpha - beta = 1. Where a part is empty, it
    keeps its share.
    Clauses: PROD-5.
    """

    alpha: float = 1.0
    beta: float = 0.0
    stabilizer: StabilizerLike = 1e-6
    serves: ClassVar[frozenset[str]] = frozenset({"product"})
    conserves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the fields."""
        check_stabilizer(self.stabilizer)
        if self.alpha - self.beta != 1 or self.beta < 0:
            raise RuleError(f"alpha - beta must be 1 and beta >= 0, not alpha={self.alpha}, beta={self.beta}")

    def __call__(self, op: Product, x: tuple[Array, Array], y: Array, R: Array) -> tuple[Any, Any]:
        """Return the relevance of both operands."""
        (ap, an), (bp, bn), n = (pos(x[0]), neg(x[0])), (pos(x[1]), neg(x[1])), sum(op.active)
        excited = self._share(op, self.alpha / n * R, ((ap, bp), (an, bn)))
        if self.beta == 0:
            return excited
        inhibited = self._share(op, -self.beta / n * R, ((ap, bn), (an, bp)))
        return excited[0] + inhibited[0], excited[1] + inhibited[1]

    def _share(self, op: Product, R: Array, pairs: tuple[tuple[Array, Array], ...]) -> tuple[Array, Array]:
        z = op.forward(*pairs[0]) + op.forward(*pairs[1])
        s = ratio(R, z, self.stabilizer)
        left = sum(a * op.left(s, b) for a, b in pairs)
        right = sum(b * op.right(a, s) for a, b in pairs)
        return left, right


@dataclass(frozen=True)
class Stop(Rule):
    """No relevance goes on: the ledger's `dropped` keeps it. For a softmax or a gate that is held constant.

    Clauses: STOP-1.
    """

    serves: ClassVar[frozenset[str]] = frozenset({"pointwise", "normaliser"})
    conserves: ClassVar[bool] = False

    def __call__(self, op: Op, x: Array, y: Array, R: Array) -> Array:
        """Return nothing."""
        return ZERO


__all__ = [
    "BetaSmooth",
    "DeconvNet",
    "EpsilonUniform",
    "Gradient",
    "GuidedBackprop",
    "Half",
    "Pass",
    "ProductAlphaBeta",
    "Ratio",
    "Rule",
    "SignalTakesAll",
    "Stop",
    "Taylor",
    "Uniform",
    "WinnerTakesAll",
]
