"""The adapter of the dialect innvestigate: its rules on layers with a kernel, its own ways with sums, pools and BatchNorm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from reflrp import rules as r
from reflrp.composites import Composite, anything, kind, name
from reflrp.conformance.adapters.dialects.base import Dialect, Params, Place
from reflrp.conformance.adapters.reflrp import Loaded, literally
from reflrp.conformance.protocol import RuleSpec, Unsupported
from reflrp.dialects.innvestigate import alphabeta, layers, rules
from reflrp.ir import WEIGHTED
from reflrp.rules.base import Rule

UNSEEN = 1e-7
"""Keras's epsilon, which stands where a sum is 0."""

KERNELS = frozenset({"Gemm", "MatMul", "Conv", "ConvTranspose"})
POOLS = frozenset({"AveragePool", "GlobalAveragePool"})
ACTIVATIONS = frozenset(
    {"Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "Softplus", "Gelu", "Exp", "LayerNormalization"}
)


class Adapter(Dialect):
    """iNNvestigate's rules on layers with a kernel; sums and pools have their own, and functions a gradient, or pass."""

    library: ClassVar[str] = "innvestigate"
    kernels: ClassVar[Mapping[str, Callable[[Params], Rule]]]
    functions: ClassVar[frozenset[str]] = frozenset({"pass", "gradient"})

    def rule(self, place: Place, spec: RuleSpec) -> Rule | None:
        """Return iNNvestigate's rule for a node; None where it is a gradient."""
        if place.op_type in KERNELS and place.values == 1:
            if spec.rule not in self.kernels:
                raise Unsupported(f"there is no rule {spec.rule!r} for a layer with a kernel")
            return self.kernels[spec.rule](spec.params)
        if place.op_type == "BatchNormalization":
            return self.norm(spec)
        if place.op_type in POOLS or (place.op_type in ("Add", "Sum") and place.values > 1):
            return self.shared(place, spec)
        return self.other(place, spec)

    def norm(self, spec: RuleSpec) -> Rule:
        """Return the rule of a BatchNormalization: one on a layer that stands for it, with the variance squared."""
        if spec.rule not in self.kernels:
            raise Unsupported(f"there is no rule {spec.rule!r} for a BatchNormalization")
        return layers.FusedBatchNormalization(self.kernels[spec.rule](spec.params))

    def composed(self, model: Loaded, ruled: Mapping[str, Rule], rules: Sequence[RuleSpec]) -> Composite:
        """Return the composite, with each BatchNormalization's statistics; a kernel without a rule is refused."""
        nodes = {node.name: node for node in model.model.source.nodes}
        pairs = tuple((name(literally(k)), _known(model, nodes[k], rule)) for k, rule in ruled.items())
        return Composite((*pairs, (anything() & ~kind(*WEIGHTED), r.Gradient())), self.library, ())

    def shared(self, place: Place, spec: RuleSpec) -> Rule:
        """Return the Z rule of sums and averages."""
        if spec.rule not in ("norm", "epsilon") or spec.params.get("bias", "absorb") != "absorb":
            raise Unsupported(f"there is no rule {spec.rule!r} for a sum or an average, which have their own, Z")
        return r.Norm(r.Stabilizer(zero(spec.params), "nonzero"))

    def other(self, place: Place, spec: RuleSpec) -> Rule | None:
        """Return the rule of a node that is no layer with a kernel, no sum and no pool."""
        if spec.rule == "winner_takes_all" and place.op_type in ("MaxPool", "GlobalMaxPool"):
            return layers.SharedMaximum() if place.op_type == "GlobalMaxPool" else None
        if place.op_type in ACTIVATIONS and spec.rule in self.functions:
            return r.Pass() if spec.rule == "pass" else None
        if place.op_type == "Max" and spec.rule == "winner_takes_all":
            return None
        if place.values > 1 and spec.rule == "gradient":
            return None
        raise Unsupported(f"there is no rule {spec.rule!r} for {place.op_type}")


def _known(model: Loaded, node: Any, rule: Rule) -> Rule:
    """Return a BatchNormalization's rule with the statistics that the file has; another rule as it is."""
    if not isinstance(rule, layers.FusedBatchNormalization | layers.BatchNormalizationReverseLayer):
        return rule
    gamma, beta, mean, variance = (np.asarray(model.model.source.constants[i], np.float64) for i in node.inputs[1:])
    known = layers.Statistics(gamma, beta, mean, variance, float(node.attributes.get("epsilon", 1e-5)))
    if isinstance(rule, layers.FusedBatchNormalization):
        return replace(rule, statistics=known, as_released=True)
    return replace(rule, statistics=known)


def stabilizer(params: Params) -> tuple[str, float]:
    """Return form and epsilon. Raises Unsupported for a form that the library does not have."""
    given = params["stabilizer"]
    if given["form"] not in ("signed", "nonzero") or given["norm_scale"]:
        raise Unsupported(f"there is no stabiliser {given}")
    return given["form"], float(given["epsilon"])


def zero(params: Params) -> float:
    """Return what stands where a sum is 0. Raises Unsupported."""
    _, epsilon = stabilizer(params)
    if epsilon < 0:
        raise Unsupported("there is no argument epsilon, and nothing that could be refused")
    return epsilon or UNSEEN


def safe(params: Params) -> Any:
    """Return the stabiliser of the rules that have no epsilon."""
    return r.Stabilizer(zero(params), "nonzero")


def bias(params: Params) -> bool:
    """Return whether the bias counts. Raises Unsupported for a way that there is not."""
    if params["bias"] not in ("absorb", "split", "full", "ignore"):
        raise Unsupported(f"there is no bias={params['bias']!r}")
    return bool(params["bias"] != "ignore")


def epsilon(params: Params) -> Rule:
    """EpsilonRule; ZRule where epsilon is 0, or stands only where the sum is 0."""
    form, size = stabilizer(params)
    if form == "nonzero" or size == 0:
        return rules.ZRule(bias(params), r.Stabilizer(size or UNSEEN, "nonzero"))
    return rules.EpsilonRule(size, bias(params))


def z_plus(params: Params) -> Rule:
    """ZPlusRule, or ZPlusFastRule where inputs are not split; neither counts the bias."""
    return (alphabeta.ZPlusRule if params["inputs"] == "split" else rules.ZPlusFastRule)(stabilizer=safe(params))


def alpha_beta_x(params: Params, made: Any = alphabeta.AlphaBetaXRule) -> Rule:
    """AlphaBetaXRule, as it is released."""
    pairs = {k: tuple(params[k]) for k in ("alpha", "beta")}
    found: Rule = made(**pairs, bias=bias(params), as_released=True, stabilizer=safe(params))
    return found


def box(params: Params, made: Any = rules.BoundedRule) -> Rule:
    """BoundedRule."""
    low, high = (
        np.asarray(params[k], np.float64) if isinstance(params[k], list) else params[k] for k in ("low", "high")
    )
    found: Rule = made(low, high, stabilizer=safe(params))
    return found


KERNEL: dict[str, Callable[[Params], Rule]] = {
    "alpha_beta": lambda p: alphabeta.AlphaBetaRule(p["alpha"], p["beta"], bias(p), safe(p)),
    "alpha_beta_x": alpha_beta_x,
    "epsilon": epsilon,
    "flat": lambda p: rules.FlatRule(safe(p)),
    "norm": lambda p: epsilon({**p, "bias": "absorb"}),
    "w_square": lambda p: rules.WSquareRule(safe(p)),
    "z_box": box,
    "z_plus": z_plus,
}
"""The rules for layers with a kernel, by the names that cases give them."""

Adapter.kernels = KERNEL
Adapter.rules = frozenset({*KERNEL, "gradient", "pass", "winner_takes_all"})
