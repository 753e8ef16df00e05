"""The rules for pointwise functions, maxima and normalisers.

They are called as the linear rules are, `rule(op, x, y, R)`: the op, its input, its output, and the relevance of the
output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from reflrp.arrays import ZERO, Array, namespace, pos, where
from reflrp.ir import LINEAR, Node, Op
from reflrp.ops.linear import LinearMap
from reflrp.ops.normaliser import Normaliser, Softmax
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import Product
from reflrp.ops.stabilizer import StabilizerLike, check_epsilon, check_stabilizer, ratio
from reflrp.rules.base import Rule, check_choice


@dataclass(frozen=True)
class Pass(Rule):
    """Relevance unchanged:  R_j = R_j. For functions of one input whose output has its shape.

    Conserves. Raises RuleError (when it is assigned) on any other node. Clauses: PASS-1.
    """

    serves: ClassVar[frozenset[str]] = frozenset(
        {"pointwise", "normaliser", "diagonal", "dense", "conv", "pool", "max"}
    )

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

    def __call__(self, op: Op, x: Any, y: Array, R: Array) -> Any:
        """Return the transposed Jacobian at x, applied to R."""
        if isinstance(op, LinearMap):
            return op.T(R, op.w)
        if isinstance(op, Product):
            return op.left(R, x[1]) if op.active[0] else ZERO, op.right(x[0], R) if op.active[1] else ZERO
        if isinstance(op, Normaliser):
            return op.vjp(x, y, R)
        return R * op.derivative(x)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class WinnerTakesAll(Rule):
    """All relevance to the maximum, the first one where several are equal.

    Conserves. Clauses: POOL-1, POOL-2.
    """

    serves: ClassVar[frozenset[str]] = frozenset({"max"})
    multiple: ClassVar[bool] = True

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
    only: ClassVar[str] = "Softmax"
    conserves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the field."""
        check_choice("over", self.over, ("own", "last"))

    def fits(self, node: Node) -> bool:
        """Return whether the node is a Softmax."""
        return isinstance(node.op, Softmax)

    def __call__(self, op: Softmax, x: Array, y: Array, R: Array) -> Array:
        """Return x (R - p sum R)."""
        xp = namespace(x)
        share = R - y * xp.sum(R, axis=op.axes if self.over == "own" else -1, keepdims=True)
        return where(xp.isfinite(x), x, 0 * y) * share


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
