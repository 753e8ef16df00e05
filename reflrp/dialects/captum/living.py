"""Settings from a living torch network: what captum would read from the `rule` of its modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reflrp.dialects.captum.composites import LRP
from reflrp.dialects.captum.rules import Alpha1_Beta0_Rule, CaptumRule, EpsilonRule, GammaRule, IdentityRule
from reflrp.dialects.living import At, Network, Part, Place
from reflrp.dialects.living.network import modules_of
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ir import Shape

ARGUMENTS: dict[type[CaptumRule], dict[str, str]] = {
    IdentityRule: {"epsilon": "STABILITY_FACTOR"},
    EpsilonRule: {"epsilon": "STABILITY_FACTOR"},
    GammaRule: {"gamma": "gamma", "set_bias_to_zero": "set_bias_to_zero"},
    Alpha1_Beta0_Rule: {"set_bias_to_zero": "set_bias_to_zero"},
}
"""Our rules, and where captum's keep what is their argument."""

WITH_RULES = {
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "Conv2d", "AvgPool2d", "AdaptiveAvgPool2d", "Linear", "BatchNorm2d",
    "Addition_Module",
}  # fmt: skip
"""captum's SUPPORTED_LAYERS_WITH_RULES by the names of their classes; to captum a subclass is another layer."""

NON_LINEAR = {"ReLU", "Dropout", "Tanh"}
"""captum's SUPPORTED_NON_LINEAR_LAYERS."""


def composite(
    obj: Any, model: Any = None, functions: Sequence[Any] = (), shapes: Mapping[str, Shape] | None = None
) -> LRP:
    """Return what captum.attr.LRP would do to a torch network, by the rules that its modules have in `module.rule`.

    Nothing of torch is imported; what is asked for is `named_modules()`, and parameters as arrays.

    Parameters
    ----------
    obj : torch.nn.Module
        The network with its rules.
    model : path, bytes, onnx.ModelProto or Model, optional
        Its ONNX file, by torch's exporter. Then each node is what its module is, which the file's names say and its weights
        prove: a Relu that no nn.ReLU wrote is a function, a plain gradient. Without the file, rules go by the modules' names
        alone, and `functions` says what is a function.
    functions : sequence
        As in `LRP`; none with a file, which tells.
    shapes : dict, optional
        The inputs' shapes by name, where the file leaves more open than the batch size.

    Raises
    ------
    RuleError
        For a rule that is none of captum's four, for modules that captum refuses, and for those that the file does not show
        as one operator each, with their own weights: by name.

    """
    modules = modules_of(obj, argument="obj")
    if model is None:
        ruled = {n: m for n, m in modules.items() if n and getattr(m, "rule", None) is not None}
        return LRP({n: _rule(n, m.rule) for n, m in ruled.items() if type(m).__name__ not in NON_LINEAR}, functions)
    if len(checks.listed_things("functions", functions, "a list of modules", RuleError)):
        raise RuleError("functions= is for networks without a file; what are functions, model= tells")
    network = Network(model, obj, ("part_bias",), shapes=shapes)
    return _settled(network, {part.name: _of_leaf(part) for part in _leaves(network)})


def _leaves(network: Network) -> Iterator[Part]:
    """Yield the modules that captum looks at: those without children, but for the network itself."""
    return (p for name, p in network.parts.items() if name and not any(True for _ in p.module.children()))


def _of_leaf(part: Part) -> CaptumRule | None:
    """Return the rule of a module, or None for one that relevance passes. Raises RuleError where captum raises TypeError."""
    given = getattr(part.module, "rule", None)
    if part.title in NON_LINEAR:
        return None
    if given is not None:
        return _rule(part.name, given)
    if part.title not in WITH_RULES:
        raise RuleError(
            f"captum has no default rule for {part!r}, and refuses the network; give it one in `module.rule`"
        )
    return EpsilonRule()


def _settled(network: Network, rules: Mapping[str, CaptumRule | None]) -> LRP:
    """Return the composite for the nodes of a network whose modules without children have these rules."""
    given: dict[str, tuple[CaptumRule, set[str]]] = {}
    functions: set[str] = set()
    seen = {part.name for place in network.places for part in place.parts}
    for place in network.places:
        part = _owner(place, rules)
        if part is None:
            functions.add(place.node.name)
        elif (rule := rules[part.name]) is not None:
            given.setdefault(part.name, (rule, set()))[1].add(place.node.name)
    lost = [
        network.parts[n] for n, rule in rules.items() if rule and n not in seen and not network.parts[n].is_weighted
    ]
    if lost:
        raise RuleError(
            f"no node of the file is from {', '.join(map(repr, lost[:8]))}: the exporter left it out, or it is not called"
        )
    listed = [(At(frozenset(names)), rule) for rule, names in given.values()]
    return LRP(listed, [At(frozenset(functions))] if functions else [])


def _owner(place: Place, rules: Mapping[str, CaptumRule | None]) -> Part | None:
    """Return the module whose operation a node is; None for a function."""
    leaves = [part for part in place.parts if part.name in rules]
    if not leaves:
        return None
    settings = [rules.get(part.name) for part in place.parts]
    if len(leaves) < len(place.parts) or any(repr(other) != repr(settings[0]) for other in settings):
        raise RuleError(
            f"node {place} may be of {', '.join(map(repr, place.parts))}, to which captum does different things"
        )
    if not place.own:
        raise RuleError(f"the file shows no one operator of {leaves[0]!r}: node {place} is in it")
    return leaves[0]


def _rule(name: str, rule: Any) -> CaptumRule:
    """Return our rule for one of captum's, by the name of its class: a subclass is another rule."""
    for ours, arguments in ARGUMENTS.items():
        if type(rule).__name__ == ours.__name__ and type(rule).__module__.partition(".")[0] == "captum":
            return ours(**{field: getattr(rule, attribute) for field, attribute in arguments.items()})
    raise RuleError(f"module {name!r} has the rule {checks.shown(rule)}, which is none of captum's four")
