"""Builders of the normalisations."""

from __future__ import annotations

from math import prod

import numpy as np

from reflrp.arrays import ZERO
from reflrp.arrays.tracing.dims import broadcast_shapes
from reflrp.importer.site import Ref, Site, Unbuildable, builds
from reflrp.ops.norms import AbsoluteNorm, LocalResponse, Standardise

ONE = np.ones(())


def _emitted(site: Site, op: Standardise, x: Ref) -> Ref:
    """Add a normalisation whose scale and bias do not make it larger than its input."""
    if any(a is not ZERO and broadcast_shapes(a.shape, x.shape) != x.shape for a in (op.w, op.b)):
        raise Unbuildable(f"its scale or bias does not fit its input of shape {x.shape}")
    return site.emit(op, x)


def _bias(b: np.ndarray | None) -> object:
    return ZERO if b is None or not np.any(b) else b


@builds("LayerNormalization")
def layer_normalization(site: Site) -> Ref:
    """(x - mean) / sqrt(var + epsilon) over the axes from `axis` on, with scale and bias."""
    x = site.ref()
    axes = tuple(range(site.axis(site.attr("axis", -1), x.ndim), x.ndim))
    op = Standardise(site.const(1, ONE), _bias(site.const(2)), axes, site.attr("epsilon", 1e-5))
    return _emitted(site, op, x)


@builds("RMSNormalization", "SimplifiedLayerNormalization")
def rms_normalization(site: Site) -> Ref:
    """Divide by sqrt(mean x^2 + epsilon) over the axes from `axis` on, with scale."""
    x = site.ref()
    axes = tuple(range(site.axis(site.attr("axis", -1), x.ndim), x.ndim))
    op = Standardise(site.const(1, ONE), ZERO, axes, site.attr("epsilon", 1e-5), center=False)
    return _emitted(site, op, x)


@builds("InstanceNormalization")
def instance_normalization(site: Site) -> Ref:
    """Standardised over the spatial axes, with a scale and bias for each channel."""
    x = site.ref()
    shape = (-1,) + (1,) * (x.ndim - 2)
    w, b = site.const(1).reshape(shape), site.const(2).reshape(shape)
    return _emitted(site, Standardise(w, _bias(b), tuple(range(2, x.ndim)), site.attr("epsilon", 1e-5)), x)


@builds("GroupNormalization")
def group_normalization(site: Site) -> Ref:
    """Standardised over groups of channels; before opset 21 scale and bias are one a group."""
    x, groups = site.ref(), site.needed("num_groups")
    if x.shape[1] % groups:
        raise Unbuildable(f"{x.shape[1]} channels do not fall into {groups} groups")
    grouped = (x.shape[0], groups, prod(x.shape[1:]) // groups)
    w, b = (_per_channel(site, i, x, groups) for i in (1, 2))
    return _emitted(site, Standardise(w, _bias(b), (2,), site.attr("epsilon", 1e-5), grouped=grouped), x)


def _per_channel(site: Site, i: int, x: Ref, groups: int) -> np.ndarray:
    a, wanted = np.asarray(site.const(i)), groups if site.opset < 21 else x.shape[1]
    if a.shape != (wanted,):
        raise Unbuildable(f"its input {i} of shape {a.shape} must have {wanted} numbers at opset {site.opset}")
    return np.repeat(a, x.shape[1] // wanted).reshape(-1, *(1,) * (x.ndim - 2))


@builds("MeanVarianceNormalization")
def mean_variance_normalization(site: Site) -> Ref:
    """Standardised over some axes; the standard adds 1e-9 to the deviation."""
    x = site.ref()
    axes = tuple(site.axis(a, x.ndim) for a in site.attr("axes", (0, 2, 3)))
    return site.emit(Standardise(ONE, ZERO, axes, 0.0, floor=1e-9), x)


@builds("LpNormalization")
def lp_normalization(site: Site) -> Ref:
    """Divide by the norm along an axis."""
    x, p = site.ref(), site.attr("p", 2)
    axis = site.axis(site.attr("axis", -1), x.ndim)
    if p == 1:
        return site.emit(AbsoluteNorm(ONE, ZERO, (axis,), 1e-30), x)
    if p != 2:
        raise Unbuildable(f"its p is {p}, and only 1 and 2 are norms of the standard")
    return site.emit(Standardise(ONE, ZERO, (axis,), 0.0, center=False, mean=False, floor=1e-30), x)


@builds("LRN")
def local_response(site: Site) -> Ref:
    """Local response normalisation over channels."""
    op = LocalResponse(
        ONE,
        ZERO,
        site.needed("size"),
        site.attr("alpha", 1e-4),
        site.attr("beta", 0.75),
        site.attr("bias", 1.0),
    )
    return site.emit(op, site.ref())
