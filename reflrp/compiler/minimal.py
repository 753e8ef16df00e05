"""Minimal filtering: a convolution of kernel 3 x 3 with half of its products, where what it may lose of the digits does no harm.

Four neighbouring outputs of a filter of three taps take six products in place of twelve (Winograd, "Arithmetic Complexity of
Computations", 1980; Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, there in both directions).
With d six inputs and g the taps

    y = OUTPUT ((KERNEL g) * (INPUT d)),

an identity in exact numbers. Here it is done along the rows' axis: a convolution of one channel makes INPUT d, one of six groups,
three taps wide, the products, and a matrix product with OUTPUT puts the rows together.

Rounding moves an output by a multiple of the largest of its neighbours, so it is done where these are of one size (`bounded`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from reflrp.arrays.namespaces import namespace
from reflrp.arrays.tracing.dims import Dim
from reflrp.arrays.tracing.moves import index, permute, reshape
from reflrp.arrays.tracing.reductions import matmul
from reflrp.arrays.tracing.terms import Term
from reflrp.arrays.tracing.windows import derived
from reflrp.compiler.bounded import Bounded

INPUT = np.array(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
     [0, 4, 0, -5, 0, 1]], np.float32)  # fmt: skip
KERNEL = np.array(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6],
     [0, 0, 1]], np.float32)  # fmt: skip
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32)

ROWS, READ = OUTPUT.shape
"""How many rows are made at a time, and how many are read for them."""

MANY, FEWER, SMALL = 128, 64, 64**2
"""So many channels pay for the way there and back; of maps of so many entries, which stay in a cache, fewer do."""


def fits(layer: Term) -> bool:
    """Return whether a term is a convolution that this makes faster."""
    if (
        layer.op != "Conv"
        or layer.dtype != np.float32
        or layer.inputs[1].value is None
        or layer.inputs[0].value is not None
    ):
        return False
    plain = all(
        layer.get(k) == v
        for k, v in (("group", 1), ("kernel_shape", (3, 3)), ("strides", (1, 1)), ("dilations", (1, 1)))
    )
    if not plain or layer.get("pads") is None or any(isinstance(n, Dim) for n in layer.inputs[0].shape[1:]):
        return False
    few = min(layer.inputs[1].shape[:2])
    return few >= MANY or (few >= FEWER and layer.shape[2] * layer.shape[3] <= SMALL)


def faster(term: Term, bounded: Bounded) -> Term | None:
    """Return a convolution, or one plus a bias, by minimal filtering, where it may be and pays."""
    layer, bias = term.inputs if term.op == "Add" else (term, None)
    if not fits(layer) or (bias is not None and bias.value is None):
        return None
    if not bounded.denominator(term) and (bias is not None or not bounded.quotient(layer.inputs[0])):
        return None
    made = filtered(layer, None if bias is None else bias.value)
    return term.trace.make("Relu", (made,), made.shape, nonneg=True) if term.nonneg else made


def filtered(layer: Term, bias: np.ndarray | None) -> Term:
    """Return a convolution plus a bias by minimal filtering."""
    x, w = layer.inputs
    trace, (n, c, height, width), (o, high, wide) = layer.trace, x.shape, layer.shape[1:]
    (top, left, _, right), many = layer.get("pads"), -(-high // ROWS)
    kernel = trace.constant(INPUT.reshape(READ, 1, READ, 1))
    read = _conv(reshape(x, (n * c, 1, height, width)), kernel, (n * c, READ, many, width), strides=(ROWS, 1), group=1,
                 pads=(top, 0, many * ROWS + READ - ROWS - height - top, 0))  # fmt: skip
    apart = permute(reshape(read, (n, c, READ, many * width)), (0, 2, 1, 3))
    grouped = reshape(apart, (n, READ * c, many, width))
    kernels = derived(w, partial(_kernels))
    products = _conv(grouped, kernels, (n, READ * o, many, wide), strides=(1, 1), group=READ, pads=(0, left, 0, right))
    if bias is not None:
        whole = np.broadcast_to(bias.reshape(-1), (o,)) * np.array([0, 1, 0, 0, 0, 0], np.float32)[:, None]
        products = trace.make("Add", (products, trace.constant(whole.reshape(-1, 1, 1))), products.shape)
    rows = matmul(trace.constant(OUTPUT), reshape(products, (n, READ, o * many * wide)))
    laid = permute(reshape(rows, (n, ROWS, o, many, wide)), (0, 2, 3, 1, 4))
    made = reshape(laid, (n, o, many * ROWS, wide))
    return made if many * ROWS == high else index(made, (Ellipsis, slice(high), slice(wide)))


def _conv(x: Term, w: Term, shape: tuple[int, ...], **attributes: Any) -> Term:
    return x.trace.make("Conv", (x, w), shape, x.dtype, dilations=(1, 1), kernel_shape=w.shape[2:], **attributes)


def _kernels(w: Any) -> Any:
    """Return KERNEL times the columns of each kernel, (6 O, C, 1, 3), of kernels (O, C, 3, 3)."""
    xp, (o, c) = namespace(w), w.shape[:2]
    columns = xp.reshape(xp.permute_dims(w, (2, 0, 1, 3)), (3, o * c * 3))
    return xp.reshape(xp.matmul(KERNEL, columns), (READ * o, c, 1, 3))
