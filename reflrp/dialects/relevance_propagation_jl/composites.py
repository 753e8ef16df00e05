"""RelevancePropagation.jl's composites: maps of rules, of which the last that fits a layer wins; and its presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reflrp import rules as r
from reflrp.composites import REGISTRY, Pairs, anything, kind
from reflrp.composites import Composite as Base
from reflrp.composites.matchers import Matcher, Survey
from reflrp.dialects.relevance_propagation_jl import layers as flux
from reflrp.dialects.relevance_propagation_jl.layers import Layer, LayerType, layers_of
from reflrp.dialects.relevance_propagation_jl.rules import (
    EPSILON,
    STABILIZER,
    AlphaBetaRule,
    EpsilonRule,
    FlatRule,
    Fused,
    GammaRule,
    JuliaRule,
    LayerNormRule,
    PassRule,
    ZBoxRule,
    ZeroRule,
    ZPlusRule,
)
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ir import Graph, Node
from reflrp.ops.normaliser import Softmax
from reflrp.rules.base import Rule

TypeMap = Mapping[LayerType, JuliaRule]

SUPPORTED = ("Relu", "Gelu", "GeluTanh", "Swish", "Mish")
"""The activations that RelevancePropagation.jl takes without being told to (beside the identity)."""


@dataclass(frozen=True)
class Primitive:
    """Base: gives a layer a rule, or none. `count` is how many layers there are."""

    def rule_for(self, layer: Layer, count: int) -> JuliaRule | None:
        """Return the rule of a layer, or None."""
        raise NotImplementedError


@dataclass(frozen=True)
class GlobalMap(Primitive):
    """A rule on all layers."""

    rule: JuliaRule

    def rule_for(self, layer: Layer, count: int) -> JuliaRule | None:
        """Return the rule."""
        return self.rule


@dataclass(frozen=True)
class LayerMap(Primitive):
    """A rule on the layer of that number, counted from 1."""

    index: int
    rule: JuliaRule

    def rule_for(self, layer: Layer, count: int) -> JuliaRule | None:
        """Return the rule of the layer with the number."""
        return self.rule if layer.number == self.index else None


@dataclass(frozen=True)
class RangeMap(Primitive):
    """A rule on the layers whose numbers, counted from 1, are in the range: Julia's 1:3 is range(1, 4)."""

    range: range
    rule: JuliaRule

    def rule_for(self, layer: Layer, count: int) -> JuliaRule | None:
        """Return the rule of a layer in the range."""
        return self.rule if layer.number in self.range else None


@dataclass(frozen=True)
class FirstLayerMap(Primitive):
    """A rule on the first layer."""

    rule: JuliaRule

    def rule_for(self, layer: Layer, count: int) -> JuliaRule | None:
        """Return the rule of the first layer."""
        return self.rule if layer.number == 1 else None


@dataclass(frozen=True)
class LastLayerMap(Primitive):
    """A rule on the last layer."""

    rule: JuliaRule

    def rule_for(self, layer: Layer, count: int) -> JuliaRule | None:
        """Return the rule of the last layer."""
        return self.rule if layer.number == count else None


@dataclass(frozen=True, eq=False)
class GlobalTypeMap(Primitive):
    """{type of layer: rule}: the first type that fits wins."""

    map: TypeMap

    def rule_for(self, layer: Layer, count: int) -> JuliaRule | None:
        """Return the rule of the layer's type."""
        if not self.applies(layer.number, count):
            return None
        return next((rule for kind_, rule in self.map.items() if kind_(layer.node)), None)

    def applies(self, number: int, count: int) -> bool:
        """Return whether the map holds for the layer of that number."""
        return True


@dataclass(frozen=True, eq=False)
class RangeTypeMap(GlobalTypeMap):
    """The same for layers in a range, counted from 1."""

    range: range

    def applies(self, number: int, count: int) -> bool:
        """Return whether the number is in the range."""
        return number in self.range


@dataclass(frozen=True, eq=False)
class FirstNTypeMap(GlobalTypeMap):
    """The same for the first n layers."""

    n: int

    def applies(self, number: int, count: int) -> bool:
        """Return whether the number is at most n."""
        return number <= self.n


@dataclass(frozen=True, eq=False)
class FirstLayerTypeMap(GlobalTypeMap):
    """The same for the first layer: no rule where that is of no type in the map."""

    def applies(self, number: int, count: int) -> bool:
        """Return whether the layer is the first."""
        return number == 1


@dataclass(frozen=True, eq=False)
class LastLayerTypeMap(GlobalTypeMap):
    """The same for the last layer."""

    def applies(self, number: int, count: int) -> bool:
        """Return whether the layer is the last."""
        return number == count


class Composite(Base):
    """Primitives, of which the last that gives a layer a rule wins; ZeroRule elsewhere.

    A rule in the first place is GlobalMap(rule). Activations that a layer has let relevance through; those on their own
    are layers. Sums share in proportion, with a stabiliser of 1e-9. Raises RuleError (when it is assigned) for a softmax at
    the end and for activations other than ReLU, GELU, swish and mish, unless skip_checks=True.
    """

    def __init__(self, *primitives: Any, skip_checks: bool = False, title: str = "Composite") -> None:
        given = tuple(GlobalMap(p) if i == 0 and isinstance(p, JuliaRule) else p for i, p in enumerate(primitives))
        for primitive in given:
            if not isinstance(primitive, Primitive):
                raise RuleError(f"{checks.shown(primitive)} is no primitive: use GlobalMap, GlobalTypeMap and their kin")
            _check_rules(primitive)
        self.primitives, self.skip_checks = given, checks.flag("skip_checks", skip_checks, RuleError)
        pairs: Pairs = ((kind("sum"), r.Norm(STABILIZER)), (anything(), ZeroRule()))
        super().__init__(pairs, f"relevance_propagation_jl.{title}", ())

    def assign(self, graph: Graph) -> dict[str, Rule]:
        """Return {node name: rule}."""
        layers, found = layers_of(graph), dict[str, Rule]()
        for layer in layers:
            self._check(layer, layer is layers[-1])
            if layer.node.kind != "routing":
                found[layer.node.name] = self._rule(layer, len(layers))
            if layer.activation:
                found[layer.activation.name] = r.Pass()
        named = tuple((_Is(name), rule) for name, rule in found.items())
        return Base((*named, *self.pairs), self.title, ()).assign(graph)

    def _rule(self, layer: Layer, count: int) -> Rule:
        given = (p.rule_for(layer, count) for p in reversed(self.primitives))
        rule = next((rule for rule in given if rule is not None), ZeroRule())
        if layer.activation and rule.fits(layer.node) and rule.fused(layer.node):
            return Fused(rule, layer.activation.op)
        return rule

    def _check(self, layer: Layer, last: bool) -> None:
        if self.skip_checks:
            return
        for node in filter(None, (layer.node, layer.activation)):
            if last and isinstance(node.op, Softmax):
                raise RuleError(f"{node.name!r} is a softmax at the end, which RelevancePropagation.jl asks to strip")
            if node.kind == "pointwise" and node.op_type not in SUPPORTED:
                raise RuleError(
                    f"{node.name!r} ({node.op_type}) is no activation that RelevancePropagation.jl supports; "
                    "skip_checks=True takes it"
                )


@dataclass(frozen=True)
class _Is(Matcher):
    """The node of one name."""

    name: str

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node has the name."""
        return node.name == self.name


def _check_rules(primitive: Any) -> None:
    """Raise RuleError for a primitive without rules of this dialect."""
    if isinstance(primitive, GlobalTypeMap):
        if not isinstance(primitive.map, Mapping) or not all(isinstance(k, LayerType) for k in primitive.map):
            raise RuleError(f"{type(primitive).__name__} takes a dict of rules by type of layer")
        rules: Any = primitive.map.values()
    else:
        rules = [primitive.rule]
    for rule in rules:
        if not isinstance(rule, JuliaRule):
            raise RuleError(f"{checks.shown(rule)} is no rule of reflrp.dialects.relevance_propagation_jl")


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


def start(normalize_output_relevance: bool = True) -> Literal["one", "output"]:
    """Return the `init` that RelevancePropagation.jl starts with: 1 at the explained output, or the output itself."""
    return "one" if checks.flag("normalize_output_relevance", normalize_output_relevance) else "output"


def _bare(rule: JuliaRule) -> Composite:
    """Return what a bare rule means: it on layers with weights, ZeroRule elsewhere."""
    return Composite(GlobalTypeMap({flux.ConvLayer: rule, flux.Dense: rule}))


COMPOSITES = {
    "EpsilonGammaBox": EpsilonGammaBox,
    "EpsilonPlus": EpsilonPlus,
    "EpsilonAlpha2Beta1": EpsilonAlpha2Beta1,
    "EpsilonPlusFlat": EpsilonPlusFlat,
    "EpsilonAlpha2Beta1Flat": EpsilonAlpha2Beta1Flat,
}
"""The presets by name."""

REGISTRY.meanings[JuliaRule] = _bare
