"""Bringing arrays to a backend and a dtype."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reflrp.arrays import Array, backend_namespace
from reflrp.errors import InputError


@dataclass(frozen=True)
class Converter:
    """The function that brings a constant or input to a backend and dtype; integers keep theirs."""

    backend: str
    dtype: str

    def __call__(self, array: Array) -> Array:
        """Return the array on the backend, in the dtype."""
        xp = backend_namespace(self.backend)
        wanted = getattr(xp, self.dtype) if np.dtype(array.dtype).kind == "f" else None
        with np.errstate(invalid="ignore", over="ignore"):  # the forward pass reports what is not finite
            return xp.asarray(array, dtype=wanted)


def converter(backend: str, dtype: str) -> Converter:
    """Return the converter to a backend and dtype. Raises InputError for an unknown one."""
    backend_namespace(backend)
    if dtype not in ("float64", "float32"):
        raise InputError(f"dtype={dtype!r} is unknown; use 'float64' or 'float32'")
    return Converter(backend, dtype)


def shared(convert: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return a converter that makes one array of each, however many nodes hold it: the steps of an LSTM share weights."""
    made: dict[int, tuple[Array, Array]] = {}

    def once(array: Array) -> Array:
        if id(array) not in made:
            made[id(array)] = array, convert(array)  # the array stays with it, so that its id is no other's
        return made[id(array)][1]

    return once
