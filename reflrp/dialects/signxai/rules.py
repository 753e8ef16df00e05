"""SignXAI2's rules (its TensorFlow part): its names, its arguments, its numbers.

SignXAI's LRP is a fork of iNNvestigate; the rules that are not here are those of `reflrp.dialects.innvestigate.rules`,
whose remarks hold. as_released=True is what SignXAI2 0.14.1 computes where that is not what the name means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from reflrp import rules as r
from reflrp.arrays import ZERO, Array, add, full_like, neg, pos
from reflrp.dialects.innvestigate import alphabeta
from reflrp.dialects.innvestigate import rules as base
from reflrp.dialects.innvestigate.keras_rule import SAFE, KerasRule, check_positive, laid_out
from reflrp.dialects.innvestigate.rules import LRP_RULES as INNVESTIGATE
from reflrp.dialects.innvestigate.rules import EpsilonRule, ZRule
from reflrp.errors import RuleError
from reflrp.ground.checks import flag, number
from reflrp.ops.chain import Chain
from reflrp.ops.linear import LinearMap
from reflrp.ops.stabilizer import Looks, StabilizerLike, check_epsilon, ratio
from reflrp.rules.base import check_numbers
from reflrp.rules.linear import share


@dataclass(frozen=True)
class ZIgnoreBiasRule(ZRule):
    """ZRule without the bias."""

    bias: bool = False


@dataclass(frozen=True)
class EpsilonIgnoreBiasRule(EpsilonRule):
    """EpsilonRule without the bias."""

    bias: bool = False


@dataclass(frozen=True)
class StdxEpsilonRule(KerasRule):
    """EpsilonRule with epsilon = stdfactor * std(a), over all entries of the layer's input, the batch included.

    So the samples of a batch change one another's relevance. `epsilon` is checked and not used, as in the library.
    """

    stdfactor: Any = 0.25
    bias: bool = True
    epsilon: Any = 1e-7
    reweights: ClassVar[bool] = False
    multiple: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the fields."""
        check_positive(self.epsilon)
        check_epsilon(self.stdfactor, "stdfactor")
        flag("bias", self.bias, RuleError)

    @property
    def looks(self) -> Looks:
        """All of the batch, whose deviation it takes."""
        return "batch"

    @property
    def formula(self) -> r.StdxEpsilon:
        """StdxEpsilon over the batch."""
        return r.StdxEpsilon(self.stdfactor, "batch", "absorb" if self.bias else "ignore")


@dataclass(frozen=True)
class SIGNRule(KerasRule):
    """R_j = sgn(a_j) sum_k w_jk R_k / z_k,  sgn 0 = +1. It does not conserve."""

    bias: bool = True
    stabilizer: StabilizerLike = SAFE
    conserves: ClassVar[bool] = False
    reweights: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the fields."""
        flag("bias", self.bias, RuleError)

    @property
    def formula(self) -> r.Sign:
        """Sign."""
        return r.Sign(0.0, "absorb" if self.bias else "ignore", self.stabilizer)


@dataclass(frozen=True)
class SIGNmuRule(SIGNRule):
    """SIGNRule with a threshold: sgn(a_j - mu_j). mu is a number, or an array that broadcasts (channels last)."""

    mu: Any = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        check_numbers("mu", self.mu)

    @property
    def formula(self) -> r.Sign:
        """Sign with mu."""
        return r.Sign(self.mu, "absorb" if self.bias else "ignore", self.stabilizer)

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Any:
        """Return the relevance of the input."""
        mu = laid_out(self.mu, a, L)
        rule = self._formula if mu is self.mu else r.Sign(mu, "absorb" if self.bias else "ignore", self.stabilizer)
        return rule(L, a, z, R)


@dataclass(frozen=True)
class AnyGamma(r.Gamma):
    """Gamma of either sign."""

    def __post_init__(self) -> None:
        """Check gamma."""
        number("gamma", self.gamma, RuleError)


@dataclass(frozen=True)
class GammaRule(KerasRule):
    """LRP-gamma:  R_j = a_j sum_k (w_jk + gamma w+_jk) R_k / (sum of the same + b_k + gamma b+_k).

    as_released=True is what SignXAI computes: gamma A - B, where A shares R among a+ w+ + a w and B among a+ w + a w+, each
    with b + b+ in its denominator. For a >= 0 that is (gamma - 1) times LRP-gamma with gamma 1.
    Raises RuleError without gamma.
    """

    gamma: Any = None
    bias: bool = True
    as_released: bool = False
    stabilizer: StabilizerLike = SAFE
    multiple: ClassVar[bool] = True
    conserves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.gamma is None:
            raise RuleError("gamma=None: give a number")
        number("gamma", self.gamma, RuleError)
        flag("bias", self.bias, RuleError)
        flag("as_released", self.as_released, RuleError)

    @property
    def formula(self) -> r.Rule:
        """Gamma; as released it has no other rule."""
        return (
            self
            if self.as_released
            else AnyGamma(self.gamma, False, "scale" if self.bias else "ignore", self.stabilizer)
        )

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Any:
        """Return the relevance of the input."""
        if not self.as_released:
            return self._formula(L, a, z, R)
        ap, wp = pos(a), L.weights(pos)
        b = add(L.b, pos(L.b)) if self.bias else ZERO
        one = share(L, self.gamma * R, (ap, wp), (a, L.w), b, self.stabilizer)
        return add(one, share(L, -R, (ap, L.w), (a, wp), b, self.stabilizer))


@dataclass(frozen=True)
class BoundedRule(base.BoundedRule):
    """The zB rule, as in iNNvestigate. as_released=True leaves a, low and high out behind the weights, as SignXAI does.

    Then R_j = sum_k (w_jk - w+_jk - w-_jk) s_k, which is 0; not so on a separable convolution, whose parts of either sign are
    products of the factors' parts.
    """

    as_released: bool = False

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Any:
        """Return the relevance of the input."""
        if not self.as_released:
            return super().__call__(L, a, z, R)
        L.keep(R)
        if not isinstance(L, Chain):
            return 0 * a
        wp, wn = L.weights(pos), L.weights(neg)
        low, high = (full_like(a, laid_out(bound, a, L)) for bound in (self.low, self.high))
        s = ratio(R, add(L(a, L.w), -L(low, wp), -L(high, wn)), self.stabilizer)
        found = add(L.T(s, L.w), -L.T(s, wp), -L.T(s, wn))
        L.keep(-found)
        return found


@dataclass(frozen=True)
class AlphaBetaXRule(alphabeta.AlphaBetaXRule):
    """`reflrp.rules.AlphaBetaX`. as_released=True raises RuleError: in SignXAI no AlphaBetaX can be made (TypeError)."""

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if self.as_released:
            raise RuleError("SignXAI2 0.14.1 makes no AlphaBetaX rule: it raises TypeError")


@dataclass(frozen=True)
class AlphaBetaX1000Rule(alphabeta.AlphaBetaX1000Rule, AlphaBetaXRule):
    """AlphaBetaXRule with alpha (1, 0), beta (0, 0)."""


@dataclass(frozen=True)
class AlphaBetaX1010Rule(alphabeta.AlphaBetaX1010Rule, AlphaBetaXRule):
    """AlphaBetaXRule with alpha (1, 0), beta (0, -1)."""


@dataclass(frozen=True)
class AlphaBetaX1001Rule(alphabeta.AlphaBetaX1001Rule, AlphaBetaXRule):
    """AlphaBetaXRule with alpha (1, 1), beta (0, 0)."""


@dataclass(frozen=True)
class AlphaBetaX2m100Rule(alphabeta.AlphaBetaX2m100Rule, AlphaBetaXRule):
    """AlphaBetaXRule with alpha (2, 0), beta (1, 0)."""


LRP_RULES: dict[str, type[KerasRule]] = {
    **INNVESTIGATE,
    "ZIgnoreBias": ZIgnoreBiasRule,
    "SIGN": SIGNRule,
    "SIGNmu": SIGNmuRule,
    "StdxEpsilon": StdxEpsilonRule,
    "EpsilonIgnoreBias": EpsilonIgnoreBiasRule,
    "Gamma": GammaRule,
    "Bounded": BoundedRule,
}
"""The rules that have a name as a text."""
