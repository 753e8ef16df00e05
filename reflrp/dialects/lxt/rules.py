"""LXT's rules by its names: those of `lxt.explicit.rules`, of `lxt.explicit.functional`, and of `lxt.efficient`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from reflrp import rules as r
from reflrp.arrays import ZERO, Array
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ir import LINEAR, WEIGHTED, Node, Op
from reflrp.ops.linear import LinearMap
from reflrp.ops.product import Multiply, Product
from reflrp.ops.stabilizer import check_epsilon, ratio, stabilize
from reflrp.ops.sums import SumAxes


def plain(epsilon: float) -> r.Stabilizer:
    """Return LXT's stabiliser: z + epsilon, whatever the sign of z."""
    return r.Stabilizer(epsilon, "plain")


# ---------------------------------------------------------------- lxt.explicit.rules

IdentityRule = r.Pass
StopRelevanceRule = r.Stop


@dataclass(frozen=True)
class EpsilonRule(r.Rule):
    """LRP-epsilon on any function:  R_i = x_i J_i^T (R / (f(x) + epsilon)), for each operand that carries relevance.

    Of a product each operand gets this in full, so that the sum is twice R, which the ledger calls `dropped`;
    operands="signal" leaves out the gate (attention weights, a gated MLP's gate), behind which CP-LRP stops.
    """

    epsilon: float = 1e-8
    operands: Literal["all", "signal"] = "all"
    serves: ClassVar[frozenset[str]] = frozenset({*LINEAR, "pointwise", "normaliser", "product"})
    conserves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the fields."""
        check_epsilon(self.epsilon)
        checks.choice("operands", self.operands, ("all", "signal"), RuleError)

    def __call__(self, op: Op, x: Any, y: Array, R: Array) -> Any:
        """Return the relevance of the input, or of both operands."""
        if isinstance(op, LinearMap):
            return r.Norm(plain(self.epsilon))(op, x, y, R)
        if isinstance(op, Product):
            return self._of_product(op, x, y, R)
        return r.Ratio(plain(self.epsilon))(op, x, y, R)

    def _of_product(self, op: Product, x: tuple[Array, Array], y: Array, R: Array) -> tuple[Any, Any]:
        s, gate = ratio(R, y, plain(self.epsilon)), op.gate(1)
        left, right = x[0] * op.left(s, x[1]), x[1] * op.right(x[0], s)
        if self.operands == "all":
            return left, right
        if gate is None:
            return left / sum(op.active), right / sum(op.active)
        return (0 * left, right) if gate == 0 else (left, 0 * right)


@dataclass(frozen=True)
class UniformEpsilonRule(r.Rule):
    """R_i = x_i J_i^T (R / (x y + epsilon)) / n, for the n operands of a product that carry relevance."""

    epsilon: float = 1e-6
    serves: ClassVar[frozenset[str]] = frozenset({"product"})

    def __post_init__(self) -> None:
        """Check the field."""
        check_epsilon(self.epsilon)

    def __call__(self, op: Product, x: tuple[Array, Array], y: Array, R: Array) -> tuple[Any, Any]:
        """Return the relevance of both operands."""
        return r.EpsilonUniform(plain(self.epsilon))(op, x, y, R)


@dataclass(frozen=True)
class UniformRule(r.Uniform):
    """R / 2 to both operands of an elementwise product, whether they carry relevance or not."""

    over: Literal["active", "all"] = "all"


# ---------------------------------------------------------------- lxt.explicit.functional


def linear_epsilon(epsilon: float = 1e-6) -> r.Rule:
    """Return LXT's epsilon rule for dense maps:  R_j = x_j sum_k w_jk R_k / (z_k + epsilon), the bias in z."""
    return r.Epsilon(stabilizer=plain(epsilon))


def add2(epsilon: float = 1e-8) -> r.Rule:
    """Return the rule of sums:  R_a = a R / (a + b + epsilon), and R_b likewise."""
    return r.Norm(plain(epsilon))


@dataclass(frozen=True)
class Mul2(r.Rule):
    """mul2:  R / m to each operand of an elementwise product, m of which carry relevance; with a constant, all of R.

    A constant that is added in the same node is add2's:  R_x = w x R / (w x + b + epsilon).
    """

    epsilon: float = 1e-8
    serves: ClassVar[frozenset[str]] = frozenset({"product", "diagonal"})
    conserves: ClassVar[bool] = False

    def fits(self, node: Node) -> bool:
        """Return whether the node is an elementwise product."""
        return isinstance(node.op, Multiply) or node.kind == "diagonal"

    def __call__(self, op: Any, x: Any, y: Array, R: Array) -> Any:
        """Return the relevance of the input, or of both operands."""
        if isinstance(op, Product):
            return r.Uniform("active")(op, x, y, R)
        return R if op.b is ZERO else add2(self.epsilon)(op, x, y, R)


def mul2() -> Mul2:
    """Return the rule of elementwise products."""
    return Mul2()


def matmul(epsilon: float = 1e-8) -> r.Rule:
    """Return the rule of matrix products:  s = R / (2 A B + epsilon);  A * (s B^T), B * (A^T s), always to both."""
    return r.Half(plain(epsilon), over="all")


def softmax(over: Literal["last", "own"] = "last") -> r.Rule:
    """Return the rule of softmax:  x (R - p sum R).

    LXT sums over the last axis, whichever the softmax's is; over="own" sums over that. Temperature and dtype are
    nodes of their own in ONNX.
    """
    return r.Taylor(over)


def layer_norm(epsilon: float = 1e-6) -> r.Rule:
    """Return the rule of LayerNorm:  x * J^T (R / (y + epsilon)), the deviation held constant; the bias absorbs."""
    return r.Norm(plain(epsilon))


@dataclass(frozen=True)
class Mean(r.LinearRule):
    """The rule of a mean over axes:  R_j = x_j R / (sum_j x_j + epsilon): epsilon beside the sum, not the mean."""

    epsilon: float = 1e-6
    serves: ClassVar[frozenset[str]] = frozenset({"pool"})

    def __post_init__(self) -> None:
        """Check the field."""
        check_epsilon(self.epsilon)

    def fits(self, node: Node) -> bool:
        """Return whether the node is a mean or a sum over axes."""
        return isinstance(node.op, SumAxes)

    def __call__(self, L: Any, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        return r.Norm(plain(self.epsilon / L.count if L.mean else self.epsilon))(L, a, z, R)


def mean(epsilon: float = 1e-6) -> Mean:
    """Return the rule of a mean."""
    return Mean(epsilon)


identity = rms_norm_identity = normalize = r.Pass
epsilon_lrp = EpsilonRule


# ---------------------------------------------------------------- lxt.efficient


@dataclass(frozen=True)
class IdentityImplicit(r.Rule):
    """identity_rule_implicit:  R_j = R_j x_j / (x_j + epsilon), so that nothing passes where x = 0."""

    epsilon: float = 1e-10
    serves: ClassVar[frozenset[str]] = frozenset({"pointwise"})
    conserves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the field."""
        check_epsilon(self.epsilon)

    def __call__(self, op: Op, x: Array, y: Array, R: Array) -> Array:
        """Return R x / (x + epsilon)."""
        return x * ratio(R, x, plain(self.epsilon))


identity_rule_implicit = IdentityImplicit


@dataclass(frozen=True)
class Patched(r.Rule):
    """A rule of zennit's in LXT's carrier:  R_j = rule(R)_j x_j / (x_j + epsilon sgn x_j).

    What Flat, WSquare and ZBox give to inputs of 0 is lost; the ledger has it under `dropped`.
    """

    rule: r.Rule
    epsilon: float = 1e-10
    serves: ClassVar[frozenset[str]] = frozenset(WEIGHTED)
    conserves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the field."""
        check_epsilon(self.epsilon)

    def fits(self, node: Node) -> bool:
        """Return whether the rule fits."""
        return node.kind in self.serves and self.rule.fits(node)

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the rule's relevance, but nothing where the input is 0."""
        R = self.rule(L, a, z, R)
        return R if R is ZERO else R * (a / stabilize(a, self.epsilon))


def monkey_patch_zennit(rule: r.Rule) -> Patched:
    """Return a rule of `reflrp.dialects.zennit` as it works beside `lxt.efficient`."""
    return Patched(rule)
