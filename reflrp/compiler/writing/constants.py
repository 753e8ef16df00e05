"""Constants: each weight stands in the file once. What the user's graph holds, also in another layout, is not stored again."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper

from reflrp.arrays.tracing.terms import SMALL

Found = tuple[str, str, Any]
"""The name of an initializer, how to change it ("" for not at all, "Reshape", "Transpose"), and to what."""


LARGE = 1024
"""Constants of at most so many entries stand in the graph also where others are kept outside of it."""


def kept_outside(name: str, value: np.ndarray) -> TensorProto:
    """Return an initializer whose numbers are given to the runtime apart from the graph."""
    found = TensorProto(name=name, dims=value.shape, data_type=helper.np_dtype_to_tensor_dtype(value.dtype))
    found.data_location = TensorProto.EXTERNAL
    found.external_data.add(key="location", value="reflrp")
    return found


class Constants:
    """The initializers of a graph, found by what they hold."""

    def __init__(self, graph: GraphProto, outside: dict[str, np.ndarray] | None = None) -> None:
        self.graph, self.outside = graph, outside
        self.alike: dict[Any, list[tuple[str, np.ndarray]]] = {}
        self.own: dict[int, tuple[str, np.ndarray]] = {}
        inputs = {i.name for i in graph.input}
        for tensor in graph.initializer:
            if outside is not None and tensor.name in outside:
                self._enter(tensor.name, outside[tensor.name])
            elif tensor.name not in inputs and tensor.data_type == TensorProto.FLOAT:
                self._enter(tensor.name, numpy_helper.to_array(tensor))

    def _enter(self, name: str, array: np.ndarray) -> None:
        if array.size > SMALL:
            self.alike.setdefault(_key(array), []).append((name, array))

    def find(self, value: np.ndarray) -> Found | None:
        """Return the initializer that holds the same numbers, and how to lay them out."""
        if id(value) in self.own:
            return self.own[id(value)][0], "", None
        for name, array in self.alike.get(_key(value), ()) if value.size > SMALL else ():
            if _equal(array, value):
                return name, "", None
            if value.ndim == array.ndim == 2 and _equal(array.T, value):
                return name, "Transpose", (1, 0)
            if _equal(array.reshape(-1), value.reshape(-1)):
                return name, "Reshape", value.shape
        return None

    def add(self, value: np.ndarray, name: str) -> str:
        """Store a constant, and return its name."""
        whole = np.ascontiguousarray(value).reshape(value.shape)
        if self.outside is not None and value.size > LARGE:
            self.outside[name] = whole
            self.graph.initializer.append(kept_outside(name, whole))
        else:
            self.graph.initializer.append(numpy_helper.from_array(whole, name))
        self.own[id(value)] = name, value  # the array stays with it, so that its id is no other's
        self._enter(name, value)
        return name


def _key(array: np.ndarray) -> Any:
    """Return what arrays of the same numbers share in any layout: size, dtype, first and last entry."""
    ends = array[(0,) * array.ndim], array[(-1,) * array.ndim]
    return array.size, array.dtype, *((end + end.dtype.type(0)).tobytes() for end in ends)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two arrays are the same; of most that are not, a few entries say so."""
    if a.shape != b.shape:
        return False
    few = tuple(slice(0, SMALL if i == a.ndim - 1 else 1) for i in range(a.ndim))
    return a is b or (np.array_equal(a[few], b[few]) and np.array_equal(a, b))
