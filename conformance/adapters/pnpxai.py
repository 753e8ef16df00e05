"""The adapter of pnpxai: its rules and its sum, which are zennit's but for LayerNorm, on a case's network."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from pnpxai.explainers.zennit.layer import StackAndSum
from pnpxai.explainers.zennit.rules import LayerNormRule
from torch import nn

from reflrp.conformance.adapters import zennit
from reflrp.conformance.adapters.torch_modules import Network
from reflrp.conformance.protocol import Info, RuleSpec


class Adapter(zennit.Adapter):
    """pnpxai on native modules, by its version of zennit: LayerNormRule on LayerNorm, StackAndSum for sums of two."""

    def describe(self) -> Info:
        """Return who is judged."""
        rules = frozenset({*zennit.RULES, *zennit.UNHOOKED, "fold"})
        return Info("pnpxai", version("pnpxai"), rules, None, ("float64", "float32"), intermediates=True)

    def load(self, model: Path, dtype: str) -> Network:
        """Return the network of modules."""
        return Network(model, dtype, sums=StackAndSum)

    def hook(self, model: Network, spec: RuleSpec) -> Any:
        """Return the rule of one node; None where it has none and none is needed. Raises Unsupported."""
        if spec.rule in ("epsilon", "norm") and isinstance(model.step(spec.node).module, nn.LayerNorm):
            return LayerNormRule(zennit.stabilizer_of(spec.params))
        return super().hook(model, spec)
