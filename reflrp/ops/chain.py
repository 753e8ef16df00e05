"""Two convolutions as one linear map, whose parameter is the pair of theirs: a separable convolution taken for one layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from reflrp.arrays import ZERO, Array
from reflrp.ground.caches import Cache
from reflrp.ir import Shape
from reflrp.ops.conv import Conv
from reflrp.ops.linear import LinearMap, biased, unless_it_vanishes


@dataclass(frozen=True, eq=False)
class Chain(LinearMap):
    """z = (a conv w_1) conv w_2 + b. A function of w is that of each factor: w+ is the pair (w_1+, w_2+)."""

    kind: ClassVar[str] = "conv"
    first: Conv = field(kw_only=True)
    second: Conv = field(kw_only=True)

    @classmethod
    def of(cls, first: Conv, second: Conv) -> Chain:
        """Return one map for a convolution without a bias, and one behind it."""
        factors: Any = (first.w, second.w)
        return cls(factors, second.b, first.source, has_bias=second.has_bias, first=first, second=second)

    def to(self, convert: Callable[[Array], Array]) -> Self:
        """Return the same map on converted arrays; derived weights start anew."""
        first, second = self.first.to(convert), self.second.to(convert)
        return replace(self, w=(first.w, second.w), b=second.b, first=first, second=second, derived=Cache())

    def apply(self, x: Array, w: Array) -> Array:
        """Return one convolution after the other."""
        return self.second.apply(self.first.apply(x, w[0]), w[1])

    def adjoint(self, s: Array, w: Array) -> Array:
        """Return the transpose of both, in the other order."""
        return self.first.adjoint(self.second.adjoint(s, w[1]), w[0])

    def weights(self, function: Callable[[Array], Array]) -> Array:
        """Return the pair of function(w) of both factors; ZERO where all of one vanishes."""
        return self.derived.made(function, lambda: self._each(function))

    def _each(self, function: Callable[[Array], Array]) -> Any:
        found = tuple(unless_it_vanishes(function(w)) for w in self.w)
        return ZERO if any(w is ZERO for w in found) else found

    def work(self, out: Shape, *shapes: Shape) -> float:
        """Return the work of both."""
        between = self.first.shape(*shapes)
        return self.first.work(between, *shapes) + self.second.work(out, between)

    def takes(self, *shapes: Shape) -> int:
        """Return what the larger of both lays out, and what is between them."""
        between = self.first.shape(*shapes)
        size = 1
        for n in between:
            size *= n
        return size + max(self.first.takes(*shapes), self.second.takes(between))

    def shape(self, *shapes: Shape) -> Shape:
        """Return the shape of the second one's output."""
        return self.second.shape(self.first.shape(*shapes))

    def describe(self) -> str:
        """Return both."""
        return f"{self.first.describe()}, then {self.second.describe()}{biased(self)}"
