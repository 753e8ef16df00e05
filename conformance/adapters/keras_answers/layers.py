"""The layers of Keras that ONNX operators are: Dense, convolutions, pools, BatchNormalization, sums, functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

L = tf.keras.layers


class Unsupported(Exception):
    """What Keras has no layer for, or a library no rule."""


class Value(NamedTuple):
    """A Keras tensor; of two axes also in which column each of ONNX's stands."""

    tensor: Any
    order: np.ndarray | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape without the batch."""
        return tuple(int(n) for n in self.tensor.shape[1:])


class Node(NamedTuple):
    """An ONNX node: its name, rule and attributes, its constant operands and those with a value."""

    name: str
    rule: str
    attributes: dict[str, Any]
    known: list[np.ndarray | None]
    active: list[Value]
    spatial: bool

    def one(self) -> Value:
        """Return the only value. Raises Unsupported where there are more."""
        if len(self.active) != 1 or self.known[0] is not None:
            raise Unsupported("a layer whose weights are no constants, or that has several values, is none of Keras's")
        return self.active[0]


class Made(NamedTuple):
    """The layer of a node and its kind (kernel, norm, pool, sum, max, function, route); `padded` behind a ZeroPadding."""

    layer: Any
    kind: str
    padded: bool = False


Result = tuple[Made, Value]

SPATIAL = frozenset({
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool", "MaxPool",
})  # fmt: skip
"""Operators for which images are channels last."""


def columns(shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the order of a value whose columns stand as in ONNX; None of images."""
    return np.arange(shape[0]) if len(shape) == 1 else None


def _kernel(node: Node, layer: Any, x: Any, weights: list[np.ndarray], padded: bool = False) -> Result:
    y = layer(x)
    layer.set_weights([np.asarray(w, np.float64) for w in weights])
    return Made(layer, "kernel", padded), Value(y, columns(tuple(y.shape[1:])))


def gemm(node: Node) -> Result:
    """Dense, the rows of its weights in Keras's order."""
    a, x = node.attributes, node.one()
    w = np.asarray(node.known[1], np.float64) * a.get("alpha", 1.0)
    w = w.T if a.get("transB", 0) else w
    b = node.known[2] if len(node.known) > 2 else None
    if a.get("transA", 0):
        raise Unsupported("a Dense layer does not turn its input")
    return _dense(node, x, w, None if b is None else np.broadcast_to(b * a.get("beta", 1.0), w.shape[1:]))


def matmul(node: Node) -> Result:
    """Dense without a bias; of sequences, on the last axis."""
    if len(node.known) < 2 or node.known[1] is None:
        raise Unsupported("a product of two values is a layer of Keras, but none that has a rule")
    return _dense(node, node.one(), np.asarray(node.known[1], np.float64), None)


def _dense(node: Node, x: Value, w: np.ndarray, b: np.ndarray | None) -> Result:
    if w.ndim != 2 or (node.spatial and x.order is None):
        raise Unsupported("a Dense layer has weights of two axes, and stands on the last axis")
    if x.order is not None:
        rows = np.empty_like(w)
        rows[x.order] = w
        w = rows
    layer = L.Dense(w.shape[1], use_bias=b is not None, name=node.name)
    return _kernel(node, layer, x.tensor, [w] if b is None else [w, b])


# ---------------------------------------------------------------- windows


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


def conv(node: Node) -> Result:
    """Conv1D to Conv3D; DepthwiseConv2D where each channel is a group."""
    x, w = node.one(), np.asarray(node.known[1], np.float64)
    b = node.known[2] if len(node.known) > 2 else None
    rank, groups = w.ndim - 2, node.attributes.get("group", 1)
    tensor, padding, padded = _bordered(node, x, w.shape[2:])
    more = {
        "strides": _axes(node.attributes, "strides", rank),
        "dilation_rate": _axes(node.attributes, "dilations", rank),
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
    return _kernel(node, layer, tensor, [kernel] if b is None else [kernel, b], padded)


def conv_transpose(node: Node) -> Result:
    """Conv1DTranspose to Conv3DTranspose, with a Cropping layer for pads."""
    x, w, a = node.one(), np.asarray(node.known[1], np.float64), node.attributes
    b = node.known[2] if len(node.known) > 2 else None
    rank = w.ndim - 2
    if a.get("group", 1) != 1 or "output_shape" in a or a.get("auto_pad", "NOTSET") != "NOTSET":
        raise Unsupported("Keras transposes no convolution in groups")
    if rank == 3:
        raise Unsupported("Keras is not asked to transpose a convolution over three axes")
    kind = {1: L.Conv1DTranspose, 2: L.Conv2DTranspose}[rank]
    extra = a.get("output_padding")
    layer = kind(
        w.shape[1],
        w.shape[2:],
        strides=_axes(a, "strides", rank),
        dilation_rate=_axes(a, "dilations", rank),
        output_padding=None if extra is None else tuple(extra),
        use_bias=b is not None,
        name=node.name,
    )
    kernel = np.moveaxis(w, (0, 1), (-1, -2))
    made, value = _kernel(node, layer, x.tensor, [kernel] if b is None else [kernel, b])
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


# ---------------------------------------------------------------- the rest


def batchnorm(node: Node) -> Result:
    """BatchNormalization of the last axis."""
    x = node.one()
    if any(k is None for k in node.known[1:]) or node.attributes.get("training_mode", 0):
        raise Unsupported("a BatchNormalization without constant statistics is no layer of Keras")
    layer = L.BatchNormalization(epsilon=float(np.float32(node.attributes.get("epsilon", 1e-5))), name=node.name)
    y = layer(x.tensor)
    weights = [np.asarray(k, np.float64) for k in node.known[1:]]
    if x.order is not None:
        weights = [_reordered(w, x.order) for w in weights]
    layer.set_weights(weights)
    return Made(layer, "norm"), Value(y, x.order)


def _reordered(w: np.ndarray, order: np.ndarray) -> np.ndarray:
    found = np.empty_like(w)
    found[order] = w
    return found


def merge(kind: str, title: str, node: Node) -> Result:
    """A layer of several values of one shape: Add, Maximum, Multiply, Subtract."""
    if len(node.active) != len(node.known) or len(node.active) < 2:
        raise Unsupported("Keras has no layer that adds or multiplies a constant")
    shapes, orders = {v.shape for v in node.active}, [v.order for v in node.active]
    if len(shapes) > 1 or any(o is not None and (o != orders[0]).any() for o in orders[1:]):
        raise Unsupported("values of several shapes, or of several orders, are not merged")
    layer = getattr(L, title)(name=node.name)
    return Made(layer, kind), Value(layer([v.tensor for v in node.active]), orders[0])


def concat(node: Node) -> Result:
    """Concatenate, of the channels or of an axis behind them."""
    axis = node.attributes["axis"]
    if len(node.active) != len(node.known) or len(node.active) < 2:
        raise Unsupported("Keras has no layer that joins a constant to a value")
    rank = len(node.active[0].shape) + 1
    axis = axis % rank
    layer = L.Concatenate((-1 if axis == 1 else axis - 1) if node.spatial and rank > 2 else axis, name=node.name)
    orders = [v.order for v in node.active if v.order is not None]
    starts = np.cumsum([0, *(len(o) for o in orders)])
    order = np.concatenate([o + s for o, s in zip(orders, starts, strict=False)]) if orders else None
    return Made(layer, "route"), Value(layer([v.tensor for v in node.active]), order)


def flatten(node: Node) -> Result:
    """Flatten; behind channels the columns stand otherwise than in ONNX."""
    x = node.one()
    if node.attributes.get("axis", 1) != 1:
        raise Unsupported("Keras's Flatten keeps the first axis only")
    layer = L.Flatten(name=node.name)
    order = np.arange(int(np.prod(x.shape))).reshape(x.shape)
    if x.order is not None:
        order = x.order
    elif node.spatial:
        order = np.moveaxis(order, -1, 0)
    return Made(layer, "route"), Value(layer(x.tensor), order.ravel())


def reshape(node: Node) -> Result:
    """Reshape that keeps the batch."""
    x, shape = node.one(), node.known[1]
    if node.spatial or shape is None or node.attributes.get("allowzero", 0):
        raise Unsupported("a Reshape of images would mix their channels")
    target = [x.shape[i - 1] if n == 0 and i else int(n) for i, n in enumerate(shape)]
    layer = L.Reshape(target[1:], name=node.name)
    y = layer(x.tensor)
    return Made(layer, "route"), Value(y, columns(tuple(y.shape[1:])))


def transpose(node: Node) -> Result:
    """Permute, which keeps the batch."""
    x, perm = node.one(), tuple(node.attributes.get("perm", ()))
    if node.spatial or not perm or perm[0] != 0:
        raise Unsupported("Keras's Permute keeps the first axis, and images are channels last")
    layer = L.Permute(perm[1:], name=node.name)
    return Made(layer, "route"), Value(layer(x.tensor), x.order)


def layer_norm(node: Node) -> Result:
    """LayerNormalization of the last axis."""
    x, a = node.one(), node.attributes
    if node.spatial or a.get("axis", -1) not in (-1, len(x.shape)) or len(node.known) != 3:
        raise Unsupported("a LayerNormalization of other axes than the last, or without a bias, is not built")
    layer = L.LayerNormalization(epsilon=float(np.float32(a.get("epsilon", 1e-5))), name=node.name)
    y = layer(x.tensor)
    layer.set_weights([np.asarray(k, np.float64) for k in node.known[1:]])
    return Made(layer, "function"), Value(y, x.order)


def dropout(node: Node) -> Result:
    """Dropout, which at inference does nothing."""
    layer = L.Dropout(0.5, name=node.name)
    return Made(layer, "route"), Value(layer(node.active[0].tensor), node.active[0].order)


def function(make: Callable[[dict[str, Any]], Callable[[Any], Any]], node: Node) -> Result:
    """A function: an Activation, through which relevance is to pass, or a layer of its own, which has a gradient."""
    x, f = node.one(), make(node.attributes)
    layer = L.Lambda(f, name=node.name) if node.rule == "gradient" else L.Activation(f, name=node.name)
    return Made(layer, "function"), Value(layer(x.tensor), x.order)


def _gelu(x: Any) -> Any:
    """Return x Phi(x); TensorFlow's own has 1 / sqrt 2 in float32."""
    return 0.5 * x * (1 + tf.math.erf(x * 0.5**0.5))


FUNCTIONS: dict[str, Callable[[dict[str, Any]], Callable[[Any], Any]]] = {
    "Elu": lambda a: lambda x: tf.where(x > 0, x, a.get("alpha", 1.0) * (tf.exp(x) - 1)),
    "Exp": lambda a: tf.exp,
    "Gelu": lambda a: tf.keras.activations.gelu if a.get("approximate", "none") == "tanh" else _gelu,
    "Identity": lambda a: lambda x: x,
    "LeakyRelu": lambda a: lambda x: tf.nn.leaky_relu(x, float(np.float32(a.get("alpha", 0.01)))),
    "Relu": lambda a: tf.nn.relu,
    "Sigmoid": lambda a: tf.sigmoid,
    "Softplus": lambda a: tf.nn.softplus,
    "Tanh": lambda a: tf.tanh,
}

OPERATORS: dict[str, Callable[[Node], Result]] = {
    "Add": partial(merge, "sum", "Add"),
    "AveragePool": partial(pool, "Average"),
    "BatchNormalization": batchnorm,
    "Concat": concat,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Dropout": dropout,
    "Flatten": flatten,
    "Gemm": gemm,
    "GlobalAveragePool": partial(global_pool, "Average"),
    "GlobalMaxPool": partial(global_pool, "Max"),
    "LayerNormalization": layer_norm,
    "MatMul": matmul,
    "Max": partial(merge, "max", "Maximum"),
    "MaxPool": partial(pool, "Max"),
    "Mul": partial(merge, "product", "Multiply"),
    "Reshape": reshape,
    "Sub": partial(merge, "difference", "Subtract"),
    "Sum": partial(merge, "sum", "Add"),
    "Transpose": transpose,
    **{name: partial(function, make) for name, make in FUNCTIONS.items()},
}
"""The operators that are built: node -> the layer with its kind, and its output."""
