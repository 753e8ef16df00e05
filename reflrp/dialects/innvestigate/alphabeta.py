"""iNNvestigate's rules that part contributions by sign; `rules` has the others, and what holds for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from reflrp import rules as r
from reflrp.dialects.innvestigate.keras_rule import SAFE, KerasRule
from reflrp.errors import RuleError
from reflrp.ground.checks import flag, is_number, shown
from reflrp.ops.stabilizer import StabilizerLike
from reflrp.rules.linear import AlphaBetaX


def inferred(alpha: Any, beta: Any) -> tuple[Any, Any]:
    """Return alpha and beta, one of which may be None: alpha - beta = 1, exactly, alpha >= 1, beta >= 0.

    Raises RuleError where that does not hold, or both are None.
    """
    if alpha is None and beta is None:
        raise RuleError("give alpha, beta or both")
    for name, value, least in (("alpha", alpha, 1), ("beta", beta, 0)):
        if value is not None and not (is_number(value) and value >= least):
            raise RuleError(f"{name} must be a number >= {least}, not {shown(value)}")
    alpha, beta = (x.item() if isinstance(x, np.generic) else x for x in (alpha, beta))  # NumPy's may overflow
    alpha = beta + 1 if alpha is None else alpha
    beta = alpha - 1 if beta is None else beta
    if alpha - beta != 1:
        raise RuleError(f"alpha - beta must be 1, but {alpha} - {beta} = {alpha - beta}")
    return alpha, beta


@dataclass(frozen=True)
class AlphaBetaRule(KerasRule):
    """R_j = sum_k (alpha (a_j w_jk)+ / (z+_k + b_k) - beta (a_j w_jk)- / (z-_k + b_k)) R_k.

    All of the bias stands in both denominators (`reflrp.rules.AlphaBeta(bias="full")`), unless bias=False. One of alpha
    and beta may be None. Raises RuleError unless alpha >= 1, beta >= 0, alpha - beta = 1 exactly.
    """

    alpha: Any = None
    beta: Any = None
    bias: bool = True
    stabilizer: StabilizerLike = SAFE
    multiple: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the fields."""
        inferred(self.alpha, self.beta)
        flag("bias", self.bias, RuleError)

    @property
    def formula(self) -> r.AlphaBeta:
        """AlphaBeta with the whole bias in both denominators, or none."""
        alpha, beta = inferred(self.alpha, self.beta)
        return r.AlphaBeta(alpha, beta, "full" if self.bias else "ignore", self.stabilizer)


@dataclass(frozen=True)
class AlphaBetaIgnoreBiasRule(AlphaBetaRule):
    """AlphaBetaRule without the bias."""

    bias: bool = False


@dataclass(frozen=True)
class Alpha2Beta1Rule(AlphaBetaRule):
    """AlphaBetaRule with alpha 2, beta 1."""

    alpha: Any = 2
    beta: Any = 1


@dataclass(frozen=True)
class Alpha2Beta1IgnoreBiasRule(Alpha2Beta1Rule):
    """AlphaBetaRule with alpha 2, beta 1, without the bias."""

    bias: bool = False


@dataclass(frozen=True)
class Alpha1Beta0Rule(AlphaBetaRule):
    """AlphaBetaRule with alpha 1, beta 0."""

    alpha: Any = 1
    beta: Any = 0


@dataclass(frozen=True)
class Alpha1Beta0IgnoreBiasRule(Alpha1Beta0Rule):
    """AlphaBetaRule with alpha 1, beta 0, without the bias."""

    bias: bool = False


@dataclass(frozen=True)
class ZPlusRule(Alpha1Beta0IgnoreBiasRule):
    """R_j = sum_k (a_j w_jk)+ / sum_j (a_j w_jk)+ R_k: no bias, and inputs of either sign."""


@dataclass(frozen=True)
class AlphaBetaXRule(KerasRule):
    """`reflrp.rules.AlphaBetaX`: the four sign cases of input and weight, each with a factor and a denominator of its own.

    as_released=True takes beta[1] where alpha[1] is meant, as the library does: `AlphaBetaX(second="beta")`.
    """

    alpha: tuple[Any, Any] = (0.5, 0.5)
    beta: tuple[Any, Any] = (0.5, 0.5)
    bias: bool = True
    as_released: bool = False
    stabilizer: StabilizerLike = SAFE
    conserves: ClassVar[bool] = False
    multiple: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the fields."""
        AlphaBetaX(self.alpha, self.beta)
        flag("bias", self.bias, RuleError)
        flag("as_released", self.as_released, RuleError)

    @property
    def formula(self) -> AlphaBetaX:
        """AlphaBetaX."""
        second: Any = "beta" if self.as_released else "alpha"
        return AlphaBetaX(self.alpha, self.beta, "split" if self.bias else "ignore", second, self.stabilizer)


@dataclass(frozen=True)
class AlphaBetaX1000Rule(AlphaBetaXRule):
    """AlphaBetaXRule with alpha (1, 0), beta (0, 0)."""

    alpha: tuple[Any, Any] = (1, 0)
    beta: tuple[Any, Any] = (0, 0)


@dataclass(frozen=True)
class AlphaBetaX1010Rule(AlphaBetaXRule):
    """AlphaBetaXRule with alpha (1, 0), beta (0, -1)."""

    alpha: tuple[Any, Any] = (1, 0)
    beta: tuple[Any, Any] = (0, -1)


@dataclass(frozen=True)
class AlphaBetaX1001Rule(AlphaBetaXRule):
    """AlphaBetaXRule with alpha (1, 1), beta (0, 0)."""

    alpha: tuple[Any, Any] = (1, 1)
    beta: tuple[Any, Any] = (0, 0)


@dataclass(frozen=True)
class AlphaBetaX2m100Rule(AlphaBetaXRule):
    """AlphaBetaXRule with alpha (2, 0), beta (1, 0)."""

    alpha: tuple[Any, Any] = (2, 0)
    beta: tuple[Any, Any] = (1, 0)
