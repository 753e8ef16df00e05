"""Builders of quantised models: explained through what their integers stand for.

A quantised value is kept in real units: QuantizeLinear rounds and clips as the file says, but returns the number that
the integer stands for, and DequantizeLinear has nothing left to do. So every layer between two such steps is a float
layer with its dequantised weights, the values are those that the model computes, and relevance passes the rounding
unchanged.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from reflrp.arrays import ZERO
from reflrp.importer.dtypes import dtype_of
from reflrp.importer.geometry import conv_windows
from reflrp.importer.site import Made, Ref, Site, Unbuildable, builds
from reflrp.ops.conv import Conv
from reflrp.ops.linear import Dense
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.routing import Routing

STATIC = "quantised activations: relevance passes each rounding unchanged; weights are dequantised"
DYNAMIC = "dynamically quantised layers are explained through their dequantised weights; relevance passes the rounding"


@builds("QuantizeLinear")
def quantize_linear(site: Site) -> Ref:
    """Round to multiples of the scale, and clip to what the integers hold."""
    x = site.ref()
    scale, shape = site.const(1), _along(site, x, site.const(1))
    zero = site.const(2)
    kind = str(zero.dtype) if zero is not None else _named(site.attr("output_dtype", 0))
    low, high = _limits(kind)
    start = np.zeros(1) if zero is None else zero.astype(np.float64)
    site.work.notes.append(STATIC)
    args = (scale, np.broadcast_to(low - start, start.shape), np.broadcast_to(high - start, start.shape))
    per_tensor = scale.size == 1 and start.size == 1
    if per_tensor:
        return site.emit(Pointwise("fake_quant", tuple(float(a.item()) for a in args)), x)
    return site.emit(Pointwise("fake_quant", tuple(a.reshape(shape if a.size > 1 else ()) for a in args)), x)


def _named(element_type: int) -> str:
    return str(dtype_of(element_type)) if element_type else "uint8"


def _limits(kind: str) -> tuple[float, float]:
    """Return the least and the largest number of an integer type."""
    found = re.fullmatch(r"(u?)int(\d+)", kind)
    if not found:
        raise Unbuildable(f"it quantises to {kind}; only integers are served")
    bits = int(found[2])
    return (0.0, 2.0**bits - 1) if found[1] else (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)


def _along(site: Site, x: Ref, scale: np.ndarray) -> tuple[int, ...]:
    """Return the shape in which a scale for each entry of an axis multiplies x."""
    if scale.size == 1:
        return ()
    axis = site.axis(site.attr("axis", 1), x.ndim)
    if site.attr("block_size", 0) or scale.shape != (x.shape[axis],):
        raise Unbuildable("activations that are quantised in blocks are not served")
    return tuple(-1 if i == axis else 1 for i in range(x.ndim))


@builds("DequantizeLinear")
def dequantize_linear(site: Site) -> Made:
    """Nothing to do: the value is in real units already."""
    return site.ref()


@builds("DynamicQuantizeLinear")
def dynamic_quantize_linear(site: Site) -> Any:
    """Round to 256 steps between the least and the largest value; in real units, so that the scale is 1."""
    x = site.ref()
    site.work.notes.append(DYNAMIC)
    return site.emit(Pointwise("dynamic_quant"), x), np.ones((), np.float32), np.zeros((), np.uint8)


def _weights(site: Site) -> np.ndarray:
    """Return the integer weights less their zero point; they meet activations in real units."""
    if not _quantised(site, site.ref(0).name):
        raise Unbuildable(
            "integer arithmetic on activations of a fixed scale; "
            "export with QuantizeLinear and DequantizeLinear around float operators"
        )
    return np.asarray(site.const(1), dtype=np.float64)


def _quantised(site: Site, name: str) -> bool:
    makers = site.work.makers
    while name in makers and isinstance(makers[name].op, Routing) and len(makers[name].inputs) == 1:
        name = makers[name].inputs[0]
    return name in makers and getattr(makers[name].op, "name", "") == "dynamic_quant"


@builds("MatMulInteger")
def matmul_integer(site: Site) -> Ref:
    """A product with integer weights."""
    x, w = site.ref(0), _weights(site)
    zero = site.const(3)
    if min(w.ndim, x.ndim) < 2:
        raise Unbuildable(f"it multiplies a vector, of the shapes {x.shape} and {w.shape}, which has no layer")
    if zero is not None:
        w = w - (zero[..., None, :] if zero.ndim else zero)
    return site.emit(Dense(w, ZERO, x.shape), x)


@builds("ConvInteger")
def conv_integer(site: Site) -> Ref:
    """A convolution with integer weights."""
    x, w = site.ref(0), _weights(site)
    zero = site.const(3)
    if zero is not None:
        w = w - (zero.reshape(-1, *(1,) * (w.ndim - 1)) if zero.size > 1 else zero.reshape(()))
    windows = conv_windows(site, x.shape[2:], w.shape[2:])
    return site.emit(Conv(w, ZERO, x.shape, windows=windows, groups=site.attr("group", 1)), x)
