"""iNNvestigate's analyzers and rules: its names, its arguments, its numbers (those of iNNvestigate 2.1.2).

>>> from reflrp.dialects import innvestigate
>>> reflrp.explain("model.onnx", x, rules="innvestigate.LRPSequentialPresetA")  # doctest: +SKIP
>>> innvestigate.LRPEpsilon(epsilon=0.1, neuron_selection_mode="index").analyze("model.onnx", x, 3)  # doctest: +SKIP

An analyzer is a composite. Its first argument is the Keras model, as in the library, but it may be left out: it says what the
ONNX file does not keep (`LRP` says what). Where a name means one thing and iNNvestigate computes another, the name's
meaning is the default, and as_released=True is what iNNvestigate computes; `docs/innvestigate.md` lists all of it.
"""

from reflrp.composites.registry import REGISTRY
from reflrp.dialects.innvestigate.alphabeta import (
    Alpha1Beta0IgnoreBiasRule,
    Alpha1Beta0Rule,
    Alpha2Beta1IgnoreBiasRule,
    Alpha2Beta1Rule,
    AlphaBetaIgnoreBiasRule,
    AlphaBetaRule,
    AlphaBetaX2m100Rule,
    AlphaBetaX1000Rule,
    AlphaBetaX1001Rule,
    AlphaBetaX1010Rule,
    AlphaBetaXRule,
    ZPlusRule,
)
from reflrp.dialects.innvestigate.analyzers import (
    COMPOSITES,
    LRP,
    LRPZ,
    LRPAlpha1Beta0,
    LRPAlpha1Beta0IgnoreBias,
    LRPAlpha2Beta1,
    LRPAlpha2Beta1IgnoreBias,
    LRPAlphaBeta,
    LRPEpsilon,
    LRPEpsilonIgnoreBias,
    LRPFlat,
    LRPSequentialPresetA,
    LRPSequentialPresetAFlat,
    LRPSequentialPresetB,
    LRPSequentialPresetBFlat,
    LRPSequentialPresetBFlatUntilIdx,
    LRPWSquare,
    LRPZIgnoreBias,
    LRPZPlus,
    LRPZPlusFast,
)
from reflrp.dialects.innvestigate.deeptaylor import BoundedDeepTaylor, DeepTaylor
from reflrp.dialects.innvestigate.keras_rule import (
    SAFE,
    KerasRule,
)
from reflrp.dialects.innvestigate.layers import (
    AddReverseLayer,
    AveragePoolingReverseLayer,
    BatchNormalizationReverseLayer,
    FusedBatchNormalization,
    SharedMaximum,
    Statistics,
)
from reflrp.dialects.innvestigate.living import composite
from reflrp.dialects.innvestigate.rules import (
    LRP_RULES,
    BoundedRule,
    EpsilonRule,
    FlatRule,
    WSquareRule,
    ZPlusFastRule,
    ZRule,
)
from reflrp.dialects.keras import KerasModel
from reflrp.dialects.keras_matchers import contains_kernel, is_conv_layer, is_dense_layer, is_input_layer

COMPOSITES.update({"DeepTaylor": DeepTaylor, "BoundedDeepTaylor": BoundedDeepTaylor})
REGISTRY.meanings[KerasRule] = lambda rule: LRP(rule=rule, bn_layer_rule=rule)

__all__ = [
    "COMPOSITES",
    "LRP",
    "LRPZ",
    "LRP_RULES",
    "SAFE",
    "AddReverseLayer",
    "Alpha1Beta0IgnoreBiasRule",
    "Alpha1Beta0Rule",
    "Alpha2Beta1IgnoreBiasRule",
    "Alpha2Beta1Rule",
    "AlphaBetaIgnoreBiasRule",
    "AlphaBetaRule",
    "AlphaBetaX2m100Rule",
    "AlphaBetaX1000Rule",
    "AlphaBetaX1001Rule",
    "AlphaBetaX1010Rule",
    "AlphaBetaXRule",
    "AveragePoolingReverseLayer",
    "BatchNormalizationReverseLayer",
    "BoundedDeepTaylor",
    "BoundedRule",
    "DeepTaylor",
    "EpsilonRule",
    "FlatRule",
    "FusedBatchNormalization",
    "KerasModel",
    "KerasRule",
    "LRPAlpha1Beta0",
    "LRPAlpha1Beta0IgnoreBias",
    "LRPAlpha2Beta1",
    "LRPAlpha2Beta1IgnoreBias",
    "LRPAlphaBeta",
    "LRPEpsilon",
    "LRPEpsilonIgnoreBias",
    "LRPFlat",
    "LRPSequentialPresetA",
    "LRPSequentialPresetAFlat",
    "LRPSequentialPresetB",
    "LRPSequentialPresetBFlat",
    "LRPSequentialPresetBFlatUntilIdx",
    "LRPWSquare",
    "LRPZIgnoreBias",
    "LRPZPlus",
    "LRPZPlusFast",
    "SharedMaximum",
    "Statistics",
    "WSquareRule",
    "ZPlusFastRule",
    "ZPlusRule",
    "ZRule",
    "composite",
    "contains_kernel",
    "is_conv_layer",
    "is_dense_layer",
    "is_input_layer",
]
