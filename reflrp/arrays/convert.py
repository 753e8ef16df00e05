"""Bringing arrays to a backend and a dtype."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reflrp.arrays import Array, backend_namespace
from reflrp.arrays.provenance import in_fractions
from reflrp.errors import InputError

FRACTION = 256
"""Bytes that are counted for a fraction."""


def wide(x: Array) -> Array:
    """Return constants in float64, or exact ones as they are."""
    found = np.asarray(x)
    return found if found.dtype == object else found.astype(np.float64)


@dataclass(frozen=True)
class Converter:
    """The function that brings a constant or input to a backend and dtype; integers keep theirs."""

    backend: str
    dtype: str

    @property
    def exact(self) -> bool:
        """Whether numbers are fractions."""
        return self.dtype == "exact"

    @property
    def itemsize(self) -> int:
        """How many bytes an entry takes; of a fraction, whose length is not known before, a guess."""
        return FRACTION if self.exact else np.dtype(self.dtype).itemsize

    def __call__(self, array: Array) -> Array:
        """Return the array on the backend, in the dtype. Raises Rounded where it cannot be exact."""
        if self.exact:
            return in_fractions(array)
        xp = backend_namespace(self.backend)
        wanted = getattr(xp, self.dtype) if np.dtype(array.dtype).kind == "f" else None
        with np.errstate(invalid="ignore", over="ignore"):  # the forward pass reports what is not finite
            return xp.asarray(array, dtype=wanted)


def converter(backend: str, dtype: str) -> Converter:
    """Return the converter to a backend and dtype. Raises InputError for an unknown one, and for fractions on a GPU."""
    if dtype not in ("float64", "float32", "exact"):
        raise InputError(f"dtype={dtype!r} is unknown; use 'float64', 'float32' or 'exact'")
    if dtype == "exact" and backend != "numpy":
        raise InputError("dtype='exact' computes with fractions, which only backend='numpy' does")
    backend_namespace(backend)
    return Converter(backend, dtype)


def shared(convert: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return a converter that makes one array of each, however many nodes hold it: the steps of an LSTM share weights."""
    made: dict[int, tuple[Array, Array]] = {}

    def once(array: Array) -> Array:
        if id(array) not in made:
            made[id(array)] = array, convert(array)  # the array stays with it, so that its id is no other's
        return made[id(array)][1]

    return once
