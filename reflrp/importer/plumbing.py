"""What plumbing nodes run: functions of observed arrays, as plain data, so that a graph can be pickled and copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, ClassVar

import numpy as np

from reflrp import limits
from reflrp.arrays import Array, namespace
from reflrp.arrays.tracing.dims import Unsettled
from reflrp.importer.nodes.node import OnnxNode
from reflrp.importer.windows.sampling import Sampling
from reflrp.ir import Shape
from reflrp.ops.selection import MaxPool


@dataclass(frozen=True, eq=False)
class Filled:
    """Output number `output` of `function(*args)`, with what is observed put in at `places`; as `dtype`, if one is given.

    What is observed is cast to the types of `given`, where there are such: quantised integers, which the engine has as floats.
    The function is one of a module, or a method of an ONNX node, so that it can be pickled by its name.
    """

    function: Callable[..., tuple[Any, ...]]
    args: tuple[Any, ...]
    places: tuple[int, ...]
    output: int = 0
    dtype: type | None = None
    given: tuple[np.dtype[Any] | None, ...] = ()

    def __call__(self, *observed: np.ndarray) -> Any:
        """Return the output for these arrays."""
        args = list(self.args)
        for i, array, dtype in zip_longest(self.places, observed, self.given):
            args[i] = array if dtype is None else array.astype(dtype)
        found = self.function(*args)[self.output]
        return found if self.dtype is None else np.asarray(found, dtype=self.dtype)


@dataclass(frozen=True, eq=False)
class Along:
    """The numbers of the entries that `found` finds along an axis: TopK."""

    numbers: np.ndarray
    found: Filled
    axis: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the numbers at these values."""
        return np.take_along_axis(self.numbers, self.found(values), self.axis)


@dataclass(frozen=True, eq=False)
class Numbered:
    """The numbers of the entries that an operator takes of data whose shape is left open: it moves the numbers itself, in the run.

    `args` are its operands behind the data, None for what is observed. Of TopK, which is `sorted_` by the data themselves, the
    numbers are taken along its axis.
    """

    node: OnnxNode
    args: tuple[Any, ...]
    source: Shape
    sorted_: bool = False

    def __call__(self, *observed: np.ndarray) -> np.ndarray:
        """Refuse: only a graph has such lengths."""
        raise Unsettled(f"entries of the shape {self.source} are numbered, which is left open")


@dataclass(frozen=True, eq=False)
class Winners:
    """Where the maxima of a MaxPool lie: the number of each winner's entry."""

    op: MaxPool
    numbers: np.ndarray

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the numbers at these values."""
        z = self.op.forward(values)
        limits.spend("the places of a MaxPool's maxima", 2 * self.op.work(z.shape, values.shape))
        seen = self.op.observed(values, z)
        return np.asarray(seen.apply(self.numbers, np.ones(())), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class LargestOf:
    """The label of the largest score of each row."""

    labels: np.ndarray

    def __call__(self, scores: Any) -> np.ndarray:
        """Return the labels at these scores."""
        chosen: np.ndarray = self.labels[np.asarray(scores).argmax(axis=1)]
        return chosen


@dataclass(frozen=True, eq=False)
class TapPlaces:
    """The numbers of the entries that a GridSample takes; `starts` is where each channel begins.

    `each` says that each sample's numbers are of its own entries, and follow from its own slice of the grid.
    """

    each: ClassVar[bool] = True

    how: Sampling
    size: tuple[int, ...]
    starts: np.ndarray

    def __call__(self, grid: Array) -> Array:
        """Return the numbers for this grid."""
        return self.starts + _for_channels(self.how.taps(grid, self.size).places)


@dataclass(frozen=True, eq=False)
class TapWeights:
    """The weights of the entries that a GridSample takes.

    They are in float64, or `alike` in the dtype of a grid that the network works out: that of the entries they weigh.
    """

    each: ClassVar[bool] = True
    how: Sampling
    size: tuple[int, ...]
    alike: bool = False

    def __call__(self, grid: Array) -> Array:
        """Return the weights for this grid."""
        weights = _for_channels(self.how.taps(grid, self.size).weights)
        return weights.astype(grid.dtype) if self.alike else weights


def _for_channels(x: Array) -> Array:
    return namespace(x).reshape(x, (x.shape[0], 1, *x.shape[1:]))
