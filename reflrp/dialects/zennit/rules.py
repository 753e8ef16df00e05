"""zennit.rules: its rules by its names, with its arguments and its numbers.

Shapes as in `reflrp.rules`: a and the result (N, *in), z and R (N, *out). `stabilizer` is a number or a function
z -> denominator. `zero_params` names parameters ("weight", "bias") that the rule takes as zero: a name, or a list of
names. On a map without parameters (Sum, AvgPool) zennit modifies nothing but the input, and so do these rules.

Where zennit goes another way, on purpose: where a denominator is 0 because no epsilon was asked for, zennit gives NaN,
these rules 0. An epsilon < 0 is an error. So is a rule where zennit's number depends on what an ONNX graph does not
say: all but Epsilon, Norm and Pass on a BatchNorm, and all but Epsilon and Norm on a MaxPool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from reflrp import rules as r
from reflrp.arrays import ZERO, Array, only, pos
from reflrp.dialects.zennit.core import expand
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ground.caches import Cache, Kept
from reflrp.ir import LINEAR, WEIGHTED
from reflrp.ops.linear import LinearMap
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.stabilizer import StabilizerLike, check_epsilon, check_stabilizer

ZeroParams = str | Sequence[str] | None
"""Names of parameters taken as zero."""


class ZennitRule(r.Rule):
    """What all of zennit's rules share; `composites.py` says what a bare one means as `rules=`.

    None is a LinearRule, which holds the statistic of a LayerNorm constant; in zennit its gradient is the whole one.
    """


class Modified(ZennitRule):
    """A rule that evaluates the layer again, with modified inputs and parameters."""

    serves: ClassVar[frozenset[str]] = frozenset({"dense", "conv", "sum", "pool"})
    stabilizer: StabilizerLike
    zero_params: ZeroParams
    multiple: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the fields, and make a list of names a tuple."""
        check_stabilizer(self.stabilizer)
        names = self.zero_params
        if isinstance(names, str) and "weight" in names and names != "weight":
            raise RuleError(f"zero_params={names!r} is ambiguous: zennit compares a str by `in`; give a list of names")
        if names is not None and not isinstance(names, str):
            object.__setattr__(self, "zero_params", checks.texts("zero_params", names, RuleError))

    def zeroes(self, name: str) -> bool:
        """Return whether a parameter is taken as zero (in a str, as in zennit, by substring)."""
        return name in (self.zero_params or ())

    def zeroed(self, L: LinearMap) -> LinearMap:
        """Return the layer with the parameters in `zero_params` zero."""
        if L.kind not in ("dense", "conv", "sum", "pool", "max") and (self.zeroes("weight") or self.zeroes("bias")):
            raise RuleError(f"zero_params={self.zero_params!r}: only dense and conv nodes tell their parameters apart")
        if has_parameters(L) and self.zeroes("bias"):
            L = replace(L, b=ZERO)
        return replace(L, w=ZERO, derived=Cache()) if has_parameters(L) and self.zeroes("weight") else L


def has_parameters(L: LinearMap) -> bool:
    """Return whether a map is a layer with weights, which rules modify."""
    return L.kind in WEIGHTED


ANY = frozenset({*LINEAR, "pointwise", "normaliser"})
"""What Epsilon and Norm stand on: on a function they take the input times the gradient of R / st(output)."""


@dataclass(frozen=True)
class Norm(ZennitRule):
    """R_j = a_j sum_k w_jk R_k / st(z_k), z being the true output. Like Epsilon, but it modifies no parameters."""

    serves: ClassVar[frozenset[str]] = ANY
    stabilizer: StabilizerLike = 1e-6
    multiple: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the stabiliser."""
        check_stabilizer(self.stabilizer)

    def __call__(self, L: Any, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        rule = r.Norm(self.stabilizer) if isinstance(L, LinearMap) else r.Ratio(self.stabilizer)
        return rule(L, a, z, R)


@dataclass(frozen=True)
class Epsilon(Modified):
    """R_j = a_j sum_k w_jk R_k / st(z_k),  z = a w + b; `epsilon` is what other rules call stabilizer.

    Bias and stabiliser absorb their shares.
    """

    serves: ClassVar[frozenset[str]] = ANY
    epsilon: StabilizerLike = 1e-6
    zero_params: ZeroParams = None

    @property
    def stabilizer(self) -> StabilizerLike:  # type: ignore[override]
        """The same as epsilon."""
        return self.epsilon

    def __call__(self, L: Any, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        M = self.zeroed(L)
        return Norm(self.epsilon)(M, a, z if M is L else M(a, M.w) + M.b, R)


@dataclass(frozen=True)
class ZPlus(Modified):
    """R_j = sum_k (a_j w_jk)+ / st(sum_j (a_j w_jk)+ + b+_k) R_k,  (a w)+ = a+ w+ + a- w-.

    A positive bias absorbs its share, a negative one does not count. Without parameters it is Norm.
    """

    stabilizer: StabilizerLike = 1e-6
    zero_params: ZeroParams = None

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        rule = r.ZPlus(stabilizer=self.stabilizer) if has_parameters(L) else r.Norm(self.stabilizer)
        return rule(self.zeroed(L), a, z, R)


@dataclass(frozen=True)
class AlphaBeta(Modified):
    """R_j = sum_k (alpha (a_j w_jk)+ / st(z+_k) - beta (a_j w_jk)- / st(z-_k)) R_k.

    z+_k = sum_j (a_j w_jk)+ + b+_k and z-_k = sum_j (a_j w_jk)- + b-_k. Where a part is empty, the sum is alpha R or
    -beta R. Without parameters it is Norm. Raises RuleError unless alpha, beta >= 0 and alpha - beta = 1 exactly.
    """

    alpha: float = 2.0
    beta: float = 1.0
    stabilizer: StabilizerLike = 1e-6
    zero_params: ZeroParams = None

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        r.AlphaBeta(self.alpha, self.beta)

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        if not has_parameters(L):
            return r.Norm(self.stabilizer)(L, a, z, R)
        return r.AlphaBeta(self.alpha, self.beta, stabilizer=self.stabilizer)(self.zeroed(L), a, z, R)


@dataclass(frozen=True)
class Gamma(Modified):
    """The generalised gamma rule: raises positive contributions where z_k > 0, negative ones where z_k < 0.

    With u = w + gamma w+, d = w + gamma w-, and s = R / st(denominator):
    z_k > 0:  R_j = (a+_j u_jk + a-_j d_jk) s_k,  denominator sum_j (a+_j u_jk + a-_j d_jk) + b_k + gamma b+_k;
    z_k < 0:  R_j = (a+_j d_jk + a-_j u_jk) s_k,  denominator sum_j (a+_j d_jk + a-_j u_jk) + b_k + gamma b-_k;
    z_k = 0:  no relevance passes.
    z is the true output: `zero_params` do not change on which side of 0 it stands. Without parameters it is Norm,
    but for z_k = 0.
    """

    gamma: float = 0.25
    stabilizer: StabilizerLike = 1e-6
    zero_params: ZeroParams = None

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        check_epsilon(self.gamma, "gamma")

    @Kept
    def _generalized(self) -> r.Gamma:
        """The rule that keeps the raised weights: one object, since these are kept by the functions that made them."""
        return r.Gamma(self.gamma, generalized=True, stabilizer=self.stabilizer)

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        if not has_parameters(L):
            return r.Norm(self.stabilizer)(L, a, z, only(R, z != 0))
        return self._generalized(self.zeroed(L), a, z, R)


@dataclass(frozen=True)
class ZBox(Modified):
    """R_j = sum_k (a_j w_jk - low_j w+_jk - high_j w-_jk) / st(sum_j of the same) R_k. The bias cancels.

    low and high are scalars or arrays, for which zennit's `expand` holds: axes of size 1 are appended where the
    leading ones fit (not inserted in front, as NumPy does), and a batch larger than the input's is cut. Here the cut
    asks that all rows are equal, since the engine may cut the batch of inputs, too.
    Raises RuleError where low > high, and for shapes that do not fit.
    """

    serves: ClassVar[frozenset[str]] = frozenset({"dense", "conv", "pool"})
    low: Any
    high: Any
    stabilizer: StabilizerLike = 1e-6
    zero_params: ZeroParams = None
    multiple: ClassVar[bool] = False

    def box(self, a: Array) -> tuple[Array, Array]:
        """Return low and high."""
        return self._plain(a).box(a)

    def _plain(self, a: Array) -> r.ZBox:
        return r.ZBox(expand(self.low, a.shape), expand(self.high, a.shape), self.stabilizer)

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        rule = self._plain(a)
        if has_parameters(L):
            return rule(self.zeroed(L), a, z, R)
        box = rule.low + rule.high + 0 * a
        s = L.ratio(R, z - L(box, L.w), self.stabilizer)
        return L.pull(a, s, L.w) - L.pull(box, s, L.w)


@dataclass(frozen=True)
class WSquare(Modified):
    """R_j = sum_k w_jk^2 / st(sum_j w_jk^2 + b_k^2) R_k: b^2 absorbs its share. Without parameters it is Flat."""

    stabilizer: StabilizerLike = 1e-6
    zero_params: ZeroParams = None
    multiple: ClassVar[bool] = False

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        if not has_parameters(L):
            return r.Flat(self.stabilizer)(L, a, z, R)
        return r.WSquare("square", self.stabilizer)(self.zeroed(L), a, z, R)


@dataclass(frozen=True)
class Flat(Modified):
    """R_j = sum_k R_k / st(number of inputs of k inside the border): weights of one, never a bias.

    On pools and sums, whose weights are no parameters, R_j = sum_k w_jk / st(sum_j w_jk) R_k.
    """

    stabilizer: StabilizerLike = 1e-6
    zero_params: ZeroParams = None
    multiple: ClassVar[bool] = False

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        if has_parameters(L) and self.zeroes("weight"):
            L.keep(R)
            return 0 * a
        return r.Flat(self.stabilizer)(L, a, z, R)


@dataclass(frozen=True)
class Pass(ZennitRule, r.Pass):
    """R_j = R_j, for any function that keeps the shape."""


class OnRelu(ZennitRule):
    """What the rules for ReLUs share."""


@dataclass(frozen=True)
class ReLUDeconvNet(OnRelu, r.DeconvNet):
    """R_j = max(R_j, 0), whatever the input was."""


@dataclass(frozen=True)
class ReLUGuidedBackprop(OnRelu, r.GuidedBackprop):
    """R_j = f'(x_j) max(R_j, 0): the gradient, of positive relevance only."""

    def __call__(self, op: Pointwise, x: Array, y: Array, R: Array) -> Array:
        """Return f'(x) R+."""
        return pos(R) * op.derivative(x)


@dataclass(frozen=True)
class ReLUBetaSmooth(OnRelu, r.Rule):
    """R_j = sigmoid(beta_smooth x_j) R_j: the gradient of a softplus."""

    serves: ClassVar[frozenset[str]] = r.BetaSmooth.serves
    conserves: ClassVar[bool] = False
    multiple: ClassVar[bool] = False
    beta_smooth: float = 10.0

    def __call__(self, op: Pointwise, x: Array, y: Array, R: Array) -> Array:
        """Return sigmoid(beta_smooth x) R."""
        return r.BetaSmooth(self.beta_smooth)(op, x, y, R)
