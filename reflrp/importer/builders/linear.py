"""Builders of the linear maps: Gemm, MatMul, convolutions, BatchNormalization, sums, and products with constants."""

from __future__ import annotations

from functools import reduce

import numpy as np

from reflrp.arrays import ZERO, Array
from reflrp.arrays.measured import ENTRIES, marks
from reflrp.arrays.provenance import over, own, plus, times
from reflrp.arrays.tracing.dims import broadcast_shapes, check_same
from reflrp.importer.decompose import convolved_by_values, normalised_by_values
from reflrp.importer.lengths.axes import ENTRYWISE
from reflrp.importer.site import Ref, Site, Unbuildable, builds, sized
from reflrp.importer.windows.geometry import conv_windows, transposed_windows
from reflrp.ir import Shape
from reflrp.ops.conv import Conv, ConvTranspose
from reflrp.ops.linear import BatchNorm, Dense, Diagonal, LeftDense
from reflrp.ops.pointwise import Pointwise
from reflrp.ops.product import MatrixProduct, Multiply
from reflrp.ops.routing import Expand, Reshape, Transpose
from reflrp.ops.sums import SumOf

Made = Ref | np.ndarray


@builds("Gemm")
def gemm(site: Site) -> Made:
    """Alpha A' B' + beta C."""
    a, b = _transposed(site, 0, "transA"), _transposed(site, 1, "transB")
    alpha, beta = site.attr("alpha", 1.0), site.attr("beta", 1.0)
    c = site.arg(2) if site.has(2) else None
    out = _matmul_shape(a.shape, b.shape)
    if c is not None and broadcast_shapes(c.shape, out) != out:
        raise Unbuildable(f"its C of shape {c.shape} does not broadcast to {out}")
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return diagonal(site, site.ref(2), np.asarray(float(beta)), alpha * np.matmul(a, b))
    if not isinstance(c, Ref) and not (isinstance(a, Ref) and isinstance(b, Ref)):
        bias = ZERO if c is None or not np.any(c) else _times(c, beta)
        a, b = (x if isinstance(x, Ref) else _times(x, alpha) for x in (a, b))
        return product_of(site, a, b, bias, has_bias=c is not None)
    z = product_of(site, a, b, part="" if c is None and alpha == 1 else "product")
    z = scaled(site, z, alpha, part="" if c is None else "alpha")
    return z if c is None else _add_bias(site, z, c, beta)


def _times(x: np.ndarray, factor: float) -> np.ndarray:
    return x if factor == 1 else times(x, own(factor))


def _add_bias(site: Site, z: Ref, c: Made, beta: float) -> Ref:
    if isinstance(c, Ref):
        return sum_of(site, [z, scaled(site, c, beta, part="beta")], [1, 1])
    return diagonal(site, z, None, _times(c, beta))


def _transposed(site: Site, i: int, attribute: str) -> Made:
    """Return input i of a Gemm, transposed where the attribute asks for it."""
    x = site.arg(i)
    if len(x.shape) != 2:
        raise Unbuildable(f"its input {i} of shape {x.shape} is no matrix")
    if not site.attr(attribute, 0):
        return x
    return site.emit(Transpose((1, 0)), x, part=attribute) if isinstance(x, Ref) else x.T


@builds("MatMul")
def matmul(site: Site) -> Made:
    """A B, either of them constant, or both values."""
    return product_of(site, site.arg(0), site.arg(1))


def product_of(site: Site, a: Made, b: Made, bias: Array = ZERO, part: str = "", has_bias: bool = False) -> Ref:
    """Return a @ b + bias as one node; 1-d operands become matrices and are reduced again."""
    out = _matmul_shape(a.shape, b.shape)
    a2 = _as_matrix(site, a, (1, *a.shape), "row") if len(a.shape) == 1 else a
    b2 = _as_matrix(site, b, (*b.shape, 1), "column") if len(b.shape) == 1 else b
    vector = a2 is not a or b2 is not b
    inner = "matrix" if vector else part
    if isinstance(a2, Ref) and isinstance(b2, Ref):
        active = (a2.value.active, b2.value.active)
        op = MatrixProduct((a2.shape, b2.shape), active)
        z = site.emit(op, a2, b2, part=inner)
    elif isinstance(a2, Ref):
        z = site.emit(Dense(np.asanyarray(b2), bias, a2.shape, has_bias=has_bias), a2, part=inner)
    else:
        assert isinstance(b2, Ref)
        z = site.emit(LeftDense(a2, bias, b2.shape, has_bias=has_bias), b2, part=inner)
    return site.emit(Reshape(z.shape, out), z, part=part) if vector else z


def _matmul_shape(a: Shape, b: Shape) -> Shape:
    if not a or not b or a[-1] != b[-2:][0]:
        for n, other in zip(a[-1:], b[-2:], strict=False):
            check_same(n, other)
        raise Unbuildable(f"its operands of shapes {a} and {b} do not fit each other")
    lead = broadcast_shapes(a[:-2], b[:-2])
    return (*lead, *(a[-2:-1] if len(a) > 1 else ()), *(b[-1:] if len(b) > 1 else ()))


def _as_matrix(site: Site, x: Made, shape: Shape, part: str) -> Made:
    return site.emit(Reshape(x.shape, shape), x, part=part) if isinstance(x, Ref) else x.reshape(shape)


@builds("Conv")
def conv(site: Site) -> Made:
    """A convolution with constant weights; by weights that carry relevance, a product."""
    if isinstance(kernel := site.arg(1), Ref) and kernel.value.active:
        return convolved_by_values(site)
    x, w, groups = _convolved(site)
    if x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise Unbuildable(f"weights of shape {w.shape} in {groups} groups do not fit an input of shape {x.shape}")
    windows = conv_windows(site, x.shape[2:], w.shape[2:])
    bias = _channel_bias(site, w, w.shape[0])
    return site.emit(Conv(w, bias, x.shape, windows=windows, groups=groups, has_bias=site.has(2)), x)


@builds("ConvTranspose")
def conv_transpose(site: Site) -> Made:
    """A transposed convolution with constant weights."""
    x, w, groups = _convolved(site)
    if x.shape[1] != w.shape[0] or w.shape[0] % groups:
        raise Unbuildable(f"weights of shape {w.shape} in {groups} groups do not fit an input of shape {x.shape}")
    windows = transposed_windows(site, x.shape[2:], w.shape[2:])
    bias = _channel_bias(site, w, w.shape[1] * groups)
    return site.emit(ConvTranspose(w, bias, x.shape, windows=windows, groups=groups, has_bias=site.has(2)), x)


def _convolved(site: Site) -> tuple[Ref, np.ndarray, int]:
    """Return the input, the weights and the number of groups of a convolution, checked against each other."""
    x, w, groups = site.ref(0), site.const(1), site.attr("group", 1)
    kernel = tuple(site.attr("kernel_shape") or w.shape[2:])
    if w.ndim != x.ndim or w.ndim < 3 or kernel != w.shape[2:] or groups < 1 or not w.size:
        raise Unbuildable(f"weights of shape {w.shape}, kernel {kernel}, do not fit an input of shape {x.shape}")
    return x, w, groups


def _channel_bias(site: Site, w: np.ndarray, channels: int) -> Array:
    bias = site.const(2)
    if bias is not None and bias.shape != (channels,):
        raise Unbuildable(f"its bias of shape {bias.shape} does not fit its {channels} output channels")
    return ZERO if bias is None or not np.any(bias) else bias.reshape(-1, *(1,) * (w.ndim - 2))


@builds("BatchNormalization")
def batch_normalization(site: Site) -> Made:
    """Gamma (x - mean) / sqrt(var + epsilon) + beta, as one diagonal map; the statistics must be constant."""
    if site.attr("training_mode", 0) or sum(map(bool, site.node.outputs)) > 1:
        raise Unbuildable("it was exported in training mode; call model.eval() before the export")
    if any(isinstance(a, Ref) for a in site.args[1:]):
        return normalised_by_values(site)
    x = site.ref(0)
    gamma, beta, mean, var = (site.const(i).astype(np.float64) for i in range(1, 5))
    if {p.shape for p in (gamma, beta, mean, var)} != {x.shape[1:2]}:
        raise Unbuildable(f"its parameters, {gamma.size} numbers each, do not fit an input of shape {x.shape}")
    shape = (-1,) + (1,) * (x.ndim - 2)
    eps = float(site.attr("epsilon", 1e-5))
    gamma, beta, mean, root = (own(p).reshape(shape) for p in (gamma, beta, mean, np.sqrt(var + eps)))
    w = over(gamma, root)
    b = plus(beta, times(times(mean, -1.0), w))
    return site.emit(BatchNorm(w, b if np.any(b) else ZERO, x.shape, eps=eps), x)


@builds("Add", "Sum")
def add(site: Site) -> Made:
    """A sum of values and constants."""
    return _sum(site, [1] * len(site.args))


@builds("Mean")
def mean(site: Site) -> Made:
    """The mean of values and constants."""
    z = _sum(site, [1] * len(site.args), part="sum")
    return z if len(site.args) == 1 else diagonal(site, z, over(1.0, len(site.args)), None)


@builds("Sub")
def sub(site: Site) -> Made:
    """A difference of values or constants."""
    return _sum(site, [1, -1])


@builds("Neg")
def neg(site: Site) -> Made:
    """The negative."""
    return diagonal(site, site.ref(), -np.ones(()), None)


def _sum(site: Site, signs: list[int], part: str = "") -> Ref:
    pairs = list(zip(signs, map(site.arg, range(len(signs))), strict=True))
    values = [(s, a) for s, a in pairs if isinstance(a, Ref)]
    constants = [a if s == 1 else times(a, s) for s, a in pairs if isinstance(a, np.ndarray)]
    bias = reduce(plus, constants) if constants else np.zeros(())
    constant = len(values) < len(pairs)
    if len(values) == 1:
        sign, x = values[0]
        return diagonal(site, x, None if sign == 1 else -np.ones(()), bias, part)
    z = sum_of(site, [a for _, a in values], [s for s, _ in values], "values" if constant else part)
    return diagonal(site, z, None, bias, part) if constant else z


def sum_of(site: Site, values: list[Ref], signs: list[int], part: str = "") -> Ref:
    """Return the sum of values with signs."""
    sources = tuple(v.shape for v in values)
    out = broadcast_shapes(*sources)
    w = np.asarray(signs, dtype=float).reshape(-1, *(1,) * len(out))
    return site.emit(SumOf(w, ZERO, (len(values), *out), sources=sources), *values, part=part)


@builds("Mul")
def mul(site: Site) -> Made:
    """A product of two values, or of a value and a constant."""
    a, b = site.arg(0), site.arg(1)
    if isinstance(a, Ref) and isinstance(b, Ref):
        return multiply(site, a, b)
    return diagonal(site, a, site.const(1), None) if isinstance(a, Ref) else diagonal(site, site.ref(1), a, None)


@builds("Div")
def div(site: Site) -> Made:
    """A quotient: by a constant a diagonal map, else a product with the reciprocal."""
    a, b = site.arg(0), site.arg(1)
    if isinstance(b, np.ndarray):
        return diagonal(site, site.ref(0), over(1.0, b), None)
    inverse = site.emit(Pointwise("reciprocal"), b, part="reciprocal")
    if isinstance(a, Ref):
        return multiply(site, a, inverse)
    return diagonal(site, inverse, a, None)


def multiply(site: Site, a: Ref, b: Ref, part: str = "") -> Ref:
    """Return the elementwise product of two values."""
    op = Multiply((a.shape, b.shape), (a.value.active, b.value.active))
    return site.emit(op, a, b, part=part)


def scaled(site: Site, x: Ref, factor: float, part: str = "") -> Ref:
    """Return factor * x."""
    return x if factor == 1 else diagonal(site, x, own(float(factor)), None, part)


def diagonal(site: Site, x: Ref, w: np.ndarray | None, b: np.ndarray | None, part: str = "") -> Ref:
    """Return w * x + b, x being broadcast first where w or b are larger."""
    w = np.ones(()) if w is None else w
    x = widened(site, x, w.shape, () if b is None else b.shape)
    settled = not site.measured & ENTRIES  # what is 0 or 1 for this length alone is there for all
    bias = ZERO if b is None or (settled and not np.any(b)) else b
    if bias is ZERO and w.ndim == 0 and w == 1 and settled and not part:
        return x
    return site.emit(Diagonal(w, bias, x.shape), x, part=part)


def widened(site: Site, x: Ref, *shapes: Shape) -> Ref:
    """Return x, broadcast first where it meets constants that are larger, at these open lengths or at others."""
    out = sized(broadcast_shapes(x.shape, *shapes))
    grows = out != x.shape or any(x.value.lengths[i] == 1 for i in _open_axes(site) if -i <= x.ndim)
    return site.emit(Expand(x.shape, out), x, part="expand") if grows else x


def _open_axes(site: Site) -> set[int]:
    """Return the axes, counted from the end, along which constants of an entrywise node may be longer for other lengths."""
    constants = [a for a in site.args if isinstance(a, np.ndarray)] if site.op_type in ENTRYWISE else []
    return {i - a.ndim for a in constants for i in marks(a)[1]}
