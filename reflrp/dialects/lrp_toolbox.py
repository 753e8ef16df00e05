"""The LRP Toolbox's rules (1.3, its NumPy part): its names, its parameters, its numbers.

>>> from reflrp.dialects import lrp_toolbox
>>> reflrp.explain(model, x, rules=lrp_toolbox.lrp("alphabeta", 2))  # doctest: +SKIP
>>> reflrp.explain(model, x, rules="lrp_toolbox.epsilon(param=0.01)")  # doctest: +SKIP

One call `net.lrp(R, lrp_var, param)` puts one variant on all layers; `layers` presets single ones, as
`set_lrp_parameters` does there. The toolbox knows chains of Linear, Convolution, SumPool, MaxPool, Flatten, Rect, Tanh
and SoftMax; what else a graph holds has no rule here. Its convolutions and pools have no padding; here padding is none
of a layer's inputs. Where a denominator without stabiliser is 0 (flat never, ww where all weights vanish) it gives NaN,
these rules 0.

Its SumPool is the sum over sqrt(height * width): in ONNX an AveragePool and the product with one number, which passes
relevance on. Where the answer starts is told by `init`: the toolbox's demos start with the output at the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, prod
from typing import Any, ClassVar

from reflrp import rules as r
from reflrp.arrays import ZERO, Array, add, namespace, neg, pos, where
from reflrp.arrays.counting import Extent, laid, ones_of
from reflrp.arrays.kernels import pad, placed, unpad, window_spread, window_sum
from reflrp.arrays.measured import SHAPE
from reflrp.composites import Composite, Pairs, kind, name, op_type
from reflrp.composites.matchers import Matcher, Survey
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ir import Node
from reflrp.ops.conv import WindowMean
from reflrp.ops.linear import LinearMap
from reflrp.ops.selection import MaxAxes, MaxPool
from reflrp.ops.stabilizer import check_epsilon
from reflrp.ops.sums import SumAxes
from reflrp.rules.base import Rule

__all__ = ["COMPOSITES", "AlphaBeta", "MaxPoolEqual", "MaxPoolFlat", "SumPool", "alphabeta", "epsilon", "flat", "lrp",
           "simple", "ww"]  # fmt: skip

WEAK = 1e-16
"""The stabiliser of "simple" and "alphabeta"."""

POOL = 1e-12
"""That of "simple" on a SumPool, in units of the sum."""


@dataclass(frozen=True)
class AlphaBeta(r.LinearRule):
    """R_j = sum_k (alpha (a_j w_jk)+ / (z+_k + positive) + (1 - alpha) (a_j w_jk)- / (z-_k - negative)) R_k.

    z+_k = sum_j (a_j w_jk)+ + b+_k, z-_k = sum_j (a_j w_jk)- + b-_k; a part that is empty shares nothing. What the papers
    call beta is alpha - 1. alpha may be any number; below 1 both parts count positively, and 0 is the negative part alone.
    """

    serves: ClassVar[frozenset[str]] = frozenset({"dense", "conv"})
    multiple: ClassVar[bool] = True
    alpha: Any = 2.0
    positive: Any = WEAK
    negative: Any = 2 * WEAK

    def __post_init__(self) -> None:
        """Check the fields."""
        checks.number("alpha", self.alpha, RuleError)
        check_epsilon(self.positive, "positive")
        check_epsilon(self.negative, "negative")

    def fits(self, node: Node) -> bool:
        """Return whether the node has weights."""
        return node.kind in self.serves

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        (ap, an), bp, bn = L.split(a), pos(L.b), neg(L.b)
        (pos_pos, pos_neg), (neg_pos, neg_neg) = L.by_sign(ap), L.by_sign(an)
        s = L.ratio(self.alpha * R, add(pos_pos, neg_neg, bp), self.positive, bp)
        t = L.ratio((1 - self.alpha) * R, add(pos_neg, neg_pos, bn), self.negative, bn)
        return add(L.pull_by_sign(ap, s, t), L.pull_by_sign(an, t, s))


def _given(L: Any, factor: Any, R: Array, z: Array, weak: Any) -> Array:
    """Return what each unit of an average's inputs is given of `factor` times R; ZERO where that is nothing."""
    return ZERO if factor == 0 else L.sums(L.ratio(factor * R, L.sums(z), weak))


@dataclass(frozen=True)
class SumPool(Rule):
    """The variants on a sum over windows:  simple and epsilon  R_j = a_j R_k / (sum a + epsilon sgn sum a).

    With `alpha`: alpha a+_j R_k / (sum a+ + weak) + (1 - alpha) a-_j Q_k / (sum a- - 2 weak), Q = R (for alpha 0: less weak).
    `squared`: Q = R^2, as the toolbox has it for alpha other than 0 and 1 ("alphabeta", and not "alphabeta_slow"). It is then not
    conserving.
    """

    serves: ClassVar[frozenset[str]] = frozenset({"pool"})
    conserves: ClassVar[bool] = False
    multiple: ClassVar[bool] = True
    only: ClassVar[str] = "averages"
    epsilon: Any = POOL
    alpha: Any = None
    squared: bool = False
    weak: Any = WEAK

    def fits(self, node: Node) -> bool:
        """Return whether the node is an average."""
        return isinstance(node.op, WindowMean | SumAxes)

    def __call__(self, L: Any, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        if self.alpha is None:
            return L.pull(a, L.sums(L.ratio(R, L.sums(z), self.epsilon)), L.w)
        ap, an = L.split(a)
        beta = 1 - self.alpha
        Q = R * R if self.squared and self.alpha * beta != 0 else R
        twice = 2 if self.alpha * beta != 0 else 1
        s = _given(L, self.alpha, R, L(ap, L.w), self.weak)
        t = _given(L, beta, Q, L(an, L.w), twice * self.weak)
        return add(L.pull(ap, s, L.w), L.pull(an, t, L.w))


@dataclass(frozen=True)
class MaxPoolEqual(Rule):
    """R_k in equal parts to all inputs of the window that are as large as its maximum."""

    serves: ClassVar[frozenset[str]] = frozenset({"max"})
    only: ClassVar[str] = "max-pools"

    def fits(self, node: Node) -> bool:
        """Return whether the node is a max-pool."""
        return isinstance(node.op, MaxPool | MaxAxes)

    def __call__(self, L: Any, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        if isinstance(L, MaxAxes):
            hits = where(a == _kept(L, z), ones_of(a, a.shape), 0 * a)
            return hits * (_kept(L, R) / namespace(a).sum(hits, axis=L.axes, keepdims=True))
        padded, one = pad(a, L.windows, -inf), ones_of(R, R.shape)
        hits = [where(padded[(..., *tap)] == z, one, 0 * one) for tap in L.windows.taps()]
        share, found = R / add(*hits), ZERO
        for hit, tap in zip(hits, L.windows.taps(), strict=True):
            found = found + placed(hit * share, (..., *tap), padded.shape)
        return unpad(found, L.windows)


@dataclass(frozen=True)
class MaxPoolFlat(MaxPoolEqual):
    """R_k in equal parts to all inputs of the window."""

    def __call__(self, L: Any, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        if isinstance(L, MaxAxes):
            return laid(_kept(L, R), Extent(a.shape)) / prod(a.shape[i] for i in L.axes)
        return window_spread(R / window_sum(ones_of(a, a.shape), L.windows), L.windows)


def _kept(L: MaxAxes, y: Array) -> Array:
    """Return what a reduction gives with ones in place of its axes."""
    return namespace(y).reshape(y, tuple(1 if i in L.axes else n for i, n in enumerate(L.source)))


class _Normalizer(Matcher):
    """The product with one number behind an average: the rest of a SumPool."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        before = survey.graph.producers().get(node.inputs[0]) if node.inputs else None
        one = node.kind == "diagonal" and node.op.w.size == 1 and not node.measured & SHAPE  # type: ignore[attr-defined]
        scales = node.op_type in ("Mul", "Div") and one
        return bool(scales and node.op.b is ZERO and before and isinstance(before.op, WindowMean | SumAxes))  # type: ignore[attr-defined]


VARIANTS = {
    None: "simple", "none": "simple", "simple": "simple", "slow": "simple", "simple_slow": "simple", "flat": "flat",
    "ww": "ww", "w^2": "ww", "epsilon": "epsilon", "epsilon_slow": "epsilon", "alphabeta": "alphabeta",
    "alpha": "alphabeta", "alphabeta_slow": "alphabeta_slow", "alpha_slow": "alphabeta_slow",
}  # fmt: skip
"""The names of the variants in the toolbox, and what they are here."""


def _variant(lrp_var: Any, param: Any) -> tuple[Rule, Rule, Rule]:
    """Return the rules for layers with weights, sum pools and max pools."""
    title = lrp_var.lower() if isinstance(lrp_var, str) else lrp_var
    if not isinstance(title, str | None) or title not in VARIANTS:
        known = ", ".join(repr(v) for v in VARIANTS if v)
        raise RuleError(f"lrp_var={checks.shown(lrp_var)} is unknown; there is {known}")
    variant = VARIANTS[title]
    if variant in ("simple", "flat", "ww"):
        weak = {"simple": r.Epsilon(WEAK), "flat": r.Flat(0.0), "ww": r.WSquare(stabilizer=0.0)}[variant]
        simple = variant == "simple"
        return weak, SumPool() if simple else r.Flat(0.0), MaxPoolEqual() if simple else MaxPoolFlat()
    checks.number("param", param, RuleError)
    if variant == "epsilon":
        return r.Epsilon(param), SumPool(param), MaxPoolEqual()
    return AlphaBeta(param), SumPool(alpha=param, squared=variant == "alphabeta"), MaxPoolEqual()


def _on_layers(rules: tuple[Rule, Rule, Rule]) -> Pairs:
    return ((kind("dense", "conv"), rules[0]), (kind("pool"), rules[1]), (kind("max"), rules[2]))


def lrp(
    lrp_var: str | None = None, param: Any = 1.0, layers: Mapping[str, tuple[str | None, Any]] | None = None
) -> Composite:
    """Return `net.lrp(R, lrp_var, param)`: the variant on all layers.

    `param` is epsilon or alpha; 1 is what a layer has by itself. `layers` is {name pattern: (lrp_var, param)}. Raises
    RuleError for an unknown variant.
    """
    preset: Pairs = ()
    for pattern, value in checks.mapping(
        "layers", {} if layers is None else layers, "a dict of (lrp_var, param) by name", RuleError
    ).items():
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise RuleError(f"layers[{pattern!r}] must be (lrp_var, param), not {checks.shown(value)}")
        preset += tuple((name(pattern) & m, rule) for m, rule in _on_layers(_variant(*value)))
    passes = kind("pointwise") & op_type("Relu", "Tanh") | op_type("Softmax") & kind("normaliser") | _Normalizer()
    title = "lrp_toolbox." + VARIANTS.get(lrp_var.lower() if isinstance(lrp_var, str) else lrp_var, "lrp")
    return Composite((*preset, *_on_layers(_variant(lrp_var, param)), (passes, r.Pass())), title, ())


def simple() -> Composite:
    """Return the variant "simple": LRP-0 with a stabiliser of 1e-16, on sums of 1e-12."""
    return lrp("simple")


def epsilon(param: Any = 1.0) -> Composite:
    """Return the variant "epsilon"; the demos take param=0.01."""
    return lrp("epsilon", param)


def alphabeta(param: Any = 1.0) -> Composite:
    """Return the variant "alphabeta": `param` is alpha, and 1 - alpha stands before the negative part."""
    return lrp("alphabeta", param)


def flat() -> Composite:
    """Return the variant "flat": in equal parts to the inputs, also through pools."""
    return lrp("flat")


def ww() -> Composite:
    """Return the variant "ww": by squared weights, and in equal parts through pools."""
    return lrp("ww")


COMPOSITES = {"lrp": lrp, "simple": simple, "epsilon": epsilon, "alphabeta": alphabeta, "flat": flat, "ww": ww}
"""The composites by name."""
