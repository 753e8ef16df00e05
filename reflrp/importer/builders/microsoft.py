"""Builders of com.microsoft: what onnxruntime's optimiser writes, taken apart into operators of the standard."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflrp.importer.decompose import call, one
from reflrp.importer.site import Made, Site, Unbuildable, builds

MS = "com.microsoft"
CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
PARAMETERS = {
    **dict.fromkeys(["Elu", "LeakyRelu", "ThresholdedRelu"], ("alpha",)),
    "HardSigmoid": ("alpha", "beta"),
}
"""Activation -> the attributes that its parameters are."""


def _activated(site: Site, z: Any, name: str, parameters: list[float]) -> Made:
    """Return an activation of z, by its name."""
    if name == "Clip":
        return call(site, "Clip", z, *parameters)
    if name not in ("Relu", "Tanh", "Sigmoid", "HardSwish", *PARAMETERS):
        raise Unbuildable(f"its activation {name!r} is unknown")
    given: dict[str, Any] = dict(zip(PARAMETERS.get(name, ()), parameters, strict=False))
    return call(site, name, z, **given)


@builds("FusedConv", domain=MS)
def fused_conv(site: Site) -> Made:
    """A convolution, a value added to it, and an activation."""
    attributes = {k: site.attr(k) for k in CONV if site.attr(k) is not None}
    bias = site.arg(2) if site.has(2) else None
    name, parameters = site.attr("activation"), list(site.attr("activation_params") or ())
    parts = ["conv"] * bool(name or site.has(3)) or [""]
    z = one(call(site, "Conv", site.arg(0), site.arg(1), bias, part=parts[0], **attributes))
    if site.has(3):
        z = one(call(site, "Add", z, site.arg(3), part="add" if name else ""))
    return _activated(site, z, name, parameters) if name else z


@builds("FusedGemm", domain=MS)
def fused_gemm(site: Site) -> Made:
    """A Gemm and an activation."""
    attributes = {k: site.attr(k) for k in ("alpha", "beta", "transA", "transB") if site.attr(k) is not None}
    args = [site.arg(i) if site.has(i) else None for i in range(3)]
    name = site.attr("activation")
    z = call(site, "Gemm", *args[: 3 if site.has(2) else 2], part="gemm" if name else "", **attributes)
    found = [site.attr(f"activation_{k}") for k in ("alpha", "beta", "gamma")]
    return _activated(site, one(z), name, [p for p in found if p is not None]) if name else z


@builds("FusedMatMul", "TransposeMatMul", domain=MS)
def fused_matmul(site: Site) -> Made:
    """Alpha A' B'."""
    a, b = (_turned(site, i, k) for i, k in enumerate("AB"))
    alpha = float(site.attr("alpha", 1.0))
    if isinstance(b, np.ndarray):
        return call(site, "MatMul", a, b * np.asarray(alpha, b.dtype))
    z = call(site, "MatMul", a, b, part="" if alpha == 1 else "product")
    return z if alpha == 1 else call(site, "Mul", one(z), alpha)


def _turned(site: Site, i: int, name: str) -> Any:
    """Return an operand with its axes as transA and transBatchA (transB and transBatchB) say."""
    x = site.arg(i)
    axes = list(range(len(x.shape)))
    if site.attr(f"transBatch{name}", 0):
        axes = [*axes[1:-1], axes[0], axes[-1]]
    if site.attr(f"trans{name}", 0) and len(axes) > 1:
        axes[-2:] = axes[:-3:-1]
    return x if axes == sorted(axes) else one(call(site, "Transpose", x, perm=axes, part=f"trans{name}"))


@builds("Gelu", "FastGelu", "QuickGelu", "BiasGelu", domain=MS)
def gelu(site: Site) -> Made:
    """GELU in its spellings, of x or of x plus a bias."""
    x: Any = site.arg(0)
    if site.has(1):
        x = one(call(site, "Add", x, site.arg(1), part="bias"))
    if site.op_type == "QuickGelu":
        return call(site, "Swish", x, alpha=float(site.attr("alpha", 1.702)), opset=24)
    return call(site, "Gelu", x, approximate="tanh" if site.op_type == "FastGelu" else "none")


@builds("BiasSoftmax", domain=MS)
def bias_softmax(site: Site) -> Made:
    """Softmax of x plus a bias."""
    z, b = one(call(site, "Identity", site.arg(0), part="x")), site.arg(1)
    axis = site.axis(site.attr("axis", 1), len(z.shape))
    if len(b.shape) < len(z.shape) and not site.attr("is_inner_broadcast", 1):
        raise Unbuildable("its bias is broadcast along outer axes")
    z = one(call(site, "Add", z, b, part="bias"))
    flat = one(call(site, "Reshape", z, [*z.shape[:axis], -1], part="flat"))
    return call(site, "Reshape", one(call(site, "Softmax", flat, axis=-1, part="softmax")), list(z.shape))


@builds("BiasAdd", domain=MS)
def bias_add(site: Site) -> Made:
    """X + bias + skip."""
    return call(site, "Add", one(call(site, "Add", site.arg(0), site.arg(1), part="bias")), site.arg(2))


@builds("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=MS)
def skip_layer_normalization(site: Site) -> Any:
    """LayerNorm or RMSNorm of input + skip + bias; the fourth output is that sum."""
    simple = site.op_type == "SkipSimplifiedLayerNormalization"
    x: Any = one(call(site, "Add", site.arg(0), site.arg(1), part="sum"))
    place = 3 if simple else 4
    if site.has(place):
        x = one(call(site, "Add", x, site.arg(place), part="bias"))
    beta = site.arg(3) if not simple and site.has(3) else None
    return _normalised(site, x, site.arg(2), beta, simple, float(site.attr("epsilon", 1e-12))), None, None, x


def _normalised(site: Site, x: Any, gamma: Any, beta: Any, simple: bool, epsilon: float) -> Made:
    if simple:
        return one(call(site, "RMSNormalization", x, gamma, axis=-1, epsilon=epsilon, opset=23))
    args = [x, gamma] if beta is None else [x, gamma, beta]
    return one(call(site, "LayerNormalization", *args, axis=-1, epsilon=epsilon))


@builds("EmbedLayerNormalization", domain=MS)
def embed_layer_normalization(site: Site) -> Any:
    """LayerNorm of the sum of word, position and segment embeddings. The second output counts the mask."""
    ids = site.arg(0)
    x: Any = one(call(site, "Gather", site.arg(2), ids, part="word"))
    places = site.arg(8) if site.has(8) else np.arange(ids.shape[1])[None, :]
    x = one(call(site, "Add", x, one(call(site, "Gather", site.arg(3), places, part="position")), part="positions"))
    if site.has(1) and site.has(4):
        x = one(call(site, "Add", x, one(call(site, "Gather", site.arg(4), site.arg(1), part="segment")), part="sum"))
    mask = site.arg(7) if site.has(7) else np.zeros((ids.shape[0], 1), np.int32)
    count = one(call(site, "ReduceSum", mask, [1], keepdims=0, part="mask"))
    return _normalised(site, x, site.arg(5), site.arg(6), False, float(site.attr("epsilon", 1e-12))), count, x


@builds("RotaryEmbedding", domain=MS)
def rotary_embedding(site: Site) -> Made:
    """Pairs of entries turned by an angle that grows with the position."""
    x, places, cos, sin = (site.arg(i) for i in range(4))
    heads = site.attr("num_heads", 0) or None
    if len(x.shape) == 3 and not heads:
        heads = x.shape[2] // (site.attr("rotary_embedding_dim", 0) or 2 * cos.shape[1])
    if site.attr("scale", 1.0) != 1.0:
        raise Unbuildable("a scale of the positions is not served")
    return rotated(site, x, places, cos, sin, heads, part="")


def rotated(site: Site, x: Any, places: Any, cos: Any, sin: Any, heads: int | None, part: str) -> Made:
    """Return the rotary embedding of x (batch, time, entries) or (batch, heads, time, entries)."""
    if len(places.shape) == 1:
        time = x.shape[-2]
        steps = np.arange(time)[None, :]
        start = one(call(site, "Reshape", places, [-1, 1], part=f"{part}start"))
        places = one(call(site, "Add", start, steps, part=f"{part}at"))
    attributes = {
        "interleaved": int(site.attr("interleaved", site.attr("rotary_interleaved", 0))),
        "rotary_embedding_dim": int(site.attr("rotary_embedding_dim", 0)),
        **({"num_heads": heads} if heads else {}),
    }
    return call(site, "RotaryEmbedding", x, cos, sin, places, part=part, opset=23, **attributes)
