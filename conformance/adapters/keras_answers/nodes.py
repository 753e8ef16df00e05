"""What an ONNX node is to Keras: its operands as Keras tensors, and the layer that it becomes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


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


def columns(shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the order of a value whose columns stand as in ONNX; None of images."""
    return np.arange(shape[0]) if len(shape) == 1 else None


def kernel(node: Node, layer: Any, x: Any, weights: list[np.ndarray], padded: bool = False) -> Result:
    """Apply a layer with these weights."""
    y = layer(x)
    layer.set_weights([np.asarray(w, np.float64) for w in weights])
    return Made(layer, "kernel", padded), Value(y, columns(tuple(y.shape[1:])))
