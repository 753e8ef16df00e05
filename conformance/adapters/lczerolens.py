"""The adapter of lczerolens: its rules for sums, products and softmax beside zennit's, as its composite has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from reflrp.conformance.adapters import torch_modules, zennit
from reflrp.conformance.adapters.torch_modules import Network
from reflrp.conformance.adapters.torch_operators import Step
from reflrp.conformance.adapters.walked import imported
from reflrp.conformance.protocol import Arrays, Info, RuleSpec, Unsupported

Params = Mapping[str, Any]

_package = find_spec("lczerolens")
if _package is None or _package.origin is None:
    raise ImportError("lczerolens is not installed")
lc = imported("lczerolens_epsilon", Path(_package.origin).parent / "lenses" / "lrp" / "rules" / "epsilon.py")
"""Its file of rules, past packages that play chess."""


class Adapter(zennit.Adapter):
    """lczerolens' modules in place of Add, Mul, MatMul and Softmax; zennit's hooks on the rest."""

    def describe(self) -> Info:
        """Return who is judged."""
        rules = frozenset({*zennit.RULES, *zennit.UNHOOKED, *OWN, "fold"})
        return Info("lczerolens", version("lczerolens"), rules, None, ("float64", "float32"), intermediates=True)

    def load(self, model: Any, dtype: str) -> Network:
        """Return the network of modules."""
        return Network(model, dtype)

    def explain(self, model: Network, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance of all values."""
        own = {spec.node: made for spec in rules if (made := _own(model.step(spec.node), spec)) is not None}
        rest = [spec for spec in rules if spec.node not in own]
        return super().explain(torch_modules.with_modules(model, own), inputs, seed, rest)

    def hook(self, model: Network, spec: RuleSpec) -> Any:
        """Return zennit's rule of one node."""
        if spec.rule in OWN and spec.rule not in zennit.RULES:
            raise Unsupported(f"lczerolens has no rule {spec.rule!r} for such a node")
        return super().hook(model, spec)


def _own(step: Step, spec: RuleSpec) -> Any:
    """Return what stands in place of a node; None where zennit's hooks do."""
    return OWN[spec.rule](step, spec.params) if spec.rule in OWN else None


def _title(step: Step) -> str:
    return step.module.title if torch_modules.is_function(step.module) else type(step.module).__name__


def _epsilon_of(params: Params) -> float:
    given = params["stabilizer"]
    if given["form"] != "signed" or given["norm_scale"] or given["epsilon"] < 0:
        raise Unsupported(f"lczerolens has no stabiliser {given}")
    return float(given["epsilon"])


def _with_constants(step: Step, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of a node's two operands as one of its values."""
    found: Callable[..., Any] | None = torch_modules.functional(step.module, function)
    if found is None:
        raise Unsupported("lczerolens has rules for two operands")
    return found


def _sum(step: Step, params: Params) -> Any:
    if _title(step) not in ("Add", "Sum"):
        return None
    return _with_constants(step, lc.AddEpsilon(_epsilon_of(params)))


def _half(step: Step, params: Params) -> Any:
    if _title(step) == "MatMul" and len(step.inputs) == 2:
        return lc.BilinearMatMulEpsilon(_epsilon_of(params))
    return _uniform(step, params)


def _uniform(step: Step, params: Params) -> Any:
    if _title(step) != "Mul" or (len(step.inputs) == 1 and params["over"] != "all"):
        return None
    return _with_constants(step, lc.MulUniform())


def _taylor(step: Step, params: Params) -> Any:
    if not isinstance(step.module, nn.Softmax):
        raise Unsupported("lczerolens' rule is for a softmax")
    return lambda x: lc.SoftmaxEpsilonFunction.apply(x, step.module.dim)


OWN: Mapping[str, Callable[[Step, Params], Any]] = {
    "epsilon": _sum,
    "half": _half,
    "norm": _sum,
    "taylor": _taylor,
    "uniform": _uniform,
}
"""Where lczerolens has rules of its own, by the names that cases give them."""
