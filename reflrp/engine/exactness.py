"""Exact arithmetic on a graph: its ops with their constants as fractions, and what fractions cannot do, refused by name.

Fractions are closed under what most layers do, and no more: the square root of a LayerNorm is none, nor is a sigmoid. Of a
BatchNormalization the root of variance and epsilon is taken as the nearest double; all else about it is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from reflrp.arrays import Array
from reflrp.arrays.exact import number
from reflrp.arrays.levels import exactly
from reflrp.arrays.provenance import Rounded, in_fractions
from reflrp.errors import InputError, RuleError
from reflrp.ir import Graph, Node, Op
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.routing import Pad
from reflrp.ops.stabilizer import Stabilizer
from reflrp.rules.base import Rule

RATIONAL = frozenset(
    [
        "relu",
        "leaky_relu",
        "prelu",
        "thresholded_relu",
        "clip",
        "hard_sigmoid",
        "shrink",
        "abs",
        "sign",
        "reciprocal",
        "power",
    ]
)
"""Functions that make fractions of fractions; a power by a whole number."""

KINDS = frozenset(["dense", "conv", "diagonal", "sum", "pool", "max", "routing", "product", "pointwise", "plumbing"])

NOTE = "exact: all numbers are fractions; of a BatchNormalization, the root of variance + epsilon is the nearest double"


def exact_graph(graph: Graph, convert: Callable[[Array], Array]) -> Graph:
    """Return the graph with exact constants.

    Raises InputError with every node that computes no fractions, or whose constants were rounded on the way from the file.
    """
    found, wrong, whys = [], [], set[str]()
    for node in graph.nodes:
        why = _no_fraction(node) if graph.values[node.output].active else ""
        try:
            found.append(replace(node, op=node.op if why else exact_op(node.op, convert), joined=()))
        except Rounded:
            why = "its constants are rounded on the way from the file"
        if why:
            wrong.append(f"{node.name!r} (onnx {node.op_type})")
            whys.add(why)
    if wrong:
        raise InputError(
            f"dtype='exact' cannot compute {len(wrong)} of {len(graph.nodes)} nodes: {', '.join(wrong[:20])} "
            f"({'; '.join(sorted(whys))}); use dtype='float64'"
        )
    return replace(graph, nodes=tuple(found), notes=(*graph.notes, NOTE))


def _no_fraction(node: Node) -> str:
    op = node.op
    if node.kind not in KINDS:
        return "what they compute are no fractions"
    if isinstance(op, Pointwise):
        whole = op.name != "power" or all(float(np.asarray(a)).is_integer() for a in op.args if np.ndim(a) == 0)
        return "" if op.name in RATIONAL and whole else "what they compute are no fractions"
    return ""


def exact_op(op: Op, convert: Callable[[Array], Array] = in_fractions) -> Op:
    """Return an op with exact constants. Raises Rounded."""
    if isinstance(op, Pointwise):
        return replace(op, args=tuple(_argument(op.name, a) for a in op.args))
    if isinstance(op, Pad):
        value: Any = number(op.value)
        return replace(op, value=value)
    return op.to(convert)


def _argument(name: str, a: Any) -> Any:
    """Return a parameter of a function as it stands in the file: an exact number, but for exponents and infinite bounds."""
    if np.ndim(a):
        return np.asarray([number(float(v)) for v in np.ravel(a)], dtype=object).reshape(np.shape(a))
    if name == "power":
        return int(a)
    return number(float(a)) if np.isfinite(a) else float(a)


def exact_rules(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Return the rules with their numbers as the fractions that their digits say: 0.1 is 1/10.

    Raises RuleError for rules whose numbers are no fractions: standard deviations, roots, functions of the user's own.
    """
    for name, rule in rules.items():
        fields = vars(rule).values()
        rooted = any(isinstance(v, Stabilizer) and v.norm_scale for v in fields)
        own = any(callable(v) and not isinstance(v, Stabilizer) for v in fields)
        if rooted or own or type(rule).__name__ in ("StdxEpsilon", "BetaSmooth", "ReLUBetaSmooth"):
            raise RuleError(f"{rule!r} at node {name!r} computes no fractions, which dtype='exact' needs")
    return {name: rule.exact() for name, rule in rules.items()}


def exact_input(array: np.ndarray) -> np.ndarray:
    """Return an input in exact numbers: fractions as they are, floats as the dyadic numbers that they are."""
    return exactly(array) if array.dtype.kind in "fO" else array
