"""The bias that an exporter split off: a layer, and behind it the addition of one constant a feature.

ONNX has no place for the bias of a MatMul, so every exporter writes a dense layer on sequences as MatMul and Add, and
tf2onnx and Keras write a convolution and its bias as two nodes. Whether relevance stays in a bias inside the layer or in an
addition behind it makes a difference to most rules, so the two become one only where the file shows a bias:

1. the node is an Add (a Sub, or a sum of several, is what a user wrote),
2. its constant has exactly one entry for each feature of the layer, on the features' axis (a number, a map of positions,
   an image is none),
3. the layer has no bias of its own, not even one of zeros,
4. where the exporter wrote down modules, both nodes come from one,
5. the constant does not depend on lengths that the file leaves open: a state for each of N samples, (N, k), is for one sample
   of the shape of a bias.

All of it is read from the file: no value of a constant has a say.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from reflrp.arrays import ZERO, Array
from reflrp.ground.caches import Cache
from reflrp.ground.literals import literal
from reflrp.ir import Graph, Lengths, Node
from reflrp.ops.conv import Conv, ConvTranspose
from reflrp.ops.einsum import DenseEinsum
from reflrp.ops.linear import Dense, Diagonal, LeftDense, LinearMap
from reflrp.ops.routing import Reshape, Transpose

FARTHEST = 16
"""How many nodes back a linear node is looked for, of which all but the last are reshapes and transposes."""

WITH_BIAS = (Dense, LeftDense, Conv, ConvTranspose)


def fuse_affine(graph: Graph) -> Graph:
    """Make a linear node and the bias that stands behind it one node.

    Either operand order, any rank; also where reshapes and transposes stand between the two (as around the
    one-dimensional convolutions of Keras).
    """
    nodes, place, readers = opened(graph)
    for i, after in enumerate(graph.nodes):
        path = path_back(after.inputs[0], nodes, place, readers) if _adds(graph, after) else []
        bias = _split_bias(graph, after, [nodes[j] for j in path]) if path else None
        if bias is None:
            continue
        node = nodes[path[-1]]
        apart = (node, after) if len(path) == 1 and not isinstance(node.op, Dense | LeftDense) else ()
        op = replace(node.op, b=bias, derived=Cache())
        nodes[path[-1]] = replace(node, op=op, onnx=(*node.onnx, *after.onnx), joined=apart)
        nodes[path[0]] = replace(nodes[path[0]], output=after.output)
        nodes[i], place[after.output] = None, path[0]
    return closed(graph, nodes)


def part_bias(graph: Graph) -> Graph:
    """Undo `fuse_affine` on convolutions and Einsums: the addition is a node again.

    For libraries whose networks come from torch, which never splits the bias of a convolution, and writes no layer as an Einsum.
    """
    nodes = [part for node in graph.nodes for part in (node.joined or (node,))]
    return replace(graph, nodes=tuple(nodes))


def opened(graph: Graph) -> tuple[list[Any], dict[str, int], Counter[str]]:
    """Return the nodes to edit in place, the place of each value's maker, and how often each value is read."""
    readers = Counter(name for node in graph.nodes for name in dict.fromkeys(node.inputs))
    readers.update(2 * [graph.resolve(o) for o in graph.outputs])  # an output has a reader that stays
    return list(graph.nodes), {node.output: i for i, node in enumerate(graph.nodes)}, readers


def closed(graph: Graph, nodes: list[Any]) -> Graph:
    """Return the graph with the edited nodes; those that are None are gone."""
    return replace(graph, nodes=tuple(node for node in nodes if node is not None))


def _adds(graph: Graph, after: Node) -> bool:
    """Return whether a node is an Add of a constant, and nothing else."""
    d = after.op
    if not isinstance(d, Diagonal) or after.op_type != "Add" or d.b is ZERO or after.measured:
        return False
    return graph.values[after.inputs[0]].shape == graph.values[after.output].shape and d.w.ndim == 0 and bool(d.w == 1)


def path_back(name: str, nodes: list[Any], place: dict[str, int], readers: Counter[str]) -> list[int]:
    """Return the places from what an addition reads back to the linear node that it alone reads, or nothing."""
    path: list[int] = []
    while readers[name] == 1 and name in place and len(path) < FARTHEST:
        path.append(place[name])
        node = nodes[path[-1]]
        if isinstance(node.op, (*WITH_BIAS, DenseEinsum)):
            return path
        name = node.inputs[0] if isinstance(node.op, Reshape | Transpose) else ""
    return []


def _split_bias(graph: Graph, after: Node, path: list[Node]) -> Array | None:
    """Return the bias as the linear node at the end of the path adds it, or None where the constant is none."""
    layer, bias = path[-1], after.op.b  # type: ignore[attr-defined]
    if layer.op.has_bias or layer.op.b is not ZERO or not _same_module(layer, after):  # type: ignore[attr-defined]
        return None
    out = graph.values[layer.output].shape
    axes = _feature_axes(layer.op, len(out))  # type: ignore[arg-type]
    features = _features(graph, after, path, axes) if axes and _apart(graph, path, set(axes)) else None
    if features is None or features.size != bias.size or bias.ndim == 0:
        return None
    shape = [out[i] if i in axes else 1 for i in range(min(axes), len(out))]
    return np.ravel(bias)[features].reshape(shape)


def _apart(graph: Graph, path: list[Node], features: set[int]) -> bool:
    """Return whether what moves entries behind a layer keeps its features clear of open axes, as long or short as these are.

    A reshape of (T, k) to (k, T) leaves each feature where it is for T = 1 only.
    """
    for node in reversed(path[:-1]):
        if isinstance(node.op, Transpose):
            features = {i for i, axis in enumerate(node.op.axes) if axis in features}
            continue
        before, after = (graph.values[name].lengths for name in (node.inputs[0], node.output))
        lead = _same(before, after)
        behind = _same(before[lead:][::-1], after[lead:][::-1])
        first, last = len(before) - behind, len(after) - behind
        if features & set(range(lead, first)):
            if any(isinstance(n, str) for n in (*before[lead:first], *after[lead:last])):
                return False
            inside = set(range(lead, last))
        else:
            inside = set()
        features = {i for i in features if i < lead} | inside | {i + last - first for i in features if i >= first}
    return True


def _same(one: Lengths, two: Lengths) -> int:
    """Return how many lengths two values begin with alike."""
    pairs = enumerate(zip(one, two, strict=False))
    return next((i for i, (n, m) in pairs if n != m), min(len(one), len(two)))


def _features(graph: Graph, after: Node, path: list[Node], axes: tuple[int, ...]) -> np.ndarray | None:
    """Return for each feature of the layer which entry of the constant is added to it; None where that is not one.

    The numbers of the constant's entries are broadcast and moved back to the layer, as relevance is.
    """
    bias = after.op.b  # type: ignore[attr-defined]
    numbers = np.broadcast_to(np.arange(bias.size).reshape(bias.shape), graph.values[after.output].shape)
    for routing in path[:-1]:
        (numbers,) = routing.op.transpose(numbers)  # type: ignore[attr-defined]
    rows = np.moveaxis(numbers, axes, range(len(axes))).reshape(prod(numbers.shape[i] for i in axes), -1)
    one_each = rows.size > 0 and bool((rows == rows[:, :1]).all()) and len(set(rows[:, 0].tolist())) == len(rows)
    return rows[:, 0] if one_each else None


def _feature_axes(op: LinearMap, rank: int) -> tuple[int, ...]:
    """Return the axes of a layer's output that its features are on; of an Einsum those that the constant alone has."""
    if isinstance(op, DenseEinsum):
        return tuple(i for i, c in enumerate(op.equation.out) if c in op.equation.right and c not in op.equation.left)
    behind: dict[type, int] = {Dense: 1, LeftDense: 2}
    return (rank - behind[type(op)] if type(op) in behind else 1,)


def _same_module(one: Node, two: Node) -> bool:
    """Return whether two nodes may come from one module: they do not say that they do not."""
    return not _module(one) or not _module(two) or _module(one) == _module(two)


def _module(node: Node) -> str:
    """Return the module path that torch wrote down: as metadata, or in the node's name (`/block/fc/MatMul`)."""
    if node.scope.startswith("["):
        scopes: list[str] = literal(node.scope)
        return "/".join(scopes[:-1]) + "/"
    name = node.onnx[0] if node.onnx else ""
    return name.rpartition("/")[0] + "/" if name.startswith("/") else ""
