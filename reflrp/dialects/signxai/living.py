"""Settings from a living analyzer of SignXAI2's TensorFlow part."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from reflrp.dialects.innvestigate.living import RULES as INNVESTIGATE
from reflrp.dialects.innvestigate.living import check_mappings, in_file, rules_of
from reflrp.dialects.innvestigate.reading import Table, analyzer_of, library_of, model_of, read, rule
from reflrp.dialects.keras import KerasModel
from reflrp.dialects.signxai import rules
from reflrp.dialects.signxai.base import LRP
from reflrp.errors import RuleError
from reflrp.ground import checks
from reflrp.ir import Shape

LIBRARY = "signxai"
RULES: Table = {
    **INNVESTIGATE,
    "ZIgnoreBiasRule": (rules.ZIgnoreBiasRule, ()),
    "EpsilonIgnoreBiasRule": (rules.EpsilonIgnoreBiasRule, ("epsilon",)),
    "StdxEpsilonRule": (rules.StdxEpsilonRule, ("stdfactor", "bias", "epsilon")),
    "SIGNRule": (rules.SIGNRule, ("bias",)),
    "SIGNmuRule": (rules.SIGNmuRule, ("bias", "mu")),
    "GammaRule": (rules.GammaRule, ("gamma", "bias")),
    "BoundedRule": (rules.BoundedRule, ("low", "high")),
    "AlphaBetaXRule": (rules.AlphaBetaXRule, ("alpha", "beta", "bias")),
    "AlphaBetaX1000Rule": (rules.AlphaBetaX1000Rule, ()),
    "AlphaBetaX1010Rule": (rules.AlphaBetaX1010Rule, ()),
    "AlphaBetaX1001Rule": (rules.AlphaBetaX1001Rule, ()),
    "AlphaBetaX2m100Rule": (rules.AlphaBetaX2m100Rule, ()),
}
"""Our rules, and the arguments that the library's take."""


def composite(
    analyzer: Any, model: Any = None, as_released: bool = True, shapes: Mapping[str, Shape] | None = None
) -> LRP:
    """Return what one of SignXAI2's LRP analyzers does to its Keras model, as an analyzer of this dialect.

    Read as by `reflrp.dialects.innvestigate.composite`, whose parameters it has. LRPRuleUntilIndex is read from the analyzer
    that it holds.

    Raises
    ------
    RuleError
        For other analyzers, for rules, methods and mappings that have no equivalent, for a Softmax at the output, for layers of
        classes that are not Keras's, and for a file with other weights: by name.

    """
    checks.flag("as_released", as_released, RuleError)
    if type(analyzer).__name__ == "LRPRuleUntilIndex" and library_of(type(analyzer)) == LIBRARY:
        return composite(read(analyzer, "default_rule_configuration"), model, as_released, shapes)
    analyzer_of(analyzer, LIBRARY, ("LRP",))
    check_mappings(getattr(analyzer, "_conditional_reverse_mappings", {}), type(analyzer).__name__)
    described = model_of(analyzer)
    _check_output(described)
    made = partial(rule, library=LIBRARY, table=RULES, names=rules.LRP_RULES, as_released=as_released)
    listed = rules_of(analyzer, described, made, "until_index_rule")
    return in_file(LRP(described, rule=listed, as_released=as_released), described, model, shapes)


def _check_output(model: KerasModel) -> None:
    """Raise RuleError for a Softmax at the output, from whose values the library starts and this dialect does not."""
    read_by = {name for layer in model.layers for name in layer.sources}
    for layer in model.layers:
        softmax = layer.kind == "Softmax" or layer.config.get("activation") == "softmax"
        if softmax and layer.name not in read_by:
            raise RuleError(
                f"layer {layer.name!r} ends in a Softmax, from whose values the analyzer would start: give the analyzer the "
                "model without it (model_wo_softmax)"
            )
