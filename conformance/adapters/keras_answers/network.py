"""A Keras model from the ONNX graph of a case: one layer a node, images channels last, columns in Keras's order.

The operators are those of `layers`; anything else raises Unsupported. Where Keras orders entries otherwise than ONNX (a Flatten
behind channels), the weights of the next layer are reordered, as an export would have them, and no layer is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import tensorflow as tf
from onnx import numpy_helper

from .layers import OPERATORS, SPATIAL
from .nodes import Made, Node, Unsupported, Value

keras = tf.keras


class Network(NamedTuple):
    """A Keras model, and what its layers are.

    `made` has for each ONNX node its layer and what kind it is; `inputs` and `outputs` are names; `spatial` says whether images are
    channels last, and `orders` where each column of an output stands.
    """

    model: Any
    made: dict[str, Made]
    inputs: list[str]
    outputs: dict[str, Value]
    spatial: bool

    def given(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return inputs by name as Keras takes them."""
        return [turned(inputs[k]) if self.spatial else inputs[k] for k in self.inputs]

    def back(self, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Return relevance of the inputs by name, as ONNX has them."""
        found = [returned(R) if self.spatial else R for R in arrays]
        return dict(zip(self.inputs, found, strict=True))

    def seeded(self, seed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the relevance to start from as Keras orders it."""
        return {k: self._ordered(k, R) for k, R in seed.items() if k in self.outputs}

    def _ordered(self, name: str, R: np.ndarray) -> np.ndarray:
        order = self.outputs[name].order
        if order is None:
            return turned(R) if self.spatial else R
        found = np.empty_like(R)
        found[:, order] = R
        return found

    def forward(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by name, as ONNX has them."""
        found = self.model.predict_on_batch(self.given(inputs))
        arrays = found if isinstance(found, list) else [found]
        return {k: self._unordered(k, y) for k, y in zip(self.outputs, arrays, strict=True)}

    def _unordered(self, name: str, y: np.ndarray) -> np.ndarray:
        order = self.outputs[name].order
        if order is None:
            return returned(y) if self.spatial else y
        return y[:, order]


def turned(x: np.ndarray) -> np.ndarray:
    """Return channels last."""
    return np.moveaxis(x, 1, -1) if x.ndim > 2 else x


def returned(x: np.ndarray) -> np.ndarray:
    """Return channels first."""
    return np.moveaxis(x, -1, 1) if x.ndim > 2 else x


def built(path: Path, inputs: Mapping[str, np.ndarray], rules: Mapping[str, str]) -> Network:
    """Return the network of an ONNX file. Raises Unsupported for what Keras does not say.

    `rules` has the name of each node's rule, for Keras has a function as an Activation, or as a layer with a gradient.
    """
    graph = onnx.load(path).graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    names = [i.name for i in graph.input if i.name not in constants]
    if any(inputs[k].dtype.kind != "f" for k in names):
        raise Unsupported("an input of integers, or of truth values, is not explained")
    spatial = any(node.op_type in SPATIAL for node in graph.node)
    values: dict[str, Value] = {}
    for k in names:
        shape = turned(inputs[k]).shape if spatial else inputs[k].shape
        values[k] = Value(
            keras.layers.Input(shape[1:], name=_safe(k)), np.arange(shape[1]) if len(shape) == 2 else None
        )
    starts = [values[k].tensor for k in names]
    made = {}
    for i, node in enumerate(graph.node):
        name = node.name or f"{node.op_type}_{i}"
        made[name] = _layer(node, name, rules.get(name, ""), values, constants, spatial)
    outputs = {o.name: values[o.name] for o in graph.output if o.name in values}
    model = keras.Model(starts, [v.tensor for v in outputs.values()], name="net")
    return Network(model, made, names, outputs, spatial)


def _layer(
    node: Any, name: str, rule: str, values: dict[str, Value], constants: dict[str, np.ndarray], spatial: bool
) -> Made:
    """Apply the layer of a node, and return it with its kind."""
    if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx") or len(node.output) != 1:
        raise Unsupported(f"no Keras layer is made of operator {node.op_type}")
    attributes = {a.name: _value(a) for a in node.attribute}
    known = [constants.get(i) if i else None for i in node.input]
    active = [values[i] for i in node.input if i in values]
    asked = Node(_safe(name), rule, attributes, known, active, spatial)
    made, values[node.output[0]] = OPERATORS[node.op_type](asked)
    return made


def _value(attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c == "_" else "_" for c in name)
