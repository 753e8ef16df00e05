"""The adapter of RelevancePropagation.jl 3.0.0: **a transcription of its formulas**, and not the library, which is in Julia.

`julia_rules` has a function for each method of `lrp!` in its src/rules.jl, with `modify_layer`, `modify_input` and
`modify_denominator` in their places and torch's gradients in the place of Zygote's. tests/peers/test_julia.py holds it against the
relevance that the library's own tests store. What has no rule in a case has ZeroRule, as in the library. An activation that passes
relevance, right behind a layer that has one in Flux, is that layer's own. The library's stabiliser of 1e-9 is a method to
overload, `modify_denominator`; here it is the case's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from reflrp.conformance.adapters import torch_modules
from reflrp.conformance.adapters.julia_rules import (
    WEIGHTED,
    Layer,
    Params,
    Scale,
    Tensor,
    alpha_beta,
    flat,
    gamma,
    generalized_gamma,
    pass_,
    stabilize_denom,
    w_square,
    z_box,
    zero_or_epsilon,
)
from reflrp.conformance.adapters.torch_modules import Network
from reflrp.conformance.adapters.torch_operators import Step
from reflrp.conformance.protocol import Arrays, Info, RuleSpec, Unsupported

UNSEEN = 1e-30
"""A stabiliser that changes no number but 0, where a case has none."""

STABILIZER = 1e-9
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.GELU)
PASSED = (nn.Dropout, nn.Identity)
NORMS = (nn.modules.batchnorm._BatchNorm,)
POOLS = (nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd)
LAYERS = (*WEIGHTED, *NORMS, *POOLS, *ACTIVATIONS, nn.Softmax, *PASSED)
"""What the library takes unless it is told to skip its checks (`LRPSupportedLayer` in its src/layer_types.jl), and activations."""

RESHAPING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity")


class Adapter:
    """RelevancePropagation.jl's formulas on chains and their sums."""

    def describe(self) -> Info:
        """Return who is judged: a transcription."""
        rules = frozenset(RULES)
        return Info("relevance_propagation_jl", "3.0.0, transcribed", rules, None, ("float64", "float32"), True)

    def load(self, model: Path, dtype: str) -> Network:
        """Return the network of modules. Raises Unsupported for what is no chain, nor a sum of chains."""
        found = Network(model, dtype)
        if len(found.inputs) != 1 or len(found.outputs) != 1:
            raise Unsupported("a chain has one input and one output")
        found.steps = [_flux(found, step) for step in found.steps]
        return found

    def forward(self, model: Network, inputs: Arrays) -> Arrays:
        """Return the outputs by name."""
        return torch_modules.forward(model, inputs)

    def explain(self, model: Network, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance of all values."""
        with torch.no_grad():
            values = model.values(model.tensors(inputs))
        torch_modules.check_seed(model, inputs, seed)
        specs = {spec.node: spec for spec in rules}
        found = {k: torch.zeros_like(v) for k, v in values.items() if v.is_floating_point()}
        for name, R in seed.items():
            found[name] = found[name] + torch.as_tensor(np.asarray(R), dtype=model.dtype)
        for step in reversed(model.steps):
            parts = self.shared(model, step, specs, values, found[step.outputs[0]])
            for name, part in zip(step.inputs, parts, strict=True):
                found[name] = found[name] + part
        return {k: v.detach().numpy().astype(np.float64) for k, v in found.items()}

    def shared(
        self, network: Network, step: Step, specs: Mapping[str, RuleSpec], values: Any, R: Tensor
    ) -> list[Tensor]:
        """Return the relevance of what a step reads."""
        spec, a = specs.get(step.node), [values[i] for i in step.inputs]
        if isinstance(step.module, PASSED) or (
            torch_modules.is_function(step.module) and step.module.title in RESHAPING
        ):
            return [R.reshape(a[0].shape)]
        if len(a) > 1:
            if spec is None or spec.rule not in ("norm", "epsilon"):
                raise Unsupported("sums share in proportion to the branches' outputs")
            s = R / stabilize_denom(values[step.outputs[0]], _eps(spec.params))
            return [x * s for x in a]
        rule, params = (zero_or_epsilon, {"eps": STABILIZER}) if spec is None else _rule(step, spec)
        return [rule(Layer(step.module, _activation(network, step, specs)), a[0], R, params)]


def _flux(network: Network, step: Step) -> Step:
    """Return a step whose module Flux has. Raises Unsupported for others."""
    module = step.module
    if not torch_modules.is_function(module):
        if isinstance(module, nn.LayerNorm):
            raise Unsupported("Flux's LayerNorm divides by sigma + epsilon, and is another function")
        if not isinstance(module, LAYERS):
            raise Unsupported(f"RelevancePropagation.jl's check of models refuses {type(module).__name__}")
        return step
    title = module.title
    known = [getattr(module, f"constant{i}") for i, is_value in enumerate(module.places) if not is_value]
    if title in RESHAPING or (title in ("Add", "Sum") and not known) or title.startswith("Global"):
        return step
    if title in ("Add", "Mul") and len(known) == 1:
        constant = known[0].to(network.dtype)
        scale = Scale(torch.ones_like(constant), constant) if title == "Add" else Scale(constant, None)
        return Step(step.name, step.node, scale, step.inputs, step.outputs)
    raise Unsupported(f"Flux has no layer for {title}")


def _activation(network: Network, step: Step, specs: Mapping[str, RuleSpec]) -> Any:
    """Return the activation right behind a layer that has one in Flux, if relevance passes it."""
    readers = network.readers.get(step.outputs[0], [])
    has = isinstance(step.module, (*WEIGHTED, *NORMS))
    if not has or len(readers) != 1 or step.outputs[0] in network.outputs:
        return None
    after = network.step(readers[0])
    spec = specs.get(after.node)
    is_own = isinstance(after.module, ACTIVATIONS) and spec is not None and spec.rule == "pass"
    return after.module if is_own else None


def _eps(params: Params) -> float:
    given = params.get("stabilizer", {"form": "signed", "epsilon": UNSEEN, "norm_scale": False})
    if given["form"] != "signed" or given["norm_scale"] or given["epsilon"] < 0:
        raise Unsupported(f"RelevancePropagation.jl has no stabiliser {given}")
    return float(given["epsilon"])


def _rule(step: Step, spec: RuleSpec) -> tuple[Callable[[Layer, Tensor, Tensor, Params], Tensor], Params]:
    """Return the rule of a step, and its parameters. Raises Unsupported for choices that it does not have."""
    rule, biases = RULES[spec.rule]
    if spec.params.get("bias", biases) != biases or spec.params.get("inputs", "split") != "split":
        raise Unsupported(f"RelevancePropagation.jl's rule has no bias={spec.params.get('bias')!r}, or no such inputs")
    if spec.rule == "winner_takes_all" and not torch_modules.is_max_pool(step.module):
        raise Unsupported("RelevancePropagation.jl has max-pools only")
    if spec.rule == "ratio" and not isinstance(step.module, ACTIVATIONS):
        raise Unsupported("RelevancePropagation.jl has activations only")
    if spec.rule == "gamma" and spec.params["generalized"]:
        rule = generalized_gamma
    return rule, {**spec.params, "eps": _eps(spec.params)}


RULES: Mapping[str, tuple[Callable[[Layer, Tensor, Tensor, Params], Tensor], str]] = {
    "alpha_beta": (alpha_beta, "split"),
    "epsilon": (zero_or_epsilon, "absorb"),
    "flat": (flat, ""),
    "gamma": (gamma, "scale"),
    "norm": (zero_or_epsilon, "absorb"),
    "pass": (pass_, ""),
    "ratio": (zero_or_epsilon, ""),
    "w_square": (w_square, "ignore"),
    "winner_takes_all": (zero_or_epsilon, ""),
    "z_box": (z_box, ""),
    "z_plus": (alpha_beta, "split"),
}
"""The rules, each with the way in which it treats biases, by the names that cases give them."""
