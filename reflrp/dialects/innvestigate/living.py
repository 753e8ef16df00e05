"""Settings from a living analyzer of iNNvestigate's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from reflrp.composites import Composite
from reflrp.dialects.innvestigate import alphabeta, rules
from reflrp.dialects.innvestigate.analyzers import LRP
from reflrp.dialects.innvestigate.base import Analyzer
from reflrp.dialects.innvestigate.deeptaylor import BoundedDeepTaylor, DeepTaylor
from reflrp.dialects.innvestigate.reading import (
    Table,
    analyzer_of,
    by_conditions,
    check_weights,
    model_of,
    read,
    rule,
)
from reflrp.dialects.keras import KerasModel
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ir import Shape
from reflrp.model import load
from reflrp.passes.canonize import canonize

Found = TypeVar("Found", bound=Composite)
LIBRARY = "innvestigate"
ANALYZERS = ("BoundedDeepTaylor", "DeepTaylor", "LRP")
CHANGES = ("_reverse_clip_values", "_reverse_project_bottleneck_layers", "_reverse_reapply_on_copied_layers")
"""Arguments of an analyzer that change its numbers, and that have no equivalent."""

ALPHA_BETA = ("alpha", "beta", "bias")
RULES: Table = {
    "ZRule": (rules.ZRule, ("bias",)),
    "EpsilonRule": (rules.EpsilonRule, ("epsilon", "bias")),
    "WSquareRule": (rules.WSquareRule, ()),
    "FlatRule": (rules.FlatRule, ()),
    "AlphaBetaRule": (alphabeta.AlphaBetaRule, ALPHA_BETA),
    "AlphaBetaXRule": (alphabeta.AlphaBetaXRule, ALPHA_BETA),
    "AlphaBetaIgnoreBiasRule": (alphabeta.AlphaBetaIgnoreBiasRule, ("alpha", "beta")),
    "Alpha2Beta1Rule": (alphabeta.Alpha2Beta1Rule, ()),
    "Alpha2Beta1IgnoreBiasRule": (alphabeta.Alpha2Beta1IgnoreBiasRule, ()),
    "Alpha1Beta0Rule": (alphabeta.Alpha1Beta0Rule, ()),
    "Alpha1Beta0IgnoreBiasRule": (alphabeta.Alpha1Beta0IgnoreBiasRule, ()),
    "AlphaBetaX1000Rule": (alphabeta.AlphaBetaX1000Rule, ()),
    "AlphaBetaX1010Rule": (alphabeta.AlphaBetaX1010Rule, ()),
    "AlphaBetaX1001Rule": (alphabeta.AlphaBetaX1001Rule, ()),
    "AlphaBetaX2m100Rule": (alphabeta.AlphaBetaX2m100Rule, ()),
    "ZPlusRule": (alphabeta.ZPlusRule, ()),
    "ZPlusFastRule": (rules.ZPlusFastRule, ()),
    "BoundedRule": (rules.BoundedRule, ("low", "high")),
}
"""Our rules, and the arguments that the library's take behind the layer and the state."""


def composite(
    analyzer: Any, model: Any = None, as_released: bool = True, shapes: Mapping[str, Shape] | None = None
) -> Analyzer:
    """Return what one of iNNvestigate's analyzers does to its Keras model, as an analyzer of this dialect.

    Its attributes are read; each condition is asked about each layer of the model, and each rule class what it hands to the
    library's class. So subclasses and conditions of a user's own count. Where the model ends in a Softmax, `analyze` starts with
    its values, as the library does. Nothing of TensorFlow is imported.

    Parameters
    ----------
    analyzer : innvestigate.analyzer.base.AnalyzerBase
        An LRP, DeepTaylor or BoundedDeepTaylor, or an instance of a subclass, before or after its first `analyze`.
    model : path, bytes, onnx.ModelProto or Model, optional
        The ONNX file of the Keras model, by tf2onnx. Then what cannot be explained in it is refused here, not at `explain`.
    as_released : bool
        Compute what the analyzer computes (see `LRP`); False: what its names mean. Deep Taylor has no such difference.
    shapes : dict, optional
        The inputs' shapes by name, where the file leaves more open than the batch size.

    Raises
    ------
    RuleError
        For other analyzers, for rules, methods, mappings and arguments that have no equivalent, for layers of classes that are
        not Keras's, and for a file with other weights: by name.

    """
    checks.flag("as_released", as_released, RuleError)
    kind = analyzer_of(analyzer, LIBRARY, ANALYZERS)
    _check_settings(analyzer)
    described = model_of(analyzer)
    found = _lrp(analyzer, described, as_released) if kind == "LRP" else _deep_taylor(kind, analyzer, described)
    return in_file(found, described, model, shapes)


def in_file(found: Found, described: KerasModel, model: Any, shapes: Mapping[str, Shape] | None) -> Found:
    """Return an analyzer, and refuse here what cannot be explained by it in a file, where there is one."""
    if model is not None:
        loaded = load(model)
        graph = canonize(loaded.graph(shapes or loaded.example_shapes()), found.canonize)
        found.assign(graph)
        check_weights(graph, described)
    return found


def _check_settings(analyzer: Any) -> None:
    """Refuse arguments and mappings that change what an analyzer computes."""
    for name in CHANGES:
        if read(analyzer, name) is not False:
            raise RuleError(f"{name.removeprefix('_')}={checks.shown(read(analyzer, name))} has no equivalent here")
    check_mappings(read(analyzer, "_conditional_reverse_mappings"), type(analyzer).__name__)


def check_mappings(by_priority: Mapping[int, Any], title: str) -> None:
    """Refuse mappings that a user gave an analyzer."""
    for mappings in by_priority.values():
        for mapping in mappings:
            if not str(mapping["name"]).startswith(("lrp_", "deep_taylor_")):
                raise RuleError(f"the {title} has a mapping of its own, {mapping['name']!r}")


def _shared(analyzer: Any) -> dict[str, Any]:
    """Return the arguments that all analyzers have. A plain LRP never makes the checks of its model."""
    unchecked = bool(read(analyzer, "_disable_model_checks")) or not read(analyzer, "_model_check_done")
    return {"neuron_selection_mode": read(analyzer, "_neuron_selection_mode"), "disable_model_checks": unchecked}


def _deep_taylor(kind: str, analyzer: Any, model: KerasModel) -> Analyzer:
    if kind == "DeepTaylor":
        return DeepTaylor(model, **_shared(analyzer))
    return BoundedDeepTaylor(model, read(analyzer, "_bounds_low"), read(analyzer, "_bounds_high"), **_shared(analyzer))


def _lrp(analyzer: Any, model: KerasModel, as_released: bool) -> LRP:
    made = partial(rule, library=LIBRARY, table=RULES, names=rules.LRP_RULES, as_released=as_released)
    on_norms = read(analyzer, "_bn_layer_rule")
    return LRP(
        model,
        rule=rules_of(analyzer, model, made),
        bn_layer_rule=None if on_norms is None else made(on_norms),
        bn_layer_fuse_mode=read(analyzer, "_bn_layer_fuse_mode"),
        as_released=as_released,
        **_shared(analyzer),
    )


def rules_of(analyzer: Any, model: KerasModel, made: Any, until_rule: str = "_until_layer_rule") -> list[Any]:
    """Return the rules of the layers with a kernel: by conditions, or a list as it was given.

    A list loses its entries with the first `analyze`, so that it is read from where it is kept, with the input layer's rule in
    front of it.
    """
    if read(analyzer, "_rules_use_conditions"):
        found = by_conditions(analyzer, model, made)
        if not found:
            raise RuleError(f"the model {model.name!r} has no layer with a kernel, and so none that takes a rule")
        return list(found)
    until = (read(analyzer, "_until_layer_idx"), read(analyzer, until_rule))
    if None not in until:
        raise RuleError(f"a list of rules with until_layer_idx={until[0]}: the library takes the condition for a rule")
    first = read(analyzer, "_input_layer_rule")
    if isinstance(first, tuple):
        raise RuleError("a list of rules with input_layer_rule=(low, high): give the library a subclass of BoundedRule")
    listed = read(analyzer, "_rule")
    if not isinstance(listed, list | tuple):
        raise RuleError(f"the rules of the {type(analyzer).__name__}, {checks.shown(listed)}, are no list")
    return [made(each) for each in ([] if first is None else [first]) + list(listed)]
