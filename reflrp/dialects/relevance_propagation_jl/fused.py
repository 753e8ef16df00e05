"""Layers with an activation: to RelevancePropagation.jl one layer, in an ONNX graph two nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from reflrp import rules as r
from reflrp.arrays import Array
from reflrp.arrays.looks import same
from reflrp.dialects.relevance_propagation_jl.rules import JuliaRule
from reflrp.ir import LINEAR


@dataclass(frozen=True)
class Fused(r.Rule):
    """A rule on a layer with the activation that the rule sees: an ONNX graph has that as a node of its own."""

    serves: ClassVar[frozenset[str]] = frozenset({*LINEAR, "normaliser"})
    conserves: ClassVar[bool] = False
    rule: JuliaRule
    activation: Any

    def __call__(self, op: Any, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        return self.rule.through(op, a, z, R, self.activation)

    def __eq__(self, other: object) -> bool:
        """Return whether the other has the same rule, and an activation that is the same function."""
        if not isinstance(other, Fused):
            return NotImplemented
        return self.rule == other.rule and same(self._function, other._function)

    def __hash__(self) -> int:
        """Return a hash of the rule and of the function's name."""
        return hash((Fused, self.rule, self._function[0]))

    @property
    def _function(self) -> tuple[Any, Any]:
        return getattr(self.activation, "name", self.activation), getattr(self.activation, "args", ())
