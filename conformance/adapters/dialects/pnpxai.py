"""The adapter of the dialect pnpxai: zennit's rules, but for LayerNorm."""

from __future__ import annotations

from typing import ClassVar

from reflrp.conformance.adapters.dialects import zennit
from reflrp.conformance.adapters.dialects.base import Place
from reflrp.conformance.protocol import RuleSpec
from reflrp.dialects.pnpxai.rules import LayerNormRule
from reflrp.rules.base import Rule


class Adapter(zennit.Adapter):
    """zennit's rules on modules by name; LayerNormRule has the epsilon 1e-6, for pnpxai's copies forget another."""

    library: ClassVar[str] = "pnpxai"

    def rule(self, place: Place, spec: RuleSpec) -> Rule | None:
        """Return pnpxai's rule for a node; None where it has none and none is needed."""
        if spec.rule in ("epsilon", "norm") and place.op_type == "LayerNormalization":
            zennit.stabilizer_of(spec.params)
            return LayerNormRule()
        return super().rule(place, spec)
