"""A matcher of rectifiers: activations that are max(x, 0), or that cut off above, however the file writes them."""

from __future__ import annotations

from dataclasses import dataclass

from reflrp.composites.matchers import Matcher, Survey
from reflrp.ir import Node
from reflrp.ops.pointwise import Pointwise


@dataclass(frozen=True)
class _Rectifier(Matcher):
    def __repr__(self) -> str:
        return "rectifier()"

    def __call__(self, node: Node, survey: Survey) -> bool:
        op = node.op
        if not isinstance(op, Pointwise) or not op.gates:
            return False
        return op.name != "thresholded_relu" or bool(op.args[0] == 0)


def rectifier() -> Matcher:
    """Return a matcher of Relu, and of what else is 0 for x <= 0 and rises from there: Max, Clip, LeakyRelu, ThresholdedRelu."""
    return _Rectifier()
