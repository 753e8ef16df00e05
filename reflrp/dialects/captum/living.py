"""Settings from a living torch network: what captum would read from the `rule` of its modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reflrp.dialects.captum.composites import LRP
from reflrp.dialects.captum.rules import Alpha1_Beta0_Rule, CaptumRule, EpsilonRule, GammaRule, IdentityRule
from reflrp.errors import RuleError
from reflrp.ground import checks

ARGUMENTS: dict[type[CaptumRule], dict[str, str]] = {
    IdentityRule: {"epsilon": "STABILITY_FACTOR"},
    EpsilonRule: {"epsilon": "STABILITY_FACTOR"},
    GammaRule: {"gamma": "gamma", "set_bias_to_zero": "set_bias_to_zero"},
    Alpha1_Beta0_Rule: {"set_bias_to_zero": "set_bias_to_zero"},
}
"""Our rules, and where captum's keep what is their argument."""


def composite(model: Any, functions: Sequence[Any] = ()) -> LRP:
    """Return the rules that the modules of a torch network have in `module.rule`, by the modules' names.

    The ONNX file must name them, as torch's exporter does. `functions` is as in `LRP`. Nothing of torch is imported; what
    is asked for is `model.named_modules()`. Raises RuleError for a rule that is none of captum's four.
    """
    if not callable(getattr(model, "named_modules", None)):
        raise checks.refuse("model", model, "a torch module, with named_modules()", RuleError)
    rules = {n: _rule(n, m.rule) for n, m in model.named_modules() if n and getattr(m, "rule", None) is not None}
    return LRP(rules, functions)


def _rule(name: str, rule: Any) -> CaptumRule:
    """Return our rule for one of captum's, by the name of its class: a subclass is another rule."""
    for ours, arguments in ARGUMENTS.items():
        if type(rule).__name__ == ours.__name__:
            return ours(**{field: getattr(rule, attribute) for field, attribute in arguments.items()})
    raise RuleError(f"module {name!r} has the rule {checks.shown(rule)}, which is none of captum's four")
