"""Makers of layers: dense maps, convolutions of any dimension, BatchNormalization, windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from differential.draft import Draft, Drop


def dense(d: Draft) -> None:
    """MatMul or Gemm by a constant, from either side, with or without a bias of its own."""
    x = d.pick(least=1)
    shape, out = d.shape(x), d.whole(1, 5)
    if len(shape) == 2 and d.maybe(0.4):
        turned, alpha, beta = d.maybe(), d.one(1.0, 1.0, 0.5, -2.0), d.one(1.0, 1.0, -0.5)
        w = d.weights(*((out, shape[1]) if turned else (shape[1], out)))
        c = [d.const(d.normal(*d.one((out,), (1, out), (), (1,))))] if d.opset < 11 or d.maybe(0.6) else []
        d.emit("Gemm", x, w, *c, transB=int(turned), alpha=alpha, beta=beta)
        return
    if len(shape) >= 2 and d.maybe(0.2):
        d.emit("MatMul", d.weights(*d.one((out, shape[-2]), (shape[-2],))), x)
        return
    lead = d.one((), (), (shape[1],) if len(shape) == 4 else ())
    d.emit("MatMul", x, d.weights(*lead, shape[-1], *((out,) if len(shape) == 1 or d.maybe(0.85) else ())))


def split_bias(d: Draft) -> None:
    """MatMul and Add as exporters write a dense layer, which is one layer with a bias."""
    x = d.pick(least=2)
    w, b = d.weights(d.shape(x)[-1], d.whole(2, 5)), None
    b = d.const(d.normal(d.shape(w)[1]))
    with d.hidden():
        z = d.emit("MatMul", x, w)
        y = d.emit("Add", *d.one((z, b), (b, z)))
    d.means("Dense", x, w, b, output=y)


def einsum(d: Draft) -> None:
    """Einsum with a constant: contractions, transposed or kept, a sum over the constant alone."""
    x = d.pick(rank=3)
    n, m = d.shape(x)[1:]
    k = d.whole(1, 4)
    terms: Any = d.one(
        ("bij,jk->bik", (m, k)), ("bij,ik->bjk", (n, k)), ("bij,jk->bki", (m, k)), ("bij,j->bi", (m,)), ("bij,ij->b", (n, m)),
        ("bij,jkl->bik", (m, k, 2)), ("...j,jk->...k", (m, k)), ("bij,ikj->bk", (n, k, m)),
    )  # fmt: skip
    w = d.weights(*terms[1])
    if d.maybe(0.2) and "..." not in terms[0]:
        left, _, rest = terms[0].partition(",")
        right, _, out = rest.partition("->")
        d.emit("Einsum", w, x, equation=f"{right},{left}->{out}")
        return
    d.emit("Einsum", x, w, equation=terms[0])


def _geometry(d: Draft, size: tuple[int, ...], kernel: tuple[int, ...], dilates: bool = True) -> dict[str, Any]:
    """Return strides, pads and dilations at which some window fits."""
    rank = len(size)
    dilations = [2 if dilates and 2 * k - 1 <= n and d.maybe(0.25) else 1 for n, k in zip(size, kernel, strict=True)]
    found: dict[str, Any] = {"strides": [d.one(1, 1, 2, 3) for _ in size]}
    if d.maybe(0.2) and all(s <= k for s, k in zip(found["strides"], kernel, strict=True)):
        found["auto_pad"] = d.one("SAME_UPPER", "SAME_LOWER", "VALID")
        dilations = [1] * rank
    elif d.maybe(0.5):
        found["pads"] = [d.whole(0, k - 1) for k in (*kernel, *kernel)]
    if max(dilations) > 1:
        found["dilations"] = dilations
    return found


def _map(d: Draft) -> str:
    return d.pick(least=3, fits=lambda a: a.ndim <= 5)


def conv(d: Draft) -> str:
    """A convolution over one to three axes: groups, strides, dilations, uneven and automatic padding."""
    x = _map(d)
    channels, *size = d.shape(x)[1:]
    kernel = tuple(d.whole(1, min(3, n)) for n in size)
    group = d.one(*[g for g in range(1, channels + 1) if channels % g == 0], 1)
    out = group * d.whole(1, 2)
    given = _geometry(d, tuple(size), kernel)
    w = d.weights(out, channels // group, *kernel)
    b = [d.const(d.normal(out))] if d.maybe() else []
    shape = {"kernel_shape": list(kernel)} if d.maybe(0.3) else {}
    return d.emit("Conv", x, w, *b, group=group, **given, **shape)


def conv_transpose(d: Draft) -> str:
    """A transposed convolution: groups, output_padding, dilations."""
    x = _map(d)
    channels, *size = d.shape(x)[1:]
    kernel = tuple(d.whole(1, 3) for n in size)
    group = d.one(*[g for g in range(1, channels + 1) if channels % g == 0], 1)
    strides = [d.one(1, 2, 3) for _ in size]
    given: dict[str, Any] = {"strides": strides}
    if d.maybe(0.4):
        given["pads"] = [d.whole(0, k - 1) for k in (*kernel, *kernel)]
    if d.maybe(0.3):
        given["output_padding"] = [d.whole(0, s - 1) for s in strides]
    if d.maybe(0.2):
        given["dilations"] = [d.whole(1, 2) for _ in size]
    if d.maybe(0.15) and all(s <= k for s, k in zip(strides, kernel, strict=True)):
        given = {"strides": strides, "auto_pad": d.one("SAME_UPPER", "SAME_LOWER")}
    w = d.weights(channels, d.whole(1, 2), *kernel)
    b = [d.const(d.normal(d.shape(w)[1] * group))] if d.maybe() else []
    return d.emit("ConvTranspose", x, w, *b, group=group, **given)


def _statistics(d: Draft, channels: int) -> list[str]:
    gamma, beta, mean = (d.const(d.normal(channels)) for _ in range(3))
    return [gamma, beta, mean, d.const(d.normal(channels) ** 2 + np.float32(0.1))]


def batch_norm(d: Draft) -> None:
    """BatchNormalization of anything."""
    x = d.pick(least=2)
    d.emit("BatchNormalization", x, *_statistics(d, d.shape(x)[1]), epsilon=d.one(1e-5, 0.01))


def normalised_layer(d: Draft) -> None:
    """A convolution and the BatchNormalization behind it, which folds into it."""
    z = conv(d) if d.maybe(0.8) else conv_transpose(d)
    d.emit("BatchNormalization", z, *_statistics(d, d.shape(z)[1]), epsilon=d.one(1e-5, 0.01))


def normalised_dense(d: Draft) -> None:
    """A dense layer with a BatchNormalization behind it, or before it, which folds into it."""
    x = d.pick(rank=2)
    w = d.weights(d.shape(x)[1], d.whole(1, 4))
    b = d.const(d.normal(d.shape(w)[1]))
    if d.maybe():
        z = d.emit("Gemm", x, w, b)
        d.emit("BatchNormalization", z, *_statistics(d, d.shape(z)[1]), epsilon=d.one(1e-5, 0.01))
    else:
        z = d.emit("BatchNormalization", x, *_statistics(d, d.shape(x)[1]), epsilon=d.one(1e-5, 0.01))
        d.emit("Gemm", z, w, b)


def average_pool(d: Draft) -> None:
    """AveragePool over one to three axes."""
    x = _map(d)
    size = d.shape(x)[2:]
    kernel = tuple(d.whole(1, min(3, n)) for n in size)
    given = _geometry(d, size, kernel, dilates=d.opset >= 19)
    if d.maybe(0.3) and given.get("auto_pad") != "VALID":
        given["ceil_mode"] = 1
    if d.maybe(0.4):
        given["count_include_pad"] = 1
    if d.opset < 10:
        given.pop("ceil_mode", None)
    d.emit("AveragePool", x, kernel_shape=list(kernel), **given)


def max_pool(d: Draft) -> None:
    """MaxPool over one to three axes, now and then with its places."""
    x = _map(d)
    size = d.shape(x)[2:]
    kernel = tuple(d.whole(1, min(3, n)) for n in size)
    given = _geometry(d, size, kernel, dilates=d.opset >= 10)
    if d.maybe(0.3) and d.opset >= 10 and given.get("auto_pad") != "VALID":
        given["ceil_mode"] = 1
    d.emit("MaxPool", x, outputs=2 if d.maybe(0.1) else 1, kernel_shape=list(kernel), **given)


def lp_pool(d: Draft) -> None:
    """LpPool and GlobalLpPool: a power, a sum over windows, a root."""
    x = _map(d)
    d.wordless()
    if d.maybe(0.3):
        d.emit("GlobalLpPool", x, p=d.one(1, 2, 3))
        return
    size = d.shape(x)[2:]
    kernel = tuple(d.whole(1, min(3, n)) for n in size)
    d.emit("LpPool", x, kernel_shape=list(kernel), p=d.one(1, 2, 3), strides=[d.one(1, 2) for _ in size])


def global_pool(d: Draft) -> None:
    """The mean or the maximum of a map."""
    d.emit(d.one("GlobalAveragePool", "GlobalMaxPool"), _map(d))


def resize(d: Draft) -> None:
    """Resize or Upsample of a map: nearest, linear, cubic; by scales or by sizes."""
    x = d.pick(least=3, fits=lambda a: a.ndim <= 4)
    shape = d.shape(x)
    axes = range(2, len(shape))
    if d.opset < 10:
        scales = [1.0, 1.0, 2.0, *(float(d.whole(1, 2)) for _ in axes[1:])]
        d.emit("Upsample", x, d.const(np.array(scales, np.float32)), mode=d.one("nearest", "linear"))
        return
    if d.opset == 10:
        scales = [1.0, 1.0, d.one(2.0, 3.0, 0.5), *(float(d.one(1, 2, 3, 0.5)) for _ in axes[1:])]
        d.emit("Resize", x, d.const(np.array(scales, np.float32)), mode="nearest")
        return
    mode = d.one("nearest", "linear", "cubic")
    if mode == "cubic" and len(shape) != 4:
        raise Drop
    given: dict[str, Any] = {"mode": mode}
    given["coordinate_transformation_mode"] = how = d.one(
        "half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"
    )
    if mode == "nearest":
        given["nearest_mode"] = d.one("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    if mode == "cubic":
        given |= {"cubic_coeff_a": d.one(-0.75, -0.5), "exclude_outside": d.one(0, 1)}
    roi = d.const(np.zeros(0, np.float32)) if d.opset < 13 else ""
    if d.maybe():
        least = 2 if how == "pytorch_half_pixel" else 1
        lengths = [d.whole(least, max(least, 2 * shape[i])) for i in axes]
        if lengths == list(shape[2:]):
            raise Drop  # there is nothing left of it
        sizes = d.ints(*shape[:2], *lengths)
        scales = d.const(np.zeros(0, np.float32)) if d.opset < 13 else ""
        d.emit("Resize", x, roi, scales, sizes, **given)
    else:
        factors = [d.one(1.0, 2.0, 0.5, 1.5) for _ in axes]
        lengths = [int(f * shape[i]) for f, i in zip(factors, axes, strict=True)]
        if how == "align_corners" or any(
            n == shape[i] and f != 1 for n, f, i in zip(lengths, factors, axes, strict=True)
        ):
            raise Drop
        if (how == "pytorch_half_pixel" and 1 in lengths) or set(factors) == {1.0}:
            raise Drop
        scales = d.const(np.array([1.0, 1.0, *factors], np.float32))
        d.emit("Resize", x, roi, scales, **given)


MAKERS = {
    dense: 6, split_bias: 3, einsum: 2, conv: 6, conv_transpose: 3, batch_norm: 1, normalised_layer: 2,
    normalised_dense: 2, average_pool: 2,
    max_pool: 3, lp_pool: 1, global_pool: 1, resize: 2,
}  # fmt: skip
