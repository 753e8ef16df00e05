"""The adapter of the dialect lrp_for_lstm."""

from __future__ import annotations

from typing import Any, ClassVar

from reflrp import rules as r
from reflrp.conformance.adapters.dialects.base import Dialect, Place, epsilon_of, only
from reflrp.conformance.protocol import RuleSpec, Unsupported
from reflrp.dialects.lrp_for_lstm import LRPLinear
from reflrp.rules.base import Rule

OPERATORS = frozenset({
    "Add", "Concat", "Flatten", "Gather", "Gemm", "Identity", "MatMul", "Mul", "Relu", "Reshape", "Sigmoid", "Slice", "Squeeze",
    "Sum", "Tanh", "Transpose", "Unsqueeze",
})  # fmt: skip
"""What LRP_for_LSTM's networks are made of."""


class Adapter(Dialect):
    """lrp_linear on dense layers and sums; of a product the signal takes all, and activations pass."""

    library: ClassVar[str] = "lrp_for_lstm"
    rules: ClassVar[frozenset[str]] = frozenset({"epsilon", "norm", "pass", "signal_takes_all"})
    operators: ClassVar[frozenset[str]] = OPERATORS

    def rule(self, place: Place, spec: RuleSpec) -> Rule | None:
        """Return LRP_for_LSTM's rule for a node."""
        if spec.rule == "pass":
            return self._pass(place)
        if spec.rule == "signal_takes_all":
            return self._signal(place, spec.params["signal"])
        if not (place.is_dense or (place.op_type in ("Add", "Sum") and not place.constants)):
            raise Unsupported("LRP_for_LSTM has lrp_linear for dense layers and sums")
        if "bias" in spec.params:
            only("LRP_for_LSTM", spec.params, bias="absorb")
        return LRPLinear(epsilon_of("LRP_for_LSTM", spec.params))

    @staticmethod
    def _pass(place: Place) -> Rule:
        if place.op_type not in ("Relu", "Sigmoid", "Tanh"):
            raise Unsupported("LRP_for_LSTM lets relevance pass activations")
        return r.Pass()

    @staticmethod
    def _signal(place: Place, signal: Any) -> Rule:
        gates = [n for n, op in enumerate(place.makers) if op == "Sigmoid"]
        if place.op_type != "Mul" or place.values != 2 or len(gates) != 1:
            raise Unsupported("LRP_for_LSTM has products of a sigmoid's output and another value, which gets all")
        if signal not in ("auto", "activated", 1 - gates[0]):
            raise Unsupported("LRP_for_LSTM gives all to the value that is no gate")
        return r.SignalTakesAll(0 if gates[0] else 1)
