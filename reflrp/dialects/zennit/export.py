"""Our rules as a composite of zennit's own, for a torch network: the way back of `composite`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from reflrp.composites import resolve
from reflrp.dialects.living import Network, Place
from reflrp.dialects.zennit import rules as z
from reflrp.dialects.zennit.canonization import canonization
from reflrp.dialects.zennit.canonizers import MERGES
from reflrp.dialects.zennit.core import Stabilizer
from reflrp.dialects.zennit.living import check_borders, check_merges
from reflrp.errors import RuleError
from reflrp.ground.checks import refuse, shown
from reflrp.ir import Shape
from reflrp.ops import stabilizer as native
from reflrp.passes.canonize import canonize
from reflrp.rules.base import Rule
from reflrp.rules.other import Gradient, WinnerTakesAll

MERGING = frozenset({"fold_batchnorm", *MERGES.values()})

RULES: frozenset[type[Rule]] = frozenset({
    z.AlphaBeta, z.Epsilon, z.Flat, z.Gamma, z.Norm, z.Pass, z.ReLUBetaSmooth, z.ReLUDeconvNet, z.ReLUGuidedBackprop,
    z.WSquare, z.ZBox, z.ZPlus,
})  # fmt: skip
"""What zennit has by the same names, with the same arguments."""


def to_zennit(rules: Any, model: Any, module: Any, library: Any, shapes: Mapping[str, Shape] | None = None) -> Any:
    """Return a composite of zennit's that does to a torch network what `rules` do to its ONNX file.

    It is a NameMapComposite with the rule of each module. Nothing is imported: zennit itself is an argument.

    Parameters
    ----------
    rules : composite, rule, text or dict
        As `rules=` elsewhere: a composite of this dialect, or any other of which each rule is one of this dialect's.
    model : path, bytes, onnx.ModelProto or Model
        The ONNX file of the network, by torch's exporter, with BatchNorm as nodes of its own.
    module : torch.nn.Module
        The network.
    library : module
        `import zennit, zennit.rules ...`, and here `zennit`.
    shapes : dict, optional
        The inputs' shapes by name, where the file leaves more open than the batch size.

    Returns
    -------
    zennit.composites.NameMapComposite
        For `zennit.attribution.Gradient(model=module, composite=...)`.

    Raises
    ------
    RuleError
        For rules that zennit has none for, and for those on a node that is no module of the network: zennit hooks modules.

    """
    composites, canonizers = (_part(library, name) for name in ("composites", "canonizers"))
    ours = resolve(rules)
    added = [canonizers.SequentialMergeBatchNorm()] if MERGING.intersection(ours.canonize) else []
    _, merges, version = canonization(added, module)
    merging = MERGES[version if MERGES["0.5.1"] in ours.canonize else "1.0.0"]
    if merges and MERGES["0.5.1"] in ours.canonize and version != "0.5.1":
        raise RuleError(
            "the rules merge BatchNorm as zennit 0.5.1 does, and this zennit does not; give version='1.0.0'"
        )
    network = Network(model, module, ("part_bias", *([merging] if merges else [])), merges, shapes)
    check_merges(network, {})
    _check_passes(network, ours.canonize)
    given, hooks, ruled = ours.assign(network.graph), dict[str, tuple[str, Any]](), dict[str, Rule]()
    for place in network.places:
        rule = given[place.node.name]
        if not is_plain_gradient(rule, place):
            name, hook = _module(place, rule), (repr(rule), _hook(rule, library, module))
            ruled[name] = rule
            if hooks.setdefault(name, hook)[0] != hook[0]:
                raise RuleError(
                    f"{place.parts[0]!r} is called more than once, by different rules; zennit has one a module"
                )
    check_borders(network, ruled)
    return composites.NameMapComposite([((name,), hook) for name, (_, hook) in hooks.items()], added)


def _part(library: Any, name: str) -> Any:
    found = getattr(library, name, None)
    if found is None:
        raise refuse("library", library, f"zennit itself, with `import zennit.{name}`", RuleError)
    return found


def _check_passes(network: Network, passes: tuple[str, ...]) -> None:
    """Refuse rules that stand on another graph than the network's modules."""
    shapes = {name: network.graph.values[name].shape for name in network.graph.inputs}
    theirs = {node.name for node in network.graph.nodes}
    ours = {node.name for node in canonize(network.model.graph(shapes), passes).nodes}
    if ours != theirs:
        names = ", ".join(map(repr, sorted(ours ^ theirs)[:8]))
        raise RuleError(
            f"the passes {passes} make a graph that is not the network's modules: {names} are in one of both only"
        )


def is_plain_gradient(rule: Rule, place: Place) -> bool:
    """Return whether a rule is what zennit does where it has no hook."""
    return isinstance(rule, Gradient) or (isinstance(rule, WinnerTakesAll) and place.node.kind == "max")


def _module(place: Place, rule: Rule) -> str:
    """Return the name of the one module whose operation a node is. Raises RuleError where there is none."""
    if not place.own or len(place.parts) != 1:
        hint = "; make the sum a zennit.layer.Sum in the network" if place.node.kind == "sum" else ""
        raise RuleError(
            f"node {place} has the rule {rule!r}, but is no module of the network, which zennit needs{hint}"
        )
    return place.parts[0].name


def _hook(rule: Rule, library: Any, module: Any) -> Any:
    """Return zennit's rule for one of this dialect's. Raises RuleError for any other."""
    if type(rule) not in RULES:
        raise RuleError(f"zennit has no rule that is exactly {rule!r}; use one of reflrp.dialects.zennit")
    arguments = {f.name: getattr(rule, f.name) for f in fields(rule)}
    make = getattr(_part(library, "rules"), type(rule).__name__)
    return make(**{name: _argument(name, value, library, module) for name, value in arguments.items()})


def _argument(name: str, value: Any, library: Any, module: Any) -> Any:
    if name in ("epsilon", "stabilizer"):
        return _stabilizer(value, library)
    if name in ("low", "high") and np.ndim(value):
        return next(iter(module.parameters())).detach().new_tensor(np.asarray(value))
    return list(value) if isinstance(value, tuple) else value


def _stabilizer(value: Any, library: Any) -> Any:
    """Return a number as it is, a stabiliser as zennit's. Raises RuleError for a function."""
    if isinstance(value, native.Stabilizer) and value.form in ("signed", "clip"):
        value = Stabilizer(value.epsilon, value.form == "clip", value.norm_scale, value.dim)
    if isinstance(value, Stabilizer):
        return _part(library, "core").Stabilizer(value.epsilon, value.clip, value.norm_scale, value.dim)
    if isinstance(value, float | int):
        return float(value)
    raise RuleError(f"the stabiliser {shown(value)} has no equivalent in zennit; give a number or zennit.Stabilizer")
