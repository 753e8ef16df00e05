"""Counting along an axis whose length may be open: numbers, ones and running sums."""

from __future__ import annotations

from dataclasses import dataclass

from reflrp.arrays.namespaces import Array, namespace, twinned
from reflrp.arrays.tracing.dims import is_open

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Extent:
    """A shape, by which a constant becomes symbolic where it has an open length."""

    shape: Shape

    @property
    def is_open(self) -> bool:
        """Whether a length is a formula."""
        return is_open(self.shape)


@twinned
def laid(x: Array, extent: Extent) -> Array:
    """Return x with all entries of a shape: a constant has one for all along an axis of an open length."""
    return x if x.shape == extent.shape else namespace(x).broadcast_to(x, extent.shape)


@twinned
def numbers(x: Array, n: int) -> Array:
    """Return 0, 1 .. n-1 in the dtype of x."""
    xp = namespace(x)
    return xp.astype(xp.arange(n), x.dtype)


@twinned
def ones_of(x: Array, shape: Shape) -> Array:
    """Return ones of a shape, in the dtype of x."""
    return namespace(x).ones(shape, dtype=x.dtype)


@twinned
def running(x: Array, axis: int, exclusive: bool, reverse: bool) -> Array:
    """Return the sums of the entries up to each one along an axis; in reverse, from each one on."""
    xp = namespace(x)
    turned = xp.flip(x, axis=axis) if reverse else x
    sums = xp.cumulative_sum(turned, axis=axis)
    sums = sums - turned if exclusive else sums
    return xp.flip(sums, axis=axis) if reverse else sums
