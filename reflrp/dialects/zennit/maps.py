"""zennit's maps from layers to rules: by type of layer, by name, mixed, with a special first layer.

A layer map is a list of pairs (types, rule), of which the first that fits wins; `naming` says what types may be. What fits
no pair has no hook in zennit, and here the rule Gradient. Each composite is a `reflrp.Composite`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reflrp.arrays.looks import listed as listed_briefly
from reflrp.composites import Composite, Pairs
from reflrp.composites.matchers import anything, earliest
from reflrp.composites.named import check_names, known
from reflrp.dialects.zennit import types
from reflrp.dialects.zennit.canonizers import Canonizer, check_merges
from reflrp.dialects.zennit.naming import Named, matcher, module, names_of, unnamed
from reflrp.dialects.zennit.rules import (
    Norm,
    Pass,
)
from reflrp.errors import RuleError
from reflrp.ground.checks import listed_things, shown, texts
from reflrp.ir import Graph
from reflrp.ops.stabilizer import StabilizerLike
from reflrp.rules.base import Rule
from reflrp.rules.other import Gradient

LayerMap = Sequence[tuple[types.Types, Rule]]
NameMap = Sequence[tuple[Sequence[str], Rule]]
Canonizers = Iterable[Canonizer] | None


class _Mapped(Composite):
    """Pairs (matcher, rule) and Gradient for the rest; the canonizers say which passes run before."""

    def __init__(self, mapped: Pairs, canonizers: Canonizers) -> None:
        self.mapped, self.canonizers = tuple(mapped), list(listed("canonizers", canonizers))
        for canonizer in self.canonizers:
            if not isinstance(canonizer, Canonizer):
                raise RuleError(f"{shown(canonizer)} is no canonizer of reflrp.dialects.zennit")
        passes = dict.fromkeys(["part_bias", *check_merges(p for c in self.canonizers for p in c.passes)])
        pairs = (*self.mapped, (anything(), Gradient()))
        super().__init__(pairs, f"zennit.{type(self).__name__}", tuple(passes))

    def assign(self, graph: Graph) -> dict[str, Rule]:
        """Return {node name: rule}.

        Raises RuleError for names that no node has, where the file tells of no torch modules. (Where it does, a module may
        have no node, as a Dropout or a BatchNorm that is merged, and as in zennit its name means nothing.)
        """
        if self._names and not any(map(module, graph.nodes)):
            names = known(graph, names_of)
            check_names(self.title, (n for n in self._names if n not in names), names, unnamed(graph))
        return super().assign(graph)

    def remarks(self, graph: Graph, assigned: Mapping[str, Rule]) -> tuple[str, ...]:
        """Return what there is to know of the rules: names that no node has."""
        names = known(graph, names_of) if self._names else frozenset()
        lost = [repr(n) for n in self._names if n not in names]
        none = (f"no node is named {listed_briefly(lost, 5, 60)}",) if lost else ()
        return (*super().remarks(graph, assigned), *none)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(n for matcher, _ in self.mapped if isinstance(matcher, Named) for n in matcher.names)


def listed(name: str, value: Any) -> tuple[Any, ...]:
    """Return a list of what maps are made of, None being an empty one."""
    return listed_things(name, value, "a list or a tuple", RuleError)


def mapped(name: str, value: Any) -> tuple[tuple[Any, Any], ...]:
    """Return the pairs of a layer map or a name map."""
    found = listed(name, value)
    for pair in found:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise RuleError(f"{name}: {shown(pair)} is no pair of what to match and a rule")
    return found


def _pairs(name: str, layer_map: LayerMap | None) -> Pairs:
    return tuple((matcher(kinds), rule) for kinds, rule in mapped(name, layer_map))


class LayerMapComposite(_Mapped):
    """Rules by type of layer."""

    def __init__(self, layer_map: LayerMap | None, canonizers: Canonizers = None) -> None:
        super().__init__(_pairs("layer_map", layer_map), canonizers)


class SpecialFirstLayerMapComposite(_Mapped):
    """Rules by type of layer, and others for the first layer: the first in the graph's order that `first_map` fits."""

    def __init__(self, layer_map: LayerMap | None, first_map: LayerMap | None, canonizers: Canonizers = None) -> None:
        firsts = _pairs("first_map", first_map)
        if firsts:
            first = earliest(matcher(tuple(m for m, _ in firsts)))
            firsts = tuple((first & m, rule) for m, rule in firsts)
        super().__init__((*firsts, *_pairs("layer_map", layer_map)), canonizers)


class NameMapComposite(_Mapped):
    """Rules by name: of the torch module, where the exporter wrote it down, of the ONNX node, or of its output.

    `names` is a tuple or list. (A bare str, in which zennit looks for each name as a substring, is an error.)
    """

    def __init__(self, name_map: NameMap | None, canonizers: Canonizers = None) -> None:
        pairs = mapped("name_map", name_map)
        for names, _ in pairs:
            if isinstance(names, str):
                raise RuleError(f"name_map takes tuples of names: write ({names!r},)")
        super().__init__(tuple((Named(texts("name_map", names, RuleError)), rule) for names, rule in pairs), canonizers)


class MixedComposite(_Mapped):
    """Several composites: the first that has a rule for a layer wins.

    As in zennit, a first layer stays the first for its composite where an earlier composite has a rule for it.
    """

    def __init__(self, composites: Sequence[Composite], canonizers: Canonizers = None) -> None:
        composites = listed("composites", composites)
        for composite in composites:
            if not isinstance(composite, Composite):
                raise RuleError(f"{shown(composite)} is no composite")
        mapped = tuple(pair for c in composites for pair in getattr(c, "mapped", c.pairs))
        inner = [canonizer for c in composites for canonizer in getattr(c, "canonizers", ())]
        super().__init__(mapped, [*listed("canonizers", canonizers), *inner])


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
