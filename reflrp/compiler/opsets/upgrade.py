"""A model at a newer opset: every operator that changed on the way is known, or the node is refused.

Between two opsets an operator stays what it is, or its definition changes. `UNCHANGED` lists the changes that leave the meaning of
every node that was valid before: types that were added, inputs and attributes that may be left out and then mean what the operator
did, words. They were read from the definitions of the ONNX standard, one after the other. The others are formulas
(`steps.STEPS`), each from one opset to the next in which the operator changed. What is in neither is refused, by name; so is all
that a later version of onnx may change. Nodes in the bodies of If, Loop and Scan are brought up as those of the graph are.
"""

from __future__ import annotations

from itertools import zip_longest

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from reflrp.compiler.opsets.rewriting import Facts, Lasting, Rewrite
from reflrp.compiler.opsets.steps import STEPS
from reflrp.errors import Offender, UnsupportedOperator
from reflrp.importer.files.read import domain_of

INPUTS_APART = 4
"""The version of the file format since which initializers need not be inputs."""


def _listed(text: str) -> frozenset[tuple[str, int]]:
    lines = (line.split(":") for line in text.strip().splitlines())
    pairs = ((names.split(), versions.split()) for names, versions in lines)
    return frozenset((name, int(version)) for names, versions in pairs for name in names for version in versions)


UNCHANGED = _listed("""
Abs Ceil Erf Exp Expand Floor LRN Log MeanVarianceNormalization Neg NonZero Reciprocal Sigmoid Sign Sqrt Tanh Tile: 13
Acos Acosh Asin Asinh Atan Atanh Cos Cosh Det Elu EyeLike GlobalAveragePool GlobalLpPool GlobalMaxPool HardSigmoid: 22
HardSwish InstanceNormalization LpNormalization Mish Round Selu Sin Sinh Softplus Softsign Tan ThresholdedRelu: 22
Add Div Mul Relu Sub: 13 14
ArgMax ArgMin: 11 12 13
AveragePool: 10 11 19 22
BatchNormalization: 15
Cast: 9 13 19 21 23 24 25
CastLike: 19 21 23 24 25
Clip: 12 13
Compress: 11
Concat: 11 13
Constant: 9 11 12 13 19 21 23 24 25
ConstantOfShape: 20 21 23 24 25
Conv: 11 22
ConvTranspose: 22
CumSum: 14
DepthToSpace: 11 13
DequantizeLinear: 13 19 21 23 24 25
Dropout: 13 22
Equal: 11 13 19
Flatten: 9 11 13 21 23 24 25
GRU LSTM RNN: 14 22
Gather: 11 13
GatherElements: 13
GatherND: 12 13
Gemm: 9 11 13
Greater Less: 9 13
GreaterOrEqual LessOrEqual: 16
GridSample: 22
Hardmax LogSoftmax Softmax: 11
Identity: 13 14 16 19 21 23 24 25
If Loop: 11 13 16 19 21 23 24 25
IsInf: 20
IsNaN: 13 20
LeakyRelu PRelu Where: 16
LpPool: 11 18 22
MatMul: 9 13
Max Min: 8 12 13
MaxPool: 8 10 11 12 22
MaxUnpool: 11 22
Mean Sum: 8 13
Mod: 13
PRelu: 9
Pad: 13 18 19 21 23 24 25
Pow: 12 13 15
QLinearMatMul: 21
QuantizeLinear: 13 19 21 23 24 25
ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean ReduceProd ReduceSum ReduceSumSquare: 11
ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean ReduceProd ReduceSumSquare: 13
ReduceMax ReduceMin: 11 12 13 20
Reshape: 13 14 19 21 23 24 25
Resize: 13 18 19
Scan: 11 16 19 21 23 24 25
ScatterElements ScatterND: 13 16 18
Shape: 13 15 19 21 23 24 25
Size: 13 19 21 23 24 25
Slice: 11 13
SpaceToDepth: 13
Split: 11
SplitToSequence: 24
Squeeze Unsqueeze: 11 21 23 24 25
TopK: 11 24
Transpose: 13 21 23 24 25
""")
"""(operator, opset): what was valid in the opset before means the same from this one on."""


KERNELLESS = frozenset([("GlobalLpPool", 22)])
"""(operator, opset): onnxruntime 1.31 has its kernels for the opsets before alone. A file that is of this opset itself is taken."""


def upgrade(proto: ModelProto, wanted: int, facts: Facts) -> None:
    """Bring a model without functions to a newer opset, in place; all of its values keep their names and their numbers.

    Raises UnsupportedOperator with every node that cannot be brought up.
    """
    standard = [o for o in proto.opset_import if domain_of(o.domain) == ""]
    for opset in range(standard[0].version + 1, wanted + 1):
        failed = _raised(proto.graph, opset, facts)
        if failed:
            raise UnsupportedOperator(failed)
    for one in standard:
        one.version = wanted
    if proto.ir_version < INPUTS_APART:
        _inputs_only(proto.graph)


def _raised(graph: GraphProto, opset: int, facts: Facts) -> list[Offender]:
    """Bring a graph from the opset before to this one; return what cannot be brought up."""
    found: list[NodeProto] = []
    failed: list[Offender] = []
    for i, node in enumerate(graph.node):
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                failed += _raised(attribute.g, opset, facts)
        if (node.op_type, opset) in KERNELLESS and not domain_of(node.domain):
            why = f"onnxruntime has no kernel of it as of opset {opset}; give an opset= below, or none"
            failed.append(Offender(node.name or f"{node.op_type}_{i}", node.op_type, "", opset - 1, why))
            continue
        try:
            found += _next(node, opset, facts)
        except Lasting as error:
            why = f"{error}, and no newer node does the same; export the model with opset {opset} or later"
            failed.append(Offender(node.name or f"{node.op_type}_{i}", node.op_type, "", opset - 1, why))
    if any(node is not old for node, old in zip_longest(found, graph.node)):
        kept = GraphProto(node=found)  # a copy, as what they are taken from is cleared
        del graph.node[:]
        graph.node.extend(kept.node)
    return failed


def _next(node: NodeProto, opset: int, facts: Facts) -> list[NodeProto]:
    """Return the nodes that do at this opset what a node does at the one before: itself, where nothing changed."""
    key = (node.op_type, opset)
    if domain_of(node.domain) or key in UNCHANGED or not _changes(*key):
        return [node]
    if key not in STEPS:
        raise Lasting(f"opset {opset} has another {node.op_type}")
    rewrite = Rewrite(node, facts)
    STEPS[key](rewrite)
    return rewrite.made


def _changes(op_type: str, opset: int) -> bool:
    """Return whether an operator of the opset before changes in this one. One that begins in it means nothing before."""
    if not onnx.defs.has(op_type, opset - 1, ""):
        return False
    return bool(onnx.defs.get_schema(op_type, opset, "").since_version == opset)


def _inputs_only(graph: GraphProto) -> None:
    """Take initializers out of the inputs, among which they had to be."""
    known = {t.name for t in graph.initializer}
    kept = [i for i in graph.input if i.name not in known]
    found = GraphProto(input=kept)
    del graph.input[:]
    graph.input.extend(found.input)
