"""The layers of Keras with windows: convolutions, transposed ones, pools."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from .nodes import Made, Node, Result, Unsupported, Value
from .nodes import kernel as kernel_layer

L = tf.keras.layers


def _axes(a: dict[str, Any], name: str, rank: int) -> tuple[int, ...]:
    return tuple(a.get(name, [1] * rank))


def _pads(a: dict[str, Any], rank: int) -> tuple[list[int], list[int]]:
    pads = list(a.get("pads", [0] * (2 * rank)))
    return pads[:rank], pads[rank:]


def _same(size: tuple[int, ...], a: dict[str, Any], kernel: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Return the pads of Keras's padding="same"."""
    strides, dilations = _axes(a, "strides", len(kernel)), _axes(a, "dilations", len(kernel))
    whole = [
        max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)
    ]
    return [p // 2 for p in whole], [p - p // 2 for p in whole]


def _bordered(node: Node, x: Value, kernel: tuple[int, ...]) -> tuple[Any, str, bool]:
    """Return the input, its border by a ZeroPadding layer where "same" does not say it, and the name of the padding."""
    a, rank = node.attributes, len(kernel)
    auto = a.get("auto_pad", "NOTSET")
    pads = _pads(a, rank)
    if auto == "SAME_UPPER" or (auto == "NOTSET" and any(map(sum, pads)) and pads == _same(x.shape[:-1], a, kernel)):
        return x.tensor, "same", False
    if auto not in ("NOTSET", "VALID"):
        raise Unsupported(f"Keras pads no windows in the way {auto}")
    if not any(map(sum, pads)):
        return x.tensor, "valid", False
    return _zeros(f"{node.name}_pad", pads)(x.tensor), "valid", True


def _zeros(name: str, pads: tuple[list[int], list[int]]) -> Any:
    kind = {1: L.ZeroPadding1D, 2: L.ZeroPadding2D, 3: L.ZeroPadding3D}[len(pads[0])]
    both = tuple(zip(*pads, strict=True))
    return kind(both[0] if len(both) == 1 else both, name=name)


def _steps(a: dict[str, Any], rank: int) -> dict[str, tuple[int, ...]]:
    """Return strides and dilations, of which Keras takes one."""
    found = {"strides": _axes(a, "strides", rank), "dilation_rate": _axes(a, "dilations", rank)}
    if all(max(n) > 1 for n in found.values()):
        raise Unsupported("Keras's convolutions have strides or dilations, not both")
    return found


def conv(node: Node) -> Result:
    """Conv1D to Conv3D; DepthwiseConv2D where each channel is a group."""
    x, w = node.one(), np.asarray(node.known[1], np.float64)
    b = node.known[2] if len(node.known) > 2 else None
    rank, groups = w.ndim - 2, node.attributes.get("group", 1)
    tensor, padding, padded = _bordered(node, x, w.shape[2:])
    more = {
        **_steps(node.attributes, rank),
        "padding": padding,
        "use_bias": b is not None,
        "name": node.name,
    }
    kernel = np.moveaxis(w, (0, 1), (-1, -2))
    if groups == x.shape[-1] > 1 and rank == 2:
        kernel = kernel.reshape(*w.shape[2:], groups, -1)
        layer = L.DepthwiseConv2D(w.shape[2:], depth_multiplier=w.shape[0] // groups, **more)
    else:
        layer = {1: L.Conv1D, 2: L.Conv2D, 3: L.Conv3D}[rank](w.shape[0], w.shape[2:], groups=groups, **more)
    return kernel_layer(node, layer, tensor, [kernel] if b is None else [kernel, b], padded)


def conv_transpose(node: Node) -> Result:
    """Conv1DTranspose to Conv3DTranspose, with a Cropping layer for pads."""
    x, w, a = node.one(), np.asarray(node.known[1], np.float64), node.attributes
    b = node.known[2] if len(node.known) > 2 else None
    rank = w.ndim - 2
    if a.get("group", 1) != 1 or "output_shape" in a or a.get("auto_pad", "NOTSET") != "NOTSET":
        raise Unsupported("Keras transposes no convolution in groups")
    if max(_axes(a, "dilations", rank)) > 1:
        raise Unsupported("TensorFlow transposes no dilated convolution on a CPU")
    if rank == 3:
        raise Unsupported("Keras is not asked to transpose a convolution over three axes")
    kind = {1: L.Conv1DTranspose, 2: L.Conv2DTranspose}[rank]
    extra = a.get("output_padding")
    layer = kind(
        w.shape[1],
        w.shape[2:],
        **_steps(a, rank),
        output_padding=None if extra is None else tuple(extra),
        use_bias=b is not None,
        name=node.name,
    )
    kernel = np.moveaxis(w, (0, 1), (-1, -2))
    made, value = kernel_layer(node, layer, x.tensor, [kernel] if b is None else [kernel, b])
    pads = _pads(a, rank)
    if any(map(sum, pads)):
        both = tuple(zip(*pads, strict=True))
        crop = {1: L.Cropping1D, 2: L.Cropping2D}[rank](both[0] if rank == 1 else both, name=f"{node.name}_crop")
        value = Value(crop(value.tensor), None)
    return made, value


def pool(kind: str, node: Node) -> Result:
    """MaxPooling or AveragePooling in one to three dimensions."""
    x, a, kernel = node.one(), node.attributes, tuple(node.attributes["kernel_shape"])
    rank = len(kernel)
    if a.get("ceil_mode", 0) or set(_axes(a, "dilations", rank)) != {1} or a.get("storage_order", 0):
        raise Unsupported("Keras's pools have no ceil_mode and no dilation")
    tensor, padding, padded = _bordered(node, x, kernel)
    counted = bool(a.get("count_include_pad", 0))
    if kind == "Average" and padding == "same" and counted:
        tensor, padding, padded = _zeros(f"{node.name}_pad", _pads(a, rank))(x.tensor), "valid", True
    if padded and (kind == "Max" or not counted):
        raise Unsupported("Keras pads pools as `same` only, and zeros before it would count")
    layer = getattr(L, f"{kind}Pooling{rank}D")(
        kernel, strides=_axes(a, "strides", rank), padding=padding, name=node.name
    )
    return Made(layer, "pool" if kind == "Average" else "max", padded), Value(layer(tensor), None)


def global_pool(kind: str, node: Node) -> Result:
    """GlobalAveragePooling or GlobalMaxPooling in one to three dimensions."""
    x = node.one()
    layer = getattr(L, f"Global{kind}Pooling{len(x.shape) - 1}D")(keepdims=True, name=node.name)
    return Made(layer, "pool" if kind == "Average" else "max"), Value(layer(x.tensor), None)
