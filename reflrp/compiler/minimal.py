"""Minimal filtering: a convolution of kernel 3 x 3 with half of its products, where what it may lose of the digits does no harm.

Four neighbouring outputs of a filter of three taps take six products in place of twelve (Winograd, "Arithmetic Complexity of
Computations", 1980; Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, there in both directions).
With d six inputs and g the taps

    y = OUTPUT ((KERNEL g) * (INPUT d)),

an identity in exact numbers. Here it is done along the rows' axis: a convolution of one channel makes INPUT d, one of six groups,
three taps wide, the products, and a matrix product with OUTPUT puts the rows together.

Rounding moves an output by a multiple of the largest of its neighbours, so it is done for quotients that are bounded (`bounded`),
where the run shows that relevance moves by a small multiple of what rounding is (`alike`); elsewhere as it stands.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from reflrp.arrays.namespaces import namespace
from reflrp.arrays.tracing.choices import choice
from reflrp.arrays.tracing.dims import Dim
from reflrp.arrays.tracing.moves import index, permute, reshape
from reflrp.arrays.tracing.reductions import matmul
from reflrp.arrays.tracing.terms import Term
from reflrp.arrays.tracing.windows import derived
from reflrp.compiler.bounded import STABILISING, Bounded

INPUT = np.array(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
     [0, 4, 0, -5, 0, 1]], np.float32)  # fmt: skip
KERNEL = np.array(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6],
     [0, 0, 1]], np.float32)  # fmt: skip
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32)

ROWS, READ = OUTPUT.shape
"""How many rows are made at a time, and how many are read for them."""

NEAR = READ - 1
"""So many rows further what is read together may show."""

ALIKE = 8
"""How much more than the largest relevance a factor times its neighbours may be."""

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
    """Return such a quotient, or a convolution of one, by minimal filtering, where it may be and pays."""
    if term.op == "Div":
        part = bounded.denominator(term)
        return None if part is None else _divided(term, part)
    x = bounded.factor(term) if fits(term) and bounded.quotient(term.inputs[0]) else None
    return None if x is None else _gone_back(term, x)


def _divided(quotient: Term, part: Term) -> Term | None:
    """Return R / D with a D by minimal filtering, if the run shows that it may be."""
    inner = part.inputs[0] if part.op == "Relu" else part
    layer, bias = inner.inputs if inner.op == "Add" else (inner, None)
    if not fits(layer) or (bias is not None and bias.value is None):
        return None
    made = filtered(layer, None if bias is None else bias.value)
    if part.nonneg:
        made = part.trace.make("Relu", (made,), made.shape, nonneg=True)
    R, below = quotient.inputs
    quick = part.trace.make("Div", (R, replaced(below, part, made)), quotient.shape)
    holds = alike(quick, made, _largest(R, (1, 2, 3)))
    return choice(holds, quick, replace(quotient), quick, R, *layer.inputs)


def _gone_back(layer: Term, x: Term) -> Term:
    """Return what comes back to x, by minimal filtering, if the run shows that it may be."""
    made = filtered(layer, None)
    product = layer.trace.make("Mul", (made, x), layer.shape)
    return choice(alike(x, made, _largest(product, (1, 2, 3))), made, replace(layer), made, *layer.inputs)


def alike(factor: Term, made: Term, largest: Term) -> Term:
    """Return whether a factor times the largest neighbour of what was made is nowhere much more than the largest relevance.

    So much, times what rounding is, minimal filtering moves relevance by: an output by a multiple of its neighbours, and relevance
    by that times its factor; where the output is a denominator D, the quotient is off by s d / D, and what s D is by s d.
    Each sample is asked, of the maxima over its channels.
    """
    trace, ((n, _, height, width), dtype) = made.trace, (made.shape, made.dtype)
    pool = {"kernel_shape": (2 * NEAR + 1, 1), "pads": (NEAR, 0, NEAR, 0), "strides": (1, 1), "dilations": (1, 1)}
    near = trace.make("MaxPool", (_largest(made, (1,)),), (n, 1, height, width), nonneg=True, **pool)
    moved = trace.make("Mul", (_largest(factor, (1,)), near), near.shape, nonneg=True)
    room = trace.make("Mul", (largest, trace.constant(np.asarray(ALIKE), dtype)), largest.shape, nonneg=True)
    beyond = trace.make("Sub", (_largest(moved, (1, 2, 3)), room), largest.shape)
    most = trace.make("ReduceMax", (beyond,), (), axes=(0, 1, 2, 3), keepdims=0)
    return trace.make("LessOrEqual", (most, trace.constant(np.zeros((), dtype))), (), bool, True)


def _largest(x: Term, axes: tuple[int, ...]) -> Term:
    """Return the largest entry over some axes, by size."""
    size = x if x.nonneg else x.trace.make("Abs", (x,), x.shape, nonneg=True)
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return x.trace.make("ReduceMax", (size,), shape, nonneg=True, axes=axes, keepdims=1)


def replaced(below: Term, part: Term, made: Term) -> Term:
    """Return a denominator with another term for its part."""
    if below is part:
        return made
    inputs = tuple(replaced(t, part, made) if below.op in STABILISING else t for t in below.inputs)
    same = all(a is b for a, b in zip(inputs, below.inputs, strict=True))
    return below if same else replace(below, inputs=inputs)


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
