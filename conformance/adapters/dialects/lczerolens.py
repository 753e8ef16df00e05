"""The adapter of the dialect lczerolens: its own rules beside zennit's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from reflrp.conformance.adapters.dialects import zennit
from reflrp.conformance.adapters.dialects.base import Params, Place, epsilon_of
from reflrp.conformance.protocol import RuleSpec, Unsupported
from reflrp.dialects import lczerolens as lc
from reflrp.rules.base import Rule


class Adapter(zennit.Adapter):
    """lczerolens' rules on Add, Mul, MatMul and Softmax; zennit's on modules."""

    library: ClassVar[str] = "lczerolens"

    def rule(self, place: Place, spec: RuleSpec) -> Rule | None:
        """Return lczerolens' rule for a node, or zennit's; None where it has none and none is needed."""
        own = OWN[spec.rule](place, spec.params) if spec.rule in OWN else None
        if own is None and spec.rule not in zennit.Adapter.rules:
            raise Unsupported(f"lczerolens has no rule {spec.rule!r} for such a node")
        if own is None and place.values > 1 and spec.rule != "gradient":
            raise Unsupported("zennit's rules stand on modules of one value")
        return own or super().rule(place, spec)


def _sum(place: Place, params: Params) -> Rule | None:
    if place.op_type not in ("Add", "Sum"):
        return None
    if place.values + len(place.constants) != 2:
        raise Unsupported("lczerolens has rules for two operands")
    return lc.AddEpsilon(epsilon_of("lczerolens", params))


def _half(place: Place, params: Params) -> Rule | None:
    if place.op_type == "MatMul" and place.values == 2:
        return lc.BilinearMatMulEpsilon(epsilon_of("lczerolens", params))
    return _uniform(place, params)


def _uniform(place: Place, params: Params) -> Rule | None:
    if place.op_type != "Mul" or (place.values == 1 and params["over"] != "all"):
        return None
    return lc.MulUniform()


def _taylor(place: Place, params: Params) -> Rule | None:
    if place.op_type != "Softmax":
        raise Unsupported("lczerolens' rule is for a softmax")
    return lc.SoftmaxEpsilon()


OWN: Mapping[str, Callable[[Place, Params], Rule | None]] = {
    "epsilon": _sum,
    "half": _half,
    "norm": _sum,
    "taylor": _taylor,
    "uniform": _uniform,
}
"""Where lczerolens has rules of its own, by the names that cases give them."""

Adapter.rules = frozenset({*zennit.Adapter.rules, *OWN})
