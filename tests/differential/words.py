"""The oracle's words: what a node of `Block.literal` is called, computes, and which kind of rule stands on it.

Most are ONNX operators. A few stand for what several nodes spell out: Dense, SumOver, MaxOver, SoftmaxOf, and Passed, a
function of one value that relevance passes unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from differential.case import Case
from differential.evaluate import Failed, close, narrow, session, single, wide, widened

DENSE = ("Dense", "Gemm", "MatMul", "Einsum")
CONV = ("Conv", "ConvTranspose")
SHARED = ("AveragePool", "GlobalAveragePool", "ReduceMean")
"""Maps whose coefficients are shares of a pool."""

LINEAR = ("CumSum", "Resize", "Upsample", "ReduceSum", "SumOver", "Add", "Sub", "Sum", "Mul", "Div", "Neg")
ADDING = ("ScatterElements", "ScatterND")
"""Linear where they add, else routing."""

ROUTING = (
    *(
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Concat",
        "Split",
        "Slice",
        "Gather",
        "GatherElements",
    ),
    *(
        "GatherND",
        "Pad",
        "Expand",
        "Tile",
        "DepthToSpace",
        "SpaceToDepth",
        "Where",
        "Trilu",
        "ReverseSequence",
        "Compress",
    ),
    *("Identity", "Dropout", "Cast", "TakeAlong"),
)
MAXIMA = ("MaxPool", "GlobalMaxPool", "ReduceMax", "MaxOver", "Max", "Min")
NORMS = (
    *("LogSoftmax", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "LpNormalization"),
    *("MeanVarianceNormalization", "BatchNormalization"),
)
PASSED = (
    *(
        "Passed",
        "Relu",
        "Sigmoid",
        "Tanh",
        "Softplus",
        "Softsign",
        "Erf",
        "Exp",
        "Abs",
        "Sin",
        "Cos",
        "Atan",
        "Sinh",
        "Cosh",
    ),
    *(
        "Asinh",
        "Floor",
        "Ceil",
        "Sign",
        "LeakyRelu",
        "Elu",
        "Selu",
        "HardSigmoid",
        "Round",
        "Celu",
        "HardSwish",
        "Mish",
    ),
    *(
        "Gelu",
        "ThresholdedRelu",
        "Shrink",
        "Log",
        "Sqrt",
        "Reciprocal",
        "Asin",
        "Acos",
        "Acosh",
        "Atanh",
        "Clip",
        "PRelu",
    ),
    *(
        "Pow",
        "LogSoftmax",
        "LayerNormalization",
        "InstanceNormalization",
        "GroupNormalization",
        "LRN",
        "LpNormalization",
    ),
    *("MeanVarianceNormalization", "BatchNormalization"),
)
SOFTMAX = ("Softmax", "SoftmaxOf")


def attributes(node: NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def softmax(node: NodeProto, x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def dense(node: NodeProto, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    return x @ w + b


def sum_over(node: NodeProto, x: np.ndarray) -> np.ndarray:
    given = attributes(node)
    return x.sum(axis=tuple(given["axes"]), keepdims=bool(given["keepdims"]))


def max_over(node: NodeProto, x: np.ndarray) -> np.ndarray:
    given = attributes(node)
    return x.max(axis=tuple(given["axes"]), keepdims=bool(given["keepdims"]))


def take_along(node: NodeProto, x: np.ndarray, ids: np.ndarray) -> np.ndarray:
    return np.take_along_axis(x, ids.astype(np.int64), attributes(node)["axis"])


def passed(node: NodeProto, x: np.ndarray) -> np.ndarray:
    return x * x  # the others end in values that the nodes compute


OWN: dict[str, Callable[..., np.ndarray]] = {
    "Dense": dense, "TakeAlong": take_along, "SumOver": sum_over, "MaxOver": max_over, "SoftmaxOf": softmax, "Passed": passed,
}  # fmt: skip


def runner(node: NodeProto, values: Mapping[str, np.ndarray], case: Case) -> Callable[..., np.ndarray]:
    """Return a node's outputs, one after the other where they are several, as a function of its inputs by place.

    In float64 by the reference code where that gives what it should at the observed inputs, else by onnxruntime.
    """
    if node.op_type in OWN:
        return lambda *xs: OWN[node.op_type](node, *xs)
    placed, observed = NodeProto(), [values[k] for k in node.input if k]
    placed.CopyFrom(node)
    names = [f"i{n}" for n in range(len(observed))]
    rest = iter(names)
    placed.input[:] = [next(rest) if k else "" for k in node.input]
    for make in (_by_reference, _by_runtime):
        run = make(placed, dict(zip(names, observed, strict=True)), case.opset)
        try:
            found = run(*observed)
        except Failed:
            continue
        want = values.get(node.output[0])
        if want is None or node.op_type == "Split" or close(found, want, 1e-4, 1e-5) or make is _by_runtime:
            return run
    raise Failed(node.op_type)


def _by_reference(node: NodeProto, given: Mapping[str, np.ndarray], opset: int) -> Callable[..., np.ndarray]:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(single(widened(node), given, opset))
    return lambda *xs: _joined(node, lambda: evaluator.run(None, dict(zip(given, xs, strict=True))))


def _by_runtime(node: NodeProto, given: Mapping[str, np.ndarray], opset: int) -> Callable[..., np.ndarray]:
    made = session(single(node, {k: narrow(a) for k, a in given.items()}, opset))
    return lambda *xs: _joined(node, lambda: made.run(None, {k: narrow(x) for k, x in zip(given, xs, strict=True)}))


def _joined(node: NodeProto, run: Callable[[], list[np.ndarray]]) -> np.ndarray:
    try:
        found = run()
    except Exception as error:
        raise Failed(f"{node.op_type}: {error}") from error
    parts = [wide(np.asarray(a)) for a in found]
    return np.concatenate([a.ravel() for a in parts]) if node.op_type == "Split" else parts[0]
