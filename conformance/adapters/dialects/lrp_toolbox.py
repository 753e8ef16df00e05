"""The adapter of the dialect lrp_toolbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from reflrp import rules as r
from reflrp.composites import Composite, name
from reflrp.conformance.adapters.dialects.base import Dialect, Params, Place, epsilon_of, only
from reflrp.conformance.adapters.reflrp import Loaded, literally
from reflrp.conformance.protocol import RuleSpec, Unsupported
from reflrp.dialects import lrp_toolbox as t
from reflrp.rules.base import Rule

LINEAR = ("Gemm", "MatMul", "Conv")
"""The operators of the toolbox's modules with weights."""


class Adapter(Dialect):
    """The toolbox's variants on modules by name; what has none has the simple one."""

    library: ClassVar[str] = "lrp_toolbox"

    def rule(self, place: Place, spec: RuleSpec) -> Rule | None:
        """Return the toolbox's variant for a node."""
        if place.values != 1 or place.op_type not in LAYERS:
            raise Unsupported("the toolbox has chains of its modules only")
        return RULES[spec.rule](place, spec.params)

    def composed(self, model: Loaded, ruled: Mapping[str, Rule], rules: Sequence[RuleSpec]) -> Composite:
        """Return the composite: the simple variant on the rest."""
        pairs = tuple((name(literally(node)), rule) for node, rule in ruled.items())
        return Composite((*pairs, *t.simple().pairs), self.library, ())


def _on(place: Place, *op_types: str) -> None:
    if place.op_type not in op_types:
        raise Unsupported(f"the toolbox has no such rule for {place.op_type}")


def _epsilon(place: Place, params: Params) -> Rule:
    if "bias" in params:
        only("the toolbox", params, bias="absorb")
    _on(place, *LINEAR, "AveragePool")
    epsilon = epsilon_of("the toolbox", params)
    return t.SumPool(epsilon) if place.op_type == "AveragePool" else r.Epsilon(epsilon)


def _alpha_beta(place: Place, params: Params) -> Rule:
    given = {"alpha": 1, "beta": 0, "inputs": "split", **params}
    only("the toolbox", given, bias="split", inputs="split", beta=given["alpha"] - 1)
    _on(place, *LINEAR, "AveragePool")
    alpha, epsilon = given["alpha"], epsilon_of("the toolbox", params)
    if place.op_type == "AveragePool":
        return t.SumPool(alpha=alpha, squared=True, weak=epsilon)
    return t.AlphaBeta(alpha, epsilon, epsilon if alpha in (0, 1) else 2 * epsilon)


def _without(rule: Rule) -> Callable[[Place, Params], Rule]:
    def made(place: Place, params: Params) -> Rule:
        if "bias" in params:
            only("the toolbox", params, bias="ignore")
        epsilon_of("the toolbox", params)
        _on(place, *LINEAR, "AveragePool")
        return r.Flat(0.0) if place.op_type == "AveragePool" else rule

    return made


def _winner(place: Place, params: Params) -> Rule:
    _on(place, "MaxPool")
    return t.MaxPoolEqual()


def _pass(place: Place, params: Params) -> Rule:
    _on(place, "Relu", "Tanh", "Softmax")
    return r.Pass()


LAYERS = frozenset({*LINEAR, "AveragePool", "Flatten", "MaxPool", "Relu", "Softmax", "Tanh"})
"""The operators of the toolbox's modules."""

RULES: Mapping[str, Callable[[Place, Params], Rule]] = {
    "alpha_beta": _alpha_beta,
    "epsilon": _epsilon,
    "flat": _without(r.Flat(0.0)),
    "norm": _epsilon,
    "pass": _pass,
    "w_square": _without(r.WSquare(stabilizer=0.0)),
    "winner_takes_all": _winner,
    "z_plus": _alpha_beta,
}
"""The variants that the toolbox has, by the names that cases give to rules."""

Adapter.rules, Adapter.operators = frozenset(RULES), LAYERS
