"""iNNvestigate's rules, with its names, its arguments and its numbers.

Each is one of `reflrp.rules`, whose fields say where the library differs; `formula` is that rule:

>>> innvestigate.Alpha2Beta1Rule().formula  # doctest: +SKIP
AlphaBeta(alpha=2, beta=1, bias='full', stabilizer=Stabilizer(epsilon=1e-07, form='nonzero', ...))

All denominators are stabilised by `SAFE`: 1e-7 where they are exactly 0, and nothing elsewhere. Only `EpsilonRule` adds
an epsilon. The library's `copy_weights` changes no number and is left out. Epsilons must be finite numbers (the library
takes NaN, too).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from reflrp import rules as r
from reflrp.arrays import Array
from reflrp.dialects.innvestigate.alphabeta import (
    Alpha1Beta0IgnoreBiasRule,
    Alpha1Beta0Rule,
    Alpha2Beta1IgnoreBiasRule,
    Alpha2Beta1Rule,
    AlphaBetaIgnoreBiasRule,
    AlphaBetaRule,
    ZPlusRule,
)
from reflrp.dialects.innvestigate.keras_rule import SAFE, KerasRule, check_positive, laid_out
from reflrp.errors import RuleError
from reflrp.ground.checks import flag
from reflrp.ops.linear import LinearMap
from reflrp.ops.stabilizer import StabilizerLike
from reflrp.rules.base import check_numbers


def _absorb(bias: bool) -> Any:
    return "absorb" if bias else "ignore"


@dataclass(frozen=True)
class ZRule(KerasRule):
    """R_j = a_j sum_k w_jk R_k / z_k,  z = a w + b; bias=False leaves b out of z."""

    bias: bool = True
    stabilizer: StabilizerLike = SAFE
    reweights: ClassVar[bool] = False
    multiple: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the fields."""
        flag("bias", self.bias, RuleError)

    @property
    def formula(self) -> r.Epsilon:
        """Epsilon with epsilon 0 and SAFE."""
        return r.Epsilon(0, _absorb(self.bias), self.stabilizer)


@dataclass(frozen=True)
class EpsilonRule(KerasRule):
    """R_j = a_j sum_k w_jk R_k / (z_k + epsilon sgn z_k),  sgn 0 = +1. Raises RuleError for epsilon <= 0."""

    epsilon: Any = 1e-7
    bias: bool = True
    reweights: ClassVar[bool] = False
    multiple: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the fields."""
        check_positive(self.epsilon)
        flag("bias", self.bias, RuleError)

    @property
    def formula(self) -> r.Epsilon:
        """Epsilon."""
        return r.Epsilon(self.epsilon * 1, _absorb(self.bias))


@dataclass(frozen=True)
class WSquareRule(KerasRule):
    """R_j = sum_k w_jk^2 R_k / sum_j w_jk^2: neither input nor bias count."""

    stabilizer: StabilizerLike = SAFE

    @property
    def formula(self) -> r.WSquare:
        """WSquare."""
        return r.WSquare("ignore", self.stabilizer)


@dataclass(frozen=True)
class FlatRule(KerasRule):
    """R_j = sum_k R_k / (number of inputs of k inside the border)."""

    stabilizer: StabilizerLike = SAFE

    @property
    def formula(self) -> r.Flat:
        """Flat."""
        return r.Flat(self.stabilizer)


@dataclass(frozen=True)
class ZPlusFastRule(KerasRule):
    """R_j = a_j sum_k w+_jk R_k / sum_j a_j w+_jk: the input is not split by sign."""

    stabilizer: StabilizerLike = SAFE
    multiple: ClassVar[bool] = True

    @property
    def formula(self) -> r.ZPlus:
        """ZPlus of raw inputs, without bias."""
        return r.ZPlus("ignore", "raw", self.stabilizer)


@dataclass(frozen=True)
class Box(r.ZBox):
    """ZBox, whose bounds may stand in either order."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        check_numbers("low", self.low)
        check_numbers("high", self.high)


@dataclass(frozen=True)
class BoundedRule(KerasRule):
    """R_j = sum_k (a_j w_jk - low_j w+_jk - high_j w-_jk) R_k / (sum_j of the same); the bias does not count.

    low and high are numbers, or arrays that broadcast against the input as Keras has it (channels last). low > high is
    not refused, as in the library.
    """

    low: Any = -1
    high: Any = 1
    stabilizer: StabilizerLike = SAFE

    def __post_init__(self) -> None:
        """Check the fields."""
        Box(self.low, self.high)

    @property
    def formula(self) -> Box:
        """ZBox."""
        return Box(self.low, self.high, self.stabilizer)

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        low, high = laid_out(self.low, a, L), laid_out(self.high, a, L)
        return (self._formula if low is self.low and high is self.high else Box(low, high, self.stabilizer))(L, a, z, R)


LRP_RULES: dict[str, type[KerasRule]] = {
    "Z": ZRule,
    "Epsilon": EpsilonRule,
    "WSquare": WSquareRule,
    "Flat": FlatRule,
    "AlphaBeta": AlphaBetaRule,
    "AlphaBetaIgnoreBias": AlphaBetaIgnoreBiasRule,
    "Alpha2Beta1": Alpha2Beta1Rule,
    "Alpha2Beta1IgnoreBias": Alpha2Beta1IgnoreBiasRule,
    "Alpha1Beta0": Alpha1Beta0Rule,
    "Alpha1Beta0IgnoreBias": Alpha1Beta0IgnoreBiasRule,
    "ZPlus": ZPlusRule,
    "ZPlusFast": ZPlusFastRule,
    "Bounded": BoundedRule,
}
"""The rules that have a name as a text."""
