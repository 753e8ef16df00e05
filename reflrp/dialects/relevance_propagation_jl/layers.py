"""Which layers of Flux the nodes of a graph are, and their types as composites name them.

A chain's layers are counted from 1, in the graph's order: dense and convolutional layers, scales, BatchNorm, LayerNorm,
pools, Flatten and Reshape. A function right behind a layer that has an activation is that activation; any other is a
layer. Dropout leaves nothing in an ONNX file, so layers behind it have smaller numbers than in Flux; a sum is Flux's
Parallel or SkipConnection, and has no number; what stands in its branches is counted like the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reflrp.composites.matchers import Matcher, Survey
from reflrp.dialects.relevance_propagation_jl.rules import is_scale
from reflrp.ir import Graph, Node
from reflrp.ops import selection
from reflrp.ops.conv import WindowMean
from reflrp.ops.norms import Standardise
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.selection import MaxAxes
from reflrp.ops.sums import SumAxes


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer of the chain: its number, its node, and the node of its activation, if it has one."""

    number: int
    node: Node
    activation: Node | None = None


@dataclass(frozen=True)
class LayerType(Matcher):
    """A type of layers, by Flux's name."""

    name: str
    test: Callable[[Node], bool]

    def __call__(self, node: Node, survey: Survey) -> bool:
        """Return whether a node is of the type."""
        return self.test(node)

    def __repr__(self) -> str:
        return self.name


def layers_of(graph: Graph) -> list[Layer]:
    """Return the layers of a graph, in order."""
    makers, consumers = graph.producers(), graph.consumers()
    found = list[Layer]()
    place: dict[str, int] = {}
    for node in graph.nodes:
        before = makers.get(node.inputs[0]) if len(node.inputs) == 1 else None
        if not graph.values[node.output].active:
            continue
        if isinstance(node.op, Pointwise) and before and has_activation(before) and len(consumers[before.output]) == 1:
            at = place[before.name]
            if found[at].activation is None:
                found[at] = Layer(at + 1, before, node)
                continue
        if node.kind not in ("sum", "product", "routing", "embedding", "plumbing") or reshapes(node):
            place[node.name] = len(found)
            found.append(Layer(len(found) + 1, node))
    return found


def has_activation(node: Node) -> bool:
    """Return whether a layer of Flux has an activation of its own: dense, conv, scale, BatchNorm, LayerNorm."""
    return node.kind in ("dense", "conv", "diagonal") or isinstance(node.op, Standardise)


def reshapes(node: Node) -> bool:
    """Return whether a node is Flux.flatten, or another Reshape."""
    return node.kind == "routing" and node.op_type in ("Flatten", "Reshape")


def _is_batchnorm(node: Node) -> bool:
    return node.kind == "diagonal" and not is_scale(node)


def _is_conv(node: Node) -> bool:
    return node.kind == "conv" and node.op_type == "Conv"


def _is_transposed(node: Node) -> bool:
    return node.kind == "conv" and not _is_conv(node)


def _is_dense(node: Node) -> bool:
    return node.kind == "dense"


def _is_conv_layer(node: Node) -> bool:
    return node.kind == "conv"


def _is_max(node: Node) -> bool:
    return isinstance(node.op, selection.MaxPool)


def _is_mean(node: Node) -> bool:
    return isinstance(node.op, WindowMean)


def _is_global_max(node: Node) -> bool:
    return isinstance(node.op, MaxAxes)


def _is_global_mean(node: Node) -> bool:
    return isinstance(node.op, SumAxes)


def _is_max_layer(node: Node) -> bool:
    return _is_max(node) or _is_global_max(node)


def _is_mean_layer(node: Node) -> bool:
    return _is_mean(node) or _is_global_mean(node)


def _is_pool(node: Node) -> bool:
    return _is_max_layer(node) or _is_mean_layer(node)


def _is_layernorm(node: Node) -> bool:
    return isinstance(node.op, Standardise) and node.op.center and node.op.grouped is None


Dense = LayerType("Dense", _is_dense)
Scale = LayerType("Scale", is_scale)
Conv = LayerType("Conv", _is_conv)
ConvTranspose = LayerType("ConvTranspose", _is_transposed)
ConvLayer = LayerType("ConvLayer", _is_conv_layer)
MaxPool = LayerType("MaxPool", _is_max)
MeanPool = LayerType("MeanPool", _is_mean)
GlobalMaxPool = LayerType("GlobalMaxPool", _is_global_max)
GlobalMeanPool = LayerType("GlobalMeanPool", _is_global_mean)
MaxPoolLayer = LayerType("MaxPoolLayer", _is_max_layer)
MeanPoolLayer = LayerType("MeanPoolLayer", _is_mean_layer)
PoolingLayer = LayerType("PoolingLayer", _is_pool)
LayerNorm = LayerType("LayerNorm", _is_layernorm)
BatchNorm = LayerType("BatchNorm", _is_batchnorm)
NormalizationLayer = LayerType("NormalizationLayer", _is_batchnorm)
ReshapingLayer = LayerType("ReshapingLayer", reshapes)
