"""RelevancePropagation.jl's composites: maps of rules, of which the last that fits a layer wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

from reflrp import rules as r
from reflrp.composites import REGISTRY, Pairs, anything, kind
from reflrp.composites import Composite as Base
from reflrp.composites.matchers import Matcher, Survey
from reflrp.dialects.relevance_propagation_jl import layers as flux
from reflrp.dialects.relevance_propagation_jl.fused import Fused
from reflrp.dialects.relevance_propagation_jl.layers import Layer, LayerType, layers_of
from reflrp.dialects.relevance_propagation_jl.rules import STABILIZER, JuliaRule, ZeroRule
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ir import Graph, Node
from reflrp.ops.normaliser import Softmax
from reflrp.rules.base import Rule

SUPPORTED = ("Relu", "Gelu", "GeluTanh", "Swish", "Mish")
"""The activations that RelevancePropagation.jl takes without being told to (beside the identity)."""

_LAYERS: WeakKeyDictionary[Survey, dict[str, Layer]] = WeakKeyDictionary()


def _layers(survey: Survey) -> dict[str, Layer]:
    """Return a graph's layers by the name of their node, and of their activation's."""
    if survey not in _LAYERS:
        layers = layers_of(survey.graph)
        own = {layer.node.name: layer for layer in layers}
        _LAYERS[survey] = {**{x.activation.name: x for x in layers if x.activation}, **own}
    return _LAYERS[survey]


@dataclass(frozen=True)
class Numbered(Matcher):
    """The layers whose numbers, counted from 1, are in a range; or (None) the last one."""

    numbers: range | None

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node is such a layer."""
        layers = _layers(survey)
        if node.name not in layers or layers[node.name].node is not node:
            return False
        number = layers[node.name].number
        return number == max(x.number for x in layers.values()) if self.numbers is None else number in self.numbers


@dataclass(frozen=True)
class _Activation(Matcher):
    """The activations that a layer has."""

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node is the activation of another."""
        layers = _layers(survey)
        return node.name in layers and layers[node.name].node is not node


@dataclass(frozen=True)
class Primitive:
    """Rules for some layers, as pairs (matcher, rule), of which the first that fits wins."""

    title: str
    pairs: Pairs

    def __repr__(self) -> str:
        return f"{self.title}({', '.join(f'{m!r}: {rule!r}' for m, rule in self.pairs)})"


def _map(title: str, where: Matcher, rule: Any) -> Primitive:
    if not isinstance(rule, JuliaRule):
        raise RuleError(f"{title}: {checks.shown(rule)} is no rule of reflrp.dialects.relevance_propagation_jl")
    return Primitive(title, ((where, rule),))


def _type_map(title: str, where: Matcher, types: Any) -> Primitive:
    if not isinstance(types, Mapping) or not all(isinstance(k, LayerType) for k in types):
        raise RuleError(f"{title} takes a dict of rules by type of layer, as {{Dense: EpsilonRule()}}")
    return Primitive(title, tuple((k & where, _map(title, k, rule).pairs[0][1]) for k, rule in types.items()))


def _range(value: Any) -> Matcher:
    if not isinstance(value, range):
        raise checks.refuse("range", value, "a range, as range(1, 4) for Julia's 1:3", RuleError)
    return Numbered(value)


def _first_n(n: Any) -> Matcher:
    return Numbered(range(1, checks.whole("n", n, 0, error=RuleError) + 1))


def GlobalMap(rule: JuliaRule) -> Primitive:  # noqa: N802
    """Return a rule for all layers."""
    return _map("GlobalMap", anything(), rule)


def LayerMap(index: int, rule: JuliaRule) -> Primitive:  # noqa: N802
    """Return a rule for the layer of that number, counted from 1."""
    number = checks.whole("index", index, 1, error=RuleError)
    return _map("LayerMap", Numbered(range(number, number + 1)), rule)


def RangeMap(range: range, rule: JuliaRule) -> Primitive:  # noqa: N802
    """Return a rule for the layers whose numbers, counted from 1, are in a range: Julia's 1:3 is range(1, 4)."""
    return _map("RangeMap", _range(range), rule)


def FirstLayerMap(rule: JuliaRule) -> Primitive:  # noqa: N802
    """Return a rule for the first layer."""
    return _map("FirstLayerMap", _first_n(1), rule)


def LastLayerMap(rule: JuliaRule) -> Primitive:  # noqa: N802
    """Return a rule for the last layer."""
    return _map("LastLayerMap", Numbered(None), rule)


def GlobalTypeMap(types: Mapping[LayerType, JuliaRule]) -> Primitive:  # noqa: N802
    """Return rules by type of layer; the first type that fits wins."""
    return _type_map("GlobalTypeMap", anything(), types)


def RangeTypeMap(range: range, types: Mapping[LayerType, JuliaRule]) -> Primitive:  # noqa: N802
    """Return the same for the layers in a range, counted from 1."""
    return _type_map("RangeTypeMap", _range(range), types)


def FirstNTypeMap(n: int, types: Mapping[LayerType, JuliaRule]) -> Primitive:  # noqa: N802
    """Return the same for the first n layers."""
    return _type_map("FirstNTypeMap", _first_n(n), types)


def FirstLayerTypeMap(types: Mapping[LayerType, JuliaRule]) -> Primitive:  # noqa: N802
    """Return the same for the first layer: no rule where that is of no type in the map."""
    return _type_map("FirstLayerTypeMap", _first_n(1), types)


def LastLayerTypeMap(types: Mapping[LayerType, JuliaRule]) -> Primitive:  # noqa: N802
    """Return the same for the last layer."""
    return _type_map("LastLayerTypeMap", Numbered(None), types)


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
                raise RuleError(
                    f"{checks.shown(primitive)} is no primitive: use GlobalMap, GlobalTypeMap and their kin"
                )
        self.skip_checks = checks.flag("skip_checks", skip_checks, RuleError)
        own: Pairs = ((_Activation(), r.Pass()), (kind("sum"), r.Norm(STABILIZER)))
        last_wins = tuple(pair for primitive in reversed(given) for pair in primitive.pairs)
        super().__init__((*own, *last_wins, (anything(), ZeroRule())), f"relevance_propagation_jl.{title}", ())

    def assign(self, graph: Graph) -> dict[str, Rule]:
        """Return {node name: rule}."""
        layers = layers_of(graph)
        if not self.skip_checks:
            _check(layers)
        found = super().assign(graph)
        for layer in layers:
            rule = found.get(layer.node.name)
            if layer.activation and isinstance(rule, JuliaRule) and rule.fused(layer.node):
                found[layer.node.name] = Fused(rule, layer.activation.op)
        return found


def _check(layers: list[Layer]) -> None:
    """Raise RuleError for what RelevancePropagation.jl refuses unless told not to."""
    if layers and isinstance(layers[-1].node.op, Softmax):
        name = layers[-1].node.name
        raise RuleError(f"{name!r} is a softmax at the end, which RelevancePropagation.jl asks to strip")
    for node in (n for layer in layers for n in (layer.node, layer.activation) if n):
        if node.kind == "pointwise" and node.op_type not in SUPPORTED:
            raise RuleError(
                f"{node.name!r} ({node.op_type}) is no activation that RelevancePropagation.jl supports; "
                "skip_checks=True takes it"
            )


def start(normalize_output_relevance: bool = True) -> Literal["one", "output"]:
    """Return the `init` that RelevancePropagation.jl starts with: 1 at the explained output, or the output itself."""
    return "one" if checks.flag("normalize_output_relevance", normalize_output_relevance, RuleError) else "output"


def _bare(rule: JuliaRule) -> Composite:
    """Return what a bare rule means: it on layers with weights, ZeroRule elsewhere."""
    return Composite(GlobalTypeMap({flux.ConvLayer: rule, flux.Dense: rule}))


REGISTRY.meanings[JuliaRule] = _bare
