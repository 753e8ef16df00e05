"""What is known of ONNX's elementwise operators: what they do to constants, and to signs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

FOLDED: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power, "Max": np.maximum,
    "Min": np.minimum, "Greater": np.greater, "GreaterOrEqual": np.greater_equal, "Less": np.less,
    "LessOrEqual": np.less_equal, "Equal": np.equal, "And": np.logical_and, "Or": np.logical_or, "Mod": np.mod,
    "Not": np.logical_not, "Abs": np.abs, "Neg": np.negative, "Where": np.where, "Exp": np.exp, "Log": np.log,
    "Sqrt": np.sqrt,
}  # fmt: skip
"""What an operator does to constants."""

BOOLEAN = frozenset(["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Not", "IsNaN", "IsInf"])
NONNEG = frozenset(["Abs", "Exp", "Sqrt", "Relu", "Cosh", "Sigmoid"])
KEEPS_SIGN = frozenset(["Ceil", "Floor", "Round", "Sign", "Tanh", "Erf", "Cast", "Sinh", "Atan", "Asinh"])

LAID = frozenset(["DepthToSpace", "ConvTranspose"])
"""What is linear in its first operand, and lays its entries elsewhere."""

SIDES = {"Greater": 1, "Less": -1}
"""The sign that a number has where such a comparison with 0 holds."""
