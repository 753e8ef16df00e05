"""What stands in the way of a model: every node that nothing can build, with the reason, all in one error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reflrp import limits
from reflrp.errors import Offender, UnsupportedOperator
from reflrp.importer.labels import Labels, within
from reflrp.importer.nodes.allowed import IN_SEQUENCES, why_not
from reflrp.importer.nodes.functions import defined_by_function
from reflrp.importer.nodes.node import Arrays, OnnxNode
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


@limits.budget()
def check_supported(source: Source) -> None:
    """Raise UnsupportedOperator with every node that is unknown, on a relevance path without a builder, or not to be run.

    What carries no relevance is evaluated, by operators of the list in `allowed` only.
    """
    with limits.blamed_on(source.name):
        missing = [*_refused(source.nodes, source.active, source.constants, Labels())]
    if missing:
        raise UnsupportedOperator(missing)


def _refused(
    nodes: Iterable[OnnxNode], active: frozenset[str], constants: Arrays, labels: Labels
) -> Iterator[Offender]:
    """Yield the nodes that nothing can build or run, those in subgraphs included."""
    for node in nodes:
        for body in node.bodies.values():
            inner = labels.inside(node, body, active, constants)
            yield from _refused(body.nodes, inner, within(body, constants), labels)
        why = _why_refused(node, any(o in active for o in node.outputs))
        if why:
            yield node.offender(why)


def _why_refused(node: OnnxNode, active: bool) -> str:
    """Return why a node can be neither built nor run, or nothing."""
    built = (node.domain, node.op_type) in BUILDERS or defined_by_function(node)
    if not built and (active or not node.standard):
        return _why(node)
    if active or node.evaluable or node.op_type in IN_SEQUENCES or defined_by_function(node):
        return ""
    return why_not(node.op_type)


def _why(node: OnnxNode) -> str:
    if node.domain == "com.microsoft.nchwc":
        return "a layout of one processor; save the model with onnxruntime's optimisation level extended or lower"
    if "Integer" in node.op_type or node.op_type.startswith(("QLinear", "QGemm", "QAttention", "DynamicQuant")):
        return f"a kernel of integers; {QDQ}"
    if not node.standard:
        return "not an operator of the ONNX standard"
    if "Sequence" in node.op_type or "Optional" in node.op_type:
        return "sequences are no tensors; export the model without them"
    return UNLIKE_LRP.get(node.op_type, "no builder")
