"""The torch modules that captum knows, as matchers of nodes: which have a rule, which let relevance through.

A node is taken for the module that writes it. The names are those of torch.nn, and captum's Addition_Module.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

from reflrp.composites.matchers import Matcher
from reflrp.dialects.zennit import types
from reflrp.dialects.zennit.nn import (
    AdaptiveAvgPool2d as _AnyGlobalAvgPool,
)
from reflrp.dialects.zennit.nn import (
    AdaptiveMaxPool2d as _AnyGlobalMaxPool,
)
from reflrp.dialects.zennit.nn import (
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Linear,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    ReLU,
    Tanh,
)
from reflrp.dialects.zennit.types import Dimensions

Addition_Module = types.Sum
AdaptiveAvgPool1d = _AnyGlobalAvgPool & Dimensions(1, 1)
AdaptiveAvgPool2d = _AnyGlobalAvgPool & Dimensions(2, 2)
AdaptiveAvgPool3d = _AnyGlobalAvgPool & Dimensions(3, 3)
AdaptiveMaxPool1d = _AnyGlobalMaxPool & Dimensions(1, 1)
AdaptiveMaxPool2d = _AnyGlobalMaxPool & Dimensions(2, 2)
AdaptiveMaxPool3d = _AnyGlobalMaxPool & Dimensions(3, 3)


def any_of(*matchers: Matcher) -> Matcher:
    """Return a matcher of nodes that match any of these."""
    return reduce(or_, matchers)


WEIGHTED = types.Linear
"""What a bare rule stands on: all convolutions and nn.Linear."""

BATCHNORM = types.BatchNorm

WITH_RULES = any_of(
    MaxPool1d, MaxPool2d, MaxPool3d, Conv2d, AvgPool2d, AdaptiveAvgPool2d, Linear, BatchNorm2d, Addition_Module
)  # fmt: skip
"""captum's SUPPORTED_LAYERS_WITH_RULES: EpsilonRule()."""

NON_LINEAR = any_of(ReLU, Tanh)
"""captum's SUPPORTED_NON_LINEAR_LAYERS: relevance passes. (The third is Dropout, which no graph has.)"""

WITHOUT_RULES = {
    "Conv1d": Conv1d, "Conv3d": Conv3d, "ConvTranspose1d": ConvTranspose1d, "ConvTranspose2d": ConvTranspose2d,
    "ConvTranspose3d": ConvTranspose3d, "BatchNorm1d": BatchNorm1d, "BatchNorm3d": BatchNorm3d, "AvgPool1d": AvgPool1d,
    "AvgPool3d": AvgPool3d, "AdaptiveAvgPool1d": AdaptiveAvgPool1d, "AdaptiveAvgPool3d": AdaptiveAvgPool3d,
    "AdaptiveMaxPool1d": AdaptiveMaxPool1d, "AdaptiveMaxPool2d": AdaptiveMaxPool2d,
    "AdaptiveMaxPool3d": AdaptiveMaxPool3d,
}  # fmt: skip
"""Layers for which captum raises TypeError unless they have a rule of their own."""
