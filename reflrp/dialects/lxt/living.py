"""Settings from a living composite of lxt.explicit's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import reflrp.dialects.zennit  # noqa: F401 (what reads living networks imports it, and it them: it goes first)
from reflrp.composites import Composite
from reflrp.dialects.living import At, Network, Part, Place
from reflrp.dialects.living.network import modules_of
from reflrp.dialects.lxt.functions import by_functions
from reflrp.dialects.lxt.rules import (
    EpsilonRule,
    IdentityRule,
    StopRelevanceRule,
    UniformEpsilonRule,
    UniformRule,
    layer_norm,
    linear_epsilon,
    softmax,
)
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ir import WEIGHTED, Shape
from reflrp.rules.base import Rule
from reflrp.rules.other import Gradient

PATCHES = (
    "lxt.efficient changes the methods of classes, and leaves no composite that could be read: use lxt.AttnLRP(form='efficient') "
    "or lxt.CP_LRP(form='efficient')"
)
ELEMENTWISE = frozenset({"pointwise", "normaliser", "diagonal"})
WRAPS: dict[str, Callable[..., Rule]] = {
    "IdentityRule": IdentityRule, "StopRelevanceRule": StopRelevanceRule, "EpsilonRule": EpsilonRule,
    "UniformEpsilonRule": UniformEpsilonRule, "UniformRule": UniformRule,
}  # fmt: skip
"""The rules of lxt.explicit.rules that are wrapped around a module."""
MODULES: dict[str, tuple[Callable[..., Rule], str]] = {
    "LinearEpsilon": (linear_epsilon, "Linear"), "SoftmaxDT": (softmax, "Softmax"), "LayerNormEpsilon": (layer_norm, "LayerNorm"),
}  # fmt: skip
"""The modules of lxt.explicit.modules that replace one, each with our rule and what it replaces."""


def composite(
    obj: Any, model: Any, module: Any, functions: bool = False, shapes: Mapping[str, Shape] | None = None
) -> Composite:
    """Return what an `lxt.explicit.core.Composite` does to a torch network, as rules for the nodes of its ONNX file.

    Each module but the network itself has the first rule of the layer map whose class it is of, as LXT attaches it. What has no
    rule is a plain gradient. Nothing of torch or LXT is imported, and the network is left as it is.

    Parameters
    ----------
    obj : lxt.explicit.core.Composite
        The composite, before it is registered, or after `remove`.
    model : path, bytes, onnx.ModelProto or Model
        The ONNX file of the network, by torch's exporter, which writes the modules' names into it.
    module : torch.nn.Module
        The network.
    functions : bool
        LXT replaces the very functions of the map (operator.add), and not methods (x.add(y)) or others of their kind
        (torch.matmul beside @), which write the same operator. True says that the network has none of these: so each such
        operator outside of torch's own modules is of the map's function. False refuses maps with functions.
    shapes : dict, optional
        The inputs' shapes by name, where the file leaves more open than the batch size.

    Raises
    ------
    RuleError
        For patches of lxt.efficient, canonizers, zennit's composites, rules and functions that have no equivalent here, and for
        modules with a rule that the file does not show as one operator: by name.

    """
    checks.flag("functions", functions, RuleError)
    _check(obj, modules_of(module))
    network = Network(model, module, ("part_bias",), shapes=shapes)
    on_modules = {k: v for k, v in obj.layer_map.items() if isinstance(k, type)}
    on_functions = {k: v for k, v in obj.layer_map.items() if not isinstance(k, type)}
    if on_functions and not functions:
        raise RuleError(
            f"the layer map has functions, {', '.join(map(_name, on_functions))}, and the file does not tell them from "
            "methods and others of their kind, which LXT leaves alone: say by functions=True that the network has none of these"
        )
    given = {name: _rule(part, on_modules) for name, part in network.parts.items() if name}
    rules = {name: chosen for name, chosen in given.items() if chosen is not None}
    pairs = _settled(network, rules, by_functions(network, on_functions))
    found = Composite(pairs, "lxt.Composite", ("part_bias",))
    found.assign(network.graph)  # refuses here rules on nodes that they cannot serve
    return found


def _check(obj: Any, modules: Mapping[str, Any]) -> None:
    """Refuse what is no composite of lxt.explicit's, and what it does besides its layer map."""
    for name, part in modules.items():
        patched = getattr(getattr(type(part), "forward", None), "__module__", "") or ""
        if patched.startswith("lxt.efficient"):
            raise RuleError(f"module {name!r} ({type(part).__name__}) is patched by lxt.efficient: {PATCHES}")
    if isinstance(obj, type) or not isinstance(getattr(obj, "layer_map", None), dict):
        raise RuleError(f"obj={checks.shown(obj)} is no lxt.explicit.core.Composite with a layer map; {PATCHES}")
    methods = ("register", "_parse_rules", "_iterate_children", "_attach_module_rule", "_attach_function_rule")
    for name in methods:
        if not (getattr(getattr(type(obj), name, None), "__module__", "lxt") or "").startswith("lxt"):
            raise RuleError(f"{type(obj).__name__} was changed: its {name} is not LXT's own")
    if getattr(obj, "original_modules", None):
        raise RuleError("the composite is registered: its network is changed; take it off by obj.remove() first")
    if getattr(obj, "canonizers", None):
        raise RuleError(
            f"the canonizer {checks.shown(obj.canonizers[0])} has no equivalent; apply it before the export"
        )
    if getattr(obj, "zennit_composite", None) is not None:
        raise RuleError("zennit_composite has no equivalent beside a layer map: give it to zennit.composite")
    odd = [key for key in obj.layer_map if not isinstance(key, type) and not callable(key)]
    if odd:
        raise RuleError(f"the layer map has {odd[0]!r}, for which LXT itself fails: give a class or a function")


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__name__', checks.shown(thing))}"


def _rule(part: Part, layer_map: Mapping[type, Any]) -> Rule | None:
    """Return the rule of a module: the first of the map whose class it is of."""
    given = next((rule for key, rule in layer_map.items() if isinstance(part.module, key)), None)
    if given is None:
        return None
    title, library = getattr(given, "__name__", checks.shown(given)), getattr(given, "__module__", "")
    if isinstance(given, type) and library == "lxt.explicit.rules" and title in WRAPS:
        return WRAPS[title](*_epsilon(given))
    if isinstance(given, type) and library == "lxt.explicit.modules" and title in MODULES:
        return _of_module(part, given, title)
    raise RuleError(
        f"{part!r} has the rule {_name(given)}, which has no equivalent; there is {', '.join((*WRAPS, *MODULES))}"
    )


def _epsilon(given: type) -> tuple[float, ...]:
    """Return the epsilon that a class of LXT's takes where none is given, which is always, or nothing."""
    known = inspect.signature(given.__init__).parameters.get("epsilon")  # type: ignore[misc]
    return () if known is None else (known.default,)


def _of_module(part: Part, given: type, title: str) -> Rule:
    """Return the rule of a module that LXT puts in the place of another, with its weights."""
    make, wanted = MODULES[title]
    if ("torch", wanted) not in part.bases:
        raise RuleError(f"{part!r} has the rule {title}, which stands for nn.{wanted} only")
    if wanted == "LayerNorm":
        bare = [name for name in ("weight", "bias") if getattr(part.module, name, None) is None]
        if bare or len(part.module.normalized_shape) != 1:
            raise RuleError(
                f"{part!r} has the rule {title}, which needs a weight and a bias, and works on the last axis only"
            )
        return make()
    return make(*_epsilon(given)) if wanted == "Linear" else make()


def _settled(network: Network, rules: Mapping[str, Rule], functions: Any) -> tuple[tuple[At, Rule], ...]:
    """Return the pairs for the nodes of a network whose modules have these rules."""
    plain, pairs = Gradient(), list[tuple[At, Rule]]()
    nodes: dict[str, list[Place]] = {name: [] for name in rules}
    for place in network.places:
        around = [_ruled(part.name, rules) for part in place.parts]
        if any(names != around[0] for names in around):
            raise RuleError(f"node {place} may be of {', '.join(map(repr, place.parts))}, which have different rules")
        for name in around[0] if around else ():
            nodes[name].append(place)
        chosen = rules[around[0][0]] if around and around[0] else functions(place) or plain
        pairs.append((At(frozenset({place.node.name})), chosen))
    for name, places in nodes.items():
        _check_one(network.parts[name], rules[name], places)
    return tuple(pairs)


def _ruled(name: str, rules: Mapping[str, Rule]) -> list[str]:
    """Return the modules with a rule that a module is in, itself among them; the outermost first."""
    steps = name.split(".")
    return [outer for i in range(len(steps)) if (outer := ".".join(steps[: i + 1])) in rules]


def _check_one(part: Part, rule: Rule, places: list[Place]) -> None:
    """Refuse a rule on a module that is not one operator, unless relevance passes a chain of functions one by one."""
    if not places and (part.is_weighted or isinstance(rule, IdentityRule)):
        return  # not called, or nothing that takes a rule
    if not places:
        raise RuleError(f"no node of the file is from {part!r}, but it has the rule {rule!r}: the exporter left it out")
    chain = isinstance(rule, IdentityRule) and all(p.node.kind in ELEMENTWISE for p in places)
    inside = [p for p in places if p.parts != (part,)]
    if not chain and ((len(places) > 1 and not _calls(places)) or inside):
        raise RuleError(f"{part!r} has the rule {rule!r}, but is more than one operator: {places[0]}, {places[-1]}")
    for place in places:
        if place.node.kind in WEIGHTED and not place.own:
            raise RuleError(f"{part!r} has the rule {rule!r}, but node {place} has other weights")


def _calls(places: list[Place]) -> bool:
    """Return whether places are calls of one module that is one operator: each is proven to be its own."""
    return all(place.own for place in places)
