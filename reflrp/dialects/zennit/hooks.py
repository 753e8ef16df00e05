"""zennit's own rules (hooks on modules) as ours: by the class, and by what its functions hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from inspect import getclosurevars
from typing import Any

from reflrp.dialects.zennit.core import Stabilizer
from reflrp.dialects.zennit.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Norm,
    Pass,
    ReLUBetaSmooth,
    ReLUDeconvNet,
    ReLUGuidedBackprop,
    WSquare,
    ZBox,
    ZPlus,
)
from reflrp.errors import RuleError
from reflrp.ground.checks import shown
from reflrp.rules.base import Rule


def rule(hook: Any, name: str = "") -> Rule:
    """Return the rule that one of zennit's is. Raises RuleError for any other hook; `name` is that of its module."""
    title = type(hook).__name__
    make = HOOKS.get(title) if type(hook).__module__ == "zennit.rules" else None
    if make is None:
        at = f" of module {name!r}" if name else ""
        raise RuleError(
            f"the rule {shown(hook)}{at} is none of zennit.rules, and its functions have no equivalent here"
        )
    foreign = [name for name, function in _functions(hook) if not _is_zennits(function)]
    if foreign:
        raise RuleError(f"the rule {shown(hook)} of module {name!r} was changed: its {foreign[0]} is not zennit's own")
    return make(hook)


def _functions(hook: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a rule computes with, by name: its methods, and the functions that it holds."""
    yield from ((name, getattr(type(hook), name, None)) for name in ("forward", "backward", "pre_backward"))
    yield from ((name, getattr(hook, name, None)) for name in ("gradient_mapper", "reducer"))
    yield from (("input_modifiers", function) for function in getattr(hook, "input_modifiers", ()))
    yield from (("output_modifiers", function) for function in getattr(hook, "output_modifiers", ()))
    yield from (("param_modifiers", getattr(f, "modifier", None)) for f in getattr(hook, "param_modifiers", ()))


def _is_zennits(function: Any) -> bool:
    """Return whether a function was written in zennit, or is torch's ones_like."""
    module = getattr(function, "__module__", None) or ""
    return function is None or module.partition(".")[0] == "zennit" or getattr(function, "__name__", "") == "ones_like"


def _held(function: Any) -> Mapping[str, Any]:
    """Return the variables that a function was made with."""
    return getclosurevars(function).nonlocals


def _stabilizer(hook: Any) -> Any:
    """Return what the denominator is stabilised with."""
    found = _held(hook.gradient_mapper)["stabilizer_fn"]
    if (type(found).__module__, type(found).__name__) != ("zennit.core", "Stabilizer"):
        raise RuleError(f"the stabiliser {shown(found)} is a function on tensors; give a number or zennit's Stabilizer")
    dim = (found.dim,) if isinstance(found.dim, int) else found.dim
    return Stabilizer(found.epsilon, found.clip, found.norm_scale, None if dim is None else tuple(dim))


def _zeroed(hook: Any) -> Any:
    """Return the names of parameters that are taken as zero."""
    return hook.param_modifiers[0].zero_params


def _zeroed_beside_bias(hook: Any) -> Any:
    """Return the same of Flat, which adds "bias" to them."""
    names = tuple(name for name in hook.param_modifiers[0].zero_params if name != "bias")
    return names or None


def _bound(hook: Any, which: int, name: str) -> Any:
    """Return a bound of ZBox as an array."""
    value = _held(hook.input_modifiers[which])[name]
    return value.detach().cpu().double().numpy() if hasattr(value, "detach") else value


def _alpha_beta(hook: Any) -> Rule:
    held = _held(hook.reducer)
    return AlphaBeta(held["alpha"], held["beta"], _stabilizer(hook), _zeroed(hook))


def _gamma(hook: Any) -> Rule:
    return Gamma(_held(hook.param_modifiers[0].modifier)["gamma"], _stabilizer(hook), _zeroed(hook))


HOOKS: dict[str, Callable[[Any], Rule]] = {
    "AlphaBeta": _alpha_beta,
    "Epsilon": lambda hook: Epsilon(_stabilizer(hook), _zeroed(hook)),
    "Flat": lambda hook: Flat(_stabilizer(hook), _zeroed_beside_bias(hook)),
    "Gamma": _gamma,
    "Norm": lambda hook: Norm(_stabilizer(hook)),
    "Pass": lambda hook: Pass(),
    "ReLUBetaSmooth": lambda hook: ReLUBetaSmooth(hook.beta_smooth),
    "ReLUDeconvNet": lambda hook: ReLUDeconvNet(),
    "ReLUGuidedBackprop": lambda hook: ReLUGuidedBackprop(),
    "WSquare": lambda hook: WSquare(_stabilizer(hook), _zeroed(hook)),
    "ZBox": lambda hook: ZBox(_bound(hook, 1, "low"), _bound(hook, 2, "high"), _stabilizer(hook), _zeroed(hook)),
    "ZPlus": lambda hook: ZPlus(_stabilizer(hook), _zeroed(hook)),
}
"""zennit's rules by the names of their classes; a subclass is another rule."""
