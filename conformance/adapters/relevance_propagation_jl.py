"""The adapter of RelevancePropagation.jl 3.0.0: **a transcription of its formulas**, and not the library, which is in Julia.

`lrp` has a function for each method of `lrp!` in its src/rules.jl, with `modify_layer`, `modify_input` and `modify_denominator` in
their places and torch's gradients in the place of Zygote's. tests/peers/test_julia.py holds it against the relevance that the
library's own tests store. What has no rule in a case has ZeroRule, as in the library. An activation that passes relevance,
right behind a layer that has one in Flux, is that layer's own. The library's stabiliser of 1e-9 is a method to overload,
`modify_denominator`; here it is the case's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from reflrp.conformance.adapters import torch_modules
from reflrp.conformance.adapters.torch_modules import Network
from reflrp.conformance.adapters.torch_operators import Step
from reflrp.conformance.protocol import Arrays, Info, RuleSpec, Unsupported

Params = Mapping[str, Any]
Tensor = Any

UNSEEN = 1e-30
"""A stabiliser that changes no number but 0, where a case has none."""

STABILIZER = 1e-9
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.GELU)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
PASSED = (nn.Dropout, nn.Identity)
RESHAPING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity")


class Scale(nn.Module):  # type: ignore[misc]
    """Flux's Scale: x * weight + bias."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return x * weight + bias."""
        return x * self.weight if self.bias is None else x * self.weight + self.bias


WEIGHTED = (nn.Linear, Scale, *CONVOLUTIONS)
"""The layers with weight and bias."""


@dataclass(frozen=True)
class Layer:
    """A layer of a chain, with the activation that it has, if any."""

    module: Any
    activation: Any = None

    @property
    def weighted(self) -> bool:
        """Whether it has weight and bias, `has_weight_and_bias`: no normalisation, no pool."""
        return isinstance(self.module, WEIGHTED)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        z = self.module(x)
        return z if self.activation is None else self.activation(z)

    def modified(self, weight: Callable[[Tensor], Tensor], bias: Callable[[Tensor], Tensor]) -> Layer:
        """Return `copy_layer` with other parameters, and without the activation. Raises Unsupported where it has none."""
        if not self.weighted:
            raise Unsupported(f"LRPCompatibilityError: {type(self.module).__name__} has no weight and bias")
        module = copy.copy(self.module)
        module._parameters = {"weight": weight(self.module.weight)}
        module._parameters["bias"] = None if self.module.bias is None else bias(self.module.bias)
        return Layer(module)


# ---------------------------------------------------------------- src/utils.jl and src/rules.jl


def stabilize_denom(d: Tensor, eps: float) -> Tensor:
    """Return eps where d is 0, else d + sign(d) eps."""
    return torch.where(d == 0, torch.full_like(d, eps), d + torch.sign(d) * eps)


def keep_positive(x: Tensor) -> Tensor:
    """Return x where it is not below 0."""
    return torch.where(x < 0, torch.zeros_like(x), x)


def keep_negative(x: Tensor) -> Tensor:
    """Return x where it is not above 0."""
    return torch.where(x > 0, torch.zeros_like(x), x)


def pullback(layer: Callable[[Tensor], Tensor], a: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the output, and what takes a cotangent back to the input."""
    with torch.enable_grad():
        x = a.detach().requires_grad_()
        z = layer(x)
    return z.detach(), lambda s: torch.autograd.grad(z, x, s, retain_graph=True)[0]


def generic(layer: Layer, a: Tensor, R: Tensor, eps: float) -> Tensor:
    """The generic `lrp!`: a * J^T (R / stabilize_denom(z))."""
    z, back = pullback(layer, a)
    return a * back(R / stabilize_denom(z, eps))


def _without_activation(layer: Layer) -> Layer:
    return Layer(layer.module) if layer.weighted else layer


def zero_or_epsilon(layer: Layer, a: Tensor, R: Tensor, p: Params) -> Tensor:
    """ZeroRule and EpsilonRule: on layers with weights without their activation."""
    return generic(_without_activation(layer), a, R, p["eps"])


def gamma(layer: Layer, a: Tensor, R: Tensor, p: Params) -> Tensor:
    """GammaRule: w + gamma w+, b + gamma b+."""

    def raised(x: Tensor) -> Tensor:
        return x + p["gamma"] * keep_positive(x)

    return generic(layer.modified(raised, raised), a, R, p["eps"])


def w_square(layer: Layer, a: Tensor, R: Tensor, p: Params) -> Tensor:
    """WSquareRule: inputs of 1, w^2, no bias."""
    return generic(layer.modified(torch.square, torch.zeros_like), torch.ones_like(a), R, p["eps"])


def flat(layer: Layer, a: Tensor, R: Tensor, p: Params) -> Tensor:
    """FlatRule: inputs and weights of 1, no bias; of a dense layer the mean over the inputs, without a stabiliser."""
    if isinstance(layer.module, nn.Linear):
        if a.ndim != 2:
            raise Unsupported("FlatRule fills the columns of a matrix")
        return (R.sum(1, keepdim=True) / a.shape[1]).expand(a.shape)
    return generic(layer.modified(torch.ones_like, torch.zeros_like), torch.ones_like(a), R, p["eps"])


def _four(layer: Layer, positive: Callable[..., Tensor], negative: Callable[..., Tensor]) -> tuple[Layer, ...]:
    """Return layers of both kinds of parameters, with and without bias: +, - without, -, + without."""
    none = torch.zeros_like
    return (
        layer.modified(positive, positive),
        layer.modified(negative, none),
        layer.modified(negative, negative),
        layer.modified(positive, none),
    )


def _sides(layer: Layer, a: Tensor, kinds: Sequence[Callable[..., Tensor]]) -> tuple[Any, ...]:
    """Return both denominators before they are stabilised, and both ways back."""
    one, one_rest, other, other_rest = _four(layer, *kinds)
    ap, an = keep_positive(a), keep_negative(a)
    (zp, back_p), (zn, back_n) = pullback(one, ap), pullback(one_rest, an)
    with torch.no_grad():
        rest = other_rest(an) + other(ap)
    return zp + zn, rest, back_p, back_n


def alpha_beta(layer: Layer, a: Tensor, R: Tensor, p: Params) -> Tensor:
    """AlphaBetaRule; ZPlusRule is alpha 1, beta 0. Raises ValueError as its constructor does."""
    alpha, beta = p.get("alpha", 1), p.get("beta", 0)
    if alpha < 0 or beta < 0 or alpha - beta != 1:
        raise ValueError("ArgumentError: alpha, beta >= 0 and alpha - beta = 1")
    excited, inhibited, back_p, back_n = _sides(layer, a, (keep_positive, keep_negative))
    s, t = R / stabilize_denom(excited, p["eps"]), R / stabilize_denom(inhibited, p["eps"])
    ap, an = keep_positive(a), keep_negative(a)
    return alpha * (ap * back_p(s) + an * back_n(s)) - beta * (ap * back_n(t) + an * back_p(t))


def generalized_gamma(layer: Layer, a: Tensor, R: Tensor, p: Params) -> Tensor:
    """GeneralizedGammaRule: which side an output is on is read behind the activation."""
    up, down = (lambda x, f=f: x + p["gamma"] * f(x) for f in (keep_positive, keep_negative))
    left, right, back_p, back_n = _sides(layer, a, (up, down))
    with torch.no_grad():
        z = layer(a)
    s = torch.where(z > 0, R, torch.zeros_like(R)) / stabilize_denom(left, p["eps"])
    t = torch.where(z < 0, R, torch.zeros_like(R)) / stabilize_denom(right, p["eps"])
    return keep_positive(a) * (back_p(s) + back_n(t)) + keep_negative(a) * (back_n(s) + back_p(t))


def z_box(layer: Layer, a: Tensor, R: Tensor, p: Params) -> Tensor:
    """ZBoxRule: the first term is of the layer with its activation, the two others of layers without."""
    low, high = (torch.as_tensor(np.asarray(p[k]), dtype=a.dtype).expand(a.shape) for k in ("low", "high"))
    z, back = pullback(layer, a)
    zl, back_l = pullback(layer.modified(keep_positive, keep_positive), low)
    zh, back_h = pullback(layer.modified(keep_negative, keep_negative), high)
    s = R / stabilize_denom(z - zl - zh, p["eps"])
    return a * back(s) - low * back_l(s) - high * back_h(s)


def pass_(layer: Layer, a: Tensor, R: Tensor, p: Params) -> Tensor:
    """PassRule."""
    return R.reshape(a.shape)


# ---------------------------------------------------------------- the adapter


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
    has = isinstance(step.module, (*WEIGHTED, nn.modules.batchnorm._BatchNorm))
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
