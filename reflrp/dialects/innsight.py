"""innsight's LRP (the R package, 0.3.2): its names, its arguments, its numbers.

>>> from reflrp.dialects import innsight
>>> reflrp.explain(model, x, rules=innsight.LRP("alpha_beta", 2))  # doctest: +SKIP
>>> reflrp.explain(model, x, rules=innsight.LRP({"Conv2D_Layer": "alpha_beta", "BatchNorm_Layer": "pass"}))  # doctest: +SKIP

Fields in which it leaves the papers, and other libraries:

- `alpha_beta`: `rule_param` is alpha, and 1 - alpha stands before the negative part, whatever alpha is; the default of 0.5
  counts both parts positively. Alpha 2 is what the papers call alpha 2, beta 1.
- A sum of values gives equal parts to its summands, a global average equal parts to its inputs (both whatever they
  contribute), a global maximum all of its relevance to each of several largest inputs.
- On a BatchNorm "simple" is z, and only where z = 0 the stabiliser.
- "epsilon" adds rule_param sgn z, and where z = 0 the weak stabiliser in place of it.

`rule_param=None` for "epsilon" is 0.01 by innsight's manual, and 0.001 in its code: `as_released=True` takes the latter.
The weak stabiliser is 1e-6 for dtype="float", 1e-15 for "double". Explain with init="output", innsight's start (it
explains all classes at once, from their preactivations).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from reflrp import rules as r
from reflrp.arrays import ZERO, Array, add, namespace, neg, pos, sign, where
from reflrp.composites import Composite, Pairs, kind, op_type
from reflrp.composites.matchers import Matcher
from reflrp.dialects.lrp_toolbox import AlphaBeta
from reflrp.dialects.zennit import nn, types
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ir import Node
from reflrp.ops.conv import WindowMean
from reflrp.ops.linear import LinearMap
from reflrp.ops.selection import MaxAxes, MaxPool
from reflrp.ops.stabilizer import Stabilizer, check_epsilon
from reflrp.rules.base import Rule

__all__ = ["COMPOSITES", "LAYERS", "LRP", "BatchNormAlphaBeta", "EachMaximum", "Epsilon", "EqualParts", "OverWindows"]

LAYERS: dict[str, Matcher] = {
    "Dense_Layer": kind("dense"),
    "Conv1D_Layer": nn.Conv1d,
    "Conv2D_Layer": nn.Conv2d,
    "BatchNorm_Layer": types.BatchNorm,
    "AvgPool1D_Layer": nn.AvgPool1d,
    "AvgPool2D_Layer": nn.AvgPool2d,
    "MaxPool1D_Layer": nn.MaxPool1d,
    "MaxPool2D_Layer": nn.MaxPool2d,
}
"""innsight's types of layers that take a rule."""

RULES = ("simple", "epsilon", "alpha_beta")
WEAK = {"float": 1e-6, "double": 1e-15}
"""The weak stabiliser by dtype."""


@dataclass(frozen=True)
class Epsilon:
    """The denominator of "epsilon": z + epsilon sgn z, and where z = 0 the weak stabiliser."""

    epsilon: float
    weak: float

    def __call__(self, z: Array) -> Array:
        """Return the denominator."""
        return where(z == 0, self.weak + 0 * z, z + self.epsilon * sign(z))


@dataclass(frozen=True)
class OverWindows(Rule):
    """A pool's rule, by the average over its windows also where it is a max-pool.

    With `alpha`: alpha a+_j R_k / st(mean a+) + (1 - alpha) a-_j R_k / st(mean a-); else a_j R_k / st(mean a), all / n.
    """

    serves: ClassVar[frozenset[str]] = frozenset({"pool", "max"})
    only: ClassVar[str] = "pools over windows"
    multiple: ClassVar[bool] = True
    stabilizer: Any = 1e-6
    alpha: Any = None

    def fits(self, node: Node) -> bool:
        """Return whether the node has windows."""
        return isinstance(node.op, WindowMean | MaxPool)

    def __call__(self, L: Any, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        if isinstance(L, MaxPool):
            share = np.asarray(1 / L.windows.turns)
            L = WindowMean(L.w, ZERO, L.source, windows=L.windows, share=share, absorbed=L.absorbed)
        if self.alpha is None:
            return L.pull(a, L.ratio(R, L(a, L.w), self.stabilizer), L.w)
        ap, an = pos(a), neg(a)
        s = L.ratio(self.alpha * R, L(ap, L.w), self.stabilizer)
        t = L.ratio((1 - self.alpha) * R, L(an, L.w), self.stabilizer)
        return add(L.pull(ap, s, L.w), L.pull(an, t, L.w))


@dataclass(frozen=True)
class BatchNormAlphaBeta(Rule):
    """R_j = (alpha p / (p + b+) + (1 - alpha) n / (n + b-)) R, with p = (w a_j)+ and n = (w a_j)-."""

    serves: ClassVar[frozenset[str]] = frozenset({"diagonal"})
    multiple: ClassVar[bool] = True
    conserves: ClassVar[bool] = False
    alpha: Any = 0.5
    weak: Any = 1e-6

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        p, n = pos(a * L.w), neg(a * L.w)
        up = p / (where(p == 0, self.weak + 0 * p, p) + pos(L.b))
        down = n / (where(n == 0, -self.weak + 0 * n, n) + neg(L.b))
        return (self.alpha * up + (1 - self.alpha) * down) * R


@dataclass(frozen=True)
class EqualParts(Rule):
    """R / n to each of n summands, whatever they are."""

    serves: ClassVar[frozenset[str]] = frozenset({"sum"})

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the stacked summands."""
        return namespace(R).broadcast_to(R[None, ...] / a.shape[0], a.shape)


@dataclass(frozen=True)
class EachMaximum(Rule):
    """R to each of the largest inputs: k equal ones get k R."""

    serves: ClassVar[frozenset[str]] = frozenset({"max"})
    only: ClassVar[str] = "global maxima"
    conserves: ClassVar[bool] = False

    def fits(self, node: Node) -> bool:
        """Return whether the node is a maximum over axes."""
        return isinstance(node.op, MaxAxes)

    def __call__(self, L: MaxAxes, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        xp, kept = namespace(a), tuple(1 if i in L.axes else n for i, n in enumerate(L.source))
        return where(a == xp.reshape(z, kept), xp.reshape(R, kept) + 0 * a, 0 * a)


def _param(rule: str, value: Any, as_released: bool) -> Any:
    if value is None:
        return {"simple": None, "pass": None, "epsilon": 0.001 if as_released else 0.01, "alpha_beta": 0.5}[rule]
    if rule == "epsilon":
        check_epsilon(value, "rule_param")
    checks.number("rule_param", value, RuleError)
    return value


def _rule(layer: str, rule: str, param: Any, weak: float, winner: bool) -> Rule:
    """Return the rule of one type of layer."""
    denominator: Any = Epsilon(param, weak) if rule == "epsilon" else weak
    alpha = param if rule == "alpha_beta" else None
    if layer == "BatchNorm_Layer":
        if rule == "alpha_beta":
            return BatchNormAlphaBeta(alpha, weak)
        simple = r.Norm(Stabilizer(weak, "nonzero"))
        return {"pass": r.Pass(), "epsilon": r.Norm(denominator)}.get(rule, simple)
    if layer.startswith(("AvgPool", "MaxPool")):
        return r.WinnerTakesAll() if winner and layer.startswith("Max") else OverWindows(denominator, alpha)
    if alpha is not None:
        return AlphaBeta(alpha, weak, weak)
    return r.Epsilon(stabilizer=denominator)


def LRP(  # noqa: N802
    rule_name: str | Mapping[str, str] = "simple",
    rule_param: Any = None,
    winner_takes_all: bool = True,
    dtype: Literal["float", "double"] = "float",
    as_released: bool = False,
) -> Composite:
    """Return innsight's rules: `rule_name` on all layers that take one, or by type of layer ("simple" elsewhere).

    `rule_param` is epsilon or alpha, or a dict of such by type of layer. With winner_takes_all=False, max-pools take the
    rule as if they were averages. "pass" is for a BatchNorm_Layer in a dict. Raises RuleError for what innsight refuses.
    """
    weak = WEAK[checks.choice("dtype", dtype, tuple(WEAK), RuleError)]
    winner, released = (
        checks.flag("winner_takes_all", winner_takes_all, RuleError),
        checks.flag("as_released", as_released),
    )
    pairs: Pairs = ()
    for layer, matcher in LAYERS.items():
        rule = _by_layer("rule_name", rule_name, layer, "simple")
        allowed = (*RULES, "pass") if isinstance(rule_name, Mapping) and layer == "BatchNorm_Layer" else RULES
        param = _param(
            checks.choice("rule_name", rule, allowed, RuleError), _by_layer("rule_param", rule_param, layer), released
        )
        pairs += ((matcher, _rule(layer, rule, param, weak, winner)),)
    own: Pairs = (
        (types.Sum, EqualParts()),
        (types.GlobalAvgPool | op_type("ReduceMean") & kind("pool"), r.Gradient()),
        (types.GlobalMaxPool | op_type("ReduceMax") & kind("max"), EachMaximum()),
        (nn.ReLU | nn.LeakyReLU | nn.Softplus | nn.Sigmoid | nn.Tanh | op_type("Softmax"), r.Pass()),
    )
    return Composite((*pairs, *own), "innsight.LRP", ())


def _by_layer(name: str, value: Any, layer: str, default: Any = None) -> Any:
    if not isinstance(value, Mapping):
        return value
    for key in checks.mapping(name, value, "a dict by type of layer", RuleError):
        checks.choice(f"{name}: a type of layer", key, tuple(LAYERS), RuleError)
    return value.get(layer, default)


COMPOSITES = {"LRP": LRP}
"""The composite by its name."""
