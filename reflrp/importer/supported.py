"""What stands in the way of a model: every node that nothing can build, with the reason, all in one error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from reflrp.errors import UnsupportedOperator, blamed_on
from reflrp.importer.functions import defined_by_function
from reflrp.importer.labels import inner_labels
from reflrp.importer.node import OnnxNode
from reflrp.importer.site import BUILDERS
from reflrp.importer.source import Source

UNLIKE_LRP = {
    **dict.fromkeys(
        ["TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"],
        "trees decide by thresholds, so relevance has no linear part to follow; use a method for trees, as TreeSHAP",
    ),
    **dict.fromkeys(
        ["SVMClassifier", "SVMRegressor"],
        "a kernel machine is no layered network; a linear one can be exported as LinearClassifier",
    ),
}
"""Operators that are no layers, and why."""


QDQ = "export with QuantizeLinear and DequantizeLinear around float operators (QDQ), or in float"


def check_supported(source: Source) -> None:
    """Raise UnsupportedOperator with every node that is unknown, or on a relevance path without a builder."""
    with blamed_on(source.name):
        found = [*_without_builder(source.nodes, source.active, source.constants)]
    missing = [node.offender(_why(node)) for node in found]
    if missing:
        raise UnsupportedOperator(missing)


def _without_builder(
    nodes: Iterable[OnnxNode], active: frozenset[str], constants: Mapping[str, np.ndarray]
) -> Iterator[OnnxNode]:
    """Yield the nodes that nothing can build, those in subgraphs included."""
    for node in nodes:
        for body in node.bodies.values():
            inner = inner_labels(node, body, active, constants)
            yield from _without_builder(body.nodes, inner, {**constants, **body.constants})
        known = (node.domain, node.op_type) in BUILDERS or defined_by_function(node)
        if not known and (any(o in active for o in node.outputs) or not node.standard):
            yield node


def _why(node: OnnxNode) -> str:
    if node.domain == "com.microsoft.nchwc":
        return "a layout of one processor; save the model with onnxruntime's optimisation level extended or lower"
    if "Integer" in node.op_type or node.op_type.startswith(("QLinear", "QGemm", "QAttention", "DynamicQuant")):
        return f"integer arithmetic; {QDQ}"
    if not node.standard:
        return "not an operator of the ONNX standard"
    if "Sequence" in node.op_type or "Optional" in node.op_type:
        return "sequences are no tensors; export the model without them"
    return UNLIKE_LRP.get(node.op_type, "no builder")
