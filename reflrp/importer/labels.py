"""Labels: which values of a file carry relevance, told from the operators alone, before anything is built."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reflrp import limits
from reflrp.importer.dtypes import dtype_of, is_float, is_integer, is_narrow
from reflrp.importer.nodes.allowed import RANDOM
from reflrp.importer.nodes.node import Arrays, Body, OnnxNode

INERT = RANDOM | frozenset(
    ["And", "ArgMax", "ArgMin", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "ConstantOfShape"]
    + ["Equal", "EyeLike", "Greater", "GreaterOrEqual", "Hardmax", "IsInf", "IsNaN", "Less", "LessOrEqual", "NonZero"]
    + ["Not", "OneHot", "Or", "Range", "Shape", "Size", "StringNormalizer", "TfIdfVectorizer", "Unique", "Xor"]
)
"""Operators whose output carries no relevance, whatever comes in."""

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


QUANTISES = frozenset(["ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QuantizeLinear"])
"""Operators that make integers of numbers that carry relevance, which the integers then carry; QLinear... are others."""

DEQUANTISES = frozenset(["CastLike", "DequantizeLinear", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QAttention"])
"""Operators that make real numbers of integers."""

QGEMM_SCALE = 7
"""Which input of a QGemm is the scale of its output, without which that is real."""


POSITIONS = {
    **dict.fromkeys(["Gather", "GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND"], slice(1, 2)),
    "EmbedLayerNormalization": slice(2),
    "OneHot": slice(1),
}
"""Operator -> those of its inputs that say where to look something up."""

NOWHERE = slice(0)


@dataclass(frozen=True)
class Labels:
    """Which values carry relevance, in the graph and in all subgraphs.

    Subgraphs stand in one another, and what comes round in one is asked for again with each step of those around it. What
    carries relevance only grows on the way, so each subgraph is worked out again only where more comes in than before:
    `floats` are the values that come in as active, `found` what is active inside then; `integers` those that are quantised.
    """

    integers: set[str] = field(default_factory=set)
    floats: dict[Body, set[str]] = field(default_factory=dict)
    found: dict[Body, frozenset[str]] = field(default_factory=dict)

    def of(self, nodes: Iterable[OnnxNode], constants: Arrays, floats: Iterable[str]) -> frozenset[str]:
        """Return the values that carry relevance: they depend on a float input, or are rows looked up by an input.

        What is looked up by numbers that the network worked out itself, as a router's choice of experts, is a constant at
        the observed input.
        """
        active, given, own = set(floats), set(floats), set[str]()
        for node in nodes:
            limits.step(f"node {node.name!r} ({node.op_type})")
            if any(i in own or (i in active and i not in given) for i in node.reads):
                own.update(node.outputs)
            if node.bodies:
                active.update(self._from_bodies(node, constants, active))
            elif not self._is_inert(node) and (_looks_up(node, constants, own) or _reads_active(node, active)):
                inert = INERT_OUTPUTS.get(node.op_type, ())
                found = [o for i, o in enumerate(node.outputs) if o and i not in inert]
                active.update(found)
                self.integers.update(found if self._is_quantised(node) else ())
        return frozenset(active)

    def _is_inert(self, node: OnnxNode) -> bool:
        return is_inert(node, node.op_type == "Cast" and node.inputs[0] in self.integers)

    def _is_quantised(self, node: OnnxNode) -> bool:
        """Return whether what a node makes of active values is integers."""
        if node.op_type == "Cast":
            return not is_float(dtype_of(node.attributes.get("to", 1)) or np.dtype(float))
        real = node.op_type in DEQUANTISES or (node.op_type == "QGemm" and len(node.inputs) <= QGEMM_SCALE)
        return node.op_type in QUANTISES or (not real and any(i in self.integers for i in node.reads))

    def _from_bodies(self, node: OnnxNode, constants: Arrays, active: set[str]) -> set[str]:
        """Return the outputs that come out of a node's subgraphs as active."""
        first = 1 if node.op_type == "Loop" else 0  # a loop's body says first whether to go on
        found = set[str]()
        for body in node.bodies.values():
            inner = self.inside(node, body, active, constants)
            found.update(
                o for o, value in zip(node.outputs, body.outputs[first:], strict=False) if o and value in inner
            )
        return found

    def inside(self, node: OnnxNode, body: Body, active: Container[str], constants: Arrays) -> frozenset[str]:
        """Return which values of a subgraph carry relevance, those that come round from one step to the next included."""
        floats = {i for n in body.nodes for i in n.reads if i in active}
        floats |= {i for i, outer in zip(body.inputs, node.inputs, strict=False) if outer in active}
        self.integers.update(i for i, outer in zip(body.inputs, node.inputs, strict=False) if outer in self.integers)
        if body in self.found and floats <= self.floats[body]:
            return self.found[body]
        known = within(body, constants)
        floats |= self.floats.get(body, set())
        while True:
            found = self.of(body.nodes, known, floats)
            back = {i for i, o in _rounds(node, body) if o in found} - floats
            if not back:
                break
            floats |= back
        self.floats[body], self.found[body] = floats, found
        return found


def within(body: Body, constants: Arrays) -> Arrays:
    """Return the constants that a subgraph sees: its own, and those outside."""
    return ChainMap(dict(body.constants), constants)  # type: ignore[arg-type]


def _rounds(node: OnnxNode, body: Body) -> list[tuple[str, str]]:
    """Return what comes round in a loop: the inputs of its body with the outputs that they get in the next step."""
    first = 2 if node.op_type == "Loop" else 0
    states = len(body.inputs) - first - node.attributes.get("num_scan_inputs", 0)
    return list(zip(body.inputs[first : first + states], body.outputs[first // 2 :], strict=False))


def is_inert(node: OnnxNode, from_integer: bool = False) -> bool:
    """Return whether no output of a node carries relevance, whatever comes in; of a Cast, a float or a quantised integer."""
    return node.op_type in INERT or _casts_away(node, from_integer)


def _casts_away(node: OnnxNode, from_integer: bool) -> bool:
    dtype = dtype_of(node.attributes.get("to", 1)) if node.op_type == "Cast" else None
    return dtype is not None and not keeps_number(dtype, from_integer)


def keeps_number(to: np.dtype[Any], from_integer: bool) -> bool:
    """Return whether a cast of a number that carries relevance leaves it a number, and does not make a position of it.

    Of floats, those to 16 bits and fewer do: nothing counts in so few, but models are quantised to them.
    """
    return is_float(to) or is_narrow(to) or (from_integer and is_integer(to))


def _reads_active(node: OnnxNode, active: set[str]) -> bool:
    return any(i in active for i in (node.reads[:1] if node.op_type == "CastLike" else node.reads))


def _looks_up(node: OnnxNode, constants: Mapping[str, np.ndarray], own: set[str]) -> bool:
    """Return whether a node takes rows of a constant table by numbers that come in."""
    if node.op_type in LOOKUPS:
        return True
    table = constants.get(node.inputs[0]) if node.op_type in TABLES else None
    return table is not None and is_float(table.dtype) and node.inputs[1] not in constants and node.inputs[1] not in own


def numbers(nodes: Iterable[OnnxNode], ports: Mapping[str, np.dtype[Any]]) -> set[str]:
    """Return the inputs of a few bits that are numbers, as pixels and quantised values: those that nothing is looked up by."""
    narrow = {name: {name} for name, dtype in ports.items() if is_narrow(dtype)}
    return set(narrow) - _ids(nodes, narrow) if narrow else set()


def _ids(nodes: Iterable[OnnxNode], came: Mapping[str, set[str]]) -> set[str]:
    """Return which inputs something is looked up by; `came` says for a value of integers which inputs it comes from."""
    known, found = ChainMap[str, set[str]]({}, came), set[str]()  # type: ignore[arg-type]
    for node in nodes:
        limits.step(f"node {node.name!r} ({node.op_type})")
        for body in node.bodies.values():
            inner = {i: known[o] for i, o in zip(body.inputs, node.inputs, strict=False) if o in known}
            found |= _ids(body.nodes, ChainMap(inner, known))
        found.update(*(known.get(i, ()) for i in node.inputs[POSITIONS.get(node.op_type, NOWHERE)]))
        sources = set[str]().union(*(known.get(i, ()) for i in node.reads))
        if sources and node.op_type not in INERT and not _is_real(node):
            known.update(dict.fromkeys(node.outputs, sources))
    return found


def _is_real(node: OnnxNode) -> bool:
    """Return whether a node makes real numbers, by which nothing is looked up."""
    to = dtype_of(node.attributes.get("to", 1)) if node.op_type == "Cast" else None
    return node.op_type in DEQUANTISES or (to is not None and is_float(to))
