"""zennit.types: the kinds of layers that layer maps name, as matchers of nodes.

`nn` holds the names of torch.nn, and `naming` says what else a layer map takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reflrp.composites.matchers import Matcher, Survey, kind, op_type
from reflrp.ir import Node
from reflrp.ops.linear import Dense, LinearMap
from reflrp.ops.selection import MaxAxes
from reflrp.ops.sums import SumAxes


@dataclass(frozen=True)
class Nodes(Matcher):
    """The nodes that pass a test."""

    test: Callable[[Node, Survey], bool]

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node passes."""
        return self.test(node, survey)


@dataclass(frozen=True)
class Dimensions(Matcher):
    """The nodes whose input has `low` to `high` axes after batch and channels: the 2 in Conv2d."""

    low: int
    high: int

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether the node matches."""
        return isinstance(node.op, LinearMap) and self.low <= len(node.op.source) - 2 <= self.high


def activation(*op_types: str) -> Matcher:
    """Return a matcher of pointwise functions by operator: ONNX's, or the one that the import recognised."""
    return kind("pointwise") & op_type(*op_types)


def _is_linear_module(node: Node, survey: Survey) -> bool:
    """nn.Linear: one matrix on the right. Other constant factors are no modules in torch."""
    return node.op_type in ("Gemm", "MatMul") and isinstance(node.op, Dense) and len(node.op.w.shape) == 2


def _is_sum(node: Node, survey: Survey) -> bool:
    """A sum of values that all carry relevance."""
    values = survey.graph.values
    return node.kind == "sum" and all(values[i].active for i in node.inputs)


def _is_global(node: Node, survey: Survey) -> bool:
    """A reduction of all axes after batch and channels, which it keeps: how exporters write adaptive pools."""
    op = node.op
    spatial = isinstance(op, SumAxes | MaxAxes) and op.keepdims and op.axes == tuple(range(2, len(op.source)))
    return spatial and len(node.op.source) > 2  # type: ignore[attr-defined]


ConvolutionStandard = kind("conv") & op_type("Conv")
ConvolutionTranspose = kind("conv") & op_type("ConvTranspose")
Convolution = ConvolutionStandard | ConvolutionTranspose
DenseLinear = Nodes(_is_linear_module)
"""torch's nn.Linear."""
Linear = Convolution | DenseLinear
"""zennit's Linear: convolutions and nn.Linear."""
BatchNorm = kind("diagonal") & op_type("BatchNormalization")
GlobalAvgPool = op_type("GlobalAveragePool") | (op_type("ReduceMean") & Nodes(_is_global))
GlobalMaxPool = op_type("GlobalMaxPool") | (op_type("ReduceMax") & Nodes(_is_global))
AvgPool = op_type("AveragePool") | GlobalAvgPool
MaxPool = op_type("MaxPool") | GlobalMaxPool
Sum = op_type("Add", "Sum") & Nodes(_is_sum)
"""zennit.layer.Sum."""
Activation = activation(
    "Celu", "Clip", "Elu", "Gelu", "GeluTanh", "HardSigmoid", "HardSwish", "LeakyRelu", "LogSigmoid", "PRelu", "Relu",
    "Selu", "Shrink", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "Tanhshrink", "ThresholdedRelu",
)  # fmt: skip
"""zennit's Activation: not Softmax, LogSoftmax, Mish, GLU."""

Types = Any
"""A matcher, a class of torch.nn or zennit, or a tuple of these."""


__all__ = [
    "Activation",
    "AvgPool",
    "BatchNorm",
    "Convolution",
    "ConvolutionStandard",
    "ConvolutionTranspose",
    "Linear",
    "MaxPool",
    "Sum",
]
