"""Where samples lie in a value, and what a node may do with them: the words in which the laws of samples are written."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from reflrp.arrays import ZERO
from reflrp.ir import Shape


@dataclass(frozen=True)
class Place:
    """Where samples lie in a value: along `axis`, whose entries are `before` times samples times `after`.

    Alone on their axis they have before = after = 1; a reshape may have put other axes into the same one, as the channels
    of a series that are run as samples of their own.
    """

    axis: int
    before: int = 1
    after: int = 1

    @property
    def alone(self) -> bool:
        """Whether the axis holds nothing but the samples."""
        return self.before == self.after == 1


class Meeting(Exception):
    """A law's word that samples meet in a node, or that it cannot be known."""


@dataclass(frozen=True)
class Sight:
    """What a law sees of a node: where the samples are in each input, the shapes, and how many samples there are.

    The place of an input is None where the input is the same for all samples.
    """

    places: tuple[Place | None, ...]
    shapes: tuple[Shape, ...]
    out: Shape
    count: int

    def one(self, i: int = 0) -> Place:
        """Return where the samples are in input i, which must hold them."""
        place = self.places[i]
        if place is None:
            raise Meeting("the samples come in where they are not looked for")
        return place

    def broadcast(self, *constants: Any) -> Place:
        """Return where the samples are after broadcasting all inputs and constants against one another."""
        pairs = list(zip(self.places, self.shapes, strict=True))
        found = {self.shifted(place, len(shape)) for place, shape in pairs if place is not None}
        if len(found) != 1:
            raise Meeting("its operands hold the samples in different places")
        (place,) = found
        for other, shape in pairs:
            if other is None and self.along(shape, place) != 1:
                raise Meeting("one operand has samples, and another as many entries that are the same for all of them")
        self.same(place, *constants)
        return place

    def shifted(self, place: Place, rank: int) -> Place:
        """Return a place of an input of so many axes as one of the output, aligned at the last axis."""
        return Place(place.axis + len(self.out) - rank, place.before, place.after)

    def along(self, shape: Shape, place: Place) -> int:
        """Return the length of an operand, aligned at the last axis, where the output's samples are."""
        axis = place.axis - (len(self.out) - len(shape))
        return shape[axis] if axis >= 0 else 1

    def same(self, place: Place, *constants: Any) -> Place:
        """Return the place, if the constants of the node are the same for all samples there."""
        for constant in constants:
            if constant is not ZERO and constant is not None and not self._even(np.asarray(constant), place):
                raise Meeting("its constants differ from sample to sample")
        return place

    def _even(self, constant: np.ndarray, place: Place) -> bool:
        if self.along(constant.shape, place) == 1:
            return True
        axis = place.axis - (len(self.out) - constant.ndim)
        shape = (*constant.shape[:axis], place.before, self.count, place.after, *constant.shape[axis + 1 :])
        blocks = constant.reshape(shape)
        return bool((blocks == blocks.take([0], axis=axis + 1)).all())

    def off(self, place: Place, axes: tuple[int, ...]) -> Place:
        """Return the place, if it is on none of the axes that the node works over."""
        if place.axis in axes:
            raise Meeting("it works along the samples")
        return place


def reshaped(place: Place, source: Shape, target: Shape, count: int) -> Place:
    """Return where a reshape puts the samples: their places in the flat order of entries stay.

    Raises Meeting where the samples end on several axes, or on a part of one.
    """
    before = prod(source[: place.axis]) * place.before
    for axis in reversed(range(len(target))):
        lead = prod(target[:axis])
        inner, rest = divmod(before, lead) if lead else (0, 1)
        if rest == 0 and inner and target[axis] % (inner * count) == 0:
            return Place(axis, inner, target[axis] // (inner * count))
    raise Meeting("it reshapes samples into one another")


Local = tuple[np.ndarray, np.ndarray]
"""For numbers of entries in flat order: which sample each entry is of, and its number within the sample."""


def local(index: np.ndarray, place: Place, shape: Shape, count: int) -> Local:
    """Return which sample each numbered entry of a value is of, and its number within that sample."""
    tail = place.after * prod(shape[place.axis + 1 :])
    if not index.size or index.min() < 0:
        raise Meeting("it moves entries by numbers counted from the end, or none")
    return index // tail % count, index // (tail * count) * tail + index % tail


def landed(found: Local, shape: Shape, count: int) -> Place:
    """Return where the samples land in a value whose entries come from these: each sample's in the same order."""
    sample, rest = (a.reshape(shape) for a in found)
    for place in places(shape, count):
        if (sample == numbers(place, shape, count)).all() and repeats(rest, place, shape, count):
            return place
    raise Meeting("it moves entries from sample to sample")


def places(shape: Shape, count: int) -> list[Place]:
    """Return the places where so many samples could lie in a shape."""
    sized = [(axis, n // count) for axis, n in enumerate(shape) if n and n % count == 0]
    return [Place(axis, rest // b, b) for axis, rest in sized for b in range(1, rest + 1) if rest % b == 0]


def numbers(place: Place, shape: Shape, count: int) -> np.ndarray:
    """Return the number of the sample that each entry is of."""
    along = np.tile(np.repeat(np.arange(count), place.after), place.before)
    return along.reshape((-1,) + (1,) * (len(shape) - place.axis - 1))


def repeats(rest: np.ndarray, place: Place, shape: Shape, count: int) -> bool:
    """Return whether the entries of all samples have the same numbers."""
    blocks = rest.reshape(*shape[: place.axis], place.before, count, place.after, *shape[place.axis + 1 :])
    return bool((blocks == blocks.take([0], axis=place.axis + 1)).all())
