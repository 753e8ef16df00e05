"""iNNvestigate's analyzers: LRP and its presets."""

from __future__ import annotations

from typing import Any

from reflrp import rules as r
from reflrp.composites import Composite, Pairs, anything, kind, op_type
from reflrp.composites.matchers import Matcher
from reflrp.dialects.innvestigate.alphabeta import AlphaBetaRule, AlphaBetaX2m100Rule
from reflrp.dialects.innvestigate.base import ELEMENTWISE, PARTS, UNJOINED, UNKNOWN, Analyzer, Setting
from reflrp.dialects.innvestigate.keras_rule import KerasRule
from reflrp.dialects.innvestigate.layers import BatchNormalizationReverseLayer, FusedBatchNormalization
from reflrp.dialects.innvestigate.rules import EpsilonRule, FlatRule, ZRule
from reflrp.dialects.keras import KERNEL, KerasModel
from reflrp.dialects.keras_matchers import Layers, Refused, is_conv_layer, is_dense_layer
from reflrp.errors import RuleError
from reflrp.ground import checks

NONE: Any = r.Stop()


class LRP(Analyzer):
    """One rule, a list of rules, or conditions; with rules of their own for the input layer and up to an index.

    Parameters
    ----------
    model : Keras model, or its description, optional
        For what the ONNX file does not say (`reflrp.dialects.keras`). None: activations are taken for fused ones, each sum
        for a layer Add.
    rule : str, rule, list of them, or list of (condition, rule)
        A list has a rule for each layer with a kernel, from the input on (as_released=True: from its last entry on).
    input_layer_rule : str, rule or (low, high)
        The rule of input layers; a pair means BoundedRule.
    until_layer_idx, until_layer_rule : int and rule
        The rule of layers up to this place in `model.layers`, which counts layers without a kernel, too. Needs `model`.
    bn_layer_rule : str or rule
        The rule on the linear layer that stands for a BatchNormalization; None: the Z-rule.
    bn_layer_fuse_mode : str
        "one_linear" or "two_linear".
    neuron_selection_mode : str
        For `analyze`: "max_activation", "index" or "all".
    disable_model_checks : bool
        Let a Softmax stand in the network; where it is the output, `analyze` starts with its values.
    as_released : bool
        Compute what iNNvestigate 2.1.2 computes where that is not what the names mean: the variance of BatchNormalization
        squared, AlphaBetaX with beta for alpha, an Add of one tensor with itself doubled, lists of rules from their end.

    Raises RuleError for arguments that the library refuses.

    """

    def __init__(
        self,
        model: Any = None,
        *,
        rule: Any = None,
        input_layer_rule: Any = None,
        until_layer_idx: int | None = None,
        until_layer_rule: Any = None,
        bn_layer_rule: Any = None,
        bn_layer_fuse_mode: str = "one_linear",
        neuron_selection_mode: str = "max_activation",
        disable_model_checks: bool = False,
        as_released: bool = False,
    ) -> None:
        if rule is None:
            raise RuleError("rule=None: LRP needs a rule, or a list of rules")
        described = KerasModel.of(model)
        setting = Setting(described, checks.flag("as_released", as_released, RuleError))
        checks.choice("bn_layer_fuse_mode", bn_layer_fuse_mode, ("one_linear", "two_linear"), RuleError)
        until = until_index(described, until_layer_idx, until_layer_rule)
        pairs = (
            *setting.kernels(rule, input_layer_rule, until),
            *_batchnorm(setting, bn_layer_rule, bn_layer_fuse_mode),
            *setting.sums(),
            *_functions(setting, checks.flag("disable_model_checks", disable_model_checks, RuleError)),
            *setting.gradients(),
        )
        super().__init__(described, pairs, neuron_selection_mode, disable_model_checks)


def until_index(model: KerasModel | None, index: Any, rule: Any) -> tuple[Matcher, Any] | None:
    """Return the condition of the layers up to an index, and their rule; None where one of both is not given."""
    if index is None or rule is None:
        return None
    checks.whole("until_layer_idx", index, error=RuleError)
    if model is None:
        raise RuleError(
            "until_layer_idx counts the layers of the Keras model, which the ONNX file does not keep: give model="
        )
    if index >= len(model.layers):
        raise RuleError(f"until_layer_idx={index} is out of range for {len(model.layers)} layers")
    return Layers(model, tuple(layer.name for layer in model.layers[: max(index + 1, 0)])), rule


def _batchnorm(setting: Setting, rule: Any, mode: str) -> Pairs:
    matcher = setting.batchnorm()
    if rule is None and setting.as_released:
        why = "with bn_layer_rule=None iNNvestigate 2.1.2 raises at a BatchNormalization"
        return ((Refused(matcher, why), NONE),)
    if rule is None:
        return ((matcher, BatchNormalizationReverseLayer()),)
    chosen, fuse_mode, as_released = setting.rule(rule), mode, setting.as_released
    if not as_released and mode == "one_linear":
        return ((matcher, FusedBatchNormalization(chosen)),)
    why = f"the statistics that bn_layer_fuse_mode={mode!r}, as_released={as_released} need are not in the ONNX file; give model="
    return (
        *setting.each_batchnorm(lambda s: FusedBatchNormalization(chosen, fuse_mode, as_released, s)),  # type: ignore[arg-type]
        (Refused(matcher, why), NONE),
    )


def _functions(setting: Setting, disable_model_checks: bool) -> Pairs:
    """Return the pairs of what neither has a kernel nor adds: activations pass where they are fused or of Activation."""
    inside = kind("product", "sum") & setting.among([*KERNEL, "Activation"], ~anything())
    passing = setting.fused() | (ELEMENTWISE & setting.among(["Activation"], ~anything()))
    softmax = op_type("Softmax", "LogSoftmax") & kind("normaliser")
    checked = (
        Refused(softmax, "a Softmax is not analysed: cut it off, or give disable_model_checks=True and model="),
        NONE,
    )
    known = setting.model is not None
    return (
        *(() if disable_model_checks and known else (checked,)),
        (UNJOINED, NONE),
        (Refused(inside, PARTS), NONE),
        (passing, r.Pass()),
        *(() if known else ((Refused(kind("diagonal"), UNKNOWN), NONE),)),
    )


class LRPZ(LRP):
    """ZRule."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, rule="Z", bn_layer_rule="Z", **more)


class LRPZIgnoreBias(LRP):
    """ZRule without the bias (an analyzer of iNNvestigate 1; version 2 has none of this name)."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, rule=ZRule(bias=False), bn_layer_rule=ZRule(bias=False), **more)


class LRPEpsilon(LRP):
    """EpsilonRule. Raises RuleError for epsilon <= 0."""

    def __init__(self, model: Any = None, epsilon: Any = 1e-7, bias: bool = True, **more: Any) -> None:
        rule = EpsilonRule(epsilon, bias)
        super().__init__(model, rule=rule, bn_layer_rule=rule, **more)


class LRPEpsilonIgnoreBias(LRPEpsilon):
    """EpsilonRule without the bias (an analyzer of iNNvestigate 1; version 2 writes LRPEpsilon(bias=False))."""

    def __init__(self, model: Any = None, epsilon: Any = 1e-7, **more: Any) -> None:
        super().__init__(model, epsilon, bias=False, **more)


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

    def __init__(
        self, model: Any = None, *, alpha: Any = None, beta: Any = None, bias: bool = True, **more: Any
    ) -> None:
        rule = AlphaBetaRule(alpha, beta, bias)
        super().__init__(model, rule=rule, bn_layer_rule=rule, **more)


class LRPAlpha2Beta1(LRPAlphaBeta):
    """AlphaBetaRule with alpha 2, beta 1."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, alpha=2, beta=1, **more)


class LRPAlpha2Beta1IgnoreBias(LRPAlphaBeta):
    """AlphaBetaRule with alpha 2, beta 1, without the bias."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, alpha=2, beta=1, bias=False, **more)


class LRPAlpha1Beta0(LRPAlphaBeta):
    """AlphaBetaRule with alpha 1, beta 0."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, alpha=1, beta=0, **more)


class LRPAlpha1Beta0IgnoreBias(LRPAlphaBeta):
    """AlphaBetaRule with alpha 1, beta 0, without the bias."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, alpha=1, beta=0, bias=False, **more)


class LRPZPlus(LRPAlpha1Beta0IgnoreBias):
    """ZPlusRule: the same as LRPAlpha1Beta0IgnoreBias."""


class LRPZPlusFast(LRP):
    """ZPlusFastRule."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, rule="ZPlusFast", bn_layer_rule="ZPlusFast", **more)


class _Sequential(LRP):
    """Epsilon on dense layers, a rule of AlphaBeta on convolutions."""

    convolution = ""

    def __init__(
        self, model: Any = None, *, epsilon: Any = 0.1, bn_layer_rule: Any = AlphaBetaX2m100Rule, **more: Any
    ) -> None:
        rules: list[tuple[Matcher, KerasRule | str]] = [
            (is_dense_layer, EpsilonRule(epsilon)),
            (is_conv_layer, self.convolution),
        ]
        super().__init__(model, rule=rules, bn_layer_rule=bn_layer_rule, **more)


class LRPSequentialPresetA(_Sequential):
    """Epsilon 0.1 on dense layers, Alpha1Beta0 (with the bias) on convolutions, AlphaBetaX2m100 on BatchNormalization."""

    convolution = "Alpha1Beta0"


class LRPSequentialPresetB(_Sequential):
    """Epsilon 0.1 on dense layers, Alpha2Beta1 on convolutions, AlphaBetaX2m100 on BatchNormalization."""

    convolution = "Alpha2Beta1"


def _flat(more: dict[str, Any]) -> dict[str, Any]:
    if more.get("input_layer_rule", "Flat") != "Flat":
        raise RuleError(f"input_layer_rule={checks.shown(more['input_layer_rule'])} must be 'Flat' here")
    return {**more, "input_layer_rule": "Flat"}


class LRPSequentialPresetAFlat(LRPSequentialPresetA):
    """LRPSequentialPresetA with FlatRule on input layers."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, **_flat(more))


class LRPSequentialPresetBFlat(LRPSequentialPresetB):
    """LRPSequentialPresetB with FlatRule on input layers."""

    def __init__(self, model: Any = None, **more: Any) -> None:
        super().__init__(model, **_flat(more))


class LRPSequentialPresetBFlatUntilIdx(LRPSequentialPresetBFlat):
    """LRPSequentialPresetBFlat with FlatRule on the layers up to a place in `model.layers`, too."""

    def __init__(self, model: Any = None, *, until_layer_idx: int | None = None, **more: Any) -> None:
        super().__init__(model, until_layer_idx=until_layer_idx, until_layer_rule=FlatRule, **more)


COMPOSITES: dict[str, type[Composite]] = {
    k.__name__: k
    for k in (
        LRP, LRPZ, LRPZIgnoreBias, LRPEpsilon, LRPEpsilonIgnoreBias, LRPWSquare, LRPFlat, LRPAlphaBeta, LRPAlpha2Beta1,
        LRPAlpha2Beta1IgnoreBias, LRPAlpha1Beta0, LRPAlpha1Beta0IgnoreBias, LRPZPlus, LRPZPlusFast, LRPSequentialPresetA,
        LRPSequentialPresetB, LRPSequentialPresetAFlat, LRPSequentialPresetBFlat, LRPSequentialPresetBFlatUntilIdx,
    )
}  # fmt: skip
"""The analyzers by name."""
