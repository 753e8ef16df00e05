"""zennit.composites: maps from layers to rules, and zennit's nine presets.

A layer map is a list of pairs (types, rule), of which the first that fits wins; see `reflrp.dialects.zennit.types`.
What fits no pair has no hook in zennit, and here the rule Gradient. Each composite is a `reflrp.Composite`.
"""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from reflrp.composites import REGISTRY, Composite, Pairs
from reflrp.composites.matchers import Matcher, Survey, anything, earliest
from reflrp.dialects.zennit import types
from reflrp.dialects.zennit.canonizers import Canonizer
from reflrp.dialects.zennit.naming import matcher
from reflrp.dialects.zennit.nn import ReLU
from reflrp.dialects.zennit.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Norm,
    OnRelu,
    Pass,
    ReLUBetaSmooth,
    ReLUDeconvNet,
    ReLUGuidedBackprop,
    ZBox,
    ZennitRule,
    ZeroParams,
    ZPlus,
)
from reflrp.errors import RuleError
from reflrp.ir import Node
from reflrp.ops.stabilizer import StabilizerLike
from reflrp.rules.base import Rule
from reflrp.rules.other import Gradient

LayerMap = Sequence[tuple[types.Types, Rule]]
NameMap = Sequence[tuple[Sequence[str], Rule]]
Canonizers = Iterable[Canonizer] | None

COMPOSITES: dict[str, Callable[..., Composite]] = {}
"""zennit's names of its composites, as "epsilon_plus_flat"."""


def register_composite(name: str) -> Callable[[Any], Any]:
    """Enter a composite in COMPOSITES. Use as a decorator."""

    def enter(composite: Any) -> Any:
        COMPOSITES[name] = composite
        return composite

    return enter


class _Mapped(Composite):
    """Pairs (matcher, rule) and Gradient for the rest; the canonizers say which passes run before."""

    def __init__(self, mapped: Pairs, canonizers: Canonizers) -> None:
        self.mapped, self.canonizers = tuple(mapped), list(canonizers or ())
        for canonizer in self.canonizers:
            if not isinstance(canonizer, Canonizer):
                raise RuleError(f"{canonizer!r} is no canonizer of reflrp.dialects.zennit")
        passes = dict.fromkeys(["part_bias", *(p for canonizer in self.canonizers for p in canonizer.passes)])
        pairs = (*self.mapped, (anything(), Gradient()))
        super().__init__(pairs, f"zennit.{type(self).__name__}", tuple(passes))


def _pairs(layer_map: LayerMap | None) -> Pairs:
    return tuple((matcher(kinds), rule) for kinds, rule in layer_map or ())


class LayerMapComposite(_Mapped):
    """Rules by type of layer."""

    def __init__(self, layer_map: LayerMap | None, canonizers: Canonizers = None) -> None:
        super().__init__(_pairs(layer_map), canonizers)


class SpecialFirstLayerMapComposite(_Mapped):
    """Rules by type of layer, and others for the first layer: the first in the graph's order that `first_map` fits."""

    def __init__(self, layer_map: LayerMap | None, first_map: LayerMap | None, canonizers: Canonizers = None) -> None:
        firsts = _pairs(first_map)
        if firsts:
            first = earliest(matcher(tuple(m for m, _ in firsts)))
            firsts = tuple((first & m, rule) for m, rule in firsts)
        super().__init__((*firsts, *_pairs(layer_map)), canonizers)


@dataclass(frozen=True)
class _Named(Matcher):
    names: tuple[str, ...]

    def __call__(self, node: Node, survey: Survey) -> bool:
        return any(name in self.names for name in (*_module(node), node.name, node.output, *node.onnx))


def _module(node: Node) -> tuple[str, ...]:
    """Return the name of the torch module that a node comes from, where the exporter wrote it down."""
    scopes: list[str] = literal_eval(node.scope) if node.scope.startswith("[") else []
    return tuple(filter(None, scopes[-2:-1]))


class NameMapComposite(_Mapped):
    """Rules by name: of the torch module, where the exporter wrote it down, of the ONNX node, or of its output.

    `names` is a tuple or list. (A bare str, in which zennit looks for each name as a substring, is an error.)
    """

    def __init__(self, name_map: NameMap | None, canonizers: Canonizers = None) -> None:
        for names, _ in name_map or ():
            if isinstance(names, str):
                raise RuleError(f"name_map takes tuples of names: write ({names!r},)")
        super().__init__(tuple((_Named(tuple(names)), rule) for names, rule in name_map or ()), canonizers)


class MixedComposite(_Mapped):
    """Several composites: the first that has a rule for a layer wins.

    As in zennit, a first layer stays the first for its composite where an earlier composite has a rule for it.
    """

    def __init__(self, composites: Sequence[Composite], canonizers: Canonizers = None) -> None:
        mapped = tuple(pair for c in composites for pair in getattr(c, "mapped", c.pairs))
        inner = [canonizer for c in composites for canonizer in getattr(c, "canonizers", ())]
        super().__init__(mapped, [*(canonizers or ()), *inner])


class NameLayerMapComposite(MixedComposite):
    """Rules by name, then by type of layer."""

    def __init__(
        self, name_map: NameMap | None = None, layer_map: LayerMap | None = None, canonizers: Canonizers = None
    ) -> None:
        super().__init__([NameMapComposite(name_map), LayerMapComposite(layer_map)], canonizers)


def layer_map_base(stabilizer: StabilizerLike = 1e-6) -> list[tuple[types.Types, Rule]]:
    """Return what most of zennit's composites share: activations and BatchNorm pass, sums and average pools share."""
    return [
        (types.Activation, Pass()),
        (types.Sum, Norm(stabilizer)),
        (types.AvgPool, Norm(stabilizer)),
        (types.BatchNorm, Pass()),
    ]


def _layers(user: LayerMap | None, conv: Rule, dense: Rule, stabilizer: StabilizerLike) -> LayerMap:
    return [*(user or ()), *layer_map_base(stabilizer), (types.Convolution, conv), (types.DenseLinear, dense)]


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
        firsts = [*(first_map or ()), (types.Convolution, ZBox(low, high, stabilizer, zero_params))]
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
        super().__init__(layers, [*(first_map or ()), (types.Linear, Flat(stabilizer, zero_params))], canonizers)


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
        super().__init__(layers, [*(first_map or ()), (types.Linear, Flat(stabilizer, zero_params))], canonizers)


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
        super().__init__([*(layer_map or ()), *own], canonizers)


@register_composite("deconvnet")
class DeconvNet(LayerMapComposite):
    """ReLUDeconvNet on ReLUs, gradients elsewhere."""

    def __init__(self, layer_map: LayerMap | None = None, canonizers: Canonizers = None) -> None:
        super().__init__([*(layer_map or ()), (ReLU, ReLUDeconvNet())], canonizers)


@register_composite("guided_backprop")
class GuidedBackprop(LayerMapComposite):
    """ReLUGuidedBackprop on ReLUs, gradients elsewhere."""

    def __init__(self, layer_map: LayerMap | None = None, canonizers: Canonizers = None) -> None:
        super().__init__([*(layer_map or ()), (ReLU, ReLUGuidedBackprop())], canonizers)


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
        super().__init__([*(layer_map or ()), (ReLU, ReLUBetaSmooth(beta_smooth))], canonizers)


def _on_linear(rule: ZennitRule) -> Composite:
    """Return what a bare rule means: it on every linear layer, zennit's base map on the rest, gradients elsewhere."""
    return LayerMapComposite([(types.Linear, rule), *layer_map_base()])


def _on_relu(rule: OnRelu) -> Composite:
    """Return what a bare rule for ReLUs means: it on every ReLU, gradients elsewhere."""
    return LayerMapComposite([(ReLU, rule)])


REGISTRY.meanings.update({ZennitRule: _on_linear, OnRelu: _on_relu})
