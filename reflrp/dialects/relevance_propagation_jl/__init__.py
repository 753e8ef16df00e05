"""RelevancePropagation.jl's LRP (3.0.0, Julia): its names, its arguments, its numbers.

>>> from reflrp.dialects import relevance_propagation_jl as rp
>>> rules = rp.Composite(rp.GlobalTypeMap({rp.ConvLayer: rp.ZPlusRule(), rp.Dense: rp.EpsilonRule()}),
...                      rp.FirstLayerMap(rp.FlatRule()))  # doctest: +SKIP
>>> reflrp.explain(model, x, rules=rules, init=rp.start())  # doctest: +SKIP
>>> reflrp.explain(model, x, rules="relevance_propagation_jl.EpsilonPlus", init="one")  # doctest: +SKIP

A rule alone, as `rules=rp.GammaRule(0.5)`, means: it on dense and convolutional layers, ZeroRule elsewhere. `layers` says
which layers of Flux the nodes of a graph are, and how they are counted.

Its start is 1 at the explained output, `init=start()`; with normalize_output_relevance=False it is the output,
`init=start(False)`. Where several outputs are largest it takes the first in Julia's order (the first index running fastest),
here it is the first in C order.

Not offered, because it changes the network: `canonize` merges a BatchNorm without its epsilon.
"""

from reflrp.dialects.relevance_propagation_jl.composites import (
    Composite,
    FirstLayerMap,
    FirstLayerTypeMap,
    FirstNTypeMap,
    GlobalMap,
    GlobalTypeMap,
    LastLayerMap,
    LastLayerTypeMap,
    LayerMap,
    RangeMap,
    RangeTypeMap,
    start,
)
from reflrp.dialects.relevance_propagation_jl.layers import (
    BatchNorm,
    Conv,
    ConvLayer,
    ConvTranspose,
    Dense,
    GlobalMaxPool,
    GlobalMeanPool,
    LayerNorm,
    MaxPool,
    MaxPoolLayer,
    MeanPool,
    MeanPoolLayer,
    NormalizationLayer,
    PoolingLayer,
    ReshapingLayer,
    Scale,
)
from reflrp.dialects.relevance_propagation_jl.presets import (
    COMPOSITES,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
)
from reflrp.dialects.relevance_propagation_jl.rules import (
    AlphaBetaRule,
    EpsilonRule,
    FlatRule,
    GammaRule,
    GeneralizedGammaRule,
    LayerNormRule,
    PassRule,
    WSquareRule,
    ZBoxRule,
    ZeroRule,
    ZPlusRule,
)

__all__ = [
    "COMPOSITES",
    "AlphaBetaRule",
    "BatchNorm",
    "Composite",
    "Conv",
    "ConvLayer",
    "ConvTranspose",
    "Dense",
    "EpsilonAlpha2Beta1",
    "EpsilonAlpha2Beta1Flat",
    "EpsilonGammaBox",
    "EpsilonPlus",
    "EpsilonPlusFlat",
    "EpsilonRule",
    "FirstLayerMap",
    "FirstLayerTypeMap",
    "FirstNTypeMap",
    "FlatRule",
    "GammaRule",
    "GeneralizedGammaRule",
    "GlobalMap",
    "GlobalMaxPool",
    "GlobalMeanPool",
    "GlobalTypeMap",
    "LastLayerMap",
    "LastLayerTypeMap",
    "LayerMap",
    "LayerNorm",
    "LayerNormRule",
    "MaxPool",
    "MaxPoolLayer",
    "MeanPool",
    "MeanPoolLayer",
    "NormalizationLayer",
    "PassRule",
    "PoolingLayer",
    "RangeMap",
    "RangeTypeMap",
    "ReshapingLayer",
    "Scale",
    "WSquareRule",
    "ZBoxRule",
    "ZPlusRule",
    "ZeroRule",
    "start",
]
