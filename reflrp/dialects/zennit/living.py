"""A living composite of zennit's as rules of ours, module by module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reflrp.arrays.looks import listed
from reflrp.composites import Composite, Pairs
from reflrp.dialects.living import At, Network, Part, Place
from reflrp.dialects.living.network import EXPORT, modules_of
from reflrp.dialects.zennit import types
from reflrp.dialects.zennit.canonization import canonization
from reflrp.dialects.zennit.canonizers import MERGES
from reflrp.dialects.zennit.hooks import rule
from reflrp.dialects.zennit.rules import Flat, OnRelu, Pass, ReLUDeconvNet, ReLUGuidedBackprop, WSquare, ZBox
from reflrp.errors import RuleError
from reflrp.ground.checks import refuse
from reflrp.ir import Graph, Shape
from reflrp.rules.base import Rule
from reflrp.rules.other import Gradient


def composite(obj: Any, model: Any, module: Any, shapes: Mapping[str, Shape] | None = None) -> Composite:
    """Return what one of zennit's composites does to a torch network, as rules for the nodes of its ONNX file.

    The composite is asked about each module, as zennit asks it, so that any subclass, map, name and first layer is its own.
    Nothing of torch or zennit is imported, and the network is left as it is.

    Parameters
    ----------
    obj : zennit.core.Composite
        The composite, as it is given to an attributor.
    model : path, bytes, onnx.ModelProto or Model
        The ONNX file of the network, by torch's exporter, which writes the modules' names into it.
    module : torch.nn.Module
        The network.
    shapes : dict, optional
        The inputs' shapes by name, where the file leaves more open than the batch size.

    Returns
    -------
    Composite
        With the rule of each node. Where the graph at another shape has other nodes, these have no rule, and are refused.

    Raises
    ------
    RuleError
        For rules, canonizers, functions as stabiliser ... that have no equivalent here, and for modules that the file does
        not show as one operator each, with their own weights: by name.

    """
    if isinstance(obj, type) or not callable(getattr(obj, "module_map", None)) or not hasattr(obj, "canonizers"):
        raise refuse("obj", obj, "a composite of zennit's, with module_map and canonizers", RuleError)
    if getattr(getattr(type(obj), "register", None), "__module__", "zennit.core") != "zennit.core":
        raise RuleError(f"{type(obj).__name__} hooks modules in its own way, by another `register` than zennit's")
    canonized, merges, version = canonization(obj.canonizers, module)
    passes = ("part_bias", *([MERGES[version]] if merges else []))
    network = Network(model, canonized, passes, merges, shapes)
    ctx: dict[Any, Any] = {}
    hooks = {name: obj.module_map(ctx, name, m) for name, m in modules_of(canonized).items()}
    hooks = {name: hook for name, hook in hooks.items() if hook is not None}
    made = {id(hook): rule(hook, name) for name, hook in reversed(hooks.items())}  # one for all that share a hook
    rules = {name: made[id(hook)] for name, hook in hooks.items()}
    found = Settled(settled(network, rules), f"zennit.{type(obj).__name__}", passes, _differs(network, rules, version))
    found.assign(network.graph)  # refuses here rules on nodes that they cannot serve
    return found


@dataclass(frozen=True, repr=False)
class Settled(Composite):
    """Rules that are settled node by node; `differs` says what the library does otherwise."""

    differs: tuple[str, ...] = ()

    def remarks(self, graph: Graph, assigned: Mapping[str, Rule]) -> tuple[str, ...]:
        """Return what the library does otherwise."""
        return self.differs


def _differs(network: Network, rules: Mapping[str, Rule], version: str) -> tuple[str, ...]:
    """Return what zennit does otherwise: layers that are called more than once, and 0.5.1 for BatchNorms merged in the file."""
    calls = Counter(place.parts[0].name for place in network.places if place.own and place.parts[0].name in rules)
    again = [
        n
        for n, count in calls.items()
        if count > 1 and not isinstance(rules[n], Pass | ReLUDeconvNet | ReLUGuidedBackprop)
    ]
    twice = f"{', '.join(map(repr, again))}: called more than once, where zennit keeps the input of the last call only"
    left = {part.name for place in network.places for part in place.parts if network.left_of(part, place.node)}
    merged = {place.merged.name for place in network.places if place.merged} - left if version == "0.5.1" else set()
    norms = (
        f"{listed(map(repr, sorted(merged)), 5, 60)}: merged in the file already, where zennit 0.5.1 divides by sqrt(1 + eps) "
        f"once more; use {EXPORT}"
    )
    return (*([norms] if merged else []), *([twice] if again else []))


def settled(network: Network, rules: Mapping[str, Rule]) -> Pairs:
    """Return the pairs (matcher, rule) for the nodes of a network whose modules have these rules."""
    found: dict[int, tuple[Rule, set[str]]] = {}
    gradient = Gradient()
    seen: set[str] = set()
    for place in network.places:
        parts = _added(network, place) or place.parts
        seen.update(part.name for part in parts)
        seen.update([place.merged.name] if place.merged else [])
        chosen = _chosen(place, parts, rules) or gradient
        found.setdefault(id(chosen), (chosen, set()))[1].add(place.node.name)
    check_merges(network, rules)
    _check_unseen(network, rules, seen)
    return tuple((At(frozenset(names)), chosen) for chosen, names in found.values())


def _added(network: Network, place: Place) -> tuple[Part, ...]:
    """Return the Sum that a canonizer adds to a residual block, where the node is the block's sum."""
    if not types.Sum(place.node, network.survey) or len(place.parts) != 1:
        return ()
    part = network.parts.get(f"{place.parts[0].name}.canonizer_sum")
    return (part,) if part is not None else ()


def _chosen(place: Place, parts: tuple[Part, ...], rules: Mapping[str, Rule]) -> Rule | None:
    """Return the rule of a node, or None where it has none. Raises RuleError where a module's rule is not the node's."""
    given = {part.name: rules.get(part.name) for part in parts}
    one = next(iter(given.values()), None)
    if any(other is not one for other in given.values()):
        raise RuleError(f"node {place} may be of {', '.join(map(repr, parts))}, which have different rules: {given}")
    if one is not None and parts == place.parts and not place.own:
        raise RuleError(
            f"{parts[0]!r} has the rule {one!r}, but the file shows no one operator of it: node {place} is in it"
        )
    return one


def check_merges(network: Network, rules: Mapping[str, Rule]) -> None:
    """Refuse BatchNorms that zennit merges and the graph does not, or the other way round, and what zennit then does to them."""
    for place in network.places:
        for part in place.parts if place.own else ():
            norm = network.merges.get(part.name)
            if norm is not None and place.merged is None:
                raise RuleError(f"zennit merges {norm!r} into {part!r}, but in the file it does not follow it")
            if part.is_batchnorm and part.name in network.merges.values() and not network.left_of(part, place.node):
                raise RuleError(f"zennit merges {part!r} into a layer that it does not follow in the file")
            if norm is not None and not isinstance(rules.get(norm), Pass | None):
                raise RuleError(
                    f"{norm!r} is merged, and has the rule {rules[norm]!r}, which acts on what zennit leaves of it"
                )


def _check_unseen(network: Network, rules: Mapping[str, Rule], seen: set[str]) -> None:
    """Refuse rules on modules of which the file does not show that they are one operator.

    A module that is not called is not in the file. That a layer is not called is proven by its weights, which no node has;
    Pass on a module without a node does nothing (nn.Dropout).
    """
    for name in rules:
        part, inner = (
            network.parts[name],
            sorted(s for s in seen if s != name and s.startswith(f"{name}." if name else "")),
        )
        if inner:
            raise RuleError(
                f"{part!r} has the rule {rules[name]!r}, but is more than one operator: {inner[0]!r} is in it"
            )
    unseen = [network.parts[n] for n in rules if n not in seen and not isinstance(rules[n], Pass)]
    lost = [part for part in unseen if not part.is_weighted and not part.is_batchnorm]
    if lost:
        raise RuleError(
            f"no node of the file is from {', '.join(map(repr, lost[:8]))}, but it has the rule {rules[lost[0].name]!r}: the "
            "exporter left it out, or it is not called; give it no rule"
        )
    passing = {n for n, rule in rules.items() if isinstance(rule, Pass | OnRelu)}
    for node, name in network.moved_in(passing):
        raise RuleError(
            f"{network.parts[name]!r} has the rule {rules[name]!r}, but also moves values: node {node.name!r}"
        )
    check_borders(network, rules)


def check_borders(network: Network, rules: Mapping[str, Rule]) -> None:
    """Refuse rules for which an input of 0 and a border are two things, on modules that have another border in the file.

    Either a border of the module is a node of the file, or exporters have merged into it what another module pads.
    """
    counting = {n for n, rule in rules.items() if isinstance(rule, Flat | WSquare | ZBox)}
    for node, name in network.bordered_in(counting):
        raise RuleError(
            f"{network.parts[name]!r} has the rule {rules[name]!r}, and in the file a border of its own, node {node.name!r}, "
            "whose zeros would count as inputs; export it with optimize=True, which merges the two"
        )
    for node, name in network.widened(counting):
        raise RuleError(
            f"{network.parts[name]!r} has the rule {rules[name]!r}, and in the file another border, node {node.name!r}, whose "
            f"zeros would not count as inputs: what pads before it is merged into it; export it by {EXPORT}"
        )
