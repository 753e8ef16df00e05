"""RelevancePropagation.jl's five presets."""

from __future__ import annotations

from typing import Any

from reflrp.dialects.relevance_propagation_jl import layers as flux
from reflrp.dialects.relevance_propagation_jl.composites import Composite, FirstLayerTypeMap, GlobalTypeMap
from reflrp.dialects.relevance_propagation_jl.rules import (
    EPSILON,
    AlphaBetaRule,
    EpsilonRule,
    FlatRule,
    GammaRule,
    JuliaRule,
    LayerNormRule,
    PassRule,
    ZBoxRule,
    ZPlusRule,
)


def _preset(title: str, conv: JuliaRule, epsilon: Any, first: JuliaRule | None = None) -> Composite:
    dense = EpsilonRule(epsilon)
    base = GlobalTypeMap(
        {
            flux.ConvLayer: conv,
            flux.Dense: dense,
            flux.Scale: dense,
            flux.LayerNorm: LayerNormRule(),
            flux.NormalizationLayer: PassRule(),
        }
    )
    firsts = [FirstLayerTypeMap({flux.ConvLayer: first})] if first else []
    return Composite(base, *firsts, title=title)


def EpsilonGammaBox(low: Any, high: Any, epsilon: Any = EPSILON, gamma: Any = 0.25) -> Composite:  # noqa: N802
    """ZBoxRule on the first layer if that is a convolution, GammaRule on the others, EpsilonRule on dense layers."""
    return _preset("EpsilonGammaBox", GammaRule(gamma), epsilon, ZBoxRule(low, high))


def EpsilonPlus(epsilon: Any = EPSILON) -> Composite:  # noqa: N802
    """ZPlusRule on convolutions, EpsilonRule on dense layers."""
    return _preset("EpsilonPlus", ZPlusRule(), epsilon)


def EpsilonAlpha2Beta1(epsilon: Any = EPSILON) -> Composite:  # noqa: N802
    """AlphaBetaRule(2, 1) on convolutions, EpsilonRule on dense layers."""
    return _preset("EpsilonAlpha2Beta1", AlphaBetaRule(), epsilon)


def EpsilonPlusFlat(epsilon: Any = EPSILON) -> Composite:  # noqa: N802
    """FlatRule on the first layer if that is a convolution, ZPlusRule on the others, EpsilonRule on dense layers."""
    return _preset("EpsilonPlusFlat", ZPlusRule(), epsilon, FlatRule())


def EpsilonAlpha2Beta1Flat(epsilon: Any = EPSILON) -> Composite:  # noqa: N802
    """FlatRule on the first layer if that is a convolution, AlphaBetaRule(2, 1) on the others, EpsilonRule on dense."""
    return _preset("EpsilonAlpha2Beta1Flat", AlphaBetaRule(), epsilon, FlatRule())


COMPOSITES = {
    "EpsilonGammaBox": EpsilonGammaBox,
    "EpsilonPlus": EpsilonPlus,
    "EpsilonAlpha2Beta1": EpsilonAlpha2Beta1,
    "EpsilonPlusFlat": EpsilonPlusFlat,
    "EpsilonAlpha2Beta1Flat": EpsilonAlpha2Beta1Flat,
}
"""The presets by name."""
