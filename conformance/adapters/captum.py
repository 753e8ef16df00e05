"""The adapter of captum: its rules in `module.rule` of a case's network, and captum.attr.LRP."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import LRP
from captum.attr._utils.custom_modules import Addition_Module
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule, IdentityRule
from torch import nn

from reflrp.conformance.adapters import torch_modules
from reflrp.conformance.adapters.torch_modules import Network
from reflrp.conformance.protocol import Arrays, Info, RuleSpec, Unsupported

Params = Mapping[str, Any]

UNSEEN = 1e-30
"""A stabiliser that changes no number but 0, for rules without one."""


class Started(nn.Module):  # type: ignore[misc]
    """A network whose one output is 1 a sample, with the seed as its gradient: captum starts with output times gradient."""

    def __init__(self, network: Network, seed: Arrays) -> None:
        super().__init__()
        if any(True for _ in network.children()):
            self.network = network
        else:
            self.__dict__["network"] = network  # without modules it would be a layer itself, and have no rule
        self.seed = {k: torch.tensor(np.asarray(R)).to(network.dtype) for k, R in seed.items()}

    def forward(self, *inputs: Any) -> Any:
        """Return 1 for each sample."""
        values = self.network.values(inputs)
        parts = [(values[k] - values[k].detach()) * R for k, R in self.seed.items()]
        return 1 + sum(part.reshape(len(part), -1).sum(1, keepdim=True) for part in parts)


class Adapter:
    """captum on native modules. What has the rule `gradient`, or none, is a function to captum, and no module."""

    def describe(self) -> Info:
        """Return who is judged."""
        rules = frozenset({*RULES, "gradient", "pass", "winner_takes_all"})
        return Info("captum", version("captum"), rules, None, ("float64", "float32"))

    def load(self, model: Path, dtype: str) -> Network:
        """Return the network of modules."""
        return Network(model, dtype, sums=Addition_Module)

    def forward(self, model: Network, inputs: Arrays) -> Arrays:
        """Return the outputs by name."""
        return torch_modules.forward(model, inputs)

    def explain(self, model: Network, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance of the inputs."""
        torch_modules.check_seed(model, inputs, seed)
        network = copy.deepcopy(model)
        if any(np.asarray(x).dtype.kind != "f" for x in inputs.values()):
            raise Unsupported("captum explains float inputs only")
        modules = {spec.node: _ruled(network, spec) for spec in rules}
        kept = {network.step(node).name for node, is_module in modules.items() if is_module}
        for step in network.steps:
            if step.name not in kept:
                del network._modules[step.name]
        given = tuple(network.tensors(inputs))
        found = LRP(Started(network, seed)).attribute(given, target=0)
        return {k: R.detach().numpy().astype(np.float64) for k, R in zip(network.inputs, found, strict=True)}


def _ruled(network: Network, spec: RuleSpec) -> bool:
    """Set the rule of a node's module, and return whether it is a module to captum. Raises Unsupported."""
    module = network.step(spec.node).module
    passes = isinstance(module, nn.ReLU | nn.Tanh | nn.Dropout)
    if spec.rule == "gradient":
        return False
    if spec.rule == "pass":
        if not passes:
            module.rule = IdentityRule()
        return True
    if passes:
        raise Unsupported(f"captum passes relevance through {type(module).__name__}, whatever rule it is given")
    if spec.rule == "winner_takes_all":
        if not torch_modules.is_max_pool(module):
            raise Unsupported("captum has no rule for a maximum that is no MaxPool")
        module.rule = EpsilonRule(UNSEEN)  # captum's own for MaxPool has 1e-9
        return True
    if spec.rule not in RULES:
        raise Unsupported(f"captum has no rule {spec.rule!r}")
    if spec.rule in OF_PARAMETERS and torch_modules.has_constant(module):
        raise Unsupported("a constant of a function is no parameter, which captum's rule would change")
    module.rule = RULES[spec.rule](spec.params)
    return True


# ---------------------------------------------------------------- rules


def _epsilon(params: Params) -> float:
    given = params["stabilizer"]
    if given["form"] != "signed" or given["norm_scale"] or given["epsilon"] < 0:
        raise Unsupported(f"captum has no stabiliser {given}")
    return float(given["epsilon"])


def _stabilized(rule: Any, params: Params) -> Any:
    """Set the constant of a rule that has no argument for it."""
    rule.STABILITY_FACTOR = _epsilon(params)
    return rule


def _epsilon_rule(params: Params) -> Any:
    if params.get("bias", "absorb") != "absorb":
        raise Unsupported("captum's EpsilonRule takes the bias as it is")
    return EpsilonRule(_epsilon(params))


def _gamma(params: Params) -> Any:
    if params["generalized"]:
        raise Unsupported("captum has no generalised gamma rule")
    return _stabilized(GammaRule(params["gamma"], set_bias_to_zero=params["bias"] == "ignore"), params)


def _z_plus(params: Params) -> Any:
    return _stabilized(Alpha1_Beta0_Rule(set_bias_to_zero=params["bias"] == "ignore"), params)


def _alpha_beta(params: Params) -> Any:
    if (params["alpha"], params["beta"]) != (1, 0):
        raise Unsupported("captum has alpha 1 and beta 0 only")
    return _z_plus(params)


RULES: Mapping[str, Callable[[Params], Any]] = {
    "alpha_beta": _alpha_beta,
    "epsilon": _epsilon_rule,
    "gamma": _gamma,
    "norm": _epsilon_rule,
    "z_plus": _z_plus,
}
"""The rules that captum has, by the names that cases give them; how its own treats biases and inputs is judged."""

OF_PARAMETERS = frozenset({"alpha_beta", "gamma", "z_plus"})
"""The rules that compute with other parameters than a module's own."""
