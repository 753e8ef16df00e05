"""A transcription of RelevancePropagation.jl's src/utils.jl and src/rules.jl: the relevance of one layer's input by each rule."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from reflrp.conformance.protocol import Unsupported

Params = Mapping[str, Any]
Tensor = Any

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


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
