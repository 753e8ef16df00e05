"""Builders of what is done entry by entry: activations, choices; and of Softmax."""

from __future__ import annotations

import numpy as np

from reflrp.arrays.measured import ENTRIES
from reflrp.arrays.namespaces import fits
from reflrp.arrays.tracing.dims import broadcast_shapes
from reflrp.importer.builders.linear import widened
from reflrp.importer.dtypes import is_float
from reflrp.importer.site import Ref, Site, Unbuildable, builds
from reflrp.ops.normaliser import LogSoftmax, Softmax
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.routing import Where

PLAIN = {
    "Relu": "relu", "Sigmoid": "sigmoid", "HardSwish": "hard_swish", "Tanh": "tanh", "Softplus": "softplus",
    "Softsign": "softsign", "Mish": "mish", "Erf": "erf", "Exp": "exp", "Log": "log", "Sqrt": "sqrt",
    "Reciprocal": "reciprocal", "Abs": "abs", "Sin": "sin", "Cos": "cos", "Tan": "tan", "Asin": "asin",
    "Acos": "acos", "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh", "Acosh": "acosh",
    "Atanh": "atanh", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sign": "sign",
}  # fmt: skip
"""ONNX operators without parameters -> name in `reflrp.ops.pointwise.FUNCTIONS`."""

ATTRIBUTES: dict[str, tuple[str, tuple[tuple[str, float], ...]]] = {
    "LeakyRelu": ("leaky_relu", (("alpha", 0.01),)),
    "ThresholdedRelu": ("thresholded_relu", (("alpha", 1.0),)),
    "Elu": ("elu", (("alpha", 1.0),)),
    "Selu": ("selu", (("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875))),
    "Celu": ("celu", (("alpha", 1.0),)),
    "HardSigmoid": ("hard_sigmoid", (("alpha", 0.2), ("beta", 0.5))),
    "Shrink": ("shrink", (("lambd", 0.5), ("bias", 0.0))),
    "Swish": ("swish", (("alpha", 1.0),)),
}
"""ONNX operators with attributes -> name, and each attribute with its default."""


@builds(*PLAIN)
def plain(site: Site) -> Ref:
    """A function without parameters."""
    return site.emit(Pointwise(PLAIN[site.op_type]), site.ref())


@builds(*ATTRIBUTES)
def with_attributes(site: Site) -> Ref:
    """A function whose parameters are attributes."""
    name, defaults = ATTRIBUTES[site.op_type]
    return site.emit(Pointwise(name, tuple(float(site.attr(k, v)) for k, v in defaults)), site.ref())


@builds("Gelu")
def gelu(site: Site) -> Ref:
    """GELU, exact or by tanh."""
    return site.emit(Pointwise("gelu_tanh" if site.attr("approximate") == "tanh" else "gelu"), site.ref())


@builds("PRelu")
def prelu(site: Site) -> Ref:
    """A leaky ReLU with a slope for each channel or entry."""
    x, slope = site.ref(), site.const(1)
    if not fits(slope.shape, x.shape):
        raise Unbuildable(f"its slope of shape {slope.shape} does not broadcast to {x.shape}")
    if site.is_number(slope):
        return site.emit(Pointwise("leaky_relu", (float(slope.item()),)), x)
    return site.emit(Pointwise("prelu", (slope,)), x)


@builds("Clip")
def clip(site: Site) -> Ref:
    """Clip between two bounds, either of which may be missing."""
    low = site.const(1, site.attr("min", -np.inf))
    high = site.const(2, site.attr("max", np.inf))
    return site.emit(Pointwise("clip", (float(np.asarray(low).item()), float(np.asarray(high).item()))), site.ref())


@builds("Pow")
def power(site: Site) -> Ref:
    """A power with a constant or observed exponent, or of such a base: x**y = exp(y log x)."""
    x, y = (site.const(i) if isinstance(a := site.arg(i), Ref) and not a.value.active else a for i in (0, 1))
    if isinstance(y, np.ndarray) and isinstance(x, Ref):
        x = widened(site, x, y.shape)
        if site.is_number(y) and float(y.item()) == 1 and not site.measured & ENTRIES:
            return x
        exponent = float(y.item()) if site.is_number(y) else y.astype(np.float64)
        return site.emit(Pointwise("power", (exponent,)), x)
    if isinstance(x, np.ndarray) and isinstance(y, Ref):
        if not is_float(x.dtype):
            raise Unbuildable(f"its base is of the type {x.dtype}, and so is its output, without its fraction")
        if (x <= 0).any():
            raise Unbuildable("its base is not positive everywhere")
        y, rate = widened(site, y, x.shape), np.log(x.astype(np.float64))
        return site.emit(Pointwise("exponential", (float(rate.item()) if site.is_number(x) else rate,)), y)
    raise Unbuildable("its base and its exponent both carry relevance, and a power of two values has no rule")


@builds("Softmax", "LogSoftmax")
def softmax(site: Site) -> Ref:
    """Softmax over an axis; before opset 13, over all axes from `axis` on."""
    x = site.ref()
    axis = site.axis(site.attr("axis", -1 if site.opset >= 13 else 1), x.ndim)
    axes = (axis,) if site.opset >= 13 else tuple(range(axis, x.ndim))
    return site.emit(Softmax(axes) if site.op_type == "Softmax" else LogSoftmax(axes), x)


@builds("Where")
def where(site: Site) -> Ref:
    """A choice between two values or constants, entry by entry."""
    args = [site.arg(i) for i in range(3)]
    refs = [a for a in args if isinstance(a, Ref)]
    target = broadcast_shapes(*(a.shape for a in args))
    condition, x, y = (None if isinstance(a, Ref) else a for a in args)
    return site.emit(Where(condition, x, y, tuple(r.shape for r in refs), target), *refs)
