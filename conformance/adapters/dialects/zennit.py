"""The adapter of the dialect zennit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from reflrp.composites import Composite
from reflrp.conformance.adapters.dialects.base import Dialect, Params, Place, only
from reflrp.conformance.adapters.reflrp import Loaded
from reflrp.conformance.protocol import RuleSpec, Unsupported
from reflrp.dialects import zennit as z
from reflrp.rules.base import Rule

MAX_POOLS = ("MaxPool", "GlobalMaxPool")


class Adapter(Dialect):
    """zennit's rules on modules by name; what has none is a plain gradient."""

    library: ClassVar[str] = "zennit"

    def rule(self, place: Place, spec: RuleSpec) -> Rule | None:
        """Return zennit's rule for a node; None where it has none and none is needed."""
        if spec.rule == "fold" and place.before not in ("Gemm", "MatMul", "Conv", "ConvTranspose"):
            raise Unsupported("zennit merges a BatchNorm into the layer before it, and into nothing else")
        if spec.rule in ("fold", "gradient"):
            return None
        if spec.rule == "winner_takes_all":
            if place.op_type != "MaxPool":
                raise Unsupported("zennit has no rule 'winner_takes_all' for such a node")
            return None
        rule = RULES[spec.rule](spec.params, place)
        if place.values != 1 and not (place.values == 2 and place.op_type in ("Add", "Sum")):
            raise Unsupported("zennit's rules stand on modules of one value")
        return rule

    def composed(self, model: Loaded, ruled: Mapping[str, Rule], rules: Sequence[RuleSpec]) -> Composite:
        """Return the composite, with a canonizer where a BatchNormalization is to be folded."""
        folds = any(spec.rule == "fold" for spec in rules)
        named = [((node,), rule) for node, rule in ruled.items()]
        return z.NameMapComposite(named, [z.SequentialMergeBatchNorm()] if folds else None)


def stabilizer_of(params: Params) -> Any:
    """Return zennit's stabiliser. Raises Unsupported for a form that it does not have."""
    given = params["stabilizer"]
    if given["form"] not in ("signed", "clip") or given["epsilon"] < 0:
        raise Unsupported(f"zennit has no stabiliser {given}")
    return z.Stabilizer(given["epsilon"], given["form"] == "clip", given["norm_scale"])


def _zeroed(params: Params, names: Mapping[str, list[str] | None]) -> list[str] | None:
    if params["bias"] not in names:
        raise Unsupported(f"zennit's rule has no bias={params['bias']!r}")
    return names[params["bias"]]


SPLIT: dict[str, list[str] | None] = {"split": None, "ignore": ["bias"]}


def _epsilon(params: Params, place: Place) -> Rule:
    return z.Epsilon(stabilizer_of(params), _zeroed(params, {"absorb": None, "ignore": ["bias"]}))


def _z_plus(params: Params, place: Place) -> Rule:
    only("zennit", params, inputs="split")
    return z.ZPlus(stabilizer_of(params), _zeroed(params, SPLIT))


def _alpha_beta(params: Params, place: Place) -> Rule:
    return z.AlphaBeta(params["alpha"], params["beta"], stabilizer_of(params), _zeroed(params, SPLIT))


def _gamma(params: Params, place: Place) -> Rule:
    only("zennit", params, generalized=True)
    return z.Gamma(params["gamma"], stabilizer_of(params), _zeroed(params, {"scale": None, "ignore": ["bias"]}))


def _w_square(params: Params, place: Place) -> Rule:
    return z.WSquare(stabilizer_of(params), _zeroed(params, {"square": None, "ignore": ["bias"]}))


def _z_box(params: Params, place: Place) -> Rule:
    rank = place.constants[0] if place.constants else 2
    return z.ZBox(_bound(params["low"], rank), _bound(params["high"], rank), stabilizer_of(params))


def _bound(value: Any, rank: int) -> Any:
    """Return a bound of the input's rank: zennit appends axes where NumPy puts them in front."""
    array = np.asarray(value, np.float64)
    return value if array.ndim == 0 else array.reshape(*(1,) * (rank - array.ndim), *array.shape)


RULES: Mapping[str, Callable[[Params, Place], Rule]] = {
    "alpha_beta": _alpha_beta,
    "beta_smooth": lambda params, place: z.ReLUBetaSmooth(params["beta"]),
    "deconvnet": lambda params, place: z.ReLUDeconvNet(),
    "epsilon": _epsilon,
    "flat": lambda params, place: z.Flat(stabilizer_of(params)),
    "gamma": _gamma,
    "guided_backprop": lambda params, place: z.ReLUGuidedBackprop(),
    "norm": lambda params, place: z.Norm(stabilizer_of(params)),
    "pass": lambda params, place: z.Pass(),
    "w_square": _w_square,
    "z_box": _z_box,
    "z_plus": _z_plus,
}
"""The rules that zennit has, by the names that cases give them."""

Adapter.rules = frozenset({*RULES, "fold", "gradient", "winner_takes_all"})
