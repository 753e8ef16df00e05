"""Normalisations as the layers of torch.nn: with statistics as they stand, or of the input itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from reflrp.conformance.adapters.torch_functions import Attributes, Known
from reflrp.conformance.protocol import Unsupported


def with_parameters(layer: nn.Module, w: np.ndarray, b: np.ndarray | None) -> nn.Module:
    """Return a layer with these parameters."""
    layer.weight = parameter(w)
    if b is not None:
        layer.bias = parameter(b)
    return layer


def parameter(array: np.ndarray) -> nn.Parameter:
    """Return a copy of an array as a parameter."""
    return nn.Parameter(torch.tensor(np.array(array)))


def batchnorm(a: Attributes, known: Known, outputs: int) -> nn.Module:
    """nn.BatchNorm, its statistics as they stand."""
    if any(k is None for k in known[1:]) or a.get("training_mode", 0):
        raise Unsupported("a BatchNormalization without constant statistics is no layer of torch")
    gamma, beta, mean, var = (torch.tensor(np.asarray(k)) for k in known[1:])
    layer = _AnyBatchNorm(len(gamma), eps=a.get("epsilon", 1e-5))
    layer.weight, layer.bias = nn.Parameter(gamma), nn.Parameter(beta)
    layer.running_mean, layer.running_var = mean, var
    return layer


class _AnyBatchNorm(nn.BatchNorm2d):  # type: ignore[misc]
    """nn.BatchNorm2d for inputs of any rank: which of the three it is, the file does not say."""

    def _check_input_dim(self, input: Any) -> None:
        return


class _AnyInstanceNorm(nn.InstanceNorm2d):  # type: ignore[misc]
    """nn.InstanceNorm2d for inputs of any rank, whose first axis is always the batch."""

    def forward(self, x: Any) -> Any:
        """Return each sample's channels normalised."""
        return self._apply_instance_norm(x)


def instance_norm(a: Attributes, known: Known, outputs: int) -> nn.Module:
    """nn.InstanceNorm."""
    scale, bias = _constant("InstanceNormalization", known)
    layer = _AnyInstanceNorm(len(scale), eps=a.get("epsilon", 1e-5), affine=True)
    return with_parameters(layer, scale, bias)


def group_norm(a: Attributes, known: Known, outputs: int) -> nn.Module:
    """nn.GroupNorm, whose parameters are those of each channel, as from opset 21 on."""
    scale, bias = _constant("GroupNormalization", known)
    layer = nn.GroupNorm(a["num_groups"], len(scale), eps=a.get("epsilon", 1e-5))
    return with_parameters(layer, scale, bias)


def rms_norm(a: Attributes, known: Known, outputs: int) -> nn.Module:
    """nn.RMSNorm over the last axes."""
    (scale,) = _constant("RMSNormalization", known)
    _last_axes("RMSNormalization", a, scale)
    return with_parameters(nn.RMSNorm(scale.shape, eps=a.get("epsilon", 1e-5)), scale, None)


def layer_norm(a: Attributes, known: Known, outputs: int) -> nn.Module:
    """nn.LayerNorm over the last axes."""
    scale, *bias = _constant("LayerNormalization", known)
    _last_axes("LayerNormalization", a, scale)
    if outputs > 1:
        raise Unsupported("torch's LayerNorm returns no statistics")
    layer = nn.LayerNorm(scale.shape, eps=a.get("epsilon", 1e-5), bias=bool(bias))
    return with_parameters(layer, scale, bias[0] if bias else None)


def _constant(title: str, known: Known) -> list[np.ndarray]:
    """Return the parameters of a node. Raises Unsupported where they are values, or the normalised value is a constant."""
    given = [np.asarray(k) for k in known[1:] if k is not None]
    if known[0] is not None or len(given) != len(known) - 1:
        raise Unsupported(f"{title} with parameters that are values, or of a constant, is no layer of torch")
    return given


def _last_axes(title: str, a: Attributes, scale: np.ndarray) -> None:
    """Refuse what does not normalise over the axes of its scale, or in another dtype: torch has no such layer."""
    axis = a.get("axis", -1)
    if (axis < 0 and scale.ndim != -axis) or a.get("stash_type", 1) != 1:
        raise Unsupported(f"{title} whose scale has other axes than it normalises is no layer of torch")
