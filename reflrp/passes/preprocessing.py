"""Preprocessing: what a file does to its inputs before the first layer, feature by feature, with constants.

A scaler, a normalisation by a mean and a deviation, a rescaling of pixels. Nothing in a file says that a node is one, so this
is the criterion, all of which is proven on the graph:

1. the node is a scale and a shift by constants (Mul, Div, Add, Sub, Scaler ...) that keeps the input's shape, or fills in what
   is missing (Imputer); a BatchNormalization is none: it is a layer that was learnt, and is folded into its neighbour,
2. between it and the model's inputs there is nothing but routing and other such nodes,
3. no scale is zero: what is multiplied with zero is masked, and does not come from the input,
4. the constants do not tell the samples (the first axis) apart, and in sequences (three axes) they vary along one axis at most:
   a number for each place and each feature is a table of positions, and a part of the network,
   what repeats itself along an axis does not vary there,
   so they do behind a reshape that adds or drops axes of one entry, and behind any other they are one number; an axis that the
   file leaves open has not one entry where a series is one step long,
5. the constants' numbers do not depend on lengths that the file leaves open: what counts the samples is no scale of a feature,
6. something else follows: a model that is nothing but a scale and a shift is explained as such.
"""

from __future__ import annotations

import numpy as np

from reflrp.arrays import ZERO, Array
from reflrp.arrays.measured import ENTRIES, SHAPE
from reflrp.arrays.tracing.dims import Dim
from reflrp.ir import Graph, Node, Shape, Value
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
    before, after = (graph.values[name].lengths for name in (node.inputs[0], node.output))
    same = [n for n in before if n != 1] == [n for n in after if n != 1]
    return UNITS if same and isinstance(node.op, Reshape) else HIDDEN


def _varies_along(node: Node, graph: Graph, most: int) -> bool:
    """Return whether a node's constants vary along so many axes at most; an open one is asked only where it matters."""
    op = node.op
    constants = (op.w, op.b) if isinstance(op, Diagonal) else op.args if isinstance(op, Pointwise) else ()
    shapes = [_own(c, graph.values[node.output], node) for c in constants if c is not ZERO]
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
    op, value = node.op, graph.values[node.output]
    if node.measured & ENTRIES:
        return False
    if isinstance(op, Pointwise):
        return op.name == "impute" and _along_features(op.args[1], value, node)
    if not isinstance(op, Diagonal) or node.op_type == "BatchNormalization":
        return False
    before = graph.values[node.inputs[0]]
    longer = any(n == 1 != m for n, m in zip(before.lengths, value.lengths, strict=False))
    if before.shape != value.shape or longer or not np.all(np.asarray(op.w) != 0):
        return False
    return all(_along_features(c, value, node) for c in (op.w, op.b))


def _along_features(constant: Array, value: Value, node: Node) -> bool:
    """Return whether a constant that broadcasts to a value is the same for all samples and, in sequences, on all axes but one."""
    if constant is ZERO:
        return True
    own, shape = _own(constant, value, node), value.shape
    if len(own) == len(shape) > 1 and own[0] != 1:
        return False
    aligned = zip(own[::-1], shape[:0:-1], value.lengths[:0:-1], strict=False)
    # of a single place, too, it may be a table, but not of a series that may be longer
    along = sum(n == m and (n > 1 or length == 1) for n, m, length in aligned)
    return len(shape) != 3 or along < 2


def _own(constant: Array, value: Value, node: Node) -> Shape:
    """Return the shape of a constant, with one entry along each axis on which it repeats itself, as after Expand or a broadcast.

    So it does not matter whether a file, or whoever folded its constants, wrote a row once or for each place. Along a length that
    is left open only one that is computed from it has as many entries as there are now, and is the same all along; and samples
    are told apart by constants of two axes and more.
    """
    x = np.asarray(constant)
    own, lead = list(x.shape), len(value.shape) - x.ndim
    if lead < 0:
        return tuple(own)
    for axis in range(x.ndim):
        length = value.lengths[axis + lead]
        mine = x.ndim > 1 or node.measured if axis + lead == 0 else node.measured & SHAPE or not isinstance(length, str)
        if mine and own[axis] > 1 and np.array_equal(x, np.broadcast_to(x.take([0], axis=axis), x.shape)):
            own[axis] = 1
    return tuple(own)
