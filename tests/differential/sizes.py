"""Inputs of other sizes: more samples, longer and shorter axes; and inputs shaken a little."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from onnx import ModelProto

from differential.case import Case
from differential.evaluate import run

SHAKE = 1e-6
"""How far values are shaken, relative to each."""

ODD = 0x9E3779B97F4A7C15
"""A multiplier that mixes the bits of a number."""

Arrays = dict[str, np.ndarray]


def opened(case: Case, axes: Sequence[int]) -> ModelProto:
    """Return a case's file with the lengths of these axes of its inputs open, each by a name of its own."""
    proto = case.model()
    for port in proto.graph.input:
        for axis, dim in enumerate(port.type.tensor_type.shape.dim):
            if axis in axes:
                dim.dim_param = f"{port.name}_{axis}"
    return proto


def openable(case: Case, rng: np.random.Generator) -> list[int]:
    """Return the axes, but the first one, along which onnxruntime computes the network at another length, too."""
    proto, found = opened(case, range(1, 9)), []
    for axis in range(1, max(a.ndim for a in case.feeds.values())):
        try:
            run(proto, others(case, rng, axis, lambda n: n + 1))
        except Exception:
            continue
        found.append(axis)
    return found


def others(case: Case, rng: np.random.Generator, axis: int, n: Callable[[int], int]) -> Arrays:
    """Return inputs of other lengths along an axis, of each one's own entries: with its signs, its zeros and its ties."""
    shapes = {k: tuple(n(m) if i == axis else m for i, m in enumerate(a.shape)) for k, a in case.feeds.items()}
    return {k: rng.choice(a.ravel(), shapes[k]).astype(a.dtype) for k, a in case.feeds.items()}


def sizes(case: Case, rng: np.random.Generator, axes: Sequence[int]) -> Iterator[tuple[str, Arrays]]:
    """Yield inputs: the case's own; one sample, and more, or others of the same shapes; other lengths of each axis."""
    more = case.count + int(rng.integers(1, 3))
    yield "own", case.feeds
    if case.dynamic:
        yield "one sample", case.sample(0)
        yield f"{more} samples", others(case, rng, 0, lambda _: more)
    else:
        yield "others", others(case, rng, -1, lambda n: n)
    for axis in axes:
        yield f"axis {axis} longer", others(case, rng, axis, lambda n: n + int(rng.integers(1, 4)))
        yield f"axis {axis} shorter", others(case, rng, axis, lambda n: max(n - 1, 1))


def moved(a: np.ndarray, salt: int) -> np.ndarray:
    """Return floating numbers, each shaken a little. Equal numbers stay equal and zeros are kept, as rounding keeps them."""
    if a.dtype.kind != "f":
        return a
    bits = np.ascontiguousarray(a, np.float64).view(np.uint64)
    mixed = (bits ^ (bits >> np.uint64(29)) ^ np.uint64(salt * ODD % 2**64)) * np.uint64(ODD)
    part = (mixed >> np.uint64(11)).astype(np.float64) / 2**52 - 1
    return (a * (1 + SHAKE * part.reshape(a.shape))).astype(a.dtype)
