"""Which nodes make values whose shape depends on numbers, and not on shapes alone.

While a graph is built for the shapes of its inputs, such a value has the shape that it has for a sample of zeros, which says
nothing of any other input. Whoever asks for its shape as a number asks for the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

ALL = ("Compress", "If", "Loop", "NonMaxSuppression", "NonZero", "Scan", "Unique")
"""Operators whose output is as large as their data say."""

SIZED_BY = {
    **dict.fromkeys(["Expand", "OneHot", "Pad", "Reshape", "Split", "Squeeze", "Tile", "TopK", "Unsqueeze"], (1,)),
    **dict.fromkeys(["AffineGrid", "ConstantOfShape"], (0, 1)),
    **dict.fromkeys(["CenterCropPad", "Col2Im", "Trilu", "Upsample"], (1, 2)),
    **dict.fromkeys(["BlackmanWindow", "HammingWindow", "HannWindow"], (0,)),
    **dict.fromkeys(["Resize", "MaxUnpool"], (1, 2, 3)),
    "Range": (0, 1, 2),
    "Slice": (1, 2, 3, 4),
}
"""Operators whose output is as large as the numbers in some of their inputs say."""

SHAPED = frozenset([
    "Abs", "Add", "And", "ArgMax", "ArgMin", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor",
    "Cast", "CastLike", "Ceil", "Clip", "Concat", "Cos", "CumSum", "Div", "Dropout", "Equal", "Erf", "Exp",
    "EyeLike", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Greater", "GreaterOrEqual", "Hardmax",
    "Identity", "IsInf", "IsNaN", "LabelEncoder", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max",
    "MaxPool", "Mean", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu", "ReverseSequence",
    "Round", "ScatterElements", "ScatterND", "Shape", "Sigmoid", "Sign", "Sin", "Size", "Softmax", "Sqrt", "Sub",
    "Sum", "Tanh", "Transpose", "Where", "Xor",
])  # fmt: skip
"""Operators whose output's shape follows from the shapes of their inputs, and from attributes."""


def is_open(op_type: str, args: Sequence[Any]) -> bool:
    """Return whether the shapes of a node's outputs may depend on numbers that are not known; unknown operators' do."""
    if op_type in SHAPED:
        return False
    if op_type.startswith("Reduce"):
        return len(args) > 1 and not isinstance(args[1], np.ndarray | None)
    places = SIZED_BY.get(op_type)
    if places is None:
        return True
    return any(i < len(args) and not isinstance(args[i], np.ndarray | None) for i in places)
