"""Builders of operators that take and make integers: each is its float operator between the two changes of units.

QLinearConv(q) is QuantizeLinear(Conv(DequantizeLinear(q))), by the definition of its scales and zero points; and so are
QLinearMatMul and what onnxruntime has beside them in com.microsoft.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from reflrp.importer.builders.attention import attention
from reflrp.importer.builders.microsoft import CONV, MS
from reflrp.importer.decompose import call, one
from reflrp.importer.site import Made, Ref, Site, Unbuildable, builds

OPSET = 21
"""The opset in whose terms the changes of units are written: with 16 and 4 bits."""


def real(site: Site, i: int, axis: int = 0, part: str = "", at: tuple[int, int] | None = None) -> Any:
    """Return input i in real units, its scale and zero point being the next two inputs, or those `at`; constants at once.

    Several scales are for the entries of an axis, or (a whole row of them for each batch) broadcast as they are.
    """
    x = site.arg(i)
    scale, zero = (_parameter(site, k) for k in at or (i + 1, i + 2))
    if isinstance(x, np.ndarray):
        if isinstance(scale, Ref) or isinstance(zero, Ref):
            raise Unbuildable("the scale of its constants is found in the run")
        s, z = (_along(p, x.ndim, axis) for p in (scale, np.zeros(()) if zero is None else zero))
        return (x.astype(np.float64) - z) * s
    return one(call(site, "DequantizeLinear", x, scale, zero, axis=axis, part=part or f"real{i}", opset=OPSET))


def _parameter(site: Site, i: int) -> Any:
    """Return a scale or a zero point: one number has no axes."""
    if not site.has(i):
        return None
    p = site.arg(i)
    if isinstance(p, Ref):
        return one(call(site, "Reshape", p, np.zeros(0, np.int64), part=f"single{i}")) if p.shape == (1,) else p
    return p.reshape(()) if p.size == 1 else p.reshape(-1) if max(p.shape) == p.size else p


def _along(p: np.ndarray, rank: int, axis: int) -> np.ndarray:
    p = p.astype(np.float64)
    return p.reshape(tuple(-1 if i == axis % rank else 1 for i in range(rank))) if p.ndim == 1 else p


def integers(site: Site, y: Any, at: int) -> Made:
    """Return a real value as integers, of the scale and zero point that are inputs `at` and the next."""
    scale, zero = _parameter(site, at), _parameter(site, at + 1)
    if isinstance(y, np.ndarray):
        raise Unbuildable("all of its inputs are constants")
    return call(site, "QuantizeLinear", y, scale, zero, opset=OPSET)


def _attributes(site: Site, *names: str) -> dict[str, Any]:
    return {k: site.attr(k) for k in names if site.attr(k) is not None}


@builds("QLinearConv")
@builds("QLinearConv", domain=MS)
def qlinear_conv(site: Site) -> Made:
    """A convolution of integers by integers, with a bias in units of both scales."""
    _refuse_channels_last(site)
    x, w, bias = real(site, 0, 1), real(site, 3, 0), None
    if isinstance(w, Ref):
        raise Unbuildable("its weights are no constants")
    if site.has(8):
        bias = site.const(8) * (
            site.const(1).astype(np.float64).reshape(()) * site.const(4).astype(np.float64).reshape(-1)
        )
    z = one(call(site, "Conv", x, w, bias, part="conv", **_attributes(site, *CONV)))
    return integers(site, z, 6)


def _refuse_channels_last(site: Site) -> None:
    if site.attr("channels_last", 0):
        raise Unbuildable("its channels are last, a layout of one processor; save the model without that optimisation")


@builds("QLinearMatMul")
@builds("QLinearMatMul", domain=MS)
def qlinear_matmul(site: Site) -> Made:
    """A product of integers."""
    a, b = real(site, 0, -2), real(site, 3, -1)
    return integers(site, one(call(site, "MatMul", a, b, part="product")), 6)


@builds("QGemm", domain=MS)
def qgemm(site: Site) -> Made:
    """Alpha (A' B' + C) in units of both scales; without a scale of its own the result is real."""
    turned = bool(site.attr("transB", 0))
    a, b = real(site, 0, 1 if site.attr("transA", 0) else 0), real(site, 3, 0 if turned else 1)
    alpha, c = float(site.attr("alpha", 1.0)), None
    if site.has(6):
        scales = site.const(1).astype(np.float64).reshape(()) * site.const(4).astype(np.float64).reshape(-1)
        c = alpha * (site.const(6) * (scales if scales.size > 1 else scales.reshape(())))
    attributes = {**_attributes(site, "transA", "transB"), "alpha": alpha}
    quantised = site.has(7)
    z = one(call(site, "Gemm", a, b, c, part="gemm" if quantised else "", **attributes))
    return integers(site, z, 7) if quantised else z


@builds("QLinearAdd", "QLinearMul", domain=MS)
def qlinear_pair(site: Site) -> Made:
    """A sum or a product, entry by entry."""
    a, b, name = real(site, 0), real(site, 3), site.op_type.removeprefix("QLinear")
    return integers(site, one(call(site, name, a, b, part=name.lower())), 6)


POOL = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")
UNARY: dict[str, tuple[str, ...]] = {
    "AveragePool": POOL,
    "GlobalAveragePool": (),
    "LeakyRelu": ("alpha",),
    "Sigmoid": (),
    "Softmax": ("axis",),
}
"""Operator -> its attributes."""


@builds(*(f"QLinear{name}" for name in UNARY), domain=MS)
def qlinear_unary(site: Site) -> Made:
    """An activation or a pool, in real units."""
    _refuse_channels_last(site)
    name = site.op_type.removeprefix("QLinear")
    opset = int(site.attr("opset", 13)) if name == "Softmax" else 13
    z = one(call(site, name, real(site, 0), part=name.lower(), opset=opset, **_attributes(site, *UNARY[name])))
    return integers(site, z, 3)


@builds("QLinearReduceMean", domain=MS)
def qlinear_reduce_mean(site: Site) -> Made:
    """A mean over axes."""
    z = one(call(site, "ReduceMean", real(site, 0), part="mean", opset=13, **_attributes(site, "axes", "keepdims")))
    return integers(site, z, 3)


@builds("QLinearConcat", domain=MS)
def qlinear_concat(site: Site) -> Made:
    """Values one after the other, each brought to the output's scale."""
    parts = [real(site, i) for i in range(2, len(site.args), 3)]
    return integers(site, one(call(site, "Concat", *parts, part="concat", axis=site.attr("axis"))), 0)


@builds("QLinearWhere", domain=MS)
def qlinear_where(site: Site) -> Made:
    """A choice between two values, each brought to the output's scale."""
    return integers(site, one(call(site, "Where", site.arg(0), real(site, 1), real(site, 4), part="where")), 7)


@builds("MatMulIntegerToFloat", domain=MS)
def matmul_integer_to_float(site: Site) -> Made:
    """A product of integers in real units, and a bias."""
    a, b = real(site, 0, -2, at=(2, 4)), real(site, 1, -1, at=(3, 5))
    return _with_bias(site, a, b, 6)


@builds("DynamicQuantizeMatMul", domain=MS)
def dynamic_quantize_matmul(site: Site) -> Made:
    """A product with integer weights, the activations being rounded to 256 steps before."""
    q, scale, zero = call(site, "DynamicQuantizeLinear", site.arg(0), part="rounded", outputs=3)  # type: ignore[misc]
    a = one(call(site, "DequantizeLinear", q, scale, zero, part="real0"))
    return _with_bias(site, a, real(site, 1, -1, at=(2, 3)), 4)


def _with_bias(site: Site, a: Any, b: Any, at: int) -> Made:
    if site.has(at) and len(a.shape) == 2 and isinstance(b, np.ndarray):
        return call(site, "Gemm", a, b, site.arg(at))
    z = one(call(site, "MatMul", a, b, part="product" if site.has(at) else ""))
    return call(site, "Add", z, site.arg(at)) if site.has(at) else z


@builds("QAttention", domain=MS)
def qattention(site: Site) -> Any:
    """Attention of integers by integer weights, in real units."""
    if site.has(8):
        raise Unbuildable("keys and values of earlier calls are not served")
    x, w = real(site, 0, at=(3, 6)), real(site, 1, -1, at=(4, 7))
    args = (x, w, site.arg(2), site.arg(5) if site.has(5) else None)
    return attention(replace(site, args=args))
