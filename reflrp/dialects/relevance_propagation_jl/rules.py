"""RelevancePropagation.jl's rules: its names, its arguments, its numbers.

Most share R by a * J^T (R / j(z)) with j(z) = z + epsilon sgn z, sgn 0 = +1, and epsilon Float32's 1e-9. A layer with
weights is taken without its activation. Other layers (pools, BatchNorm, activations on their own) are taken as they are,
with it: `fused` says what that changes. ZBoxRule and GeneralizedGammaRule read the activated output, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from reflrp import rules as r
from reflrp.arrays import ZERO, Array, add, full_like, namespace, neg, pos, where
from reflrp.errors import RuleError
from reflrp.ground.checks import shown
from reflrp.ir import LINEAR, WEIGHTED, Node
from reflrp.ops.linear import Diagonal, LinearMap
from reflrp.ops.norms import Standardise
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.stabilizer import check_epsilon, ratio

STABILIZER = float(np.float32(1e-9))
EPSILON = float(np.float32(1e-6))


class JuliaRule(r.Rule):
    """What these rules share; `composites.py` says what a bare one means as `rules=`."""

    serves: ClassVar[frozenset[str]] = frozenset({*WEIGHTED, "diagonal"})
    only: ClassVar[str] = "layers with weight and bias (dense, conv, scales)"
    multiple: ClassVar[bool] = True
    as_it_is: ClassVar[bool] = False
    stabilizer: Any = STABILIZER

    def fits(self, node: Node) -> bool:
        """Return whether the node is a layer with weight and bias."""
        return node.kind in WEIGHTED or (node.kind == "diagonal" and node.op_type != "BatchNormalization")

    def fused(self, node: Node) -> bool:
        """Return whether the rule sees the activation that the layer has."""
        return False

    def through(self, op: Any, a: Array, z: Array, R: Array, activation: Pointwise) -> Array:
        """Return the relevance of the input of a layer whose output is activation(z)."""
        raise NotImplementedError


@dataclass(frozen=True)
class ZeroRule(JuliaRule):
    """R_j = a_j sum_k w_jk R_k / j(z_k),  z = a w + b; on a function a f'(a) R / j(f(a)). Stands on any layer."""

    serves: ClassVar[frozenset[str]] = frozenset({*LINEAR, "pointwise", "normaliser"})
    only: ClassVar[str] = ""

    def fits(self, node: Node) -> bool:
        """Return whether the node is a layer."""
        return node.kind in self.serves

    def fused(self, node: Node) -> bool:
        """Return whether the layer has no weights, and so keeps its activation."""
        return not JuliaRule.fits(self, node)

    def __call__(self, op: Any, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        rule = r.Norm(self.stabilizer) if isinstance(op, LinearMap) else r.Ratio(self.stabilizer)
        return rule(op, a, z, R)

    def through(self, op: Any, a: Array, z: Array, R: Array, activation: Pointwise) -> Array:
        """Return a * J^T (R / j(f(z))), J being that of f(z)."""
        s = activation.derivative(z) * ratio(R, activation.forward(z), self.stabilizer)
        return a * (op.T(s, op.w) if isinstance(op, LinearMap) else op.vjp(a, z, s))


@dataclass(frozen=True)
class EpsilonRule(ZeroRule):
    """The same with epsilon."""

    epsilon: Any = EPSILON

    def __post_init__(self) -> None:
        """Check the field."""
        check_epsilon(self.epsilon)

    @property
    def stabilizer(self) -> Any:
        """The stabiliser."""
        return self.epsilon


@dataclass(frozen=True)
class GammaRule(JuliaRule):
    """w + gamma w+ and b + gamma b+ in place of w and b; the input keeps its sign."""

    gamma: Any = 0.25

    def __post_init__(self) -> None:
        """Check the field."""
        check_epsilon(self.gamma, "gamma")

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        return r.Gamma(self.gamma, stabilizer=self.stabilizer)(L, a, z, R)


@dataclass(frozen=True)
class GeneralizedGammaRule(JuliaRule):
    """The generalised gamma rule; which side of 0 an output stands on is read behind its activation.

    So behind a ReLU, what arrives at an output that is off is dropped.
    """

    gamma: Any = 0.25

    def __post_init__(self) -> None:
        """Check the field."""
        check_epsilon(self.gamma, "gamma")

    def fused(self, node: Node) -> bool:
        """Return True: the rule reads the activated output."""
        return True

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        return r.Gamma(self.gamma, generalized=True, stabilizer=self.stabilizer)(L, a, z, R)

    def through(self, op: Any, a: Array, z: Array, R: Array, activation: Pointwise) -> Array:
        """Return the same, with the signs of f(z) in place of those of z."""
        y = activation.forward(z)
        return self(op, a, y, where(y == 0, 0 * R, R))


@dataclass(frozen=True)
class WSquareRule(JuliaRule):
    """R_j = sum_k w_jk^2 R_k / j(sum_j w_jk^2), without bias."""

    multiple: ClassVar[bool] = False

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        return r.WSquare(stabilizer=self.stabilizer)(L, a, z, R)


@dataclass(frozen=True)
class FlatRule(JuliaRule):
    """In equal parts to all inputs; on a dense layer without a stabiliser."""

    multiple: ClassVar[bool] = False

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        return r.Flat(0.0 if L.kind == "dense" else self.stabilizer)(L, a, z, R)


@dataclass(frozen=True)
class AlphaBetaRule(JuliaRule):
    """alpha (a w)+ / j(z+) - beta (a w)- / j(z-), with b+ in z+ and b- in z-. Raises RuleError unless alpha - beta = 1."""

    alpha: Any = 2.0
    beta: Any = 1.0

    def __post_init__(self) -> None:
        """Check the fields."""
        r.AlphaBeta(self.alpha, self.beta)

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        return r.AlphaBeta(self.alpha, self.beta, stabilizer=self.stabilizer)(L, a, z, R)


@dataclass(frozen=True)
class ZPlusRule(JuliaRule):
    """The same with alpha 1, beta 0: the bias b+ is in the denominator."""

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        return r.ZPlus(stabilizer=self.stabilizer)(L, a, z, R)


@dataclass(frozen=True)
class ZBoxRule(JuliaRule):
    """(a w - low w+ - high w-) R / j(f(z) - low w+ - b+ - high w- - b-), where f is the layer's activation.

    Its derivative goes with the first term only. Without an activation it is the rule of the papers. `low` and `high` are
    numbers, or arrays of the input's size.
    """

    multiple: ClassVar[bool] = False
    low: Any
    high: Any

    def __post_init__(self) -> None:
        """Check the bounds."""
        r.ZBox(self.low, self.high)

    def fused(self, node: Node) -> bool:
        """Return True: the rule reads the activated output."""
        return True

    def _bounds(self, a: Array) -> tuple[Array, Array]:
        for name, bound in (("low", self.low), ("high", self.high)):
            if getattr(bound, "ndim", 0) and tuple(bound.shape) not in (a.shape, a.shape[1:]):
                raise RuleError(f"{name} must be a number or an array of the input's size, not {shown(bound)}")
        return full_like(a, self.low), full_like(a, self.high)

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        return self._shared(L, a, z, R, 1)

    def through(self, op: Any, a: Array, z: Array, R: Array, activation: Pointwise) -> Array:
        """Return the same with f(z) in the denominator and f'(z) on the way back of the first term."""
        return self._shared(op, a, activation.forward(z), R, activation.derivative(z))

    def _shared(self, L: LinearMap, a: Array, y: Array, R: Array, slope: Any) -> Array:
        (low, high), wp, wn = self._bounds(a), L.weights(pos), L.weights(neg)
        b = add(pos(L.b), neg(L.b))
        s = L.ratio(R, add(y, -L(low, wp), -L(high, wn), ZERO if b is ZERO else -b), self.stabilizer)
        return add(L.pull(a, slope * s, L.w), -L.pull(low, s, wp), -L.pull(high, s, wn))


@dataclass(frozen=True)
class PassRule(JuliaRule, r.Pass):
    """R_j = R_j, on a layer that keeps the shape."""

    only: ClassVar[str] = ""
    serves: ClassVar[frozenset[str]] = r.Pass.serves
    multiple: ClassVar[bool] = False

    def fits(self, node: Node) -> bool:
        """Return whether the node keeps the shape of one input."""
        return r.Pass.fits(self, node)


@dataclass(frozen=True)
class LayerNormRule(JuliaRule):
    """R_j = a_j (s_j - mean s),  s = Q / j(a - mean a): the deviation held constant.

    Without scale and shift Q = R. With them, the scale's ZeroRule comes before: Q = n w R / j(n w + b), where n is the
    normalised input as the network has it. (Flux divides by sigma + epsilon, ONNX by sqrt(sigma^2 + epsilon).) On a layer
    with weights it is ZeroRule.
    """

    serves: ClassVar[frozenset[str]] = frozenset({*WEIGHTED, "diagonal", "normaliser"})
    only: ClassVar[str] = "LayerNorm, and layers with weight and bias"

    def fits(self, node: Node) -> bool:
        """Return whether the node is a LayerNorm, or a layer with weight and bias."""
        norm = isinstance(node.op, Standardise) and node.op.center and node.op.grouped is None
        return norm or JuliaRule.fits(self, node)

    def fused(self, node: Node) -> bool:
        """Return whether the node is a LayerNorm: one with an activation has a scale, if only of ones."""
        return isinstance(node.op, Standardise)

    def __call__(self, op: Any, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        if not isinstance(op, Standardise):
            return ZeroRule()(op, a, z, R)
        plain = bool(np.all(np.asarray(op.w) == 1) and np.all(np.asarray(op.b) == 0))
        return self._normalised(op, a, R if plain else (z - op.b) * ratio(R, z, STABILIZER))

    def through(self, op: Any, a: Array, z: Array, R: Array, activation: Pointwise) -> Array:
        """Return the same where the LayerNorm has an activation, and so a scale."""
        return self._normalised(op, a, (z - op.b) * ratio(R, z, STABILIZER))

    @staticmethod
    def _normalised(op: Standardise, a: Array, Q: Array) -> Array:
        xp = namespace(a)
        s = ratio(Q, a - xp.mean(a, axis=op.axes, keepdims=True), STABILIZER)
        return a * (s - xp.mean(s, axis=op.axes, keepdims=True))


def is_scale(node: Node) -> bool:
    """Return whether a node is Flux's Scale: a product with, or a sum of, constants."""
    return isinstance(node.op, Diagonal) and node.op_type != "BatchNormalization"
