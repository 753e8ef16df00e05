"""LXT's rules and its two rule sets, AttnLRP and CP-LRP: its names, its defaults, its numbers (those of LXT 2.1).

>>> from reflrp.dialects import lxt
>>> reflrp.explain(model, x, rules=lxt.AttnLRP())  # doctest: +SKIP
>>> reflrp.explain(model, x, rules="lxt.CP_LRP")  # doctest: +SKIP

Two forms. form="efficient" is `lxt.efficient`, which carries R / value along the tape and multiplies by the value at
the end: LRP-0 everywhere, with the bias absorbing, halves by `divide_gradient`, a detached deviation in normalisations.
Nothing is stabilised but the activations. form="explicit" is `lxt.explicit`, which carries R, with a stabiliser that
does not look at the sign: z + epsilon. For -epsilon < z < 0 the sign of the relevance flips, at z = -epsilon it is
infinite, which LXT passes on, and here is 0.

LXT patches modules or replaces functions; an ONNX graph holds operators. So:

- Every product of two values, softmax, activation, normalisation and sum has its rule, as if LXT's map of the model
  named it. LXT leaves what it does not know to the chain rule. In the efficient form that is LRP-0, as here but for
  products, which it gives to both operands in full.
- The weights of an attention are the operand of a product that comes out of a softmax; the gate of a gated MLP is the
  one that comes out of an activation.
- GroupNorm, InstanceNorm and LRN, which LXT has no rule for, are x * J^T(R / y) in the efficient form, else Pass.
- Inner values of the efficient form: LXT divides at query, key and value, so that what it shows for attention weights
  is twice what stands here. At the inputs both agree.

Where the answer starts is init="output": LXT's `logit.backward(logit)`, or `logit.backward()` and x * x.grad.
`TaylorDecompositionRule`, which cannot run in LXT, is left out.

Source: Achtibat et al., "AttnLRP: Attention-Aware Layer-wise Relevance Propagation for Transformers", ICML 2024; for
CP-LRP Ali et al., "XAI for Transformers: Better Explanations through Conservative Propagation", ICML 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from reflrp import rules as r
from reflrp.arrays import ZERO, Array
from reflrp.composites import Composite, Pairs, kind, op_type
from reflrp.composites.matchers import Matcher, Survey
from reflrp.errors import RuleError
from reflrp.ir import LINEAR, WEIGHTED, Node, Op
from reflrp.ops.linear import LinearMap, SumAxes
from reflrp.ops.norms import Standardise
from reflrp.ops.product import Multiply, Product
from reflrp.ops.stabilizer import check_epsilon, ratio, stabilize

__all__ = [
    "COMPOSITES",
    "CP_LRP",
    "AttnLRP",
    "EpsilonRule",
    "IdentityImplicit",
    "IdentityRule",
    "Mean",
    "Mul2",
    "Patched",
    "StopRelevanceRule",
    "UniformEpsilonRule",
    "UniformRule",
    "add2",
    "epsilon_lrp",
    "identity",
    "identity_rule_implicit",
    "layer_norm",
    "linear_epsilon",
    "matmul",
    "mean",
    "monkey_patch_zennit",
    "mul2",
    "normalize",
    "rms_norm_identity",
    "softmax",
]

Form = Literal["efficient", "explicit"]


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
        if self.operands not in ("all", "signal"):
            raise RuleError(f"operands={self.operands!r} is unknown; use 'all' or 'signal'")

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


# ---------------------------------------------------------------- the rule sets


@dataclass(frozen=True)
class _Elementwise(Matcher):
    """Elementwise products."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        return isinstance(node.op, Multiply)


@dataclass(frozen=True)
class _Gated(Matcher):
    """Products of which one operand is a gate to this degree (see `Product.gate`)."""

    least: int = 1

    def __call__(self, node: Node, survey: Survey) -> bool:
        return isinstance(node.op, Product) and node.op.gate(self.least) is not None


@dataclass(frozen=True)
class _Centered(Matcher):
    """LayerNorm, centred or not, as the field says: statistics over whole axes, with a mean square."""

    center: bool

    def __call__(self, node: Node, survey: Survey) -> bool:
        op = node.op
        plain = isinstance(op, Standardise) and op.grouped is None and op.axes[-1] == len(_shape(node, survey)) - 1
        return plain and op.center == self.center  # type: ignore[attr-defined]


def _shape(node: Node, survey: Survey) -> tuple[int, ...]:
    return survey.graph.values[node.output].shape


def _layers(form: Form, conv: r.Rule | None, linear: r.Rule | None) -> Pairs:
    """Return what stands on convolutions and dense maps: LXT's epsilon rule, or the given rules."""
    if form not in ("efficient", "explicit"):
        raise RuleError(f"form={form!r} is unknown; use 'efficient' or 'explicit'")
    own = r.Epsilon(0) if form == "efficient" else linear_epsilon(1e-8)
    return (kind("conv"), _carried(form, conv) or own), (kind("dense"), _carried(form, linear) or own)


def _carried(form: Form, rule: r.Rule | None) -> r.Rule | None:
    """Return a given rule as the form carries it."""
    return rule if rule is None or form == "explicit" or isinstance(rule, Patched) else Patched(rule)


def _rest(form: Form) -> Pairs:
    """Return what both rule sets share, after their rules for softmax and products."""
    if form == "efficient":
        return (
            (kind("sum", "pool", "diagonal", *WEIGHTED), r.Norm(0)),
            (kind("max"), r.WinnerTakesAll()),
            (kind("pointwise"), IdentityImplicit()),
            (_Centered(True) | _Centered(False), r.Epsilon(0)),
            (kind("normaliser"), r.Ratio(0)),
        )
    return (
        (kind("sum"), add2()),
        (kind("diagonal"), mul2()),
        (op_type("ReduceMean", "GlobalAveragePool") & _Means(), mean()),
        (kind("pool"), r.Norm(plain(1e-8))),
        (kind("max"), r.WinnerTakesAll()),
        (kind("pointwise"), IdentityRule()),
        (_Centered(True), layer_norm()),
        (kind("normaliser"), IdentityRule()),
    )


class _Means(Matcher):
    """Means over whole axes."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        return isinstance(node.op, SumAxes) and node.op.mean


def AttnLRP(  # noqa: N802
    form: Form = "efficient", conv: r.Rule | None = None, linear: r.Rule | None = None
) -> Composite:
    """AttnLRP: products in halves, softmax by Taylor, activations and normalisations pass, LRP-epsilon elsewhere.

    `conv` and `linear` replace the rule of convolutions and dense maps, as LXT's composites of zennit rules do for
    vision transformers; in the efficient form they are `Patched`.
    """
    products: Pairs = ((kind("product"), r.Half(0)),)
    if form == "explicit":
        weights = kind("product") & ~_Elementwise() & _Gated(3)
        products = ((_Elementwise(), mul2()), (weights, UniformEpsilonRule()), (kind("product"), matmul()))
    taylor = r.Taylor() if form == "efficient" else softmax()
    pairs = (*_layers(form, conv, linear), (op_type("Softmax"), taylor), *products, *_rest(form))
    return Composite(pairs, f"lxt.AttnLRP, {form}")


def CP_LRP(  # noqa: N802
    form: Form = "efficient", conv: r.Rule | None = None, linear: r.Rule | None = None
) -> Composite:
    """CP-LRP: as AttnLRP, but attention weights and the gates of gated MLPs are constants.

    Relevance stops at the softmax and goes through the values, at a gate through the other operand.
    """
    gated: r.Rule = r.SignalTakesAll("activated", 0) if form == "efficient" else EpsilonRule(operands="signal")
    products: Pairs = ((_Gated(), gated), *(((kind("product"), r.Half(0)),) if form == "efficient" else _UNGATED))
    pairs = (*_layers(form, conv, linear), (op_type("Softmax"), StopRelevanceRule()), *products, *_rest(form))
    return Composite(pairs, f"lxt.CP_LRP, {form}")


_UNGATED: Pairs = ((_Elementwise(), mul2()), (kind("product"), matmul()))

COMPOSITES = {"AttnLRP": AttnLRP, "CP_LRP": CP_LRP}
"""The rule sets by their names."""
