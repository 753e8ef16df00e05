"""zennit.composites: zennit's nine presets, by its names and with its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reflrp.composites import REGISTRY, Composite
from reflrp.dialects.zennit import types
from reflrp.dialects.zennit.maps import (
    Canonizers,
    LayerMap,
    LayerMapComposite,
    SpecialFirstLayerMapComposite,
    layer_map_base,
    mapped,
)
from reflrp.dialects.zennit.nn import ReLU
from reflrp.dialects.zennit.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Norm,
    OnRelu,
    ReLUBetaSmooth,
    ReLUDeconvNet,
    ReLUGuidedBackprop,
    ZBox,
    ZennitRule,
    ZeroParams,
    ZPlus,
)
from reflrp.ops.stabilizer import StabilizerLike
from reflrp.rules.base import Rule

COMPOSITES: dict[str, Callable[..., Composite]] = {}
"""zennit's names of its composites, as "epsilon_plus_flat"."""


def register_composite(name: str) -> Callable[[Any], Any]:
    """Enter a composite in COMPOSITES. Use as a decorator."""

    def enter(composite: Any) -> Any:
        COMPOSITES[name] = composite
        return composite

    return enter


def _layers(user: LayerMap | None, conv: Rule, dense: Rule, stabilizer: StabilizerLike) -> LayerMap:
    return [
        *mapped("layer_map", user),
        *layer_map_base(stabilizer),
        (types.Convolution, conv),
        (types.DenseLinear, dense),
    ]


@register_composite("epsilon_gamma_box")
class EpsilonGammaBox(SpecialFirstLayerMapComposite):
    """ZBox on the first convolution, Gamma on the others, Epsilon on dense layers."""

    def __init__(
        self,
        low: Any,
        high: Any,
        epsilon: StabilizerLike = 1e-6,
        gamma: float = 0.25,
        stabilizer: StabilizerLike = 1e-6,
        layer_map: LayerMap | None = None,
        first_map: LayerMap | None = None,
        zero_params: ZeroParams = None,
        canonizers: Canonizers = None,
    ) -> None:
        conv = Gamma(gamma, stabilizer, zero_params)
        layers = _layers(layer_map, conv, Epsilon(epsilon, zero_params), stabilizer)
        firsts = [*mapped("first_map", first_map), (types.Convolution, ZBox(low, high, stabilizer, zero_params))]
        super().__init__(layers, firsts, canonizers)


@register_composite("epsilon_plus")
class EpsilonPlus(LayerMapComposite):
    """ZPlus on convolutions, Epsilon on dense layers."""

    def __init__(
        self,
        epsilon: StabilizerLike = 1e-6,
        stabilizer: StabilizerLike = 1e-6,
        layer_map: LayerMap | None = None,
        zero_params: ZeroParams = None,
        canonizers: Canonizers = None,
    ) -> None:
        conv = ZPlus(stabilizer, zero_params)
        super().__init__(_layers(layer_map, conv, Epsilon(epsilon, zero_params), stabilizer), canonizers)


@register_composite("epsilon_plus_flat")
class EpsilonPlusFlat(SpecialFirstLayerMapComposite):
    """Flat on the first linear layer, ZPlus on convolutions, Epsilon on dense layers."""

    def __init__(
        self,
        epsilon: StabilizerLike = 1e-6,
        stabilizer: StabilizerLike = 1e-6,
        layer_map: LayerMap | None = None,
        first_map: LayerMap | None = None,
        zero_params: ZeroParams = None,
        canonizers: Canonizers = None,
    ) -> None:
        conv = ZPlus(stabilizer, zero_params)
        layers = _layers(layer_map, conv, Epsilon(epsilon, zero_params), stabilizer)
        super().__init__(
            layers, [*mapped("first_map", first_map), (types.Linear, Flat(stabilizer, zero_params))], canonizers
        )


@register_composite("epsilon_alpha2_beta1")
class EpsilonAlpha2Beta1(LayerMapComposite):
    """AlphaBeta(2, 1) on convolutions, Epsilon on dense layers."""

    def __init__(
        self,
        epsilon: StabilizerLike = 1e-6,
        stabilizer: StabilizerLike = 1e-6,
        layer_map: LayerMap | None = None,
        zero_params: ZeroParams = None,
        canonizers: Canonizers = None,
    ) -> None:
        conv = AlphaBeta(2.0, 1.0, stabilizer, zero_params)
        super().__init__(_layers(layer_map, conv, Epsilon(epsilon, zero_params), stabilizer), canonizers)


@register_composite("epsilon_alpha2_beta1_flat")
class EpsilonAlpha2Beta1Flat(SpecialFirstLayerMapComposite):
    """Flat on the first linear layer, AlphaBeta(2, 1) on convolutions, Epsilon on dense layers."""

    def __init__(
        self,
        epsilon: StabilizerLike = 1e-6,
        stabilizer: StabilizerLike = 1e-6,
        layer_map: LayerMap | None = None,
        first_map: LayerMap | None = None,
        zero_params: ZeroParams = None,
        canonizers: Canonizers = None,
    ) -> None:
        conv = AlphaBeta(2.0, 1.0, stabilizer, zero_params)
        layers = _layers(layer_map, conv, Epsilon(epsilon, zero_params), stabilizer)
        super().__init__(
            layers, [*mapped("first_map", first_map), (types.Linear, Flat(stabilizer, zero_params))], canonizers
        )


@register_composite("excitation_backprop")
class ExcitationBackprop(LayerMapComposite):
    """ZPlus on all linear layers, Norm on sums and average pools, gradients through activations and BatchNorm."""

    def __init__(
        self,
        stabilizer: StabilizerLike = 1e-6,
        layer_map: LayerMap | None = None,
        zero_params: ZeroParams = None,
        canonizers: Canonizers = None,
    ) -> None:
        norm, plus = Norm(stabilizer), ZPlus(stabilizer, zero_params)
        own = [(types.Sum, norm), (types.AvgPool, norm), (types.Linear, plus)]
        super().__init__([*mapped("layer_map", layer_map), *own], canonizers)


@register_composite("deconvnet")
class DeconvNet(LayerMapComposite):
    """ReLUDeconvNet on ReLUs, gradients elsewhere."""

    def __init__(self, layer_map: LayerMap | None = None, canonizers: Canonizers = None) -> None:
        super().__init__([*mapped("layer_map", layer_map), (ReLU, ReLUDeconvNet())], canonizers)


@register_composite("guided_backprop")
class GuidedBackprop(LayerMapComposite):
    """ReLUGuidedBackprop on ReLUs, gradients elsewhere."""

    def __init__(self, layer_map: LayerMap | None = None, canonizers: Canonizers = None) -> None:
        super().__init__([*mapped("layer_map", layer_map), (ReLU, ReLUGuidedBackprop())], canonizers)


@register_composite("beta_smooth")
class BetaSmooth(LayerMapComposite):
    """ReLUBetaSmooth on ReLUs, gradients elsewhere. As in zennit, `zero_params` is taken and not used."""

    def __init__(
        self,
        beta_smooth: float = 10.0,
        layer_map: LayerMap | None = None,
        zero_params: ZeroParams = None,
        canonizers: Canonizers = None,
    ) -> None:
        super().__init__([*mapped("layer_map", layer_map), (ReLU, ReLUBetaSmooth(beta_smooth))], canonizers)


def _on_linear(rule: ZennitRule) -> Composite:
    """Return what a bare rule means: it on every linear layer, zennit's base map on the rest, gradients elsewhere."""
    return LayerMapComposite([(types.Linear, rule), *layer_map_base()])


def _on_relu(rule: OnRelu) -> Composite:
    """Return what a bare rule for ReLUs means: it on every ReLU, gradients elsewhere."""
    return LayerMapComposite([(ReLU, rule)])


REGISTRY.meanings.update({ZennitRule: _on_linear, OnRelu: _on_relu})
