"""Preprocessing: what a file does to its inputs before the first layer, feature by feature, with constants.

A scaler, a normalisation by a mean and a deviation, a rescaling of pixels. Nothing in a file says that a node is one, so this
is the criterion, all of which is proven on the graph:

1. the node is a scale and a shift by constants (Mul, Div, Add, Sub, Scaler ...) that keeps the input's shape, or fills in what
   is missing (Imputer); a BatchNormalization is none: it is a layer that was learnt, and is folded into its neighbour,
2. between it and the model's inputs there is nothing but routing and other such nodes,
3. no scale is zero: what is multiplied with zero is masked, and does not come from the input,
4. the constants do not tell the samples (the first axis) apart, and in sequences (three axes) they vary along one axis at most:
   a number for each place and each feature is a table of positions, and a part of the network,
   so they do behind a reshape that adds or drops axes of one entry, and behind any other they are one number,
5. the constants' numbers do not depend on lengths that the file leaves open: what counts the samples is no scale of a feature,
6. something else follows: a model that is nothing but a scale and a shift is explained as such.
"""

from __future__ import annotations

import numpy as np

from reflrp.arrays import ZERO, Array
from reflrp.arrays.measured import ENTRIES
from reflrp.arrays.tracing.dims import Dim
from reflrp.ir import Graph, Node, Shape
from reflrp.ops.linear import Diagonal
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.routing import Expand, Reshape

AS_IT_IS, UNITS, HIDDEN = range(3)
"""How the axes of an input lie where it has been moved: as they were, among axes of one entry, or no longer to be told."""

ALONG = {AS_IT_IS: 64, UNITS: 1, HIDDEN: 0}
"""Along how many axes the constants of a node may vary there."""


def preprocessing(graph: Graph) -> tuple[Node, ...]:
    """Return the nodes of a graph that preprocess its inputs, in order."""
    raw = {name for name in graph.inputs if graph.values[name].active}
    moved, found = dict.fromkeys(raw, AS_IT_IS), dict[str, Node]()
    for node in graph.nodes:
        sources = [name for name in node.inputs if graph.values[name].active]
        if not sources or not raw.issuperset(sources):
            continue
        how = max(moved[name] for name in sources)
        if _per_feature(node, graph) and _varies_along(node, graph, ALONG[how]):
            found[node.name] = node
        if node.name in found or node.kind == "routing":
            raw.add(node.output)
            moved[node.output] = max(how, _reshaped(node, graph))
    used = _read_by_others(graph, found.keys())
    return tuple(node for node in found.values() if node.output in used)


def _reshaped(node: Node, graph: Graph) -> int:
    """Return how a node hides the axes of the input: not at all, by axes of one entry, or altogether."""
    if not isinstance(node.op, Reshape | Expand):
        return AS_IT_IS
    before, after = (graph.values[name].shape for name in (node.inputs[0], node.output))
    same = [n for n in before if n != 1] == [n for n in after if n != 1]
    return UNITS if same and isinstance(node.op, Reshape) else HIDDEN


def _varies_along(node: Node, graph: Graph, most: int) -> bool:
    """Return whether a node's constants vary along so many axes at most; an open one is asked only where it matters."""
    op = node.op
    constants = (op.w, op.b) if isinstance(op, Diagonal) else op.args if isinstance(op, Pointwise) else ()
    shapes = [_own(c, graph.values[node.output].shape) for c in constants if c is not ZERO]
    return all(sum(isinstance(n, Dim) or n > 1 for n in s) <= most or sum(n > 1 for n in s) <= most for s in shapes)


def origins(graph: Graph) -> dict[str, str]:
    """Return, for each value that is one input as it is, or moved or preprocessed, which input that is."""
    named, found = {node.name for node in preprocessing(graph)}, {name: name for name in graph.inputs}
    for node in graph.nodes:
        sources = {found.get(name, "") for name in node.inputs if graph.values[name].active}
        if len(sources) == 1 and (node.kind == "routing" or node.name in named):
            found[node.output] = sources.pop()
    return found


def _read_by_others(graph: Graph, names: object) -> set[str]:
    """Return the values that lead, through routing and the named nodes at most, to a node that is neither."""
    used = set[str]()
    for node in reversed(graph.nodes):
        handed_on = node.kind == "routing" or node.name in names  # type: ignore[operator]
        if graph.values[node.output].active and (not handed_on or node.output in used):
            used.update(node.inputs)
    return used


def _per_feature(node: Node, graph: Graph) -> bool:
    """Return whether a node is affine for each feature alone, by constants."""
    op, shape = node.op, graph.values[node.output].shape
    if node.measured & ENTRIES:
        return False
    if isinstance(op, Pointwise):
        return op.name == "impute" and _along_features(op.args[1], shape)
    if not isinstance(op, Diagonal) or node.op_type == "BatchNormalization":
        return False
    if graph.values[node.inputs[0]].shape != shape or not np.all(np.asarray(op.w) != 0):
        return False
    return all(_along_features(c, shape) for c in (op.w, op.b))


def _along_features(constant: Array, shape: Shape) -> bool:
    """Return whether a constant that broadcasts to a shape is the same for all samples and, in sequences, on all axes but one."""
    if constant is ZERO:
        return True
    own = _own(constant, shape)
    if len(own) == len(shape) > 1 and own[0] != 1:
        return False
    along = sum(
        n == m for n, m in zip(own[::-1], shape[:0:-1], strict=False)
    )  # of a single place, too, it may be a table
    return len(shape) != 3 or along < 2


def _own(constant: Array, shape: Shape) -> Shape:
    """Return the shape of a constant: of one that is repeated for each sample, as by Expand, that of a sample."""
    own = np.shape(constant)
    if len(own) != len(shape) or len(own) < 2 or own[0] == 1:
        return own
    rows = np.asarray(constant)
    return (1, *own[1:]) if np.array_equal(rows, np.broadcast_to(rows[:1], own)) else own
