"""The rules that pnpxai has beside zennit's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from reflrp import rules as r
from reflrp.arrays import Array
from reflrp.ir import Node
from reflrp.ops.linear import LinearMap
from reflrp.ops.norms import HeldStandard, Standardise
from reflrp.ops.stabilizer import StabilizerLike


@dataclass(frozen=True)
class LayerNormRule(r.LinearRule):
    """R = x * J^T (R / st(y')),  y' = w (x - mean x) / sqrt(var_1 x + eps) + b.

    var_1 is divided by n - 1, and held constant; the layer's own output is not y', but divides by n.
    Bias and stabiliser absorb. Over several axes pnpxai takes both statistics of the whole batch; that is refused.
    """

    stabilizer: StabilizerLike = 1e-6
    serves: ClassVar[frozenset[str]] = frozenset({"normaliser"})
    only: ClassVar[str] = "LayerNorms over one axis (over several, pnpxai takes the statistics of the whole batch)"

    def fits(self, node: Node) -> bool:
        """Return whether the node is a LayerNorm over one axis."""
        return isinstance(node.op, Standardise) and node.op.center and len(node.op.axes) == 1

    def __call__(self, L: Any, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        assert isinstance(L, HeldStandard)
        M = replace(replace(L.norm, ddof=1).held(a), absorbed=L.absorbed)
        return r.Norm(self.stabilizer)(M, a, M.forward(a), R)


@dataclass(frozen=True)
class ValueProjection(r.LinearRule):
    """R = copies * LRP-epsilon: what the values' projection gives, and once more for the key where copies is 2."""

    stabilizer: StabilizerLike = 1e-6
    copies: Literal[1, 2] = 2
    conserves: ClassVar[bool] = False

    def __call__(self, L: LinearMap, a: Array, z: Array, R: Array) -> Array:
        """Return the relevance of the input."""
        return self.copies * r.Norm(self.stabilizer)(L, a, z, R)
