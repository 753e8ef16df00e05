"""SignXAI2's analyzers: one rule on all layers, its composites, and a rule until an index."""

from __future__ import annotations

from typing import Any

from reflrp.composites.matchers import Matcher
from reflrp.dialects.innvestigate.alphabeta import AlphaBetaRule
from reflrp.dialects.innvestigate.keras_rule import KerasRule, check_positive
from reflrp.dialects.innvestigate.rules import EpsilonRule, FlatRule
from reflrp.dialects.keras_matchers import is_conv_layer, is_dense_layer
from reflrp.dialects.signxai.base import LRP
from reflrp.dialects.signxai.rules import GammaRule, StdxEpsilonRule
from reflrp.errors import RuleError

IGNORED = ("alpha", "beta", "gamma", "delta", "low", "high", "mask")
"""Arguments of other methods, which several analyzers take and do not use."""


def _without(more: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in more.items() if k not in names}


class LRPZ(LRP):
    """ZRule. The arguments of other methods (alpha, beta, gamma, delta, low, high, mask, epsilon) are not used."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, rule="Z", bn_layer_rule="Z", **_without(more, *IGNORED, "epsilon"))


class LRPZIgnoreBias(LRP):
    """ZIgnoreBiasRule."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, rule="ZIgnoreBias", bn_layer_rule="ZIgnoreBias", **more)


class LRPEpsilon(LRP):
    """EpsilonRule. Raises RuleError for epsilon <= 0."""

    def __init__(self, model: Any = None, epsilon: Any = 1e-7, bias: bool = True, **more: Any) -> None:
        super().__init__(model, rule=EpsilonRule(epsilon, bias), **_without(more, *IGNORED))


class LRPEpsilonIgnoreBias(LRPEpsilon):
    """EpsilonRule without the bias."""

    def __init__(self, model: Any = None, epsilon: Any = 1e-7, **more: Any) -> None:
        super().__init__(model, epsilon, bias=False, **more)


class LRPStdxEpsilon(LRP):
    """StdxEpsilonRule: epsilon is stdfactor times the standard deviation of each layer's input."""

    def __init__(
        self, model: Any = None, epsilon: Any = 1e-7, stdfactor: Any = 0.25, bias: bool = True, **more: Any
    ) -> None:
        check_positive(epsilon)
        super().__init__(model, rule=StdxEpsilonRule(stdfactor, bias), **_without(more, *IGNORED))


class LRPWSquare(LRP):
    """WSquareRule."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, rule="WSquare", bn_layer_rule="WSquare", **more)


class LRPFlat(LRP):
    """FlatRule."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, rule="Flat", bn_layer_rule="Flat", **more)


class LRPAlphaBeta(LRP):
    """AlphaBetaRule: give alpha, beta or both. Raises RuleError unless alpha >= 1, beta >= 0, alpha - beta = 1 exactly."""

    def __init__(self, model: Any = None, alpha: Any = None, beta: Any = None, bias: bool = True, **more: Any) -> None:
        super().__init__(model, rule=AlphaBetaRule(alpha, beta, bias), **more)


class LRPAlpha2Beta1(LRPAlphaBeta):
    """AlphaBetaRule with alpha 2, beta 1."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, 2, 1, **more)


class LRPAlpha2Beta1IgnoreBias(LRPAlphaBeta):
    """AlphaBetaRule with alpha 2, beta 1, without the bias."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, 2, 1, False, **more)


class LRPAlpha1Beta0(LRPAlphaBeta):
    """AlphaBetaRule with alpha 1, beta 0."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, 1, 0, **more)


class LRPAlpha1Beta0IgnoreBias(LRPAlphaBeta):
    """AlphaBetaRule with alpha 1, beta 0, without the bias."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, 1, 0, False, **more)


class LRPZPlus(LRPAlpha1Beta0IgnoreBias):
    """ZPlusRule: the same as LRPAlpha1Beta0IgnoreBias."""


class LRPZPlusFast(LRP):
    """ZPlusFastRule."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, rule="ZPlusFast", bn_layer_rule="ZPlusFast", **more)


class LRPGamma(LRP):
    """GammaRule: LRP-gamma, or as_released=True what SignXAI computes under this name. Raises RuleError for gamma=None."""

    def __init__(
        self, model: Any = None, *, gamma: Any = 0.5, bias: bool = True, as_released: bool = False, **more: Any
    ) -> None:
        rule = GammaRule(gamma, bias, as_released)
        super().__init__(model, rule=rule, as_released=as_released, **_without(more, *IGNORED))


class _Sequential(LRP):
    convolution = ""

    def __init__(self, model: Any = None, epsilon: Any = 0.1, **more: Any) -> None:
        rules: list[tuple[Matcher, KerasRule | str]] = [
            (is_dense_layer, EpsilonRule(epsilon)),
            (is_conv_layer, self.convolution),
        ]
        super().__init__(model, rule=rules, **more)


class LRPSequentialCompositeA(_Sequential):
    """Epsilon 0.1 on dense layers, Alpha1Beta0 (with the bias) on convolutions."""

    convolution = "Alpha1Beta0"

    def __init__(self, model: Any = None, epsilon: Any = 0.1, **more: Any) -> None:
        super().__init__(model, epsilon, **_without(more, *IGNORED))


class LRPSequentialCompositeB(_Sequential):
    """Epsilon 0.1 on dense layers, Alpha2Beta1 on convolutions."""

    convolution = "Alpha2Beta1"


class LRPSequentialCompositeAFlat(LRPSequentialCompositeA):
    """LRPSequentialCompositeA with FlatRule on input layers."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        if "input_layer_rule" in more:
            raise RuleError("input_layer_rule is 'Flat' here; use LRPSequentialCompositeA for another")
        super().__init__(model, input_layer_rule="Flat", **more)


class LRPSequentialCompositeBFlat(LRPSequentialCompositeB):
    """LRPSequentialCompositeB with FlatRule on input layers."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        if "input_layer_rule" in more:
            raise RuleError("input_layer_rule is 'Flat' here; use LRPSequentialCompositeB for another")
        super().__init__(model, input_layer_rule="Flat", **more)


def LRPRuleUntilIndex(  # noqa: N802
    model: Any = None,
    *,
    until_layer_idx: int = 0,
    until_index_rule: Any = FlatRule,
    default_rule_configuration: Any = LRPSequentialCompositeBFlat,
    **more: Any,
) -> LRP:
    """Return an analyzer whose layers up to an index (counted from the input, 0) have a rule of their own. Needs `model`."""
    known = isinstance(default_rule_configuration, type) and issubclass(default_rule_configuration, LRP)
    if not known:
        raise RuleError("default_rule_configuration must be an analyzer's class, as LRPSequentialCompositeBFlat")
    made: LRP = default_rule_configuration(
        model, until_layer_idx=until_layer_idx, until_index_rule=until_index_rule, **more
    )
    return made


COMPOSITES: dict[str, Any] = {
    k.__name__: k
    for k in (
        LRP, LRPZ, LRPZIgnoreBias, LRPEpsilon, LRPEpsilonIgnoreBias, LRPStdxEpsilon, LRPWSquare, LRPFlat, LRPAlphaBeta,
        LRPAlpha2Beta1, LRPAlpha2Beta1IgnoreBias, LRPAlpha1Beta0, LRPAlpha1Beta0IgnoreBias, LRPZPlus, LRPZPlusFast, LRPGamma,
        LRPSequentialCompositeA, LRPSequentialCompositeB, LRPSequentialCompositeAFlat, LRPSequentialCompositeBFlat,
    )
}  # fmt: skip
"""The analyzers by name, but for LRPRuleUntilIndex, which needs the Keras model."""
