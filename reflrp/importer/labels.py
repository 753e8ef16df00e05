"""Labels: which values of a file carry relevance, told from the operators alone, before anything is built."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping, MutableMapping

import numpy as np

from reflrp.importer.node import Body, OnnxNode
from reflrp.importer.read import dtype_of, is_float

RANDOM = frozenset(
    ["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"]
)
"""Operators that are never folded."""

INERT = RANDOM | frozenset(
    ["And", "ArgMax", "ArgMin", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "ConstantOfShape"]
    + ["Equal", "EyeLike", "Greater", "GreaterOrEqual", "Hardmax", "IsInf", "IsNaN", "Less", "LessOrEqual", "NonZero"]
    + ["Not", "OneHot", "Or", "Range", "Shape", "Size", "StringNormalizer", "TfIdfVectorizer", "Unique", "Xor"]
)
"""Operators whose output carries no relevance, whatever comes in."""

CONTROL_FLOW = frozenset(["If", "Loop", "Scan", "SequenceMap"])
"""Operators that run subgraphs."""

BUILT = CONTROL_FLOW | frozenset(
    ["SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SplitToSequence"]
)
"""These, and operators that make sequences of tensors: never folded, always built."""

INERT_OUTPUTS = {
    "Dropout": (1,),
    "DynamicQuantizeLinear": (1, 2),
    "EmbedLayerNormalization": (1,),
    "LayerNormalization": (1, 2),
    "LinearClassifier": (0,),
    "MaxPool": (1,),
    "SVMClassifier": (0,),
    "TopK": (1,),
    "TreeEnsembleClassifier": (0,),
}
"""Outputs that carry none, of operators whose first output does: masks, positions, statistics."""

LOOKUPS = ("EmbedLayerNormalization",)
"""Operators that look up rows of tables among other things."""

TABLES = ("Gather", "GatherND")
"""Operators that look up rows of a table; of a constant table, these are embeddings."""


def labelled(nodes: Iterable[OnnxNode], constants: Mapping[str, np.ndarray], floats: Iterable[str]) -> frozenset[str]:
    """Return the values that carry relevance: they depend on a float input, or are rows looked up by an input.

    What is looked up by numbers that the network worked out itself, as a router's choice of experts, is a constant at
    the observed input.
    """
    active, given, own = set(floats), set(floats), set[str]()
    for node in nodes:
        if any(i in own or (i in active and i not in given) for i in node.reads):
            own.update(node.outputs)
        if node.bodies:
            active.update(_from_bodies(node, constants, active))
        elif not is_inert(node) and (_looks_up(node, constants, own) or _reads_active(node, active)):
            inert = INERT_OUTPUTS.get(node.op_type, ())
            active.update(o for i, o in enumerate(node.outputs) if o and i not in inert)
    return frozenset(active)


def is_inert(node: OnnxNode) -> bool:
    """Return whether no output of a node carries relevance, whatever comes in."""
    return node.op_type in INERT or _casts_away(node)


def _casts_away(node: OnnxNode) -> bool:
    dtype = dtype_of(node.attributes.get("to", 1)) if node.op_type == "Cast" else None
    return dtype is not None and not is_float(dtype)


def _reads_active(node: OnnxNode, active: set[str]) -> bool:
    return any(i in active for i in (node.reads[:1] if node.op_type == "CastLike" else node.reads))


def _looks_up(node: OnnxNode, constants: Mapping[str, np.ndarray], own: set[str]) -> bool:
    """Return whether a node takes rows of a constant table by numbers that come in."""
    if node.op_type in LOOKUPS:
        return True
    table = constants.get(node.inputs[0]) if node.op_type in TABLES else None
    return table is not None and is_float(table.dtype) and node.inputs[1] not in constants and node.inputs[1] not in own


def _from_bodies(node: OnnxNode, constants: Mapping[str, np.ndarray], active: set[str]) -> set[str]:
    """Return the outputs that come out of a node's subgraphs as active."""
    first = 1 if node.op_type == "Loop" else 0  # a loop's body says first whether to go on
    found = set[str]()
    for body in node.bodies.values():
        inner = inner_labels(node, body, active, constants)
        found.update(o for o, value in zip(node.outputs, body.outputs[first:], strict=False) if o and value in inner)
    return found


def inner_labels(
    node: OnnxNode, body: Body, active: Iterable[str], constants: Mapping[str, np.ndarray]
) -> frozenset[str]:
    """Return which values of a subgraph carry relevance, those that come round from one step to the next included."""
    outside = set(active)
    known: MutableMapping[str, np.ndarray] = ChainMap(dict(body.constants), dict(constants))
    floats = {i for n in body.nodes for i in n.reads if i in outside}
    floats |= {i for i, outer in zip(body.inputs, node.inputs, strict=False) if outer in outside}
    first = 2 if node.op_type == "Loop" else 0
    states = len(body.inputs) - first - node.attributes.get("num_scan_inputs", 0)
    round_ = list(zip(body.inputs[first : first + states], body.outputs[first // 2 :], strict=False))
    while True:
        found = labelled(body.nodes, known, floats)
        back = {i for i, o in round_ if o in found}
        if back <= floats:
            return found
        floats |= back
