"""Einsum, Resize, Cast and rounding as torch has them: modules with the weights that a library may change, or plain functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from reflrp.conformance.adapters.torch_functions import Attributes, Known, only
from reflrp.conformance.adapters.torch_norms import parameter
from reflrp.conformance.protocol import Unsupported


class Einsum(nn.Module):  # type: ignore[misc]
    """torch.einsum of a value and a weight."""

    def __init__(self, equation: str, weight: np.ndarray, is_first: bool) -> None:
        super().__init__()
        self.equation, self.weight, self.is_first = equation, parameter(weight), is_first

    def forward(self, x: Any) -> Any:
        """Return the sum of products."""
        return torch.einsum(self.equation, *((self.weight, x) if self.is_first else (x, self.weight)))


class Cast(nn.Module):  # type: ignore[misc]
    """Tensor.to: floats in the network's own type, so that nothing is rounded that ONNX's evaluator does not round here."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.register_buffer("like", torch.zeros((), dtype=kind))

    def forward(self, x: Any) -> Any:
        """Return the value in another type."""
        return x.to(self.like.dtype)


def weighted_einsum(a: Attributes, known: Known) -> nn.Module | None:
    """Return the module of a value and a constant; None for other operands."""
    given = [k for k in known if k is not None]
    return Einsum(a["equation"], given[0], known[0] is not None) if len(given) == 1 and len(known) == 2 else None


def cast(a: Attributes, known: Known, outputs: int) -> nn.Module:
    """Tensor.to another type."""
    wanted = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(a["to"]))
    return Cast(torch.from_numpy(np.zeros((), wanted)).dtype)


MODES = {1: {"linear": "linear"}, 2: {"linear": "bilinear", "cubic": "bicubic"}, 3: {"linear": "trilinear"}}
"""nn.Upsample's words, by the number of axes that are resized."""


def upsample(a: Attributes, known: Known, outputs: int) -> nn.Module:
    """nn.Upsample by factors: half pixels, or the lower neighbour. Raises Unsupported for other ways to place points."""
    only("Resize", a, {"mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a"})
    scales = known[2] if len(known) == 3 and known[0] is None else None
    if scales is None or list(scales[:2]) != [1.0, 1.0] or not 3 <= len(scales) <= 5:
        raise Unsupported("a Resize by other than constant factors behind batch and channels is not built")
    factors = [float(s) for s in scales[2:]]
    return nn.Upsample(scale_factor=tuple(factors), mode=_upsampled(a, factors))


def _upsampled(a: Attributes, factors: list[float]) -> str:
    """Return the word of nn.Upsample for a way to resize."""
    mode, place = a.get("mode", "nearest"), a.get("coordinate_transformation_mode", "half_pixel")
    how = a.get("nearest_mode", "round_prefer_floor")
    if mode == "nearest" and (place, how) == ("asymmetric", "floor"):
        return "nearest"
    whole = all(f == int(f) for f in factors)  # no point lies between two then, which torch would round up
    if mode == "nearest" and (place, how) == ("half_pixel", "round_prefer_floor") and whole:
        return "nearest-exact"
    if place != "half_pixel" or a.get("cubic_coeff_a", -0.75) != -0.75 or mode not in MODES[len(factors)]:
        raise Unsupported(f"torch's Upsample has no mode {mode} with {place} coordinates")
    return MODES[len(factors)][mode]


def quantize(a: Attributes) -> Callable[..., Any]:
    """Return the function of rounding to integers, which stay in the network's type: integers of torch have no gradient."""
    only("QuantizeLinear", a, set())

    def rounded(x: Any, scale: Any, zero: Any) -> Any:
        info = torch.iinfo(zero.dtype)
        return (torch.round(x / _one(scale)) + zero).clamp(info.min, info.max)

    return rounded


def dequantize(a: Attributes) -> Callable[..., Any]:
    """Return the function of scaling back."""
    only("DequantizeLinear", a, set())
    return lambda q, scale, zero: (q - zero) * _one(scale)


def _one(scale: Any) -> Any:
    if scale.ndim:
        raise Unsupported("a scale of its own for each channel is not built")
    return scale


ROUNDED = {"QuantizeLinear": quantize, "DequantizeLinear": dequantize}
"""The functions that round and scale back."""
