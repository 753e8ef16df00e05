"""Builders of quantised models: between integers and real units, and the products of integers.

A quantised value is carried as its integer. QuantizeLinear rounds and clips, DequantizeLinear takes off the zero point and
scales, and relevance passes both: they say the same in other units. Products of integers are the layers they are, on the
integers less their zero points; the scale behind them is taken into their weights (`reflrp.importer.quantised.dequantise`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from reflrp.importer.builders import linear
from reflrp.importer.decompose import call, one
from reflrp.importer.dtypes import dtype_of, integer_bounds, is_float, is_integer
from reflrp.importer.labels import keeps_number
from reflrp.importer.quantised.integers import bounds_of, cast_to, fitted, is_number, typed
from reflrp.importer.site import Made, Ref, Site, Unbuildable, builds
from reflrp.ops.quantised import Dequantise, Quantise, Truncate, bounds_through

NOTE = "quantised values: integers are rounded and clipped as the file says; relevance passes each change of units unchanged"
ONE = np.ones(())


@builds("Cast", "CastLike")
def cast(site: Site) -> Made:
    """Between floats, nothing to do; to few bits, without the fraction; from an integer, the number itself."""
    x, to = site.ref(), cast_to(site.node, site.args)
    if to is None or (is_float(to) and to.itemsize < 2):
        raise Unbuildable(
            f"it rounds to {to or 'a type that NumPy lacks'}, of which too little is left to be taken as the same"
        )
    if not keeps_number(to, is_number(x)):
        found = site.work.plumb(site.node, site.args)[0]
        assert isinstance(found, Ref)
        return found
    if is_float(to):
        return x if not is_number(x) else Ref(x.name, replace(x.value, dtype=np.dtype(float)))
    whole = x if is_number(x) else site.emit(Truncate(), x, part="whole")
    return fitted(site, whole, to, bounds_of(x, site.work))


@builds("QuantizeLinear")
def quantize_linear(site: Site) -> Ref:
    """To integers: what is clipped at a zero point that is the least of all integers is a rectifier first."""
    x, dtype = site.ref(), _target(site)
    low, high = integer_bounds(dtype)
    scale, zero = parameters(site, x, 1)
    if isinstance(scale, np.ndarray) and not (np.isfinite(scale).all() and (scale > 0).all()):
        raise Unbuildable("its scale is no positive number")
    site.work.notes.append(NOTE)
    cuts = isinstance(scale, np.ndarray) and isinstance(zero, np.ndarray) and bool((zero == low).all())
    if cuts and not (x.value.nonneg or is_number(x)):
        x = _rectified(site, x)
    op = Quantise(*_held(scale), *_held(zero), low, high, single=not is_number(x))
    q = site.emit(op, x, *(p for p in (scale, zero) if isinstance(p, Ref)))
    return typed(site.work, q, dtype, (low, high))


def _held(parameter: np.ndarray | Ref) -> tuple[np.ndarray | None]:
    return (None if isinstance(parameter, Ref) else parameter,)


def _rectified(site: Site, x: Ref) -> Ref:
    found = one(call(site, "Relu", x, part="relu"))
    assert isinstance(found, Ref)
    return found


def _target(site: Site) -> np.dtype[Any]:
    """Return the type of integers that a node quantises to."""
    given = site.args[2] if site.has(2) else None
    named = dtype_of(site.attr("output_dtype", 0)) if site.attr("output_dtype", 0) else np.dtype(np.uint8)
    dtype = named if given is None else given.value.dtype if isinstance(given, Ref) else given.dtype  # type: ignore[union-attr]
    if dtype is None or not is_integer(dtype):
        raise Unbuildable(f"it quantises to {dtype or 'a type that NumPy lacks'}; only integers are served")
    return dtype


def parameters(site: Site, x: Ref, at: int) -> tuple[np.ndarray | Ref, np.ndarray | Ref]:
    """Return the scale (input `at`) and the zero point behind it, shaped to meet x; one number found in the run as it is."""
    scale = _parameter(site, x, at)
    zero = _parameter(site, x, at + 1) if site.has(at + 1) else np.zeros(())
    return scale, zero


def _parameter(site: Site, x: Ref, i: int) -> np.ndarray | Ref:
    found = site.arg(i)
    if isinstance(found, Ref) and not found.shape:
        return found
    return _spread(site, x, np.asarray(site.const(i)))


def _spread(site: Site, x: Ref, p: np.ndarray) -> np.ndarray:
    """Return scales or zero points as they multiply x: one for all, one for each entry of an axis, or one a block."""
    p = p.astype(np.float64)
    if p.size == 1:
        return p.reshape(())
    axis = site.axis(site.attr("axis", 1), x.ndim)
    if p.shape == (x.shape[axis],):
        return p.reshape(tuple(-1 if i == axis else 1 for i in range(x.ndim)))
    block = site.attr("block_size", 0)
    blocks = tuple(-(-n // block) if i == axis else n for i, n in enumerate(x.shape)) if block > 0 else ()
    if p.shape != blocks:
        raise Unbuildable(
            f"scales of the shape {p.shape} fit neither the axis {axis} of {x.shape} nor blocks of {block}"
        )
    site.room(x.shape)
    found: np.ndarray = np.repeat(p, block, axis=axis)[tuple(slice(n) for n in x.shape)]
    return found


@builds("DequantizeLinear")
def dequantize_linear(site: Site) -> Made:
    """To real units."""
    return dequantised(site, site.ref(), *parameters(site, site.ref(), 1))


def dequantised(site: Site, q: Ref, scale: np.ndarray | Ref, zero: np.ndarray | Ref, part: str = "") -> Ref:
    """Return scale (q - zero)."""
    op = Dequantise(*_held(scale), *_held(zero), low=bounds_of(q, site.work)[0])
    return site.emit(op, q, *(p for p in (scale, zero) if isinstance(p, Ref)), part=part)


@builds("DynamicQuantizeLinear")
def dynamic_quantize_linear(site: Site) -> Any:
    """To 256 steps between the least and the largest value; scale and zero point are found in the run."""
    x = site.ref()
    site.work.notes.append(NOTE)
    _, scale, zero = site.work.plumb(site.node, site.args, (1, 2))
    assert isinstance(scale, Ref)
    assert isinstance(zero, Ref)
    q = site.emit(Quantise(None, None, 0.0, 255.0), x, scale, zero)
    return typed(site.work, q, np.dtype(np.uint8), (0.0, 255.0)), scale, zero


def centred(site: Site, i: int, at: int, along: int) -> np.ndarray | Ref:
    """Return input i less its zero point (input `at`), of which there may be one for each entry of the axis `along`."""
    x = site.arg(i)
    zero = _zero(site, at, len(x.shape), along)
    if isinstance(x, np.ndarray):
        if isinstance(zero, Ref):
            raise Unbuildable("the zero point of its weights is no constant")
        weights: np.ndarray = x.astype(np.float64) - zero
        return weights
    return dequantised(site, x, ONE, zero, part=f"centred{i}")


def _zero(site: Site, at: int, rank: int, along: int) -> np.ndarray | Ref:
    if not site.has(at):
        return np.zeros(())
    found = site.arg(at)
    if isinstance(found, Ref) and not found.shape:
        return found
    zero: np.ndarray = np.asarray(site.const(at)).astype(np.float64)
    if zero.size == 1:
        return zero.reshape(())
    if zero.ndim > 1:
        return zero
    return zero.reshape(tuple(-1 if axis == along % rank else 1 for axis in range(rank)))


@builds("MatMulInteger")
def matmul_integer(site: Site) -> Made:
    """A product of integers less their zero points: of rows of the first, of columns of the second."""
    site.work.notes.append(NOTE)
    a, b = centred(site, 0, 2, -2), centred(site, 1, 3, -1)
    return accumulated(site, linear.product_of(site, a, b), a, b, a.shape[-1])


@builds("ConvInteger")
def conv_integer(site: Site) -> Made:
    """A convolution of integers less their zero points, of which weights may have one for each output."""
    site.work.notes.append(NOTE)
    x, w = centred(site, 0, 2, 1), centred(site, 1, 3, 0)
    if isinstance(w, Ref) or isinstance(x, np.ndarray):
        raise Unbuildable("its weights are no constants")
    return accumulated(site, linear.conv(Site(site.node, (x, w), site.work)), x, w, int(np.prod(w.shape[1:])))


def accumulated(site: Site, made: Made, a: np.ndarray | Ref, b: np.ndarray | Ref, terms: int) -> Ref:
    """Return sums of so many products of integers as int32."""
    assert isinstance(made, Ref)
    low, high = bounds_through(lambda x, y: x * y, _range(site, a), _range(site, b))
    return fitted(site, made, np.dtype(np.int32), (min(terms * low, 0.0), max(terms * high, 0.0)))


def _range(site: Site, x: np.ndarray | Ref) -> tuple[float, float]:
    """Return the bounds of integers less their zero point, which lies in the range of the type."""
    maker = None if isinstance(x, np.ndarray) else site.work.makers.get(x.name)
    if maker is None or not isinstance(maker.op, Dequantise):
        return bounds_of(x, site.work)
    low, high = site.work.bounds.get(maker.inputs[0], (-np.inf, np.inf))
    return low - high, high - low
