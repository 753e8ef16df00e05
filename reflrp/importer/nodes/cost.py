"""What it costs to run a node by ONNX's reference code, estimated from its inputs' shapes before it begins.

The unit is that of `reflrp.limits`: numbers computed. Much of the reference code is loops in Python, of which each turn
counts as many; what is vectorised counts the numbers it reads. The numbers that a node makes are counted when they are there,
since the limit on memory bounds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from reflrp import limits

TURN = limits.STEP / 10
"""What one entry counts for that a loop in Python handles."""

CALL = 30 * limits.STEP
"""What running one node counts for, however small."""

LAID_OUT = 50
"""What one entry of the windows counts for that a convolution lays out to multiply them."""

TEXT = 8
"""ONNX's number for the element type of texts."""

LOOPED = frozenset(
    ["Col2Im", "Erf", "GatherND", "LabelEncoder", "MaxUnpool", "OneHotEncoder", "ReverseSequence", "Scatter"]
    + ["ScatterElements", "ScatterND", "TensorScatter"]
)
"""Operators whose reference code goes from entry to entry."""

SAMPLED = frozenset(["MelWeightMatrix", "Resize", "Upsample"])
"""Operators whose reference code goes from entry to entry of what it makes, with some work for each."""


def cost_of(op_type: str, attributes: Mapping[str, Any], arrays: Sequence[np.ndarray | None]) -> float:
    """Return about how many numbers an operator computes from its inputs, without those that it makes."""
    read = sum(a.size for a in arrays if a is not None)
    texts = attributes.get("to") == TEXT or any(a is not None and a.dtype.kind in "OSU" for a in arrays)
    formula = FORMULAS.get(op_type)
    more = formula(attributes, *arrays) if formula else 0
    return CALL + more + read * (TURN if texts or op_type in LOOPED else 1)


def cost_of_making(op_type: str, entries: int) -> float:
    """Return what outputs of so many entries count for."""
    return entries * (limits.STEP if op_type in SAMPLED else TURN if op_type in LOOPED else 1)


def _matmul(attributes: Mapping[str, Any], a: np.ndarray, b: np.ndarray, *_: Any) -> float:
    """Return rows * inner * columns of the whole stack."""
    lead = prod(max(m, n) for m, n in zip(*_leads(a.shape[:-2], b.shape[:-2]), strict=True))
    return float(lead * prod(a.shape[-2:]) * (b.shape[-1] if b.ndim > 1 else 1))


def _leads(one: tuple[int, ...], two: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rank = max(len(one), len(two))
    return (1,) * (rank - len(one)) + one, (1,) * (rank - len(two)) + two


def _quantised_matmul(attributes: Mapping[str, Any], a: np.ndarray, *rest: Any) -> float:
    return _matmul(attributes, a, rest[2])


def _gemm(attributes: Mapping[str, Any], a: np.ndarray, b: np.ndarray, *_: Any) -> float:
    rows = b.shape[0] if attributes.get("transB") else b.shape[-1]
    return float(a.size * rows)


def _einsum(attributes: Mapping[str, Any], *arrays: np.ndarray) -> float:
    """Return the product of all letters' sizes; with an ellipsis, of all operands'."""
    terms = attributes["equation"].replace(" ", "").partition("->")[0].split(",")
    if "." in attributes["equation"]:
        return float(prod(a.size for a in arrays))
    sizes = {c: n for term, a in zip(terms, arrays, strict=True) for c, n in zip(term, a.shape, strict=True)}
    return float(prod(sizes.values()))


def _conv(attributes: Mapping[str, Any], x: np.ndarray, w: np.ndarray, *_: Any) -> float:
    """Return the entries of all windows, of kernels with their dilation filled in, times the outputs."""
    spread = [d * (k - 1) + 1 for d, k in zip(_each(attributes, "dilations", w.ndim - 2), w.shape[2:], strict=True)]
    laid_out = x.shape[0] * x.shape[1] * _places(attributes, x, spread) * prod(spread)
    return float(laid_out * (w.shape[0] + LAID_OUT))


def _quantised_conv(attributes: Mapping[str, Any], x: np.ndarray, *rest: Any) -> float:
    return _conv(attributes, x, rest[2])


def _conv_transpose(attributes: Mapping[str, Any], x: np.ndarray, w: np.ndarray, *_: Any) -> float:
    return float(x.shape[0] * prod(x.shape[2:]) * w.size * 2 * limits.STEP)


def _pool(attributes: Mapping[str, Any], x: np.ndarray, *_: Any) -> float:
    kernel = attributes.get("kernel_shape", ())
    return float(prod(x.shape[:2]) * _places(attributes, x, kernel) * prod(kernel) * TURN)


def _places(attributes: Mapping[str, Any], x: np.ndarray, reach: Any) -> float:
    """Return at most how many windows there are."""
    n = x.ndim - 2
    pads, strides = _each(attributes, "pads", 2 * n, 0), _each(attributes, "strides", n)
    same = str(attributes.get("auto_pad", "")).startswith("SAME")
    around = [b + e + (k if same else 0) for b, e, k in zip(pads[:n], pads[n:], reach, strict=True)]
    return float(prod(max(0, s + a) // t + 1 for s, a, t in zip(x.shape[2:], around, strides, strict=True)))


def _each(attributes: Mapping[str, Any], name: str, count: int, default: int = 1) -> list[int]:
    return list(attributes.get(name) or [default] * count)


def _recurrent(attributes: Mapping[str, Any], x: np.ndarray, w: np.ndarray, r: np.ndarray, *_: Any) -> float:
    return float(prod(x.shape[:2]) * (w.size + r.size) + max(x.shape[:2]) * w.shape[0] * 10 * limits.STEP)


def _determinant(attributes: Mapping[str, Any], x: np.ndarray) -> float:
    return float(x.size * x.shape[-1])


def _sampling(attributes: Mapping[str, Any], x: np.ndarray, grid: np.ndarray) -> float:
    """Return about fifty turns for each channel at each place of the grid."""
    return float(x.shape[1] * grid.size / max(grid.shape[-1], 1) * 50 * limits.STEP)


FORMULAS: dict[str, Callable[..., float]] = {
    "AveragePool": _pool, "Conv": _conv, "ConvInteger": _conv, "ConvTranspose": _conv_transpose,
    "Det": _determinant, "Einsum": _einsum, "GRU": _recurrent, "Gemm": _gemm, "GridSample": _sampling, "LSTM": _recurrent,
    "LpPool": _pool, "MatMul": _matmul, "MatMulInteger": _matmul, "MaxPool": _pool, "QLinearConv": _quantised_conv,
    "QLinearMatMul": _quantised_matmul, "RNN": _recurrent,
}  # fmt: skip
"""Operator -> its work beyond reading its inputs, from its attributes and inputs."""
