"""SignXAI2's LRP, of its TensorFlow part: its names, its arguments, its numbers (those of SignXAI2 0.14.1).

>>> from reflrp.dialects import signxai
>>> reflrp.explain("model.onnx", x, rules="signxai.LRPSequentialCompositeA")  # doctest: +SKIP
>>> signxai.LRPEpsilon(epsilon=0.1, input_layer_rule="SIGN").analyze("model.onnx", x, 3)  # doctest: +SKIP

An analyzer is a composite. Its first argument is the Keras model, as in the library, but it may be left out: it says what the
ONNX file does not keep. Where a name means one thing and SignXAI computes another, the name's meaning is the default, and
as_released=True is what SignXAI computes; `docs/signxai.md` lists all of it. The names of its torch part mean the same rules;
what that part computes under them is not reproduced.
"""

from reflrp.dialects.innvestigate.alphabeta import (
    Alpha1Beta0IgnoreBiasRule,
    Alpha1Beta0Rule,
    Alpha2Beta1IgnoreBiasRule,
    Alpha2Beta1Rule,
    AlphaBetaIgnoreBiasRule,
    AlphaBetaRule,
    ZPlusRule,
)
from reflrp.dialects.innvestigate.layers import (
    AddReverseLayer as AddReverseRule,
)
from reflrp.dialects.innvestigate.layers import (
    AveragePoolingReverseLayer as AveragePoolingReverseRule,
)
from reflrp.dialects.innvestigate.layers import (
    BatchNormalizationReverseLayer as BatchNormalizationReverseRule,
)
from reflrp.dialects.innvestigate.rules import (
    EpsilonRule,
    FlatRule,
    WSquareRule,
    ZPlusFastRule,
    ZRule,
)
from reflrp.dialects.keras import KerasModel
from reflrp.dialects.keras_matchers import contains_kernel, is_conv_layer, is_dense_layer, is_input_layer
from reflrp.dialects.signxai.analyzers import (
    COMPOSITES,
    LRPZ,
    LRPAlpha1Beta0,
    LRPAlpha1Beta0IgnoreBias,
    LRPAlpha2Beta1,
    LRPAlpha2Beta1IgnoreBias,
    LRPAlphaBeta,
    LRPEpsilon,
    LRPEpsilonIgnoreBias,
    LRPFlat,
    LRPGamma,
    LRPRuleUntilIndex,
    LRPSequentialCompositeA,
    LRPSequentialCompositeAFlat,
    LRPSequentialCompositeB,
    LRPSequentialCompositeBFlat,
    LRPStdxEpsilon,
    LRPWSquare,
    LRPZIgnoreBias,
    LRPZPlus,
    LRPZPlusFast,
)
from reflrp.dialects.signxai.base import LRP
from reflrp.dialects.signxai.living import composite
from reflrp.dialects.signxai.rules import (
    LRP_RULES,
    AlphaBetaX2m100Rule,
    AlphaBetaX1000Rule,
    AlphaBetaX1001Rule,
    AlphaBetaX1010Rule,
    AlphaBetaXRule,
    BoundedRule,
    EpsilonIgnoreBiasRule,
    GammaRule,
    SIGNmuRule,
    SIGNRule,
    StdxEpsilonRule,
    ZIgnoreBiasRule,
)

__all__ = [
    "COMPOSITES",
    "LRP",
    "LRPZ",
    "LRP_RULES",
    "AddReverseRule",
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
    "AveragePoolingReverseRule",
    "BatchNormalizationReverseRule",
    "BoundedRule",
    "EpsilonIgnoreBiasRule",
    "EpsilonRule",
    "FlatRule",
    "GammaRule",
    "KerasModel",
    "LRPAlpha1Beta0",
    "LRPAlpha1Beta0IgnoreBias",
    "LRPAlpha2Beta1",
    "LRPAlpha2Beta1IgnoreBias",
    "LRPAlphaBeta",
    "LRPEpsilon",
    "LRPEpsilonIgnoreBias",
    "LRPFlat",
    "LRPGamma",
    "LRPRuleUntilIndex",
    "LRPSequentialCompositeA",
    "LRPSequentialCompositeAFlat",
    "LRPSequentialCompositeB",
    "LRPSequentialCompositeBFlat",
    "LRPStdxEpsilon",
    "LRPWSquare",
    "LRPZIgnoreBias",
    "LRPZPlus",
    "LRPZPlusFast",
    "SIGNRule",
    "SIGNmuRule",
    "StdxEpsilonRule",
    "WSquareRule",
    "ZIgnoreBiasRule",
    "ZPlusFastRule",
    "ZPlusRule",
    "ZRule",
    "composite",
    "contains_kernel",
    "is_conv_layer",
    "is_dense_layer",
    "is_input_layer",
]
