"""Patterns of names: which values `layers=` keeps, and which neurons `conditions=` lets relevance through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from reflrp.errors import InputError
from reflrp.ir import Graph


def matching(patterns: Sequence[str], graph: Graph, argument: str) -> set[str]:
    """Return the values that a glob matches: by their name, an alias, or the name of their node or its ONNX nodes.

    Raises InputError for a pattern that matches nothing.
    """
    labels = {i: {i} for i in graph.inputs}
    for node in graph.nodes:
        labels[node.output] = {node.output, node.name, *node.onnx}
    for alias, value in graph.aliases.items():
        labels.get(value, set()).add(alias)
    found = {p: {v for v, names in labels.items() if any(fnmatchcase(n, p) for n in names)} for p in patterns}
    unmatched = [p for p, values in found.items() if not values]
    if unmatched:
        raise InputError(f"{argument}={unmatched} match no value or node; Model.summary() lists their names")
    return set().union(*found.values())


def keeper(layers: bool | str | Sequence[str], graph: Graph) -> Callable[[str], bool]:
    """Return whether to keep a value's relevance, as a function of its name."""
    if isinstance(layers, bool):
        return lambda name: layers
    return matching([layers] if isinstance(layers, str) else list(layers), graph, "layers").__contains__


def masks_of(conditions: Mapping[str, Sequence[int]], graph: Graph) -> dict[str, np.ndarray]:
    """Return, for each value under a condition, what its relevance is multiplied with: 1 at the chosen neurons.

    Neurons are counted along axis 1 (units, channels), in sequences (batch, time, features) along the last axis.
    Raises InputError for a pattern without a match, or a neuron out of range.
    """
    found: dict[str, np.ndarray] = {}
    kinds = {node.output: node.kind for node in graph.nodes}
    for pattern, neurons in conditions.items():
        for name in matching([pattern], graph, "conditions"):
            if name in kinds and graph.values[name].active:
                mask = _mask(name, graph.values[name].shape, kinds[name], neurons)
                found[name] = np.maximum(found[name], mask) if name in found else mask
    return found


def _mask(name: str, shape: tuple[int, ...], kind: str, neurons: Any) -> np.ndarray:
    axis = len(shape) - 1 if len(shape) == 3 and kind != "conv" else min(1, len(shape) - 1)
    chosen = np.atleast_1d(np.asarray(neurons))
    if chosen.dtype.kind not in "iu" or not (-shape[axis] <= chosen.min() and chosen.max() < shape[axis]):
        raise InputError(f"conditions: neurons {neurons} of {name!r} must be ints below {shape[axis]}")
    mask = np.zeros([shape[axis] if i == axis else 1 for i in range(len(shape))])
    mask.reshape(-1)[chosen] = 1
    return mask
