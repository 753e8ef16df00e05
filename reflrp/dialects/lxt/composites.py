"""LXT's two rule sets, AttnLRP and CP-LRP, each in an efficient and an explicit form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reflrp import rules as r
from reflrp.composites import Composite, Pairs, kind, op_type
from reflrp.composites.matchers import Matcher, Survey
from reflrp.dialects.lxt.rules import (
    EpsilonRule,
    IdentityImplicit,
    IdentityRule,
    Patched,
    StopRelevanceRule,
    UniformEpsilonRule,
    add2,
    layer_norm,
    linear_epsilon,
    matmul,
    mean,
    mul2,
    plain,
    softmax,
)
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ir import WEIGHTED, Node
from reflrp.ops.norms import Standardise
from reflrp.ops.product import Multiply, Product
from reflrp.ops.sums import SumAxes

Form = Literal["efficient", "explicit"]


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
    own = r.Epsilon(0) if form == "efficient" else linear_epsilon(1e-8)
    return (kind("conv"), _carried(form, conv) or own), (kind("dense"), _carried(form, linear) or own)


def _check(form: Form) -> None:
    checks.choice("form", form, ("efficient", "explicit"), RuleError)


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


ELEMENTWISE_PRODUCT = _Elementwise()
MEANS = op_type("ReduceMean", "GlobalAveragePool") & _Means()


def AttnLRP(  # noqa: N802
    form: Form = "efficient", conv: r.Rule | None = None, linear: r.Rule | None = None
) -> Composite:
    """AttnLRP: products in halves, softmax by Taylor, activations and normalisations pass, LRP-epsilon elsewhere.

    `conv` and `linear` replace the rule of convolutions and dense maps, as LXT's composites of zennit rules do for
    vision transformers; in the efficient form they are `Patched`.
    """
    _check(form)
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
    _check(form)
    gated: r.Rule = r.SignalTakesAll("activated", 0) if form == "efficient" else EpsilonRule(operands="signal")
    products: Pairs = ((_Gated(), gated), *(((kind("product"), r.Half(0)),) if form == "efficient" else _UNGATED))
    pairs = (*_layers(form, conv, linear), (op_type("Softmax"), StopRelevanceRule()), *products, *_rest(form))
    return Composite(pairs, f"lxt.CP_LRP, {form}")


_UNGATED: Pairs = ((_Elementwise(), mul2()), (kind("product"), matmul()))

COMPOSITES = {"AttnLRP": AttnLRP, "CP_LRP": CP_LRP}
"""The rule sets by their names."""
