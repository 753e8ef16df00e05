"""Patterns of names: which values `layers=` keeps, and which neurons `conditions=` lets relevance through."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from reflrp.errors import InputError
from reflrp.ground import checks
from reflrp.ground.patterns import fits
from reflrp.ir import Graph, Shape
from reflrp.ops.conv import Conv, ConvTranspose, WindowMean
from reflrp.ops.linear import Dense, LeftDense
from reflrp.ops.routing import Reshape, Transpose
from reflrp.ops.selection import MaxPool

NOWHERE: Mapping[str, int] = {}
"""Of no value it is known which axis holds the samples: then it is the first."""

WINDOWED = (Conv, ConvTranspose, WindowMean, MaxPool)
"""What reads and makes images (batch, channels, places), of one dimension too."""


def matching(patterns: Sequence[str], graph: Graph, argument: str, elsewhere: Collection[str] = ()) -> set[str]:
    """Return the values that a glob matches: by their name, an alias, or the name of their node or its ONNX nodes.

    Raises InputError for a pattern that matches nothing, and none of the names in branches that this input does not take.
    """
    labels = {i: {i} for i in graph.inputs}
    for node in graph.nodes:
        labels[node.output] = {node.output, node.name, *node.onnx}
    for alias, value in graph.aliases.items():
        labels.get(value, set()).add(alias)
    found = {p: {v for v, names in labels.items() if any(fits(p, n) for n in names)} for p in patterns}
    missing = [p for p, values in found.items() if not values]
    unmatched = [p for p in missing if not any(fits(p, n) for n in elsewhere)]
    beside = [p for p in unmatched if any(fits(p, n) for n in graph.names)]
    if beside:
        raise InputError(
            f"{argument}={beside} are no values on the way to the output that is explained: it does not read them, or they are "
            "stripped, folded or part of a recognised node"
        )
    if unmatched:
        raise InputError(f"{argument}={unmatched} match no value or node; Model.summary() lists their names")
    return set().union(*found.values())


class OfBodies(Protocol):
    """A node of the file, maybe with subgraphs."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The values that it makes."""

    @property
    def bodies(self) -> Mapping[str, Any]:
        """Its subgraphs, by the attribute that holds them."""


def in_branches(nodes: Iterable[OfBodies], prefix: str = "") -> Iterator[str]:
    """Yield the names of the nodes and values in subgraphs, at any depth, as a graph that takes them has them."""
    for node in nodes:
        for body in node.bodies.values():
            within = f"{prefix}{node.name}/"
            yield from (within + name for inner in body.nodes for name in (inner.name, *inner.outputs) if name)
            yield from in_branches(body.nodes, within)


def keeper(
    layers: bool | str | Sequence[str] | None, graph: Graph, elsewhere: Collection[str] = ()
) -> Callable[[str], bool]:
    """Return whether to keep a value's relevance, as a function of its name."""
    if layers is None or isinstance(layers, bool | np.bool_):
        # a graph also holds values of what was stripped from it, or joined to a layer
        made = {*graph.inputs, *(node.output for node in graph.nodes)} if layers else set[str]()
        return made.__contains__
    return matching(checks.texts("layers", layers), graph, "layers", elsewhere).__contains__


def masks_of(
    conditions: Mapping[str, Sequence[int]],
    graph: Graph,
    samples: Mapping[str, int] = NOWHERE,
    elsewhere: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Return, for each value under a condition, what its relevance is multiplied with: 1 at the chosen neurons.

    Neurons are counted along axis 1 (units, channels), in sequences (batch, time, features) along the last axis. `samples`
    says which axis of a value holds the samples, where that is known.
    Raises InputError for a pattern without a match that carries relevance, a value that has samples where its neurons would
    be, or a neuron out of range.
    """
    checks.mapping("conditions", conditions, "a dict {pattern: neurons}")
    found: dict[str, np.ndarray] = {}
    images = _channels_first(graph)
    for pattern, neurons in conditions.items():
        matched = matching([pattern], graph, "conditions", elsewhere)
        names = [name for name in matched if graph.values[name].active]
        if matched and not names:
            raise InputError(f"conditions: what matches {pattern!r} carries no relevance")
        for name in names:
            shape = graph.values[name].shape
            axis = _axis(name, shape, name in images, samples.get(name, 0))
            mask = _mask(name, shape, axis, neurons)
            found[name] = np.maximum(found[name], mask) if name in found else mask
    return found


def _channels_first(graph: Graph) -> set[str]:
    """Return the values whose channels are on axis 1: of convolutions and windows, and what comes of these in place."""
    found: set[str] = set()
    for node in graph.nodes:
        if isinstance(node.op, WINDOWED):
            found.update({node.output, *(i for i in node.inputs if i in graph.inputs)})
        elif found & set(node.inputs) and not isinstance(node.op, Dense | LeftDense | Reshape | Transpose):
            found.add(node.output)
    return found


def _axis(name: str, shape: Shape, image: bool, samples: int) -> int:
    """Return the axis of a value's neurons, which is not that of its samples."""
    axis = len(shape) - 1 if len(shape) == 3 and not image else min(1, len(shape) - 1)
    if axis == samples:
        raise InputError(f"conditions: {name!r} of shape {shape} has its samples, and no neurons, on axis {axis}")
    return axis


def _mask(name: str, shape: Shape, axis: int, neurons: Any) -> np.ndarray:
    try:
        given = checks.whole_array("neurons", neurons)
    except InputError:
        given = None
    chosen = np.zeros(0) if given is None else np.atleast_1d(given)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not _within(chosen, shape[axis : axis + 1]):
        size = shape[axis] if shape else "-"
        raise InputError(f"conditions: neurons {checks.shown(neurons)} of {name!r} must be ints below {size}")
    mask = np.zeros([n if i == axis else 1 for i, n in enumerate(shape)])
    mask.reshape(-1)[chosen] = 1
    return mask


def _within(chosen: np.ndarray, size: tuple[int, ...]) -> bool:
    return bool(chosen.size and size and -size[0] <= chosen.min() and chosen.max() < size[0])
