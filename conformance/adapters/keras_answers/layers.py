"""The layers of Keras that ONNX operators are: Dense, convolutions, pools, BatchNormalization, sums, functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from .nodes import Made, Node, Result, Unsupported, Value, columns, kernel
from .windows import conv, conv_transpose, global_pool, pool

L = tf.keras.layers

SPATIAL = frozenset({
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool", "MaxPool",
})  # fmt: skip
"""Operators for which images are channels last."""


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
    return kernel(node, layer, x.tensor, [w] if b is None else [w, b])


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
