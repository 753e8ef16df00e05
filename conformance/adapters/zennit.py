"""The adapter of zennit: its rules on the modules of a case's network, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zennit
from zennit import rules as z
from zennit.canonizers import NamedMergeBatchNorm
from zennit.composites import NameMapComposite
from zennit.core import Stabilizer

from reflrp.conformance.adapters import torch_modules
from reflrp.conformance.adapters.torch_modules import Network
from reflrp.conformance.protocol import Arrays, Info, RuleSpec, Unsupported

Params = Mapping[str, Any]


class Sum(torch.nn.Module):  # type: ignore[misc]
    """The sum of two values through zennit's Sum, which takes a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = zennit.layer.Sum()

    def forward(self, a: Any, b: Any) -> Any:
        """Return a + b."""
        return self.sum(torch.stack(torch.broadcast_tensors(a, b), dim=-1))


class Adapter:
    """zennit on native modules. What has no rule in a case has no hook, which to zennit is a gradient."""

    def describe(self) -> Info:
        """Return who is judged."""
        rules = frozenset({*RULES, *UNHOOKED, "fold"})
        return Info("zennit", version("zennit"), rules, None, ("float64", "float32"), intermediates=True)

    def load(self, model: Path, dtype: str) -> Network:
        """Return the network of modules."""
        return Network(model, dtype, sums=Sum)

    def forward(self, model: Network, inputs: Arrays) -> Arrays:
        """Return the outputs by name."""
        return torch_modules.forward(model, inputs)

    def explain(self, model: Network, inputs: Arrays, seed: Arrays, rules: Sequence[RuleSpec]) -> Arrays:
        """Return the relevance of all values, as hooks make it of their gradients."""
        folded = [spec.node for spec in rules if spec.rule == "fold"]
        merges = [NamedMergeBatchNorm([_merge(model, node)]) for node in folded]
        named = [((_module(model, spec),), hook) for spec in rules if (hook := self.hook(model, spec)) is not None]
        with NameMapComposite(named, merges).context(model):
            return torch_modules.gradients(model, inputs, seed)

    def hook(self, model: Network, spec: RuleSpec) -> Any:
        """Return the rule of one node; None where it has none and none is needed. Raises Unsupported."""
        return hook_of(model, spec)


def hook_of(network: Network, spec: RuleSpec) -> Any:
    """Return zennit's rule for one node; None where it has none and none is needed. Raises Unsupported."""
    if spec.rule == "fold":
        return None
    if spec.rule in UNHOOKED:
        if not UNHOOKED[spec.rule](network.step(spec.node).module):
            raise Unsupported(f"zennit has no rule {spec.rule!r} for such a node")
        return None
    if spec.rule not in RULES:
        raise Unsupported(f"zennit has no rule {spec.rule!r}")
    if spec.rule in OF_PARAMETERS and torch_modules.has_constant(network.step(spec.node).module):
        raise Unsupported("a constant of a function is no parameter, which zennit's rule would change")
    params = dict(spec.params)
    if spec.rule == "z_box":
        weight = getattr(network.step(spec.node).module, "weight", None)
        rank = 2 if weight is None else weight.ndim
        params |= {k: _bound(params[k], rank) for k in ("low", "high")}
    return RULES[spec.rule](params)


def _module(network: Network, spec: RuleSpec) -> str:
    """Return the name of the module to hook: the Sum inside, or the layer, or a function of one value."""
    step = network.step(spec.node)
    inner = next((name for name, m in step.module.named_children() if isinstance(m, zennit.layer.Sum)), None)
    if inner is not None:
        return f"{step.name}.{inner}"
    if len(step.inputs) != 1 or len(step.outputs) != 1:
        raise Unsupported("zennit's rules stand on modules of one value")
    return step.name


def _merge(network: Network, node: str) -> tuple[tuple[str, ...], str]:
    """Return which layer zennit merges a BatchNormalization into: the one before it."""
    norm = network.step(node)
    before = network.producers.get(norm.inputs[0])
    if (
        before is None
        or not hasattr(network.step(before).module, "weight")
        or len(network.readers[norm.inputs[0]]) != 1
    ):
        raise Unsupported("zennit merges a BatchNorm into the layer before it, and into nothing else")
    return (network.step(before).name,), norm.name


# ---------------------------------------------------------------- rules


def stabilizer_of(params: Params) -> Any:
    """Return zennit's stabiliser. Raises Unsupported for a form that it does not have."""
    given = params["stabilizer"]
    if given["form"] not in ("signed", "clip") or given["epsilon"] < 0:
        raise Unsupported(f"zennit has no stabiliser {given}")
    return Stabilizer(given["epsilon"], given["form"] == "clip", given["norm_scale"])


def _zeroed(params: Params, names: Mapping[str, list[str] | None]) -> list[str] | None:
    """Return what is taken as zero for a way to treat the bias."""
    if params["bias"] not in names:
        raise Unsupported(f"zennit's rule has no bias={params['bias']!r}")
    return names[params["bias"]]


def _only(params: Params, **wanted: Any) -> None:
    for name, value in wanted.items():
        if params[name] != value:
            raise Unsupported(f"zennit's rule has no {name}={params[name]!r}")


SPLIT: dict[str, list[str] | None] = {"split": None, "ignore": ["bias"]}


def _epsilon(params: Params) -> Any:
    return z.Epsilon(stabilizer_of(params), _zeroed(params, {"absorb": None, "ignore": ["bias"]}))


def _z_plus(params: Params) -> Any:
    _only(params, inputs="split")
    return z.ZPlus(stabilizer_of(params), _zeroed(params, SPLIT))


def _alpha_beta(params: Params) -> Any:
    return z.AlphaBeta(params["alpha"], params["beta"], stabilizer_of(params), _zeroed(params, SPLIT))


def _gamma(params: Params) -> Any:
    _only(params, generalized=True)
    return z.Gamma(params["gamma"], stabilizer_of(params), _zeroed(params, {"scale": None, "ignore": ["bias"]}))


def _w_square(params: Params) -> Any:
    return z.WSquare(stabilizer_of(params), _zeroed(params, {"square": None, "ignore": ["bias"]}))


def _z_box(params: Params) -> Any:
    return z.ZBox(params["low"], params["high"], stabilizer_of(params))


def _bound(value: Any, rank: int) -> Any:
    """Return a bound as a number, or as a tensor of the input's rank: zennit appends axes where NumPy puts them in front."""
    array = np.asarray(value, dtype=np.float64)
    return value if array.ndim == 0 else torch.tensor(array.reshape(*(1,) * (rank - array.ndim), *array.shape))


RULES: Mapping[str, Callable[[Params], Any]] = {
    "alpha_beta": _alpha_beta,
    "beta_smooth": lambda params: z.ReLUBetaSmooth(params["beta"]),
    "deconvnet": lambda params: z.ReLUDeconvNet(),
    "epsilon": _epsilon,
    "flat": lambda params: z.Flat(stabilizer_of(params)),
    "gamma": _gamma,
    "guided_backprop": lambda params: z.ReLUGuidedBackprop(),
    "norm": lambda params: z.Norm(stabilizer_of(params)),
    "pass": lambda params: z.Pass(),
    "w_square": _w_square,
    "z_box": _z_box,
    "z_plus": _z_plus,
}
"""The rules that zennit has, by the names that cases give them."""

OF_PARAMETERS = frozenset({"alpha_beta", "flat", "gamma", "w_square", "z_box", "z_plus"})
"""The rules that compute with other parameters than a module's own."""

UNHOOKED: Mapping[str, Callable[[Any], bool]] = {
    "gradient": lambda module: True,
    "winner_takes_all": torch_modules.is_max_pool,
}
"""What zennit does where there is no hook, and on which modules that is so."""
