"""The functions of a layer map of lxt.explicit's, as rules for the nodes that no module computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import reflrp.dialects.zennit  # noqa: F401 (what reads living networks imports it, and it them: it goes first)
from reflrp.composites import kind, op_type
from reflrp.composites.matchers import Matcher
from reflrp.dialects.living import Network, Place
from reflrp.dialects.lxt.composites import ELEMENTWISE_PRODUCT, MEANS
from reflrp.dialects.lxt.rules import add2, matmul, mean, mul2, softmax
from reflrp.errors import RuleError
from reflrp.ground.checks import shown
from reflrp.rules.base import Rule

FUNCTIONS: dict[str, tuple[frozenset[str], str, Matcher, Callable[[], Rule]]] = {
    "add2": (frozenset({"add", "iadd"}), "Add", kind("sum", "diagonal"), add2),
    "mul2": (frozenset({"mul", "imul"}), "Mul", ELEMENTWISE_PRODUCT | kind("diagonal"), mul2),
    "matmul": (frozenset({"matmul", "bmm"}), "MatMul", kind("product") & ~ELEMENTWISE_PRODUCT, matmul),
    "softmax": (frozenset({"softmax"}), "Softmax", op_type("Softmax"), softmax),
    "mean": (frozenset({"mean"}), "ReduceMean", MEANS, mean),
}
"""LXT's functions, each with the names of those that it stands for, the operator that they write, its nodes, and our rule."""


def by_functions(network: Network, layer_map: Mapping[Any, Any]) -> Callable[[Place], Rule | None]:
    """Return what finds the rule of a node that is a function. Raises RuleError for functions with no equivalent."""
    known = [_known(key, value) for key, value in layer_map.items()]
    types = {n.name: n.op_type for n in network.model.source.nodes}

    def found(place: Place) -> Rule | None:
        if not known or place.own or any(("torch", part.title) in part.bases for part in place.parts):
            return None
        written = {types.get(name, "") for name in place.node.onnx}
        chosen = [(fits, rule) for op, fits, rule in known if op in written]
        if not chosen:
            return None
        fits, rule = chosen[0]
        if len(written) > 1 or not fits(place.node, network.survey):
            raise RuleError(
                f"node {place} is made of {', '.join(sorted(written))}, of which the layer map's functions stand for a part, or "
                "of a function and constants, which is another thing to LXT"
            )
        return rule

    return found


def _known(key: Any, value: Any) -> tuple[str, Matcher, Rule]:
    name, library = getattr(value, "__name__", shown(value)), getattr(value, "__module__", "")
    if library != "lxt.explicit.functional" or name not in FUNCTIONS:
        raise RuleError(f"the function {library}.{name} has no equivalent; there is {', '.join(FUNCTIONS)}")
    stands_for, op, fits, make = FUNCTIONS[name]
    title = getattr(key, "__name__", shown(key))
    if title not in stands_for:
        raise RuleError(f"the layer map has {name} for {title}, which stands for {', '.join(sorted(stands_for))} only")
    return op, fits, make()
