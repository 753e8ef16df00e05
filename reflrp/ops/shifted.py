"""Convolutions of inputs that are shifted a channel: what the shift adds depends on how much of a window lies in the padding.

Where lengths are open, so is how many outputs there are of each kind, and what is added is found in the run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Self

import numpy as np

from reflrp.arrays import Array
from reflrp.arrays.convolution import conv, conv_transpose
from reflrp.arrays.counting import Extent, laid, ones_of
from reflrp.ops.conv import Conv, ConvTranspose
from reflrp.ops.linear import LinearMap


def added_by(op: Conv | ConvTranspose, shifts: Array, like: Array) -> Array:
    """Return what a shift of the inputs adds to each output, (1, O, *out), in the dtype of `like`.

    `shifts` is what it adds by each tap, summed over a group: (O, 1, *kernel) of a convolution, (1, O, *kernel) of a
    transposed one. An input of ones has the shift wherever there is an entry, and nothing in the padding.
    """
    if isinstance(op, ConvTranspose):
        return conv_transpose(ones_of(like, (1, 1, *op.windows.out)), shifts, op.windows, 1)
    return conv(ones_of(like, (1, 1, *op.windows.size)), shifts, op.windows, 1)


class Shifted(LinearMap):
    """What both have in common; `b` is what else is added, and no symbolic zero."""

    base: ClassVar[type[Conv] | type[ConvTranspose]]
    outputs: ClassVar[int]
    shifts: Array

    def parted(self, xs: tuple[Array, ...]) -> tuple[Array, Conv | ConvTranspose]:
        """Return the input, and the map with what is found in the run in its bias."""
        return xs[0], self._whole(laid(xs[0], Extent(self.source)))

    def plain(self) -> Conv | ConvTranspose:
        """Return the map at fixed lengths."""
        return self._whole(np.zeros((), self.shifts.dtype))

    def forward(self, *xs: Array) -> Array:
        """Return L(a, w) + b + what the shift adds."""
        a, op = self.parted(xs)
        return op.forward(a)

    def scaled(self, scale: Array) -> Self:
        """Return the map with what the shift adds times a number, or one a channel."""
        shape = [-1 if i == self.outputs else 1 for i in range(self.shifts.ndim)]
        return self.adding(self.shifts * (scale.reshape(shape) if scale.ndim else scale))

    def adding(self, shifts: Array) -> Self:
        """Return the map with another shift."""
        return replace(self, **{"shifts": shifts})

    def _whole(self, like: Array) -> Conv | ConvTranspose:
        kept = {f.name: getattr(self, f.name) for f in fields(self.base) if f.init and f.name != "b"}
        op = self.base(**kept, b=self.b)
        return replace(op, b=added_by(op, self.shifts, like) + self.b)


@dataclass(frozen=True, eq=False)
class ShiftedConv(Shifted, Conv):
    """z = a conv w + b + 1 conv shifts, where open lengths say which taps lie in the padding."""

    base: ClassVar[type[Conv]] = Conv
    outputs: ClassVar[int] = 0
    shifts: Array = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class ShiftedConvTranspose(Shifted, ConvTranspose):
    """A `ShiftedConv` of a transposed convolution, whose outputs at the border have fewer taps than the others."""

    base: ClassVar[type[ConvTranspose]] = ConvTranspose
    outputs: ClassVar[int] = 1
    shifts: Array = field(kw_only=True)


SHIFTED = ShiftedConv, ShiftedConvTranspose
"""Convolutions a part of whose bias is found in the run."""
