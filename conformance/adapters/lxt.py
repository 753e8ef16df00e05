"""The adapter of LXT (lxt.explicit): its rules in place of the modules and functions of a case's network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lxt.explicit import functional as lf
from lxt.explicit import rules as lr
from torch import nn

from reflrp.conformance.adapters import torch_modules
from reflrp.conformance.adapters.torch_modules import Network
from reflrp.conformance.adapters.torch_operators import Step
from reflrp.conformance.protocol import Arrays, Info, RuleSpec, Unsupported


class Adapter:
    """LXT on native modules. What has no rule in a case is left to the gradient of relevance, as LXT leaves it.

    LXT adds epsilon to denominators whatever their sign; where a case asks for the signed form, that is what is judged.
    """

    def describe(self) -> Info:
        """Return who is judged."""
        rules = frozenset({*RULES, *LEFT})
        return Info("lxt", version("lxt"), rules, None, ("float64", "float32"), intermediates=True)

    def load(self, model: Path, dtype: str) -> Network:
        """Return the network of modules."""
        return Network(model, dtype)

    def forward(self, model: Network, inputs: Arrays) -> Arrays:
        """Return the outputs by name."""
        return torch_modules.forward(model, inputs)

    def explain(self, model: Network, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance of all values, as LXT's functions make it of their gradients."""
        ruled = {spec.node: module for spec in rules if (module := _module(model.step(spec.node), spec)) is not None}
        return torch_modules.gradients(torch_modules.with_modules(model, ruled), inputs, seed)


def _module(step: Step, spec: RuleSpec) -> Any:
    """Return what stands in place of a node's module; None where it stays. Raises Unsupported."""
    if spec.rule in LEFT:
        if spec.rule == "winner_takes_all" and not torch_modules.is_max_pool(step.module):
            raise Unsupported("LXT has no rule for a maximum that is no MaxPool")
        return None
    if spec.rule not in RULES:
        raise Unsupported(f"LXT has no rule {spec.rule!r}")
    return RULES[spec.rule](step, spec.params)


def _epsilon_of(params: Mapping[str, Any]) -> float:
    given = params["stabilizer"]
    if given["form"] not in ("plain", "signed") or given["norm_scale"] or given["epsilon"] < 0:
        raise Unsupported(f"LXT has no stabiliser {given}")
    return float(given["epsilon"])


def _epsilon(step: Step, params: Mapping[str, Any]) -> Any:
    if params.get("bias", "absorb") != "absorb":
        raise Unsupported("LXT's epsilon rule takes the bias as it is")
    if isinstance(step.module, nn.LayerNorm):
        raise Unsupported("the epsilon of LXT's layer_norm cannot be chosen")
    if isinstance(step.module, nn.RMSNorm):
        raise Unsupported("LXT's rule for an RMSNorm is the identity")
    if len(step.inputs) > 2:
        raise Unsupported("LXT has no rule for more than two values")
    if (_is(step, "Add") or _is(step, "Sum")) and len(step.inputs) == 2:
        # EpsilonRule would multiply one and the same gradient in place for both summands
        return lambda x, y: lf.add2(x, y, epsilon=_epsilon_of(params))
    return lr.EpsilonRule(step.module, _epsilon_of(params))


def _ratio(step: Step, params: Mapping[str, Any]) -> Any:
    return lr.EpsilonRule(step.module, _epsilon_of(params))


def _pass(step: Step, params: Mapping[str, Any]) -> Any:
    if len(step.inputs) != 1:
        raise Unsupported("LXT's IdentityRule takes one value")
    return lr.IdentityRule(step.module)


def _half(step: Step, params: Mapping[str, Any]) -> Any:
    _only_active(params)
    if _is(step, "MatMul") and len(step.inputs) == 2:
        return lambda x, y: lf.matmul(x, y, epsilon=_epsilon_of(params))
    return _uniform(step, params)


def _uniform(step: Step, params: Mapping[str, Any]) -> Any:
    _only_active(params)
    if not _is(step, "Mul"):
        raise Unsupported(
            "LXT's uniform rule is for a product entry by entry, its half of epsilon for a matmul of two values"
        )
    return lf.mul2 if len(step.inputs) == 2 else lr.UniformRule(step.module)


def _epsilon_uniform(step: Step, params: Mapping[str, Any]) -> Any:
    return lr.UniformEpsilonRule(step.module, _epsilon_of(params))


def _only_active(params: Mapping[str, Any]) -> None:
    if params["over"] != "active":
        raise Unsupported("LXT counts the operands that require gradients")


def _stop(step: Step, params: Mapping[str, Any]) -> Any:
    if len(step.inputs) != 1:
        raise Unsupported("LXT's StopRelevanceRule takes one value")
    return lr.StopRelevanceRule(step.module)


def _is(step: Step, title: str) -> bool:
    """Return whether a step is a function of this operator."""
    return torch_modules.is_function(step.module) and step.module.title == title


def _taylor(step: Step, params: Mapping[str, Any]) -> Any:
    if not isinstance(step.module, nn.Softmax):
        raise Unsupported("LXT's rule is for a softmax")
    return lambda x: lf.softmax(x, step.module.dim)


RULES: Mapping[str, Callable[[Step, Mapping[str, Any]], Any]] = {
    "epsilon": _epsilon,
    "epsilon_uniform": _epsilon_uniform,
    "half": _half,
    "norm": _epsilon,
    "pass": _pass,
    "ratio": _ratio,
    "stop": _stop,
    "taylor": _taylor,
    "uniform": _uniform,
}
"""The rules that LXT has, by the names that cases give them."""

LEFT = frozenset({"gradient", "winner_takes_all"})
"""What is torch's own gradient."""
